"""Parameters: get_params and set_params without scikit-learn."""

from __future__ import annotations

import pytest

from persuadable.effects import RLearner, XLearner
from persuadable.engine import LocalEngine, Trees
from persuadable.errors import ParameterError


def test_constructor_arguments_are_the_parameters() -> None:
    assert set(XLearner().get_params(deep=False)) == {
        "clip",
        "engine",
        "form",
        "loss",
        "n_folds",
        "n_resamples",
        "nuisance_trees",
        "propensity",
        "random_state",
        "trees",
        "weighting",
    }


def test_nested_parameters_are_listed_by_path() -> None:
    params = RLearner(trees=Trees(max_depth=3)).get_params()
    assert params["trees__max_depth"] == 3
    assert "nuisance_trees__max_depth" not in params


def test_nested_parameters_are_set_on_a_copy() -> None:
    shared = Trees(max_depth=3)
    one, other = RLearner(trees=shared), RLearner(trees=shared)
    one.set_params(trees__max_depth=5, clip=0.1)
    assert (one.trees.max_depth, one.clip) == (5, 0.1)
    assert (other.trees.max_depth, shared.max_depth) == (3, 3)


def test_a_part_left_at_none_gets_its_defaults_and_the_change() -> None:
    learner = RLearner().set_params(trees__max_depth=2, engine__threads=1)
    assert repr(learner.trees) == "Trees(max_depth=2)"
    assert isinstance(learner.engine, LocalEngine)
    assert learner.engine.threads == 1


def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"RLearner has no parameter 'depth'. It has .*'trees'"):
        RLearner().set_params(depth=3)


def test_a_parameter_without_parts_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"clip=0.01 has no parameter 'low'"):
        RLearner().set_params(clip__low=3)


def test_nuisance_trees_at_none_follow_trees_and_have_no_parts_of_their_own() -> None:
    with pytest.raises(
        ParameterError, match=r"nuisance_trees=None has no parameter 'max_depth'. Set nuisance_trees first"
    ):
        RLearner().set_params(nuisance_trees__max_depth=3)


def test_repr_shows_what_differs_from_the_defaults() -> None:
    assert repr(RLearner()) == "RLearner()"
    assert repr(RLearner(trees=Trees(n_trees=7), n_folds=3)) == "RLearner(n_folds=3, trees=Trees(n_trees=7))"
