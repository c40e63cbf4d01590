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
        stage = Stage("response", _outcome, outcome_loss=True, sees_action=True)
        return Recipe((stage,), lambda p: p["response"] - p["response"][:, :1], needs_mu=False)


class TLearner(Learner):
    """A response model for each arm: τ_a(x) = μ_a(x) − μ_0(x) (Künzel et al. 2019)."""

    def recipe(self, n_actions: int, constant_propensity: tuple[float, ...] | None) -> Recipe:
        stages = tuple(
            Stage(f"response-{a}", _outcome, rows=_took(a) if a else _comparable_control, outcome_loss=True)
            for a in range(n_actions)
        )
        return Recipe(stages, _differences(n_actions), needs_mu=False)


class XLearner(Learner):
    """Imputes each unit's effect with the other arm's response, then regresses it (Künzel et al. 2019).

    Args:
        form: "one-model" regresses the imputed effects of both arms together, weighted by (a − p)², which has the
            solution of the "two-model" form, p·τ_control + (1 − p)·τ_treated, at half the models and with all rows
            shaping one surface.
        trees, nuisance_trees, n_folds, propensity, clip, n_resamples, engine, random_state: see ``Learner``.
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
    ) -> None:
        super().__init__(trees, nuisance_trees, n_folds, propensity, clip, n_resamples, engine, random_state)
        self.form = form

    def recipe(self, n_actions: int, constant_propensity: tuple[float, ...] | None) -> Recipe:
        if self.form == "one-model":
            return _per_treatment(n_actions, _imputed, rows=_pair, weight=_overlap)
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


def _differences(n_actions: int) -> Callable[[Predictions], Vector]:
    return lambda p: _beside_zero([p[f"response-{a}"] - p["response-0"] for a in range(1, n_actions)])


def _beside_zero(columns: list[Vector]) -> Vector:
    """(n, A) effects: the control's zeros, then a column per treatment."""
    effects = np.zeros((columns[0].size, len(columns) + 1))  # a service does this for every user: stack() costs more
    for a, column in enumerate(columns, start=1):
        effects[:, a] = column
    return effects


def _outcome(case: Case) -> Vector:
    return case.y


def _took(a: int) -> Callable[[Case], Mask]:
    """Rows that took action a."""
    return lambda case: case.action == a


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


def _doubly_robust(a: int) -> Callable[[Case], Vector]:
    def target(case: Case) -> Vector:
        e1 = np.where(case.e[:, a] > 0, case.e[:, a], 1.0)  # rows where a was impossible are not read
        return scores.doubly_robust_score(
            case.y, case.action == a, case.action == 0, case.mu[:, a], case.mu[:, 0], e1, case.e[:, 0]
        )

    return target
