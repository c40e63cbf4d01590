"""Human review: decisions that wait for a person, and what became of them.

Revision: 0003
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Double, ForeignKeyConstraint, PrimaryKeyConstraint, String, Text

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = String(36).with_variant(String(36, collation="C"), "postgresql")


def upgrade() -> None:
    """Add the queue; decisions made before waited for nobody."""
    op.add_column("decisions", Column("review", Text))
    op.create_table(
        "reviews",
        Column("decision_id", ID, nullable=False),
        Column("state", String(10), nullable=False),
        Column("rank", Double, nullable=False),
        Column("codes", Text, nullable=False),
        Column("proposed", Text, nullable=False),
        Column("reason", Text, nullable=False),
        Column("options", Text),
        Column("units", BigInteger),
        Column("amount", BigInteger),
        Column("claimed_by", Text),
        Column("claimed_at", BigInteger),
        Column("claimed_until", BigInteger),
        Column("resolved_by", Text),
        Column("resolved_at", BigInteger),
        Column("key", Text),
        Column("action", Text),
        Column("why", Text),
        Column("resolution", ID),
        PrimaryKeyConstraint("decision_id", name="pk_reviews"),
        ForeignKeyConstraint(
            ["decision_id"], ["decisions.decision_id"], name="fk_reviews_decision_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_reviews_rank", "reviews", ["state", "rank", "decision_id"])
    op.create_index("ix_reviews_resolved_at", "reviews", ["state", "resolved_at", "decision_id"])
