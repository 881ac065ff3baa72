"""What a process needs around it before it starts: directories, volumes, port, user, environment."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
from typing import Any, NamedTuple

from automator67.agent import naming, secret_files
from automator67.agent.model import Wanted
from automator67.agent.retry import chance
from automator67.agent.state import read_json, write_json
from automator67.agent.trees import remove_tree

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


# Below the range from which the kernel takes ports for outgoing connections.
_FIRST_PORT, _LAST_PORT = 20_000, 32_000


class ProcessError(Exception):
    """A process cannot be started; the text is for a person."""


class RunPlan(NamedTuple):
    """All that starting needs besides the command. ``user`` is None for the agent's own."""

    env: dict[str, str]
    cwd: str
    out: str
    err: str
    user: dict[str, Any] | None
    port: int
    volumes: tuple[str, ...]


def prepare(
    w: Wanted, state: str, cloud: str, node: str, prefix: str, last_port: int, taken: frozenset[int]
) -> RunPlan:
    """Make the directories of an instance and choose its port; ``last_port`` is kept if it is free.

    Raises ProcessError, OSError.
    """
    user = _user(w.user)
    home = f"{state}/instances/{w.id}"
    work = f"{home}/work"
    names = [naming.volume_name(prefix, w.app, w.slot, v.name) for v in w.volumes]
    for v, name in zip(w.volumes, names, strict=True):
        _volume(f"{state}/volumes", name, w, v.name, cloud, node, user)
    if not os.path.isdir(work):
        # Once, and complete before the app sees it: in a directory that the app owns, a link could lead anywhere.
        remove_tree(f"{work}.new")
        os.makedirs(f"{work}.new", mode=0o700)
        for v, name in zip(w.volumes, names, strict=True):
            _link(f"{work}.new", v.path, f"{state}/volumes/{name}")
        for path in w.sealed.files if w.sealed else ():
            _link(f"{work}.new", path, files_directory(cloud, node, w) + path)
        if user is not None:
            os.chown(f"{work}.new", user["uid"], user["gid"])
        os.rename(f"{work}.new", work)
    if user is not None:
        _let_through(state, home)
    port = _port(last_port, taken) if w.port is not None else 0
    return plan_of(w, state, cloud, node, prefix, port)


def lacking_tree(w: Wanted | None, state: str) -> dict[str, Any] | None:
    """Return the arguments of the worker's ``tree`` job when an instance's source must be fetched before it starts."""
    if w is None or not w.tree or os.path.isdir(f"{state}/instances/{w.id}/tree"):
        return None
    return {"state": state, "instance": w.id, "tree": w.tree, "user": w.user}


def plan_of(w: Wanted, state: str, cloud: str, node: str, prefix: str, port: int) -> RunPlan:
    """Return how an instance runs with a port (0: none) in the directories that ``prepare`` made.

    Raises ProcessError when its user is not to be had.
    """
    user = _user(w.user)
    home = f"{state}/instances/{w.id}"
    names = tuple(naming.volume_name(prefix, w.app, w.slot, v.name) for v in w.volumes)
    env = {"PATH": _PATH, "HOME": f"{home}/work", "LANG": "C.UTF-8"}
    if user is not None:
        env["USER"] = user["name"]
    if port:
        env["PORT"] = str(port)
    env |= {_variable(v.name): f"{state}/volumes/{n}" for v, n in zip(w.volumes, names, strict=True)}
    if w.sealed and w.sealed.files:
        env["A67_FILES"] = files_directory(cloud, node, w)
    env |= dict(w.env)
    # The stamp comes last: nothing an app declares may make it look like another's.
    env |= {
        "A67_CLOUD": cloud, "A67_NODE": node, "A67_APP": w.app, "A67_INSTANCE": w.id, "A67_SLOT": str(w.slot),
        "A67_REV": w.rev, "A67_EPOCH": str(w.epoch), "A67_PORT": str(port),
    }  # fmt: skip
    cwd = f"{home}/tree" if w.tree else f"{home}/work"
    return RunPlan(env, cwd, f"{home}/out.log", f"{home}/err.log", user, port, names)


def files_directory(cloud: str, node: str, w: Wanted) -> str:
    """Return where the files of an instance's secrets are. Raises ProcessError."""
    try:
        return secret_files.directory(cloud, node, w.id)
    except secret_files.SecretFilesError as e:
        raise ProcessError(str(e)) from None


def volumes(state: str, cloud: str, node: str) -> list[tuple[str, int, str]]:
    """Return the volumes of this cloud and node as (app, slot, name)."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(f"{state}/volumes")):
            doc = read_json(f"{state}/volumes/{name}") if name.endswith(".json") else None
            if doc and (doc.get("cloud"), doc.get("node")) == (cloud, node):
                found.append((str(doc.get("app", "")), int(doc.get("slot", 0)), str(doc.get("name", ""))))
    return found


def _user(name: str | None) -> dict[str, Any] | None:
    if name is None:
        return None
    user, _, group = name.partition(":")
    try:
        found = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
        uid, gid, known = found.pw_uid, found.pw_gid, found.pw_name
    except KeyError:
        if not user.isdigit():
            raise ProcessError(f"there is no user {user} on this node") from None
        uid, gid, known = int(user), int(user), user
    if group.isdigit():
        gid = int(group)
    elif group:
        raise ProcessError(f"user {name}: the group must be a number")
    if os.geteuid() == uid:
        return None
    if os.geteuid() != 0:
        raise ProcessError(f"it wants the user {name}, but the agent does not run as root and cannot change users")
    return {"name": known, "uid": uid, "gid": gid}


def _volume(
    root: str, directory: str, w: Wanted, name: str, cloud: str, node: str, user: dict[str, Any] | None
) -> None:
    if read_json(f"{root}/{directory}.json") is None:
        os.makedirs(f"{root}/{directory}", mode=0o700, exist_ok=True)
        if user is not None:
            os.chown(f"{root}/{directory}", user["uid"], user["gid"])
            os.chmod(root, 0o711)  # noqa: S103
        write_json(
            f"{root}/{directory}.json", {"cloud": cloud, "node": node, "app": w.app, "slot": w.slot, "name": name}
        )


def _link(work: str, path: str, target: str) -> None:
    """Let the volume be found in the working directory under its path."""
    link = f"{work}/{path.strip('/')}"
    os.makedirs(os.path.dirname(link), exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.symlink(target, link)


def _let_through(state: str, home: str) -> None:
    # Another user must be able to walk to its working directory; what lies beside it stays closed.
    for directory in (state, f"{state}/instances", home):
        os.chmod(directory, 0o711)  # noqa: S103


def _variable(volume: str) -> str:
    return "A67_VOLUME_" + "".join(c.upper() if c.isalnum() else "_" for c in volume)


def _port(last: int, taken: frozenset[int]) -> int:
    """Return a port that is free on 127.0.0.1 now."""
    for attempt in range(200):
        port = last if last and attempt == 0 else _FIRST_PORT + int(chance() * (_LAST_PORT - _FIRST_PORT))
        if port in taken:
            continue
        with contextlib.suppress(OSError), socket.socket() as s:
            # As servers do: a port whose last connections are just fading away counts as free.
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("127.0.0.1", port))
            return port
    raise ProcessError("no free port on 127.0.0.1")
