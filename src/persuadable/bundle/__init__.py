"""What goes into production, in one folder of plain files that proves itself whole."""

from __future__ import annotations

from persuadable.bundle.bundle import Bundle
from persuadable.bundle.sealed import FORMAT

__all__ = ["FORMAT", "Bundle"]
