"""Support: effective rows and detectable differences by hand, and what becomes of actions that are too thin."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from persuadable import DecisionLog
from persuadable.design import Support, support
from persuadable.design.depths import promising, proposed
from persuadable.errors import ActionError, DataError, FeatureError, OutcomeError, ParameterError, PropensityError

NAMES = ("none", "5%", "10%", "15%", "20%", "call")
DOSE = {"5%": 5.0, "10%": 10.0, "15%": 15.0, "20%": 20.0}
Z = 1.959964 + 0.841621  # of a two-sided test at 5% with a power of 80%


def counted(rows: dict[str, int], seed: int = 0, effect: dict[str, float] | None = None, **roles: Any) -> DecisionLog:
    """A log with exactly so many rows of each action, drawn with these shares."""
    rng = np.random.default_rng(seed)
    action = np.repeat(np.arange(len(rows)), list(rows.values()))
    n = action.size
    y = rng.normal(size=n) + np.array([(effect or {}).get(label, 0.0) for label in rows])[action]
    stage = rng.choice(["active", "new"], n, p=[0.3, 0.7])
    frame = pl.DataFrame({"x": rng.normal(size=n), "stage": stage})
    share = {label: count / n for label, count in rows.items()}
    return DecisionLog.from_arrays(frame, action, {"y": y}, action_names=tuple(rows), **{"propensity": share} | roles)


def verdicts(found: Support) -> dict[str, str]:
    return {row.label: row.verdict for row in found.actions}


# -- what is counted -------------------------------------------------------------------------------------------------


def test_constant_propensities_count_every_row_once() -> None:
    log = counted({"none": 1_000, "5%": 600, "10%": 500})
    found = support(log)
    assert [(row.rows, row.effective, row.control) for row in found.actions] == [
        (600, pytest.approx(600), pytest.approx(1_000)),
        (500, pytest.approx(500), pytest.approx(1_000)),
    ]
    y, a = log.outcome(), log.action
    for code, row in enumerate(found.actions, start=1):
        here = y[(a == code) | (a == 0)]
        assert row.detectable == pytest.approx(Z * here.std() * math.sqrt(1 / 1_000 + 1 / row.rows), rel=1e-5)
        assert row.effect == pytest.approx(y[a == code].mean() - y[a == 0].mean())
        assert row.stderr == pytest.approx(
            math.sqrt(y[a == code].var(ddof=1) / row.rows + y[a == 0].var(ddof=1) / 1_000)
        )


def test_the_printed_table_goes_by_dose_and_the_others_come_last() -> None:
    rows = {"none": 900, "call": 500, "20%": 500, "5%": 500, "10%": 500}
    dose = {"5%": 5.0, "10%": 10.0, "20%": 20.0}
    lines = str(support(counted(rows), dose=dose)).splitlines()
    assert [line.split()[0] for line in lines[2:6]] == ["5%", "10%", "20%", "call"]


def test_unequal_propensities_count_fewer_effective_rows() -> None:
    rng = np.random.default_rng(1)
    n = 4_000
    e = np.where(rng.random(n) < 0.5, 0.1, 0.8)
    action = (rng.random(n) < e).astype(int)
    weight = rng.uniform(1, 3, n)
    y = rng.normal(size=n)
    log = DecisionLog.from_arrays(rng.normal(size=(n, 1)), action, y, propensity=e, weight=weight)
    (row,) = support(log).actions
    w = weight[action == 1] / e[action == 1]
    assert row.effective == pytest.approx(w.sum() ** 2 / (w**2).sum())
    w0 = weight[action == 0] / (1 - e[action == 0])
    assert row.control == pytest.approx(w0.sum() ** 2 / (w0**2).sum())
    assert row.effect == pytest.approx(np.average(y[action == 1], weights=w) - np.average(y[action == 0], weights=w0))
    assert row.effective < 0.6 * row.rows


def test_the_standard_error_is_how_much_the_effect_varies_where_chances_go_with_the_outcome() -> None:
    """Those with much to lose are treated often: the few others among them count for many, and differ most."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(150):
        x = rng.normal(size=1_000).repeat(2)
        e = np.clip(1 / (1 + np.exp(-1.8 * x)), 0.05, 0.95)
        y, unit = 4 * x + 0.5 * rng.normal(size=2_000), np.arange(1_000).repeat(2)
        action = (rng.random(2_000) < e).astype(int)
        log = DecisionLog.from_arrays(x[:, None], action, y, propensity=e, unit=unit)
        (row,) = support(log).actions
        found.append((row.effect, row.stderr))
    effect, stderr = np.array(found).T
    assert stderr.mean() == pytest.approx(effect.std(), rel=0.15)


