"""Who is moved most, and who least: classification analysis (CLAN)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import ActionError, ParameterError
from persuadable.features import Column
from persuadable.policies.threshold import ScoreDistribution, treat_probability
from persuadable.value.calibration import effect_of
from persuadable.value.estimate import Estimate, Floats

if TYPE_CHECKING:
    import polars as pl

    from persuadable.log import DecisionLog

__all__ = ["Clan", "ClanRow", "clan"]


@dataclass(frozen=True, slots=True)
class ClanRow:
    """How one feature differs between the most and the least affected.

    Attributes:
        feature: its name.
        level: for a share: which category, "missing", or "other"; None for the mean of a number.
        most: mean (or share) among the most affected.
        least: among the least affected.
        difference: most − least.
        standardised: the difference in standard deviations of the feature among all rows looked at.
    """

    feature: str
    level: str | None
    most: float
    least: float
    difference: Estimate
    standardised: float

    @property
    def label(self) -> str:
        """The feature, with its level if it has one."""
        return self.feature if self.level is None else f"{self.feature} = {self.level}"


@dataclass(frozen=True, slots=True)
class Clan:
    """How the most and the least affected differ, the largest differences first.

    Attributes:
        rows: one per number, and one per category of a categorical feature.
        share: of the rows looked at in each of the two groups.
        n: rows looked at, those of the log that are eligible for the treatment.
    """

    rows: tuple[ClanRow, ...]
    share: float
    n: int

    def frame(self) -> pl.DataFrame:
        """One row per feature or category."""
        import polars as pl

        return pl.DataFrame(
            [
                {
                    "feature": row.feature,
                    "level": row.level,
                    "most": row.most,
                    "least": row.least,
                    "difference": row.difference.value,
                    "lower": row.difference.interval[0],
                    "upper": row.difference.interval[1],
                    "standardised": row.standardised,
                    "p_value": row.difference.p_value,
                }
                for row in self.rows
            ],
            infer_schema_length=None,
        )

    def __str__(self) -> str:
        width = max([len("feature"), *(len(row.label) for row in self.rows)])
        head = f"{'feature':{width}} {'most':>10} {'least':>10} {'difference':>11}   {'interval':24} in sd"
        lines = [f"the {self.share:.0%} affected most against the {self.share:.0%} affected least", head]
        for row in self.rows:
            low, high = row.difference.interval
            lines.append(
                f"{row.label:{width}} {row.most:10.4g} {row.least:10.4g} {row.difference.value:+11.4g}   "
                f"{f'{low:+.4g} to {high:+.4g}':24} {row.standardised:+.2f}"
            )
        return "\n".join(lines)


def clan(
    log: DecisionLog,
    effect: ArrayLike,
    *,
    share: float = 0.2,
    action: str | int | None = None,
    levels: int = 20,
    alpha: float = 0.05,
) -> Clan:
    """Compare the features of those with the largest and those with the smallest predicted effects.

    Numbers are compared by their means (of the values present), categories and missing values by their shares
    (Chernozhukov, Demirer, Duflo and Fernández-Val 2018). Where ties straddle a group's border, the tied rows
    belong to it in part, so that both groups hold exactly ``share`` and the order of rows does not matter. Intervals
    treat the groups as given, and units with several rows as clusters. Where the log has eligibility, only rows
    eligible for the treatment are looked at, as in the measures that compare effects.

    Args:
        log: held-out rows; outcomes are not used.
        effect: (n,) or (n, A) predicted effects of the log's rows.
        share: of the rows in each group, in (0, 0.5].
        action: the treatment; needed where there are several and ``effect`` is (n, A) or the log has eligibility.
        levels: categories shown per feature, the most frequent ones; the others are one, "other".
        alpha: probability the intervals are meant to miss.

    Raises:
        ParameterError: a share outside (0, 0.5], or fewer than one level.
        LeakageError: the effects come from models that saw rows of the log.
        DataError: effects of another shape, or not finite.
        ActionError: the treatment is not told, or nobody is eligible for it.
    """
    if not 0 < share <= 0.5:
        raise ParameterError(f"share is {share!r}", remedy="Pass the share in each group, above 0 and up to 0.5.")
    if levels < 1:
        raise ParameterError(f"levels is {levels!r}", remedy="Pass at least 1.")
    predicted = effect_of(log, effect, action)
    log, predicted = _eligible(log, predicted, action)
    weight = None if log.weight is None else np.asarray(log.weight, dtype=np.float64)
    groups = Groups(
        top_part(predicted, share, weight), top_part(-predicted, share, weight), weight, log.clusters, alpha
    )
    rows = [
        row
        for i, column in enumerate(log.features.columns)
        for row in feature_rows(column, log.features.values[:, i].astype(np.float64), groups, levels)
    ]
    rows.sort(key=lambda row: (-abs(row.standardised), row.label))
    return Clan(tuple(rows), share, log.n)


def _eligible(log: DecisionLog, predicted: Floats, action: str | int | None) -> tuple[DecisionLog, Floats]:
    """The rows eligible for the treatment, with their predicted effects."""
    if log.eligible is None:
        return log, predicted
    code = log.actions.treatment(action)
    eligible = log.eligible[:, code]
    if not eligible.any():
        raise ActionError(
            f"No row is eligible for {log.actions.names[code]!r}", remedy="Compare those who can be treated."
        )
    return (log, predicted) if eligible.all() else (log.take(eligible), predicted[eligible])


def top_part(score: Floats, share: float, weight: Floats | None) -> Floats:
    """(n,) to what part each row belongs to the top share; rows tied at the border in equal parts."""
    return treat_probability(score, ScoreDistribution.of(score, weight).cut(share))


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Membership (n,) in the most and the least affected, in [0, 1]."""

    most: Floats
    least: Floats
    weight: Floats | None
    clusters: NDArray[np.intp] | None
    alpha: float

    def compare(self, feature: str, level: str | None, x: Floats, present: NDArray[np.bool_]) -> ClanRow:
        """Means of x over the present rows of both groups, and their difference."""
        w = present.astype(np.float64) if self.weight is None else present * self.weight
        sd = float(np.sqrt(np.cov(x[present], aweights=w[present], ddof=0))) if present.any() else 0.0
        (most, up), (least, down) = (_mean_influence(x, w * part) for part in (self.most, self.least))
        difference = Estimate.from_influence(most - least, up - down, self.alpha, self.clusters)
        standardised = (most - least) / sd if sd > 0 else 0.0
        return ClanRow(feature, level, most, least, difference, standardised)


