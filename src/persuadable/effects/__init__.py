"""What an action changes: effect learners."""

from __future__ import annotations

from persuadable.effects.arrays import Effects
from persuadable.effects.calibrated import CalibratedEffects, FlatMapWarning
from persuadable.effects.fitting import clone, fit_many, out_of_fold_effects, shared
from persuadable.effects.funnel import FunnelLearner
from persuadable.effects.heads import fit_heads
from persuadable.effects.learner import Learner
from persuadable.effects.learners import DRLearner, RLearner, SLearner, TLearner, XLearner
from persuadable.effects.segments import SegmentDecision, SegmentLearner, SegmentWeight

__all__ = [
    "CalibratedEffects",
    "DRLearner",
    "Effects",
    "FlatMapWarning",
    "FunnelLearner",
    "Learner",
    "RLearner",
    "SLearner",
    "SegmentDecision",
    "SegmentLearner",
    "SegmentWeight",
    "TLearner",
    "XLearner",
    "clone",
    "fit_heads",
    "fit_many",
    "out_of_fold_effects",
    "shared",
]