def test_rows_of_a_missing_segment_are_in_none() -> None:
    log = counted({"none": 600, "5%": 600})
    labels = np.where(np.arange(1_200) % 3 == 0, np.nan, 7.0)
    mixed: list[Any] = [None if np.isnan(label) else "seven" for label in labels]
    for given, name in ((labels, "7.0"), (mixed, "seven")):
        (cell,) = support(log, given).cells
        assert (cell.segment, cell.rows) == (name, 400)


def test_rows_of_a_unit_say_the_same() -> None:
    rng = np.random.default_rng(2)
    action, y = rng.integers(0, 2, 900), rng.normal(size=900)
    once = support(DecisionLog.from_arrays(np.zeros((900, 1)), action, y, propensity=0.5)).actions[0]
    unit = np.arange(900).repeat(3)
    log = DecisionLog.from_arrays(np.zeros((2_700, 1)), action.repeat(3), y.repeat(3), propensity=0.5, unit=unit)
    thrice = support(log).actions[0]
    assert thrice.rows == 3 * once.rows
    assert thrice.effective == pytest.approx(once.effective)
    assert thrice.detectable == pytest.approx(once.detectable)


def test_only_rows_with_a_choice_count() -> None:
    rng = np.random.default_rng(3)
    n = 1_500
    eligible = np.ones((n, 3), dtype=np.bool_)
    eligible[:500, 2] = False
    e = eligible / eligible.sum(axis=1, keepdims=True)
    action = (rng.random(n)[:, None] >= e.cumsum(axis=1)[:, :-1]).sum(axis=1)
    log = DecisionLog.from_arrays(np.zeros((n, 1)), action, rng.normal(size=n), propensity=e, eligible=eligible)
    everybody, some = support(log).actions
    assert some.rows == (action == 2).sum()
    assert some.control == pytest.approx((action[500:] == 0).sum())
    both = 1 / e[action == 0, 0]
    assert everybody.control == pytest.approx(both.sum() ** 2 / (both**2).sum())


def test_a_rate_that_was_never_seen_is_not_known_to_be_0() -> None:
    n = 1_000
    action = np.arange(n) % 2
    y = np.zeros(n)
    y[0] = 1.0  # one sale among the control
    log = DecisionLog.from_arrays(np.zeros((n, 1)), action, y, propensity=0.5)
    (row,) = support(log).actions
    assert 0.005 < row.detectable < 0.05
    action = np.r_[np.zeros(995, dtype=int), np.ones(5, dtype=int)]
    found = support(DecisionLog.from_arrays(np.zeros((n, 1)), action, np.arange(n) % 2, propensity=0.005))
    assert found.actions[0].detectable == math.inf  # five rows find no difference in a rate of a half
    assert "its 5 effective rows find no difference at all" in str(found)


def test_effects_come_with_intervals_that_hold_the_truth() -> None:
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(400):
        e = np.where(rng.random(700) < 0.5, 0.2, 0.6)
        action = (rng.random(700) < e).astype(int)
        y = e + action * (0.5 + e) + rng.exponential(size=700)
        (row,) = support(DecisionLog.from_arrays(np.zeros((700, 1)), action, y, propensity=e)).actions
        held += abs(row.effect - 0.9) <= 1.96 * row.stderr
    assert 0.92 <= held / 400 <= 0.985  # Hájek's weights are estimated too, so rather too wide than too narrow


