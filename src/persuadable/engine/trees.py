"""Boosted trees: their settings, and a fitted ensemble."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from persuadable.engine.responses import Loss
from persuadable.errors import MissingDependency, ParameterError
from persuadable.params import Parameters

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["LARGEST_LOG_MEAN", "PriorShift", "TreeModel", "Trees", "xgboost"]

RAREST = 1e-6  # XGBoost starts no chance closer to 0 or 1
LARGEST_LOG_MEAN = 80.0  # e^88 would overflow single precision; means are fitted in units of the arm's own

OBJECTIVES: Mapping[str, str] = {
    "squared": "reg:squarederror",
    "logistic": "binary:logistic",
    "poisson": "count:poisson",
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
        scale_pos_weight: what each positive counts for when a chance is learned ("logistic"); at least 0.001. The odds
            are divided by it afterwards, so chances stay chances and their differences effects, see ``PriorShift``. It
            shifts regularisation and no more: ``min_child_weight`` and ``reg_lambda`` then weigh against the weighted
            rows, so raise them along. Other losses have no positives and do not read it.
        keep_negatives: share of the negatives, drawn anew for each ensemble, that a chance is learned from, within
            (0, 1]. The odds are multiplied by it afterwards. With rare positives it saves most of the time and loses
            little: what is known of a rare outcome is known from its positives. Other losses see every row.
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
        scale_pos_weight: float = 1.0,
        keep_negatives: float = 1.0,
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
        self.scale_pos_weight = scale_pos_weight
        self.keep_negatives = keep_negatives

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
            "scale_pos_weight": (1e-3, 1e5),
            "keep_negatives": (1e-6, 1),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if name in ("n_trees", "max_depth", "max_bin") and not isinstance(value, int | np.integer):
                raise ParameterError(f"{name} must be a whole number, got {value!r}", where="Trees")
            if not (isinstance(value, int | float | np.number) and low <= value <= high):
                raise ParameterError(f"{name} must lie in [{low:g}, {high:g}], got {value!r}", where="Trees")

    def xgboost_parameters(self, loss: Loss, *, seed: int, threads: int, device: str) -> dict[str, Any]:
        """The same settings as XGBoost's training parameters; how positives are weighed is ``PriorShift``'s."""
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


@dataclass(frozen=True, slots=True)
class PriorShift:
    """What weighing positives and leaving out negatives does to the chances learned, and how it is undone.

    Where every positive counts s times and a share r of the negatives is kept, the odds learned are s/r times the
    log's, whatever the features (Elkan 2001, theorem 2; King, Zeng 2001), and are divided by it. For r that is all. But
    an ensemble that is stopped early, or shrunk, is shrunk towards the weighted rows' chances, and its odds divided by
    s may fall short of the share of positives by a fifth, or half. So they are divided by the one number that makes the
    mean chance of the rows learned from their share of positives, as it is without weights; it is s for an ensemble
    that has learned all there is.

    Both are constants on the log-odds, which an ensemble keeps as its start. So the ensemble itself is corrected, and
    with it whatever is made of it: its bytes, its compiled trees.

    Attributes:
        weight: s.
        kept: r.
        start: chance that boosting starts from.
    """

    weight: float
    kept: float
    start: float

    @classmethod
    def of(cls, trees: Trees, target: NDArray[Any], weight: NDArray[Any] | None, kept: float) -> PriorShift | None:
        """The shift of an ensemble; None where there is none.

        Args:
            trees: its settings.
            target: (m,) zeros and ones it learns from.
            weight: (m,) row weights, or None.
            kept: r, the share of the log's negatives among them.
        """
        s, mean = trees.scale_pos_weight, float(np.average(target, weights=weight))
        if s == kept == 1 or mean in (0, 1):
            return None
        # Where boosting starts is free; well within what XGBoost can start from, before and after the correction.
        least, most = 10 * RAREST * max(1.0, s / kept), 0.1 / RAREST * min(1.0, s / kept)
        odds = min(max(s * mean / (1 - mean), least), most)
        return cls(s, kept, odds / (1 + odds))

    def put_back(self, margin: NDArray[Any], target: NDArray[Any], weight: NDArray[Any] | None) -> float:
        """The chance the fitted ensemble is to start from.

        Args:
            margin: (m,) log-odds it predicts for the rows it learned from.
            target: (m,) zeros and ones it learned from.
            weight: (m,) row weights, or None.
        """
        from scipy.optimize import brentq
        from scipy.special import expit, logit

        shift = 0.0
        if self.weight != 1:
            own = np.ones(len(target)) if weight is None else weight
            positive = float(own @ target)
            shift = float(brentq(lambda c: float(own @ expit(margin + c)) - positive, -50.0, 50.0, xtol=1e-9))
        chance = float(expit(logit(self.start) + shift + np.log(self.kept)))
        return min(max(chance, RAREST), 1 - RAREST)


class TreeModel:
    """A fitted ensemble."""

    __slots__ = ("booster", "objective")

    def __init__(self, booster: Any) -> None:
        self.booster = booster
        self.objective: str = json.loads(booster.save_config())["learner"]["objective"]["name"]

    def predict(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n,) prediction of each row of (n, d); (n, classes) for a softmax model."""
        log_mean = self.objective == OBJECTIVES["poisson"]
        kind = "margin" if log_mean else "value"
        predicted: NDArray[np.float32] = self.booster.inplace_predict(
            values, predict_type=kind, validate_features=False
        )
        if log_mean:
            return np.exp(np.minimum(predicted, np.float32(LARGEST_LOG_MEAN)))
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
