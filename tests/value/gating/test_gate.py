"""Every code passes and fails where it should, and the decision follows from the checks."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import persuadable as ps
from persuadable.errors import DataError, OutcomeError, ParameterError
from persuadable.log import DecisionLog
from persuadable.policies import RandomPolicy, RankPolicy
from persuadable.value import Guardrail
from persuadable.value.gating.checks import CODES, TESTS, Check
from persuadable.value.gating.gate import decide
from persuadable.value.gating.rules import GateRules

N = 4_000


def make(effect=0.5, seed=0, n=N, e=0.5, true=None, **more):
    """A two-arm log whose treatment changes a standard normal outcome by ``effect``."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    treat = np.full(n, e) if np.isscalar(e) else e(x)
    drawn = treat if true is None else true(x)
    action = (rng.random(n) < drawn).astype(int)
    y = x[:, 0] + effect * action + rng.normal(size=n)
    cost = np.where(action == 1, 1.0, 0.0) + 0.1 * rng.normal(size=n)
    outcomes = {"value": y, "cost": cost, "before": x[:, 0] + rng.normal(size=n)}
    table = np.column_stack([1 - treat, treat])
    return DecisionLog.from_arrays(x, action, outcomes, propensity=table, cost="cost", **more)


def q_of(log, effect=0.5):
    base = np.asarray(log.features.values[:, 0], dtype=np.float64)
    return np.column_stack([base, base + effect])


def run(log, share=(0.9, 0.1), **more):
    ours, theirs = (np.tile([1 - s, s], (log.n, 1)) for s in share)
    return ps.value.gate(log, ours, theirs, q_hat=more.pop("q_hat", q_of(log)), **more)


def statuses(verdict):
    return {one.code: one.status for one in verdict.checks}


def test_a_good_candidate_on_a_sound_log_goes():
    verdict = run(make(), placebo=["before"])
    assert verdict.decision == "GO"
    assert verdict.difference.value == pytest.approx(0.8 * 0.5, abs=5 * verdict.difference.stderr)
    assert verdict.experiment is None
    assert statuses(verdict) == dict.fromkeys(CODES, "pass") | dict.fromkeys(("OPE-101", "OPE-502"), "not-applicable")
    weights = verdict.diagnostics.candidate, verdict.diagnostics.baseline
    assert verdict["OPE-302"].measured == pytest.approx(min(1, 2 * min(one.p_value for one in weights)))
    assert "OPE-501" in verdict.reasons[0]
    assert "Λ*" in verdict.reasons[1]


def test_a_bad_candidate_is_stopped():
    verdict = run(make(effect=-0.5), q_hat=q_of(make(), -0.5))
    assert verdict.decision == "NO_GO"
    assert verdict["OPE-501"].status == "fail"
    assert verdict["OPE-501"].remedy


def test_what_the_log_cannot_tell_becomes_an_experiment_of_the_right_size():
    log = make(effect=0.01)
    verdict = run(log, q_hat=q_of(log, 0.01), rules=GateRules(worthwhile=0.1, monitoring="fixed"))
    assert verdict.decision == "EXPERIMENT"
    assert verdict["OPE-501"].status == "warn"
    plan = verdict.experiment
    # Among those the policies treat differently (0.8 of all) a unit's outcome has variance 1 about the model's
    # prediction, so N = 0.8 · (1/½ + 1/½) · ((1.96 + 0.84)/0.1)².
    assert plan.units == pytest.approx(0.8 * 4 * (2.8016 / 0.1) ** 2, rel=0.1)
    assert plan.arms.active == pytest.approx(0.8)
    assert plan.arms.reduction == pytest.approx(0.5, abs=0.05)


