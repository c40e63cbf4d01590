"""The one form that every off-policy estimator has; its value, influence function and intervals follow from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from persuadable.errors import PropensityError
from persuadable.value.estimate import Floats

__all__ = ["Terms", "all_weights_zero"]


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """What each of n rounds contributes to an estimate V = mean(direct) + mean(weighted) / mean(weight).

    IPS has ``weighted`` = w·y alone; DR has ``direct`` = Σ_a π_a q̂_a and ``weighted`` = w·(y − q̂_A); an estimator that
    normalises its weights (SNIPS, SNDR) has ``weight`` = w. Means count row weights where there are any.

    Attributes:
        weighted: (n,) weight times outcome or residual.
        direct: (n,) what is predicted without weights; None where nothing is.
        weight: (n,) weights the estimator divides by; None where it divides by n.
    """

    weighted: Floats
    direct: Floats | None = None
    weight: Floats | None = None

    @property
    def n(self) -> int:
        """Number of rounds."""
        return int(self.weighted.shape[0])

    def columns(self) -> Floats:
        """(n, 3) direct, weighted and weight, with 0 and 1 in the place of what is absent."""
        columns = np.empty((self.n, 3))
        columns[:, 0] = 0.0 if self.direct is None else self.direct
        columns[:, 1] = self.weighted
        columns[:, 2] = 1.0 if self.weight is None else self.weight
        return columns

    def ratio(self, rows: Floats | None = None) -> float:
        """R = mean(weighted) / mean(weight).

        Args:
            rows: (n,) row weights; None counts all rows equally.

        Raises:
            PropensityError: the weights to be divided by are all 0.
        """
        top = _mean(self.weighted, rows)
        if self.weight is None:
            return top
        below = _mean(self.weight, rows)
        if below <= 0:
            raise all_weights_zero()
        return top / below

    def value(self, rows: Floats | None = None) -> float:
        """V = mean(direct) + mean(weighted) / mean(weight); ``rows`` as in :meth:`ratio`."""
        ratio = self.ratio(rows)
        return ratio if self.direct is None else _mean(self.direct, rows) + ratio

    def influence(self, rows: Floats | None = None) -> Floats:
        """(n,) ψ = (direct − mean(direct)) + (weighted − R·weight) / mean(weight), with mean 0.

        Row weights count in the means only: multiply ψ by weight / mean weight for a variance, as
        ``value.estimate.influence_covariance`` does.
        """
        psi = self.ratio_parts(rows)
        if self.weight is None:
            psi = psi - _mean(psi, rows)
        return np.asarray(psi if self.direct is None else psi + (self.direct - _mean(self.direct, rows)))

    def ratio_parts(self, rows: Floats | None = None) -> Floats:
        """(n,) what the weighted part owes to each round: (weighted − R·weight) / mean(weight), or ``weighted`` itself.

        Where nothing is normalised it is ``weighted``, whose mean is R; else its mean is 0.
        """
        if self.weight is None:
            return self.weighted
        return np.asarray((self.weighted - self.ratio(rows) * self.weight) / _mean(self.weight, rows))


def all_weights_zero() -> PropensityError:
    """The refusal to divide by weights that are all 0."""
    return PropensityError(
        "All weights are 0, so there is nothing to normalise: no round took an action that the policy takes",
        remedy="Use a larger log, or an estimator with a model of the outcome, such as 'dr'.",
    )


def _mean(values: Floats, rows: Floats | None) -> float:
    return float(values.mean()) if rows is None else float(rows @ values) / float(rows.sum())
