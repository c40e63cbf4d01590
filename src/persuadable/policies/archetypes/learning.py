"""How much people differ, and how much of that a model knows: a learning curve, read on rows it did not see."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from persuadable.effects.calibrated import CalibratedEffects, score_effects
from persuadable.effects.fitting import LEAST_FOLDS, clone
from persuadable.effects.learner import Learner
from persuadable.effects.maps import fit_map
from persuadable.errors import (
    ActionError,
    DataError,
    NotFittedError,
    OutcomeError,
    ParameterError,
    PersuadableError,
)
from persuadable.features import Features
from persuadable.fingerprint import Fingerprint
from persuadable.log import DecisionLog
from persuadable.log.checks import require_log
from persuadable.policies.archetypes.beliefs import Belief
from persuadable.policies.base import Floats
from persuadable.policies.explore.outlook import net_stderr
from persuadable.response import ResponseModel

__all__ = ["ArchetypeBeliefs", "Curve", "learning_curve"]

PARTS: Final = (2, 4)  # the model is refitted on halves and on quarters of the rows
#: What is not known falls as rows^(−RATE): the minimax rate 2/(2 + d) of a Lipschitz function of d = 3 features.
RATE: Final = 0.4
MOST: Final = 0.98  # share of the variance that a model can be believed to know
FOLDS: Final = 5
ROWS: Final = 20_000  # whose standard errors are averaged
BINS: Final = 20
JUDGING: Final = 2_000_000  # rows that judge the refits: more would cost memory and tell nothing
SEED: Final = 0xA7C


class Curve(NamedTuple):
    """What a learning curve says of the truth τ.

    Attributes:
        known: variance of τ that the predictions explain.
        end: Var(τ), the curve's end for ever more rows.
        stderr: the standard error of that.
        level: mean of τ.
    """

    known: float
    end: float
    stderr: float
    level: float

    @property
    def missed(self) -> float:
        """Variance of τ that the predictions do not explain; one standard error is added, to err on the safe side."""
        return max(self.end + self.stderr - self.known, (1.0 - MOST) * self.known)


def learning_curve(
    scores: Floats,
    weight: Floats,
    own: Floats,
    smaller: Mapping[int, list[tuple[NDArray[Any], NDArray[np.bool_]]]],
    folds: int = FOLDS,
) -> Curve:
    """How much the truth τ varies, seen from how much better it is predicted from more rows.

    What predictions p explain is C = Cov(Γ, p)²/Var(p), for scores Γ with E[Γ | x] = τ(x) and rows that p did not see:
    the covariance with Γ is that with τ, although nobody's τ is seen. C rises with the rows learned from, and what is
    missing falls as C(m) = V − U·(n/m)^RATE; a line through the points, by least squares, ends at V = Var(τ).

    Args:
        scores: (n,) scores.
        weight: (n,) row weights.
        own: (n,) out-of-fold predictions, from ``folds`` folds.
        smaller: k → predictions (n,) of models fitted on a k-th of the rows, and the rows each did not see. Where no
            part could be fitted, as much again is taken to be missing as is known.
    """
    w = weight / weight.sum()
    everywhere = np.ones(scores.size, dtype=np.bool_)
    told = [(folds / (folds - 1), [(own, everywhere)]), *((float(k), models) for k, models in smaller.items())]
    x, c, influence = [], [], []
    for factor, models in told:
        parts = [_explained(scores, p, w, rows) for p, rows in models]
        x.append(factor**RATE)
        c.append(float(np.mean([value for value, _ in parts])))
        influence.append(np.mean([psi for _, psi in parts], axis=0))
    if len(x) == 1:
        return Curve(max(c[0], 0.0), 2.0 * max(c[0], 0.0), 0.0, float(w @ scores))
    # The intercept of a least-squares line is a weighted sum of its points.
    design = np.column_stack([np.ones(len(x)), -np.asarray(x)])
    coefficients = np.linalg.pinv(design)[0]
    end = float(coefficients @ c)
    stderr = math.sqrt(float(np.sum((coefficients @ np.asarray(influence)) ** 2)))
    return Curve(max(c[0], 0.0), end, stderr, float(w @ scores))


def _explained(scores: Floats, predicted: NDArray[Any], w: Floats, rows: NDArray[np.bool_]) -> tuple[float, Floats]:
    """Cov²/Var, with the sign of the covariance, and each row's influence (n,), whose squares sum to its variance."""
    share = np.where(rows, w, 0.0)
    share = share / share.sum()
    g, p = scores - float(share @ scores), predicted - float(share @ predicted)
    covariance, spread = float(share @ (g * p)), float(share @ (p * p))
    if spread <= 0:
        return 0.0, np.zeros(scores.size)
    slope = covariance / spread
    psi = share * (2.0 * slope * g * p - slope * slope * p * p - slope * covariance)
    sign = math.copysign(1.0, slope)
    return sign * slope * covariance, sign * psi


