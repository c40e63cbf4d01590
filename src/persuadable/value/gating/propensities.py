"""Are the logged propensities the frequencies with which actions were taken?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtrc, ndtr

from persuadable.value.estimate import Floats

if TYPE_CHECKING:
    import polars as pl

    from persuadable.log import DecisionLog

__all__ = [
    "Conditional",
    "FrequencyBin",
    "centred",
    "conditional_test",
    "frame_of",
    "frequencies",
    "holm",
    "learned",
    "summed",
]

LEAST_EXPECTED = 10.0  # of an action in a bin: below it bins are joined
STAGES = 3  # the first third of the rows teaches, the second tests and teaches, the last tests
CERTAIN = 1e-9  # a propensity this close to 0 or 1 left nothing to chance
LEAST_ROWS = 300  # a tree learns nothing from fewer


@dataclass(frozen=True, slots=True)
class FrequencyBin:
    """Rows whose logged propensity of an action lies in a bin.

    Attributes:
        action: whose propensity it is.
        lowest, highest: smallest and largest propensity among the rows.
        rows: how many there are.
        predicted: mean propensity, what share should have got the action.
        observed: what share got it.
        z: the difference in standard errors.
        p_value: two-sided, that of the log's smallest of all bins being as small as this (Holm 1979).
    """

    action: str
    lowest: float
    highest: float
    rows: int
    predicted: float
    observed: float
    z: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Conditional:
    """Whether features foretell actions beyond the logged propensities.

    Attributes:
        z: the score in standard errors; about normal where the propensities are right, large where they are not.
        p_value: one-sided.
        rows: rows it was tested on.
    """

    z: float
    p_value: float
    rows: int


def holm(p_values: Floats) -> Floats:
    """(k,) p-values adjusted so that the smallest is below α with probability at most α (Holm 1979)."""
    order = np.argsort(p_values)
    k = p_values.shape[0]
    raised = np.maximum.accumulate(p_values[order] * np.arange(k, 0, -1))
    adjusted = np.empty(k)
    adjusted[order] = np.minimum(raised, 1.0)
    return adjusted


def frequencies(log: DecisionLog, bins: int = 10) -> tuple[FrequencyBin, ...]:
    """Every action's observed frequency against its logged propensity, by bins of the propensity.

    Rows where the action had no chance are left out. Bins hold about as many rows each and expect the action at least
    ten times. Without row weights and with one row per unit the p-value is the binomial one (the sum of unequal
    Bernoulli draws varies no more); else it is normal, weighted and by units. With two actions the treatment stands
    for both.

    Args:
        log: n rows, A actions.
        bins: how many bins at most for an action.
    """
    e = log.propensity()
    clusters = log.clusters
    weight = None if log.weight is None else np.asarray(log.weight, dtype=np.float64)
    found = []
    for action in range(1 if log.n_actions == 2 else 0, log.n_actions):
        for rows in _binned(e[:, action], bins):
            p = e[rows, action]
            took = log.action[rows] == action
            w = None if weight is None else weight[rows]
            z, p_value = _excess(p, took, w, None if clusters is None else clusters[rows])
            shares = (float(np.average(p, weights=w)), float(np.average(took, weights=w)))
            ends = (float(p.min()), float(p.max()))
            found.append((log.actions.names[action], *ends, int(p.size), *shares, z, p_value))
    adjusted = holm(np.array([row[-1] for row in found]))
    return tuple(FrequencyBin(*row[:-1], p_value=float(p)) for row, p in zip(found, adjusted, strict=True))


def _binned(p: Floats, bins: int) -> Iterator[NDArray[np.intp]]:
    """Rows in bins of rising propensity, equal propensities together, each expecting the action often enough."""
    order = np.argsort(p, kind="stable")
    order = order[p[order] > 0]
    values = p[order]
    wanted = [round(order.size * k / bins) for k in range(1, bins)]
    # A border moves right past the values equal to the one before it.
    borders = sorted({int(np.searchsorted(values, values[at - 1], side="right")) for at in wanted if at})
    start, reached = 0, np.concatenate([[0.0], np.cumsum(values)])
    for border in borders:
        if reached[border] - reached[start] >= LEAST_EXPECTED and reached[-1] - reached[border] >= LEAST_EXPECTED:
            yield order[start:border]
            start = border
    if start < order.size:
        yield order[start:]


def _excess(
    p: Floats, took: NDArray[np.bool_], weight: Floats | None, clusters: NDArray[np.intp] | None
) -> tuple[float, float]:
    """How many standard errors more often than foretold, and its two-sided p-value."""
    residual = took - p
    if weight is not None:
        residual = residual * weight
    total = float(residual.sum())
    if clusters is not None:
        variance = float((np.bincount(clusters, weights=residual) ** 2).sum())
    else:
        spread = p * (1 - p)
        variance = float(spread.sum() if weight is None else (weight**2 * spread).sum())
    if variance <= 0:
        return 0.0, 1.0  # propensities of 1 throughout, and the action taken throughout
    z = total / math.sqrt(variance)
    if weight is None and clusters is None:
        n, k, mean = p.size, int(took.sum()), float(p.mean())
        at_most = float(bdtr(k, n, mean))
        at_least = 1.0 if k == 0 else float(bdtrc(k - 1, n, mean))
        return z, min(1.0, 2 * min(at_most, at_least))
    return z, float(2 * ndtr(-abs(z)))


def conditional_test(log: DecisionLog, random_state: int = 0) -> Conditional | None:
    """Do features (and time) foretell who got which action, beyond the logged propensities?

    On some rows trees learn by how much the log-odds of every treatment are off: they are fitted to
    (1{A=a} − e_a)/(e_a(1 − e_a)) with weights e_a(1 − e_a), the Newton step of a logistic fit that starts at e. On
    later rows the score Σ_a ĝ_a(x)(1{A=a} − e_a) has mean 0 where e is right, whatever ĝ is, and its variance given x
    is known. Rows only ever test what earlier ones taught, so the sum is a martingale and its z normal; testing each
    half on the other's fit would count every pair of rows twice.

    Args:
        log: n rows, A actions.
        random_state: draws the order of the rows (or units).

    Returns:
        the test, or None where the log has fewer than 300 rows or nothing was left to chance.
    """
    e = log.propensity()
    information = e * (1 - e)
    if log.n < LEAST_ROWS or not (information > CERTAIN).any():
        return None
    residual = (log.action[:, None] == np.arange(log.n_actions)) - e
    stage = _stages(log, random_state)
    tested, sums, squares = 0, [], []
    for late, h in learned(log, residual, information, stage, random_state):
        share = e[late]
        if log.propensities is None:
            h = centred(h, share)
        score = (h * residual[late]).sum(axis=1)
        variance = (share * h**2).sum(axis=1) - (share * h).sum(axis=1) ** 2
        total, square = summed(score, variance, None if log.clusters is None else log.clusters[late])
        if square > 0:
            sums.append(total)
            squares.append(square)
            tested += late.size
    if not sums:
        return None
    # Stages weigh alike: the first direction found is as good a question as the second.
    z = float(np.sum(np.array(sums) / np.sqrt(squares)) / math.sqrt(len(sums)))
    return Conditional(z, float(ndtr(-z)), tested)


def summed(score: Floats, variance: Floats, clusters: NDArray[np.intp] | None) -> tuple[float, float]:
    if clusters is None:
        return float(score.sum()), float(variance.sum())
    by_unit = np.bincount(clusters, weights=score)
    return float(by_unit.sum()), float(by_unit @ by_unit)


def centred(h: Floats, shares: Floats) -> Floats:
    """Within the equally eligible, whose observed shares leave residuals that sum to 0."""
    _, group = np.unique(shares, axis=0, return_inverse=True)
    group = group.reshape(-1)
    size = np.bincount(group)
    columns = [h[:, a] - (np.bincount(group, weights=h[:, a]) / size)[group] for a in range(h.shape[1])]
    return np.stack(columns, axis=1)


def _stages(log: DecisionLog, random_state: int) -> NDArray[np.intp]:
    """(n,) stage of each row, no unit in two."""
    rng = np.random.default_rng(random_state)
    units = log.clusters
    if units is None:
        return np.asarray(rng.permutation(log.n) % STAGES, dtype=np.intp)
    return np.asarray((rng.permutation(int(units.max()) + 1) % STAGES)[units], dtype=np.intp)


def learned(
    log: DecisionLog, residual: Floats, information: Floats, stage: NDArray[np.intp], random_state: int
) -> Iterator[tuple[NDArray[np.intp], Floats]]:
    """For every stage but the first: its rows, and by how much (rows, A) the stages before say log-odds are off."""
    from persuadable.engine import LocalEngine, Trees
    from persuadable.engine.local import Fit

    trees = Trees(n_trees=40, max_depth=3, min_child_weight=LEAST_EXPECTED)
    engine = LocalEngine(progress=False)
    matrix = engine.matrix(_with_time(log))
    for k in range(1, STAGES):
        late = np.flatnonzero(stage == k)
        fits, actions = [], []
        for a in range(1, log.n_actions):
            rows = np.flatnonzero((stage < k) & (information[:, a] > CERTAIN))
            weight = information[rows, a]
            if weight.sum() >= 2 * LEAST_EXPECTED:
                fits.append(Fit(rows, residual[rows, a] / weight, weight, "squared", trees, late))
                actions.append(a)
        guess = np.zeros((late.size, log.n_actions))
        fitted = engine.run(matrix, fits, seed=random_state, what="Propensity check")
        for a, one in zip(actions, fitted, strict=True):
            guess[:, a] = one.held_out
        yield late, guess


def _with_time(log: DecisionLog) -> Any:
    """The features and, where the log has it, the time: another version of a policy shows there."""
    from persuadable.features import Column, Features

    if log.time is None:
        return log.features
    # Ranks, because seconds since 1970 do not fit a float32.
    place = np.unique(log.time, return_inverse=True)[1].astype(np.float64)
    values = np.column_stack([log.features.values, (place / max(place.max(), 1.0)).astype(np.float32)])
    name = "time"
    while name in log.features.names:
        name += "_"
    return Features(values, (*log.features.columns, Column(name)))


def frame_of(bins: tuple[FrequencyBin, ...]) -> pl.DataFrame:
    """The bins as a polars frame, one row each."""
    import polars as pl

    return pl.DataFrame([{name: getattr(b, name) for name in b.__slots__} for b in bins])
