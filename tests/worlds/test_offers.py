"""The world of offers: its logs hold what its truth says, and its costs leak."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from persuadable.errors import FeatureError, OutcomeError, ParameterError
from persuadable.policies import AllocationPolicy
from persuadable.worlds import Offers

Z = 4.5
WORLD = Offers(long=True)


@pytest.fixture(scope="module")
def log():
    return WORLD.sample(120_000, 0)


def test_logs_hold_what_the_truth_says(log):
    """Mean outcome of every arm against the exact conditional means of the very units in it."""
    nothing = np.zeros(WORLD.n_actions)
    means = {
        "margin": WORLD.response(log.features),
        "cost": WORLD.cost_effect(log.features),
    }
    for name, exact in means.items():
        for a in range(WORLD.n_actions):
            rows = log.action == a
            off = log.outcome(name)[rows] - exact[rows, a]
            assert abs(off.mean()) <= Z * off.std() / np.sqrt(rows.sum()) + 1e-12, (name, a)
    for name, exact in {
        "purchase": WORLD.purchase_effect(log.features),
        "long margin": WORLD.long_effect(log.features),
    }.items():
        y, control = log.outcome(name), log.action == 0
        for a in range(1, WORLD.n_actions):
            rows = log.action == a
            found = y[rows].mean() - y[control].mean()
            noise = np.hypot(y[rows].std() / np.sqrt(rows.sum()), y[control].std() / np.sqrt(control.sum()))
            assert abs(found - exact[:, a].mean()) <= Z * noise, (name, a)
        assert (exact[:, 0] == nothing[0]).all()


def test_nobody_pays_without_an_offer_and_nobody_redeems_without_buying(log):
    cost, margin = log.cost, log.outcome("margin")
    assert (cost[log.action == 0] == 0.0).all()
    assert (cost[margin == 0.0] == 0.0).all()
    assert (log.outcome("purchase") == (margin > 0.0)).all()
    # The whole basket is margin / 0.4 and no more than the offer's share of it is paid.
    depth = np.array([0.0, *WORLD.depths])[log.action]
    assert (cost <= depth * margin / 0.4 + 1e-9).all()
    assert 0.5 < (cost[log.action > 0] > 0.0).mean() < 1.0


def test_offers_cost_where_they_move_nobody():
    world = Offers("none")
    units = world.features(1000, 0)
    assert (world.effect(units) == 0.0).all()
    assert (world.purchase_effect(units) == 0.0).all()
    assert (world.long_effect(units) == 0.0).all()
    assert (world.cost_effect(units)[:, 1:] > 0.0).all()
    log = world.sample(60_000, 1)
    y, a = log.outcome("margin"), log.action
    spread = y.std() * np.sqrt(2 * 6 / log.n)
    for offer in range(1, 6):
        assert abs(y[a == offer].mean() - y[a == 0].mean()) <= Z * spread


def test_the_truth_is_worth_learning():
    units = WORLD.features(50_000, 3)
    value, cost = WORLD.effect(units), WORLD.cost_effect(units)
    assert (value[:, 0] == 0.0).all()
    assert (cost[:, 0] == 0.0).all()
    assert 0.01 < (value[:, 5] < 0.0).mean() < 0.1, "offers put some off"
    assert (np.diff(np.abs(value[:, 1:]), axis=1) > 0.0).all(), "deeper offers move more"
    assert (np.diff(cost[value[:, 1] > 0, 1:], axis=1) > 0.0).all(), "and cost more"
    best = (value - 0.5 * cost).argmax(axis=1)
    assert (np.bincount(best, minlength=6) > 0.01 * len(best)).all(), "no offer, and each depth, is best for some"
    # Those likeliest to buy bring least for the money.
    active = units.values[:, -1] == 1
    ratio = value[:, 3] / cost[:, 3]
    assert WORLD.response(units)[active, 0].mean() > 1.5 * WORLD.response(units)[~active, 0].mean()
    assert ratio[active].mean() < 0.5 * ratio[~active].mean()


def test_habit_adds_later_and_pulling_forward_takes(log):
    short, long = WORLD.effect(log.features)[:, 3], WORLD.long_effect(log.features)[:, 3]
    segment, moved = log.features.values[:, -1], np.abs(short) > 0.1
    assert (np.abs(long) > np.abs(short))[moved & (segment == 0)].all()
    assert (np.abs(long) < np.abs(short))[moved & (segment == 1)].all()
    assert np.corrcoef(short, long)[0, 1] > 0.8
    assert "long margin" not in Offers().sample(100, 0).outcomes


def test_fewer_occasions_are_more_noise():
    rare, often = Offers(occasions=1), Offers(occasions=16)

    def signal(world):
        log = world.sample(20_000, 0)
        return world.effect(log.features)[:, 5].std() / log.outcome()[log.action == 5].std()

    assert signal(rare) < 0.6 * signal(often)


def test_values_of_policies():
    units = WORLD.features(20_000, 5)
    assert WORLD.value(0, features=units).gain == 0.0
    deepest = WORLD.value(5, features=units)
    assert deepest.gain == pytest.approx(WORLD.effect(units)[:, 5].mean())
    assert deepest.cost == pytest.approx(WORLD.cost_effect(units)[:, 5].mean())
    assert deepest.shares == (0.0, 0.0, 0.0, 0.0, 0.0, 1.0)


def test_the_truth_makes_policies(log):
    truth, half = WORLD.truth(), WORLD.value(5).cost / 4
    oracle = AllocationPolicy(truth, cost="cost", budget=half, evidence=None).calibrate(log)
    worth = WORLD.value(oracle)
    assert worth.cost == pytest.approx(half, rel=0.02)
    for everybody in range(1, 6):
        fixed = WORLD.value(everybody)
        assert worth.gain > min(1.0, half / fixed.cost) * fixed.gain
    np.testing.assert_array_equal(truth.out_of_fold_effect(log, "cost"), WORLD.cost_effect(log.features))
    with pytest.raises(OutcomeError, match="spend"):
        truth.effect(log.features, "spend")


def test_samples_are_reproducible_and_seeds_are_worlds():
    one, two = WORLD.sample(3000, 9), WORLD.sample(3000, 9)
    assert all((one.outcome(k) == two.outcome(k)).all() for k in one.outcomes)
    assert list(one.outcomes) == ["margin", "cost", "purchase", "long margin"]
    assert one.fingerprint.same_rows(two.fingerprint)
    assert not one.fingerprint.overlap(WORLD.sample(3000, 10).fingerprint)
    assert one.actions.names == ("no offer", "5% off", "10% off", "15% off", "20% off", "30% off")
    assert one.features.columns[-1].categories == ("new", "active", "lapsing", "churned")
    np.testing.assert_array_equal(WORLD.effect(one.features), WORLD.effect(one.features.frame()))
    assert not np.allclose(WORLD.effect(one.features), replace(WORLD, seed=1).effect(one.features))
    assert hash(WORLD) == hash(replace(WORLD))
    with pytest.raises(FeatureError):
        WORLD.effect(one.features.values[:, :4])


def test_arms_have_the_shares_asked_for():
    world = Offers(depths=(0.1, 0.4), shares=(0.5, 0.3, 0.2))
    log = world.sample(50_000, 0)
    assert log.propensity()[0] == pytest.approx([0.5, 0.3, 0.2])
    got = np.bincount(log.action, minlength=3) / log.n
    assert got == pytest.approx([0.5, 0.3, 0.2], abs=Z * 0.5 / np.sqrt(log.n))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"surface": "wavy"}, "surface='wavy'"),
        ({"depths": ()}, "depths"),
        ({"depths": (0.2, 0.1)}, "depths"),
        ({"depths": (0.2, 1.0)}, "depths"),
        ({"shares": (0.5, 0.5)}, "6 positive shares"),
        ({"shares": (0.5, 0.1, 0.1, 0.1, 0.1, 0.0)}, "positive"),
        ({"effect_scale": -1.0}, "effect_scale"),
        ({"occasions": 0}, "occasions"),
        ({"n_features": 6}, "n_features"),
    ],
)
def test_wrong_parameters_are_refused_with_a_remedy(wrong, said):
    with pytest.raises(ParameterError, match=said) as caught:
        Offers(**wrong)
    assert caught.value.remedy
    assert caught.value.where == "worlds.Offers"


def test_samples_need_rows():
    with pytest.raises(ParameterError, match="at least 2"):
        Offers().sample(1)
    with pytest.raises(ParameterError, match="at least 1"):
        Offers().features(0)
