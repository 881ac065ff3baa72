"""The tables of what is watched: breakers."""

from __future__ import annotations

from sqlalchemy import Column, Float, Integer, String, Table, Text

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
