"""Files that are nearly right: what other programs separate by, and what a log itself wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from persuadable import DecisionLog
from persuadable.errors import ActionError, DataError, FeatureError, PropensityError

LABELS = ("none", "voucher", "mail")
ROLES = {"action": "action", "control": "none", "outcomes": "bought"}


def written() -> DecisionLog:
    """Three actions, the treatments out of the order of their labels, with propensities and eligibility by row."""
    rng = np.random.default_rng(0)
    n = 60
    chances = rng.dirichlet((2, 1, 1), n)
    allowed = np.ones((n, 3), dtype=bool)
    codes = np.arange(n) % 3
    allowed[codes == 0, 2] = False
    chances[~allowed] = 0.0
    chances /= chances.sum(axis=1, keepdims=True)
    frame = pl.DataFrame({"age": rng.integers(20, 70, n), "town": ["Ulm", "Bonn"] * (n // 2)})
    frame = frame.with_columns(what=pl.Series([LABELS[c] for c in codes]), bought=pl.Series(rng.integers(0, 2, n)))
    return DecisionLog.from_frame(
        frame, action="what", control="none", outcomes="bought", actions=LABELS, propensity=chances, eligible=allowed
    )


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_what_a_log_wrote_reads_back(tmp_path: Path, ending: str) -> None:
    log, path = written(), tmp_path / f"log.{ending}"
    getattr(log.frame(), f"write_{ending}")(path)
    back = DecisionLog.read(path, **ROLES)
    assert back.features.names == ["age", "town"]
    assert back.actions.names == LABELS
    np.testing.assert_allclose(back.propensity(), log.propensity(), rtol=1e-6)
    assert back.eligible is not None
    np.testing.assert_array_equal(back.eligible, log.eligible)


def test_what_is_passed_comes_before_what_columns_are_called() -> None:
    frame = written().frame()
    told = {"none": 0.5, "voucher": 0.25, "mail": 0.25}
    log = DecisionLog.from_frame(
        frame.drop("eligible:none", "eligible:voucher", "eligible:mail"), **ROLES, propensity=told
    )
    assert np.unique(log.propensity()).tolist() == [0.25, 0.5]
    assert log.features.names == ["age", "town"]


def test_an_action_without_its_propensity_is_named() -> None:
    with pytest.raises(PropensityError, match="none for 'mail'"):
        DecisionLog.from_frame(written().frame().drop("propensity:mail"), **ROLES)


def test_columns_of_other_labels_are_features() -> None:
    frame = written().frame().select("age", "action", "bought").with_columns(pl.lit(0.5).alias("propensity:to buy"))
    assert DecisionLog.from_frame(frame, **ROLES).features.names == ["age", "propensity:to buy"]


def test_a_wrong_control_is_still_named() -> None:
    with pytest.raises(ActionError, match="'nobody' does not occur"):
        DecisionLog.from_frame(written().frame(), **{**ROLES, "control": "nobody"})


@pytest.mark.parametrize(
    ("separator", "name", "said"),
    [
        (";", "log.csv", "separated by semicolons, not by commas"),
        ("\t", "log.csv", "separated by tabs, not by commas"),
        (",", "log.tsv", "separated by commas, not by tabs"),
    ],
)
def test_another_separator_is_named(tmp_path: Path, separator: str, name: str, said: str) -> None:
    lines = ["age", "action", "bought"], ["1,5" if separator == ";" else "1.5", "none", "0"]
    (tmp_path / name).write_text("\n".join(separator.join(line) for line in lines))
    with pytest.raises(DataError, match=said):
        DecisionLog.read(tmp_path / name, **ROLES)


def test_one_column_is_no_other_separator(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("action\nnone\nmail\n")
    with pytest.raises(DataError, match="no column 'bought'"):
        DecisionLog.read(tmp_path / "log.csv", **ROLES)


def test_one_arm_is_said_before_its_label(tmp_path: Path) -> None:
    frame = pl.DataFrame({"age": [1, 2], "action": ["mail", "mail"], "bought": [0, 1]})
    with pytest.raises(ActionError, match="Only one arm has rows: all 2 took 'mail'"):
        DecisionLog.from_frame(frame, **ROLES)


def test_propensities_named_as_features_are_taken_at_their_word() -> None:
    frame = written().frame()
    log = DecisionLog.from_frame(frame, **ROLES, features=["age", "propensity:none"])
    assert log.features.names == ["age", "propensity:none"]
    with pytest.raises(FeatureError, match="came about after the action"):
        DecisionLog.from_frame(frame, **ROLES, features=["age", "bought"])
