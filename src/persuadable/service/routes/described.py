"""What the API's description says of bodies and answers that FastAPI does not see."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from persuadable.service import schemas
from persuadable.service.problems import ProblemDocument
from persuadable.service.routes.documents import DeploymentAnswer, HealthAnswer, LiveAnswer, NamedFolder, NamedVersion
from persuadable.service.wire import LARGEST_MONEY

__all__ = [
    "BATCH",
    "BATCH_ANSWER",
    "BUDGETS",
    "BUNDLE",
    "CASE",
    "DECIDED",
    "EXPORT",
    "IDEMPOTENCY_KEY",
    "METRICS",
    "MODELS",
    "POLICY",
    "SHARES",
    "TAGS",
    "WORDS",
    "json_answer",
    "json_body",
]

WORDS = """Whom to treat, when treating costs something: decisions under a budget, remembered with their exact
propensities, and what came of them.

Every refusal is a problem document (RFC 9457): what is wrong, where, and what to do. Every answer carries the header
`X-Request-ID`; send your own, and it is used."""
TAGS = [
    {"name": "decide", "description": "Score users, and decide for them under a budget."},
    {"name": "outcomes", "description": "What came of decisions."},
    {"name": "model", "description": "The model that decides, and why."},
    {"name": "log", "description": "What is remembered."},
    {"name": "review", "description": "Decisions that wait for a person."},
    {"name": "deployment", "description": "Which bundles answer."},
    {"name": "operations", "description": "For load balancers and monitoring."},
]
MODELS: list[type[BaseModel]] = [
    *(getattr(schemas, name) for name in schemas.__all__),
    ProblemDocument,
    NamedFolder,
    NamedVersion,
    DeploymentAnswer,
    LiveAnswer,
    HealthAnswer,
]

Words = dict[str, Any]
NDJSON, ARROW = "application/x-ndjson", "application/vnd.apache.arrow.stream"
REPLAYED: Words = {
    "Idempotent-Replayed": {
        "description": "'true' where the decisions had been made before, under the same Idempotency-Key.",
        "schema": {"type": "string", "enum": ["true"]},
    }
}
IDEMPOTENCY_KEY: Words = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key and request again is answered with the same decisions; 1 to 255 visible characters.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]{1,255}$"},
    "example": "campaign-7-2026-11-22",
}


def _ref(name: str) -> Words:
    return {"$ref": f"#/components/schemas/{name}"}


def json_answer(description: str, name: str | None, headers: Words | None = None) -> Words:
    """An answer in JSON; any object where no schema is named."""
    schema = {"type": "object"} if name is None else _ref(name)
    told: Words = {"description": description, "content": {"application/json": {"schema": schema}}}
    return told | ({"headers": headers} if headers else {})


def json_body(name: str, *, required: bool = True) -> Words:
    """A body in JSON."""
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": _ref(name)}}}}


def _parameter(name: str, description: str, schema: Words) -> Words:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


LINKS: Words = {
    "decision": {
        "operationId": "decision",
        "parameters": {"decision_id": "$response.body#/decisions/0/decision_id"},
        "description": "The first of the decisions, as it is remembered.",
    },
    "outcomes": {
        "operationId": "outcomes",
        "requestBody": {
            "outcomes": [{"decision_id": "$response.body#/decisions/0/decision_id", "name": "sale", "value": 1}]
        },
        "description": "What came of the first of them.",
    },
}
CASE: Words = {
    "name": "decision_id",
    "in": "path",
    "required": True,
    "description": "The case: the id of the held decision.",
    "schema": {"type": "string", "maxLength": 64},
}
SHARES: Words = {
    "name": "shares",
    "in": "query",
    "required": False,
    "description": "Budget shares, separated by commas, of a bundle whose budget is users; every percent without it.",
    "style": "form",
    "explode": False,
    "schema": {
        "type": "array",
        "items": {"type": "number", "minimum": 0, "maximum": 1},
        "minItems": 1,
        "maxItems": 1_001,
    },
    "example": [0.1, 0.2, 0.5],
}
BUDGETS: Words = {
    "name": "budgets",
    "in": "query",
    "required": False,
    "description": "Budgets of money per head, separated by commas, of a bundle whose budget is money; a hundred of "
    "them without it.",
    "style": "form",
    "explode": False,
    "schema": {
        "type": "array",
        "items": {"type": "number", "minimum": 0, "maximum": LARGEST_MONEY},
        "minItems": 1,
        "maxItems": 1_001,
    },
    "example": [0.1, 0.2, 0.5],
}
POLICY: Words = {
    "description": "A row for each budget.",
    "content": {"application/json": {"schema": {"oneOf": [_ref("PolicyAnswer"), _ref("AllocationAnswer")]}}},
}
BATCH: Words = {
    "requestBody": {
        "required": True,
        "description": "One user a line, or an Arrow stream with a column `unit` and one for each feature. Columns "
        "`eligible for …`, true or false, may say who may be given which treatment.",
        "content": {
            NDJSON: {
                "schema": {"type": "array", "items": _ref("UnitLine"), "minItems": 1},
                "example": '{"unit": "u1", "features": {"age": 41}}\n{"unit": "u2", "features": {"age": 27}}\n',
            },
            ARROW: {"schema": {"type": "string", "format": "binary"}},
        },
    },
    "parameters": [
        _parameter("budget_share", "Share of users to treat.", {"type": "number", "minimum": 0, "maximum": 1}),
        _parameter(
            "budget_units",
            "Most users to treat in the campaign; not together with budget_share.",
            {"type": "integer", "minimum": 0, "maximum": 2**53 - 1},
        ),
        _parameter(
            "budget_per_head",
            "Money per head, from which the price is drawn, where the bundle's budget is money.",
            {"type": "number", "minimum": 0, "maximum": LARGEST_MONEY},
        ),
        _parameter(
            "budget_amount",
            "Most money that the campaign's treatments may be expected to cost, where the bundle's budget is money.",
            {"type": "number", "minimum": 0, "maximum": LARGEST_MONEY},
        ),
        _parameter(
            "population",
            "How many users budget_units or budget_amount is for; those of this batch without it.",
            {"type": "integer", "minimum": 1, "maximum": 2**53 - 1},
        ),
        _parameter("campaign", "Whose budget is charged.", {"type": "string", "minLength": 1, "maxLength": 64}),
        IDEMPOTENCY_KEY,
    ],
}
BATCH_ANSWER: Words = {
    "description": "A decision for each user, in order; for one that was refused, its line and a problem. "
    "Arrow where the request accepts it, else one JSON object a line.",
    "content": {
        NDJSON: {"schema": {"type": "array", "items": {"oneOf": [_ref("BatchLine"), _ref("BatchProblem")]}}},
        ARROW: {"schema": {"type": "string", "format": "binary"}},
    },
}
BUNDLE: Words = {
    "requestBody": {
        "required": True,
        "content": {
            "application/zip": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {"schema": {"oneOf": [_ref("NamedFolder"), _ref("NamedVersion")]}},
        },
    },
    "parameters": [
        _parameter(
            "as", "What it becomes.", {"type": "string", "enum": ["champion", "challenger"], "default": "champion"}
        )
    ],
}
EXPORT: Words = {
    "description": "The log, with the roles of its columns in the file's metadata.",
    "content": {"application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}}},
}
METRICS: Words = {
    "description": "Prometheus' text format.",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}
DECIDED: Words = json_answer("What was decided.", "DecideAnswer", headers=REPLAYED) | {"links": LINKS}
