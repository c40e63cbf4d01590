"""A fitted learner compiled for speed: effects of one row in microseconds, of a batch by the million."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from persuadable.effects.calibrated import CalibratedEffects
from persuadable.effects.learner import Learner, Models
from persuadable.effects.maps import EffectMap
from persuadable.engine import TreeModel
from persuadable.engine.compiled import CompiledTrees
from persuadable.engine.responses import Scale
from persuadable.errors import BundleError

__all__ = ["CompiledLearner"]

Vector = NDArray[np.float64]
Values = NDArray[np.float32]

CHUNK = 16_384  # rows; bounds the memory of the refits' effects


class CompiledLearner:
    """The effects of a fitted learner, as ``Learner.effect`` gives them to within 1e-6, without XGBoost.

    The trees are read when this is made; it keeps no tie to the learner's boosters. It may be shared by threads.

    Args:
        learner: fitted; or calibrated effects of one, whose maps then follow its trees.
        threads: threads that batches are shared out among; None takes the processors this process may run on.

    Attributes:
        outcomes: names of the outcomes it knows the effects on, the primary first.

    Raises:
        NotFittedError: a learner before ``fit``.
        BundleError: calibrated effects of what is no learner.
    """

    def __init__(self, learner: Learner | CalibratedEffects, threads: int | None = None) -> None:
        learner._outcome(None)
        maps: dict[str, tuple[EffectMap, ...]] = {}
        if isinstance(learner, CalibratedEffects):
            maps, inner = learner.maps_, learner.learner
            if not isinstance(inner, Learner):
                raise BundleError(
                    f"Calibrated effects of a {type(inner).__name__} cannot be compiled",
                    remedy="Calibrate the effects of a learner.",
                )
            learner = inner
        self.learner = learner
        self.outcomes = learner.outcomes_
        self._effects = {
            name: _Refits(learner, name, [learner.models_[name]], threads, maps.get(name, ())) for name in self.outcomes
        }
        self._refits = {
            name: _Refits(
                learner, name, [learner.models_[name], *learner.resamples_[name]], threads, maps.get(name, ())
            )
            for name in self.outcomes
            if len(learner.resamples_[name]) > 1
        }

    def effects(self, values: Values, outcome: str | None = None) -> Vector:
        """(n, A) effect of each action against the control; column 0 is zero.

        Args:
            values: (n, d) float32 rows as ``Features.values`` has them: category codes, NaN where missing.
            outcome: which outcome; None is the primary one.

        Raises:
            OutcomeError: an outcome the learner was not fitted on.
            ParameterError: values of another type or width.
        """
        return self._effects[self.learner._outcome(outcome)](values)[:, 0]

    def effects_and_stderr(self, values: Values, outcome: str | None = None) -> tuple[Vector, Vector | None]:
        """(n, A) effects, and the (n, A) standard errors that ``Learner.effect_interval`` multiplies by z.

        The standard error is the spread of the half-sample refits; None where the learner kept fewer than two.
        """
        name = self.learner._outcome(outcome)
        if name not in self._refits:
            return self.effects(values, name), None
        effects, stderr = np.empty((2, len(values), len(self.learner.actions_)))
        for start in range(0, len(values), CHUNK):
            chunk = slice(start, start + CHUNK)
            every = self._refits[name](values[chunk])
            effects[chunk], stderr[chunk] = every[:, 0], _spread(every[:, 1:])
        return effects, stderr

    def warm(self) -> None:
        """Load, or compile, the machine code for one row and for a batch.

        Raises:
            MissingDependency: numba is not installed.
        """
        for refits in (*self._effects.values(), *self._refits.values()):
            refits.trees.warm()


class _Refits:
    """Several fits of one recipe to one outcome, predicted together and combined at once."""

    def __init__(
        self,
        learner: Learner,
        outcome: str,
        fits: Sequence[Models],
        threads: int | None,
        maps: Sequence[EffectMap],
    ) -> None:
        n_actions, d = len(learner.actions_), len(learner.columns_)
        self.recipe = learner.recipe(n_actions, learner.constant_propensity_)
        self.n_fits = len(fits)
        self.maps = tuple(maps)
        self.places: dict[str, int | slice] = {}
        models: list[TreeModel] = []
        held: list[dict[int, float]] = []
        for stage in self.recipe.stages:
            first = len(held)
            held += [{d: float(action)} for action in range(n_actions)] if stage.sees_action else [{}]
            self.places[stage.name] = slice(first, len(held)) if stage.sees_action else first
        for fit in fits:
            for stage in self.recipe.stages:
                models += [fit[stage.name]] * (n_actions if stage.sees_action else 1)
        self.trees = CompiledTrees.of(models, held * self.n_fits, threads)
        self.scale = self._scale(learner.scales_[outcome], len(held))

    def _scale(self, scale: Scale | None, n_outputs: int) -> Scale | None:
        """The scale of every output of a fit; an output that is no response stays as it is."""
        if scale is None:
            return None
        low, span = np.zeros(n_outputs), np.ones(n_outputs)
        for stage in self.recipe.stages:
            if stage.is_response:
                arm = slice(None) if stage.arm is None else stage.arm
                low[self.places[stage.name]], span[self.places[stage.name]] = scale.low[arm], scale.span[arm]
        return Scale(low, span)

    def __call__(self, values: Values) -> Vector:
        """(n, fits, A) effects."""
        n = len(values)
        predicted = self.trees.predict(values).reshape(n * self.n_fits, -1).astype(np.float64)
        if self.scale is not None:
            predicted = self.scale.outcome(predicted, slice(None))
        effects = self.recipe.effects({name: predicted[:, place] for name, place in self.places.items()})
        shaped: Vector = effects.reshape(n, self.n_fits, -1)
        for a, told in enumerate(self.maps, start=1):
            shaped[:, :, a] = told(shaped[:, :, a])
        return shaped


def _spread(refits: Vector) -> Vector:
    """Standard deviation over the refits (n, fits, A), with fits − 1 in the denominator.

    As ``refits.std(axis=1, ddof=1)``, which spends on checks what a single row cannot afford.
    """
    centred = refits - np.add.reduce(refits, axis=1, keepdims=True) / refits.shape[1]
    spread: Vector = np.sqrt(np.add.reduce(centred * centred, axis=1) / (refits.shape[1] - 1))
    return spread
