"""The path is the best policy of every budget, its numbers are those of that policy, its areas are integrals."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from persuadable.effects import TLearner
from persuadable.engine import Trees
from persuadable.errors import (
    ActionError,
    DataError,
    LeakageError,
    OutcomeError,
    ParameterError,
    PropensityError,
    UnknownName,
)
from persuadable.log import DecisionLog
from persuadable.policies import allocate
from persuadable.policies.hull import hull_steps
from persuadable.report import figure, gains_figure, plot
from persuadable.report.figures import budget_line
from persuadable.value import Estimate, budget_path, compare, qini
from persuadable.value.paths.ladder import Ladder

ACTIONS = ("none", "mail", "call", "gift")
E = np.array([0.4, 0.2, 0.2, 0.2])
MU = np.array([0.5, 1.0, 1.5, 2.0])


def make_log(n=1_500, seed=0, known=True, **roles):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    action = rng.choice(4, size=n, p=E)
    tau = effects(x)
    y = x[:, 2] + tau[np.arange(n), action] + rng.normal(size=n)
    cost = costs(x)[np.arange(n), action] * rng.exponential(size=n)
    propensity = np.broadcast_to(E, (n, 4)) if known else None
    settings = {"action_names": ACTIONS, "propensity": propensity, "cost": "cost"} | roles
    return DecisionLog.from_arrays(x, action, {"margin": y, "cost": cost}, **settings)


def effects(x):
    return np.column_stack([np.zeros(len(x)), 0.4 + x[:, 0], 0.6 + x[:, 1], 1.0 + 0.5 * x[:, 0] - 0.5 * x[:, 1]])


def costs(x):
    return np.column_stack([np.zeros(len(x)), np.exp(0.3 * x[:, 2]), 1.5 + np.exp(0.5 * x[:, 0]), 2.0 + x[:, 1] ** 2])


def make_path(log=None, **settings):
    log = make_log() if log is None else log
    x = log.features.values
    return budget_path(log, effects(x), costs(x), **({"mu": MU} | settings))


def scores_by_hand(log, mu):
    """(n, A) doubly robust scores over doing nothing, row by row."""
    scores = np.tile(mu, (log.n, 1))
    for i, (a, y) in enumerate(zip(log.action, log.outcome("margin"), strict=True)):
        scores[i, a] += (y - mu[a]) / log.propensity()[i, a]
    return scores - scores[:, :1]


def solution(value, cost, budget, allowed):
    """The LP: max Σ v x, Σ c x ≤ n·budget, one action a unit; its value per head and its x (n, A)."""
    n, k = value.shape
    one_each = np.kron(np.eye(n), np.ones(k))
    bounds = [(0, 1 if ok else 0) for ok in allowed.ravel()]
    found = linprog(
        -value.ravel(),
        A_ub=cost.reshape(1, -1),
        b_ub=[n * budget],
        A_eq=one_each,
        b_eq=np.ones(n),
        bounds=bounds,
        method="highs",
    )
    assert found.status == 0
    return -found.fun / n, found.x.reshape(n, k)


@st.composite
def instances(draw):
    """Small allocation problems with ties, zero costs, negative values and costs."""
    n, k = draw(st.integers(1, 7)), draw(st.integers(2, 4))
    numbers = st.integers(-3, 6).map(float)
    value = np.array(draw(st.lists(st.lists(numbers, min_size=k, max_size=k), min_size=n, max_size=n)))
    cost = np.array(draw(st.lists(st.lists(numbers, min_size=k, max_size=k), min_size=n, max_size=n)))
    value[:, 0] = cost[:, 0] = 0.0
    return value, cost


@given(instances(), st.floats(0.0, 1.2))
def test_each_budget_has_the_value_of_the_linear_programme(instance, part):
    value, cost = instance
    allowed = value > 0
    allowed[:, 0] = True
    share = np.full(len(value), 1.0 / len(value))
    ladder = Ladder.of(hull_steps(value, cost, allowed), cost, share)
    budget = part * max(ladder.full, 0.0)
    taken = ladder.paid(budget)
    found = share @ ladder.follow(value).under(ladder.unit, taken)
    spent = share @ ladder.follow(cost).under(ladder.unit, taken)
    best, _ = solution(value, cost, budget, allowed)
    assert found == pytest.approx(best, abs=1e-9)
    assert spent <= budget + 1e-9
    assert np.all(np.diff(ladder.edge) > -1e-12)
    assert np.all(np.diff(ladder.ratio) < 0)


@given(instances(), st.sampled_from([0.0, 0.3, 0.5, 1.0, 1.5, 2.0, 7.0]))
def test_each_price_has_the_argmax_ties_to_the_cheaper(instance, price):
    value, cost = instance
    allowed = value > 0
    allowed[:, 0] = True
    ladder = Ladder.of(hull_steps(value, cost, allowed), cost, np.full(len(value), 1.0 / len(value)))
    numbers = np.broadcast_to(np.arange(value.shape[1], dtype=float), value.shape)
    chosen = ladder.follow(numbers).under(ladder.unit, ladder.worth(price)).round().astype(int)
    for i, given_action in enumerate(chosen):
        net = {a: value[i, a] - price * cost[i, a] for a in np.flatnonzero(allowed[i])}
        best = max(net.values())
        # Exact in binary but for 0.3, where a tie on paper may go either way.
        tied = [a for a, worth in net.items() if worth >= best - 1e-9]
        assert given_action in tied
        if price != 0.3:
            assert cost[i, given_action] == min(cost[i, a] for a in tied)


def test_the_price_is_that_of_the_batch_allocation():
    log = make_log(500)
    value, cost = effects(log.features.values), costs(log.features.values)
    path = budget_path(log, value, cost, mu=MU)
    for budget in (0.1, 0.7, 1.5):
        batch, point = allocate(value, cost, budget=budget * log.n), path.at(budget)
        assert batch.price == pytest.approx(point.price)
        assert batch.bound / log.n == pytest.approx(point.predicted_gain)
        assert path.at_price(batch.price).shares[0] == pytest.approx((batch.decide(value, cost) == 0).mean())


def test_tied_units_enter_together_whatever_their_order():
    log = make_log(200)
    x = np.round(log.features.values)
    value, cost = np.clip(np.round(effects(x)), -2, 2), np.array([0.0, 1.0, 2.0, 3.0])
    shuffled = np.random.default_rng(1).permutation(log.n)
    one = budget_path(log, value, cost, mu=MU)
    other = budget_path(log.take(shuffled), value[shuffled], cost, mu=MU)
    for a, b in zip(one.points, other.points, strict=True):
        assert a.gain.value == pytest.approx(b.gain.value, abs=1e-12)
        assert a.gain.stderr == pytest.approx(b.gain.stderr, abs=1e-12)
        assert a.shares == pytest.approx(b.shares)


def test_numbers_are_those_of_the_best_policy_by_hand():
    """n = 60: the LP's own solution, scored row by row."""
    log = make_log(60)
    x = log.features.values
    value, cost = effects(x), costs(x)
    path = budget_path(log, value, cost, mu=MU, cost_mu=[0.0, 1.0, 2.0, 3.0], budgets=[0.35])
    allowed = value > 0
    allowed[:, 0] = True
    best, chosen = solution(value, cost, 0.35, allowed)
    point = path.points[0]
    assert point.predicted_gain == pytest.approx(best)
    assert point.predicted_spend == pytest.approx(0.35)
    assert point.shares == pytest.approx(chosen.mean(axis=0))
    assert point.gain.value == pytest.approx((chosen * scores_by_hand(log, MU)).sum(axis=1).mean())
    costly = np.tile([0.0, 1.0, 2.0, 3.0], (log.n, 1))
    rows = np.arange(log.n)
    costly[rows, log.action] += (log.cost - costly[rows, log.action]) / E[log.action]
    assert point.spend.value == pytest.approx((chosen * (costly - costly[:, :1])).sum(axis=1).mean())
    assert point.overspend.value == pytest.approx(point.spend.value - 0.35)


