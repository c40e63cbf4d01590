"""Arguments of the wrong kind are refused in words, wherever they are passed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import persuadable as ps
from persuadable.engine import LocalEngine, Trees
from persuadable.worlds import RandomisedTrial

SMALL = Trees(n_trees=4, max_depth=2)
train, test = RandomisedTrial().sample(600, random_state=0).split(0.5, random_state=0)
learner = ps.effects.TLearner(trees=SMALL).fit(train)
policy = ps.policies.BudgetPolicy(learner).calibrate(test)

REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "trees as a number": (lambda: ps.effects.XLearner(trees=100).fit(train), "trees=100 is not Trees"),
    "engine as a word": (lambda: ps.effects.XLearner(engine="cpu").fit(train), "is not LocalEngine"),
    "threads as text": (lambda: ps.effects.TLearner(engine=LocalEngine(threads="2")).fit(train), "whole number"),
    "break-even as text": (lambda: ps.policies.BudgetPolicy(learner, break_even="1").calibrate(test), "finite numbers"),
    "a learner as a policy": (lambda: ps.value.compare(test, learner, policy), "not a policy.*BudgetPolicy"),
    "a word as a policy": (lambda: ps.value.compare(test, policy, "random", mu=[0.1, 0.2]), "'random' is not a policy"),
    "a learner as a ranking": (lambda: ps.value.qini(test, learner), r"learner.effect\(log.features\)"),
    "a share as text": (lambda: ps.value.uplift_at_k(test, test.features.values[:, 0], k="0.3"), "k is '0.3'"),
    "a category that is no feature": (
        lambda: ps.DecisionLog.from_frame(
            test.frame(), action="action", control="control", outcomes="outcome", features="x0", categorical=["x1"]
        ),
        "'x1' is to be a category and is no feature",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_in_words(case: str) -> None:
    call, said = REFUSED[case]
    with pytest.raises((ps.errors.ParameterError, ps.errors.DataError), match=said):
        call()


def test_one_name_may_stand_for_a_list() -> None:
    log = ps.DecisionLog.from_frame(
        test.frame(), action="action", control="control", outcomes="outcome", features=test.features.names[0]
    )
    assert log.features.names == test.features.names[:1]
