"""Are the effects that a policy would pay for there at all? One test, on rows that did not fit them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from persuadable.effects.scores import action_scores

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["Evidence", "evidence_of"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Evidence:
    """How much of the predicted positive effects shows on rows that did not fit them.

    Attributes:
        found: slope through the origin of effect scores on predicted positive effects: 1 where the predictions are
            right on average, 0 where there is no effect; 0 where no effect is predicted to be positive.
        stderr: its standard error; 0 where no effect is predicted to be positive.
        p_value: one-sided, of finding this much were there no effect of any action on anybody.
        level: the p-value needed.
    """

    found: float
    stderr: float
    p_value: float
    level: float

    @property
    def enough(self) -> bool:
        """Whether the effects are believed."""
        return self.p_value <= self.level

    def __str__(self) -> str:
        verdict = "enough" if self.enough else "too little"
        return (
            f"{self.found:.0%} ± {1.96 * self.stderr:.0%} of the predicted effects were found on held-out rows "
            f"(p = {self.p_value:.2g}, {verdict} at {self.level:g})"
        )


def evidence_of(log: DecisionLog, outcome: str, value: Floats, allowed: NDArray[np.bool_], level: float) -> Evidence:
    """Test whether predicted positive effects are there, each pair weighted by what is predicted of it.

    With w = max(v̂, 0) on the allowed pairs and scores Γ_a whose mean given x is the effect, the statistic is
    Σ w Γ / Σ w², the slope through the origin. Where no action has an effect its mean is 0 whatever v̂ is, as long as v̂
    did not see the row; weighting by w is what finds true predictions most surely where the noise is even. The scores
    are inverse-propensity weighted, with the arms' (Hájek) means taken off, so nothing need be fitted. Rows of one
    unit count as one.

    Args:
        log: n rows; outcomes, propensities and weights are read.
        outcome: the outcome the effects are on.
        value: (n, A) effects, as models that did not see the rows predict them.
        allowed: (n, A) pairs that may be given.
        level: the p-value needed.

    Raises:
        PropensityError: the log does not tell the propensities of all actions.
    """
    from scipy.special import ndtr

    y, e = log.outcome(outcome), log.propensity()
    weight = np.ones(log.n) if log.weight is None else np.asarray(log.weight, dtype=np.float64)
    chance = allowed & (e > 0.0) & (e[:, :1] > 0.0)
    w = np.where(chance, np.maximum(value, 0.0), 0.0)
    w[:, 0] = 0.0
    scale = float(weight @ (w * w).sum(axis=1))
    if scale == 0.0:
        return Evidence(0.0, 0.0, 1.0, level)
    inverse = weight / np.take_along_axis(e, log.action[:, None].astype(np.intp), axis=1)[:, 0]
    mass = np.bincount(log.action, weights=inverse, minlength=log.n_actions)
    total = np.bincount(log.action, weights=inverse * y, minlength=log.n_actions)
    means = np.divide(total, mass, out=np.zeros(log.n_actions), where=mass > 0.0)
    scores = action_scores(y, log.action, e, np.broadcast_to(means, e.shape))
    per_row = weight * np.einsum("na,na->n", w, scores - scores[:, :1]) / scale
    found = float(per_row.sum())
    off = per_row - weight * (found / weight.sum())
    if log.clusters is not None:
        off = np.bincount(log.clusters, weights=off)
    stderr = math.sqrt(float(off @ off))
    p = float(ndtr(-found / stderr)) if stderr > 0.0 else float(found <= 0.0)
    return Evidence(found, stderr, p, level)
