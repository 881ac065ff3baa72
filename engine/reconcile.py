"""One pass of the straight line: fetch, load, observe, plan, apply, tell, judge, report.

A pass is level-triggered and may be repeated or cut off anywhere. It runs in one thread; what it touches of the
world is handed in. A remote that cannot be read, a commit that does not validate, a store that is away: each leaves
what runs as it is, and says so.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from automator67.engine import crash
from automator67.engine.accounts import accounted
from automator67.engine.alert_desk import AlertDesk
from automator67.engine.apply import Work, work, write
from automator67.engine.apps.revisions import from_spec
from automator67.engine.apps.routes import edges
from automator67.engine.apps.traffic import Share, traffic
from automator67.engine.bucket_facts import BucketFacts
from automator67.engine.copies import LOST_STATES, Copy, join
from automator67.engine.desired import App, Desired
from automator67.engine.far import far_sites
from automator67.engine.instances import desired_instances, place_part
from automator67.engine.job_times import moments
from automator67.engine.judge import AppState, Standing
from automator67.engine.maintenance import in_force, next_change
from automator67.engine.names.worker import FarSite
from automator67.engine.nodes.registry import Registry
from automator67.engine.observed import Assignment, NodeView, Observed
from automator67.engine.plan.planner import plan
from automator67.engine.plan.render import told
from automator67.engine.promotion import say
from automator67.engine.quotas import Quota
from automator67.engine.record import CommitReporter
from automator67.engine.secrets.delivery import Delivery
from automator67.engine.secrets.errors import SecretError
from automator67.engine.secrets.vault import Vault
from automator67.engine.source import Source, SourceError
from automator67.engine.store.database import Store
from automator67.engine.store.facts import add_events
from automator67.engine.store.intents import Intents, confirm, load_intents
from automator67.engine.troubles import refused, troubles, unreadable

log = logging.getLogger("automator67.reconcile")

Settle = Callable[[Desired, float, bool], tuple[Desired, dict[str, str]]]
"""Finds out what a desired state's names mean (engine/resolver.py): desired, now, whether to look again; and notes."""
GATHER_SECONDS = 2.0
"""How long the engine of a new cloud lets nodes report before it starts anything."""
LOST_STORE_SECONDS = 60.0
"""How long an engine whose store was lost waits for declared nodes to report what they run."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pass found. ``again``: something was written, so the next look may find more to do."""

    commit: str = ""
    again: bool = False
    wake_at: float = 0.0
    remaining: int = 0
    error: str = ""


