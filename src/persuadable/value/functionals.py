"""The arithmetic of ranking measures: numbers, influence functions and curves from sorted scores Γ.

Every function takes ``gamma`` (m,) in rank order (highest score first) and the ``Ranks`` it belongs to.
Notation: U the share ranked above a row (ties and the row itself count half), p a row's share of the weight,
C(φ) = E[Γ·1{U ≤ φ}] the uplift curve, linear within a tie group because its rows enter by the fraction that fits.

Each measure is a linear rank statistic T = Σ p Γ J(U). Its influence function has two parts, what a row's own Γ adds
and what its presence does to the ranks of all others, ψ_i = Γ_i J(U_i) + E_j[Γ_j J′(U_j)(1{S_i > S_j} + ½·1{S_i =
S_j} − U_j)] − T   (Hájek 1968; for RATE, Yadlowsky et al. 2025). Every ψ is per row with mean 0 under p;
``influence_stderr`` applies weights and clusters.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from persuadable.value.estimate import Codes, Floats
from persuadable.value.ranks import Ranks

__all__ = [
    "GRID",
    "Sums",
    "autoc_influence",
    "autoc_value",
    "auuc_influence",
    "bootstrap",
    "curve_shares",
    "curve_stderr",
    "curve_value",
    "mean_influence",
    "mean_value",
    "qini_influence",
    "qini_value",
    "threshold_effect",
    "top_influence",
]

GRID = 1_000
CLUSTERED_GRID = 100


def mean_value(gamma: Floats, ranks: Ranks) -> float:
    """E[Γ], the average effect."""
    return float(gamma.mean() if ranks.p is None else gamma @ ranks.p)


def mean_influence(gamma: Floats, ranks: Ranks) -> tuple[float, Floats]:
    """E[Γ] and its influence function Γ − E[Γ]."""
    value = mean_value(gamma, ranks)
    return value, gamma - value


def qini_value(gamma: Floats, ranks: Ranks) -> float:
    """θ = E[Γ(½ − U)]."""
    return float(np.diff(ranks.cumulate(gamma)) @ (0.5 - ranks.middle))


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Running sums over the rows above each group's start, (G + 1,) each: all that curves and their bands need.

    Attributes:
        above: Σ p·Γ, the uplift curve C at ``ranks.share``.
        p2: Σ p².
        p2_gamma: Σ p²·Γ.
        p2_gamma2: Σ p²·Γ².
    """

    above: Floats
    p2: Floats
    p2_gamma: Floats
    p2_gamma2: Floats

    @classmethod
    def of(cls, gamma: Floats, ranks: Ranks) -> Sums:
        """The sums of scores Γ (m,) in rank order."""
        above = ranks.cumulate(gamma)
        if ranks.p is None:
            return cls(above, ranks.share / ranks.m, above / ranks.m, ranks.cumulate(gamma * gamma) / ranks.m)
        square = ranks.p * ranks.p
        by_gamma = square * gamma
        return cls(above, ranks.running(square), ranks.running(by_gamma), ranks.running(by_gamma * gamma))


def qini_influence(gamma: Floats, ranks: Ranks, above: Floats | None = None) -> tuple[float, Floats]:
    """θ = E[Γ(½ − U)] and ψ = Γ(½ − U) − θ − (G(S) − E[G(S)]), G(s) = E[Γ·1{S < s}] + ½E[Γ·1{S = s}].

    As E[G(S)] = E[ΓU] = ½E[Γ] − θ and G(S) = E[Γ] − (what is above and half the own group), one pass is enough.

    Args:
        gamma: (m,) scores in rank order.
        ranks: their ranking.
        above: (G + 1,) ``ranks.cumulate(gamma)``, if known already.
    """
    above = ranks.cumulate(gamma) if above is None else above
    weight = 0.5 - ranks.middle
    value = float(np.diff(above) @ weight)
    rank_term = (above[1:] + above[:-1]) / 2
    rank_term -= above[-1] / 2 + 2 * value
    psi = gamma * ranks.expand(weight)
    psi += ranks.expand(rank_term)
    return value, psi


def auuc_influence(gamma: Floats, ranks: Ranks) -> tuple[float, Floats]:
    """E[Γ(1 − U)] = θ + ½E[Γ] and its influence function."""
    qini, psi = qini_influence(gamma, ranks)
    mean, psi_mean = mean_influence(gamma, ranks)
    return qini + mean / 2, psi + psi_mean / 2


def autoc_value(gamma: Floats, ranks: Ranks) -> float:
    """AUTOC = ∫₀¹ (E[Γ | U ≤ φ] − E[Γ]) dφ; see ``autoc_influence``."""
    weight = (_harmonic_weights if ranks.p is None else _logarithmic_weights)(ranks)[0]
    return float(np.diff(ranks.cumulate(gamma)) @ weight)


