"""Reads and writes incidents, silences, and the outbox of messages about them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from automator67.engine.alerts.incidents import Incident, Silence, Telling
from automator67.engine.store.alert_tables import incidents, notifications, silences

NEVER = 9e15
"""``next_at`` of what is not to be tried any more."""
KEPT = 500
"""How many incidents that are over, and messages that are sent, are remembered."""
_NEWEST_FIRST = select(incidents.c.doc).order_by(incidents.c.opened_at.desc(), incidents.c.id)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message that waits in the outbox: ``doc`` as engine/alert_desk.py makes it."""

    id: str
    target: str
    doc: Mapping[str, Any]
    made_at: float
    attempts: int


def active_incidents(tx: Connection) -> list[Incident]:
    """Return the incidents of which something may still be said, the oldest first."""
    found = tx.scalars(select(incidents.c.doc).where(incidents.c.active == 1).order_by(incidents.c.opened_at))
    return [_incident(json.loads(doc)) for doc in found]


def recent_incidents(tx: Connection, limit: int) -> list[Incident]:
    """Return incidents, the newest first."""
    found = tx.scalars(_NEWEST_FIRST.limit(limit))
    return [_incident(json.loads(doc)) for doc in found]


def lasting_incidents(tx: Connection) -> list[Incident]:
    """Return what is wrong now, the newest first; an event, such as an applied commit, is nothing wrong."""
    found = map(_incident, map(json.loads, tx.scalars(_NEWEST_FIRST.where(incidents.c.ended_at == 0))))
    return [i for i in found if not i.once]


def past_incidents(tx: Connection, limit: int) -> list[Incident]:
    """Return what was wrong and is over, the newest first, without events."""
    found = map(_incident, map(json.loads, tx.scalars(_NEWEST_FIRST.where(incidents.c.ended_at != 0))))
    return list(islice((i for i in found if not i.once), limit))


def save_incidents(tx: Connection, changed: Iterable[tuple[Incident, bool]]) -> None:
    """Write incidents, and whether each is still active; the oldest that are not are dropped."""
    for i, active in changed:
        doc = asdict(i) | {"labels": sorted(i.labels), "because": sorted(i.because)}
        values = {"state": i.state, "ended_at": i.ended_at, "active": int(active), "doc": json.dumps(doc)}
        if not tx.execute(update(incidents).where(incidents.c.id == i.id).values(**values)).rowcount:
            tx.execute(insert(incidents).values(id=i.id, resource=i.resource, opened_at=i.opened_at, **values))
    over = select(incidents.c.id).where(incidents.c.active == 0).order_by(incidents.c.opened_at.desc()).offset(KEPT)
    tx.execute(delete(incidents).where(incidents.c.id.in_(list(tx.scalars(over)))))


def enqueue(tx: Connection, made: Sequence[tuple[str, str, Mapping[str, Any]]], now: float) -> None:
    """Put messages (id, target, what is sent) into the outbox; one that is there already is not put there twice."""
    last = tx.scalar(select(func.max(notifications.c.seq))) or 0
    for n, (name, target, doc) in enumerate(made, last + 1):
        if tx.scalar(select(notifications.c.id).where(notifications.c.id == name)) is None:
            tx.execute(
                insert(notifications).values(
                    id=name, seq=n, target=target, doc=json.dumps(doc), made_at=now, next_at=now, error=""
                )
            )
    ended = select(notifications.c.id).where(notifications.c.next_at >= NEVER).order_by(notifications.c.seq.desc())
    tx.execute(delete(notifications).where(notifications.c.id.in_(list(tx.scalars(ended.offset(KEPT))))))


def waiting(tx: Connection) -> list[tuple[Outgoing, float]]:
    """Return the messages that no target has taken yet, in order, and when each is due."""
    n = notifications.c
    rows = tx.execute(select(notifications).where(n.next_at < NEVER).order_by(n.seq))
    return [(Outgoing(r.id, r.target, json.loads(r.doc), r.made_at, r.attempts), r.next_at) for r in rows]


def sent(tx: Connection, name: str, now: float) -> None:
    """Record that a target has taken a message."""
    values = {"sent_at": now, "next_at": NEVER, "error": ""}
    tx.execute(update(notifications).where(notifications.c.id == name).values(**values))


def not_sent(tx: Connection, name: str, error: str, next_at: float) -> None:
    """Record that a target has not taken a message, why, and when to try again (``NEVER``: not any more)."""
    values = {"attempts": notifications.c.attempts + 1, "error": error[:500], "next_at": next_at}
    tx.execute(update(notifications).where(notifications.c.id == name).values(**values))


def unsent(tx: Connection) -> list[Mapping[str, Any]]:
    """Return of each target with failures the last one: ``target``, ``error``, ``attempts``, ``waiting``."""
    n = notifications.c
    rows = tx.execute(
        select(n.target, func.max(n.error).label("error"), func.max(n.attempts).label("attempts"),
               func.count().label("waiting"))
        .where(n.sent_at == 0, n.error != "", n.next_at < NEVER).group_by(n.target).order_by(n.target)
    )  # fmt: skip
    return [dict(r._mapping) for r in rows]


def load_silences(tx: Connection, now: float) -> list[Silence]:
    """Return the silences that hold."""
    rows = tx.execute(select(silences).where(silences.c.until > now).order_by(silences.c.resource))
    return [Silence(r.resource, r.until, r.reason, r.by) for r in rows]


def set_silence(tx: Connection, silence: Silence) -> None:
    """Write a silence, in place of the one for the same resource; one that is over is dropped."""
    tx.execute(delete(silences).where(silences.c.resource == silence.resource))
    tx.execute(insert(silences).values(**asdict(silence)))


def drop_silence(tx: Connection, resource: str) -> bool:
    """End a silence; return whether there was one."""
    return bool(tx.execute(delete(silences).where(silences.c.resource == resource)).rowcount)


def _incident(doc: dict[str, Any]) -> Incident:
    return Incident(**doc | {
        "states": tuple((str(s), float(at)) for s, at in doc["states"]),
        "labels": frozenset((str(k), str(v)) for k, v in doc["labels"]),
        "because": frozenset(doc["because"]),
        "told": {str(k): Telling(**t) for k, t in doc["told"].items()},
    })  # fmt: skip
