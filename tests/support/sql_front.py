"""The SQL router in a process of its own, on a unix socket: ``python -m tests.support.sql_front FOLDER < document``."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from automator67.engine.shards.journal import Journal
from automator67.engine.shards.layout import layout_of
from automator67.engine.shards.router import Router
from automator67.engine.shards.server import Front
from automator67.engine.shards.wire.address import read_url
from automator67.engine.shards.wire.scram import Verifier
from tests.support.shards import PASSWORD

PORT = 6543
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class FrontProcess:
    """A router that runs; clients connect to the socket in ``folder``."""

    pid: int
    folder: Path

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"postgresql://app:{PASSWORD.replace(' ', '%20')}@/shop?host={self.folder}&port={PORT}"

    @property
    def cpu_seconds(self) -> float:
        """What the process has used, in user and system mode."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    @property
    def resident_bytes(self) -> int:
        """The memory it has now."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def forget_peak(self) -> None:
        """Begin to measure the peak of memory anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    @property
    def peak_bytes(self) -> int:
        """The most memory it has had since ``forget_peak``."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


@contextmanager
def front(document: Mapping[str, Any], folder: Path) -> Iterator[FrontProcess]:
    """Run a router over the shards of a document until the end of the block."""
    command = [sys.executable, "-m", "tests.support.sql_front", str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(document))
        process.stdin.close()
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the router did not start")
        yield FrontProcess(process.pid, folder)
    finally:
        process.terminate()
        process.wait(30)


async def _serve(folder: Path) -> None:
    layout = layout_of("shop", json.load(sys.stdin))
    addresses = [read_url(shard.url) for shard in layout.shards]
    router = Router(layout, addresses, Journal(folder / "journal", "shop"))
    await router.start()
    clients = Front(router, "app", Verifier.of(PASSWORD))
    await asyncio.get_running_loop().create_unix_server(clients.accept, str(folder / f".s.PGSQL.{PORT}"))
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(Path(sys.argv[1])))
