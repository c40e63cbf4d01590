"""One machine, one quantised matrix: every stage bins its rows by the same cuts and shares them where it can."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persuadable.engine.recipe import Case, Recipe, Stage
from persuadable.engine.responses import Loss, Scale
from persuadable.engine.trees import PriorShift, TreeModel, Trees, xgboost
from persuadable.errors import ParameterError
from persuadable.features import Features
from persuadable.params import Parameters
from persuadable.progress import progress_bar

__all__ = ["Fit", "Fitted", "LocalEngine", "Matrix"]

Rows = NDArray[np.intp]
Vector = NDArray[np.float64]
Models = dict[str, TreeModel]

BOUNDARY_ROWS = 65_536


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """One ensemble to be fitted.

    Attributes:
        rows: (m,) indices of the rows it learns from; None for all.
        target: (m,) what is predicted.
        weight: (m,) positive weights, or None.
        loss: how errors count.
        trees: the ensemble's settings.
        held_out: indices of rows to predict once fitted, or None.
        classes: number of classes of a softmax target.
        kept: share of the negatives that the rows hold, see ``Trees.keep_negatives``.
    """

    rows: Rows | None
    target: Vector
    weight: Vector | None
    loss: Loss
    trees: Trees
    held_out: Rows | None = None
    classes: int | None = None
    kept: float = 1.0

    def thinned(self, seed: int) -> Fit:
        """The same fit on all positives and the share of the negatives its trees ask for, at least one of them."""
        if self.loss != "logistic" or self.trees.keep_negatives == 1:
            return self
        negatives = np.flatnonzero(self.target == 0)
        count = max(1, round(self.trees.keep_negatives * negatives.size))
        if count >= negatives.size:
            return self
        kept = np.ones(self.target.size, dtype=np.bool_)
        kept[np.random.default_rng([seed, negatives.size]).permutation(negatives)[count:]] = False
        return replace(
            self,
            rows=np.flatnonzero(kept) if self.rows is None else self.rows[kept],
            target=self.target[kept],
            weight=_at(self.weight, np.flatnonzero(kept)),
            kept=count / negatives.size,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A fitted ensemble, and its predictions on the held-out rows asked for."""

    model: TreeModel
    held_out: NDArray[np.float32] | None


@dataclass(slots=True, eq=False)
class Matrix:
    """Features whose bin boundaries are found once; every subset is binned by them.

    Attributes:
        values: (n, d) float32.
        types: XGBoost's type of each column, "q" for numbers and "c" for categories.
        device: where the bins live.
        threads: threads that find the boundaries.
    """

    values: NDArray[np.float32]
    types: list[str]
    device: str
    threads: int
    _whole: dict[int, Any] = field(default_factory=dict)
    _with_action: Matrix | None = None

    def whole(self, max_bin: int) -> Any:
        """All rows, quantised; made on first use."""
        if max_bin not in self._whole:
            sample = _boundary_rows(self.values, self.types)
            ref = None if sample is None else self._quantised(self.values[sample], max_bin, self.threads, None)
            self._whole[max_bin] = self._quantised(self.values, max_bin, self.threads, ref)
        return self._whole[max_bin]

    def rows(self, rows: Rows | None, max_bin: int, threads: int) -> Any:
        """Some rows (a copy of all for None), quantised by the boundaries of all."""
        values = self.values if rows is None else self.values[rows]
        return self._quantised(values, max_bin, threads, self.whole(max_bin))

    def with_action(self, action: NDArray[np.int16], n_actions: int) -> Matrix:
        """The matrix with the log's action as its last column: a number for two actions, a category for more."""
        if self._with_action is None:
            values = np.column_stack([self.values, action.astype(np.float32)])
            types = [*self.types, "q" if n_actions == 2 else "c"]
            self._with_action = Matrix(values, types, self.device, self.threads)
        return self._with_action

    def _quantised(self, values: NDArray[np.float32], max_bin: int, threads: int, ref: Any) -> Any:
        return xgboost().QuantileDMatrix(
            values, feature_types=self.types, enable_categorical=True, max_bin=max_bin, nthread=threads, ref=ref
        )