def test_without_a_worthwhile_difference_it_looks_for_what_this_log_could_not_tell():
    log = make(effect=0.01)
    verdict = run(log, q_hat=q_of(log, 0.01))
    half = 1.959964 * verdict.difference.stderr
    assert verdict.experiment.effect == pytest.approx(max(abs(verdict.difference.value), half))
    broken = run(make(true=lambda x: np.full(len(x), 0.6)), rules=GateRules(margin=0.1))
    assert broken.experiment.effect == pytest.approx(broken.difference.value)  # as far above the margin as it seems
    worse = run(make(effect=-0.5, true=lambda x: np.full(len(x), 0.6)), rules=GateRules(margin=0.1))
    assert worse.experiment.effect == pytest.approx(0.1 + (0.1 - worse.difference.value))
    loose = run(make(effect=-0.01), q_hat=q_of(make(), -0.01), rules=GateRules(margin=-0.02))
    assert loose.experiment.margin == -0.02
    assert loose.experiment.effect > -0.02


def test_the_proposed_experiment_is_held_against_the_gates_margin():
    """A difference of 0.15 is worth something and the margin is 0.5: no readout of that experiment may ship it."""
    log = make(effect=0.6)
    rules = GateRules(margin=0.5, worthwhile=0.6, monitoring="fixed")
    verdict = run(log, q_hat=q_of(log, 0.6), rules=rules)
    assert verdict.decision == "EXPERIMENT"
    plan = verdict.experiment
    assert (plan.margin, plan.effect) == (0.5, 0.6)
    # Among those the policies treat differently (0.8 of all) a unit's outcome has variance 1 about the prediction, and
    # 0.6 must be told from 0.5: N = 0.8 · (1/½ + 1/½) · ((1.96 + 0.84)/(0.6 − 0.5))².
    assert plan.units == pytest.approx(0.8 * 4 * (2.8016 / 0.1) ** 2, rel=0.1)
    assert "to lie above the margin of 0.5" in str(verdict)
    assert json.loads(verdict.to_json())["experiment"]["margin"] == 0.5
    rng = np.random.default_rng(0)
    for effect, decision in ((0.15, "STOP"), (0.5, "UNDECIDED"), (0.8, "SHIP")):
        arm = rng.integers(0, 2, plan.units)
        y = effect * arm + rng.normal(size=plan.units)
        trial = DecisionLog.from_arrays(np.zeros((plan.units, 1)), arm, y, propensity=0.5)
        assert ps.value.readout(trial, plan=plan).decision == decision


def test_a_worthwhile_difference_lies_above_the_margin():
    with pytest.raises(ParameterError, match=r"worthwhile is 0\.01, and the margin to be beaten 0\.06"):
        GateRules(margin=0.06, worthwhile=0.01)
    assert GateRules(margin=-0.01, worthwhile=0.0).worthwhile == 0.0


