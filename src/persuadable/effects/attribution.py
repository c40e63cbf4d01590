"""Which features make an effect: Shapley values, exact for trees, carried through the learner's recipe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persuadable.effects.calibrated import CalibratedEffects
from persuadable.effects.learner import Learner, Models
from persuadable.engine import Recipe, Stage, TreeModel
from persuadable.engine.compiled import objective
from persuadable.engine.responses import Scale
from persuadable.engine.trees import LARGEST_LOG_MEAN, xgboost
from persuadable.errors import ParameterError

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


def contributions(learner: Learner | CalibratedEffects, X: Any, outcome: str | None = None) -> Attribution:
    """What each feature adds to each row's effects.

    Each stage's ensemble is taken apart by the Shapley values of its trees, where a feature not yet known is averaged
    over the training rows that share the path (Lundberg et al. 2020, "From local explanations to global understanding",
    the path-dependent form). A logistic stage is taken apart on the log-odds scale, and each part rescaled by
    (σ(m) − σ(b))/(m − b), with m the row's log-odds and b their base (Chen, Lundberg, Lee 2022, "Explaining a series of
    models by propagating Shapley values"); a Poisson stage likewise on the scale of the log mean, with exp for σ. The
    parts then pass through the recipe's combination, which is linear in them. Two conventions make them parts of an
    effect: what the S-learner's action adds goes to the base, which so varies from row to row, and the propensities
    that weigh the two-model X-learner's effects are held at the row's own. The product of a funnel's two stages is
    taken apart by its own Shapley values.

    Of calibrated effects the parts are those of the learner below, rescaled by (m(τ) − m(b))/(τ − b) with m the map of
    the action, τ the row's effect and b its base: the same rule, one step further.

    They say what moves the model's effect, not what causes it: correlated features share or trade their contributions.

    Args:
        learner: fitted, or calibrated effects of a fitted one.
        X: (n, d) features, as in ``Learner.effect``.
        outcome: which outcome; None is the primary one.

    Raises:
        NotFittedError: before ``fit``.
        OutcomeError: an outcome the learner was not fitted on.
        FeatureError: features that differ from those fitted on.
        ParameterError: calibrated effects of what is no learner.
    """
    name = learner._outcome(outcome)
    if isinstance(learner, CalibratedEffects):
        return _mapped(learner, X, name)
    values, n_actions = learner._values(X), len(learner.actions_)
    recipe = learner.recipe(n_actions, learner.constant_propensity_)
    parts = np.empty((len(values), values.shape[1] + 1, n_actions))
    for start in range(0, len(values), CHUNK):
        chunk = slice(start, start + CHUNK)
        parts[chunk] = _parts(recipe, learner.models_[name], values[chunk], n_actions, learner.scales_[name])
    return Attribution(base=parts[:, -1], values=parts[:, :-1])


def _mapped(calibrated: CalibratedEffects, X: Any, outcome: str) -> Attribution:
    """The parts of calibrated effects."""
    inner = calibrated.learner
    if not isinstance(inner, Learner):
        raise ParameterError(
            f"The effects of a {type(inner).__name__} are not taken apart",
            remedy="Ask for contributions to the effects of a learner.",
        )
    told = contributions(inner, X, outcome)
    base, values = told.base.copy(), told.values.copy()
    for a, through in enumerate(calibrated.maps_[outcome], start=1):
        start, steps = told.base[:, a], told.values[:, :, a].sum(axis=1)
        base[:, a] = through(start)
        moved = through(start + steps) - base[:, a]
        values[:, :, a] *= np.divide(moved, steps, out=np.zeros_like(steps), where=steps != 0)[:, None]
    return Attribution(base, values)


def _parts(recipe: Recipe, models: Models, values: Values, n_actions: int, scale: Scale | None) -> Vector:
    """(n, d + 1, A) parts of the effects, the base last."""
    n, width = len(values), values.shape[1] + 1
    told = {
        stage.name: _in_outcome_units(_stage_parts(stage, models[stage.name], values, n_actions), stage, scale)
        for stage in recipe.stages
    }
    told |= {stage: _product(told[stage], told[given]) for stage, given in recipe.given.items()}
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


def _product(first: Vector, second: Vector) -> Vector:
    """Parts (n, d + 1) of the product of two sums of parts: u_i·(v₀ + v)/2 + v_i·(u₀ + u)/2, and u₀·v₀ for the base.

    The Shapley values of a product of two additive games, in which u_i·v_j is shared equally by i and j.
    """
    u, v = first.sum(axis=1) + first[:, -1], second.sum(axis=1) + second[:, -1]
    parts: Vector = 0.5 * (first * v[:, None] + second * u[:, None])
    parts[:, -1] = first[:, -1] * second[:, -1]
    return parts


def _in_outcome_units(parts: Vector, stage: Stage, scale: Scale | None) -> Vector:
    """Parts of a response brought back from its scale: the span multiplies every part, the low joins the base."""
    if scale is None or not stage.is_response:
        return parts
    arm = slice(None) if stage.arm is None else stage.arm
    parts = parts * scale.span[arm]
    parts[:, -1] += scale.low[arm]
    return parts


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
    loss = objective(model)
    if loss == "logistic":
        return _as_probability(parts, predicted)
    return _as_mean(parts, predicted) if loss == "poisson" else parts


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


def _as_mean(parts: Vector, margin: Vector) -> Vector:
    """Parts of a log mean as parts of the mean: the base through exp, the others by the slope of the chord."""
    base = np.minimum(parts[:, -1], LARGEST_LOG_MEAN)
    rise = margin - parts[:, -1]
    start, grown = np.exp(base), np.expm1(np.minimum(margin, LARGEST_LOG_MEAN) - base)
    slope = start * np.where(rise == 0, 1.0, grown / np.where(rise == 0, 1.0, rise))
    return np.column_stack([parts[:, :-1] * slope[:, None], start])
