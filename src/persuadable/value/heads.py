"""May a value head and a cost head be believed? What they must show, action by action, before how well they fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from persuadable.effects.calibrated import ScoredEffects, score_effects
from persuadable.errors import OutcomeError, ParameterError
from persuadable.value.calibration import (
    BestLinearPredictor,
    Calibration,
    Scored,
    calibration_of,
    line_of,
    quantile_groups,
)
from persuadable.value.estimate import Codes, Estimate, Floats, cluster_codes
from persuadable.value.predictions import predicted_effects
from persuadable.value.stability import Stability, stability_of

if TYPE_CHECKING:
    import polars as pl

    from persuadable.effects import Learner
    from persuadable.log import DecisionLog

__all__ = ["HeadCriteria", "HeadReport", "Period", "head_report"]

Head = Literal["value", "cost"]

AGREEMENT = 0.8


@dataclass(frozen=True, slots=True)
class Period:
    """The rows of one stretch of time.

    Attributes:
        start: time of the first row.
        end: time of the last row.
        n: rows.
        bias: mean true effect less mean predicted effect.
    """

    start: Any
    end: Any
    n: int
    bias: Estimate


@dataclass(frozen=True, slots=True, eq=False)
class HeadCriteria:
    """One head's effects of one action, judged on held-out rows.

    Attributes:
        head: "value" or "cost".
        outcome: the outcome's name.
        action: the treatment.
        n: rows judged on, those on which the action had a chance.
        predicted: mean predicted effect.
        bias: mean true effect less the predicted: 0 where the level is right.
        line: average effect, and the slope of the true effect on the predicted one: 1 where predictions are
            calibrated; None where everybody is predicted the same effect.
        bins: effects by group of rising prediction, and whether they rise.
        halves: the ranking in random halves of the units; None where everybody is predicted the same.
        periods: the level by stretch of time; empty where the log has no time.
        drift_p: p-value of the level being equally right in all periods; None where the log has no time.
        fit: E[(τ − τ̄)²] − E[(τ − τ̂)²]: by how much the squared error of the effects is below that of giving everybody
            the average; at or below 0 the predictions tell nobody apart.
        alpha: level of intervals and of the criteria.
    """

    head: Head
    outcome: str
    action: str
    n: int
    predicted: float
    bias: Estimate
    line: BestLinearPredictor | None
    bins: Calibration
    halves: Stability | None
    periods: tuple[Period, ...]
    drift_p: float | None
    fit: Estimate
    alpha: float

    @property
    def calibrated(self) -> bool:
        """Whether level and slope are as predicted, as far as these rows can tell."""
        level = self.bias.interval[0] <= 0 <= self.bias.interval[1]
        return level and (self.line is None or self.line.p_value_one >= self.alpha)

    @property
    def ranks(self) -> bool | None:
        """Whether the top group is affected more than the bottom one and no step surely falls.

        None where everybody is predicted the same effect, so that nothing is ranked.
        """
        if self.line is None:
            return None
        return self.bins.top_minus_bottom.interval[0] > 0 and self.bins.monotonicity.p_value >= self.alpha

    @property
    def stable(self) -> bool | None:
        """Whether both halves agree in 80% of splits, and the level does not drift in time; None if neither is told."""
        told = [] if self.halves is None else [self.halves.agreement >= AGREEMENT]
        told += [] if self.drift_p is None else [self.drift_p >= self.alpha]
        return all(told) if told else None

    def row(self) -> dict[str, Any]:
        """As columns of a table; criteria first, raw fit last; None where there is nothing to tell."""
        line, halves = self.line, self.halves
        slope = None if line is None else line.slope
        return {
            "head": self.head,
            "outcome": self.outcome,
            "action": self.action,
            "n": self.n,
            "calibrated": self.calibrated,
            "ranks": self.ranks,
            "stable": self.stable,
            "predicted": self.predicted,
            "effect": self.predicted + self.bias.value,
            "bias": self.bias.value,
            "bias_lower": self.bias.interval[0],
            "bias_upper": self.bias.interval[1],
            "slope": None if slope is None else slope.value,
            "slope_lower": None if slope is None else slope.interval[0],
            "slope_upper": None if slope is None else slope.interval[1],
            "bin_error": self.bins.error,
            "top_minus_bottom": self.bins.top_minus_bottom.value,
            "falling_steps": self.bins.monotonicity.inversions,
            "falling_p": self.bins.monotonicity.p_value,
            "agreement": None if halves is None else halves.agreement,
            "drift_p": self.drift_p,
            "fit": self.fit.value,
            "fit_lower": self.fit.interval[0],
            "fit_upper": self.fit.interval[1],
        }


@dataclass(frozen=True, slots=True, eq=False)
class HeadReport:
    """Every head and action judged; printing tells criteria first and raw fit last.

    Attributes:
        criteria: one entry per head and action, the value head's first.
        alpha: level of intervals and of the criteria.
    """

    criteria: tuple[HeadCriteria, ...]
    alpha: float

    def of(self, action: str, head: Head = "value") -> HeadCriteria:
        """The criteria of one action.

        Raises:
            ParameterError: no such head or action.
        """
        for each in self.criteria:
            if (each.head, each.action) == (head, action):
                return each
        known = [f"{each.head} of {each.action}" for each in self.criteria]
        raise ParameterError(f"There is no {head} of {action!r}", remedy=f"There are {known}.")

    def frame(self) -> pl.DataFrame:
        """One row per head and action."""
        import polars as pl

        return pl.DataFrame([each.row() for each in self.criteria], infer_schema_length=None)

    def __str__(self) -> str:
        wide = max(len("action"), *(len(each.action) for each in self.criteria))
        blocks = []
        for head in dict.fromkeys(each.head for each in self.criteria):
            mine = [each for each in self.criteria if each.head == head]
            title = f"{head} head, effects on {mine[0].outcome}, {100 * (1 - self.alpha):g}% intervals"
            columns = ("level: true − predicted", "slope (1 = calibrated)", "falling", "halves", "time", "raw fit")
            header = f"{'action':<{wide}} " + " ".join(f"{c:>{w}}" for c, w in zip(columns, WIDTHS, strict=True))
            lines = [f"{each.action:<{wide}} {_cells(each)}" for each in mine]
            blocks.append("\n".join([title, header, *lines, *(_doubts(each) for each in mine if _doubts(each))]))
        return "\n\n".join(blocks)


WIDTHS = (34, 26, 8, 7, 8, 10)


def _cells(each: HeadCriteria) -> str:
    line, halves = each.line, each.halves
    steps = len(each.bins.bins) - 1
    told = (
        _with_interval(each.bias),
        "one effect for all" if line is None else _with_interval(line.slope),
        "–" if not steps else f"{each.bins.monotonicity.inversions} of {steps}",
        "–" if halves is None else f"{halves.agreement:.0%}",
        "–" if each.drift_p is None else f"p = {each.drift_p:.2g}",
        f"{each.fit.value:.3g}",
    )
    return " ".join(f"{cell:>{width}}" for cell, width in zip(told, WIDTHS, strict=True))


def _with_interval(estimate: Estimate) -> str:
    return f"{estimate.value:.3g} ({estimate.interval[0]:.3g} to {estimate.interval[1]:.3g})"


def _doubts(each: HeadCriteria) -> str:
    """What the criteria say against an action's effects; empty where they say nothing."""
    found, line = [], each.line
    if not each.bias.interval[0] <= 0 <= each.bias.interval[1]:
        found.append("its level is off")
    if line is not None and line.p_value_one < each.alpha:
        found.append("predictions are too bold" if line.slope.value < 1 else "predictions are too timid")
    if each.ranks is False:
        found.append("these rows do not show that it ranks")
    if each.halves is not None and each.halves.agreement < AGREEMENT:
        found.append("halves of the units disagree")
    if each.drift_p is not None and each.drift_p < each.alpha:
        found.append("its level drifts in time")
    return f"  {each.action}: {'; '.join(found)}" if found else ""


