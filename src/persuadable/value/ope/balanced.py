"""Weights without propensities: a classifier tells what was done from what the candidate would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from persuadable.engine import LocalEngine, Trees
from persuadable.engine.local import Fit, Matrix
from persuadable.policies.base import sample_actions
from persuadable.value.estimate import Floats

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["balanced_ratios", "odds"]

MOST_SURE = 1 - 1e-6


def odds(probability: Floats) -> Floats:
    """p/(1 − p), the ratio of two densities from the probability that a row came from the first; at most a million."""
    sure = np.minimum(probability, MOST_SURE)  # single precision rounds a very sure classifier to 1
    return np.asarray(sure / (1.0 - sure))


def balanced_ratios(
    log: DecisionLog,
    probabilities: Floats,
    *,
    trees: Trees | None = None,
    n_folds: int = 5,
    engine: LocalEngine | None = None,
    random_state: int = 0,
) -> Floats:
    """(n,) estimates of π(A | x)/π_b(A | x) that need no propensity (Sondhi, Arbour and Dimmery 2020).

    Every row appears twice: with the action taken (class 0), and with one drawn from the candidate (class 1). A
    classifier that sees features and action tells the classes apart; its odds at the action taken, from models that
    saw the row in neither role, are the ratio of the densities, because the features are the same in both classes.

    Args:
        log: n rows.
        probabilities: (n, A) of the candidate.
        trees: settings of the classifier.
        n_folds: folds.
        engine: where to fit; None is a ``LocalEngine``.
        random_state: seed of the actions drawn, the folds and the ensembles.

    Raises:
        ParameterError: more folds than the smallest arm has rows.
    """
    engine, trees = engine or LocalEngine(), trees or Trees()
    drawn = sample_actions(np.asarray(probabilities, dtype=np.float64), np.random.default_rng(random_state))
    plain = engine.matrix(log.features)
    values = np.vstack([log.features.values, log.features.values])
    both = Matrix(values, plain.types, plain.device, plain.threads)
    seeing = both.with_action(np.concatenate([log.action, drawn]), log.n_actions)
    candidate = np.repeat([0.0, 1.0], log.n)
    weight = None if log.weight is None else np.tile(np.asarray(log.weight, dtype=np.float64), 2)
    folds = np.tile(log.folds(n_folds, random_state), 2)
    fits, held_out = [], []
    for k in range(n_folds):
        rows = np.flatnonzero(folds != k)
        held_out.append(np.flatnonzero(folds[: log.n] == k))
        counted = None if weight is None else weight[rows]
        fits.append(Fit(rows, candidate[rows], counted, "logistic", trees, held_out[-1]))
    ratios = np.empty(log.n)
    for rows, fitted in zip(held_out, engine.run(seeing, fits, seed=random_state, what="Balance"), strict=True):
        ratios[rows] = odds(np.asarray(fitted.held_out, dtype=np.float64))
    return ratios
