"""Off-policy evaluation: what a policy would have brought, from rounds in which another one decided.

``estimating`` has the public functions; everything here is an array's way to them.
"""

from __future__ import annotations

from persuadable.value.ope.estimators import (
    DM,
    DR,
    ESTIMATORS,
    IPS,
    MRDR,
    SNDR,
    SNIPS,
    BalancedDR,
    BalancedIPS,
    CrossFittedDR,
    DRos,
    Estimator,
    SwitchDR,
)
from persuadable.value.ope.terms import Terms

__all__ = [
    "DM",
    "DR",
    "ESTIMATORS",
    "IPS",
    "MRDR",
    "SNDR",
    "SNIPS",
    "BalancedDR",
    "BalancedIPS",
    "CrossFittedDR",
    "DRos",
    "Estimator",
    "SwitchDR",
    "Terms",
]
