"""Which model a bundle is, by the kind of its policy."""

from __future__ import annotations

from persuadable.bundle import Bundle
from persuadable.policies import BudgetPolicy
from persuadable.service.pricing import PricingModel
from persuadable.service.ranking import RankingModel
from persuadable.service.scoring import Model

__all__ = ["model_of"]


def model_of(bundle: Bundle) -> Model:
    """A bundle, compiled."""
    policy = bundle.policy
    if isinstance(policy, BudgetPolicy):
        return RankingModel.of(bundle, policy)
    return PricingModel.of(bundle, policy)
