"""Runs the probes of all instances and keeps their standing. For the main thread; each probe runs in its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from automator67.agent import probing
from automator67.agent.docker_http import DockerApi
from automator67.agent.model import Probe, Seen, Wanted
from automator67.agent.probe import Standing, after_result, first_standing, next_probe

LaunchDocument = Callable[[Wanted, tuple[str, ...]], dict[str, Any] | None]


class _Run(NamedTuple):
    """One start of an instance: another start begins with a clean slate."""

    handle: str
    started: float
    restarts: int


class Probes:
    """``post`` gets ("probe", instance id, run, Result), to be handed to ``take``."""

    def __init__(self, docker: DockerApi, launch_doc: LaunchDocument, post: Callable[[tuple[Any, ...]], None]) -> None:
        self._docker, self._launch_doc, self._post = docker, launch_doc, post
        self._standings: dict[str, Standing] = {}
        self._runs: dict[str, _Run] = {}
        self._probes: dict[str, Probe] = {}
        self._due: dict[str, float] = {}
        self._asking: set[str] = set()

    def standing(self, instance: str) -> Standing | None:
        """Return what probes have shown of an instance; None where none is declared or it does not run."""
        return self._standings.get(instance)

    def update(self, pairs: Iterable[tuple[Wanted, Seen | None]], now: float) -> float:
        """Ask whom it is time to ask; return when the next one is due (monotonic seconds)."""
        probed = {
            w.id: (w, seen, w.health) for w, seen in pairs if w.health and seen is not None and seen.state == "running"
        }
        for gone in set(self._runs) - set(probed):
            for table in (self._runs, self._standings, self._probes, self._due):
                table.pop(gone, None)
        for name, (w, seen, probe) in probed.items():
            run = _Run(seen.handle, seen.started, seen.restarts)
            if self._runs.get(name) != run or self._probes.get(name) != probe:
                self._runs[name], self._probes[name] = run, probe
                self._standings[name], self._due[name] = first_standing(now), now
            if now >= self._due[name] and name not in self._asking:
                self._asking.add(name)
                self._due[name] = next_probe(self._standings[name], probe, now)
                self._ask(w, seen, probe, run)
        return min((due for name, due in self._due.items() if name not in self._asking), default=float("inf"))

    def take(self, instance: str, run: _Run, result: probing.Result, now: float) -> None:
        """Take up the result of a probe."""
        self._asking.discard(instance)
        if self._runs.get(instance) != run:
            return
        before, probe = self._standings[instance], self._probes[instance]
        self._standings[instance] = after_result(before, probe, result.passed, result.detail, now)

    def _ask(self, w: Wanted, seen: Seen, probe: Probe, run: _Run) -> None:
        doc = None
        if seen.runtime == "process" and probe.kind == "command":
            doc = self._launch_doc(w, probe.command)

        def ask() -> None:
            self._post(("probe", w.id, run, probing.ask(probe, w, seen, self._docker, doc)))

        threading.Thread(target=ask, daemon=True).start()
