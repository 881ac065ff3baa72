"""Holds the lease of this node, stops what must not run twice when it ends, and keeps a guard that can kill it.

lease.json   in the state directory: the lease and what must end with it. The guard (guard.py) reads it, and so does the
             next agent: a restart takes no lease away, and gives none.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from automator67.agent import proctable
from automator67.agent.helper import Helper
from automator67.agent.keeper import Keeper
from automator67.agent.lease import Lease, due, ends, guarded, present, withheld
from automator67.agent.model import Desired, Seen
from automator67.agent.state import Membership, read_json, write_quickly

_LOOK = 1.0


class Fencing:
    """For the main thread. ``desired`` is all that the engine wants here; the keeper gets what may run of it."""

    def __init__(
        self, state: str, member: Membership, docker_socket: str, keeper: Keeper, helper: Helper,
        say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._state, self._member, self._socket = state, member, docker_socket
        self._keeper, self._helper, self._say = keeper, helper, say
        self._boot = proctable.boot_id()
        self._file = f"{state}/lease.json"
        self._told: Desired | None = None
        self._written: dict[str, Any] = {}
        self._look_at = 0.0
        self._ends: frozenset[tuple[str, float]] = frozenset()
        doc = read_json(self._file) or {}
        valid = doc.get("boot") == self._boot
        self._lease = Lease(*doc["lease"]) if valid else Lease()
        self._guarded: frozenset[str] = frozenset(doc["fenced"] if valid else ())
        self.desired: Desired | None = None

    def want(self, desired: Desired) -> None:
        """Take up a new desired state."""
        self.desired = desired
        self.tick(time.monotonic())

    def granted(self, answer: dict[str, Any]) -> None:
        """Take up the answer to a heartbeat: a lease, if it gives one."""
        seconds, sent = answer.get("lease_s"), answer["sent"]
        if isinstance(seconds, int | float) and seconds > 0:
            self._lease = Lease(sent, max(self._lease.until, sent + seconds), str(answer.get("rev", "")))

    def tick(self, now: float) -> float:
        """Let run what may run; return when to look again (monotonic seconds)."""
        if self.desired is None:
            return float("inf")
        boot = _boottime()
        may = present(self.desired, self._lease, boot)
        self._keeper.withheld = withheld(self.desired, self._lease)
        if may != self._told:
            for w in self.desired.instances:
                if w.fence and boot >= ends(w, self._lease) and (self._told is None or w in self._told.instances):
                    self._say(f"{w.id}: not to run now: the engine was not heard for the time of its lease")
            self._told = may
            self._keeper.want(may)
        self._guard(now)
        soon = _LOOK if self._guarded else float("inf")
        return now + min(due(self.desired, self._lease, boot), soon)

    def _guard(self, now: float) -> None:
        """Write down what the guard must know, before anything starts, and see to it that there is one."""
        known = self._guarded
        exclusive = self.desired is not None and any(w.fence for w in self.desired.instances)
        if not (exclusive or known or self._written.get("fenced")):
            return
        seen = self._keeper.observed().seen
        self._guarded = guarded(self.desired, seen, known) | (frozenset() if self._keeper.ready else known)
        self._note_ends(seen)
        if not self._guarded and not self._written.get("fenced"):
            return
        containers = [[s.handle, s.pid, _start(s.pid)] for s in seen if s.instance in self._guarded and s.pid
                      and s.runtime == "docker"]  # fmt: skip
        doc = {
            "boot": self._boot, "cloud": self._member.cloud, "node": self._member.node, "lease": list(self._lease),
            "fenced": sorted(self._guarded), "containers": containers,
        }  # fmt: skip
        if doc != self._written:
            try:
                write_quickly(self._file, doc)
                self._written = doc
            except OSError as e:
                # What the guard does not know of may not start: it could not be ended if this process hangs.
                self._keeper.withheld |= self._guarded
                self._say(f"the lease cannot be written: {e.strerror}: {self._file}; nothing exclusive is started")
        if self._guarded and now >= self._look_at:
            self._look_at = now + _LOOK
            if not self._is_guarded():
                self._start_guard()

    def _note_ends(self, seen: tuple[Seen, ...]) -> None:
        """Let containers that ended by themselves wait before they run again, as the Docker Engine does with others."""
        ended = {(s.handle, s.started): s for s in seen if s.runtime == "docker" and s.instance in self._guarded
                 and s.state == "exited" and s.ended == "self"}  # fmt: skip
        for run in ended.keys() - self._ends:
            self._keeper.note_end(ended[run])
        self._ends = frozenset(ended)

    def _is_guarded(self) -> bool:
        fd = os.open(f"{self._state}/guard.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(fd)
        return False

    def _start_guard(self) -> None:
        script = f"{os.path.dirname(os.path.abspath(__file__))}/guard.py"
        try:
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", script, self._state, self._socket],
                {"PATH": os.defpath},
                file_actions=[(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)],
                setsid=True,
            )
            self._helper.unreaped.add(pid)
        except OSError as e:
            self._say(f"the guard of leases cannot be started: {e.strerror}")


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _start(pid: int) -> int:
    found = proctable.look(pid)
    return found.start if found is not None else 0
