"""What a study found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from persuadable.design import Balance
from persuadable.effects import Learner
from persuadable.log import DecisionLog
from persuadable.policies import BudgetPolicy
from persuadable.policies.review import Judged, Review
from persuadable.response import ResponseModel
from persuadable.study.plan import StudyPlan
from persuadable.study.presets import COMMON, Presets
from persuadable.value import (
    TOC,
    ArchetypeTable,
    BestLinearPredictor,
    BudgetValues,
    Calibration,
    Clan,
    Deciles,
    Estimate,
    Fairness,
    Mitigation,
    PolicyComparisons,
    RankingReport,
    Returns,
    Stability,
)

__all__ = ["Candidate", "Study", "TreatmentReport"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A learner that was tried.

    Attributes:
        name: learner and size of its trees.
        train_qini: out-of-fold Qini on the training rows, averaged over treatments; the choice rests on it alone.
        test_qini: Qini on the held-out rows by treatment, for information.
        chosen: whether it became the policy's learner.
    """

    name: str
    train_qini: float
    test_qini: Mapping[str, Estimate]
    chosen: bool


@dataclass(frozen=True, slots=True)
class TreatmentReport:
    """How well the effects of one treatment are ranked and predicted, on held-out rows.

    Attributes:
        treatment: its label.
        ranking: Qini, AUUC, AUTOC and uplift at the top shares.
        toc: targeting operator characteristic.
        deciles: uplift by decile of the ranking.
        gates: effects by group of predicted effect.
        blp: best linear predictor of the effect.
        clan: how the most and the least affected differ.
        stability: of the ranking over random halves.
        over_response: Qini of the effect ranking less that of the response model's ranking, paired.
    """

    treatment: str
    ranking: RankingReport
    toc: TOC
    deciles: Deciles
    gates: Calibration
    blp: BestLinearPredictor
    clan: Clan
    stability: Stability
    over_response: Estimate


@dataclass(frozen=True, slots=True)
class Study:
    """Everything a study found.

    Attributes:
        plan: what was asked.
        log: all rows; ``train`` fitted everything, ``test`` judged it.
        balance: of the whole log.
        candidates: the learners tried, best first.
        learner: the one chosen, refitted with half-samples for its intervals.
        policy: the budget policy on it, its threshold drawn from the effects predicted for the held-out rows.
        treatments: ranking and calibration of each treatment.
        decision: policy value against random, treat all, treat none and the response model.
        budgets: policy value by budget.
        others: policy − random on the outcomes that were not targeted.
        response: a model of who has the outcome if treated, for comparison.
        mu: (n, A) cross-fitted responses of the held-out rows to each action, which the estimates rest on.
        presets: the trees that were tried.
        returns: spend, ROAS and profit of the policy and its alternatives; None where no economics were given.
        archetypes: treatment → its archetypes on the held-out rows; empty where no economics were given.
        fairness: of the policy, by the segments asked for; None where none was.
        mitigation: the same budget under a parity floor, and what that costs; None where groups are selected alike.
        review: which decisions go to people; None where no share was given.
        queue: its judgement of the held-out rows.
    """

    plan: StudyPlan
    log: DecisionLog
    train: DecisionLog
    test: DecisionLog
    balance: Balance
    candidates: tuple[Candidate, ...]
    learner: Learner
    policy: BudgetPolicy
    treatments: tuple[TreatmentReport, ...]
    decision: PolicyComparisons
    budgets: BudgetValues
    others: Mapping[str, Estimate]
    response: ResponseModel
    mu: NDArray[np.float64]
    presets: Presets = COMMON
    returns: Returns | None = None
    archetypes: Mapping[str, ArchetypeTable] = field(default_factory=dict)
    fairness: Fairness | None = None
    mitigation: Mitigation | None = None
    review: Review | None = None
    queue: Judged | None = None
