"""What the owner of this machine lets apps have of it: a file that no commit can change.

It is read in the worker (a TOML reader would stay in the resident process's memory) whenever it has changed. A file
that others than root and this agent's user can write, or that is not understood, allows nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from automator67.agent.helper import Answer, Helper
from automator67.agent.model import Access
from automator67.schemas.messages.policy import Demands, Policy, read_policy, refusal

_LOOK = 3.0
_PATIENCE = 30.0
_LARGEST = 64 * 1024


class PolicyFile:
    """For the main thread. The worker's answers to the job tagged ("policy",) go to ``take``."""

    def __init__(self, path: str, docker_socket: str, helper: Helper, say: Callable[[str], None]) -> None:
        self._path, self._socket, self._helper, self._say = path, docker_socket, helper, say
        self._next = 0.0
        self._read: tuple[int, ...] | None = None
        self.current = Policy()
        self.known = False
        self.problem = ""

    def tick(self, now: float) -> float:
        """Have the file read if it is another one than before; return when to look again (monotonic seconds)."""
        if now < self._next:
            return self._next
        self._next = now + _LOOK
        found = _mark(self._path)
        if found != self._read:
            self._read = found
            if found == ():
                self._set(Policy(), "")
            else:
                self._helper.submit("policy", {"path": self._path}, ("policy",), _PATIENCE)
        return self._next

    def take(self, answer: Answer) -> bool:
        """Take up what was read; return whether something has changed."""
        if not answer.ok:
            self._read = None
            return False
        return self._set(read_policy(answer.result["policy"]), answer.result["problem"])

    def refuses(self, access: Access) -> str:
        """Return why an instance may not have what it demands, or nothing; links on the host are followed."""
        if access == Access():
            return ""
        sockets = tuple({self._socket, os.path.realpath(self._socket), "/var/run/docker.sock", "/run/docker.sock"})
        said = [(m.host, m.read_only) for m in access.mounts]
        real = [(os.path.realpath(m.host), m.read_only) for m in access.mounts]
        for mounts in (said, real):
            demands = Demands(
                access.privileged, access.host_network, tuple(mounts), access.capabilities, access.devices
            )
            if why := refusal(demands, self.current, sockets):
                return why
        return ""

    def _set(self, policy: Policy, problem: str) -> bool:
        changed = (policy, problem) != (self.current, self.problem) or not self.known
        if problem and problem != self.problem:
            self._say(f"the policy file allows nothing: {problem}")
        self.current, self.problem, self.known = policy, problem, True
        return changed


def read(path: str) -> dict[str, Any]:
    """Return a policy file's content as a message, and why it allows nothing if so; for the worker.

    ``{"policy": {...}, "problem": ""}``.
    """
    import tomllib

    from automator67.schemas.messages.policy import as_message

    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
                return _nothing(f"{path} can be changed by others than root; chown root it, and chmod 644")
            doc = tomllib.loads(file.read(_LARGEST).decode())
        return {"policy": as_message(read_policy(doc)), "problem": ""}
    except FileNotFoundError:
        return _nothing("")
    except (ValueError, OSError) as e:
        return _nothing(f"{path}: {getattr(e, 'strerror', None) or e}")


def _nothing(problem: str) -> dict[str, Any]:
    return {"policy": {}, "problem": " ".join(problem.split())[:300]}


def _mark(path: str) -> tuple[int, ...]:
    """Return what changes when a file does; empty when there is none."""
    try:
        s = os.stat(path)
    except OSError:
        return ()
    return s.st_ino, s.st_mtime_ns, s.st_size, s.st_uid, s.st_mode
