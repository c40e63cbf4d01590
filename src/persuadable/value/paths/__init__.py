"""The path of policies from no budget to all of it, and what every point on it is worth."""

from __future__ import annotations

from persuadable.value.paths.budget_path import budget_path
from persuadable.value.paths.climb import BudgetPoint
from persuadable.value.paths.result import BudgetPath

__all__ = ["BudgetPath", "BudgetPoint", "budget_path"]
