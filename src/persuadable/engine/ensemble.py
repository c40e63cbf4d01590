"""Whether an ensemble's bytes are sound, found out before XGBoost, which trusts them, reads them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persuadable.engine.ubjson import parse

__all__ = ["check_ensemble"]

DEEPEST_TREE = 64
ROOT_PARENT = 2**31 - 1
OBJECTIVES = ("reg:squarederror", "binary:logistic", "count:poisson")
FLOATS = ("base_weights", "loss_changes", "split_conditions", "sum_hessian")
WHOLE = ("left_children", "right_children", "parents", "split_indices", "split_type", "default_left")
CATEGORIES = ("categories", "categories_nodes", "categories_segments", "categories_sizes")


def check_ensemble(raw: bytes, categories: Sequence[int | None]) -> None:
    """Refuse an ensemble that XGBoost could not read or walk, or that is not one of this package's.

    XGBoost follows children, features and categories wherever they point. So every tree must be one: each node but
    the root the child of one earlier node, its features and categories among those there are, its leaves finite.

    Args:
        raw: UBJSON, as ``TreeModel.to_bytes`` gives it.
        categories: for each feature how many categories it has, None for a number.

    Raises:
        ValueError: what is wrong.
    """
    try:
        document = parse(raw)
        learner = document["learner"]
        model = learner["gradient_booster"]["model"]
        _check_model(learner, document["version"], len(categories))
        _check_forest(model, len(categories))
        _check_trees(model["trees"], categories, _base_score(learner))
    except (KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _require(sound: bool | np.bool_, what: str) -> None:
    if not sound:
        raise ValueError(what)


def _check_model(learner: dict[str, Any], version: Any, n_features: int) -> None:
    told = learner["learner_model_param"]
    wanted = {"num_feature": str(n_features), "num_class": "0", "num_target": "1"}
    for name, value in wanted.items():
        _require(told[name] == value, f"{name} is {told[name]!r}, expected {value}")
    _require(learner["gradient_booster"]["name"] == "gbtree", "it is not an ensemble of plain trees")
    _require(learner["objective"]["name"] in OBJECTIVES, f"its objective is {learner['objective']['name']!r}")
    _require(_are_texts(learner["feature_names"], (0, n_features)), "its feature names do not fit")
    _require(_are_texts(learner["feature_types"], (0, n_features)), "its feature types do not fit")
    _require(all(isinstance(v, str) for v in learner["attributes"].values()), "its attributes are not texts")
    _require(_are_whole(version, 3) and 3 <= version[0] < 100, f"it was written by version {version!r}")


def _base_score(learner: dict[str, Any]) -> float:
    told = learner["learner_model_param"]["base_score"]
    score = float(told.removeprefix("[").removesuffix("]"))
    objective, fits = learner["objective"]["name"], math.isfinite(score)
    if objective != "reg:squarederror":
        fits = 0 <= score <= 1 if objective == "binary:logistic" else fits and score > 0
    _require(fits, f"base_score is {told!r}")
    return score


def _check_forest(model: dict[str, Any], n_features: int) -> None:
    trees, told = model["trees"], model["gbtree_model_param"]
    count = len(trees)
    _require(isinstance(trees, list) and count > 0, "it has no trees")
    _require(told == told | {"num_trees": str(count), "num_parallel_tree": "1"}, "the number of trees does not fit")
    _require(_are_whole(model["tree_info"], count) and not any(model["tree_info"]), "tree_info does not fit")
    _require(model["iteration_indptr"] == list(range(count + 1)), "iteration_indptr does not fit")
    _require(not any(len(part) for part in model.get("cats", {}).values()), "it holds categories of its own")
    for i, tree in enumerate(trees):
        size, told = len(tree["parents"]), tree["tree_param"]
        _require(tree["id"] == i, f"tree {i} is called {tree['id']!r}")
        _require(
            told == told | {"num_nodes": str(size), "num_feature": str(n_features), "num_deleted": "0"}
            and told["size_leaf_vector"] in ("0", "1"),
            f"the parameters of tree {i} do not fit",
        )
        for name in (*FLOATS, *WHOLE):
            fits = _is_array(tree[name], "f" if name in FLOATS else "iu") and len(tree[name]) == size
            _require(fits, f"{name} of tree {i}")
        for name in CATEGORIES:
            _require(_is_array(tree[name], "iu"), f"{name} of tree {i}")


def _check_trees(trees: list[dict[str, Any]], categories: Sequence[int | None], base_score: float) -> None:
    """All trees at once: nodes are numbered through, ``first`` is each node's root."""
    sizes = np.array([len(tree["parents"]) for tree in trees])
    _require((sizes > 0).all(), "a tree has no nodes")
    start = np.cumsum(sizes) - sizes
    first = np.repeat(start, sizes)
    node = np.arange(sizes.sum()) - first
    whole = {name: np.concatenate([tree[name] for tree in trees]).astype(np.int64) for name in WHOLE}
    with np.errstate(invalid="ignore"):  # a NaN that signals; NaNs are refused below
        floats = {name: np.concatenate([tree[name] for tree in trees]).astype(np.float64) for name in FLOATS}
    left, right, feature = whole["left_children"], whole["right_children"], whole["split_indices"]
    leaf = left == -1
    _require(((right == -1) == leaf).all(), "a node has one child only")
    inner = np.flatnonzero(~leaf)
    children = np.concatenate([left[inner], right[inner]])
    owners = np.concatenate([inner, inner])
    size = np.repeat(sizes, sizes)
    _require(((children > node[owners]) & (children < size[owners])).all(), "a child is out of range")
    places = children + first[owners]
    expected = np.full(node.size, -1, dtype=np.int64)
    expected[places] = node[owners]
    expected[start] = ROOT_PARENT
    _require(np.unique(places).size == places.size == node.size - sizes.size, "a node has not one parent")
    _require((whole["parents"] == expected).all(), "a parent does not fit")
    _require_shallow(inner, left, right, first, start)
    _require(((feature >= 0) & (feature < len(categories))).all(), "a feature is out of range")
    _require(np.isin(whole["default_left"], (0, 1)).all(), "default_left is neither 0 nor 1")
    categorical = np.array([count is not None for count in categories], dtype=np.bool_)
    by_category = whole["split_type"].astype(np.int64)
    _require((by_category[inner] == categorical[feature[inner]]).all(), "a split is of the wrong type")
    _require(not by_category[leaf].any(), "a leaf has a split")
    _check_values(floats, leaf, start, base_score)
    _check_categories(trees, categories, whole, start)


