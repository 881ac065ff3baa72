"""Copies that drain: when each began to take no new requests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Go to this version."""
    op.add_column("assignments", sa.Column("draining_since", sa.Float(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Go back to the version before."""
    with op.batch_alter_table("assignments", schema=None) as batch_op:
        batch_op.drop_column("draining_since")