class Reconciler:
    """Holds what passes share: the store, the source, the registry, and the last desired state that was valid."""

    def __init__(
        self,
        store: Store,
        source: Source,
        registry: Registry,
        *,
        started: float,
        store_lost: bool = False,
        redact: Callable[[str], str] = lambda text: text,
        settle: Settle | None = None,
        alerts: AlertDesk | None = None,
    ) -> None:
        self._store, self._source, self._registry = store, source, registry
        self._reporter = CommitReporter(store, redact)
        self._settle = settle
        self._head, self._unreadable = "", ""
        self._refused: tuple[str, str] | None = None
        self._alerts = alerts
        self._stale = False
        self._intents: Intents | None = None
        self._started, self._store_lost = started, store_lost
        self._unsettled: bool | None = None
        self._first_report = 0.0
        self.desired: Desired | None = None
        """The last desired state that was valid."""
        self.settled: Desired | None = None
        """The same with what its names mean: commits of sources, digests of images."""
        self._delivery = Delivery()
        self.far: tuple[FarSite, ...] = ()
        """Who takes which names at providers, as the last pass has found."""
        self.found: tuple[Observed, Mapping[str, AppState]] | None = None
        """What the last pass saw, and how it judged each app."""
        self.quotas: tuple[Quota, ...] = ()
        self.buckets: tuple[BucketFacts, ...] = ()
        self.vault: Vault | None = None
        """Its secrets."""

    def learn_secrets(self) -> None:
        """Open what was in use before a restart, without asking the remote.

        Call it before agents may speak: only a value that is known is taken out of what they report.
        """
        head = self._source.last_head()
        for commit in filter(None, (head, self._reporter.last_valid(head))):
            with contextlib.suppress(SourceError):
                if (vault := self._source.load(commit).vault) is not None:
                    for revision in self._present_intents().specs.values():
                        vault.troubles_of(revision.spec.get("secrets", ()))
                    return

    def confirm_deletions(self, now: float) -> str:
        """Record that a person confirmed the deletions of the present commit; return the commit, if there is one."""
        if self.desired is None:
            return ""
        with self._store.begin() as tx:
            confirm(tx, self.desired.commit, now)
        self._intents = None
        return self.desired.commit

    def promote(self, app: str, abort: bool, dry_run: bool, now: float) -> Mapping[str, Any]:
        """Record what a person says of a canary, as ``promotion.say`` does. Raises PromotionError."""
        i = self._present_intents()
        with self._store.begin() as tx:
            said = say(tx, self.settled, i, app, now, abort=abort, dry_run=dry_run)
        self._intents = None
        return said

    def once(self, now: float, *, fetch: bool) -> Outcome:
        """Do one pass. Raises StoreUnavailable when the store is away; then nothing is half done."""
        error = self._look(now) if fetch or self.desired is None else ""
        if self.desired is None:
            return Outcome(error=error)
        self.desired = in_force(self.desired, now)
        if self._stale:
            self._stale, self._intents = False, None
        desired, notes = self._settle(self.desired, now, fetch) if self._settle else (self.desired, {})
        self.settled = desired
        observed = self._observe(desired, now)
        planned = plan(desired, observed, now)
        planned = replace(planned, notes=notes | planned.notes)
        copies = join(observed)
        todo = work(planned, desired, observed, copies, self._present_intents().open_actions)
        self._act(todo, desired, now)
        if not todo.empty:
            observed = self._observe(desired, now)
            copies = join(observed)
        self._tell(desired, observed, copies)
        standing = self._reporter.report(desired, planned, observed, copies, now)
        self.found = observed, standing.apps
        told_at = self._alert(desired, observed, standing, now)
        wakes = (planned.wake_at, next_change(desired.nodes, now), self._registry.watch.changes_at(now), told_at)
        wake_at = min(filter(None, wakes), default=0.0)
        return Outcome(desired.commit, not todo.empty, wake_at, len(planned.actions), error)

    def _alert(self, desired: Desired, observed: Observed, standing: Standing, now: float) -> float:
        """Take in what is wrong; return when to look again for that, 0: never."""
        if self._alerts is None:
            return 0.0
        found = troubles(desired, observed, standing)
        found += [unreadable(self._unreadable)] if self._unreadable else []
        found += [refused(*self._refused)] if self._refused else []
        return self._alerts.look(desired.settings, found, now)

    def _look(self, now: float) -> str:
        """Fetch, and take a new commit when it is valid. Returns an error text, empty when all is well."""
        error = ""
        try:
            commit = self._source.fetch()
        except SourceError as problem:
            error, commit = str(problem), ""
            if self.desired is None:
                commit = self._source.last_head()
        self._unreadable = error
        self._reporter.remote(error, now)
        crash.point("after-fetch")
        if not commit or (commit == self._head and not self._source.keys_changed()):
            return error
        try:
            loaded, info = self._source.load(commit), self._source.describe(commit)
        except SourceError as problem:
            self._unreadable = str(problem)
            self._reporter.remote(str(problem), now)
            return str(problem)
        fatal = loaded.problems if loaded.desired is None else ()
        self._reporter.see(commit, info, fatal, now)
        self._head = commit
        self._refused = (commit, str(fatal[0])) if fatal else None
        if loaded.desired is not None:
            self.desired, self.vault = loaded.desired, loaded.vault
        elif self.desired is None and (previous := self._reporter.last_valid(commit)):
            before = self._source.load(previous)
            self.desired, self.vault = before.desired, before.vault
        return error or (str(loaded.problems[0]) if loaded.problems else "")

    def read_anew(self) -> None:
        """Have the next pass read all intents from the store: somebody else wrote there. For any thread."""
        self._stale = True

    def secret(self, name: str) -> str:
        """Return the value of a secret of the present commit. Raises SecretError."""
        if self.vault is None:
            raise SecretError("no commit was loaded yet")
        return self.vault.value(name).decode(errors="replace")

    def intents(self) -> Intents:
        """Return the recorded intents. For the thread of the passes."""
        return self._present_intents()

    def _present_intents(self) -> Intents:
        if self._intents is None:
            with self._store.read() as tx:
                self._intents = load_intents(tx)
        return self._intents

    def _observe(self, desired: Desired, now: float) -> Observed:
        views = accounted(self._registry.views(desired.nodes, desired.settings), self.quotas)
        i = self._present_intents()
        if self._unsettled is None:
            self._unsettled = not (i.deployed or i.assignments)
        if self._unsettled:
            self._unsettled = not self._settled(views, now)
        settled = not self._unsettled
        undisturbed = max(self._started, self._registry.watch.calm_since(now))
        return Observed(views, i.assignments, i.holds, i.deployed, i.last_good, settled, undisturbed, i.confirmed,
                        i.builds, i.canaries, i.runs,
                        moments(desired, i.deployed, i.runs, now), i.volumes, self.buckets)  # fmt: skip

    def _settled(self, views: Mapping[str, NodeView], now: float) -> bool:
        """Whether an engine that found its store empty may start things.

        In a new cloud it lets the first nodes gather. Where a store was lost, every declared node may still report
        copies that run: it waits for all of them, within reason.
        """
        self._first_report = self._first_report or (now if any(v.reported for v in views.values()) else 0.0)
        if self._store_lost and not all(v.reported for v in views.values()):
            return now - self._started >= LOST_STORE_SECONDS
        return self._first_report > 0 and now - self._first_report >= GATHER_SECONDS

    def _act(self, todo: Work, desired: Desired, now: float) -> None:
        """Record the steps that are ready, in one transaction; nothing is written when there is nothing to do."""
        if todo.empty:
            return
        crash.point("before-intents")
        with self._store.begin() as tx:
            write(tx, todo, desired, now)
            crash.point("inside-intents")
            add_events(tx, [(now, a.verb, a.resource, told(a), desired.commit) for a in todo.taken])
        self._intents = None
        crash.point("after-intents")
        for a in todo.taken:
            log.info("%s", told(a), extra={"commit": desired.commit, "resource": a.resource})

    def _opened(self, secret: str) -> str:
        """Return the value of a secret, empty when it cannot be opened (the problems of the commit say why)."""
        try:
            return self.secret(secret)
        except SecretError:
            return ""

    def _tell(self, desired: Desired, observed: Observed, copies: Mapping[str, list[Copy]]) -> None:
        """Hand every node its complete desired state; what is the same as before wakes nobody."""
        crash.point("before-tell")
        specs = self._present_intents().specs

        def app_of(name: str, rev: str) -> App | None:
            wanted = desired.apps.get(name)
            if wanted is not None and wanted.rev == rev:
                return wanted
            revision = specs.get((name, rev))
            return from_spec(revision.spec) if revision else None

        def seal(a: Assignment, app: App) -> Mapping[str, Any]:
            if a.node in desired.nodes and desired.nodes[a.node].kind != "agent":
                return place_part(app)
            assert self.vault is not None
            return self._delivery.part(self.vault, app, a.instance, a.node, self._registry.key(a.node))

        def shares(app: App, mine: Sequence[Copy]) -> tuple[Share, ...]:
            return traffic(app, mine, observed.canaries.get(app.name))

        nodes = [name for name, view in observed.nodes.items() if view.reported]
        routes = edges(desired, observed.nodes, copies, shares, self._opened)
        takes_names = any(node.document.get("worker") for node in desired.nodes.values())
        self.far = far_sites(desired, observed.nodes, copies, shares) if takes_names else ()
        self._delivery.begin()
        for node, instances in desired_instances(observed.assignments, nodes, app_of, seal, observed.runs).items():
            alive = observed.nodes[node].state not in LOST_STATES
            self._registry.set_desired(node, desired.settings.name, instances, routes.get(node), alive=alive)
        crash.point("after-tell")
