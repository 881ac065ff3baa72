"""The short way of a statement that one shard answers: bytes pass between client and shard, by callbacks alone.

Taken where nothing is to be decided but the shard: no transaction is open, the plan is known, an idle connection with
the client's settings is at hand. Everything else goes the long way, through ``Session``.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING

from automator67.engine.shards.keys import Key, from_parameter
from automator67.engine.shards.plan.conditions import IsNull, Parameter, Read
from automator67.engine.shards.plan.place import single
from automator67.engine.shards.plans import Planned
from automator67.engine.shards.portals import Prepared
from automator67.engine.shards.values import Call
from automator67.engine.shards.wire import messages as m
from automator67.engine.shards.wire.backend import Backend, unreachable

if TYPE_CHECKING:
    from automator67.engine.shards.session import Session

_HEAD = struct.Struct(">BI")
_RUN = m.execute(b"") + m.SYNC
_DESCRIBE_AND_RUN = m.describe(b"P", b"") + _RUN
_BIND, _QUERY = b"B"[0], b"Q"[0]
_READY, _ERROR, _SETTING = b"Z"[0], b"E"[0], b"S"[0]
_KINDS = frozenset(("select", "write"))


class Express:
    """Takes what a client at rest sends, where that can go the short way."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._router = session.router
        self._client = session.channel
        self._backend: Backend | None = None
        self._planned: Planned | None = None
        self._described = b""
        self._kept = b""
        self._skip = 0
        self._started = 0.0
        self._paused = False

    @property
    def backend(self) -> Backend | None:
        """The connection in use."""
        return self._backend

    def offer(self, data: bytes) -> bool:
        """Take a client's bytes, if they are one statement that one shard answers."""
        session = self._session
        if not session.at_rest or session.connections.transaction is not None:
            return False
        kind = data[0]
        if kind == _BIND:
            return self._bind(data)
        return kind == _QUERY and self._query(data)

    def _bind(self, data: bytes) -> bool:
        if len(data) < 12:
            return False
        size = _HEAD.unpack_from(data)[1] + 1
        rest = data[size:]
        described = rest == _DESCRIBE_AND_RUN
        if data[5] != 0 or not (described or rest == _RUN):
            return False
        end = data.find(0, 6, size)
        prepared = self._session.extended.statements.get(data[6:end])
        if (
            prepared is None
            or prepared.planned.statement.kind not in _KINDS
            or not self._router.plans.fresh(prepared.planned)
        ):
            return False
        tail = data[end + 1 : size]
        backend = self._lend(self._shard(prepared, tail))
        if backend is None:
            return False
        if prepared.name not in backend.prepared:
            self._router.pools[backend.number].give(backend)
            return False
        head = prepared.told(m.results_of(tail)) if described else b""
        self._go(prepared.planned, backend, m.bind(b"", prepared.name, tail) + _RUN, head)
        return True

    def _query(self, data: bytes) -> bool:
        if len(data) != _HEAD.unpack_from(data)[1] + 1:
            return False
        text = data[5:-1].decode("utf-8", "replace")
        known = self._router.plans.known(text, self._session.settings.path)
        if known is None or known.planned.statement.kind not in _KINDS:
            return False
        call = Call(text, slots=known.values)
        backend = self._lend(single(known.planned.plan, self._router.layout, call.read()))
        if backend is None:
            return False
        self._go(known.planned, backend, data, b"")
        return True

    def _shard(self, prepared: Prepared, tail: bytes) -> int | None:
        """Return the shard of an execution; None when it is not one, or the long way is to find out."""
        layout, types = self._router.layout, prepared.described.parameters
        try:
            if prepared.key is None:
                return single(prepared.planned.plan, layout, self._reader(prepared, tail))
            keys, number = prepared.key
            data, binary = m.parameter_of(tail, number - 1, len(types))
        except m.Malformed:
            return None
        if data is None:
            return layout.default
        key = from_parameter(keys.families[0], types[number - 1], data, binary)
        return None if key is None else layout.place(keys.table, keys.families, (key,))

    @staticmethod
    def _reader(prepared: Prepared, tail: bytes) -> Read:
        types = prepared.described.parameters

        def read(parameter: Parameter, family: str) -> Key | None:
            n = parameter.number - 1
            if n >= len(types):
                return None
            data, binary = m.parameter_of(tail, n, len(types))
            if data is None:
                raise IsNull
            return from_parameter(family, types[n], data, binary)

        return read

    def _lend(self, shard: int | None) -> Backend | None:
        """Return an idle connection that has the client's settings, None where there is none."""
        if shard is None:
            return None
        pool = self._router.pools[shard]
        backend = pool.at_once()
        if backend is None or backend.applied == self._session.settings.values:
            return backend
        pool.give(backend)
        return None

    def _go(self, planned: Planned, backend: Backend, request: bytes, described: bytes) -> None:
        """``described`` is told to the client after BindComplete."""
        self._backend, self._planned, self._described = backend, planned, described
        self._kept, self._skip, self._paused = b"", 0, False
        self._session.doing = planned.statement.text
        self._started = time.perf_counter()
        self._client.quiet(True)
        backend.tap(self._received)
        backend.write(request)

    def _received(self, data: bytes) -> None:
        """Pass on what the shard says; the bytes of messages are not looked at, only where they end."""
        backend = self._backend
        assert backend is not None
        if not data:
            self._lost(backend)
            return
        if self._kept:
            data, self._kept = self._kept + data, b""
        at, end = self._skip, len(data)
        done = False
        while end - at >= 6:
            kind, size = _HEAD.unpack_from(data, at)
            if kind == _READY:
                backend.status = data[at + 5 : at + 6]
                done = True
                break
            if kind == _ERROR:
                backend.prepared.clear()
            elif kind == _SETTING:
                # It is not the client's: what the client has set is told by the router.
                if end - at <= size:
                    break
                data = data[:at] + data[at + size + 1 :]
                end = len(data)
                continue
            at += size + 1
        if not done:
            self._skip = max(at - end, 0)
            if at < end:
                data, self._kept = data[:at], data[at:]
        if self._described and data:
            if data[0] == m.BIND_COMPLETE[0]:
                data = m.BIND_COMPLETE + self._described + data[5:]
            self._described = b""
        self._client.write(data)
        if done:
            self._done(backend)
        elif self._client.clogged and not self._paused:
            self._paused = True
            backend.pause(True)
            self._client.flowing = self._flowing

    def _flowing(self) -> None:
        self._client.flowing = None
        if self._backend is not None and self._paused:
            self._paused = False
            self._backend.pause(False)

    def _lost(self, backend: Backend) -> None:
        backend.broken = True
        self._client.write(unreachable(backend.shard, "the connection was closed").raw + m.ready(b"I"))
        self._done(backend)

    def _done(self, backend: Backend) -> None:
        backend.tap(None)
        if self._paused:
            self._flowing()
        if self._planned is not None:
            self._planned.took(time.perf_counter() - self._started)
        self._backend = self._planned = None
        self._router.pools[backend.number].give(backend)
        self._session.doing = ""
        self._client.quiet(False)

    def leave(self) -> None:
        """The client has gone: end what runs for it."""
        if self._backend is not None:
            self._done(self._backend)
