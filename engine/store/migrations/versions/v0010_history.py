"""The short history of what is measured, and uptime."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Go to this version."""
    op.create_table(
        "history",
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("step", "slot"),
    )
    op.create_table(
        "uptime",
        sa.Column("app", sa.String(length=64), nullable=False),
        sa.Column("month", sa.String(length=7), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("up", sa.Float(), nullable=False),
        sa.Column("down", sa.Float(), nullable=False),
        sa.Column("maintenance", sa.Float(), nullable=False),
        sa.Column("idle", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("app", "month"),
    )


def downgrade() -> None:
    """Go back to the version before."""
    op.drop_table("uptime")
    op.drop_table("history")
