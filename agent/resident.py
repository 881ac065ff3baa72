"""The resident process: one loop that takes messages, converges and reports; small, and never waiting elsewhere."""

from __future__ import annotations

import faulthandler
import os
import queue
import signal
import sys
import threading
import time
from typing import Any, NamedTuple

from automator67.agent import VERSION, naming
from automator67.agent.contact import Contact
from automator67.agent.desired import DesiredError
from automator67.agent.docker_http import DockerApi
from automator67.agent.docker_watch import DockerWatch
from automator67.agent.edges import Edges
from automator67.agent.fencing import Fencing
from automator67.agent.helper import Answer, Helper, Progress
from automator67.agent.image_tasks import ImageTasks
from automator67.agent.keeper import Keeper
from automator67.agent.last_desired import LastDesired
from automator67.agent.link import Link, place_of
from automator67.agent.model import Desired, Step
from automator67.agent.notify import notify, watchdog_interval
from automator67.agent.offer import offered
from automator67.agent.policy_file import PolicyFile
from automator67.agent.probes import Probes
from automator67.agent.processes import Processes
from automator67.agent.renewal import Renewal
from automator67.agent.reporter import Reporter, disk_path
from automator67.agent.state import Membership, Memory, lock, membership
from automator67.agent.tasks import Tasks
from automator67.agent.upkeep import Upkeep
from automator67.agent.volume_tasks import VolumeTasks

# A loop that has not come round for this long hangs: the process ends itself and its supervisor starts it again.
_STUCK = 60.0
_TICK = 10.0
_PROCESS_TICK = 1.0
_CLOCK_TOLERANCE = 60.0


class ThreadDied(Exception):
    """A thread ended that the agent cannot do without."""


class Options(NamedTuple):
    """What the command line said. ``prefix`` is empty for the usual one."""

    state: str
    runtime: str
    docker_socket: str
    prefix: str
    policy: str
    edge: dict[str, Any]


def run(options: Options) -> None:
    """Be the agent until told to stop. Raises StateError when there is nothing to be."""
    member = membership(options.state)
    held = lock(options.state)
    try:
        Resident(options, member).run()
    finally:
        os.close(held)


