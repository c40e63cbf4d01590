"""The gate's thresholds: fixed before the log is looked at, and written on every card."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, get_args

from persuadable.design.power import is_number
from persuadable.design.sequential import MonitoringKind
from persuadable.errors import ParameterError
from persuadable.value.guardrails import Guardrail, check_guardrails

__all__ = ["GateRules"]


@dataclass(frozen=True, slots=True)
class GateRules:
    """What a candidate and its log must show. Fix them before looking at the estimates.

    Attributes:
        alpha: the difference's interval is meant to miss with this probability, at most 0.5.
        margin: by how much the candidate must beat the baseline, in outcome units per head. The experiment proposed
            carries it, and its readout decides against it too.
        worthwhile: the difference an experiment must be able to see, in outcome units per head: above the margin. None
            takes what this log could not tell, the margin and beyond it the larger of the estimated distance to the
            margin and half the width of the difference's interval.
        outcome_range: (lowest, highest) value the outcome can take, for what was never tried; None takes the range
            seen in the log.
        false_alarm: probability that a sound log fails any of its tests, shared equally among the tests.
        support_floor: an action whose logged propensity is at or below this counts as never tried.
        max_unsupported: largest share of decisions in which candidate and baseline may differ by an action never tried.
        min_ess: least effective sample size of either policy's weights.
        max_weight_share: largest share of a policy's weight that one row may carry.
        max_variance_share: largest share of the difference's variance that one unit may carry.
        bins: bins of logged propensity in the calibration test.
        min_lambda: confounding a verdict should bear: Λ of the marginal sensitivity model. Below it a verdict on
            estimated propensities is withheld, one on logged propensities carries a warning.
        guardrails: other outcomes that must not get worse.
        power: of the experiment proposed.
        looks: how many times that experiment is looked at; None is 5, and 1 where monitoring is "fixed".
        monitoring: how its boundaries spend alpha: "obrien-fleming", "pocock", "always-valid" or "fixed".

    Raises:
        ParameterError: a threshold outside its range.
    """

    alpha: float = 0.05
    margin: float = 0.0
    worthwhile: float | None = None
    outcome_range: tuple[float, float] | None = None
    false_alarm: float = 0.01
    support_floor: float = 0.0
    max_unsupported: float = 0.01
    min_ess: float = 200.0
    max_weight_share: float = 0.05
    max_variance_share: float = 0.1
    bins: int = 10
    min_lambda: float = 1.1
    guardrails: tuple[Guardrail, ...] = ()
    power: float = 0.8
    looks: int | None = None
    monitoring: MonitoringKind = "obrien-fleming"

    def __post_init__(self) -> None:
        for name in ("false_alarm", "power"):
            _require(self, name, 0.0, 1.0, "strictly between 0 and 1; of a percentage, divide by 100", open_ends=True)
        _require(
            self, "alpha", 0.0, 0.5 + 1e-12, "above 0 and at most 0.5, such as 0.05 for 95% intervals", open_ends=True
        )
        for name in ("support_floor", "max_unsupported", "max_weight_share", "max_variance_share"):
            _require(self, name, 0.0, 1.0, "from 0 to 1; of a percentage, divide by 100")
        _require(self, "min_ess", 1.0, math.inf, "of at least 1")
        _require(self, "min_lambda", 1.0, math.inf, "of at least 1")
        _require(self, "margin", -math.inf, math.inf, "in outcome units per head, such as 0.01")
        for name in ("bins", "looks"):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not (name == "looks" and value is None) and not (whole and value >= 1):
                raise ParameterError(f"{name} is {value!r}", remedy="Pass a whole number of at least 1.")
        if self.worthwhile is not None:
            _require(self, "worthwhile", -math.inf, math.inf, "in outcome units per head, such as 0.02, or None")
            if self.worthwhile <= self.margin:
                raise ParameterError(
                    f"worthwhile is {self.worthwhile:g}, and the margin to be beaten {self.margin:g}",
                    remedy="Pass the difference that an experiment must be able to see, above the margin: with "
                    "margin=0.06 for example worthwhile=0.07.",
                )
        check_guardrails(self.guardrails)
        if self.outcome_range is not None and not _rising(self.outcome_range):
            raise ParameterError(
                f"outcome_range is {self.outcome_range!r}", remedy="Pass (lowest, highest), such as (0, 1)."
            )
        if self.monitoring not in get_args(MonitoringKind):
            raise ParameterError(
                f"monitoring is {self.monitoring!r}", remedy=f"Pass one of {list(get_args(MonitoringKind))}."
            )
        # An experiment is proposed only at the end, too late to learn that it cannot be.
        if self.monitoring == "fixed" and self.looks not in (None, 1):
            raise ParameterError(
                f"looks is {self.looks!r} with monitoring='fixed', which looks once",
                remedy="Leave looks out, or choose 'obrien-fleming', 'pocock' or 'always-valid'.",
            )
        if self.power <= self.alpha / 2:
            raise ParameterError(
                f"power is {self.power!r}, no more than alpha / 2", remedy="Pass a larger one, such as 0.8."
            )

    def as_dict(self) -> dict[str, Any]:
        """The thresholds as plain values, the guardrails as mappings."""
        return asdict(self)


def _rising(ends: object) -> bool:
    if not (isinstance(ends, tuple | list) and len(ends) == 2 and all(map(is_number, ends))):
        return False
    return all(map(math.isfinite, ends)) and bool(ends[0] < ends[1])


def _require(rules: GateRules, name: str, low: float, high: float, said: str, *, open_ends: bool = False) -> None:
    value = getattr(rules, name)
    number = float(value) if is_number(value) else math.nan
    inside = low < number < high if open_ends else low <= number <= high
    if not (inside and math.isfinite(number)):
        raise ParameterError(f"{name} is {value!r}", remedy=f"Pass a number {said}.")
