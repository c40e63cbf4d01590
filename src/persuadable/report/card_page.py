"""The model card as a page to read: the same content as its JSON, nothing more."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from persuadable.report.card import Metric, ModelCard
from persuadable.report.content import Block, Facts, ReportContent, Section, Table, Verdict
from persuadable.report.page import render, write_report
from persuadable.report.words import interval, level, number, percent

__all__ = ["card_page", "write_card_page"]

Part = Mapping[str, Any]
# What the metrics of the page's other sections are about, and those by budget.
ELSEWHERE = ("budget ", "returns", "archetypes")
# Parts that a study writes where it was asked to.
ASKED_FOR = ("economics", "archetypes", "fairness", "review")
STATUS = {"below": "below what is asked", "met": "as asked", "differs": "they differ", "open": "cannot be told"}


def card_page(card: ModelCard) -> str:
    """The card as HTML text, complete in itself: no script, nothing loaded, every text escaped."""
    return render(_content(card))


def write_card_page(card: ModelCard, path: str | Path) -> Path:
    """Write the card as one HTML file and return where.

    Raises:
        ParameterError: the path is a folder.
    """
    return write_report(_content(card), path)


def _content(card: ModelCard) -> ReportContent:
    # What was read back from JSON and what was just made must look the same, the order of names included.
    told = json.loads(card.to_json())
    sections = (
        _data(told),
        *_imbalance(told.get("imbalance")),
        *_training(told),
        _metrics(card),
        *_archetypes(told.get("archetypes")),
        *_economics(told.get("economics")),
        *_fairness(told.get("fairness")),
        *_review(told.get("review")),
        *_left_out([part for part in ASKED_FOR if part not in told]),
    )
    rule = told["policy"].get("rule")
    return ReportContent(
        title=f"Model card: {card.name}",
        subtitle=f"{card.data['rows']:,} rows of {card.data['name']}",
        verdict=Verdict(card.intended_use, (card.estimand, *((rule,) if rule else ())), "plain"),
        sections=sections,
        limits=card.limits,
        provenance=(
            *((name, str(value)) for name, value in told["provenance"].items()),
            ("rows", str(told["data"]["fingerprint"])[:16]),
        ),
    )


def _data(told: Part) -> Section:
    data, propensity = told["data"], told["propensity"]
    facts = [("Rows", f"{data['rows']:,}", "")]
    if "training_rows" in data:
        facts.append(("Learned from", f"{data['training_rows']:,}", "rows"))
        facts.append(("Judged on", f"{data['held_out_rows']:,}", "rows that fitted nothing"))
    facts.append(("Propensities", str(propensity["source"]), _propensity(propensity)))
    blocks: list[Block] = [Facts(tuple(facts))]
    if data.get("outcomes"):
        rows = tuple((name, number(mean)) for name, mean in data["outcomes"].items())
        blocks.append(Table(("outcome", "mean"), rows, caption="Outcomes"))
    if data.get("features"):
        blocks.append("Features: " + ", ".join(data["features"]) + ".")
    return Section("Data", tuple(blocks), "What was it learned from?")


def _propensity(told: Part) -> str:
    if told.get("constant"):
        return "the same for everybody"
    least = "" if told.get("lowest") is None else f"not below {percent(told['lowest'])}"
    clipped = f"{told['clipped_rows']:,} rows clipped at {told['clip']:g}" if told.get("clipped_rows") else ""
    return "; ".join(filter(None, (least, clipped)))


def _imbalance(told: Part | None) -> Iterator[Section]:
    if told is None:
        return
    facts = []
    if told.get("positive_share") is not None:
        facts.append((told["outcome"], percent(told["positive_share"], 2), "of the rows"))
    if told.get("negatives_per_positive") is not None:
        facts.append(("Negatives per positive", number(told["negatives_per_positive"], 3), ""))
    facts.append(("Rare-outcome settings", "yes" if told["rare"] else "no", "trees regularised for it"))
    rows = tuple(
        (arm["action"], percent(arm["share"]), arm["held_out_rows"], arm["held_out_positives"]) for arm in told["arms"]
    )
    table = Table(
        ("arm", "share", "held-out rows", f"of these with {told['outcome']}"),
        rows,
        caption="The arms",
        note="The smallest number in the last column bounds how sure anything can be.",
    )
    yield Section("Imbalance", (Facts(tuple(facts)), table), "How rare is the outcome, and how uneven are the arms?")


def _training(told: Part) -> Iterator[Section]:
    keys = {key for learner in told["learners"] for key in learner}
    heads = sorted(keys, key=lambda key: (key != "name", key != "chosen", key))
    rows = tuple(tuple(learner.get(head) for head in heads) for learner in told["learners"])
    strong = tuple(place for place, learner in enumerate(told["learners"]) if learner.get("chosen"))
    blocks: list[Block] = [Table(tuple(_spaced(h) for h in heads), rows, caption="The learners tried", strong=strong)]
    training = told.get("training")
    if training is not None:
        settings = training["trees"]
        names = tuple(dict.fromkeys(name for trees in settings.values() for name in trees))
        blocks.append(
            Table(
                ("setting", *settings),
                tuple((name, *(_plain(trees.get(name)) for trees in settings.values())) for name in names),
                caption="Settings of the trees",
                note=f"Chosen by {training.get('chosen_by', 'the maker')}; intervals of effects from "
                f"{training['half_samples']} half-samples.",
            )
        )
    yield Section("Training", tuple(blocks), "What was fitted, and how?")


def _spaced(name: str) -> str:
    return name.replace("_", " ").replace("qini", "Qini")


def _plain(value: float | None) -> str | None:
    return None if value is None else f"{value:,.4g}"


def _metrics(card: ModelCard) -> Section:
    """The metrics that no other section of the page has; values by budget are many, and in the JSON."""
    elsewhere = [metric for metric in card.metrics if metric.on.startswith(ELSEWHERE)]
    here = [metric for metric in card.metrics if metric not in elsewhere]
    blocks = [_metric_table(here)] if here else []
    note = f"{len(elsewhere)} further metrics are in other sections of this page, or in the card's JSON."
    return Section("Metrics", (*blocks, *((note,) if elsewhere else ())), "How good is it, and how sure is that?")


def _metric_table(metrics: list[Metric]) -> Table:
    rows, before = [], ""
    for metric in metrics:
        on, before = ("" if metric.on == before else metric.on), metric.on
        rows.append((on, metric.name, number(metric.value, 3), interval(*metric.interval)))
    least, most = min(metric.n for metric in metrics), max(metric.n for metric in metrics)
    counted = f"{most:,}" if least == most else f"{least:,} to {most:,}"
    heads = ("about", "measure", "value", level(metrics[0].alpha))
    return Table(heads, tuple(rows), caption=f"On {counted} held-out rows")


def _ends(told: Part | None) -> str:
    if told is None:
        return "–"
    if told["low"] is None or told["high"] is None:
        return f"{number(told['value'], 3)} (no bounds)"
    return f"{number(told['value'], 3)} ({_whole_line(interval(told['low'], told['high']))})"


def _whole_line(text: str) -> str:
    """Text that no cell breaks: an interval wraps before its bracket, or not at all."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def _opportunity(told: Part | None) -> str:
    """A share with its interval; nothing where there are no bounds, for then it is a number by chance."""
    if told is None or told["low"] is None or told["high"] is None:
        return "no bounds" if told else "–"
    ends = _whole_line(f"{_whole(told['low'])} to {_whole(told['high'])}")
    return f"{_whole(told['value'])} ({ends})"


