"""What to do: policies turn predictions into probabilities of actions."""

from __future__ import annotations

from persuadable.policies.base import Policy
from persuadable.policies.baselines import RandomPolicy, TreatAll, TreatNone
from persuadable.policies.budget import BudgetPolicy
from persuadable.policies.calibrated import Affordable, CalibratedPolicy
from persuadable.policies.rank import RankPolicy
from persuadable.policies.threshold import BudgetCurve, ScoreDistribution, Threshold

__all__ = [
    "Affordable",
    "BudgetCurve",
    "BudgetPolicy",
    "CalibratedPolicy",
    "Policy",
    "RandomPolicy",
    "RankPolicy",
    "ScoreDistribution",
    "Threshold",
    "TreatAll",
    "TreatNone",
]
