"""Our off-policy estimators beside obp's on the same arrays: what it said is recorded in tests/value/golden/obp.json.

Where obp's environment is there (``python -m persuadable.peers obp``) it is asked again.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import persuadable as ps
from persuadable import DecisionLog, datasets, peers
from persuadable.value.ope import DM, DR, IPS, SNDR, SNIPS, DRos, SwitchDR, continuous, slate
from persuadable.value.ope.intervals import interval_of

GOLDEN = Path(__file__).parents[1] / "value" / "golden"
_spec = importlib.util.spec_from_file_location("golden_make_obp", GOLDEN / "make_obp.py")
assert _spec is not None
assert _spec.loader is not None
make = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)
RECORDED = json.loads((GOLDEN / "obp.json").read_text(encoding="utf-8"))
needs_obp = pytest.mark.skipif(not peers.is_built("obp"), reason="obp has no environment here")
#: Both are sums of some hundred products in another order: equal but for rounding.
SAME = {"rel": 1e-10, "abs": 1e-12}

OURS = (DM(), IPS(), IPS(clip=3), SNIPS(), DR(), DR(clip=3), SNDR(), SwitchDR(2), SwitchDR(0), DRos(4), DRos(np.inf))


def log_of(rounds, **propensities) -> DecisionLog:
    """The rounds as a log; obp sees no features in them."""
    features = np.zeros((rounds.action.size, 1), dtype=np.float32)
    return DecisionLog.from_arrays(features, rounds.action, rounds.outcome, control=None, **propensities)


def test_every_shared_estimator_is_compared():
    assert [str(one) for one in OURS] == list(make.ROUND_ESTIMATORS)
    assert len(RECORDED["values"]) == len(make.asked()[1])


@pytest.mark.parametrize("case", make.ROUND_CASES)
def test_rounds_are_worth_what_obp_says(case):
    rounds = make.rounds(case)
    found = ps.value.estimate(
        log_of(rounds, propensity=rounds.logged), rounds.candidate, estimators=OURS, q_hat=rounds.q_hat
    )
    for name in make.ROUND_ESTIMATORS:
        assert found[name].value == pytest.approx(RECORDED["values"][f"{case}: {name}"], **SAME), name


@pytest.mark.parametrize("case", make.ROUND_CASES)
def test_the_propensity_of_the_action_taken_is_all_they_need(case):
    rounds = make.rounds(case)
    taken = np.take_along_axis(rounds.logged, rounds.action[:, None], 1)[:, 0]
    found = ps.value.estimate(
        log_of(rounds, taken_propensity=taken), rounds.candidate, estimators=OURS, q_hat=rounds.q_hat
    )
    for name in make.ROUND_ESTIMATORS:
        assert found[name].value == pytest.approx(RECORDED["values"][f"{case}: {name}"], **SAME), name


def test_slates_are_worth_what_obp_says():
    one = make.slates()

    def shown(table):
        return np.take_along_axis(table, one.items[:, :, None], 2)[:, :, 0]

    candidate, logged = shown(one.candidate), shown(one.logged)
    terms = {}
    for name, estimator in (
        ("standard", slate.standard_ips),
        ("independent", slate.independent_ips),
        ("interaction", slate.interaction_ips),
    ):
        terms[name] = estimator(one.rewards, candidate, logged)
        terms[f"{name}, normalised"] = estimator(one.rewards, candidate, logged, self_normalised=True)
    terms["cascade-dr"] = slate.cascade_dr(one.rewards, one.items, one.candidate, logged, one.q_hat)
    assert sorted(terms) == sorted(make.SLATE_ESTIMATORS)
    for name, found in terms.items():
        assert interval_of(found).value == pytest.approx(RECORDED["values"][f"slates: {name}"], **SAME), name


@pytest.mark.parametrize("shape", make.KERNELS)
def test_doses_are_worth_what_obp_says(shape):
    """obp cuts no kernel off at a bound, and takes q̂(x, τ) for the dose given too."""
    one = make.doses()
    kernel = continuous.Kernel(make.BANDWIDTH, shape)
    given = (one.outcome, one.dose, one.candidate, one.density, kernel)
    terms = {
        "ips": continuous.kernel_ips(*given),
        "snips": continuous.kernel_snips(*given),
        "dr": continuous.kernel_dr(*given, q_logged=one.q_hat, q_candidate=one.q_hat),
    }
    assert list(terms) == list(make.DOSE_ESTIMATORS)
    for name, found in terms.items():
        assert interval_of(found).value == pytest.approx(RECORDED["values"][f"doses: {name}, {shape}"], **SAME), name


@needs_obp
def test_obp_says_today_what_was_recorded():
    values, version = make.answered()
    assert version == RECORDED["obp"] == peers.version("obp")
    assert values == pytest.approx(RECORDED["values"], rel=1e-10)


@needs_obp
@pytest.mark.parametrize(("policy", "campaign"), [("random", "men"), ("bts", "women")])
def test_the_open_bandit_log_holds_what_obp_reads(policy, campaign):
    script = Path(__file__).with_name("read_open_bandit.py")
    importer = str(Path(peers.__file__).with_name("obp_estimates.py"))
    told = {"policy": policy, "campaign": campaign, "importer": importer}
    theirs = peers.call("obp", script, {}, told, threads=1)
    log = datasets.load("open-bandit", policy=policy, campaign=campaign)
    labels = np.array([int(label) for label in log.features.columns[0].categories])
    position = labels[log.features.values[:, 0].astype(int)] - 1
    ours = np.column_stack([log.action, log.outcome(), position, log.taken_propensity()])
    found = np.column_stack([theirs[name] for name in ("action", "reward", "position", "pscore")])
    # obp sorts by time, and rows of the same moment change places when it does.
    np.testing.assert_allclose(ours[np.lexsort(ours.T)], found[np.lexsort(found.T)], rtol=1e-12)
    assert (ours[:, :3] == found[:, :3]).all(axis=1).mean() > 0.99
