"""How a log line of a replica is shown to a person."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from zlib import crc32

_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


def replica_name(instance: str, node: str) -> str:
    """Return a short name of a replica: ``web-0.3f2a@one`` for instance ``web-0-3f2a91c07b1e`` on node one."""
    slot, _, rev = instance.rpartition("-")
    return f"{slot}.{rev[:4]}@{node}" if slot else f"{instance}@{node}"


class LineWriter:
    """Makes lines of messages; prefixes are as wide as the widest so far, and coloured where asked for."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour
        self._prefixes: dict[tuple[str, str], str] = {}
        self._width = 0

    def line(self, message: Mapping[str, Any]) -> str:
        """Return one line with its time and the replica that wrote it, with the line end."""
        who = (str(message.get("instance", "")), str(message.get("node", "")))
        prefix = self._prefixes.get(who) or self._prefix(who)
        at = float(message.get("t", 0))
        clock = time.strftime("%H:%M:%S", time.localtime(at))
        return f"{clock}.{int(at % 1 * 1000):03d} {prefix} {message.get('m', '')}\n"

    def _prefix(self, who: tuple[str, str]) -> str:
        name = replica_name(*who)
        if len(name) > self._width:
            self._width = len(name)
            self._prefixes.clear()
        text = f"{name:<{self._width}} |"
        if self._colour:
            text = f"\033[{_COLOURS[crc32(name.encode()) % len(_COLOURS)]}m{text}\033[0m"
        self._prefixes[who] = text
        return text