@dataclass(frozen=True, slots=True, eq=False)
class ArchetypeBeliefs:
    """What may be believed of effects and baselines given a model's predictions, learned from the model's training log.

    Attributes:
        outcome: what the effects are on.
        effects: action's code → belief.
        baseline: belief about the outcome of those left alone; None where predictions are taken as known.
        fitted_on: the rows they learned from.
    """

    outcome: str
    effects: Mapping[int, Belief]
    baseline: Belief | None
    fitted_on: Fingerprint

    @classmethod
    def learn(
        cls, log: DecisionLog, effect: Learner | CalibratedEffects, baseline: Any = None, outcome: str | None = None
    ) -> ArchetypeBeliefs:
        """Learn from the log the models were fitted on: no row is given away, none that judges is touched.

        Out-of-fold predictions and doubly robust scores tell the scale of the predictions and how much of the truth
        they explain. The models are refitted on halves and quarters of the rows, two fits' work in all; how fast they
        get better tells how much there is left to find (``learning_curve``). Of a difference between people that none
        of these models begins to see, no log can tell.

        Args:
            log: the log the effect model was fitted on.
            effect: a fitted learner, or ``CalibratedEffects`` of one, calibrated on the same log.
            baseline: the ``ResponseModel`` of those left alone; any other model's predictions are taken as known.
            outcome: which outcome; None is the primary one.

        Raises:
            ParameterError: the model is no learner, or was fitted on another log.
            NotFittedError: it is not fitted.
            OutcomeError: the model knows no effect on the outcome.
            ActionError, PropensityError: as for ``score_effects``.
            DataError: the outcome never differs.
        """
        require_log(log, "ArchetypeBeliefs.learn")
        model = effect.learner if isinstance(effect, CalibratedEffects) else effect
        if not isinstance(model, Learner):
            raise ParameterError(
                f"Beliefs cannot be learned about a {type(effect).__name__}, which cannot be refitted here",
                remedy="Pass a fitted learner, or CalibratedEffects of one; or leave beliefs= out.",
            )
        if not hasattr(model, "fitted_on"):
            raise NotFittedError(f"The {type(model).__name__} is not fitted", remedy="Call fit(log) before.")
        if not model.fitted_on.same_rows(log.fingerprint):
            raise ParameterError(
                "The effects were fitted on another log", remedy="Pass the training log: the models are refitted on it."
            )
        name = log.primary if outcome is None else outcome
        if name not in effect.outcomes_:
            raise OutcomeError(f"The effects are not on {name!r}", remedy=f"They are on {list(effect.outcomes_)}.")
        judging = _some(log.n, JUDGING)
        own = np.asarray(effect.out_of_fold_effect(log, name)[judging], dtype=np.float64)
        nuisance = effect.nuisance if isinstance(effect, CalibratedEffects) and effect.nuisance else model
        scored = score_effects(log, name, nuisance)
        scores, possible, weight = scored.scores[judging], scored.possible[judging], scored.weight[judging]

        def refit(part: DecisionLog) -> Any:
            fitted = clone(model).set_params(n_resamples=0).fit(part, outcomes=name)
            return lambda features: np.asarray(fitted.effect(features, name), dtype=np.float64)

        smaller = _smaller(log, {k: log.folds(k, SEED) for k in PARTS}, refit, judging)
        some = _some(judging.size, ROWS)
        error = None
        if model.n_resamples >= 2:
            error = net_stderr(model, log.features.take(judging[some]), name, None)
        beliefs, d = {}, len(log.features.columns)
        for a in range(1, log.n_actions):
            rows = possible[:, a]
            parts = {k: [(p[rows, a], seen[rows]) for p, seen in models] for k, models in smaller.items()}
            curve = learning_curve(scores[rows, a], weight[rows], own[rows, a], parts, max(model.n_folds, LEAST_FOLDS))
            spread = None if error is None else error[rows[some], a - 1]
            beliefs[a] = _belief(curve, scores[rows, a], weight[rows], own[rows, a], spread, d)
        level = _baseline_belief(log, baseline, name) if isinstance(baseline, ResponseModel) else None
        return cls(name, beliefs, level, log.fingerprint)

    def of(self, code: int, outcome: str) -> Belief:
        """The belief about a treatment's effect.

        Raises:
            OutcomeError, ActionError: they are about something else.
        """
        if outcome != self.outcome:
            raise OutcomeError(
                f"The beliefs are about effects on {self.outcome!r}, not {outcome!r}",
                remedy=f"Learn them with outcome={outcome!r}.",
            )
        if code not in self.effects:
            raise ActionError(
                f"The beliefs know no action with code {code}", remedy=f"They know the codes {list(self.effects)}."
            )
        return self.effects[code]


