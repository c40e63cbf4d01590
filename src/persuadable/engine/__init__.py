"""Fitting and predicting boosted trees: recipes in, models out; speed is this room's business alone."""

from __future__ import annotations

from persuadable.engine.local import LocalEngine
from persuadable.engine.recipe import Case, Recipe, Stage
from persuadable.engine.responses import Scale, response_loss
from persuadable.engine.trees import TreeModel, Trees

__all__ = ["Case", "LocalEngine", "Recipe", "Scale", "Stage", "TreeModel", "Trees", "response_loss"]
