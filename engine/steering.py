"""What a person may ask of a rollout while the engine runs: promote, give up, go back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from automator67.engine.clock import steady_now
from automator67.engine.control import ControlError
from automator67.engine.loop import Loop
from automator67.engine.promotion import PromotionError
from automator67.engine.reconcile import Reconciler
from automator67.engine.rollback import RollbackError, Rollbacks


class Steering:
    """Hands requests of the control socket on; both methods raise ControlError."""

    def __init__(self, reconciler: Reconciler, loop: Loop, rollbacks: Rollbacks) -> None:
        self._reconciler, self._loop, self._rollbacks = reconciler, loop, rollbacks

    async def promote(self, app: str, abort: bool, dry_run: bool) -> Mapping[str, Any]:
        """Let a canary take over, or give it up; see engine/promotion.py."""
        try:
            done = await self._loop.run_blocking(lambda: self._reconciler.promote(app, abort, dry_run, steady_now()))
        except PromotionError as error:
            raise ControlError(str(error)) from error
        self._loop.request(f"app/{app} was promoted or given up")
        return done

    async def roll_back(self, app: str, revision: str, dry_run: bool) -> Mapping[str, Any]:
        """Make the branch that goes back to a revision; see engine/rollback.py."""
        desired = self._reconciler.desired
        if desired is None:
            raise ControlError("the repository was not read yet; try again in a moment")
        try:
            return await asyncio.to_thread(self._rollbacks.make, desired, app, revision, dry_run=dry_run)
        except RollbackError as error:
            raise ControlError(str(error)) from error
