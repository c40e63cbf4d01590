"""Human review: which decisions to hand to people, for what reason, and how to learn from a log they had a hand in."""

from __future__ import annotations

from persuadable.policies.review.calibrating import review
from persuadable.policies.review.judged import CODES, REASONS, Judged
from persuadable.policies.review.overrides import without_people
from persuadable.policies.review.record import ARRAYS, Review

__all__ = ["ARRAYS", "CODES", "REASONS", "Judged", "Review", "review", "without_people"]
