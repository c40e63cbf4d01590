"""A whole study of one log: from rows to a judged policy, and the folder it leaves."""

from __future__ import annotations

from persuadable.study.claim import PUBLISHED, ClaimCheck, RoasClaim, check_claim
from persuadable.study.criteo import criteo_plan, run_criteo
from persuadable.study.evaluation import evaluation
from persuadable.study.offers import OfferPlan, OfferStudy, run_offers, write_offers
from persuadable.study.plan import LEARNERS, StudyPlan
from persuadable.study.result import Candidate, Study, TreatmentReport
from persuadable.study.run import run_study
from persuadable.study.words import doubts, limits, verdict
from persuadable.study.write import Written, write_study

__all__ = [
    "LEARNERS",
    "PUBLISHED",
    "Candidate",
    "ClaimCheck",
    "OfferPlan",
    "OfferStudy",
    "RoasClaim",
    "Study",
    "StudyPlan",
    "TreatmentReport",
    "Written",
    "check_claim",
    "criteo_plan",
    "doubts",
    "evaluation",
    "limits",
    "run_criteo",
    "run_offers",
    "run_study",
    "verdict",
    "write_offers",
    "write_study",
]
