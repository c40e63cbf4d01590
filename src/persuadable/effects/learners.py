"""S, T, X, R and DR: each a recipe and no more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from persuadable.design.propensity import PropensityChoice
from persuadable.effects import scores
from persuadable.effects.learner import Learner
from persuadable.engine import Case, LocalEngine, Recipe, Stage, Trees
from persuadable.engine.responses import LossChoice
from persuadable.errors import ParameterError

__all__ = ["DRLearner", "RLearner", "SLearner", "TLearner", "XLearner"]

Vector = NDArray[np.float64]
Mask = NDArray[np.bool_]
Predictions = Mapping[str, Vector]


class SLearner(Learner):
    """One response model that sees the action; the effect is what changing the action changes.

    τ_a(x) = μ(x, a) − μ(x, 0) (Künzel et al. 2019).
    """

    def recipe(self, n_actions: int, constant_propensity: tuple[float, ...] | None) -> Recipe:
        stage = Stage("response", _outcome, sees_action=True)
        return Recipe((stage,), lambda p: p["response"] - p["response"][:, :1], needs_mu=False)


class TLearner(Learner):
    """A response model for each arm: τ_a(x) = μ_a(x) − μ_0(x) (Künzel et al. 2019)."""

    def recipe(self, n_actions: int, constant_propensity: tuple[float, ...] | None) -> Recipe:
        stages = tuple(Stage(f"response-{a}", _outcome, rows=response_rows(a), arm=a) for a in range(n_actions))
        return Recipe(stages, outcome_differences(n_actions), needs_mu=False)


class XLearner(Learner):
    """Imputes each unit's effect with the other arm's response, then regresses it (Künzel et al. 2019).

    Args:
        form: "one-model" regresses the imputed effects of both arms together, weighted so that it has the solution of
            the "two-model" form, g·τ_control + (1 − g)·τ_treated, at half the models and with all rows shaping one
            surface.
        trees, nuisance_trees, n_folds, propensity, clip, n_resamples, engine, random_state, loss: see
            ``Learner``. No row weighs more than 1/clip under "ipw".
        weighting: g, with p the chance of the treatment against the control.
            "overlap": g = p, Künzel's choice: a row weighs (a − p)². It keeps the error of the smaller arm's response
            small, and rests on the smaller arm's outcomes for that.
            "ipw": g = ½: a row weighs one over the chance of what it got, so both arms count as much everywhere.
            "rows": g = 1 − p: every row counts once. The imputed effect of a row is its effect plus the noise of its
            outcome, so this has the least noise where both arms' outcomes are about as noisy, see
            ``scores.x_combination``; its price is the error of the smaller arm's response. Take it for rare outcomes,
            where noise is all there is: of 2,000,000 rows at 0.3% conversion and 85% treated the control has 700
            conversions (docs/rare-outcomes.md).
    """

    def __init__(
        self,
        form: Literal["one-model", "two-model"] = "one-model",
        trees: Trees | None = None,
        nuisance_trees: Trees | None = None,
        n_folds: int = 5,
        propensity: PropensityChoice = "auto",
        clip: float = 0.01,
        n_resamples: int = 0,
        engine: LocalEngine | None = None,
        random_state: int = 0,
        loss: LossChoice = "auto",
        weighting: Literal["overlap", "ipw", "rows"] = "overlap",
    ) -> None:
        super().__init__(trees, nuisance_trees, n_folds, propensity, clip, n_resamples, engine, random_state, loss)
        self.form = form
        self.weighting = weighting

    def recipe(self, n_actions: int, constant_propensity: tuple[float, ...] | None) -> Recipe:
        if self.weighting not in WEIGHTS:
            raise ParameterError(
                f"weighting={self.weighting!r} is not a choice", where="XLearner", remedy=f"Choose among {[*WEIGHTS]}."
            )
        if self.form == "one-model":
            return _per_treatment(n_actions, _imputed, rows=_pair, weight=WEIGHTS[self.weighting])
        if self.form != "two-model":
            raise ParameterError(
                f"form={self.form!r} is not a choice", where="XLearner", remedy="Choose 'one-model' or 'two-model'."
            )
        stages = []
        for a in range(1, n_actions):
            stages.append(Stage(f"treated-{a}", _imputed(a), rows=_took(a)))
            stages.append(Stage(f"control-{a}", _imputed(a), rows=_control_of(a)))
            if constant_propensity is None:
                stages.append(Stage(f"propensity-{a}", _pair_propensity(a), rows=_pair(a)))

        def combine(p: Predictions) -> Vector:
            columns = []
            for a in range(1, n_actions):
                g: Vector | float
                if constant_propensity is None:
                    g = np.clip(p[f"propensity-{a}"], 0.0, 1.0)
                else:
                    g = constant_propensity[a] / (constant_propensity[0] + constant_propensity[a])
                g = {"overlap": g, "ipw": 0.5, "rows": 1 - g}[self.weighting]
                columns.append(scores.x_combination(p[f"control-{a}"], p[f"treated-{a}"], g))
            return _beside_zero(columns)

        return Recipe(tuple(stages), combine, needs_mu=True)


class RLearner(Learner):
    """Regresses residual outcome on residual treatment (Robinson 1988; Nie, Wager 2021)."""

    def recipe(self, n_actions: int, constant_propensity: tuple[float, ...] | None) -> Recipe:
        return _per_treatment(n_actions, _residual, rows=_pair, weight=_overlap)


class DRLearner(Learner):
    """Regresses the doubly robust score Γ_a (Kennedy 2023)."""

    def recipe(self, n_actions: int, constant_propensity: tuple[float, ...] | None) -> Recipe:
        return _per_treatment(n_actions, _doubly_robust, rows=_possible)


def _per_treatment(
    n_actions: int,
    target: Callable[[int], Callable[[Case], Vector]],
    *,
    rows: Callable[[int], Callable[[Case], Mask]],
    weight: Callable[[int], Callable[[Case], Vector]] | None = None,
) -> Recipe:
    """One regression per treatment, whose prediction is its effect."""
    stages = tuple(
        Stage(f"effect-{a}", target(a), rows=rows(a), weight=None if weight is None else weight(a))
        for a in range(1, n_actions)
    )
    return Recipe(stages, lambda p: _beside_zero([p[stage.name] for stage in stages]), needs_mu=True)


def outcome_differences(n_actions: int) -> Callable[[Predictions], Vector]:
    """Predictions "response-0", "response-1", … to (n, A) effects."""
    return lambda p: _beside_zero([p[f"response-{a}"] - p["response-0"] for a in range(1, n_actions)])


def _beside_zero(columns: list[Vector]) -> Vector:
    """(n, A) effects: the control's zeros, then a column per treatment."""
    effects = np.zeros((columns[0].size, len(columns) + 1))  # a service does this for every user: stack() costs more
    for a, column in enumerate(columns, start=1):
        effects[:, a] = column
    return effects


