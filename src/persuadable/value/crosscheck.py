"""A second opinion on estimated effects: econml's NonParamDML, fitted on the same rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from persuadable import peers
from persuadable.errors import DataError, ParameterError
from persuadable.log.checks import require_comparable
from persuadable.value.holdout import require_held_out

if TYPE_CHECKING:
    from persuadable.engine import Trees
    from persuadable.features import Features
    from persuadable.log import DecisionLog

__all__ = ["Crosscheck", "crosscheck"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Crosscheck:
    """How far two estimates of the same effects agree on the test rows.

    Attributes:
        spearman: rank correlation of ours with econml's effects.
        pearson: linear correlation.
        distance: root mean squared difference of the two, in outcome units.
        spread: standard deviation of econml's effects, to judge ``distance`` by.
        top_overlap: share of the tenth that ours ranks highest which econml too has among its highest tenth.
        mean: (ours, econml's) average effect on the test rows.
        to_truth: (ours, econml's) rank correlation with the true effect, where it was given.
        rmse: (ours, econml's) root mean squared error against the truth, where it was given.
        n_train, n_test: rows.
        econml: its version.
        their_effect: (n_test,) econml's effects.
    """

    spearman: float
    pearson: float
    distance: float
    spread: float
    top_overlap: float
    mean: tuple[float, float]
    to_truth: tuple[float, float] | None
    rmse: tuple[float, float] | None
    n_train: int
    n_test: int
    econml: str
    their_effect: Floats

    def __str__(self) -> str:
        text = (
            f"Against NonParamDML of econml {self.econml} on {self.n_test:,} test rows: rank correlation "
            f"{self.spearman:.3f}, mean effect {self.mean[0]:.4g} against {self.mean[1]:.4g}, "
            f"root mean squared difference {self.distance:.3g} where econml's effects spread by {self.spread:.3g}."
        )
        if self.to_truth is not None:
            text += f" Rank correlation with the truth: {self.to_truth[0]:.3f} against {self.to_truth[1]:.3f}."
        return text


def crosscheck(
    train: DecisionLog,
    test: DecisionLog,
    effect: Any,
    *,
    trees: Trees | None = None,
    n_folds: int = 5,
    random_state: int = 0,
    action: str | int | None = None,
    outcome: str | None = None,
    truth: Any = None,
    propensity: Literal["estimated", "constant"] = "estimated",
    threads: int = 2,
) -> Crosscheck:
    """Fit econml's NonParamDML on ``train`` and compare its effects on ``test`` with ours.

    NonParamDML is the R-learner too: it regresses residual outcome on residual treatment, its outcome model
    seeing both arms together. It gets boosted trees of the same settings for the outcome, the propensity and
    the effect, and the folds that a learner with this ``n_folds`` and ``random_state`` has. It runs by itself in
    its own environment; features that are categories reach it as one column for each level, because econml takes
    numbers only.

    Args:
        train: the rows our effects were learned from.
        test: held-out rows.
        effect: (n_test,) ours, such as ``learner.effect(test.features)[:, 1]``.
        trees: settings of all its ensembles; None takes the defaults of ``Trees``.
        n_folds: of cross-fitting.
        random_state: of the folds and ensembles.
        action: the treatment; needed where the log has more than one.
        outcome: the outcome's name; the first when None.
        truth: (n_test,) true effects, where they are known.
        propensity: whether econml estimates it by boosted trees or takes the arms' shares.
        threads: for econml.

    Raises:
        LeakageError: our effects were learned from test rows.
        DataError: effects or truth that are not one finite number per test row.
        ActionError: no action named where there are several treatments.
        PropensityError: training rows in which nothing was left to chance.
        ParameterError: an unknown ``propensity``.
        MissingDependency: econml has no environment; the message says how to make it.
    """
    require_held_out(test, effect)
    if propensity not in ("estimated", "constant"):
        raise ParameterError(
            f"unknown propensity {propensity!r}", where="crosscheck", remedy="Choose 'estimated' or 'constant'."
        )
    ours = _per_row(effect, test.n, "effect")
    true = None if truth is None else _per_row(truth, test.n, "truth")
    pair = train.contrast(action)
    require_comparable(pair)
    y = pair.outcome(outcome)
    binary = bool(np.isin(y, (0.0, 1.0)).all())
    arrays: dict[str, NDArray[Any]] = {
        "X": one_hot(pair.features),
        "w": (pair.action == 1).astype(np.int64),
        "y": y.astype(np.int64) if binary else y,
        "fold": pair.folds(n_folds, random_state),
        "X_test": one_hot(test.features),
    }
    if pair.weight is not None:
        arrays["weight"] = pair.weight
    settings = {
        "model": _model(trees, random_state, threads),
        "binary": binary,
        "propensity": propensity,
        "seed": random_state,
    }
    script = Path(peers.__file__).with_name("econml_effect.py")
    answer = peers.call("econml", script, arrays, settings, threads=threads)
    return _compared(ours, answer["effect"], true, n_train=pair.n, version=str(answer["version"]))


def one_hot(features: Features) -> NDArray[np.float32]:
    """(n, d') numbers as they are, and a 0/1 column for each level of each category (all 0 where it is missing)."""
    columns = []
    for j, column in enumerate(features.columns):
        values = features.values[:, j]
        if column.kind == "category":
            columns += [(values == code).astype(np.float32) for code in range(len(column.categories))]
        else:
            columns.append(values)
    return np.ascontiguousarray(np.stack(columns, axis=1))


def _compared(ours: Floats, theirs: Floats, truth: Floats | None, *, n_train: int, version: str) -> Crosscheck:
    """The comparison of two effects, and of both with the truth where it is known."""
    both = (ours, theirs)
    tenth = max(1, ours.size // 10)
    top = [set(np.argsort(-e, kind="stable")[:tenth].tolist()) for e in both]
    to_truth = rmse = None
    if truth is not None:
        to_truth = (_spearman(ours, truth), _spearman(theirs, truth))
        rmse = (float(np.sqrt(np.mean((ours - truth) ** 2))), float(np.sqrt(np.mean((theirs - truth) ** 2))))
    return Crosscheck(
        spearman=_spearman(ours, theirs),
        pearson=_correlation(ours, theirs),
        distance=float(np.sqrt(np.mean((ours - theirs) ** 2))),
        spread=float(theirs.std()),
        top_overlap=len(top[0] & top[1]) / tenth,
        mean=(float(ours.mean()), float(theirs.mean())),
        to_truth=to_truth,
        rmse=rmse,
        n_train=n_train,
        n_test=ours.size,
        econml=version,
        their_effect=theirs,
    )


def _spearman(a: Floats, b: Floats) -> float:
    from scipy.stats import rankdata

    return _correlation(rankdata(a), rankdata(b))


def _correlation(a: Floats, b: Floats) -> float:
    """Pearson's correlation, NaN where one side is constant."""
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size else float("nan")


def _model(trees: Trees | None, seed: int, threads: int) -> dict[str, Any]:
    """Our trees' settings under the names of XGBoost's scikit-learn interface."""
    from persuadable.engine import Trees

    t = Trees() if trees is None else trees
    return {
        "n_estimators": t.n_trees,
        "max_depth": t.max_depth,
        "learning_rate": t.learning_rate,
        "min_child_weight": t.min_child_weight,
        "reg_lambda": t.reg_lambda,
        "gamma": t.gamma,
        "subsample": t.subsample,
        "colsample_bytree": t.colsample,
        "max_bin": t.max_bin,
        "tree_method": "hist",
        "n_jobs": threads,
        "random_state": seed,
    }


def _per_row(values: Any, n: int, name: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (n,):
        raise DataError(
            f"{name} has shape {array.shape}, expected ({n},)",
            remedy="Pass one treatment's column: learner.effect(test.features)[:, 1].",
        )
    if not np.isfinite(array).all():
        raise DataError(f"{name} is not finite", where=f"row {int(np.argmin(np.isfinite(array)))}")
    return array
