"""Where the data of a volume is on this node, how a fresh directory is made beside it, and how the two change places.

For the worker. A volume of the docker runtime is a directory of the Docker Engine, which gives it to a container when
that starts: while no container has it, its content can be exchanged. One of the process runtime is a directory of
the agent's own state.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Mapping
from typing import Any, Protocol

import docker
from docker.errors import APIError, NotFound

from automator67.agent import naming
from automator67.agent.state import read_json, write_json
from automator67.agent.trees import remove_tree

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


class PlaceError(Exception):
    """A volume cannot be used; one line."""


class Place(Protocol):
    """A volume, and directories beside it that are called after it and a tag."""

    def data(self) -> str | None:
        """Return the directory with its data; None when there is no such volume. Raises PlaceError."""

    def ensure(self) -> str:
        """Return the directory with its data, which is made when there is none. Raises PlaceError."""

    def remove_empty(self) -> None:
        """Remove the volume, which must be empty."""

    def beside(self, tag: str) -> str:
        """Return a directory beside it, made empty when there is none. Raises PlaceError."""

    def drop(self, tag: str) -> None:
        """Remove a directory beside it with all that is in it."""

    def name_of(self, tag: str) -> str:
        """Return by what name a person finds a directory beside it."""


def place_of(args: Mapping[str, Any], socket: str) -> Place:
    """Return the volume that a job is about: ``{"runtime", "name", "labels", "state", "doc"}``."""
    if args["runtime"] == "docker":
        client = docker.APIClient(base_url=f"unix://{socket}", version="auto", timeout=60)
        return DockerPlace(client, args["name"], args["labels"])
    return ProcessPlace(f"{args['state']}/volumes", args["name"], args["doc"])


class DockerPlace:
    """A volume of the Docker Engine's own ``local`` driver; beside it are other such volumes."""

    def __init__(self, client: docker.APIClient, name: str, labels: Mapping[str, str]) -> None:
        self._client, self._name, self._labels = client, name, dict(labels)

    def data(self) -> str | None:
        """Return the directory with its data."""
        return self._directory(self._name, (naming.CLOUD, naming.NODE, naming.APP))

    def ensure(self) -> str:
        """Return the directory with its data."""
        return self.data() or self._made(self._name, self._labels)

    def remove_empty(self) -> None:
        """Remove the volume."""
        data = self.data()
        if data is not None and not os.listdir(data):
            self._remove(self._name)

    def beside(self, tag: str) -> str:
        """Return a directory beside it."""
        name = self.name_of(tag)
        kept = {naming.CLOUD: self._labels[naming.CLOUD], naming.NODE: self._labels[naming.NODE]}
        found = self._directory(name, (naming.CLOUD, naming.NODE))
        # Without an app's stamp: it is nobody's volume until a person makes something of it.
        return found or self._made(name, kept | {naming.KEPT: self._name})

    def drop(self, tag: str) -> None:
        """Remove a directory beside it."""
        self._remove(self.name_of(tag))

    def name_of(self, tag: str) -> str:
        """Return the name of the Docker volume."""
        return f"{self._name}.{tag}"

    def _directory(self, name: str, stamps: tuple[str, ...]) -> str | None:
        try:
            doc = self._client.inspect_volume(name)
        except NotFound:
            return None
        labels = doc.get("Labels") or {}
        if any(labels.get(key) != self._labels[key] for key in stamps):
            raise PlaceError(f"the volume {name} exists and is not this node's: it is left alone")
        if doc.get("Driver") != "local" or doc.get("Options"):
            raise PlaceError(f"the volume {name} is kept by another driver than Docker's own, which is not backed up")
        data = str(doc["Mountpoint"])
        if not os.access(data, os.R_OK | os.W_OK | os.X_OK):
            raise PlaceError(f"the agent cannot read {data}: to back up volumes of containers it must run as root")
        return data

    def _made(self, name: str, labels: Mapping[str, str]) -> str:
        self._client.create_volume(name, labels=dict(labels))
        data = self._directory(name, ())
        assert data is not None
        return data

    def _remove(self, name: str) -> None:
        with contextlib.suppress(NotFound):
            try:
                self._client.remove_volume(name)
            except APIError as e:
                raise PlaceError(f"the volume {name} cannot be removed: {e.explanation or e}") from None


class ProcessPlace:
    """A directory of the agent's state, with a file that says whose it is; beside it are directories without one."""

    def __init__(self, root: str, name: str, doc: Mapping[str, Any]) -> None:
        self._root, self._name, self._doc = root, name, dict(doc)

    def data(self) -> str | None:
        """Return the directory with its data."""
        path = f"{self._root}/{self._name}"
        return path if read_json(f"{path}.json") is not None and os.path.isdir(path) else None

    def ensure(self) -> str:
        """Return the directory with its data."""
        path = f"{self._root}/{self._name}"
        os.makedirs(path, mode=0o700, exist_ok=True)
        if read_json(f"{path}.json") is None:
            write_json(f"{path}.json", self._doc)
        return path

    def remove_empty(self) -> None:
        """Remove the volume."""
        path = f"{self._root}/{self._name}"
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}.json")

    def beside(self, tag: str) -> str:
        """Return a directory beside it."""
        path = self.name_of(tag)
        os.makedirs(path, mode=0o700, exist_ok=True)
        return path

    def drop(self, tag: str) -> None:
        """Remove a directory beside it."""
        remove_tree(self.name_of(tag))

    def name_of(self, tag: str) -> str:
        """Return its path."""
        return f"{self._root}/{self._name}.{tag}"


def exchange(one: str, other: str) -> None:
    """Let two directories change places in one instant (renameat2(2)). Raises PlaceError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise PlaceError(f"{one} and {other} cannot change places: {reason}")
    for directory in {os.path.dirname(one), os.path.dirname(other)}:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