def autoc_influence(gamma: Floats, ranks: Ranks, above: Floats | None = None) -> tuple[float, Floats]:
    """AUTOC and its influence function.

    Equal row weights: the mean of TOC over the m ranks, so the i-th row has weight J_i = Σ_{k ≥ i} 1/k − 1, averaged
    in tie groups, as R's grf computes it. ψ is the exact leave-one-out influence: without a row, those above it keep
    their place and those below move up by one. (The plug-in with −log U is coarse where 1/U is largest, at the very
    top.) Unequal weights: J(U) = −log U − 1 averaged over each group's share, the exact integral of the TOC curve.

    Args:
        gamma: (m,) scores in rank order.
        ranks: their ranking.
        above: (G + 1,) ``ranks.cumulate(gamma)``, if known already.
    """
    weight, own, lift, within = (_harmonic_weights if ranks.p is None else _logarithmic_weights)(ranks)
    parts = np.diff(ranks.cumulate(gamma) if above is None else above)
    value = float(parts @ weight)
    # What a row's presence does to every group below it, less a constant (the sum over all groups), and to its own.
    rank_term = np.cumsum(np.multiply(parts, lift, out=lift))
    np.negative(rank_term, out=rank_term)
    if ranks.tied or ranks.p is not None:
        rank_term += parts * within
    psi = gamma * ranks.expand(own)
    psi += ranks.expand(rank_term)
    psi -= mean_value(psi, ranks)
    return value, psi


def _harmonic_weights(ranks: Ranks) -> tuple[Floats, Floats, Floats, Floats]:
    """By group: J; a row's own weight; what one row more above does to J, times m; and one row more within.

    With H the harmonic numbers, a rows above the group and c in it, J = H_m − M − 1, M the mean of H_a … H_{a+c−1}.
    A row more above moves M by (H_{a+c−1} − H_{a−1})/c, a row more within (from c − 1) by (H_{a+c−1} − M)/(c − 1).
    """
    m = ranks.m
    inverse = np.arange(1.0, m + 1)
    np.divide(1.0, inverse, out=inverse)
    harmonic = np.empty(m + 1)
    harmonic[0] = 0.0
    np.cumsum(inverse, out=harmonic[1:])
    top = harmonic[-1] - 1
    if not ranks.tied:
        weight = top - harmonic[:-1]
        lift = np.zeros(m)
        np.multiply(inverse[:-1], -m, out=lift[1:])
        return weight, weight - 1 / m, lift, np.zeros(1)
    first, last, size = ranks.start[:-1], ranks.start[1:] - 1, np.diff(ranks.start)
    mean = np.add.reduceat(harmonic[:-1], first) / size
    within = (harmonic[last] - mean) / np.maximum(size - 1, 1)
    lift = np.where(first > 0, (harmonic[last] - harmonic[np.maximum(first - 1, 0)]) / size, 0.0)
    return top - mean, top - 1 / m - mean + within, -m * lift, -m * within


def _logarithmic_weights(ranks: Ranks) -> tuple[Floats, Floats, Floats, Floats]:
    """As ``_harmonic_weights``, for a population: J averages −log u − 1 over the group's share (a, b)."""
    a, b = ranks.share[:-1], ranks.share[1:]
    width = b - a
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = np.where((a > 0) & (width > 0), np.log1p(width / a) / width, 0.0)
        ratio = np.where(width > 0, a * growth, 1.0)
        within = np.where(width > 0, (ratio - 1) / width, 0.0)
        weight = np.where(b > 0, -np.log(b) - ratio, 0.0)
    return weight, weight, -growth, within


def top_influence(gamma: Floats, ranks: Ranks, k: float, above: Floats | None = None) -> tuple[float, Floats]:
    """E[Γ | U ≤ k] and its influence function.

    ψ = (M·Γ − (M − k)·g)/k − value, M the fraction of a row inside the top share and g the effect at the threshold.
    The term in g is there because the threshold is itself a sample quantile; see ``threshold_effect``.
    """
    above = ranks.cumulate(gamma) if above is None else above
    value = float(np.interp(k, ranks.share, above)) / k
    effect = float(threshold_effect(ranks, above, np.array([k]))[0])
    return value, _inside(ranks, k) * (gamma - effect) / k + (effect - value)


