"""Cases of the review queue in sentences and tables, for people who have never seen the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from persuadable.app.sentences import Said, effect_sentence, flag_sentence, shown_value
from persuadable.app.units import Unit
from persuadable.report.words import number

__all__ = [
    "STATES",
    "case_name",
    "case_rows",
    "case_said",
    "code_words",
    "feature_rows",
    "held_by_another",
    "moment",
    "waiting_sentence",
]

Json = Mapping[str, Any]
#: State of a case → what the page calls it.
STATES: Mapping[str, str] = {
    "open": "Open",
    "claimed": "Being looked at",
    "approved": "Approved",
    "overridden": "Overridden",
}


def code_words(code: str) -> str:
    """A reason code as a label: possible do not disturb."""
    return code.replace("-", " ")


def moment(text: str) -> str:
    """A time as the page shows it."""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%d %b %H:%M")


def waiting_sentence(codes: Mapping[str, int]) -> str:
    """How many cases wait for which reason; nothing where none waits."""
    told = sorted(codes.items(), key=lambda item: (-item[1], item[0]))
    return f"Waiting for: {', '.join(f'{code_words(code)} {n:,}' for code, n in told)}." if told else ""


def case_name(case: Json) -> str:
    """A case as a list offers it."""
    return f"{case['unit']}: {', '.join(map(code_words, case['codes']))}"


def case_rows(cases: Sequence[Json], unit: Unit) -> list[tuple[str, ...]]:
    """The queue as a table: whom, why, what is proposed, its effect, and who has it.

    Args:
        cases: of /v1/reviews.
        unit: of the effect.
    """
    return [
        (
            str(case["unit"]),
            ", ".join(map(code_words, case["codes"])),
            str(case["proposed"]),
            f"{unit.bare(case['effect'], signed=True)}\n{_interval(case, unit)}",
            number(case["priority"], 3),
            _who(case),
        )
        for case in cases
    ]


def _interval(case: Json, unit: Unit) -> str:
    return unit.between(*case["interval"]) if case.get("interval") else ""


def _who(case: Json) -> str:
    if (done := case["resolution"]) is not None:
        return f"{done['by']} gave {done['action']}\n{moment(done['at'])}"
    if (claim := case["claim"]) is not None:
        return f"{claim['by']}\nuntil {moment(claim['until'])}"
    return f"nobody\nsince {moment(case['made_at'])}"


def case_said(case: Json, unit: Unit, reasons: Mapping[str, str], ranges: Mapping[str, str]) -> Said:
    """A case in words: what was proposed, why a person is asked, and what is known of the effect.

    Args:
        case: of /v1/reviews.
        unit: of the effect.
        reasons: what each code means.
        ranges: what training saw of each feature, in words.
    """
    control = case["actions"][0]
    if (done := case["resolution"]) is not None:
        why = (f"They said: {done['why']}",) if done["why"] else ()
        given = (
            f"{done['by']} gave {done['action']} at {moment(done['at'])} UTC; the policy proposed {case['proposed']}."
        )
        headline = "Approved" if case["state"] == "approved" else "Overridden"
        return Said("good", f"{headline}: {done['action']}", (given, *why, effect_sentence(case, unit)))
    proposed = case["proposed"]
    headline = f"Proposed: do nothing ({control})" if proposed == control else f"Proposed: {proposed}"
    told = tuple(reasons.get(code, f"{code_words(code)}.") for code in case["codes"])
    flags = tuple(flag_sentence(flag, ranges) for flag in case.get("flags") or ())
    waits = (
        f"It waits since {moment(case['made_at'])} UTC, of the campaign {case['campaign']}. Nothing is done until a "
        f"person decides; {case['unit']} has {control} meanwhile."
    )
    return Said("unclear", headline, (*told, effect_sentence(case, unit), _threshold(case, unit), *flags, waits))


def _threshold(case: Json, unit: Unit) -> str:
    if case.get("price") is not None:
        return (
            f"It is expected to cost {number(case['cost_effect'], 3)}, and leaves {unit.by(case['net_effect'])} at the "
            "price of money of its budget."
        )
    if case["threshold"] is None:
        return "Its budget treats nobody."
    return f"Its budget treats from {unit.by(case['threshold'])} on."


def held_by_another(case: Json, reviewer: str) -> str | None:
    """Who else looks at a case, as a sentence; None where nobody does."""
    claim = case["claim"]
    if claim is None or claim["by"] == reviewer:
        return None
    return f"{claim['by']} looks at this case since {moment(claim['at'])} UTC, until {moment(claim['until'])} at most."


def feature_rows(case: Json, ranges: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """What is known of the unit, and what training saw of it.

    Args:
        case: of /v1/reviews.
        ranges: what training saw of each feature, in words.
    """
    return [(str(name), shown_value(value), ranges.get(name, "")) for name, value in case["features"].items()]
