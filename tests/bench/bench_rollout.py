"""Requests lost while an app changes: updates by each strategy, a drained and a killed node, a bad revision.

``python -m tests.bench.bench_rollout``: two nodes with containers (root, a Docker Engine, wrk), the gateway on one of
them, 50 connections. Bars: 0 failed requests over updates and a drain; of a killed node at most those in flight on it;
a revision that never gets healthy is back on the last one within deadline + 2 s with 0 failed.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import docker

from tests.support.cloud import Cloud, wait_for
from tests.support.images import need_busybox
from tests.support.programs import need_program

CONNECTIONS = 50
SECONDS = 30
DEADLINE = 8.0
STRATEGIES: dict[str, dict[str, Any]] = {
    "rolling": {}, "blue-green": {}, "canary": {"share": 34, "promote_after": "3s"},
}  # fmt: skip


class Load(NamedTuple):
    """What wrk has seen."""

    requests: int
    failed: int
    rate: float
    p99: str


def app(greeting: str, **keys: Any) -> dict[str, Any]:
    """Return the app under load: three copies of a web server in containers."""
    script = "mkdir -p /tmp/www && echo $GREETING > /tmp/www/index.html && exec busybox httpd -f -p 8080 -h /tmp/www"
    return {
        "image": "busybox:1.36.1", "command": ["sh", "-c", script], "port": 8080, "replicas": 3, "domain": "localhost",
        "resources": {"cpu": 0.4, "memory": "32Mi"}, "env": {"GREETING": greeting},
        "health": {"path": "/", "interval": "500ms"}, "update": {"healthy_for": "1s", "deadline": f"{DEADLINE:g}s"},
    } | keys  # fmt: skip


def main() -> int:
    """Measure, print, and return 1 when a bar is missed."""
    need_program("wrk")
    need_busybox()
    with tempfile.TemporaryDirectory() as directory, Cloud(Path(directory), runtime="docker") as cloud:
        cloud.poll, cloud.own_names = "500ms", True
        gateway = {"kind": "agent", "gateway": True}
        cloud.push(cloud.base() | {"nodes/one.yaml": gateway, "apps/web.yaml": app("first")})
        cloud.up()
        cloud.wait_app("web", lambda s: s.sync == "synced" and s.health == "healthy", 60)
        port = wait_for("the gateway", lambda: _port(cloud))
        wait_for("an answer", lambda: _load(port, 1, 1).failed == 0)
        updates = [_updates(cloud, port, strategy) for strategy in STRATEGIES]
        good = [*updates, _bad(cloud, port), _drained(cloud, port), _killed(cloud, port)]
    return 0 if all(good) else 1


def _updates(cloud: Cloud, port: int, strategy: str) -> bool:
    done = 0
    update = {"strategy": strategy, "healthy_for": "1s", "deadline": f"{DEADLINE:g}s"} | STRATEGIES[strategy]

    def change(stop: Callable[[], bool]) -> None:
        nonlocal done
        while not stop():
            commit = cloud.push({"apps/web.yaml": app(f"{strategy} {done}", update=update)}, "update")
            cloud.wait_commit(commit, seconds=90)
            done += 1

    load = _during(port, SECONDS, change)
    print(f"{strategy:10} {done} updates of 3 copies: {_text(load)} (bar 0)")
    return load.failed == 0 and done > 0


def _bad(cloud: Cloud, port: int) -> bool:
    back = 0.0

    def change(_stop: Callable[[], bool]) -> None:
        nonlocal back
        broken = app("bad") | {"command": ["sh", "-c", "sleep 60"]}
        cloud.push({"apps/web.yaml": broken}, "never healthy")
        wait_for("a copy of it", lambda: any(not i["healthy"] for i in _instances(cloud)), 30)
        began = time.monotonic()
        cloud.wait_app("web", lambda s: s.sync == "held" and s.replicas_healthy == 3, 60)
        back = time.monotonic() - began

    load = _during(port, 20, change)
    print(f"bad        back after {back:.1f} s (bar {DEADLINE + 2:g}); {_text(load)} (bar 0)")
    cloud.wait_commit(cloud.push({"apps/web.yaml": app("good again")}, "good again"), seconds=90)
    return load.failed == 0 and back <= DEADLINE + 2


def _drained(cloud: Cloud, port: int) -> bool:
    def change(_stop: Callable[[], bool]) -> None:
        cloud.push({"nodes/two.yaml": {"kind": "agent", "drain": True}}, "drain")
        wait_for("node two to be empty", lambda: {i["node"] for i in _instances(cloud)} == {"one"}, 60)

    load = _during(port, 20, change)
    print(f"drained    {_text(load)} (bar 0)")
    cloud.push({"nodes/two.yaml": {"kind": "agent"}, "apps/web.yaml": app("on both", replicas=4)}, "back")
    wait_for("both nodes to serve", lambda: {i["node"] for i in _instances(cloud)} == {"one", "two"}, 60)
    cloud.wait_app("web", lambda s: s.sync == "synced" and s.replicas_healthy == 4, 60)
    return load.failed == 0


def _killed(cloud: Cloud, port: int) -> bool:
    client = docker.from_env()

    def change(_stop: Callable[[], bool]) -> None:
        time.sleep(3)
        mine = client.containers.list(
            ignore_removed=True, filters={"label": [f"a67.cloud={cloud.name}", "a67.node=two"]}
        )
        home = cloud.agent_state("two") / "edge"
        caddy = int(json.loads((home / "caddy.json").read_text())["pid"])
        cloud.processes["agent-two"].send_signal(signal.SIGKILL)
        for pid in (int((home / "lock").read_text()), caddy, *(int(c.attrs["State"]["Pid"]) for c in mine)):
            subprocess.run(["kill", "-9", str(pid)], check=False)

    load = _during(port, 15, change)
    print(f"killed     {_text(load)} (bar {CONNECTIONS})")
    return load.failed <= CONNECTIONS


def _during(port: int, seconds: int, change: Callable[[Callable[[], bool]], None]) -> Load:
    results: list[Load] = []
    worker = threading.Thread(target=lambda: results.append(_load(port, seconds, CONNECTIONS)))
    worker.start()
    time.sleep(1)
    end = time.monotonic() + seconds - 6
    change(lambda: time.monotonic() > end)
    worker.join()
    return results[0]


def _load(port: int, seconds: int, connections: int) -> Load:
    argv = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--latency",
        "--timeout",
        "20s",
        f"https://localhost:{port}/",
    ]
    out = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    requests = re.search(r"(\d+) requests in", out)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    p99 = re.search(r"99%\s+(\S+)", out)
    failed = (int(bad.group(1)) if bad else 0) + (sum(int(n) for n in errors.groups()) if errors else 0)
    assert requests is not None
    assert rate is not None
    return Load(int(requests.group(1)), failed, float(rate.group(1)), p99.group(1) if p99 else "?")


def _text(load: Load) -> str:
    return f"{load.requests} requests, {load.rate:.0f}/s, p99 {load.p99}, {load.failed} failed"


def _instances(cloud: Cloud) -> list[dict[str, Any]]:
    state = cloud.app("web")
    return [dict(i) for i in state.instances if i["phase"] != "stopping"] if state else []


def _port(cloud: Cloud) -> int:
    try:
        found = json.loads((cloud.agent_state("one") / "edge" / "status.json").read_text())
    except FileNotFoundError:
        return 0
    return int(found.get("https", 0))


if __name__ == "__main__":
    sys.exit(main())
