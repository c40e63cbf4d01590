"""Four kinds of people, told apart by what they would do anyway and by what a contact changes, each with an action."""

from __future__ import annotations

from persuadable.policies.archetypes.assigning import ArchetypePolicy, BaselineModel, UnsureEffects, archetypes
from persuadable.policies.archetypes.learning import ArchetypeBeliefs
from persuadable.policies.archetypes.result import Archetypes
from persuadable.policies.archetypes.thresholds import (
    ARCHETYPES,
    UNCERTAIN,
    ArchetypeThresholds,
    composition,
    membership_probabilities,
)

__all__ = [
    "ARCHETYPES",
    "UNCERTAIN",
    "ArchetypeBeliefs",
    "ArchetypePolicy",
    "ArchetypeThresholds",
    "Archetypes",
    "BaselineModel",
    "UnsureEffects",
    "archetypes",
    "composition",
    "membership_probabilities",
]
