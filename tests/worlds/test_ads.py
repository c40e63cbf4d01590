"""The advertising trial: its logs hold what its truth says, and it is a funnel with exposure inside."""

from __future__ import annotations

import numpy as np
import pytest

from persuadable import DecisionLog
from persuadable.errors import FeatureError, OutcomeError, ParameterError
from persuadable.worlds import Ads

Z = 4.5
WORLD = Ads()
SHARES = {"Persuadable": 0.12, "Sure Thing": 0.08, "Lost Cause": 0.74, "Do-Not-Disturb": 0.06}


@pytest.fixture(scope="module")
def log() -> DecisionLog:
    return WORLD.sample(400_000, 0)


def test_logs_hold_what_the_truth_says(log: DecisionLog) -> None:
    """Every outcome in every arm and kind, against the exact chances of the very people in it."""
    kinds = WORLD.types(log.features)
    for name in ("conversion", "visit", "exposure"):
        exact, y = WORLD.response(log.features, name), log.outcome(name)
        for a in (0, 1):
            for kind in SHARES:
                rows = (log.action == a) & (kinds == kind)
                p = exact[rows, a]
                noise = np.sqrt((p * (1 - p)).sum())
                assert abs(y[rows].sum() - p.sum()) <= Z * noise, (name, a, kind)
    np.testing.assert_allclose(WORLD.effect(log.features)[:, 0], 0)


def test_it_is_a_funnel_in_which_only_the_treated_are_exposed(log: DecisionLog) -> None:
    assert (log.outcome("conversion") <= log.outcome("visit")).all()
    assert not log.outcome("exposure")[log.action == 0].any()
    assert 0.05 < log.outcome("exposure")[log.action == 1].mean() < 0.15


def test_the_treated_who_saw_nothing_do_what_the_untreated_do(log: DecisionLog) -> None:
    """Given the features; so the effect is what exposure changes, times how many are exposed."""
    x, y = log.features, log.outcome("visit")
    unseen = (log.action == 1) & (log.outcome("exposure") == 0)
    p = WORLD.response(x, "visit")[unseen, 0]
    assert abs(y[unseen].sum() - p.sum()) <= Z * np.sqrt((p * (1 - p)).sum())


def test_it_is_as_rare_and_as_often_treated_as_promised(log: DecisionLog) -> None:
    assert abs(log.action.mean() - 0.85) <= Z * np.sqrt(0.85 * 0.15 / log.n)
    for world in (WORLD, Ads(treated_share=0.3, conversion_rate=0.01, n_features=9, seed=3)):
        people = world.features(400_000, 1)
        rate = world.response(people) @ world.shares
        assert abs(rate.mean() - world.conversion_rate) <= Z * rate.std() / np.sqrt(len(people)) + 2e-3 * rate.mean()
    np.testing.assert_allclose(log.propensity()[0], [0.15, 0.85])


def test_there_are_four_kinds_with_effects_of_their_own() -> None:
    people = WORLD.features(200_000, 2)
    kinds, effect, response = WORLD.types(people), WORLD.effect(people)[:, 1], WORLD.response(people)
    for kind, share in SHARES.items():
        assert abs((kinds == kind).mean() - share) <= Z * np.sqrt(share * (1 - share) / len(people))
    by = {kind: effect[kinds == kind] for kind in SHARES}
    assert by["Persuadable"].min() > 0 > by["Do-Not-Disturb"].max()
    assert by["Persuadable"].mean() > 0.005
    assert by["Do-Not-Disturb"].mean() < -0.003
    # Sure Things and Lost Causes are moved less than a tenth as much as the persuadable, and differ in their risk.
    assert max(np.abs(by["Sure Thing"]).mean(), np.abs(by["Lost Cause"]).mean()) < 0.1 * by["Persuadable"].mean()
    assert response[kinds == "Sure Thing", 0].mean() > 20 * response[kinds == "Lost Cause", 0].mean()
    # A break-even effect of 0.1 to 0.2 points per head parts the persuadable from the rest.
    assert max(by["Sure Thing"].max(), by["Lost Cause"].max()) < 0.001 < np.quantile(by["Persuadable"], 0.01)


def test_a_seed_is_a_log_and_another_world_s_seed_another_world() -> None:
    first, again, other = (WORLD.sample(500, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.features.values, again.features.values)
    np.testing.assert_array_equal(first.outcome("visit"), again.outcome("visit"))
    assert not np.array_equal(first.features.values, other.features.values)
    assert not np.array_equal(WORLD.types(first.features), Ads(seed=1).types(first.features))
    np.testing.assert_array_equal(WORLD.outcomes(first.features, first.action, 5)["visit"].shape, (500,))


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    people = WORLD.features(1_000, 0)
    whole = WORLD.response(people)
    monkeypatch.setattr("persuadable.worlds.ads._BLOCK", 77)
    np.testing.assert_array_equal(WORLD.response(people), whole)


def test_the_value_of_treating_all_is_the_mean_effect() -> None:
    people = WORLD.features(10_000, 0)
    told = WORLD.value(1, features=people, outcome="visit")
    assert told.gain == pytest.approx(WORLD.effect(people, "visit")[:, 1].mean())
    assert WORLD.value(0, n=1_000).gain == 0.0


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"treated_share=1.0 is out of range"):
        Ads(treated_share=1.0)
    with pytest.raises(ParameterError, match="conversion_rate"):
        Ads(conversion_rate=0.5)
    with pytest.raises(ParameterError, match="n_features"):
        Ads(n_features=8)
    with pytest.raises(OutcomeError, match="There is no outcome 'sale'"):
        WORLD.effect(WORLD.features(3, 0), "sale")
    with pytest.raises(ParameterError, match="at least 2 decisions"):
        WORLD.sample(1)
    with pytest.raises(ParameterError, match="at least 1"):
        WORLD.features(0)
    with pytest.raises(FeatureError):
        WORLD.effect(np.zeros((3, 4)))
