"""The folder a study leaves: report.html, metrics.json, model_card.json and .html, and bundle/."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from persuadable import __version__
from persuadable.bundle import Bundle
from persuadable.report import (
    ReportContent,
    Section,
    Table,
    balance_table,
    budget_table,
    calibration_figure,
    calibration_table,
    clan_table,
    decile_table,
    decision_table,
    estimate_table,
    gains_figure,
    overlap,
    plot,
    write_card_page,
    write_report,
)
from persuadable.report.content import Block
from persuadable.report.words import percent
from persuadable.study import words
from persuadable.study.card import metrics, model_card
from persuadable.study.evaluation import evaluation
from persuadable.study.result import Study, TreatmentReport
from persuadable.study.sections import archetype_sections, economics_sections, fairness_sections, review_sections
from persuadable.value import Estimate

__all__ = ["Written", "model_card", "report_content", "write_metrics", "write_study"]


@dataclass(frozen=True, slots=True)
class Written:
    """Where a study's results are.

    Attributes:
        report: the HTML report.
        metrics: every number with its interval, JSON.
        card: the model card, JSON.
        card_page: the model card as a page.
        bundle: the folder to decide with.
    """

    report: Path
    metrics: Path
    card: Path
    card_page: Path
    bundle: Path

    @classmethod
    def into(cls, out: str | PathLike[str]) -> Written:
        """The places within a folder, which is made if absent."""
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        named = ("report.html", "metrics.json", "model_card.json", "model_card.html", "bundle")
        return cls(*(folder / name for name in named))


def write_study(study: Study, out: str | PathLike[str]) -> Written:
    """Write the results into a folder, made if absent; earlier results there are replaced.

    Raises:
        BundleError: ``out/bundle`` holds something that is not a bundle.
    """
    card, written = model_card(study), Written.into(out)
    card.write(written.card)
    write_card_page(card, written.card_page)
    parts = (study.learner, study.policy, study.log, card.to_dict(), evaluation(study))
    Bundle.build(*parts, review=study.review).save(written.bundle)
    write_metrics(metrics(study), written.metrics)
    write_report(report_content(study), written.report)
    return written


def write_metrics(found: Iterable[tuple[str, Estimate]], path: Path) -> None:
    """Every estimate, with what it is about, as JSON."""
    document = [_plain(where, estimate) for where, estimate in found]
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _plain(where: str, estimate: Estimate) -> dict[str, Any]:
    """One estimate as JSON values."""
    low, high = estimate.interval
    return {
        "about": where,
        "name": estimate.name,
        "value": estimate.value,
        "stderr": estimate.stderr,
        "interval": [low, high],
        "alpha": estimate.alpha,
        "p_value": estimate.p_value,
        "n": estimate.n,
        "unit": estimate.unit,
    }


def report_content(study: Study) -> ReportContent:
    """What the report says."""
    log = study.log
    several = len(study.treatments) > 1
    sections = [_decision(study), *economics_sections(study), *archetype_sections(study)]
    for report in study.treatments:
        suffix = f": {report.treatment}" if several else ""
        sections += [_ranking(report, suffix), _calibration(report, suffix), _people(report, suffix)]
    sections += [*fairness_sections(study), *review_sections(study), _comparison(study), _method(study)]
    arms = ", ".join(f"{label} {int((log.action == a).sum()):,}" for a, label in enumerate(log.actions))
    return ReportContent(
        title=f"Whom to treat: {log.name}",
        subtitle=f"{log.primary} · {log.n:,} rows: {arms}",
        verdict=words.verdict(study),
        sections=tuple(sections),
        limits=words.limits(study),
        provenance=(
            ("persuadable", __version__),
            ("Python", platform.python_version()),
            ("seed", str(study.plan.random_state)),
            ("rows", log.fingerprint.digest[:16]),
        ),
    )


def _decision(study: Study) -> Section:
    blocks: list[Block] = [
        decision_table(study.decision),
        plot(study.decision),
        plot(study.budgets),
        plot(
            study.budgets,
            "The gain over drawing as many by lot, and over other rankings, by the share treated.",
            drawn=gains_figure(study.budgets),
        ),
        budget_table(study.budgets),
    ]
    if study.others:
        blocks.append(
            estimate_table(study.others.values(), "The same policy against lots, on the outcomes it did not aim at")
        )
    return Section("The decision", tuple(blocks), "What does the policy bring, and against what?")


def _ranking(report: TreatmentReport, suffix: str) -> Section:
    ranking = report.ranking
    numbers = (ranking.qini.coefficient, ranking.autoc, *ranking.at_k.values(), ranking.qini.ate, report.over_response)
    blocks = (
        plot(report.deciles),
        decile_table(report.deciles),
        plot(ranking.qini),
        plot(report.toc),
        estimate_table(
            numbers, "How good the ranking is", "The last row compares it with the response model's ranking."
        ),
    )
    return Section(f"The ranking{suffix}", blocks, "Are those ranked high really affected more?")


def _calibration(report: TreatmentReport, suffix: str) -> Section:
    blocks = (
        plot(report.gates, drawn=calibration_figure(report.gates, report.blp)),
        calibration_table(report.gates),
        estimate_table(
            (report.blp.intercept, report.blp.slope),
            "Best linear predictor of the effect",
            "A slope of 1 says predicted differences come true in full; 0, that they mean nothing.",
        ),
        plot(report.stability),
    )
    return Section(f"Calibration{suffix}", blocks, "Do predicted effects come true?")


def _people(report: TreatmentReport, suffix: str) -> Section:
    return Section(
        f"Who they are{suffix}", (plot(report.clan), clan_table(report.clan)), "Who is moved, and who is not?"
    )


def _comparison(study: Study) -> Section:
    blocks: list[Block] = [str(study.balance) + ".", plot(study.balance), balance_table(study.balance)]
    for treatment in study.log.actions.treatments:
        found = overlap(study.log, action=treatment)
        if found.constant:
            blocks.append(f"Everybody had the same probability of {treatment}: {percent(found.lowest)}.")
        else:
            blocks.append(plot(found))
    return Section("The comparison", tuple(blocks), "Are the arms alike, apart from the action?")


def _method(study: Study) -> Section:
    head = ("learner", "out of fold, training rows", *(f"held out, {t}" for t in study.log.actions.treatments), "")
    rows = tuple(
        (c.name, c.train_qini, *(e.value for e in c.test_qini.values()), "chosen" if c.chosen else "")
        for c in study.candidates
    )
    strong = tuple(i for i, c in enumerate(study.candidates) if c.chosen)
    learners = Table(
        head,
        rows,
        caption=f"The learners tried: Qini in {study.log.primary} per head",
        note="The choice rests on the training rows alone.",
        strong=strong,
    )
    text = (
        f"{study.train.n:,} rows fitted the models and chose among them; {study.test.n:,} held-out rows judged them. "
        "Responses were cross-fitted. The threshold is a quantile of the effects predicted for the held-out rows, "
        "drawn without a look at their outcomes. Values of policies are doubly robust; differences are paired. "
        f"Propensities: {study.learner.propensity_}."
    )
    return Section("Data and method", (text, learners), "How was this found?")
