"""May we believe it? Propensities and balance of a log."""

from __future__ import annotations

from persuadable.design.balance import Balance, balance
from persuadable.design.propensity import ClippingWarning, Propensity, estimate_propensity, resolve

__all__ = ["Balance", "ClippingWarning", "Propensity", "balance", "estimate_propensity", "resolve"]
