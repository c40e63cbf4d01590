"""A fitted learner as JSON values and bytes, and back: no pickle anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from persuadable.effects.funnel import FunnelLearner
from persuadable.effects.learner import Learner, Models
from persuadable.effects.learners import DRLearner, RLearner, SLearner, TLearner, XLearner
from persuadable.engine import TreeModel, Trees
from persuadable.engine.ensemble import check_ensemble
from persuadable.engine.responses import Scale
from persuadable.errors import BundleError
from persuadable.features import Column
from persuadable.fingerprint import Fingerprint
from persuadable.spaces import Discrete

if TYPE_CHECKING:
    from persuadable.effects.calibrated import CalibratedEffects
    from persuadable.effects.segments import SegmentLearner

__all__ = ["learner_from_state", "learner_state", "model_from_state", "model_state"]

LONGEST_LABEL, MOST_LABELS = 256, 1_000
LARGEST_SCALE = 1e100  # times the largest prediction it is still finite
KINDS: Mapping[str, type[Learner]] = {
    kind.__name__: kind for kind in (SLearner, TLearner, XLearner, RLearner, DRLearner, FunnelLearner)
}

CHOICES: Mapping[str, tuple[str, ...]] = {
    "propensity": ("auto", "known", "constant", "estimated"),
    "form": ("one-model", "two-model"),
    "weighting": ("overlap", "ipw", "rows"),
    "loss": ("auto", "squared", "logistic", "poisson"),
}


def learner_state(learner: Learner) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(description, ensembles): plain JSON values, and each ensemble's bytes under a name the description uses.

    Raises:
        NotFittedError: before ``fit``.
    """
    learner._outcome(None)
    blobs: dict[str, bytes] = {"fitted-on.u64": learner.fitted_on.ids.astype("<u8").tobytes()}

    def kept(models: Models, prefix: str) -> dict[str, str]:
        names = {stage: f"{prefix}-{stage}.ubj" for stage in models}
        blobs.update({names[stage]: model.to_bytes() for stage, model in models.items()})
        return names

    description = {
        "kind": type(learner).__name__,
        "parameters": _parameters(learner),
        "actions": list(learner.actions_),
        "outcomes": list(learner.outcomes_),
        "columns": [[c.name, c.kind, list(c.categories)] for c in learner.columns_],
        "constant_propensity": learner.constant_propensity_,
        "scales": [_scale_told(learner.scales_[name]) for name in learner.outcomes_],
        "fitted_on": fingerprint_told(learner.fitted_on),
        "models": [kept(learner.models_[name], f"{i}") for i, name in enumerate(learner.outcomes_)],
        "resamples": [
            [kept(models, f"{i}-half-{b}") for b, models in enumerate(learner.resamples_[name])]
            for i, name in enumerate(learner.outcomes_)
        ],
    }
    return description, blobs


def learner_from_state(description: Mapping[str, Any], blobs: Mapping[str, bytes]) -> Learner:
    """The learner back from :func:`learner_state`; its predictions are bit-equal.

    Raises:
        BundleError: a kind of learner this version does not know, something missing, or something that does not fit:
            every ensemble is checked before XGBoost reads it (``engine.ensemble``).
    """
    try:
        kind = description["kind"]
        if kind not in KINDS:
            raise BundleError(f"There is no learner {kind!r}", remedy="Upgrade persuadable to read this bundle.")
        learner = KINDS[kind](**_read_parameters(description["parameters"]))
        learner.actions_ = Discrete(_texts(description["actions"], "actions"))
        learner.outcomes_ = _texts(description["outcomes"], "outcomes")
        learner.columns_ = tuple(_column(*told) for told in description["columns"])
        learner.constant_propensity_ = _constant(description["constant_propensity"], len(learner.actions_))
        learner.fitted_on = Fingerprint.read(np.frombuffer(blobs["fitted-on.u64"], "<u8"), description["fitted_on"])
        learner.scales_ = _scales(description, learner.outcomes_, len(learner.actions_))
        _read_models(learner, description, blobs)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BundleError(f"The learner's description is incomplete: {error}", remedy="Save it again.") from error
    return learner


