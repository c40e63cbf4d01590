"""Boosted trees: their settings, and a fitted ensemble."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from persuadable.engine.recipe import Loss
from persuadable.errors import MissingDependency, ParameterError
from persuadable.params import Parameters

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["TreeModel", "Trees", "xgboost"]

OBJECTIVES: Mapping[str, str] = {
    "squared": "reg:squarederror",
    "logistic": "binary:logistic",
    "softmax": "multi:softprob",
}


def xgboost() -> ModuleType:
    """The xgboost module, imported with threads that sleep while they wait.

    Raises:
        MissingDependency: it is not installed.
    """
    # libgomp reads this when it is loaded; idle threads that spin would bill CPU time for nothing.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import xgboost as xgb
    except ImportError as error:
        raise MissingDependency(
            "XGBoost is not installed",
            remedy="Install it with: pip install 'persuadable[cpu]' (or 'persuadable[gpu]' for CUDA).",
        ) from error
    module: ModuleType = xgb
    return module


class Trees(Parameters):
    """Settings of one boosted ensemble, under XGBoost's names where it has them.

    Args:
        n_trees: boosting rounds.
        max_depth: depth of each tree.
        learning_rate: shrinkage of each tree.
        min_child_weight: least sum of weights (hessians, for a binary outcome) in a leaf.
        reg_lambda: ridge penalty on leaf values.
        gamma: least gain for a split.
        subsample: share of rows drawn for each tree, within (0, 1].
        colsample: share of features drawn for each tree, within (0, 1].
        max_bin: number of bins a feature is quantised to.
    """

    def __init__(
        self,
        n_trees: int = 100,
        max_depth: int = 4,
        learning_rate: float = 0.1,
        min_child_weight: float = 1.0,
        reg_lambda: float = 1.0,
        gamma: float = 0.0,
        subsample: float = 1.0,
        colsample: float = 1.0,
        max_bin: int = 256,
    ) -> None:
        self.n_trees = n_trees
        self.max_depth = max_depth
        self.learning_rate = learning_rate
        self.min_child_weight = min_child_weight
        self.reg_lambda = reg_lambda
        self.gamma = gamma
        self.subsample = subsample
        self.colsample = colsample
        self.max_bin = max_bin

    def validate(self) -> None:
        """Refuse settings outside their range.

        Raises:
            ParameterError: naming the setting and its range.
        """
        ranges: dict[str, tuple[float, float]] = {
            "n_trees": (1, 100_000),
            "max_depth": (1, 30),
            "learning_rate": (1e-6, 1),
            "min_child_weight": (0, np.inf),
            "reg_lambda": (0, np.inf),
            "gamma": (0, np.inf),
            "subsample": (1e-3, 1),
            "colsample": (1e-3, 1),
            "max_bin": (2, 65_536),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if name in ("n_trees", "max_depth", "max_bin") and not isinstance(value, int | np.integer):
                raise ParameterError(f"{name} must be a whole number, got {value!r}", where="Trees")
            if not (isinstance(value, int | float | np.number) and low <= value <= high):
                raise ParameterError(f"{name} must lie in [{low:g}, {high:g}], got {value!r}", where="Trees")

    def xgboost_parameters(self, loss: Loss, *, seed: int, threads: int, device: str) -> dict[str, Any]:
        """The same settings as XGBoost's training parameters."""
        return {
            "objective": OBJECTIVES[loss],
            "tree_method": "hist",
            "device": device,
            "max_depth": self.max_depth,
            "eta": self.learning_rate,
            "min_child_weight": self.min_child_weight,
            "lambda": self.reg_lambda,
            "gamma": self.gamma,
            "subsample": self.subsample,
            "colsample_bytree": self.colsample,
            "max_bin": self.max_bin,
            "seed": seed,
            "nthread": threads,
            "verbosity": 0,
        }


class TreeModel:
    """A fitted ensemble."""

    __slots__ = ("booster",)

    def __init__(self, booster: Any) -> None:
        self.booster = booster

    def predict(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n,) prediction of each row of (n, d); (n, classes) for a softmax model."""
        predicted: NDArray[np.float32] = self.booster.inplace_predict(values, validate_features=False)
        return predicted

    def to_bytes(self) -> bytes:
        """The ensemble as UBJSON."""
        return bytes(self.booster.save_raw("ubj"))

    @classmethod
    def from_bytes(cls, raw: bytes) -> TreeModel:
        """The ensemble back from UBJSON."""
        booster = xgboost().Booster()
        booster.load_model(bytearray(raw))
        return cls(booster)
