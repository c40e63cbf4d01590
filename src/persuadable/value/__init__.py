"""What it is worth: ranking curves, calibration and policy value, on held-out rows only."""

from __future__ import annotations

from persuadable.value.archetype_table import ArchetypeMark, ArchetypeRow, ArchetypeTable, archetype_table
from persuadable.value.bridge import Bridge, Reconciliation, reconcile
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
from persuadable.value.fair import (
    Disparity,
    Fairness,
    FairnessAlarm,
    GroupFairness,
    Mitigation,
    fairness,
    mitigate,
)
from persuadable.value.gating import Check, Diagnostics, GateRules, Sensitivity, Verdict, diagnose, gate, sensitivity
from persuadable.value.heads import HeadCriteria, HeadReport, Period, head_report
from persuadable.value.holdout import require_held_out
from persuadable.value.ope.estimating import ByOutcome, Estimates, estimate, estimate_difference, estimate_outcomes
from persuadable.value.ope.intervals.bounds import Bounds
from persuadable.value.ope.ratio import Ratio, estimate_ratio
from persuadable.value.ope.streaming import estimate_parquet
from persuadable.value.paths import BudgetPath, BudgetPoint, budget_path
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
from persuadable.value.returns import PolicyReturns, Returns, ReturnsGain, returns
from persuadable.value.rule_values import RuleValue, RuleValues, rule_values
from persuadable.value.scores import uplift_scores
from persuadable.value.stability import Stability, stability
from persuadable.value.thin import Signal, ThinLabelWarning
from persuadable.value.toc import TOC, rate, toc
from persuadable.value.tuning import BudgetScore

__all__ = [
    "TOC",
    "ArchetypeMark",
    "ArchetypeRow",
    "ArchetypeTable",
    "BestLinearPredictor",
    "Bounds",
    "Bridge",
    "BudgetPath",
    "BudgetPoint",
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
    "Disparity",
    "Estimate",
    "Estimates",
    "ExplorationPaid",
    "Fairness",
    "FairnessAlarm",
    "Gate",
    "GateRules",
    "GroupFairness",
    "Guardrail",
    "GuardrailFinding",
    "HeadCriteria",
    "HeadReport",
    "Mitigation",
    "Monotonicity",
    "Period",
    "PolicyComparison",
    "PolicyComparisons",
    "PolicyReturns",
    "PolicyValue",
    "PrefixDriftWarning",
    "Qini",
    "RankingReport",
    "Ratio",
    "Readout",
    "Reconciliation",
    "Returns",
    "ReturnsGain",
    "RuleValue",
    "RuleValues",
    "Sensitivity",
    "Signal",
    "Stability",
    "ThinLabelWarning",
    "Verdict",
    "archetype_table",
    "blp",
    "budget_path",
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
    "fairness",
    "gate",
    "gates",
    "head_report",
    "mitigate",
    "monotonic_bins",
    "policy_value",
    "qini",
    "qini_curve",
    "random_like",
    "rate",
    "readout",
    "reconcile",
    "require_held_out",
    "returns",
    "rule_values",
    "sensitivity",
    "stability",
    "toc",
    "uplift_at_k",
    "uplift_curve",
    "uplift_scores",
]
