"""FeatureContract: what features looked like in training, checked the same way ever after."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import ContractError, FeatureError
from persuadable.features import Column, Features, is_frame, native_frame, read_column
from persuadable.log import DecisionLog

__all__ = ["FeatureContract", "FeatureRule", "Violation", "ViolationCode"]

ViolationCode = Literal[
    "missing-column", "unknown-column", "wrong-type", "out-of-range", "unseen-category", "missing-value"
]
FORMAT = 1
UNREADABLE = (OSError, UnicodeError, json.JSONDecodeError, RecursionError, OverflowError, KeyError, TypeError)
Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FeatureRule:
    """What one feature may be.

    Attributes:
        column: its name, kind and categories.
        low, high: the range seen in training, for a number.
        missing: whether missing values were seen in training.
    """

    column: Column
    low: float | None
    high: float | None
    missing: bool


@dataclass(frozen=True, slots=True)
class Violation:
    """One way in which a frame breaks the contract.

    Attributes:
        code: what kind of violation.
        feature: the column.
        row: first row concerned, or None for the whole column.
        rows: how many rows.
        message: what is wrong, in words.
    """

    code: ViolationCode
    feature: str
    row: int | None
    rows: int
    message: str


@dataclass(frozen=True, slots=True)
class FeatureContract:
    """Names, types, ranges and categories of the features a model was fitted on.

    Attributes:
        rules: one per feature, in the model's order.
    """

    rules: tuple[FeatureRule, ...]

    @classmethod
    def learn(cls, log: DecisionLog | Features) -> FeatureContract:
        """The contract the features of a log fulfil."""
        features = log.features if isinstance(log, DecisionLog) else log
        return cls(tuple(_rule(column, features.values[:, j]) for j, column in enumerate(features.columns)))

    @property
    def columns(self) -> tuple[Column, ...]:
        """The features, in the model's order."""
        return tuple(rule.column for rule in self.rules)

    def check(self, data: Any) -> list[Violation]:
        """Every way in which a frame breaks the contract; empty where it does not.

        Args:
            data: a pandas, polars or pyarrow frame, ``Features``, or an (n, d) array in the model's order.
        """
        if isinstance(data, Features):
            data = data.frame()
        if not is_frame(data):
            data = Features.of(data, self.columns).frame()
        frame = native_frame(data)
        known = {column.name for column in self.columns}
        found = [
            Violation("unknown-column", name, None, len(frame), f"Column {name!r} is not a feature of the model")
            for name in frame.columns
            if name not in known
        ]
        for rule in self.rules:
            found += _check_column(rule, frame)
        return found

    def validate(self, data: Any, *, allow: Collection[str] = ("unknown-column",)) -> Features:
        """The features of a frame that fulfils the contract.

        Args:
            data: as in :meth:`check`.
            allow: kinds of violation to let pass.

        Raises:
            ContractError: naming the first violation not allowed, its row, and how many more there are.
        """
        broken = [violation for violation in self.check(data) if violation.code not in allow]
        if broken:
            first, more = broken[0], len(broken) - 1
            raise ContractError(
                first.message + (f"; {more} more violation{'s' if more > 1 else ''}" if more else ""),
                where=None if first.row is None else f"row {first.row}, {first.rows} in all",
                remedy=f"Mend the data, or let this pass with allow=({first.code!r}, …); check() lists all.",
            )
        return Features.of(data, self.columns)

    def to_dict(self) -> dict[str, Any]:
        """The contract as plain JSON values."""
        return {"format": FORMAT, "features": [asdict(rule) for rule in self.rules]}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> FeatureContract:
        """The contract back from :meth:`to_dict`.

        Raises:
            ContractError: a document of another or a newer format, or one that is damaged.
        """
        try:
            _require_format(document)
            return cls(_read_rules(document))
        except (KeyError, TypeError, OverflowError) as error:
            raise ContractError(f"The contract is damaged: {error}", remedy="Learn it again.") from error

    def save(self, path: str | PathLike[str]) -> None:
        """Write the contract as JSON."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: str | PathLike[str]) -> FeatureContract:
        """Read a contract written by :meth:`save`.

        Raises:
            ContractError: there is no such file, or it holds no contract this version reads.
        """
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
            _require_format(document)
            return cls(_read_rules(document))
        except UNREADABLE as error:
            raise ContractError(
                f"{str(path)!r} holds no contract: {error}", remedy="Pass a file written by FeatureContract.save."
            ) from error


def _require_format(document: Any) -> None:
    if not isinstance(document, Mapping):
        raise TypeError(f"a contract is an object, not a {type(document).__name__}")
    if document.get("format") != FORMAT:
        raise ContractError(
            f"The contract has format {document.get('format')!r}, this version reads {FORMAT}",
            remedy="Upgrade persuadable, or learn the contract again.",
        )


def _read_rules(document: Mapping[str, Any]) -> tuple[FeatureRule, ...]:
    rules = tuple(_read_rule(told) for told in document["features"])
    if len({rule.column.name for rule in rules}) != len(rules):
        raise TypeError("a feature comes twice")
    return rules


def _read_rule(told: Mapping[str, Any]) -> FeatureRule:
    column, low, high, missing = told["column"], told["low"], told["high"], told["missing"]
    name, kind, labels = column["name"], column["kind"], column["categories"]
    if not (isinstance(name, str) and kind in ("number", "category") and isinstance(missing, bool)):
        raise TypeError(f"feature {str(name)[:80]!r}")
    texts = isinstance(labels, list | tuple) and all(isinstance(label, str) for label in labels)
    if not texts or len(set(labels)) != len(labels) or (labels and kind == "number"):
        raise TypeError(f"the categories of {name!r}")
    if low is not None or high is not None:
        numbers = all(type(v) in (int, float) and math.isfinite(v) for v in (low, high))
        if kind != "number" or not numbers or low > high:
            raise TypeError(f"the range of {name!r}")
    return FeatureRule(Column(name, kind, tuple(labels)), low, high, missing)


def _rule(column: Column, values: Values) -> FeatureRule:
    known = values[~np.isnan(values)]
    bounded = column.kind == "number" and known.size
    low, high = (float(known.min()), float(known.max())) if bounded else (None, None)
    return FeatureRule(column, low, high, missing=known.size < values.size)


def _check_column(rule: FeatureRule, frame: Any) -> list[Violation]:
    name, everywhere = rule.column.name, np.ones(len(frame), dtype=np.bool_)
    if name not in frame.columns:
        return [_violation("missing-column", rule, everywhere, "is absent")]
    is_category = rule.column.kind == "category"
    try:
        values, column = read_column(frame[name], as_category=is_category)
    except FeatureError:
        return [_violation("wrong-type", rule, everywhere, f"has type {frame[name].dtype}")]
    absent = np.isnan(values)
    if column.kind != rule.column.kind and not absent.all():
        return [_violation("wrong-type", rule, everywhere, f"is a {column.kind}, expected a {rule.column.kind}")]
    found = _unseen(rule, column, values) if is_category else _out_of_range(rule, values)
    if absent.any() and not rule.missing:
        found.append(_violation("missing-value", rule, absent, "is missing, which it never was in training"))
    return found


def _unseen(rule: FeatureRule, column: Column, codes: Values) -> list[Violation]:
    strange = [i for i, label in enumerate(column.categories) if label not in rule.column.categories]
    wrong = np.isin(codes, strange)
    if not wrong.any():
        return []
    label = column.categories[int(codes[wrong][0])]
    return [_violation("unseen-category", rule, wrong, f"holds the unseen category {label!r}")]


def _out_of_range(rule: FeatureRule, values: Values) -> list[Violation]:
    if rule.low is None or rule.high is None:
        return []
    with np.errstate(invalid="ignore"):
        wrong = (values < np.float32(rule.low)) | (values > np.float32(rule.high))
    if not wrong.any():
        return []
    span = f"[{rule.low:.6g}, {rule.high:.6g}]"
    return [_violation("out-of-range", rule, wrong, f"holds {values[wrong][0]:.6g}, outside {span}")]


def _violation(code: ViolationCode, rule: FeatureRule, wrong: Any, what: str) -> Violation:
    rows = np.flatnonzero(wrong)
    row = None if code in ("missing-column", "wrong-type") else int(rows[0])
    return Violation(code, rule.column.name, row, int(rows.size), f"Feature {rule.column.name!r} {what}")
