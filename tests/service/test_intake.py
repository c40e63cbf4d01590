"""Units' features are taken by the contract's own rules, and each violation is answered as it was set."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from persuadable.contract import FeatureContract, FeatureRule
from persuadable.errors import ParameterError
from persuadable.features import Column, Features
from persuadable.service.intake import Answers, Intake, Refused
from persuadable.service.records import Flag
from persuadable.service.wire import MOST_FAULTS, Unit

CONTRACT = FeatureContract(
    (
        FeatureRule(Column("age"), 18.0, 77.0, False),
        FeatureRule(Column("spend"), float(np.float32(0.1)), float(np.float32(9.3)), True),
        FeatureRule(Column("town", "category", ("1", "2.5", "Bonn", "True", "Ulm")), None, None, False),
        FeatureRule(Column("tier", "category", ("a", "b")), None, None, True),
        FeatureRule(Column("never"), None, None, True),
    )
)
LARGEST = float(np.finfo(np.float32).max)
GOOD: dict[str, Any] = {"age": 40, "spend": 0.5, "town": "Ulm", "tier": "b", "never": None}
FLAGS = Answers.of(
    dict.fromkeys(("missing-column", "wrong-type", "out-of-range", "unseen-category", "missing-value"), "flag")
)


def unit(**changes: Any) -> Unit:
    return Unit("u", {name: value for name, value in (GOOD | changes).items() if value != "ABSENT"})


def one(answers: Answers | None = None, **changes: Any) -> tuple[list[float], tuple[Flag, ...], bool]:
    taken = Intake(CONTRACT, answers).take([unit(**changes)])
    return taken.values[0].tolist(), taken.flags[0], bool(taken.fallback[0])


# --- the values ---------------------------------------------------------------------------------------------------


def test_values_are_what_the_model_was_fitted_on() -> None:
    taken = Intake(CONTRACT).take([unit(), unit(age=18, spend=None, town="Bonn", tier=None)])
    assert taken.values.dtype == np.float32
    assert taken.values.flags.c_contiguous
    nan = np.nan
    np.testing.assert_array_equal(taken.values, np.array([[40, 0.5, 4, 1, nan], [18, nan, 2, nan, nan]], np.float32))
    assert taken.flags == ((), ())
    assert taken.fallback.tolist() == [False, False]
    assert not taken.counts


def test_no_units_make_an_empty_matrix() -> None:
    taken = Intake(CONTRACT).take([])
    assert taken.values.shape == (0, 5)
    assert taken.values.dtype == np.float32


@pytest.mark.parametrize(("label", "code"), [(1, 0), (1.0, 0), (2.5, 1), (True, 3), ("1", 0), ("Ulm", 4)])
def test_a_category_may_be_sent_as_the_number_or_truth_value_it_reads_as(label: Any, code: int) -> None:
    assert one(town=label) == ([40.0, 0.5, code, 1.0, pytest.approx(np.nan, nan_ok=True)], (), False)


def test_a_number_may_be_sent_as_a_truth_value() -> None:
    contract = FeatureContract((FeatureRule(Column("x"), 0.0, 1.0, False),))
    taken = Intake(contract).take([Unit("u", {"x": True}), Unit("v", {"x": False})])
    assert taken.values.tolist() == [[1.0], [0.0]]
    assert taken.flags == ((), ())


# --- the same rules as the contract -------------------------------------------------------------------------------

numbers = (
    st.sampled_from([18, 77, 17, 78, 0.1, 9.3, 0.09999999, 9.300001, 1e39, -1e39, 1e300, -0.0, 0, 2**63, True, False])
    | st.floats(-100, 100)
    | st.floats(17.99999, 18.00001)
    | st.floats(76.99999, 77.00001)
    | st.floats(0.0999999, 0.1000001)
    | st.floats(9.299999, 9.300001)
    | st.integers(-5, 100)
)
labels = st.sampled_from(["Ulm", "Bonn", "a", "b", "", "1", "1.0", "2.5", "nan", "18", "Rom", "True", "true"])
values = st.none() | numbers | labels
rows = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(["age", "spend", "town", "tier", "extra", "Age"], values) | {"never": st.none()}
)


@given(rows)
@example({})
@example({**GOOD, "spend": float(np.float32(0.1))})
@example({**GOOD, "age": 1e39})
@settings(max_examples=400)
def test_what_is_found_is_what_the_contract_finds(row: dict[str, Any]) -> None:
    frame = pl.DataFrame({name: [value] for name, value in row.items()}) if row else pl.DataFrame({"_": [1]}).drop("_")
    expected = Counter((found.code, found.feature) for found in CONTRACT.check(frame))
    refuse_nothing = Intake(CONTRACT, FLAGS).take([Unit("u", row)])
    assert Counter((flag.code, flag.feature) for flag in refuse_nothing.flags[0]) == expected
    strict = Answers(*["refuse"] * 6)
    if expected:
        with pytest.raises(Refused) as caught:
            Intake(CONTRACT, strict).take([Unit("u", row)])
        assert len(caught.value.faults) == expected.total()
        by_code = Counter(code for code, _ in expected.elements())
        assert caught.value.counts == {(code, "refuse"): times for code, times in by_code.items()}
    else:
        values = Intake(CONTRACT, strict).take([Unit("u", row)]).values
        np.testing.assert_array_equal(values, Features.of(frame, CONTRACT.columns).values)


@given(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.sampled_from([0.5, -0.5]) | st.floats(-3, 3),
    st.booleans(),
)
@example(0.0, -1.0, True)
@example(LARGEST, 0.49, True)
@example(LARGEST, 0.5, True)
def test_bounds_are_compared_as_float32(bound: float, steps: float, upper: bool) -> None:
    """A value a fraction of a float32 step beyond the bound counts by what it rounds to."""
    step = float(np.spacing(np.float32(bound))) if abs(bound) < 1e38 else 2.0**103
    value = bound + steps * step
    with np.errstate(over="ignore"):
        rounded = np.float32(value)
    low, high = (-LARGEST, bound) if upper else (bound, LARGEST)
    intake = Intake(FeatureContract((FeatureRule(Column("x"), low, high, False),)), FLAGS)
    flags = intake.take([Unit("u", {"x": value})]).flags[0]
    assert bool(flags) == bool(rounded < np.float32(low) or rounded > np.float32(high))


# --- the answers --------------------------------------------------------------------------------------------------

BROKEN: dict[str, tuple[str, dict[str, Any]]] = {
    "missing-column": ("age", {"age": "ABSENT"}),
    "unknown-column": ("extra", {"extra": 1}),
    "wrong-type": ("age", {"age": "forty"}),
    "out-of-range": ("age", {"age": 90}),
    "unseen-category": ("town", {"town": "Rom"}),
    "missing-value": ("age", {"age": None}),
}


@pytest.mark.parametrize("code", BROKEN)
@pytest.mark.parametrize("answer", ["flag", "fallback", "refuse"])
def test_each_violation_has_its_answer(code: str, answer: Any) -> None:
    feature, changes = BROKEN[code]
    answers = Answers.of({code: answer})
    if answer == "refuse":
        with pytest.raises(Refused) as caught:
            one(answers, **changes)
        (fault,) = caught.value.faults
        assert fault.pointer == f"/units/0/features/{feature}"
        assert repr(feature) in fault.detail
        assert caught.value.counts == {(code, "refuse"): 1}
        return
    values, flags, fallback = one(answers, **changes)
    assert flags == (Flag(code, feature, answer),)
    assert fallback == (answer == "fallback")
    expected = {
        "missing-column": [np.nan, 0.5, 4, 1, np.nan],
        "unknown-column": [40, 0.5, 4, 1, np.nan],
        "wrong-type": [np.nan, 0.5, 4, 1, np.nan],
        "out-of-range": [90, 0.5, 4, 1, np.nan],
        "unseen-category": [40, 0.5, np.nan, 1, np.nan],
        "missing-value": [np.nan, 0.5, 4, 1, np.nan],
    }[code]
    np.testing.assert_array_equal(values, expected)
    assert Intake(CONTRACT, answers).take([unit(**changes)] * 3).counts == {(code, answer): 3}


@pytest.mark.parametrize(("sent", "used"), [(90, 77.0), (-1e300, 18.0), (1e39, 77.0)])
def test_clipping_takes_the_nearest_bound(sent: float, used: float) -> None:
    values, flags, fallback = one(Answers(out_of_range="clip"), age=sent)
    assert (values[0], flags, fallback) == (used, (Flag("out-of-range", "age", "clip"),), False)


@pytest.mark.parametrize("answer", ["flag", "clip", "fallback"])
@pytest.mark.parametrize("sent", [1e39, -1e39])
def test_a_number_beyond_float32_never_reaches_the_trees(answer: Any, sent: float) -> None:
    contract = FeatureContract((FeatureRule(Column("x"), None, None, True),))
    taken = Intake(contract, Answers(out_of_range=answer)).take([Unit("u", {"x": sent})])
    assert np.isfinite(taken.values).all()
    assert np.sign(taken.values[0, 0]) == np.sign(sent)
    assert taken.flags == ((Flag("out-of-range", "x", answer),),)


def test_the_defaults_are_those_documented() -> None:
    assert Answers() == Answers.of(
        {
            "missing-column": "refuse",
            "unknown-column": "flag",
            "wrong-type": "refuse",
            "out-of-range": "clip",
            "unseen-category": "fallback",
            "missing-value": "fallback",
        }
    )


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"wrong-type": "clip"}, "'wrong-type' is 'clip'"),
        ({"unknown-column": "drop"}, "Choose one of refuse, flag, fallback"),
        ({"out-of-range": None}, "Choose one of refuse, flag, clip, fallback"),
        ({"typo": "flag"}, "no violation 'typo'"),
        ({"out_of_range": "clip"}, "no violation 'out_of_range'"),
    ],
)
def test_answers_that_do_not_exist_are_refused(told: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        Answers.of(told)


# --- refusals -----------------------------------------------------------------------------------------------------


def test_a_refusal_names_every_violation_of_every_unit() -> None:
    units = [unit(), unit(age="ABSENT", spend="x"), unit(town="Rom"), unit(age=[])]
    with pytest.raises(Refused) as caught:
        Intake(CONTRACT).take(units[:3])
    assert [fault.pointer for fault in caught.value.faults] == ["/units/1/features/age", "/units/1/features/spend"]
    assert caught.value.counts == {
        ("missing-column", "refuse"): 1,
        ("wrong-type", "refuse"): 1,
        ("unseen-category", "fallback"): 1,
    }


def test_a_refusal_names_no_more_than_twenty_and_counts_all() -> None:
    with pytest.raises(Refused) as caught:
        Intake(CONTRACT).take([unit(age="x")] * 50)
    assert len(caught.value.faults) == MOST_FAULTS
    assert caught.value.counts == {("wrong-type", "refuse"): 50}


def test_pointers_are_escaped() -> None:
    contract = FeatureContract((FeatureRule(Column("a/b~c"), 0.0, 1.0, False),))
    with pytest.raises(Refused) as caught:
        Intake(contract).take([Unit("u", {})])
    assert caught.value.faults[0].pointer == "/units/0/features/a~1b~0c"


def test_sifting_keeps_the_good_and_says_what_is_wrong_with_the_others() -> None:
    units = [unit(), unit(age="x"), unit(age=99), unit(spend=None)]
    kept, taken, refused = Intake(CONTRACT).sift(units)
    assert kept == [0, 2, 3]
    np.testing.assert_array_equal(taken.values, Intake(CONTRACT).take([units[i] for i in kept]).values)
    assert [len(flags) for flags in taken.flags] == [0, 1, 0]
    assert list(refused) == [1]
    assert [fault.pointer for fault in refused[1].faults] == ["/features/age"]


def test_messages_say_what_is_allowed() -> None:
    with pytest.raises(Refused) as caught:
        Intake(CONTRACT, Answers(*["refuse"] * 6)).take([unit(age=90, spend="x", town="Rom", extra=3)])
    assert [fault.detail for fault in caught.value.faults] == [
        "There is no feature 'extra' in the model. Leave it out; GET /v1/contract lists the features.",
        "Feature 'age' holds 90, outside [18, 77]. Send a number in [18, 77].",
        "Feature 'spend' is text, expected a number. Send a number.",
        "Feature 'town' holds the unseen category 'Rom'. Known are '1', '2.5', 'Bonn', 'True', 'Ulm'.",
    ]