def _outcome(case: Case) -> Vector:
    return case.response_target


def _took(a: int) -> Callable[[Case], Mask]:
    """Rows that took action a."""
    return lambda case: case.action == a


def response_rows(a: int) -> Callable[[Case], Mask]:
    """Rows that teach the response of action a."""
    return _took(a) if a else _comparable_control


def _control_of(a: int) -> Callable[[Case], Mask]:
    """Control rows that could have got treatment a."""
    return lambda case: (case.action == 0) & (case.e[:, a] > 0)


def _comparable_control(case: Case) -> Mask:
    """Control rows that could have got some treatment."""
    control: Mask = (case.action == 0) & np.any(case.e[:, 1:] > 0, axis=1)
    return control


def _pair(a: int) -> Callable[[Case], Mask]:
    """Rows of treatment a or the control for which both were possible."""

    def rows(case: Case) -> Mask:
        if case.e.shape[1] == 2:
            return _possible(a)(case)
        taken: Mask = (case.action == a) | (case.action == 0)
        return taken & _possible(a)(case)

    return rows


def _possible(a: int) -> Callable[[Case], Mask]:
    """Rows for which treatment a was possible."""
    return lambda case: case.e[:, a] > 0


def _pair_propensity(a: int) -> Callable[[Case], Vector]:
    """P(a | a or control), (n,); 1/2 where a was impossible, rows no stage reads."""

    def p(case: Case) -> Vector:
        both = case.e[:, a] + case.e[:, 0]
        share: Vector = np.where(case.e[:, a] > 0, case.e[:, a] / both, 0.5)
        return share

    return p


def _imputed(a: int) -> Callable[[Case], Vector]:
    return lambda case: scores.imputed_effect(case.y, case.action == a, case.mu[:, a], case.mu[:, 0])


def _residual(a: int) -> Callable[[Case], Vector]:
    return lambda case: scores.residual_target(
        case.y, case.action == a, case.mu[:, a], case.mu[:, 0], _pair_propensity(a)(case)
    )


def _overlap(a: int) -> Callable[[Case], Vector]:
    return lambda case: scores.residual_weight(case.action == a, _pair_propensity(a)(case))


def _inverse(a: int) -> Callable[[Case], Vector]:
    """One over the chance of what a row got, treatment a or the control."""

    def weight(case: Case) -> Vector:
        p = _pair_propensity(a)(case)
        return np.asarray(1 / np.where(case.action == a, p, 1 - p))

    return weight


#: How the X-learner weighs its rows, given the treatment; None: each counts once.
WEIGHTS: Mapping[str, Callable[[int], Callable[[Case], Vector]] | None] = {
    "overlap": _overlap,
    "ipw": _inverse,
    "rows": None,
}


def _doubly_robust(a: int) -> Callable[[Case], Vector]:
    def target(case: Case) -> Vector:
        e1 = np.where(case.e[:, a] > 0, case.e[:, a], 1.0)  # rows where a was impossible are not read
        return scores.doubly_robust_score(
            case.y, case.action == a, case.action == 0, case.mu[:, a], case.mu[:, 0], e1, case.e[:, 0]
        )

    return target
