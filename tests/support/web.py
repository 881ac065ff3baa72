"""The web process for tests: started for real, over a store with a small cloud in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from sqlalchemy import Connection, insert

from automator67.engine.alerts.incidents import Incident, Silence, Telling
from automator67.engine.inbox import Inbox
from automator67.engine.jobs import Run
from automator67.engine.store.alerts import save_incidents, set_silence
from automator67.engine.store.database import Store, open_store
from automator67.engine.store.runs import save_run
from automator67.engine.store.tables import (
    actions,
    app_states,
    commits,
    events,
    holds,
    meta,
    nodes,
    posts,
    revisions,
)
from tests.support import deliveries

COMMIT = "3f2a91c07b1e4d5a8c6f00112233445566778899"
OLDER = "9bc12de4a5b6c7d8e9f00112233445566778899a"
SETTINGS: dict[str, Any] = {
    "repository": "https://git.example.org/ana/cloud.git",
    "branch": "main",
    "secrets": {
        **{name: [deliveries.SECRET] for name in ("github", "gitea", "forgejo", "generic")},
        "gitlab": [deliveries.SIGNING_TOKEN, deliveries.SECRET],
    },
    "trusted_proxies": 0,
    "store": "",
}
"""What the engine would tell the web process of a cloud in ana/cloud."""
PLANTED = "hunter2-must-never-show"
"""A value that the store of the sample holds in an app's environment and that no page may show."""


def post(client: httpx.Client, name: str, delivery: deliveries.Delivery) -> httpx.Response:
    """Post a delivery to ``/hooks/<name>``."""
    headers, body = delivery
    return client.post(f"/hooks/{name}", content=body, headers=headers)


def waiting(state: Path) -> list[str]:
    """Return the ids of the deliveries that wait for the engine."""
    return [d.delivery_id for d in Inbox(state / "inbox").take()]


