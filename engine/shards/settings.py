"""The settings of one client's session: kept by the router, made on each connection that is lent to it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from automator67.engine.shards.plan.statements import literal, quoted
from automator67.engine.shards.wire import messages as m
from automator67.engine.shards.wire.backend import Backend, ShardError

_NOT_SETTINGS = frozenset({"user", "database", "replication", "options"})
_FIXED = {"client_encoding": ("utf8", "utf-8", "unicode"), "standard_conforming_strings": ("on",)}
MULTI_SHARD_WRITES = "automator67.multi_shard_writes"


class SessionSettings:
    """Names (in lower case) to values, as PostgreSQL shows them."""

    def __init__(self, startup: Mapping[str, str]) -> None:
        """Take the settings of the startup message. Raises ShardError for those that cannot be."""
        self.user = startup.get("user", "")
        self.values: dict[str, str] = {}
        for name, value in startup.items():
            if name not in _NOT_SETTINGS and not name.startswith("_pq_."):
                self.set(name, value)
        for name, value in _options(startup.get("options", "")):
            self.set(name, value)
        self.local: dict[str, str] = {}

    @property
    def best_effort(self) -> bool:
        """Whether the client accepts that a change of several shards may be committed on some of them only."""
        return self.values.get(MULTI_SHARD_WRITES, "") == "best effort"

    @property
    def path(self) -> tuple[str, ...]:
        """The schemas of the search path."""
        return _path(self.values.get("search_path", '"$user", public'), self.user)

    def set(self, name: str, value: str) -> None:
        """Remember a setting. Raises ShardError for one the router cannot have."""
        folded = name.lower()
        if folded in _FIXED and value.lower().strip("'\"") not in _FIXED[folded]:
            raise ShardError("", m.error("0A000", f"{folded} must be {_FIXED[folded][0]} through the router"))
        if folded == MULTI_SHARD_WRITES and value not in ("atomic", "best effort"):
            raise ShardError("", m.error("22023", f"{MULTI_SHARD_WRITES} is 'atomic' or 'best effort'"))
        self.values[folded] = value

    def reset(self, name: str) -> None:
        """Forget a setting; all of them for ``all``."""
        if name.lower() == "all":
            self.values.clear()
        else:
            self.values.pop(name.lower(), None)

    async def apply(self, backend: Backend) -> None:
        """Make the settings on a connection, where it has others. Raises ShardError."""
        wanted = self.values
        if backend.applied == wanted:
            return
        old = [f"RESET {_written(name)}" for name in backend.applied if name not in wanted]
        new = [
            f"SELECT set_config({literal(name)}, {literal(value)}, false)"
            for name, value in wanted.items()
            if backend.applied.get(name) != value
        ]
        await backend.run("; ".join([*old, *new]))
        backend.applied = dict(wanted)


@lru_cache(maxsize=256)
def _path(written: str, user: str) -> tuple[str, ...]:
    parts = (part.strip() for part in written.split(","))
    return tuple(user if p == '"$user"' else p.strip('"') if p[:1] == '"' else p.lower() for p in parts if p)


def _written(name: str) -> str:
    return ".".join(quoted(part) for part in name.split("."))


def _options(text: str) -> list[tuple[str, str]]:
    """Return the settings of ``-c name=value`` options (PostgreSQL documentation, "Startup message", options)."""
    words = text.replace("--", "-c ").split()
    found = []
    for n, word in enumerate(words):
        item = words[n + 1] if word == "-c" and n + 1 < len(words) else word[2:] if word.startswith("-c") else ""
        name, equals, value = item.partition("=")
        if equals:
            found.append((name.replace("-", "_"), value))
    return found
