"""Reads the store for the pages: SQL in, typed values out. Nothing here writes; the connection could not anyway."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Select, and_, select

from automator67.engine.store.alerts import lasting_incidents, load_silences, past_incidents
from automator67.engine.store.breakers import standings
from automator67.engine.store.runs import runs_of
from automator67.engine.store.tables import actions, app_states, commits, events, holds, meta, nodes, posts, revisions
from automator67.engine.store.uptime import months
from automator67.engine.store.volumes import load_volumes
from automator67.engine.uptime import percent
from automator67.ui import reading
from automator67.ui.happened import Alert, Event, LeftAlone, Quiet, Ran, Step
from automator67.ui.model import (
    App,
    AppDetail,
    Commit,
    CommitDetail,
    Engine,
    Node,
    NodeDetail,
    Overview,
    Post,
    Revision,
    Volume,
)

COMMITS = 8
EVENTS = 15
MONTHS = 3
PAST_ALERTS = 5
_PAST = 25


def overview(tx: Connection, now: float) -> Overview:
    """Return everything the first page shows."""
    newest = tx.execute(select(commits).order_by(commits.c.seq.desc()).limit(COMMITS)).all()
    return Overview(
        engine=engine(tx),
        apps=_apps(tx, select(app_states)),
        nodes=tuple(_node(row) for row in tx.execute(select(nodes).order_by(nodes.c.name))),
        commits=_commits(tx, newest),
        events=_events(tx, select(events).limit(EVENTS)),
        volumes=_volumes(tx),
        alerts=_alerts(tx),
        quiet=tuple(Quiet(s.resource, s.until, s.reason, s.by) for s in load_silences(tx, now)),
        left_alone=tuple(LeftAlone(s.name, s.until, s.why) for s in standings(tx) if s.phase != "closed"),
    )


def engine(tx: Connection) -> Engine:
    """Return the single facts about the engine and its repository."""
    facts = {row.key: row.value for row in tx.execute(select(meta))}
    return Engine(
        cloud=facts.get("cloud") or "home",
        head=facts.get("head", ""),
        remote_error=facts.get("remote_error", ""),
        started_at=_seconds(facts.get("engine_started", "")),
        reconciled_at=_seconds(facts.get("reconciled_at", "")),
    )


def app_names(tx: Connection) -> list[str]:
    """Return the names of all apps."""
    return list(tx.scalars(select(app_states.c.app)))


def node_names(tx: Connection) -> list[str]:
    """Return the names of all nodes."""
    return list(tx.scalars(select(nodes.c.name)))


def app_detail(tx: Connection, name: str, now: float) -> AppDetail | None:
    """Return one app with its past, None when there is none of that name."""
    found = _apps(tx, select(app_states).where(app_states.c.app == name))
    if not found:
        return None
    resource = f"app/{name}"
    held = tx.execute(select(holds).where(holds.c.app == name)).one_or_none()
    past = select(revisions).where(revisions.c.app == name).order_by(revisions.c.asked_at.desc()).limit(10)
    return AppDetail(
        app=found[0],
        held=held.reason if held else "",
        held_since=held.since if held else 0.0,
        revisions=tuple(
            Revision(
                r.rev,
                r.commit_id,
                reading.text(reading.mapping(reading.parsed(r.spec)).get("image")),
                r.first_at,
                r.asked_at,
                r.healthy_at,
            )
            for r in tx.execute(past)
        ),
        volumes=tuple(v for v in _volumes(tx) if v.app == name),
        runs=_runs(tx, name),
        uptime=tuple((m.month, percent(m.ratio)) for m in months(tx, now) if m.app == name)[:MONTHS],
        steps=_steps(tx, select(actions).where(actions.c.resource == resource).limit(_PAST)),
        events=_events(tx, select(events).where(events.c.resource == resource).limit(_PAST)),
    )


def node_detail(tx: Connection, name: str) -> NodeDetail | None:
    """Return one node with its past, None when there is none of that name."""
    row = tx.execute(select(nodes).where(nodes.c.name == name)).one_or_none()
    if row is None:
        return None
    return NodeDetail(
        node=_node(row),
        steps=_steps(tx, select(actions).where(actions.c.node == name).limit(_PAST)),
        events=_events(tx, select(events).where(events.c.resource == f"node/{name}").limit(_PAST)),
    )


def commit_detail(tx: Connection, prefix: str) -> CommitDetail | None:
    """Return the newest commit whose id starts with ``prefix`` (hex digits), None when there is none."""
    where = commits.c.id.startswith(prefix, autoescape=True)
    row = tx.execute(select(commits).where(where).order_by(commits.c.seq.desc()).limit(1)).one_or_none()
    if row is None:
        return None
    return CommitDetail(
        commit=_commits(tx, [row])[0],
        plan=reading.plan(reading.parsed(row.plan)),
        steps=_steps(tx, select(actions).where(actions.c.commit_id == row.id).limit(200)),
    )


def _alerts(tx: Connection) -> tuple[Alert, ...]:
    """Return what lasts, and what was last over."""
    shown = lasting_incidents(tx) + past_incidents(tx, PAST_ALERTS)
    return tuple(Alert(i.resource, i.state, i.reason, i.opened_at, i.ended_at, i.told_to) for i in shown)


def _runs(tx: Connection, app: str) -> tuple[Ran, ...]:
    return tuple(
        Ran(r.number, r.kind, r.state, r.node, r.asked_at, r.started_at, r.ended_at, r.exit_code, r.detail or r.reason)
        for r in runs_of(tx, app, _PAST)
    )


def _volumes(tx: Connection) -> tuple[Volume, ...]:
    facts = load_volumes(tx)
    found = []
    for v in sorted({*facts.snapshots, *(r.volume for r in facts.runs)}):
        latest, held, test = facts.latest(v), facts.snapshots.get(v, ()), facts.last(v, "test")
        doing = next((r.kind for r in facts.runs if r.volume == v and r.state == "wanted"), "")
        failure = next((f"{r.kind}: {r.message}" for r in facts.failing(v, ("backup", "test"))), "")
        found.append(
            Volume(
                v.app, v.volume, v.slot, facts.homes.get((v.app, v.slot), ""), len(held), latest.at if latest else 0.0,
                latest.bytes if latest else -1, test.ended_at if test else 0.0, test.state if test else "", doing,
                failure,
            )
        )  # fmt: skip
    return tuple(found)


def _apps(tx: Connection, states: Select[Any]) -> tuple[App, ...]:
    s = states.subquery()
    wanted = and_(revisions.c.app == s.c.app, revisions.c.rev == s.c.rev_wanted)
    joined = select(s, revisions.c.spec).select_from(s.outerjoin(revisions, wanted)).order_by(s.c.app)
    return tuple(_app(row) for row in tx.execute(joined))


def _app(row: Any) -> App:
    spec = reading.mapping(reading.parsed(row.spec or "{}"))
    return App(
        name=row.app,
        sync=row.sync,
        health=row.health,
        drift=row.drift,
        reason=row.reason,
        replicas_wanted=row.replicas_wanted,
        replicas_healthy=row.replicas_healthy,
        rev_wanted=row.rev_wanted,
        rev_running=row.rev_running,
        commit_compared=row.commit_compared,
        commit_deployed=row.commit_deployed,
        path=row.path,
        image=reading.text(spec.get("image")),
        domains=reading.texts(spec.get("domains")),
        instances=tuple(reading.instance(i, app=row.app) for i in reading.items(reading.parsed(row.instances))),
        updated_at=row.updated_at,
    )


def _node(row: Any) -> Node:
    report = reading.mapping(reading.parsed(row.report))
    agent = reading.mapping(report.get("agent"))
    runtimes = reading.mapping(report.get("runtimes"))
    return Node(
        name=row.name,
        state="revoked" if row.revoked_at else row.state,
        reason=row.state_reason,
        since=row.state_since,
        last_seen=row.last_seen,
        connected=bool(row.connected),
        cert_expires=row.cert_expires,
        capacity=reading.amounts(report.get("capacity")),
        usage=reading.amounts(report.get("usage")),
        runtimes=tuple(sorted((name, reading.text(state)) for name, state in runtimes.items())),
        conditions=reading.texts(report.get("conditions")),
        agent_version=reading.text(agent.get("version")),
        agent_address=reading.text(agent.get("address")),
        agent_memory=reading.number(agent.get("rss")),
        instances=tuple(reading.instance(i, node=row.name) for i in reading.items(report.get("instances"))),
        foreign=reading.foreign(report.get("foreign")),
    )


def _commits(tx: Connection, rows: Sequence[Any]) -> tuple[Commit, ...]:
    said: dict[str, list[Post]] = {}
    of_these = posts.c.commit_id.in_([row.id for row in rows])
    for p in tx.execute(select(posts).where(of_these).order_by(posts.c.context)):
        posted = (p.posted_state, p.posted_description) == (p.state, p.description)
        post = Post(p.commit_id, p.context, p.state, p.description, posted, "" if posted else p.error)
        said.setdefault(p.commit_id, []).append(post)
    return tuple(
        Commit(
            id=row.id,
            author=row.author,
            subject=row.subject,
            committed_at=row.committed_at,
            seen_at=row.seen_at,
            state=row.state,
            finished_at=row.finished_at or 0.0,
            summary=row.summary,
            problems=tuple(reading.problem(p) for p in reading.items(reading.parsed(row.problems))),
            posts=tuple(said.get(row.id, ())),
        )
        for row in rows
    )


def _events(tx: Connection, query: Select[Any]) -> tuple[Event, ...]:
    rows: Iterable[Any] = tx.execute(query.order_by(events.c.seq.desc()))
    return tuple(Event(r.at, r.kind, r.resource, r.message, r.commit_id) for r in rows)


def _steps(tx: Connection, query: Select[Any]) -> tuple[Step, ...]:
    rows: Iterable[Any] = tx.execute(query.order_by(actions.c.seq.desc()))
    return tuple(
        Step(
            r.verb, r.resource, r.node, r.reason, r.risk, r.state, r.at, r.done_at or 0.0, r.error, r.commit_id,
            r.instance,
        )
        for r in rows
    )  # fmt: skip


def _seconds(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return 0.0
