"""Segment models: pooling weights, the contest that decides, and what a SegmentLearner makes of known truths."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

import persuadable as ps
from persuadable import DecisionLog
from persuadable.effects import DRLearner, RLearner, SegmentLearner, TLearner, clone
from persuadable.effects.contest import Rows, choose
from persuadable.effects.pooling import shrunk_weights, stacked_weight, stderr_of_sum
from persuadable.engine import Trees
from persuadable.errors import BundleError, FeatureError, NotFittedError, OutcomeError, ParameterError

STAGES = ("new", "active", "lapsing", "churned")
TREES = Trees(n_trees=20, max_depth=2)


def truth(x: NDArray[Any], stage: NDArray[Any], how: str) -> NDArray[np.float64]:
    """(n,) effect of the treatment."""
    if how == "own":  # each segment answers to another feature, or the other way round
        return np.asarray(0.8 * np.choose(stage, [x[:, 0], -x[:, 0], x[:, 1], -x[:, 1]]), dtype=np.float64)
    return np.asarray(0.6 * x[:, 0] if how == "same" else 0 * x[:, 0], dtype=np.float64)


def sample(
    n: int = 3_000, seed: int = 0, how: str = "own", shares: tuple[float, ...] = (0.4, 0.3, 0.2, 0.1), **roles: Any
) -> tuple[DecisionLog, NDArray[np.float64]]:
    """A log with a lifecycle stage, and the true effect of its rows."""
    rng = np.random.default_rng(seed)
    x, stage, action = rng.normal(size=(n, 4)), rng.choice(4, n, p=shares), rng.integers(0, 2, n)
    tau = truth(x, stage, how)
    y = x[:, 2] + action * tau + rng.normal(size=n)
    names = pl.Series("stage", [STAGES[s] for s in stage], dtype=pl.Enum(STAGES))
    frame = pl.DataFrame({f"x{j}": x[:, j] for j in range(4)}).with_columns(names)
    return DecisionLog.from_arrays(frame, action, {"y": y, "cost": 1.0 * action}, propensity=0.5, **roles), tau


def learner(**settings: Any) -> SegmentLearner:
    return SegmentLearner(RLearner(trees=TREES, n_folds=3), "stage", **{"min_rows": 50} | settings)


@pytest.fixture(scope="module")
def apart() -> tuple[SegmentLearner, DecisionLog]:
    """A learner of a log whose segments differ, and the log."""
    log, _ = sample()
    return learner().fit(log), log


@pytest.fixture(scope="module")
def alike() -> tuple[SegmentLearner, DecisionLog]:
    """A learner of a log whose segments do not differ, and the log."""
    log, _ = sample(how="same")
    return learner().fit(log), log


# -- weights ---------------------------------------------------------------------------------------------------------


def test_the_stacked_weight_is_the_least_squares_one() -> None:
    rng = np.random.default_rng(0)
    d, weight = rng.normal(size=(200, 3)), rng.uniform(0.5, 2, 200)
    r = 0.4 * d + rng.normal(size=(200, 3))
    root = np.sqrt(weight)[:, None]
    (expected,), *_ = np.linalg.lstsq((root * d).reshape(-1, 1), (root * r).reshape(-1), rcond=None)
    assert stacked_weight(d, r, weight)[0] == pytest.approx(expected)


def test_its_standard_error_is_how_much_it_varies() -> None:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(600):
        d = rng.normal(size=(150, 2))
        # Both columns of a row share their noise, and it is the larger the larger d is.
        r = 0.4 * d + rng.normal(size=(150, 1)) * (1 + np.abs(d))
        found.append(stacked_weight(d, r, np.ones(150)))
    estimates, stderrs = np.array(found).T
    assert estimates.mean() == pytest.approx(0.4, abs=4 * estimates.std() / np.sqrt(600))
    assert np.sqrt((stderrs**2).mean()) == pytest.approx(estimates.std(), rel=0.1)


def test_rows_said_twice_by_one_unit_count_once() -> None:
    rng = np.random.default_rng(2)
    d = rng.normal(size=(80, 2))
    r = d + rng.normal(size=(80, 2))
    once = stacked_weight(d, r, np.ones(80))
    twice = stacked_weight(d.repeat(2, axis=0), r.repeat(2, axis=0), np.ones(160), np.arange(80).repeat(2))
    assert twice == pytest.approx(once)
    assert stderr_of_sum(np.ones(3), np.zeros(3, dtype=np.intp)) == np.inf  # a single unit tells no spread


def test_models_that_agree_ask_for_no_weight() -> None:
    assert stacked_weight(np.zeros((5, 1)), np.ones((5, 1)), np.ones(5)) == (0.0, np.inf)


def test_weights_of_equal_precision_shrink_by_the_textbook_share() -> None:
    raw, se = np.array([0.2, 0.9, 0.5, 0.6]), 0.2
    between = raw.var(ddof=1) - se**2  # what DerSimonian and Laird's estimate is then
    expected = raw.mean() + between / (between + se**2) * (raw - raw.mean())
    assert shrunk_weights(raw, np.full(4, se)) == pytest.approx(expected)


def test_shrinkage_at_its_ends() -> None:
    assert shrunk_weights([0.4, 0.6], [1.0, 1.0]) == pytest.approx([0.5, 0.5])  # all difference is noise
    assert shrunk_weights([0.1, 0.9], [1e-9, 1e-9]) == pytest.approx([0.1, 0.9])  # none is
    assert shrunk_weights([0.1, 0.9], [0.0, 0.0]) == pytest.approx([0.1, 0.9])
    assert shrunk_weights([-3.0, 4.0], [0.01, 0.01]) == [0.0, 1.0]
    assert shrunk_weights([0.7], [0.2]) == pytest.approx([0.7])
    assert shrunk_weights([0.4, 0.0], [0.1, np.inf]) == pytest.approx([0.4, 0.4])  # silent: as the others
    assert shrunk_weights([0.0, 0.0], [np.inf, np.inf]) == [0.0, 0.0]


# -- the contest -----------------------------------------------------------------------------------------------------


def rows(scores: NDArray[Any], **given: Any) -> Rows:
    n, arms = scores.shape
    told = {"possible": np.ones((n, arms), dtype=np.bool_), "folds": np.zeros(n, dtype=np.int16)}
    return Rows(**{"scores": scores, "weight": np.ones(n), "clusters": None} | told | given)


def test_gains_by_hand() -> None:
    scores = np.array([[0, 8.0, 1.0], [0, 4.0, -2.0], [0, -1.0, 3.0], [0, 6.0, 5.0]])
    first = np.array([[0, 3.0, 1.0], [0, 2.0, 0.0], [0, 1.0, 2.0], [0, -1.0, -2.0]])
    # Half of four rows: the first (8), and half of each of the next two, tied at 2 (4 and 3).
    _, (found,) = choose(rows(scores), {"global": first}, 0.5, 0.05)
    assert found.gain == pytest.approx((8 + 4 / 2 + 3 / 2) / 4)
    # All of them: but the last one's effects are negative.
    _, (found,) = choose(rows(scores), {"global": first}, 1.0, 0.05)
    assert found.gain == pytest.approx((8 + 4 + 3) / 4)
    # Where the second treatment is impossible the first is taken.
    possible = np.array([[True, True, False]] * 4)
    _, (found,) = choose(rows(scores, possible=possible), {"global": first}, 1.0, 0.05)
    assert found.gain == pytest.approx((8 + 4 - 1) / 4)
    # In two folds each treats its own best half.
    _, (found,) = choose(rows(scores, folds=np.array([0, 0, 1, 1], dtype=np.int16)), {"global": first}, 0.5, 0.05)
    assert found.gain == pytest.approx((8 + 3) / 4)
    # The first row counts twice as much as the others: 2.5 of 5 are the first and a quarter of each of the tied.
    weight = np.array([2.0, 1, 1, 1]) / 1.25
    _, (found,) = choose(rows(scores, weight=weight), {"global": first}, 0.5, 0.05)
    assert found.gain == pytest.approx((2 * 8 + 4 / 4 + 3 / 4) / 5)


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_the_interval_of_a_difference_holds_the_truth(share: float) -> None:
    """Two rankings of known quality; thresholds drawn from the very rows, as the learner does."""
    rng = np.random.default_rng(3)

    def draw(n: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        x = rng.normal(size=(n, 2))
        tau = 0.5 + x[:, 0]
        return tau, x[:, 0] + 0.4 * x[:, 1] + 0.2, x[:, 1] + 0.1

    tau, one, two = draw(2_000_000)
    if share < 1:
        value = [float(tau[e > np.quantile(e, 1 - share)].sum()) / tau.size for e in (one, two)]
    else:
        value = [float(tau[e > 0].sum()) / tau.size for e in (one, two)]
    held = 0
    for _ in range(400):
        tau, one, two = draw(600)
        scores = np.column_stack([np.zeros(600), tau + 2 * rng.normal(size=600)])
        zero = np.zeros(600)
        effects = {"global": np.column_stack([zero, two]), "segments": np.column_stack([zero, one])}
        _, found = choose(rows(scores), effects, share, 0.05)
        lower, upper = found[1].interval
        held += lower <= value[0] - value[1] <= upper
    assert 0.92 <= held / 400 <= 0.98  # 95% within three standard errors


def test_the_simpler_stays_unless_beaten() -> None:
    rng = np.random.default_rng(4)
    tau = rng.normal(size=(4_000, 1))
    scores = np.column_stack([np.zeros(4_000), tau[:, 0] + rng.normal(size=4_000)])
    right, wrong = np.column_stack([0 * tau, tau]), np.column_stack([0 * tau, -tau])
    name, found = choose(rows(scores), {"global": wrong, "pooled": right, "segments": wrong}, 0.3, 0.05)
    assert name == "pooled"
    assert [c.against for c in found] == [None, "global", "pooled"]
    assert [c.better for c in found] == [False, True, False]
    name, found = choose(rows(scores), {"global": right, "pooled": right}, 0.3, 0.05)
    assert name == "global"
    assert (found[1].difference, found[1].interval) == (0.0, (0.0, 0.0))


# -- the learner -----------------------------------------------------------------------------------------------------


def error(found: SegmentLearner | RLearner, how: str) -> float:
    test, tau = sample(8_000, seed=99, how=how)
    return float(np.sqrt(((np.asarray(found.effect(test))[:, 1] - tau) ** 2).mean()))


def test_segments_that_differ_get_models_of_their_own(apart: tuple[SegmentLearner, DecisionLog]) -> None:
    found, _ = apart
    assert found.decision_.chosen in ("pooled", "segments")
    assert all(weight > 0.5 for weight in found.weights().values())
    assert set(found.weights()) == set(STAGES)
    # Depth-2 trees cannot tell four directions apart: their error stays near the effect's own size, 0.8.
    assert error(found, "own") < 0.6 * error(found.global_, "own")


def test_segments_that_do_not_differ_share_one_model(alike: tuple[SegmentLearner, DecisionLog]) -> None:
    found, log = alike
    assert found.decision_.chosen == "global"
    assert found.weights() == found.segments_ == {}
    plain = RLearner(trees=TREES, n_folds=3).fit(log)
    np.testing.assert_array_equal(found.effect(log), plain.effect(log))
    assert all(row.weight is not None and row.weight < 0.4 for row in found.decision_.segments)


def test_pooling_is_no_worse_than_either_end(apart: tuple[SegmentLearner, DecisionLog]) -> None:
    found, _ = apart
    errors = {}
    for choice in ("pooled", "segments"):
        other = clone(found)
        other.__dict__.update(found.__dict__, decisions_={"y": replace(found.decision_, chosen=choice)})
        errors[choice] = error(other, "own")
    assert errors["pooled"] <= 1.02 * min(errors["segments"], error(found.global_, "own"))


def test_nothing_to_find_is_mostly_left_alone() -> None:
    """About α = 5% wrongly: of 12 logs without any effect, 3 or more are, with a probability of 2%."""
    quick = SegmentLearner(RLearner(trees=Trees(n_trees=6, max_depth=2), n_folds=3), "stage", min_rows=30)
    chosen = [clone(quick).fit(sample(900, seed, "none")[0]).decision_.chosen for seed in range(12)]
    assert chosen.count("global") >= 10


def test_a_small_segment_and_a_missing_one_are_read_by_the_model_for_all() -> None:
    log, _ = sample(2_500, shares=(0.5, 0.3, 0.19, 0.01))
    found = learner().fit(log)
    last = next(row for row in found.decision_.segments if row.segment == "churned")
    assert last.rows == (log.features.frame()["stage"] == "churned").sum()
    assert (last.raw, last.stderr, last.weight) == (None, None, None)
    assert "churned" not in found.segments_
    frame = log.features.frame()[:4]
    for stage in (None, "churned"):
        asked = frame.with_columns(pl.lit(stage, dtype=pl.Enum(STAGES)).alias("stage"))
        np.testing.assert_array_equal(found.effect(asked), found.global_.effect(asked))


def test_the_effect_is_the_pooled_one(apart: tuple[SegmentLearner, DecisionLog]) -> None:
    found, log = apart
    stage = log.features.frame()["stage"].to_numpy()
    everybody, effect = np.asarray(found.global_.effect(log)), np.asarray(found.effect(log))
    for label, weight in found.weights().items():
        here = stage == label
        own = np.asarray(found.segments_[label].effect(log.take(here)))
        np.testing.assert_allclose(effect[here], (1 - weight) * everybody[here] + weight * own, atol=1e-12)
    assert not effect[:, 0].any()


def test_a_segments_model_is_the_learner_on_its_rows(apart: tuple[SegmentLearner, DecisionLog]) -> None:
    found, log = apart
    here = log.take(log.features.frame()["stage"].to_numpy() == "active")
    alone = RLearner(trees=TREES, n_folds=3).fit(here)
    np.testing.assert_array_equal(found.segments_["active"].effect(here), alone.effect(here))


def test_a_fixed_shrinkage(apart: tuple[SegmentLearner, DecisionLog]) -> None:
    _, log = apart
    found = learner(shrink=0.25).fit(log)
    assert {row.weight for row in found.decision_.segments} == {0.75}
    _, pooled, own = learner(shrink=0.0).fit(log).decision_.candidates
    assert own.gain == pooled.gain
    assert (own.difference, own.better) == (0.0, False)


def test_out_of_fold_effects_did_not_see_their_row() -> None:
    log, _ = sample(1_000)
    y = log.outcome("y").copy()
    y[17] += 50.0
    moved = replace(log, outcomes={**log.outcomes, "y": y})
    before, after = (
        np.asarray(_as(learner(min_rows=30).fit(one), "segments").out_of_fold_effect(one)) for one in (log, moved)
    )
    np.testing.assert_array_equal(before[17], after[17])
    assert not np.array_equal(before, after)


def _as(found: SegmentLearner, choice: Any) -> SegmentLearner:
    found.decisions_ = {name: replace(told, chosen=choice) for name, told in found.decisions_.items()}
    return found


def test_out_of_fold_effects_are_what_the_decision_was_judged_by(apart: tuple[SegmentLearner, DecisionLog]) -> None:
    found, log = apart
    chosen = next(c for c in found.decision_.candidates if c.name == found.decision_.chosen)
    held_out = np.asarray(found.out_of_fold_effect(log))[:, 1]
    treated = np.zeros(log.n, dtype=np.bool_)
    folds = found._folds(log, np.array([STAGES.index(s) for s in log.features.frame()["stage"]]))
    for k in range(3):
        here = np.flatnonzero(folds == k)
        treated[here[np.argsort(-held_out[here])[: round(0.3 * here.size)]]] = True
    # By weights alone, a noisier estimate of the same gain: within four standard errors of that.
    terms = 2 * treated * log.outcome("y") * np.where(log.action == 1, 1, -1)
    assert found.out_of_fold_effect(log).fitted_on is None
    assert chosen.gain == pytest.approx(terms.mean(), abs=4 * terms.std() / np.sqrt(log.n))


def test_folds_are_even_within_segments_and_never_part_a_unit() -> None:
    log, _ = sample(1_200)
    codes = np.array([STAGES.index(s) for s in log.features.frame()["stage"]])
    folds = learner()._folds(log, codes)
    for s in range(4):
        for a in range(2):
            counts = np.bincount(folds[(codes == s) & (log.action == a)], minlength=3)
            assert np.ptp(counts) <= 1
    unit = np.arange(1_200) // 3
    log, _ = sample(1_200, unit=unit)
    folds = learner()._folds(log, codes)
    assert all(np.unique(folds[unit == u]).size == 1 for u in range(400))


def test_several_treatments_some_of_them_impossible() -> None:
    rng = np.random.default_rng(5)
    n = 2_400
    x, stage = rng.normal(size=(n, 2)), rng.integers(0, 2, n)
    eligible = np.ones((n, 3), dtype=np.bool_)
    eligible[:, 2] = x[:, 1] > -0.5
    e = eligible / eligible.sum(axis=1, keepdims=True)
    action = (rng.random(n)[:, None] >= e.cumsum(axis=1)[:, :-1]).sum(axis=1)
    tau = np.column_stack([np.zeros(n), np.where(stage == 0, 1, -1) * x[:, 0], np.where(stage == 0, -1, 1) * x[:, 0]])
    y = tau[np.arange(n), action] + rng.normal(size=n)
    frame = pl.DataFrame({"x0": x[:, 0], "x1": x[:, 1], "half": np.array(["a", "b"])[stage]})
    log = DecisionLog.from_arrays(frame, action, y, propensity=e, eligible=eligible)
    stump = Trees(n_trees=30, max_depth=1)
    found = SegmentLearner(DRLearner(trees=stump, n_folds=3), "half", min_rows=50).fit(log)
    assert found.decision_.chosen != "global"
    effect = np.asarray(found.effect(log))
    assert effect.shape == (n, 3)
    assert np.corrcoef(effect[:, 1], tau[:, 1])[0, 1] > 0.9
    assert np.isfinite(np.asarray(found.out_of_fold_effect(log))).all()


def test_each_outcome_has_a_decision_of_its_own() -> None:
    log, _ = sample(2_000)
    found = learner().fit(log, outcomes=["y", "cost"])
    assert list(found.decisions_) == ["y", "cost"]
    assert found.decision_ is found.decisions_["y"]
    assert found.decisions_["cost"].chosen == "global"  # it is 1 for all who are treated
    np.testing.assert_allclose(found.effect(log, "cost")[:, 1], 1.0, atol=0.02)
    with pytest.raises(OutcomeError, match="no effect on 'sales'"):
        found.effect(log, "sales")


def test_a_budget_is_spent_by_it_like_by_any_learner(apart: tuple[SegmentLearner, DecisionLog]) -> None:
    found, log = apart
    policy = ps.policies.BudgetPolicy(found, 0.3).calibrate(log)
    test, tau = sample(4_000, seed=7)
    told = ps.value.policy_value(test, policy)
    treated = policy.probabilities(test.features, 2)[:, 1]
    noise = 4 * told.stderr
    assert told.value == pytest.approx(test.features.values[:, 2].mean() + (treated * tau).mean(), abs=noise)
    with pytest.raises(ps.errors.LeakageError):
        ps.value.policy_value(log, policy)


def test_it_says_what_was_decided(
    apart: tuple[SegmentLearner, DecisionLog], alike: tuple[SegmentLearner, DecisionLog]
) -> None:
    told = str(apart[0].decision_)
    assert f"For 'y' the log decides for '{apart[0].decision_.chosen}'" in told
    assert "against 'global'" in told
    assert "30% treated" in told
    assert str(alike[0].decision_).startswith("For 'y' the log decides for 'global': one model for all segments.")
    assert apart[0].decision_.frame()["segment"].to_list() == sorted(STAGES)
    log, _ = sample(300)
    none = learner(min_rows=5_000).fit(log)
    assert none.decision_.candidates == ()
    assert "No segment has 5,000 rows of every action" in str(none.decision_)
    np.testing.assert_array_equal(none.effect(log), none.global_.effect(log))


# -- saving ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["apart", "alike"])
def test_it_comes_back_from_plain_values_and_bytes(which: str, request: pytest.FixtureRequest) -> None:
    found, log = request.getfixturevalue(which)
    description, blobs = found.state()
    again = SegmentLearner.from_state(json.loads(json.dumps(description)), blobs)
    np.testing.assert_array_equal(again.effect(log), found.effect(log))
    assert str(again.decision_) == str(found.decision_)
    assert (again.actions_, again.outcomes_, again.columns_) == (found.actions_, found.outcomes_, found.columns_)
    assert again.fitted_on.same_rows(found.fitted_on)
    np.testing.assert_array_equal(again.out_of_fold_effect(log), found.out_of_fold_effect(log))


def test_models_that_nowhere_differ_say_nothing_about_their_weight() -> None:
    """An offer that costs the same whoever gets it: nothing is infinite in what is kept."""
    log, _ = sample(900)
    found = learner().fit(log, outcomes="cost")
    kept = {(row.raw, row.stderr, row.weight) for row in found.decision_.segments if row.weight is not None}
    assert kept == {(None, None, 0.0)}
    description, blobs = found.state()
    again = SegmentLearner.from_state(json.loads(json.dumps(description, allow_nan=False)), blobs)
    assert str(again.decision_) == str(found.decision_)


def test_damage_is_seen(apart: tuple[SegmentLearner, DecisionLog]) -> None:
    found, _ = apart
    description, blobs = found.state()
    text = json.dumps(description)
    chosen = found.decision_.chosen
    broken = [
        text.replace('"kind": "SegmentLearner"', '"kind": "TLearner"', 1),
        text.replace('"by": "stage"', '"by": "x0"', 1),
        text.replace('"share": 0.3', '"share": 3', 1),
        text.replace('"label": "active"', '"label": "idle"', 1),
        text.replace(f'"chosen": "{chosen}"', '"chosen": "best"', 1),
        text.replace('"segment": "active"', '"segment": "idle"', 1),
        text.replace('"outcome": "y"', '"outcome": "z"', 1),
        text.replace('"smallest_arm"', '"largest_arm"', 1),
        text.replace('"gain":', '"gain": NaN, "lost":', 1),
        re.sub('"stderr": [0-9.e-]+', '"stderr": Infinity', text, count=1),
    ]
    for document in [*broken, json.dumps(description | {"segments": []})]:
        assert document != text
        with pytest.raises(BundleError):
            SegmentLearner.from_state(json.loads(document), blobs)
    with pytest.raises(BundleError):
        SegmentLearner.from_state(description, {k: v for k, v in blobs.items() if not k.startswith("segment-0")})
    with pytest.raises(NotFittedError):
        learner().state()


# -- refusals --------------------------------------------------------------------------------------------------------


def test_what_is_refused() -> None:
    log, _ = sample(300)
    refused: list[tuple[type[Exception], str, Any]] = [
        (FeatureError, "no feature 'phase'", lambda: SegmentLearner(TLearner(), "phase").fit(log)),
        (FeatureError, "'x0' is a number.*categorical=", lambda: SegmentLearner(TLearner(), "x0").fit(log)),
        (ParameterError, "learner is 'R'", lambda: SegmentLearner("R", "stage").fit(log)),  # type: ignore[arg-type]
        (ParameterError, "half-samples", lambda: SegmentLearner(TLearner(n_resamples=2), "stage").fit(log)),
        (ParameterError, "shrink is 'half'", lambda: learner(shrink="half").fit(log)),
        (ParameterError, "shrink is 1.5", lambda: learner(shrink=1.5).fit(log)),
        (ParameterError, "min_rows is 2", lambda: learner(min_rows=2).fit(log)),
        (ParameterError, "share is 0", lambda: learner(share=0).fit(log)),
        (ParameterError, "alpha is 0.95", lambda: learner(alpha=0.95).fit(log)),
        (ParameterError, "not a DecisionLog", lambda: learner().fit(log.frame())),
        (NotFittedError, "not fitted", lambda: learner().effect(log)),
        (NotFittedError, "not fitted", lambda: learner().decision_),
        (NotFittedError, "not fitted", lambda: learner().weights()),
        (NotFittedError, "not fitted", lambda: learner().out_of_fold_effect(log)),
    ]
    for kind, said, act in refused:
        with pytest.raises(kind, match=said):
            act()


def test_out_of_fold_effects_are_of_the_log_fitted_on(apart: tuple[SegmentLearner, DecisionLog]) -> None:
    with pytest.raises(ParameterError, match="another log"):
        apart[0].out_of_fold_effect(sample(seed=3)[0])


def test_rows_of_a_unit_are_evidence_once() -> None:
    once, _ = sample(900, how="same")
    frame = once.features.frame()
    thrice = DecisionLog.from_arrays(
        pl.concat([frame] * 3),
        np.tile(once.action, 3),
        {"y": np.tile(once.outcome("y"), 3)},
        propensity=0.5,
        unit=np.tile(np.arange(900), 3),
    )
    found = learner(min_rows=30).fit(thrice).decision_
    plain = learner(min_rows=30).fit(once).decision_
    width, expected = (told.candidates[2].interval[1] - told.candidates[2].interval[0] for told in (found, plain))
    assert width == pytest.approx(expected, rel=0.3)  # counted as rows it would be 1/√3 of that
    assert [row.stderr for row in found.segments] == pytest.approx([row.stderr for row in plain.segments], rel=0.5)
