"""How far an experiment has come, and how wide its intervals must be for the looks taken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from persuadable.design.experiment import ExperimentPlan
from persuadable.design.power import is_number
from persuadable.design.sequential import MonitoringKind, always_valid_quantile, monitor
from persuadable.errors import ParameterError
from persuadable.value.estimate import normal_quantile
from persuadable.value.guardrails import Better

__all__ = ["UNPLANNED", "Progress", "alpha_of", "margin_of", "progress", "require_plan"]

UNPLANNED = 10_000  # units at which the always-valid interval is narrowest where no plan says


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an experiment has come.

    Attributes:
        kind: how it is monitored.
        units: enrolled so far.
        planned: to be enrolled; None without a plan.
        quantile: half-width of the deciding interval in standard errors.
        always: half-width of the always-valid interval in standard errors.
        may_decide: whether the plan allows a decision at this look.
    """

    kind: MonitoringKind
    units: int
    planned: int | None
    quantile: float
    always: float
    may_decide: bool

    @property
    def finished(self) -> bool:
        """Whether all planned units are enrolled."""
        return self.planned is not None and self.units >= self.planned


def progress(units: int, plan: ExperimentPlan | None, looks: Sequence[int], alpha: float) -> Progress:
    """Where an experiment stands after so many units.

    Args:
        units: enrolled so far.
        plan: fixed beforehand; without one the always-valid interval decides, narrowest at 10,000 units.
        looks: units at each earlier look, for O'Brien–Fleming and Pocock monitoring.
        alpha: probability of a false alarm.

    Raises:
        ParameterError: earlier looks that do not fit the plan or the units.
    """
    kind: MonitoringKind = "always-valid" if plan is None else plan.monitoring.kind
    planned = None if plan is None else plan.units
    always = always_valid_quantile(units, best_at=planned or UNPLANNED, alpha=alpha)
    if len(looks) and kind in ("always-valid", "fixed"):
        raise ParameterError(
            f"looks= was passed, which {'a readout without a plan' if plan is None else f'{kind!r} monitoring'} "
            "does not count",
            remedy="Leave it out; earlier looks count for 'obrien-fleming' and 'pocock'.",
        )
    if planned is None or kind == "always-valid":
        return Progress(kind, units, planned, always, always, True)
    if kind == "fixed":
        return Progress(kind, units, planned, normal_quantile(alpha), always, units >= planned)
    return Progress(kind, units, planned, _boundary(kind, units, planned, looks, alpha), always, True)


def _boundary(kind: MonitoringKind, units: int, planned: int, looks: Sequence[int], alpha: float) -> float:
    """The boundary of this look, given where the earlier ones were; the last may come later than planned."""
    told = [*looks, units]
    if any(later <= earlier for earlier, later in pairwise(told)) or told[0] < 1:
        raise ParameterError(
            f"Earlier looks were at {list(looks)} units and there are {units:,} now",
            remedy="Pass the units enrolled at each earlier look, rising, without the present one.",
        )
    if len(looks) and looks[-1] >= planned:
        raise ParameterError(
            f"The last look was at {looks[-1]:,} units, and {planned:,} were planned: all of alpha is spent",
            remedy="Keep the verdict of that look, or read out with plan=None, which is always valid.",
        )
    return monitor(kind, [min(1.0, at / planned) for at in told], alpha=alpha).boundaries[-1]


def alpha_of(alpha: float | None, plan: ExperimentPlan | None) -> float:
    """The plan's alpha, or the one given, or 0.05.

    Raises:
        ParameterError: one that differs from the plan's.
    """
    if alpha is not None and not (is_number(alpha) and 0 < alpha <= 0.5):
        raise ParameterError(
            f"alpha is {alpha!r}", remedy="Pass the probability of a false alarm, such as 0.05 for 95% intervals."
        )
    if plan is None:
        return 0.05 if alpha is None else alpha
    if alpha is not None and alpha != plan.monitoring.alpha:
        raise ParameterError(
            f"alpha is {alpha}, the plan's is {plan.monitoring.alpha}", remedy="Leave alpha out: the plan fixed it."
        )
    return plan.monitoring.alpha


def margin_of(margin: float | None, plan: ExperimentPlan | None, better: Better) -> float:
    """The plan's margin, or the one given, or 0: the difference, candidate − baseline, that is decided against.

    Raises:
        ParameterError: no finite number, one that differs from the plan's, or a plan whose effect lies on the other
            side of its margin than what is better.
    """
    if margin is not None and not (is_number(margin) and math.isfinite(margin)):
        raise ParameterError(f"margin is {margin!r}", remedy="Pass a finite number, in outcome units per head.")
    if plan is None:
        return 0.0 if margin is None else float(margin)
    if margin is not None and margin != plan.margin:
        raise ParameterError(
            f"margin is {margin:g}, the plan's is {plan.margin:g}", remedy="Leave margin out: the plan fixed it."
        )
    if plan.margin and (plan.effect > plan.margin) != (better == "higher"):
        raise ParameterError(
            f"The plan looks for {plan.effect:g} against a margin of {plan.margin:g}, and better is {better!r}",
            remedy="Where lower is better, effect and margin are falls: effect=-0.02, margin=-0.01.",
        )
    return plan.margin


def require_plan(plan: object) -> None:
    """Refuse what is neither a plan nor None.

    Raises:
        ParameterError: it is something else, such as a number of units.
    """
    if plan is not None and not isinstance(plan, ExperimentPlan):
        raise ParameterError(
            f"plan is {plan!r}"[:120],
            remedy="Pass what design.plan_experiment returned, or None where nothing was planned.",
        )
