"""What a study of offers found, in sentences."""

from __future__ import annotations

import re

from persuadable.report import Verdict
from persuadable.report.words import interval, level, number, p_phrase, percent
from persuadable.study.offers.result import OfferStudy
from persuadable.study.words import comparison_doubts, disbelief
from persuadable.value import Estimate
from persuadable.value.paths.result import AVERAGE

__all__ = ["bullets", "estimand", "limits", "thin", "verdict"]


def verdict(study: OfferStudy) -> Verdict:
    """The decision: what to offer whom, what it brings for its money, and whether choosing by person is worth it.

    Where the comparison itself is in doubt the headline says that, and nothing of who does better.
    """
    doubted = comparison_doubts(study.log, study.balance)
    if study.policy.rule.offered == 0.0:
        return Verdict("Offer nothing to anybody.", (*doubted, *_explained(study), *thin(study)), "unclear")
    gain = study.path.difference(AVERAGE, study.budget)
    low, high = gain.interval
    tone, judged = (
        ("good", "beats") if low > 0 else ("bad", "does worse than") if high < 0 else ("unclear", "cannot be told from")
    )
    headline = f"Choosing the offer for each person {judged} spending as much without knowing who they are."
    if doubted:
        headline, tone = disbelief(study.balance), "unclear"
    said = (
        *doubted,
        *_brings(study),
        f"Against offers drawn by lot, in the mix that is best on average, at {number(study.budget, 3)} per head it "
        f"brings {_amount(study, gain)}.",
        *_against_single(study),
        *_explained(study),
        *thin(study),
    )
    return Verdict(headline, said, tone)  # type: ignore[arg-type]


def bullets(said: Verdict) -> str:
    """A verdict as plain text: the headline, then what it rests on, a line each."""
    return "\n".join((said.headline, *(f"- {sentence}" for sentence in said.sentences)))


def _explained(study: OfferStudy) -> tuple[str, ...]:
    """The policy in words, by sentence, without that it offers nothing, which the headline says."""
    return tuple(re.split(r"(?<=\.) (?=[A-Z])", study.policy.explain().removeprefix("Offer nothing. ")))


def _against_single(study: OfferStudy) -> tuple[str, ...]:
    """The policy's budget spent on the best offer alone, where there are several."""
    if len(study.offers) == 1:
        return ()
    best = study.path.best_single
    gain = study.path.difference(best, study.budget)
    label = best.removeprefix("only ")
    return (
        f"Against {label} alone, given to those it moves most for the same money, it brings {_amount(study, gain)}.",
    )


def _brings(study: OfferStudy) -> tuple[str, ...]:
    gain = study.decision["nobody"].difference
    said = [f"The policy brings {_amount(study, gain)} than offering nothing."]
    if study.spend is not None:
        costs = f"It costs {number(study.spend.value, 3)} per head ({interval(*study.spend.interval)})"
        if study.roi is not None and study.roi.shape == "interval":
            costs += (
                f", so each unit of cost brings {number(study.roi.value, 3)} {study.value} "
                f"({interval(*study.roi.interval)})"
            )
        said.append(f"{costs}.")
    return tuple(said)


def _amount(study: OfferStudy, gain: Estimate) -> str:
    more = "more" if gain.value >= 0 else "less"
    told = f"{level(gain.alpha)} {interval(*gain.interval)}, {p_phrase(gain.p_value)}"
    return f"{number(abs(gain.value), 3)} {study.value} per head {more} ({told})"


def thin(study: OfferStudy) -> tuple[str, ...]:
    """Where the data are too few, plainly."""
    said = [*study.support.words]
    value = [each for each in study.heads.criteria if each.head == "value"]
    alike = [each.action for each in value if each.bins.top_minus_bottom.interval[0] <= 0]
    if alike:
        which = "any offer" if len(alike) == len(value) else " or ".join(alike)
        said.append(
            f"People cannot be told apart by what {which} brings them: those predicted to gain most gain no more, "
            "beyond chance, than those predicted to gain least."
        )
    return tuple(said)


def estimand(study: OfferStudy) -> str:
    """What is estimated, of what on what, against what."""
    actions, cost = study.log.actions, study.policy.cost_outcome_
    told = f"The effect of {', '.join(actions.treatments)} on {study.value}"
    told += "" if cost is None else f" and on {cost}"
    return f"{told} per head, against {actions.control}, given the features: E[Y(a) − Y(0) | x]."


def limits(study: OfferStudy) -> tuple[str, ...]:
    """What the study cannot say, as far as it can see it itself."""
    said = [
        "Effects hold for people like those in this log, for these offers, at that time; a new season, audience or "
        "creative can change them.",
        "Each person's outcome is taken to depend on their own offer only: no word of mouth, no shared stock.",
        "A price λ makes the predicted spend the budget; what is really spent is told beside it, with its interval.",
    ]
    if study.policy.stated_costs_ is not None:
        said.append("Costs were stated, not measured: who redeems, and would have bought anyway, is not in them.")
    if study.log.propensity_source == "estimated":
        said.append("Propensities were estimated: whatever drove the offer and is not among the features biases.")
    return (*comparison_doubts(study.log, study.balance), *thin(study), *said)


def offered(study: OfferStudy) -> str:
    """Who gets what on the held-out rows, in one line."""
    shares = study.decision.policy.action_shares
    return ", ".join(f"{label} {percent(share)}" for label, share in zip(study.log.actions, shares, strict=True))