def _whole(share: float | None) -> str:
    return "–" if share is None else percent(share, 0)


def _archetypes(told: list[Part] | None) -> Iterator[Section]:
    if not told:
        return
    several = len({row["treatment"] for row in told}) > 1
    rows = tuple(
        (
            *((row["treatment"],) if several else ()),
            row["archetype"],
            row["action"],
            row["rows"],
            percent(row["share"]),
            _ends(row["uplift"]),
            _whole(row["claimed_wrong"]),
            _whole(row["expected_wrong"]),
            row["verdict"] or "–",
        )
        for row in told
    )
    heads = ("archetype", "action", "people", "share", "realised uplift", "claimed wrong")
    table = Table(
        (*(("treatment",) if several else ()), *heads, "expected wrong", "verdict"),
        rows,
        caption="On held-out rows",
        note="Nobody's kind is ever seen. Claimed is what was learned on the training rows about how far "
        "predictions miss; expected puts that on the scale of the held-out rows. Both are estimates.",
    )
    marks = tuple(
        (row["archetype"], mark["feature"], number(mark["members"], 3), number(mark["others"], 3), mark["standardised"])
        for row in told
        for mark in row.get("marks", ())
    )
    profile = Table(
        ("archetype", "feature", "members", "others", "in std. deviations"), marks, caption="Features that mark them"
    )
    yield Section("Archetypes", (table, *((profile,) if marks else ())), "Who is taken for what, and how sure is that?")


def _economics(told: Part | None) -> Iterator[Section]:
    if told is None:
        return
    currency = told.get("currency", "")
    facts = Facts(
        (
            (f"One {told['outcome']} brings", f"{currency}{told['value_per_conversion']:,.4g}", ""),
            ("One contact costs", f"{currency}{told['cost_per_contact']:,.4g}", ""),
            ("Break-even effect", f"{told['break_even']:.3g}", f"{told['outcome']} per contact"),
        )
    )
    rows = tuple(
        (
            row["policy"],
            percent(row["share"]),
            number(row["spend"]["value"], 4),
            _ends(row["incremental_conversions"]),
            _ends(row["profit"]),
        )
        for row in told["policies"]
    )
    table = Table(
        ("policy", "treated", "spend", f"incremental {told['outcome']}", "profit"),
        rows,
        caption=f"In total for {told['population']:,.0f} people",
        strong=(0,),
    )
    ratios = tuple(
        (row["policy"], _ends(row["incremental_roas"]), _ends(row["attributed_roas"])) for row in told["policies"]
    )
    roas = Table(
        ("policy", "incremental ROAS", "attributed ROAS"),
        ratios,
        caption="Return on ad spend",
        note="Attributed ROAS counts conversions that would have come without a contact; it is shown so that it is not "
        "taken for the incremental one.",
        strong=(0,),
    )
    gains = Table(
        ("against", "profit gained", "incremental gained", "marginal ROAS"),
        tuple(
            (
                gain["baseline"],
                _ends(gain["profit"]),
                _ends(gain["incremental_conversions"]),
                "same spend" if gain["marginal_roas"] is None else _ends(gain["marginal_roas"]),
            )
            for gain in told["gains"]
        ),
        caption="The policy less each alternative",
    )
    yield Section("Economics", (facts, table, roas, gains), "What does it cost, and what comes back?")