def _mean_influence(x: Floats, w: Floats) -> tuple[float, Floats]:
    """Weighted mean of x and its influence function (n,), scaled so that n_g rows give s/√n_g."""
    total = float(w.sum())
    if total == 0.0:
        return 0.0, np.zeros(x.shape)
    mean = float(w @ x) / total
    size = total**2 / float(w @ w)
    return mean, w * (x - mean) * (x.shape[0] / total) * np.sqrt(size / max(size - 1.0, 1.0))


def feature_rows(column: Column, values: Floats, groups: Groups, levels: int) -> Iterator[ClanRow]:
    """The rows of one feature."""
    missing = np.isnan(values)
    everywhere = np.ones(values.shape, dtype=np.bool_)
    if column.kind == "number":
        if not missing.all():
            yield groups.compare(column.name, None, np.where(missing, 0.0, values), ~missing)
    else:
        counts = np.bincount(values[~missing].astype(np.intp), minlength=len(column.categories))
        shown = [int(c) for c in np.argsort(-counts, kind="stable")[:levels] if counts[c] > 0]
        for code in shown:
            yield groups.compare(column.name, column.categories[code], (values == code).astype(np.float64), everywhere)
        rest = ~missing & ~np.isin(values, shown)
        if rest.any():
            yield groups.compare(column.name, "other", rest.astype(np.float64), everywhere)
    if missing.any():
        yield groups.compare(column.name, "missing", missing.astype(np.float64), everywhere)
