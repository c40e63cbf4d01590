"""Numbers as people read them."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Sequence

__all__ = ["cell", "column", "interval", "level", "number", "p_phrase", "p_value", "percent", "plain", "wrapped"]


def number(value: float, digits: int = 4) -> str:
    """A number to ``digits`` significant digits, thousands set apart, with a true minus sign.

    >>> number(-1234.5678), number(0.00012346), number(64000)
    ('−1,235', '0.0001235', '64,000')
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    size = abs(value)
    if float(value).is_integer() and size < 1e15:
        text = f"{int(size):,}"
    elif size >= 1e7 or size < 1e-5:
        text = f"{size:.{digits - 1}e}"
    else:
        decimals = max(0, digits - 1 - math.floor(math.log10(size)))
        text = f"{size:,.{decimals}f}"
    return f"−{text}" if value < 0 else text


def percent(share: float, decimals: int = 1) -> str:
    """A share as a percentage: 0.3 is 30.0%."""
    return f"{100 * share:,.{decimals}f}%".replace("-", "−")


def interval(lower: float, upper: float, digits: int = 3) -> str:
    """An interval in words, both ends to the same number of decimals: 0.010 to 0.025."""
    if not (math.isfinite(lower) and math.isfinite(upper)):
        return f"{number(lower, digits)} to {number(upper, digits)}"
    widest = max(abs(lower), abs(upper))
    if widest == 0 or widest >= 1e7 or widest < 1e-5:
        return f"{number(lower, digits)} to {number(upper, digits)}"
    decimals = max(0, digits - 1 - math.floor(math.log10(widest)))
    return f"{lower:z,.{decimals}f} to {upper:z,.{decimals}f}".replace("-", "−")


def level(alpha: float) -> str:
    """What an interval is called: 95% interval."""
    return f"{100 * (1 - alpha):g}% interval"


def p_value(p: float) -> str:
    """A p-value as a table prints it: never 0."""
    if math.isnan(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def p_phrase(p: float) -> str:
    """A p-value as a sentence prints it: p = 0.03, p < 0.001."""
    return f"p {p_value(p)}" if p < 0.001 else f"p = {p_value(p)}"


def cell(value: object) -> str:
    """A table cell as text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value)
    return str(value)


def column(values: Sequence[object]) -> list[str]:
    """The cells of a table's column as text; numbers and (lower, upper) pairs to three digits of the largest.

    >>> column([0.0812, 0.05, None, -0.00371])
    ['0.0812', '0.0500', '', '−0.0037']
    >>> column([(-0.01, 0.2), (0.012, 0.123)])
    ['−0.010 to 0.200', '0.012 to 0.123']
    """
    parts = [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
    sizes = [abs(part) for part in parts if isinstance(part, float) and math.isfinite(part)]
    largest = max(sizes, default=0.0)
    fixed = 1e-5 <= largest < 1e7 and not all(size.is_integer() for size in sizes)
    decimals = max(0, 2 - math.floor(math.log10(largest))) if fixed else None

    def text(part: object) -> str:
        if decimals is None or not isinstance(part, float) or not math.isfinite(part):
            return cell(part)
        return f"{part:z,.{decimals}f}".replace("-", "−")

    return [" to ".join(map(text, value)) if isinstance(value, tuple) else text(value) for value in values]


def plain(text: str) -> str:
    """Somebody's text for a figure's label: plotly reads tags there, so they are taken for letters."""
    return html.escape(text, quote=False)


def wrapped(text: str, width: int = 22, lines: int = 3) -> str:
    """Somebody's text for a figure's label, broken into short lines, the rest left out."""
    kept = textwrap.wrap(text, width=width, max_lines=lines, placeholder=" …")
    return "<br>".join(map(plain, kept))