def _fairness(told: Part | None) -> Iterator[Section]:
    if told is None:
        return
    blocks: list[Block] = [
        f"{len(told['alarms']) or 'No'} alarm{'s' if len(told['alarms']) > 1 else ''} among {told['comparisons']} "
        f"comparisons of groups of {told['min_size']} people or more, which hold all together with "
        f"{percent(1 - told['alpha'], 0)}."
    ]
    if told["alarms"]:
        found = tuple((alarm["code"], alarm["words"]) for alarm in told["alarms"])
        blocks.append(Table(("alarm", "what was found"), found, caption="Alarms"))
    blocks += [_selection(told), _widest(told), _served(told)]
    if "mitigation" in told:
        floor = told["mitigation"]
        blocks.append(
            f"A floor of {percent(told['threshold'], 0)} between groups would cost {_ends(floor['price'])} "
            f"{told['outcome']} per head, of a gain of {_ends(floor['gain'])}."
        )
    yield Section("Fairness", tuple(blocks), "Are groups treated and served alike?")


def _selection(told: Part) -> Table:
    rows = tuple(
        (
            row["segment"],
            row["group"] + ("" if row["enough"] else " (too few)"),
            row["rows"],
            f"{percent(row['selection']['value'])} ({_shares(row['selection'])})",
            percent(row["parity_difference"]),
            _whole(row["impact"]),
        )
        for row in told["groups"]
    )
    return Table(
        ("segment", "group", "people", "selected", "less the highest", "of the highest"),
        rows,
        caption="Whom the policy selects",
        note="Less the highest rate: the statistical parity difference. Of the highest: the disparate impact, asked to "
        f"be at least {percent(told['threshold'], 0)}.",
    )


def _widest(told: Part) -> Table | str:
    """The widest gap of each segment in each measure, its interval simultaneous with all others."""
    found: dict[tuple[str, str], Part] = {}
    for row in told["disparities"]:
        key = row["segment"], row["measure"]
        if key not in found or row["difference"]["value"] < found[key]["difference"]["value"]:
            found[key] = row
    if not found:
        return "No two groups are large enough to be compared."
    rows = tuple(
        (
            row["segment"],
            row["measure"],
            f"{row['group']} less {row['against']}",
            _ends(row["difference"]),
            _opportunity(row["ratio"]),
            STATUS[row["status"]],
        )
        for row in found.values()
    )
    return Table(
        ("segment", "measure", "groups", "difference", "ratio", "verdict"),
        rows,
        caption="The widest gap in each measure",
        note="These intervals hold all together. A ratio is asked of selection and of opportunity.",
    )


def _served(told: Part) -> Table:
    rows = tuple(
        (
            row["segment"],
            row["group"],
            _ends(row["benefit"]),
            _opportunity(row["opportunity"]),
            _ends(row["gap"]),
            _ends(row["slope"]),
        )
        for row in told["groups"]
    )
    return Table(
        ("segment", "group", "benefit per member", "opportunity", "realised less predicted", "slope"),
        rows,
        caption="Whom it serves, and whether predictions come true alike",
        note=f"Benefit: {told['outcome']} per member over treating nobody. Opportunity: of the effect there is in the "
        "group, the share the policy reaches. A slope of 1 says predicted differences come true in full.",
    )


def _shares(told: Part) -> str:
    return _whole_line(f"{percent(told['low'])} to {percent(told['high'])}")


def _review(told: Part | None) -> Iterator[Section]:
    if told is None:
        return
    facts = Facts(
        (
            ("Go to people", percent(told["queued"]), "of the held-out decisions"),
            ("People can look at", percent(told["load"]), "of the decisions"),
        )
    )
    meanings = told["meanings"]
    table = Table(
        ("reason", "decisions", "what it says"),
        tuple((code, count, meanings.get(code, "")) for code, count in told["reasons"].items()),
        caption="Reasons; a decision can have several",
    )
    reasons = (table, f"Overrides: {told['overrides']}") if told["reasons"] else ()
    yield Section("Review", (facts, told["rule"], *reasons), "Which decisions do people make?")


def _left_out(parts: list[str]) -> Iterator[Section]:
    """What a card could say and this one does not, so that nobody looks for it."""
    if parts:
        yield Section("Not looked at", (f"This study was not asked about: {', '.join(parts)}.",))
