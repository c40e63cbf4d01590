"""Policy value as a score to tune learners by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from persuadable.params import Parameters
from persuadable.policies import BudgetPolicy
from persuadable.value.policy_value import arm_mean_outcomes, policy_value

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["BudgetScore"]


class BudgetScore(Parameters):
    """What a learner's ranking is worth when a budget is spent by it, as scikit-learn's searches call it.

    ``GridSearchCV(XLearner(), grid, scoring=BudgetScore(share=0.3), cv=3).fit(log)`` keeps the settings whose policy
    has the highest value on held-out folds: doubly robust around the arms' mean outcomes, which needs no further fit.

    Args:
        share: share of users the budget pays for.
        outcome: what is to be raised; the primary outcome when None.
    """

    def __init__(self, share: float = 0.3, outcome: str | None = None) -> None:
        self.share = share
        self.outcome = outcome

    def __call__(self, learner: Any, log: DecisionLog, y: Any = None) -> float:
        """Mean outcome per head on held-out rows under the learner's budgeted policy.

        Raises:
            LeakageError: rows of the log fitted the learner.
        """
        policy = BudgetPolicy(learner, self.share, outcome=self.outcome).calibrate(log)
        mu = arm_mean_outcomes(log, self.outcome)
        return policy_value(log, policy, outcome=self.outcome, mu=mu).value
