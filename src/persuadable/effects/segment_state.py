"""A fitted SegmentLearner as JSON values and bytes, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from persuadable.effects.contest import Candidate
from persuadable.effects.fitting import clone
from persuadable.effects.learner import Learner
from persuadable.effects.segments import SegmentDecision, SegmentLearner, SegmentWeight
from persuadable.effects.state import learner_from_state, learner_state
from persuadable.errors import BundleError, PersuadableError

__all__ = ["segments_from_state", "segments_state"]


def segments_state(learner: SegmentLearner) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(description, ensembles), as ``learner_state`` has them of a single learner.

    Raises:
        NotFittedError: before ``fit``.
    """
    learner._outcome(None)
    blobs: dict[str, bytes] = {}

    def kept(model: Learner, prefix: str) -> dict[str, Any]:
        description, own = learner_state(model)
        blobs.update({f"{prefix}-{name}": blob for name, blob in own.items()})
        return description

    description = {
        "kind": "SegmentLearner",
        "parameters": {
            "by": learner.by,
            "shrink": learner.shrink if learner.shrink == "auto" else float(learner.shrink),
            "min_rows": int(learner.min_rows),
            "share": float(learner.share),
            "alpha": float(learner.alpha),
        },
        "global": kept(learner.global_, "global"),
        "segments": [
            {"label": label, "learner": kept(model, f"segment-{i}")}
            for i, (label, model) in enumerate(learner.segments_.items())
        ],
        "decisions": [asdict(learner.decisions_[name]) for name in learner.outcomes_],
    }
    return description, blobs


def segments_from_state(description: Mapping[str, Any], blobs: Mapping[str, bytes]) -> SegmentLearner:
    """The learner back from :func:`segments_state`; its effects are bit-equal.

    Raises:
        BundleError: something is missing, or does not fit.
    """

    def part(prefix: str) -> dict[str, bytes]:
        return {name.removeprefix(prefix): blob for name, blob in blobs.items() if name.startswith(prefix)}

    try:
        _require(description["kind"] == "SegmentLearner", f"its kind is {str(description['kind'])[:80]!r}")
        everybody = learner_from_state(description["global"], part("global-"))
        learner = SegmentLearner(clone(everybody), **description["parameters"])
        learner._check()
        learner.global_ = everybody
        learner.fitted_on, learner.actions_ = everybody.fitted_on, everybody.actions_
        learner.outcomes_, learner.columns_ = everybody.outcomes_, everybody.columns_
        labels = _labels(learner)
        learner.segments_ = {}
        for i, told in enumerate(description["segments"]):
            own = learner_from_state(told["learner"], part(f"segment-{i}-"))
            alike = (own.actions_, own.outcomes_, own.columns_) == (
                everybody.actions_,
                everybody.outcomes_,
                everybody.columns_,
            )
            _require(alike and told["label"] in labels, f"segment {str(told['label'])[:80]!r} does not fit the others")
            learner.segments_[told["label"]] = own
        decisions = [_decision(told, labels) for told in description["decisions"]]
        _require(tuple(d.outcome for d in decisions) == learner.outcomes_, "the decisions are of other outcomes")
        learner.decisions_ = {decision.outcome: decision for decision in decisions}
        for name in learner.outcomes_:
            _require(learner.weights(name).keys() <= learner.segments_.keys(), "a segment lacks its model")
    except BundleError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, PersuadableError) as error:
        raise BundleError(f"The description of the segments is damaged: {error}", remedy="Save it again.") from error
    return learner


def _labels(learner: SegmentLearner) -> tuple[str, ...]:
    column = next((c for c in learner.columns_ if c.name == learner.by), None)
    if column is None or column.kind != "category":
        raise ValueError(f"{str(learner.by)[:80]!r} is no category among the features")
    return column.categories


def _decision(told: Mapping[str, Any], labels: tuple[str, ...]) -> SegmentDecision:
    segments = tuple(SegmentWeight(**row) for row in told["segments"])
    candidates = tuple(Candidate(**{**row, "interval": tuple(row["interval"])}) for row in told["candidates"])
    for row in segments:
        numbers = [number for number in (row.raw, row.stderr, row.weight) if number is not None]
        _require(row.segment in labels, f"there is no segment {str(row.segment)[:80]!r}")
        _require(type(row.rows) is int and type(row.smallest_arm) is int, "a number of rows is no number")
        sound = all(type(number) in (int, float) and math.isfinite(number) for number in numbers)
        _require(sound, "a weight is no finite number")
        _require(row.weight is None or 0 <= row.weight <= 1, f"a weight is {row.weight}")
    for candidate in candidates:
        _require(candidate.name in ("global", "pooled", "segments"), f"a candidate is {str(candidate.name)[:80]!r}")
        figures = (candidate.gain, candidate.difference, *candidate.interval)
        _require(len(figures) == 4 and all(math.isfinite(figure) for figure in figures), "a gain is not finite")
    decision = SegmentDecision(**{**told, "segments": segments, "candidates": candidates})
    _require(decision.chosen in ("global", "pooled", "segments"), f"it chose {str(decision.chosen)[:80]!r}")
    return decision


def _require(fits: bool, what: str) -> None:
    if not fits:
        raise ValueError(what)
