"""Features that the action changed are found, and others are not."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom

from persuadable import DecisionLog
from persuadable.design import post_treatment
from persuadable.errors import FeatureError, ParameterError
from persuadable.worlds import Ads, RandomisedTrial


def with_exposure(n: int = 20_000) -> DecisionLog:
    """An advertising log whose maker took exposure for a feature."""
    frame = Ads().sample(n, random_state=0, known_propensity=False).frame()
    return DecisionLog.from_frame(
        frame.drop("visit").with_columns(pl.lit(0.1).alias("constant")),
        action="action",
        control="control",
        outcomes="conversion",
        propensity=0.85,
    )


def test_exposure_is_found_and_refused() -> None:
    told = post_treatment(with_exposure())
    assert told.names == ("exposure",)
    suspect = told.suspects[0]
    assert suspect.one_sided
    assert suspect.control_mean == 0 < suspect.treated_mean < 0.15
    assert "one arm never varies" in str(told)
    assert told.frame()["feature"].to_list() == ["exposure"]
    with pytest.raises(FeatureError, match=r"exposure: 0 without, 0\.\d+ under 'treatment'.*treatment=\['exposure'"):
        told.refuse()


def test_z_is_that_of_two_means() -> None:
    """In a completely randomised log: the difference over √(s₁²/n₁ + s₀²/n₀)."""
    rng = np.random.default_rng(0)
    x, action = rng.normal(size=(500, 1)), rng.integers(0, 2, 500)
    x[action == 1] += 1.0
    log = DecisionLog.from_arrays(x, action, rng.normal(size=500), propensity=0.5)
    treated, control = log.features.values[action == 1, 0], log.features.values[action == 0, 0]
    error = np.sqrt(treated.var() / treated.size + control.var() / control.size)
    (suspect,) = post_treatment(log).suspects
    assert suspect.z == pytest.approx((treated.mean() - control.mean()) / error, rel=1e-6)
    assert not suspect.one_sided


@pytest.mark.parametrize("propensity", ["constant", "confounded"])
def test_features_from_before_the_action_raise_no_more_alarms_than_told(propensity: str) -> None:
    """Of 100 logs at level 0.1 at most as many as a Binomial(100, 0.1) has but once in 10,000."""
    world = RandomisedTrial("linear", "real", n_actions=3, propensity=propensity, n_features=8, n_categorical=1)  # type: ignore[arg-type]
    alarms = sum(bool(post_treatment(world.sample(1_500, random_state=k), level=0.1).suspects) for k in range(100))
    assert alarms <= binom.ppf(1 - 1e-4, 100, 0.1)


def test_missing_values_and_categories_can_tell_of_the_action() -> None:
    rng = np.random.default_rng(0)
    n, action = 2_000, rng.integers(0, 2, 2_000)
    frame = pl.DataFrame(
        {
            "age": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
            "answer": np.where((action == 1) & (rng.random(n) < 0.3), np.nan, rng.normal(size=n)),
            "page": np.where((action == 1) & (rng.random(n) < 0.3), "offer", "home"),
            "action": action,
            "y": rng.normal(size=n),
        }
    )
    log = DecisionLog.from_frame(frame, action="action", control=0, outcomes="y")
    told = post_treatment(log)
    assert set(told.names) == {"answer", "page"}
    assert {suspect.value.split(" ")[0] for suspect in told.suspects} == {"answer", "page"}
    assert "answer is missing" in str(told)


def test_rows_of_one_unit_count_as_one() -> None:
    """A feature copied to 20 rows of each unit: their noise is the unit's, not a twentieth of it."""
    rng = np.random.default_rng(1)
    units, times = 60, 20
    x, action = np.repeat(rng.normal(size=(units, 1)), times, axis=0), np.repeat(rng.integers(0, 2, units), times)
    y, unit = rng.normal(size=units * times), np.repeat(np.arange(units), times)
    told = post_treatment(DecisionLog.from_arrays(x, action, y, propensity=0.5, unit=unit), level=0.999)
    alone = post_treatment(DecisionLog.from_arrays(x, action, y, propensity=0.5), level=0.999)
    assert abs(alone.suspects[0].z) == pytest.approx(np.sqrt(times) * abs(_z(told)), rel=1e-3)


def _z(told) -> float:  # type: ignore[no-untyped-def]
    return float(told.suspects[0].z)


def test_the_clean_log_passes() -> None:
    told = post_treatment(Ads().sample(20_000, random_state=0))
    told.refuse()
    assert told.names == ()
    assert "No feature looks changed" in str(told)
    with pytest.raises(ParameterError, match=r"level must lie in \(0, 1\)"):
        post_treatment(Ads().sample(100, random_state=0), level=0)
