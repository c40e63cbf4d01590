"""Colours that only the app needs, beside those of every figure."""

from __future__ import annotations

from persuadable.report.theme import PALETTE

__all__ = ["AMBER", "BLUE", "GREEN", "MUTED_TEXT", "RED", "VERMILION", "WASH"]

WASH = "#f6f8fa"
# Small grey text keeps a contrast of 4.5 to 1 on white and on the wash.
MUTED_TEXT = "#5c6773"
BLUE, VERMILION, GREEN = PALETTE[:3]
AMBER, RED = "#9a6a00", "#b3401a"
