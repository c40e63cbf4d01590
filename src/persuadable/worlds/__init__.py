"""Worlds: simulators whose truth is known, for tests, benchmarks and teaching."""

from __future__ import annotations

from persuadable.worlds.randomised import RandomisedTrial, TrueValue

__all__ = ["RandomisedTrial", "TrueValue"]
