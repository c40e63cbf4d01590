"""What may be believed of a number nobody has seen, given a model's prediction of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from scipy.special import gammaincc, ndtr

from persuadable.effects.maps import EffectMap
from persuadable.policies.base import Floats

__all__ = ["Belief", "Believed"]

LEAST: Final = 1e-150  # of a positive mean: a limit over it must stay finite
#: Of the doubt, what goes by the unit's own standard error; the rest is everybody's, for refits are few.
OWN: Final = 0.9


class Believed(NamedTuple):
    """The posterior of n numbers, each (n,): its mean and standard deviation, P(above a limit) and P(below another)."""

    mean: Floats
    sd: Floats
    above: Floats
    below: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Belief:
    """What a prediction says of the true τ, an effect or an outcome.

    τ is normal around map(prediction) with the variance ``doubt``² · (1 − OWN + OWN · s²/``error``²) for a prediction
    with standard error s: where refits differ twice as much, twice as much is missed. Where τ is never negative it has
    a gamma distribution instead, whose standard deviation is in proportion to its mean.

    Attributes:
        scale: from predictions to what is to be expected.
        doubt: root mean squared distance of τ from that.
        error: root mean squared standard error of predictions; None where they have none.
        size: root mean square of what is to be expected, where τ is never negative; else None.
    """

    scale: EffectMap
    doubt: float
    error: float | None = None
    size: float | None = None

    def posterior(self, predicted: Floats, stderr: Floats | None, above: float, below: float) -> Believed:
        """What is believed of each unit.

        Args:
            predicted: (n,) predictions.
            stderr: (n,) their standard errors; None takes all for alike.
            above, below: limits.
        """
        mean = self.scale(predicted)
        if self.size is not None:
            return self._positive(np.maximum(mean, LEAST), above, below)
        relative = np.ones(mean.shape)
        if stderr is not None and self.error:
            relative = np.sqrt(1.0 - OWN + OWN * (stderr / self.error) ** 2)
        sd = self.doubt * relative
        return Believed(mean, sd, ndtr((mean - above) / sd), ndtr((below - mean) / sd))

    def _positive(self, mean: Floats, above: float, below: float) -> Believed:
        assert self.size is not None
        shape = (self.size / self.doubt) ** 2
        over = [gammaincc(shape, shape * np.maximum(limit, 0.0) / mean) for limit in (above, below)]
        return Believed(mean, mean / np.sqrt(shape), over[0], 1.0 - over[1])