def _inside(ranks: Ranks, k: float) -> Floats:
    """(m,) fraction of each row, in rank order, that lies in the top share k."""
    a, b = ranks.share[:-1], ranks.share[1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        fraction = np.where(b > a, (k - a) / (b - a), b <= k)
    return np.asarray(ranks.expand(np.clip(fraction, 0.0, 1.0)))


def threshold_effect(ranks: Ranks, above: Floats, shares: Floats) -> Floats:
    """E[Γ | U = φ] at each share: the slope of the uplift curve over a window of half-width ½·m^(−1/5) in share.

    The window narrows at the slow rate usual for a local mean. Inside a wide tie group the slope is the group's mean.
    It enters only standard errors, through the variance it explains.

    Args:
        ranks: a ranking.
        above: (G + 1,) running means of Γ.
        shares: (k,) shares in [0, 1].
    """
    half = min(0.25, 0.5 * ranks.m**-0.2)
    low, high = np.maximum(shares - half, 0.0), np.minimum(shares + half, 1.0)
    rise = np.interp(high, ranks.share, above) - np.interp(low, ranks.share, above)
    return np.asarray(rise / (high - low))


def curve_shares(ranks: Ranks, clustered: bool = False) -> Floats:
    """Shares at which to draw a curve: every tie group's edges, or 1,001 equal steps (101 with clusters) if more."""
    steps = CLUSTERED_GRID if clustered else GRID
    return ranks.share if ranks.share.shape[0] <= steps + 1 else np.linspace(0.0, 1.0, steps + 1)


def curve_value(ranks: Ranks, above: Floats, shares: Floats, *, gain: bool) -> Floats:
    """C(φ), or the gain over the random ranking C(φ) − φ·C(1), at each share."""
    value = np.interp(shares, ranks.share, above)
    return np.asarray(value - shares * above[-1] if gain else value)


def curve_stderr(
    gamma: Floats, ranks: Ranks, sums: Sums, shares: Floats, *, gain: bool, clusters: Codes | None = None
) -> Floats:
    """Pointwise standard errors of ``curve_value``, thresholds being sample quantiles.

    ψ(φ) = (M − bφ)(Γ − g) − mean, with M the fraction of a row inside the top share φ, g the effect at the threshold
    and b = 1 for the gain, 0 for the curve. Above, at and below the threshold M − bφ is constant, so sums of p², p²Γ
    and p²Γ² give every point's variance from one pass.

    Args:
        gamma: (m,) scores in rank order.
        ranks: their ranking.
        sums: their running sums.
        shares: (k,) shares in [0, 1].
        gain: whether the random ranking's line is subtracted.
        clusters: (m,) cluster codes in rank order; then every point takes a pass of its own.
    """
    effect = threshold_effect(ranks, sums.above, shares)
    if clusters is not None:
        points = zip(shares.tolist(), effect.tolist(), strict=True)
        return np.array([_clustered_stderr(gamma, ranks, phi, g, gain, clusters) for phi, g in points])
    group = np.clip(np.searchsorted(ranks.share, shares, side="left") - 1, 0, ranks.share.shape[0] - 2)
    left, right = ranks.share[group], ranks.share[group + 1]
    fraction = (shares - left) / (right - left)
    base = shares if gain else np.zeros_like(shares)
    first, second = np.zeros_like(shares), np.zeros_like(shares)
    for inside, low, high in ((1.0, 0, group), (fraction, group, group + 1), (0.0, group + 1, -1)):
        s0, s1, s2 = (total[high] - total[low] for total in (sums.p2, sums.p2_gamma, sums.p2_gamma2))
        coefficient = inside - base
        first += coefficient * (s1 - effect * s0)
        second += coefficient**2 * (s2 - 2 * effect * s1 + effect**2 * s0)
    centre = curve_value(ranks, sums.above, shares, gain=gain) - (0.0 if gain else shares * effect)
    variance = second - 2 * centre * first + centre**2 * sums.p2[-1]
    return np.asarray(np.sqrt(np.maximum(variance, 0.0) * (ranks.m / max(ranks.m - 1, 1))))


def _clustered_stderr(gamma: Floats, ranks: Ranks, phi: float, effect: float, gain: bool, clusters: Codes) -> float:
    psi = (_inside(ranks, phi) - (phi if gain else 0.0)) * (gamma - effect)
    psi -= mean_value(psi, ranks)
    by_cluster = np.bincount(clusters, weights=ranks.mass(psi))
    count = by_cluster.shape[0]
    return math.sqrt(float(by_cluster @ by_cluster) * count / max(count - 1, 1))


def bootstrap(
    measure: Callable[[Floats], tuple[float, ...]],
    m: int,
    *,
    n_resamples: int,
    rng: np.random.Generator,
    weight: Floats | None = None,
    clusters: Codes | None = None,
) -> Floats:
    """(n_resamples, j) values of j measures under the ordinary bootstrap.

    Rows, or whole clusters, are drawn with replacement.

    Args:
        measure: takes (m,) row weights in the order of ``weight`` and ``clusters``.
        m: rows.
        n_resamples: how often to draw.
        rng: where the draws come from.
        weight: (m,) row weights the draws multiply.
        clusters: (m,) cluster codes.
    """
    units = m if clusters is None else int(clusters.max()) + 1
    values = []
    for _ in range(n_resamples):
        drawn = np.bincount(rng.integers(0, units, units), minlength=units).astype(np.float64)
        by_row = drawn if clusters is None else drawn[clusters]
        values.append(measure(by_row if weight is None else by_row * weight))
    return np.array(values)
