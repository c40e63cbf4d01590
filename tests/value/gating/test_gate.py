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
    assert broken.experiment.effect == pytest.approx(broken.difference.value - 0.1)


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
    told = [float(one.replace("−", "-")) for one in re.findall(r"[+−]\d[.\d]*\d", verdict["OPE-502"].finding)]
    # A cost known for sure has no sampling error but that of who is in the log: 1 − 0.8·(1 − share), less 0.8·share.
    known = 1 - 0.8 * (1 - share)
    assert told[:3] == pytest.approx([known, known - 0.8 * share, known], abs=2e-3)


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


def test_what_cannot_be_judged_is_refused():
    log = make(n=500)
    with pytest.raises(DataError, match="do the same on every row"):
        run(log, share=(0.3, 0.3))
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
        ({"outcome_range": (1.0, 0.0)}, "outcome_range is"),
        ({"monitoring": "daily"}, "monitoring is 'daily'"),
    ],
)
def test_thresholds_outside_their_range_are_refused(told, match):
    with pytest.raises(ParameterError, match=match):
        GateRules(**told)