# -- keep, pool, prune -----------------------------------------------------------------------------------------------


def test_thin_neighbours_are_pooled_and_thin_others_pruned() -> None:
    log = counted({"none": 4_000, "5%": 3_000, "10%": 190, "15%": 240, "20%": 3_000, "call": 70})
    found = support(log, dose=DOSE)
    assert verdicts(found) == {"5%": "keep", "10%": "pool", "15%": "pool", "20%": "keep", "call": "prune"}
    assert [row.members for row in found.kept] == [("5%",), ("10%", "15%"), ("20%",)]
    assert found.doses == {"5%": 5.0, "10% | 15%": pytest.approx((190 * 10 + 240 * 15) / 430), "20%": 20.0}
    told = str(found)
    assert "pool with 15%" in told
    assert "10%, 15% count as one action, '10% | 15%': together 430 effective rows" in told
    assert "'call' is left out: its 70 effective rows find nothing below" in told


def test_the_nearer_neighbour_is_taken_and_pooling_goes_on() -> None:
    log = counted({"none": 2_000, "a": 100, "b": 900, "c": 100, "d": 150})
    found = support(log, dose={"a": 1.0, "b": 9.0, "c": 10.0, "d": 30.0})
    # a and c are the thinnest: a has b alone; c is nearer to b; d's only neighbour is then that pool.
    assert [row.members for row in found.kept] == [("a", "b", "c", "d")]
    found = support(log, dose={"c": 1.0, "a": 2.0, "d": 3.0, "b": 40.0}, least=200)
    assert [row.members for row in found.kept] == [("c", "a", "d"), ("b",)]
    assert [row.label for row in found.kept] == ["c | a | d", "b"]


def test_without_an_axis_the_thin_are_pruned() -> None:
    found = support(counted({"none": 2_000, "5%": 1_000, "10%": 399, "15%": 400}))
    assert verdicts(found) == {"5%": "keep", "10%": "prune", "15%": "keep"}
    assert found.doses == {}


def test_an_axis_too_thin_altogether_is_pruned() -> None:
    log = counted({"none": 2_000, "5%": 100, "10%": 100})
    found = support(log, dose={"5%": 5, "10%": 10})
    assert verdicts(found) == {"5%": "prune", "10%": "prune"}
    assert "No action is left beside doing nothing" in str(found)
    with pytest.raises(ActionError, match="No action has support enough"):
        found.apply(log)
    with pytest.raises(ParameterError, match="No action kept has a dose"):
        found.expand()


def test_what_is_worth_finding_decides_too() -> None:
    log = counted({"none": 5_000, "5%": 1_000, "10%": 4_000})
    small, large = support(log).actions
    between = (small.detectable + large.detectable) / 2
    assert verdicts(support(log, worth=between)) == {"5%": "prune", "10%": "keep"}
    assert verdicts(support(log, worth=small.detectable * 1.01)) == {"5%": "keep", "10%": "keep"}


def test_a_thin_control_is_said() -> None:
    assert "'none' is thin itself, 90 effective rows" in str(support(counted({"none": 90, "5%": 2_000})))
    assert "thin itself" not in str(support(counted({"none": 900, "5%": 2_000})))