def test_an_experiment_is_proposed_even_where_the_log_says_little_of_its_arms():
    """A difference no rate allows, and an outcome that never varied where the policies differ."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(1_000, 2))
    action = rng.integers(0, 2, 1_000)
    y = (x[:, 0] < 0) * (rng.random(1_000) < 0.5)
    log = DecisionLog.from_arrays(x, action, y.astype(float), propensity=0.5)
    ours, theirs = np.tile([0.1, 0.9], (1_000, 1)), np.tile([0.9, 0.1], (1_000, 1))
    plan = ps.value.gate(log, ours, theirs, q_hat=np.zeros(2), rules=GateRules(worthwhile=0.7)).experiment
    assert (plan.arms.rate, plan.effect) == (None, 0.7)
    ours[x[:, 0] < 0] = theirs[x[:, 0] < 0]
    plan = ps.value.gate(log, ours, theirs, q_hat=rng.normal(size=(1_000, 2)), rules=GateRules(margin=0.0)).experiment
    assert plan.arms.baseline_sd == pytest.approx(y.std())
    assert plan.arms.active == pytest.approx(0.8 * (x[:, 0] >= 0).mean())


@pytest.mark.parametrize("tried", [0, 1, 2, 3, 4])
def test_a_handful_of_rows_that_did_what_the_candidate_does_leads_to_an_experiment(tried):
    """Too few to learn from, or to fit a line through: the gate says so, and how noisy arms are it reads off all."""
    rng = np.random.default_rng(0)
    n = 1_001
    x, y, q = rng.normal(size=(n, 2)), rng.normal(size=n), rng.normal(size=(n, 2))
    action = (np.arange(n) >= n - max(tried, 1)).astype(int)
    log = DecisionLog.from_arrays(x, action, {"value": y, "cost": y + 1}, propensity=0.003)
    rows = np.arange(n if tried else n - 1)  # a part of a log may have lost an arm
    log, q = log.take(rows), q[rows]
    rules = GateRules(guardrails=(Guardrail("cost", 1.0, "lower"),))
    verdict = run(log, share=(1.0, 0.0), q_hat=q, rules=rules)
    assert (verdict["OPE-202"].status, verdict.decision) == ("fail", "EXPERIMENT")
    assert verdict["OPE-202"].measured == pytest.approx(tried)
    assert ("snips" in verdict.diagnostics.agreement.estimates) == (tried > 0)
    assert verdict.experiment.arms.baseline_sd == pytest.approx(log.outcome().std())


def test_a_margin_must_be_beaten():
    verdict = run(make(), rules=GateRules(margin=0.39))
    assert verdict.decision == "EXPERIMENT"
    assert run(make(), rules=GateRules(margin=1.0)).decision == "NO_GO"


@pytest.mark.parametrize(
    ("rail", "status", "decision"),
    [
        (Guardrail("cost", 1.0, "lower"), "pass", "GO"),  # it rises by 0.8
        (Guardrail("cost", 0.5, "lower"), "fail", "NO_GO"),
        (Guardrail("cost", 0.8, "lower"), "warn", "EXPERIMENT"),
        (Guardrail("before", 0.0), "warn", "EXPERIMENT"),
        (Guardrail("before", 0.5), "pass", "GO"),
        (Guardrail("cost", 10.0, "lower", relative=True), "pass", "GO"),  # the baseline's is 0.1
        (Guardrail("cost", 5.0, "lower", relative=True), "fail", "NO_GO"),
    ],
)
def test_guardrails(rail, status, decision):
    verdict = run(make(), rules=GateRules(guardrails=(rail,)))
    assert (verdict["OPE-502"].status, verdict.decision) == (status, decision)
    assert rail.outcome in verdict["OPE-502"].title


def test_an_action_never_tried_blocks_beyond_the_limit_and_warns_below_it():
    log = make(e=lambda x: np.where(x[:, 1] > 0, 0.0, 0.5))
    verdict = run(log)
    assert (verdict["OPE-201"].status, verdict.decision) == ("fail", "EXPERIMENT")
    assert verdict["OPE-201"].measured == pytest.approx(0.8 * (log.features.values[:, 1] > 0).mean())
    rare = make(e=lambda x: np.where(x[:, 1] > 2.7, 0.0, 0.5))
    verdict = run(rare)
    assert (verdict["OPE-201"].status, verdict.decision) == ("warn", "GO")
    mass = verdict.diagnostics.mass
    assert mass.candidate[0] == pytest.approx(0.9 * (rare.features.values[:, 1] > 2.7).mean())
    assert mass.candidate[mass.labels.index("20% to 50%")] == pytest.approx(1 - mass.candidate[0] - mass.candidate[-1])
    assert statuses(run(log, rules=GateRules(max_unsupported=1.0)))["OPE-201"] == "warn"


def test_a_guardrail_reaches_as_far_as_what_was_never_tried_may_go():
    """A cost of 1 or 0: untried treatments may cost anything between, to the worse as well as to the better."""
    log = make(e=lambda x: np.where(x[:, 1] > 2.7, 0.0, 0.5))
    cost = (log.action == 1).astype(float)
    log = DecisionLog.from_arrays(
        log.features, log.action, {"value": log.outcome(), "cost": cost}, propensity=log.propensity()
    )
    share = (log.features.values[:, 1] > 2.7).mean()
    verdict = run(log, rules=GateRules(guardrails=(Guardrail("cost", 1.0, "lower"),)))
    told = re.match(
        r"cost rises by ([\d.]+) \(([\d.]+) to ([\d.]+)\); a rise of at most 1 was", verdict["OPE-502"].finding
    )
    # A cost known for sure has no sampling error but that of who is in the log: 0.8·(1 − share), and 0.8·share more.
    known = 0.8 * (1 - share)
    assert [float(one) for one in told.groups()] == pytest.approx([known, known, known + 0.8 * share], abs=2e-3)


def test_a_relative_guardrail_is_a_share_of_all_of_the_baseline_tried_or_not():
    """Half of either policy is a treatment nobody tried; the other half costs 1 under both, by hand."""
    rng = np.random.default_rng(1)
    n = 2_000
    action = np.append(rng.integers(0, 2, n), 2)
    propensity = np.tile([0.5, 0.5, 0.0], (n + 1, 1))
    propensity[n] = [0.25, 0.25, 0.5]
    outcomes = {"value": action + rng.normal(size=n + 1), "cost": 1 + 0.01 * rng.normal(size=n + 1)}
    log = DecisionLog.from_arrays(rng.normal(size=(n + 1, 1)), action, outcomes, propensity=propensity)
    log = log.take(slice(0, n))
    ours, theirs = (np.tile(p, (n, 1)) for p in ([0.1, 0.4, 0.5], [0.4, 0.1, 0.5]))
    rules = GateRules(guardrails=(Guardrail("cost", 0.1, "lower", relative=True),))
    verdict = ps.value.gate(log, ours, theirs, q_hat=np.array([0.0, 1.0, 2.0]), rules=rules)
    assert verdict["OPE-502"].measured == pytest.approx(0.1, abs=5e-3)
    assert verdict["OPE-502"].status == "pass"


def test_where_neither_policy_differs_missing_support_is_nobodys_business():
    log = make(e=lambda x: np.where(x[:, 1] > 0, 0.0, 0.5))
    never = log.features.values[:, 1] > 0
    ours = np.column_stack([1 - 0.9 * ~never, 0.9 * ~never])
    theirs = np.column_stack([np.ones(log.n), np.zeros(log.n)])
    verdict = ps.value.gate(log, ours, theirs, q_hat=q_of(log))
    assert verdict["OPE-201"].status == "pass"
    assert verdict.decision == "GO"


def test_too_few_rows_speak_for_a_rarely_tried_action():
    verdict = run(make(e=0.02, n=2_000), share=(1.0, 0.0))
    assert verdict["OPE-202"].status == "fail"
    assert verdict["OPE-202"].measured == pytest.approx(verdict.diagnostics.candidate.ess)
    assert verdict.decision == "EXPERIMENT"


def test_one_row_may_not_carry_too_much():
    rng = np.random.default_rng(0)
    log = make(e=lambda x: np.where(x[:, 2] > 1.5, 0.02, 0.5), seed=5)
    w = np.where(log.action == 1, 1 / log.propensity()[:, 1], 0.0)
    share = w.max() / w.sum()
    for limit, status in ((share * 0.99, "fail"), (share * 1.01, "pass")):
        verdict = run(log, share=(1.0, 0.0), rules=GateRules(max_weight_share=limit))
        assert verdict["OPE-203"].measured == pytest.approx(share)
        assert verdict["OPE-203"].status == status
    y = log.outcome().copy()
    y[rng.integers(log.n)] = 1e4
    heavy = DecisionLog.from_arrays(log.features, log.action, y, propensity=log.propensity())
    verdict = run(heavy)
    assert (verdict["OPE-204"].status, verdict.decision) == ("fail", "EXPERIMENT")
    assert verdict["OPE-204"].measured > 0.9


def test_propensities_that_were_not_kept_block():
    log = make(e=0.5, true=lambda x: np.full(len(x), 0.6))
    verdict = run(log)
    found = statuses(verdict)
    assert found["OPE-301"] == found["OPE-302"] == "fail"
    assert verdict.decision == "EXPERIMENT"
    assert any("(OPE-301)" in reason for reason in verdict.reasons)
    assert all("(OPE-501)" not in reason for reason in verdict.reasons)


def test_an_average_in_the_place_of_propensities_blocks():
    log = make(e=0.5, true=lambda x: 1 / (1 + np.exp(-1.5 * x[:, 0])))
    found = statuses(run(log, share=(0.9, 0.1), placebo=["before"]))
    assert found["OPE-301"] == "pass"
    assert found["OPE-303"] == found["OPE-304"] == "fail"


def test_estimators_disagree_where_what_the_model_predicts_is_out_of_balance():
    log = make(e=0.5, true=lambda x: 1 / (1 + np.exp(-1.5 * x[:, 0])))
    assert statuses(run(log))["OPE-401"] == "fail"


def test_a_wrong_outcome_model_only_warns():
    log = make()
    verdict = run(log, q_hat=np.array([0.0, 3.0]))
    assert verdict["OPE-402"].status == "warn"
    assert verdict.decision == "GO"
    assert any("(OPE-402)" in reason for reason in verdict.reasons)


def test_weak_evidence_against_confounding_warns_and_on_estimated_propensities_blocks():
    log = make(effect=0.08, seed=3, n=8_000)
    rules = GateRules(min_lambda=3.0)
    logged = run(log, q_hat=q_of(log, 0.08), rules=rules)
    estimated = run(log.with_propensities(log.propensity()), q_hat=q_of(log, 0.08), rules=rules)
    assert (logged["OPE-601"].status, logged.decision) == ("warn", "GO")
    assert (estimated["OPE-601"].status, estimated.decision) == ("fail", "EXPERIMENT")
    assert logged["OPE-601"].measured == pytest.approx(logged.sensitivity.tipping)


def test_a_randomised_log_without_propensities_is_judged_by_its_shares():
    log = make()
    bare = DecisionLog.from_arrays(log.features, log.action, log.outcome())
    verdict = run(bare)
    assert verdict["OPE-301"].status == "not-applicable"
    assert verdict["OPE-303"].status == "pass"
    assert verdict.decision == "GO"


def test_a_log_of_taken_propensities_says_what_it_cannot_check():
    log = make()
    bare = DecisionLog.from_arrays(log.features, log.action, log.outcome(), taken_propensity=log.taken_propensity())
    verdict = run(bare)
    assert {code for code, status in statuses(verdict).items() if status == "not-applicable"} == {
        "OPE-101", "OPE-201", "OPE-301", "OPE-303", "OPE-304", "OPE-502",
    }  # fmt: skip
    assert verdict.diagnostics.mass is None
    assert verdict.decision == "GO"
    assert run(bare, rules=GateRules(margin=0.4)).experiment.arms.reduction == 0.0


def test_policies_that_say_what_fitted_them_are_known_to_be_held_out():
    log, other = make(), make(seed=1)
    policy = RankPolicy(lambda features: features.values[:, 0], 0.5).calibrate(other)

    class Fitted(RandomPolicy):
        fitted_on = other.fingerprint

    assert ps.value.gate(log, policy, Fitted(0.2), q_hat=q_of(log))["OPE-101"].status == "pass"


def test_nuisances_are_fitted_when_none_are_given():
    log = make(n=1_000)
    verdict = ps.value.gate(log, RandomPolicy(0.9), RandomPolicy(0.1))
    assert verdict.decision == "GO"
    assert verdict.difference.name == "random 90% − random 10%"


def test_placebos_may_be_given_as_numbers_and_are_counted_together():
    log = make()
    rng = np.random.default_rng(0)
    noise = {f"z{k}": rng.normal(size=log.n) for k in range(5)}
    found = ps.value.diagnose(log, RandomPolicy(0.9), RandomPolicy(0.1), q_hat=q_of(log), placebo=noise).placebo
    for one in found:
        w = np.where(log.action == 1, 0.8 / 0.5, -0.8 / 0.5)
        z = noise[one.name] - noise[one.name].mean()
        assert one.difference.value == pytest.approx((w * z).mean())
        assert one.difference.stderr == pytest.approx((w * z).std(ddof=1) / np.sqrt(log.n))
        assert one.p_value >= one.difference.p_value


def test_diagnostics_of_the_weights_by_hand():
    log = make(e=0.25)
    found = ps.value.diagnose(log, RandomPolicy(0.9), RandomPolicy(0.1), q_hat=q_of(log))
    w = np.where(log.action == 1, 0.9 / 0.25, 0.1 / 0.75)
    assert found.candidate.ess == pytest.approx(w.sum() ** 2 / (w**2).sum())
    assert found.candidate.mean.value == pytest.approx(w.mean() - 1)
    known = np.sqrt((0.81 / 0.25 + 0.01 / 0.75 - 1) / log.n)
    assert found.candidate.mean.stderr == pytest.approx(max(known, w.std(ddof=1) / np.sqrt(log.n)))
    assert (found.candidate.largest, found.candidate.largest_share) == pytest.approx((3.6, 3.6 / w.sum()))
    mass = found.mass
    told = dict(zip(mass.labels, zip(mass.candidate, mass.baseline, mass.logged, strict=True), strict=True))
    assert told["20% to 50%"] == pytest.approx((0.9, 0.1, 0.25))
    assert told["50% to 100%"] == pytest.approx((0.1, 0.9, 0.75))
    assert mass.candidate.sum() == pytest.approx(1.0)
    assert "mean weight" in str(found)
    assert found.mass.frame()["propensity"][0] == "never tried"


def test_a_float32_propensity_lies_in_the_bin_of_the_number_it_stands_for():
    rng = np.random.default_rng(0)
    table = np.tile(np.array([0.9, 0.1], dtype=np.float32), (N, 1))
    log = DecisionLog.from_arrays(
        rng.normal(size=(N, 1)), (rng.random(N) < 0.1).astype(int), rng.normal(size=N), propensity=table
    )
    assert log.propensity()[0, 1] > 0.1
    mass = ps.value.diagnose(log, RandomPolicy(0.4), RandomPolicy(0.2), q_hat=np.zeros(2)).mass
    assert mass.candidate[mass.labels.index("5% to 10%")] == pytest.approx(0.4)


def test_estimates_stand_side_by_side_with_paired_contrasts():
    log = make()
    verdict = run(log)
    agreement = verdict.diagnostics.agreement
    assert list(agreement.estimates) == ["dm", "ips", "snips", "dr"]
    assert list(agreement.contrasts) == ["dm", "ips", "snips"]
    w = np.where(log.action == 1, 1.6, -1.6)
    q = q_of(log)
    taken = q[np.arange(log.n), log.action]
    ips, dr = w * log.outcome(), 0.8 * (q[:, 1] - q[:, 0]) + w * (log.outcome() - taken)
    assert agreement.contrasts["ips"].value == pytest.approx((ips - dr).mean())
    assert agreement.contrasts["ips"].stderr == pytest.approx((ips - dr).std(ddof=1) / np.sqrt(log.n))


def test_rounding_is_no_disagreement():
    """Policies that are the logged one have weights of 1, and by shares IPS and SNIPS are one and the same."""
    log = make(e=0.3)
    table = log.propensity().astype(np.float32)
    verdict = ps.value.gate(log, np.tile([0.1, 0.9], (log.n, 1)), table, q_hat=np.zeros(2))
    assert verdict["OPE-302"].status == "pass"
    bare = DecisionLog.from_arrays(log.features, log.action, log.outcome())
    verdict = ps.value.gate(bare, np.tile([0.1, 0.9], (log.n, 1)), np.tile([0.9, 0.1], (log.n, 1)), q_hat=np.zeros(2))
    assert (verdict["OPE-401"].status, verdict["OPE-401"].measured) == ("pass", 1.0)


BLOCKS = [code for code, rule in CODES.items() if rule.blocks == "log"]


@pytest.mark.parametrize("code", BLOCKS)
@pytest.mark.parametrize("result", ["pass", "warn", "fail"])
def test_any_check_of_the_log_that_fails_leaves_only_the_experiment(code, result):
    checks = [Check(code, "", "fail", ""), Check("OPE-501", "", result, "")]
    assert decide(checks) == "EXPERIMENT"
    assert decide([replace(checks[0], status="warn"), checks[1]]) == {
        "pass": "GO", "warn": "EXPERIMENT", "fail": "NO_GO",
    }[result]  # fmt: skip


def test_every_code_is_documented_with_its_question_and_threshold():
    text = (Path(__file__).parents[3] / "docs" / "gate.md").read_text(encoding="utf-8")
    table = text.split("<!-- codes -->")[1].split("<!-- end -->")[0]
    rows = [[cell.strip() for cell in line.split("|")] for line in table.splitlines() if line.startswith("| OPE")]
    told = {row[1]: row[2:] for row in rows}
    assert {code: cells[0] for code, cells in told.items()} == {code: rule.asks for code, rule in CODES.items()}
    for cells in told.values():
        for name, value in re.findall(r"`(\w+)` ([\d.]+)", cells[2]):
            percent = "%" if f"{value}%" in cells[2] else ""
            assert getattr(GateRules(), name) == pytest.approx(float(value) / (100 if percent else 1))


def test_tests_share_the_false_alarm():
    assert set(TESTS) <= set(CODES)
    verdict = run(make(), rules=GateRules(false_alarm=0.05))
    assert all(verdict[code].threshold == pytest.approx(0.01) for code in TESTS if verdict[code].threshold)


def test_the_card_is_json_with_everything_that_decided():
    rules = GateRules(guardrails=(Guardrail("cost", 0.8, "lower"),))
    verdict = run(make(), rules=rules)
    told = json.loads(verdict.to_json())
    assert told["decision"] == verdict.decision == "EXPERIMENT"
    assert [one["code"] for one in told["checks"]] == sorted(CODES)
    assert told["rules"]["guardrails"] == [{"outcome": "cost", "margin": 0.8, "better": "lower", "relative": False}]
    assert told["rules"]["min_ess"] == 200.0
    assert told["difference"]["interval"] == pytest.approx(list(verdict.difference.interval))
    assert told["experiment"]["units"] == verdict.experiment.units
    assert told["sensitivity"]["tipping"] == pytest.approx(verdict.sensitivity.tipping)
    assert told["log"]["rows"] == N
    assert verdict.to_json() == run(make(), rules=rules).to_json()


def test_what_is_infinite_is_null_in_the_card():
    rng = np.random.default_rng(7)
    action = rng.integers(0, 2, 600)
    log = DecisionLog.from_arrays(rng.normal(size=(600, 1)), action, action.astype(float), propensity=0.5)
    verdict = ps.value.gate(log, np.tile([0.0, 1.0], (600, 1)), np.tile([1.0, 0.0], (600, 1)), q_hat=[0.0, 1.0])
    told = json.loads(verdict.to_json())
    assert (told["sensitivity"]["tipping"], told["sensitivity"]["beyond"]) == (None, True)


def test_the_card_is_written(tmp_path):
    verdict = run(make())
    assert verdict.write(tmp_path / "card.json").read_text(encoding="utf-8") == verdict.to_json()


def test_a_verdict_reads_as_text_and_as_a_table():
    verdict = run(make())
    assert str(verdict).startswith("GO: the candidate − the baseline on value, 4,000 rows")
    assert verdict.frame()["code"].to_list() == list(CODES)
    with pytest.raises(ParameterError, match="no check 'OPE-999'"):
        verdict["OPE-999"]


def test_rows_in_another_order_get_the_same_answer():
    log = make(n=1_500)
    rows = np.random.default_rng(1).permutation(log.n)
    one, other = run(log), run(log.take(rows))
    assert other.difference.value == pytest.approx(one.difference.value)
    assert other.decision == one.decision


def test_one_placebo_may_be_named_without_a_list():
    log = make(n=500)
    one, listed = run(log, placebo="before"), run(log, placebo=["before"])
    assert one["OPE-304"] == listed["OPE-304"]
    assert one["OPE-304"].measured is not None


def test_a_warning_of_confounding_says_where_it_does_not_matter():
    log = make(effect=0.08, seed=3, n=8_000)
    rules = GateRules(min_lambda=3.0)
    logged = run(log, q_hat=q_of(log, 0.08), rules=rules)
    estimated = run(log.with_propensities(log.propensity()), q_hat=q_of(log, 0.08), rules=rules)
    assert "If a machine drew lots" in logged["OPE-601"].finding
    assert "machine" not in estimated["OPE-601"].finding


def test_arguments_in_another_order_are_named():
    log = make(n=500)
    frame = log.frame()
    table = np.tile([0.5, 0.5], (log.n, 1))
    for judge in (ps.value.gate, ps.value.diagnose, ps.value.sensitivity):
        with pytest.raises(ParameterError, match=f"a polars frame, not a DecisionLog .{judge.__name__}"):
            judge(frame, table, table)
        with pytest.raises(ParameterError, match="of type ndarray, not a DecisionLog"):
            judge(table, log, table)
    with pytest.raises(ParameterError, match="rules is a dict, not GateRules"):
        run(log, rules={"margin": 0.1})
    with pytest.raises(ParameterError, match=r"margin is '0\.1'"):
        ps.value.sensitivity(log, table, RandomPolicy(0.1), margin="0.1")


def test_what_cannot_be_judged_is_refused():
    log = make(n=500)
    with pytest.raises(DataError, match="do the same on every row"):
        run(log, share=(0.3, 0.3))
    narrow = np.tile(np.array([0.7, 0.3], dtype=np.float32), (log.n, 1))
    with pytest.raises(DataError, match="do the same on every row"):
        ps.value.gate(log, narrow, RandomPolicy(0.3), q_hat=np.zeros(2))
    flat = DecisionLog.from_arrays(log.features, log.action, np.ones(log.n), propensity=0.5)
    with pytest.raises(DataError, match="'outcome' is 1 on every row"):
        run(flat)
    with pytest.raises(OutcomeError, match="no outcome 'later'"):
        run(log, placebo=["later"])
    with pytest.raises(ParameterError, match="'value' is both the outcome and a placebo"):
        run(log, placebo=["value"])
    with pytest.raises(DataError, match="placebo 'z' has shape"):
        run(log, placebo={"z": np.zeros(3)})
    with pytest.raises(DataError, match="placebo 'z'"):
        run(log, placebo={"z": np.full(log.n, np.nan)})


@pytest.mark.parametrize(
    ("told", "match"),
    [
        ({"alpha": 0.0}, "alpha is 0"),
        ({"false_alarm": 1.0}, "false_alarm is 1"),
        ({"power": "much"}, "power is 'much'"),
        ({"max_unsupported": 1.5}, "max_unsupported is 1.5"),
        ({"min_ess": 0}, "min_ess is 0"),
        ({"min_lambda": 0.5}, "min_lambda is 0.5"),
        ({"margin": float("nan")}, "margin is nan"),
        ({"bins": 0}, "bins is 0"),
        ({"looks": 2.5}, "looks is 2.5"),
        ({"worthwhile": -1.0}, "worthwhile is -1"),
        ({"worthwhile": "much"}, "worthwhile is 'much'"),
        ({"alpha": 0.95}, "alpha is 0.95.*at most 0.5"),
        ({"margin": "1%"}, "margin is '1%'.*outcome units"),
        ({"min_ess": "200"}, "min_ess is '200'"),
        ({"max_unsupported": 5}, "divide by 100"),
        ({"bins": True}, "bins is True"),
        ({"outcome_range": "01"}, "outcome_range is '01'"),
        ({"guardrails": ("cost",)}, r"guardrails is \('cost',\)"),
        ({"guardrails": Guardrail("cost", 1.0)}, "Pass a tuple of them"),
        ({"outcome_range": (1.0, 0.0)}, "outcome_range is"),
        ({"monitoring": "daily"}, "monitoring is 'daily'"),
        ({"monitoring": "fixed", "looks": 3}, "looks is 3 with monitoring='fixed'"),
        ({"power": 0.02}, "power is 0.02, no more than alpha / 2"),
    ],
)
def test_thresholds_outside_their_range_are_refused(told, match):
    with pytest.raises(ParameterError, match=match):
        GateRules(**told)
