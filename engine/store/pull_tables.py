"""The table about pull requests: what was planned for each, and the comment that tells it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Integer, String, Table, Text

from automator67.engine.store.tables import metadata

pulls = Table(
    "pulls",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("head", String(64), nullable=False),
    Column("base", String(64), nullable=False),
    Column("body", Text, nullable=False),
    Column("said", String(64), nullable=False, default=""),
    Column("comment", BigInteger, nullable=False, default=0),
    Column("planned_at", Float, nullable=False),
)
"""Open pull requests as last planned: ``head`` merged into ``base``. ``body`` is the comment that should be there,
``said`` the SHA-256 of the one that is, ``comment`` its id at the forge."""
