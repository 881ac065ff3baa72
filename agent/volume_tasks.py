"""The engine's wishes about volumes. Each has a thread (volume_run); here is what only the main thread may do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from automator67.agent import naming
from automator67.agent.begun import Begun
from automator67.agent.docker_watch import DockerWatch
from automator67.agent.exec_task import Program
from automator67.agent.helper import Answer, Helper, Progress
from automator67.agent.keeper import Keeper
from automator67.agent.link import Link
from automator67.agent.processes import Processes
from automator67.agent.volume_run import Reply, VolumeRun, VolumeTask, task_of
from automator67.schemas.messages.policy import as_message

_PATIENCE = 120.0


class VolumeTasks:
    """For the main thread. ``post`` gets ("volume", VolumeRun, kind, value), to be handed to ``wished``; the worker's
    answers carry the tag ("volume", VolumeRun)."""

    def __init__(
        self,
        link: Link,
        keeper: Keeper,
        helper: Helper,
        watch: DockerWatch | None,
        processes: Processes | None,
        program: Callable[[str, tuple[str, ...]], Callable[[], Program]],
        state: str,
        post: Callable[[tuple[Any, ...]], None],
    ) -> None:
        self._link, self._keeper, self._helper, self._program = link, keeper, helper, program
        self._watch, self._processes, self._state, self._post = watch, processes, state, post
        self._begun = Begun()
        self._working: dict[str, VolumeRun] = {}
        """By run: for whom the worker works, also when the thread has ended meanwhile."""
        self._waiting: list[VolumeRun] = []

    def take(self, doc: object) -> None:
        """Begin a task, unless it is not understood or was begun before."""
        task = task_of(doc)
        if task is None or task.id in self._begun:
            return
        self._begun.add(task.id)
        run = VolumeRun(task, self._link, lambda kind, what: self._post(("volume", run, kind, what)))
        threading.Thread(target=run.run, daemon=True).start()

    def wished(self, run: VolumeRun, kind: str, what: Any) -> None:
        """Do what a thread asks for."""
        task, name = run.task, self._name(run.task)
        if kind == "job":
            self._submit(run, what)
        elif kind == "hold":
            self._keeper.held[name] = what
            self._waiting.append(run)
        elif kind == "release":
            self._waiting = [r for r in self._waiting if r is not run]
            self._keeper.held.pop(name, None)
            if self._processes is not None:
                self._processes.look_at_volumes()
            if self._watch is not None:
                self._watch.request()
        elif kind == "program":
            pairs = self._keeper.look().pairs
            fits = [w.id for w, s in pairs if (w.app, w.slot) == (task.app, task.slot) and s and s.state == "running"]
            if fits:
                run.replies.put(Reply("done", self._program(fits[0], what)))
            else:
                run.replies.put(Reply("failed", f"{what[0]} cannot run: no copy of {task.app} runs here"))

    def look(self) -> None:
        """See whether volumes that are waited for are free now."""
        for run in list(self._waiting):
            if self._is_free(run.task):
                self._waiting.remove(run)
                run.replies.put(Reply("done", None))

    def answered(self, answer: Answer | Progress) -> None:
        """Take up what the worker says."""
        run: VolumeRun = answer.tag[1]
        if isinstance(answer, Progress):
            run.replies.put(Reply("progress", answer.text))
            return
        self._working.pop(run.task.run, None)
        run.replies.put(Reply("done", answer.result) if answer.ok else Reply("failed", answer.error))

    def _submit(self, run: VolumeRun, job: str) -> None:
        task, member = run.task, self._keeper.membership
        if task.run in self._working:
            # Its thread lost the engine, but the worker is still at it.
            run.replies.put(Reply("failed", "unfinished: the attempt before is still under way"))
            return
        self._working[task.run] = run
        whose = {naming.CLOUD: member.cloud, naming.NODE: member.node, naming.APP: task.app}
        args = {
            "runtime": task.runtime, "name": self._name(task), "state": self._state, "cloud": member.cloud,
            "node": member.node, "run": task.run, "box": task.box, "snapshot": task.snapshot, "keep": task.keep,
            "files": task.files, "bytes": task.bytes, "policy": as_message(self._keeper.policy.current),
            "engine": self._link.where,
            "labels": whose | {naming.SLOT: str(task.slot), naming.VOLUME: task.volume},
            "doc": {"cloud": member.cloud, "node": member.node, "app": task.app, "slot": task.slot,
                    "name": task.volume},
        }  # fmt: skip
        self._helper.submit(job, args, ("volume", run), _PATIENCE)

    def _is_free(self, task: VolumeTask) -> bool:
        """Whether no copy has the volume, and none is about to."""
        observed, name = self._keeper.observed(), self._name(task)
        if not self._keeper.ready or any(name in s.volumes for s in observed.seen):
            return False
        wanted = self._keeper.desired.instances if self._keeper.desired else ()
        return not any(w.id in observed.busy for w in wanted if (w.app, w.slot) == (task.app, task.slot))

    def _name(self, task: VolumeTask) -> str:
        return naming.volume_name(self._keeper.prefix, task.app, task.slot, task.volume)
