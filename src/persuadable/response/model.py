"""The response model: what a team without causal models ranks by."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from persuadable.engine import LocalEngine, TreeModel, Trees
from persuadable.engine.local import Fit
from persuadable.errors import NotFittedError
from persuadable.features import Column, Features
from persuadable.fingerprint import Fingerprint
from persuadable.log import DecisionLog
from persuadable.params import Parameters

__all__ = ["ResponseModel"]


class ResponseModel(Parameters):
    """E[y | x] among the treated: who will respond, whether or not because of the action.

    Ranking by it is what most targeting does. It is here to be compared with, by ``value.compare``.

    Args:
        trees: settings of the ensemble.
        treated_only: learn from the treated alone, as a look-alike model of past campaigns does; else from all rows.
        engine: where it is fitted; None is a ``LocalEngine``.
        random_state: seed of the ensemble.

    Attributes:
        fitted_on: fingerprint of the rows it learned from.
    """

    fitted_on: Fingerprint
    model_: TreeModel
    columns_: tuple[Column, ...]

    def __init__(
        self,
        trees: Trees | None = None,
        treated_only: bool = True,
        engine: LocalEngine | None = None,
        random_state: int = 0,
    ) -> None:
        self.trees = trees
        self.treated_only = treated_only
        self.engine = engine
        self.random_state = random_state

    def fit(self, log: DecisionLog, outcome: str | None = None) -> Self:
        """Learn from a log; ``outcome`` None is the primary one."""
        seen = log.take(log.action != 0) if self.treated_only else log
        engine = self.engine or LocalEngine()
        fit = Fit(
            rows=None,
            target=seen.outcome(outcome),
            weight=None if seen.weight is None else seen.weight.astype(np.float64),
            loss="logistic" if log.is_binary(outcome) else "squared",
            trees=self.trees or Trees(),
        )
        matrix = engine.matrix(seen.features)
        self.model_ = engine.run(matrix, [fit], seed=self.random_state, what="Response")[0].model
        self.columns_, self.fitted_on = log.features.columns, log.fingerprint
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """(n,) expected outcome if treated, in outcome units.

        Raises:
            NotFittedError: before ``fit``.
        """
        if not hasattr(self, "model_"):
            raise NotFittedError("This ResponseModel is not fitted", remedy="Call fit(log) first.")
        features = X.features if isinstance(X, DecisionLog) else X
        return self.model_.predict(Features.of(features, self.columns_).values).astype(np.float64)
