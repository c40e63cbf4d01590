"""Discrete: labels, codes, and the control that comes first; doses, slates and stages: what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persuadable.errors import ActionError, ParameterError
from persuadable.spaces import Continuous, Discrete, Slate, Staged

SPACE = Discrete(("none", "mail", "call"))


def test_the_control_comes_first() -> None:
    assert len(SPACE) == 3
    assert list(SPACE) == ["none", "mail", "call"]
    assert SPACE.control == "none"
    assert SPACE.treatments == ("mail", "call")


@given(st.lists(st.text(max_size=4), min_size=2, max_size=6, unique=True))
def test_label_and_code_are_inverse(names: list[str]) -> None:
    space = Discrete(tuple(names))
    assert [space.index(label) for label in space] == list(range(len(names)))
    assert [space.index(code) for code in range(len(names))] == list(range(len(names)))


@pytest.mark.parametrize("unknown", ["post", 3, -1])
def test_an_unknown_action_is_refused(unknown: str | int) -> None:
    with pytest.raises(
        ActionError, match=rf"There is no action {unknown!r}.*The actions are \['none', 'mail', 'call'\]"
    ):
        SPACE.index(unknown)


def test_the_only_treatment_needs_no_name() -> None:
    assert Discrete(("a", "b")).treatment(None) == 1
    assert SPACE.treatment("call") == 2


def test_one_of_several_treatments_must_be_named() -> None:
    with pytest.raises(ActionError, match=r"2 treatments and none was chosen.*\['mail', 'call'\]"):
        SPACE.treatment(None)


@pytest.mark.parametrize("control", ["none", 0])
def test_the_control_is_no_treatment(control: str | int) -> None:
    with pytest.raises(ActionError, match="'none' is the control; its effect is 0 by definition"):
        SPACE.treatment(control)


def test_one_action_is_no_choice() -> None:
    with pytest.raises(ParameterError, match="needs a control and at least one treatment"):
        Discrete(("none",))


def test_names_may_not_repeat() -> None:
    with pytest.raises(ParameterError, match="Action names repeat"):
        Discrete(("a", "b", "a"))


def test_doses_lie_within_their_bounds() -> None:
    space = Continuous(0.0, 2.0)
    assert space.width == 2
    assert Continuous(lower=0.0).width == math.inf
    np.testing.assert_array_equal(space.check([0, 2]), [0.0, 2.0])
    for wrong in (2.1, -0.1, math.nan, math.inf):
        with pytest.raises(ActionError, match=r"doses holds .*, which is no dose from 0 to 2 \(row 1\)"):
            space.check([1.0, wrong])
    with pytest.raises(ActionError, match=r"doses holds inf, which is no dose from -inf to inf"):
        Continuous().check([math.inf])
    with pytest.raises(ActionError, match=r"bids has shape \(1, 1\), expected \(n,\)"):
        space.check([[1.0]], "bids")


@pytest.mark.parametrize("bounds", [(1.0, 1.0), (2.0, 1.0), (math.nan, 1.0)])
def test_an_interval_without_inside_is_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(ParameterError, match=r"no interval.*lower bound below the upper"):
        Continuous(*bounds)


def test_a_slate_shows_different_items() -> None:
    space = Slate(("a", "b", "c"), 2)
    np.testing.assert_array_equal(space.check([[2, 0]]), [[2, 0]])
    assert [tuple(s) for s in space.all()] == [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    with pytest.raises(ActionError, match=r"slates shows an item twice: \[1, 1\] \(row 1\)"):
        space.check([[0, 1], [1, 1]])
    for wrong in (3, -1):
        with pytest.raises(ActionError, match=rf"holds the code {wrong} where there are 3 .*\(row 0, column 1\)"):
            space.check([[0, wrong]])
    for shape in ([[0]], [0, 1], [[0.0, 1.0]]):
        with pytest.raises(ActionError, match=r"expected whole numbers \(n, 2\)"):
            space.check(shape)


@pytest.mark.parametrize(
    ("items", "length", "message"),
    [(("a", "a"), 1, "Item names repeat"), (("a", "b"), 3, "A slate of 3"), (("a",), 0, "A slate of 0")],
)
def test_an_impossible_slate_is_refused(items: tuple[str, ...], length: int, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Slate(items, length)


def test_every_stage_has_its_own_actions() -> None:
    space = Staged((Discrete(("none", "mail")), SPACE))
    assert len(space) == 2
    np.testing.assert_array_equal(space.check([[1, 2], [0, 0]]), [[1, 2], [0, 0]])
    with pytest.raises(ActionError, match=r"holds the code 2 where there are 2 to choose from \(row 1, column 0\)"):
        space.check([[1, 2], [2, 0]])
    with pytest.raises(ParameterError, match="at least one stage"):
        Staged(())
