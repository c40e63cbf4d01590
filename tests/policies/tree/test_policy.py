"""The policy tree: known truth, invariances, eligibility, missing values, words, keeping, refusals."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from persuadable.effects.arrays import Effects
from persuadable.effects.scores import action_scores
from persuadable.engine import Trees
from persuadable.errors import (
    ActionError,
    BundleError,
    DataError,
    LeakageError,
    NotFittedError,
    OutcomeError,
    ParameterError,
    PropensityError,
)
from persuadable.log import DecisionLog
from persuadable.policies import ClassificationPolicy, Policy, PolicyTree, net_scores
from persuadable.policies.tree.grow import settled
from persuadable.policies.tree.rules import Branch, Leaf, Split
from persuadable.response import cross_fit_arms
from persuadable.value import policy_value
from persuadable.worlds import RandomisedTrial

SMALL = Trees(n_trees=15, max_depth=2)


def quadrants(n, seed, noise=1.0, shift=0.0):
    """A trial whose best policy is a tree: by x0 ≤ 0.3, then x1 ≤ −0.5 for the first and x2 ≤ 0 for the second."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    first, second, third = x[:, 0] <= 0.3, x[:, 1] <= -0.5, x[:, 2] <= 0
    best = np.where(first, np.where(second, 1, 0), np.where(third, 2, 1))
    mean = np.zeros((n, 3))
    mean[:, 1:] = -0.5
    mean[np.arange(n), best] += np.where(best > 0, 1.5, 0.0)
    action = rng.integers(0, 3, n)
    y = 10 + x[:, 3] + mean[np.arange(n), action] + rng.normal(size=n) * noise
    log = DecisionLog.from_arrays(x, action, y, propensity=np.full((n, 3), 1 / 3))
    return log, mean, best


