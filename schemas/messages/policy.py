"""What a node lets apps have of itself, and what an app demands: one comparison for engine and agent. Pure.

The owner of a node writes its policy in a file on the node; the agent reports it, so that a plan can tell beforehand,
and refuses by it, whatever the engine says. Standard library only: the agent's resident process imports it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

DOCKER_SOCKETS = ("/var/run/docker.sock", "/run/docker.sock")
USUAL_CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
        "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    }
)  # fmt: skip
"""What the Docker Engine itself gives every container: these need no permission."""
DROPPED_CAPABILITIES = ("AUDIT_WRITE", "MKNOD", "NET_RAW", "SETFCAP")
"""The usual ones that a container gets only when its app asks for them."""


class Demands(NamedTuple):
    """What an app wants beyond a container of its own. ``mounts`` are (path on the host, read-only)."""

    privileged: bool = False
    host_network: bool = False
    mounts: tuple[tuple[str, bool], ...] = ()
    capabilities: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()


class Policy(NamedTuple):
    """What a node allows; the default is nothing.

    ``mounts`` are directories and files of the host, with ``:ro`` behind those that may only be read; ``devices`` are
    device files; ``exec`` lets people run commands in instances through the engine.
    """

    privileged: bool = False
    host_network: bool = False
    docker_socket: bool = False
    mounts: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    exec: bool = False


NOTHING = Policy()
"""What a node allows whose owner has said nothing."""
_FLAGS = ("privileged", "host_network", "docker_socket", "exec")
_LISTS = ("mounts", "capabilities", "devices")


def read_policy(doc: Mapping[str, Any]) -> Policy:
    """Return the policy of a file or a message. Raises ValueError for a key that is unknown or has a wrong type:
    what is not understood must not be taken for a permission."""
    found: dict[str, Any] = {}
    for key, value in doc.items():
        if key in _FLAGS:
            if not isinstance(value, bool):
                raise ValueError(f"{key} must be true or false")
            found[key] = value
        elif key in _LISTS:
            if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
                raise ValueError(f"{key} must be a list of texts")
            if key != "capabilities" and not all(item.startswith("/") and ".." not in item for item in value):
                raise ValueError(f"{key} must be absolute paths")
            found[key] = tuple(value)
        else:
            raise ValueError(f"there is no key {key}; known are {', '.join((*_FLAGS, *_LISTS))}")
    return Policy(**found)


def as_message(policy: Policy) -> dict[str, Any]:
    """Return a policy as it is reported: only what is allowed."""
    return {key: list(v) if isinstance(v, tuple) else v for key, v in policy._asdict().items() if v}


def refusal(demands: Demands, policy: Policy, sockets: tuple[str, ...] = DOCKER_SOCKETS) -> str:
    """Return what of an app's demands the policy does not allow, and the line that would; nothing when all is.

    ``sockets`` are the paths by which the Docker Engine's socket is known: a mount that shows it needs
    ``docker_socket``, however its directory is allowed.
    """
    if demands.privileged and not policy.privileged:
        return _says("privileged containers are", "privileged = true")
    if demands.host_network and not policy.host_network:
        return _says("the host's network is", "host_network = true")
    for path, read_only in demands.mounts:
        if any(_below(socket, path) for socket in sockets):
            if not policy.docker_socket:
                return _says(f"the mount {path} with the Docker socket is", "docker_socket = true")
            if path in sockets:
                continue
        if not _may_mount(path, read_only, policy.mounts):
            return _says(f"the host mount {path} is", f'mounts = ["{path}{":ro" if read_only else ""}"]')
    for name in demands.capabilities:
        if name not in USUAL_CAPABILITIES and name not in policy.capabilities:
            return _says(f"the capability {name} is", f'capabilities = ["{name}"]')
    for device in demands.devices:
        if device not in policy.devices:
            return _says(f"the device {device} is", f'devices = ["{device}"]')
    return ""


def _says(what: str, line: str) -> str:
    return f"refused by this node's policy: {what} not allowed (policy.toml: {line})"


def _may_mount(path: str, read_only: bool, allowed: tuple[str, ...]) -> bool:
    for entry in allowed:
        root, only_read = (entry[:-3], True) if entry.endswith(":ro") else (entry, False)
        if _below(path, root) and (read_only or not only_read):
            return True
    return False


def _below(path: str, root: str) -> bool:
    """Whether a path is a directory or in it."""
    root = root.rstrip("/")
    return path.rstrip("/") == root or path.startswith(root + "/")
