"""Marked values go through a whole cloud; then everything that is written or shown is searched for them.

They may be inside the container or process they are for, on the tmpfs of its files, and in what the Docker Engine
itself keeps of a container; nowhere else, neither as they are nor in base64.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from automator67.agent.secret_files import directory
from automator67.engine.secrets.keys import PrivateKey
from automator67.engine.secrets.sealing import seal
from tests.support.cloud import Cloud, wait_for
from tests.support.images import busybox

__all__ = ["busybox"]
pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]

QUIET = (
    "import os,time\nprint('length', len(os.environ['PASS']), len(open('etc/key').read()), flush=True)\ntime.sleep(1e6)"
)
FAILS = "import os,sys\nsys.exit('bad length %d' % len(os.environ['PASS']))"
PRINTS = "echo my $P; echo $P | base64; sleep 1; echo last $P; exit 3"
UPDATE = {"healthy_for": "0s", "deadline": "5s"}


class CommandLines:
    """Collects the arguments of every process of the machine while the cloud works."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> CommandLines:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.02):
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    self.seen.add((process / "cmdline").read_bytes())


def traces(value: str) -> list[bytes]:
    """Return what would give a value away: itself, and what base64 makes of it wherever it stands in a text."""
    found = [value.encode()]
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + value.encode())
        found.append(encoded[4 if before else 0 : len(encoded) // 4 * 4 - 4])
    return found


def everything_written(cloud: Cloud) -> Iterator[tuple[str, bytes]]:
    """Yield every file of engine, agents and repositories, and every object of the repositories unpacked."""
    for path in cloud.directory.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield str(path), path.read_bytes()
    for repository in (cloud.bare, cloud.state / "repository"):
        done = subprocess.run(
            ["git", "cat-file", "--batch-all-objects", "--batch"], cwd=repository, capture_output=True, check=True
        )
        yield f"objects of {repository}", done.stdout


def memory(pid: int) -> bytes:
    """Return what a process has in its memory and may write."""
    found = b""
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", 0) as mem:
        for line in maps:
            area = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if area:
                begin, end = int(area[1], 16), int(area[2], 16)
                with contextlib.suppress(OSError, ValueError):
                    mem.seek(begin)
                    found += mem.read(end - begin)
    return found


def test_no_value_of_a_secret_is_found_anywhere(tmp_path: Path, busybox: str) -> None:
    names = ("pass", "key", "dbenv", "dbfile", "fails", "printed", "wrong", "later")
    marked = {name: f"MARK-{name}-{secrets.token_hex(12)}" for name in names}
    shown: dict[str, str] = {}
    with CommandLines() as commands, Cloud(tmp_path / "cloud", nodes=("one",), runtime="both") as cloud:
        (tmp_path / "values").mkdir()
        cloud.poll = "300ms"
        cloud.push(cloud.base(), "one node")
        cloud.up()
        for name in marked:
            cloud.seal(name, marked[name])
        foreign = PrivateKey.new().public
        limits = {"resources": {"memory": "64Mi"}, "update": UPDATE}
        cloud.files({"secrets/wrong.sealed": seal(foreign, cloud.name, "wrong", marked["wrong"].encode())})
        running = cloud.push({
            "apps/quiet.yaml": {
                "runtime": "process", "command": [sys.executable, "-c", QUIET], "env": {"PASS": {"secret": "pass"}},
                "files": [{"path": "/etc/key", "secret": "key"}], **limits},
            "apps/box.yaml": {
                "image": busybox, "command": ["sh", "-c", "test -s /run/db && sleep 100000"],
                "env": {"DB": {"secret": "dbenv"}}, "files": [{"path": "/run/db", "secret": "dbfile"}], **limits},
            "apps/fails.yaml": {
                "runtime": "process", "command": [sys.executable, "-c", FAILS], "env": {"PASS": {"secret": "fails"}},
                **limits},
            "apps/prints.yaml": {
                "image": busybox, "command": ["sh", "-c", PRINTS],
                "env": {"P": {"secret": "printed"}}, **limits},
            "apps/wrong.yaml": {"image": busybox, "env": {"P": {"secret": "wrong"}}, **limits},
        })  # fmt: skip
        for app in ("quiet", "box"):
            cloud.wait_app(app, lambda s: s.health == "healthy" and s.sync == "synced", 60)
        cloud.wait_app("wrong", lambda s: s.sync == "blocked" and foreign.id in s.reason)
        cloud.wait_commit(running, "failed", 60)
        pages = httpx.Client(base_url=f"http://127.0.0.1:{cloud.web}")
        detail = "last [secret printed]"
        wait_for("the last words of the app", lambda: detail in cloud.cli("status", "--json").stdout)
        shown["logs"] = wait_for("the app's log", lambda: cloud.cli("logs", "prints", check=False).stdout)
        assert "my [secret printed]" in shown["logs"]

        cloud.git("checkout", "-q", "-b", "proposal")
        cloud.seal("pass", marked["later"])
        cloud.git("commit", "-aqm", "propose another value")
        shown["plan"] = cloud.cli("plan", "--base", "main", "--head", "proposal", "--repo", str(cloud.clone)).stdout
        assert "env.PASS (a secret): changed" in shown["plan"]
        cloud.git("checkout", "-q", "main")
        cloud.git("merge", "-q", "proposal")
        cloud.push(message="and merge it")
        wait_for("the new value to arrive", lambda: cloud.log("agent-one").count("quiet-0-") >= 2)
        cloud.wait_app("quiet", lambda s: s.health == "healthy" and s.sync == "synced", 60)

        # A restarted engine must know the values before agents report to it.
        cloud.kill("engine")
        cloud.start_engine()
        cloud.wait_app("quiet", lambda s: s.health == "healthy" and s.sync == "synced", 60)

        for arguments in (("status",), ("history",), ("inspect", "--json"), ("node", "list", "--json"), ("plan",),
                          ("logs", "quiet"), ("logs", "prints"), ("inspect", running, "--json")):  # fmt: skip
            more = ["--repo", str(cloud.clone)] if arguments == ("plan",) else []
            done = cloud.cli(*arguments, *more, check=False)
            shown[" ".join(arguments)] = done.stdout + done.stderr
        for path in ("/", "/apps/quiet", "/apps/prints", "/apps/fails", "/apps/wrong", "/nodes/one",
                     f"/commits/{running}", "/api/v1/overview"):  # fmt: skip
            shown[path] = pages.get(path).text
        assert "prints" in shown["/"]
        pages.close()
        memories = {"resident agent": memory(cloud.processes["agent-one"].pid)}
        memories["web process"] = memory(cloud.processes["web"].pid)
        written = list(everything_written(cloud))
        found = []
        for name, value in marked.items():
            for trace in traces(value):
                found += [f"{name} in {where}" for where, data in written if trace in data]
                found += [f"{name} shown by {where}" for where, text in shown.items() if trace.decode() in text]
                found += [f"{name} in arguments {line!r}" for line in commands.seen if trace in line]
                # Who inspects a container of the Docker Engine gets its environment with it.
                if name not in ("dbenv", "printed"):
                    found += [f"{name} in the memory of the {who}" for who, data in memories.items() if trace in data]
        assert found == []
        assert any(b"automator67.agent" in line for line in commands.seen)
        instances = cloud.agent_state("one") / "instances"
        (home,) = instances.glob("quiet-0-*")
        # The search finds what is there: the values are where they belong.
        pid = json.loads((home / "process.json").read_text())["pid"]
        assert marked["later"].encode() in Path(f"/proc/{pid}/environ").read_bytes()
        assert Path(directory(cloud.name, "one", home.name), "etc/key").read_text() == marked["key"]
        assert marked["later"].encode() in memory(pid)
