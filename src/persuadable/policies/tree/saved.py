"""Policies of this room as plain values and back: no pickle anywhere, and nothing is believed that was read."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persuadable.engine import Trees
from persuadable.errors import BundleError
from persuadable.features import Column
from persuadable.fingerprint import Fingerprint
from persuadable.params import Parameters
from persuadable.policies.base import Floats
from persuadable.policies.tree.rules import Branch, Leaf, Node, Split
from persuadable.spaces import Discrete

__all__ = [
    "FORMAT",
    "actions_from",
    "columns_from",
    "columns_told",
    "damaged",
    "fingerprint_from",
    "fingerprint_told",
    "node_from",
    "node_told",
    "numbers_from",
    "parameters_from",
    "parameters_told",
    "require",
]

FORMAT = 1
MOST_LEVELS = 12


def require(sound: bool | np.bool_, what: str) -> None:
    """Refuse what a saved policy cannot hold.

    Raises:
        ValueError: with what is wrong.
    """
    if not sound:
        raise ValueError(what)


def parameters_told(policy: Parameters) -> dict[str, Any]:
    """Constructor arguments as JSON values; the engine belongs to the machine and stays behind."""
    told = {name: value for name, value in policy.get_params(deep=False).items() if name != "engine"}
    return {name: _plain(value) for name, value in told.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Trees):
        return {name: _plain(setting) for name, setting in value.get_params().items()}
    if isinstance(value, Mapping):
        return {"by label": {str(name): _plain(part) for name, part in value.items()}}
    return value.item() if isinstance(value, np.generic) else value


def parameters_from(told: Mapping[str, Any], kind: type[Parameters]) -> dict[str, Any]:
    """Constructor arguments back, of the types they can have."""
    require(set(told) == set(kind.parameter_names()) - {"engine"}, f"parameters are {sorted(told)}")
    read: dict[str, Any] = {}
    for name, value in told.items():
        if name == "trees" and value is not None:
            read[name] = Trees(**value)
            read[name].validate()
        elif name == "break_even" and isinstance(value, Mapping):
            read[name] = {str(label): _number(part) for label, part in value["by label"].items()}
        else:
            require(value is None or isinstance(value, str | int | float), f"{name} is {str(value)[:80]!r}")
            read[name] = value
    require(isinstance(read["share"], int | float) and 0 <= read["share"] <= 1, f"share is {read['share']!r}")
    return read


def _number(told: Any) -> float:
    require(isinstance(told, int | float) and math.isfinite(told), f"a number is {str(told)[:80]!r}")
    return float(told)


def columns_told(columns: Sequence[Column]) -> list[list[Any]]:
    """Features as [name, kind, categories]."""
    return [[c.name, c.kind, list(c.categories)] for c in columns]


def columns_from(told: Sequence[Sequence[Any]]) -> tuple[Column, ...]:
    """Features back."""
    for name, kind, categories in told:
        fits = isinstance(name, str) and kind in ("number", "category") and isinstance(categories, list)
        require(fits and all(isinstance(label, str) for label in categories), f"a feature is {str(name)[:80]!r}")
    return tuple(Column(name, kind, tuple(categories)) for name, kind, categories in told)


def actions_from(told: Any) -> Discrete:
    """Actions back."""
    require(isinstance(told, list) and all(isinstance(name, str) for name in told), "actions are no list of labels")
    return Discrete(tuple(told))


def fingerprint_told(seen: Fingerprint) -> dict[str, Any]:
    """A fingerprint as JSON values, its identities as base64 of little-endian whole numbers."""
    ids = base64.b64encode(seen.ids.astype("<u8").tobytes()).decode()
    return {"digest": seen.digest, "keep_below": seen.keep_below, "n": seen.n, "ids": ids}


def fingerprint_from(told: Mapping[str, Any]) -> Fingerprint:
    """A fingerprint back."""
    ids: NDArray[Any] = np.frombuffer(base64.b64decode(told["ids"], validate=True), "<u8")
    return Fingerprint.read(ids, {name: told[name] for name in ("digest", "keep_below", "n")})


def numbers_from(told: Any, shape: tuple[int, ...]) -> Floats:
    """Finite numbers of a shape."""
    table = np.asarray(told, dtype=np.float64)
    require(table.shape == shape and bool(np.isfinite(table).all()), f"expected finite numbers of shape {shape}")
    return table


def node_told(node: Node) -> dict[str, Any]:
    """A tree as nested values."""
    if isinstance(node, Leaf):
        return {"leaf": node.index}
    split = node.split
    return {
        "column": split.column,
        "threshold": split.threshold,
        "categories": None if split.categories is None else list(split.categories),
        "missing_left": split.missing_left,
        "missing_seen": split.missing_seen,
        "yes": node_told(node.left),
        "no": node_told(node.right),
    }


def node_from(told: Mapping[str, Any], columns: Sequence[Column], levels: int = MOST_LEVELS) -> Node:
    """A tree back; leaves as they are numbered."""
    if "leaf" in told:
        require(type(told["leaf"]) is int, "a leaf has no number")
        return Leaf(told["leaf"])
    require(levels > 0, f"the tree has more than {MOST_LEVELS} levels")
    sides = [node_from(told[side], columns, levels - 1) for side in ("yes", "no")]
    return Branch(_split_from(told, columns), *sides)


def _split_from(told: Mapping[str, Any], columns: Sequence[Column]) -> Split:
    j, threshold, categories = told["column"], told["threshold"], told["categories"]
    require(type(j) is int and 0 <= j < len(columns), f"a split asks for feature {str(j)[:20]}")
    require(type(told["missing_left"]) is bool and type(told["missing_seen"]) is bool, "a side is neither yes nor no")
    if columns[j].kind == "category":
        known = range(len(columns[j].categories))
        fits = isinstance(categories, list) and all(type(code) is int and code in known for code in categories)
        require(fits and threshold is None, f"a split of {columns[j].name!r} names no categories of it")
        return Split(j, None, tuple(sorted(set(categories))), told["missing_left"], told["missing_seen"])
    require(categories is None, f"a split of {columns[j].name!r} names categories of a number")
    return Split(j, None if threshold is None else _number(threshold), None, told["missing_left"], told["missing_seen"])


def damaged(kind: str, error: Exception) -> BundleError:
    """What to raise where a saved policy cannot be read."""
    return BundleError(f"The saved {kind} is damaged or incomplete: {error}", remedy="Save it again with to_dict().")
