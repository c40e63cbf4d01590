"""Discrete: labels, codes, and the control that comes first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persuadable.errors import ActionError, ParameterError
from persuadable.spaces import Discrete

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
