"""Small documents as the service answers them, with round numbers."""

from __future__ import annotations

from typing import Any

CONTRACT: dict[str, Any] = {
    "format": 1,
    "features": [
        {"column": {"name": "age", "kind": "number", "categories": []}, "low": 18.0, "high": 80.0, "missing": False},
        {"column": {"name": "spend", "kind": "number", "categories": []}, "low": 1.0, "high": 2500.0, "missing": True},
        {
            "column": {"name": "city", "kind": "category", "categories": ["Bonn", "Köln", "Ulm"]},
            "low": None,
            "high": None,
            "missing": False,
        },
    ],
}


def estimate(value: float, half: float) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def measured(share: float, over_none: float, over_random: float, cost: float | None = None) -> dict[str, Any]:
    return {
        "share": share,
        "expected_share": share,
        "value": estimate(0.1 + over_none, 0.01),
        "gain_over_none": estimate(over_none, 0.005),
        "gain_over_random": estimate(over_random, 0.004),
        "cost": None if cost is None else estimate(cost, 0.02),
    }


def policy(held_out: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Budgets in tenths; nobody beyond 80% is worth treating."""
    rows = [
        {
            "share": i / 10,
            "threshold": None if i == 0 else (10 - i) / 100,
            "expected_share": min(i / 10, 0.8),
            "value_per_head": 0.05 * min(i / 10, 0.8),
            "value_per_treated": None if i == 0 else 0.05,
        }
        for i in range(11)
    ]
    return {
        "bundle": "b" * 64,
        "outcome": "visit",
        "control": "none",
        "treatments": ["mail"],
        "share": 0.3,
        "rows": rows,
        "held_out": held_out,
    }


HELD_OUT = [measured(0.5, 0.030, 0.010), measured(0.1, 0.008, 0.004), measured(0.3, 0.020, 0.008)]


def decision(**changes: Any) -> dict[str, Any]:
    told = {
        "unit": "u1",
        "action": "mail",
        "treatment": "mail",
        "effect": 0.08,
        "interval": [0.05, 0.11],
        "net_effect": 0.08,
        "threshold": 0.06,
        "propensities": {"none": 0.0, "mail": 1.0},
        "reason": "treated",
        "flags": [],
    }
    return told | changes