def model_state(model: Any) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(description, ensembles) of any model of effects there is: a learner, a segment learner, calibrated effects.

    Raises:
        NotFittedError: before it was fitted.
        BundleError: another model, which cannot be saved.
    """
    if isinstance(model, Learner):
        return learner_state(model)
    from persuadable.effects.calibrated import CalibratedEffects
    from persuadable.effects.segments import SegmentLearner

    if not isinstance(model, CalibratedEffects | SegmentLearner):
        raise BundleError(
            f"A {type(model).__name__} cannot be saved",
            remedy="Pass a learner, a SegmentLearner or CalibratedEffects.",
        )
    return model.state()


def model_from_state(
    description: Mapping[str, Any], blobs: Mapping[str, bytes]
) -> Learner | SegmentLearner | CalibratedEffects:
    """The model back from :func:`model_state`; its predictions are bit-equal.

    Raises:
        BundleError: as for :func:`learner_from_state`.
    """
    from persuadable.effects.calibrated import CalibratedEffects
    from persuadable.effects.segments import SegmentLearner

    kind = description.get("kind")
    if kind == "CalibratedEffects":
        return CalibratedEffects.from_state(description, blobs)
    if kind == "SegmentLearner":
        return SegmentLearner.from_state(description, blobs)
    return learner_from_state(description, blobs)


def fingerprint_told(fingerprint: Fingerprint) -> dict[str, Any]:
    """A fingerprint as JSON values, but for its identities."""
    return {"digest": fingerprint.digest, "keep_below": fingerprint.keep_below, "n": fingerprint.n}


def _read_models(learner: Learner, description: Mapping[str, Any], blobs: Mapping[str, bytes]) -> None:
    """The ensembles of every outcome and half-sample, each read once."""
    stages = learner.recipe(len(learner.actions_), learner.constant_propensity_).stages
    columns = [len(column.categories) if column.kind == "category" else None for column in learner.columns_]
    action = None if len(learner.actions_) == 2 else len(learner.actions_)  # what a stage that sees the action sees
    models: dict[tuple[str, bool], TreeModel] = {}

    def model(name: str, sees_action: bool) -> TreeModel:
        if (name, sees_action) not in models:
            try:
                check_ensemble(blobs[name], [*columns, action] if sees_action else columns)
            except ValueError as error:
                raise BundleError(
                    f"The ensemble {name!r} is damaged: {error}", remedy="Save the bundle again."
                ) from error
            models[name, sees_action] = TreeModel.from_bytes(blobs[name])
        return models[name, sees_action]

    def read(names: Mapping[str, str]) -> Models:
        _require(names.keys() == {stage.name for stage in stages}, f"its stages are {sorted(names)}")
        return {stage.name: model(names[stage.name], stage.sees_action) for stage in stages}

    told = zip(learner.outcomes_, description["models"], description["resamples"], strict=True)
    learner.models_, learner.resamples_ = {}, {}
    for outcome, names, resamples in told:
        _require(len(resamples) == learner.n_resamples, f"there are {len(resamples)} half-samples")
        learner.models_[outcome] = read(names)
        learner.resamples_[outcome] = [read(half) for half in resamples]


def _require(fits: bool | np.bool_, what: str) -> None:
    if not fits:
        raise ValueError(what)


def _texts(told: Any, what: str) -> tuple[str, ...]:
    fits = isinstance(told, list) and 0 < len(told) <= MOST_LABELS and all(_is_label(v) for v in told)
    _require(bool(fits) and len(set(told)) == len(told), f"{what} are {str(told)[:80]}")
    return tuple(told)


def _is_label(told: Any) -> bool:
    """Whether a database can keep it: short, and without control characters."""
    return isinstance(told, str) and 0 < len(told) <= LONGEST_LABEL and not any(c < " " for c in told)


def _column(name: Any, kind: Any, categories: Any) -> Column:
    fits = isinstance(name, str) and kind in ("number", "category") and isinstance(categories, list)
    _require(fits and all(isinstance(label, str) for label in categories), f"a column is {str(name)[:80]!r}")
    return Column(name, kind, tuple(categories))


def _constant(told: Any, n_actions: int) -> tuple[float, ...] | None:
    if told is None:
        return None
    fits = isinstance(told, list) and len(told) == n_actions and all(isinstance(v, float) and 0 < v < 1 for v in told)
    _require(fits, f"constant_propensity is {str(told)[:80]}")
    return tuple(told)


def _scale_told(scale: Scale | None) -> list[list[float]] | None:
    return None if scale is None else [scale.low.tolist(), scale.span.tolist()]


def _scales(description: Mapping[str, Any], outcomes: tuple[str, ...], n_actions: int) -> dict[str, Scale | None]:
    """The scale of each outcome's responses; learners saved before there were any fitted outcomes as they are."""
    told = description.get("scales", [None] * len(outcomes))
    _require(isinstance(told, list) and len(told) == len(outcomes), f"scales are {str(told)[:80]}")
    return {
        outcome: None if each is None else _scale(each, n_actions) for outcome, each in zip(outcomes, told, strict=True)
    }


def _scale(told: Any, n_actions: int) -> Scale:
    fits = isinstance(told, list) and len(told) == 2 and all(isinstance(row, list) for row in told)
    fits = fits and all(len(row) == n_actions and all(isinstance(v, float) for v in row) for row in told)
    _require(fits, f"a scale is {str(told)[:80]}")
    low, span = np.array(told)
    bounded = (np.abs(low) < LARGEST_SCALE).all() and (span >= 0).all() and (span < LARGEST_SCALE).all()
    _require(bounded, f"a scale is {str(told)[:80]}")
    return Scale(low, span)


def _parameters(learner: Learner) -> dict[str, Any]:
    """Constructor arguments as JSON values; the engine belongs to the machine and stays behind."""
    told = {name: value for name, value in learner.get_params(deep=False).items() if name != "engine"}
    return {name: _plain(value) for name, value in told.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Trees):
        return {name: _plain(setting) for name, setting in value.get_params().items()}
    return value.item() if isinstance(value, np.generic) else value


def _read_parameters(told: Mapping[str, Any]) -> dict[str, Any]:
    read = {name: Trees(**value) if isinstance(value, Mapping) else value for name, value in told.items()}
    for name, value in read.items():
        if name in ("trees", "nuisance_trees"):
            _require(value is None or isinstance(value, Trees), f"{name} is {str(value)[:80]!r}")
        if isinstance(value, Trees):
            value.validate()
        if name in ("n_folds", "n_resamples", "random_state"):
            _require(type(value) is int and 0 <= value < 2**63, f"{name} is {str(value)[:80]!r}")
        if name == "through":
            _require(_is_label(value), f"through is {str(value)[:80]!r}")
        if name == "clip":
            _require(isinstance(value, int | float) and 0 <= value < 1, f"clip is {str(value)[:80]!r}")
        if name in CHOICES:
            _require(isinstance(value, str) and value in CHOICES[name], f"{name} is {str(value)[:80]!r}")
    _require("engine" not in read, "engine is told")
    return read
