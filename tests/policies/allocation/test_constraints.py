"""Constraints as lines in the sums: every one counted by hand on a few units, and every odd one refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from persuadable.errors import ActionError, DataError, OutcomeError, ParameterError
from persuadable.policies import AtLeast, Cap, Parity, RoiFloor, Spend
from persuadable.policies.allocation.constraints import Cells, Constraint, Ground
from persuadable.policies.allocation.oracle import Lines, Oracle, Units

VALUE = np.array([[0.0, 1.0, 2.0], [0.0, 3.0, 5.0], [0.0, 7.0, 11.0], [0.0, 13.0, 17.0]])
COST = np.array([[0.0, 0.1, 0.2], [0.0, 0.3, 0.5], [0.0, 0.7, 1.1], [0.0, 1.3, 1.7]])
GROUPS = {"stage": ["new", "old", "old", "new"], "region": [1, 1, 2, 2]}
ACTION = np.array([1, 2, 0, 2], dtype=np.int16)


def use(constraint: Constraint, action: np.ndarray = ACTION) -> list[tuple[float, float]]:
    """What the lines of a constraint come to, and their limits."""
    ground = Ground(Cells.of(GROUPS, 4), ("none", "mail", "call"), [COST])
    constraint.prepare(ground)
    lines = Lines.of(list(constraint.rows(ground)), ground.blank().shape)
    units = Units(VALUE, ground.costs, ground.cells.code, ground.cells.n)
    used = lines.used(Oracle(units, lines, 1).tally(action))
    return list(zip(used.tolist(), lines.limit.tolist(), strict=True))


@pytest.mark.parametrize(
    ("constraint", "used", "limit"),
    [
        (Spend(9.0), 0.1 + 0.5 + 1.7, 9.0),
        (Spend(9.0, actions="call"), 0.5 + 1.7, 9.0),
        (Spend(9.0, groups={"stage": "new"}), 0.1 + 1.7, 9.0),
        (Spend(9.0, cost=10.0 * COST), 23.0, 9.0),
        (Spend(9.0, cost=[0.0, 2.0, 5.0]), 12.0, 9.0),
        (Cap(2), 3.0, 2.0),
        (Cap(2, actions=["call"]), 2.0, 2.0),
        (Cap(2, actions=1), 1.0, 2.0),
        (Cap(2, groups={"region": 1}), 2.0, 2.0),
        (Cap(2, groups={"region": 1, "stage": ["old"]}), 1.0, 2.0),
        (Cap(0.25, groups={"region": [1, 2]}, of="share"), 3.0, 1.0),
        (Cap(0.5, actions="mail", of="offers"), 1.0 - 0.5 * 3.0, 0.0),
        (AtLeast(2, groups={"stage": "new"}), -2.0, -2.0),
        (AtLeast(0.5, groups={"stage": "new"}, of="share"), -2.0, -1.0),
        (AtLeast(4.0, groups={"region": 2}, of="value"), -17.0, -4.0),
        (AtLeast(0.2, actions="mail", of="offers"), -(1.0 - 0.2 * 3.0), 0.0),
        (RoiFloor(3.0), 3.0 * 2.3 - 23.0, 0.0),
    ],
)
def test_a_constraint_counts_what_it_says(constraint: Constraint, used: float, limit: float) -> None:
    ((found, at),) = use(constraint)
    assert found == pytest.approx(used, abs=1e-12)
    assert at == pytest.approx(limit, abs=1e-12)


def test_parity_compares_every_pair_of_groups() -> None:
    # Old: one of two gets an offer, new: two of two.
    assert use(Parity(0.8, by="stage")) == [(0.8 * 0.5 - 1.0, 0.0), (0.8 * 1.0 - 0.5, 0.0)]
    by_value = use(Parity(0.5, by="region", of="value"))
    np.testing.assert_allclose(by_value, [(0.5 * 8.5 - 3.0, 0.0), (0.5 * 3.0 - 8.5, 0.0)])


def test_cells_are_the_crossings_that_occur() -> None:
    cells = Cells.of({"a": ["x", "y", "x", "x"], "b": [10, 20, 10, 20]}, 4)
    assert cells.n == 3
    assert cells.size.tolist() == [2.0, 1.0, 1.0]
    assert cells.code[0] == cells.code[2]
    assert cells.size[cells.mask({"a": "x"})].sum() == 3
    assert cells.size[cells.mask({"b": 20})].sum() == 2
    assert not cells.mask({"a": "y", "b": 10}).any()
    far = Cells.of(np.array([-(10**12), 5, 10**12, 5]), 4)  # integers too far apart for a table
    assert far.size.tolist() == [1.0, 2.0, 1.0]


def test_one_column_of_groups_needs_no_name() -> None:
    ground = Ground(Cells.of(["x", "y", "y"], 3), ("0", "1"), [np.zeros((3, 2))])
    (row,) = Cap(1, groups="y").rows(ground)
    assert row.name == "cap on offers to group 'y'"
    assert ground.cells.column(None) == "group"


@pytest.mark.parametrize(
    ("constraint", "error", "told"),
    [
        (Spend(-1.0), ParameterError, "The limit of 'budget' is -1.0"),
        (Spend(float("nan")), ParameterError, "budget"),
        (Spend(1.0, cost=np.zeros((4, 2))), OutcomeError, "shape"),
        (Spend(1.0, cost=np.where(COST == 0.7, np.nan, COST), name="hours"), OutcomeError, "'hours' is not a number"),
        (Spend(1.0, cost=COST + 1.0), OutcomeError, "not 0 for doing nothing"),
        (Cap(1, actions="fax"), ActionError, "'fax'"),
        (Cap(1, groups={"stage": "gone"}), ParameterError, "'gone'"),
        (Cap(1, groups={"planet": "x"}), ParameterError, "'planet'"),
        (Cap(1, groups="new"), ParameterError, "which groups"),
        (Cap(1.5, of="share"), ParameterError, "cap"),
        (Cap("many"), ParameterError, "cap"),  # type: ignore[arg-type]
        (AtLeast(1, of="joy"), ParameterError, "'joy'"),  # type: ignore[arg-type]
        (AtLeast(-1), ParameterError, "floor"),
        (Parity(1.2, by="stage"), ParameterError, "ratio"),
        (Parity(0.8), ParameterError, "which groups"),
        (RoiFloor(-1.0), ParameterError, "ROI"),
    ],
)
def test_what_makes_no_sense_is_refused(constraint: Constraint, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        use(constraint)


@pytest.mark.parametrize(
    ("column", "told"), [(["a", None, "b"], "1 units"), ([1.0, np.nan, 2.0], "row 1"), (["a"], "1 lab")]
)
def test_every_unit_needs_a_group(column: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        Cells.of({"stage": column}, 3)
