"""What exploring did cost, measured on the log that it made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from persuadable.errors import DataError
from persuadable.log.checks import require_log
from persuadable.value.estimate import Estimate
from persuadable.value.policy_value import Judgeable, arm_mean_outcomes, compare

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["ExplorationPaid", "exploration_paid"]


@dataclass(frozen=True, slots=True)
class ExplorationPaid:
    """A log as it was decided, beside what a greedy policy would have done with its units.

    Attributes:
        greedy: the policy's name.
        outcome: the outcome's name.
        loss: outcome per head that the greedy policy would have added; below 0 where exploring did better.
        extra_spend: cost per head that exploring added; None where the log has no cost.
        share: share of the units that the log's propensities treat.
        greedy_share: share that the greedy policy would have treated.
    """

    greedy: str
    outcome: str
    loss: Estimate
    extra_spend: Estimate | None
    share: float
    greedy_share: float

    def __str__(self) -> str:
        low, high = self.loss.interval
        lost = f"{self.loss.value:.4g} {self.outcome} a head ({low:.4g} to {high:.4g})"
        words = f"Exploring forwent {lost} against {self.greedy}"
        if self.extra_spend is not None:
            low, high = self.extra_spend.interval
            words += f", cost {self.extra_spend.value:+.4g} a head ({low:+.4g} to {high:+.4g})"
        return f"{words}, and treated {self.share:.1%} instead of {self.greedy_share:.1%}"


def exploration_paid(
    log: DecisionLog,
    greedy: Judgeable,
    *,
    outcome: str | None = None,
    method: str = "dr",
    mu: ArrayLike | None = None,
    alpha: float = 0.05,
) -> ExplorationPaid:
    """What an exploring policy lost against a greedy one, from the log it decided.

    The value of the exploring policy is that of the log itself, its propensities being the policy; that of the greedy
    one is estimated from the rows that happened to do the same. The interval is that of the paired difference. What was
    predicted beforehand is ``policies.explore.exploration_cost``.

    Args:
        log: rows decided by the exploring policy, with its propensities.
        greedy: a policy, or its (n, A) probabilities on these rows.
        outcome, method, mu, alpha: as in ``policy_value``.

    Raises:
        DataError: the log has no propensities.
        LeakageError, PropensityError, ParameterError: as for ``policy_value``.
    """
    require_log(log, "exploration_paid")
    if log.propensities is None:
        raise DataError(
            f"The log {log.name!r} does not say with what probabilities it was decided",
            remedy="Read it with propensity=, as they were logged.",
        )
    table = log.propensity()
    table = table / table.sum(axis=1, keepdims=True)  # a log may be written with fewer digits than a policy needs
    lost = compare(log, greedy, table, outcome=outcome, method=method, mu=mu, alpha=alpha)
    spend = None
    if log.cost_name is not None:
        costs = arm_mean_outcomes(log, log.cost_name) if method == "dr" else None
        spend = compare(log, table, greedy, outcome=log.cost_name, method=method, mu=costs, alpha=alpha).difference
    return ExplorationPaid(
        greedy=lost.policy.policy,
        outcome=lost.policy.outcome,
        loss=lost.difference,
        extra_spend=spend,
        share=lost.baseline.share,
        greedy_share=lost.policy.share,
    )
