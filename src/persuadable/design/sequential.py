"""When may one look? Boundaries for a planned number of looks, and for looking as often as one likes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from scipy.special import lambertw, ndtr, ndtri

from persuadable.design.crossing import Floats, check_fractions, first_crossings, solve_boundaries
from persuadable.errors import ParameterError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Monitoring", "MonitoringKind", "always_valid_quantile", "mixture_scale", "monitor"]

MonitoringKind = Literal["fixed", "obrien-fleming", "pocock", "always-valid"]
LOOKS = 5
WORDS = {
    "fixed": "one look, at the end",
    "obrien-fleming": "O'Brien–Fleming spending",
    "pocock": "Pocock spending",
    "always-valid": "always valid",
}


@dataclass(frozen=True, slots=True)
class Monitoring:
    """How often an experiment is looked at, and how far from 0 the difference must be each time.

    Attributes:
        kind: "fixed", "obrien-fleming", "pocock" or "always-valid".
        alpha: probability of a false alarm over all looks.
        fractions: (K,) share of the planned units at each look.
        boundaries: (K,) how many standard errors the difference must exceed; those beyond 8 are cut there.
        spent: (K,) probability of a false alarm up to and including each look. Always-valid boundaries leave some of
            alpha for the looks that are not listed.
    """

    kind: MonitoringKind
    alpha: float
    fractions: tuple[float, ...]
    boundaries: tuple[float, ...]
    spent: tuple[float, ...]

    def power(self, drift: float) -> float:
        """Probability of crossing a boundary in the effect's direction at one of the looks.

        Args:
            drift: the effect in standard errors of the whole experiment.
        """
        return float(self.crossing(abs(drift))[:, 0].sum())

    def crossing(self, drift: float) -> Floats:
        """(K, 2) probabilities of crossing first at each look, upwards and downwards."""
        return first_crossings(self.fractions, self.boundaries, drift)

    def drift(self, power: float) -> float:
        """The effect, in standard errors of the whole experiment, that is found with this probability.

        Raises:
            ParameterError: power not within (alpha / 2, 1).
        """
        if not self.spent[-1] / 2 < power < 1:
            raise ParameterError(
                f"power is {power!r}",
                remedy=f"Pass a number between {self.spent[-1] / 2:g} and 1, such as 0.8.",
            )
        return _drift(self, power)

    def inflation(self, power: float = 0.8) -> float:
        """Planned units of this monitoring over those of a single look with the same power."""
        return (self.drift(power) / monitor("fixed", alpha=self.alpha).drift(power)) ** 2

    def expected_fraction(self, drift: float) -> float:
        """Mean share of the planned units used before it stops, crossing in either direction."""
        stops = self.crossing(drift).sum(axis=1)
        return float(stops @ np.array(self.fractions) + (1 - stops.sum()) * self.fractions[-1])

    def frame(self) -> pl.DataFrame:
        """One row per look."""
        import polars as pl

        return pl.DataFrame(
            {"fraction": self.fractions, "boundary": self.boundaries, "alpha_spent": self.spent},
            schema={"fraction": pl.Float64, "boundary": pl.Float64, "alpha_spent": pl.Float64},
        )

    def __str__(self) -> str:
        looks = ", ".join(f"{t:.0%}: {z:.2f}" for t, z in zip(self.fractions, self.boundaries, strict=True))
        return f"{WORDS[self.kind]} at {self.alpha:.2g}; standard errors to exceed at each look: {looks}"


@lru_cache(maxsize=256)
def _drift(monitoring: Monitoring, power: float) -> float:
    from scipy.optimize import brentq

    return float(brentq(lambda drift: monitoring.power(drift) - power, 0.0, 40.0, xtol=1e-10))


def monitor(
    kind: MonitoringKind = "obrien-fleming", looks: int | Sequence[float] | None = None, *, alpha: float = 0.05
) -> Monitoring:
    """Boundaries that keep the chance of a false alarm over all looks at alpha, symmetric about 0.

    Spending functions (Lan and DeMets 1983), each side spending a = alpha/2 up to information fraction t:
    O'Brien–Fleming type 2 − 2Φ(z_{a/2}/√t), strict early and nearly the usual 1.96 at the end; Pocock type
    a·ln(1 + (e − 1)t), almost as strict at the end as at the start. The boundary of a look depends on the fractions
    up to it alone, so looks may move while the experiment runs, as long as it is not for what was seen.
    "always-valid" is the asymptotic confidence sequence (`always_valid_quantile`), narrowest at the planned end: it
    allows any number of looks, and the table lists it at these.

    Args:
        kind: "obrien-fleming", "pocock", "always-valid", or "fixed": one look at the end.
        looks: how many, evenly spaced, or their fractions of the planned units; None is 5, and 1 for "fixed".
        alpha: probability of a false alarm in either direction over all looks.

    Raises:
        ParameterError: unknown kind, alpha outside (0, 0.5], or looks that do not rise within (0, 1].
    """
    if kind not in get_args(MonitoringKind):
        raise ParameterError(f"monitoring is {kind!r}", remedy=f"Pass one of {list(get_args(MonitoringKind))}.")
    _check_alpha(alpha)
    if alpha > 0.5:
        raise ParameterError(
            f"alpha is {alpha!r}", remedy="Pass the probability of a false alarm, such as 0.05 for 95% intervals."
        )
    fractions = _fractions(kind, looks)
    if kind == "always-valid":
        boundaries = tuple(always_valid_quantile(t, best_at=1.0, alpha=alpha) for t in fractions)
    elif kind == "fixed":
        boundaries = (float(-ndtri(alpha / 2)),)
    else:
        allowed = [_spending(kind, t, alpha) for t in fractions]
        boundaries = solve_boundaries(fractions, np.diff([0.0, *allowed]).tolist())
    spent = first_crossings(fractions, boundaries).sum(axis=1).cumsum()
    return Monitoring(kind, alpha, fractions, boundaries, tuple(float(s) for s in spent))


def _fractions(kind: str, looks: int | Sequence[float] | None) -> tuple[float, ...]:
    if looks is None:
        looks = 1 if kind == "fixed" else LOOKS
    if isinstance(looks, int | np.integer):
        if looks < 1:
            raise ParameterError(f"looks is {looks}", remedy="Look at least once.")
        looks = [(k + 1) / int(looks) for k in range(int(looks))]
    fractions = check_fractions(looks)
    if kind == "fixed" and fractions != (1.0,):
        raise ParameterError(
            f"monitoring='fixed' was asked to look at {list(fractions)} of the planned units",
            remedy="It looks once, at the end. To look earlier choose 'obrien-fleming', 'pocock' or 'always-valid'.",
        )
    return fractions


def _spending(kind: str, fraction: float, alpha: float) -> float:
    """Probability of a false alarm, in either direction, allowed up to an information fraction."""
    if kind == "pocock":
        return alpha * math.log1p((math.e - 1) * fraction)
    return float(4 * ndtr(ndtri(alpha / 4) / math.sqrt(fraction)))


def mixture_scale(best_at: float, alpha: float = 0.05) -> float:
    """ρ of the normal mixture whose confidence sequence is narrowest, in standard errors, at ``best_at`` rows.

    ρ² · best_at = −W₋₁(−alpha²/e) − 1, with W₋₁ the lower branch of Lambert's function (Howard, Ramdas, McAuliffe and
    Sekhon 2021; Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024).

    Raises:
        ParameterError: best_at not above 0, alpha outside (0, 1).
    """
    _check_alpha(alpha)
    if not 0 < best_at < math.inf:
        raise ParameterError(f"best_at is {best_at!r}", remedy="Pass the number of rows planned, fixed beforehand.")
    return math.sqrt((-float(lambertw(-(alpha**2) / math.e, k=-1).real) - 1) / best_at)


def always_valid_quantile(n: float, *, best_at: float, alpha: float = 0.05) -> float:
    """How many standard errors either side the always-valid interval reaches after n rows.

    √(2(nρ² + 1)/(nρ²) · ln(√(nρ² + 1)/alpha)), the two-sided asymptotic confidence sequence of Waudby-Smith et al.
    (2024): with probability 1 − alpha it holds the truth at all n at once, from sample sizes at which the standard
    error is itself reliable. With ``best_at`` chosen by the n at hand this would fail: fix it before the first look.

    Args:
        n: independent rows (units) so far.
        best_at: the n at which it is to be narrowest, fixed beforehand.
        alpha: probability of ever missing the truth.

    Raises:
        ParameterError: n or best_at not above 0, alpha outside (0, 1).
    """
    if not 0 < n < math.inf:
        raise ParameterError(f"n is {n!r}", remedy="Pass how many independent rows there are, at least 1.")
    spread = n * mixture_scale(best_at, alpha) ** 2
    return math.sqrt(2 * (spread + 1) / spread * math.log(math.sqrt(spread + 1) / alpha))


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise ParameterError(f"alpha is {alpha!r}", remedy="Pass a number between 0 and 1, such as 0.05.")
