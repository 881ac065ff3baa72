"""The agent's files: what they are called, written so that a crash leaves the old or the new content.

identity.pem     private key and certificate of this node
ca.pem           the engine's CA, which is all this node trusts
agent.json       where the engine is, which node and cloud this is; written last when joining
desired.sealed   the last desired state, AES-256-GCM
lease.json       what must not run twice, and until when it may run; for this boot of the machine only
memory.json      ids that have existed here, adopted containers, images in use; no secret
instances/ID/    of the process runtime: process.json, logs, working directory
volumes/NAME/    of the process runtime
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from automator67.agent.model import Adopted


class StateError(Exception):
    """The state directory cannot be used; the text says why and what to do."""


class Membership(NamedTuple):
    """What joining gave this node."""

    engine: str
    node: str
    cloud: str
    heartbeat: float


def write_private(path: str, data: bytes) -> None:
    """Replace a file's content in one instant, readable for its owner alone. Raises OSError, leaving the old one."""
    new = f"{path}.new"
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(new, path)
    except OSError:
        # On a full disk the half-written file must not stay and take the room that the next attempt needs.
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise
    directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read(path: str) -> bytes | None:
    """Return a file's content, or None when there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def read_json(path: str) -> dict[str, Any] | None:
    """Return the object in a JSON file; None when there is none or it is damaged."""
    try:
        doc = json.loads(read(path) or b"null")
    except ValueError:
        return None
    return doc if isinstance(doc, dict) else None


def write_json(path: str, doc: object) -> None:
    """Replace a JSON file in one instant. Raises OSError."""
    write_private(path, json.dumps(doc, separators=(",", ":")).encode())


def write_quickly(path: str, doc: object) -> None:
    """Replace a JSON file in one instant, for this boot of the machine only. Raises OSError."""
    new = f"{path}.new"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, json.dumps(doc, separators=(",", ":")).encode())
    finally:
        os.close(fd)
    os.rename(new, path)


def make_directory(path: str) -> None:
    """Make a directory that only its owner may enter. Raises StateError."""
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as e:
        raise StateError(f"cannot make the directory {path}: {e.strerror}") from None


def lock(state: str) -> int:
    """Take the state directory for this process; held until the returned descriptor is closed.

    Raises StateError when another agent has it.
    """
    fd = os.open(f"{state}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise StateError(f"another agent already runs with the state directory {state}") from None
    return fd


def membership(state: str) -> Membership:
    """Return what joining gave this node. Raises StateError when it has not joined."""
    doc = read_json(f"{state}/agent.json")
    try:
        if doc is None:
            raise KeyError("agent.json")
        return Membership(str(doc["engine"]), str(doc["node"]), str(doc["cloud"]), float(doc["heartbeat_s"]))
    except (KeyError, TypeError, ValueError):
        raise StateError(
            f"{state} holds no membership: join first with 'python -m automator67.agent join URL TOKEN --state {state}'"
        ) from None


class Memory:
    """What the agent must not forget over a restart, besides the desired state.

    ``made``: ids of instances that have existed here, so that one removed by hand is told from one never made.
    ``adopted``: by container name, so that it is removed once no instance adopts it any more.
    ``images``: image to (app, last wanted in seconds since the epoch), so that unused ones can be cleared away.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        doc = read_json(path) or {}
        self.made: set[str] = {str(i) for i in _list(doc.get("made"))}
        self.adopted: dict[str, Adopted] = {}
        for name, fields in _dict(doc.get("adopted")).items():
            with contextlib.suppress(TypeError):
                self.adopted[str(name)] = Adopted(*fields)
        self.images: dict[str, tuple[str, float]] = {}
        for image, use in _dict(doc.get("images")).items():
            with contextlib.suppress(TypeError, ValueError, IndexError):
                self.images[str(image)] = (str(use[0]), float(use[1]))
        self._written = self._text()

    def keep(self) -> None:
        """Write the file if something changed since it was written. Raises OSError."""
        text = self._text()
        if text != self._written:
            write_private(self._path, text)
            self._written = text

    def _text(self) -> bytes:
        doc = {"made": sorted(self.made), "adopted": self.adopted, "images": self.images}
        return json.dumps(doc, separators=(",", ":")).encode()


def _list(value: object) -> Iterable[object]:
    return value if isinstance(value, list) else []


def _dict(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
