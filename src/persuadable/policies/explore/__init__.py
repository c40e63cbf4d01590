"""Exploring: policies that leave something to chance everywhere, with the exact probabilities to log.

A policy that is always sure leaves a log that can judge nothing else. These keep every eligible action possible, say
how likely each is, stay inside a budget, and draw lots that can be drawn again.
"""

from __future__ import annotations

from persuadable.policies.explore.cost import (
    ExplorationCost,
    evaluable_share,
    exploration_cost,
    least_evaluable_share,
)
from persuadable.policies.explore.draw import Replay, draw, lots, replay
from persuadable.policies.explore.explorer import Explorer
from persuadable.policies.explore.fill import fill
from persuadable.policies.explore.floor import EpsilonFloor
from persuadable.policies.explore.price import Price
from persuadable.policies.explore.softmax import Softmax
from persuadable.policies.explore.thompson import Thompson, best_probabilities
from persuadable.policies.explore.warm_start import WarmStart

__all__ = [
    "EpsilonFloor",
    "ExplorationCost",
    "Explorer",
    "Price",
    "Replay",
    "Softmax",
    "Thompson",
    "WarmStart",
    "best_probabilities",
    "draw",
    "evaluable_share",
    "exploration_cost",
    "fill",
    "least_evaluable_share",
    "lots",
    "replay",
]
