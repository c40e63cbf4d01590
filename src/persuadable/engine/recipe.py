"""Recipes: what a learner wants fitted, said without saying how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from persuadable.engine.responses import Loss, Scale

__all__ = ["Case", "Recipe", "Stage", "everybody"]

Vector = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """What the stages of a recipe see: one outcome of one log, n rows and A actions.

    Attributes:
        y: (n,) outcome.
        action: (n,) code of the action taken.
        e: (n, A) propensities, clipped.
        mu: (n, A) out-of-fold E[y | x, a]; empty (n, 0) where the recipe needs none.
        loss: how responses are fitted, see ``engine.responses``.
        weight: (n,) row weights, or None.
        scale: the scale on which responses are fitted, or None where it is the outcome's own.
        reached: (n,) whether the step that leads to the outcome was reached; None where the learner knows no such step.
    """

    y: Vector
    action: NDArray[np.int16]
    e: Vector
    mu: Vector
    loss: Loss
    weight: Vector | None = None
    scale: Scale | None = None
    reached: Mask | None = None

    @property
    def response_target(self) -> Vector:
        """(n,) the outcome on the scale its responses are fitted on."""
        return self.y if self.scale is None else self.scale.target(self.y, self.action)


def everybody(case: Case) -> Mask:
    """All rows."""
    return np.ones(case.y.size, dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Stage:
    """One regression: on which rows, of which target, with which weight and loss.

    Attributes:
        name: unique within the recipe.
        target: case → (n,) what is regressed on the features; read on ``rows`` only.
        rows: case → (n,) which rows.
        weight: case → (n,) positive weights, or None for equal ones; the log's own weights come on top.
        arm: the arm whose response it is: the target is ``Case.response_target``, fitted by the case's loss; None for
            other targets, which are fitted by squared error.
        sees_action: whether it is the response of all arms and the action one more feature; the prediction is then
            (n, A), a column per action.
        loss: what it is fitted by; None is the case's for responses and squared error for other targets.
    """

    name: str
    target: Callable[[Case], Vector]
    rows: Callable[[Case], Mask] = everybody
    weight: Callable[[Case], Vector] | None = None
    arm: int | None = None
    sees_action: bool = False
    loss: Loss | None = None

    @property
    def is_response(self) -> bool:
        """Whether it predicts the outcome itself."""
        return self.sees_action or self.arm is not None

    def in_outcome_units(self, predicted: Vector, scale: Scale | None) -> Vector:
        """Predictions of the stage, responses brought back from the scale they were fitted on."""
        if scale is None or not self.is_response:
            return predicted
        return scale.outcome(predicted, slice(None) if self.arm is None else self.arm)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A learner: its stages and how their predictions make an effect.

    Attributes:
        stages: the regressions, independent of one another.
        combine: stage name → predictions, to the effects (n, A) with column 0 all zeros; linear in the predictions.
        needs_mu: whether the stages read the out-of-fold responses ``Case.mu``.
        given: stage → the stage whose prediction its own is multiplied by before they are combined: a mean among those
            who reach a step, and the chance to reach it.
    """

    stages: tuple[Stage, ...]
    combine: Callable[[Mapping[str, Vector]], Vector]
    needs_mu: bool
    given: Mapping[str, str] = field(default_factory=dict)

    def effects(self, predictions: Mapping[str, Vector]) -> Vector:
        """(n, A) effects of the stages' predictions."""
        if not self.given:  # a service does this for every user
            return self.combine(predictions)
        return self.combine({**predictions, **{s: predictions[s] * predictions[g] for s, g in self.given.items()}})