def _require_shallow(
    inner: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64], first: NDArray[Any], start: Any
) -> None:
    is_inner = np.zeros(left.size, dtype=np.bool_)
    is_inner[inner] = True
    level = start[is_inner[start]]
    for _ in range(DEEPEST_TREE):
        if not level.size:
            return
        below = np.concatenate([left[level] + first[level], right[level] + first[level]])
        level = below[is_inner[below]]
    raise ValueError(f"a tree is deeper than {DEEPEST_TREE}")


def _check_values(floats: dict[str, Any], leaf: Any, start: NDArray[Any], base_score: float) -> None:
    split = floats["split_conditions"]
    _require(np.isfinite(split[leaf]).all(), "a leaf is not finite")
    _require(not np.isnan(split).any(), "a split is at NaN")
    largest = np.maximum.reduceat(np.where(leaf, np.abs(split), 0.0), start)
    _require(largest.sum() + abs(base_score) < float(np.finfo(np.float32).max), "its leaves overflow when summed")
    _require(np.isfinite(floats["base_weights"]).all(), "a weight is not finite")
    hessian = floats["sum_hessian"]
    _require((np.isfinite(hessian) & (hessian >= 0)).all(), "a cover is negative or not finite")


def _check_categories(
    trees: list[dict[str, Any]], categories: Sequence[int | None], whole: dict[str, Any], start: NDArray[Any]
) -> None:
    """Each tree's categorical splits, in order, have categories of their feature."""
    known = np.array([count or 0 for count in categories], dtype=np.int64)
    by_category = whole["split_type"].astype(np.bool_)
    for i, tree in enumerate(trees):
        nodes = np.flatnonzero(by_category[start[i] : start[i] + len(tree["parents"])])
        codes, sizes = (tree[name].astype(np.int64) for name in ("categories", "categories_sizes"))
        _require(np.array_equal(tree["categories_nodes"], nodes), f"categories_nodes of tree {i}")
        _require(sizes.size == nodes.size and (sizes > 0).all() and sizes.sum() == codes.size, f"sizes of tree {i}")
        _require(np.array_equal(tree["categories_segments"], np.cumsum(sizes) - sizes), f"segments of tree {i}")
        most = np.repeat(known[whole["split_indices"][start[i] + nodes]], sizes)
        _require(((codes >= 0) & (codes < most)).all(), f"a category of tree {i} is out of range")


def _is_array(value: Any, kinds: str) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in kinds


def _are_whole(value: Any, count: int) -> bool:
    return isinstance(value, list) and len(value) == count and all(type(v) is int for v in value)


def _are_texts(value: Any, counts: tuple[int, ...]) -> bool:
    return isinstance(value, list) and len(value) in counts and all(isinstance(v, str) for v in value)
