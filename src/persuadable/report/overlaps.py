"""How the arms' propensities overlap, counted for a histogram."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import ParameterError, PropensityError

if TYPE_CHECKING:
    import polars as pl

    from persuadable.log import DecisionLog

__all__ = ["Overlap", "overlap"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Overlap:
    """P(treatment | x), by the action that was taken.

    Attributes:
        treatment: whose propensity it is.
        edges: (k + 1,) bounds of the bins.
        shares: one (k,) array an action: which share of the rows that took it lies in each bin.
        lowest: smallest propensity of the treatment.
        highest: largest.
    """

    treatment: str
    edges: Floats
    shares: dict[str, Floats]
    lowest: float
    highest: float

    @property
    def constant(self) -> bool:
        """Whether every row has the same propensity, so that there is nothing to draw."""
        return self.highest - self.lowest < 1e-9

    def frame(self) -> pl.DataFrame:
        """One row per bin: its bounds and each action's share."""
        import polars as pl

        return pl.DataFrame({"from": self.edges[:-1], "to": self.edges[1:], **self.shares})


def overlap(
    log: DecisionLog, propensities: NDArray[Any] | None = None, *, action: str | int | None = None, bins: int = 30
) -> Overlap:
    """Histogram the propensity of a treatment in each arm.

    Args:
        log: n rows, A actions.
        propensities: (n, A); the log's own when None.
        action: the treatment; needed where the log has more than one.
        bins: how many, over [0, 1].

    Raises:
        ActionError: no such treatment, or none chosen of several.
        PropensityError: propensities of another shape.
        ParameterError: fewer than one bin.
    """
    if bins < 1:
        raise ParameterError(f"bins is {bins!r}", remedy="Pass a positive whole number.")
    code = log.actions.treatment(action)
    table = log.propensity() if propensities is None else np.asarray(propensities, dtype=np.float64)
    if table.shape != (log.n, log.n_actions):
        raise PropensityError(
            f"propensities has shape {table.shape}, expected {(log.n, log.n_actions)}",
            remedy="Pass one row per row of the log, one column per action.",
        )
    column = table[:, code]
    edges = np.linspace(0.0, 1.0, bins + 1)
    shares = {}
    for arm, name in enumerate(log.actions.names):
        taken = column[log.action == arm]
        shares[name] = np.histogram(taken, edges)[0] / max(taken.size, 1)
    return Overlap(log.actions.names[code], edges, shares, float(column.min()), float(column.max()))
