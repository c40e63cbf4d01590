"""Fairness: who is selected, who gains, and what it costs to share more evenly."""

from __future__ import annotations

from persuadable.value.fair.audit import fairness
from persuadable.value.fair.disparity import Disparity
from persuadable.value.fair.mitigate import Mitigation, mitigate
from persuadable.value.fair.result import Fairness, FairnessAlarm, GroupFairness

__all__ = ["Disparity", "Fairness", "FairnessAlarm", "GroupFairness", "Mitigation", "fairness", "mitigate"]
