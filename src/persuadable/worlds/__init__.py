"""Worlds: simulators whose truth is known, for tests, benchmarks and teaching."""

from __future__ import annotations

from persuadable.worlds.ads import Ads
from persuadable.worlds.doses import DoseLog, Doses
from persuadable.worlds.loop import Round, Rounds, play
from persuadable.worlds.offers import Offers, Truth
from persuadable.worlds.pocket import Pocket
from persuadable.worlds.randomised import RandomisedTrial
from persuadable.worlds.slates import PlackettLuce, SlateLog, Slates
from persuadable.worlds.stages import StageLog, Stages
from persuadable.worlds.true_value import TrueValue

__all__ = [
    "Ads",
    "DoseLog",
    "Doses",
    "Offers",
    "PlackettLuce",
    "Pocket",
    "RandomisedTrial",
    "Round",
    "Rounds",
    "SlateLog",
    "Slates",
    "StageLog",
    "Stages",
    "TrueValue",
    "Truth",
    "play",
]
