"""The decision card: the gate's verdict on one page that can be printed, archived and read without us."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

from persuadable.errors import ParameterError
from persuadable.report.page import environment, resource, trusted
from persuadable.report.sketches import Line, Sketch, bars, forest, lines
from persuadable.report.theme import PALETTE
from persuadable.report.words import interval, level, number, percent

if TYPE_CHECKING:
    from persuadable.value import Estimate
    from persuadable.value.gating import GateRules, Sensitivity, Verdict

__all__ = ["decision_card", "write_decision_card"]

TONES = {"GO": "good", "NO_GO": "bad", "EXPERIMENT": "unclear"}
WORDS = {"GO": "GO", "NO_GO": "NO GO", "EXPERIMENT": "EXPERIMENT"}
STATUS = {"pass": "passed", "warn": "look", "fail": "failed", "not-applicable": "n/a"}
CODED = re.compile(r"(\(?OPE-\d{3}\)?)")
ESTIMATORS = {"dm": "DM", "ips": "IPS", "snips": "SNIPS", "dr": "DR"}


def decision_card(verdict: Verdict) -> str:
    """The card as HTML text, complete in itself: no script, nothing loaded, every text escaped.

    Raises:
        ParameterError: something else than a verdict.
    """
    import persuadable

    _require_verdict(verdict)
    page = environment().get_template("decision.html.j2")
    return page.render(
        verdict=verdict,
        title=f"May {verdict.candidate.name} replace {verdict.baseline.name}?",
        tone=TONES[verdict.decision],
        word=WORDS[verdict.decision],
        meaning=_meaning(verdict),
        reasons=[_coded(reason) for reason in verdict.reasons],
        numbers=_facts(verdict),
        sketches=_sketches(verdict),
        checks=[{"check": one, "status": STATUS[one.status], "remedy": _coded(one.remedy)} for one in verdict.checks],
        experiment=_experiment(verdict),
        rules=_rules(verdict.rules),
        version=persuadable.__version__,
        style=trusted(resource("report.css") + resource("decision.css")),
    )


def write_decision_card(verdict: Verdict, path: str | Path) -> Path:
    """Write the card as one HTML file and return where.

    Args:
        verdict: what ``value.gate`` returned.
        path: the file, such as ``decision.html``; its folder is made where it is missing.

    Raises:
        ParameterError: the path is a folder, or there is no verdict.
    """
    _require_verdict(verdict)
    target = Path(path)
    if target.is_dir():
        raise ParameterError(f"{target} is a folder", remedy="Name the file, such as decision.html.")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(decision_card(verdict), encoding="utf-8")
    return target


def _require_verdict(verdict: object) -> None:
    from persuadable.value.gating import Verdict

    if not isinstance(verdict, Verdict):
        raise ParameterError(
            f"The first argument is {verdict!r}, not a Verdict"[:160],
            remedy="Pass what value.gate returned, then the path: write_decision_card(verdict, 'decision.html').",
        )


def _coded(text: str) -> list[tuple[bool, str]]:
    """A sentence in pieces, each with whether it is a code, which must not be broken at its hyphen."""
    return [(place % 2 == 1, part) for place, part in enumerate(CODED.split(text)) if part]


def _meaning(verdict: Verdict) -> str:
    """The decision in a sentence."""
    ours, theirs = verdict.candidate.name, verdict.baseline.name
    if verdict.decision == "GO":
        return f"On this log {_beats(verdict)}. The online readout has the last word."
    if verdict.decision == "NO_GO":
        return f"On this log {ours} does not earn the place of {theirs}."
    if any(one.blocks for one in verdict.checks):
        return "This log cannot be trusted to tell. Mend what is named below, or decide between the two by lot."
    if verdict["OPE-501"].status == "pass":
        return f"On this log {_beats(verdict)}, but it cannot tell whether every guardrail holds."
    return "This log cannot tell them apart. The experiment below could."


def _beats(verdict: Verdict) -> str:
    """What a difference above the margin says."""
    ours, theirs, margin = verdict.candidate.name, verdict.baseline.name, verdict.rules.margin
    if margin < 0:
        return f"{ours} is worse than {theirs} by less than {number(-margin, 3)} per head, if at all"
    return f"{ours} is better than {theirs}" + (f" by more than {number(margin, 3)} per head" if margin else "")


def _facts(verdict: Verdict) -> tuple[tuple[str, str, str], ...]:
    said = level(verdict.rules.alpha)

    def told(one: Estimate) -> tuple[str, str]:
        return number(one.value, 3), f"{said} {interval(*one.interval)}"

    tipping = verdict.sensitivity.tipping
    applies = verdict.sensitivity.verdict is not None
    star = "–" if not applies else "> 100" if math.isinf(tipping) else f"{tipping:.2f}"
    weights = min((verdict.diagnostics.candidate, verdict.diagnostics.baseline), key=lambda one: one.ess)
    return (
        ("Difference per head", *told(verdict.difference)),
        (verdict.candidate.name, *told(verdict.candidate)),
        (verdict.baseline.name, *told(verdict.baseline)),
        (
            "Effective sample size",
            number(round(weights.ess)),
            f"of {verdict.difference.n:,} rows, for {weights.policy}",
        ),
        (
            "Λ*",
            star,
            "confounding it would take; any will do where a machine drew lots" if applies else "no verdict to undo",
        ),
    )


def _sketches(verdict: Verdict) -> list[Sketch]:
    drawn = [_estimators(verdict), _confounding(verdict)]
    if verdict.diagnostics.mass is not None:
        drawn.insert(1, _overlap(verdict))
    if verdict.experiment is not None:
        drawn.append(_power(verdict))
    return drawn


def _estimators(verdict: Verdict) -> Sketch:
    found = verdict.diagnostics.agreement.estimates
    rows = [(ESTIMATORS[name], one.value, *one.interval) for name, one in found.items()]
    return forest(
        rows,
        verdict.rules.margin,
        title="The difference, by estimator",
        reading="Estimators that fail for different reasons, side by side; DR decides. The dashed line is the margin.",
        x=f"{verdict.outcome} per head, candidate less baseline",
        strong=list(found).index("dr"),
    )


def _overlap(verdict: Verdict) -> Sketch:
    mass = verdict.diagnostics.mass
    assert mass is not None
    shown = [k for k in range(len(mass.labels)) if max(mass.candidate[k], mass.baseline[k], mass.logged[k]) > 0.0005]
    groups = (("candidate", mass.candidate), ("baseline", mass.baseline), ("logged", mass.logged))
    return bars(
        [mass.labels[k] for k in shown],
        [(name, [float(values[k]) for k in shown]) for name, values in groups],
        title="How likely the log made what each policy does",
        reading="Each policy's decisions, by the logged probability of the action. The less likely, the less the log "
        "can say.",
        x="share of decisions",
    )


def _confounding(verdict: Verdict) -> Sketch:
    found = verdict.sensitivity
    grid = [one for one in found.grid.tolist() if one <= _farthest(found)]
    k = len(grid)
    blue, red = PALETTE[0], PALETTE[3]
    tipping = found.tipping
    shown = found.verdict is not None and tipping <= grid[-1]
    return lines(
        [
            Line(grid, found.upper[:k].tolist(), found.upper[:k].tolist(), found.surely_below[:k].tolist(), red),
            Line(grid, found.lower[:k].tolist(), found.surely_above[:k].tolist(), found.lower[:k].tolist(), blue),
        ],
        title="The difference under unlogged confounding",
        reading="Its bounds, if the true odds of an action may be Λ times the logged ones, or 1/Λ. The bands are their "
        "sampling error.",
        x="Λ",
        y="difference per head",
        guide=verdict.rules.margin,
        at=(tipping, f"Λ* = {tipping:.2f}") if shown else None,
    )


def _farthest(found: Sensitivity) -> float:
    """The largest Λ drawn: one of the grid with Λ* well within it, and 2 where there is no verdict to undo."""
    wanted = 2.0 if found.verdict is None else max(1.2, 1.0 + 2.5 * (found.tipping - 1.0))
    return min((float(one) for one in found.grid if one >= wanted - 1e-9), default=float(found.grid[-1]))


def _power(verdict: Verdict) -> Sketch:
    plan = verdict.experiment
    assert plan is not None
    curve = plan.curve
    return lines(
        [Line([float(units) for units in curve.units], curve.power)],
        title="The experiment's power",
        reading=f"Probability of finding a difference of {number(plan.effect, 3)} per head"
        + (f" to lie above the margin of {number(plan.margin, 3)}" if plan.margin else "")
        + ", by the units enrolled.",
        x="units in both arms",
        y="power",
        at=(float(plan.units), f"{plan.units:,} units"),
        percent=True,
    )


def _experiment(verdict: Verdict) -> tuple[tuple[str, str, str], ...]:
    plan = verdict.experiment
    if plan is None:
        return ()
    baseline, candidate = plan.units_by_arm
    watch = plan.monitoring
    ends = ", ".join(f"{boundary:.2f}" for boundary in watch.boundaries)
    arms = plan.arms
    told = f"per head, with {percent(plan.power, 0)} probability"
    if plan.margin:
        told += f"; held against the margin of {number(plan.margin, 3)}"
    return (
        ("Units", f"{plan.units:,}", f"{baseline:,} baseline, {candidate:,} candidate"),
        ("Finds", number(plan.effect, 3), told),
        ("Policies differ on", percent(arms.active), "of the units; only these count"),
        (
            "CUPED takes away",
            percent(arms.reduction) if arms.reduction else "–",
            "of the variance, by the outcome model",
        ),
        ("Looks", str(len(plan.looks)), f"{watch.kind}; standard errors to exceed: {ends}"),
    )


def _rules(rules: GateRules) -> tuple[tuple[str, str], ...]:
    told = []
    for name, value in rules.as_dict().items():
        if name == "guardrails":
            text = "; ".join(map(str, rules.guardrails)) or "none"
        elif isinstance(value, tuple | list):
            text = " to ".join(f"{one:g}" for one in value)
        else:
            text = "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
        told.append((name.replace("_", " "), text))
    return tuple(told)
