"""Which other nodes' proxies can be reached, and what addresses their names have."""

from __future__ import annotations

import asyncio
import socket

from automator67.agent.edge.table import split

EVERY_SECONDS = 1.5
TIMEOUT = 1.0
FALL = 2
"""A proxy that did not answer so many times in a row is down; one answer brings it back."""
LOOK_UP_SECONDS = 30.0


class Reach:
    """Asks every proxy from time to time whether it takes connections; for a gateway, which sends requests there."""

    def __init__(self) -> None:
        self._nodes: dict[str, str] = {}
        self._misses: dict[str, int] = {}
        self._names: dict[str, list[str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.down: frozenset[str] = frozenset()

    def watch(self, nodes: dict[str, str]) -> None:
        """Take up which nodes there are: ``HOST:PORT`` by name."""
        moved = {n for n, address in nodes.items() if self._nodes.get(n, address) != address}
        self._nodes = nodes
        self._misses = {n: m for n, m in self._misses.items() if n in nodes and n not in moved}
        self._judge()

    def resolve(self, host: str) -> list[str]:
        """Return the addresses of a host as last looked up; the first time none, and it is looked up."""
        if host not in self._names:
            self._names[host] = []
            task = asyncio.ensure_future(self._keep_looking_up(host))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return self._names[host]

    async def run(self) -> None:
        """Ask for ever."""
        while True:
            await asyncio.gather(*(self._ask(n, address) for n, address in self._nodes.items()))
            self._judge()
            await asyncio.sleep(EVERY_SECONDS)

    def _judge(self) -> None:
        self.down = frozenset(n for n, m in self._misses.items() if m >= FALL)

    async def _ask(self, node: str, address: str) -> None:
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(*split(address)), TIMEOUT)
            writer.close()
            misses = 0
        except (OSError, ValueError, TimeoutError):
            misses = self._misses.get(node, 0) + 1
        # Meanwhile it may have gone or moved.
        if self._nodes.get(node) == address:
            self._misses[node] = misses

    async def _keep_looking_up(self, host: str) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
                self._names[host] = sorted({str(info[4][0]) for info in found})
            except OSError:
                # The last addresses are better than none.
                pass
            await asyncio.sleep(LOOK_UP_SECONDS)
