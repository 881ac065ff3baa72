"""What a person may ask of runs while the engine runs: begin one, end one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from automator67.engine.clock import steady_now
from automator67.engine.control import ControlError
from automator67.engine.desired import Desired
from automator67.engine.jobs import Run, Runs
from automator67.engine.loop import Loop
from automator67.engine.reconcile import Reconciler
from automator67.engine.store.database import Store, StoreUnavailable
from automator67.engine.store.facts import add_events
from automator67.engine.store.runs import ask_to_stop, find_run, load_runs, save_run
from automator67.schemas.near import near_hint

MOST_WAITING = 20
"""How many runs of an app may be under way or waiting at once."""


class RunActions:
    """Hands requests of the control socket on; both methods raise ControlError."""

    def __init__(self, reconciler: Reconciler, store: Store, loop: Loop) -> None:
        self._reconciler, self._store, self._loop = reconciler, store, loop

    async def begin(self, app: str, argv: tuple[str, ...], by: str) -> Mapping[str, Any]:
        """Ask for a run of an app with a command (empty: the app's own); return it as ``asdict`` does."""

        def ask() -> Run:
            with self._store.begin() as tx:
                run = wanted_run(self._reconciler.settled, load_runs(tx), app, argv, by, steady_now())
                save_run(tx, run)
                add_events(tx, [(run.asked_at, "run", f"app/{app}", f"run {run.number}: {run.reason}", "")])
            return run

        run = await self._do(ask, f"app/{app} is to be run")
        return asdict(run) | {"instance": run.instance}

    async def end(self, app: str, number: int, by: str) -> Mapping[str, Any]:
        """Ask for the end of a run; return it as it is now."""

        def ask() -> Run:
            with self._store.begin() as tx:
                run = find_run(tx, app, number)
                if run is None:
                    raise ControlError(f"app/{app} has no run {number}; see automator67 runs {app}")
                if not run.over:
                    ask_to_stop(tx, app, number, f"{by} ended it")
            return run

        return asdict(await self._do(ask, f"run {number} of app/{app} is to end"))

    async def _do(self, ask: Any, reason: str) -> Run:
        try:
            run: Run = await self._loop.run_blocking(ask)
        except StoreUnavailable as error:
            raise ControlError(str(error)) from error
        self._reconciler.read_anew()
        self._loop.request(reason)
        return run


def wanted_run(desired: Desired | None, runs: Runs, app: str, argv: tuple[str, ...], by: str, now: float) -> Run:
    """Return the run that a person asks for. Raises ControlError. Pure."""
    if desired is None:
        raise ControlError("the repository was not read yet; try again in a moment")
    wanted = desired.apps.get(app)
    if wanted is None:
        raise ControlError(f"there is no app {app}{near_hint(app, desired.apps)}")
    if wanted.blocked or wanted.awaits:
        raise ControlError(f"app/{app} cannot be run now: {wanted.blocked or wanted.awaits}")
    if wanted.volumes and wanted.job is None:
        raise ControlError(f"the volumes of app/{app} are in use by the app itself; see automator67 exec")
    if not argv and wanted.job is None:
        raise ControlError(f"app/{app} is no job: say what to run after --")
    mine = runs.of(app)
    if sum(1 for r in mine if not r.over) >= MOST_WAITING:
        raise ControlError(f"{MOST_WAITING} runs of app/{app} have not ended yet; see automator67 runs {app}")
    timeout = wanted.job.timeout if wanted.job and not argv else 0.0
    return Run(app, runs.next_number(app), "manual", wanted.rev, now, argv, timeout, f"by {by}", wanted.origin.blob)
