"""Parquet files that say themselves which column plays which part, in their key-value metadata."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from persuadable.errors import DataError, ParameterError

__all__ = ["ROLES", "read_roles", "roles_document"]

ROLES = "persuadable.roles"
FORMAT = 1
MOST_CHARACTERS = 2**20


def roles_document(
    *,
    action: str,
    control: str,
    outcomes: Sequence[str],
    features: Sequence[str],
    propensity: Mapping[str, str],
    categorical: Sequence[str] = (),
    cost: str | None = None,
    eligible: Mapping[str, str] | None = None,
    unit: str | None = None,
    time: str | None = None,
    weight: str | None = None,
    stage: str | None = None,
    name: str | None = None,
) -> str:
    """The roles as the text that belongs under ``ROLES`` in a Parquet file's metadata.

    Args:
        action, control, outcomes, features, categorical, cost, unit, time, weight, stage, name: as in
            ``DecisionLog.from_frame``.
        propensity: label of every action, the control first, to the column of its probability.
        eligible: label to the column that says whether the action was allowed.

    Raises:
        ParameterError: roles that :func:`read_roles` would refuse.
    """
    told = {
        "format": FORMAT,
        "name": name,
        "action": action,
        "control": control,
        "outcomes": list(outcomes),
        "cost": cost,
        "features": list(features),
        "categorical": list(categorical),
        "propensity": dict(propensity),
        "eligible": None if eligible is None else dict(eligible),
        "unit": unit,
        "time": time,
        "weight": weight,
        "stage": stage,
    }
    text = json.dumps({key: value for key, value in told.items() if value is not None}, ensure_ascii=False)
    try:
        read_roles({ROLES: text})
    except DataError as error:
        raise ParameterError(error.what, where=error.where, remedy="Mend the roles before writing them.") from error
    return text


def read_roles(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The roles a file's metadata tell, as keyword arguments of ``DecisionLog.from_frame``; empty where they tell none.

    The order of the actions is that of their propensities.

    Raises:
        DataError: the metadata hold roles that cannot be used.
    """
    text = metadata.get(ROLES)
    if text is None:
        return {}
    if len(text) > MOST_CHARACTERS:
        raise _refusal(f"they have {len(text):,} characters, at most {MOST_CHARACTERS:,} are read")
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refusal(f"they are no JSON: {error}") from error
    if not isinstance(told, dict) or told.pop("format", None) != FORMAT:
        raise _refusal(f"they are not in format {FORMAT}")
    for key, value in told.items():
        if key not in _FITS:
            raise _refusal(f"there is no role {key!r}")
        if not _FITS[key](value):
            raise _refusal(f"{key!r} is {str(value)[:80]!r}")
    if absent := [key for key in ("action", "control", "outcomes", "features", "propensity") if key not in told]:
        raise _refusal(f"{absent[0]!r} is not told")
    labels = tuple(told["propensity"])
    if labels[0] != told["control"]:
        raise _refusal(f"the first propensity is that of {labels[0]!r}, not of the control {told['control']!r}")
    return {**told, "actions": labels}


def _refusal(what: str) -> DataError:
    return DataError(
        f"The roles in the file's metadata cannot be used: {what}",
        where=f"metadata {ROLES!r}",
        remedy="Export the log again, or read it as a frame and pass the roles to DecisionLog.from_frame.",
    )


def _text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(_text(v) for v in value) and len(set(value)) == len(value)


def _columns_by_label(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(_text(v) for v in (*value, *value.values()))


_FITS: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("name", "action", "control", "cost", "unit", "time", "weight", "stage"), _text),
    **dict.fromkeys(("outcomes", "features", "categorical"), _texts),
    **dict.fromkeys(("propensity", "eligible"), _columns_by_label),
}
