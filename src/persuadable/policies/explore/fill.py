"""The least probability: every eligible action gets it, the likelier ones give it up."""

from __future__ import annotations

import numpy as np

from persuadable.errors import ParameterError
from persuadable.policies.base import Flags, Floats

__all__ = ["LEAST", "fill"]

#: What explorers give every eligible action unless told otherwise: one in fifty, so no weight exceeds 50.
LEAST = 0.02


def fill(probabilities: Floats, floor: float, eligible: Flags | None = None) -> Floats:
    """(n, A) the distributions nearest to those given in which every eligible action has at least ``floor``.

    Each row becomes max(floor, c·p) with the c that makes it sum to 1: of all distributions with that floor it has the
    least Kullback-Leibler divergence from p, and the odds among the actions above the floor stay as they were. Rows
    that have the floor already are left alone. Found as water finds its level: c falls with every action lifted, so the
    lifted ones only grow in number, and A rounds suffice.

    Args:
        probabilities: (n, A), rows that sum to 1, zero where an action is not eligible.
        floor: least probability of an eligible action, at least 0.
        eligible: (n, A); None where all are.

    Raises:
        ParameterError: a floor that some unit's eligible actions cannot all have.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    count = np.full(p.shape[0], p.shape[1]) if eligible is None else eligible.sum(axis=1)
    check_floor(floor, int(count.max(initial=1)))
    allowed = np.ones(p.shape, dtype=np.bool_) if eligible is None else eligible
    short = np.flatnonzero(((p < floor) & allowed).any(axis=1))
    if short.size == 0:
        return p
    filled = p.copy()
    filled[short] = _levelled(p[short], floor, allowed[short])
    return filled


def _levelled(p: Floats, floor: float, allowed: Flags) -> Floats:
    scaled, lifted = p, np.zeros(p.shape, dtype=np.bool_)
    while True:
        sinking = allowed & ~lifted & (scaled < floor)
        if not sinking.any():
            break
        lifted |= sinking
        rest = np.where(lifted, 0.0, p).sum(axis=1, keepdims=True)
        left = 1.0 - floor * lifted.sum(axis=1, keepdims=True)
        scaled = p * np.divide(left, rest, out=np.zeros_like(left), where=rest > 0)
    level = np.where(lifted, floor, scaled)
    # Rounding goes to the likeliest action, where it is smallest.
    most = level.argmax(axis=1)[:, None]
    others = level.sum(axis=1, keepdims=True) - np.take_along_axis(level, most, axis=1)
    np.put_along_axis(level, most, 1.0 - others, axis=1)
    return level


def check_floor(floor: float, n_actions: int) -> float:
    """The floor as a float.

    Raises:
        ParameterError: not a number from 0 to 1 / n_actions.
    """
    try:
        value = float(floor)
    except (TypeError, ValueError):
        value = float("nan")
    # A third, three times over, may round to just above 1.
    if not (value >= 0.0 and value * n_actions <= 1.0 + 1e-12):
        raise ParameterError(
            f"floor is {floor!r}, and {n_actions} eligible actions cannot each have that probability",
            remedy=f"Pass a number from 0 to {1.0 / n_actions:.4g}, such as {LEAST}.",
        )
    return value
