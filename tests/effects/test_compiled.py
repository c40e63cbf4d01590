"""A compiled learner against the learner it was made from."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from persuadable import DecisionLog
from persuadable.effects import DRLearner, Learner, RLearner, SLearner, TLearner, XLearner
from persuadable.effects import compiled as room
from persuadable.effects.compiled import CompiledLearner
from persuadable.effects.state import learner_from_state, learner_state
from persuadable.engine import Trees
from persuadable.errors import NotFittedError, OutcomeError, ParameterError

SHALLOW, DEEP = Trees(n_trees=15, max_depth=4), Trees(n_trees=8, max_depth=7, min_child_weight=0)
N = 900
LEARNERS = [
    SLearner(trees=SHALLOW, n_resamples=3),
    SLearner(trees=DEEP),
    TLearner(trees=SHALLOW, n_resamples=4),
    TLearner(trees=DEEP, n_resamples=1),
    XLearner(trees=SHALLOW, n_resamples=5),
    XLearner(form="two-model", trees=SHALLOW, propensity="constant", n_resamples=2),
    XLearner(form="two-model", trees=DEEP, propensity="estimated", n_resamples=2),
    RLearner(trees=DEEP, n_resamples=3),
    DRLearner(trees=SHALLOW),
]


def sample(arms: int) -> DecisionLog:
    """Numbers, categories and gaps; one outcome is a number, one is zeros and ones."""
    rng = np.random.default_rng(arms)
    x, gap = rng.normal(size=N), np.where(rng.random(N) < 0.3, np.nan, rng.normal(size=N))
    colour = rng.choice([*"abcdefghijkl", ""], N)
    frame = pl.DataFrame({"x": x, "tied": np.round(rng.normal(size=N)), "colour": colour, "gap": gap})
    frame = frame.with_columns(pl.col("colour").replace("", None))
    action = rng.integers(0, arms, N)
    signal = x + action * (np.isin(colour, ["c", ""]) + 1.0 * np.isnan(gap))
    noise = rng.normal(size=N)
    return DecisionLog.from_arrays(frame, action, {"y": signal + noise, "b": (signal + noise > 0.5) * 1.0})


def probes(learner: Learner) -> NDArray[np.float32]:
    """Rows with values exactly at the splits of the learner's trees, missing ones, and unseen codes."""
    rng = np.random.default_rng(9)
    values = rng.normal(size=(400, 4)).astype(np.float32)
    values[:, 2] = rng.choice([-1, 3.5, 12, 13, 40, np.nan, *range(12)], 400)
    for model in learner.models_["y"].values():
        for text in model.booster.get_dump(dump_format="json"):
            flat = [json.loads(text)]
            while flat:
                node = flat.pop()
                flat += node.get("children", [])
                if "children" in node and node["split"] in ("f0", "f1", "f3"):
                    values[rng.integers(400), int(node["split"][1])] = node["split_condition"]
    values[rng.random(values.shape) < 0.1] = np.nan
    return values


def expected(learner: Learner, values: NDArray[np.float32], outcome: str) -> NDArray[np.float64]:
    return learner._predict(outcome, learner.models_[outcome], values)


@pytest.mark.parametrize("arms", [2, 3])
@pytest.mark.parametrize("learner", LEARNERS, ids=lambda learner: repr(learner)[:60])
def test_effects_and_their_spread_are_the_learner_s(learner: Learner, arms: int) -> None:
    learner.fit(sample(arms), outcomes=["y", "b"])
    quick = CompiledLearner(learner)
    quick.warm()
    values = probes(learner)
    for outcome in ("y", "b"):
        effects, stderr = quick.effects_and_stderr(values, outcome)
        np.testing.assert_allclose(effects, expected(learner, values, outcome), atol=1e-6, rtol=0)
        np.testing.assert_array_equal(quick.effects(values, outcome), effects)
        np.testing.assert_array_equal(effects[:, 0], 0)
        if learner.n_resamples < 2:
            assert stderr is None
            continue
        refits = [learner._predict(outcome, models, values) for models in learner.resamples_[outcome]]
        assert stderr is not None
        np.testing.assert_allclose(stderr, np.std(refits, axis=0, ddof=1), atol=1e-6, rtol=0)
        assert stderr[:, 1:].max() > 0
        for i in range(50):
            one, spread = quick.effects_and_stderr(values[i : i + 1], outcome)
            np.testing.assert_allclose(one[0], effects[i], atol=1e-6, rtol=0)
            assert spread is not None
            np.testing.assert_allclose(spread[0], stderr[i], atol=1e-6, rtol=0)
    np.testing.assert_array_equal(quick.effects(values), quick.effects(values, "y"))


