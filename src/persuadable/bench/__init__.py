"""Measured against the peers: speed and memory, accuracy on a known truth; and what serving costs."""

from __future__ import annotations

from persuadable.bench.accuracy import Accuracy, accuracy
from persuadable.bench.agreement import Agreements, agreement
from persuadable.bench.bandits import Bandits, bandits
from persuadable.bench.hillstrom import Gain, Splits, hillstrom
from persuadable.bench.ope import ope
from persuadable.bench.race import Race, Run
from persuadable.bench.service import ServiceSpeed, service_speed
from persuadable.bench.speed import evaluation, learners

__all__ = [
    "Accuracy",
    "Agreements",
    "Bandits",
    "Gain",
    "Race",
    "Run",
    "ServiceSpeed",
    "Splits",
    "accuracy",
    "agreement",
    "bandits",
    "evaluation",
    "hillstrom",
    "learners",
    "ope",
    "service_speed",
]
