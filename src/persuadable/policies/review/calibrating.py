"""Making a review: beliefs, support and loads from held-out predictions, of a policy or of anything else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import ArrayLike

from persuadable.errors import DataError, ParameterError
from persuadable.features import Features
from persuadable.policies.base import Flags, Floats
from persuadable.policies.review.arguments import LARGEST, amount, share, tail, weights
from persuadable.policies.review.beliefs import learned_beliefs
from persuadable.policies.review.familiar import learned_familiar
from persuadable.policies.review.judged import STRANGE, Code
from persuadable.policies.review.loads import MOST_RISKS, LevelRisks, Loads, Rule, levels
from persuadable.policies.review.predicted import (
    Predicted,
    Reviewable,
    features_of,
    predicted,
    require_reviewable,
    threshold_of,
)
from persuadable.policies.review.record import Review, codes_known, forced, marked
from persuadable.policies.threshold import ScoreDistribution, Threshold

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["calibrated", "review"]

ROWS: Final = 5_000  # for the loads at other thresholds than the policy's own
NOBODY: Final = Threshold(0.0, math.inf, 0.0, 0.0, "budget")


def review(
    policy: Reviewable,
    log: DecisionLog,
    load: float = 0.1,
    *,
    train: DecisionLog | Features | None = None,
    extreme: float = 0.001,
    harm: float = 0.0,
    suspects: float = 0.05,
    doubt: float = 0.5,
    missed: float = 1.0,
    always: Sequence[Code] = STRANGE,
) -> Review:
    """Which decisions of a policy people should look at, when they can look at a share of them.

    Args:
        policy: calibrated, its learner fitted with half-samples (``n_resamples=20``): a ``BudgetPolicy``, or an
            ``AllocationPolicy``, whose choices are weighed against the next best action at its price. For a threshold
            that comes from economics rather than from a budget:
            ``BudgetPolicy(learner, 1.0, break_even=economics.break_even)``.
        log: held-out rows, which fit neither the learner nor its calibration. The queue takes ``load`` of such rows.
        load: share of the decisions that people can look at.
        train: the rows the learner learned from, whose features are its support; None takes those of ``log``, which
            are alike where one log was split.
        extreme: share of held-out rows beyond the end of calibration, and of support.
        harm: a fall of the outcome by more than this is harm, 0 or more.
        suspects: share of those to be treated who are marked as possibly harmed: the likeliest.
        doubt: at the end of support, and for features that broke the contract, the probability with which nothing is
            known of the unit but that it is one of the population.
        missed: how much all half-samples miss alike, as a multiple of the variance that is left in what is believed of
            an effect; 0 believes standard errors to be all there is (``Beliefs``).
        always: codes that queue a unit whatever its priority; they count within the load.

    Raises:
        ParameterError: an argument out of range, a policy that treats nobody, a load below what is always reviewed.
        NotFittedError: the policy is not calibrated, or its learner kept no half-samples.
        LeakageError: some of the rows fitted the learner.
        DataError: a prediction is not finite, or all standard errors are 0.
    """
    require_reviewable(policy, log)
    seen = predicted(policy, log)
    found = Review.of(
        seen.effect,
        seen.stderr,
        features_of(policy, log),
        threshold_of(policy),
        load,
        net=seen.net,
        between=seen.between,
        train=None if train is None else features_of(policy, train),
        weight=log.weight,
        extreme=extreme,
        harm=harm,
        suspects=suspects,
        doubt=doubt,
        missed=missed,
        always=always,
    )
    return replace(found, policy=policy)


def calibrated(
    seen: Predicted,
    features: Features,
    threshold: float,
    load: float,
    *,
    train: Features | None,
    weight: ArrayLike | None,
    extreme: float,
    harm: float,
    suspects: float,
    doubt: float,
    missed: float,
    always: Sequence[Code],
) -> Review:
    """A review from held-out predictions; arguments and errors are those of ``Review.of``."""
    t, w = amount("threshold", threshold, -LARGEST), None if weight is None else weights(weight, len(features))
    open_ = np.isfinite(seen.net)
    if not open_.any() or not seen.stderr[open_].any():
        raise DataError(
            "No unit is eligible for a treatment" if not open_.any() else "All standard errors are 0",
            where="review",
            remedy="Pass held-out units with something to decide, and how well their effects are known.",
        )
    mass = None if w is None else w[open_]
    beyond = tail("extreme", extreme)
    familiar = learned_familiar(features if train is None else train.aligned(features.columns))
    draft = Review(
        load=1.0,
        threshold=t,
        beliefs=learned_beliefs(*_either_way(seen, open_, mass), amount("missed", missed, 0.0)),
        familiar=familiar,
        farthest=_end(familiar.distance(features.values), w, beyond),
        highest=_end(seen.effect[open_], mass, beyond),
        always=codes_known(always),
        loads=Loads.of(LevelRisks(t, 0.0, 1.0, ScoreDistribution.of(np.zeros(1))), []),
        harm=amount("harm", harm, 0.0),
        extreme=beyond,
        doubt=share("doubt", doubt),
    )
    most = share("suspects", suspects)
    own = _risks(draft, features, seen, w, t, most)
    if own.forced == 1.0:
        raise ParameterError(
            "Every unit is always reviewed", where=f"always={list(draft.always)}", remedy="Leave codes out."
        )
    rows = np.random.default_rng(0).permutation(seen.net.size)[:ROWS]
    some, few = seen.at(rows), features.take(rows)
    part = None if w is None else w[rows]
    told = levels(seen.net[open_], mass).tolist()
    loads = Loads.of(own, [_risks(draft, few, some, part, level, most) for level in told])
    return replace(draft, load=share("load", load), loads=loads)


def _either_way(seen: Predicted, rows: Flags, mass: Floats | None) -> tuple[Floats, Floats, Floats | None]:
    """(net, stderr, weight) to learn a prior from, a difference between two treatments once with either sign.

    What is chosen leads by construction, and a prior of leads alone would believe that the choice is always right.
    Which of two treatments is called the first is arbitrary, so that half of each difference counts the other way.
    """
    net, stderr = seen.net[rows], seen.stderr[rows]
    if seen.between is None or not seen.between[rows].any():
        return net, stderr, mass
    pair = seen.between[rows]
    w = np.where(pair, 0.5, 1.0) * (1.0 if mass is None else mass)
    return np.r_[net, -net[pair]], np.r_[stderr, stderr[pair]], np.r_[w, w[pair]]


def _risks(
    draft: Review, features: Features, seen: Predicted, weight: Floats | None, threshold: float, suspects: float
) -> LevelRisks:
    """What units would make of a threshold."""
    treated = seen.net > threshold
    weighed = draft.weighed(features, seen, threshold, treated.astype(np.float64), None)
    worst = 1.0
    if treated.any() and suspects > 0:
        worst = _end(weighed.harm[treated], None if weight is None else weight[treated], suspects)
    always = forced(marked(weighed, Rule(NOBODY, worst)), draft.always)
    rest, w = ~always, np.ones(always.size) if weight is None else weight
    priority = weighed.priority[rest] if rest.any() else np.zeros(1)
    mass = None if weight is None or not rest.any() else weight[rest]
    taken = float(w[always].sum() / w.sum())
    return LevelRisks(threshold, taken, min(worst, 1.0), ScoreDistribution.of(priority, mass, MOST_RISKS))


def _end(values: Floats, weight: Floats | None, extreme: float) -> float:
    """The value that a share ``extreme`` of the rows lies above."""
    spread = ScoreDistribution.of(values, weight)
    return float(spread.values[-1]) if extreme == 0 else spread.cut(extreme).threshold
