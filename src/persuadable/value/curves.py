"""Curves over the share targeted, with their bands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from persuadable.value.estimate import Codes, Floats, normal_quantile
from persuadable.value.functionals import Sums, curve_shares, curve_stderr, curve_value
from persuadable.value.ranks import Ranks

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Curve", "CurveKind", "draw_curve"]

CurveKind = Literal["uplift", "qini", "toc"]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A curve over the share of the population targeted, highest scores first.

    Straight lines between its points are exact where scores tie (a group is entered in part by all its rows alike), for
    ``kind`` "uplift" and "qini".

    Attributes:
        kind: "uplift", "qini" or "toc".
        share: (k,) shares targeted, rising.
        value: (k,) the curve, in outcome units: per head of the whole population for "uplift" and "qini",
            per head targeted for "toc".
        stderr: (k,) pointwise standard errors.
        lower: (k,) lower edge of the pointwise 1 − alpha band.
        upper: (k,) upper edge.
        random: (k,) what a random ranking is expected to give.
        alpha: probability each point's interval is meant to miss.
        n: rows the curve rests on.
        name: the outcome.
    """

    kind: CurveKind
    share: Floats
    value: Floats
    stderr: Floats
    lower: Floats
    upper: Floats
    random: Floats
    alpha: float
    n: int
    name: str = ""

    def at(self, share: float) -> float:
        """The curve at a share, on the straight line between its points."""
        return float(np.interp(share, self.share, self.value))

    def frame(self) -> pl.DataFrame:
        """Columns share, value, stderr, lower, upper, random."""
        import polars as pl

        return pl.DataFrame({c: getattr(self, c) for c in ("share", "value", "stderr", "lower", "upper", "random")})

    def __len__(self) -> int:
        return int(self.share.shape[0])

    def __str__(self) -> str:
        peak = int(np.argmax(self.value))
        return (
            f"{self.kind} curve of {self.name}: {len(self):,} points, highest {self.value[peak]:.4g} "
            f"at share {self.share[peak]:.3g} ({100 * (1 - self.alpha):g}% band "
            f"{self.lower[peak]:.4g} to {self.upper[peak]:.4g}, n = {self.n:,})"
        )


def draw_curve(
    kind: CurveKind,
    gamma: Floats,
    ranks: Ranks,
    *,
    alpha: float = 0.05,
    sums: Sums | None = None,
    clusters: Codes | None = None,
    name: str = "",
) -> Curve:
    """The curve of one kind from scores Γ in rank order (see ``functionals`` for the formulas).

    * uplift: C(φ) = E[Γ·1{U ≤ φ}], against the random line φ·C(1);
    * qini: the gain C(φ) − φ·C(1), against 0; the area under it is the Qini coefficient θ;
    * toc: the gain divided by φ, E[Γ | U ≤ φ] − E[Γ], against 0 (Yadlowsky et al. 2025); it begins after φ = 0.

    Args:
        kind: which curve.
        gamma: (m,) scores in rank order.
        ranks: their ranking.
        alpha: the band's level.
        sums: their running sums, if known already.
        clusters: (m,) cluster codes in rank order.
        name: the outcome.
    """
    sums = Sums.of(gamma, ranks) if sums is None else sums
    gain = kind != "uplift"
    share = curve_shares(ranks, clustered=clusters is not None)
    share = share[1:] if kind == "toc" else share
    value = curve_value(ranks, sums.above, share, gain=gain)
    stderr = curve_stderr(gamma, ranks, sums, share, gain=gain, clusters=clusters)
    if kind == "toc":
        value, stderr = value / share, stderr / share
    half = normal_quantile(alpha) * stderr
    random = np.zeros_like(share) if gain else share * sums.above[-1]
    return Curve(kind, share, value, stderr, value - half, value + half, random, alpha, ranks.m, name)
