"""What came of an experiment: the online verdict on a policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from persuadable.design.srm import SampleRatio
from persuadable.log.checks import require_log
from persuadable.value.estimate import Estimate
from persuadable.value.guardrails import (
    Better,
    Guardrail,
    GuardrailFinding,
    check_better,
    check_guardrails,
    slack,
    slack_influence,
)
from persuadable.value.looks import Progress, alpha_of, margin_of, progress, require_plan
from persuadable.value.trial import Contrast, Trial, contrast, covariate_table

if TYPE_CHECKING:
    import polars as pl

    from persuadable.design.experiment import ExperimentPlan
    from persuadable.log import DecisionLog

__all__ = ["Guardrail", "GuardrailFinding", "Readout", "readout"]

Decision = Literal["SHIP", "STOP", "CONTINUE", "UNDECIDED", "INVALID"]
MISMATCH = 0.001  # p-value at which arms of the wrong size make a readout worthless
CLEAR = 4.0  # standard errors the baseline's mean must be away from 0 for a relative difference


@dataclass(frozen=True, slots=True)
class Readout:
    """An experiment between a baseline and a candidate, read out.

    Attributes:
        outcome: what was compared.
        better: whether a "higher" or a "lower" outcome is good.
        arms: labels of the baseline and the candidate.
        units: units in each of the two.
        baseline: mean outcome per head under the baseline.
        difference: candidate − baseline, per head, plain; with its interval for a single look.
        adjusted: the same adjusted for the covariates (CUPED), None where there were none.
        lift: the difference over the baseline's mean, None where that is not clearly different from 0.
        always_valid: interval of the difference (adjusted if there is one) that holds at all looks at once.
        interval: the interval that decides, as wide as the plan's monitoring asks.
        margin: the difference that ``interval`` is held against, candidate − baseline; the plan's.
        progress: looks and width of ``interval``.
        ratio: units in each arm against those planned; None where no plan says.
        active_ratio: the same among the rows on which the arms act differently; None where all rows count.
        active: share of the rows on which the arms act differently.
        crossed: units with rows in several arms.
        guardrails: how each guardrail stands.
        decision: "SHIP", "STOP", "CONTINUE" (too early), "UNDECIDED" (finished without an answer) or "INVALID" (the
            arms are not what the lot should have made).
        conclusion: the decision and its reason in words.
    """

    outcome: str
    better: Better
    arms: tuple[str, str]
    units: tuple[int, int]
    baseline: Estimate
    difference: Estimate
    adjusted: Estimate | None
    lift: Estimate | None
    always_valid: tuple[float, float]
    interval: tuple[float, float]
    margin: float
    progress: Progress
    ratio: SampleRatio | None
    active_ratio: SampleRatio | None
    active: float
    crossed: int
    guardrails: tuple[GuardrailFinding, ...]
    decision: Decision
    conclusion: str

    @property
    def primary(self) -> Estimate:
        """The difference that decides: adjusted where there are covariates, else plain."""
        return self.difference if self.adjusted is None else self.adjusted

    @property
    def reduction(self) -> float | None:
        """Share of the variance that the covariates took away."""
        if self.adjusted is None or self.difference.stderr == 0:
            return None
        return 1 - (self.adjusted.stderr / self.difference.stderr) ** 2

    def frame(self) -> pl.DataFrame:
        """One row per outcome and way of reading it.

        ``lower`` and ``upper`` are those of the deciding interval, ``margin`` what it is held against (of a guardrail:
        the worsening allowed). ``p_value`` is that of no difference at a single look, and decides nothing.
        """
        import polars as pl

        read = [("difference", self.difference), *([] if self.adjusted is None else [("adjusted", self.adjusted)])]
        rows = [self._row(self.outcome, what, one, self.baseline) | {"margin": self.margin} for what, one in read]
        for finding in self.guardrails:
            rail = finding.guardrail
            row = self._row(rail.outcome, "guardrail", finding.difference, finding.baseline)
            rows.append(row | {"margin": rail.margin, "status": finding.status})
        return pl.DataFrame(
            rows, infer_schema_length=None, schema_overrides={"margin": pl.Float64, "status": pl.String}
        )

    def _row(self, outcome: str, what: str, found: Estimate, baseline: Estimate) -> dict[str, Any]:
        wide, always = _around(found, self.progress.quantile), _around(found, self.progress.always)
        return {
            "outcome": outcome,
            "what": what,
            "baseline": baseline.value,
            "candidate": baseline.value + found.value,
            "difference": found.value,
            "stderr": found.stderr,
            "lower": wide[0],
            "upper": wide[1],
            "always_lower": always[0],
            "always_upper": always[1],
            "p_value": found.p_value,
            "margin": None,
            "status": None,
        }

    def __str__(self) -> str:
        level = f"{100 * (1 - self.difference.alpha):g}%"
        first, second = self.arms
        lines = [
            f"{second} − {first}: {self.outcome} per head; {self.units[1]:,} and {self.units[0]:,} units",
            f"{'':12} {'difference':>12}   {level + ' interval, one look':28} {level} interval, always valid",
            _line("plain", self.difference, self.progress.always),
        ]
        if self.adjusted is not None:
            lines.append(_line("adjusted", self.adjusted, self.progress.always))
            lines.append(f"covariates took away {self.reduction or 0.0:.1%} of the variance")
        lines.append(self._decides())
        if self.lift is not None:
            low, high = self.lift.interval
            lines.append(
                f"relative to the baseline's {self.baseline.value:.4g}: {self.lift.value:+.2%} "
                f"({low:+.2%} to {high:+.2%}, one look)".replace("-", "−")
            )
        if self.active < 1:
            lines.append(f"the arms act differently on {self.active:.1%} of the rows; only these are compared")
        if self.crossed:
            lines.append(f"units with rows in several arms: {self.crossed:,}")
        lines.append("sizes of the arms not tested: no planned shares" if self.ratio is None else str(self.ratio))
        if self.active_ratio is not None:
            lines.append(f"among the rows compared: {self.active_ratio}")
        lines += [str(finding) for finding in self.guardrails]
        lines.append(f"{self.decision}: {self.conclusion}")
        return "\n".join(lines)

    def _decides(self) -> str:
        """The interval that decides, where it comes from, and what it is held against."""
        now, (low, high) = self.progress, self.interval
        word = {"always-valid": "always valid", "fixed": "one look, at the end"}.get(now.kind, "this look's boundary")
        side = "above" if self.better == "higher" else "below"
        which = "" if self.adjusted is None else "adjusted, "
        return (
            f"decides: {_signed(low)} to {_signed(high)} ({which}{word}: {now.quantile:.2f} standard errors); "
            f"to ship it must lie {side} {_margin(self.margin)}"
        )


def _margin(margin: float) -> str:
    return f"the margin of {_signed(margin)}" if margin else "0"


def _signed(value: float) -> str:
    """With its sign, and a true minus."""
    return f"{value:+.4g}".replace("-", "−")


def _line(label: str, found: Estimate, always: float) -> str:
    (low, high), (wide_low, wide_high) = found.interval, _around(found, always)
    one, many = (f"{_signed(a)} to {_signed(b)}" for a, b in ((low, high), (wide_low, wide_high)))
    return f"{label:12} {_signed(found.value):>12}   {one:28} {many:28}".rstrip()


def _around(found: Estimate, quantile: float) -> tuple[float, float]:
    return found.value - quantile * found.stderr, found.value + quantile * found.stderr


def readout(
    log: DecisionLog,
    *,
    baseline: str | int | None = None,
    candidate: str | int | None = None,
    arm: ArrayLike | None = None,
    shares: Mapping[Any, float] | None = None,
    outcome: str | None = None,
    better: Better = "higher",
    covariates: str | Sequence[str] | ArrayLike | None = None,
    guardrails: Sequence[Guardrail] = (),
    active: ArrayLike | None = None,
    plan: ExperimentPlan | None = None,
    margin: float | None = None,
    looks: Sequence[int] = (),
    alpha: float | None = None,
) -> Readout:
    """Read out an experiment in which units were given to policies by lot.

    The difference of mean outcomes per head comes plain and adjusted for covariates (Lin 2013; CUPED), with the usual
    interval and one that holds however often one looks. Which interval decides is the plan's business: the boundary
    of the present look for O'Brien–Fleming and Pocock monitoring (the repeated interval of Jennison and Turnbull
    1989), nothing before the end for "fixed", the always-valid one for "always-valid" and where there is no plan.
    It is held against the plan's margin: the candidate ships where all of it lies on the good side, and is stopped
    where all of it lies on the other.
    Guardrails are tested for non-inferiority at the same width; as all must hold, they need no correction for being
    several. Units with several rows are clusters, row weights count.

    Args:
        log: the experiment's rows, its actions the arms.
        baseline: label of the baseline; None is the control.
        candidate: label of the candidate; None is the treatment of a two-arm log.
        arm: (n,) labels of the arms where these are not the log's actions; name baseline and candidate then.
        shares: label → planned share of the units, for every arm; None takes the log's propensities, or the plan's
            share, and leaves the arms' sizes untested where there is neither.
        outcome: which to compare; the first when None.
        better: whether a "higher" or a "lower" outcome is good.
        covariates: what to adjust for, known before the arm was drawn: names of features, or (n,) or (n, d) numbers
            such as the predictions of a model fitted on other rows. Choose them beforehand.
        guardrails: what must not get worse.
        active: (n,) rows on which the two arms act differently, known without the arm (``design.disagreement``); only
            they are compared, and the difference stays per head of all.
        plan: the plan fixed beforehand (``design.plan_experiment``).
        margin: the difference, candidate − baseline, that must be exceeded (or undercut, where lower is better: a fall
            of more than 0.01 is −0.01); None is the plan's, or 0.
        looks: units enrolled in the two arms at each earlier look, for O'Brien–Fleming and Pocock.
        alpha: probability the intervals are meant to miss; None is the plan's, or 0.05.

    Raises:
        ActionError, DataError: arms, rows or covariates that cannot be used.
        ParameterError: an argument outside its range, or looks, alpha and margin that do not fit the plan.
        LeakageError: covariates predicted by a model that learned from these rows.
    """
    require_log(log, "readout")
    check_better(better)
    require_plan(plan)
    check_guardrails(guardrails)
    level, wall = alpha_of(alpha, plan), margin_of(margin, plan, better)
    trial = Trial.of(log, baseline, candidate, arm, shares, active, None if plan is None else plan.arms.share)
    units = trial.units()
    pair = (int(units[trial.pair[0]]), int(units[trial.pair[1]]))
    now = progress(trial.enrolled(), plan, looks, level)
    name = outcome or log.primary
    table = None if covariates is None else covariate_table(log, covariates)[trial.rows]
    y = log.outcome(name)[trial.rows]
    plain = contrast(trial, y)
    found = plain if table is None else contrast(trial, y, table)
    mean = trial.estimate(plain.baseline, plain.psi_baseline, level, f"{name}, {trial.names[trial.pair[0]]}")
    difference = trial.estimate(plain.difference, plain.psi, level, f"difference in {name}")
    adjusted = (
        None if table is None else trial.estimate(found.difference, found.psi, level, f"difference in {name}, adjusted")
    )
    findings = tuple(
        _finding(trial, rail, contrast(trial, log.outcome(rail.outcome)[trial.rows], table), level, now.quantile)
        for rail in guardrails
    )
    ratios = trial.sample_ratio(), None if trial.active is None else trial.take(trial.active).sample_ratio()
    primary = adjusted or difference
    interval = _around(primary, now.quantile)
    effect = None if plan is None else plan.effect
    decision, conclusion = conclude(name, better, interval, wall, now, findings, ratios, effect)
    return Readout(
        outcome=name,
        better=better,
        arms=(trial.names[trial.pair[0]], trial.names[trial.pair[1]]),
        units=pair,
        baseline=mean,
        difference=difference,
        adjusted=adjusted,
        lift=_lift(trial, found, mean, level),
        always_valid=_around(primary, now.always),
        interval=interval,
        margin=wall,
        progress=now,
        ratio=ratios[0],
        active_ratio=ratios[1],
        active=1.0 if trial.active is None else float(np.average(trial.active, weights=trial.weight)),
        crossed=trial.crossed(),
        guardrails=findings,
        decision=decision,
        conclusion=conclusion,
    )


def _finding(trial: Trial, rail: Guardrail, found: Contrast, alpha: float, quantile: float) -> GuardrailFinding:
    value = slack(rail, found.baseline, found.difference)
    psi = slack_influence(rail, found.baseline, found.psi_baseline, found.psi)
    room = trial.estimate(value, psi, alpha, f"distance of {rail.outcome} from its margin")
    return GuardrailFinding(
        guardrail=rail,
        baseline=trial.estimate(found.baseline, found.psi_baseline, alpha, rail.outcome),
        difference=trial.estimate(found.difference, found.psi, alpha, f"difference in {rail.outcome}"),
        slack=room,
        interval=_around(room, quantile),
    )


def _lift(trial: Trial, found: Contrast, mean: Estimate, alpha: float) -> Estimate | None:
    """Δ/μ_b by the delta method, ψ = (ψ_Δ − Δ/μ_b · ψ_b)/μ_b; None where μ_b is within 4 standard errors of 0."""
    if abs(mean.value) <= CLEAR * mean.stderr:
        return None
    ratio = found.difference / mean.value
    return trial.estimate(ratio, (found.psi - ratio * found.psi_baseline) / mean.value, alpha, "relative difference")


def conclude(
    outcome: str,
    better: Better,
    interval: tuple[float, float],
    margin: float,
    now: Progress,
    findings: Sequence[GuardrailFinding],
    ratios: Sequence[SampleRatio | None],
    effect: float | None,
) -> tuple[Decision, str]:
    """The decision and its reason, the graver first: arms, guardrails, the outcome itself."""
    ends = interval[0] - margin, interval[1] - margin
    low, high = ends if better == "higher" else (-ends[1], -ends[0])
    said = _sayings(margin, better)
    span = f"{_signed(interval[0])} to {_signed(interval[1])} {outcome} per head"
    wrong = [ratio for ratio in ratios if ratio is not None and ratio.mismatch(MISMATCH)]
    if wrong:
        return "INVALID", (
            f"the arms are not of the sizes the lot should have made (p = {min(r.p_value for r in wrong):.2g}); "
            "find where units were lost or misplaced before believing any difference"
        )
    if not now.may_decide:
        return "CONTINUE", f"the plan looks once, at {now.planned:,} units; {now.units:,} are enrolled"
    breached = [f.guardrail.outcome for f in findings if f.status == "breached"]
    if breached:
        return "STOP", f"the candidate breaks the guardrail on {', '.join(breached)}"
    if high < 0:
        return "STOP", f"{said['worse']}: {span}"
    still = [f.guardrail.outcome for f in findings if f.status == "open"]
    if low > 0 and not still:
        rails = f", and every guardrail holds ({len(findings)})" if findings else ""
        return "SHIP", f"{said['better']}: {span}{rails}"
    reason = f"{said['neither']}: {span}"
    if low > 0:
        reason = f"{said['better']} ({span}), but {', '.join(still)} may still be beyond its margin"
    if now.finished:
        planned = None if effect is None else abs(effect - margin)
        farthest = high if margin else max(-low, high)  # from a margin only one side was planned for
        small = planned is not None and low <= 0 and farthest < planned
        told = effect if margin else abs(effect or 0.0)
        ruled_out = f"; a difference as large as planned for ({told:.4g}) is ruled out" if small else ""
        return "UNDECIDED", f"all {now.planned:,} planned units are enrolled and {reason}{ruled_out}"
    so_far = "" if now.planned is None else f" of {now.planned:,}"
    return "CONTINUE", f"after {now.units:,}{so_far} units {reason}"


def _sayings(margin: float, better: Better) -> dict[str, str]:
    """What the deciding interval says of the candidate."""
    if margin == 0:
        words = {"better": "better", "worse": "worse", "neither": "neither better nor worse"}
        return {key: f"the candidate is {word}" for key, word in words.items()}
    above, below = ("above", "below") if better == "higher" else ("below", "above")
    wall = _margin(margin)
    return {
        "better": f"the difference lies {above} {wall}",
        "worse": f"the difference lies {below} {wall}",
        "neither": f"the interval takes in {wall}",
    }
