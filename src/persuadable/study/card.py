"""The model card of a study."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator
from typing import Any

import numpy as np

from persuadable import __version__
from persuadable.design import Balance
from persuadable.design.propensity import Propensity
from persuadable.log import DecisionLog
from persuadable.policies import ARCHETYPES
from persuadable.policies.review import REASONS
from persuadable.report import Metric, ModelCard
from persuadable.report.words import percent
from persuadable.study import words
from persuadable.study.result import Study
from persuadable.value import ArchetypeRow, Estimate, Fairness, GroupFairness, PolicyReturns, Ratio, ReturnsGain
from persuadable.value.fair.disparity import Disparity

__all__ = ["data_facts", "imbalance_facts", "made_by", "metrics", "model_card", "propensity_facts"]

OVERRIDES = "Logged with propensity 1, with who and why; kept out of learning."
MONEY = ("spend", "incremental_conversions", "attributed_conversions", "came_anyway", "profit")


def metrics(study: Study) -> Iterator[tuple[str, Estimate]]:
    """Every estimate of the study, with what it is about."""
    for report in study.treatments:
        ranking, about = report.ranking, f"ranking of {report.treatment}"
        yield from ((about, e) for e in (ranking.qini.coefficient, ranking.qini.auuc, ranking.autoc, ranking.qini.ate))
        yield from ((about, e) for e in ranking.at_k.values())
        yield f"{about} less {study.decision.comparisons[1].baseline.policy}", report.over_response
        yield f"calibration of {report.treatment}", report.blp.intercept
        yield f"calibration of {report.treatment}", report.blp.slope
        yield f"calibration of {report.treatment}", report.gates.top_minus_bottom
    yield "policy", study.decision.policy.estimate
    for comparison in study.decision.comparisons:
        yield "policy less baseline", comparison.difference
    for name, estimate in study.others.items():
        yield f"policy less random on {name}", estimate
    if study.returns is not None:
        yield from (("returns", getattr(row, part)) for row in study.returns.rows for part in MONEY)
        yield from (("returns, policy less baseline", gain.profit) for gain in study.returns.gains)
    for treatment, table in study.archetypes.items():
        yield from ((f"archetypes of {treatment}", row.uplift) for row in table if row.uplift is not None)
    for row in study.budgets.rows:
        yield f"budget {percent(row.share, 0)}", row.value
        yield f"budget {percent(row.share, 0)} less random", row.difference


def model_card(study: Study) -> ModelCard:
    """The model card of a study."""
    log, plan = study.log, study.plan
    chosen = next(candidate for candidate in study.candidates if candidate.chosen)
    return ModelCard(
        name=f"{chosen.name} on {log.name}",
        data=data_facts(log, study.train, study.test, study.balance),
        imbalance=imbalance_facts(log, study.test, log.primary, rare=study.presets.rare is not None),
        training={
            "trees": study.presets.settings(),
            "half_samples": plan.n_resamples,
            "test_share": plan.test_share,
            "split_by": plan.split_by,
            "chosen_by": "out-of-fold Qini on the training rows",
        },
        estimand=words.estimand(study),
        learners=tuple(
            {
                "name": candidate.name,
                "chosen": candidate.chosen,
                "out_of_fold_qini_on_training_rows": candidate.train_qini,
            }
            for candidate in study.candidates
        ),
        propensity=propensity_facts(study.learner.propensity_),
        metrics=tuple(Metric.of(estimate, on=where) for where, estimate in metrics(study)),
        archetypes=tuple(_archetype(label, row) for label, table in study.archetypes.items() for row in table),
        economics=_economics(study),
        fairness=_fairness(study),
        review=_review(study),
        limits=words.limits(study),
        intended_use=f"Choosing which {percent(plan.budget, 0)} of a population like this one to treat.",
        policy={
            "rule": study.policy.explain(),
            "budget": plan.budget,
            "expected_share": study.policy.expected_share,
            "break_even": plan.least_effect(log.primary),
            "cost": log.cost_name,
        },
        provenance=made_by(plan.random_state),
    )


def data_facts(log: DecisionLog, train: DecisionLog, test: DecisionLog, balance: Balance) -> dict[str, Any]:
    """What a card says of the rows a study stands on."""
    return {
        "name": log.name,
        "rows": log.n,
        "training_rows": train.n,
        "held_out_rows": test.n,
        "fingerprint": log.fingerprint.digest,
        "features": log.features.names,
        "actions": {label: int((log.action == a).sum()) for a, label in enumerate(log.actions)},
        "outcomes": {name: float(log.outcome(name).mean()) for name in log.outcomes},
        "balance_p_value": balance.p_value,
    }


def propensity_facts(propensity: Propensity) -> dict[str, Any]:
    """What a card says of the propensities the learners were fitted with."""
    return {
        "source": propensity.source,
        "constant": propensity.constant,
        "lowest": min(propensity.lowest),
        "clip": propensity.clip,
        "clipped_rows": sum(propensity.clipped),
    }


def made_by(seed: int) -> dict[str, Any]:
    """What made a card: versions and seed."""
    return {"persuadable": __version__, "python": platform.python_version(), "seed": seed}


def imbalance_facts(log: DecisionLog, test: DecisionLog, outcome: str, *, rare: bool) -> dict[str, Any]:
    """What a card says of how rare an outcome is and how uneven the arms are.

    Args:
        log: all rows.
        test: those held out.
        outcome: what is to be raised.
        rare: whether rare-outcome settings were used.
    """
    y, binary = log.outcome(outcome), log.is_binary(outcome)
    share = float(np.average(y, weights=log.weight)) if binary else None
    return {
        "outcome": outcome,
        "rare": rare,
        "positive_share": share,
        "negatives_per_positive": (1 - share) / share if share else None,
        "arms": [
            {
                "action": label,
                "share": float(np.average(log.action == a, weights=log.weight)),
                "held_out_rows": int((test.action == a).sum()),
                "held_out_positives": int(((test.action == a) & (test.outcome(outcome) != 0)).sum()),
            }
            for a, label in enumerate(log.actions)
        ],
    }


def _bounds(found: Estimate | Ratio) -> dict[str, float | None]:
    low, high = (float(end) if math.isfinite(end) else None for end in found.interval)
    return {"value": float(found.value), "low": low, "high": high}


def _bounds_or_none(found: Estimate | Ratio | None) -> dict[str, float | None] | None:
    return None if found is None or not math.isfinite(found.value) else _bounds(found)


def _archetype(treatment: str, row: ArchetypeRow) -> dict[str, Any]:
    return {
        "treatment": treatment,
        "archetype": row.archetype,
        "action": row.action,
        "rows": row.n,
        "share": row.share,
        "predicted": row.predicted,
        "uplift": _bounds_or_none(row.uplift),
        "baseline": _bounds_or_none(row.baseline),
        "conversions_treated": row.conversions[0],
        "conversions_alone": row.conversions[1],
        "claimed_wrong": row.claimed_wrong,
        "expected_wrong": row.expected_wrong,
        "verdict": row.verdict,
        "mix": None if row.mix is None else dict(zip(ARCHETYPES, row.mix, strict=True)),
        "marks": [
            {"feature": m.label, "members": m.members, "others": m.others, "standardised": m.standardised}
            for m in row.marks
        ],
    }


def _economics(study: Study) -> dict[str, Any]:
    told = study.returns
    if told is None:
        return {}
    return told.economics.as_dict() | {
        "break_even": told.economics.break_even,
        "population": told.population,
        "method": told.method,
        "policies": [_policy(row) for row in told.rows],
        "gains": [_gain(gain) for gain in told.gains],
    }


def _policy(row: PolicyReturns) -> dict[str, Any]:
    ratios = {name: _bounds_or_none(getattr(row, name)) for name in ("incremental_roas", "attributed_roas")}
    return {"policy": row.policy, "share": row.share, **{name: _bounds(getattr(row, name)) for name in MONEY}, **ratios}


def _gain(gain: ReturnsGain) -> dict[str, Any]:
    return {
        "baseline": gain.baseline,
        **{name: _bounds(getattr(gain, name)) for name in ("spend", "incremental_conversions", "profit")},
        **{name: _bounds_or_none(getattr(gain, name)) for name in ("incremental_roas", "marginal_roas")},
    }


def _fairness(study: Study) -> dict[str, Any]:
    audit = study.fairness
    if audit is None:
        return {}
    told = {name: getattr(audit, name) for name in ("outcome", "method", "threshold", "min_size", "alpha")}
    told |= {
        "comparisons": audit.comparisons,
        "groups": [
            _group(row, apart)
            for row, apart in zip(audit.groups, audit.frame()["parity_difference"].to_list(), strict=True)
        ],
        "disparities": [_disparity(found) for found in audit.disparities],
        "alarms": _alarms(audit),
    }
    floor = study.mitigation
    if floor is not None:
        told["mitigation"] = {"met": floor.met, "price": _bounds(floor.price), "gain": _bounds(floor.gain)}
    return told


def _group(row: GroupFairness, apart: float) -> dict[str, Any]:
    return {
        "segment": row.segment,
        "group": row.group,
        "rows": row.n,
        "share": row.share,
        "enough": row.enough,
        "selection": _bounds(row.selection),
        "impact": row.impact,
        "parity_difference": apart,
        "benefit": _bounds(row.benefit),
        "opportunity": _bounds_or_none(row.opportunity),
        "gap": _bounds_or_none(row.gap),
        "slope": _bounds_or_none(row.slope),
    }


def _disparity(found: Disparity) -> dict[str, Any]:
    ratio = None
    if found.ratio is not None and found.ratio_interval is not None and math.isfinite(found.ratio):
        low, high = (float(end) if math.isfinite(end) else None for end in found.ratio_interval)
        ratio = {"value": float(found.ratio), "low": low, "high": high}
    told = {name: getattr(found, name) for name in ("segment", "measure", "group", "against", "status")}
    return told | {"difference": _bounds(found.difference), "ratio": ratio}


def _alarms(audit: Fairness) -> list[dict[str, Any]]:
    return [
        {"code": a.code, "segment": a.segment, "group": a.group, "against": a.against, "words": a.words}
        for a in audit.alarms
    ]


def _review(study: Study) -> dict[str, Any]:
    review, queue = study.review, study.queue
    if study.plan.review is None:
        return {}
    if review is None or queue is None:
        return {
            "load": study.plan.review,
            "rule": words.NOTHING_TO_REVIEW,
            "queued": 0.0,
            "reasons": {},
            "meanings": {},
            "overrides": OVERRIDES,
        }
    return {
        "load": review.load,
        "rule": str(review),
        "queued": queue.share,
        "reasons": queue.reasons,
        "meanings": {code: REASONS[code] for code in queue.reasons},
        "overrides": OVERRIDES,
    }
