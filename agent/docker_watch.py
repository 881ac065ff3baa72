"""Watches the Docker Engine in a thread of its own: lists, follows events, says when the engine does not answer."""

from __future__ import annotations

import contextlib
import json
import os
import select
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from automator67.agent import docker_read, naming
from automator67.agent.docker_http import DockerApi
from automator67.agent.docker_read import Foreign, History, Moment
from automator67.agent.http1 import BodyReader, Connection
from automator67.agent.model import Seen

_RELIST = 60.0
_PING = 10.0
_STRIKES = 3
# Containers that are not ours may come and go in crowds (a build machine): they are counted this much later.
_FOREIGN_DELAY = 1.0
_FATAL_SIGNALS = frozenset({"2", "3", "9", "15"})


class Snapshot(NamedTuple):
    """All that is known of the Docker Engine. ``ticket``: requests up to this one were made before it was taken.

    ``health`` is ok, degraded (it does not answer: the rest is as last seen) or down (nobody listens).
    ``volumes`` are (app, slot, name).
    """

    health: str
    detail: str
    seen: tuple[Seen, ...]
    foreign: tuple[Foreign, ...]
    volumes: tuple[tuple[str, int, str], ...]
    ticket: int


class DockerWatch(threading.Thread):
    """Calls ``post`` with a Snapshot whenever something changed, and at every request."""

    def __init__(self, api: DockerApi, cloud: str, node: str, post: Callable[[Snapshot], None]) -> None:
        super().__init__(name="docker", daemon=True)
        self._api, self._cloud, self._node, self._post = api, cloud, node, post
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._asked = 0
        self._adoptable: frozenset[str] = frozenset()
        self._table: dict[str, Seen] = {}
        self._history: dict[str, History] = {}
        self._last_signal: dict[str, float] = {}
        self._ran_out: set[str] = set()
        self._ended: set[str] = set()
        self._foreign: tuple[Foreign, ...] = ()
        self._volumes: tuple[tuple[str, int, str], ...] = ()
        self._strikes = 0
        self._away_from = self._away_until = 0.0
        self._recheck: dict[str, float] = {}

    def request(self, adoptable: Iterable[str] | None = None) -> int:
        """Ask for a fresh snapshot and return its ticket; from any thread.

        ``adoptable``: names of containers without our stamp to look at as well.
        """
        if adoptable is not None:
            self._adoptable = frozenset(adoptable)
        self._asked += 1
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b".")
        return self._asked

    def run(self) -> None:
        """Follow the engine for ever."""
        failures = 0
        while True:
            began = time.monotonic()
            try:
                self._follow()
            except TimeoutError:
                self._strikes += 1
                if self._strikes >= _STRIKES:
                    self._tell("degraded", "the Docker Engine does not answer; what runs keeps running")
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
                # Also when it says something that is not understood: that must not end the watch.
                if not self._away_from or self._away_until:
                    self._away_from, self._away_until = time.time(), 0.0
                was_up = time.monotonic() - began > 5
                failures = 0 if was_up else failures + 1
                if not was_up:
                    self._tell("down", f"nobody answers at the Docker Engine's socket: {e}")
            self._wait(min(5.0, 0.1 * 2 ** min(failures, 8)))

    def _follow(self) -> None:
        conn, reader, data = self._api.events(5.0)
        try:
            if self._away_from and not self._away_until:
                self._away_until = time.time()
            self._relist()
            lines = bytearray(data)
            relist = time.monotonic() + _RELIST
            ping = time.monotonic() + _PING
            poll = select.poll()
            poll.register(conn.sock, select.POLLIN)
            poll.register(self._wake_read, select.POLLIN)
            while True:
                due = min([relist, ping, *self._recheck.values()])
                ready = {fd for fd, _ in poll.poll(max(0.0, due - time.monotonic()) * 1000)}
                if conn.sock.fileno() in ready:
                    lines += _read(conn, reader)
                    if self._events(lines):
                        relist = min(relist, time.monotonic() + _FOREIGN_DELAY)
                now = time.monotonic()
                if self._wake_read in ready or now >= relist:
                    self._drain()
                    self._relist()
                    relist, ping = now + _RELIST, now + _PING
                elif now >= ping:
                    self._api.ping()
                    ping = now + _PING
                if late := [c for c, at in self._recheck.items() if now >= at]:
                    self._inspect(late)
                    self._tell("ok")
        finally:
            conn.close()

    def _relist(self) -> None:
        ticket = self._asked
        entries = self._api.containers()
        watched = [e["Id"] for e in entries if self._is_watched(e)]
        for gone in set(self._table) - set(watched):
            self._forget(gone)
        self._inspect(watched)
        self._foreign = tuple(
            docker_read.foreign(e) for e in entries if (e.get("Labels") or {}).get(naming.CLOUD) != self._cloud
        )[:50]
        stamp = [f"{naming.CLOUD}={self._cloud}", f"{naming.NODE}={self._node}"]
        self._volumes = tuple(_volume(v) for v in self._api.volumes(stamp) if (v.get("Labels") or {}).get(naming.APP))
        self._strikes = 0
        self._tell("ok", ticket=ticket)

    def _is_watched(self, entry: dict[str, Any]) -> bool:
        ours = docker_read.is_ours(entry.get("Labels"), self._cloud, self._node)
        return ours or docker_read.foreign(entry).name in self._adoptable

    def _inspect(self, containers: Iterable[str]) -> None:
        boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        for container in containers:
            self._recheck.pop(container, None)
            try:
                doc = self._api.inspect(container)
            except TimeoutError:
                # One container can be stuck while all others are well; if the whole engine hangs, this raises too.
                self._api.ping()
                continue
            if doc is None:
                self._forget(container)
                continue
            moment = Moment(time.time(), boot, self._away_from, self._away_until)
            ours = docker_read.is_ours((doc.get("Config") or {}).get("Labels"), self._cloud, self._node)
            history = self._history.get(container, History())
            s = docker_read.seen(doc, ours, history, moment)
            before = self._table.get(container)
            if s.state in ("exited", "restarting"):
                same = before is not None and (before.state, before.restarts) == (s.state, s.restarts)
                line = before.last_line if before is not None and same else self._api.last_line(container)
                s = s._replace(last_line=line)
                # That the engine gives up restarting, such as where a mount is missing, no event tells.
                if s.state == "restarting" or not s.ended:
                    self._recheck[container] = time.monotonic() + docker_read.SETTLE
            elif before is not None:
                s = s._replace(last_line=before.last_line)
            self._table[container] = s

    def _events(self, lines: bytearray) -> bool:
        """Take complete events out of ``lines`` and look at our containers among them.

        Return whether containers that are not ours changed.
        """
        touched: dict[str, None] = {}
        others = False
        while (end := lines.find(b"\n")) >= 0:
            line = bytes(lines[:end])
            del lines[: end + 1]
            try:
                event = json.loads(line)
                actor = event["Actor"]
                container, attributes = str(actor["ID"]), actor.get("Attributes") or {}
                action = str(event["Action"])
            except (ValueError, KeyError, TypeError):
                continue
            if docker_read.is_ours(attributes, self._cloud, self._node) or container in self._table:
                self._remember(container, action, attributes)
                touched[container] = None
            elif attributes.get(naming.CLOUD) != self._cloud:
                others = others or action in ("create", "destroy", "start", "die", "rename")
        if touched:
            self._inspect(touched)
            self._tell("ok")
        return others

    def _remember(self, container: str, action: str, attributes: dict[str, str]) -> None:
        history = self._history.get(container, History())
        now = time.monotonic()
        if action == "kill" and attributes.get("signal") in _FATAL_SIGNALS:
            self._last_signal[container] = now
        elif action == "stop":
            history = history._replace(by_hand=True)
        elif action == "oom":
            # It may be told after the end that it caused, and then the engine's own record does not have it.
            self._ran_out.add(container)
            history = history._replace(oom=history.oom or container in self._ended)
        elif action == "die":
            code = str(attributes.get("exitCode", ""))
            signalled = now - self._last_signal.get(container, -60.0) < 15
            oom = container in self._ran_out
            self._ran_out.discard(container)
            self._ended.add(container)
            history = History(history.by_hand or signalled, int(code) if code.isdigit() else None, oom)
        elif action == "start":
            history = history._replace(by_hand=False)
            self._last_signal.pop(container, None)
            self._ended.discard(container)
        self._history[container] = history

    def _forget(self, container: str) -> None:
        for table in (self._table, self._history, self._last_signal, self._recheck):
            table.pop(container, None)
        self._ran_out.discard(container)
        self._ended.discard(container)

    def _tell(self, health: str, detail: str = "", ticket: int = 0) -> None:
        seen = tuple(self._table.values())
        self._post(Snapshot(health, detail, seen, self._foreign, self._volumes, ticket))

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)

    def _wait(self, seconds: float) -> None:
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        if poll.poll(seconds * 1000):
            self._drain()


def _read(conn: Connection, reader: BodyReader) -> bytes:
    data = conn.sock.recv(16 * 1024)
    if not data:
        raise ConnectionResetError("the stream of events ended")
    return reader.feed(data)


def _volume(doc: dict[str, Any]) -> tuple[str, int, str]:
    labels = doc.get("Labels") or {}
    slot = str(labels.get(naming.SLOT, ""))
    name = str(labels.get(naming.VOLUME) or doc.get("Name", ""))
    return str(labels.get(naming.APP, "")), int(slot) if slot.isdigit() else 0, name
