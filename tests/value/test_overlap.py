"""Logs of policies that were certain for some: what can be judged is judged, what cannot is refused in one way."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from persuadable.design import balance, resolve
from persuadable.effects import DRLearner, Learner, RLearner, SLearner, TLearner, XLearner, out_of_fold_effects
from persuadable.engine import Trees
from persuadable.errors import PropensityError
from persuadable.log import DecisionLog
from persuadable.policies import BudgetPolicy, RandomPolicy, TreatAll, TreatNone
from persuadable.response import cross_fit_arms
from persuadable.study import StudyPlan, run_study
from persuadable.value import (
    blp,
    budget_values,
    compare,
    compare_many,
    compare_rankings,
    crosscheck,
    deciles,
    evaluate_ranking,
    gates,
    policy_value,
    qini,
    stability,
    toc,
    uplift_scores,
)

SMALL = Trees(n_trees=40, max_depth=2)
EFFECT = 0.7


def served(n: int = 4000, seed: int = 0, sure: bool = True) -> DecisionLog:
    """The log of a threshold on x0: above 0.5 treated for sure, below −0.5 not, between by lot with chance 0.4."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    p = np.where(x[:, 0] > 0.5, 1.0, np.where(x[:, 0] < -0.5, 0.0, 0.4)) if sure else np.full(n, 0.4)
    w = (rng.random(n) < p).astype(int)
    y = 2 * x[:, 0] + EFFECT * w + rng.normal(size=n)
    return DecisionLog.from_arrays(x, w, {"y": y, "c": 0.2 * w}, propensity=p, cost="c")


LOG = served()
SCORES = LOG.features.values[:, 1].astype(float)

EFFECTS: dict[str, Callable[[DecisionLog], Any]] = {
    "uplift_scores": uplift_scores,
    "dr scores": lambda log: uplift_scores(log, method="dr", mu=np.zeros((log.n, 2))),
    "qini": lambda log: qini(log, SCORES[: log.n]),
    "bootstrap": lambda log: qini(log, SCORES[: log.n], interval="bootstrap", n_resamples=5),
    "evaluate_ranking": lambda log: evaluate_ranking(log, SCORES[: log.n]),
    "compare_rankings": lambda log: compare_rankings(log, SCORES[: log.n], -SCORES[: log.n]),
    "toc": lambda log: toc(log, SCORES[: log.n]),
    "deciles": lambda log: deciles(log, SCORES[: log.n]),
    "gates": lambda log: gates(log, SCORES[: log.n]),
    "blp": lambda log: blp(log, SCORES[: log.n]),
    "stability": lambda log: stability(log, SCORES[: log.n]),
    "resolve": resolve,
    "resolve estimated": lambda log: resolve(log, "estimated"),
    "resolve constant": lambda log: resolve(log, "constant"),
}


@pytest.mark.parametrize("what", EFFECTS)
def test_an_effect_is_asked_only_where_there_was_a_choice(what: str) -> None:
    sure = int((np.abs(LOG.features.values[:, 0]) > 0.5).sum())
    with pytest.raises(
        PropensityError, match=rf"In {sure:,} of the 4,000 rows '0' or .* propensity 0.*log.overlapping\("
    ):
        EFFECTS[what](LOG)
    EFFECTS[what](LOG.overlapping())


@pytest.mark.parametrize("kind", [SLearner, TLearner, XLearner, RLearner, DRLearner])
@pytest.mark.parametrize("propensity", ["auto", "estimated"])
def test_learners_refuse_and_learn_from_the_rest(kind: type[Learner], propensity: Any) -> None:
    learner = kind(trees=SMALL, propensity=propensity)
    with pytest.raises(PropensityError, match=r"log\.overlapping\(\)"):
        learner.fit(LOG)
    lots = LOG.overlapping()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        average = np.asarray(learner.fit(lots).effect(lots))[:, 1].mean()
    # About 1,500 rows, residual standard deviation 1 after the baseline: s.e. about 1/√(1500·0.4·0.6) = 0.053.
    assert abs(average - EFFECT) < 0.25


def test_studies_and_second_opinions_refuse_too() -> None:
    with pytest.raises(PropensityError, match=r"log\.overlapping\(\)"):
        run_study(LOG, StudyPlan(learners=("dr",), n_resamples=0, progress=False))
    with pytest.raises(PropensityError, match=r"log\.overlapping\(\)"):
        crosscheck(LOG[:2000], LOG[2000:], SCORES[2000:])


def test_several_treatments_teach_where_each_was_possible() -> None:
    """Each unit had one of two treatments to be drawn: no row says anything of the other, and none is NaN."""
    rng = np.random.default_rng(1)
    n = 6000
    x = rng.normal(size=(n, 2))
    best = np.where(x[:, 1] > 0, 1, 2)
    w = np.where(rng.random(n) < 0.5, best, 0)
    e = np.zeros((n, 3))
    e[:, 0] = e[np.arange(n), best] = 0.5
    y = x[:, 0] + np.array([0.0, 0.5, 1.0])[w] + rng.normal(scale=0.5, size=n)
    log = DecisionLog.from_arrays(x, w, y, propensity=e)
    for learner in (TLearner(trees=SMALL), XLearner(trees=SMALL), DRLearner(trees=SMALL), RLearner(trees=SMALL)):
        learner.fit(log)
        for effect in (learner.effect(log), out_of_fold_effects([learner], log)[0]):
            assert np.isfinite(effect).all()
            found = [np.asarray(effect)[best == a, a].mean() for a in (1, 2)]
            assert found == pytest.approx([0.5, 1.0], abs=0.12)
    with pytest.raises(PropensityError, match=r"log\.overlapping\('2'\)"):
        uplift_scores(log, action=2)
    pair = log.overlapping(2)
    assert pair.n == (best == 2).sum()
    assert uplift_scores(pair, action=2).mean() == pytest.approx(1.0, abs=0.15)


