"""What is still to come at each stage of a staged action, out of fold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.engine import LocalEngine, TreeModel, Trees
from persuadable.engine.local import Fit, Matrix
from persuadable.errors import DataError, ParameterError
from persuadable.features import Features

__all__ = ["cross_fit_stages"]

Floats = NDArray[np.float64]


def cross_fit_stages(
    features: Sequence[Any],
    actions: ArrayLike,
    rewards: ArrayLike,
    candidate: ArrayLike,
    *,
    discount: float = 1.0,
    length: ArrayLike | None = None,
    clusters: NDArray[Any] | None = None,
    trees: Trees | None = None,
    n_folds: int = 5,
    engine: LocalEngine | None = None,
    random_state: int = 0,
) -> Floats:
    """Q̂_t(x_t, a) = E[Σ_{j ≥ t} γ^(j−t) r_j | x_t, a, then the candidate], (n, T, A), each round's from other rounds.

    Fitted Q evaluation (Ernst, Geurts and Wehenkel 2005; Le, Voloshin and Yue 2019) from the last stage to the first:
    the target r_t + γ Σ_a π_{t+1}(a) Q̂_{t+1}(a) is regressed on what was known at stage t and the action taken. Every
    fold has a chain of models of its own, none of which saw a round of the fold. For slates a stage is a position, its
    features are the context and the items above.

    Args:
        features: T times what was known when the stage was decided, n rows each (a frame, a 2-D array or ``Features``);
            any values after a round's end.
        actions: (n, T) codes of the actions taken.
        rewards: (n, T).
        candidate: (n, T, A) the candidate's probability of every action at each stage.
        discount: γ in [0, 1].
        length: (n,) stages of each round, where they differ.
        clusters: (n,) ids of rounds that belong together and stay in one fold.
        trees: settings of the ensembles.
        n_folds: folds; one ensemble is fitted per fold and stage.
        engine: where to fit; None is a ``LocalEngine``.
        random_state: seed of folds and ensembles.

    Raises:
        DataError: shapes that do not match, or a reward or code that cannot be used.
        ParameterError: fewer than 2 folds or more than there are rounds, or a stage that no other fold reached.
    """
    policy, y = np.asarray(candidate, dtype=np.float64), np.asarray(rewards, dtype=np.float64)
    codes, known = np.asarray(actions), [Features.of(each) for each in features]
    there = _there(policy, y, codes, known, length)
    policy, y, codes = np.where(there[:, :, None], policy, 0.0), np.where(there, y, 0.0), np.where(there, codes, 0)
    _check(y, codes, policy.shape[2])
    n, stages, n_actions = policy.shape
    engine, fold = engine or LocalEngine(), _folds(n, n_folds, clusters, random_state)
    q, ahead = np.zeros(policy.shape), np.zeros((n_folds, n))
    for t in reversed(range(stages)):
        matrix = engine.matrix(known[t]).with_action(codes[:, t].astype(np.int16), n_actions)
        target = y[:, t] + discount * ahead
        rows = [np.flatnonzero(there[:, t] & (fold != k)) for k in range(n_folds)]
        fits = [Fit(seen, target[k, seen], None, "squared", trees or Trees()) for k, seen in enumerate(rows)]
        for k, fitted in enumerate(engine.run(matrix, fits, seed=random_state, what=f"Stage {t + 1}")):
            table = np.where(there[:, t, None], _under_each(fitted.model, matrix, n_actions), 0.0)
            ahead[k] = (policy[:, t] * table).sum(axis=1)
            q[fold == k, t] = table[fold == k]
    return q


def _under_each(model: TreeModel, matrix: Matrix, n_actions: int) -> Floats:
    """(n, A) predictions with the last column, the action, set to each action."""
    values, columns = matrix.values.copy(), []
    for action in range(n_actions):
        values[:, -1] = action
        columns.append(model.predict(values))
    return np.column_stack(columns).astype(np.float64)


def _there(
    policy: Floats, y: Floats, codes: NDArray[Any], features: Sequence[Features], length: ArrayLike | None
) -> NDArray[np.bool_]:
    """(n, T) whether a stage took place, of arrays that match."""
    if policy.ndim != 3:
        raise DataError(f"candidate has shape {policy.shape}, expected (n, T, A)", remedy="Give one per action.")
    n, stages = policy.shape[:2]
    told = np.full(n, stages) if length is None else np.asarray(length)
    for name, array, shape in (("rewards", y, (n, stages)), ("actions", codes, (n, stages)), ("length", told, (n,))):
        if array.shape != shape:
            raise DataError(f"{name} has shape {array.shape}, expected {shape}", remedy="Give one row per round.")
    sizes = [len(each) for each in features]
    if sizes != [n] * stages:
        raise DataError(
            f"features are of {sizes} rounds, expected {[n] * stages}", remedy="Pass the features of every stage."
        )
    return np.asarray(np.arange(stages) < told[:, None])


def _check(y: Floats, codes: NDArray[Any], n_actions: int) -> None:
    """Refuse values that cannot be learned from."""
    if codes.dtype.kind not in "iu" or ((codes < 0) | (codes >= n_actions)).any():
        raise DataError(f"actions are no codes from 0 to {n_actions - 1}", remedy="Codes are columns of candidate.")
    if not np.isfinite(y).all():
        row, stage = (int(i[0]) for i in np.nonzero(~np.isfinite(y)))
        where = f"row {row}, step {stage}"
        raise DataError(f"rewards holds {y[row, stage]}", where=where, remedy="Give every stage a reward.")


def _folds(n: int, n_folds: int, clusters: NDArray[Any] | None, random_state: int) -> NDArray[np.intp]:
    """(n,) fold of each round, rounds of a cluster together."""
    groups = np.arange(n) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    count = int(groups.max()) + 1
    if not 2 <= n_folds <= count:
        raise ParameterError(f"n_folds is {n_folds} for {count} groups", remedy="Ask for 2 to as many as there are.")
    return np.asarray(np.random.default_rng(random_state).permutation(np.arange(count) % n_folds)[groups])
