"""Answers say what was decided, and fit the schemas they are described by."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import jsonschema_rs
import pytest
from pydantic import BaseModel

from persuadable.service import schemas
from persuadable.service.encoding import encode_answer, encode_line, encode_record
from persuadable.service.records import Decision, Flag, Option, Priced, Shadow, StoredOutcome

PROPENSITIES = {"none": 0.25, "mail": 0.75}
SHADOW = Shadow("v2", "none", "mail", 0.1, 0.1, None, {"none": 1.0, "mail": 0.0})
DECISION = Decision(
    "d1", "ü1", "mail", "mail", 0.1 + 0.2, (0.1, 0.5), 0.25, 0.25, PROPENSITIES, "lottery-won",
    (Flag("out-of-range", "age", "clip"),), SHADOW, {"age": 41, "town": None, "x": 1e300}, "v1", "c1", "spring",
    datetime(2030, 1, 31, 9, tzinfo=UTC),
)  # fmt: skip
UNRECORDED = DECISION._replace(decision_id=None, interval=None, threshold=None, flags=())
TOLD = {
    "unit": "ü1",
    "action": "mail",
    "treatment": "mail",
    "effect": 0.30000000000000004,
    "interval": [0.1, 0.5],
    "net_effect": 0.25,
    "threshold": 0.25,
    "propensities": PROPENSITIES,
    "reason": "lottery-won",
    "flags": [{"code": "out-of-range", "feature": "age", "answer": "clip"}],
}
OUTCOMES = [
    StoredOutcome("visit", 1.0, None, datetime(2030, 2, 1, tzinfo=UTC), False),
    StoredOutcome("visit", 0.0, datetime(2030, 2, 2, tzinfo=UTC), datetime(2030, 2, 3, tzinfo=UTC), True),
]


def fits(model: type[BaseModel], raw: bytes) -> dict[str, object]:
    told: dict[str, object] = json.loads(raw)
    jsonschema_rs.validator_for(model.model_json_schema(mode="serialization")).validate(told)
    return told


def test_an_answer_holds_every_decision_and_the_bundle() -> None:
    told = fits(schemas.DecideAnswer, encode_answer([DECISION, DECISION], "v1"))
    assert told == {"decisions": [{"decision_id": "d1", **TOLD}] * 2, "bundle": "v1"}


def test_what_is_not_recorded_has_no_id_and_what_is_unknown_is_null() -> None:
    told = fits(schemas.ScoreAnswer, encode_answer([UNRECORDED], "v1"))
    assert told == {"decisions": [{**TOLD, "interval": None, "threshold": None, "flags": []}], "bundle": "v1"}


def test_a_line_is_one_line_and_names_its_bundle() -> None:
    raw = encode_line(DECISION)
    assert raw.count(b"\n") == 1
    assert raw.endswith(b"\n")
    assert fits(schemas.BatchLine, raw) == {"decision_id": "d1", **TOLD, "bundle": "v1"}


@pytest.mark.parametrize("shadow", [SHADOW, None])
def test_a_record_holds_all_that_is_remembered(shadow: Shadow | None) -> None:
    told = fits(schemas.DecisionRecord, encode_record(DECISION._replace(shadow=shadow), OUTCOMES))
    assert {name: told[name] for name in TOLD} == TOLD
    assert (told["bundle"], told["contract"], told["campaign"]) == ("v1", "c1", "spring")
    assert told["features"] == {"age": 41, "town": None, "x": 1e300}
    assert told["made_at"] == "2030-01-31T09:00:00Z"
    assert told["outcomes"] == [
        {
            "name": "visit",
            "value": 1.0,
            "observed_at": None,
            "received_at": "2030-02-01T00:00:00Z",
            "in_force": False,
        },
        {
            "name": "visit",
            "value": 0.0,
            "observed_at": "2030-02-02T00:00:00Z",
            "received_at": "2030-02-03T00:00:00Z",
            "in_force": True,
        },
    ]
    if shadow is None:
        assert told["shadow"] is None
    else:
        assert told["shadow"] == {
            "bundle": "v2",
            "action": "none",
            "treatment": "mail",
            "effect": 0.1,
            "net_effect": 0.1,
            "threshold": None,
            "propensities": {"none": 1.0, "mail": 0.0},
        }


def test_money_is_told_where_there_is_a_price() -> None:
    options = {"none": Option(0.0, 0.0, 0.0, True), "mail": Option(0.3, 0.4, 0.1, False)}
    scored = UNRECORDED._replace(priced=Priced(0.5, 0.4, options=options))
    (told,) = fits(schemas.ScoreAnswer, encode_answer([scored], "v1"))["decisions"]
    assert (told["price"], told["cost_effect"]) == (0.5, 0.4)
    assert told["options"] == {
        "none": {"effect": 0.0, "cost_effect": 0.0, "net_effect": 0.0, "eligible": True},
        "mail": {"effect": 0.3, "cost_effect": 0.4, "net_effect": 0.1, "eligible": False},
    }
    decided = DECISION._replace(priced=Priced(None, 0.4), eligible=("mail",))
    (told,) = fits(schemas.DecideAnswer, encode_answer([decided], "v1"))["decisions"]
    assert told == {"decision_id": "d1", **TOLD, "price": None, "cost_effect": 0.4}
    assert fits(schemas.DecisionRecord, encode_record(decided, []))["eligible"] == ["mail"]
    assert "eligible" not in fits(schemas.DecisionRecord, encode_record(DECISION, []))
