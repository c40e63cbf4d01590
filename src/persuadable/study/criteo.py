"""The Criteo study: visits and conversions of an advertising trial, and a published claim held against them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Final

import numpy as np

from persuadable import __version__
from persuadable.log import DecisionLog
from persuadable.report import Facts, Plot, ReportContent, Section, Table, Verdict, plot, write_report
from persuadable.report.words import interval, number, percent
from persuadable.study.claim import ALL, PUBLISHED, ClaimCheck, RoasClaim, check_claim
from persuadable.study.plan import StudyPlan
from persuadable.study.result import Study
from persuadable.study.run import run_study, with_estimated_propensities
from persuadable.study.sections import returns_blocks
from persuadable.study.write import Written, write_study
from persuadable.value import Estimate, Ratio

__all__ = ["CONVERSION", "CRITEO_ROWS", "VISIT", "claim_report", "criteo_plan", "run_criteo"]

CONVERSION: Final = "conversion"
VISIT: Final = "visit"
#: Rows of the whole file, version 2.1.
CRITEO_ROWS: Final = 13_979_592


def criteo_plan(
    value_per_conversion: float = 20.0,
    cost_per_contact: float = 0.01,
    learners: tuple[str, ...] = ("x",),
    segments: tuple[str, ...] = ("f0", "f2"),
    review: float | None = 0.1,
    n_resamples: int = 10,
    claim: RoasClaim = PUBLISHED,
    threads: int | None = None,
    progress: bool | None = None,
    random_state: int = 0,
) -> StudyPlan:
    """The plan of the conversion study; that of visits follows from it.

    Value and cost are not in the data. Propensities are estimated, because who was treated can be told from the
    features a little: the trials that were put together had different shares.
    """
    return StudyPlan(
        budget=1.0 - claim.cut,
        learners=learners,
        propensity="estimated",
        value_per_conversion=value_per_conversion,
        cost_per_contact=cost_per_contact,
        segments=segments,
        review=review,
        through=VISIT,
        n_resamples=n_resamples,
        threads=threads,
        progress=progress,
        random_state=random_state,
    )


def run_criteo(
    log: DecisionLog, plan: StudyPlan, out: str | PathLike[str], claim: RoasClaim = PUBLISHED
) -> Iterator[tuple[Study, Written, ClaimCheck]]:
    """Study conversions, then visits, and write both, and the claim beside them.

    Each study is handed over once it is written, and none is kept: let go of it before the next, and only one is in
    memory.

    Args:
        log: with the outcomes "conversion" and "visit"; its features are shared, not copied.
        plan: of the conversion study.
        out: folder of ``conversion/``, ``visit/``, ``claim.html`` and ``claim.json``.
        claim: what is held against the data.
    """
    folder = Path(out)
    worth = _worth_of_a_visit(log, plan)
    if plan.propensity == "estimated":
        log = with_estimated_propensities(log, plan)  # once: they are the same for every outcome
    plans = {
        CONVERSION: plan,
        VISIT: replace(plan, through=None, value_per_conversion=worth),
    }
    checks: list[ClaimCheck] = []
    curves: list[Plot] = []
    for outcome, own in plans.items():
        ordered = log.select(outcomes=[outcome, *(name for name in plans if name != outcome)])
        study = run_study(ordered, own)
        written, check = write_study(study, folder / outcome), check_claim(study, claim)
        checks.append(check)
        curves.append(plot(study.treatments[0].ranking.qini))
        yield study, written, check
        del study
    write_report(claim_report(log, checks, curves), folder / "claim.html")
    document = json.dumps([check.as_dict() for check in checks], indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "claim.json").write_text(document + "\n", encoding="utf-8")


def _worth_of_a_visit(log: DecisionLog, plan: StudyPlan) -> float | None:
    """Value of a conversion times conversions per visit, to two digits."""
    if plan.value_per_conversion is None:
        return None
    per_visit = float(log.outcome(CONVERSION).sum() / log.outcome(VISIT).sum())
    return float(f"{plan.value_per_conversion * per_visit:.2g}")


def claim_report(log: DecisionLog, checks: Sequence[ClaimCheck], curves: Sequence[Plot]) -> ReportContent:
    """The claim restated, for each outcome beside the other."""
    first = checks[0]
    claim = first.claim
    return ReportContent(
        title="ROAS from 2.44 to 9.60 with 75% less spend?" if claim == PUBLISHED else "The claim about ROAS",
        subtitle=f"{log.name}, {log.n:,} rows, of which {first.n:,} judge",
        verdict=_verdict(checks),
        sections=(
            _restated(checks),
            *(_returns_section(check) for check in checks),
            Section(
                "The rankings",
                tuple(block for check, drawn in zip(checks, curves, strict=True) for block in (check.outcome, drawn)),
                "How much of the effect do those ranked highest hold?",
            ),
        ),
        limits=(
            "Value and cost are stated, not in the data: every amount of money and every ROAS moves with them. "
            "The factor between two incremental ROAS does not.",
            "A contact is paid for whoever is treated, shown an advertisement or not. Where only impressions are paid "
            "for, cutting three quarters of the people cuts less of the spend, because active people see more.",
            "A visit is valued at its share of the conversions' value; visits that an advertisement brings may be "
            "worth less.",
            "The intervals are about these people at that time, and know nothing of another season or creative.",
            *(f"{check.outcome}: {check.thin}" for check in checks if check.thin is not None),
        ),
        provenance=(("persuadable", __version__), ("rows", log.fingerprint.digest[:16])),
    )


def _verdict(checks: Sequence[ClaimCheck]) -> Verdict:
    """What the first outcome says, with the others behind it."""
    first = checks[0]
    needs = f"{number(first.claim.factor, 3)} times the ROAS at {percent(1 - first.claim.cut, 0)} of the spend"
    if first.finding == "contradicted":
        headline, tone = f"Read as incremental, the claim ({needs}) is contradicted by {first.outcome}s.", "bad"
    elif first.finding == "surpassed":
        headline, tone = f"Read as incremental, the claim ({needs}) is surpassed in {first.outcome}s.", "good"
    elif first.better:
        headline, tone = f"That targeting raises incremental ROAS is shown; {needs} is not ruled out.", "good"
    else:
        headline, tone = f"These rows can neither confirm nor refute the claim ({needs}).", "unclear"
    sentences = [sentence for check in checks for sentence in check.sentences()]
    smaller = first.rows < CRITEO_ROWS
    if smaller:
        times = float(np.sqrt(CRITEO_ROWS / first.rows))
        sentences.append(
            f"This is {first.rows:,} of {CRITEO_ROWS:,} rows: on the whole file intervals would be about "
            f"{number(times, 2)} times narrower."
        )
    return Verdict(headline, tuple(sentences), tone)  # type: ignore[arg-type]


def _restated(checks: Sequence[ClaimCheck]) -> Section:
    claim = checks[0].claim
    facts = Facts(
        (
            ("Claimed factor", number(claim.factor, 3), f"{claim.before:g} to {claim.after:g}"),
            *((f"Measured, {c.outcome}", number(c.factor.value, 3), _ends(c.factor)) for c in checks),
            ("Claimed to be held", percent(claim.held, 0), f"of the effect, by {percent(1 - claim.cut, 0)}"),
        )
    )
    rows = (
        ("held-out rows with it, treated", *(f"{c.counts[0]:,}" for c in checks)),
        ("held-out rows with it, left alone", *(f"{c.counts[1]:,}" for c in checks)),
        ("Qini", *(_said(c.qini) for c in checks)),
        ("AUTOC", *(_said(c.autoc) for c in checks)),
        (f"outcome per head, best {percent(1 - claim.cut, 0)} treated", *(_said(c.value) for c in checks)),
        ("that less as many by lot", *(_said(c.gain) for c in checks)),
        ("incremental ROAS, everybody", *(_said(c.returns[ALL].incremental_roas) for c in checks)),
        ("incremental ROAS, the best", *(_said(c.returns.rows[0].incremental_roas) for c in checks)),
        ("factor between the two", *(_said(c.factor) for c in checks)),
        ("incremental ROAS of the spend cut", *(_said(c.returns.over(ALL).marginal_roas) for c in checks)),
        ("attributed ROAS, everybody", *(_said(c.returns[ALL].attributed_roas) for c in checks)),
        ("attributed ROAS, the best", *(_said(c.returns.rows[0].attributed_roas) for c in checks)),
        ("the claim, as an incremental one", *(c.finding for c in checks)),
    )
    table = Table(
        ("", *(c.outcome for c in checks)),
        rows,
        caption="What the held-out rows support, with 95% intervals",
        note="Everything is estimated on rows that fitted nothing. The factor compares two policies on the same rows.",
        strong=(8, 12),
    )
    return Section("The claim, restated", (facts, table), "What of it do the data support?")


def _returns_section(check: ClaimCheck) -> Section:
    return Section(
        f"Spend and returns: {check.outcome}", returns_blocks(check.returns), "Against whom is it compared, and how?"
    )


def _said(found: Estimate | Ratio | None) -> str:
    return "–" if found is None else f"{number(found.value, 3)} ({_ends(found)})"


def _ends(found: Estimate | Ratio) -> str:
    unbounded = isinstance(found, Ratio) and found.shape != "interval"
    return "no bounds" if unbounded else interval(*found.interval)
