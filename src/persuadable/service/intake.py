"""Intake: units' features into the model's matrix, by the same rules as the contract's own check, without a frame."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from persuadable.contract import FeatureContract, FeatureRule, ViolationCode
from persuadable.errors import ContractError, ParameterError
from persuadable.features import label_text
from persuadable.service.records import Flag
from persuadable.service.wire import MOST_FAULTS, Fault, Unit, pointer

__all__ = ["Answers", "Intake", "Refused", "Taken"]

Lenient = Literal["flag", "clip", "fallback"]
Answer = Literal["refuse", "flag", "clip", "fallback"]
Counts = Mapping[tuple[ViolationCode, Answer], int]

FLOAT32_MAX = float(np.finfo(np.float32).max)
NOTHING = float("nan")
ABSENT = object()
NUMBERS = frozenset({float, int, bool})


@dataclass(frozen=True, slots=True)
class Answers:
    """What is done about each kind of violation.

    "refuse" refuses the request. "flag" lets it pass and says so: an unknown column is dropped, a number out of range
    is kept, and everything else counts as a missing value. "clip" takes the nearest bound and says so. "fallback" lets
    it pass in the same way, but takes no action for the unit.

    Raises:
        ParameterError: an answer that does not exist, or "clip" for anything but a number out of range.
    """

    missing_column: Answer = "refuse"
    unknown_column: Answer = "flag"
    wrong_type: Answer = "refuse"
    out_of_range: Answer = "clip"
    unseen_category: Answer = "fallback"
    missing_value: Answer = "fallback"

    def __post_init__(self) -> None:
        for field in fields(self):
            answer = getattr(self, field.name)
            allowed = ["refuse", "flag", *(["clip"] if field.name == "out_of_range" else []), "fallback"]
            if answer not in allowed:
                raise ParameterError(
                    f"The answer to {field.name.replace('_', '-')!r} is {answer!r}",
                    remedy=f"Choose one of {', '.join(allowed)}.",
                )

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """Answers by violation code; the others keep their defaults.

        Raises:
            ParameterError: an unknown code, or an answer it may not have.
        """
        known = [field.name.replace("_", "-") for field in fields(cls)]
        for code in told:
            if code not in known:
                raise ParameterError(f"There is no violation {code!r}", remedy=f"The codes are {', '.join(known)}.")
        return cls(**{code.replace("-", "_"): answer for code, answer in told.items()})

    def to(self, code: ViolationCode) -> Answer:
        """The answer to a kind of violation."""
        answer: Answer = getattr(self, code.replace("-", "_"))
        return answer


class Taken(NamedTuple):
    """Units' features as the model takes them.

    Attributes:
        values: (n, d) float32, C-contiguous; categories as codes, NaN is a missing value.
        flags: per unit, how its features broke the contract.
        fallback: (n,) whose features ask for no action.
        counts: (violation code, answer) → how often.
    """

    values: NDArray[np.float32]
    flags: tuple[tuple[Flag, ...], ...]
    fallback: NDArray[np.bool_]
    counts: Counts


class Refused(ContractError):
    """Features break the contract in a way that is refused.

    Attributes:
        faults: where and how, up to 20.
        counts: (violation code, answer) → how often, in all of the request.
    """

    def __init__(self, faults: Sequence[Fault], counts: Counts) -> None:
        self.faults, self.counts = tuple(faults[:MOST_FAULTS]), counts
        super().__init__(self.faults[0].detail.rstrip("."), where=self.faults[0].pointer)

    def under(self, place: str) -> list[Fault]:
        """The faults with their pointers below a place."""
        return [Fault(f"{place}{at}", detail) for at, detail in self.faults]


@dataclass(frozen=True, slots=True)
class _Column:
    """A feature's rule, laid out for reading one value at a time.

    Attributes:
        name: the feature.
        low, high: the least and greatest float64 that round, as float32, into the range; infinite for a category.
        codes: label → code of a category; None for a number.
        rule: the contract's own.
    """

    name: str
    low: float
    high: float
    codes: Mapping[str, float] | None
    rule: FeatureRule


class Intake:
    """Reads units' features under a contract.

    Args:
        contract: what features may be.
        answers: what is done where they are not.
    """

    def __init__(self, contract: FeatureContract, answers: Answers | None = None) -> None:
        self.contract = contract
        self.answers = answers or Answers()
        self._columns = tuple(_column(rule) for rule in contract.rules)
        self._names = frozenset(column.name for column in self._columns)

    def take(self, units: Sequence[Unit]) -> Taken:
        """The units' features, all of them or none.

        Raises:
            Refused: with pointers into the request, such as /units/3/features/age.
        """
        _, taken, refused = self.sift(units)
        if refused:
            faults = [fault for i, refusal in refused.items() for fault in refusal.under(f"/units/{i}")]
            raise Refused(faults, _total([taken.counts, *(refusal.counts for refusal in refused.values())]))
        return taken

    def sift(self, units: Sequence[Unit]) -> tuple[list[int], Taken, dict[int, Refused]]:
        """The units whose features are taken, by index; what was taken of them; and the refusals of the others.

        Pointers are into the unit, such as /features/age.
        """
        kept: list[int] = []
        cells: list[float] = []
        flags: list[tuple[Flag, ...]] = []
        counts: Counter[tuple[ViolationCode, Answer]] = Counter()
        refused: dict[int, Refused] = {}
        for i, unit in enumerate(units):
            row: list[float] = []
            findings = self._read(unit.features, row)
            if findings and any(finding.answer == "refuse" for finding in findings):
                faults = [finding.fault() for finding in findings if finding.answer == "refuse"]
                refused[i] = Refused(faults, Counter((finding.code, finding.answer) for finding in findings))
                continue
            kept.append(i)
            cells += row
            flags.append(tuple(finding.flag() for finding in findings) if findings else ())
            if findings:
                counts.update((finding.code, finding.answer) for finding in findings)
        values = np.array(cells, dtype=np.float32).reshape(len(kept), len(self._columns))
        fallback = np.array([any(flag.answer == "fallback" for flag in of) if of else False for of in flags], np.bool_)
        return kept, Taken(values, tuple(flags), fallback, counts), refused

    def _read(self, features: Mapping[str, Any], row: list[float]) -> list[_Finding]:
        """Append a unit's values to ``row``; what breaks the contract."""
        get, findings, absent = features.get, list[_Finding](), 0
        for column in self._columns:
            value = get(column.name, ABSENT)
            codes = column.codes
            if codes is None:
                if type(value) in NUMBERS and column.low <= value <= column.high:
                    row.append(value)
                    continue
            elif type(value) is str and value in codes:
                row.append(codes[value])
                continue
            absent += value is ABSENT
            row.append(self._mend(column, value, findings))
        if len(features) != len(self._columns) - absent:
            unknown = (name for name in features if name not in self._names)
            return [self._unknown(name) for name in unknown] + findings
        return findings

    def _mend(self, column: _Column, value: Any, findings: list[_Finding]) -> float:
        """What a value that is not plainly right counts as; what is wrong with it, if anything."""
        rule = column.rule
        if value is ABSENT:
            return self._broken(findings, "missing-column", column, "is absent", "Send it")
        if value is None or value != value:
            if not rule.missing:
                self._broken(findings, "missing-value", column, "is missing, which it never was in training", "Send it")
            return NOTHING
        if column.codes is not None:
            return self._category(column, label_text(value), findings)
        if type(value) is str:
            return self._broken(findings, "wrong-type", column, "is text, expected a number", "Send a number")
        return self._out_of_range(column, float(value), findings)

    def _category(self, column: _Column, label: str, findings: list[_Finding]) -> float:
        assert column.codes is not None
        if label in column.codes:
            return column.codes[label]
        known = ", ".join(map(repr, list(column.codes)[:5])) + (" …" if len(column.codes) > 5 else "")
        said = f"holds the unseen category {label[:60]!r}"
        return self._broken(findings, "unseen-category", column, said, f"Known are {known}")

    def _out_of_range(self, column: _Column, value: float, findings: list[_Finding]) -> float:
        low, high = column.rule.low, column.rule.high
        if low is None or high is None:
            low, high = -FLOAT32_MAX, FLOAT32_MAX
        span = f"[{low:.6g}, {high:.6g}]"
        self._broken(findings, "out-of-range", column, f"holds {value:.6g}, outside {span}", f"Send a number in {span}")
        if self.answers.out_of_range != "clip":
            low, high = -FLOAT32_MAX, FLOAT32_MAX
        return min(max(value, low), high)

    def _broken(self, findings: list[_Finding], code: ViolationCode, column: _Column, what: str, remedy: str) -> float:
        said = f"Feature {column.name!r} {what}. {remedy}."
        findings.append(_Finding(code, column.name, self.answers.to(code), said))
        return NOTHING

    def _unknown(self, name: str) -> _Finding:
        said = f"There is no feature {name!r} in the model. Leave it out; GET /v1/contract lists the features."
        return _Finding("unknown-column", name, self.answers.unknown_column, said)


