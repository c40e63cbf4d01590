"""The app: score a user, choose a budget, look at the model, watch decisions; it talks to the service by HTTP only."""

from __future__ import annotations

from persuadable.app.launching import launch

__all__ = ["launch"]
