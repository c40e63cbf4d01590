"""Checks the loaders share."""

from __future__ import annotations

from collections.abc import Sequence

from persuadable.errors import ParameterError

__all__ = ["chosen_outcomes"]


def chosen_outcomes(outcome: str | Sequence[str], known: Sequence[str], name: str) -> tuple[str, ...]:
    """The outcomes asked for, as a tuple without repeats.

    Raises:
        ParameterError: none, or one the data set has not.
    """
    asked = (outcome,) if isinstance(outcome, str) else tuple(dict.fromkeys(outcome))
    unknown = [o for o in asked if o not in known]
    if unknown or not asked:
        said = f"outcome={unknown[0]!r} is not known" if unknown else "No outcome was asked for"
        raise ParameterError(said, where=name, remedy=f"Choose among {list(known)}.")
    return asked
