"""The store's tables. Times are microseconds since 1970 in UTC (:mod:`persuadable.service.store.moments`).

Structured values that nobody searches by (features, propensities, flags) are JSON text, so that both databases keep
the same bytes. Narrow columns come first: SQLite reads a row from its beginning.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

__all__ = [
    "NOT_SAID",
    "api_keys",
    "bundles",
    "campaigns",
    "decisions",
    "deployment",
    "metadata",
    "outcomes",
    "probes",
    "problems",
    "requests",
    "reviews",
    "tallies",
]

NOT_SAID = -(2**63)  # an outcome without a time of observation: a value, so that a unique index can tell repeats

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)

# Ids are compared byte by byte: a language's collation is slow, and may pass over hyphens.
Id = String(36).with_variant(String(36, collation="C"), "postgresql")
# SQLite numbers the rows of an INTEGER key by itself, of a BIGINT one it does not.
Number = BigInteger().with_variant(Integer(), "sqlite")

decisions = Table(
    "decisions",
    metadata,
    Column("decision_id", Id, primary_key=True),
    Column("made_at", BigInteger, nullable=False),
    Column("position", Integer, nullable=False),  # place in its request, from 0
    Column("bundle", Text, nullable=False),
    Column("contract", Text, nullable=False),
    Column("campaign", Text, nullable=False),
    Column("unit", Text, nullable=False, index=True),
    Column("action", Text, nullable=False),
    Column("treatment", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("effect", Double, nullable=False),
    Column("low", Double),  # 95% interval of the effect
    Column("high", Double),
    Column("net_effect", Double, nullable=False),
    Column("threshold", Double),  # null: nobody is treated
    Column("propensities", Text, nullable=False),  # JSON: label to probability, the control first
    Column("flags", Text),  # JSON: [code, feature, answer] each
    Column("shadow", Text),  # JSON: what the challenger would have done
    Column("features", Text, nullable=False),  # JSON: as received
    Column("cost_effect", Double),  # of the treatment; null where the policy has no price of money
    Column("price", Double),  # of money; null also where nothing that costs is offered
    Column("eligible", Text),  # JSON: labels that the request allowed; null: all
    Column("review", Text),  # JSON: why it waits for a person, or who made it; null where the policy did
)

requests = Table(
    "requests",
    metadata,
    Column("key", LargeBinary, primary_key=True),  # sha256 of the idempotency key
    Column("first_id", Id, nullable=False, unique=True),  # id of the request's first decision
    Column("number", Integer, nullable=False),  # of decisions; their ids are consecutive
    Column("digest", LargeBinary),  # of the content; null once decisions of it were erased
)

campaigns = Table(
    "campaigns",
    metadata,
    Column("campaign", Text, primary_key=True),
    Column("spent", BigInteger, nullable=False),  # treatments charged to the budget
    Column("committed", BigInteger, nullable=False, server_default="0"),  # their expected costs, in millionths
)

outcomes = Table(
    "outcomes",
    metadata,
    Column("arrival", Number, primary_key=True, autoincrement=True),
    Column("decision_id", Id, ForeignKey(decisions.c.decision_id, ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("value", Double, nullable=False),
    Column("observed_at", BigInteger, nullable=False),  # the least integer where it was not said
    Column("received_at", BigInteger, nullable=False),
)
Index(
    "uq_outcomes_report",
    outcomes.c.decision_id,
    outcomes.c.name,
    outcomes.c.observed_at,
    outcomes.c.value,
    unique=True,
)

# Decisions that wait for a person, and what became of them.
reviews = Table(
    "reviews",
    metadata,
    Column("decision_id", Id, ForeignKey(decisions.c.decision_id, ondelete="CASCADE"), primary_key=True),
    Column("state", String(10), nullable=False),  # "waiting", "approved" or "overridden"
    Column("rank", Double, nullable=False),  # minus the priority: the most urgent first
    Column("codes", Text, nullable=False),  # each between two blanks
    Column("proposed", Text, nullable=False),  # the action the policy would have given
    Column("reason", Text, nullable=False),  # of the policy's own decision
    Column("options", Text),  # JSON: what is known of every action, by label
    Column("units", BigInteger),  # the campaign's cap on treatments, as the request said it
    Column("amount", BigInteger),  # and on their expected cost, in millionths
    Column("claimed_by", Text),
    Column("claimed_at", BigInteger),
    Column("claimed_until", BigInteger),
    Column("resolved_by", Text),
    Column("resolved_at", BigInteger),
    Column("key", Text),  # name of the API key it was resolved with; null where there are no keys
    Column("action", Text),  # what the person gave
    Column("why", Text),
    Column("resolution", Id),  # the decision a person made
)
Index("ix_reviews_rank", reviews.c.state, reviews.c.rank, reviews.c.decision_id)
Index("ix_reviews_resolved_at", reviews.c.state, reviews.c.resolved_at, reviews.c.decision_id)

# What happened in each minute, counted in the transaction it happened in. Every writer counts on rows of its own,
# so that none waits for another; a reader adds them up.
tallies = Table(
    "tallies",
    metadata,
    Column("minute", BigInteger, primary_key=True, autoincrement=False),  # its first microsecond
    Column("writer", String(16), primary_key=True),
    Column("kind", String(8), primary_key=True),  # "decision" or "outcome"
    Column("name", Text, primary_key=True),  # the action's label, the outcome's name
    Column("tenth", Integer, primary_key=True, autoincrement=False),  # of the probability of treatment, 0 to 9
    Column("number", BigInteger, nullable=False),
    Column("treated", BigInteger, nullable=False),
    Column("total", Double, nullable=False),  # of the outcome's values
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", String(16), primary_key=True),
    Column("name", Text, nullable=False),
    Column("roles", Text, nullable=False),  # separated by blanks
    Column("digest", LargeBinary, nullable=False),  # sha256 of the key
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

bundles = Table(
    "bundles",
    metadata,
    Column("version", Text, primary_key=True),
    Column("added_at", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),  # bytes of the archive
    Column("facts", Text, nullable=False),  # JSON: what to tell about it without opening it
    Column("archive", LargeBinary, nullable=False),  # the bundle's folder as a zip file
)

deployment = Table(
    "deployment",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("sequence", BigInteger, nullable=False),  # counts the changes
    Column("changed_at", BigInteger, nullable=False),
    Column("champion", Text, ForeignKey(bundles.c.version)),
    Column("previous", Text, ForeignKey(bundles.c.version)),
    Column("challenger", Text, ForeignKey(bundles.c.version)),
)

problems = Table(
    "problems",
    metadata,
    Column("arrival", Number, primary_key=True, autoincrement=True),
    Column("time", BigInteger, nullable=False),
    Column("status", Integer, nullable=False),
    Column("title", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("path", Text, nullable=False),
)

# Written and deleted again to see whether there is space.
probes = Table(
    "probes",
    metadata,
    Column("probe", String(32), primary_key=True),
    Column("filling", LargeBinary, nullable=False),
)
