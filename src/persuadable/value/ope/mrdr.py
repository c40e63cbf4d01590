"""The outcome model of more robust DR: regressed so that the variance of DR is small, not its own error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from persuadable.engine import LocalEngine, Trees
from persuadable.engine.local import Fit
from persuadable.errors import DataError
from persuadable.value.estimate import Floats

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["mrdr_predictions", "mrdr_weights"]


def mrdr_weights(policy: Floats, propensity: Floats) -> Floats:
    """(n,) π(1 − π_b)/π_b² at the actions taken (Farajtabar, Chow and Ghavamzadeh 2018).

    Args:
        policy: (n,) probability of the action taken under the candidate.
        propensity: (n,) probability it was taken with.
    """
    return np.asarray(policy * (1.0 - propensity) / propensity**2)


def mrdr_predictions(
    log: DecisionLog,
    probabilities: Floats,
    outcome: str | None = None,
    *,
    trees: Trees | None = None,
    n_folds: int = 5,
    engine: LocalEngine | None = None,
    random_state: int = 0,
) -> Floats:
    """q̂ (n, A), each row's from models that did not see it and that weigh their rows by ``mrdr_weights``.

    An arm that the candidate never takes (or that was certain whenever it was taken) in the rows of a fold's model has
    no weight there, and its rows weigh alike.

    Args:
        log: n rows.
        probabilities: (n, A) of the candidate.
        outcome: which outcome; the first when None.
        trees: settings of the ensembles.
        n_folds: folds.
        engine: where to fit; None is a ``LocalEngine``.
        random_state: seed of folds and ensembles.

    Raises:
        DataError: an arm has no row outside some fold.
        ParameterError: more folds than the smallest arm has rows.
    """
    engine, trees = engine or LocalEngine(), trees or Trees()
    here = np.arange(log.n), log.action
    weights = mrdr_weights(np.asarray(probabilities[here], dtype=np.float64), log.taken_propensity())
    y = log.outcome(outcome)
    folds = log.folds(n_folds, random_state)
    fits, places = [], []
    for k in range(n_folds):
        held_out = np.flatnonzero(folds == k)
        for arm in range(log.n_actions):
            rows = np.flatnonzero((folds != k) & (log.action == arm))
            if not rows.size:
                raise DataError(
                    f"All rows of {log.actions.names[arm]!r} are in one fold",
                    remedy="Use a log with more rows of this action, or another estimator.",
                )
            weight = weights[rows] if weights[rows].any() else np.ones(rows.size)
            rows, weight = rows[weight > 0], weight[weight > 0]
            if log.weight is not None:
                weight = weight * log.weight[rows]
            loss = "logistic" if log.is_binary(outcome) else "squared"
            fits.append(Fit(rows, y[rows], weight, loss, trees, held_out))  # type: ignore[arg-type]
            places.append((held_out, arm))
    fitted = engine.run(engine.matrix(log.features), fits, seed=random_state, what="Responses")
    q = np.empty((log.n, log.n_actions))
    for (held_out, arm), one in zip(places, fitted, strict=True):
        q[held_out, arm] = one.held_out
    return q