def grown(n=300, seed=0, arms=3, **settings):
    """A tree grown on scores drawn at random, and its log and scores."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 6, size=(n, 3)).astype(float)
    scores = rng.normal(size=(n, arms)).round(3)
    log = DecisionLog.from_arrays(x, np.arange(n) % arms, rng.normal(size=n))
    return PolicyTree(min_leaf=5, **settings).fit(log, scores=scores), log, scores


def test_a_frame_is_no_log():
    log = grown()[1]
    for policy in (PolicyTree(), ClassificationPolicy()):
        match = rf"a polars frame, not a DecisionLog \({type(policy).__name__}\.fit\)"
        with pytest.raises(ParameterError, match=match):
            policy.fit(log.frame())


def test_leaves_that_do_the_same_are_one():
    tree, log, _ = grown(share=0.0)
    assert isinstance(tree.tree_, Leaf)
    assert [(rule.who, rule.does) for rule in tree.rules()] == [("everybody", log.actions.names[0])]
    assert (tree.leaf_rows_.tolist(), tree.expected_share_) == ([log.n], 0.0)
    for share in (0.1, 0.3, 0.6):
        tree, log, scores = grown(share=share)

        def siblings(node):
            if isinstance(node, Leaf):
                return []
            both = isinstance(node.left, Leaf) and isinstance(node.right, Leaf)
            return [(node.left.index, node.right.index)] if both else siblings(node.left) + siblings(node.right)

        for one, other in siblings(tree.tree_):
            assert (tree.probabilities_[one] != tree.probabilities_[other]).any()
        p = tree.probabilities(log.features, 3)
        assert (p * scores).sum(axis=1).mean() == pytest.approx(tree.worth_)
        assert p[:, 1:].sum(axis=1).mean() == pytest.approx(tree.expected_share_)


def test_too_few_rows_for_a_question_are_told():
    log = grown()[1]
    tree = PolicyTree(min_leaf=99_999).fit(log, scores=np.zeros((log.n, 3)))
    assert "It asks nothing: 300 rows do not make two leaves of min_leaf=99,999." in str(tree)
    assert "every question" not in str(tree)
    assert "asks nothing" not in str(PolicyTree(min_leaf=150).fit(log, scores=np.zeros((log.n, 3))))


def test_a_best_policy_that_is_a_tree_is_found():
    log, *_ = quadrants(4_000, 0)
    fresh, mean, best = quadrants(20_000, 1)
    tree = PolicyTree(trees=SMALL).fit(log)
    root = tree.tree_.split
    assert (root.column, tree.tree_.left.split.column, tree.tree_.right.split.column) == (0, 1, 2)
    assert root.threshold == pytest.approx(0.3, abs=0.05)
    assert tree.tree_.left.split.threshold == pytest.approx(-0.5, abs=0.1)
    assert tree.tree_.right.split.threshold == pytest.approx(0.0, abs=0.1)
    p = tree.probabilities(fresh.features, 3)
    assert p.argmax(axis=1).tolist().count(0) > 0
    regret = (mean[np.arange(len(best)), best] - (p * mean).sum(axis=1)).mean()
    assert regret < 0.05  # of 0.78, what the best gains over nothing


def test_regret_falls_with_rows():
    def regret(n):
        missed = []
        for seed in range(6):
            log, *_ = quadrants(n, seed, noise=3.0)
            fresh, mean, best = quadrants(5_000, 1_000 + seed)
            scores = action_scores(log.outcome() - 10, log.action, log.propensity())
            p = PolicyTree(min_leaf=10, grid=32).fit(log, scores=scores).probabilities(fresh.features, 3)
            missed.append((mean[np.arange(len(best)), best] - (p * mean).sum(axis=1)).mean())
        return np.mean(missed)

    few, some, many = regret(300), regret(3_000), regret(30_000)
    assert few > 2 * some > 4 * many


@pytest.mark.parametrize("seed", range(4))
def test_a_budget_is_spent_exactly_unless_those_left_would_lose(seed):
    for share in (0.05, 0.2, 0.4):
        tree, log, scores = grown(seed=seed, share=share)
        p = tree.probabilities(log.features, 3)
        leaf = tree.leaves(log.features)
        assert 1 - p[:, 0].mean() == pytest.approx(tree.expected_share_)
        assert tree.expected_share_ <= share + 1e-9
        if tree.expected_share_ < share - 1e-9:
            left = [scores[(leaf == i) & (p[:, 0] > 0)] for i in np.unique(leaf)]
            assert all((rows[:, 1:] - rows[:, :1]).sum(axis=0).max() <= 0 for rows in left if len(rows))
        assert tree.price_ > 0
        assert tree.gap_ >= 0
        assert sum(0 < q < 1 for q in np.unique(p[:, 0])) <= 1
    worth = [grown(seed=seed, share=s)[0].worth_ for s in (0.0, 0.1, 0.2, 0.4, 1.0)]
    assert (np.diff(worth) > 0).all()


def test_what_is_reported_is_what_the_probabilities_give():
    for settings in ({}, {"share": 0.2}, {"depth": 3}, {"depth": 1, "share": 0.1}):
        tree, log, scores = grown(**settings)
        p = tree.probabilities(log.features, 3)
        assert tree.worth_ == pytest.approx((p * scores).sum(axis=1).mean())
        assert tree.expected_share_ == pytest.approx(1 - p[:, 0].mean())
        leaf = tree.leaves(log.features)
        assert tree.leaf_shares_ == pytest.approx(np.bincount(leaf) / log.n)
        assert [rule.rows for rule in tree.rules()] == np.bincount(leaf).tolist()
        assert (tree.gap_ is None) == (settings.get("depth", 2) > 2)


def test_weights_count_as_rows():
    rng = np.random.default_rng(0)
    x, scores, times = rng.integers(0, 5, (120, 2)) * 1.0, rng.normal(size=(120, 2)), rng.integers(1, 4, 120)
    one = DecisionLog.from_arrays(x, np.arange(120) % 2, np.zeros(120) + np.arange(120) % 3, weight=times * 1.0)
    again = np.repeat(np.arange(120), times)
    many = DecisionLog.from_arrays(x[again], again % 2, (again % 3) * 1.0)
    weighted = PolicyTree(min_leaf=1, share=0.3).fit(one, scores=scores)
    repeated = PolicyTree(min_leaf=1, share=0.3).fit(many, scores=scores[again])
    assert weighted.worth_ == pytest.approx(repeated.worth_)
    assert weighted.expected_share_ == pytest.approx(repeated.expected_share_)
    assert weighted.price_ == pytest.approx(repeated.price_)


def test_the_order_of_rows_does_not_matter():
    tree, log, scores = grown(share=0.3)
    order = np.random.default_rng(1).permutation(log.n)
    other = PolicyTree(min_leaf=5, share=0.3).fit(log.take(order), scores=scores[order])
    assert other.tree_ == tree.tree_
    assert other.probabilities_ == pytest.approx(tree.probabilities_)


def test_scaled_and_shifted_scores_give_the_same_tree():
    tree, log, scores = grown(share=0.3)
    shift = np.random.default_rng(2).normal(size=(log.n, 1))
    other = PolicyTree(min_leaf=5, share=0.3).fit(log, scores=8 * scores + shift)
    assert other.probabilities(log.features, 3) == pytest.approx(tree.probabilities(log.features, 3))
    assert other.price_ == pytest.approx(8 * tree.price_)


def test_relabelled_treatments_give_the_relabelled_policy():
    tree, log, scores = grown()
    other = PolicyTree(min_leaf=5).fit(log, scores=scores[:, [0, 2, 1]])
    assert other.worth_ == pytest.approx(tree.worth_)
    assert other.probabilities(log.features, 3)[:, [0, 2, 1]] == pytest.approx(tree.probabilities(log.features, 3))


def test_nobody_gets_what_they_may_not_get():
    rng = np.random.default_rng(0)
    n = 400
    x, eligible = rng.integers(0, 4, (n, 2)) * 1.0, rng.random((n, 3)) < 0.6
    eligible[:, 0] = True
    scores = rng.normal(size=(n, 3)) + np.array([0.0, 0.5, 0.5])
    action = np.where(eligible[:, 1], 1, np.where(eligible[:, 2], 2, 0)) * (rng.random(n) < 0.5)
    log = DecisionLog.from_arrays(x, action, rng.normal(size=n), eligible=eligible)
    for share in (1.0, 0.2):
        tree = PolicyTree(min_leaf=5, share=share).fit(log, scores=scores)
        p = tree.probabilities(log.features, 3, eligible)
        assert (p[~eligible] == 0).all()
        assert p.sum(axis=1) == pytest.approx(np.ones(n))
        assert tree.expected_share_ == pytest.approx(1 - p[:, 0].mean())
        assert tree.worth_ == pytest.approx((p * scores).sum(axis=1).mean())
    assert tree.expected_share_ == pytest.approx(0.2)


def test_who_may_not_be_treated_decides_nothing():
    """Ineligible rows with enormous scores: the tree is that of the others."""
    rng = np.random.default_rng(3)
    x = np.tile([0.0, 1.0], 50)[:, None]
    eligible = np.column_stack([np.ones(100, bool), rng.random(100) < 0.5])
    scores = np.column_stack([np.zeros(100), np.where(eligible[:, 1], np.where(x[:, 0] > 0, 1.0, -1.0), -1e6)])
    log = DecisionLog.from_arrays(x, eligible[:, 1] & (np.arange(100) % 3 > 0), np.arange(100.0), eligible=eligible)
    tree = PolicyTree(min_leaf=5).fit(log, scores=scores)
    assert tree.probabilities([[0.0], [1.0]], 2).tolist() == [[1, 0], [0, 1]]


def frame(n=400, seed=0):
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "age": [
                None if hidden else age
                for hidden, age in zip(rng.random(n) < 0.2, rng.integers(18, 80, n), strict=True)
            ],
            "channel": rng.choice(["web", "phone", "shop"], n),
            "mail": rng.choice(["no", "yes"], n),
            "visit": rng.integers(0, 2, n),
        }
    )


def of_frame(seed=0):
    return DecisionLog.from_frame(frame(seed=seed), action="mail", control="no", outcomes="visit")


def test_missing_values_go_where_they_gain():
    log = of_frame()
    age = log.features.values[:, 0]
    for missing in (1.0, -1.0):
        gain = np.where(np.isnan(age), missing, np.where(age <= 40, 1.0, -1.0))
        tree = PolicyTree(depth=1).fit(log, scores=np.column_stack([np.zeros(log.n), gain]))
        assert tree.worth_ == pytest.approx(np.maximum(gain, 0).mean())
        assert tree.tree_.split == Split(0, 40.0, None, missing > 0, True)
        told = pl.DataFrame({"age": [20, 60, None], "channel": ["web"] * 3})
        assert tree.probabilities(told, 2)[:, 1].tolist() == [1, 0, missing > 0]
        assert [rule.who for rule in tree.rules()] == (
            ["(age ≤ 40 or missing)", "age > 40"] if missing > 0 else ["age ≤ 40", "(age > 40 or missing)"]
        )


def test_knowing_nothing_can_be_the_question():
    log = of_frame()
    gain = np.where(np.isnan(log.features.values[:, 0]), 1.0, -1.0)
    tree = PolicyTree(depth=1, min_leaf=10).fit(log, scores=np.column_stack([np.zeros(log.n), gain]))
    assert [(rule.who, rule.action) for rule in tree.rules()] == [("age is known", "no"), ("age is missing", "yes")]


def test_what_was_never_seen_goes_where_more_went():
    """No age was missing among the rows of this log, and nobody came by phone in one branch."""
    told = frame().with_columns(age=pl.col("age").fill_null(50))
    log = DecisionLog.from_frame(told, action="mail", control="no", outcomes="visit")
    age = log.features.values[:, 0]
    tree = PolicyTree(depth=1, min_leaf=10).fit(
        log, scores=np.column_stack([np.zeros(log.n), np.where(age <= 70, 1.0, -1.0)])
    )
    assert tree.tree_.split == Split(0, 70.0, None, True, False)
    assert tree.probabilities(pl.DataFrame({"age": [None], "channel": ["web"]}, strict=False), 2)[0, 1] == 1.0
    assert [rule.who for rule in tree.rules()] == ["age ≤ 70", "age > 70"]


def test_categories_absent_from_a_branch_go_where_more_went():
    """Codes 0 to 3, of which 1 and 3 are not among the rows: they join the larger side, whichever it is."""
    values = np.array([0, 0, 0, 2], dtype=np.float32)[:, None]
    for asked, told in (((0,), (0, 1, 3)), ((0, 1), (0, 1, 3)), ((2,), (2,)), ((2, 3), (2,))):
        split, left = settled(Split(0, None, asked, False), values, "abcd")
        assert split.categories == told
        assert left.tolist() == [0 in asked] * 3 + [2 in asked]
        assert split.missing_left == (0 in asked)


def test_it_is_a_policy_and_its_parameters_are_scikit_learns():
    from sklearn.base import clone

    tree = PolicyTree(depth=1, share=0.2, trees=SMALL)
    assert isinstance(tree, Policy)
    assert clone(tree).get_params()["trees__n_trees"] == 15
    assert clone(tree).set_params(trees__n_trees=3, depth=2).trees.n_trees == 3
    assert tree.fitted_on is None
    assert tree.name == "policy tree of depth 1, budget 20%"
    assert repr(tree) == str(tree)


def test_it_is_not_judged_on_the_rows_it_was_grown_on():
    log, *_ = quadrants(600, 0)
    train, test = log.split(0.5, random_state=0)
    tree = PolicyTree(trees=SMALL).fit(train)
    with pytest.raises(LeakageError, match="policy tree of depth 2"):
        policy_value(train, tree, mu=[0, 0, 0])
    assert policy_value(test, tree, mu=[10, 10, 10]).share > 0


def test_rows_behind_the_scores_count_as_learned_from():
    log, *_ = quadrants(600, 0)
    train, other = log.split(0.5, random_state=0)
    scores = Effects.of(np.random.default_rng(0).normal(size=(train.n, 3)), other.fingerprint)
    tree = PolicyTree().fit(train, scores=scores)
    assert tree.fitted_on.overlap(other.fingerprint) == other.n


def test_decisions_are_drawn_with_the_probabilities():
    tree, log, _ = grown(n=2_000, share=0.15)
    many = np.array([tree.decide(log.features, seed) for seed in range(50)])
    assert (many > 0).mean() == pytest.approx(0.15, abs=0.005)
    p = tree.probabilities(log.features, 3)
    assert (p[np.arange(log.n), many[0]] > 0).all()
    assert (tree.decide(log.features, 0) == many[0]).all()


# -- scores ----------------------------------------------------------------------------------------------------------


def test_scores_are_doubly_robust_and_net():
    world = RandomisedTrial("nonlinear", "real", n_actions=3, costs=[0.2, 0.4], n_features=6, n_categorical=0)
    log = world.sample(400, random_state=0)
    told = {"trees": SMALL, "n_folds": 3}
    gross, cost = (
        np.array(
            [
                [mu[i, a] + (log.action[i] == a) * (y[i] - mu[i, a]) / log.propensity()[i, a] for a in range(3)]
                for i in range(log.n)
            ]
        )
        for y, mu in ((log.outcome(name), cross_fit_arms(log, name, **told)) for name in ("outcome", "cost"))
    )
    assert net_scores(log, **told) == pytest.approx(gross)
    net = net_scores(log, cost="cost", break_even={"treatment 2": 0.5}, **told)
    assert net == pytest.approx(gross - cost - [0, 0, 0.5])
    assert net_scores(log, break_even=0.25, **told) == pytest.approx(gross - [0, 0.25, 0.25])


def test_scores_that_cannot_be_made_are_refused():
    log, *_ = quadrants(90, 0)
    with pytest.raises(OutcomeError, match="both the outcome and its cost"):
        net_scores(log, cost="outcome")
    e = np.full((90, 3), 1 / 3)
    e[log.action != 2] = [0.5, 0.5, 0]
    with pytest.raises(PropensityError, match="nothing was left to chance"):
        net_scores(log.with_propensities(e))
    with pytest.raises(ActionError, match="break_even names 'x'"):
        net_scores(log, break_even={"x": 1.0})


def test_a_break_even_is_the_same_as_scores_less_it():
    log, *_ = quadrants(600, 0)
    told = PolicyTree(break_even=0.4, trees=SMALL, n_folds=2).fit(log)
    given = PolicyTree().fit(log, scores=net_scores(log, trees=SMALL, n_folds=2) - [0, 0.4, 0.4])
    assert told.tree_ == given.tree_
    assert told.worth_ == pytest.approx(given.worth_)


# -- words -----------------------------------------------------------------------------------------------------------


def test_the_tree_says_its_rules():
    log = of_frame()
    age, channel = log.features.values[:, 0], log.features.values[:, 1]
    web = channel == log.features.columns[1].categories.index("web")
    gain = np.where(web, np.where(age > 30, 2.0, -1.0), -3.0)
    tree = PolicyTree(min_leaf=5).fit(log, scores=np.column_stack([np.zeros(log.n), gain]))
    rules = tree.rules()
    treated = [rule for rule in rules if rule.action == "yes"]
    assert len(treated) == 1
    assert sorted(treated[0].conditions) == ["age > 30", "channel is web"]
    assert "channel is web?" in str(tree) or "channel is phone or shop?" in str(tree)
    assert "of which it treats" in str(tree)
    assert "The best of its depth over every question." in str(tree)
    assert "channel is web" in str(rules)
    assert rules.frame().shape == (len(rules), 5)
    assert rules.frame()["share"].sum() == pytest.approx(1)
    assert str(treated[0]).endswith(f"yes ({treated[0].share:.1%})")


def test_lots_are_said():
    tree, *_ = grown(share=0.1)
    assert any("by lot" in rule.does for rule in tree.rules())
    assert "treating one more was worth" in str(tree)


def test_a_tree_that_asks_nothing_says_so():
    _, log, _ = grown()
    tree = PolicyTree().fit(log, scores=np.tile([0.0, 1.0, 2.0], (log.n, 1)))
    assert tree.tree_ == Leaf(0)
    assert [(rule.who, rule.action) for rule in tree.rules()] == [("everybody", "2")]


def test_what_was_only_sampled_is_said():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 2))
    log = DecisionLog.from_arrays(x, np.arange(600) % 2, rng.normal(size=600))
    scores = np.column_stack([np.zeros(600), x[:, 0]])
    coarse = PolicyTree(grid=16).fit(log, scores=scores)
    assert coarse.coarse_ == ("f0", "f1")
    assert "16 quantiles or groups of f0, f1" in str(coarse)
    assert PolicyTree(grid=None, depth=1).fit(log, scores=scores).coarse_ == ()
    assert "a better tree of this depth may exist" in str(PolicyTree(depth=3).fit(log, scores=scores))


# -- keeping ---------------------------------------------------------------------------------------------------------


def test_it_comes_back_the_same_from_json():
    log = of_frame()
    scores = np.random.default_rng(0).normal(size=(log.n, 2))
    tree = PolicyTree(share=0.3, min_leaf=5, trees=SMALL).fit(log, scores=scores)
    text = json.dumps(tree.to_dict(), allow_nan=False)
    back = PolicyTree.from_dict(json.loads(text))
    assert json.dumps(back.to_dict()) == text
    assert (back.probabilities(log.features, 2) == tree.probabilities(log.features, 2)).all()
    assert str(back) == str(tree)
    assert back.fitted_on.same_rows(tree.fitted_on)
    labelled = PolicyTree(break_even={"yes": 0.1}, trees=SMALL, n_folds=2).fit(log)
    assert PolicyTree.from_dict(labelled.to_dict()).break_even == {"yes": 0.1}


def edited(path, value):
    def edit(told):
        *way, last = path
        for key in way:
            told = told[key]
        told[last] = value

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        edited(["kind"], "BudgetPolicy"),
        edited(["format"], 2),
        edited(["tree", "column"], 7),
        edited(["tree", "column"], True),
        edited(["tree", "threshold"], float("inf")),
        edited(["tree", "threshold"], "1"),
        edited(["tree", "missing_left"], 1),
        edited(["tree", "categories"], [0]),
        edited(["tree", "yes"], {}),
        edited(["probabilities", 0], [0.5, 0.4, 0.0]),
        edited(["probabilities", 0], [1.5, -0.5, 0.0]),
        edited(["probabilities"], [[1.0, 0.0, 0.0]]),
        edited(["shares", 0], None),
        edited(["actions"], "012"),
        edited(["columns", 0], ["f0", "shape", []]),
        edited(["coarse"], ["nobody"]),
        edited(["fitted_on", "ids"], "***"),
        edited(["parameters", "share"], 3),
        edited(["parameters", "depth"], 99),
        edited(["parameters", "engine"], None),
        edited(["price"], float("nan")),
    ],
)
def test_what_no_tree_says_is_refused(edit):
    told = json.loads(json.dumps(grown()[0].to_dict()))
    PolicyTree.from_dict(told)
    edit(told)
    with pytest.raises(BundleError, match="damaged or incomplete"):
        PolicyTree.from_dict(told)


def test_a_saved_tree_that_is_too_deep_is_refused():
    told = grown()[0].to_dict()
    node = {"leaf": 0}
    for _ in range(2_000):
        node = {**{k: told["tree"][k] for k in told["tree"]}, "yes": node, "no": {"leaf": 0}}
    told["tree"] = node
    with pytest.raises(BundleError, match="more than 12 levels"):
        PolicyTree.from_dict(told)


def test_categories_come_back_and_are_checked():
    log = of_frame()
    gain = np.where(log.features.values[:, 1] == 0, 1.0, -1.0)
    told = PolicyTree(depth=1).fit(log, scores=np.column_stack([np.zeros(log.n), gain])).to_dict()
    assert isinstance(PolicyTree.from_dict(told).tree_, Branch)
    told["tree"]["categories"] = [3]
    with pytest.raises(BundleError, match="names no categories of it"):
        PolicyTree.from_dict(told)


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"depth": 0}, "depth is 0"),
        ({"depth": 13}, "depth is 13"),
        ({"depth": 2.0}, r"depth is 2\.0"),
        ({"depth": True}, "depth is True"),
        ({"min_leaf": 0}, "min_leaf is 0"),
        ({"lookahead": 3}, "lookahead is 3"),
        ({"grid": 1}, "grid is 1.*None for all"),
        ({"share": 1.1}, r"share is 1\.1"),
        ({"cost": "outcome"}, "cost or a break-even"),
        ({"break_even": 0.1}, "cost or a break-even"),
    ],
)
def test_parameters_outside_their_range_are_refused(settings, told):
    _, log, scores = grown(n=30)
    with pytest.raises(ParameterError, match=told):
        PolicyTree(**settings).fit(log, scores=scores)


def test_scores_that_do_not_fit_are_refused():
    _, log, scores = grown(n=30)
    with pytest.raises(DataError, match=r"shape \(30, 2\), expected \(30, 3\)"):
        PolicyTree().fit(log, scores=scores[:, :2])
    scores[4, 1] = np.nan
    with pytest.raises(DataError, match=r"A score is nan \(row 4, action 1\)"):
        PolicyTree().fit(log, scores=scores)


def test_an_unfitted_tree_decides_nothing():
    tree = PolicyTree()
    for ask in (tree.rules, tree.to_dict, lambda: tree.probabilities([[0.0]], 2), lambda: tree.decide([[0.0]], 0)):
        with pytest.raises(NotFittedError, match="PolicyTree is not fitted"):
            ask()


def test_actions_that_do_not_fit_are_refused():
    tree, log, _ = grown()
    with pytest.raises(ActionError, match="chooses among 3 actions, the log has 2"):
        tree.probabilities(log.features, 2)
    with pytest.raises(ActionError, match="shape"):
        tree.probabilities(log.features, 3, np.ones((2, 3)))
