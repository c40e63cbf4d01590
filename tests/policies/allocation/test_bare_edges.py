"""Whatever is passed, an answer or an error of ours that names it; and what nobody can get is no error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from persuadable.errors import ActionError, DataError, Infeasible, ParameterError, PersuadableError
from persuadable.policies import AtLeast, Cap, Parity, Spend, allocate, allocate_parquet, allocation_curve, robustness

VALUE = np.array([[0.0, 3.0, 1.0], [0.0, 2.0, -1.0], [0.0, 1.0, 4.0]])
COST = np.array([[0.0, 1.0, 1.0], [0.0, 1.0, 2.0], [0.0, 2.0, 2.0]])
NAN = np.where(VALUE == 2.0, np.nan, COST)
NOBODY = np.zeros((0, 3))
NOTHING = np.zeros((3, 3), dtype=bool)


@pytest.mark.parametrize(
    ("told", "error", "said"),
    [
        ({"cost": NAN}, DataError, r"cost is nan \(row 1, column 1\)"),
        ({"cost": NAN, "caps": {1: 1}}, DataError, r"cost is nan \(row 1, column 1\)"),
        ({"value": [[0, 1], [0]]}, DataError, "value has rows of different lengths"),
        ({"budget": np.nan}, ParameterError, "budget is nan"),
        ({"budget": "5"}, ParameterError, "budget is '5'"),
        ({"caps": [1]}, ParameterError, r"caps is \[1\]"),
        ({"caps": {1: np.nan}}, ParameterError, "A cap is nan"),
        ({"constraints": [Cap("3")]}, ParameterError, "A cap is '3'"),  # type: ignore[arg-type]
        ({"constraints": [Cap(True)]}, ParameterError, "A cap is True"),
        ({"constraints": [Cap(1), AtLeast(2)]}, Infeasible, "'cap on offers' holds .* and 'floor on offers' holds"),
        ({"eligible": NOTHING, "constraints": [AtLeast(2)]}, Infeasible, "at most 0 can be had"),
        ({"eligible": NOTHING, "forced": [1, -1, -1]}, ActionError, "forced and not allowed for the same unit"),
        ({"groups": ["a", None, "b"], "constraints": [Parity()]}, DataError, "no label for 1 units"),
        ({"actions": ["no", "mail", "mail"]}, ActionError, "3 actions, 2 different"),
        ({"tolerance": -1.0, "caps": {1: 1}}, ParameterError, "tolerance is -1"),
        ({"tolerance": 1.5}, ParameterError, "tolerance is 1.5"),
        ({"tolerance": "fine"}, ParameterError, "tolerance is 'fine'"),
    ],
)
def test_wrong_inputs_are_named(told: dict[str, Any], error: type[PersuadableError], said: str) -> None:
    with pytest.raises(error, match=said):
        allocate(**({"value": VALUE, "cost": COST, "budget": 3.0} | told))


@pytest.mark.parametrize("more", [{}, {"caps": {1: 2}}, {"constraints": [AtLeast(0.3, of="share")]}])
def test_nobody_gets_nothing(more: dict[str, Any]) -> None:
    answer = allocate(NOBODY, NOBODY, budget=1.0, **more)
    assert (answer.n, answer.value, answer.bound) == (0, 0.0, 0.0)
    assert "0 units" in str(answer)


@pytest.mark.parametrize("more", [{}, {"caps": {1: 1}}])
def test_one_unit_gets_its_best_and_the_ineligible_get_nothing(more: dict[str, Any]) -> None:
    assert allocate(VALUE[:1], COST[:1], budget=3.0, **more).action.tolist() == [1]
    assert allocate(VALUE, COST, budget=None, eligible=NOTHING, **more).action.tolist() == [0, 0, 0]


def test_constraints_of_one_name_are_told_apart() -> None:
    """The price of each is told by its name, so that none may hide another's."""
    answer = allocate(VALUE, COST, budget=9.0, constraints=[Spend(8.0), Spend(1.0), AtLeast(1), AtLeast(2, of="value")])
    assert list(answer.prices) == ["budget", "budget (2)", "budget (3)", "floor on offers", "floor on offers (2)"]
    assert [row.limit for row in answer.rows] == [9.0, 8.0, 1.0, 1.0, 2.0]
    assert answer.budget == 9.0
    assert answer.cost <= 1.0


def test_an_infinite_budget_is_none() -> None:
    without = allocate(VALUE, COST, budget=None)
    assert allocate(VALUE, COST, budget=np.inf).action.tolist() == without.action.tolist() == [1, 1, 2]


def test_curves_and_robustness_name_what_is_wrong() -> None:
    with pytest.raises(DataError, match="cost is nan"):
        allocation_curve(VALUE, NAN)
    with pytest.raises(ParameterError, match="a budget is nan"):
        allocation_curve(VALUE, COST, budgets=[np.nan])
    with pytest.raises(DataError, match=r"value_stderr is -1\.0"):
        robustness(VALUE, COST, -np.ones((3, 3)), budget=1.0)
    assert robustness(NOBODY, NOBODY, NOBODY, budget=1.0).scenarios[0].value == 0.0


@pytest.mark.parametrize(
    ("told", "error", "said"),
    [
        ({"caps": {"mail": 1}}, ParameterError, r"caps= cannot be kept while reading block by block.*Use allocate\(\)"),
        ({"constraints": [Cap(1)]}, ParameterError, "constraints= cannot be kept"),
        ({"groups": "segment"}, ParameterError, "groups= cannot be kept"),
        ({"cap": {"mail": 1}}, TypeError, "unexpected keyword argument 'cap'"),
        ({"source": None}, ParameterError, "source is None"),
        ({"value": {"mail": 3}}, ActionError, "value names 3, which is no column"),
        ({"batch": True}, ParameterError, "batch is True"),
        ({"cost": {"mail": np.nan}}, DataError, "cost is nan"),
    ],
)
def test_files_are_refused_what_they_cannot_keep(
    told: dict[str, Any], error: type[Exception], said: str, tmp_path: Path
) -> None:
    source = tmp_path / "people.parquet"
    pl.DataFrame({"v": VALUE[:, 1]}).write_parquet(source)
    asked: dict[str, Any] = {"source": source, "value": {"mail": "v"}, "cost": {"mail": 1.0}, "budget": 2.0} | told
    with pytest.raises(error, match=said):
        allocate_parquet(asked.pop("source"), tmp_path / "out.parquet", **asked)
    assert not (tmp_path / "out.parquet").exists()
