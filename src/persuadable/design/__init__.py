"""May we believe it? Propensities and balance of a log, and experiments: their size, their looks, their arms."""

from __future__ import annotations

from persuadable.design.balance import Balance, balance
from persuadable.design.cuped import ArmMeans, adjusted_means, variance_reduction
from persuadable.design.depths import Depth
from persuadable.design.experiment import ExperimentPlan, disagreement, plan_experiment, two_arms_of_policies
from persuadable.design.measured import ActionSupport
from persuadable.design.post_treatment import PostTreatment, Suspect, post_treatment
from persuadable.design.power import PowerCurve, TwoArms, cluster_design_effect
from persuadable.design.propensity import ClippingWarning, Propensity, estimate_propensity, resolve
from persuadable.design.sequential import Monitoring, always_valid_quantile, mixture_scale, monitor
from persuadable.design.srm import SampleRatio, sample_ratio, sequential_sample_ratio, varying_sample_ratio
from persuadable.design.support import SegmentSupport, Support, support

__all__ = [
    "ActionSupport",
    "ArmMeans",
    "Balance",
    "ClippingWarning",
    "Depth",
    "ExperimentPlan",
    "Monitoring",
    "PostTreatment",
    "PowerCurve",
    "Propensity",
    "SampleRatio",
    "SegmentSupport",
    "Support",
    "Suspect",
    "TwoArms",
    "adjusted_means",
    "always_valid_quantile",
    "balance",
    "cluster_design_effect",
    "disagreement",
    "estimate_propensity",
    "mixture_scale",
    "monitor",
    "plan_experiment",
    "post_treatment",
    "resolve",
    "sample_ratio",
    "sequential_sample_ratio",
    "support",
    "two_arms_of_policies",
    "variance_reduction",
    "varying_sample_ratio",
]
