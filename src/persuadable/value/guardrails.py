"""What must not get worse by more than a margin while something else gets better."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from persuadable.errors import ParameterError
from persuadable.value.estimate import Estimate, Floats

__all__ = ["Better", "Guardrail", "GuardrailFinding", "check_better", "slack"]

Better = Literal["higher", "lower"]


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
        lower, upper = self.interval
        return (
            f"{self.guardrail}: {self.status} (difference {self.difference.value:+.4g}; "
            f"{self.slack.value:.4g} from the margin, {lower:.4g} to {upper:.4g})"
        )


def slack(guardrail: Guardrail, baseline: float, difference: float) -> float:
    """Distance to the margin: ±(μ_c − μ_b) + margin, with margin · |μ_b| for a relative one."""
    sign = 1.0 if guardrail.better == "higher" else -1.0
    return sign * difference + guardrail.margin * (abs(baseline) if guardrail.relative else 1.0)


def slack_influence(guardrail: Guardrail, baseline: float, psi_baseline: Floats, psi_difference: Floats) -> Floats:
    """(n,) influence function of ``slack``: it is linear in the two means."""
    sign = 1.0 if guardrail.better == "higher" else -1.0
    if not guardrail.relative:
        return sign * psi_difference
    return sign * psi_difference + math.copysign(guardrail.margin, baseline) * psi_baseline


def check_better(better: str) -> None:
    """Refuse what is neither "higher" nor "lower".

    Raises:
        ParameterError: another word.
    """
    if better not in ("higher", "lower"):
        raise ParameterError(f"better is {better!r}", remedy="Pass 'higher' or 'lower'.")
