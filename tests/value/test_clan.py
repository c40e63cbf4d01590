"""Who is moved most and least."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persuadable.effects.arrays import Effects
from persuadable.errors import ActionError, DataError, LeakageError, ParameterError
from persuadable.log import DecisionLog
from persuadable.value.clan import clan, top_part

CHANNELS = np.array(["web", "phone", "shop"])


def make_log(n=500, seed=0, **columns):
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "age": rng.normal(40, 10, n),
            "noise": rng.normal(size=n),
            "channel": CHANNELS[rng.integers(0, 3, n)],
            "treated": np.arange(n) % 2,
            "visit": rng.normal(size=n),
            **columns,
        }
    )
    roles = {name: name for name in ("unit", "weight") if name in frame.columns}
    return DecisionLog.from_frame(frame, action="treated", control=0, outcomes="visit", **roles)


def column(log, name):
    return log.frame()[name].to_numpy()


def test_numbers_are_compared_by_means_as_welch_does():
    from scipy import stats

    log = make_log()
    age = column(log, "age")
    effect = age + 5 * np.random.default_rng(1).normal(size=log.n)
    found = clan(log, effect, share=0.2)
    order = np.argsort(effect)
    least, most = age[order[:100]], age[order[-100:]]
    row = next(r for r in found.rows if r.feature == "age")
    assert (row.most, row.least) == (pytest.approx(most.mean()), pytest.approx(least.mean()))
    assert row.difference.value == pytest.approx(most.mean() - least.mean())
    welch = stats.ttest_ind(most, least, equal_var=False)
    # The influence-function error carries n/(n − 1) for the whole log on top of each group's own factor.
    assert row.difference.stderr == pytest.approx((most.mean() - least.mean()) / welch.statistic, rel=2e-3)
    assert row.standardised == pytest.approx((most.mean() - least.mean()) / age.std())
    assert found.rows[0] is row
    assert abs(next(r for r in found.rows if r.feature == "noise").standardised) < 0.5


def test_categories_are_compared_by_shares():
    log = make_log()
    channel = log.features.frame()["channel"].to_numpy()
    effect = np.where(channel == "web", 1.0, 0.0) + 0.01 * np.random.default_rng(0).random(log.n)
    found = clan(log, effect, share=0.1)
    rows = {r.level: r for r in found.rows if r.feature == "channel"}
    assert set(rows) == set(CHANNELS)
    assert (rows["web"].most, rows["web"].least) == (1.0, 0.0)
    assert rows["web"].difference.stderr == 0.0
    assert rows["web"].standardised == pytest.approx(1 / np.std(channel == "web"))
    assert sum(r.difference.value for r in rows.values()) == pytest.approx(0.0, abs=1e-12)
    assert found.rows[0].label == "channel = web"


def test_missing_values_are_a_level_of_their_own():
    age = np.where(np.arange(500) < 100, None, np.arange(500.0))
    log = make_log(age=pl.Series("age", age.tolist(), dtype=pl.Float64))
    effect = -np.arange(500.0)
    found = clan(log, effect, share=0.4)
    rows = {r.label: r for r in found.rows}
    assert (rows["age = missing"].most, rows["age = missing"].least) == (pytest.approx(0.5), 0.0)
    assert rows["age"].most == pytest.approx(np.arange(100, 200).mean())
    assert rows["age"].least == pytest.approx(np.arange(300, 500).mean())


def test_rare_categories_are_pooled():
    labels = np.array([f"k{i % 30:02d}" if i < 60 else "k00" for i in range(500)])
    log = make_log(channel=labels)
    found = clan(log, column(log, "age"), levels=3)
    levels = [r.level for r in found.rows if r.feature == "channel"]
    assert len(levels) == 4
    assert {"k00", "other"} <= set(levels)
    everything = [r for r in found.rows if r.feature == "channel"]
    assert sum(r.most for r in everything) == pytest.approx(1.0)


def test_an_empty_feature_has_only_its_missing_share():
    log = make_log(age=pl.Series("age", [None] * 500, dtype=pl.Float64))
    rows = [r for r in clan(log, column(log, "noise")).rows if r.feature == "age"]
    assert [(r.level, r.most, r.standardised) for r in rows] == [("missing", 1.0, 0.0)]


@given(st.lists(st.integers(0, 4), min_size=5, max_size=40), st.floats(0.05, 0.5))
def test_groups_hold_exactly_their_share(values, share):
    score = np.array(values, dtype=float)
    part = top_part(score, share, None)
    assert part.mean() == pytest.approx(share)
    weight = np.linspace(0.5, 2, score.size)
    assert np.average(top_part(score, share, weight), weights=weight) == pytest.approx(share)


@given(st.permutations(range(60)))
def test_row_order_does_not_matter_under_ties(order):
    log = make_log(n=60)
    effect = np.round(column(log, "age") / 10)
    one, two = clan(log, effect), clan(log.take(np.array(order)), effect[np.array(order)])
    values = [{r.label: (r.most, r.difference.stderr, r.standardised) for r in c.rows} for c in (one, two)]
    assert values[0].keys() == values[1].keys()
    for label, row in values[0].items():
        assert row == pytest.approx(values[1][label], abs=1e-9)


def test_swapping_the_sign_swaps_the_groups():
    log = make_log()
    effect = column(log, "age") + column(log, "noise")
    up = {r.label: r for r in clan(log, effect).rows}
    down = {r.label: r for r in clan(log, -effect).rows}
    for label, row in up.items():
        assert down[label].difference.value == pytest.approx(-row.difference.value)
        assert down[label].most == pytest.approx(row.least)


def test_a_heavy_row_counts_as_many_rows_of_one_unit():
    base = make_log(n=120, seed=2)
    weight = np.random.default_rng(0).integers(1, 4, 120)
    rows = np.repeat(np.arange(120), weight)
    arrays = (base.features.take(rows), base.action[rows], base.outcome()[rows])
    repeated = DecisionLog.from_arrays(*arrays, unit=rows)
    weighted = DecisionLog.from_arrays(base.features, base.action, base.outcome(), weight=weight)
    effect = np.round(column(base, "noise"), 1)
    one = {r.label: r for r in clan(weighted, effect).rows}
    two = {r.label: r for r in clan(repeated, effect[rows]).rows}
    for label, row in one.items():
        assert row.most == pytest.approx(two[label].most)
        assert row.standardised == pytest.approx(two[label].standardised)
        assert row.difference.stderr == pytest.approx(two[label].difference.stderr, rel=0.05)


def test_units_in_both_groups_pair_the_difference():
    """Two rows a unit, one scored high and one low: the difference's error is that of the paired differences."""
    rng = np.random.default_rng(5)
    unit, x = np.repeat(np.arange(100), 2), np.repeat(rng.normal(size=100), 2) + 0.1 * rng.normal(size=200)
    log = DecisionLog.from_arrays(x[:, None], np.arange(200) // 2 % 2, np.zeros(200), unit=unit)
    row = clan(log, np.tile([1.0, 0.0], 100), share=0.5).rows[0]
    x = log.features.values[:, 0].astype(float)
    pairs = x[::2] - x[1::2]
    assert row.difference.value == pytest.approx(pairs.mean())
    assert row.difference.stderr == pytest.approx(pairs.std(ddof=1) / 10, rel=0.01)


def test_the_table_reads_well():
    log = make_log()
    found = clan(log, column(log, "age"))
    assert found.frame().columns[:3] == ["feature", "level", "most"]
    assert len(found.frame()) == 5
    assert str(found).splitlines()[0] == "the 20% affected most against the 20% affected least"
    sizes = [abs(r.standardised) for r in found.rows]
    assert sizes == sorted(sizes, reverse=True)


def test_what_does_not_fit_is_refused():
    log = make_log()
    for share in (0.0, 0.6, float("nan")):
        with pytest.raises(ParameterError, match="share"):
            clan(log, column(log, "age"), share=share)
    with pytest.raises(ParameterError, match="levels"):
        clan(log, column(log, "age"), levels=0)
    with pytest.raises(DataError, match="scores for"):
        clan(log, np.ones(3))
    with pytest.raises(LeakageError):
        clan(log, Effects.of(column(log, "age").copy(), log.fingerprint))
    three = DecisionLog.from_arrays(np.zeros((30, 1)), np.arange(30) % 3, np.zeros(30))
    with pytest.raises(ActionError, match="none was chosen"):
        clan(three, np.zeros((30, 3)))
    clan(three, np.zeros((30, 3)), action=2)


def test_only_the_eligible_are_compared():
    rng = np.random.default_rng(6)
    x, eligible = rng.normal(size=(200, 1)), np.ones((200, 3), dtype=bool)
    eligible[:100, 2] = False
    action = np.where(np.arange(200) < 100, np.arange(200) % 2, np.arange(200) % 3)
    log = DecisionLog.from_arrays(x, action, rng.normal(size=200), eligible=eligible)
    effect = rng.normal(size=200)
    found, part = clan(log, effect, action=2), clan(log.take(np.arange(100, 200)), effect[100:], action=2)
    assert found.n == 100
    assert str(found) == str(part)
    assert clan(log, effect, action=1).n == 200
    with pytest.raises(ActionError, match="none was chosen"):
        clan(log, effect)
    with pytest.raises(ActionError, match="No row is eligible for '2'"):
        clan(log.take(np.arange(100)), effect[:100], action=2)
