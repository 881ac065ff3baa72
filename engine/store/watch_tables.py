"""The tables of what is watched: breakers, the history of what is measured, uptime, quotas."""

from __future__ import annotations

from sqlalchemy import Column, Float, Integer, LargeBinary, String, Table, Text

from automator67.engine.store.tables import metadata

breakers = Table(
    "breakers",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("phase", String(16), nullable=False),
    Column("since", Float, nullable=False),
    Column("until", Float, nullable=False),
    Column("why", Text, nullable=False),
    Column("refused", Integer, nullable=False),
)
"""How every breaker of the engine stands, as engine/breaker.py says."""

history = Table(
    "history",
    metadata,
    Column("step", Integer, primary_key=True, autoincrement=False),
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("content", LargeBinary, nullable=False),
)
"""Points as engine/store/history.py writes them: seconds between two, place in the ring, when it begins, content."""

uptime = Table(
    "uptime",
    metadata,
    Column("app", String(64), primary_key=True),
    Column("month", String(7), primary_key=True),
    Column("since", Float, nullable=False),
    Column("up", Float, nullable=False),
    Column("down", Float, nullable=False),
    Column("maintenance", Float, nullable=False),
    Column("idle", Float, nullable=False),
)
"""How long each app was what in a month (``YYYY-MM``, UTC), in seconds, as engine/uptime.py says; ``since`` is when
counting began."""

account_hours = Table(
    "account_hours",
    metadata,
    Column("node", String(64), primary_key=True),
    Column("month", String(7), nullable=False),
    Column("since", Float, nullable=False),
    Column("seconds", Float, nullable=False),
)
"""How long copies ran at each account in the present month; ``since`` is when counting began."""

quotas = Table(
    "quotas",
    metadata,
    Column("node", String(64), primary_key=True),
    Column("resource", String(16), primary_key=True),
    Column("used", Float, nullable=False),
    Column("limit", Float, nullable=False),
    Column("projected", Float, nullable=False),
    Column("ends", Float, nullable=False),
)
"""How every account stands, as engine/quotas.py says."""
