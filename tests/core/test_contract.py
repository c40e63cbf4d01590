"""The feature contract: learned once, and the same check on every later frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persuadable import DecisionLog, FeatureContract, Features
from persuadable.errors import ContractError

TRAINED: dict[str, list[Any]] = {
    "age": [18, 40, 77],
    "spend": [0.5, None, 9.25],
    "town": ["Ulm", "Bonn", "Ulm"],
    "tier": ["a", None, "b"],
}
FRAMES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "polars": lambda t: pl.DataFrame(t, strict=False),
    "lazy": lambda t: pl.DataFrame(t, strict=False).lazy(),
    "pandas": pd.DataFrame,
    "pandas-nullable": lambda t: pd.DataFrame(t).convert_dtypes(),
    "pyarrow": pa.table,
    "features": lambda t: Features.of(pl.DataFrame(t, strict=False)),
}
GOOD: dict[str, list[Any]] = {
    "age": [18, 77, 30],
    "spend": [None, 1, 9.25],
    "town": ["Ulm"] * 3,
    "tier": ["a", "b", None],
}


@pytest.fixture(scope="module")
def contract() -> FeatureContract:
    return FeatureContract.learn(Features.of(pl.DataFrame(TRAINED)))


def test_a_contract_is_what_was_seen(contract: FeatureContract) -> None:
    age, spend, town, tier = contract.rules
    assert (age.low, age.high, age.missing) == (18, 77, False)
    assert (spend.low, spend.high, spend.missing) == (0.5, 9.25, True)
    assert (town.low, town.high, town.missing) == (None, None, False)
    assert town.column.categories == ("Bonn", "Ulm")
    assert tier.missing
    assert [c.name for c in contract.columns] == list(TRAINED)


def test_a_log_and_its_features_have_the_same_contract() -> None:
    rng = np.random.default_rng(0)
    log = DecisionLog.from_arrays(rng.normal(size=(20, 2)), np.arange(20) % 2, np.zeros(20))
    assert FeatureContract.learn(log) == FeatureContract.learn(log.features)
    assert FeatureContract.learn(log).check(log.features) == []
    assert FeatureContract.learn(log).check(log.features.values) == []


@pytest.mark.parametrize("kind", FRAMES)
def test_a_frame_that_fulfils_it(kind: str, contract: FeatureContract) -> None:
    assert contract.check(FRAMES[kind](GOOD)) == []
    features = contract.validate(FRAMES[kind](GOOD))
    assert features.columns == contract.columns
    np.testing.assert_array_equal(features.values[:, 2], [1, 1, 1])


BROKEN: dict[str, tuple[dict[str, Any], str, str, int | None, int, str]] = {
    "missing-column": ({"age": None}, "missing-column", "age", None, 3, "Feature 'age' is absent"),
    "unknown-column": ({"extra": [1, 2, 3]}, "unknown-column", "extra", None, 3, "'extra' is not a feature"),
    "text-for-number": ({"age": ["x", "y", "z"]}, "wrong-type", "age", None, 3, "is a category, expected a number"),
    "too-low": ({"age": [18, 17, 16]}, "out-of-range", "age", 1, 2, r"Feature 'age' holds 17, outside \[18, 77\]"),
    "too-high": ({"spend": [1, 2, 9.5]}, "out-of-range", "spend", 2, 1, r"holds 9.5, outside \[0.5, 9.25\]"),
    "unseen-category": ({"town": ["Ulm", "Rom", "Rom"]}, "unseen-category", "town", 1, 2, "unseen category 'Rom'"),
    "missing-value": ({"age": [20, 30, None]}, "missing-value", "age", 2, 1, "is missing, which it never was"),
    "missing-category": ({"town": [None, "Ulm", None]}, "missing-value", "town", 0, 2, "is missing, which it never"),
}


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("case", BROKEN)
def test_every_violation_on_every_kind_of_frame(case: str, kind: str, contract: FeatureContract) -> None:
    change, code, feature, row, rows, message = BROKEN[case]
    table = {k: v for k, v in (GOOD | change).items() if v is not None}
    found = contract.check(FRAMES[kind](table))
    assert [(v.code, v.feature, v.row, v.rows) for v in found] == [(code, feature, row, rows)]
    with pytest.raises(ContractError, match=message):
        contract.validate(FRAMES[kind](table), allow=())


@pytest.mark.parametrize("kind", ["polars", "pandas", "pyarrow"])
def test_types_no_feature_has(kind: str, contract: FeatureContract) -> None:
    import datetime as dt

    found = contract.check(FRAMES[kind](GOOD | {"town": [dt.datetime(2026, 1, 1)] * 3}))
    assert [(v.code, v.feature) for v in found] == [("wrong-type", "town")]
    assert "has type Datetime" in found[0].message


def test_several_violations_at_once(contract: FeatureContract) -> None:
    frame = pl.DataFrame(GOOD | {"town": ["Rom", None, "Ulm"], "age": [1, None, 20], "new": [1, 2, 3]}, strict=False)
    assert [(v.code, v.feature) for v in contract.check(frame)] == [
        ("unknown-column", "new"),
        ("out-of-range", "age"),
        ("missing-value", "age"),
        ("unseen-category", "town"),
        ("missing-value", "town"),
    ]
    match = (
        r"Feature 'age' holds 1, outside \[18, 77\]; 3 more violations \(row 0, 1 in all\). "
        r"Mend the data, or let this pass with allow=\('out-of-range', …\); check\(\) lists all"
    )
    with pytest.raises(ContractError, match=match):
        contract.validate(frame)


def test_what_is_allowed_passes(contract: FeatureContract) -> None:
    frame = pl.DataFrame(GOOD | {"age": [1, 2, 3], "new": [1, 2, 3]}, strict=False)
    assert contract.validate(frame, allow=("unknown-column", "out-of-range")).shape == (3, 4)


def test_saved_and_loaded_it_is_the_same(contract: FeatureContract, tmp_path: Path) -> None:
    contract.save(tmp_path / "contract.json")
    assert FeatureContract.load(tmp_path / "contract.json") == contract


def test_a_newer_format_is_refused(contract: FeatureContract) -> None:
    with pytest.raises(ContractError, match=r"The contract has format 2, this version reads 1. Upgrade"):
        FeatureContract.from_dict(contract.to_dict() | {"format": 2})
    with pytest.raises(ContractError, match="format None"):
        FeatureContract.from_dict({})


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"format": 1}', '{"format": 1, "features": [{}]}'])
def test_a_file_that_holds_no_contract(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "contract.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ContractError, match=r"contract.json' holds no contract: .*Pass a file written by"):
        FeatureContract.load(path)


def test_numbers_learned_as_categories_stay_categories() -> None:
    learned = FeatureContract.learn(Features.of(pl.DataFrame({"zip": [1, 2]}), categorical=["zip"]))
    assert learned.check(pl.DataFrame({"zip": [2, 1]})) == []
    assert learned.check(pd.DataFrame({"zip": [2.0, 1.0]})) == []
    assert [v.code for v in learned.check(pl.DataFrame({"zip": [3]}))] == ["unseen-category"]


def test_a_feature_never_seen_has_no_range() -> None:
    learned = FeatureContract.learn(Features.of(pl.DataFrame({"x": [None, None]}, schema={"x": pl.Float64})))
    assert learned.rules[0].low is None
    assert learned.check(pl.DataFrame({"x": [5.0]})) == []


@given(
    st.lists(st.one_of(st.none(), st.floats(-(2.0**100), 2.0**100, width=32)), min_size=1, max_size=30),
    st.lists(st.one_of(st.none(), st.text(max_size=3)), min_size=30, max_size=30),
)
def test_what_a_contract_was_learned_from_fulfils_it(numbers: list[float | None], texts: list[str | None]) -> None:
    frame = pl.DataFrame({"x": numbers, "g": texts[: len(numbers)]}, schema={"x": pl.Float64, "g": pl.String})
    learned = FeatureContract.learn(Features.of(frame))
    assert learned.check(frame) == []
    assert FeatureContract.from_dict(learned.to_dict()) == learned
