"""The error tree and the three parts of a message."""

from __future__ import annotations

import pytest

from persuadable import errors

CLASSES = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.PersuadableError)]


def test_a_message_has_what_where_and_remedy() -> None:
    error = errors.DataError("A value is missing", where="column 'x', row 3", remedy="Fill it in.")
    assert str(error) == "A value is missing (column 'x', row 3). Fill it in."
    assert (error.what, error.where, error.remedy) == ("A value is missing", "column 'x', row 3", "Fill it in.")


def test_place_and_remedy_may_be_left_out() -> None:
    assert str(errors.DataError("It broke")) == "It broke."


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.ActionError, ValueError),
        (errors.OutcomeError, ValueError),
        (errors.PropensityError, ValueError),
        (errors.FeatureError, ValueError),
        (errors.ContractError, ValueError),
        (errors.ParameterError, ValueError),
        (errors.UnknownName, KeyError),
        (errors.NotFittedError, ValueError),
        (errors.NotFittedError, AttributeError),
        (errors.MissingDependency, ImportError),
    ],
)
def test_errors_are_also_what_others_catch(error: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(error, errors.PersuadableError)
    assert issubclass(error, builtin)


@pytest.mark.parametrize(
    "data_error", ["ActionError", "OutcomeError", "PropensityError", "FeatureError", "ContractError"]
)
def test_data_errors_are_one_branch(data_error: str) -> None:
    assert issubclass(getattr(errors, data_error), errors.DataError)


def test_the_drawn_tree_names_every_class() -> None:
    assert errors.__doc__ is not None
    assert [c.__name__ for c in CLASSES if c.__name__ not in errors.__doc__] == []
