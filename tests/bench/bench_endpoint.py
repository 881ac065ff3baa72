"""Two thousand agents held by one endpoint on one core: CPU, memory, and how fast a change reaches all of them.

    python -m tests.bench.bench_endpoint

Each simulated agent has what a real one has: a client certificate of its own, a held request, and a new connection for
each heartbeat, one every 30 s. The endpoint runs in a process of its own, pinned to one core. Bars: below 50 % of that
core at rest, below 250 MiB, and a changed desired state at every agent within 1 s (median). The ratio is against the
handshakes alone: what one core spends on connecting them once.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from automator67.engine.clock import steady_now
from automator67.engine.nodes.certificates import Authority
from automator67.engine.nodes.endpoint import Endpoint
from automator67.engine.nodes.registry import Registry
from automator67.engine.nodes.tasks import TaskBroker
from automator67.engine.settings import Settings
from automator67.engine.store.database import open_store
from tests.unit.test_certificates import csr

AGENTS = int(os.environ.get("A67_BENCH_AGENTS", "2000"))
REST_SECONDS = 30.0
INSTANCE = {
    "id": "web-0-abc",
    "app": "web",
    "slot": 0,
    "rev": "abc",
    "epoch": 1,
    "phase": "running",
    "health": "healthy",
}


async def serve(folder: Path) -> None:
    """The endpoint's process: answers commands on stdin with one line each."""
    store = open_store(folder / "store.db")
    registry, broker = Registry(store, steady_now), TaskBroker()
    endpoint = Endpoint(
        Authority.open(folder / "ca"), registry, store, broker,
        cloud=lambda: "bench", heartbeat=lambda: 30.0, on_change=lambda _: None, clock=steady_now,
    )  # fmt: skip
    await endpoint.start("127.0.0.1", int(sys.argv[3]), ["127.0.0.1"])
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while command := (await reader.readline()).decode().strip():
        started: float = time.monotonic()
        if command.startswith("change"):

            def change(command: str = command) -> None:
                for n in range(AGENTS):
                    registry.set_desired(f"n{n}", "bench", [{"id": f"web-0-{command}", "app": "web"}])

            await asyncio.to_thread(change)
        elif command == "count":
            started = len(registry.views({}, Settings()))
        else:
            await asyncio.to_thread(registry.flush)
        print(started, flush=True)
    await endpoint.stop()
    store.close()


