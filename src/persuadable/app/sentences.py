"""Decisions, flags and refusals in sentences, for people who have never seen the API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from persuadable.app.client import ServiceError, ServiceRefused
from persuadable.app.units import Unit
from persuadable.report.words import number, percent

__all__ = [
    "Said",
    "Tone",
    "decision_said",
    "effect_sentence",
    "flag_sentence",
    "in_words",
    "problem_sentences",
    "review_sentence",
    "shown_value",
]

Tone = Literal["good", "quiet", "unclear", "bad"]
Json = Mapping[str, Any]
# So many problems of one request are listed, the rest counted.
LISTED = 8


@dataclass(frozen=True, slots=True)
class Said:
    """A headline, what explains it, and how it is meant."""

    tone: Tone
    headline: str
    lines: tuple[str, ...]


def decision_said(decision: Json, control: str, share: float, unit: Unit, ranges: Mapping[str, str]) -> Said:
    """A decision of /v1/score in words.

    Args:
        decision: as the service answered it.
        control: the label of doing nothing.
        share: the budget it was asked with.
        unit: of the effect.
        ranges: what training saw of each feature, in words.
    """
    treated = decision["action"] != control
    headline = f"Treat: {decision['action']}" if treated else f"Do not treat: {control}"
    return in_words(decision, headline, _reason_sentence(decision, share, unit), unit, ranges, given=treated)


def in_words(decision: Json, headline: str, reason: str, unit: Unit, ranges: Mapping[str, str], *, given: bool) -> Said:
    """A decision of any kind of budget: what is done, what that changes, why, and what was odd about the features."""
    tone: Tone = "good" if given else "quiet"
    if decision["reason"] in ("fallback", "lottery-won", "lottery-lost", "review"):
        tone = "unclear"
    flags = tuple(flag_sentence(flag, ranges) for flag in decision.get("flags") or ())
    return Said(tone, headline, (effect_sentence(decision, unit), reason, *flags))


def effect_sentence(decision: Json, unit: Unit) -> str:
    """What a treatment is predicted to change, and how sure that is."""
    effect = decision["effect"]
    what = f"{decision['treatment']} is predicted to"
    if effect == 0:
        return f"{what} leave {unit.outcome} as it is."
    verb = "raise" if effect > 0 else "lower"
    told = f"{what} {verb} {unit.outcome} by {unit.by(abs(effect))}"
    if decision.get("interval") is None:
        return f"{told}. This model gives no intervals."
    return f"{told} (95% interval of the effect {unit.between(*decision['interval'])})."


def _reason_sentence(decision: Json, share: float, unit: Unit) -> str:
    reason, threshold = decision["reason"], decision.get("threshold")
    budget = f"a budget of {percent(share, 0)}"
    net = "net effect" if decision["net_effect"] != decision["effect"] else "effect"
    if reason == "fallback":
        return "The features are unlike anything the model has learned from, so nothing is done, whatever the effect."
    if reason == "review":
        return review_sentence(decision)
    if reason == "not-worth-it":
        what = "is predicted to do no good" if net == "effect" else "is predicted to bring less than it costs"
        return f"{decision['treatment']} {what}, so it is not given, however large the budget."
    if reason == "not-eligible":
        return "This user may not be given any treatment."
    if reason == "budget-spent":
        return "The budget was spent on users with larger effects."
    if threshold is None:
        return f"With {budget}, nobody is treated."
    net_told = f"Net of what it costs that is {unit.by(decision['net_effect'])}. " if net != "effect" else ""
    line = f"{net_told}With {budget}, users are treated from {unit.by(threshold)} on"
    if reason == "treated":
        return f"{line}; this one lies above."
    if reason in ("lottery-won", "lottery-lost"):
        chance = decision["propensities"][decision["treatment"]]
        drawn = "was drawn" if reason == "lottery-won" else "was not drawn"
        return (
            f"{net_told}That is exactly the {net} at which {budget} runs out: of users like this one "
            f"{percent(chance)} are treated, by lot. This one {drawn}."
        )
    return f"{line}; this one lies below, so the budget goes to users whom it moves more."


def review_sentence(decision: Json) -> str:
    """That a decision would wait for a person, and why."""
    review = decision["review"]
    codes = ", ".join(code.replace("-", " ") for code in review["codes"])
    return (
        f"This one a person would decide ({codes}); the policy proposes {review['proposed']}. Nothing is done before."
    )


FLAGS = {
    ("out-of-range", "clip"): "{name} lies outside what training saw{range}; the nearest bound was used instead.",
    ("out-of-range", "flag"): "{name} lies outside what training saw{range}; it was used as it is.",
    ("out-of-range", "fallback"): "{name} lies outside what training saw{range}, so nothing is done.",
    ("unseen-category", "flag"): "{name} holds a category that training never saw; it was taken as not known.",
    ("unseen-category", "fallback"): "{name} holds a category that training never saw, so nothing is done.",
    ("missing-value", "flag"): "{name} is not known, which never happened in training; the model guesses.",
    ("missing-value", "fallback"): "{name} is not known, which never happened in training, so nothing is done.",
    ("missing-column", "flag"): "{name} was not given; it was taken as not known.",
    ("missing-column", "fallback"): "{name} was not given, so nothing is done.",
    ("unknown-column", "flag"): "{name} is no feature of the model and was left out.",
    ("unknown-column", "fallback"): "{name} is no feature of the model, so nothing is done.",
    ("wrong-type", "flag"): "{name} has the wrong type; it was taken as not known.",
    ("wrong-type", "fallback"): "{name} has the wrong type, so nothing is done.",
}


def flag_sentence(flag: Json, ranges: Mapping[str, str]) -> str:
    """What was odd about a feature, and what was done about it.

    Args:
        flag: {"code", "feature", "answer"}.
        ranges: what training saw of each feature, in words.
    """
    name, seen = str(flag["feature"]), ranges.get(str(flag["feature"]))
    words = FLAGS.get((flag["code"], flag["answer"]), "{name} breaks the model's contract ({code}, {answer}).")
    return words.format(name=name, range=f" ({seen})" if seen else "", code=flag["code"], answer=flag["answer"])


def problem_sentences(error: ServiceError) -> list[str]:
    """A failure of the service, one sentence a line: what is wrong, where, and what to do."""
    lines = [f"{error.what}."]
    if isinstance(error, ServiceRefused):
        lines += [_sentence(detail) for _, detail in error.errors[:LISTED] if detail]
        if (more := len(error.errors) - LISTED) > 0:
            lines.append(f"And {more} more.")
    return [*lines, *([_sentence(error.remedy)] if error.remedy else [])]


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def shown_value(value: Any) -> str:
    """A feature's value as a label shows it."""
    if value is None:
        return "not known"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return number(float(value)) if float(value).is_integer() else f"{value:,.6g}".replace("-", "−")
