"""What a conversion brings and a contact costs, and the effect at which the one pays for the other."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from persuadable.errors import ParameterError

__all__ = ["Economics", "economics"]


@dataclass(frozen=True, slots=True)
class Economics:
    """The money behind a decision to contact somebody.

    With v the value of a conversion, m the margin, c the cost of a contact and k the contacts that a treated unit
    takes, treating a unit with effect τ brings m·v·τ − c·k. So it pays where τ > c·k / (m·v), the break-even.

    Attributes:
        value_per_conversion: v, revenue of one conversion (of one unit of ``outcome``), above 0.
        cost_per_contact: c, what one contact (a letter, an impression) costs, 0 or more.
        outcome: the outcome of the log that counts conversions.
        margin: m, share of the revenue that is left once the goods are paid for, in (0, 1].
        contacts_per_treated: k, contacts that a treated unit takes on average, above 0.
        contact: the outcome of the log that counts the contacts of each row, such as exposures, where spend follows
            those; None where every treated unit costs c·k. The break-even rests on k either way: where few of those
            treated are reached, tell how many, such as contacts_per_treated=0.04.
        currency: what amounts are told in, such as "€"; "" for none.
    """

    value_per_conversion: float
    cost_per_contact: float
    outcome: str = "conversion"
    margin: float = 1.0
    contacts_per_treated: float = 1.0
    contact: str | None = None
    currency: str = ""

    def __post_init__(self) -> None:
        for name in ("value_per_conversion", "cost_per_contact", "margin", "contacts_per_treated"):
            object.__setattr__(self, name, _amount(name, getattr(self, name)))
        if self.margin > 1:
            raise ParameterError(
                f"margin is {self.margin!r}", remedy="Pass the share of the revenue that is left, above 0 and up to 1."
            )
        if self.contact is not None and self.contact == self.outcome:
            raise ParameterError(
                f"{self.outcome!r} is named as the conversion and as the contact",
                remedy="Name the outcome that counts contacts, or leave contact=None.",
            )

    @property
    def break_even(self) -> float:
        """c·k / (m·v): the least effect on ``outcome``, per treated unit, that pays for treating it."""
        return self.cost_per_contact * self.contacts_per_treated / (self.margin * self.value_per_conversion)

    @property
    def break_even_roas(self) -> float:
        """1 / m: the incremental ROAS at which profit is 0."""
        return 1.0 / self.margin

    def revenue(self, conversions: float) -> float:
        """v · conversions."""
        return self.value_per_conversion * conversions

    def spend(self, contacts: float) -> float:
        """c · contacts."""
        return self.cost_per_contact * contacts

    def profit(self, incremental_conversions: float, contacts: float) -> float:
        """m·v · incremental conversions − c · contacts."""
        return self.margin * self.revenue(incremental_conversions) - self.spend(contacts)

    def money(self, amount: float, sign: str = "") -> str:
        """An amount in words, such as "€20", "€1,250", "−€3.40" or, for what one impression costs, "€0.0025"."""
        return self._written(amount, sign, abs(amount))

    def amounts(self, value: float, low: float, high: float, sign: str = "") -> str:
        """An amount with its interval, all to the same digits: "€1,533 (−€18 to €3,384)"."""
        told = [self._written(amount, sign, max(map(abs, (value, low, high)))) for amount in (value, low, high)]
        return f"{told[0]} ({told[1]} to {told[2]})"

    def _written(self, amount: float, sign: str, size: float) -> str:
        """An amount to the digits that one of this size needs."""
        whole = size >= 100 or (abs(amount) == size and float(size).is_integer())
        digits = ",.0f" if whole else ".2g" if 1e-6 <= size < 0.095 else ",.2f"
        told = f"{abs(amount):{digits}}"
        minus = "" if not told.strip("0.,") else "−" if amount < 0 else sign
        return f"{minus}{self.currency}{told}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, from which ``Economics(**values)`` is the same again."""
        return asdict(self)

    def __str__(self) -> str:
        paid = "each contact" if self.contacts_per_treated == 1 else f"each of {self.contacts_per_treated:g} contacts"
        kept = "" if self.margin == 1 else f" of which {self.margin:.0%} is left"
        return (
            f"One {self.outcome} brings {self.money(self.value_per_conversion)}{kept}, {paid} costs "
            f"{self.money(self.cost_per_contact)}: a contact pays where it raises {self.outcome} by more than "
            f"{self.break_even:.4g}, and the whole where incremental ROAS is above {self.break_even_roas:.3g}."
        )


def economics(
    value_per_conversion: float,
    cost_per_contact: float,
    *,
    outcome: str = "conversion",
    margin: float = 1.0,
    contacts_per_treated: float = 1.0,
    contact: str | None = None,
    currency: str = "",
) -> Economics:
    """What a conversion brings and a contact costs; see ``Economics`` for the arguments.

    Raises:
        ParameterError: an amount that is no finite number, negative, or 0 where it divides; a margin above 1.
    """
    return Economics(value_per_conversion, cost_per_contact, outcome, margin, contacts_per_treated, contact, currency)


def _amount(name: str, told: object) -> float:
    """An argument as a float, in its range."""
    number = isinstance(told, int | float | np.number) and not isinstance(told, bool)
    value = float(told) if number else math.nan  # type: ignore[arg-type]
    least_is_zero = name == "cost_per_contact"
    if not (math.isfinite(value) and (value > 0 or (least_is_zero and value == 0))):
        raise ParameterError(
            f"{name} is {told!r}", remedy=f"Pass a finite number {'of 0 or more' if least_is_zero else 'above 0'}."
        )
    return value
