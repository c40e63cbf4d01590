"""Recipes: what a learner wants fitted, said without saying how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Case", "Loss", "Recipe", "Stage", "everybody"]

Vector = NDArray[np.float64]
Mask = NDArray[np.bool_]
Loss = Literal["squared", "logistic", "softmax"]


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """What the stages of a recipe see: one outcome of one log, n rows and A actions.

    Attributes:
        y: (n,) outcome.
        action: (n,) code of the action taken.
        e: (n, A) propensities, clipped.
        mu: (n, A) out-of-fold E[y | x, a]; empty (n, 0) where the recipe needs none.
        loss: "logistic" for an outcome of zeros and ones, else "squared".
        weight: (n,) row weights, or None.
    """

    y: Vector
    action: NDArray[np.int16]
    e: Vector
    mu: Vector
    loss: Loss
    weight: Vector | None = None


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
        outcome_loss: whether the target is the outcome itself and takes its loss, instead of squared error.
        sees_action: whether the action is one more feature; the prediction is then (n, A), a column per action.
    """

    name: str
    target: Callable[[Case], Vector]
    rows: Callable[[Case], Mask] = everybody
    weight: Callable[[Case], Vector] | None = None
    outcome_loss: bool = False
    sees_action: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """A learner: its stages and how their predictions make an effect.

    Attributes:
        stages: the regressions, independent of one another.
        combine: stage name → predictions, to the effects (n, A) with column 0 all zeros.
        needs_mu: whether the stages read the out-of-fold responses ``Case.mu``.
    """

    stages: tuple[Stage, ...]
    combine: Callable[[Mapping[str, Vector]], Vector]
    needs_mu: bool