class WebProcess:
    """``python -m automator67.ui``, on a free port by default. ``log`` has what it wrote to stderr."""

    def __init__(self, state: Path, settings: dict[str, Any] | None = None, port: int = 0) -> None:
        state.mkdir(parents=True, exist_ok=True)
        if settings is not None:
            (state / "web.json").write_text(json.dumps(settings), encoding="utf-8")
        self.state = state
        self.process = subprocess.Popen(
            [sys.executable, "-m", "automator67.ui", "--state", str(state), "--listen", f"127.0.0.1:{port}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._errors: list[str] = []
        threading.Thread(target=self._collect, daemon=True).start()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("listening on "), f"the web process did not start: {self.log}"
        self.url = line.removeprefix("listening on ").strip()
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        self.address = (host, int(port))

    @property
    def log(self) -> str:
        """Everything logged so far."""
        return "".join(self._errors)

    def children(self) -> list[int]:
        """Return the ids of the processes that serve."""
        pid = self.process.pid
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def kill(self) -> None:
        """Kill the whole process group at once, as a machine that loses power would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self._end()

    def stop(self) -> float:
        """Ask it to stop and return the seconds it took."""
        begun = time.monotonic()
        self.process.terminate()
        self.process.wait(timeout=20)
        took = time.monotonic() - begun
        self._end()
        return took

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.kill()
        self._end()

    def _end(self) -> None:
        self.process.wait(timeout=20)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def _collect(self) -> None:
        assert self.process.stderr is not None
        try:
            for line in self.process.stderr:
                self._errors.append(line)
        except ValueError:
            return


def sample_store(path: Path | str, now: float, *, trouble: bool = True) -> Store:
    """Make a store with a small cloud: two nodes, a few apps, two commits; with ``trouble``, some of it is wrong."""
    store = open_store(path)
    with store.begin() as tx:
        _facts(tx, now)
        _commits(tx, now)
        _nodes(tx, now, trouble)
        _apps(tx, now, trouble)
        _runs(tx, now)
        if trouble:
            _alerts(tx, now)
        _log(tx, now, trouble)
    return store


def _facts(tx: Connection, now: float) -> None:
    facts = {"cloud": "home", "head": COMMIT, "applied": COMMIT, "engine_started": str(now - 86400),
             "reconciled_at": str(now - 3)}  # fmt: skip
    tx.execute(insert(meta), [{"key": key, "value": value} for key, value in facts.items()])


def _commits(tx: Connection, now: float) -> None:
    plan = {
        "commit": COMMIT, "summary": "1 to create, 1 to update", "unchanged": 2, "blocked": [], "warnings": [],
        "notes": {},
        "changes": [
            {"resource": "app/blog", "kind": "update", "risk": "restarts",
             "reasons": [f"image 1.4.1 → 1.4.2 env.API_KEY {PLANTED} → other"],
             "fields": [{"path": "image", "old": "ghcr.io/ana/blog:1.4.1", "new": "ghcr.io/ana/blog:1.4.2"},
                        {"path": "env.API_KEY", "old": PLANTED, "new": PLANTED + "2"}]},
            {"resource": "app/shop", "kind": "create", "risk": "safe", "reasons": ["apps/shop.yaml is new"],
             "fields": []},
        ],
    }  # fmt: skip
    rows = [
        (OLDER, 1, "Add the wiki", "applied", "1 created", now - 90000, "{}"),
        (COMMIT, 2, "Blog 1.4.2, and a shop with <two> replicas", "applied", "1 created, 1 updated", now - 400,
         json.dumps(plan)),
    ]  # fmt: skip
    for commit, seq, subject, state, summary, at, planned in rows:
        tx.execute(
            insert(commits).values(
                id=commit, seq=seq, author="Ana Example", subject=subject, committed_at=at, seen_at=at + 2,
                state=state, finished_at=at + 9, summary=summary, problems="[]", plan=planned,
            )
        )  # fmt: skip
        planned_text = summary.replace("created", "to create").replace("updated", "to update")
        said = (("automator67/plan", planned_text), ("automator67/apply", summary),
                ("automator67/health", "4 apps healthy, 6 replicas"))  # fmt: skip
        for context, text in said:
            tx.execute(
                insert(posts).values(
                    commit_id=commit, context=context, state="success", description=text, wanted_at=at,
                    posted_state="success", posted_description=text, posted_at=at,
                )
            )  # fmt: skip


def _nodes(tx: Connection, now: float, trouble: bool) -> None:
    for name, address, used in (("hel1", "192.0.2.7", 0.42), ("nbg1", "192.0.2.9", 0.88)):
        away = trouble and name == "nbg1"
        report = {
            "capacity": {"cpu": 2, "memory": 4 * 2**30, "disk": 40 * 2**30},
            "usage": {"cpu": 2 * used, "memory": int(4 * 2**30 * used), "disk": int(40 * 2**30 * 0.31)},
            "runtimes": {"docker": "ok", "process": "ok"}, "conditions": [],
            "agent": {"version": "0.1.0", "rss": 20_400_000, "address": address},
            "foreign": [{"name": "portainer", "image": "portainer/portainer-ce:2.21", "phase": "running",
                         "ports": [9000]}] if name == "hel1" else [],
            "instances": [_instance(app, slot, rev, node, now) for app, slot, rev, node in _PLACES if node == name],
        }  # fmt: skip
        tx.execute(
            insert(nodes).values(
                name=name, cert_expires=now + 60000, enrolled_at=now - 9e5, last_seen=now - (160 if away else 12),
                connected=not away, state="unavailable" if away else "healthy",
                state_reason="no heartbeat for 2m40s" if away else "", state_since=now - 55, report=json.dumps(report),
            )
        )  # fmt: skip


_PLACES = (
    ("blog", 0, "3f2a91c07b1e", "hel1"),
    ("blog", 1, "3f2a91c07b1e", "nbg1"),
    ("shop", 0, "77aa00bb11cc", "hel1"),
    ("wiki", 0, "0011223344ff", "hel1"),
    ("metrics", 0, "5e5e5e5e5e5e", "hel1"),
)


def _instance(app: str, slot: int, rev: str, node: str, now: float) -> dict[str, Any]:
    return {
        "id": f"{app}-{slot}-{rev}", "app": app, "slot": slot, "rev": rev, "epoch": 1, "node": node,
        "phase": "running", "health": "healthy", "since": now - 380, "healthy_since": now - 375, "restarts": 0,
        "detail": "", "address": f"192.0.2.7:3{slot}41{len(app)}", "cpu": 0.03, "memory": 48 * 2**20, "healthy": True,
    }  # fmt: skip


def _apps(tx: Connection, now: float, trouble: bool) -> None:
    states: dict[str, dict[str, Any]] = {
        "blog": {"replicas_wanted": 2, "replicas_healthy": 2},
        "shop": {"replicas_wanted": 1, "replicas_healthy": 1},
        "wiki": {"replicas_wanted": 1, "replicas_healthy": 1},
        "metrics": {"replicas_wanted": 1, "replicas_healthy": 1},
    }
    if trouble:
        states["blog"] |= {"health": "degraded", "replicas_healthy": 1}
        states["shop"] |= {"sync": "held", "rev_wanted": "deadbeef0001", "commit_deployed": OLDER,
                           "reason": "held: exited with code 1 three times; revision 77aa00bb11cc runs until a commit "
                                     "changes apps/shop.yaml"}  # fmt: skip
        states["metrics"] |= {"drift": "drifted"}
        tx.execute(insert(holds).values(app="shop", rev="deadbeef0001", blob="b", commit_id=COMMIT,
                                        reason="exited with code 1 three times", since=now - 200))  # fmt: skip
    for name, state in states.items():
        mine = [_instance(app, slot, rev, node, now) for app, slot, rev, node in _PLACES if app == name]
        if trouble and name == "blog":
            mine[1] |= {"phase": "missing", "health": "none", "healthy": False, "address": "", "detail": "node is away"}
        if trouble and name == "metrics":
            mine[0]["drift"] = ["memory limit 64Mi → none"]
        rev = mine[0]["rev"]
        values = {
            "app": name, "sync": "synced", "health": "healthy", "drift": "none", "rev_wanted": rev, "rev_running": rev,
            "commit_compared": COMMIT, "commit_deployed": COMMIT, "instances": json.dumps(mine),
            "path": f"apps/{name}.yaml", "updated_at": now - 20, **state,
        }  # fmt: skip
        tx.execute(insert(app_states).values(**values))
        spec = {
            "name": name, "image": f"ghcr.io/ana/{name}:1.4.2",
            "domains": ["blog.example.org"] if name == "blog" else [], "env": [["API_KEY", PLANTED]],
        }  # fmt: skip
        past = {"commit_id": COMMIT, "spec": json.dumps(spec), "first_at": now - 400, "asked_at": now - 400}
        for one in {rev, values["rev_wanted"]}:
            tx.execute(insert(revisions).values(app=name, rev=one, healthy_at=now - 20 if one == rev else 0.0, **past))


def _runs(tx: Connection, now: float) -> None:
    save_run(tx, Run("blog", 1, "before", "3f2a91c07b1e", now - 400, state="succeeded", node="hel1",
                     started_at=now - 399, ended_at=now - 396, exit_code=0))  # fmt: skip
    save_run(tx, Run("blog", 2, "manual", "3f2a91c07b1e", now - 90, ("import", "--all"), state="failed", node="hel1",
                     started_at=now - 89, ended_at=now - 80, exit_code=3, detail="no such folder"))  # fmt: skip


def _alerts(tx: Connection, now: float) -> None:
    told = {"night-mail": Telling(told_at=now - 50, times=1)}
    lost = Incident(
        "a1", "node/nbg1", "node", "no heartbeat for 2m40s", now - 55, (("unavailable", now - 55),), told=told
    )
    over = Incident("a2", "app/wiki", "health", "0 of 1 copies are healthy", now - 9000, (("missing", now - 9000),),
                    ended_at=now - 8000)  # fmt: skip
    save_incidents(tx, [(lost, True), (over, False)])
    set_silence(tx, Silence("app/shop", now + 7200, "new shelves", "ana"))


def _log(tx: Connection, now: float, trouble: bool) -> None:
    lines = [
        (now - 90000, "applied", "commit", "1 created", OLDER),
        (now - 395, "start", "app/blog", "start blog-0-3f2a91c07b1e on hel1: image 1.4.1 → 1.4.2", COMMIT),
        (now - 391, "applied", "commit", "1 created, 1 updated", COMMIT),
    ]
    if trouble:
        lines += [
            (now - 200, "hold", "app/shop", "exited with code 1 three times", COMMIT),
            (now - 55, "node", "node/nbg1", "nbg1 is unavailable: no heartbeat for 2m40s", ""),
        ]
    keys = ("at", "kind", "resource", "message", "commit_id")
    tx.execute(insert(events), [dict(zip(keys, line, strict=True)) for line in lines])
    steps = [("start", "app/blog", "blog-0-3f2a91c07b1e", "hel1", "done"),
             ("start", "app/shop", "shop-0-deadbeef0001", "nbg1", "failed")]  # fmt: skip
    for n, (verb, resource, instance, node, state) in enumerate(steps, start=1):
        tx.execute(
            insert(actions).values(
                id=f"{n:010d}", seq=n, commit_id=COMMIT, verb=verb, resource=resource, instance=instance, node=node,
                reason="image 1.4.1 → 1.4.2", risk="restarts", state=state, at=now - 395, done_at=now - 391,
                error="" if state == "done" else "exited with code 1",
            )
        )  # fmt: skip
