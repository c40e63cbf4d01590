"""What it is worth: ranking curves, calibration and policy value, on held-out rows only."""

from __future__ import annotations

from persuadable.value.budget_values import BudgetRow, BudgetValues, budget_values
from persuadable.value.calibration import (
    BestLinearPredictor,
    Calibration,
    Gate,
    Monotonicity,
    blp,
    gates,
    monotonic_bins,
)
from persuadable.value.clan import Clan, ClanRow, clan
from persuadable.value.crosscheck import Crosscheck, crosscheck
from persuadable.value.curves import Curve
from persuadable.value.deciles import Decile, Deciles, deciles
from persuadable.value.drift import PrefixDriftWarning
from persuadable.value.estimate import Estimate
from persuadable.value.exploration import ExplorationPaid, exploration_paid
from persuadable.value.gating import Check, Diagnostics, GateRules, Sensitivity, Verdict, diagnose, gate, sensitivity
from persuadable.value.holdout import require_held_out
from persuadable.value.ope.estimating import ByOutcome, Estimates, estimate, estimate_difference, estimate_outcomes
from persuadable.value.ope.intervals.bounds import Bounds
from persuadable.value.ope.ratio import Ratio, estimate_ratio
from persuadable.value.ope.streaming import estimate_parquet
from persuadable.value.policy_value import (
    PolicyComparison,
    PolicyComparisons,
    PolicyValue,
    compare,
    compare_many,
    policy_value,
    random_like,
)
from persuadable.value.ranking import (
    Qini,
    RankingReport,
    compare_rankings,
    evaluate_ranking,
    qini,
    qini_curve,
    uplift_at_k,
    uplift_curve,
)
from persuadable.value.readout import Guardrail, GuardrailFinding, Readout, readout
from persuadable.value.rule_values import RuleValue, RuleValues, rule_values
from persuadable.value.scores import uplift_scores
from persuadable.value.stability import Stability, stability
from persuadable.value.toc import TOC, rate, toc
from persuadable.value.tuning import BudgetScore

__all__ = [
    "TOC",
    "BestLinearPredictor",
    "Bounds",
    "BudgetRow",
    "BudgetScore",
    "BudgetValues",
    "ByOutcome",
    "Calibration",
    "Check",
    "Clan",
    "ClanRow",
    "Crosscheck",
    "Curve",
    "Decile",
    "Deciles",
    "Diagnostics",
    "Estimate",
    "Estimates",
    "ExplorationPaid",
    "Gate",
    "GateRules",
    "Guardrail",
    "GuardrailFinding",
    "Monotonicity",
    "PolicyComparison",
    "PolicyComparisons",
    "PolicyValue",
    "PrefixDriftWarning",
    "Qini",
    "RankingReport",
    "Ratio",
    "Readout",
    "RuleValue",
    "RuleValues",
    "Sensitivity",
    "Stability",
    "Verdict",
    "blp",
    "budget_values",
    "clan",
    "compare",
    "compare_many",
    "compare_rankings",
    "crosscheck",
    "deciles",
    "diagnose",
    "estimate",
    "estimate_difference",
    "estimate_outcomes",
    "estimate_parquet",
    "estimate_ratio",
    "evaluate_ranking",
    "exploration_paid",
    "gate",
    "gates",
    "monotonic_bins",
    "policy_value",
    "qini",
    "qini_curve",
    "random_like",
    "rate",
    "readout",
    "require_held_out",
    "rule_values",
    "sensitivity",
    "stability",
    "toc",
    "uplift_at_k",
    "uplift_curve",
    "uplift_scores",
]
