"""The table of runs: jobs, `before` commands, what a person ran."""

from __future__ import annotations

from sqlalchemy import Column, Float, Integer, String, Table, Text

from automator67.engine.store.tables import metadata

runs = Table(
    "runs",
    metadata,
    Column("app", String(64), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),
    Column("rev", String(16), nullable=False),
    Column("asked_at", Float, nullable=False),
    Column("command", Text, nullable=False),
    Column("timeout", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("blob", String(64), nullable=False),
    Column("due_at", Float, nullable=False),
    Column("state", String(16), nullable=False),
    Column("node", String(64), nullable=False),
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float, nullable=False),
    Column("exit_code", Integer),
    Column("detail", Text, nullable=False),
    Column("stop", Text, nullable=False),
)
"""``command`` is a JSON list; the other columns are those of engine/jobs.py."""