def test_baselines_are_paths_of_fewer_choices():
    log = make_log(80)
    x = log.features.values
    value, cost = effects(x), costs(x)
    path = budget_path(log, value, cost, mu=MU, budgets=[0.3])
    assert list(path.baselines) == ["only mail", "only call", "only gift", "average effects"]
    for code, name in enumerate(ACTIONS[1:], start=1):
        allowed = (value > 0) & np.isin(np.arange(4), (0, code))
        allowed[:, 0] = True
        best, chosen = solution(value, cost, 0.3, allowed)
        point = path.baselines[f"only {name}"].points[0]
        assert point.predicted_gain == pytest.approx(best)
        assert point.gain.value == pytest.approx((chosen * scores_by_hand(log, MU)).sum(axis=1).mean())
    # By averages a budget below the best action's cost is that action to a share of everybody, at random.
    average = value.mean(axis=0) / np.maximum(cost.mean(axis=0), 1e-9)
    best = int(average.argmax())
    part = 0.3 / cost[:, best].mean()
    point = path.baselines["average effects"].points[0]
    assert point.shares[best] == pytest.approx(part)
    assert point.gain.value == pytest.approx(part * scores_by_hand(log, MU)[:, best].mean())
    foreseen = {}
    for code, name in enumerate(ACTIONS[1:], start=1):
        allowed = (value > 0) & np.isin(np.arange(4), (0, code))
        allowed[:, 0] = True
        grid = np.linspace(0.0, 0.3, 31)
        foreseen[f"only {name}"] = np.trapezoid([solution(value, cost, b, allowed)[0] for b in grid], grid)
    assert path.best_single == max(foreseen, key=foreseen.get)
    assert path.area().value == path.area(0.0, 0.3).value


