"""Canaries: revisions that are tried with a share of the requests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Go to this version."""
    op.create_table(
        "canaries",
        sa.Column("app", sa.String(length=64), nullable=False),
        sa.Column("rev", sa.String(length=16), nullable=False),
        sa.Column("admitted_at", sa.Float(), nullable=False),
        sa.Column("promoted_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("app"),
    )


def downgrade() -> None:
    """Go back to the version before."""
    op.drop_table("canaries")
