"""The response of each arm, out of fold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from persuadable.engine import Case, LocalEngine, Trees, response_loss
from persuadable.engine.responses import LossChoice
from persuadable.log import DecisionLog

__all__ = ["cross_fit_arms"]


def cross_fit_arms(
    log: DecisionLog,
    outcome: str | None = None,
    *,
    trees: Trees | None = None,
    n_folds: int = 5,
    engine: LocalEngine | None = None,
    random_state: int = 0,
    loss: LossChoice = "auto",
) -> NDArray[np.float64]:
    """μ_a(x) = E[y | x, a], (n, A), each row's from models that did not see it.

    Args:
        log: n rows, A actions.
        outcome: which outcome; None is the primary one.
        trees: settings of the ensembles.
        n_folds: folds; one ensemble is fitted per fold and arm.
        engine: where to fit; None is a ``LocalEngine``.
        random_state: seed of folds and ensembles.
        loss: "auto", "squared", "logistic" or "poisson", see ``engine.response_loss``.
    """
    engine = engine or LocalEngine()
    # Rows whose action was certain teach too; those in which no treatment was allowed do not.
    shape = (log.n, log.n_actions)
    allowed = np.broadcast_to(1.0, shape) if log.eligible is None else log.eligible.astype(np.float64)
    y = log.outcome(outcome)
    how, scale = response_loss(y, log.action, log.n_actions, loss)
    case = Case(
        y=y,
        action=log.action,
        e=allowed,
        mu=np.empty((log.n, 0)),
        loss=how,
        weight=None if log.weight is None else log.weight.astype(np.float64),
        scale=scale,
    )
    folds = log.folds(n_folds, random_state)
    return engine.cross_fit(engine.matrix(log.features), [case], folds, trees or Trees(), seed=random_state)[0]
