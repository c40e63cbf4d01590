"""A fitted learner as JSON values and bytes, and back: no pickle anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from persuadable.effects.learner import Learner, Models
from persuadable.effects.learners import DRLearner, RLearner, SLearner, TLearner, XLearner
from persuadable.engine import TreeModel, Trees
from persuadable.errors import BundleError
from persuadable.features import Column
from persuadable.fingerprint import Fingerprint
from persuadable.spaces import Discrete

__all__ = ["learner_from_state", "learner_state"]

KINDS: Mapping[str, type[Learner]] = {
    kind.__name__: kind for kind in (SLearner, TLearner, XLearner, RLearner, DRLearner)
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
        "fitted_on": {
            "digest": learner.fitted_on.digest,
            "keep_below": learner.fitted_on.keep_below,
            "n": learner.fitted_on.n,
        },
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
        BundleError: a kind of learner this version does not know, or something missing.
    """
    kind = str(description.get("kind"))
    if kind not in KINDS:
        raise BundleError(f"There is no learner {kind!r}", remedy="Upgrade persuadable to read this bundle.")
    try:
        learner = KINDS[kind](**_read_parameters(description["parameters"]))
        learner.actions_ = Discrete(tuple(description["actions"]))
        learner.outcomes_ = tuple(description["outcomes"])
        learner.columns_ = tuple(Column(name, kind_, tuple(labels)) for name, kind_, labels in description["columns"])
        constant = description["constant_propensity"]
        learner.constant_propensity_ = None if constant is None else tuple(constant)
        ids = np.frombuffer(blobs["fitted-on.u64"], dtype="<u8").astype(np.uint64)
        learner.fitted_on = Fingerprint(ids=ids, **description["fitted_on"])

        def read(names: Mapping[str, str]) -> Models:
            return {stage: TreeModel.from_bytes(blobs[name]) for stage, name in names.items()}

        pairs = zip(learner.outcomes_, description["models"], description["resamples"], strict=True)
        learner.models_, learner.resamples_ = {}, {}
        for name, models, resamples in pairs:
            learner.models_[name] = read(models)
            learner.resamples_[name] = [read(names) for names in resamples]
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"The learner's description is incomplete: {error}", remedy="Save it again.") from error
    return learner


def _parameters(learner: Learner) -> dict[str, Any]:
    """Constructor arguments as JSON values; the engine belongs to the machine and stays behind."""
    told = {name: value for name, value in learner.get_params(deep=False).items() if name != "engine"}
    return {name: _plain(value) for name, value in told.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Trees):
        return {name: _plain(setting) for name, setting in value.get_params().items()}
    return value.item() if isinstance(value, np.generic) else value


def _read_parameters(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: Trees(**value) if isinstance(value, Mapping) else value for name, value in told.items()}
