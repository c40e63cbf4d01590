"""The model card: what a model is, what it was learned from, how good it is and where it ends."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from persuadable.errors import ParameterError

__all__ = ["Metric", "ModelCard"]

CARD_FORMAT = 1
# Left out of the card where there is nothing to say.
ASKED_FOR = ("imbalance", "training", "archetypes", "economics", "fairness", "review")


@dataclass(frozen=True, slots=True)
class Metric:
    """A number of the card, never without its interval.

    Attributes:
        name: what was measured, such as "qini" or "policy value − random".
        value: the estimate.
        interval: (lower, upper).
        alpha: probability the interval is meant to miss.
        n: held-out rows it rests on.
        unit: in what it is measured.
        on: which rows, such as "test" or "policy at 30%".
    """

    name: str
    value: float
    interval: tuple[float, float]
    alpha: float = 0.05
    n: int = 0
    unit: str = ""
    on: str = ""

    def __post_init__(self) -> None:
        lower, upper = self.interval
        if not all(map(math.isfinite, (self.value, lower, upper))) or lower > upper:
            raise ParameterError(
                f"A metric is not a number with an interval: {self.value} ({lower} to {upper})",
                where=f"metric {self.name!r}",
                remedy="Leave out what could not be measured and say so under limits.",
            )

    @classmethod
    def of(cls, estimate: Any, name: str | None = None, *, on: str = "") -> Metric:
        """A metric of an ``Estimate`` (``persuadable.value``)."""
        lower, upper = estimate.interval
        return cls(
            name=name or estimate.name,
            value=float(estimate.value),
            interval=(float(lower), float(upper)),
            alpha=float(estimate.alpha),
            n=int(estimate.n),
            unit=estimate.unit,
            on=on,
        )


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model card, complete or not made at all.

    Attributes:
        name: what the card is of.
        data: where the rows are from: at least "name", "rows" and "fingerprint".
        estimand: the effect that is estimated, in words: of what on what, for whom, against what.
        learners: one mapping a learner: at least "name"; its parameters and its part in the decision.
        propensity: at least "source" ("logged", "estimated" or "randomised"); range, clipping.
        metrics: what was measured on held-out rows.
        limits: what the model must not be used for and what is not known; at least one.
        intended_use: the decision it was made for.
        imbalance: how rare the outcome and how uneven the arms are.
        training: settings that the models were fitted with.
        archetypes: one mapping per label: its action, size, realised uplift, and how often it is wrong.
        economics: value and cost, and spend, ROAS and profit of the policy and its alternatives.
        fairness: groups, alarms, and the price of a floor.
        review: which decisions go to people, how many, and why.
        policy: the rule that turns effects into decisions: budget, threshold, break-even.
        provenance: versions, seeds, time of making.
    """

    name: str
    data: Mapping[str, Any]
    estimand: str
    learners: tuple[Mapping[str, Any], ...]
    propensity: Mapping[str, Any]
    metrics: tuple[Metric, ...]
    limits: tuple[str, ...]
    intended_use: str
    imbalance: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    archetypes: tuple[Mapping[str, Any], ...] = ()
    economics: Mapping[str, Any] = field(default_factory=dict)
    fairness: Mapping[str, Any] = field(default_factory=dict)
    review: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part in ("name", "estimand", "intended_use"):
            if not str(getattr(self, part)).strip():
                raise _incomplete(part)
        for part in ("learners", "metrics", "limits"):
            if not getattr(self, part):
                raise _incomplete(part)
        if not all(limit.strip() for limit in self.limits):
            raise _incomplete("limits")
        for part, keys in (("data", ("name", "rows", "fingerprint")), ("propensity", ("source",))):
            for key in keys:
                if getattr(self, part).get(key) in (None, ""):
                    raise _incomplete(f"{part}.{key}")
        for place, learner in enumerate(self.learners):
            if not learner.get("name"):
                raise _incomplete(f"learners[{place}].name")

    def to_dict(self) -> dict[str, Any]:
        """The card as plain dicts, lists, strings and numbers, as ``schema`` has it."""
        content = {f.name: getattr(self, f.name) for f in fields(self)}
        content = {name: part for name, part in content.items() if part or name not in ASKED_FOR}
        content["metrics"] = [asdict(metric) for metric in self.metrics]
        plain: dict[str, Any] = json.loads(json.dumps({"format": CARD_FORMAT, **content}, default=_as_plain))
        return plain

    def to_json(self) -> str:
        """The card as JSON text with sorted keys; the same card gives the same bytes.

        Raises:
            ParameterError: a value that JSON cannot hold, NaN and infinity among them.
        """
        try:
            return json.dumps(self.to_dict(), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
        except ValueError as error:
            raise ParameterError(
                f"The card holds a number that JSON cannot: {error}",
                where=f"model card {self.name!r}",
                remedy="Use None for what is not known.",
            ) from None

    def check(self) -> None:
        """Hold the card against its published schema.

        Raises:
            ParameterError: it does not fit, with the place and what is wrong there.
        """
        from jsonschema_rs import validator_for

        wrong = next(validator_for(self.schema()).iter_errors(self.to_dict()), None)
        if wrong is not None:
            raise ParameterError(
                f"The card does not fit its schema: {wrong.message}",
                where=f"model card {self.name!r}, {'.'.join(map(str, wrong.instance_path)) or 'at the top'}",
                remedy="Mend the part named, so that whoever reads cards by the schema can read this one.",
            )

    def write(self, path: str | Path) -> Path:
        """Write the card as JSON, if it fits its schema, and return where."""
        self.check()
        target = Path(path)
        target.write_text(self.to_json(), encoding="utf-8")
        return target

    @staticmethod
    def schema() -> dict[str, Any]:
        """The JSON schema (draft 2020-12) of what ``to_json`` writes; it ships with the package."""
        text = files("persuadable.report").joinpath("model_card.schema.json").read_text(encoding="utf-8")
        told: dict[str, Any] = json.loads(text)
        return told

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """A card from its JSON text.

        Raises:
            ParameterError: not a card, an incomplete one, or one of a newer format.
        """
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise ParameterError(f"Not a model card: {error}", remedy="Pass what ModelCard.to_json() wrote.") from None
        if not isinstance(content, dict) or content.pop("format", None) != CARD_FORMAT:
            raise ParameterError(
                "Not a model card of a format this version reads",
                remedy=f"It reads format {CARD_FORMAT}; upgrade to read newer.",
            )
        known = {f.name for f in fields(cls)}
        for part in sorted(known - {"policy", "provenance", *ASKED_FOR} - content.keys()):
            raise _incomplete(part)
        content = {key: value for key, value in content.items() if key in known}
        for part in ("learners", "limits", "archetypes"):
            content[part] = tuple(content.get(part, ()))
        content["metrics"] = tuple(Metric(**{**m, "interval": tuple(m["interval"])}) for m in content["metrics"])
        return cls(**content)


def _incomplete(part: str) -> ParameterError:
    return ParameterError(
        "A model card is incomplete", where=part, remedy="Fill it in; a card with gaps is not written."
    )


def _as_plain(value: Any) -> Any:
    """What JSON has no word for: NumPy numbers and arrays, mappings, sets, paths."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Path):
        return value.as_posix()
    if hasattr(value, "tolist"):
        return value.tolist()
    raise ParameterError(
        f"A {type(value).__name__} has no place in a model card", remedy="Pass text, numbers, lists or mappings."
    )
