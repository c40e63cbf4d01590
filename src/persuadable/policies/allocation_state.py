"""An allocation policy as plain JSON values and arrays, and back; its models are kept elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from persuadable.effects.state import fingerprint_told
from persuadable.fingerprint import Fingerprint
from persuadable.policies.costs import stated_costs
from persuadable.policies.effect_evidence import Evidence
from persuadable.policies.price_path import PricePath

if TYPE_CHECKING:
    from persuadable.policies.allocating import AllocationPolicy

__all__ = ["ARRAYS", "read_into", "told_of"]

#: Arrays of a policy's ``state()``, all of one dimension, and their types.
ARRAYS: Final[Mapping[str, str]] = {
    "price": "<f8",
    "spend": "<f8",
    "value": "<f8",
    "offered": "<f8",
    "calibrated_ids": "<u8",
}


def told_of(policy: AllocationPolicy) -> dict[str, Any]:
    """What ``read_into`` needs besides the models: ``{"json": …, "arrays": …}``."""
    seen, path, found, stated = policy.calibrated_on_, policy.path_, policy.evidence_, policy.stated_costs_
    return {
        "json": {
            "kind": type(policy).__name__,
            "parameters": {
                "budget": _plain(policy.budget),
                "value": policy.value,
                "cost": policy.cost,
                "roi_floor": _plain(policy.roi_floor),
                "efficiency_floor": _plain(policy.efficiency_floor),
                "averse": float(policy.averse),
                "evidence": _plain(policy.evidence),
            },
            "value_outcome": policy.value_outcome_,
            "cost_outcome": policy.cost_outcome_,
            "stated_costs": None if stated is None else stated.tolist(),
            "never_saves": policy.never_saves_,
            "n_actions": policy.n_actions_,
            "start": list(path.start),
            "n": path.n,
            "evidence": None if found is None else asdict(found),
            "calibrated_on": fingerprint_told(seen),
        },
        "arrays": {
            "price": path.price,
            "spend": path.spend,
            "value": path.value,
            "offered": path.offered,
            "calibrated_ids": seen.ids,
        },
    }


def read_into(policy: AllocationPolicy, told: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """What ``calibrate`` would have found, as ``told_of`` wrote it; the policy's parameters are set and checked.

    Raises:
        ValueError, TypeError, KeyError: something is missing, of another type, or does not fit the models.
    """
    actions, stated = policy.value_learner.actions_, told["stated_costs"]
    _fits(told["n_actions"] == len(actions), f"it chooses among {told['n_actions']!r} actions")
    policy.n_actions_ = len(actions)
    policy.stated_costs_ = None if stated is None else stated_costs(stated, actions)
    policy.value_outcome_, policy.cost_outcome_ = told["value_outcome"], told["cost_outcome"]
    _fits(all(name is None or isinstance(name, str) for name in (policy.value, policy.cost)), "its names are none")
    _fits(isinstance(policy.value_outcome_, str), "its value has no name")
    _fits((policy.cost_outcome_ is None) == (stated is not None), "its cost is named and stated, or neither")
    _fits(policy.cost_outcome_ is None or isinstance(policy.cost_outcome_, str), "its cost has no name")
    policy.never_saves_ = told["never_saves"]
    _fits(isinstance(policy.never_saves_, bool), "whether its costs may be negative is not told")
    policy.path_ = PricePath.read(arrays, told["start"], told["n"])
    policy.evidence_ = _read_evidence(told["evidence"], policy.evidence)
    policy.calibrated_on_ = Fingerprint.read(arrays["calibrated_ids"], told["calibrated_on"])


def _plain(told: float | None) -> float | None:
    return None if told is None else float(told)


def _fits(fits: bool, what: str) -> None:
    if not fits:
        raise ValueError(what)


def _read_evidence(told: Mapping[str, float] | None, level: float | None) -> Evidence | None:
    """What was found, as it was saved.

    Raises:
        ValueError, TypeError: not numbers, out of range, or at another level than the policy asks for.
    """
    _fits((told is None) == (level is None), "its evidence was asked for and not found, or the reverse")
    if told is None:
        return None
    found = Evidence(**told)
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in told.values())
    _fits(numbers and all(math.isfinite(v) for v in told.values()), "its evidence is no numbers")
    _fits(found.level == level and 0.0 <= found.p_value <= 1.0, "its evidence is out of range")
    return found
