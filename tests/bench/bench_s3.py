"""The S3 endpoint, sealed and with two copies, beside ``rclone serve s3`` over crypt and an all-create union.

Both keep what they are given in two directories; the client is obstore, 16 requests at a time. Figures are requests a
second (p99 in milliseconds); what counts is the ratio. The bars: GET 4 KB at least 1.3 times, PUT 4 KB 5 times, 5 MB
once, p99 below rclone's, resident memory below 120 MiB.

    python -m tests.bench.bench_s3 [--small 3000] [--large 60]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import obstore
import yaml
from obstore.store import S3Store

from automator67.engine.secrets.keys import Keyring
from automator67.engine.secrets.sealing import seal
from tests.support.buckets import KEY
from tests.support.cloud import free_port, wait_for

ID, SECRET = "BENCHMARK", "a-secret-key-of-the-benchmark"
AT_ONCE = 16
SMALL, LARGE = os.urandom(4096), os.urandom(5_000_000)


@dataclass(frozen=True)
class Figure:
    """Requests a second, and how long all but one in a hundred took at most, in seconds."""

    rate: float
    p99: float


@contextmanager
def running(argv: list[str], port: int, log: Path) -> Iterator[int]:
    """Run a server until it answers at ``port``; yield its process id."""
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=output)
    try:
        wait_for("the server", lambda: _answers(port) or process.poll() is not None)
        if process.poll() is not None:
            raise SystemExit(log.read_text())
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ours(folder: Path, port: int) -> list[str]:
    """Return the command that serves bucket ``b`` from two directories below ``folder``."""
    for name in ("buckets", "nodes", "secrets", "d1", "d2"):
        (folder / name).mkdir(parents=True)
    (folder / "automator67.yaml").write_text("name: home\n")
    key = Keyring(folder / "state" / "secrets").ensure().public
    for name, value in {"key": KEY, "access": SECRET.encode()}.items():
        (folder / "secrets" / f"{name}.sealed").write_text(seal(key, "home", name, value))
    for name in ("d1", "d2"):
        (folder / "nodes" / f"{name}.yaml").write_text(f"kind: local\nbucket: {folder / name}\n")
    access = [{"id": ID, "secret": {"secret": "access"}}]
    document = {"providers": ["d1", "d2"], "key": {"secret": "key"}, "access": access}
    (folder / "buckets" / "b.yaml").write_text(yaml.safe_dump(document))
    return [sys.executable, "-m", "automator67.engine.cli", "s3", "--repo", str(folder), "--state",
            str(folder / "state"), "--listen", f"127.0.0.1:{port}"]  # fmt: skip


def theirs(folder: Path, port: int) -> list[str]:
    """Return the command that serves bucket ``b`` by rclone, from two directories below ``folder``."""
    for name in ("d1", "d2"):
        (folder / name).mkdir(parents=True)
    rclone = str(Path(sys.executable).parent / "rclone")
    obscured = subprocess.run([rclone, "obscure", "a password"], capture_output=True, text=True, check=True).stdout
    config = folder / "rclone.conf"
    config.write_text(
        f"[two]\ntype = union\nupstreams = {folder / 'd1'} {folder / 'd2'}\ncreate_policy = all\n"
        f"[sealed]\ntype = crypt\nremote = two:\npassword = {obscured}\n"
    )
    subprocess.run([rclone, "--config", str(config), "mkdir", "sealed:b"], check=True)
    return [rclone, "--config", str(config), "serve", "s3", "sealed:", "--addr", f"127.0.0.1:{port}",
            "--auth-key", f"{ID},{SECRET}", "-q"]  # fmt: skip


async def measured(count: int, work: Callable[[int], Awaitable[object]]) -> Figure:
    """Do ``work`` so often, some at a time."""
    waits: list[float] = []
    numbers = iter(range(count))

    async def worker() -> None:
        for n in numbers:
            began = time.perf_counter()
            await work(n)
            waits.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return Figure(count / (time.perf_counter() - began), sorted(waits)[int(0.99 * len(waits))])


async def figures(port: int, small: int, large: int) -> dict[str, Figure]:
    """Measure one server."""
    store = S3Store(
        "b", endpoint=f"http://127.0.0.1:{port}", access_key_id=ID, secret_access_key=SECRET, region="us-east-1",
        client_options={"allow_http": True},
    )  # fmt: skip

    async def get(name: str) -> None:
        await (await obstore.get_async(store, name)).bytes_async()

    async def put(name: str, data: bytes) -> None:
        await obstore.put_async(store, name, data, use_multipart=False)

    await put("warm", SMALL)
    return {
        "PUT 4 KB": await measured(small, lambda n: put(f"s/{n}", SMALL)),
        "GET 4 KB": await measured(small, lambda n: get(f"s/{n}")),
        "PUT 5 MB": await measured(large, lambda n: put(f"l/{n}", LARGE)),
        "GET 5 MB": await measured(large, lambda n: get(f"l/{n}")),
    }


def resident(pid: int) -> float:
    """Return the most memory that a process has had, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


BARS = {"PUT 4 KB": 5.0, "GET 4 KB": 1.3, "PUT 5 MB": 1.0, "GET 5 MB": 1.0}
MOST_MEMORY = 120.0


def main() -> None:
    """Print the figures; exit with 1 when a bar is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", type=int, default=3000)
    parser.add_argument("--large", type=int, default=60)
    options = parser.parse_args()
    found, memory = {}, {}
    for name, command in (("automator67", ours), ("rclone", theirs)):
        with tempfile.TemporaryDirectory() as folder:
            port = free_port()
            argv = command(Path(folder), port)
            with running(argv, port, Path(folder, "log")) as pid:
                found[name] = asyncio.run(figures(port, options.small, options.large))
                memory[name] = resident(pid)
    missed = False
    for what, bar in BARS.items():
        us, them = found["automator67"][what], found["rclone"][what]
        ratio, tail = us.rate / them.rate, us.p99 / them.p99
        missed |= ratio < bar or tail > 1
        print(f"{what}: {us.rate:,.0f}/s (p99 {us.p99 * 1000:.1f} ms), rclone {them.rate:,.0f}/s "
              f"({them.p99 * 1000:.1f} ms): {ratio:.2f} x (bar {bar}), p99 {tail:.2f} x (bar 1)")  # fmt: skip
    missed |= memory["automator67"] > MOST_MEMORY
    print(f"memory: {memory['automator67']:.0f} MiB (bar {MOST_MEMORY:.0f}), rclone {memory['rclone']:.0f} MiB")
    sys.exit(missed)


if __name__ == "__main__":
    main()
