"""Columns that came about after the action are no features, and the refusal says why."""

from __future__ import annotations

import polars as pl
import pytest

from persuadable import DecisionLog
from persuadable.errors import DataError, FeatureError

FRAME = pl.DataFrame(
    {
        "age": [20.0, 30.0, 40.0, 50.0],
        "exposure": [0, 1, 0, 0],
        "treated": [0, 1, 1, 0],
        "visit": [0, 1, 0, 1],
        "conversion": [0, 1, 0, 0],
    }
)
ROLES = {"action": "treated", "control": 0}


def test_they_are_left_out_of_all_columns() -> None:
    told = DecisionLog.from_frame(FRAME, **ROLES, outcomes=["conversion", "visit"], post_treatment="exposure")
    assert told.features.names == ["age"]
    assert list(told.outcomes) == ["conversion", "visit"]


def test_they_can_be_outcomes() -> None:
    log = DecisionLog.from_frame(
        FRAME, **ROLES, outcomes=["conversion", "exposure"], post_treatment=["exposure", "visit"]
    )
    assert log.features.names == ["age"]
    assert log.outcome("exposure").tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(
    "told",
    [
        {"outcomes": "conversion", "post_treatment": "exposure", "features": ["age", "exposure"]},
        {"outcomes": ["conversion", "exposure"], "features": ["age", "exposure"]},
    ],
    ids=["declared", "outcome"],
)
def test_they_are_refused_as_features_with_the_reason(told: dict[str, object]) -> None:
    with pytest.raises(FeatureError, match=r"'exposure' came about after the action, so it is no feature.*no longer"):
        DecisionLog.from_frame(FRAME, **ROLES, **told)


def test_one_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match="There is no column 'expsure'"):
        DecisionLog.from_frame(FRAME, **ROLES, outcomes="conversion", post_treatment="expsure")
