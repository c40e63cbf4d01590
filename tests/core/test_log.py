"""The decision log: every source gives the same one, every wrong value a message that helps."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from persuadable import DecisionLog
from persuadable.errors import (
    ActionError,
    DataError,
    FeatureError,
    OutcomeError,
    ParameterError,
    PersuadableError,
    PropensityError,
)
from persuadable.log.exchange import ROLES as KEY
from persuadable.log.exchange import roles_document

N = 12
TABLE: dict[str, list[Any]] = {
    "who": [f"u{i}" for i in range(N)],
    "age": [20 + i if i != 4 else None for i in range(N)],
    "town": [["Ulm", "Bonn", None][i % 3] for i in range(N)],
    "segment": [["No E-Mail", "Mens", "Womens"][i % 3] for i in range(N)],
    "visit": [i % 2 == 0 for i in range(N)],
    "spend": [float(i) for i in range(N)],
    "paid": [i % 3 for i in range(N)],
    "when": [dt.datetime(2026, 1, 1 + i) for i in range(N)],
    "w": [1.0 + i % 2 for i in range(N)],
    "round": [i % 2 for i in range(N)],
    "p0": [0.5] * N,
    "p1": [0.25] * N,
    "may": [i % 3 == 2 or i % 2 == 0 for i in range(N)],
}
ROLES: dict[str, Any] = {
    "action": "segment",
    "control": "No E-Mail",
    "outcomes": ["visit", "spend"],
    "cost": "paid",
    "unit": "who",
    "time": "when",
    "weight": "w",
    "stage": "round",
    "propensity": {"No E-Mail": "p0", "Mens": "p1", "Womens": 0.25},
    "features": ["age", "town"],
}
FRAMES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "polars": pl.DataFrame,
    "lazy": lambda t: pl.DataFrame(t).lazy(),
    "pandas": pd.DataFrame,
    "pandas-nullable": lambda t: pd.DataFrame(t).convert_dtypes(),
    "pyarrow": pa.table,
}
#: The smallest table that is a log: two arms, one feature, one outcome.
SMALL: dict[str, list[Any]] = {"x": [1.0, 2.0, 3.0, 4.0], "a": [0, 1, 0, 1], "y": [0.0, 1.0, 1.0, 0.0]}
SMALL_ROLES: dict[str, Any] = {"action": "a", "control": 0, "outcomes": "y"}


def small(roles: dict[str, Any] | None = None, **columns: list[Any]) -> DecisionLog:
    """A log of four rows with some columns replaced or added and some roles changed."""
    return DecisionLog.from_frame(pl.DataFrame(SMALL | columns, strict=False), **SMALL_ROLES | (roles or {}))


# -- what is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FRAMES)
def test_every_kind_of_frame_gives_the_same_log(kind: str) -> None:
    log, expected = (
        DecisionLog.from_frame(FRAMES[kind](TABLE), **ROLES),
        DecisionLog.from_frame(pl.DataFrame(TABLE), **ROLES),
    )
    assert log.actions.names == ("No E-Mail", "Mens", "Womens")
    np.testing.assert_array_equal(log.action, [0, 1, 2] * 4)
    np.testing.assert_array_equal(log.features.values, expected.features.values)
    assert log.features.columns == expected.features.columns
    assert list(log.outcomes) == ["visit", "spend", "paid"]
    np.testing.assert_array_equal(log.outcome(), [1, 0] * 6)
    np.testing.assert_array_equal(log.outcome("spend"), range(N))
    np.testing.assert_array_equal(log.cost, [0, 1, 2] * 4)
    np.testing.assert_array_equal(log.propensity(), [[0.5, 0.25, 0.25]] * N)
    np.testing.assert_array_equal(log.weight, [1, 2] * 6)
    np.testing.assert_array_equal(log.stage, [0, 1] * 6)
    np.testing.assert_array_equal(log.time.astype("datetime64[D]"), np.datetime64("2026-01-01") + np.arange(N))
    assert log.unit.tolist() == TABLE["who"]
    assert log.propensity_source == "logged"
    assert log.fingerprint.digest == expected.fingerprint.digest
    assert log.n == len(log) == N
    assert log.n_actions == 3
    assert log.shape == (N, 2)


@pytest.mark.parametrize("kind", FRAMES)
def test_without_units_the_content_is_the_fingerprint(kind: str) -> None:
    roles = {k: v for k, v in ROLES.items() if k != "unit"}
    log, expected = (
        DecisionLog.from_frame(FRAMES[kind](TABLE), **roles),
        DecisionLog.from_frame(pl.DataFrame(TABLE), **roles),
    )
    assert log.fingerprint.digest == expected.fingerprint.digest
    same_people = DecisionLog.from_frame(FRAMES[kind](TABLE | {"spend": [1.0] * N}), **roles)
    assert log.fingerprint.overlap(same_people.fingerprint) == N, "another outcome does not make other rows"
    others = DecisionLog.from_frame(FRAMES[kind](TABLE | {"age": [1.0] * N}), **roles)
    assert log.fingerprint.overlap(others.fingerprint) == 0


def test_arrays_give_the_same_log() -> None:
    log = DecisionLog.from_frame(pl.DataFrame(TABLE), **ROLES)
    arrays = DecisionLog.from_arrays(
        pl.DataFrame(TABLE).select("age", "town"),
        np.array(TABLE["segment"]),
        {k: np.array(TABLE[k]) for k in ("visit", "spend", "paid")},
        control="No E-Mail",
        cost="paid",
        unit=np.array(TABLE["who"]),
        time=np.array(TABLE["when"], dtype="datetime64[us]"),
        weight=np.array(TABLE["w"]),
        stage=np.array(TABLE["round"]),
        propensity={"No E-Mail": 0.5, "Mens": 0.25, "Womens": 0.25},
    )
    assert arrays.fingerprint.digest == log.fingerprint.digest
    np.testing.assert_array_equal(arrays.features.values, log.features.values)
    np.testing.assert_array_equal(arrays.action, log.action)
    np.testing.assert_array_equal(arrays.propensity(), log.propensity())
    assert arrays.actions == log.actions


def test_features_default_to_every_column_without_a_role() -> None:
    log = DecisionLog.from_frame(pl.DataFrame(TABLE), **ROLES | {"features": None})
    assert log.features.names == ["age", "town", "may"]


def test_numbers_can_be_categories() -> None:
    for told in ("x", ["x"]):
        assert small({"categorical": told, "features": told}).features.columns[0].categories == ("1", "2", "3", "4")


@pytest.mark.parametrize(
    ("labels", "control", "names"),
    [
        (np.array([0, 1, 0, 1]), 0, ("0", "1")),
        (np.array([0.0, 1.0, 0.0, 1.0]), 0, ("0", "1")),
        (np.array([1, 0, 1, 0]), 1, ("1", "0")),
        (np.array([False, True] * 2), 0, ("False", "True")),
        (np.array([False, True] * 2), False, ("False", "True")),
        (np.array([0, 1, 0, 1]), False, ("0", "1")),
        (np.array(["b", "a"] * 2), "b", ("b", "a")),
        (np.array(["b", 7] * 2, dtype=object), "b", ("b", "7")),
    ],
)
def test_the_control_is_code_0_however_it_is_labelled(labels: Any, control: Any, names: tuple[str, ...]) -> None:
    log = DecisionLog.from_arrays(np.zeros((4, 1)), labels, np.zeros(4), control=control)
    assert log.actions.names == names
    assert log.action.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("codes", [np.array([0, 1, 2, 0]), np.array([0.0, 1.0, 2.0, 0.0])])
def test_codes_take_the_names_given(codes: Any) -> None:
    log = DecisionLog.from_arrays(np.zeros((4, 1)), codes, np.zeros(4), action_names=("a", "b", "c"), control="b")
    assert log.actions.names == ("b", "a", "c")
    assert log.action.tolist() == [1, 0, 2, 1]
    by_code = DecisionLog.from_arrays(np.zeros((4, 1)), codes, np.zeros(4), action_names=("a", "b", "c"), control=1)
    assert by_code.actions == log.actions


def test_outcomes_of_any_numeric_type() -> None:
    for values in ([0, 1, 1, 0], [False, True, True, False], [Decimal(0), Decimal(1), Decimal(1), Decimal(0)]):
        np.testing.assert_array_equal(small(y=values).outcome(), [0, 1, 1, 0])
    objects = np.array([0, 1.0, True, 0], dtype=object)
    np.testing.assert_array_equal(
        DecisionLog.from_arrays(np.zeros((4, 1)), SMALL["a"], objects).outcome(), [0, 1, 1, 0]
    )


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".tsv", ".parquet"])
def test_files_give_the_same_log(ending: str, tmp_path: Path) -> None:
    import gzip

    roles = ROLES | {"time": None}
    frame, path = pl.DataFrame(TABLE).drop("when"), tmp_path / f"mails.2026{ending}"
    if ending == ".parquet":
        frame.write_parquet(path)
    else:
        text = frame.write_csv(separator="\t" if ending == ".tsv" else ",").encode()
        path.write_bytes(gzip.compress(text) if ending == ".csv.gz" else text)
    log = DecisionLog.read(path, **roles)
    assert log.name == "mails"
    assert log.fingerprint.digest == DecisionLog.from_frame(frame, **roles).fingerprint.digest
    np.testing.assert_array_equal(log.features.values, DecisionLog.from_frame(frame, **roles).features.values)
    assert DecisionLog.read(str(path), **roles | {"name": "x"}).name == "x"


def test_frame_writes_what_was_read() -> None:
    log = DecisionLog.from_frame(pl.DataFrame(TABLE), **ROLES | {"eligible": {"Mens": [True] * N}} | {"eligible": None})
    frame = log.frame()
    assert frame.columns == [
        "age", "town", "action", "visit", "spend", "paid", "unit", "time", "weight", "stage",
        "propensity:No E-Mail", "propensity:Mens", "propensity:Womens",
    ]  # fmt: skip
    assert frame["action"].to_list() == TABLE["segment"]
    assert frame["town"].to_list() == TABLE["town"]
    clash = small({"features": ["action"]}, action=[5, 6, 7, 8]).frame()
    assert clash["action"].to_list() == [5, 6, 7, 8]
    assert clash["action_"].to_list() == ["0", "1", "0", "1"]


def test_repr_says_what_it_is() -> None:
    text = repr(DecisionLog.from_frame(pl.DataFrame(TABLE), **ROLES, name="mails"))
    assert "DecisionLog 'mails': 12 rows × 2 features" in text
    assert "No E-Mail 4, Mens 4, Womens 4" in text
    assert "spend 5.5" in text


def test_binary_outcomes_are_recognised() -> None:
    log = DecisionLog.from_frame(pl.DataFrame(TABLE), **ROLES)
    assert log.is_binary()
    assert not log.is_binary("spend")
    assert small().cost is None


# -- propensities ----------------------------------------------------------------------------------------------------


def test_without_propensities_the_shares_of_the_arms_count() -> None:
    log = small(a=[0, 1, 0, 0])
    assert log.propensities is None
    assert log.propensity_source is None
    np.testing.assert_array_equal(log.propensity(), [[0.75, 0.25]] * 4)
    assert log.propensity().strides[0] == 0
    np.testing.assert_array_equal(small({"weight": "w"}, a=[0, 1, 0, 0], w=[1, 5, 2, 2]).propensity(), [[0.5, 0.5]] * 4)


def test_with_eligibility_the_shares_are_those_among_the_equally_eligible() -> None:
    log = small({"eligible": {1: "may"}}, a=[0, 1, 0, 0], may=[True, True, True, False])
    np.testing.assert_allclose(log.propensity(), [[2 / 3, 1 / 3]] * 3 + [[1, 0]])


@pytest.mark.parametrize(
    "propensity",
    [0.25, "p", {0: 0.75, 1: 0.25}, {"0": "q", "1": "p"}, {0: "q", 1: 0.25}, np.tile([0.75, 0.25], (4, 1))],
)
def test_two_arm_propensities_in_every_spelling(propensity: Any) -> None:
    log = small({"propensity": propensity, "features": ["x"]}, p=[0.25] * 4, q=[0.75] * 4)
    np.testing.assert_array_equal(log.propensity(), [[0.75, 0.25]] * 4)


def test_an_array_of_propensities_is_that_of_the_treatment() -> None:
    p = np.array([0.1, 0.2, 0.3, 0.4])
    log = DecisionLog.from_arrays(np.zeros((4, 1)), SMALL["a"], np.zeros(4), propensity=p)
    np.testing.assert_allclose(log.propensity(), np.stack([1 - p, p], axis=1))


def test_one_propensity_for_all_rows_stays_one_row_in_memory() -> None:
    log = small({"propensity": 0.25})
    assert log.propensities.strides[0] == 0
    for part in (
        log.take(np.array([True, True, False, False])),
        log.take(slice(1, 4)),
        log.take([0, 1, 1]),
        log.arm(1),
    ):
        assert part.propensities.strides[0] == 0
        assert part.propensities.shape == (part.n, 2)
    assert log.contrast().propensities.strides[0] == 0
    three = DecisionLog.from_frame(
        pl.DataFrame(TABLE), **ROLES | {"propensity": {"No E-Mail": 0.5, "Mens": 0.2, "Womens": 0.3}}
    )
    pair = three.contrast("Womens")
    assert pair.propensities.strides[0] == 0
    np.testing.assert_allclose(pair.propensity(), [[0.625, 0.375]] * 8)


def test_with_propensities() -> None:
    estimated = small().with_propensities(np.tile([0.6, 0.4], (4, 1)))
    assert estimated.propensity_source == "estimated"
    np.testing.assert_array_equal(estimated.propensity(), [[0.6, 0.4]] * 4)
    with pytest.raises(PropensityError, match=r"sum to 1.2, not 1 \(row 0\)"):
        small().with_propensities([[0.6, 0.6]] * 4)


# -- parts -----------------------------------------------------------------------------------------------------------


def three_arms() -> DecisionLog:
    rng = np.random.default_rng(0)
    e = rng.dirichlet([3, 2, 1], size=60)
    return DecisionLog.from_arrays(
        rng.normal(size=(60, 2)), np.arange(60) % 3, {"y": rng.normal(size=60), "c": np.arange(60)},
        propensity=e, cost="c", action_names=("none", "mail", "call"), unit=np.arange(60), time=np.arange(60),
        eligible=np.ones((60, 3), dtype=bool),
    )  # fmt: skip


def test_arm_keeps_the_rows_of_one_action() -> None:
    log = three_arms()
    assert (log.arm("mail").action == 1).all()
    assert log.arm(2).n == 20


def test_contrast_renormalises_the_propensities_of_the_pair() -> None:
    log = three_arms()
    pair, rows = log.contrast("call"), np.flatnonzero(np.arange(60) % 3 != 1)
    assert pair.actions.names == ("none", "call")
    np.testing.assert_array_equal(pair.action, np.where(rows % 3 == 2, 1, 0))
    for i, row in enumerate(rows):  # by hand: P(a | none or call) = e_a / (e_none + e_call)
        e0, _, e2 = log.propensities[row]
        np.testing.assert_allclose(pair.propensities[i], [e0 / (e0 + e2), e2 / (e0 + e2)], rtol=1e-12)
    np.testing.assert_array_equal(pair.cost, rows)
    assert pair.eligible.shape == (40, 2)
    assert pair.contrast() is pair


def test_a_part_of_the_actions_stands_for_all_rows() -> None:
    """Kept are the rows that took one of the pair; each stands for 1/P(one of the pair) rows, times its own weight."""
    log = three_arms()
    rows = np.flatnonzero(log.action != 1)
    stands = 1 / (log.propensities[rows, 0] + log.propensities[rows, 2])
    np.testing.assert_allclose(log.contrast("call").weight, stands / stands.mean())
    weighted = dataclasses.replace(log, weight=np.linspace(1, 2, 60))
    np.testing.assert_allclose(
        weighted.contrast("call").weight,
        weighted.weight[rows] * stands * (weighted.weight[rows].mean() / np.mean(weighted.weight[rows] * stands)),
    )
    assert (
        dataclasses.replace(log, propensities=np.broadcast_to([0.5, 0.25, 0.25], (60, 3))).contrast("call").weight
        is None
    )
    assert log.select(actions=["call", "mail"]) is log


def test_contrast_leaves_out_those_never_to_be_treated() -> None:
    """Of the eight, the first four may get both, then two only action 1, then two only action 2."""
    may = np.ones((8, 3), dtype=bool)
    may[4:6, 2] = may[6:, 1] = False
    action = [0, 0, 1, 2, 0, 1, 0, 2]
    log = DecisionLog.from_arrays(np.arange(8.0)[:, None], action, np.zeros(8), eligible=may)
    pair = log.contrast(2)
    assert pair.features.values[:, 0].tolist() == [0, 1, 3, 6, 7]
    # Among the first four: 2 controls to 1 of action 2, kept with chance 3/4; among the last two 1 to 1, all kept.
    np.testing.assert_allclose(pair.propensity(), [[2 / 3, 1 / 3]] * 3 + [[0.5, 0.5]] * 2)
    np.testing.assert_allclose(pair.weight, np.array([4 / 3, 4 / 3, 4 / 3, 1, 1]) / 1.2)
    assert pair.propensity_source == "estimated"
    two = small({"eligible": {1: "may"}, "features": ["x"]}, may=[True, True, False, True])
    assert two.contrast().features.values[:, 0].tolist() == [1, 2, 4]


def test_select_keeps_outcomes_in_the_order_asked_and_the_cost() -> None:
    log = three_arms().select(outcomes="c", actions=["mail"])
    assert list(log.outcomes) == ["c"]
    assert log.actions.names == ("none", "mail")
    assert list(three_arms().select(outcomes=["y"]).outcomes) == ["y", "c"]
    np.testing.assert_allclose(three_arms().select(actions=["call", "mail"]).propensity(), three_arms().propensity())


def test_take_by_index_mask_slice_and_list() -> None:
    log = three_arms()
    mask = np.arange(60) < 5
    for part in (
        log.take(mask),
        log.take(np.arange(5)),
        log.take(slice(5)),
        log.take([0, 1, 2, 3, 4]),
        log[:5],
        log[mask],
    ):
        assert part.n == 5
        np.testing.assert_array_equal(part.time, range(5))
        np.testing.assert_array_equal(part.features.rows, part.rows)
        np.testing.assert_array_equal(part.propensities, log.propensities[:5])


# -- decisions that were certain -------------------------------------------------------------------------------------


def certain() -> DecisionLog:
    """Above 4 everybody is treated, below 2 nobody; between them lots are drawn. One of two treatments is possible."""
    x = np.array([0.0, 1.0, 2.0, 3.0, 3.5, 5.0, 6.0])
    e = np.array([[1, 0, 0], [1, 0, 0], [0.5, 0.5, 0], [0.4, 0, 0.6], [0.5, 0.5, 0], [0, 1, 0], [0, 0, 1.0]])
    return DecisionLog.from_arrays(
        x[:, None], [0, 0, 1, 2, 0, 1, 2], np.arange(7.0), propensity=e, action_names=("none", "mail", "call")
    )


def test_rows_with_a_choice() -> None:
    log = certain()
    assert log.overlapping().features.values[:, 0].tolist() == [2, 3, 3.5]
    assert log.overlapping("mail").features.values[:, 0].tolist() == [2, 3.5]
    assert log.overlapping("call").n == 1
    np.testing.assert_array_equal(log.overlapping().propensities, [[0.5, 0.5, 0], [0.4, 0, 0.6], [0.5, 0.5, 0]])
    with pytest.raises(PropensityError, match=r"In none of the 2 rows could both 'none' and a treatment have been"):
        log[:2].overlapping()
    assert small().overlapping() is not None
    everybody = small({"propensity": 0.5})
    assert everybody.overlapping() is everybody
    assert small().overlapping(1).propensities is None


def test_eligibility_says_who_had_a_choice_where_no_propensity_does() -> None:
    log = small({"eligible": {1: "may"}, "features": ["x"]}, may=[True, True, False, True])
    assert log.overlapping().features.values[:, 0].tolist() == [1, 2, 4]


def test_a_log_without_a_choice_says_so_and_what_to_do() -> None:
    from persuadable.log.checks import require_comparable

    log = certain()
    match = (
        r"In 4 of the 7 rows 'none' or any treatment had propensity 0, .* \(first in row 0, where it was any treatment"
        r"\). Keep the rows with a choice: log.overlapping\(\)"
    )
    with pytest.raises(PropensityError, match=match):
        require_comparable(log)
    with pytest.raises(
        PropensityError, match=r"In 3 of the 5 rows .* row 0, where it was 'mail'\).*overlapping\('mail'\)"
    ):
        require_comparable(log.take(np.arange(2, 7)).take([1, 0, 2, 3, 4]), 1)
    with pytest.raises(PropensityError, match=r"In 2 of the 2 rows .*\(first in row 0, where it was 'none'\)"):
        require_comparable(log.take([5, 6]))
    require_comparable(log.overlapping())
    require_comparable(log.overlapping("mail"), 1)
    # Rows in which no treatment was allowed are no part of any comparison; so it has always been.
    require_comparable(
        small(
            {"eligible": {1: "may"}, "propensity": "p", "features": ["x"]},
            may=[False, True, True, True],
            p=[0, 0.5, 0.5, 0.5],
        )
    )


# -- exports that tell their own roles -------------------------------------------------------------------------------

EXPORT: dict[str, list[Any]] = {
    "decision_id": ["d0", "d1", "d2", "d3"],
    "unit_": ["u0", "u1", "u2", "u3"],
    "time": [dt.datetime(2026, 1, 1 + i, tzinfo=dt.UTC) for i in range(4)],
    "action": ["none", "sms", "mail", "none"],
    "unit": [1.0, None, 3.0, 4.0],  # a feature of this name
    "zip": [1, 2, 1, 2],
    "propensity of none": [1.0, 0.25, 0.0, 0.5],
    "propensity of sms": [0.0, 0.75, 0.0, 0.5],
    "propensity of mail": [0.0, 0.0, 1.0, 0.0],
    "propensity of call": [0.0, 0.0, 0.0, 0.0],
    "visit": [0.0, 1.0, 0.0, 1.0],
    "cost": [0.0, 0.5, 1.0, 0.0],
}
EXPORTED: dict[str, Any] = {
    "action": "action",
    "control": "none",
    "outcomes": ["visit", "cost"],
    "cost": "cost",
    "features": ["unit", "zip"],
    "categorical": ["zip"],
    "propensity": {label: f"propensity of {label}" for label in ("none", "sms", "mail", "call")},
    "unit": "unit_",
    "time": "time",
    "name": "spring",
}


def exported(path: Path, roles: dict[str, Any] | str = EXPORTED, **columns: Any) -> Path:
    told = roles if isinstance(roles, str) else roles_document(**roles)
    pl.DataFrame(EXPORT | columns).write_parquet(path / "export.parquet", metadata={KEY: told})
    return path / "export.parquet"


def test_an_export_needs_no_arguments(tmp_path: Path) -> None:
    file = exported(tmp_path)
    for log in (DecisionLog.read(file), DecisionLog.read(file.read_bytes())):
        assert log.name == "spring"
        assert log.actions.names == ("none", "sms", "mail"), "in the order told, without what never had a chance"
        assert log.action.tolist() == [0, 1, 2, 0]
        np.testing.assert_array_equal(log.propensities, [[1, 0, 0], [0.25, 0.75, 0], [0, 0, 1], [0.5, 0.5, 0]])
        assert log.propensity_source == "logged"
        assert log.eligible is None
        assert log.features.names == ["unit", "zip"]
        assert log.features.columns[1].categories == ("1", "2")
        assert np.isnan(log.features.values[1, 0])
        assert list(log.outcomes) == ["visit", "cost"]
        np.testing.assert_array_equal(log.cost, EXPORT["cost"])
        assert log.unit.tolist() == EXPORT["unit_"]
        np.testing.assert_array_equal(log.time.astype("datetime64[D]"), np.datetime64("2026-01-01") + np.arange(4))
    by_hand = DecisionLog.from_frame(
        pl.DataFrame(EXPORT), **EXPORTED | {"propensity": None, "actions": ["none", "sms", "mail"]}
    )
    assert by_hand.fingerprint.digest == log.fingerprint.digest
    np.testing.assert_array_equal(by_hand.features.values, log.features.values)


def test_arguments_come_before_what_the_file_tells(tmp_path: Path) -> None:
    file = exported(tmp_path)
    log = DecisionLog.read(file, outcomes="cost", features=["unit"], categorical=[], name="other", cost=None)
    assert (log.primary, log.features.names, log.name, log.cost_name) == ("cost", ["unit"], "other", None)
    assert log.actions.names == ("none", "sms", "mail")
    other = DecisionLog.read(file, action="zip", control=1, features=["unit"], categorical=[])
    assert other.actions.names == ("1", "2")
    assert other.propensities is None, "what the file tells of propensities is about its own action"


def test_an_action_that_had_a_chance_and_no_row_is_not_dropped(tmp_path: Path) -> None:
    columns = {"propensity of none": [0.9, 0.25, 0.0, 0.5], "propensity of call": [0.1, 0, 0, 0]}
    with pytest.raises(ActionError, match="Nobody took 'call'"):
        DecisionLog.read(exported(tmp_path, **columns))


def test_outcomes_that_have_not_come_in(tmp_path: Path) -> None:
    match = r"Outcome 'visit' is missing in 2 of the 4 decisions exported. Export with missing=zero .* missing=drop"
    with pytest.raises(OutcomeError, match=match):
        DecisionLog.read(exported(tmp_path, visit=[None, 1.0, None, 0.0]))
    assert DecisionLog.read(exported(tmp_path, visit=[None, 1.0, None, 0.0]), outcomes="cost").primary == "cost"
    with pytest.raises(OutcomeError, match="The export holds no outcome yet"):
        DecisionLog.read(exported(tmp_path, EXPORTED | {"outcomes": [], "cost": None}))


def test_a_file_that_tells_nothing_needs_arguments(tmp_path: Path) -> None:
    pl.DataFrame(SMALL).write_parquet(tmp_path / "plain.parquet")
    with pytest.raises(ParameterError, match=r"does not say which column is the action. Pass action=, control= and"):
        DecisionLog.read(tmp_path / "plain.parquet")
    with pytest.raises(ParameterError, match="which column is the outcome"):
        DecisionLog.read(tmp_path / "plain.parquet", action="a", control=0)
    assert DecisionLog.read((tmp_path / "plain.parquet").read_bytes(), **SMALL_ROLES).name == "log"


SOUND = json.loads(roles_document(**EXPORTED))


@pytest.mark.parametrize(
    "told",
    [
        "", "{", "[]", "1", "null", "[" * 100_000, "x" * 2**20 + "y", "{}", '{"format": 2}',
        *(json.dumps({k: v for k, v in SOUND.items() if k != gone}) for gone in
          ("format", "action", "control", "outcomes", "features", "propensity")),
        *(json.dumps(SOUND | change) for change in (
            {"action": 3}, {"action": None}, {"action": ""}, {"control": ["none"]}, {"control": "sms"},
            {"outcomes": "visit"}, {"outcomes": [1]}, {"outcomes": ["visit", "visit"]}, {"features": {"unit": 1}},
            {"propensity": {}}, {"propensity": ["none"]}, {"propensity": {"none": 0.5}}, {"propensity": 0.5},
            {"propensity": {"sms": "propensity of sms", "none": "propensity of none"}}, {"unit": 1}, {"name": {}},
            {"one_row_per_unit": True}, {"frame": "x"}, {"actions": ["none"]},
        )),
    ],
)  # fmt: skip
def test_hostile_roles(told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"The roles in the file's metadata cannot be used: .*Export the log again"):
        DecisionLog.read(exported(tmp_path, told))


@pytest.mark.parametrize(
    "change",
    [
        {"action": "gone"}, {"control": "gone", "propensity": {"gone": "propensity of none"}}, {"outcomes": ["gone"]},
        {"features": ["gone"]}, {"features": ["visit"]}, {"unit": "gone"}, {"categorical": ["visit"]},
        {"propensity": {"none": "gone", "sms": "visit"}}, {"propensity": {"none": "action", "sms": "time"}},
        {"propensity": {"none": "propensity of none", "sms": "propensity of sms"}}, {"outcomes": ["action"]},
        {"outcomes": ["time"]}, {"weight": "time"}, {"stage": "time"}, {"cost": "gone"}, {"features": ["time"]},
        {"eligible": {"sms": "zip"}}, {"eligible": {"gone": "visit"}},
    ],
)  # fmt: skip
def test_roles_that_do_not_fit_the_columns(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(PersuadableError):
        DecisionLog.read(exported(tmp_path, json.dumps(SOUND | change)))


def test_roles_are_checked_before_they_are_written() -> None:
    with pytest.raises(ParameterError, match="the first propensity is that of 'sms'"):
        roles_document(**EXPORTED | {"propensity": {"sms": "a", "none": "b"}})


def test_parquet_that_is_none(tmp_path: Path) -> None:
    raw = exported(tmp_path).read_bytes()
    huge = raw[:-8] + (2**26 + 1).to_bytes(4, "little") + b"PAR1"
    with pytest.raises(DataError, match="its footer has 67,108,865 bytes, at most"):
        DecisionLog.read(huge)
    for end in (b"", b"PAR1", raw[:-1], raw[-8:], raw[:-8] + (2**20).to_bytes(4, "little") + b"PAR1"):
        with pytest.raises(DataError, match="the bytes given cannot be read"):
            DecisionLog.read(end)


# -- refusals: each says what, where and what to do -------------------------------------------------------------------


def test_unknown_control() -> None:
    with pytest.raises(
        ActionError, match=r"The control label 'none' does not occur \(column 'a'\). Pass control= one of \['0', '1'\]"
    ):
        small({"control": "none"})
    with pytest.raises(ActionError, match=r"control label '5' does not occur .*\['c', 't'\]"):
        DecisionLog.from_arrays(np.zeros((2, 1)), [0, 1], [0, 1], control=5, action_names=("c", "t"))


def test_one_arm_only() -> None:
    with pytest.raises(
        ActionError, match=r"Only one arm has rows: all 4 took '0' \(column 'a'\). An effect needs a control"
    ):
        small(a=[0, 0, 0, 0])


def test_an_arm_without_rows() -> None:
    with pytest.raises(ActionError, match=r"Nobody took 'call' \(column 'action'\). Leave actions without rows out"):
        DecisionLog.from_arrays(np.zeros((2, 1)), [0, 1], [0, 1], action_names=("none", "mail", "call"))


def test_a_code_without_a_name() -> None:
    with pytest.raises(ActionError, match=r"Action code 2 has no name among \['c', 't'\] \(column 'action', row 1\)"):
        DecisionLog.from_arrays(np.zeros((3, 1)), [0, 2, 1], [0, 1, 0], action_names=("c", "t"))


@pytest.mark.parametrize(
    "labels", [[0, None, 1, 0], ["0", None, "1", "0"], [0.0, float("nan"), 1.0, 0.0]], ids=["null", "text", "nan"]
)
def test_missing_action(labels: list[Any]) -> None:
    with pytest.raises(ActionError, match=r"missing \(column 'a', row 1\). Fill it in or drop the row"):
        small(a=labels)
    with pytest.raises(ActionError, match=r"missing \(column 'action', row 1\)"):
        DecisionLog.from_arrays(np.zeros((4, 1)), np.array(labels, dtype=object), np.zeros(4))


def test_a_number_that_is_no_action() -> None:
    n = 20_000
    with pytest.raises(ActionError, match=r"There are 20,000 different actions \(column 'action'\). At most 10,000"):
        DecisionLog.from_arrays(np.zeros((n, 1)), np.arange(n), np.zeros(n))


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("role", ["outcomes", "cost"])
def test_missing_or_infinite_outcome(value: float | None, role: str) -> None:
    with pytest.raises(OutcomeError, match=r"Column 'z' holds (nan|inf|-inf) \(row 2\). Fill in the value"):
        small({role: "z", "features": ["x"]}, z=[0.0, 1.0, value, 0.0])


def test_outcome_that_is_text() -> None:
    with pytest.raises(
        OutcomeError, match=r"Column 'y' is not numeric: it holds 'yes' \(row 0\). Convert it to numbers"
    ):
        small(y=["yes", "no", "no", "yes"])
    with pytest.raises(OutcomeError, match=r"Column 'outcome' is not numeric: it holds 'no' \(row 1\)"):
        DecisionLog.from_arrays(np.zeros((2, 1)), [0, 1], np.array([1, "no"], dtype=object))


@pytest.mark.parametrize(("p", "shown"), [(1.5, "1.5"), (-0.1, "-0.1"), (None, "nan"), (float("inf"), "inf")])
def test_propensity_outside_its_range(p: float | None, shown: str) -> None:
    with pytest.raises(
        PropensityError, match=rf"The propensity of '1' is {shown}, outside \[0, 1\] \(row 2\). Log the probability"
    ):
        small({"propensity": "p", "features": ["x"]}, p=[0.5, 0.5, p, 0.5])


def test_an_action_taken_had_a_chance() -> None:
    match = r"The propensity of '1' is 0, and yet it was taken \(row 3\). Log the probability each action had"
    with pytest.raises(PropensityError, match=match):
        small({"propensity": "p", "features": ["x"]}, p=[0.5, 0.5, 0.5, 0.0])
    with pytest.raises(PropensityError, match=r"The propensity of '0' is 0, and yet it was taken \(row 0\)"):
        small({"propensity": 1.0})


def test_an_action_not_taken_may_have_had_none() -> None:
    log = small({"propensity": "p", "features": ["x"]}, p=[0.0, 1.0, 0.0, 1.0])
    np.testing.assert_array_equal(log.propensity(), [[1, 0], [0, 1], [1, 0], [0, 1]])


def test_propensities_that_do_not_sum_to_one() -> None:
    with pytest.raises(
        PropensityError, match=r"Propensities sum to 0.9, not 1 \(row 1\). Give the probability of every"
    ):
        small({"propensity": {0: "q", 1: 0.5}, "features": ["x"]}, q=[0.5, 0.4, 0.5, 0.5])


def test_propensities_of_another_shape() -> None:
    with pytest.raises(PropensityError, match=r"shape \(4, 3\), expected \(4, 2\) \(columns: 0, 1\). Pass one column"):
        small({"propensity": np.full((4, 3), 1 / 3)})
    with pytest.raises(PropensityError, match=r"shape \(3, 2\), expected \(4, 2\)"):
        small({"propensity": np.full((3, 2), 1 / 2)})
    with pytest.raises(DataError, match="propensity has 3 rows, the features have 4"):
        small({"propensity": np.full(3, 1 / 2)})


def test_propensity_that_is_text() -> None:
    with pytest.raises(PropensityError, match=r"Propensities are not numeric: .*'high'.*Pass numbers"):
        small({"propensity": "p", "features": ["x"]}, p=["high"] * 4)


def test_propensity_of_an_action_left_out() -> None:
    with pytest.raises(PropensityError, match=r"The propensity of '0' is not given. Give one for each of \['0', '1'\]"):
        small({"propensity": {1: 0.5}})


def test_one_propensity_for_three_actions() -> None:
    with pytest.raises(PropensityError, match=r"One propensity cannot describe 3 actions. Pass a mapping"):
        DecisionLog.from_frame(pl.DataFrame(TABLE), **ROLES | {"propensity": 0.5})


def test_duplicate_unit_promised_unique() -> None:
    roles = {"unit": "u", "one_row_per_unit": True}
    match = r"Unit ann appears 2 times, one row per unit was promised \(column 'u', rows 1 and 3\). Aggregate"
    with pytest.raises(DataError, match=match):
        small(roles, u=["bob", "ann", "eve", "ann"])
    assert small(roles, u=["bob", "ann", "eve", "dan"]).clusters is None


@pytest.mark.parametrize("role", ["unit", "time"])
def test_missing_unit_or_time(role: str) -> None:
    with pytest.raises(DataError, match=r"A value is missing \(column '(u|time)', row 1\). Fill it in"):
        small({role: "u"}, u=["2026-01-01", None, "2026-01-02", "2026-01-03"])


def test_taken_though_ineligible() -> None:
    match = r"The action taken, '1', was not eligible \(row 1\). Correct the eligibility or drop the row"
    with pytest.raises(ActionError, match=match):
        small({"eligible": {1: "may"}}, may=[True, False, True, True])


def test_the_control_is_always_eligible() -> None:
    with pytest.raises(
        ActionError, match=r"The control '0' is marked ineligible \(row 2\). Doing nothing is always possible"
    ):
        small({"eligible": {0: "may"}}, may=[True, True, False, True])


def test_eligibility_of_another_shape() -> None:
    with pytest.raises(ActionError, match=r"Eligibility has shape \(4, 3\), expected \(4, 2\)"):
        small({"eligible": np.ones((4, 3), dtype=bool)})


@pytest.mark.parametrize("values", [["yes", "no", "no", "yes"], [True, None, True, True], [1.0, 0.5, 1.0, 1.0]])
def test_eligibility_that_is_neither_yes_nor_no(values: list[Any]) -> None:
    with pytest.raises(
        ActionError, match=r"The eligibility for '1' is .*, neither true nor false \(row [01]\). Convert it"
    ):
        small({"eligible": {1: "may"}}, may=values)


def test_an_ineligible_action_has_propensity_zero() -> None:
    roles = {"eligible": {1: "may"}, "propensity": "p", "features": ["x"]}
    match = r"The propensity of '1' is 0.5, above 0 for an ineligible action \(row 0\). Correct the eligibility"
    with pytest.raises(PropensityError, match=match):
        small(roles, may=[False, True, True, True], p=[0.5] * 4)
    log = small(roles, may=[False, True, True, True], p=[0.0, 0.5, 0.5, 0.5])
    np.testing.assert_array_equal(log.propensity()[0], [1, 0])


def test_eligibility_and_propensity_of_an_unknown_action() -> None:
    with pytest.raises(ActionError, match=r"There is no action 'fax'. The actions are \['0', '1'\]"):
        small({"eligible": {"fax": "may"}}, may=[True] * 4)
    with pytest.raises(ActionError, match="There is no action 'fax'"):
        small({"propensity": {0: 0.5, 1: 0.5, "fax": 0.5}})


@pytest.mark.parametrize("weight", [0.0, -1.0])
def test_weights_must_be_positive(weight: float) -> None:
    with pytest.raises(DataError, match=rf"Column 'w' holds {weight}, weights must be positive \(row 1\). Drop rows"):
        small({"weight": "w"}, w=[1.0, weight, 1.0, 1.0])


@pytest.mark.parametrize("stage", [0.5, -1])
def test_stages_are_whole_numbers(stage: float) -> None:
    with pytest.raises(DataError, match=r"Stages must be whole numbers from 0. Number a unit's decisions"):
        small({"stage": "s"}, s=[0, 1, stage, 1])


def test_empty_log() -> None:
    with pytest.raises(DataError, match=r"The log 'log' is empty. Pass at least one row per arm"):
        DecisionLog.from_frame(pl.DataFrame(SMALL).clear(), **SMALL_ROLES)
    with pytest.raises(DataError, match="The log is empty"):
        DecisionLog.from_arrays(np.zeros((0, 2)), [], [])


@pytest.mark.parametrize(
    "roles",
    [
        {"action": "q"}, {"outcomes": ["y", "q"]}, {"features": ["x", "q"]}, {"cost": "q"}, {"unit": "q"},
        {"time": "q"}, {"weight": "q"}, {"stage": "q"}, {"propensity": "q"}, {"propensity": {0: "q", 1: 0.5}},
        {"eligible": {1: "q"}}, {"categorical": ["q"]},
    ],
)  # fmt: skip
def test_missing_column(roles: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"There is no column 'q'. The columns are \['x', 'a', 'y'\]"):
        small(roles)


def test_a_feature_that_plays_two_roles() -> None:
    match = "Column 'a' is a feature and plays another role too. Features must be known before the decision"
    with pytest.raises(ParameterError, match=match):
        small({"features": ["x", "a"]})


@pytest.mark.parametrize("roles", [{"outcomes": "a"}, {"cost": "a"}, {"weight": "a"}, {"propensity": "a"}])
def test_the_action_plays_no_other_role(roles: dict[str, Any]) -> None:
    with pytest.raises(
        ParameterError, match=r"Column 'a' is the action and plays another role too. Name another column"
    ):
        small(roles)


def test_a_feature_named_twice() -> None:
    with pytest.raises(FeatureError, match=r"Feature 'x' appears twice. Name each feature once"):
        small({"features": ["x", "x"]})


def test_a_category_that_is_no_feature() -> None:
    with pytest.raises(
        ParameterError, match=r"Column 'y' is to be a category and is no feature. The features are \['x'\]"
    ):
        small({"categorical": ["y"]})


def test_no_feature_is_left() -> None:
    with pytest.raises(FeatureError, match=r"No column is left to be a feature. Add what was known"):
        DecisionLog.from_frame(pl.DataFrame(SMALL).drop("x"), **SMALL_ROLES)
    with pytest.raises(FeatureError, match="No feature was named"):
        small({"features": []})


def test_no_outcome_named() -> None:
    with pytest.raises(ParameterError, match=r"No outcome was named. Pass outcomes="):
        small({"outcomes": []})
    with pytest.raises(ParameterError, match=r"No outcome was named. The log has \['y'\]"):
        small().select(outcomes=[])


@pytest.mark.parametrize("value", [dt.datetime(2026, 1, 1), float("inf")])
def test_features_are_checked_too(value: Any) -> None:
    with pytest.raises(FeatureError, match=r"Feature 'x' (has type Datetime|is infinite)"):
        small(x=[value] * 4)


def test_unknown_outcome() -> None:
    with pytest.raises(OutcomeError, match=r"There is no outcome 'z'. The log has \['y'\]"):
        small().outcome("z")


def test_arrays_of_other_lengths_or_shapes() -> None:
    x, a, y = np.zeros((4, 1)), [0, 1, 0, 1], [0, 1, 0, 1]
    with pytest.raises(DataError, match=r"action has 3 rows, the features have 4. Pass one value per row"):
        DecisionLog.from_arrays(x, a[:3], y)
    with pytest.raises(DataError, match="Outcome 'outcome' has 3 rows, the features have 4"):
        DecisionLog.from_arrays(x, a, y[:3])
    with pytest.raises(DataError, match="weight has 3 rows"):
        DecisionLog.from_arrays(x, a, y, weight=[1, 1, 1])
    with pytest.raises(ActionError, match="Actions have 2 dimensions, expected 1"):
        DecisionLog.from_arrays(x, [a], y)
    with pytest.raises(OutcomeError, match="Column 'outcome' has 2 dimensions, expected 1"):
        DecisionLog.from_arrays(x, a, np.zeros((4, 1)))
    with pytest.raises(ParameterError, match=r"The cost 'c' is not among the outcomes. The outcomes are \['outcome'\]"):
        DecisionLog.from_arrays(x, a, y, cost="c")


def test_what_is_no_frame() -> None:
    with pytest.raises(DataError, match=r"A list is not a frame. Pass a pandas, polars or pyarrow frame"):
        DecisionLog.from_frame([1, 2], **SMALL_ROLES)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no file '.*gone.csv'. Check the path"):
        DecisionLog.read(tmp_path / "gone.csv", **SMALL_ROLES)
    (tmp_path / "log.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"'log.xlsx' is neither CSV nor Parquet. Name it"):
        DecisionLog.read(tmp_path / "log.xlsx", **SMALL_ROLES)
    for name in ("log.parquet", "log.csv"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(DataError, match=f"'{name}' cannot be read: .*Check that the file is whole"):
            DecisionLog.read(tmp_path / name, **SMALL_ROLES)
