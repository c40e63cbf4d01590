"""The first tables.

Revision: 0001
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Text,
    UniqueConstraint,
)

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = String(36).with_variant(String(36, collation="C"), "postgresql")
NUMBER = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """Make every table."""
    _decisions()
    _outcomes()
    _deployment()
    op.create_table(
        "api_keys",
        Column("key_id", String(16), nullable=False),
        Column("name", Text, nullable=False),
        Column("roles", Text, nullable=False),
        Column("digest", LargeBinary, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("revoked_at", BigInteger),
        PrimaryKeyConstraint("key_id", name="pk_api_keys"),
    )
    op.create_table(
        "problems",
        Column("arrival", NUMBER, autoincrement=True, nullable=False),
        Column("time", BigInteger, nullable=False),
        Column("status", Integer, nullable=False),
        Column("title", Text, nullable=False),
        Column("detail", Text, nullable=False),
        Column("path", Text, nullable=False),
        PrimaryKeyConstraint("arrival", name="pk_problems"),
    )
    op.create_table(
        "probes",
        Column("probe", String(32), nullable=False),
        Column("filling", LargeBinary, nullable=False),
        PrimaryKeyConstraint("probe", name="pk_probes"),
    )


def _decisions() -> None:
    op.create_table(
        "decisions",
        Column("decision_id", ID, nullable=False),
        Column("made_at", BigInteger, nullable=False),
        Column("position", Integer, nullable=False),
        Column("bundle", Text, nullable=False),
        Column("contract", Text, nullable=False),
        Column("campaign", Text, nullable=False),
        Column("unit", Text, nullable=False),
        Column("action", Text, nullable=False),
        Column("treatment", Text, nullable=False),
        Column("reason", Text, nullable=False),
        Column("effect", Double, nullable=False),
        Column("low", Double),
        Column("high", Double),
        Column("net_effect", Double, nullable=False),
        Column("threshold", Double),
        Column("propensities", Text, nullable=False),
        Column("flags", Text),
        Column("shadow", Text),
        Column("features", Text, nullable=False),
        PrimaryKeyConstraint("decision_id", name="pk_decisions"),
    )
    op.create_index("ix_decisions_unit", "decisions", ["unit"])
    op.create_table(
        "requests",
        Column("key", LargeBinary, nullable=False),
        Column("first_id", ID, nullable=False),
        Column("number", Integer, nullable=False),
        Column("digest", LargeBinary),
        PrimaryKeyConstraint("key", name="pk_requests"),
        UniqueConstraint("first_id", name="uq_requests_first_id"),
    )
    op.create_table(
        "campaigns",
        Column("campaign", Text, nullable=False),
        Column("spent", BigInteger, nullable=False),
        PrimaryKeyConstraint("campaign", name="pk_campaigns"),
    )
    op.create_table(
        "tallies",
        Column("minute", BigInteger, autoincrement=False, nullable=False),
        Column("writer", String(16), nullable=False),
        Column("kind", String(8), nullable=False),
        Column("name", Text, nullable=False),
        Column("tenth", Integer, autoincrement=False, nullable=False),
        Column("number", BigInteger, nullable=False),
        Column("treated", BigInteger, nullable=False),
        Column("total", Double, nullable=False),
        PrimaryKeyConstraint("minute", "writer", "kind", "name", "tenth", name="pk_tallies"),
    )


def _outcomes() -> None:
    op.create_table(
        "outcomes",
        Column("arrival", NUMBER, autoincrement=True, nullable=False),
        Column("decision_id", ID, nullable=False),
        Column("name", Text, nullable=False),
        Column("value", Double, nullable=False),
        Column("observed_at", BigInteger, nullable=False),
        Column("received_at", BigInteger, nullable=False),
        ForeignKeyConstraint(
            ["decision_id"], ["decisions.decision_id"], name="fk_outcomes_decision_id", ondelete="CASCADE"
        ),
        PrimaryKeyConstraint("arrival", name="pk_outcomes"),
    )
    op.create_index("uq_outcomes_report", "outcomes", ["decision_id", "name", "observed_at", "value"], unique=True)


def _deployment() -> None:
    op.create_table(
        "bundles",
        Column("version", Text, nullable=False),
        Column("added_at", BigInteger, nullable=False),
        Column("size", BigInteger, nullable=False),
        Column("facts", Text, nullable=False),
        Column("archive", LargeBinary, nullable=False),
        PrimaryKeyConstraint("version", name="pk_bundles"),
    )
    deployment = op.create_table(
        "deployment",
        Column("id", Integer, autoincrement=False, nullable=False),
        Column("sequence", BigInteger, nullable=False),
        Column("changed_at", BigInteger, nullable=False),
        Column("champion", Text),
        Column("previous", Text),
        Column("challenger", Text),
        PrimaryKeyConstraint("id", name="pk_deployment"),
        ForeignKeyConstraint(["champion"], ["bundles.version"], name="fk_deployment_champion"),
        ForeignKeyConstraint(["previous"], ["bundles.version"], name="fk_deployment_previous"),
        ForeignKeyConstraint(["challenger"], ["bundles.version"], name="fk_deployment_challenger"),
    )
    op.bulk_insert(deployment, [{"id": 1, "sequence": 0, "changed_at": 0}])
