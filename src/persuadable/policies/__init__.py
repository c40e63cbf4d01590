"""What to do: policies turn predictions into probabilities of actions."""

from __future__ import annotations

from persuadable.policies import explore
from persuadable.policies.allocating import AllocationPolicy
from persuadable.policies.allocation import (
    Allocation,
    AllocationCurve,
    ConstraintRow,
    Robustness,
    ScaleWarning,
    Scenario,
    allocate,
    allocate_parquet,
    allocation_curve,
    robustness,
)
from persuadable.policies.allocation.constraints import AtLeast, Cap, Parity, RoiFloor, Spend
from persuadable.policies.archetypes import (
    ARCHETYPES,
    ArchetypeBeliefs,
    ArchetypePolicy,
    Archetypes,
    ArchetypeThresholds,
    archetypes,
)
from persuadable.policies.base import Policy
from persuadable.policies.baselines import RandomPolicy, TreatAll, TreatNone
from persuadable.policies.budget import BudgetPolicy
from persuadable.policies.calibrated import Affordable, CalibratedPolicy
from persuadable.policies.economics import Economics, economics
from persuadable.policies.effect_evidence import Evidence
from persuadable.policies.price_path import Price, PriceCurve, PricePath
from persuadable.policies.rank import RankPolicy
from persuadable.policies.review import Judged, Review, review, without_people
from persuadable.policies.threshold import BudgetCurve, ScoreDistribution, Threshold
from persuadable.policies.tree import ClassificationPolicy, PolicyTree, Rule, Rules, net_scores

__all__ = [
    "ARCHETYPES",
    "Affordable",
    "Allocation",
    "AllocationCurve",
    "AllocationPolicy",
    "ArchetypeBeliefs",
    "ArchetypePolicy",
    "ArchetypeThresholds",
    "Archetypes",
    "AtLeast",
    "BudgetCurve",
    "BudgetPolicy",
    "CalibratedPolicy",
    "Cap",
    "ClassificationPolicy",
    "ConstraintRow",
    "Economics",
    "Evidence",
    "Judged",
    "Parity",
    "Policy",
    "PolicyTree",
    "Price",
    "PriceCurve",
    "PricePath",
    "RandomPolicy",
    "RankPolicy",
    "Review",
    "Robustness",
    "RoiFloor",
    "Rule",
    "Rules",
    "ScaleWarning",
    "Scenario",
    "ScoreDistribution",
    "Spend",
    "Threshold",
    "TreatAll",
    "TreatNone",
    "allocate",
    "allocate_parquet",
    "allocation_curve",
    "archetypes",
    "economics",
    "explore",
    "net_scores",
    "review",
    "robustness",
    "without_people",
]
