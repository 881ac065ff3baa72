"""Keeps this node as desired: joins what is seen, decides by ``converge``, and hands steps to the runtimes.

For the main thread. Nothing here waits: everything that takes time runs in the worker or in a thread, and its end
comes back as a message.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from automator67.agent import docker_spec
from automator67.agent.converge import is_converged, steps, waits_for_volume
from automator67.agent.docker_read import Foreign
from automator67.agent.docker_watch import DockerWatch, Snapshot
from automator67.agent.helper import Answer, Helper, Progress
from automator67.agent.images import full_name
from automator67.agent.matching import Match, adopted_now, match
from automator67.agent.model import Desired, Observed, Retry, Seen, Step, Wanted, once_only
from automator67.agent.policy_file import PolicyFile
from automator67.agent.process_files import lacking_tree
from automator67.agent.processes import Processes
from automator67.agent.report import Knowledge, how_it_ended
from automator67.agent.retry import after_failure, chance
from automator67.agent.state import Membership, Memory

# An instance that ran this long before it ended did not fail at starting: its backoff begins anew.
STEADY = 10.0
_MOST_EVENTS = 50
_PULL_PATIENCE, _PATIENCE, _IMAGE_USE_NOTED = 120.0, 60.0, 3600.0


class _InFlight(NamedTuple):
    """A step under way. ``ticket``: it is over, but what was seen is older than its end until this snapshot."""

    step: Step
    progress: str
    ticket: int = 0


class Keeper:
    """The node's instances. ``docker`` and ``processes`` are None where that runtime is not offered."""

    def __init__(
        self,
        membership: Membership,
        prefix: str,
        memory: Memory,
        helper: Helper,
        docker: DockerWatch | None,
        processes: Processes | None,
        policy: PolicyFile,
        say: Callable[[str], None],
        state: str,
    ) -> None:
        self.membership, self.prefix, self.memory, self._state = membership, prefix, memory, state
        self.policy = policy
        self._helper, self._docker, self._processes, self._say = helper, docker, processes, say
        self.desired: Desired | None = None
        self.may_remove = True
        self.held: dict[str, str] = {}
        self.withheld: frozenset[str] = frozenset()
        self.snapshot: Snapshot | None = None
        self.events: list[dict[str, Any]] = []
        self._flights: dict[str, _InFlight] = {}
        self._retries: dict[str, Retry] = {}
        self._adoptable: frozenset[str] = frozenset()
        self._adoptable_ticket = self._ticket_seen = 0

    @property
    def ready(self) -> bool:
        """Whether what runs here is known well enough to be reported."""
        return self._docker is None or self.snapshot is not None

    @property
    def runtimes(self) -> dict[str, str]:
        """The health of the runtimes this node offers."""
        found = {}
        if self._docker is not None:
            found["docker"] = self.snapshot.health if self.snapshot else "down"
        if self._processes is not None:
            found["process"] = "ok"
        return found

    @property
    def foreign(self) -> tuple[Foreign, ...]:
        """Containers that are not ours, without those that an instance has adopted."""
        names = set(self.memory.adopted)
        return tuple(f for f in (self.snapshot.foreign if self.snapshot else ()) if f.name not in names)

    def want(self, desired: Desired) -> None:
        """Take up a new desired state."""
        old = {w.id: w for w in self.desired.instances} if self.desired else {}
        self.desired = desired
        for w in desired.instances:
            if old.get(w.id) != w:
                # What failed may go well with the new specification.
                self._retries.pop(w.id, None)
        self._watch_adoptable()

    def observed(self) -> Observed:
        """Return all that was seen."""
        seen = self.snapshot.seen if self.snapshot else ()
        if self._processes is not None:
            seen += self._processes.seen()
        busy = frozenset(self._flights) | self.withheld
        if self.desired is not None and self._ticket_seen < self._adoptable_ticket:
            # Whether the container to adopt exists has not been looked at yet.
            busy |= {w.id for w in self.desired.instances if w.adopt}
        m, once = self.memory, once_only(self.desired)
        return Observed(seen, self.runtimes, busy, frozenset(m.made), m.adopted, self.may_remove, self.held, once)

    def look(self) -> Match:
        """Return the desired state paired with what was seen (nothing desired: all that carries our stamp)."""
        if self.desired is not None:
            return match(self.desired, self.observed())
        return Match((), tuple(s for s in self.observed().seen if s.instance))

    def converge(self, now: float) -> float:
        """Take the steps that can be taken now; return when time alone allows another (monotonic seconds)."""
        if self.desired is None or not self.ready:
            return float("inf")
        observed = self.observed()
        self._remember(observed)
        wanted = {w.id: w for w in self.desired.instances}
        for step in steps(self.desired, observed, now, self._retries, self.prefix):
            refused = self.policy.refuses(wanted[step.instance].access) if step.kind == "create" else ""
            if refused:
                self._finish(step, refused)
            else:
                self._take(step)
        return min((r.not_before for r in self._retries.values() if r.not_before > now), default=float("inf"))

    def policy_changed(self) -> None:
        """Try again what was refused."""
        for name, retry in list(self._retries.items()):
            if retry.detail.startswith("refused"):
                del self._retries[name]

    def converged(self) -> bool:
        """Whether the node is as desired."""
        if self.desired is None or not self.ready or not self.may_remove:
            return False
        return is_converged(self.desired, self.observed(), self.prefix)

    def take_snapshot(self, snapshot: Snapshot) -> None:
        """Take up what the Docker Engine shows."""
        self.snapshot = snapshot
        self._ticket_seen = max(self._ticket_seen, snapshot.ticket)
        for key, flight in list(self._flights.items()):
            if 0 < flight.ticket <= snapshot.ticket:
                del self._flights[key]

    def take_answer(self, answer: Answer | Progress) -> None:
        """Take up what the worker says of a step; the tag is the step."""
        step: Step = answer.tag
        key = step.handle or step.instance
        flight = self._flights.get(key)
        if flight is None:
            return
        if isinstance(answer, Progress):
            self._flights[key] = flight._replace(progress=answer.text)
            return
        self._finish(step, answer.error if not answer.ok else "")
        if step.runtime == "process":
            del self._flights[key]
            return
        ticket = self._docker.request() if self._docker is not None else 0
        self._flights[key] = flight._replace(ticket=ticket)

    def take_process(self, instance: str, record: Any, error: str, verb: str) -> None:
        """Take up that starting or stopping a process is over."""
        flight = self._flights.pop(instance, None)
        if self._processes is None or flight is None:
            return
        if verb == "start":
            self._processes.started(instance, record)
        elif not error:
            self._processes.stopped(instance)
        self._finish(flight.step, error)
        self.check_processes()

    def check_processes(self) -> None:
        """Look which processes have ended, and let them wait before they run again."""
        if self._processes is None:
            return
        for instance in self._processes.check():
            seen = next((s for s in self._processes.seen() if s.instance == instance), None)
            if seen is not None and instance not in self._flights:
                self.note_end(seen)

    def note_end(self, seen: Seen) -> None:
        """Let what ended by itself wait before it runs again."""
        before = self._retries.get(seen.instance) if time.time() - seen.started < STEADY else None
        self._retries[seen.instance] = after_failure(before, how_it_ended(seen), time.monotonic(), chance())
        self.event(seen.instance, "ended", how_it_ended(seen))

    def forget_failures(self, now: float) -> None:
        """Forget what failed for instances that have been running steadily since, and for those nobody wants."""
        for w, seen in self.look().pairs:
            if seen is not None and seen.state == "running" and time.time() - seen.started >= STEADY:
                self._retries.pop(w.id, None)
        known = {w.id for w in self.desired.instances} if self.desired else set()
        known |= {s.instance or s.name for s in self.observed().seen}
        for name in set(self._retries) - known:
            if now > self._retries[name].not_before:
                del self._retries[name]

    def knowledge(self, w: Wanted | None, seen: Seen | None) -> Knowledge:
        """Return what is known of an instance besides what was seen (without its probes and use)."""
        name = w.id if w else seen.instance or seen.name if seen else ""
        flight = self._flights.get(name) or (self._flights.get(seen.handle) if seen else None)
        shown = flight.progress if flight and not flight.ticket else ""
        missing = w is not None and seen is None and not flight
        return Knowledge(
            made=name in self.memory.made,
            progress=shown,
            waits=waits_for_volume(w, self.observed(), self.prefix) if w and missing else "",
            retry=self._retries.get(name),
            runtime=self.runtimes.get(w.runtime, "") if w else "ok",
        )

    def _take(self, step: Step) -> None:
        w = next((w for w in self.desired.instances if w.id == step.instance), None) if self.desired else None
        seen = next((s for s in self.observed().seen if s.handle == step.handle), None)
        self._say(f"{step.instance}: {step.kind} ({step.reason})")
        if step.reason != "it is desired":
            self.event(step.instance, step.kind, step.reason)
        starting = step.kind in ("create", "start")
        self._flights[step.handle or step.instance] = _InFlight(step, "starting" if starting else "")
        if step.runtime == "process" and self._processes is not None:
            if starting and (tree := lacking_tree(w, self._state)) is not None:
                self._helper.submit("tree", tree, step, _PULL_PATIENCE)
            elif starting and w is not None:
                self._processes.start(w)
            else:
                self._processes.stop(step.instance, seen.stop_timeout if seen else 10.0)
            return
        stop_timeout = seen.stop_timeout if seen else 10.0
        whose = (self._state, self.membership.cloud, self.membership.node)
        args = docker_spec.job_args(step, w, stop_timeout, *whose, self.prefix)
        patience = _PULL_PATIENCE if step.kind == "create" else _PATIENCE
        self._helper.submit(step.kind, args, step, patience + (stop_timeout if step.kind == "remove" else 0.0))

    def _finish(self, step: Step, error: str) -> None:
        if error:
            before = self._retries.get(step.instance)
            self._retries[step.instance] = after_failure(before, error, time.monotonic(), chance())
            if before is None or before.detail != error:
                self._say(f"{step.instance}: {step.kind} failed: {error}")
                self.event(step.instance, "failed", error)
        elif step.kind == "remove":
            self._retries.pop(step.instance, None)
            self.memory.made.discard(step.instance)
            self.event(step.instance, "removed", step.reason)
        elif step.runtime == "docker" and step.kind != "start":
            # Of a process that keeps ending, the failures are forgotten only once it runs steadily.
            self._retries.pop(step.instance, None)

    def _remember(self, observed: Observed) -> None:
        """Note what must not be forgotten over a restart."""
        if self.desired is None:
            return
        memory = self.memory
        stamped = {s.instance for s in observed.seen if s.instance}
        wanted = {w.id for w in self.desired.instances}
        memory.made |= stamped
        memory.made &= wanted | stamped | set(self._flights)
        memory.adopted |= adopted_now(match(self.desired, observed))
        if observed.runtimes.get("docker") == "ok":
            there = {s.handle for s in observed.seen}
            names = {w.adopt for w in self.desired.instances}
            memory.adopted = {n: a for n, a in memory.adopted.items() if a.handle in there or n in names}
        now = time.time()
        for w in self.desired.instances:
            if w.runtime == "docker" and w.image:
                image = full_name(w.image)
                if now - memory.images.get(image, ("", 0.0))[1] > _IMAGE_USE_NOTED:
                    memory.images[image] = (w.app, now)
        self._watch_adoptable()

    def _watch_adoptable(self) -> None:
        names = frozenset(w.adopt for w in self.desired.instances if w.adopt) if self.desired else frozenset()
        names |= set(self.memory.adopted)
        if self._docker is not None and names != self._adoptable:
            self._adoptable = names
            self._adoptable_ticket = self._docker.request(names)

    def event(self, instance: str, kind: str, message: str) -> None:
        """Have the engine told that something happened."""
        self.events.append({"at": round(time.time(), 3), "instance": instance, "kind": kind, "message": message[:500]})
        del self.events[:-_MOST_EVENTS]

    def known(self) -> set[str] | None:
        """Return every instance that is wanted, here, or on its way in or out; None while that is not known."""
        if self.desired is None or not self.ready:
            return None
        here = {s.instance for s in self.observed().seen} | {f.step.instance for f in self._flights.values()}
        return here | {w.id for w in self.desired.instances}
