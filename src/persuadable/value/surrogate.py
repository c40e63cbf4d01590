"""The surrogate index: outcomes known soon in the place of one known late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from persuadable.engine import LocalEngine, Trees
from persuadable.engine.local import Fit
from persuadable.engine.responses import Loss
from persuadable.features import Column, Features
from persuadable.value.estimate import Floats
from persuadable.value.off_policy import action_scores, look_at

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["index_gain"]

N_FOLDS = 5


def index_gain(
    log: DecisionLog,
    long: str,
    surrogates: Sequence[str],
    probabilities: Floats,
    mature: NDArray[np.intp],
    random_state: int,
) -> tuple[Floats, Floats]:
    """What each decision says of a policy's gain over doing nothing, the index in the place of the late outcome.

    With x the features, s the surrogates, W = π_A(x)/e_A − 1{A = 0}/e_0, and h(x, s) = E[Y | x, s] and
    w(x, s) = E[W | x, s] those of the mature decisions, both out of fold, the gain is

        mean over all of the doubly robust score of h  +  mean over the mature of w(x, s)·(Y − h(x, s)).

    Where the action reaches Y through s alone, E[WY] = E[w·E[Y | x, s]], so the error of the sum is
    E[(W̄ − w)(Ȳ − h)], the product of those of w and h (Chen and Ritzwoller 2023 for the average effect).

    Args:
        log: n decisions.
        long: the late outcome.
        surrogates: the outcomes of the index.
        probabilities: (n, A) of the policy.
        mature: (m,) places of the decisions whose late outcome is known.
        random_state: of folds and ensembles.

    Returns:
        (n,) scores of the index, and (m,) corrections; the gain is the sum of their (weighted) means.
    """
    y = log.outcome(long)[mature]
    action = np.asarray(log.action, dtype=np.intp)[mature]
    taken = log.taken_propensity()[mature]
    weights = (probabilities[mature, action] - (action == 0)) / taken
    index, reach = _cross_fit(log, surrogates, mature, (y, weights), log.is_binary(long), random_state)
    stands_in = replace(log, outcomes={long: index}, cost_name=None)
    scores = action_scores(look_at(stands_in, long, "dr", None))
    gain = np.einsum("na,na->n", probabilities[:, 1:], scores[:, 1:] - scores[:, :1])
    return gain, reach[mature] * (y - index[mature])


def _cross_fit(
    log: DecisionLog,
    surrogates: Sequence[str],
    mature: NDArray[np.intp],
    targets: tuple[Floats, Floats],
    binary: bool,
    random_state: int,
) -> tuple[Floats, Floats]:
    """(n,) predictions of two targets (m,) of the mature from features and surrogates, out of fold."""
    known = log.features
    columns = tuple(Column(f"outcome {name}") for name in surrogates)
    soon = np.column_stack([log.outcome(name) for name in surrogates]).astype(np.float32)
    seen = Features(np.column_stack([known.values, soon]), (*known.columns, *columns))
    engine, fold = LocalEngine(), log.folds(N_FOLDS, random_state)
    matrix = engine.matrix(seen)
    weight = None if log.weight is None else log.weight.astype(np.float64)
    fits, places = [], []
    for k in range(N_FOLDS):
        chosen = fold[mature] != k
        rows, held_out = mature[chosen], np.flatnonzero(fold == k)
        for j, target in enumerate(targets):
            loss: Loss = "logistic" if binary and j == 0 else "squared"
            row_weight = None if weight is None else weight[rows]
            fits.append(Fit(rows, target[chosen], row_weight, loss, Trees(), held_out))
            places.append((j, held_out))
    predicted = np.empty((2, log.n))
    for (j, held_out), fitted in zip(places, engine.run(matrix, fits, seed=random_state, what="Index"), strict=True):
        predicted[j, held_out] = fitted.held_out
    return predicted[0], predicted[1]
