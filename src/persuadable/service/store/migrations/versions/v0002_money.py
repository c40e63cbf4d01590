"""Budgets of money: what a decision is expected to cost, at which price, and what a campaign has committed.

Revision: 0002
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Double, Text

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; decisions made before have no price, and campaigns have committed nothing."""
    op.add_column("decisions", Column("cost_effect", Double))
    op.add_column("decisions", Column("price", Double))
    op.add_column("decisions", Column("eligible", Text))
    op.add_column("campaigns", Column("committed", BigInteger, nullable=False, server_default="0"))
