"""What every effect learner does: fit from a log, predict effects, say how sure it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from persuadable.design.propensity import Propensity, PropensityChoice
from persuadable.effects.arrays import Effects
from persuadable.engine import LocalEngine, Recipe, TreeModel, Trees
from persuadable.engine.local import predict
from persuadable.engine.responses import LossChoice, Scale
from persuadable.errors import NotFittedError, OutcomeError, ParameterError
from persuadable.features import Column, Features
from persuadable.fingerprint import Fingerprint
from persuadable.log import DecisionLog
from persuadable.params import Parameters
from persuadable.spaces import Discrete

__all__ = ["Learner"]

Vector = NDArray[np.float64]
Models = dict[str, TreeModel]


class Learner(Parameters):
    """Base of the effect learners. A learner is its :meth:`recipe`; everything else is here.

    Args:
        trees: settings of the ensembles that predict the effect.
        nuisance_trees: settings of the ensembles behind them (responses); None takes ``trees``.
        n_folds: folds of the cross-fitted responses and propensities.
        propensity: "known", "constant", "estimated", or "auto": known where the log has them, else constant.
        clip: least propensity.
        n_resamples: half-samples the effect is refitted on for :meth:`effect_interval`; 0 for none.
        engine: where it is fitted; None is a ``LocalEngine`` with all processors.
        random_state: seed of folds, half-samples and ensembles.
        loss: how responses are fitted: "squared", "logistic", "poisson", or "auto", which is logistic where the outcome
            takes at most two values in each arm, else squared; see ``engine.response_loss``.

    Attributes:
        fitted_on: fingerprint of the rows it learned from.
        actions_: the actions, the control first.
        outcomes_: names of the outcomes whose effects it predicts, the primary first.
        columns_: the features it was fitted on.
        propensity_: the propensities used, and how many were clipped.
        models_: outcome → stage → fitted ensemble.
        resamples_: outcome → the same, once per half-sample.
        scales_: outcome → the scale its responses were fitted on, None where that is its own.
    """

    parts: ClassVar[Mapping[str, type[Parameters]]] = {"trees": Trees, "engine": LocalEngine}

    fitted_on: Fingerprint
    actions_: Discrete
    outcomes_: tuple[str, ...]
    columns_: tuple[Column, ...]
    propensity_: Propensity
    constant_propensity_: tuple[float, ...] | None
    models_: dict[str, Models]
    resamples_: dict[str, list[Models]]
    scales_: dict[str, Scale | None]

    def __init__(
        self,
        trees: Trees | None = None,
        nuisance_trees: Trees | None = None,
        n_folds: int = 5,
        propensity: PropensityChoice = "auto",
        clip: float = 0.01,
        n_resamples: int = 0,
        engine: LocalEngine | None = None,
        random_state: int = 0,
        loss: LossChoice = "auto",
    ) -> None:
        self.trees = trees
        self.nuisance_trees = nuisance_trees
        self.n_folds = n_folds
        self.propensity = propensity
        self.clip = clip
        self.n_resamples = n_resamples
        self.engine = engine
        self.random_state = random_state
        self.loss = loss

    def recipe(self, n_actions: int, constant_propensity: tuple[float, ...] | None) -> Recipe:
        """The stages of this learner.

        Args:
            n_actions: A.
            constant_propensity: (A,) where every row has the same propensities, else None.
        """
        raise NotImplementedError

    def reached(self, log: DecisionLog, outcome: str) -> NDArray[np.bool_] | None:
        """(n,) whether each row reached the step that leads to the outcome; None for a learner that knows no step."""
        return None

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        outcomes: str | Sequence[str] | None = None,
        treatment: Any = None,
        propensity: Any = None,
        sample_weight: Any = None,
    ) -> Self:
        """Learn the effects from a log, or from arrays.

        Args:
            X: a ``DecisionLog``; or features (n, d), with ``y`` (n,) and ``treatment`` (n,), 0 the control.
            outcomes: which outcomes of the log to learn the effects on; None is the primary one.
            propensity: with arrays, as in ``DecisionLog.from_arrays``.
            sample_weight: with arrays, (n,) positive weights.

        Raises:
            ParameterError: a parameter outside its range, or arrays without ``y`` and ``treatment``.
            DataError: a value that cannot be used.
        """
        from persuadable.effects.fitting import fit_many

        log = X if isinstance(X, DecisionLog) else _log_of(X, y, treatment, propensity, sample_weight)
        fit_many([self], log, outcomes=outcomes)
        return self

    def effect(self, X: Any, outcome: str | None = None) -> Effects:
        """(n, A) effect of each action against the control, in outcome units; column 0 is zero.

        Args:
            X: features as the learner was fitted on: a frame, ``Features``, an (n, d) array, or a log.
            outcome: which outcome; None is the primary one.

        Raises:
            NotFittedError: before ``fit``.
            FeatureError: features that differ from those fitted on.
        """
        name = self._outcome(outcome)  # refuses an unfitted learner, so before models_ is touched
        return Effects.of(self._predict(name, self.models_[name], self._values(X)), self.fitted_on)

    def effect_interval(self, X: Any, alpha: float = 0.05, outcome: str | None = None) -> tuple[Vector, Vector]:
        """(lower, upper), each (n, A): the effect ∓ z times the spread of its half-sample refits.

        A half-sample drawn without replacement differs from the whole by as much as the whole differs from
        the truth (Politis, Romano 1994), so the spread of the refits is the standard error of the effect.
        The bias of boosted trees is not in it, nor the noise of the responses, which the refits share. So a nominal 95%
        held the truth, averaged over units of four worlds (n = 20,000, 20 half-samples), in 92–95% for R and DR, 89–94%
        for T, 77–88% for X and 35–42% for S: take R or DR where intervals matter (calibration/EFFECT_INTERVALS.json).

        Raises:
            NotFittedError: fitted with ``n_resamples`` below 2.
            ParameterError: alpha outside (0, 1).
        """
        from scipy.special import ndtri

        if not 0 < alpha < 1:
            raise ParameterError(f"alpha must lie in (0, 1), got {alpha!r}")
        refits = np.stack(list(self.effect_refits(X, outcome)))
        name = self._outcome(outcome)
        centre = self._predict(name, self.models_[name], self._values(X))
        half = float(-ndtri(alpha / 2)) * refits.std(axis=0, ddof=1)
        return centre - half, centre + half

    def effect_refits(self, X: Any, outcome: str | None = None) -> Iterator[Vector]:
        """The effect (n, A) as each half-sample's refit has it; refits of two outcomes come from the same half-samples.

        Raises:
            NotFittedError: fitted with ``n_resamples`` below 2.
        """
        name = self._outcome(outcome)  # refuses an unfitted learner, so before resamples_ is touched
        refits = self.resamples_[name]
        if len(refits) < 2:
            raise NotFittedError(
                "The learner kept no half-samples to tell its uncertainty from",
                remedy="Fit it with n_resamples=20 or more.",
            )
        values = self._values(X)
        return (self._predict(name, models, values) for models in refits)

    def out_of_fold_effect(self, log: DecisionLog, outcome: str | None = None) -> Effects:
        """(n, A) effects on the very rows the learner was fitted on, each from a refit that did not see the row.

        Raises:
            NotFittedError: before ``fit``.
            ParameterError: a log other than the one fitted on.
        """
        from persuadable.effects.fitting import out_of_fold_effects

        return out_of_fold_effects([self], log, outcome=self._outcome(outcome))[0]

    def _predict(self, outcome: str, models: Models, values: NDArray[np.float32]) -> Vector:
        n_actions = len(self.actions_)
        recipe = self.recipe(n_actions, self.constant_propensity_)
        return predict(recipe, models, values, n_actions, self.scales_[outcome])

    def _values(self, X: Any) -> NDArray[np.float32]:
        features = X.features if isinstance(X, DecisionLog) else X
        return Features.of(features, self.columns_).values

    def _outcome(self, name: str | None) -> str:
        if not hasattr(self, "models_"):
            raise NotFittedError(f"This {type(self).__name__} is not fitted", remedy="Call fit(log) first.")
        if name is not None and name not in self.outcomes_:
            raise OutcomeError(
                f"The learner knows no effect on {name!r}", remedy=f"It was fitted on {list(self.outcomes_)}."
            )
        return self.outcomes_[0] if name is None else name


def _log_of(X: Any, y: Any, treatment: Any, propensity: Any, sample_weight: Any) -> DecisionLog:
    if y is None or treatment is None:
        raise ParameterError(
            "fit needs a DecisionLog, or features with y and treatment",
            remedy="Call fit(log) or fit(X, y, treatment=w).",
        )
    return DecisionLog.from_arrays(X, treatment, y, propensity=propensity, weight=sample_weight)
