"""What an action changes: effect learners."""

from __future__ import annotations

from persuadable.effects.arrays import Effects
from persuadable.effects.fitting import clone, fit_many, out_of_fold_effects
from persuadable.effects.learner import Learner
from persuadable.effects.learners import DRLearner, RLearner, SLearner, TLearner, XLearner

__all__ = [
    "DRLearner",
    "Effects",
    "Learner",
    "RLearner",
    "SLearner",
    "TLearner",
    "XLearner",
    "clone",
    "fit_many",
    "out_of_fold_effects",
]
