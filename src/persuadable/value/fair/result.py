"""What an audit of a policy by group answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from persuadable.errors import UnknownName
from persuadable.value.estimate import Estimate
from persuadable.value.fair.disparity import Disparity, Measure
from persuadable.value.ope.ratio import Ratio

if TYPE_CHECKING:
    import polars as pl

__all__ = ["LEAST_RESPONSES", "Fairness", "FairnessAlarm", "GroupFairness"]

LEAST_RESPONSES = 10  # rows of an arm whose outcome is not the usual one: fewer, and no effect is compared


@dataclass(frozen=True, slots=True)
class GroupFairness:
    """A group under a policy. Each interval stands for itself.

    Attributes:
        segment, group: name of the column, and of the group.
        n: rows.
        size: how many equally weighted units they count as.
        share: (weighted) share of all rows.
        enough: whether it is large enough to be compared.
        responses: rows of its thinner arm whose outcome is not the usual one; effects are compared from 10.
        selection: share of the group that the policy treats.
        impact: that over the highest rate of the segment's groups that are large enough; None where nobody is treated.
        benefit: what the policy brings per member, in outcome units, over doing nothing.
        potential: what treating every gainer of the group would bring per member; None with several treatments.
        opportunity: benefit among gainers over ``potential``: the share of the effect there is that the policy reaches.
        predicted: mean predicted effect; None where no effects were passed.
        gap: realised less predicted effect, per member who may have the treatment.
        slope: of the scores on the predicted effects within the group, 1 where these are calibrated; None where they
            are all equal.
    """

    segment: str
    group: str
    n: int
    size: float
    share: float
    enough: bool
    responses: int
    selection: Estimate
    impact: float | None
    benefit: Estimate
    potential: Estimate | None
    opportunity: Ratio | None
    predicted: float | None
    gap: Estimate | None
    slope: Estimate | None

    @property
    def causal(self) -> bool:
        """Whether effects in it are compared with those of other groups."""
        return self.enough and self.responses >= LEAST_RESPONSES


@dataclass(frozen=True, slots=True)
class FairnessAlarm:
    """Something that is wrong beyond chance.

    Attributes:
        code: "selection" (below the threshold of another group's rate), "opportunity" (likewise), "calibration"
            (effects foretold less well than for another group), or "harm" (the policy brings the group a loss).
        segment, group: whom it concerns.
        against: the group compared with; None for "harm".
        words: a sentence.
    """

    code: Literal["selection", "opportunity", "calibration", "harm"]
    segment: str
    group: str
    against: str | None
    words: str

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True, slots=True)
class Fairness:
    """How a policy treats groups.

    The intervals of ``groups`` stand each for itself, at 1 − alpha. Those of ``disparities``, and with them the alarms,
    hold all together with at least 1 − alpha: each is at 1 − alpha/``comparisons`` (Bonferroni).

    Attributes:
        policy: its name.
        outcome: what benefit is measured in.
        method: "dr" or "ips".
        groups: one per segment and group.
        disparities: one per pair of groups, large enough, and measure.
        alarms: what is wrong beyond chance; the probability of any false one is at most alpha.
        comparisons: how many statements the alarms are picked from.
        threshold: the least ratio of selection and of opportunity asked for.
        min_size: units a group needs to be compared.
        alpha: probability the intervals are meant to miss.
        n: rows.
    """

    policy: str
    outcome: str
    method: str
    groups: tuple[GroupFairness, ...]
    disparities: tuple[Disparity, ...]
    alarms: tuple[FairnessAlarm, ...]
    comparisons: int
    threshold: float
    min_size: int
    alpha: float
    n: int

    @property
    def flagged(self) -> bool:
        """Whether there is any alarm."""
        return bool(self.alarms)

    @property
    def segments(self) -> tuple[str, ...]:
        """Names of the columns of groups."""
        return tuple(dict.fromkeys(row.segment for row in self.groups))

    def group(self, group: str, segment: str | None = None) -> GroupFairness:
        """One group.

        Raises:
            UnknownName: no such segment or group, or which segment is not said.
        """
        segment = self._segment(segment)
        rows = {row.group: row for row in self.groups if row.segment == segment}
        if group not in rows:
            raise UnknownName(f"There is no group {group!r} in {segment!r}", remedy=f"There are {list(rows)}.")
        return rows[group]

    def widest(self, measure: Measure = "selection", segment: str | None = None) -> Disparity | None:
        """The lowest against the highest group of a segment; None where nothing was compared.

        For selection its ratio is the disparate impact (fairlearn's demographic_parity_ratio), and its difference less
        its sign the statistical parity difference (demographic_parity_difference).

        Raises:
            UnknownName: no such segment, or which one is not said.
        """
        segment = self._segment(segment)
        found = [d for d in self.disparities if d.measure == measure and d.segment == segment]
        return min(found, key=lambda d: d.difference.value, default=None)

    def met(self, segment: str | None = None) -> bool:
        """Whether the 80% rule (or the threshold asked for) holds for selection by the rates themselves.

        Raises:
            UnknownName: no such segment, or which one is not said.
        """
        worst = self.widest("selection", segment)
        return worst is None or worst.ratio is None or worst.ratio >= self.threshold

    def _segment(self, name: str | None) -> str:
        if (name is None and len(self.segments) > 1) or (name is not None and name not in self.segments):
            said = "It is not said which segment is meant" if name is None else f"There is no segment {name!r}"
            raise UnknownName(said, remedy=f"Name one of {list(self.segments)}.")
        return self.segments[0] if name is None else name

    def frame(self) -> pl.DataFrame:
        """One row per group."""
        import polars as pl

        return pl.DataFrame([self._flat(row) for row in self.groups], infer_schema_length=None)

    def _flat(self, row: GroupFairness) -> dict[str, Any]:
        highest = max((r.selection.value for r in self._peers(row)), default=row.selection.value)
        codes = [a.code for a in self.alarms if (a.segment, a.group) == (row.segment, row.group)]
        return (
            {name: getattr(row, name) for name in ("segment", "group", "n", "share", "enough")}
            | _ends("selection", row.selection)
            | {"impact": row.impact, "parity_difference": row.selection.value - highest}
            | _ends("benefit", row.benefit)
            | _ends("potential", row.potential)
            | _ends("opportunity", row.opportunity)
            | {"predicted": row.predicted}
            | _ends("gap", row.gap)
            | _ends("slope", row.slope)
            | {"alarms": ", ".join(dict.fromkeys(codes))}
        )

    def _peers(self, row: GroupFairness) -> list[GroupFairness]:
        return [other for other in self.groups if other.segment == row.segment and other.enough]

    def disparities_frame(self) -> pl.DataFrame:
        """One row per pair of groups and measure, with simultaneous intervals."""
        import polars as pl

        rows = [
            {name: getattr(d, name) for name in ("segment", "measure", "group", "against")}
            | _ends("difference", d.difference)
            | {"ratio": d.ratio}
            | dict(zip(("ratio_lower", "ratio_upper"), d.ratio_interval or (None, None), strict=True))
            | {"status": d.status, "alarm": d.alarm}
            for d in self.disparities
        ]
        return pl.DataFrame(rows, infer_schema_length=None)

    def __str__(self) -> str:
        lines = [f"{self.policy} by group, {self.outcome!r} in {self.n:,} rows"]
        for name in self.segments:
            rows = [row for row in self.groups if row.segment == name]
            width = max(len(name), *(len(row.group) for row in rows))
            lines.append(
                f"{name:{width}}       rows  selected  of highest  benefit per member               opportunity"
            )
            lines += [f"{row.group:{width}} {_line(row)}".rstrip() for row in rows]
        small = [f"{row.group!r} ({row.size:,.0f})" for row in self.groups if not row.enough]
        if small:
            lines.append(f"Too small to be compared, below {self.min_size}: {', '.join(small)}.")
        thin = [f"{row.group!r} ({row.responses})" for row in self.groups if row.enough and not row.causal]
        if thin:
            lines.append(f"Effects not compared, fewer than {LEAST_RESPONSES} responses in an arm: {', '.join(thin)}.")
        over = [row.group for row in self.groups if row.opportunity is not None and row.opportunity.value > 1.0]
        if over:
            lines.append(
                "An opportunity above 100% says that treating everybody would bring less than the policy does: "
                "by chance, or because some are harmed (gainers= leaves those out)."
            )
        sure = f"{self.comparisons} comparisons, which hold together with {1 - self.alpha:g}"
        lines.append(f"{len(self.alarms) or 'No'} alarm{'s' if len(self.alarms) > 1 else ''} among {sure}.")
        return "\n".join([*lines, *(f"- {alarm}" for alarm in self.alarms)])


def _ends(name: str, estimate: Estimate | Ratio | None) -> dict[str, float | None]:
    value, (lower, upper) = (None, (None, None)) if estimate is None else (estimate.value, estimate.interval)
    return {name: value, f"{name}_lower": lower, f"{name}_upper": upper}


def _line(row: GroupFairness) -> str:
    impact = "" if row.impact is None or not row.enough else f"{row.impact:.0%}"
    lower, upper = row.benefit.interval
    benefit = f"{row.benefit.value:.4g} ({lower:.4g} to {upper:.4g})"
    return f"{row.n:10,} {row.selection.value:9.1%}  {impact:>10}  {benefit:32} {_share(row.opportunity)}"


def _share(told: Ratio | None) -> str:
    if told is None:
        return ""
    lower, upper = told.interval
    ends = f"{lower:.0%} to {upper:.0%}" if np.isfinite(upper) else "not bounded"
    return f"{told.value:.0%} ({ends})"