@pytest.mark.parametrize("seed", range(25))
def test_whatever_the_log_what_is_kept_has_enough(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = [f"offer {d}" for d in range(rng.integers(2, 7))]
    log = counted({"none": 800} | {label: int(rng.geometric(1 / 300)) for label in labels}, seed)
    doses = dict(zip(labels, rng.permutation(100)[: len(labels)].tolist(), strict=True))
    found = support(log, dose=doses, least=300)
    assert all(row.enough and row.effective >= 300 for row in found.kept)
    on_axis = sorted(doses, key=lambda label: doses[label])
    for row in found.kept:
        first = on_axis.index(row.members[0])
        assert list(row.members) == on_axis[first : first + len(row.members)]  # neighbours, in order
    members = [label for row in found.kept for label in row.members]
    assert sorted(members) == sorted(label for label, verdict in verdicts(found).items() if verdict != "prune")
    if sum(row.rows for row in found.actions) >= 300:
        assert sorted(members) == sorted(labels)  # the axis as a whole has enough, so nobody is left out


# -- by segment ------------------------------------------------------------------------------------------------------


def test_cells_are_the_support_within_a_segment() -> None:
    log = counted({"none": 3_000, "5%": 1_000, "10%": 500})
    found = support(log, "stage")
    stage = log.features.frame()["stage"].to_numpy()
    assert [(cell.segment, cell.action) for cell in found.cells] == [
        (segment, action) for segment in ("active", "new") for action in ("5%", "10%")
    ]
    for cell in found.cells:
        here = stage == cell.segment
        (alone,) = (row for row in support(log.take(here)).actions if row.label == cell.action)
        assert cell.rows == alone.rows == (here & (log.action == log.actions.index(cell.action))).sum()
        assert cell.effective == pytest.approx(alone.effective)
        assert cell.detectable == pytest.approx(alone.detectable)
        assert cell.enough == (cell.effective >= 400)
    assert support(log, stage).cells == found.cells
    assert "3 of 4 segments × actions have too few effective rows to stand alone: active × 5%" in str(found)
    assert found.cells_frame().shape == (4, 6)
    assert found.frame()["label"].to_list() == ["5%", "10%"]
    assert found.kept_frame()["effective"].to_list() == pytest.approx([1_000, 500])
    assert support(log).cells_frame().columns == found.cells_frame().columns


# -- the log after it ------------------------------------------------------------------------------------------------


def varying(n: int = 60_000, *, known: bool = True) -> tuple[DecisionLog, NDArray[Any]]:
    """Doses whose propensities depend on x, and each action's mean effect."""
    rng = np.random.default_rng(6)
    x = rng.normal(size=n)
    raw = np.column_stack(
        [np.full(n, 4.0), 2 + np.tanh(x), 0.05 + 0.02 * np.tanh(x), np.full(n, 0.05), np.full(n, 0.01)]
    )
    e = raw / raw.sum(axis=1, keepdims=True)
    action = (rng.random(n)[:, None] >= e.cumsum(axis=1)[:, :-1]).sum(axis=1)
    effect = np.array([0, 0.5, 1.0, 2.0, 9.0])
    y = x + effect[action] + rng.normal(size=n)
    return (
        DecisionLog.from_arrays(
            x[:, None], action, y, action_names=("none", "5%", "10%", "15%", "call"), propensity=e if known else None
        ),
        e,
    )


def test_the_log_after_pooling_and_pruning() -> None:
    log, e = varying()
    found = support(log, dose={"5%": 5, "10%": 10, "15%": 15}, least=900)
    assert [row.members for row in found.kept] == [("5%",), ("10%", "15%")]
    after = found.apply(log)
    assert after.actions.names == ("none", "5%", "10% | 15%")
    kept = log.action != 4
    assert after.n == kept.sum()
    np.testing.assert_array_equal(after.action, np.array([0, 1, 2, 2])[log.action[kept]])
    rest = 1 - e[kept, 4]
    np.testing.assert_allclose(
        after.propensity(), np.column_stack([e[kept, 0], e[kept, 1], e[kept, 2] + e[kept, 3]]) / rest[:, None]
    )
    again = support(after, least=900)
    assert verdicts(again) == {"5%": "keep", "10% | 15%": "keep"}
    # The pool's effect is that of its members as the log draws them.
    mixed = (e[:, 2] * 1.0 + e[:, 3] * 2.0) / (e[:, 2] + e[:, 3])
    pool = again.actions[1]
    assert pool.effect == pytest.approx(mixed.mean(), abs=4 * pool.stderr)
    assert pool.stderr < 0.1


def test_a_log_with_enough_stays_as_it_is() -> None:
    log = counted({"none": 1_000, "5%": 1_000})
    assert support(log).apply(log) is log


def test_shares_that_were_not_logged_add_up_too() -> None:
    log = counted({"none": 1_000, "5%": 250, "10%": 250}, propensity=None)
    after = support(log, dose={"5%": 5, "10%": 10}).apply(log)
    assert after.propensities is None
    np.testing.assert_allclose(after.propensity(), np.tile([2 / 3, 1 / 3], (1_500, 1)))


def test_eligibility_for_a_pool_is_that_for_a_member() -> None:
    rng = np.random.default_rng(7)
    n = 3_000
    eligible = np.ones((n, 3), dtype=np.bool_)
    eligible[: n // 2, 1] = False
    eligible[n // 2 : 2 * n // 3, 2] = False
    action = np.array([rng.choice(np.flatnonzero(row)) for row in eligible])
    log = DecisionLog.from_arrays(
        np.zeros((n, 1)), action, rng.normal(size=n), action_names=("none", "5%", "10%"), eligible=eligible
    )
    after = support(log, dose={"5%": 5, "10%": 10}, least=1_000).apply(log)
    assert after.eligible is not None
    assert after.eligible.all()
    shares = log.shares()
    np.testing.assert_allclose(after.propensity(), np.column_stack([shares[:, 0], shares[:, 1:].sum(axis=1)]))
    assert after.propensity_source == "estimated"


# -- where to look next ----------------------------------------------------------------------------------------------


def test_the_promising_may_be_the_best_and_may_bring_something() -> None:
    points = [("a", 5.0, 0.2, 0.1), ("b", 10.0, 1.0, 0.1), ("c", 15.0, 0.9, 0.1), ("d", 20.0, 0.5, 0.1)]
    assert promising(points, 0.05) == [1, 2]
    assert promising([("a", 5.0, -0.5, 0.1), ("b", 10.0, -0.3, 0.1)], 0.05) == []
    assert promising([("a", 5.0, -0.5, 0.1), ("b", 10.0, -0.1, 0.1)], 0.05) == [1]


def test_depths_are_proposed_around_the_promising() -> None:
    points = [("a", 5.0, 0.2, 0.1), ("b", 10.0, 1.0, 0.1), ("c", 20.0, 0.9, 0.1)]
    found = proposed(points, [1, 2], {}, 400, 0, math.inf)
    assert [(d.dose, d.why, d.beside) for d in found] == [
        (7.5, "between", "b"),
        (15.0, "between", "b"),
        (30.0, "beyond", "c"),
    ]
    assert [d.dose for d in proposed(points, [1, 2], {}, 400, 0, 25)] == [7.5, 15.0]
    assert [d.dose for d in proposed(points, [0], {}, 400, 0, 25)] == [2.5, 7.5]  # doing nothing is depth 0
    minus = [("low", -10.0, 1.0, 0.1), ("high", 10.0, 0.1, 0.1)]
    assert [d.dose for d in proposed(minus, [0], {}, 400, -math.inf, 25)] == [-20.0, -5.0]


def test_a_promising_pool_is_taken_apart_first() -> None:
    log = counted(
        {"none": 4_000, "5%": 3_000, "10%": 190, "15%": 240, "20%": 3_000},
        effect={"5%": 0.1, "10%": 1.0, "15%": 1.0, "20%": 0.1},
    )
    found = support(log, dose=DOSE).expand(10)
    assert [(d.dose, d.why) for d in found[:2]] == [(10.0, "apart"), (15.0, "apart")]
    assert [d.rows for d in found[:2]] == pytest.approx([210, 160])
    middle = (190 * 10 + 240 * 15) / 430
    assert [d.dose for d in found[2:]] == pytest.approx([(middle + 5) / 2, (middle + 20) / 2])
    assert str(found[0]) == "10, apart from what it is pooled with in '10% | 15%': 210 effective rows"
    assert len(support(log, dose=DOSE).expand(1)) == 1


def test_where_nothing_helps_there_is_nothing_to_try() -> None:
    log = counted({"none": 2_000, "5%": 2_000, "10%": 2_000}, effect={"5%": -1.0, "10%": -2.0})
    assert support(log, dose={"5%": 5, "10%": 10}).expand() == ()


def test_rows_for_a_new_depth_find_what_is_worth_finding() -> None:
    log = counted({"none": 4_000, "5%": 3_000, "10%": 3_000}, effect={"10%": 0.5})
    found = support(log, dose={"5%": 5, "10%": 10}, worth=0.1)
    (depth, *_) = found.expand()
    assert Z * found.sd * math.sqrt(1 / depth.rows + 1 / 4_000) == pytest.approx(0.1, rel=1e-5)
    few = counted({"none": 700, "5%": 30_000}, effect={"5%": 0.5})
    poor = support(few, dose={"5%": 5}).expand()[0]
    assert poor.rows == 400


# -- refusals --------------------------------------------------------------------------------------------------------


def test_propensities_of_the_actions_taken_will_do_where_nothing_is_pooled() -> None:
    rng = np.random.default_rng(8)
    action = rng.integers(0, 2, 1_000)
    e = rng.uniform(0.3, 0.7, 1_000)
    log = DecisionLog.from_arrays(np.zeros((1_000, 1)), action, rng.normal(size=1_000), taken_propensity=e)
    (row,) = support(log).actions
    w = 1 / e[action == 1]
    assert row.effective == pytest.approx(w.sum() ** 2 / (w**2).sum())
    with pytest.raises(PropensityError):
        support(log, dose={"1": 5.0})


def test_what_is_refused() -> None:
    log = counted({"none": 500, "5%": 500, "10%": 500})
    refused: list[tuple[type[Exception], str, Any]] = [
        (ParameterError, "not a DecisionLog", lambda: support(log.frame())),
        (ParameterError, "least is 0", lambda: support(log, least=0)),
        (ParameterError, "least is '400'", lambda: support(log, least="400")),  # type: ignore[arg-type]
        (ParameterError, "worth is -1", lambda: support(log, worth=-1)),
        (ParameterError, "power is 2", lambda: support(log, power=2)),
        (ActionError, "no action '7%'", lambda: support(log, dose={"7%": 7})),
        (ActionError, "is the control", lambda: support(log, dose={"none": 0})),
        (ActionError, "same dose", lambda: support(log, dose={"5%": 5, "10%": 5})),
        (ParameterError, "dose of '5%' is nan", lambda: support(log, dose={"5%": float("nan")})),
        (FeatureError, "no feature 'phase'", lambda: support(log, "phase")),
        (FeatureError, "'x' is a number", lambda: support(log, "x")),
        (DataError, r"segments has shape \(3,\)", lambda: support(log, ["a", "b", "c"])),
        (OutcomeError, "no outcome 'z'", lambda: support(log, outcome="z")),
        (ParameterError, "n is 0", lambda: support(log, dose={"5%": 5}).expand(0)),
        (ActionError, "no action '5%'", lambda: support(log).apply(counted({"none": 5, "8%": 5, "9%": 5}))),
    ]
    for kind, said, act in refused:
        with pytest.raises(kind, match=said):
            act()
    flat = DecisionLog.from_arrays(np.zeros((4, 1)), [0, 1, 0, 1], np.ones(4), propensity=0.5)
    with pytest.raises(OutcomeError, match="is 1 in every row"):
        support(flat)
