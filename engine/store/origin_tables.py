"""The tables about where images come from: what names meant when they were looked up, and what was built."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, String, Table, Text

from automator67.engine.store.tables import metadata

pins = Table(
    "pins",
    metadata,
    Column("app", String(64), primary_key=True),
    Column("reference", Text, nullable=False),
    Column("value", String(128), nullable=False, default=""),
    Column("error", Text, nullable=False, default=""),
    Column("blob", String(64), nullable=False, default=""),
    Column("at", Float, nullable=False, default=0.0),
)
"""By app: what its source's ref or its image's tag meant (a commit or a digest); see engine/images/pins.py."""

builds = Table(
    "builds",
    metadata,
    Column("image", String(255), primary_key=True),
    Column("app", String(64), nullable=False),
    Column("source_commit", String(64), nullable=False),
    Column("node", String(64), nullable=False),
    Column("state", String(8), nullable=False),
    Column("asked_at", Float, nullable=False),
    Column("started_at", Float, nullable=False, default=0.0),
    Column("ended_at", Float, nullable=False, default=0.0),
    Column("error", Text, nullable=False, default=""),
)
"""Images built of sources. ``state``: wanted (perhaps under way), done, failed. The log is a file of the engine's
state directory, named after the image."""
Index("builds_app", builds.c.app)
