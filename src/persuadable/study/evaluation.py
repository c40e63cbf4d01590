"""What a study measured on held-out rows, as the plain values that travel in a bundle."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from persuadable.study.result import Study, TreatmentReport
from persuadable.value import BudgetRow, Curve, Estimate

__all__ = ["evaluation"]

MOST_POINTS = 101


def evaluation(study: Study) -> dict[str, Any]:
    """The held-out results of a study as JSON values; what cannot be estimated is None.

    Estimates are ``{"value", "low", "high"}``. Values, gains and costs are per head of the whole population, gains and
    costs against treating nobody (or drawing as many by lot); curves keep at most 101 of their points.

    Returns:
        ``outcome``, ``binary`` (whether it is 0 or 1), ``alpha``, ``rows``, ``treatments``, ``cost`` (the outcome's
        name or None), ``budgets`` (one for each share) and ``rankings`` (by treatment: Qini with its curve, AUTOC,
        deciles, calibration).
    """
    return {
        "outcome": study.budgets.outcome,
        "binary": study.log.is_binary(study.budgets.outcome),
        "alpha": study.plan.alpha,
        "rows": study.test.n,
        "treatments": list(study.log.actions.treatments),
        "cost": study.log.cost_name,
        "budgets": [_budget(row) for row in study.budgets.rows],
        "rankings": {report.treatment: _ranking(report) for report in study.treatments},
    }


def _estimate(found: Estimate | None) -> dict[str, float] | None:
    """An estimate with its interval, or None where either is not a finite number."""
    if found is None or not all(map(math.isfinite, (found.value, *found.interval))):
        return None
    return {"value": found.value, "low": found.interval[0], "high": found.interval[1]}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _budget(row: BudgetRow) -> dict[str, Any]:
    return {
        "share": row.share,
        "expected_share": row.treated,
        "value": _estimate(row.value),
        "gain_over_none": _estimate(row.over_none),
        "gain_over_random": _estimate(row.difference),
        "cost": _estimate(row.cost),
    }


def _ranking(report: TreatmentReport) -> dict[str, Any]:
    return {
        "qini": _estimate(report.ranking.qini.coefficient),
        "qini_curve": _curve(report.ranking.qini.curve),
        "autoc": _estimate(report.ranking.autoc),
        "deciles": [
            {"bin": d.bin, "rows": round(d.n), "mean_score": _number(d.mean_score), "uplift": _estimate(d.uplift)}
            for d in report.deciles.bins
        ],
        "calibration": [
            {"group": i, "rows": g.n, "predicted": _number(g.predicted), "observed": _estimate(g.effect)}
            for i, g in enumerate(report.gates.bins, start=1)
        ],
    }


def _curve(curve: Curve) -> list[dict[str, float | None]]:
    """Points of the uplift curve, the first and the last among them, evenly spread over the share targeted."""
    wanted = np.linspace(curve.share[0], curve.share[-1], MOST_POINTS)
    kept = np.unique(np.abs(curve.share[:, None] - wanted).argmin(axis=0))
    parts = {
        "share": curve.share,
        "value": curve.value,
        "low": curve.lower,
        "high": curve.upper,
        "random": curve.random,
    }
    return [{name: _number(values[i]) for name, values in parts.items()} for i in kept.tolist()]
