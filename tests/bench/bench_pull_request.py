"""How long the plan of a pull request takes above git's own fetch of it, for a repository of 1,000 apps.

``python -m tests.bench.bench_pull_request``. Bar: less than 1 s above ``git fetch`` until the comment is written and
the status is in the outbox, the median of ten pushes; the first plan, which reads every file, is shown too.
No node has joined: where copies would start is not measured here but in bench_placement.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from automator67.engine.forges.github_reviews import GitHubReviews
from automator67.engine.pull_desk import PullDesk
from automator67.engine.repo.mirror import Mirror
from automator67.engine.repo.proposals import Proposals
from automator67.engine.store.database import open_store
from tests.support.githttp import GitServer, commit_files, git
from tests.support.github_reviews import Repository
from tests.support.standin import Reached

APPS, PUSHES, BAR = 1000, 10, 1.0


def main() -> int:
    """Measure, print, and return 1 when the bar is missed."""
    with tempfile.TemporaryDirectory() as folder, GitServer(Path(folder)) as server:
        root = Path(folder)
        repo, clone = server.create("cloud"), root / "clone"
        files: dict[str, str | None] = {f"apps/a{n}.yaml": _app(n, 1) for n in range(APPS)}
        commit_files(repo.path, {"automator67.yaml": "name: home\n", **files})
        git("clone", "-q", "--bare", repo.url, clone)
        forge = Repository()
        reviews = GitHubReviews("ana", "cloud", "ghp_writes", transport=Reached(forge.api))
        mirror = Mirror(root / "mirror", repo.url, "main", allow_http=True)
        with open_store(root / "store.db") as store:
            desk = PullDesk(
                store, reviews, Proposals(root / "proposals", mirror), "main", "",
                name=lambda: "home", told=lambda: None, clock=time.time,
            )  # fmt: skip
            fetches, plans = [], []
            git("-C", repo.path, "branch", "pr1", "main")
            for push in range(PUSHES + 1):
                head = commit_files(repo.path, {f"apps/a{push}.yaml": _app(push, push + 2)}, branch="pr1")
                git("-C", repo.path, "update-ref", "refs/pull/1/head", head)
                forge.pulls[1] = (head, "ana/cloud")
                fetches.append(_timed(lambda: git("-C", clone, "fetch", "-q", "origin", "refs/pull/1/head")))
                plans.append(_timed(desk.look))
                assert f"a{push}" in forge.bodies(1)[0]
            desk.stop()
    above = median(p - f for p, f in zip(plans[1:], fetches[1:], strict=True))
    print(f"first plan of {APPS} apps: {plans[0]:.2f} s")
    print(f"push to comment: {median(plans[1:]):.3f} s; git fetch alone: {median(fetches[1:]):.3f} s")
    print(f"above the fetch: {above:.3f} s (bar {BAR:.1f} s)")
    return 0 if above < BAR else 1


def _app(n: int, version: int) -> str:
    return f"image: ghcr.io/ana/a{n}:1.{version}\nport: 8080\nreplicas: 2\n"


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
