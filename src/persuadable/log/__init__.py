"""The log of decisions: the one thing every room reads."""

from __future__ import annotations

from persuadable.log.decisions import DecisionLog
from persuadable.log.maturity import Matured, matured

__all__ = ["DecisionLog", "Matured", "matured"]