def _boundary_rows(values: NDArray[np.float32], types: Sequence[str]) -> Rows | None:
    """Rows to find bin boundaries from, None for all: many times as many as bins, and every category once.

    Sorting every value of every feature would cost as much as half a fit, for boundaries no better.
    """
    n = len(values)
    if n <= BOUNDARY_ROWS:
        return None
    rows = [np.random.default_rng(0).choice(n, BOUNDARY_ROWS, replace=False)]
    rows += [np.unique(values[:, j], return_index=True)[1] for j, kind in enumerate(types) if kind == "c"]
    return np.unique(np.concatenate(rows))


class LocalEngine(Parameters):
    """Fits ensembles on this machine.

    Several independent fits run side by side with the threads shared out among them, so a fit seldom
    waits for another thread; a lone fit gets all of them.

    Args:
        threads: how many threads to use; None takes the processors this process may run on.
        device: "cpu" or "cuda".
        progress: show a progress bar; None shows it on a terminal.
    """

    def __init__(self, threads: int | None = None, device: str = "cpu", progress: bool | None = None) -> None:
        self.threads = threads
        self.device = device
        self.progress = progress

    @property
    def n_threads(self) -> int:
        """Threads in use.

        Raises:
            ParameterError: threads below 1.
        """
        if self.threads is None:
            return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if not isinstance(self.threads, int | np.integer) or self.threads < 1:
            raise ParameterError(f"threads must be a whole number from 1, got {self.threads!r}", where="LocalEngine")
        return self.threads

    def matrix(self, features: Features) -> Matrix:
        """The features made ready for any number of fits."""
        types = ["c" if category else "q" for category in features.categorical]
        return Matrix(features.values, types, self.device, self.n_threads)

    def run(self, matrix: Matrix, fits: Sequence[Fit], *, seed: int, what: str) -> list[Fitted]:
        """Fit every ensemble; results in the order asked, whatever ran first.

        Raises:
            ParameterError: settings outside their range, or a fit without rows.
        """
        if not fits:
            return []
        for fit in fits:
            fit.trees.validate()
            if not fit.target.size:
                raise ParameterError(
                    "There is no row left to learn from",
                    where=what,
                    remedy="Use fewer folds, or more rows of each arm.",
                )
            matrix.whole(fit.trees.max_bin)
        fits = [fit.thinned(seed) for fit in fits]
        batches = _batches(fits, self.n_threads)
        workers = min(self.n_threads, len(batches))
        threads = max(1, self.n_threads // workers)
        with progress_bar(what, len(fits), self.progress) as advance, ThreadPoolExecutor(workers) as pool:
            done = list(pool.map(lambda batch: self._run_batch(matrix, fits, batch, threads, seed, advance), batches))
        by_index = {index: fitted for batch in done for index, fitted in batch}
        return [by_index[i] for i in range(len(fits))]

    def _run_batch(
        self,
        matrix: Matrix,
        fits: Sequence[Fit],
        batch: Batch,
        threads: int,
        seed: int,
        advance: Callable[[], None],
    ) -> list[tuple[int, Fitted]]:
        """Fits on the same rows, one after another on one quantised copy."""
        first = fits[batch.members[0]]
        whole = first.rows is None and batch.owns_whole
        data = matrix.whole(first.trees.max_bin) if whole else matrix.rows(first.rows, first.trees.max_bin, threads)
        fitted = []
        for index in batch.members:
            fitted.append((index, self._fit(matrix, data, fits[index], threads, seed)))
            advance()
        return fitted

    def _fit(self, matrix: Matrix, data: Any, fit: Fit, threads: int, seed: int) -> Fitted:
        xgb = xgboost()
        # Mean 1, so that min_child_weight and reg_lambda count in rows whatever the scale of the weights.
        weight = np.ones(fit.target.size, dtype=np.float32) if fit.weight is None else fit.weight / fit.weight.mean()
        data.set_info(label=fit.target, weight=weight)
        # No logarithm leads to a mean of 0, which squared error predicts exactly.
        loss = "squared" if fit.loss == "poisson" and not fit.target.any() else fit.loss
        parameters = fit.trees.xgboost_parameters(loss, seed=seed, threads=threads, device=self.device)
        if fit.classes is not None:
            parameters["num_class"] = fit.classes
        shift = PriorShift.of(fit.trees, fit.target, fit.weight, fit.kept) if loss == "logistic" else None
        if shift is not None:
            parameters |= {"scale_pos_weight": fit.trees.scale_pos_weight, "base_score": shift.start}
        booster = xgb.train(parameters, data, num_boost_round=fit.trees.n_trees)
        if shift is not None:
            margin = booster.predict(data, output_margin=True)
            booster.set_param({"base_score": shift.put_back(margin, fit.target, fit.weight)})
        model = TreeModel(booster)
        held_out = None if fit.held_out is None else model.predict(matrix.values[fit.held_out])
        model.booster.set_param({"nthread": self.n_threads})
        return Fitted(model, held_out)

    def cross_fit(
        self,
        matrix: Matrix,
        cases: Sequence[Case],
        folds: NDArray[np.integer[Any]],
        trees: Trees,
        *,
        seed: int,
    ) -> list[Vector]:
        """Out-of-fold responses μ_a(x) = E[y | x, a] of each case, (n, A): one ensemble per fold, arm and case."""
        fits, places, teaching = [], [], _teaching(cases[0])
        targets = [case.response_target for case in cases]
        for k in range(int(folds.max()) + 1):
            held_out = np.flatnonzero(folds == k)
            for arm in range(cases[0].e.shape[1]):
                rows = np.flatnonzero((folds != k) & teaching[arm])
                for c, case in enumerate(cases):
                    fits.append(Fit(rows, targets[c][rows], _at(case.weight, rows), case.loss, trees, held_out))
                    places.append((c, held_out, arm))
        mu = [np.empty(case.e.shape) for case in cases]
        for (c, held_out, arm), fitted in zip(places, self.run(matrix, fits, seed=seed, what="Responses"), strict=True):
            mu[c][held_out, arm] = _response(cases[c], fitted, arm)
        return mu

    def cross_fit_without(
        self,
        matrix: Matrix,
        cases: Sequence[Case],
        folds: NDArray[np.integer[Any]],
        trees: Trees,
        *,
        seed: int,
    ) -> list[list[Vector]]:
        """For each fold k, the out-of-fold responses of each case had fold k never existed, (n, A).

        The responses of fold j without fold k come from an ensemble that saw neither; it serves (j, k) and
        (k, j) alike, so K folds take K(K − 1)/2 ensembles per arm and case. Rows of fold k itself are NaN.
        """
        n_folds = int(folds.max()) + 1
        fits, places, teaching = [], [], _teaching(cases[0])
        targets = [case.response_target for case in cases]
        for j in range(n_folds):
            for k in range(j + 1, n_folds):
                pair = np.flatnonzero((folds == j) | (folds == k))
                for arm in range(cases[0].e.shape[1]):
                    rows = np.flatnonzero((folds != j) & (folds != k) & teaching[arm])
                    for c, case in enumerate(cases):
                        fits.append(Fit(rows, targets[c][rows], _at(case.weight, rows), case.loss, trees, pair))
                        places.append((c, arm, j, k, pair))
        mu = [[np.full(case.e.shape, np.nan) for case in cases] for _ in range(n_folds)]
        done = self.run(matrix, fits, seed=seed, what="Responses")
        for (c, arm, j, k, pair), fitted in zip(places, done, strict=True):
            in_j = folds[pair] == j
            predicted = _response(cases[c], fitted, arm)
            mu[k][c][pair[in_j], arm] = predicted[in_j]
            mu[j][c][pair[~in_j], arm] = predicted[~in_j]
        return mu

    def execute(
        self,
        matrix: Matrix,
        orders: Sequence[tuple[Recipe, Case, Trees]],
        *,
        seed: int,
        within: NDArray[np.bool_] | None = None,
        what: str = "Effects",
    ) -> list[Models]:
        """Fit the stages of several recipes together; for each order, stage name → model.

        Args:
            matrix: features of all rows of the cases.
            orders: recipe, the case it is cooked on, and the settings of its ensembles.
            seed: of the ensembles.
            within: (n,) learn from these rows only.
            what: said before the progress bar.
        """
        plain: list[tuple[int, str, Fit]] = []
        models: list[Models] = [{} for _ in orders]
        sharing = _RowSharing()
        for o, (recipe, case, trees) in enumerate(orders):
            for stage in recipe.stages:
                rows = sharing.rows(stage.rows(case) if within is None else stage.rows(case) & within)
                fit = _fit_of(stage, case, rows, trees)
                if stage.sees_action:
                    seeing = matrix.with_action(case.action, case.e.shape[1])
                    models[o][stage.name] = self.run(seeing, [fit], seed=seed, what=what)[0].model
                else:
                    plain.append((o, stage.name, fit))
        for (o, name, _), fitted in zip(
            plain, self.run(matrix, [fit for *_, fit in plain], seed=seed, what=what), strict=True
        ):
            models[o][name] = fitted.model
        return models


@dataclass(frozen=True, slots=True)
class Batch:
    """Fits on the same rows, by index; one batch alone may relabel the whole matrix."""

    members: tuple[int, ...]
    owns_whole: bool


def _batches(fits: Sequence[Fit], threads: int) -> list[Batch]:
    """Group fits by their rows, and part groups again where there would be fewer than threads."""
    groups: dict[tuple[int | None, int], list[int]] = {}
    for i, fit in enumerate(fits):
        key = (None if fit.rows is None else id(fit.rows), fit.trees.max_bin)
        groups.setdefault(key, []).append(i)
    parts = -(-threads // len(groups))
    return [
        Batch(tuple(members[start::parts]), owns_whole=start == 0)
        for members in groups.values()
        for start in range(min(parts, len(members)))
    ]


def _teaching(case: Case) -> list[NDArray[np.bool_]]:
    """For each arm, the rows that teach its response: those of the control only where a treatment was possible."""
    comparable = (case.e[:, 1:] > 0).any(axis=1)
    return [(case.action == arm) & (comparable | (arm > 0)) for arm in range(case.e.shape[1])]


def _response(case: Case, fitted: Fitted, arm: int) -> Vector:
    """Held-out predictions of an arm's response, in outcome units."""
    predicted = np.asarray(fitted.held_out, dtype=np.float64)
    return predicted if case.scale is None else case.scale.outcome(predicted, arm)


class _RowSharing:
    """Gives equal row sets the same index array, so that fits on them are batched."""

    def __init__(self) -> None:
        self._seen: dict[bytes, Rows] = {}

    def rows(self, mask: NDArray[np.bool_]) -> Rows | None:
        if mask.all():
            return None
        return self._seen.setdefault(np.packbits(mask).tobytes(), np.flatnonzero(mask))


def _at(values: Vector | None, rows: Rows | None) -> Vector | None:
    return values if values is None or rows is None else values[rows]


def _fit_of(stage: Stage, case: Case, rows: Rows | None, trees: Trees) -> Fit:
    weight = _at(case.weight, rows)
    if stage.weight is not None:
        own = stage.weight(case)
        own = own if rows is None else own[rows]
        weight = own if weight is None else weight * own
    target = stage.target(case)
    loss = stage.loss or (case.loss if stage.is_response else "squared")
    return Fit(rows, target if rows is None else target[rows], weight, loss, trees)


def predict(
    recipe: Recipe,
    models: Mapping[str, TreeModel],
    values: NDArray[np.float32],
    n_actions: int,
    scale: Scale | None = None,
) -> Vector:
    """(n, A) effects of a cooked recipe on new rows (n, d); ``scale`` is that of the case it was cooked on."""
    predictions: dict[str, Vector] = {}
    for stage in recipe.stages:
        model = models[stage.name]
        if not stage.sees_action:
            predictions[stage.name] = stage.in_outcome_units(model.predict(values).astype(np.float64), scale)
            continue
        seeing = np.column_stack([values, np.zeros(len(values), dtype=np.float32)])
        columns = []
        for action in range(n_actions):
            seeing[:, -1] = action
            columns.append(model.predict(seeing).astype(np.float64))
        predictions[stage.name] = stage.in_outcome_units(np.stack(columns, axis=1), scale)
    return recipe.effects(predictions)
