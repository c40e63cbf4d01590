"""Fitted ensembles laid out for speed: for a service that scores one row at a time, and for batches.

A prediction by XGBoost takes some hundred microseconds however few the rows, because each one sets up threads and
matrices. Here the trees are read once into flat arrays and walked by machine code, which takes microseconds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from persuadable.engine.local import LocalEngine
from persuadable.engine.trees import OBJECTIVES, TreeModel
from persuadable.errors import MissingDependency, ParameterError

__all__ = ["CompiledTrees", "kernels", "objective"]

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

BUSH_DEPTH = 4
RAREST = np.float32(1e-6)  # XGBoost starts no probability closer to 0 or 1
LEAST = np.finfo(np.float32).min
FEW_ROWS = 8  # up to here rows are walked one by one, which is faster than a block of them
WALKS_WORTH_A_THREAD = 2_000_000  # trees times rows; a thread takes as long to start as half a million
LOSSES = {name: loss for loss, name in OBJECTIVES.items()}
LINKS = {"squared": 0, "logistic": 1, "poisson": 2, "softmax": 0}  # of each output; softmax joins several


@cache
def kernels() -> ModuleType:
    """The machine code, compiled or read from numba's cache on first use.

    Raises:
        MissingDependency: numba is not installed.
    """
    try:
        from persuadable.engine import kernels as module
    except ImportError as error:
        raise MissingDependency(
            "numba is not installed, which compiled trees are walked with",
            remedy="Install it with: pip install 'persuadable[service]'.",
        ) from error
    return module


def objective(model: TreeModel) -> str:
    """The loss an ensemble was fitted by: "squared", "logistic", "poisson" or "softmax".

    Raises:
        ParameterError: another objective.
    """
    return _loss(model.objective)


def _loss(name: str) -> str:
    if name not in LOSSES:
        raise ParameterError(
            f"An ensemble of objective {name!r} cannot be compiled", remedy=f"Fit it with one of {sorted(LOSSES)}."
        )
    return LOSSES[name]


@dataclass(frozen=True, slots=True, eq=False)
class CompiledTrees:
    """Several ensembles on the same features, predicted together.

    Predictions equal those of XGBoost bit for bit before the logistic or softmax function, and within a few units in
    the last place after it: splits are compared and leaves are summed in the same order and precision.

    Trees at most four levels deep are padded to bushes of 15 splits and 16 leaves, whose children need no pointers
    (a row of 400 such trees takes 2 µs); with a deeper tree among them all are linked lists of nodes.

    Attributes:
        n_features: d.
        n_trees: of all ensembles.
        n_outputs: m, one per ensemble, but one per class for a softmax ensemble.
        threads: threads a batch is shared out among.
    """

    n_features: int
    n_trees: int
    n_outputs: int
    threads: int
    _arrays: tuple[NDArray[Any], ...]
    _softmax: tuple[slice, ...]

    @classmethod
    def of(
        cls,
        models: Sequence[TreeModel],
        held: Sequence[Mapping[int, float]] | None = None,
        threads: int | None = None,
    ) -> Self:
        """Compile ensembles.

        Args:
            models: fitted ensembles, on the same d features but for the held ones.
            held: for each ensemble, last features that are held at a value: index → value. They are no longer among
                the features to be given.
            threads: threads for batches; None takes the processors this process may run on.

        Raises:
            ParameterError: no model, models on different numbers of features, or a booster that is not made of plain
                trees with one of the objectives of ``Trees``.
        """
        if not models:
            raise ParameterError("There is no ensemble to compile", remedy="Pass at least one.")
        held = [{}] * len(models) if held is None else held
        forest = _Forest()
        for model, fixed in zip(models, held, strict=True):
            forest.plant(model, fixed)
        if len(forest.n_features) > 1:
            raise ParameterError(
                f"The ensembles were fitted on different numbers of features: {sorted(forest.n_features)}",
                remedy="Compile ensembles of the same features together.",
            )
        (d,) = forest.n_features
        outputs = np.array(forest.outputs, dtype=np.int64).reshape(-1, 3)
        arrays = (*forest.laid_out(), outputs, np.array(forest.base, dtype=np.float32))
        n_threads = LocalEngine(threads).n_threads
        return cls(d, len(forest.roots), len(outputs), n_threads, arrays, tuple(forest.softmax))

    def predict(self, values: Floats) -> Floats:
        """(n, m) predictions of (n, d) rows: a response, probability, or probability of a class per column.

        Missing values are NaN; infinite ones are not looked for. Safe to call from several threads; more than a few
        rows are shared out among ``threads`` threads, which release the GIL.

        Raises:
            ParameterError: values of another type, shape or layout.
            MissingDependency: numba is not installed.
        """
        if values.ndim != 2 or values.shape[1] != self.n_features or values.dtype != np.float32:
            raise ParameterError(
                f"Compiled trees take (n, {self.n_features}) float32 values, got {values.shape} of {values.dtype}",
                remedy="Pass Features.of(X, learner.columns_).values.",
            )
        if not values.flags.c_contiguous:
            values = np.ascontiguousarray(values)
        out = np.empty((len(values), self.n_outputs), dtype=np.float32)
        if len(values) <= FEW_ROWS:
            kernels().score_rows(values, *self._arrays, out)
        else:
            self._predict_many(values, out)
        for columns in self._softmax:
            out[:, columns] = _softmax(out[:, columns])
        return out

    def _predict_many(self, values: Floats, out: Floats) -> None:
        score, block = kernels().score_blocks, kernels().BLOCK
        parts = min(self.threads, 1 + len(values) * self.n_trees // WALKS_WORTH_A_THREAD)
        if parts == 1:
            score(values, *self._arrays, out)
            return
        cuts = [len(values) * i // parts // block * block for i in range(parts)] + [len(values)]
        with ThreadPoolExecutor(parts) as pool:
            list(pool.map(lambda a, b: score(values[a:b], *self._arrays, out[a:b]), cuts[:-1], cuts[1:]))

    def warm(self) -> None:
        """Compile, or load, the machine code, and touch every tree once.

        Raises:
            MissingDependency: numba is not installed.
        """
        for rows in (1, FEW_ROWS + 1):
            self.predict(np.zeros((rows, self.n_features), dtype=np.float32))


def _softmax(margins: Floats) -> Floats:
    powers = np.exp(margins - margins.max(axis=1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares


@dataclass(slots=True, eq=False)
class _Nodes:
    """The nodes of one tree, N of them.

    Attributes:
        feature: (N,) feature of each split, 0 at a leaf.
        number: (N,) float32, threshold of each split or value of each leaf.
        default_left: (N,) where a missing value goes.
        children: (N, 2) left and right child; a leaf is its own.
        sets: node → the categories that go right, of the splits by category.
    """

    feature: Ints
    number: Floats
    default_left: Ints
    children: Ints
    sets: dict[int, Ints]

    @classmethod
    def read(cls, tree: Mapping[str, Any]) -> Self:
        """From XGBoost's JSON."""
        children = np.array([tree["left_children"], tree["right_children"]], dtype=np.int64).T
        leaf = children[:, 0] == -1
        children[leaf] = np.flatnonzero(leaf)[:, None]
        categories = np.array(tree["categories"], dtype=np.int64)
        segments = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True)
        return cls(
            np.where(leaf, 0, np.array(tree["split_indices"], dtype=np.int64)),
            np.maximum(np.array(tree["split_conditions"], dtype=np.float32), LEAST),  # so that −∞ stays below
            np.where(leaf, 0, np.array(tree["default_left"], dtype=np.int64)),
            children,
            {node: categories[start : start + size] for node, start, size in segments},
        )

    def decide(self, fixed: Mapping[int, float]) -> int:
        """Bridge the splits on features whose value is known; return the root that is left."""
        onward = np.arange(len(self.feature))
        split = self.children[:, 0] != onward
        for feature, value in fixed.items():
            for node in np.flatnonzero(split & (self.feature == feature)).tolist():
                threshold = self.number[node]
                right = value in self.sets.pop(node) if node in self.sets else not np.float32(value) < threshold
                onward[node] = self.children[node, int(right)]
        while (onward[onward] != onward).any():
            onward = onward[onward]
        self.children = onward[self.children]
        return int(onward[0])


