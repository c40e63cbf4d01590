"""Schemas of the requests and answers, for the API's description. They describe; :mod:`persuadable.service.wire` reads.

The bounds are the reader's own constants, and a test holds the two together.
"""

from __future__ import annotations

from persuadable.service.schemas.decisions import (
    BatchLine,
    BatchProblem,
    DecideAnswer,
    DecisionRecord,
    ScoreAnswer,
    ScoreRequest,
    UnitLine,
)
from persuadable.service.schemas.models import (
    AllocationAnswer,
    ContractAnswer,
    ExplainAnswer,
    ExplainRequest,
    PolicyAnswer,
)
from persuadable.service.schemas.outcomes import OutcomesAnswer, OutcomesRequest
from persuadable.service.schemas.reviews import (
    OverrideRequest,
    ReviewAnswer,
    ReviewRequest,
    ReviewsAnswer,
    VerdictRequest,
)

__all__ = [
    "AllocationAnswer",
    "BatchLine",
    "BatchProblem",
    "ContractAnswer",
    "DecideAnswer",
    "DecisionRecord",
    "ExplainAnswer",
    "ExplainRequest",
    "OutcomesAnswer",
    "OutcomesRequest",
    "OverrideRequest",
    "PolicyAnswer",
    "ReviewAnswer",
    "ReviewRequest",
    "ReviewsAnswer",
    "ScoreAnswer",
    "ScoreRequest",
    "UnitLine",
    "VerdictRequest",
]
