"""Plans every open pull request and keeps one comment below each, in a thread of its own.

It compares what is open at the forge with what was planned (the table ``pulls``), whatever woke it: an event that was
lost, doubled or forged changes nothing, and what a killed engine had not done yet is found again.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from functools import partial

from sqlalchemy import Row, delete, insert, select, update

from automator67.engine.apis.client import ApiError
from automator67.engine.breaker import Breaker
from automator67.engine.clock import steady_now
from automator67.engine.forges.choose import reviews_for
from automator67.engine.forges.outbox import want
from automator67.engine.forges.reviews import Pull, Reviews
from automator67.engine.forges.statuses import Status
from automator67.engine.load import Loaded, Loader
from automator67.engine.options import Options
from automator67.engine.preview import observed_from_store, settled_from_store
from automator67.engine.pull_comment import closed, comment, marker
from automator67.engine.pull_plan import Proposed, proposed
from automator67.engine.remote_errors import RemoteError, UnusableTree
from automator67.engine.repo.mirror import Mirror
from automator67.engine.repo.proposals import Proposals, Unmergeable
from automator67.engine.repo.tree import Tree
from automator67.engine.source import SourceError
from automator67.engine.store.database import Store, StoreUnavailable
from automator67.engine.store.facts import fact
from automator67.engine.store.pull_tables import pulls
from automator67.engine.turns import Turns

log = logging.getLogger("automator67.pulls")

CONTEXT = "automator67/plan"
RETRY_SECONDS = (5.0, 900.0)


class PullDesk:
    """The thread; ``told`` is called when there is a new status to post, ``name`` gives the cloud's name.

    Without ``reviews`` (the forge shows no pull requests) nothing is done.
    """

    def __init__(
        self, store: Store, reviews: Reviews | None, proposals: Proposals, branch: str, subdir: str,
        *, name: Callable[[], str], told: Callable[[], None], clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._store, self._reviews, self._proposals = store, reviews, proposals
        self._branch, self._subdir = branch, subdir
        self._name, self._told, self._clock = name, told, clock
        # No key for secrets: what is proposed may come from anybody.
        self._loader = Loader()
        self._turns = Turns("pulls", self._turn)
        self._failures, self._last = 0, ""

    def start(self) -> None:
        """Begin to look."""
        if self._reviews is not None:
            self._turns.start()

    def wake(self) -> None:
        """Look at the forge now."""
        self._turns.wake()

    def stop(self) -> None:
        """End; what is left is found again."""
        if self._reviews is not None:
            self._reviews.close()
        self._turns.stop()

    def look(self) -> None:
        """Bring plans, statuses and comments up to what is open now.

        Raises ApiError, RemoteError or StoreUnavailable: the last trouble, after all others were done.
        """
        if self._reviews is None:
            return
        with self._store.read() as tx:
            known = {row.number: row for row in tx.execute(select(pulls))}
        still = {pull.number: pull for pull in self._reviews.open_pulls(self._branch)}
        work = [
            partial(self._finish, self._reviews, number, known[number].comment)
            for number in known.keys() - still.keys()
        ]
        work += [partial(self._follow, self._reviews, pull, known.get(pull.number)) for pull in still.values()]
        trouble: Exception | None = None
        for one in work:
            try:
                one()
            except Exception as error:
                # What one proposal brings to light must not keep the others from being planned.
                trouble = error
        if trouble is not None:
            raise trouble

    def _turn(self) -> float | None:
        try:
            self.look()
            self._failures, text = 0, ""
        except (ApiError, RemoteError, StoreUnavailable) as error:
            self._failures, text = self._failures + 1, str(error)
        except Exception:
            # A defect that one proposal brings to light must not end plans for good.
            log.exception("planning pull requests failed")
            self._failures, text = self._failures + 1, "a defect; see above"
        if text != self._last:
            log.log(logging.WARNING if text else logging.INFO, "pull requests: %s", text or "planned again")
        self._last = text
        return min(RETRY_SECONDS[1], RETRY_SECONDS[0] * 2.0 ** (self._failures - 1)) if self._failures else None

    def _finish(self, reviews: Reviews, number: int, known: int) -> None:
        self._say(reviews, number, closed(self._name()), known)
        with self._store.begin() as tx:
            tx.execute(delete(pulls).where(pulls.c.number == number))

    def _follow(self, reviews: Reviews, pull: Pull, row: Row[tuple[object, ...]] | None) -> None:
        tip = self._deployed()
        if row is None or (row.head, row.base) != (pull.head, tip):
            found = self._plan(pull)
            good, verdict = found.verdict
            values = {"head": pull.head, "base": tip, "body": comment(self._name(), found), "planned_at": self._clock()}
            with self._store.begin() as tx:
                if row is None:
                    tx.execute(insert(pulls).values(number=pull.number, said="", comment=0, **values))
                else:
                    tx.execute(update(pulls).where(pulls.c.number == pull.number).values(**values))
                want(tx, pull.head, [Status(CONTEXT, "success" if good else "failure", verdict)], self._clock())
            self._told()
        with self._store.read() as tx:
            now = tx.execute(select(pulls).where(pulls.c.number == pull.number)).one()
        digest = hashlib.sha256(now.body.encode()).hexdigest()
        if digest != now.said:
            written = self._say(reviews, pull.number, now.body, now.comment)
            with self._store.begin() as tx:
                at = update(pulls).where(pulls.c.number == pull.number)
                tx.execute(at.values(said=digest, comment=written))

    def _say(self, reviews: Reviews, number: int, body: str, known: int) -> int:
        return reviews.comment(number, marker(self._name()), body, known)

    def _deployed(self) -> str:
        """Return the branch's commit as the engine last followed it: a newer one makes every plan an old one."""
        with self._store.read() as tx:
            return fact(tx, "head")

    def _plan(self, pull: Pull) -> Proposed:
        try:
            base, merge = self._proposals.merged(pull.ref, pull.head)
            before, after = self._load(base).desired, self._load(merge)
        except (Unmergeable, UnusableTree) as error:
            return Proposed(pull.head, "", pull.fork, refused=str(error))
        problems = tuple(sorted(after.problems, key=lambda p: p.severity != "error"))
        if after.desired is None:
            return Proposed(pull.head, base, pull.fork, problems)
        wanted, now = settled_from_store(self._store, after.desired), self._clock()
        observed = observed_from_store(self._store, wanted, now)
        before = settled_from_store(self._store, before) if before is not None else None
        return proposed(before, wanted, observed, now, fork=pull.fork, problems=problems)

    def _load(self, commit: str) -> Loaded:
        tree = Tree(self._proposals, commit, self._subdir)
        return self._loader.load(tree.entries(), tree.read, commit)


def pull_desk(
    options: Options, store: Store, mirror: Mirror, breaker: Breaker, *,
    name: Callable[[], str], told: Callable[[], None],
) -> PullDesk:  # fmt: skip
    """Return the desk of the config repository's pull requests, with a breaker before the forge.

    Raises SourceError for a forge that may not be used."""
    try:
        reviews = reviews_for(options.repository, options.forge_token, breaker, api=options.forge_url)
    except ApiError as error:
        raise SourceError(str(error)) from None
    proposals = Proposals(options.state / "proposals", mirror)
    return PullDesk(store, reviews, proposals, options.branch, options.path, name=name, told=told, clock=steady_now)
