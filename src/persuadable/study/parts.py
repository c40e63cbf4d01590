"""The parts of a study that are run when asked for: archetypes, fairness and its price, review."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.effects import CalibratedEffects, Effects, Learner
from persuadable.errors import FeatureError
from persuadable.log import DecisionLog
from persuadable.policies import ArchetypeBeliefs, BudgetPolicy, Economics, archetypes
from persuadable.policies.review import Review, review
from persuadable.response import ResponseModel
from persuadable.study.plan import StudyPlan
from persuadable.study.presets import Presets
from persuadable.value import ArchetypeTable, Fairness, Mitigation, archetype_table, fairness, mitigate

__all__ = ["archetypes_of", "fairness_of", "held_out_segments", "mitigation_of", "review_of"]

Vector = NDArray[np.float64]

REVIEW_ROWS = 500_000


def held_out_segments(
    log: DecisionLog, rows: NDArray[np.bool_], wanted: Sequence[str], given: Mapping[str, ArrayLike]
) -> dict[str, Any]:
    """Each segment wanted: the name of the feature, or the labels of the held-out ``rows`` (n,).

    Raises:
        FeatureError: a segment that is neither a feature nor given.
    """
    found: dict[str, Any] = {}
    for name in wanted:
        if name in given:
            found[name] = np.asarray(given[name])[rows]
        elif name in log.features.names:
            found[name] = name
        else:
            raise FeatureError(
                f"There is no segment {name!r}",
                remedy=f"Name a feature of {log.features.names}, or give the labels of its rows: segments=.",
            )
    return found


def archetypes_of(
    learner: Learner,
    train: DecisionLog,
    test: DecisionLog,
    economics: Economics,
    settings: Presets,
    mu: Vector,
    plan: StudyPlan,
) -> dict[str, ArchetypeTable]:
    """Treatment → its archetypes on the held-out rows, from calibrated effects and the outcomes of those left alone."""
    effects = CalibratedEffects(learner).calibrate(train)
    baseline = ResponseModel(
        trees=settings.responses, treated_only=False, engine=plan.engine, random_state=plan.random_state
    ).fit(train.arm(0))
    beliefs = ArchetypeBeliefs.learn(train, effects, baseline)
    return {
        label: archetype_table(
            test,
            archetypes(test, effects, baseline, economics, action=label, beliefs=beliefs),
            mu=mu,
            alpha=plan.alpha,
        )
        for label in test.actions.treatments
    }


def fairness_of(
    test: DecisionLog,
    policy: BudgetPolicy,
    columns: Mapping[str, Any],
    effects: Effects,
    mu: Vector,
    plan: StudyPlan,
) -> Fairness | None:
    """The audit of a policy by segment; None without segments."""
    if not columns:
        return None
    told = effects if test.n_actions == 2 else None
    return fairness(test, policy, columns, effect=told, mu=mu, alpha=plan.alpha)


def mitigation_of(
    test: DecisionLog,
    policy: BudgetPolicy,
    audit: Fairness,
    columns: Mapping[str, Any],
    effects: Effects,
    mu: Vector,
    plan: StudyPlan,
) -> Mitigation | None:
    """The policy's budget under a parity floor where groups are not selected alike; None where they are.

    None as well where rows have weights, which an allocation of rows cannot count.
    """
    if test.weight is not None or all(audit.met(segment) for segment in audit.segments):
        return None
    net = np.asarray(effects) - plan.least_effect(test.primary)
    net[:, 0] = 0.0
    worth = Effects.of(net, effects.fitted_on)
    return mitigate(test, worth, columns, budget=policy.expected_share, mu=mu, alpha=plan.alpha)


def review_of(policy: BudgetPolicy, train: DecisionLog, test: DecisionLog, load: float) -> Review:
    """Which of a policy's decisions go to people, a share ``load`` of them.

    It is calibrated on at most ``REVIEW_ROWS`` rows of either part, drawn by lot: with so many the share that is queued
    of all rows is within .001 of the load, and with millions more it would take gigabytes.
    """
    return review(policy, _some(test), load, train=_some(train))


def _some(log: DecisionLog) -> DecisionLog:
    if log.n <= REVIEW_ROWS:
        return log
    return log.take(np.sort(np.random.default_rng(0).choice(log.n, REVIEW_ROWS, replace=False)))
