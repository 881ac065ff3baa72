"""Runs migrations over the connection that ``open_store`` hands in; there is no offline mode."""

from __future__ import annotations

from alembic import context

from automator67.engine.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
