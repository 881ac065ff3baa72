"""Does a long history make a fetch of one new commit slower? Bar: less than 20 % from 20 to 20,000 commits.

Two remotes with the same files, one with a short and one with a long history, get a commit in turn and are fetched
by turns, over a path and over smart HTTP; a third bar is a repository with a long side branch. ``git fetch`` does the
same in the same rounds, as the peer. Run: ``python -m tests.bench.bench_fetch [ROUNDS]``.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from automator67.engine.repo.mirror import Mirror
from automator67.engine.repo.packs import repack_if_needed
from tests.support.githttp import GIT_ENV, GitServer, git

SHORT, LONG = 20, 20_000
FILES = 20
BAR = 1.20


@dataclass
class Subject:
    """A remote, our mirror of it, git's clone of it, and the seconds that each fetch took."""

    name: str
    remote: Path
    url: str
    mirror: Mirror
    clone: Path
    ours: list[float] = field(default_factory=list)
    gits: list[float] = field(default_factory=list)
    tidying: list[float] = field(default_factory=list)
    first: float = 0.0

    def round(self, number: int) -> None:
        """Commit once, fetch with both."""
        add_commits(self.remote, 1, 10**6 + number)
        self.ours.append(_seconds(self.mirror.fetch))
        self.tidying.append(_seconds(lambda: repack_if_needed(self.mirror)))
        command = ["git", "-C", str(self.clone), "fetch", "-q", self.url, "+refs/heads/main:refs/heads/main"]
        self.gits.append(_seconds(lambda: subprocess.run(command, env=GIT_ENV, check=True)))


def add_commits(repo: Path, count: int, start: int = 0, branch: str = "main") -> None:
    """Add commits that each change one of ``FILES`` small files."""
    tip = git("-C", repo, "for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")
    parts = []
    for i in range(start, start + count):
        text = f"image: example/app:{i}\nport: 8080\n"
        parts.append(
            f"commit refs/heads/{branch}\ncommitter Ana <ana@example.org> {1_500_000_000 + i} +0000\ndata 1\nx\n"
        )
        parts.append(f"from {tip}\n" if tip and i == start else "")
        parts.append(f"M 100644 inline apps/app{i % FILES}.yaml\ndata {len(text)}\n{text}\n")
    git("-C", repo, "fast-import", "--quiet", data="".join(parts).encode())


def main(rounds: int) -> int:
    """Run all; return 1 when a bar is missed."""
    missed = 0
    with tempfile.TemporaryDirectory() as name, GitServer(Path(name)) as server:
        place = Path(name)
        remotes = {}
        for count in (SHORT, LONG):
            remotes[count] = server.create(f"h{count}")
            add_commits(remotes[count].path, count)
        side = server.create("side")
        add_commits(side.path, SHORT)
        add_commits(side.path, LONG // 4, branch="side")
        groups: dict[str, list[tuple[str, Path, str]]] = {
            "path": [(str(c), r.path, f"file://{r.path}") for c, r in remotes.items()],
            "http": [(str(c), r.path, r.url) for c, r in remotes.items()],
            "side": [
                ("20", remotes[SHORT].path, f"file://{remotes[SHORT].path}"),
                ("side", side.path, f"file://{side.path}"),
            ],
        }
        for transport, members in groups.items():
            subjects = [_subject(place, transport, *member) for member in members]
            for number in range(rounds):
                for subject in subjects if number % 2 else subjects[::-1]:
                    subject.round(number + 1000 * len(transport) * (ord(transport[0])))
            missed += _report(transport, *subjects)
    return 1 if missed else 0


def _subject(place: Path, transport: str, name: str, remote: Path, url: str) -> Subject:
    subject = Subject(
        name, remote, url, Mirror(place / f"{transport}-{name}.git", url, "main"), place / f"{transport}-{name}-git"
    )
    subject.first = _seconds(subject.mirror.fetch)
    git("clone", "-q", "--bare", "--single-branch", url, subject.clone)
    return subject


def _report(transport: str, short: Subject, long: Subject) -> bool:
    for s in (short, long):
        ours, gits = statistics.median(s.ours), statistics.median(s.gits)
        print(
            f"{transport:5} history {s.name:>6}: fetch {ours * 1e3:7.2f} ms (p95 {_p95(s.ours) * 1e3:6.2f}),"
            f" git fetch {gits * 1e3:7.2f} ms, ratio {ours / gits:.2f};"
            f" tidying {statistics.mean(s.tidying) * 1e3:.2f} ms a fetch; first fetch {s.first:.2f} s"
        )
    ratio = statistics.median(long.ours) / statistics.median(short.ours)
    peer = statistics.median(long.gits) / statistics.median(short.gits)
    missed = ratio >= BAR
    print(f"{transport:5} long/short {ratio:.3f} (git {peer:.3f}), bar {BAR:.2f}: {'MISSED' if missed else 'kept'}")
    return missed


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _p95(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)]


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 60))
