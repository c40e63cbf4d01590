"""A whole study of one log: from rows to a judged policy, and the folder it leaves."""

from __future__ import annotations

from persuadable.study.evaluation import evaluation
from persuadable.study.plan import LEARNERS, StudyPlan
from persuadable.study.result import Candidate, Study, TreatmentReport
from persuadable.study.run import run_study
from persuadable.study.words import doubts, limits, verdict
from persuadable.study.write import Written, write_study

__all__ = [
    "LEARNERS",
    "Candidate",
    "Study",
    "StudyPlan",
    "TreatmentReport",
    "Written",
    "doubts",
    "evaluation",
    "limits",
    "run_study",
    "verdict",
    "write_study",
]