@dataclass(frozen=True, slots=True)
class _Finding:
    code: ViolationCode
    feature: str
    answer: Answer
    detail: str

    def flag(self) -> Flag:
        assert self.answer != "refuse"
        return Flag(self.code, self.feature, self.answer)

    def fault(self) -> Fault:
        return Fault(pointer("features", self.feature), self.detail)


def _total(counts: Sequence[Counts]) -> Counts:
    total: Counter[tuple[ViolationCode, Answer]] = Counter()
    for some in counts:
        total.update(some)
    return total


def _column(rule: FeatureRule) -> _Column:
    if rule.column.kind == "category":
        codes = {label: float(code) for code, label in enumerate(rule.column.categories)}
        return _Column(rule.column.name, -math.inf, math.inf, codes, rule)
    low = -FLOAT32_MAX if rule.low is None else rule.low
    high = FLOAT32_MAX if rule.high is None else rule.high
    return _Column(rule.column.name, -_greatest(-low), _greatest(high), None, rule)


def _greatest(bound: float) -> float:
    """The greatest float64 that is no greater than ``bound`` once both are rounded to float32.

    It lies half-way to the next float32 if that rounds down to an even last bit, and just below otherwise.
    """
    at = np.float32(bound)
    if at == np.float32(FLOAT32_MAX):
        return math.nextafter((FLOAT32_MAX + 2.0**128) / 2.0, 0.0)
    half_way = (float(at) + float(np.nextafter(at, np.float32(np.inf)))) / 2.0
    return half_way if np.float32(half_way) <= at else math.nextafter(half_way, -math.inf)
