"""The gate's thresholds: fixed before the log is looked at, and written on every card."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from persuadable.design.sequential import MonitoringKind
from persuadable.errors import ParameterError
from persuadable.value.guardrails import Guardrail

__all__ = ["GateRules"]

MONITORING = ("obrien-fleming", "pocock", "always-valid", "fixed")


@dataclass(frozen=True, slots=True)
class GateRules:
    """What a candidate and its log must show. Fix them before looking at the estimates.

    Attributes:
        alpha: the difference's interval is meant to miss with this probability.
        margin: by how much the candidate must beat the baseline, in outcome units per head.
        worthwhile: the difference an experiment must be able to see, in outcome units per head; None takes the larger
            of the estimated difference and half the width of its interval.
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
        for name in ("alpha", "false_alarm", "power"):
            _require(self, name, 0.0, 1.0, "strictly between 0 and 1", open_ends=True)
        for name in ("support_floor", "max_unsupported", "max_weight_share", "max_variance_share"):
            _require(self, name, 0.0, 1.0, "from 0 to 1")
        _require(self, "min_ess", 1.0, math.inf, "at least 1")
        _require(self, "min_lambda", 1.0, math.inf, "at least 1")
        _require(self, "margin", -math.inf, math.inf, "finite")
        for name in ("bins", "looks"):
            value = getattr(self, name)
            if not (name == "looks" and value is None) and (not isinstance(value, int) or value < 1):
                raise ParameterError(f"{name} is {value!r}", remedy="Pass a whole number of at least 1.")
        if self.worthwhile is not None and not (0 < self.worthwhile < math.inf):
            raise ParameterError(f"worthwhile is {self.worthwhile!r}", remedy="Pass a positive difference, or None.")
        if self.outcome_range is not None and not _rising(self.outcome_range):
            raise ParameterError(
                f"outcome_range is {self.outcome_range!r}", remedy="Pass (lowest, highest), such as (0, 1)."
            )
        if self.monitoring not in MONITORING:
            raise ParameterError(f"monitoring is {self.monitoring!r}", remedy=f"Pass one of {list(MONITORING)}.")

    def as_dict(self) -> dict[str, Any]:
        """The thresholds as plain values, the guardrails as mappings."""
        return asdict(self)


def _rising(ends: tuple[float, float]) -> bool:
    return len(ends) == 2 and all(map(math.isfinite, ends)) and ends[0] < ends[1]


def _require(rules: GateRules, name: str, low: float, high: float, said: str, *, open_ends: bool = False) -> None:
    value = getattr(rules, name)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    inside = low < number < high if open_ends else low <= number <= high
    if not (inside and math.isfinite(number)):
        raise ParameterError(f"{name} is {value!r}", remedy=f"Pass a number {said}.")
