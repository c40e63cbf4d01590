"""The decision card: the gate's verdict on one page that can be printed, archived and read without us."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from persuadable.errors import ParameterError
from persuadable.report.page import environment, resource, trusted
from persuadable.report.sketches import Line, Sketch, bars, forest, lines
from persuadable.report.theme import PALETTE
from persuadable.report.words import interval, level, number, percent

if TYPE_CHECKING:
    from persuadable.value import Estimate
    from persuadable.value.gating import GateRules, Verdict

__all__ = ["decision_card", "write_decision_card"]

TONES = {"GO": "good", "NO_GO": "bad", "EXPERIMENT": "unclear"}
WORDS = {"GO": "GO", "NO_GO": "NO GO", "EXPERIMENT": "EXPERIMENT"}
STATUS = {"pass": "passed", "warn": "look", "fail": "failed", "not-applicable": "n/a"}
ESTIMATORS = {"dm": "DM", "ips": "IPS", "snips": "SNIPS", "dr": "DR"}


def decision_card(verdict: Verdict) -> str:
    """The card as HTML text, complete in itself: no script, nothing loaded, every text escaped."""
    import persuadable

    page = environment().get_template("decision.html.j2")
    return page.render(
        verdict=verdict,
        title=f"May {verdict.candidate.name} replace {verdict.baseline.name}?",
        tone=TONES[verdict.decision],
        word=WORDS[verdict.decision],
        meaning=_meaning(verdict),
        numbers=_facts(verdict),
        sketches=_sketches(verdict),
        checks=[{"check": one, "status": STATUS[one.status]} for one in verdict.checks],
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
        ParameterError: the path is a folder.
    """
    target = Path(path)
    if target.is_dir():
        raise ParameterError(f"{target} is a folder", remedy="Name the file, such as decision.html.")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(decision_card(verdict), encoding="utf-8")
    return target


def _meaning(verdict: Verdict) -> str:
    """The decision in a sentence."""
    ours, theirs = verdict.candidate.name, verdict.baseline.name
    if verdict.decision == "GO":
        return f"On this log {ours} is better than {theirs}. The online readout has the last word."
    if verdict.decision == "NO_GO":
        return f"On this log {ours} does not earn the place of {theirs}."
    if any(one.blocks for one in verdict.checks):
        return "This log cannot be trusted to tell. Mend what is named below, or decide between the two by lot."
    return "This log cannot tell them apart. The experiment below could."


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
        ("Effective sample size", number(round(weights.ess)), f"of {verdict.difference.n:,} rows"),
        ("Λ*", star, "confounding it would take" if applies else "no verdict to undo"),
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
    grid = found.grid.tolist()
    blue, red = PALETTE[0], PALETTE[3]
    tipping = found.tipping
    shown = found.verdict is not None and tipping <= grid[-1]
    return lines(
        [
            Line(grid, found.upper.tolist(), found.upper.tolist(), found.surely_below.tolist(), red),
            Line(grid, found.lower.tolist(), found.surely_above.tolist(), found.lower.tolist(), blue),
        ],
        title="The difference under unlogged confounding",
        reading="Its bounds, if the true odds of an action may be Λ times the logged ones, or 1/Λ. The bands are their "
        "sampling error.",
        x="Λ",
        y="difference per head",
        guide=verdict.rules.margin,
        at=(tipping, f"Λ* = {tipping:.2f}") if shown else None,
    )


def _power(verdict: Verdict) -> Sketch:
    plan = verdict.experiment
    assert plan is not None
    curve = plan.curve
    return lines(
        [Line([float(units) for units in curve.units], curve.power)],
        title="The experiment's power",
        reading=f"Probability of finding a difference of {number(plan.effect, 3)} per head, by the units enrolled.",
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
    return (
        ("Units", f"{plan.units:,}", f"{baseline:,} baseline, {candidate:,} candidate"),
        ("Finds", number(plan.effect, 3), f"per head, with {percent(plan.power, 0)} probability"),
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