def test_two_arms_at_a_unit_cost_are_the_uplift_curve():
    rng = np.random.default_rng(4)
    n = 3_000
    x = rng.normal(size=(n, 2))
    action = (rng.random(n) < 0.3).astype(int)
    score = np.exp(x[:, 0])
    y = x[:, 1] + 0.3 * action * score + rng.normal(size=n)
    unit = np.repeat(np.arange(n // 2), 2)
    for roles in ({}, {"weight": rng.uniform(0.5, 2.0, n)}, {"unit": unit}):
        log = DecisionLog.from_arrays(x, action, y, action_names=("none", "mail"), propensity=0.3, **roles)
        mu = np.column_stack([x[:, 1], x[:, 1] + 0.4])
        path = budget_path(log, np.column_stack([np.zeros(n), score]), {"mail": 1.0}, mu=mu)
        known = qini(log, score, method="dr", mu=mu)
        area = path.area()
        assert area.value == pytest.approx(known.auuc.value, rel=1e-9)
        assert area.stderr == pytest.approx(known.auuc.stderr, rel=2e-3)
        beyond_random = path.area_difference("average effects")
        assert beyond_random.value == pytest.approx(known.coefficient.value, rel=1e-9)
        assert beyond_random.stderr == pytest.approx(known.coefficient.stderr, rel=2e-3)
        assert path.at(0.4).gain.value == pytest.approx(known.curve.at(0.4), rel=0.02)
        at = int(np.abs(known.curve.share - 0.4).argmin())
        assert path.at(float(known.curve.share[at])).gain.stderr == pytest.approx(known.curve.stderr[at], rel=0.01)


@pytest.mark.parametrize("budgets", [(0.0, 1.0), (0.2, 0.5), (0.4, 9.0)])
def test_an_area_is_the_mean_of_its_points(budgets):
    path = make_path(make_log(300))
    lower, upper = budgets
    grid = np.linspace(lower, upper, 3_001)
    middles = (grid[1:] + grid[:-1]) / 2
    gains = [path.climb.gain.at_budget(float(b)) for b in middles]
    assert path.area(lower, upper).value == pytest.approx(np.mean([g.value for g in gains]), abs=2e-5)
    # Its influence is the mean of theirs, but for the window in which a point's slope is measured.
    psi = np.mean([g.psi for g in gains], axis=0)
    assert np.corrcoef(psi, path.climb.gain.mean(lower, upper).psi)[0, 1] > 0.99


def test_differences_are_paired():
    path = make_path()
    other = path.baselines["only gift"]
    apart = path.difference("only gift", 0.8)
    assert apart.value == pytest.approx(path.at(0.8).gain.value - other.at(0.8).gain.value)
    assert apart.stderr < np.hypot(path.at(0.8).gain.stderr, other.at(0.8).gain.stderr)
    assert path.difference(path, 0.8).value == 0.0
    assert path.difference(path, 0.8).stderr == 0.0
    assert path.area_difference(other).value == pytest.approx(path.area().value - other.area(0, path.full).value)


def test_without_a_limit_the_gain_is_that_of_the_policy_as_it_stands():
    log = make_log()
    path = make_path(log)
    best = np.where(effects(log.features.values) > 0, effects(log.features.values), 0.0).argmax(axis=1)
    nobody = np.tile([1.0, 0.0, 0.0, 0.0], (log.n, 1))
    known = compare(log, np.eye(4)[best], nobody, mu=MU).difference
    for point in (path.at(path.full), path.at(1e6), path.at_price(0.0)):
        assert point.gain.value == pytest.approx(known.value)
        assert point.gain.stderr == pytest.approx(known.stderr)


def test_estimated_shares_give_the_interval_of_any_policy_judged_on_them():
    log = make_log(known=False)
    path = make_path(log)
    point = path.at_price(0.4)
    net = np.where(effects(log.features.values) > 0, effects(log.features.values), -np.inf)
    net[:, 0] = 0.0
    chosen = (net - 0.4 * costs(log.features.values)).argmax(axis=1)
    nobody = np.tile([1.0, 0.0, 0.0, 0.0], (log.n, 1))
    known = compare(log, np.eye(4)[chosen], nobody, mu=MU).difference
    assert point.gain.value == pytest.approx(known.value)
    assert point.gain.stderr == pytest.approx(known.stderr)


def test_a_weight_of_two_is_a_row_twice():
    log = make_log(400)
    twice = log.take(np.r_[0:400, 0:400])
    x, rows = log.features.values, np.r_[0:400]
    weighted = make_log(400, weight=np.full(400, 2.0))
    once = budget_path(weighted, effects(x), costs(x), mu=MU)
    doubled = budget_path(twice, effects(x)[np.r_[rows, rows]], costs(x)[np.r_[rows, rows]], mu=MU)
    for a, b in zip(once.points, doubled.points, strict=True):
        assert a.gain.value == pytest.approx(b.gain.value, abs=1e-12)
        assert a.spend.value == pytest.approx(b.spend.value, abs=1e-12)


@pytest.mark.parametrize("repeated", [1, 2])
def test_intervals_are_those_of_the_bootstrap(repeated):
    """Rows, or units of two rows, are drawn again and the path is sorted anew for each draw."""
    n, draws = 1_000, 150
    unit = np.repeat(np.arange(n // repeated), repeated)
    log = make_log(n, seed=11, unit=unit)
    rng, value, cost = np.random.default_rng(7), effects(log.features.values), costs(log.features.values)

    def numbers(rows):
        path = budget_path(log.take(rows), value[rows], cost[rows], mu=MU, cost_mu=np.zeros(4), budgets=[0.4])
        point = path.points[0]
        return [
            *(point.gain, point.spend, path.difference("only gift", 0.4)),
            *(path.area(0, 1), path.area_difference("only gift", 0, 1)),
        ]

    found = []
    for _ in range(draws):
        units = rng.integers(0, n // repeated, n // repeated)
        found.append([e.value for e in numbers((units[:, None] * repeated + np.arange(repeated)).ravel())])
    told = [e.stderr for e in numbers(np.arange(n))]
    # So many draws know a standard error to within 6%.
    assert told == pytest.approx(np.std(found, axis=0, ddof=1).tolist(), rel=0.2)


def test_a_budget_s_price_is_drawn_from_the_rows_and_a_fixed_one_is_not():
    """Scores without noise, Γ = 2·ĉ: a fixed budget's gain is 2·B whatever the rows, a fixed price's is not."""
    rng = np.random.default_rng(3)
    n = 2_000
    x = rng.uniform(0.5, 1.5, size=(n, 1))
    action = (rng.random(n) < 0.5).astype(int)
    cost = np.column_stack([np.zeros(n), x[:, 0]])
    log = DecisionLog.from_arrays(x, action, 2 * x[:, 0] * action, action_names=("none", "mail"), propensity=0.5)
    ranked = np.column_stack([np.zeros(n), rng.uniform(0.1, 1.0, n)])
    path = budget_path(log, ranked, cost, mu=2 * cost)
    point = path.at(0.4)
    assert point.gain.value == pytest.approx(0.8)
    assert point.gain.stderr == pytest.approx(0.0, abs=1e-3)
    fixed = path.at_price(point.price)
    chosen = ranked[:, 1] / x[:, 0] > point.price
    assert fixed.gain.stderr == pytest.approx((2 * x[:, 0] * chosen).std(ddof=1) / n**0.5)
    assert fixed.predicted_spend <= 0.4


def test_predictions_may_be_models_frames_or_stated_numbers():
    train, log = make_log(seed=5), make_log(seed=6)
    trees = Trees(n_trees=5, max_depth=2)
    learner = TLearner(trees=trees).fit(train, outcomes=["margin", "cost"])
    by_model = budget_path(log, learner, learner, mu=MU)
    X = log.features
    by_array = budget_path(log, learner.effect(X, "margin"), learner.effect(X, "cost"), mu=MU)
    assert str(by_model) == str(by_array)
    stated = budget_path(log, learner, {"mail": 1.0, "call": 2.0, "gift": 3.0}, mu=MU)
    assert str(stated) == str(budget_path(log, learner, [0.0, 1.0, 2.0, 3.0], mu=MU))
    with pytest.raises(LeakageError, match="also fitted"):
        budget_path(train, learner, learner, mu=MU)
    with pytest.raises(LeakageError, match="also fitted"):
        budget_path(train, learner.effect(train.features, "margin"), [0, 1, 2, 3], mu=MU)
    other = make_log(seed=7, action_names=("none", "mail", "call", "cash"))
    with pytest.raises(ActionError, match="knows the actions"):
        budget_path(other, learner, learner, mu=MU)
    assert budget_path(log, learner, [0, 1, 2, 3], cost_outcome="cost").points[5].gain.stderr > 0


def test_what_nobody_may_get_is_not_on_the_path():
    log = make_log(600)
    eligible = np.ones((600, 4), bool)
    eligible[:300, 3] = False
    e = np.where(eligible, E, 0.0)
    e /= e.sum(axis=1, keepdims=True)
    taken = np.where(eligible[np.arange(600), log.action], log.action, 0)
    allowed = DecisionLog.from_arrays(
        log.features.values, taken, dict(log.outcomes), action_names=ACTIONS, propensity=e, eligible=eligible
    )
    x = log.features.values
    path = budget_path(allowed, effects(x), costs(x), mu=MU)
    assert path.points[-1].spend is None
    assert 0 < path.points[-1].shares[3] < 0.5
    assert path.climb.ladder.unit[path.climb.ladder.after == 3].min() >= 300
    forgotten = DecisionLog.from_arrays(x, taken, dict(log.outcomes), action_names=ACTIONS, propensity=e)
    with pytest.raises(PropensityError, match="never tried"):
        budget_path(forgotten, effects(x), costs(x), mu=MU)


def test_nothing_worth_doing_is_a_path_that_stays_at_nothing():
    log = make_log(300)
    path = budget_path(log, -np.abs(effects(log.features.values)), [0, 1, 2, 3], mu=MU)
    assert path.full == 0.0
    assert [point.offered for point in path.points] == [0.0]
    assert path.at(5.0).gain.interval == (0.0, 0.0)
    assert "treated" in str(path)
    with pytest.raises(ParameterError, match="nothing is predicted to be worth"):
        path.area()


def test_offers_that_save_money_come_first_and_pay_for_others():
    log = make_log(400)
    x = log.features.values
    value = np.column_stack([np.zeros(400), np.full(400, 0.1), np.full(400, -1.0), 1.0 + np.abs(x[:, 0])])
    path = budget_path(log, value, [0.0, -1.0, -5.0, 1.0], mu=MU)
    free = path.at(0.0)
    assert free.shares == pytest.approx((0.0, 0.5, 0.0, 0.5))
    assert path.climb.ladder.edge[0] == pytest.approx(-1.0)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"value": np.ones((300, 4))}, DataError, "of doing nothing is not 0"),
        ({"value": np.zeros((300, 3))}, DataError, r"shape \(300, 3\)"),
        ({"value": np.full((300, 4), np.nan)}, DataError, "not finite"),
        ({"value": "mail"}, DataError, "not a table of numbers"),
        ({"cost": {"mail": 1.0}}, ActionError, "differ about 'call'"),
        ({"cost": {"mail": 1, "call": 1, "gift": 1, "cash": 1}}, ActionError, "differ about 'cash'"),
        ({"budgets": [-1.0]}, ParameterError, r"budget is -1\.0"),
        ({"budgets": ["much"]}, ParameterError, "budget is 'much'"),
        ({"budgets": [np.inf]}, ParameterError, "budget is inf"),
        ({"budgets": []}, ParameterError, "No budget"),
        ({"alpha": 0.95}, ParameterError, "alpha is 0.95"),
        ({"outcome": "visits"}, OutcomeError, "no outcome 'visits'"),
        ({"cost_outcome": "price"}, OutcomeError, "no outcome 'price'"),
    ],
)
def test_what_cannot_be_used_is_named(change, error, said):
    log = make_log(300)
    told = {"value": effects(log.features.values), "cost": [0, 1, 2, 3], "mu": MU} | change
    with pytest.raises(error, match=said):
        budget_path(log, told.pop("value"), told.pop("cost"), **told)


def test_questions_that_make_no_sense_are_refused():
    path, other = make_path(make_log(300)), make_path(make_log(300, seed=1), name="another")
    assert other.name == "another"
    with pytest.raises(DataError, match="different rows"):
        path.difference(other, 0.5)
    with pytest.raises(DataError, match="judged by 'margin', the other by 'cost'"):
        path.area_difference(make_path(make_log(300), outcome="cost"))
    with pytest.raises(UnknownName, match="no path 'only cash'"):
        path.difference("only cash", 0.5)
    for wrong in ((0.5, 0.5), (1.0, 0.5)):
        with pytest.raises(ParameterError, match="lower < upper"):
            path.area(*wrong)
    with pytest.raises(ParameterError, match="price is -1"):
        path.at_price(-1)
    with pytest.raises(ParameterError, match="no paths of single actions"):
        _ = path.baselines["only mail"].best_single
    with pytest.raises(ParameterError, match="cost_mu= was passed"):
        make_path(make_log(300, cost=None), cost_mu=MU)
    with pytest.raises(ParameterError, match="not a DecisionLog"):
        budget_path(effects(np.zeros((3, 3))), 0, 0)


def test_the_table_and_the_figure_hold_the_path_s_own_numbers():
    path = make_path(make_log(300))
    table = path.frame()
    assert table.height == len(path.points) == 21
    assert table["gain_lower"].to_list() == [point.gain.interval[0] for point in path.points]
    assert table["only call"].to_list() == [point.gain.value for point in path.baselines["only call"].points]
    gap = table["gain"] - table["average effects"]
    assert table["gain over average effects"].to_list() == pytest.approx(gap.to_list())
    shares = np.column_stack([table[f"share of {name}"] for name in ACTIONS])
    assert shares.sum(axis=1) == pytest.approx(np.ones(21))
    band, line, *others = figure(path).data
    assert list(line.y) == table["gain"].to_list()
    assert list(line.x) == table["budget"].to_list()
    assert max(band.y) == pytest.approx(table["gain_upper"].max())
    assert [trace.name for trace in others] == list(path.baselines)
    assert list(others[1].y) == table["only call"].to_list()
    gains = gains_figure(path)
    for name, trace in zip(path.baselines, gains.data, strict=True):
        assert list(trace.y) == table[f"gain over {name}"].to_list()
    assert [trace.line.color for trace in gains.data] == [trace.line.color for trace in others]  # one colour a name
    assert len({trace.line.color for trace in others} | {line.line.color}) == len(others) + 1
    for drawn in (figure(path), gains):
        marked = budget_line(drawn, 0.25)
        assert [(shape.x0, shape.x1) for shape in marked.layout.shapes if shape.x0 is not None][-1] == (0.25, 0.25)
        assert marked.layout.annotations[-1].text == "budget 0.25"
    drawn = plot(path)
    assert drawn.reading
    assert drawn.data is not None
    assert len(drawn.data.rows) == 21
    assert f"{path.points[3].gain.value:+.4g}" in str(path)
    assert str(path.area()) in str(path)


def test_what_two_paths_spend_at_one_budget_is_measured():
    """Where the cheaper path runs out of offers below the budget, it spends less: by how much, rows tell."""
    log = make_log(4000)
    path = make_path(log)
    below, above = 0.1 * path.baselines["only mail"].full, 2.0 * path.full
    for budget in (below, above):
        for name, other in path.baselines.items():
            found = path.spend_difference(name, budget)
            assert found.value == pytest.approx(path.at(budget).spend.value - other.at(budget).spend.value)
            paired = path.climb.spend.at_budget(budget).psi - other.climb.spend.at_budget(budget).psi
            assert found.stderr == pytest.approx(paired.std() / np.sqrt(log.n), rel=1e-3)
    flat = path.frame()
    assert flat["spend over only call"][3] == path.spend_difference("only call", path.points[3].budget).value
    # All that is worth anything costs more than mail alone, as the scores of these very rows tell it.
    costs = path.spend_difference("only mail", above)
    assert costs.value == pytest.approx(path.at(above).spend.value - path.baselines["only mail"].at(above).spend.value)
    assert costs.interval[0] > 0.0
    stated = budget_path(make_log(300, cost=None), np.ones((300, 4)) - np.eye(4)[0], [0, 1, 1, 1], mu=MU)
    with pytest.raises(DataError, match="not both measured by one logged cost"):
        stated.spend_difference("average effects", 0.1)


def test_costs_predicted_below_zero_count_as_zero_where_nothing_can_save_money():
    log = make_log(300)
    action = log.action
    value, cost = np.tile([0.0, 1.0, 1.0, 1.0], (300, 1)), np.tile([0.0, -0.5, 0.2, 1.0], (300, 1))

    def least(paid, predicted=cost):
        told = replace(log, outcomes=log.outcomes | {"cost": paid.astype(np.float64)})
        path = budget_path(told, value, predicted, mu=np.zeros(4), cost_mu=np.zeros(4))
        return path.at_price(1e9).predicted_spend

    assert least(np.where(action > 0, 1.0, 0.0)) == 0.0
    assert least(np.where(action > 0, -1.0, 0.0)) == pytest.approx(-0.5)  # refunds
    assert least(np.ones(300)) == pytest.approx(-0.5)  # doing nothing costs something, which an action may save
    assert least(np.where(action > 0, 1.0, 0.0), cost[0]) == pytest.approx(-0.5)  # stated, and not predicted


def test_a_p_value_is_never_printed_as_0():
    path = make_path(make_log(4000))
    assert "p = 0," not in str(path)
    assert "p < 0.001" in str(Estimate.from_influence(5.0, np.array([-1.0, 1.0] * 200), 0.05, tested=True))


def test_the_best_single_offer_where_offers_are_free():
    """No money is needed for what saves money or costs nothing: the more valuable one is best at a budget of 0."""
    log = make_log(300)
    path = budget_path(log, [0.0, 1.0, 2.0, -1.0], [0.0, -1.0, 0.0, 1.0], mu=np.zeros(4), cost_mu=np.zeros(4))
    assert path.reach == 0.0
    assert path.best_single == f"only {log.actions.names[2]}"


def test_the_walk_meets_every_hull_point_once():
    """All subsets of a small grid of points, against the hull found by trying every price."""
    points = [(c, v) for c in (-1.0, 0.0, 1.0, 2.0) for v in (1.0, 2.0, 4.0)]
    for three in itertools.combinations(points, 3):
        cost = np.array([[0.0, *(c for c, _ in three)]])
        value = np.array([[0.0, *(v for _, v in three)]])
        steps = hull_steps(value, cost, np.ones((1, 4), bool))
        met = [int(steps.base[0]), *steps.after.tolist()]
        met_points = {(cost[0, a], value[0, a]) for a in met}
        best = set()
        for price in (*np.arange(0.013, 4.5, 0.05), 1e6):
            net = value[0] - price * cost[0]
            best.add((cost[0, net.argmax()], value[0, net.argmax()]))
        assert met_points == best
        assert np.all(np.diff(steps.ratio) <= 0)
