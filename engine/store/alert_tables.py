"""The tables of alerts: incidents, what is to be said of them, and silences."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, String, Table, Text

from automator67.engine.store.tables import metadata

incidents = Table(
    "incidents",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("resource", String(200), nullable=False),
    Column("state", String(16), nullable=False),
    Column("opened_at", Float, nullable=False),
    Column("ended_at", Float, nullable=False),
    Column("active", Integer, nullable=False),
    Column("doc", Text, nullable=False),
)
"""``doc`` is the incident as JSON. ``active``: 1 while something may still be said of it."""
Index("incidents_active", incidents.c.active, incidents.c.opened_at)

notifications = Table(
    "notifications",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("seq", Integer, nullable=False, unique=True),
    Column("target", String(64), nullable=False),
    Column("doc", Text, nullable=False),
    Column("made_at", Float, nullable=False),
    Column("sent_at", Float, nullable=False, default=0.0),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_at", Float, nullable=False),
    Column("error", Text, nullable=False, default=""),
)
"""The outbox of messages: ``doc`` is what is sent as JSON, ``sent_at`` 0 until the target has taken it.
``next_at`` is beyond all times when there is nothing left to try."""
Index("notifications_due", notifications.c.next_at)

silences = Table(
    "silences",
    metadata,
    Column("resource", String(200), primary_key=True),
    Column("until", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("by", Text, nullable=False),
)
"""Of which resources nothing is told, until when."""
