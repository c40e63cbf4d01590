"""A budget spent on any score: what teams do without effects, for comparison."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import ActionError, DataError, LeakageError, ParameterError
from persuadable.policies.base import Flags
from persuadable.policies.calibrated import CalibratedPolicy, Scored

if TYPE_CHECKING:
    from persuadable.fingerprint import Fingerprint
    from persuadable.log import DecisionLog

__all__ = ["RankPolicy"]


class RankPolicy(CalibratedPolicy):
    """Treat the share of users with the highest scores, for example the likeliest to respond.

    A score need not be an effect, so there is no break-even: the whole share is spent.

    Args:
        scorer: a fitted model with ``predict(features) -> (n,)``, or a function features -> (n,).
        share: share of users the budget pays for, in [0, 1].
        name: what tables call it; the scorer's class when None.
        action: the treatment given to those chosen.
    """

    def __init__(self, scorer: Any, share: float = 0.3, name: str | None = None, action: int = 1) -> None:
        self.scorer = scorer
        self.share = share
        self._name = name
        self.action = action

    @property
    def name(self) -> str:
        """What tables call it."""
        if self._name is not None:
            return self._name
        return f"{getattr(self.scorer, '__name__', type(self.scorer).__name__)} top {self.share:.0%}"

    @name.setter
    def name(self, name: str | None) -> None:
        self._name = name

    @property
    def fitted_on(self) -> Fingerprint | None:
        """The rows its scorer learned from, if it says so."""
        return getattr(self.scorer, "fitted_on", None)

    @property
    def floor(self) -> float:
        """Every score is worth treating."""
        return -math.inf

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments; see ``Parameters.get_params``."""
        return super().get_params(deep) | {"name": self._name}

    def _place(self, scores: Any, n: int, n_actions: int, eligible: Flags | None) -> Scored:
        s: NDArray[np.float64] = np.asarray(scores, dtype=np.float64)
        if s.shape != (n,):
            raise DataError(
                f"The scorer of {self.name!r} returned shape {s.shape}, expected {(n,)}",
                remedy="Return one score per row.",
            )
        if not 1 <= self.action < n_actions:
            raise ActionError(
                f"{self.name!r} treats with action {self.action}, the actions are 0 to {n_actions - 1}",
                remedy="Pass action= one of the treatments.",
            )
        if np.isnan(s).any():
            row = int(np.flatnonzero(np.isnan(s))[0])
            raise DataError(f"{self.name!r} scores NaN", where=f"row {row}", remedy="Return a number for every row.")
        if eligible is not None:
            s = np.where(eligible[:, self.action], s, -math.inf)
        return Scored(s, np.full(n, self.action, dtype=np.intp))

    def _predict(self, features: Any) -> Any:
        if hasattr(self.scorer, "predict"):
            return self.scorer.predict(features)
        if callable(self.scorer):
            return self.scorer(features)
        raise ParameterError(
            f"A {type(self.scorer).__name__} cannot score", remedy="Pass a model with predict(features), or a function."
        )

    def _score(self, features: Any, n_actions: int, eligible: Flags | None) -> Scored:
        return self._place(self._predict(features), len(features), n_actions, eligible)

    def _score_held_out(self, log: DecisionLog, eligible: Flags | None) -> Scored:
        fitted_on = self.fitted_on
        if fitted_on is None or not fitted_on.overlap(log.fingerprint):
            return self._score(log.features, log.n_actions, eligible)
        if not hasattr(self.scorer, "out_of_fold"):
            raise LeakageError(
                f"The scorer of {self.name!r} was fitted on rows it is to be calibrated on",
                remedy="Calibrate on a held-out log; thresholds use only its features, so the test log will do.",
            )
        return self._place(self.scorer.out_of_fold(log), log.n, log.n_actions, eligible)

    def _plain_parameters(self) -> dict[str, Any]:
        return {"share": float(self.share), "name": self._name, "action": self.action}
