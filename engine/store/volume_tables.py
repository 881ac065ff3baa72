"""The tables about volumes: where they are, what was done with them, which snapshots there are."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Integer, String, Table, Text

from automator67.engine.store.tables import metadata

volume_homes = Table(
    "volume_homes",
    metadata,
    Column("app", String(64), primary_key=True),
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("node", String(64), nullable=False),
    Column("since", Float, nullable=False),
)
"""Which node holds the true volumes of a slot; another node's are older."""

volume_runs = Table(
    "volume_runs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("app", String(64), nullable=False),
    Column("slot", Integer, nullable=False),
    Column("volume", String(64), nullable=False),
    Column("node", String(64), nullable=False),
    Column("state", String(8), nullable=False),
    Column("reason", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("snapshot", String(64), nullable=False, default=""),
    Column("asked_at", Float, nullable=False),
    Column("started_at", Float, nullable=False, default=0.0),
    Column("ended_at", Float, nullable=False, default=0.0),
    Column("files", BigInteger, nullable=False, default=-1),
    Column("bytes", BigInteger, nullable=False, default=-1),
    Column("message", Text, nullable=False, default=""),
    Column("tries", Integer, nullable=False, default=0),
)
"""Backups, restores, tests: ``state`` is wanted (perhaps under way), done, failed. ``origin``: JSON [app, slot,
volume] of the volume whose snapshot it is."""
Index("volume_runs_volume", volume_runs.c.app, volume_runs.c.slot, volume_runs.c.volume)
Index("volume_runs_state", volume_runs.c.state)

snapshots = Table(
    "snapshots",
    metadata,
    Column("app", String(64), primary_key=True),
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("volume", String(64), primary_key=True),
    Column("id", String(64), primary_key=True),
    Column("at", Float, nullable=False),
    Column("files", BigInteger, nullable=False, default=-1),
    Column("bytes", BigInteger, nullable=False, default=-1),
)
"""What each volume's repository held after its last backup."""
