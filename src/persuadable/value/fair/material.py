"""What fairness is measured on: row by row, who is selected, what it brings, what there was to be had."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import DataError, ParameterError
from persuadable.policies.base import check_eligible
from persuadable.value.calibration import effect_of
from persuadable.value.estimate import Floats
from persuadable.value.fair.means import Column
from persuadable.value.holdout import require_held_out
from persuadable.value.off_policy import Logged, action_scores, look_at, require_tried
from persuadable.value.policy_value import Plan

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["BENEFIT", "GAP", "POTENTIAL", "REACHED", "SELECTION", "Material", "material"]

SELECTION, BENEFIT, REACHED, POTENTIAL, GAP = range(5)
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What is averaged within groups.

    Attributes:
        columns: π̄, Σ_a π_a(Γ_a − Γ_0), and for a single treatment π_a·s·(Γ_a − Γ_0), s·(Γ_a − Γ_0) and, where effects
            were predicted, Γ_a − Γ_0 − τ̂ among those who may have the treatment; s marks whom the treatment is for.
        predicted: (n,) predicted effects, NaN for those who may not have the treatment; None where none were passed.
        control, treated: (n,) rows that took doing nothing, or a treatment asked about, and whose outcome is not the
            usual one: what effects are seen in.
        logged: outcome, weights and units.
    """

    columns: tuple[Column, ...]
    predicted: Floats | None
    control: Flags
    treated: Flags
    logged: Logged


def material(
    log: DecisionLog,
    plan: Plan,
    *,
    effect: ArrayLike | None,
    gainers: ArrayLike | None,
    action: str | int | None,
    outcome: str | None,
    method: str,
    mu: ArrayLike | None,
) -> Material:
    """Scores Γ of every action, and what the plan makes of them; arguments and errors as for ``fairness``."""
    if method not in ("dr", "ips"):
        raise ParameterError(f"method is {method!r}", remedy='Pass "dr" or "ips".')
    single = None if action is None and log.n_actions > 2 else log.actions.treatment(action)
    if single is None and (effect is not None or gainers is not None):
        raise ParameterError(
            f"{'effect' if effect is not None else 'gainers'}= is about one treatment, and the log has several",
            remedy=f"Name one, action= of {list(log.actions.treatments)}.",
        )
    predicted = None if effect is None else effect_of(log, effect, single)
    marked = _marked(log, gainers)
    logged = look_at(log, outcome, method, mu)
    require_tried(logged.propensity, plan.probabilities, plan.name, logged.actions)
    arms = list(range(1, log.n_actions)) if single is None else [single]
    given = plan.probabilities[:, arms]
    _require_nothing_tried(logged, given.sum(axis=1) > 0.0, "those whom the policy treats")
    scores = action_scores(logged)
    gains = scores[:, arms] - scores[:, :1]
    columns = [Column(given.sum(axis=1)), Column(np.einsum("na,na->n", given, gains))]
    if single is not None:
        able = _able(log, logged, single)
        gain = gains[:, 0]
        potential = np.where(able & marked, gain, 0.0)
        columns += [Column(given[:, 0] * potential), Column(potential)]
        if predicted is not None:
            columns.append(Column(np.where(able, gain - predicted, 0.0), able))
            predicted = np.where(able, predicted, np.nan)
    telling = logged.y != np.median(logged.y)
    return Material(
        tuple(columns), predicted, telling & (logged.action == 0), telling & np.isin(logged.action, arms), logged
    )


def _marked(log: DecisionLog, gainers: ArrayLike | None) -> Flags:
    """(n,) whom the treatment is for.

    Raises:
        DataError: no (n,) truth values.
        LeakageError: they come of models that saw rows of the log.
    """
    if gainers is None:
        return np.ones(log.n, dtype=np.bool_)
    require_held_out(log, gainers)
    marked = np.asarray(gainers)
    if marked.shape != (log.n,) or marked.dtype.kind != "b":
        raise DataError(
            f"gainers has shape {marked.shape} and type {marked.dtype}",
            remedy=f"Pass {log.n:,} truth values, such as learner.effect(test.features)[:, 1] > 0.",
        )
    return np.asarray(marked, dtype=np.bool_)


def _able(log: DecisionLog, logged: Logged, treatment: int) -> Flags:
    """(n,) who may have the treatment.

    Raises:
        PropensityError: somebody may, and had no chance of it, or of doing nothing.
    """
    eligible = check_eligible(log.eligible, log.n, log.n_actions)
    able = np.ones(log.n, dtype=np.bool_) if eligible is None else eligible[:, treatment]
    everybody = np.zeros(logged.propensity.shape)
    everybody[able, treatment] = 1.0
    require_tried(logged.propensity, everybody, "treating all who may be treated", logged.actions)
    _require_nothing_tried(logged, able, "all who may be treated")
    return able


def _require_nothing_tried(logged: Logged, rows: Flags, whom: str) -> None:
    """Refuse a benefit over doing nothing where nothing was never done."""
    nothing: NDArray[Any] = np.zeros(logged.propensity.shape)
    nothing[rows, 0] = 1.0
    require_tried(logged.propensity, nothing, f"doing nothing with {whom}", logged.actions)