class Resident:
    """The parts of the agent, and the loop that joins them."""

    def __init__(self, options: Options, member: Membership) -> None:
        self._state, self._member = options.state, member
        self._inbox: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        post = self._inbox.put
        prefix = options.prefix or naming.default_prefix(member.cloud)
        docker, process = offered(options.runtime, os.path.exists(options.docker_socket))
        self._api = DockerApi(options.docker_socket)
        socket = options.docker_socket if docker else ""
        self._helper = Helper(socket, post)
        self._processes = Processes(options.state, member.cloud, member.node, prefix, post) if process else None
        self._watch: DockerWatch | None = None
        if docker:
            self._watch = DockerWatch(self._api, member.cloud, member.node, lambda s: post(("docker", s)))
        memory = Memory(f"{options.state}/memory.json")
        self._policy = PolicyFile(options.policy, options.docker_socket, self._helper, say)
        self._keeper = Keeper(member, prefix, memory, self._helper, self._watch, self._processes, self._policy, say,
                              options.state)  # fmt: skip
        self._fencing = Fencing(options.state, member, socket, self._keeper, self._helper, say)
        launch_doc = self._processes.probe_document if self._processes is not None else lambda _w, _c: None
        self._probes = Probes(self._api, launch_doc, post)
        self._reporter = Reporter(self._keeper, self._probes, self._processes, disk_path(options.state))
        place = place_of(member.engine)
        self._link = Link(place, f"{options.state}/ca.pem", f"{options.state}/identity.pem")
        self._renewal = Renewal(self._link, self._helper, options.state, member.node, post)
        self._contact = Contact(self._link, self._renewal, self._reporter.next_seq, post, say, member.heartbeat)
        self._last = LastDesired(self._helper, options.state, member, say)
        self._tasks = Tasks(self._link, self._keeper, self._api, self._processes, post, say)
        self._edges = Edges(options.state, options.edge, self._link, self._helper, post, self._say_new)
        self._images = ImageTasks(self._helper, memory, options.state)
        self._volumes = VolumeTasks(self._link, self._keeper, self._helper, self._watch, self._processes,
                                    self._tasks.program, options.state, post)  # fmt: skip
        self._upkeep = Upkeep(self._keeper, self._helper, self._processes, post)
        self._stopping = False
        self._beat_due = False
        self._last_said = ""
        self._failed = ""

    def run(self) -> None:
        """Work until a signal says stop."""
        say(f"agent {VERSION} of node {self._member.node} in cloud {self._member.cloud}, engine {self._member.engine}")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._inbox.put(("stop",)))
        signal.signal(signal.SIGCHLD, lambda *_: self._inbox.put(("child",)))
        threading.excepthook = self._thread_died
        if self._processes is not None:
            self._processes.load()
        self._last.open()
        if self._watch is not None:
            self._watch.start()
        notify("READY=1")
        wake_at = 0.0
        next_tick = next_watchdog = next_alive = 0.0
        while not self._stopping:
            now = time.monotonic()
            if now >= next_alive:
                next_alive = now + 5.0
                faulthandler.dump_traceback_later(_STUCK, exit=True)
            if now >= next_watchdog:
                next_watchdog = now + watchdog_interval()
                notify("WATCHDOG=1")
            if now >= next_tick:
                next_tick = now + self._tick(now)
            self._take(max(0.0, min(wake_at, next_tick, next_watchdog) - now))
            wake_at = self._pass(time.monotonic())
        notify("STOPPING=1")
        faulthandler.cancel_dump_traceback_later()
        if self._failed:
            raise ThreadDied(self._failed)
        say("stopped; what runs keeps running")

    def _thread_died(self, what: threading.ExceptHookArgs) -> None:
        """End the process when a thread that it cannot do without has ended: its supervisor starts it again."""
        name = what.thread.name if what.thread else ""
        say(f"internal error in thread {name}: {what.exc_type.__name__}: {what.exc_value}")
        if name in ("docker", "heart", "wakeup"):
            self._failed = name
            self._inbox.put(("stop",))

    def _take(self, timeout: float) -> None:
        """Wait for a message, and take it with all that came along."""
        try:
            message = self._inbox.get(timeout=timeout)
            for _ in range(1000):
                self._handle(message)
                message = self._inbox.get_nowait()
        except queue.Empty:
            return

    def _pass(self, now: float) -> float:
        """Do what the present asks for; return when to do so again though nothing happens (monotonic seconds)."""
        if now >= self._helper.next_tick():
            for answer in self._helper.tick(now):
                self._answered(answer)
        self._keeper.may_remove = self._last.kept
        dues = [self._fencing.tick(now), self._keeper.converge(now), self._helper.next_tick()]
        pairs = self._keeper.look().pairs
        dues.append(self._probes.update(pairs, now))
        dues.append(self._policy.tick(now))
        dues.append(self._renewal.tick(now, time.time() + self._contact.clock_offset))
        self._reporter.edge = self._edges.status
        self._volumes.look()
        self._upkeep.keep_memory(now)
        self._tell_conditions()
        if self._contact.is_open and self._keeper.ready:
            report = self._reporter.build()
            self._edges.see(report["instances"])
            dues.append(self._edges.tick(now, time.time() + self._contact.clock_offset))
            if self._reporter.changed(report) or self._beat_due:
                if self._beat_due:
                    self._reporter.measure()
                    report = self._reporter.build()
                self._beat_due = False
                self._contact.send(report)
        return min(dues)

    def _tick(self, now: float) -> float:
        """Do what is done from time to time; return after how many seconds again."""
        self._keeper.forget_failures(now)
        self._last.tick(now)
        self._upkeep.collect_images(now, self._reporter.disk_is_filling)
        self._upkeep.forget_secrets(now)
        self._upkeep.clear_unstarted()
        self._contact.check(now)
        if self._processes is None or not self._processes.running():
            return _TICK
        self._keeper.check_processes()
        self._upkeep.rotate_logs()
        return _PROCESS_TICK

    def _handle(self, message: tuple[Any, ...]) -> None:
        kind, *rest = message
        if kind == "docker":
            self._keeper.take_snapshot(rest[0])
        elif kind == "worker":
            for answer in self._helper.receive(rest[0], rest[1]):
                self._answered(answer)
        elif kind == "process":
            self._keeper.take_process(*rest)
        elif kind == "probe":
            self._probes.take(rest[0], rest[1], rest[2], time.monotonic())
        elif kind == "child":
            self._helper.reap()
            self._keeper.check_processes()
        elif kind == "beat due":
            self._beat_due = True
        elif kind == "beat":
            self._beat_answered(*rest)
        elif kind == "desired":
            self._desired(*rest)
        elif kind == "trouble":
            self._contact.trouble(rest[0])
        elif kind == "renewed":
            self._say_new(self._renewal.take_answer(*rest))
        elif kind == "edge certified":
            self._edges.take_certificates(*rest)
        elif kind == "task done":
            self._tasks.done(rest[0])
        elif kind == "volume":
            self._volumes.wished(*rest)
        elif kind == "rotated":
            self._upkeep.rotated()
            self._say_new(rest[0])
        elif kind == "stop":
            self._stopping = True

    def _answered(self, answer: Answer | Progress) -> None:
        if isinstance(answer.tag, Step):
            self._keeper.take_answer(answer)
            return
        if answer.tag[0] == "volume":
            self._volumes.answered(answer)
        if isinstance(answer, Progress):
            return
        kind = answer.tag[0]
        if kind == "open":
            self._opened(answer)
        elif kind == "seal":
            self._last.sealed(answer)
        elif kind == "policy" and self._policy.take(answer):
            self._keeper.policy_changed()
        elif kind == "edge request":
            self._edges.take_request(answer.ok, answer.result, answer.error)
        elif kind == "renewal":
            self._renewal.take_request(answer.ok, answer.result, answer.error)
        elif kind == "install":
            self._say_new(self._renewal.take_installed(answer.ok, answer.result, answer.error))
            if answer.ok:
                self._contact.renew()
        elif kind == "image":
            self._say_new(self._images.answered(answer))
        elif kind == "collect" and answer.ok and answer.result:
            say(f"removed images that nobody needs: {', '.join(answer.result)}")

    def _opened(self, answer: Answer) -> None:
        """Begin with the desired state of the last time, if there is one, and talk to the engine."""
        if answer.ok:
            self._renewal.set_validity(answer.result["valid"])
        desired = self._last.opened(answer)
        if desired is not None:
            self._want(desired)
        self._contact.open(desired.rev if desired else "")

    def _desired(self, doc: dict[str, Any], raw: bytes) -> None:
        self._contact.heard()
        for task in doc.get("tasks") or ():
            self._tasks.take(task)
            self._images.take(task)
            self._volumes.take(task)
        if "instances" not in doc:
            return
        # Whatever it says, work is about to come.
        self._helper.warm_up()
        try:
            desired = self._last.take(doc, raw, self._fencing.desired)
        except DesiredError as e:
            self._say_new(f"the engine's desired state cannot be understood and changes nothing: {e}")
            self._reporter.conditions.add("desired_state_refused")
            return
        self._reporter.conditions.discard("desired_state_refused")
        if desired is not None:
            say(f"desired: revision {desired.rev} with {len(desired.instances)} instances")
            self._want(desired)

    def _want(self, desired: Desired) -> None:
        self._fencing.want(desired)
        self._edges.want(desired.node, desired.edge)

    def _beat_answered(self, answer: dict[str, Any], report: dict[str, Any]) -> None:
        self._contact.answered(answer)
        self._fencing.granted(answer)
        self._reporter.acknowledged(report)
        self._reporter.address = self._link.local_address

    def _tell_conditions(self) -> None:
        conditions = self._reporter.conditions
        conditions -= {"clock", "state_unwritable"}
        if self._link.clock_is_wrong or abs(self._contact.clock_offset) > _CLOCK_TOLERANCE:
            conditions.add("clock")
        problem = self._last.problem or self._upkeep.problem
        if problem:
            conditions.add("state_unwritable")
            self._say_new(f"the agent's state cannot be written: {problem}; everything keeps running")

    def _say_new(self, text: str) -> None:
        if text and text != self._last_said:
            say(text)
        self._last_said = text or self._last_said


def say(text: str) -> None:
    """Print one line for the log of whoever supervises us."""
    sys.stderr.write(text + "\n")
