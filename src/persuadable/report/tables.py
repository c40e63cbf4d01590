"""Results as the report's tables, heads and all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from persuadable.report.content import Table
from persuadable.report.words import interval, level, number, p_phrase, p_value, percent

if TYPE_CHECKING:
    from persuadable.design.balance import Balance
    from persuadable.value import BudgetValues, Calibration, Clan, Deciles, Estimate, PolicyComparisons, PolicyValue

__all__ = [
    "balance_table",
    "budget_table",
    "calibration_table",
    "clan_table",
    "decile_table",
    "decision_table",
    "estimate_table",
]


def _with(estimate: Estimate) -> tuple[float, tuple[float, float]]:
    return estimate.value, estimate.interval


def decision_table(result: PolicyComparisons) -> Table:
    """The policy and its alternatives: whom each treats, what it brings, and what the policy gains on it."""
    own = result.policy
    costs = own.cost is not None

    def row(value: PolicyValue, gain: tuple[object, ...]) -> tuple[object, ...]:
        cost = (value.cost.value if value.cost else None,) if costs else ()
        return (value.policy, percent(value.share), *_with(value.estimate), *cost, *gain)

    rows = [row(own, (None, None, ""))]
    for c in result.comparisons:
        rows.append(row(c.baseline, (*_with(c.difference), p_value(c.p_value))))
    said = level(own.estimate.alpha)
    heads = ("policy", "treated", f"{own.outcome} per head", said, *(("cost per head",) if costs else ()))
    return Table(
        (*heads, "gain of the policy", said, "p"),
        tuple(rows),
        caption="The policy and its alternatives",
        note=f"On {own.estimate.n:,} held-out rows. Gains are paired differences, {own.policy} less the row's policy.",
        strong=(0,),
    )


def decile_table(result: Deciles) -> Table:
    """Uplift by decile, the highest scores first."""
    rows: list[tuple[object, ...]] = [
        (
            str(d.bin),
            d.n,
            d.mean_score,
            *_with(d.uplift),
            d.outcome_treated,
            d.outcome_control,
            percent(d.treated_share),
        )
        for d in result.bins
    ]
    rows.append(("all", sum(d.n for d in result.bins), None, *_with(result.overall), None, None, ""))
    heads = ("decile", "rows", "mean score", "effect", level(result.overall.alpha), "if treated", "if not", "treated")
    return Table(
        heads,
        tuple(rows),
        caption=f"Effect on {result.name} by {'decile' if len(result) == 10 else 'group'} of the ranking",
        note="1 is ranked highest. “If treated” and “if not” are mean outcomes per head of the arms.",
        strong=(len(rows) - 1,),
    )


def budget_table(result: BudgetValues) -> Table:
    """Policy value by budget, with its gains over drawing by lot and over other rankings."""
    others = tuple(result.rows[0].gains) if result.rows else ()
    said = level(result.treat_all.alpha)
    heads = ["budget", "treated", f"{result.outcome} per head", "by lot", "gain over lot", said]
    for name in others:
        heads += [f"gain over {name}", said]
    rows = []
    for r in result.rows:
        gains = [part for name in others for part in _with(r.gains[name])]
        rows.append(
            (percent(r.share, 0), percent(r.treated), r.value.value, r.random.value, *_with(r.difference), *gains)
        )
    return Table(tuple(heads), tuple(rows), caption="Value by budget")


def calibration_table(result: Calibration) -> Table:
    """Groups by predicted effect (GATES), the least affected first."""
    rows: list[tuple[object, ...]] = [
        (str(i), g.n, g.predicted, *_with(g.effect)) for i, g in enumerate(result.bins, start=1)
    ]
    rows.append(("top − bottom", None, None, *_with(result.top_minus_bottom)))
    return Table(
        ("group", "rows", "predicted effect", "measured effect", level(result.top_minus_bottom.alpha)),
        tuple(rows),
        caption=f"Predicted and measured effect on {result.outcome}",
        note=f"All groups alike: {p_phrase(result.heterogeneity_p)}. "
        f"Effects fall from one group to the next in {result.monotonicity.inversions} of {len(result.bins) - 1} steps.",
        strong=(len(rows) - 1,),
    )


def clan_table(result: Clan, rows: int = 15) -> Table:
    """How the most and the least affected differ, the largest differences first."""
    shown = result.rows[:rows]
    body = [
        (r.label, number(r.most, 3), number(r.least, 3), interval(*r.difference.interval), r.standardised)
        for r in shown
    ]
    left = len(result.rows) - len(shown)
    said = level(shown[0].difference.alpha) if shown else "interval"
    return Table(
        ("feature", "most affected", "least affected", f"difference, {said}", "in std. deviations"),
        tuple(body),
        caption=f"The {percent(result.share, 0)} affected most and the {percent(result.share, 0)} affected least",
        note="Means of numbers, shares of categories."
        + (f" {left} smaller difference{'s' * (left > 1)} left out." if left else ""),
    )


def balance_table(result: Balance, rows: int = 10) -> Table:
    """The largest differences between the arms before the action."""
    body = [
        (r.feature, r.action, number(r.treated_mean), number(r.control_mean), r.difference) for r in result.rows[:rows]
    ]
    return Table(
        ("feature", "arm", "mean in the arm", "mean in the control", "standardised difference"),
        tuple(body),
        caption="The largest differences between the arms",
        note=f"All features together, against arms that differ by chance alone: {p_phrase(result.p_value)}, "
        f"{result.n:,} rows.",
    )


def estimate_table(estimates: Iterable[Estimate], caption: str = "", note: str = "") -> Table:
    """Numbers with their intervals, one a row."""
    listed = list(estimates)
    heads = ["measure", "value", level(listed[0].alpha) if listed else "interval", "p against 0"]
    rows: list[tuple[str, ...]] = [
        (e.name, number(e.value, 3), interval(*e.interval), p_value(e.p_value)) for e in listed
    ]
    if any(e.unit for e in listed):
        heads.append("unit")
        rows = [(*row, e.unit) for row, e in zip(rows, listed, strict=True)]
    return Table(tuple(heads), tuple(rows), caption, note)
