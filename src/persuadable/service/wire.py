"""The wire: bytes into requests, and one clear error for everything that is none.

JSON is read by orjson, which refuses what is not UTF-8, not JSON, not finite or nested too deep, and checked here. Of a
name that comes twice in an object the last counts; an optional member that is null counts as absent. What is allowed is
said once, in the constants below: the schemas of the API's description are built from them. Answers are written by
:mod:`persuadable.service.encoding`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

import orjson

from persuadable.errors import PersuadableError
from persuadable.service.records import OutcomeReport, Outcomes

__all__ = [
    "ExplainRequest",
    "Fault",
    "ReviewRequest",
    "ScoreRequest",
    "Terms",
    "Unit",
    "WireError",
    "pointer",
    "read_explain",
    "read_line",
    "read_lines",
    "read_outcomes",
    "read_query",
    "read_request",
    "read_review",
    "read_row",
]

LONGEST_UNIT = 256
LONGEST_CAMPAIGN = 64
LONGEST_OUTCOME = 128
LONGEST_ID = 64
LONGEST_REVIEWER = 128
LONGEST_NAME = 256
LONGEST_TEXT = 1_000
LARGEST_OUTCOME = 1e15  # beyond it sums of a store would overflow or forget their small parts
MOST_FEATURES = 2_000
MOST_PEOPLE = 2**53 - 1
LARGEST_MONEY = 1e12  # in millionths a database's integers hold it, and sums of it
MOST_ELIGIBLE = 1_000
MOST_FAULTS = 20
DEFAULT_CAMPAIGN = "default"

# Names go into databases, logs and pages: no control characters. Text in features may have line breaks, but no NUL.
NAME_PATTERN = r"^[^\u0000-\u001f\u007f]*$"
TEXT_PATTERN = r"^[^\u0000]*$"
# Lone surrogates cannot come in JSON, but in a query string they might; nothing can store them.
_control = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]").search

T = TypeVar("T")


class Fault(NamedTuple):
    """One place in a request and what is wrong there.

    Attributes:
        pointer: JSON pointer (RFC 6901) into the body, or the name of a query parameter.
        detail: what is wrong, and what to do about it.
    """

    pointer: str
    detail: str


class WireError(PersuadableError):
    """A request that cannot be read (status 400) or says what it may not (status 422)."""

    def __init__(self, status: int, faults: Sequence[Fault]) -> None:
        self.status, self.faults = status, tuple(faults[:MOST_FAULTS])
        super().__init__(self.faults[0].detail.rstrip("."), where=self.faults[0].pointer or None)


class Unit(NamedTuple):
    """Someone to be scored: a name, what is known of them as JSON values, and which actions they may be given.

    ``eligible`` is None where all are; doing nothing always is.
    """

    unit: str
    features: Mapping[str, Any]
    eligible: tuple[str, ...] | None = None


class Terms(NamedTuple):
    """What a request says of its budget: of users a share or a number, or of money, or nothing."""

    budget_share: float | None = None
    budget_units: int | None = None
    population: int | None = None
    campaign: str = DEFAULT_CAMPAIGN
    budget_per_head: float | None = None
    budget_amount: float | None = None

    def said(self) -> str:
        """The same terms as text, equal for equal terms; a budget of money is part of it only where there is one.

        A batch that an earlier version began goes on under this one: its parts are told by this text.
        """
        money = ("budget_per_head", "budget_amount")
        parts = zip(self._fields, self, strict=True)
        told = [f"{name}={value!r}" for name, value in parts if value is not None or name not in money]
        return f"Terms({', '.join(told)})"


class ScoreRequest(NamedTuple):
    """Units to be scored or decided on, and the budget."""

    units: tuple[Unit, ...]
    terms: Terms


@dataclass(frozen=True, slots=True)
class ExplainRequest:
    """A unit, and the treatment whose effect is to be explained; None is the best for the unit."""

    unit: Unit
    treatment: str | None


@dataclass(frozen=True, slots=True)
class ReviewRequest:
    """What a reviewer does with a case: who, what they give, and why; None is what they did not say."""

    reviewer: str | None = None
    action: str | None = None
    why: str | None = None


def pointer(*parts: str | int) -> str:
    """The JSON pointer (RFC 6901) to a place in a document; names that are too long to be right are cut."""
    return "".join(f"/{_cut(str(part)).replace('~', '~0').replace('/', '~1')}" for part in parts)


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def read_request(raw: bytes, *, most_units: int) -> ScoreRequest:
    """The body of /v1/score and /v1/decide.

    Raises:
        WireError: naming every fault, up to 20.
    """
    faults = list[Fault]()
    document = _object(raw, REQUEST, faults)
    units = _each(document, "units", most_units, _unit, faults)
    terms = _terms(document, faults)
    if faults:
        raise WireError(422, faults)
    return ScoreRequest(tuple(units), terms)


def read_explain(raw: bytes) -> ExplainRequest:
    """The body of /v1/explain.

    Raises:
        WireError: naming every fault, up to 20.
    """
    faults = list[Fault]()
    document = _object(raw, {"unit", "features", "treatment"}, faults)
    _complain(document, {"unit": _wrong_unit, "treatment": _wrong_treatment}, faults)
    faults += _feature_faults(document)
    if faults:
        raise WireError(422, faults)
    return ExplainRequest(Unit(document.get("unit", ""), document["features"]), document.get("treatment"))


def read_review(raw: bytes, *, known: Sequence[str], required: Sequence[str] = ()) -> ReviewRequest:
    """The body of what is done with a case; nothing at all is an empty object.

    Args:
        raw: the body.
        known: which of "reviewer", "action" and "why" it may have.
        required: which it must have.

    Raises:
        WireError: naming every fault, up to 20.
    """
    faults = list[Fault]()
    document = _object(raw, set(known), faults) if raw else {}
    faults += [Fault(f"/{name}", f"{name} is missing.") for name in required if name not in document]
    _complain(document, {name: REVIEW[name] for name in known}, faults)
    if faults:
        raise WireError(422, faults)
    return ReviewRequest(**document)


def read_outcomes(raw: bytes, *, most: int) -> Outcomes:
    """The body of /v1/outcomes.

    Raises:
        WireError: naming every fault, up to 20.
    """
    faults = list[Fault]()
    document = _object(raw, {"outcomes"}, faults)
    reports = _each(document, "outcomes", most, _report, faults)
    if faults:
        raise WireError(422, faults)
    return Outcomes(tuple(reports))


def read_query(query: Mapping[str, str]) -> Terms:
    """The budget as a query string says it: ``budget_share=0.3``, or ``budget_amount=100&population=1000``.

    Raises:
        WireError: naming every fault; pointers are names of parameters. Other parameters are left alone.
    """
    told: dict[str, Any] = {name: query[name] for name in TERMS if name in query}
    for name in told.keys() & NUMBERS:
        try:
            told[name] = orjson.loads(told[name])
        except orjson.JSONDecodeError:
            continue  # it stays text, which is no number
    faults = list[Fault]()
    terms = _terms(told, faults)
    if faults:
        raise WireError(422, [Fault(place.removeprefix("/"), detail) for place, detail in faults])
    return terms


def read_line(raw: bytes) -> Unit:
    """A line of a batch: ``{"unit": …, "features": {…}}``, and maybe ``"eligible": […]``.

    Raises:
        WireError: naming every fault, up to 20.
    """
    return _unit(_json(raw))


def read_lines(lines: Iterable[bytes]) -> Iterator[tuple[int, Unit | WireError]]:
    """Each line that is not blank, with its number from 1."""
    for number, raw in enumerate(lines, start=1):
        if raw and not raw.isspace():
            try:
                yield number, read_line(raw)
            except WireError as error:
                yield number, error


def read_row(row: Mapping[str, Any], allowed: Mapping[str, str | None] | None = None) -> Unit:
    """A row of a table: the column ``unit``, and one column per feature in which NaN is a missing value.

    Args:
        row: column → value.
        allowed: treatment → the column that says whether the unit may be given it, true or missing if so; None of one
            that anybody may be given. Without any, nothing is said of it.

    Raises:
        WireError: naming every fault, up to 20, as if the row were a line.
    """
    columns = {column for column in (allowed or {}).values() if column is not None}
    features = {name: _cell(row[name]) for name in row if name != "unit" and name not in columns}
    told = {"unit": row.get("unit"), "features": features}
    if columns:
        told["eligible"] = _row_eligible(row, allowed or {})
    if any(type(value) is float and math.isinf(value) for value in features.values()):
        raise WireError(422, _unit_faults(told))
    return _unit(told)


def _row_eligible(row: Mapping[str, Any], allowed: Mapping[str, str | None]) -> list[str] | None:
    """The treatments that a row allows; None where it allows all."""
    wrong = [name for name in allowed.values() if name is not None and row[name] not in (None, True, False)]
    if wrong:
        faults = [Fault("/eligible", f"{name!r} is {_shown(row[name])}, expected true or false.") for name in wrong]
        raise WireError(422, faults)
    may = [label for label, name in allowed.items() if name is None or row[name] in (None, True)]
    return None if len(may) == len(allowed) else may


def _cell(value: Any) -> Any:
    """A table's value as JSON has it: NaN is null, and integers have 64 bits."""
    if type(value) is float and math.isnan(value):
        return None
    return float(value) if type(value) is int and not -(2**63) <= value < 2**64 else value


