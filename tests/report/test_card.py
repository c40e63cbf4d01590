"""The model card: complete, exact, and read back as it was written."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persuadable.errors import ParameterError
from persuadable.report import Metric, ModelCard
from persuadable.value import Estimate

COMPLETE: dict[str, Any] = {
    "name": "women's e-mail, visit",
    "data": {"name": "hillstrom", "rows": 42_693, "fingerprint": "ab12", "arms": {"none": 0.5, "women": 0.5}},
    "estimand": "E[visit | x, women's e-mail] − E[visit | x, none]",
    "learners": ({"name": "XLearner", "trees": {"n_trees": 100}},),
    "propensity": {"source": "randomised", "lowest": np.float64(0.4999)},
    "metrics": (Metric("qini", 0.004, (0.001, 0.007), n=21_346, unit="visit per head", on="test"),),
    "limits": ("One company, two weeks.",),
    "intended_use": "Choose whom to e-mail under a budget of 30%.",
    "policy": {"share": 0.3, "threshold": np.float32(0.5), "actions": np.array([1, 2])},
}


def test_a_card_comes_back_as_it_was_written(tmp_path: Path) -> None:
    card = ModelCard(**COMPLETE)
    path = card.write(tmp_path / "model_card.json")
    again = ModelCard.from_json(path.read_text(encoding="utf-8"))
    assert again.to_json() == card.to_json()
    assert again.metrics == card.metrics
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["format"] == 1
    assert written["policy"] == {"share": 0.3, "threshold": 0.5, "actions": [1, 2]}
    assert written["metrics"][0]["interval"] == [0.001, 0.007]


def test_a_metric_of_an_estimate() -> None:
    estimate = Estimate.normal(0.02, 0.01, alpha=0.1, n=500, name="qini", unit="visit per head")
    metric = Metric.of(estimate, on="test")
    # 1.6449 is the 95% quantile of the normal distribution, from a table.
    assert metric.interval == pytest.approx((0.02 - 0.016449, 0.02 + 0.016449), abs=1e-6)
    assert (metric.name, metric.value, metric.alpha, metric.n, metric.on) == ("qini", 0.02, 0.1, 500, "test")


@pytest.mark.parametrize("part", ["name", "estimand", "intended_use", "learners", "metrics", "limits"])
def test_a_card_with_a_gap_is_not_made(part: str) -> None:
    empty: Any = " " if isinstance(COMPLETE[part], str) else ()
    with pytest.raises(ParameterError, match=rf"incomplete \({part}\)"):
        ModelCard(**{**COMPLETE, part: empty})


@pytest.mark.parametrize(("part", "key"), [("data", "fingerprint"), ("data", "rows"), ("propensity", "source")])
def test_a_part_with_a_gap_is_named(part: str, key: str) -> None:
    gap = {k: v for k, v in COMPLETE[part].items() if k != key}
    with pytest.raises(ParameterError, match=rf"incomplete \({part}\.{key}\)"):
        ModelCard(**{**COMPLETE, part: gap})


def test_a_learner_has_a_name_and_a_limit_says_something() -> None:
    with pytest.raises(ParameterError, match=r"learners\[1\]\.name"):
        ModelCard(**{**COMPLETE, "learners": ({"name": "X"}, {"trees": 1})})
    with pytest.raises(ParameterError, match="limits"):
        ModelCard(**{**COMPLETE, "limits": ("Something.", " ")})


@pytest.mark.parametrize("numbers", [(math.nan, (0.0, 1.0)), (0.5, (-math.inf, 1.0)), (0.5, (1.0, 0.0))])
def test_a_metric_is_a_number_with_an_interval(numbers: tuple[float, tuple[float, float]]) -> None:
    with pytest.raises(ParameterError, match="metric 'rate'"):
        Metric("rate", *numbers)


def test_what_json_cannot_hold_is_refused() -> None:
    card = ModelCard(**COMPLETE)
    with pytest.raises(ParameterError, match="JSON cannot"):
        replace(card, policy={"threshold": math.nan}).to_json()
    with pytest.raises(ParameterError, match="no place in a model card"):
        replace(card, policy={"threshold": object()}).to_json()


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 2}'])
def test_what_is_no_card_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="Not a model card"):
        ModelCard.from_json(text)


def test_a_written_card_with_a_part_missing_is_refused() -> None:
    content = json.loads(ModelCard(**COMPLETE).to_json())
    del content["limits"]
    with pytest.raises(ParameterError, match="limits"):
        ModelCard.from_json(json.dumps(content))


def test_a_card_that_does_not_fit_its_schema_is_not_written(tmp_path: Path) -> None:
    card = ModelCard(**{**COMPLETE, "training": {"trees": {}, "half_samples": -1}})
    with pytest.raises(ParameterError, match="does not fit its schema") as refused:
        card.write(tmp_path / "model_card.json")
    assert "training.half_samples" in str(refused.value)
    assert not (tmp_path / "model_card.json").exists()
    ModelCard(**COMPLETE).check()
