"""Measured against the peers: speed and memory of learners and evaluation, accuracy on a known truth."""

from __future__ import annotations

from persuadable.bench.accuracy import Accuracy, accuracy
from persuadable.bench.race import Race, Run
from persuadable.bench.speed import evaluation, learners

__all__ = ["Accuracy", "Race", "Run", "accuracy", "evaluation", "learners"]
