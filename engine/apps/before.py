"""The command that runs to its end before the first copy of a new revision starts. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from automator67.engine.apps.runs import words
from automator67.engine.apps.steps import Prior
from automator67.engine.desired import App
from automator67.engine.jobs import Run


def before(app: App, runs: Sequence[Run]) -> tuple[Prior, bool]:
    """Return what copies wait for, and whether the run is still to be asked for.

    A run that failed counts for as long as the app's file is the same: a commit that touches it tries again.
    """
    if app.before is None:
        return Prior(), False
    mine = [r for r in runs if r.kind == "before" and r.rev == app.rev]
    if any(r.state == "succeeded" for r in mine):
        return Prior(), False
    last = next((r for r in mine if r.blob == app.origin.blob), None)
    if last is None:
        return Prior(gate="waits for its `before` command"), True
    if not last.over:
        return Prior(gate=f"waits for its `before` command (automator67 logs {app.name} --run {last.number})"), False
    return Prior(failed=f"its `before` command (run {last.number}) {words(last)}"), False
