"""Which features make an effect: Shapley values, exact for trees, carried through the learner's recipe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persuadable.effects.learner import Learner, Models
from persuadable.engine import Recipe, Stage, TreeModel
from persuadable.engine.compiled import objective
from persuadable.engine.trees import xgboost

__all__ = ["Attribution", "contributions"]

Vector = NDArray[np.float64]
Values = NDArray[np.float32]

CHUNK = 4_096  # rows; bounds the memory of contributions under way


@dataclass(frozen=True, slots=True, eq=False)
class Attribution:
    """Effects taken apart: ``base + values.sum(axis=1)`` is the effect.

    Attributes:
        base: (n, A) effect before any feature is known, in outcome units; column 0 is zero.
        values: (n, d, A) what each feature adds to it.
    """

    base: Vector
    values: Vector


def contributions(learner: Learner, X: Any, outcome: str | None = None) -> Attribution:
    """What each feature adds to each row's effects.

    Each stage's ensemble is taken apart by the Shapley values of its trees, where a feature not yet known is averaged
    over the training rows that share the path (Lundberg et al. 2020, "From local explanations to global understanding",
    the path-dependent form). A logistic stage is taken apart on the log-odds scale, and each part rescaled by
    (σ(m) − σ(b))/(m − b), with m the row's log-odds and b their base (Chen, Lundberg, Lee 2022, "Explaining a series of
    models by propagating Shapley values"). The parts then pass through the recipe's combination, which is linear in
    them. Two conventions make them parts of an effect: what the S-learner's action adds goes to the base, which so
    varies from row to row, and the propensities that weigh the two-model X-learner's effects are held at the row's own.

    They say what moves the model's effect, not what causes it: correlated features share or trade their contributions.

    Args:
        learner: fitted.
        X: (n, d) features, as in ``Learner.effect``.
        outcome: which outcome; None is the primary one.

    Raises:
        NotFittedError: before ``fit``.
        OutcomeError: an outcome the learner was not fitted on.
        FeatureError: features that differ from those fitted on.
    """
    name = learner._outcome(outcome)
    values, n_actions = learner._values(X), len(learner.actions_)
    recipe = learner.recipe(n_actions, learner.constant_propensity_)
    parts = np.empty((len(values), values.shape[1] + 1, n_actions))
    for start in range(0, len(values), CHUNK):
        chunk = slice(start, start + CHUNK)
        parts[chunk] = _parts(recipe, learner.models_[name], values[chunk], n_actions)
    return Attribution(base=parts[:, -1], values=parts[:, :-1])


def _parts(recipe: Recipe, models: Models, values: Values, n_actions: int) -> Vector:
    """(n, d + 1, A) parts of the effects, the base last."""
    n, width = len(values), values.shape[1] + 1
    told = {stage.name: _stage_parts(stage, models[stage.name], values, n_actions) for stage in recipe.stages}
    # Each part passes through the combination as if it were a row of its own.
    combined = recipe.combine({stage: part.reshape(n * width, *part.shape[2:]) for stage, part in told.items()})
    return combined.reshape(n, width, n_actions)


def _stage_parts(stage: Stage, model: TreeModel, values: Values, n_actions: int) -> Vector:
    """Parts of a stage's predictions, the base last: (n, d + 1), or (n, d + 1, A) where it sees the action."""
    d = values.shape[1]
    if stage.name.startswith("propensity"):
        return np.repeat(model.predict(values).astype(np.float64)[:, None], d + 1, axis=1)
    if not stage.sees_action:
        return _shapley(model, values)
    by_action = []
    for seeing in _with_action(values, n_actions):
        parts = _shapley(model, seeing)
        parts[:, d + 1] += parts[:, d]
        by_action.append(np.delete(parts, d, axis=1))
    return np.stack(by_action, axis=2)


def _with_action(values: Values, n_actions: int) -> Iterator[Values]:
    for action in range(n_actions):
        yield np.column_stack([values, np.full(len(values), action, dtype=np.float32)])


def _shapley(model: TreeModel, values: Values) -> Vector:
    """(n, d + 1) Shapley values of an ensemble's predictions, the base last; their sum is the prediction."""
    booster = model.booster
    data = xgboost().DMatrix(values, feature_types=booster.feature_types, enable_categorical=True)
    parts: Vector = booster.predict(data, pred_contribs=True, validate_features=False).astype(np.float64)
    predicted = booster.predict(data, output_margin=True, validate_features=False).astype(np.float64)
    parts[:, -1] += predicted - parts.sum(axis=1)  # XGBoost sums them in single precision
    if objective(model) == "logistic":
        return _as_probability(parts, predicted)
    return parts


def _as_probability(parts: Vector, margin: Vector) -> Vector:
    """Parts of log-odds as parts of the probability: the base through σ, the others by the slope of the chord."""
    from scipy.special import expit

    base = parts[:, -1]
    rise = margin - base
    flat = np.abs(rise) < 1e-4
    middle = expit((margin + base) / 2)  # the chord's slope but for a term in rise², lost in rounding before it counts
    chord = (expit(margin) - expit(base)) / np.where(flat, 1.0, rise)
    slope = np.where(flat, middle * (1 - middle), chord)
    return np.column_stack([parts[:, :-1] * slope[:, None], expit(base)])