def test_the_interval_of_a_frame_is_the_learner_s() -> None:
    log = sample(3)
    learner = XLearner(trees=SHALLOW, n_resamples=5).fit(log)
    low, high = learner.effect_interval(log)
    effects, stderr = CompiledLearner(learner).effects_and_stderr(log.features.values)
    assert stderr is not None
    np.testing.assert_allclose(effects - 1.959963984540054 * stderr, low, atol=1e-6)
    np.testing.assert_allclose(effects + 1.959963984540054 * stderr, high, atol=1e-6)


def test_a_learner_read_back_from_its_state_compiles_alike() -> None:
    log = sample(3)
    learner = TLearner(trees=SHALLOW, n_resamples=2).fit(log)
    description, blobs = learner_state(learner)
    again = learner_from_state(json.loads(json.dumps(description)), blobs)
    for ours, theirs in zip(
        CompiledLearner(again).effects_and_stderr(log.features.values),
        CompiledLearner(learner).effects_and_stderr(log.features.values),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_a_long_batch_is_worked_through_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    log = sample(3)
    quick = CompiledLearner(RLearner(trees=SHALLOW, n_resamples=3).fit(log))
    whole = quick.effects_and_stderr(log.features.values)
    monkeypatch.setattr(room, "CHUNK", 130)
    for piecewise, at_once in zip(quick.effects_and_stderr(log.features.values), whole, strict=True):
        np.testing.assert_array_equal(piecewise, at_once)


@pytest.mark.parametrize("trees", [SHALLOW, Trees(n_trees=1, max_depth=1), Trees(n_trees=3, gamma=1e9)], ids=repr)
def test_no_row_and_hardly_a_tree(trees: Trees) -> None:
    """The last has trees of a single leaf: nothing gains enough to split."""
    log = sample(2)
    learner = DRLearner(trees=trees, n_resamples=2).fit(log)
    quick = CompiledLearner(learner)
    effects, stderr = quick.effects_and_stderr(log.features.values[:0])
    assert effects.shape == (0, 2)
    assert stderr is not None
    assert stderr.shape == (0, 2)
    values = probes(learner)
    np.testing.assert_allclose(quick.effects(values), expected(learner, values, "y"), atol=1e-6, rtol=0)


def test_a_constant_outcome_has_no_effect() -> None:
    log = sample(2)
    flat = DecisionLog.from_arrays(log.features, log.action, {"y": np.full(N, 3.0)})
    learner = TLearner(trees=SHALLOW, n_resamples=2).fit(flat)
    effects, stderr = CompiledLearner(learner).effects_and_stderr(probes(learner))
    np.testing.assert_allclose(effects, 0, atol=1e-6)
    np.testing.assert_allclose(stderr, 0, atol=1e-6)


def test_threads_may_share_it() -> None:
    log = sample(3)
    learner = SLearner(trees=SHALLOW, n_resamples=2).fit(log)
    quick, values = CompiledLearner(learner), log.features.values
    whole = quick.effects(values)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda i: quick.effects(values[i : i + 1 + i % 30]), range(300)))
    for i, part in enumerate(parts):
        np.testing.assert_array_equal(part, whole[i : i + 1 + i % 30])


def test_what_cannot_be_answered_is_refused() -> None:
    with pytest.raises(NotFittedError):
        CompiledLearner(TLearner())
    quick = CompiledLearner(TLearner(trees=SHALLOW).fit(sample(2)))
    with pytest.raises(OutcomeError, match="'sales'"):
        quick.effects_and_stderr(np.zeros((1, 4), np.float32), "sales")
    with pytest.raises(ParameterError, match=r"\(n, 4\) float32"):
        quick.effects(np.zeros((1, 5), np.float32))


def test_a_binary_outcome_is_predicted_to_the_last_bit() -> None:
    # A threshold is a predicted effect: one bit away, a lottery at the threshold becomes a sure treatment.
    rng = np.random.default_rng(3)
    values = rng.integers(0, 3, (2_000, 3)).astype(np.float32)
    for seed in range(12):
        action = rng.integers(0, 2, 2_000)
        y = (rng.random(2_000) < rng.uniform(0.02, 0.98) * (0.6 + 0.2 * values[:, 0] * action)).astype(float)
        learner = TLearner(trees=Trees(n_trees=10, max_depth=3), random_state=seed).fit(values, y, treatment=action)
        np.testing.assert_array_equal(CompiledLearner(learner).effects(values), np.asarray(learner.effect(values)))
