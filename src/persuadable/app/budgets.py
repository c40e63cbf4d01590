"""What a budget means, as rows of a table: per head, and for a population."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from persuadable.app.figures import measured_rows
from persuadable.app.units import Unit, people
from persuadable.report.words import level, number, percent

__all__ = ["Meaning", "meaning"]

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Meaning:
    """A table in text: what, per head, of the population."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str


def meaning(policy: Json, evaluation: Json | None, share: float, population: int, price: float, unit: Unit) -> Meaning:
    """What a budget is predicted and measured to bring.

    Args:
        policy: of /v1/policy.
        evaluation: of /v1/evaluation, or None.
        share: the budget.
        population: users in all.
        price: of one treatment; 0 where nobody said.
        unit: of the outcome.
    """
    row = min(policy["rows"], key=lambda r: abs(r["share"] - share))
    treated = row["expected_share"]
    alpha = level((evaluation or {}).get("alpha", 0.05))
    rows = [
        ("Users treated", percent(treated), f"{people(treated, population):,} users"),
        ("Effect from which a user is treated", _threshold(row, unit), "–"),
        (
            "Gain over treating nobody, predicted",
            unit.amount(row["value_per_head"], signed=True),
            *unit.totals(population, row["value_per_head"], signed=True),
        ),
    ]
    measured = measured_rows(policy)
    note = "The bundle holds no measurement on held-out users, so these are the model's own predictions."
    if measured:
        near = min(measured, key=lambda r: abs(r["share"] - share))
        at = percent(near["share"], 0)
        for over, part in (("treating nobody", "gain_over_none"), ("as many drawn by lot", "gain_over_random")):
            rows.append(_gain(f"Gain over {over}, measured at {at}", near[part], alpha, population, unit))
        value = near["value"]
        mean = f"{unit.level(value['value'])}\n{alpha} {unit.levels(value['low'], value['high'])}"
        rows.append((f"{unit.outcome} in all, measured at {at}", mean, _sums(value, population, unit)))
        if near.get("cost"):
            rows.append(_cost(near["cost"], at, alpha, population))
        note = "Measured on held-out users, whom the model has not seen; believe these rows before the predicted one."
        if abs(near["share"] - share) > 0.001:
            note += f" {at} is the budget nearest to yours that was measured."
    if price > 0:
        rows.append(("Cost at your price", number(price * treated, 3), number(price * people(treated, population), 6)))
    heads = (f"A budget of {percent(share, 0)}", "per head of everybody", f"{unit.outcome}, over {population:,} users")
    return Meaning(heads, tuple(rows), note)


def _threshold(row: Json, unit: Unit) -> str:
    return "nobody is treated" if row["threshold"] is None else unit.amount(row["threshold"])


def _gain(what: str, estimate: Json, alpha: str, population: int, unit: Unit) -> tuple[str, str, str]:
    mean = f"{unit.amount(estimate['value'], signed=True)}\n{alpha} {unit.between(estimate['low'], estimate['high'])}"
    return what, mean, _sums(estimate, population, unit, signed=True)


def _cost(estimate: Json, at: str, alpha: str, population: int) -> tuple[str, str, str]:
    unit = Unit("cost", binary=False)
    mean = f"{unit.amount(estimate['value'])}\n{alpha} {unit.between(estimate['low'], estimate['high'])}"
    return f"Cost, measured at {at}", mean, f"{_sums(estimate, population, unit)}"


def _sums(estimate: Json, population: int, unit: Unit, *, signed: bool = False) -> str:
    """An estimate and its interval, over the population."""
    (value,) = unit.totals(population, estimate["value"], signed=signed)
    low, high = unit.totals(population, estimate["low"], estimate["high"])
    return f"{value}\n{low} to {high}"
