"""Reads all that metrics are made of."""

from __future__ import annotations

import json
from importlib.metadata import version

from sqlalchemy import Connection, func, select

from automator67.engine.bucket_facts import BucketFacts
from automator67.engine.metrics import NodeFacts, Seen, VolumeFacts
from automator67.engine.store.alert_tables import notifications
from automator67.engine.store.alerts import NEVER, lasting_incidents
from automator67.engine.store.breakers import standings
from automator67.engine.store.facts import app_state_rows
from automator67.engine.store.nodes import node_records
from automator67.engine.store.quotas import read_quotas
from automator67.engine.store.tables import meta, posts, unposted
from automator67.engine.store.volumes import load_volumes

ENGINE_FACT = "engine_measures"
"""The engine's own measures of the last minute, as JSON."""
BUCKETS_FACT = "buckets"
"""How the buckets stood in the last minute, as JSON."""


def seen(tx: Connection) -> Seen:
    """Return what is in the store now."""
    facts = {row.key: row.value for row in tx.execute(select(meta))}
    unsent = notifications.c.next_at < NEVER
    volumes = load_volumes(tx)
    return Seen(
        version=version("automator67"),
        started_at=float(facts.get("engine_started") or 0),
        reconciled_at=float(facts.get("reconciled_at") or 0),
        remote_error=facts.get("remote_error", ""),
        waiting_statuses=tx.scalar(select(func.count()).select_from(posts).where(unposted())) or 0,
        incidents=len(lasting_incidents(tx)),
        waiting_alerts=tx.scalar(select(func.count()).select_from(notifications).where(unsent)) or 0,
        engine=json.loads(facts.get(ENGINE_FACT) or "{}"),
        nodes=[
            NodeFacts(r.name, "revoked" if r.revoked_at else r.state, r.last_seen, r.cert_expires, r.report)
            for r in node_records(tx)
        ],
        apps=app_state_rows(tx),
        breakers=standings(tx),
        quotas=read_quotas(tx),
        volumes=[
            VolumeFacts(v.app, v.volume, v.slot, held[-1].at, held[-1].bytes)
            for v, held in volumes.snapshots.items()
            if held
        ],
        buckets=[
            BucketFacts(**{**one, "held": tuple(map(tuple, one["held"]))})
            for one in json.loads(facts.get(BUCKETS_FACT) or "[]")
        ],
    )
