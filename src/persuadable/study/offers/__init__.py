"""A study of offers: which one for whom, under a budget."""

from __future__ import annotations

from persuadable.study.offers.plan import OfferPlan
from persuadable.study.offers.result import Heads, OfferStudy
from persuadable.study.offers.run import run_offers
from persuadable.study.offers.words import bullets, verdict
from persuadable.study.offers.write import write_offers

__all__ = ["Heads", "OfferPlan", "OfferStudy", "bullets", "run_offers", "verdict", "write_offers"]
