"""Which action for whom, under a budget and the business's other constraints, with a proof of how good it is."""

from __future__ import annotations

from persuadable.policies.allocation.allocate import allocate
from persuadable.policies.allocation.problem import ScaleWarning
from persuadable.policies.allocation.result import Allocation, ConstraintRow
from persuadable.policies.allocation.sensitivity import (
    AllocationCurve,
    Robustness,
    Scenario,
    allocation_curve,
    robustness,
)
from persuadable.policies.allocation.streaming import allocate_parquet

__all__ = [
    "Allocation",
    "AllocationCurve",
    "ConstraintRow",
    "Robustness",
    "ScaleWarning",
    "Scenario",
    "allocate",
    "allocate_parquet",
    "allocation_curve",
    "robustness",
]
