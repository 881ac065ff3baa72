"""The inbox: how a webhook delivery gets from the web process to the engine and survives the death of either.

A delivery is one complete file in a directory. The web process writes it under a temporary name, syncs it and
links it to its final name, a hash of the delivery's id, so that a second delivery of the same id finds the name
taken. Then it sends one datagram, in case the engine is listening. Only the engine removes files: after it has
recorded the delivery in the store. A delivery says no more than "look": nothing in it is applied.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from automator67.engine.durable import sync

MAX_FILES = 1024
WAKE_SOCKET = "wake.sock"

_NAME = re.compile(r"[0-9a-f]{64}")
_MAX_BYTES = 16 * 1024
_STALE_SECONDS = 60.0


class InboxRefused(Exception):
    """The inbox cannot take a delivery now; the text says why. Nothing was kept."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One accepted webhook delivery.

    ``key`` is the file's name and the id of its row in the ``deliveries`` table. ``received_at`` is in seconds since
    the epoch. A file that cannot be read becomes a delivery with empty texts: it still asks for a look.
    """

    key: str
    delivery_id: str = ""
    forge: str = ""
    event: str = ""
    repository: str = ""
    ref: str = ""
    received_at: float = 0.0


def delivery_key(forge: str, delivery_id: str) -> str:
    """Return the name of a delivery, safe as a file name: the hex SHA-256 of the forge and the id it gave."""
    return hashlib.sha256(f"{forge}\n{delivery_id}".encode("utf-8", "surrogatepass")).hexdigest()


class Inbox:
    """A directory of deliveries; ``put`` is for the web process, ``take`` and ``done`` are for the engine.

    The engine's wake-up socket is ``wake.sock`` beside the directory.
    """

    def __init__(self, directory: Path, max_files: int = MAX_FILES) -> None:
        self._directory = directory
        self._max_files = max_files
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, delivery_id: str, forge: str, event: str, repository: str, ref: str, received_at: float) -> bool:
        """Keep a delivery durably and wake the engine; return False when this delivery is already here.

        When True is returned the delivery survives the death of both processes and of the machine. Raises
        InboxRefused when the inbox is full or cannot be written.
        """
        key = delivery_key(forge, delivery_id)
        content = {
            "delivery_id": delivery_id,
            "forge": forge,
            "event": event,
            "repository": repository,
            "ref": ref,
            "received_at": received_at,
        }
        try:
            kept = self._write(key, json.dumps(content).encode())
        except OSError as error:
            raise InboxRefused(f"the inbox cannot be written: {error.strerror or error}") from error
        if kept:
            self._wake()
        return kept

    def take(self) -> list[Delivery]:
        """Return the deliveries that wait, oldest first; each stays until ``done``."""
        found = [self._read(name) for name in self._names()]
        self._drop_stale()
        return sorted((d for d in found if d is not None), key=lambda d: (d.received_at, d.key))

    def done(self, delivery: Delivery) -> None:
        """Remove a delivery that is recorded in the store. Removing it twice is no error."""
        self._path(delivery.key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        if not _NAME.fullmatch(key):
            raise ValueError(f"{key!r} is not the name of a delivery")
        return self._directory / key

    def _count(self) -> int:
        with os.scandir(self._directory) as entries:
            return sum(1 for _ in entries)

    def _names(self) -> list[str]:
        with os.scandir(self._directory) as entries:
            return [e.name for e in entries if _NAME.fullmatch(e.name)]

    def _write(self, key: str, content: bytes) -> bool:
        final = self._path(key)
        if final.exists():
            return False
        if self._count() >= self._max_files:
            raise InboxRefused(f"{self._max_files} deliveries wait already; is the engine running?")
        fd, temporary = tempfile.mkstemp(prefix=".", dir=self._directory)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(temporary, final)
            except FileExistsError:
                return False
        finally:
            with contextlib.suppress(FileNotFoundError):
                Path(temporary).unlink()
        sync(self._directory)
        return True

    def _read(self, name: str) -> Delivery | None:
        try:
            fd = os.open(self._directory / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError:
            return Delivery(name)
        with os.fdopen(fd, "rb") as file:
            try:
                content = json.loads(file.read(_MAX_BYTES))
                texts = {key: str(content[key]) for key in ("delivery_id", "forge", "event", "repository", "ref")}
                return Delivery(name, received_at=float(content["received_at"]), **texts)
            except (OSError, ValueError, KeyError, TypeError):
                return Delivery(name)

    def _drop_stale(self) -> None:
        # What a killed web process left half-written: it was never answered with an acceptance.
        with os.scandir(self._directory) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    old = time.time() - entry.stat(follow_symlinks=False).st_mtime > _STALE_SECONDS
                    if entry.name.startswith(".") and old and not entry.is_dir(follow_symlinks=False):
                        Path(entry.path).unlink()

    def _wake(self) -> None:
        # Nobody listening, or a queue that is full already: the engine looks into the directory by itself too.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(b"\0", str(self._directory.parent / WAKE_SOCKET))


class Waker:
    """The engine's side of the wake-up: a datagram socket that becomes readable when something was put.

    Raises OSError with a plain text when the socket cannot be made.
    """

    def __init__(self, state: Path) -> None:
        self._path = state / WAKE_SOCKET
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._path.unlink(missing_ok=True)
            self._socket.bind(str(self._path))
            self._path.chmod(0o600)
        except OSError as error:
            self._socket.close()
            raise OSError(
                f"cannot listen on {self._path}: {error}; use a shorter path for the state directory"
            ) from error
        self._socket.setblocking(False)
        self._inode = self._path.stat().st_ino

    def fileno(self) -> int:
        """Return the file descriptor to wait on; readable means: call ``drain``, then ``Inbox.take``."""
        return self._socket.fileno()

    def drain(self) -> None:
        """Swallow every wake-up that has arrived."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.recv(16)

    def attach(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        """Have ``loop`` call ``wake`` once for every burst of deliveries."""

        def readable() -> None:
            self.drain()
            wake()

        loop.add_reader(self.fileno(), readable)

    def close(self) -> None:
        """Stop listening, and remove the socket unless another engine has replaced it."""
        self._socket.close()
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
