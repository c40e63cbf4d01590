"""What must not get worse by more than a margin while something else gets better."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from persuadable.design.power import is_number
from persuadable.errors import ParameterError
from persuadable.value.estimate import Estimate, Floats

__all__ = ["Better", "Guardrail", "GuardrailFinding", "check_better", "check_guardrails", "sentence", "slack"]

Better = Literal["higher", "lower"]
ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Guardrail:
    """An outcome that the candidate may worsen by at most a margin (non-inferiority).

    Attributes:
        outcome: its name in the log.
        margin: largest tolerated worsening of its mean: in outcome units, or as a share of the baseline's mean.
        better: whether a "higher" or a "lower" mean is good.
        relative: whether the margin is a share of the baseline's mean.

    Raises:
        ParameterError: a margin below 0 or not finite, or another word for ``better``.
    """

    outcome: str
    margin: float
    better: Better = "higher"
    relative: bool = False

    def __post_init__(self) -> None:
        check_better(self.better)
        if not is_number(self.margin):
            raise ParameterError(
                f"The margin of the guardrail {self.outcome!r} is {self.margin!r}",
                remedy="Pass a number, in outcome units or with relative=True as a share: 0.05, not '5%'.",
            )
        if not 0 <= self.margin < math.inf:
            raise ParameterError(
                f"The margin of the guardrail {self.outcome!r} is {self.margin!r}",
                remedy="Pass the largest worsening you would accept, 0 or more.",
            )

    def __str__(self) -> str:
        margin = f"{self.margin:.2%} of the baseline" if self.relative else f"{self.margin:.4g}"
        return f"{self.outcome} may {'fall' if self.better == 'higher' else 'rise'} by at most {margin}"


@dataclass(frozen=True, slots=True)
class GuardrailFinding:
    """How an experiment stands with a guardrail.

    Attributes:
        guardrail: what was asked.
        baseline: mean per head under the baseline.
        difference: candidate − baseline, per head.
        slack: how far the candidate is from the margin, in outcome units; below 0 the margin is exceeded.
        interval: of ``slack``, as wide as the readout's monitoring asks.
        status: "held" (all of the interval above 0), "breached" (all below), or "open".
    """

    guardrail: Guardrail
    baseline: Estimate
    difference: Estimate
    slack: Estimate
    interval: tuple[float, float]

    @property
    def status(self) -> Literal["held", "breached", "open"]:
        """Whether the margin is kept, exceeded, or neither can be said yet."""
        lower, upper = self.interval
        return "held" if lower > 0 else "breached" if upper < 0 else "open"

    def __str__(self) -> str:
        told = sentence(self.guardrail, self.baseline.value, self.difference.value, self.slack.value, self.interval)
        return f"guardrail {self.status}: {told}"


def sentence(
    rail: Guardrail, baseline: float, difference: float, distance: float, interval: tuple[float, float]
) -> str:
    """How an outcome changes and how much was allowed: "cost rises by 0.28 (0.266 to 0.294); at most 0.2 was allowed".

    Args:
        rail: the guardrail.
        baseline: mean per head under the baseline.
        difference: candidate − baseline, per head.
        distance: the ``slack``.
        interval: of the ``slack``.
    """
    way = "fall" if rail.better == "higher" else "rise"
    if rail.relative:  # the baseline's mean is estimated too, so the interval is that of the distance
        allowed = f"a {way} of at most {rail.margin:.2%} of the baseline's {_number(baseline)} was allowed"
        room = f"{_number(abs(distance))} {'within' if distance >= 0 else 'beyond'}"
        ends = " to ".join(_number(end, "+") for end in interval)
        return f"{rail.outcome} changes by {_number(difference, '+')}; {allowed}: {room} (room left {ends})"
    sign = 1.0 if rail.better == "higher" else -1.0
    low, high = sorted(sign * (end - rail.margin) for end in interval)
    allowed = f"a {way} of at most {_number(rail.margin)} was allowed"
    if low > 0 or high < 0:
        verb, least, most = ("rises", low, high) if low > 0 else ("falls", -high, -low)
        span = f"by {_number(abs(difference))} ({_number(least)} to {_number(most)})"
        return f"{rail.outcome} {verb} {span}; {allowed}"
    span = f"by {_number(difference, '+')} ({_number(low, '+')} to {_number(high, '+')})"
    return f"{rail.outcome} changes {span}; {allowed}"


def _number(value: float, sign: str = "") -> str:
    """To three significant digits, with a true minus."""
    return "0" if abs(value) < ROUNDING else f"{value:{sign}.3g}".replace("-", "−")


def slack(guardrail: Guardrail, baseline: float, difference: float) -> float:
    """Distance to the margin: ±(μ_c − μ_b) + margin, with margin · |μ_b| for a relative one.

    0 where the two differ by rounding: a cost known to the cent is at the margin, not beyond it.
    """
    sign = 1.0 if guardrail.better == "higher" else -1.0
    allowed = guardrail.margin * (abs(baseline) if guardrail.relative else 1.0)
    distance = sign * difference + allowed
    return 0.0 if abs(distance) <= ROUNDING * allowed else distance


def slack_influence(guardrail: Guardrail, baseline: float, psi_baseline: Floats, psi_difference: Floats) -> Floats:
    """(n,) influence function of ``slack``: it is linear in the two means."""
    sign = 1.0 if guardrail.better == "higher" else -1.0
    if not guardrail.relative:
        return sign * psi_difference
    return sign * psi_difference + math.copysign(guardrail.margin, baseline) * psi_baseline


def check_guardrails(guardrails: object) -> None:
    """Refuse what is no sequence of guardrails.

    Raises:
        ParameterError: one guardrail alone, or the name of an outcome in the place of one.
    """
    told = list(guardrails) if isinstance(guardrails, list | tuple) else [None]
    if not all(isinstance(one, Guardrail) for one in told):
        raise ParameterError(
            f"guardrails is {guardrails!r}"[:160],
            remedy="Pass a tuple of them, such as (Guardrail('cost', margin=0.05, better='lower'),).",
        )


def check_better(better: str) -> None:
    """Refuse what is neither "higher" nor "lower".

    Raises:
        ParameterError: another word.
    """
    if better not in ("higher", "lower"):
        raise ParameterError(f"better is {better!r}", remedy="Pass 'higher' or 'lower'.")