def head_report(
    log: DecisionLog,
    value_effects: Any,
    cost_effects: Any = None,
    *,
    value: str | None = None,
    cost: str | None = None,
    bins: int = 5,
    n_splits: int = 20,
    periods: int = 3,
    nuisance: Learner | None = None,
    alpha: float = 0.05,
    random_state: int | np.random.Generator = 0,
) -> HeadReport:
    """Judge the effects of a value head and of a cost head, action by action, on held-out rows.

    What counts before fit: whether effects have the level and the slope predicted (incremental calibration), whether
    they rise from group to group of rising prediction, and whether that holds in random halves of the units and in
    stretches of time. An allocation adds such numbers up and divides value by cost; a model that fits best by its loss
    and is too bold buys the wrong offers. Raw fit comes last: the squared error of the effects (τ-risk; Schuler,
    Baiocchi, Tibshirani, Shah 2018) against giving everybody the average.

    Scores are doubly robust with the full propensities of all actions (``effects.score_effects``), so a row tells of
    every action it could have got.

    Args:
        log: held-out rows.
        value_effects: predicted effects on the value: a fitted effect model, or (n, A) over doing nothing.
        cost_effects: the same on the cost; None where costs are stated and nothing was learned.
        value: the outcome of the value head; the log's primary one when None.
        cost: the outcome of the cost head; the log's cost when None.
        bins: groups of equal size by prediction.
        n_splits: random halvings.
        periods: stretches of time with equally many rows, where the log has time.
        nuisance: the learner by whose settings responses and propensities are found; a ``DRLearner()`` when None.
        alpha: probability intervals are meant to miss, and level of the criteria.
        random_state: seed or Generator of the halvings.

    Raises:
        LeakageError: the effects come from models that saw rows of the log.
        ActionError: a model of other actions.
        DataError: effects of another shape, not finite, or not over doing nothing.
        OutcomeError: no such outcome, or no cost.
        ParameterError: fewer than 2 bins, 1 split or 1 period, or too few rows for them.
    """
    whole = all(isinstance(number, int | np.integer) for number in (bins, periods))
    if not whole or bins < 2 or periods < 1:
        raise ParameterError(
            f"bins = {bins!r} and periods = {periods!r}", remedy="Pass whole numbers, at least 2 bins and 1 period."
        )
    rng = np.random.default_rng(random_state)
    found: list[HeadCriteria] = []
    for head, told, name in _heads(log, value_effects, cost_effects, value, cost):
        effect = predicted_effects(log, told, f"{head}_effects", name)
        scored = score_effects(log, name, nuisance)
        for a, label in enumerate(log.actions.treatments, start=1):
            rows, data = _rows(log, effect[:, a], scored, a, name)
            found.append(_criteria(log, rows, data, head, label, bins, n_splits, periods, alpha, rng))
    return HeadReport(tuple(found), alpha)


