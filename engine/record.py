"""Keeps the record of commits and app states, and what is said of them on the forge (through the outbox).

Everything is compared with what was recorded last: a pass that finds nothing new writes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import Connection

from automator67.engine import crash, reports
from automator67.engine.copies import Copy
from automator67.engine.desired import Desired
from automator67.engine.forges.outbox import want
from automator67.engine.forges.statuses import Status
from automator67.engine.judge import AppState, Standing, judge
from automator67.engine.observed import Observed
from automator67.engine.plan.model import Plan
from automator67.engine.plan.render import as_data, past
from automator67.engine.repo.commits import CommitInfo
from automator67.engine.reports import Said
from automator67.engine.store.commits import CommitRecord, CommitState, find_commit, see_commit, set_commit
from automator67.engine.store.database import Store
from automator67.engine.store.facts import add_events, app_state_rows, fact, set_app_states, set_fact
from automator67.schemas.problem import Problem

log = logging.getLogger("automator67.record")


class CommitReporter:
    """Writes what is found about commits and apps, on change only."""

    def __init__(self, store: Store, redact: Callable[[str], str] = lambda text: text) -> None:
        """``redact`` takes values of secrets out of what is said and kept."""
        self._store = store
        self._redact = redact
        self._record: CommitRecord | None = None
        self._states: dict[str, AppState] | None = None
        self._said: tuple[str, tuple[Said, ...]] = ("", ())

    def remote(self, error: str, now: float) -> None:
        """Record that the remote cannot be read, or that it can again."""
        error = self._redact(error)
        with self._store.read() as tx:
            if fact(tx, "remote_error") == error:
                return
        text = error or "the repository can be read again"
        with self._store.begin() as tx:
            set_fact(tx, "remote_error", error)
            add_events(tx, [(now, "remote", "repository", text, "")])
        log.log(logging.WARNING if error else logging.INFO, "%s", text)

    def see(self, commit: str, info: CommitInfo, problems: Sequence[Problem], now: float) -> None:
        """Record a commit as the newest; with problems it is invalid, and its statuses say why."""
        with self._store.begin() as tx:
            known = find_commit(tx, commit)
            if known is None or fact(tx, "head") != commit:
                see_commit(tx, commit, info.author, info.subject, info.time, now)
            set_fact(tx, "head", commit)
            errors = [p for p in problems if p.severity == "error"]
            if errors:
                first = self._redact(str(errors[0]))
                set_commit(tx, commit, "invalid", first, now, problems=[p.as_data() for p in errors])
                said = [reports.of_plan("", len(errors), first), reports.of_apply("invalid", "refused: " + first)]
                want(tx, commit, [_status(s) for s in said], now)
                add_events(tx, [(now, "refused", "repository", first, commit)])
                log.warning("commit refused: %s", first, extra={"commit": commit})
            else:
                set_fact(tx, "valid", commit)
                log.info("commit accepted: %s", info.subject, extra={"commit": commit})
        self._record = None

    def last_valid(self, commit: str) -> str:
        """Return the last valid commit when it is another one than ``commit``, else nothing."""
        with self._store.read() as tx:
            valid = fact(tx, "valid")
        return "" if valid == commit else valid

    def report(
        self, desired: Desired, plan: Plan, observed: Observed, copies: Mapping[str, list[Copy]], now: float
    ) -> Standing:
        """Record how far the commit is and how each app is, and what to say of it, where any of it changed."""
        crash.point("before-report")
        commit = desired.commit
        states = judge(desired, observed, plan, copies, now)
        record, before = self._remembered(commit)
        first_plan = None if record is None or record.plan else as_data(plan)
        planned = first_plan or (record.plan if record else as_data(plan))
        state, text = _progress(desired, plan, observed, copies, record, str(planned["summary"]))
        text = self._redact(text)
        said = tuple(_facts(desired, observed, states, state, text, str(planned["summary"])))
        same_commit = record is not None and (record.state, record.summary) == (state, text) and first_plan is None
        standing = Standing(states, state, text)
        if same_commit and states == before and self._said == (commit, said):
            return standing
        with self._store.begin() as tx:
            if not same_commit:
                set_commit(tx, commit, state, text, now, plan=first_plan)
                self._announce(tx, commit, state, text, now)
            set_app_states(tx, before, states, now)
            want(tx, commit, [_status(s) for s in said], now)
        self._record, self._states, self._said = None, states, (commit, said)
        return standing

    def _remembered(self, commit: str) -> tuple[CommitRecord | None, dict[str, AppState]]:
        if self._record is None or self._record.id != commit or self._states is None:
            with self._store.read() as tx:
                self._record = find_commit(tx, commit)
                self._states = app_state_rows(tx) if self._states is None else self._states
        return self._record, self._states

    @staticmethod
    def _announce(tx: Connection, commit: str, state: str, text: str, now: float) -> None:
        if state in ("applied", "failed"):
            add_events(tx, [(now, state, "commit", text, commit)])
            log.log(logging.INFO if state == "applied" else logging.WARNING, "%s: %s", state, text,
                    extra={"commit": commit})  # fmt: skip


def _progress(
    desired: Desired,
    plan: Plan,
    observed: Observed,
    copies: Mapping[str, list[Copy]],
    record: CommitRecord | None,
    planned: str,
) -> tuple[CommitState, str]:
    """Return the state of the commit and one line about it. What was applied once stays applied."""
    if record is not None and record.state == "applied":
        return "applied", record.summary
    held = [h for h in observed.holds.values() if h.commit == desired.commit and h.app in desired.apps]
    if held:
        return "failed", f"app/{held[0].app} went back to its last healthy revision: {held[0].reason}"
    given_up = next((note for note in plan.notes.values() if "no earlier healthy revision" in note), "")
    if given_up:
        return "failed", given_up
    if plan.blocked and not any(a.ready for a in plan.actions):
        return "failed", f"{plan.blocked[0].resource}: {plan.blocked[0].reason}"
    rolling = any(a.verb in ("start", "drain", "resume", "stop", "adopt", "forget") for a in plan.actions)
    stopping = any(c.stopping and not c.lost for mine in copies.values() for c in mine)
    complete = {app for app, _ in plan.complete}
    if rolling or stopping or any(name not in complete for name, a in desired.apps.items() if not a.blocked):
        return "applying", planned
    return "applied", past(planned)


def _facts(
    desired: Desired, observed: Observed, states: Mapping[str, AppState], state: CommitState, text: str, planned: str
) -> list[Said]:
    said = [reports.of_plan(planned, 0, ""), reports.of_apply(state, text), reports.of_health(states)]
    storage = reports.of_storage(observed.buckets, reports.backups(desired, observed))
    if storage is not None:
        said.append(storage)
    if desired.settings.statuses_per_app:
        said += [reports.of_app(s) for s in states.values()]
    return said


def _status(said: Said) -> Status:
    return Status(said.context, said.state, said.description)
