"""Does a ranking hold up in one half of the users as in the other?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import ParameterError
from persuadable.value.calibration import Scored, judge_effects, quantile_groups, slope_influence
from persuadable.value.estimate import Codes, Floats
from persuadable.value.ranks import share_above
from persuadable.value.scores import Method

if TYPE_CHECKING:
    import polars as pl

    from persuadable.log import DecisionLog

__all__ = ["Stability", "stability"]


@dataclass(frozen=True, slots=True, eq=False)
class Stability:
    """A ranking judged in random halves; rows are splits, columns the two halves.

    Attributes:
        rank_correlation: (k,) Spearman's correlation of the groups' effects in one half and in the other.
        qini: (k, 2) Qini coefficient, in outcome units per head.
        top_minus_bottom: (k, 2) effect of the group predicted to be affected most less that of the least.
        slope: (k, 2) slope of the best linear predictor.
        bins: groups in each half.
        outcome: the outcome's name.
    """

    rank_correlation: Floats
    qini: Floats
    top_minus_bottom: Floats
    slope: Floats
    bins: int
    outcome: str

    @property
    def agreement(self) -> float:
        """Share of splits in which both halves find the top group affected more than the bottom one."""
        return float((self.top_minus_bottom > 0).all(axis=1).mean())

    def frame(self) -> pl.DataFrame:
        """One row per split."""
        import polars as pl

        columns: dict[str, Any] = {"rank_correlation": self.rank_correlation}
        for name in ("qini", "top_minus_bottom", "slope"):
            table = getattr(self, name)
            columns |= {f"{name}_1": table[:, 0], f"{name}_2": table[:, 1]}
        return pl.DataFrame(columns)

    def __str__(self) -> str:
        low, middle, high = np.quantile(self.rank_correlation, [0.1, 0.5, 0.9])
        return (
            f"{self.rank_correlation.size} random halves, {self.bins} groups by predicted effect on {self.outcome}: "
            f"rank correlation of the groups' effects {middle:.2f} ({low:.2f} to {high:.2f} in 80% of splits); "
            f"in {self.agreement:.0%} both halves find the top group affected more than the bottom one; "
            f"Qini {self.qini.mean():.4g} ± {self.qini.std():.2g} over halves"
        )


def stability(
    log: DecisionLog,
    effect: ArrayLike,
    *,
    n_splits: int = 20,
    bins: int = 5,
    outcome: str | None = None,
    action: str | int | None = None,
    method: Method = "ipw",
    mu: NDArray[Any] | None = None,
    random_state: int | np.random.Generator = 0,
) -> Stability:
    """Judge a ranking in random halves of a held-out log.

    Each half cuts its own groups of equal size. Units are never parted. Scores are made once, on the whole log.
    Halves share nothing but the fitted models, so what differs between them is the noise a single test set of that
    size would have shown.

    Args:
        log: held-out rows.
        effect: (n,) or (n, A) predicted effects of the log's rows.
        n_splits: how many random halvings.
        bins: groups in each half.
        outcome, action, method, mu: as for ``blp``.
        random_state: seed or Generator.

    Raises:
        ParameterError: fewer than one split or two groups, or too few rows for them.
        LeakageError, DataError: as for ``blp``.
    """
    return stability_of(judge_effects(log, effect, outcome, action, method, mu), n_splits, bins, random_state)


def stability_of(scored: Scored, n_splits: int, bins: int, random_state: int | np.random.Generator) -> Stability:
    """:func:`stability` of rows already scored."""
    units = np.arange(scored.m) if scored.clusters is None else scored.clusters
    count = int(units.max()) + 1
    if n_splits < 1 or bins < 2 or count < 4 * bins:
        raise ParameterError(
            f"n_splits = {n_splits} and bins = {bins} with {count:,} units",
            remedy="Pass at least 1 split, 2 bins, and 4 units per bin.",
        )
    rng = np.random.default_rng(random_state)
    found = []
    for _ in range(n_splits):
        first = (rng.permutation(count) < count // 2)[units]
        found.append([_half(scored, half, bins) for half in (first, ~first)])
    return Stability(
        rank_correlation=np.array([_spearman(one[0], other[0]) for one, other in found]),
        qini=np.array([[half[1] for half in pair] for pair in found]),
        top_minus_bottom=np.array([[half[0][-1] - half[0][0] for half in pair] for pair in found]),
        slope=np.array([[half[2] for half in pair] for pair in found]),
        bins=bins,
        outcome=scored.outcome,
    )


def _half(scored: Scored, rows: NDArray[np.bool_], bins: int) -> tuple[Floats, float, float]:
    """Group effects, Qini coefficient E[Γ(½ − U)] and slope in some of the rows."""
    effect, gamma = scored.effect[rows], scored.gamma[rows]
    weight = None if scored.weight is None else scored.weight[rows]
    p = np.full(effect.shape, 1 / effect.shape[0]) if weight is None else weight / weight.sum()
    group: Codes = quantile_groups(effect, bins, weight)
    means = np.bincount(group, weights=p * gamma) / np.bincount(group, weights=p)
    qini = float(p @ (gamma * (0.5 - share_above(effect, weight))))
    return means, qini, slope_influence(effect, gamma, p)[0]


def _spearman(a: Floats, b: Floats) -> float:
    """Rank correlation of two halves' group effects; 0 where ties leave them different or too few groups."""
    if a.shape != b.shape or a.shape[0] < 2:
        return 0.0
    return float(np.corrcoef(share_above(a), share_above(b))[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else 0.0
