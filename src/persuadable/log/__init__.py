"""The log of decisions: the one thing every room reads."""

from __future__ import annotations

from persuadable.log.decisions import DecisionLog

__all__ = ["DecisionLog"]
