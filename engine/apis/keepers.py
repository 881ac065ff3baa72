"""Keepers of many nodes: one for each configuration that a commit declares, begun anew when that changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from automator67.engine.apis.client import ApiError
from automator67.engine.apis.keeper import Desk, Keeper

W = TypeVar("W")
CLOSE_SECONDS = 5.0
Configuration = tuple[str, ...]


@dataclass(slots=True)
class _Running(Generic[W]):
    keeper: Keeper[W]
    configuration: Configuration


class Keepers(Generic[W]):
    """``make(node, configuration)`` makes the keeper of a node, or raises ApiError."""

    def __init__(self, desk: Desk, make: Callable[[str, Configuration], Keeper[W]]) -> None:
        self._desk, self._make = desk, make
        self._running: dict[str, _Running[W]] = {}

    def keep(self, node: str, configure: Callable[[], Configuration], want: W) -> None:
        """Begin to keep a node, or begin anew where its configuration changed, and say what is wanted.

        Where the configuration cannot be had, what is kept goes on; where nothing is, the node says why.
        """
        before = self._running.get(node)
        try:
            configuration = configure()
            if before is None or before.configuration != configuration:
                keeper = self._make(node, configuration)
                if before is not None:
                    self.leave(node)
                self._running[node] = _Running(keeper, configuration)
                keeper.start()
        except ApiError as error:
            if before is None:
                self._desk.unreachable(node, str(error))
                return
        self._running[node].keeper.want(want)

    def only(self, nodes: set[str]) -> None:
        """Leave all nodes but these."""
        for node in [n for n in self._running if n not in nodes]:
            self.leave(node)

    def leave(self, node: str) -> None:
        """Stop keeping a node; what is there stays."""
        keeper = self._running.pop(node).keeper
        keeper.close()
        keeper.join(CLOSE_SECONDS)


def token_of(secret: Callable[[str], bytes], name: str) -> str:
    """Return a token from a secret. Raises ApiError for what cannot be one, and what ``secret`` raises."""
    token = secret(name).decode(errors="replace").strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ApiError("the token is empty or has characters that no token has")
    return token
