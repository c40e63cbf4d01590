"""Rare outcomes at the end of a funnel: the chance to reach the step before, times what comes of those who do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from persuadable.design.propensity import PropensityChoice
from persuadable.effects.learner import Learner
from persuadable.effects.learners import outcome_differences, response_rows
from persuadable.engine import Case, LocalEngine, Recipe, Stage, Trees
from persuadable.engine.responses import LossChoice
from persuadable.errors import OutcomeError
from persuadable.log import DecisionLog

__all__ = ["FunnelLearner"]

Mask = NDArray[np.bool_]
Vector = NDArray[np.float64]


class FunnelLearner(Learner):
    """Each arm's response in two factors: τ_a(x) = P(s | x, a)·μ_a(x, s) − P(s | x, 0)·μ_0(x, s), s the step reached.

    Nobody converts without a visit, so E[Y | x, a] = P(visit | x, a) · E[Y | visit, x, a]. Visits are many times as
    frequent as conversions, so the first factor, which carries most of what tells people apart, is learned from many
    times as many positives; the second is learned among visitors, where the outcome is no longer rare. With 4% visits
    and 0.2% conversions, a model of conversions has 1 positive to every 20 that the model of visits has.

    Each factor is right by itself, but both are regressions of a response: as with ``TLearner``, nothing is shared
    between the arms. Rows that were treated later than they visited would break the order; the log is refused if a row
    has the outcome without the step.

    Args:
        through: name of the log's outcome, 0 or 1, without which the outcome to be learned is 0.
        trees, n_resamples, engine, random_state, loss: see ``Learner``; the step is always fitted by logistic loss.
        nuisance_trees, n_folds, propensity, clip: as for ``TLearner`` nothing is cross-fitted; the propensities say in
            which rows there was a choice.
    """

    def __init__(
        self,
        through: str = "visit",
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
        super().__init__(trees, nuisance_trees, n_folds, propensity, clip, n_resamples, engine, random_state, loss)
        self.through = through

    def recipe(self, n_actions: int, constant_propensity: tuple[float, ...] | None) -> Recipe:
        stages = []
        for a in range(n_actions):
            stages.append(Stage(f"step-{a}", _step, rows=response_rows(a), loss="logistic"))
            stages.append(Stage(f"response-{a}", _outcome, rows=_reached(a), arm=a))
        given = {f"response-{a}": f"step-{a}" for a in range(n_actions)}
        return Recipe(tuple(stages), outcome_differences(n_actions), needs_mu=False, given=given)

    def reached(self, log: DecisionLog, outcome: str) -> Mask:
        """(n,) whether each row reached the step.

        Raises:
            OutcomeError: no such step, one that is not 0 or 1 or is the outcome itself, or an outcome without it.
        """
        step = log.outcome(self.through)
        where = f"FunnelLearner(through={self.through!r})"
        if outcome == self.through:
            raise OutcomeError(
                f"{outcome!r} is the step of the funnel, and cannot be its end too",
                where=where,
                remedy="Name the outcome behind it, fit(log, outcomes=…); the effect on the step is a TLearner's.",
            )
        if not log.is_binary(self.through):
            raise OutcomeError(f"The step {self.through!r} is not 0 or 1", where=where, remedy="Name one that is.")
        unseen = np.flatnonzero((step == 0) & (log.outcome(outcome) != 0))
        if unseen.size:
            raise OutcomeError(
                f"In {unseen.size:,} rows {outcome!r} came about without {self.through!r}",
                where=f"{where}, first in row {unseen[0]}",
                remedy="Then it is no step on the way: take a learner of the outcome itself, such as TLearner.",
            )
        return np.asarray(step > 0)


def _outcome(case: Case) -> Vector:
    return case.response_target


def _step(case: Case) -> Vector:
    return _told(case).astype(np.float64)


def _reached(a: int) -> Callable[[Case], Mask]:
    """Rows of an arm that reached the step."""
    rows = response_rows(a)
    return lambda case: rows(case) & _told(case)


def _told(case: Case) -> Mask:
    if case.reached is None:
        raise OutcomeError("The case does not say who reached the step", remedy="Fit the learner by fit or fit_many.")
    return case.reached
