"""With what probability was each action taken? Known, read off the arms, or estimated out of fold."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from persuadable.engine import LocalEngine, Trees
from persuadable.engine.local import Fit, Matrix
from persuadable.errors import ParameterError, PropensityError
from persuadable.features import Column, Features
from persuadable.log import DecisionLog
from persuadable.log.checks import require_comparable

if TYPE_CHECKING:
    from persuadable.engine.responses import Loss

__all__ = ["ClippingWarning", "Propensity", "PropensityChoice", "estimate_propensity", "resolve"]

PropensityChoice = Literal["auto", "known", "constant", "estimated"]
Vector = NDArray[np.float64]


class ClippingWarning(UserWarning):
    """Known propensities were clipped, which trades a little bias for variance."""


@dataclass(frozen=True, slots=True, eq=False)
class Propensity:
    """Propensities ready for use.

    Attributes:
        values: (n, A), clipped, rows summing to 1.
        source: "known", "constant" (arm shares) or "estimated" (out of fold).
        constant: whether every row has the same.
        clip: the bound below which none may fall.
        clipped: (A,) how many rows each action's propensity was raised in.
        lowest: (A,) smallest propensity of each action before clipping.
    """

    values: Vector
    source: Literal["known", "constant", "estimated"]
    constant: bool
    clip: float
    clipped: tuple[int, ...]
    lowest: tuple[float, ...]

    def __str__(self) -> str:
        shape = "constant" if self.constant else "varying"
        report = f"{self.source}, {shape}, lowest {min(self.lowest):.4g}"
        return f"{report}, {sum(self.clipped):,} of {len(self.values):,} rows clipped at {self.clip:g}"


def resolve(
    log: DecisionLog,
    how: PropensityChoice = "auto",
    *,
    clip: float = 0.01,
    folds: NDArray[np.int16] | None = None,
    trees: Trees | None = None,
    engine: LocalEngine | None = None,
    matrix: Matrix | None = None,
    random_state: int = 0,
) -> Propensity:
    """The propensities of a log, clipped from below; those logged as 0 stay 0, there nothing was tried.

    Args:
        log: n rows, A actions.
        how: "known" uses those in the log; "constant" the shares of the arms; "estimated" fits them out of
            fold; "auto" is "known" where the log has them, else "constant", which is what a completely
            randomised experiment has. Pass "estimated" for anything else.
        clip: least propensity, within [0, 1/A).
        folds, trees, engine, matrix, random_state: for "estimated".

    Raises:
        ParameterError: no such choice, or a clip outside its range.
        PropensityError: "known" without propensities in the log, or a log in which they leave rows without a choice.
    """
    require_comparable(log)
    if how not in ("auto", "known", "constant", "estimated"):
        raise ParameterError(
            f"propensity={how!r} is not a choice", remedy="Choose 'auto', 'known', 'constant' or 'estimated'."
        )
    if not 0 <= clip < 1 / log.n_actions:
        raise ParameterError(f"clip must lie in [0, {1 / log.n_actions:.3g}), got {clip!r}")
    if how == "known" and log.propensities is None:
        raise PropensityError(
            f"The log {log.name!r} has no propensities",
            remedy="Give propensity= when making it, or choose 'constant' or 'estimated'.",
        )
    if how == "estimated":
        raw = estimate_propensity(
            log, folds=folds, trees=trees, engine=engine, matrix=matrix, random_state=random_state
        )
        return _clipped(log, raw, "estimated", clip)
    if how == "constant" and log.propensities is not None:
        return _clipped(log, log.shares(), "constant", clip)
    if log.propensities is None:
        return _clipped(log, log.propensity(), "constant", clip)
    known = log.propensity()
    return _clipped(log, known, "estimated" if log.propensity_source == "estimated" else "known", clip, known > 0)


def estimate_propensity(
    log: DecisionLog,
    *,
    folds: NDArray[np.int16] | None = None,
    n_folds: int = 5,
    trees: Trees | None = None,
    engine: LocalEngine | None = None,
    matrix: Matrix | None = None,
    random_state: int = 0,
) -> Vector:
    """(n, A) probabilities of the actions given the features, each row's from a model that did not see it.

    The default ensemble is small (50 trees of depth 3, learning rate 0.1): propensities that are sharper
    than the data warrant make weights explode.
    """
    engine = engine or LocalEngine()
    trees = trees or Trees(n_trees=50, max_depth=3)
    if log.eligible is not None:
        matrix = engine.matrix(_with_eligibility(log))
    matrix = matrix or engine.matrix(log.features)
    folds = log.folds(n_folds, random_state) if folds is None else folds
    binary = log.n_actions == 2
    loss: Loss = "logistic" if binary else "softmax"
    fits, held_out = [], []
    for k in range(int(folds.max()) + 1):
        rows, out = np.flatnonzero(folds != k), np.flatnonzero(folds == k)
        weight = None if log.weight is None else log.weight[rows].astype(np.float64)
        target = log.action[rows].astype(np.float64)
        fits.append(Fit(rows, target, weight, loss, trees, out, None if binary else log.n_actions))
        held_out.append(out)
    e = np.empty((log.n, log.n_actions))
    for out, fitted in zip(held_out, engine.run(matrix, fits, seed=random_state, what="Propensity"), strict=True):
        p = np.asarray(fitted.held_out, dtype=np.float64)
        e[out] = np.stack([1 - p, p], axis=1) if binary else p
    if log.eligible is not None:
        e[~log.eligible] = 0.0
    e /= e.sum(axis=1, keepdims=True)
    return e


def _with_eligibility(log: DecisionLog) -> Features:
    """The features and, for each treatment, whether it was possible: it drives the propensities more than any."""
    assert log.eligible is not None
    columns = [Column(f"eligible: {i}: {label}") for i, label in enumerate(log.actions.treatments)]
    values = np.column_stack([log.features.values, log.eligible[:, 1:].astype(np.float32)])
    return Features(values, (*log.features.columns, *columns))


def _raised(e: Vector, clip: float, allowed: NDArray[np.bool_] | bool) -> Vector:
    """Propensities with those below ``clip`` raised to it at the cost of the others; rows still sum to 1."""
    raised: Vector = e
    for _ in range(e.shape[1]):  # paying for one may push another below, at most once each
        low = (raised <= clip) & allowed
        rest = np.where(low, 0.0, raised)
        room = 1 - clip * low.sum(axis=1, keepdims=True)
        raised = np.where(low, clip, rest * room / np.maximum(rest.sum(axis=1, keepdims=True), 1e-300))
    return raised


def _clipped(
    log: DecisionLog,
    e: Vector,
    source: Literal["known", "constant", "estimated"],
    clip: float,
    possible: NDArray[np.bool_] | None = None,
) -> Propensity:
    """``e`` with what was ``possible`` (None: eligible) raised to the clip."""
    allowed = possible if possible is not None else True if log.eligible is None else log.eligible
    low = (e < clip) & allowed
    clipped = tuple(int(c) for c in low.sum(axis=0))
    lowest = tuple(float(v) for v in np.where(allowed, e, 1.0).min(axis=0))
    if sum(clipped):
        if source == "known":
            warnings.warn(
                f"{sum(clipped):,} known propensities lie below clip={clip:g} and were raised to it; "
                "pass a lower clip to use them as they are.",
                ClippingWarning,
                stacklevel=3,
            )
        e = _raised(e, clip, allowed)
    constant = bool(e.strides[0] == 0 or (e == e[0]).all())
    return Propensity(e, source, constant, clip, clipped, lowest)
