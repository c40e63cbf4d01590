"""What to do: policies turn predictions into probabilities of actions."""

from __future__ import annotations

from persuadable.policies import explore
from persuadable.policies.base import Policy
from persuadable.policies.baselines import RandomPolicy, TreatAll, TreatNone
from persuadable.policies.budget import BudgetPolicy
from persuadable.policies.calibrated import Affordable, CalibratedPolicy
from persuadable.policies.rank import RankPolicy
from persuadable.policies.threshold import BudgetCurve, ScoreDistribution, Threshold
from persuadable.policies.tree import ClassificationPolicy, PolicyTree, Rule, Rules, net_scores

__all__ = [
    "Affordable",
    "BudgetCurve",
    "BudgetPolicy",
    "CalibratedPolicy",
    "ClassificationPolicy",
    "Policy",
    "PolicyTree",
    "RandomPolicy",
    "RankPolicy",
    "Rule",
    "Rules",
    "ScoreDistribution",
    "Threshold",
    "TreatAll",
    "TreatNone",
    "explore",
    "net_scores",
]
