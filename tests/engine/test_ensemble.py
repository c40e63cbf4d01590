"""Ensembles are found sound before XGBoost reads them: every rule it relies on, broken one at a time."""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from persuadable import DecisionLog
from persuadable.effects import TLearner
from persuadable.engine import TreeModel, Trees
from persuadable.engine.ensemble import check_ensemble
from persuadable.engine.ubjson import parse

MARKS = {"f4": b"d", "i4": b"l", "i8": b"L", "u1": b"U", "i1": b"i"}
CATEGORIES = [None, 8]


def write(value: Any) -> bytes:
    """UBJSON as XGBoost writes it."""

    def text(told: str) -> bytes:
        return b"L" + struct.pack(">q", len(told.encode())) + told.encode()

    if isinstance(value, dict):
        return b"{" + b"".join(text(k) + write(v) for k, v in value.items()) + b"}"
    if isinstance(value, np.ndarray):
        return b"[$" + MARKS[value.dtype.str[1:]] + b"#L" + struct.pack(">q", len(value)) + value.tobytes()
    if isinstance(value, list):
        return b"[#L" + struct.pack(">q", len(value)) + b"".join(map(write, value))
    if isinstance(value, str):
        return b"S" + text(value)
    return b"i" + struct.pack(">b", value) if -128 <= value < 128 else b"l" + struct.pack(">i", value)


@pytest.fixture(scope="module")
def raw() -> bytes:
    rng = np.random.default_rng(0)
    n = 1500
    x, town = rng.normal(size=n), rng.integers(0, 8, n)
    y = np.where(town % 3 == 0, 1.0, -1.0) + x + rng.normal(size=n)
    frame = pl.DataFrame({"x": x, "town": [f"t{t}" for t in town], "a": rng.integers(0, 2, n), "y": y})
    log = DecisionLog.from_frame(frame, action="a", control=0, outcomes="y", propensity=0.5)
    model = TLearner(trees=Trees(n_trees=3, max_depth=3)).fit(log).models_["y"]["response-1"]
    return model.to_bytes()


@pytest.fixture
def document(raw: bytes) -> Any:
    def thaw(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: thaw(v) for k, v in value.items()}
        return value.copy() if isinstance(value, np.ndarray) else copy.deepcopy(value)

    found = thaw(parse(raw))
    model = found["learner"]["gradient_booster"]["model"]
    model["trees"] = [thaw(tree) for tree in model["trees"]]
    return found


def test_what_xgboost_writes_is_read_to_the_byte_and_found_sound(raw: bytes) -> None:
    assert write(parse(raw)) == raw
    check_ensemble(raw, CATEGORIES)
    tree = parse(raw)["learner"]["gradient_booster"]["model"]["trees"][0]
    booster = TreeModel.from_bytes(raw).booster
    table = booster.trees_to_dataframe()
    ours = tree["split_indices"][tree["left_children"] != -1]
    theirs = table[(table.Tree == 0) & (table.Feature != "Leaf")].Feature.str[1:].astype(int)
    assert ours.tolist() == theirs.tolist()
    assert 1 in ours, "a category is split on, or the rules for categories would not be tried"


def trees(document: Any) -> list[Any]:
    found: list[Any] = document["learner"]["gradient_booster"]["model"]["trees"]
    return found


