"""May we ship this policy? Diagnostics of a log, sensitivity to confounding, coded checks, and a verdict."""

from __future__ import annotations

from persuadable.value.gating.agreement import Agreement, Placebo
from persuadable.value.gating.checks import CODES, Check, Code
from persuadable.value.gating.diagnostics import Diagnostics, MassByPropensity, Weights, diagnose
from persuadable.value.gating.evidence import Unsupported
from persuadable.value.gating.gate import gate
from persuadable.value.gating.propensities import Conditional, FrequencyBin
from persuadable.value.gating.rules import GateRules
from persuadable.value.gating.sensitivity import Sensitivity, sensitivity
from persuadable.value.gating.verdict import Verdict

__all__ = [
    "CODES",
    "Agreement",
    "Check",
    "Code",
    "Conditional",
    "Diagnostics",
    "FrequencyBin",
    "GateRules",
    "MassByPropensity",
    "Placebo",
    "Sensitivity",
    "Unsupported",
    "Verdict",
    "Weights",
    "diagnose",
    "gate",
    "sensitivity",
]