def _heads(
    log: DecisionLog, value_effects: Any, cost_effects: Any, value: str | None, cost: str | None
) -> list[tuple[Head, Any, str]]:
    heads: list[tuple[Head, Any, str]] = [("value", value_effects, log.primary if value is None else value)]
    if cost_effects is not None:
        name = log.cost_name if cost is None else cost
        if name is None:
            raise OutcomeError("The log names no cost", remedy=f'Pass cost="…", one of {list(log.outcomes)}.')
        heads.append(("cost", cost_effects, name))
    return heads


def _rows(log: DecisionLog, effect: Floats, scored: ScoredEffects, a: int, outcome: str) -> tuple[Codes, Scored]:
    """The rows on which action a had a chance, and their effects beside their scores."""
    rows = np.flatnonzero(scored.possible[:, a])
    clusters = None if log.clusters is None else cluster_codes(log.clusters[rows])
    weight = None if log.weight is None else scored.weight[rows]
    return rows, Scored(effect[rows], scored.scores[rows, a], weight, clusters, outcome, "dr")


def _criteria(
    log: DecisionLog,
    rows: Codes,
    data: Scored,
    head: Head,
    label: str,
    bins: int,
    n_splits: int,
    periods: int,
    alpha: float,
    rng: np.random.Generator,
) -> HeadCriteria:
    off = data.gamma - data.effect
    bias = float(data.p @ off)
    varies = float(np.ptp(data.effect)) > 1e-6 * float(np.abs(data.effect).max())
    groups = quantile_groups(data.effect, bins, data.weight) if varies else np.zeros(data.m, dtype=np.intp)
    told, drift_p = _over_time(log, rows, data, periods, alpha)
    return HeadCriteria(
        head=head,
        outcome=data.outcome,
        action=label,
        n=data.m,
        predicted=float(data.p @ data.effect),
        bias=data.estimate(bias, off - bias, alpha, "true less predicted effect"),
        line=line_of(data, alpha) if varies else None,
        bins=calibration_of(data, groups, alpha),
        halves=stability_of(data, n_splits, bins, rng) if varies else None,
        periods=told,
        drift_p=drift_p,
        fit=_fit(data, alpha),
        alpha=alpha,
    )


def _fit(data: Scored, alpha: float) -> Estimate:
    """E[(Γ − Γ̄)² − (Γ − τ̂)²]: the noise of the scores is in both terms and leaves the difference."""
    centred = data.gamma - data.p @ data.gamma
    gain = centred**2 - (data.gamma - data.effect) ** 2
    value = float(data.p @ gain)
    return data.estimate(value, gain - value, alpha, "squared error below the average effect's")


def _over_time(
    log: DecisionLog, rows: Codes, data: Scored, periods: int, alpha: float
) -> tuple[tuple[Period, ...], float | None]:
    """The level in stretches of time of equally many rows, rows of one time together, and whether it is one level."""
    if log.time is None:
        return (), None
    time = log.time[rows]
    _, place, counts = np.unique(time, return_inverse=True, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / data.m
    raw = np.minimum(np.floor(middle * periods), periods - 1)[place]
    group = np.asarray(np.unique(raw, return_inverse=True)[1], dtype=np.intp)
    off = Scored(data.effect, data.gamma - data.effect, data.weight, data.clusters, data.outcome, data.method)
    levels = calibration_of(off, group, alpha)
    told = tuple(
        Period(time[group == g].min(), time[group == g].max(), gate.n, replace(gate.effect, name="true less predicted"))
        for g, gate in enumerate(levels.bins)
    )
    return told, levels.heterogeneity_p