def _baseline_belief(log: DecisionLog, model: ResponseModel, outcome: str) -> Belief:
    """Learned from those left alone, who stand for everybody where that was drawn by lot."""
    rows = log.action == 0
    alone = log.take(rows)
    folds = {k: log.folds(k, SEED)[rows] for k in (FOLDS, *PARTS)}
    settings, y = model.get_params(deep=False), alone.outcome(outcome).astype(np.float64)

    def refit(part: DecisionLog) -> Any:
        return ResponseModel(**settings).set_params(treated_only=False).fit(part, outcome).predict

    own = np.empty(alone.n)
    for k in range(FOLDS):
        own[folds[FOLDS] == k] = refit(alone.take(folds[FOLDS] != k))(alone.take(folds[FOLDS] == k))
    weight = np.ones(alone.n) if alone.weight is None else alone.weight.astype(np.float64)
    smaller = _smaller(alone, {k: folds[k] for k in PARTS}, refit, np.arange(alone.n))
    curve = learning_curve(y, weight, own, smaller)
    return _belief(curve, y, weight, own, None, len(log.features.columns), positive=bool(y.min() >= 0 and y.max() > 0))


def _smaller(
    log: DecisionLog,
    folds: Mapping[int, NDArray[np.int16]],
    refit: Callable[[DecisionLog], Callable[[Features], Floats]],
    judging: NDArray[np.intp],
) -> dict[int, list[tuple[NDArray[np.float32], NDArray[np.bool_]]]]:
    """k → predictions for the rows that judge by models fitted on each k-th of all rows, and the rows each did not see.

    Parts that are too small to be fitted are left out, and so are the sizes none of whose parts could be fitted.
    """
    features = log.features.take(judging)

    def models(k: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
        for j in range(k):
            try:
                predicted = refit(log.take(folds[k] == j))
            except PersuadableError:  # the whole log could be learned from, so it is the part that is too small
                continue
            # Six tables of predictions are held at once: half the memory for digits nobody needs.
            yield predicted(features).astype(np.float32), folds[k][judging] != j

    return {k: told for k in folds if (told := list(models(k)))}


def _some(n: int, most: int) -> NDArray[np.intp]:
    """Rising numbers of at most so many rows, drawn by lot."""
    return np.arange(n) if n <= most else np.sort(np.random.default_rng(SEED).permutation(n)[:most])


def _belief(
    curve: Curve, scores: Floats, weight: Floats, own: Floats, stderr: Floats | None, d: int, *, positive: bool = False
) -> Belief:
    """The belief that a curve leads to.

    A curve that never rises says that there is nothing to find, or that so few rows show nothing. In n rows with
    residual variance σ² even a linear function of d features is only known up to (d + 1)σ²/n, so no less is doubted.
    And what is never negative is taken to vary as much as its mean, as exponential waiting times do, until it is known
    better: chances of rare things mostly vary more.
    """
    level_error2 = float(np.sum((weight * (scores - curve.level)) ** 2)) / float(weight.sum()) ** 2
    missed = max(curve.missed, d * level_error2, curve.level**2 - curve.known if positive else 0.0)
    doubt = math.sqrt(missed + level_error2)
    if not doubt > 0:
        raise DataError("The outcome is the same for everybody", remedy="Learn beliefs about an outcome that differs.")
    # So few bins that the mean of one, with the variance σ²·bins/n, is known twice as well as a person is.
    bins = int(np.clip(doubt * doubt / (4.0 * level_error2), 2, BINS))
    scale = fit_map("isotonic", own, scores, weight, bins)
    size = float(np.sqrt(np.average(scale(own) ** 2, weights=weight)))
    error = None if stderr is None else float(np.sqrt((stderr**2).mean()))
    return Belief(scale, doubt, error, size if positive else None)
