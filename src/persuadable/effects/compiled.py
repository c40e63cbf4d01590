"""A fitted learner compiled for speed: effects of one row in microseconds, of a batch by the million."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from persuadable.effects.learner import Learner, Models
from persuadable.engine import TreeModel
from persuadable.engine.compiled import CompiledTrees

__all__ = ["CompiledLearner"]

Vector = NDArray[np.float64]
Values = NDArray[np.float32]

CHUNK = 16_384  # rows; bounds the memory of the refits' effects


class CompiledLearner:
    """The effects of a fitted learner, as ``Learner.effect`` gives them to within 1e-6, without XGBoost.

    The trees are read when this is made; it keeps no tie to the learner's boosters. It may be shared by threads.

    Args:
        learner: fitted.
        threads: threads that batches are shared out among; None takes the processors this process may run on.

    Attributes:
        outcomes: names of the outcomes it knows the effects on, the primary first.

    Raises:
        NotFittedError: a learner before ``fit``.
    """

    def __init__(self, learner: Learner, threads: int | None = None) -> None:
        learner._outcome(None)
        self.learner = learner
        self.outcomes = learner.outcomes_
        self._effects = {name: _Refits(learner, [learner.models_[name]], threads) for name in self.outcomes}
        self._refits = {
            name: _Refits(learner, [learner.models_[name], *learner.resamples_[name]], threads)
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

    def __init__(self, learner: Learner, fits: Sequence[Models], threads: int | None) -> None:
        n_actions, d = len(learner.actions_), len(learner.columns_)
        self.recipe = learner.recipe(n_actions, learner.constant_propensity_)
        self.n_fits = len(fits)
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

    def __call__(self, values: Values) -> Vector:
        """(n, fits, A) effects."""
        n = len(values)
        predicted = self.trees.predict(values).reshape(n * self.n_fits, -1).astype(np.float64)
        effects = self.recipe.combine({name: predicted[:, place] for name, place in self.places.items()})
        return effects.reshape(n, self.n_fits, -1)


def _spread(refits: Vector) -> Vector:
    """Standard deviation over the refits (n, fits, A), with fits − 1 in the denominator.

    As ``refits.std(axis=1, ddof=1)``, which spends on checks what a single row cannot afford.
    """
    centred = refits - np.add.reduce(refits, axis=1, keepdims=True) / refits.shape[1]
    spread: Vector = np.sqrt(np.add.reduce(centred * centred, axis=1) / (refits.shape[1] - 1))
    return spread
