"""How the response of each arm is fitted: which loss, and on which scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import OutcomeError, ParameterError

__all__ = ["Loss", "LossChoice", "Scale", "response_loss"]

Vector = NDArray[np.float64]
Codes = NDArray[np.integer[Any]]

Loss = Literal["squared", "logistic", "poisson", "softmax"]
LossChoice = Literal["auto", "squared", "logistic", "poisson"]


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """Each arm's own scale: an outcome is ``low[a] + span[a] · target``, and the ensembles predict the target.

    Attributes:
        low: (A,) outcome at target 0.
        span: (A,) what one unit of the target is worth; 0 in an arm whose outcome never varies.
    """

    low: Vector
    span: Vector

    def target(self, y: Vector, action: Codes) -> Vector:
        """(n,) what is fitted, of outcomes (n,) of the actions taken (n,); 0 where the outcome cannot vary."""
        span = self.span[action]
        return np.asarray(np.where(span > 0, (y - self.low[action]) / np.where(span > 0, span, 1.0), 0.0))

    def outcome(self, predicted: Vector, arm: int | slice) -> Vector:
        """Predicted targets of one arm (n,), or of all arms (n, A) for a full slice, in outcome units."""
        return np.asarray(self.low[arm] + self.span[arm] * predicted)


def response_loss(y: Vector, action: Codes, n_actions: int, asked: LossChoice = "auto") -> tuple[Loss, Scale | None]:
    """The loss an outcome is fitted by, and the arms' scale (None where the outcome is fitted as it is).

    * "logistic": the outcome takes at most two values in each arm, so it is the lower plus a span times the chance
      of the higher. Zeros and ones are; so is a cost that is the offer's face value when redeemed and else nothing,
      whose only unknown is the chance of redemption. An arm whose outcome never varies is predicted exactly.
    * "poisson": the quasi-likelihood of a mean e^{f(x)}, which is consistent for any outcome ≥ 0 whatever its law
      (Gourieroux, Monfort, Trognon 1984; Santos Silva, Tenreyro 2006): money that is mostly nothing and sometimes much.
      Each arm is fitted in units of its mean.
    * "squared": everything else.

    Args:
        y: (n,) outcome.
        action: (n,) code of the action taken.
        n_actions: A.
        asked: "auto" is logistic where the outcome allows it, else squared.

    Raises:
        ParameterError: no such loss.
        OutcomeError: an outcome the loss asked for cannot fit.
    """
    if asked not in ("auto", "squared", "logistic", "poisson"):
        raise ParameterError(
            f"loss={asked!r} is not a choice", remedy="Choose 'auto', 'squared', 'logistic' or 'poisson'."
        )
    if asked == "squared":
        return "squared", None
    if asked == "poisson":
        return "poisson", _by_means(y, action, n_actions)
    if ((y == 0) | (y == 1)).all():
        return "logistic", None
    scale = _two_values(y, action, n_actions)
    if scale is None and asked == "logistic":
        raise OutcomeError(
            "loss='logistic' needs an outcome of at most two values in each arm",
            remedy="Choose loss='poisson' for amounts that are never negative, else 'squared'.",
        )
    return ("squared", None) if scale is None else ("logistic", scale)


def _two_values(y: Vector, action: Codes, n_actions: int) -> Scale | None:
    """The scale on which every arm's outcome is 0 or 1; None where an arm takes a third value."""
    low, high = np.zeros((2, n_actions))
    for arm in range(n_actions):
        own = y[action == arm]
        if not own.size:
            continue
        low[arm], high[arm] = own.min(), own.max()
        if not ((own == low[arm]) | (own == high[arm])).all():
            return None
    return Scale(low, high - low)


def _by_means(y: Vector, action: Codes, n_actions: int) -> Scale:
    if (y < 0).any():
        row = int(np.flatnonzero(y < 0)[0])
        raise OutcomeError(
            f"loss='poisson' needs outcomes that are never negative, here is {y[row]:g}",
            where=f"row {row}",
            remedy="Choose loss='squared'.",
        )
    rows = np.bincount(action, minlength=n_actions)
    means = np.bincount(action, weights=y, minlength=n_actions) / np.maximum(rows, 1)
    return Scale(np.zeros(n_actions), means)
