"""Posts what is due in the outbox, in a thread of its own, so that a slow forge delays nothing else."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

from automator67.engine.breaker import Breaker
from automator67.engine.clock import steady_now
from automator67.engine.forges.choose import reporter_for
from automator67.engine.forges.outbox import deliver, next_due
from automator67.engine.options import Options
from automator67.engine.repo.mirror import Mirror
from automator67.engine.repo.note_ref import NoteRef
from automator67.engine.source import SourceError
from automator67.engine.store.database import Store, StoreUnavailable
from automator67.engine.turns import Turns

log = logging.getLogger("automator67.poster")

LONGEST_SLEEP = 60.0


class Poster:
    """The thread that posts commit statuses to the forge, or as git notes to a plain remote."""

    def __init__(
        self, store: Store, options: Options, mirror: Mirror, breaker: Breaker, cloud: Callable[[], str]
    ) -> None:
        """``breaker`` stands before the forge, ``cloud`` gives the cloud's name.

        Raises SourceError for a forge that may not be used.
        """
        self._store = store
        try:
            self._reporter = reporter_for(
                options.repository, options.forge_token, NoteRef(mirror), breaker, api=options.forge_url,
                cloud=cloud,
            )  # fmt: skip
        except ValueError as error:
            raise SourceError(str(error)) from None
        self._random = random.Random()  # noqa: S311
        self._turns = Turns("poster", self._turn)
        self._last = ""

    def start(self) -> None:
        """Begin to post."""
        self._turns.start()

    def wake(self) -> None:
        """Look into the outbox now."""
        self._turns.wake()

    def stop(self) -> None:
        """End after the post under way; what is left stays in the outbox."""
        self._turns.stop()
        self._reporter.close()

    def _turn(self) -> float:
        """Post what is due; return when to look again."""
        try:
            failures = deliver(self._store, self._reporter, steady_now, self._random)
            self._say(failures[0] if failures else "")
            with self._store.read() as tx:
                soon = next_due(tx)
        except StoreUnavailable as error:
            self._say(str(error))
            return 2.0
        return LONGEST_SLEEP if soon is None else min(LONGEST_SLEEP, max(0.05, soon - steady_now()))

    def _say(self, failure: str) -> None:
        """Log a failure once, and once that it is over."""
        if failure != self._last:
            log.log(logging.WARNING if failure else logging.INFO, "%s", failure or "statuses are taken again")
        self._last = failure
