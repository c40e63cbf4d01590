"""Measured against the peers: speed and memory, accuracy on a known truth; and what serving costs."""

from __future__ import annotations

from persuadable.bench.accuracy import Accuracy, accuracy
from persuadable.bench.agreement import Agreements, agreement
from persuadable.bench.allocation import AllocationSpeed, allocation
from persuadable.bench.bandits import Bandits, bandits
from persuadable.bench.criteo_scale import CriteoScale, criteo_scale
from persuadable.bench.hillstrom import Gain, Splits, hillstrom
from persuadable.bench.offers import OfferTrials, offers
from persuadable.bench.ope import ope
from persuadable.bench.race import Race, Run
from persuadable.bench.service import ServiceSpeed, service_speed
from persuadable.bench.speed import evaluation, learners

__all__ = [
    "Accuracy",
    "Agreements",
    "AllocationSpeed",
    "Bandits",
    "CriteoScale",
    "Gain",
    "OfferTrials",
    "Race",
    "Run",
    "ServiceSpeed",
    "Splits",
    "accuracy",
    "agreement",
    "allocation",
    "bandits",
    "criteo_scale",
    "evaluation",
    "hillstrom",
    "learners",
    "offers",
    "ope",
    "service_speed",
]
