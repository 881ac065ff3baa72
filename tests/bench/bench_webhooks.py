"""Webhooks under load: 50 deliveries a second for 20 s, beside a bare Flask endpoint that answers 204.

``python -m tests.bench.bench_webhooks``. Each delivery comes on a connection of its own, as forges send them, at its
time whether or not the one before is answered; its latency counts from that time. The bar: p99 below 20 ms, and
every accepted delivery in the inbox.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from automator67.engine.inbox import Inbox, Waker
from tests.support import deliveries as forge
from tests.support.cloud import free_port, wait_for
from tests.support.web import SETTINGS, WebProcess, sample_store

RATE = 50
SECONDS = 20
BAR_MS = 20.0
PEER = """
from flask import Flask
app = Flask(__name__)
@app.post("/")
def nothing():
    return "", 204
"""


class Engine(threading.Thread):
    """Takes deliveries as the engine does: woken by the socket, then everything that waits."""

    def __init__(self, state: Path) -> None:
        super().__init__(daemon=True)
        self.taken: set[str] = set()
        self.bursts = 0
        self.stopping = False
        self._inbox = Inbox(state / "inbox")
        self._waker = Waker(state)

    def run(self) -> None:
        async def serve() -> None:
            woken = asyncio.Event()
            self._waker.attach(asyncio.get_running_loop(), woken.set)
            while not self.stopping:
                try:
                    await asyncio.wait_for(woken.wait(), 0.5)
                except TimeoutError:
                    continue
                woken.clear()
                self.look()
            self._waker.close()

        asyncio.run(serve())

    def look(self) -> None:
        self.bursts += 1
        for delivery in self._inbox.take():
            self.taken.add(delivery.delivery_id)
            self._inbox.done(delivery)


async def post(address: tuple[str, int], path: str, headers: dict[str, str], body: bytes) -> int:
    """Send one request on a new connection and return the status once the whole answer is there."""
    reader, writer = await asyncio.open_connection(*address)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"POST {path} HTTP/1.1\r\nHost: bench\r\n{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(request.encode() + body)
    answer = await reader.read(-1)
    writer.close()
    return int(answer.split(b" ", 2)[1])


async def load(ours: tuple[str, int], peer: tuple[str, int]) -> tuple[dict[str, int], list[float], list[float]]:
    """Send to both, half an interval apart. Returns our statuses by delivery, and both latencies in ms."""
    statuses: dict[str, int] = {}
    latencies: tuple[list[float], list[float]] = ([], [])
    begun = time.perf_counter() + 0.2

    async def one(n: int) -> None:
        name = f"bench-{n}"
        headers, body = forge.github(forge.push(commits=[{"message": "x" * 200}] * 20), delivery=name)
        for which, (address, path) in enumerate(((ours, "/hooks/github"), (peer, "/"))):
            due = begun + n / RATE + which / RATE / 2
            await asyncio.sleep(due - time.perf_counter())
            status = await post(address, path, headers, body)
            latencies[which].append((time.perf_counter() - due) * 1000)
            if which == 0:
                statuses[name] = status

    await asyncio.gather(*(one(n) for n in range(RATE * SECONDS)))
    return statuses, *latencies


def figures(values: list[float]) -> tuple[float, float, float]:
    """Return median, 99th percentile and maximum."""
    cut = statistics.quantiles(values, n=100)
    return statistics.median(values), cut[98], max(values)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        state.mkdir()
        sample_store(state / "store.db", time.time()).close()
        (Path(folder) / "peer.py").write_text(PEER)
        port = free_port()
        bare = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--no-control-socket", "-k", "gthread", "--threads", "8", "-b",
             f"127.0.0.1:{port}", "--log-level", "error", "peer:app"],
            cwd=folder,
        )  # fmt: skip
        engine = Engine(state)
        engine.start()
        try:
            with WebProcess(state, SETTINGS) as web:

                def answers() -> bool:
                    try:
                        return asyncio.run(post(("127.0.0.1", port), "/", {}, b"")) == 204
                    except OSError:
                        return False

                wait_for("the bare endpoint", answers)
                headers, body = forge.github(forge.push(), delivery="warm")
                asyncio.run(post(web.address, "/hooks/github", headers, body))
                statuses, ours, peers = asyncio.run(load(web.address, ("127.0.0.1", port)))
        finally:
            bare.terminate()
            bare.wait()
        engine.stopping = True
        engine.join()
        engine.look()
    lost = {name for name, status in statuses.items() if status == 202} - engine.taken
    other = sorted({status for status in statuses.values() if status != 202})
    mine, theirs = figures(ours), figures(peers)
    print(f"webhooks, {RATE} a second for {SECONDS} s, a new connection each, body {len(body)} bytes and more")
    print(f"{'':28}{'median':>10}{'p99':>10}{'max':>10}   ms")
    print(f"{'webhook answered 202':28}{mine[0]:10.2f}{mine[1]:10.2f}{mine[2]:10.2f}")
    print(f"{'bare Flask 204':28}{theirs[0]:10.2f}{theirs[1]:10.2f}{theirs[2]:10.2f}")
    print(f"ratio: median {mine[0] / theirs[0]:.2f}, p99 {mine[1] / theirs[1]:.2f}")
    print(
        f"accepted {len(statuses)}, taken by the engine {len(engine.taken)} in {engine.bursts} looks, lost {len(lost)}"
    )
    passed = mine[1] < BAR_MS and not lost and not other
    print(
        f"bar: p99 below {BAR_MS:.0f} ms and none lost: {'met' if passed else 'MISSED'}{f' {other}' if other else ''}"
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