@dataclass(slots=True, eq=False)
class _Forest:
    """The trees read so far, their nodes numbered through, and what the outputs make of them."""

    n_features: set[int] = field(default_factory=set)
    roots: list[int] = field(default_factory=list)
    outputs: list[tuple[int, int, int]] = field(default_factory=list)
    base: list[float] = field(default_factory=list)
    softmax: list[slice] = field(default_factory=list)
    _trees: list[_Nodes] = field(default_factory=list)
    _sets: dict[int, Ints] = field(default_factory=dict)
    _size: int = 0

    def plant(self, model: TreeModel, fixed: Mapping[int, float]) -> None:
        """Read an ensemble; splits on fixed features are decided here and now."""
        learner = json.loads(bytes(model.booster.save_raw("json")))["learner"]
        booster, parameters = learner["gradient_booster"], learner["learner_model_param"]
        loss = _loss(learner["objective"]["name"])
        _require_plain(booster, parameters)
        self.n_features.add(int(parameters["num_feature"]) - len(fixed))
        base = np.atleast_1d(np.array(json.loads(parameters["base_score"]), dtype=np.float32))
        if loss == "logistic":
            within = np.clip(base, RAREST, np.float32(1) - RAREST)
            # As XGBoost's logf rounds it: NumPy's float32 logarithm may end one digit away.
            base = np.array([-math.log(p) for p in (np.float32(1) / within - np.float32(1)).tolist()], np.float32)
        if loss == "poisson":
            base = np.array([math.log(mean) for mean in base.tolist()], np.float32)
        if loss == "softmax":
            self.softmax.append(slice(len(self.base), len(self.base) + len(base)))
        group = np.array(booster["model"]["tree_info"])
        for k, start in enumerate(base.tolist()):
            first = len(self.roots)
            for tree in np.flatnonzero(group == k).tolist():
                self._grow(_Nodes.read(booster["model"]["trees"][tree]), fixed)
            self.outputs.append((first, len(self.roots), LINKS[loss]))
            self.base.append(start)

    def _grow(self, nodes: _Nodes, fixed: Mapping[int, float]) -> None:
        self.roots.append(self._size + nodes.decide(fixed))
        nodes.children += self._size
        self._sets |= {self._size + node: categories for node, categories in nodes.sets.items()}
        self._trees.append(nodes)
        self._size += len(nodes.feature)

    def laid_out(self) -> tuple[NDArray[Any], ...]:
        """``segments, members, links, numbers, trees`` as :mod:`persuadable.engine.kernels` describes them."""
        feature, number, default_left, children = (
            np.concatenate([getattr(nodes, name) for nodes in self._trees])
            for name in ("feature", "number", "default_left", "children")
        )
        column = 2 * feature + default_left
        segments, members = self._categories(column, number)
        levels = [np.array(self.roots)[:, None]]
        for _ in range(BUSH_DEPTH):
            levels.append(children[levels[-1]].reshape(len(self.roots), -1))
        if (children[levels[-1], 0] == levels[-1]).all():
            links = np.ascontiguousarray(column[np.concatenate(levels[:-1], axis=1)], dtype=np.int32)
            numbers = np.ascontiguousarray(number[np.concatenate(levels, axis=1)])
            return segments, members, links, numbers, np.empty((0, 2), dtype=np.int32)
        links = np.ascontiguousarray(np.column_stack([column, children]), dtype=np.int32)
        trees = np.ascontiguousarray(np.column_stack([self.roots, self._depths(children)]), dtype=np.int32)
        return segments, members, links, number[:, None], trees

    def _depths(self, children: Ints) -> Ints:
        """Depth of each tree."""
        depths = np.zeros(len(self.roots), dtype=np.int64)
        tree, node = np.arange(len(self.roots)), np.array(self.roots)
        while node.size:
            split = children[node, 0] != node
            tree, node = np.repeat(tree[split], 2), children[node[split]].ravel()
            depths[tree] += 1
        return depths

    def _categories(self, column: Ints, number: Floats) -> tuple[Ints, NDArray[np.uint8]]:
        """Segments and members; the splits by category are pointed at their columns, equal ones at the same."""
        columns: dict[tuple[int, bytes], list[int]] = {}
        for node, categories in self._sets.items():
            columns.setdefault((int(column[node]), np.sort(categories).tobytes()), []).append(node)
        first, byte, segments, parts = 2 * next(iter(self.n_features)), 0, [], []
        for feature in sorted({told // 2 for told, _ in columns}):
            mine = [(told, raw) for told, raw in columns if told // 2 == feature]
            sets = [np.frombuffer(raw, dtype=np.int64) for _, raw in mine]
            n_codes = max(int(codes[-1]) for codes in sets) + 1
            bits = _bits(sets, n_codes, [told % 2 == 0 for told, _ in mine])
            for j, key in enumerate(mine):
                column[columns[key]], number[columns[key]] = first + j, 0.5
            segments.append((feature, first, bits.shape[1], byte, n_codes))
            parts.append(bits.ravel())
            first, byte = first + 8 * bits.shape[1], byte + bits.size
        members = np.concatenate(parts) if parts else np.empty(0, dtype=np.uint8)
        return np.array(segments, dtype=np.int64).reshape(-1, 5), members


def _bits(sets: Sequence[Ints], n_codes: int, missing: Sequence[bool]) -> NDArray[np.uint8]:
    """(n_codes + 2, bytes) one bit per set: whether it holds the code, whether it holds missing, and zeros."""
    bits = np.zeros((n_codes + 2, -(-len(sets) // 8)), dtype=np.uint8)
    for j, codes in enumerate(sets):
        bits[codes, j // 8] |= np.uint8(1 << j % 8)
        bits[n_codes, j // 8] |= np.uint8(missing[j] << j % 8)
    return bits


def _require_plain(booster: Mapping[str, Any], parameters: Mapping[str, str]) -> None:
    """Refuse what the walk would read wrongly."""
    odd = None
    if booster["name"] != "gbtree":
        odd = f"a booster {booster['name']!r}"
    elif int(parameters["num_target"]) > 1:
        odd = "several targets"
    elif booster["model"]["cats"]["enc"]:
        odd = "categories recoded by XGBoost"
    if odd is not None:
        raise ParameterError(
            f"An ensemble with {odd} cannot be compiled", remedy="Fit it with persuadable's engine, on arrays of codes."
        )