def put(name: str, at: int, value: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        trees(document)[0][name][at] = value

    return change


def on_leaf(name: str, value: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        tree = trees(document)[0]
        tree[name][np.flatnonzero(tree["left_children"] == -1)[0]] = value

    return change


def at_category(name: str, value: Any) -> Callable[[Any], None]:
    """At the first split on the category."""

    def change(document: Any) -> None:
        tree = trees(document)[0]
        tree[name][tree["categories_nodes"][0]] = value

    return change


def told(path: str, value: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        *way, last = path.split("/")
        place = document
        for step in way:
            place = place[int(step) if isinstance(place, list) else step]
        place[last] = value

    return change


def fitted_by(objective: str, base_score: str) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        told("learner/objective/name", objective)(document)
        told("learner/learner_model_param/base_score", base_score)(document)

    return change


def cycle(document: Any) -> None:
    """The root's left child leads back to the root."""
    tree = trees(document)[0]
    tree["left_children"][1] = 0


def shared_child(document: Any) -> None:
    tree = trees(document)[0]
    tree["right_children"][0] = tree["left_children"][0]


MODEL = "learner/gradient_booster/model"
BROKEN: list[tuple[Callable[[Any], None], str]] = [
    (put("left_children", 0, 10**6), "out of range"),
    (put("left_children", 0, -7), "out of range"),
    (put("right_children", 0, -1), "one child only"),
    (cycle, "out of range"),
    (shared_child, "not one parent"),
    (put("parents", 1, 5), "parent does not fit"),
    (put("parents", 0, 0), "parent does not fit"),
    (put("split_indices", 0, 2), "feature is out of range"),
    (put("split_indices", 0, -1), "feature is out of range"),
    (on_leaf("split_indices", 99), "feature is out of range"),
    (put("default_left", 0, 2), "neither 0 nor 1"),
    (at_category("split_type", 0), "wrong type"),
    (at_category("split_indices", 0), "wrong type"),
    (on_leaf("split_type", 1), "a leaf has a split"),
    (on_leaf("split_conditions", np.nan), "leaf is not finite"),
    (on_leaf("split_conditions", np.inf), "leaf is not finite"),
    (on_leaf("split_conditions", np.finfo(np.float32).max), "overflow"),
    (put("split_conditions", 0, np.nan), "split is at NaN"),
    (put("base_weights", 0, np.inf), "weight is not finite"),
    (put("sum_hessian", 0, -1), "cover is negative"),
    (put("categories", 0, 8), "category of tree 0"),
    (put("categories", 0, -1), "category of tree 0"),
    (put("categories_nodes", 0, 77), "categories_nodes"),
    (put("categories_segments", 0, 3), "segments"),
    (put("categories_sizes", 0, 10**15), "sizes"),
    (put("categories_sizes", 0, 0), "sizes"),
    (lambda d: trees(d)[0].update(parents=trees(d)[0]["parents"][:-1]), "parameters of tree 0"),
    (lambda d: trees(d)[0].update(split_conditions=trees(d)[0]["split_conditions"][:-1]), "split_conditions of tree 0"),
    (lambda d: trees(d)[0].update(left_children=trees(d)[0]["left_children"].tolist()), "left_children of tree 0"),
    (lambda d: trees(d)[0].update(left_children=trees(d)[0]["base_weights"]), "left_children of tree 0"),
    (lambda d: trees(d)[0].pop("parents"), "KeyError"),
    (told(f"{MODEL}/trees/1/id", 0), "tree 1 is called 0"),
    (told(f"{MODEL}/trees/0/tree_param/num_nodes", "4"), "parameters of tree 0"),
    (told(f"{MODEL}/trees/0/tree_param/num_deleted", "1"), "parameters of tree 0"),
    (told(f"{MODEL}/trees/0/tree_param/size_leaf_vector", "2"), "parameters of tree 0"),
    (told(f"{MODEL}/trees", []), "no trees"),
    (told(f"{MODEL}/trees", 3), "TypeError"),
    (told(f"{MODEL}/tree_info", [0, 0, 1]), "tree_info"),
    (told(f"{MODEL}/tree_info", [0, 0]), "tree_info"),
    (told(f"{MODEL}/iteration_indptr", [0, 1, 2, 9]), "iteration_indptr"),
    (told(f"{MODEL}/gbtree_model_param/num_trees", "9"), "number of trees"),
    (told(f"{MODEL}/gbtree_model_param/num_parallel_tree", "2"), "number of trees"),
    (told(f"{MODEL}/cats/enc", ["a"]), "categories of its own"),
    (told("learner/gradient_booster/name", "dart"), "plain trees"),
    (told("learner/objective/name", "multi:softprob"), "objective"),
    (told("learner/objective", "x"), "TypeError"),
    (told("learner/learner_model_param/num_feature", "3"), "num_feature is '3', expected 2"),
    (told("learner/learner_model_param/num_class", "3"), "num_class"),
    (told("learner/learner_model_param/num_target", "2"), "num_target"),
    (told("learner/learner_model_param/base_score", "[nan]"), "base_score"),
    (fitted_by("count:poisson", "[0E0]"), "base_score"),
    (fitted_by("binary:logistic", "[2E0]"), "base_score"),
    (told("learner/learner_model_param/base_score", "[1,2]"), "could not convert"),
    (told("learner/feature_names", ["a"]), "feature names"),
    (told("learner/feature_types", [1, 2]), "feature types"),
    (told("learner/attributes", {"a": 1}), "attributes"),
    (told("version", [1, 0, 0]), "version"),
    (told("version", 3), "version"),
]


@pytest.mark.parametrize(("change", "said"), BROKEN)
def test_every_rule_is_kept(document: Any, change: Callable[[Any], None], said: str) -> None:
    change(document)
    with pytest.raises(ValueError, match=said):
        check_ensemble(write(document), CATEGORIES)


def test_chains_are_refused_for_their_depth(document: Any) -> None:
    """Whoever walks a tree by calling itself would run out of stack on a chain of a million nodes."""
    depth = 70
    inner, size = 2 * np.arange(depth), 2 * depth + 1
    left, right, parents = (np.full(size, -1, dtype=">i4") for _ in range(3))
    left[inner], right[inner] = inner + 1, inner + 2
    parents[inner + 1] = parents[inner + 2] = inner
    parents[0] = 2**31 - 1
    tree = trees(document)[0]
    for name in ("base_weights", "loss_changes", "split_conditions", "sum_hessian"):
        tree[name] = np.zeros(size, dtype=">f4")
    for name in ("split_type", "default_left"):
        tree[name] = np.zeros(size, dtype=">u1")
    for name in ("categories", "categories_nodes", "categories_segments", "categories_sizes"):
        tree[name] = tree[name][:0]
    tree |= {"left_children": left, "right_children": right, "parents": parents, "split_indices": 0 * left}
    tree["tree_param"]["num_nodes"] = str(size)
    with pytest.raises(ValueError, match="deeper than 64"):
        check_ensemble(write(document), CATEGORIES)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "index out of range"),
        (b"{", "out of range"),
        (b"Q", "unknown type"),
        (b"Zi", "something follows"),
        (b"{i\x01ai\x01}", "a length was expected"),
        (b"{L" + b"\x7f" * 8, "reaches beyond the end"),
        (b"{L" + b"\xff" * 8, "reaches beyond the end"),
        (b"[$L#L" + struct.pack(">q", 2) + b"\0" * 8, "reaches beyond the end"),
        (b"[$Z#L" + struct.pack(">q", 2**60), "unknown type"),
        (b"[i\x01]", "not counted"),
        (b"[#L" + struct.pack(">q", 1) + b"d\0", "unpack"),
        (b"SL" + struct.pack(">q", 1) + b"\xff", "decode"),
        ((b"[#L" + struct.pack(">q", 1)) * 40 + b"Z", "nested deeper"),
        (b"{" + (b"L" + struct.pack(">q", 1) + b"aZ") * 2 + b"}", "comes twice"),
    ],
)
def test_what_is_no_ubjson_xgboost_would_write(raw: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse(raw)
    with pytest.raises(ValueError, match=r"."):
        check_ensemble(raw, CATEGORIES)


def test_numbers_of_every_kind() -> None:
    parts = [
        b"Z",
        b"T",
        b"F",
        b"i\xff",
        b"U\xff",
        b"I\x01\0",
        b"l\0\0\0\x07",
        b"L" + b"\0" * 7 + b"\x09",
        b"d\x3f\x80\0\0",
    ]
    parts.append(b"D" + struct.pack(">d", 0.1))
    assert parse(b"[#L" + struct.pack(">q", len(parts)) + b"".join(parts)) == [
        None, True, False, -1, 255, 256, 7, 9, 1.0, 0.1,
    ]  # fmt: skip