def _json(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise WireError(400, [Fault("", f"This is not JSON: {error}. Send a JSON object in UTF-8.")]) from None


def _object(raw: bytes, known: Set[str], faults: list[Fault]) -> dict[str, Any]:
    """The members of a body; null is as good as absent."""
    document = _json(raw)
    if type(document) is not dict:
        raise WireError(422, [Fault("", f"The body is {_shown(document)}. Send a JSON object.")])
    _refuse_others(document, known, faults)
    return _without_nulls(document)


def _without_nulls(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if value is not None}


def _shown(value: Any) -> str:
    """A value as a message quotes it: short, on one line."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    text = ascii(value) if not isinstance(value, bool | None) else {None: "null", True: "true", False: "false"}[value]
    return text if len(text) <= 60 else f"{text[:57]}…"


def _refuse_others(document: Mapping[str, Any], known: Set[str], faults: list[Fault]) -> None:
    if others := [name for name in document if name not in known]:
        names = ", ".join(sorted(known))
        # More would not be told, and a stranger can send a million.
        faults += [
            Fault(pointer(n), f"There is no member {_shown(n)}. Known are {names}.") for n in others[:MOST_FAULTS]
        ]


def _complain(
    document: Mapping[str, Any], members: Mapping[str, Callable[[Any], str | None]], faults: list[Fault]
) -> None:
    """Note what is wrong with those members that are there."""
    for name, wrong in members.items():
        if name in document and (why := wrong(document[name])):
            faults.append(Fault(f"/{name}", f"{name} is {_shown(document[name])}, {why}."))


def _each(document: Mapping[str, Any], name: str, most: int, read: Callable[[Any], T], faults: list[Fault]) -> list[T]:
    """The members of a list, each as ``read`` reads it; what it refuses is noted under its place."""
    told = document.get(name)
    if type(told) is not list or not 1 <= len(told) <= most:
        size = f"has {len(told):,}" if type(told) is list else f"is {_shown(told)}"
        what = size if name in document else "is missing"
        faults.append(Fault(f"/{name}", f"{name} {what}. Send a list of 1 to {most:,}."))
        return []
    found = []
    for i, item in enumerate(told):
        try:
            found.append(read(item))
        except WireError as error:
            faults += [Fault(f"/{name}/{i}{place}", detail) for place, detail in error.faults]
            if len(faults) >= MOST_FAULTS:
                break
    return found


# --- names and numbers: each function says what a value ought to have been, or None where it is right -----------------


def _wrong_name(value: Any, longest: int, least: int = 1) -> str | None:
    if type(value) is str and least <= len(value) <= longest and not _control(value):
        return None
    return f"expected text of {least} to {longest} characters without control characters"


def _wrong_unit(value: Any) -> str | None:
    return _wrong_name(value, LONGEST_UNIT)


def _wrong_campaign(value: Any) -> str | None:
    return _wrong_name(value, LONGEST_CAMPAIGN)


def _wrong_treatment(value: Any) -> str | None:
    return _wrong_name(value, LONGEST_TEXT)


def _wrong_share(value: Any) -> str | None:
    return None if type(value) in (int, float) and 0 <= value <= 1 else "expected a number from 0 to 1"


def _wrong_count(value: Any, least: int = 0) -> str | None:
    if type(value) in (int, float) and least <= value <= MOST_PEOPLE and value == int(value):
        return None
    return f"expected a whole number from {least}"


def _wrong_population(value: Any) -> str | None:
    return _wrong_count(value, 1)


def _wrong_money(value: Any) -> str | None:
    fits = type(value) in (int, float) and 0 <= value <= LARGEST_MONEY
    return None if fits else f"expected a number from 0 to {LARGEST_MONEY:g}"


def _wrong_reviewer(value: Any) -> str | None:
    return _wrong_name(value, LONGEST_REVIEWER)


def _wrong_why(value: Any) -> str | None:
    fits = type(value) is str and 1 <= len(value) <= LONGEST_TEXT and "\0" not in value
    return None if fits else f"expected text of 1 to {LONGEST_TEXT:,} characters without NUL"


REVIEW: Mapping[str, Callable[[Any], str | None]] = {
    "reviewer": _wrong_reviewer,
    "action": _wrong_treatment,
    "why": _wrong_why,
}
TERMS: Mapping[str, Callable[[Any], str | None]] = {
    "budget_share": _wrong_share,
    "budget_units": _wrong_count,
    "budget_per_head": _wrong_money,
    "budget_amount": _wrong_money,
    "population": _wrong_population,
    "campaign": _wrong_campaign,
}
NUMBERS = TERMS.keys() - {"campaign"}
REQUEST = {"units", *TERMS}


def _terms(document: Mapping[str, Any], faults: list[Fault]) -> Terms:
    before = len(faults)
    _complain(document, TERMS, faults)
    if "budget_share" in document and "budget_units" in document:
        faults.append(Fault("/budget_units", "Both budget_share and budget_units are given. Send one of them."))
    if "population" in document and "budget_units" not in document and "budget_amount" not in document:
        said = "population is given without budget_units or budget_amount. Send it with one of them."
        faults.append(Fault("/population", said))
    if len(faults) > before:
        return Terms()
    get = document.get
    share, units, population = get("budget_share"), get("budget_units"), get("population")
    per_head, amount = get("budget_per_head"), get("budget_amount")
    return Terms(
        None if share is None else float(share),
        None if units is None else int(units),
        None if population is None else int(population),
        get("campaign", DEFAULT_CAMPAIGN),
        None if per_head is None else float(per_head),
        None if amount is None else float(amount),
    )


# --- units --------------------------------------------------------------------------------------------------------


def _unit(told: Any) -> Unit:
    """A unit, checked quickly; only where something is wrong is it looked for."""
    if type(told) is dict and (len(told) == 2 or (len(told) == 3 and "eligible" in told)):
        unit, features = told.get("unit"), told.get("features")
        if type(unit) is str and _wrong_unit(unit) is None and type(features) is dict and _are_features(features):
            eligible = told.get("eligible")
            if eligible is None:
                return Unit(unit, features)
            if _wrong_eligible(eligible) is None:
                return Unit(unit, features, tuple(eligible))
    raise WireError(422, _unit_faults(told))


def _wrong_eligible(value: Any) -> str | None:
    fits = type(value) is list and len(value) <= MOST_ELIGIBLE
    if fits and all(_wrong_treatment(label) is None for label in value):
        return None
    return f"expected a list of at most {MOST_ELIGIBLE:,} actions by label"


def _are_features(features: dict[str, Any]) -> bool:
    if len(features) > MOST_FEATURES:
        return False
    for name, value in features.items():
        if type(value) is str:
            if len(value) > LONGEST_TEXT or "\0" in value:
                return False
        elif type(value) not in SCALARS:
            return False
        if len(name) > LONGEST_NAME or "\0" in name:
            return False
    return True


SCALARS = frozenset({str, int, float, bool, type(None)})


def _unit_faults(told: Any) -> list[Fault]:
    if type(told) is not dict:
        return [Fault("", f"This is {_shown(told)}. Send an object with unit and features.")]
    faults = list[Fault]()
    _refuse_others(told, {"unit", "features", "eligible"}, faults)
    if "unit" not in told:
        faults.append(Fault("/unit", "unit is missing. Name whom this is about."))
    _complain(told, {"unit": _wrong_unit}, faults)
    _complain(_without_nulls(told), {"eligible": _wrong_eligible}, faults)
    return faults + _feature_faults(told)


def _feature_faults(told: Mapping[str, Any]) -> list[Fault]:
    """What is wrong with the member ``features``."""
    features = told.get("features")
    if type(features) is not dict or len(features) > MOST_FEATURES:
        what = "is missing" if "features" not in told else f"is {_shown(features)}"
        expected = f"Send an object of at most {MOST_FEATURES:,} features, name to value."
        return [Fault("/features", f"features {what}. {expected}")]
    found = ((name, _wrong_feature(name, value)) for name, value in features.items())
    return [Fault(f"/features{pointer(name)}", f"{why}.") for name, why in found if why]


def _wrong_feature(name: str, value: Any) -> str | None:
    if len(name) > LONGEST_NAME or "\0" in name:
        return f"A feature's name is text of at most {LONGEST_NAME} characters without NUL"
    if type(value) not in SCALARS or (type(value) is float and not math.isfinite(value)):
        return f"Feature {_shown(name)} is {_shown(value)}, expected a finite number, text, true, false or null"
    if type(value) is str and (len(value) > LONGEST_TEXT or "\0" in value):
        return f"Feature {_shown(name)} is text of over {LONGEST_TEXT:,} characters, or with a NUL"
    return None


# --- outcomes -----------------------------------------------------------------------------------------------------


def _report(told: Any) -> OutcomeReport:
    if type(told) is not dict:
        raise WireError(422, [Fault("", f"This is {_shown(told)}. Send an object.")])
    faults = list[Fault]()
    _refuse_others(told, OUTCOME.keys(), faults)
    told = _without_nulls(told)
    faults += [
        Fault(f"/{name}", f"{name} is missing.") for name in ("decision_id", "name", "value") if name not in told
    ]
    _complain(told, OUTCOME, faults)
    if faults:
        raise WireError(422, faults)
    observed = told.get("observed_at")
    moment = None if observed is None else _moment(observed)
    return OutcomeReport(told["decision_id"], told["name"], float(told["value"]), moment)


def _wrong_id(value: Any) -> str | None:
    return _wrong_name(value, LONGEST_ID)


def _wrong_outcome(value: Any) -> str | None:
    return _wrong_name(value, LONGEST_OUTCOME)


def _wrong_value(value: Any) -> str | None:
    fits = type(value) in (int, float) and abs(value) <= LARGEST_OUTCOME
    return None if fits else f"expected a number of at most {LARGEST_OUTCOME:g} either way"


def _wrong_moment(value: Any) -> str | None:
    if type(value) is str and _moment(value) is not None:
        return None
    return "expected a time with its offset from UTC (ISO 8601), such as 2030-01-31T09:00:00Z"


def _moment(text: str) -> datetime | None:
    """A moment in UTC; None where the text is none, or has no offset."""
    try:
        moment = datetime.fromisoformat(text)
        return None if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


OUTCOME: Mapping[str, Callable[[Any], str | None]] = {
    "decision_id": _wrong_id,
    "name": _wrong_outcome,
    "value": _wrong_value,
    "observed_at": _wrong_moment,
}