class Agent:
    """One simulated agent."""

    def __init__(self, number: int, port: int, pem: Path, ca: str) -> None:
        self.number, self.port = number, port
        self.context = ssl.create_default_context(cadata=ca)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.load_cert_chain(pem)
        self.rev = ""
        self.changed = asyncio.Event()
        self.changed_at = 0.0

    async def connect(self) -> None:
        """Open the connection that is held."""
        self.held = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.context)

    async def hold(self) -> None:
        """Hold a request for the desired state, again and again."""
        reader, writer = self.held
        while True:
            writer.write(f"GET /v1/desired?rev={self.rev}&wait=50 HTTP/1.1\r\nHost: engine\r\n\r\n".encode())
            status, body = await _answer(reader)
            if status == 200:
                self.changed_at = time.monotonic()
                self.rev = json.loads(body)["rev"]
                self.changed.set()

    async def beat(self) -> None:
        """Send heartbeats as the engine asks for them."""
        seq, pause = 0, 30.0 * (self.number / AGENTS)
        while True:
            await asyncio.sleep(pause)
            seq += 1
            message = {
                "proto": 1, "boot_id": f"b{self.number}", "seq": seq, "clock": time.time(), "rev_applied": self.rev,
                "runtimes": {"docker": "ok"}, "instances": [INSTANCE],
                "capacity": {"cpu": 2, "memory": 1e9, "disk": 1e10},
                "usage": {"cpu": 0.1, "memory": 1e8, "disk": 1e9}, "agent": {"version": "0.1.0"},
            }  # fmt: skip
            body = json.dumps(message).encode()
            head = f"POST /v1/heartbeat HTTP/1.1\r\nHost: engine\r\nContent-Length: {len(body)}\r\n\r\n"
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.context)
            writer.write(head.encode() + body)
            status, answer = await _answer(reader)
            writer.close()
            assert status == 200, answer
            pause = json.loads(answer)["next_s"]


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    length = next((int(h.split(b":")[1]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length:")), 0)
    return status, await reader.readexactly(length) if length else b""


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024


async def drive(folder: Path, port: int, server: subprocess.Popen[bytes]) -> int:
    """Connect all agents, let them rest, then change every desired state; print what was measured."""
    assert server.stdin is not None
    assert server.stdout is not None
    authority = Authority.open(folder / "ca")
    key = ec.generate_private_key(ec.SECP256R1())
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    request = csr(key)
    agents = []
    for n in range(AGENTS):
        pem = folder / "agent.pem"
        pem.write_text(secret + authority.sign(request, "bench", f"n{n}").pem)
        agents.append(Agent(n, port, pem, authority.pem))
    spent = _cpu(server.pid)
    for first in range(0, AGENTS, 50):
        await asyncio.gather(*(a.connect() for a in agents[first : first + 50]))
    handshakes = _cpu(server.pid) - spent
    tasks = [asyncio.create_task(work) for a in agents for work in (a.hold(), a.beat())]

    async def ask(command: str) -> float:
        server.stdin.write(f"{command}\n".encode())  # type: ignore[union-attr]
        server.stdin.flush()  # type: ignore[union-attr]
        return float(await asyncio.to_thread(server.stdout.readline))  # type: ignore[union-attr]

    # The registry knows a node from its first request on; what is desired of an unknown one is not kept.
    while int(await ask("count")) < AGENTS:  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    await ask("change-0")
    await asyncio.gather(*(a.changed.wait() for a in agents))
    await asyncio.sleep(2)
    spent, began = _cpu(server.pid), time.monotonic()
    for _ in range(int(REST_SECONDS)):
        await asyncio.sleep(1)
        await ask("flush")
    share = (_cpu(server.pid) - spent) / (time.monotonic() - began)
    memory = _memory(server.pid)
    delays: list[float] = []
    for n in range(1, 4):
        for a in agents:
            a.changed.clear()
        started = await ask(f"change-{n}")
        await asyncio.wait_for(asyncio.gather(*(a.changed.wait() for a in agents)), 60)
        delays += [a.changed_at - started for a in agents]
    failed = [t for t in tasks if t.done()]
    for t in tasks:
        t.cancel()
    median = statistics.median(delays)
    per_beat = share / (AGENTS / 30.0) * 1000
    print(f"{AGENTS} agents: {share:.1%} of a core at rest (bar 50 %)")
    print(f"that is {per_beat:.2f} ms of CPU a heartbeat, with all that belongs to it")
    print(f"connecting all once: {handshakes:.2f} s of CPU; a minute of rest is {share * 60 / handshakes:.2f} x that")
    print(f"memory {memory:.0f} MiB (bar 250 MiB), {memory * 1024 / AGENTS:.0f} kB an agent")
    print(f"a change at every agent: median {median * 1000:.0f} ms, last {max(delays) * 1000:.0f} ms (bar 1 s)")
    print(f"agents that failed: {len(failed)}")
    return 0 if share < 0.5 and memory < 250 and median < 1 and not failed else 1


def main() -> int:
    """Run the benchmark; return the exit code."""
    if len(sys.argv) > 1 and sys.argv[1] == "serve":
        os.sched_setaffinity(0, {0})
        uvloop.run(serve(Path(sys.argv[2])))
        return 0
    from tests.support.cloud import free_port

    with tempfile.TemporaryDirectory(prefix="a67bench") as name:
        folder, port = Path(name), free_port()
        Authority.open(folder / "ca")
        argv = [sys.executable, "-m", "tests.bench.bench_endpoint", "serve", name, str(port)]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            assert server.stdout.readline().strip() == b"ready"
            try:
                return uvloop.run(drive(folder, port, server))
            finally:
                server.terminate()


if __name__ == "__main__":
    sys.exit(main())