def test_the_policy_that_was_served_is_worth_what_came_of_it() -> None:
    """With π = e every weight is 1: the value is the mean outcome, and its standard error that of a mean."""
    y, own = LOG.outcome(), LOG.propensity()
    for method in ("ips", "snips"):
        found = policy_value(LOG, own, method=method)
        assert found.value == pytest.approx(y.mean())
        assert found.stderr == pytest.approx(y.std(ddof=1) / np.sqrt(LOG.n))
    mu = np.array([0.3, 1.1])
    by_hand = own @ mu + (y - mu[LOG.action])
    assert policy_value(LOG, own, mu=mu).value == pytest.approx(by_hand.mean())
    assert np.isfinite(policy_value(LOG, own).value)


def test_a_policy_that_differs_only_where_lots_were_drawn_is_judged_exactly() -> None:
    """Treating all of those drawn by lot: IPS counts their treated 1/0.4 times and everybody sure once."""
    lot = np.abs(LOG.features.values[:, 0]) <= 0.5
    wanted = np.where(lot, 1.0, LOG.propensity()[:, 1])
    table = np.stack([1 - wanted, wanted], axis=1)
    y, w = LOG.outcome(), LOG.action == 1
    by_hand = np.where(lot, y * w / 0.4, y).mean()
    assert policy_value(LOG, table, method="ips").value == pytest.approx(by_hand)
    gain = compare(LOG, table, LOG.propensity(), mu=cross_fit_arms(LOG, trees=SMALL)).difference
    assert abs(gain.value - 0.6 * EFFECT * lot.mean()) < 4 * gain.stderr
    assert gain.stderr < 0.05


@pytest.mark.parametrize("policy", [TreatAll(), TreatNone(), RandomPolicy(0.5)], ids=lambda p: p.name)
@pytest.mark.parametrize("method", ["dr", "ips", "snips"])
def test_what_was_never_tried_has_no_value(policy: Any, method: str) -> None:
    with pytest.raises(
        PropensityError, match=r"In [\d,]+ of 4,000 rows .* takes an action whose logged propensity is 0"
    ):
        policy_value(LOG, policy, method=method, mu=np.zeros(2) if method == "dr" else None)
    for judge in (compare_many, lambda log, p, **_: budget_values(log, SCORES, mu=np.zeros(2))):
        with pytest.raises(PropensityError, match="logged propensity is 0"):
            judge(LOG, policy, mu=np.zeros(2))
    assert np.isfinite(policy_value(LOG.overlapping(), policy, method=method).value)


def test_the_threshold_of_a_budget_needs_a_choice_or_a_model() -> None:
    """The very policy that was served, its threshold drawn from these rows: what the next unit would have brought
    only a response model can say, for it was never tried."""
    log = LOG.take(np.abs(LOG.features.values[:, 0]) > 0.5)

    class ByFirst:
        fitted_on, actions_ = served(n=50, seed=9).fingerprint, log.actions

        def effect(self, X: Any, outcome: str | None = None) -> Any:
            return np.stack([np.zeros(len(X)), 3 + X.values[:, 0].astype(float)], axis=1)

    policy = BudgetPolicy(ByFirst(), share=float((log.action == 1).mean())).calibrate(log)
    np.testing.assert_allclose(policy.probabilities(log.features, 2), log.propensity(), atol=1e-9)
    with pytest.raises(PropensityError, match=r"method='ips' cannot tell what moving the threshold would change.*'dr'"):
        policy_value(log, policy, method="ips")
    assert policy_value(log, policy, mu=cross_fit_arms(log, trees=SMALL)).value == pytest.approx(log.outcome().mean())


def test_balance_compares_the_rows_with_a_choice() -> None:
    found, by_hand = balance(LOG), balance(LOG.overlapping())
    assert found.p_value > 0.001
    assert found.shares_p_value > 0.001
    for ours, theirs in zip(
        found.rows, sorted(by_hand.rows, key=lambda r: [q.feature for q in found.rows].index(r.feature)), strict=True
    ):
        assert ours.treated_mean == pytest.approx(theirs.treated_mean)
        assert ours.control_mean == pytest.approx(theirs.control_mean)
    with pytest.raises(PropensityError, match=r"No row compares '1' with '0'"):
        balance(LOG.take(np.abs(LOG.features.values[:, 0]) > 0.5))


def test_known_zeros_are_not_clipped_into_chances() -> None:
    e = np.tile([[0.5, 0.5, 0.0], [0.5, 0.0, 0.5]], (50, 1))
    log = DecisionLog.from_arrays(np.zeros((100, 1)), np.tile([0, 2, 1, 0], 25), np.zeros(100), propensity=e)
    found = resolve(log, clip=0.05)
    np.testing.assert_array_equal(found.values, e)
    assert found.clipped == (0, 0, 0)
    assert found.lowest == (0.5, 0.5, 0.5)


def test_certain_controls_teach_the_response_of_a_policy_value() -> None:
    """Nothing was left to chance at all: responses can still be learned, and the served policy still be judged."""
    log = LOG.take(np.abs(LOG.features.values[:, 0]) > 0.5)
    mu = cross_fit_arms(log, trees=SMALL)
    assert np.isfinite(mu).all()
    assert policy_value(log, log.propensity()).value == pytest.approx(log.outcome().mean())
