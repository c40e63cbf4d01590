"""The sections of a report on money, archetypes, fairness and review."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from persuadable.policies import ARCHETYPES, Economics
from persuadable.policies.review import REASONS
from persuadable.report import Facts, Plot, Section, Table
from persuadable.report.charts import Series, intervals_across
from persuadable.report.content import Block
from persuadable.report.words import interval, level, number, percent
from persuadable.study.result import Study
from persuadable.study.words import NOTHING_TO_REVIEW
from persuadable.value import ArchetypeTable, Estimate, Fairness, GroupFairness, PolicyReturns, Ratio, Returns

__all__ = ["archetype_sections", "economics_sections", "fairness_sections", "returns_blocks", "review_sections"]

ACTIONS: Mapping[str, str] = {
    "contact": "contact",
    "leave": "leave alone",
    "suppress": "keep off every list",
    "expected": "contact if it pays",
    "test": "contact half, by lot",
}


def economics_sections(study: Study) -> Iterator[Section]:
    """What the policy spends and brings, where economics were given."""
    if study.returns is not None:
        yield Section("Economics", returns_blocks(study.returns), "What does it cost, and what comes back?")


def returns_blocks(told: Returns) -> tuple[Block, ...]:
    """Spend, both kinds of ROAS, profit, and what the alternatives bring."""
    drawn = _roas_plot(told)
    return (
        str(told.economics),
        _money_facts(told),
        _returns_table(told),
        _roas_table(told),
        *((drawn,) if drawn is not None else ()),
        "Attributed ROAS counts every conversion of the people contacted, whether or not the contact brought it. It is "
        "shown so that a figure somebody reports can be recognised. Decide by the incremental one, by profit, and by "
        "the ROAS of what a larger spend would add.",
        _gains_table(told),
    )


def _money_facts(told: Returns) -> Facts:
    own, money = told.rows[0], told.economics
    profit, ends = money.amounts(own.profit.value, *own.profit.interval).removesuffix(")").split(" (")
    facts = [
        ("Incremental ROAS", _number(own.incremental_roas), _ends(own.incremental_roas)),
        ("Attributed ROAS", _number(own.attributed_roas), f"{_ends(own.attributed_roas)}; misleading"),
        ("Spend", money.money(own.spend.value), f"on {percent(own.share)} of {told.population:,.0f} people"),
        ("Profit", profit, ends),
        ("Came anyway", _share_anyway(own), f"of the {told.economics.outcome} that attribution counts"),
    ]
    return Facts(tuple(facts))


def _share_anyway(own: PolicyReturns) -> str:
    total = own.attributed_conversions.value
    return "–" if total <= 0 else percent(min(max(own.came_anyway.value / total, 0.0), 1.0), 0)


def _number(told: Ratio | None) -> str:
    return "–" if told is None else number(told.value, 3)


def _ends(told: Ratio | None) -> str:
    if told is None:
        return "nothing is spent"
    return interval(*told.interval) if told.shape == "interval" else "no bounds"


def _pair(told: Estimate | Ratio | None) -> tuple[object, object]:
    """A value and its interval as cells."""
    if told is None:
        return None, None
    unbounded = isinstance(told, Ratio) and told.shape != "interval"
    return told.value, "no bounds" if unbounded else told.interval


def _returns_table(told: Returns) -> Table:
    said, unit = level(told.rows[0].profit.alpha), told.economics.outcome
    rows = [
        (
            row.policy,
            percent(row.share),
            told.economics.money(row.spend.value),
            *_pair(row.incremental_conversions),
            *_pair(row.profit),
        )
        for row in told.rows
    ]
    return Table(
        ("policy", "treated", "spend", f"incremental {unit}", said, "profit", said),
        tuple(rows),
        caption=f"Spend and returns of {told.population:,.0f} people, estimated from {told.n:,} held-out rows",
        note="Incremental: more than if nobody were contacted.",
        strong=(0,),
    )


def _roas_table(told: Returns) -> Table:
    said, unit = level(told.rows[0].profit.alpha), told.economics.outcome
    rows = [(row.policy, *_pair(row.incremental_roas), *_pair(row.attributed_roas)) for row in told.rows]
    return Table(
        ("policy", "incremental ROAS", said, "attributed ROAS", said),
        tuple(rows),
        caption="Return on ad spend, both kinds",
        note=f"ROAS is {unit} × value over spend. Incremental counts what the contacts brought, and earns money above "
        f"{told.economics.break_even_roas:.3g}. Attributed counts everything the people contacted did, and misleads.",
        strong=(0,),
    )


def _gains_table(told: Returns) -> Table:
    rows = [
        (gain.baseline, *_pair(gain.profit), *_pair(gain.incremental_conversions), *_marginal(gain.marginal_roas))
        for gain in told.gains
    ]
    said = level(told.rows[0].profit.alpha)
    return Table(
        ("against", "profit gained", said, f"incremental {told.economics.outcome} gained", said, "marginal ROAS", said),
        tuple(rows),
        caption="The policy less each alternative, on the same rows",
        note="Marginal ROAS is the incremental ROAS of the difference in spend: what the dearer of the two gets for "
        f"what it spends more. Below {told.economics.break_even_roas:.3g} that part of the spend loses money.",
    )


def _marginal(told: Ratio | None) -> tuple[object, object]:
    return (None, "same spend") if told is None else _pair(told)


def _roas_plot(told: Returns) -> Plot | None:
    kinds = (("incremental ROAS", "incremental_roas"), ("attributed ROAS", "attributed_roas"))
    series = [
        _series(name, found)
        for name, part in kinds
        if (found := [(place, r) for place, row in enumerate(told.rows) if _bounded(r := getattr(row, part))])
    ]
    if not series:
        return None
    figure = intervals_across(
        [row.policy for row in told.rows],
        series,
        x="return on ad spend",
        level=level(told.rows[0].profit.alpha),
        guides=(0.0, told.economics.break_even_roas),
    )
    return Plot(figure, "Both kinds of ROAS by policy. Right of the dotted line incremental ROAS earns money.")


def _bounded(told: Ratio | None) -> bool:
    return told is not None and told.shape == "interval"


def _series(name: str, found: Sequence[tuple[int, Any]]) -> Series:
    return Series(
        name,
        np.array([place for place, _ in found], dtype=np.float64),
        np.array([e.value for _, e in found]),
        np.array([e.interval[0] for _, e in found]),
        np.array([e.interval[1] for _, e in found]),
    )


def archetype_sections(study: Study) -> Iterator[Section]:
    """The archetypes of each treatment, where economics were given."""
    money = study.plan.economics(study.log.primary)
    for treatment, table in study.archetypes.items():
        assert money is not None
        suffix = f": {treatment}" if len(study.archetypes) > 1 else ""
        blocks: list[Block] = [_archetype_words(money), _archetype_plot(table), _archetype_rows(table)]
        blocks.append(_mistakes(table))
        if any(row.marks for row in table):
            blocks.append(_profile(table))
        yield Section(f"Archetypes{suffix}", tuple(blocks), "Who is persuaded, who buys anyway, and how sure is that?")


def _archetype_words(money: Economics) -> str:
    return (
        f"With a break-even effect of {money.break_even:.3g}: Persuadables gain more than that, Do-Not-Disturbs "
        "lose more than that, and the rest are Sure Things if their own outcome is above it, else Lost Causes. Whoever "
        "fits none with a probability of 80% is Uncertain. Nobody's kind is ever seen, so the labels are wrong for "
        "some; the table says for how many."
    )


def _archetype_plot(table: ArchetypeTable) -> Plot:
    found = [(place, row.uplift) for place, row in enumerate(table) if row.uplift is not None]
    alpha = found[0][1].alpha if found else 0.05
    figure = intervals_across(
        [f"{row.archetype}, {percent(row.share)}" for row in table],
        [_series("realised uplift", found)] if found else [],
        x=f"effect on {table.outcome}, per head",
        level=level(alpha),
        guides=(0.0, table.pays),
    )
    return Plot(figure, "What a contact really changed, by label. The dotted line is the break-even.")


def _archetype_rows(table: ArchetypeTable) -> Table:
    rows = [
        (
            row.archetype,
            ACTIONS[row.action],
            row.n,
            percent(row.share),
            row.predicted,
            *_pair(row.uplift),
            f"{row.conversions[0]:,} and {row.conversions[1]:,}",
        )
        for row in table
    ]
    said = level(next((row.uplift.alpha for row in table if row.uplift), 0.05))
    few = [row.archetype for row in table if row.few]
    note = "The last column counts members with the outcome, treated and left alone."
    if few:
        note += f" Fewer than 10 of either, so no normal interval is to be relied on: {', '.join(few)}."
    return Table(
        ("archetype", "action", "people", "share", "predicted", "realised uplift", said, table.outcome),
        tuple(rows),
        caption=f"Archetypes on {table.n:,} held-out rows",
        note=note,
    )


def _mistakes(table: ArchetypeTable) -> Table:
    alpha = next((row.uplift.alpha for row in table if row.uplift), 0.05)
    rows = tuple(
        (
            row.archetype,
            row.verdict or "–",
            _share(row.claimed_wrong),
            _share(row.expected_wrong),
            *(_share(p) for p in row.mix or (None,) * len(ARCHETYPES)),
        )
        for row in table
    )
    return Table(
        ("labelled", "verdict", "wrong, claimed", "wrong, expected", *(f"are {name}" for name in ARCHETYPES)),
        rows,
        caption="How far the labels can be believed",
        note="The verdict is about the members' mean: does its whole interval lie where the archetype's effects do? "
        f"All verdicts hold together with {percent(1 - alpha, 0)}, so their intervals are wider than those drawn. "
        "Claimed is what was learned on the training rows about how far predictions miss. Expected, and what members "
        "are taken to be, put that on the scale of the held-out rows, with their noise. Both are estimates.",
    )


def _share(share: float | None) -> str | None:
    return None if share is None else percent(share, 0)


def _profile(table: ArchetypeTable) -> Table:
    rows = tuple(
        (row.archetype, mark.label, number(mark.members, 3), number(mark.others, 3), mark.standardised)
        for row in table
        for mark in row.marks
    )
    return Table(
        ("archetype", "feature", "members", "others", "in std. deviations"),
        rows,
        caption="The features that mark each archetype",
        note="They mark it; they do not make it. Only differences that are certain are shown, over all labels and "
        "features together.",
    )


def fairness_sections(study: Study) -> Iterator[Section]:
    """How the policy treats groups, where segments were named."""
    audit = study.fairness
    if audit is None:
        return
    unseen = [name for name in audit.segments if name not in study.log.features.names]
    blocks: list[Block] = [_fairness_words(audit, unseen)]
    if audit.alarms:
        rows = tuple((alarm.code, alarm.words) for alarm in audit.alarms)
        blocks.append(Table(("alarm", "what was found"), rows, caption="Alarms"))
    for segment in audit.segments:
        groups = [row for row in audit.groups if row.segment == segment]
        blocks += [_selection_plot(groups, segment, audit), _groups_table(groups, segment, audit)]
        if any(row.gap is not None for row in groups):
            blocks.append(_calibration_table(groups, segment, audit))
    if study.mitigation is not None:
        lines = [line for line in str(study.mitigation).splitlines() if not line.startswith("- ")]
        blocks.append(
            f"The same budget under a floor of {percent(audit.threshold, 0)} between groups. " + " ".join(lines)
        )
    yield Section("Fairness", tuple(blocks), "Does it treat groups alike, and does it serve them alike?")


def _fairness_words(audit: Fairness, unseen: Sequence[str]) -> str:
    if not audit.comparisons:
        return f"No two groups have {audit.min_size} members each, so nothing is compared."
    count = len(audit.alarms)
    said = "No alarm" if not count else f"{count} alarm{'s' if count > 1 else ''}"
    words = (
        f"{said} among {audit.comparisons} comparisons, which hold all together with "
        f"{percent(1 - audit.alpha, 0)}. Groups below {audit.min_size} people are shown and not compared."
    )
    if unseen:
        words += f" No model saw {', '.join(unseen)}."
    return words


def _selection_plot(rows: Sequence[GroupFairness], segment: str, audit: Fairness) -> Plot:
    found = [(place, row.selection) for place, row in enumerate(rows)]
    highest = max((row.selection.value for row in rows if row.enough), default=0.0)
    figure = intervals_across(
        [f"{row.group} ({row.n:,})" for row in rows],
        [_series("selected", found)],
        x=f"share of the group that the policy treats, by {segment}",
        level=level(audit.alpha),
        guides=(audit.threshold * highest,),
    )
    figure.update_xaxes(tickformat=".0%")
    return Plot(
        figure, f"Whom the policy treats. The dotted line is {percent(audit.threshold, 0)} of the highest rate."
    )


def _groups_table(rows: Sequence[GroupFairness], segment: str, audit: Fairness) -> Table:
    body = [
        (
            row.group,
            row.n,
            percent(row.selection.value),
            "too few" if not row.enough else None if row.impact is None else percent(row.impact, 0),
            *_pair(row.benefit),
            *_opportunity(row.opportunity),
        )
        for row in rows
    ]
    said = level(audit.alpha)
    return Table(
        (segment, "people", "selected", "of highest", "benefit per member", said, "opportunity", said),
        tuple(body),
        caption=f"By {segment}",
        note="Of highest: the disparate impact, asked to be at least "
        f"{percent(audit.threshold, 0)}. Benefit: {audit.outcome} per member over treating nobody. Opportunity: of the "
        "effect there is in the group, the share the policy reaches. Intervals of a row stand each for itself.",
    )


def _calibration_table(rows: Sequence[GroupFairness], segment: str, audit: Fairness) -> Table:
    said = level(audit.alpha)
    return Table(
        (segment, "predicted", "realised less predicted", said, "slope", said),
        tuple((row.group, row.predicted, *_pair(row.gap), *_pair(row.slope)) for row in rows),
        caption=f"Do predicted effects come true alike, by {segment}?",
        note="A slope of 1 says predicted differences within the group come true in full.",
    )


def _opportunity(told: Ratio | None) -> tuple[str | None, str | None]:
    """A share and its interval; no share where there are no bounds, for then it is a number by chance."""
    if told is None or told.shape != "interval":
        return None, None if told is None else "no bounds"
    low, high = told.interval
    return percent(told.value, 0), f"{percent(low, 0)} to {percent(high, 0)}"


def review_sections(study: Study) -> Iterator[Section]:
    """Which decisions go to people, where a share was given."""
    if study.plan.review is None:
        return
    question = "Which decisions should a person look at?"
    if study.review is None or study.queue is None:
        yield Section("Review", (NOTHING_TO_REVIEW,), question)
        return
    queue = study.queue
    facts = Facts(
        (
            ("Go to people", percent(queue.share), f"{int(queue.queued.sum()):,} of {queue.queued.size:,} decisions"),
            ("Of these, treated", _treated(study), "if the machine decided"),
        )
    )
    rows = tuple((code, count, REASONS[code]) for code, count in queue.reasons.items())
    reasons = Table(
        ("reason", "decisions", "what it says"),
        rows,
        caption="Why they are in the queue",
        note="A decision can have several reasons. The queue is in the order of what a wrong decision is expected to "
        "cost: how likely it is, times what it loses.",
    )
    words = f"{study.review} What people decide is logged with propensity 1 and kept out of learning."
    yield Section("Review", (facts, words, reasons), question)


def _treated(study: Study) -> str:
    """Share of the queue that the policy would treat."""
    assert study.queue is not None
    chance = 1.0 - study.policy.probabilities(study.test.features, study.test.n_actions, study.test.eligible)[:, 0]
    held = chance[study.queue.queued]
    return percent(float(held.mean()), 0) if held.size else "–"
