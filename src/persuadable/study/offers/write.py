"""The folder a study of offers leaves: report.html, metrics.json, model_card.json and .html, and bundle/."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterator
from dataclasses import replace
from os import PathLike

from persuadable import __version__
from persuadable.bundle import Bundle
from persuadable.report import (
    Facts,
    Metric,
    ModelCard,
    ReportContent,
    Section,
    Table,
    balance_table,
    decision_table,
    estimate_table,
    figure,
    gains_figure,
    plot,
    write_card_page,
    write_report,
)
from persuadable.report.content import Block
from persuadable.report.figures import budget_line
from persuadable.report.words import interval, number, percent
from persuadable.study.card import data_facts, imbalance_facts, made_by, propensity_facts
from persuadable.study.offers import words
from persuadable.study.offers.result import OfferStudy
from persuadable.study.presets import COMMON
from persuadable.study.write import Written, write_metrics
from persuadable.value import Estimate
from persuadable.value.paths.result import AVERAGE

__all__ = ["offer_card", "offer_report", "write_offers"]


def write_offers(study: OfferStudy, out: str | PathLike[str]) -> Written:
    """Write the results into a folder, made if absent; earlier results there are replaced.

    Raises:
        BundleError: ``out/bundle`` holds something that is not a bundle.
    """
    card, written = offer_card(study), Written.into(out)
    card.write(written.card)
    write_card_page(card, written.card_page)
    Bundle.build(study.value_head, study.policy, study.train, card.to_dict()).save(written.bundle)
    write_metrics(metrics(study), written.metrics)
    write_report(offer_report(study), written.report)
    return written


def metrics(study: OfferStudy) -> Iterator[tuple[str, Estimate]]:
    """Every estimate of the study, with what it is about."""
    yield "policy", study.decision.policy.estimate
    for comparison in study.decision.comparisons:
        yield "policy less baseline", comparison.difference
    if study.spend is not None:
        yield "policy's spend", study.spend
    for point in study.path.points:
        yield "budget path", point.gain
    if study.path.full > 0.0:
        yield "mean over budgets", study.path.area()
        for name in study.path.baselines:
            yield "mean over budgets", study.path.area_difference(name)
    for each in study.heads.criteria:
        yield f"{each.head} head, {each.action}", each.bias
        if each.line is not None:
            yield f"{each.head} head, {each.action}", each.line.slope
    for name, estimate in study.others.items():
        yield f"policy less nobody on {name}", estimate


def offer_card(study: OfferStudy) -> ModelCard:
    """The model card of a study of offers."""
    log, plan = study.log, study.plan
    chosen = next(each for each in study.candidates if each.chosen)
    return ModelCard(
        name=f"{chosen.name} on {log.name}",
        data=data_facts(log, study.train, study.test, study.balance),
        imbalance=imbalance_facts(log, study.test, study.value, rare=False),
        training={
            "trees": COMMON.settings(),
            "half_samples": plan.n_resamples,
            "test_share": plan.test_share,
            "split_by": plan.split_by,
            "chosen_by": "the gain over the budgets, out of fold on the training rows",
        },
        estimand=words.estimand(study),
        learners=tuple(
            {"name": each.name, "chosen": each.chosen, "out_of_fold_gain_on_training_rows": each.score}
            for each in study.candidates
        ),
        propensity=propensity_facts(study.propensity),
        metrics=tuple(Metric.of(estimate, on=where) for where, estimate in metrics(study)),
        limits=words.limits(study),
        intended_use="Choosing which offer, if any, each member of a population like this one gets.",
        policy={
            "rule": study.policy.explain(),
            "budget_per_head": plan.budget,
            "roi_floor": plan.roi_floor,
            "price": study.policy.rule.price if study.policy.rule.price < float("inf") else None,
            "calibration": plan.calibration,
            "cost": study.policy.cost_outcome_,
        },
        provenance=made_by(plan.random_state),
    )


def offer_report(study: OfferStudy) -> ReportContent:
    """What the report says."""
    log = study.log
    arms = ", ".join(f"{label} {int((log.action == a).sum()):,}" for a, label in enumerate(log.actions))
    return ReportContent(
        title=f"Which offer for whom: {log.name}",
        subtitle=f"{study.value} for {study.policy.cost_outcome_ or 'stated costs'} · {log.n:,} rows: {arms}",
        verdict=words.verdict(study),
        sections=(
            _decision(study),
            _budgets(study),
            _support(study),
            _heads(study),
            *_robustness(study),
            _comparison(study),
            _method(study),
        ),
        limits=words.limits(study),
        provenance=(
            ("persuadable", __version__),
            ("Python", platform.python_version()),
            ("seed", str(study.plan.random_state)),
            ("rows", log.fingerprint.digest[:16]),
        ),
    )


def _placing(study: OfferStudy) -> Callable[[str], float]:
    """Where a row about an offer belongs in a table: by the offer's dose, those without one after it, in their order.

    Nobody comes first. Where no doses were given all offers are alike, so that sorting changes nothing among them.
    """
    rows = (*study.support.actions, *study.support.kept)
    doses = {row.label: row.dose for row in rows if row.dose is not None}

    def place(name: str) -> float:
        label = name.removeprefix("everybody gets ").removeprefix("only ")
        return -math.inf if label == "nobody" else doses.get(label, math.inf)

    return place


def _decision(study: OfferStudy) -> Section:
    gain, rule = study.decision["nobody"].difference, study.policy.rule
    facts = [(f"{study.value} per head gained", number(gain.value, 3), interval(*gain.interval))]
    if study.spend is not None:
        facts.append(("spent per head", number(study.spend.value, 3), interval(*study.spend.interval)))
    if study.roi is not None and study.roi.shape == "interval":
        facts.append(("gained per unit of cost", number(study.roi.value, 3), interval(*study.roi.interval)))
    facts.append(("λ", number(rule.price, 3), "what the last unit of money is predicted to bring"))
    facts.append(("get an offer", percent(1.0 - study.decision.policy.action_shares[0]), words.offered(study)))
    place = _placing(study)
    comparisons = sorted(study.decision.comparisons, key=lambda each: place(each.baseline.policy))
    decision = replace(study.decision, comparisons=tuple(comparisons))
    blocks: list[Block] = [Facts(tuple(facts)), decision_table(decision), plot(decision)]
    if study.others:
        blocks.append(
            estimate_table(study.others.values(), "The same policy against nobody, on the outcomes it did not aim at")
        )
    return Section("The decision", tuple(blocks), "What does the policy bring, and against what?")


def _budgets(study: OfferStudy) -> Section:
    path = study.path
    if path.full == 0.0:
        free = "What is predicted to be worth an offer costs nothing, so no money would bring more."
        told = free if path.at(0.0).offered else "Nothing is predicted to be worth any money."
        return Section("Budgets", (told,), "What would more or less bring?")
    areas = [path.area(), *(path.area_difference(name) for name in sorted(path.baselines, key=_placing(study)))]
    note = f"{AVERAGE}: the best mix of offers for anybody who cannot tell people apart."
    blocks: tuple[Block, ...] = (
        plot(path, drawn=budget_line(figure(path), study.budget)),
        plot(
            path,
            "What choosing by person adds at each budget to what stands beside it.",
            drawn=budget_line(gains_figure(path), study.budget),
        ),
        estimate_table(areas, "Averaged over all budgets", note),
    )
    return Section("Budgets", blocks, "What would more or less money bring?")


def _support(study: OfferStudy) -> Section:
    place, known = _placing(study), study.support
    frame = replace(known, actions=tuple(sorted(known.actions, key=lambda row: place(row.label)))).frame()
    told = [name for name in frame.columns if name != "enough" and frame[name].null_count() < frame.height]
    blocks: list[Block] = [
        Table.of(frame.select(told), caption="What the log knows of each offer"),
        *known.words,
    ]
    if known.cells:
        segments = {cell.segment: i for i, cell in reversed(list(enumerate(known.cells)))}
        cells = sorted(known.cells, key=lambda cell: (segments[cell.segment], place(cell.action)))
        blocks.append(Table.of(replace(known, cells=tuple(cells)).cells_frame(), caption="Within segments"))
    return Section("Support", tuple(blocks), "Are there rows enough to speak about every offer?")


def _heads(study: OfferStudy) -> Section:
    heads = ("head", "offer", "true − predicted", "95%", "slope", "95%", "ranks", "calibrated", "stable")
    place, rows = _placing(study), []
    for each in sorted(study.heads.criteria, key=lambda one: (one.head != "value", place(one.action))):
        slope = None if each.line is None else each.line.slope
        rows.append(
            (
                each.head,
                each.action,
                each.bias.value,
                each.bias.interval,
                None if slope is None else slope.value,
                None if slope is None else slope.interval,
                each.ranks,
                each.calibrated,
                each.stable,
            )
        )
    told = f"{100 * (1 - study.plan.alpha):g}%"
    table = Table(
        tuple(told if head == "95%" else head for head in heads),
        tuple(rows),
        caption="Do predicted effects come true?",
        note="A slope of 1 says predicted differences come true in full; 0, that they mean nothing.",
    )
    return Section("Value and cost", (table,), "Can the two predictions be believed?")


def _robustness(study: OfferStudy) -> tuple[Section, ...]:
    if study.robustness is None:
        return ()
    frame = study.robustness.frame()
    table = Table.of(
        frame,
        caption="If the predicted values are off by their standard errors: totals on the held-out rows",
        note="best: what the best allocation would bring if that were known; changed: who would get something else.",
    )
    return (Section("Sensitivity", (table,), "How much hangs on the predictions?"),)


def _comparison(study: OfferStudy) -> Section:
    blocks = (str(study.balance) + ".", plot(study.balance), balance_table(study.balance))
    return Section("The comparison", blocks, "Are the arms alike, apart from the offer?")


def _method(study: OfferStudy) -> Section:
    learners = Table(
        ("heads", "out of fold, training rows", ""),
        tuple((each.name, each.score, "chosen" if each.chosen else "") for each in study.candidates),
        caption=f"The heads tried: gain in {study.value} per head, averaged over the budgets",
        note="The choice rests on the training rows alone.",
        strong=tuple(i for i, each in enumerate(study.candidates) if each.chosen),
    )
    told = {"platt": "by a line", "isotonic": "by a monotone step function", None: "not at all"}
    text = (
        f"{study.train.n:,} rows fitted the models, chose among them, calibrated them ({told[study.plan.calibration]}, "
        f"out of fold); {study.test.n:,} held-out rows judged them, and their predictions set the price. "
        "Value and cost were fitted as two problems on the same folds and propensities. Values of policies are "
        "doubly robust; differences are paired."
    )
    return Section("Data and method", (text, learners), "How was this found?")
