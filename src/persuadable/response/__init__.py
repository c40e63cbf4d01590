"""What will happen: P(y | x) and P(y | x, a)."""

from __future__ import annotations

from persuadable.response.arms import cross_fit_arms
from persuadable.response.model import ResponseModel
from persuadable.response.stages import cross_fit_stages

__all__ = ["ResponseModel", "cross_fit_arms", "cross_fit_stages"]
