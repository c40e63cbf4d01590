"""Bundle: everything needed to decide, in a folder of plain files that proves itself whole."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from persuadable.bundle.sealed import read_arrays, read_json, read_sealed, to_json, write_sealed
from persuadable.contract import FeatureContract
from persuadable.effects.calibrated import CalibratedEffects
from persuadable.effects.learner import Learner
from persuadable.effects.state import KINDS, model_from_state, model_state
from persuadable.errors import BundleError, PersuadableError
from persuadable.features import Features
from persuadable.log import DecisionLog
from persuadable.policies import AllocationPolicy, BudgetPolicy
from persuadable.policies.allocation_state import ARRAYS as PATH_ARRAYS
from persuadable.policies.review import ARRAYS as REVIEW_ARRAYS
from persuadable.policies.review import Review

__all__ = ["Bundle", "Effects"]

#: What a bundle predicts effects with.
Effects = Learner | CalibratedEffects

ARRAYS: Mapping[str, Mapping[str, str]] = {
    "BudgetPolicy": {"values": "<f8", "mass": "<f8", "calibrated_ids": "<u8"},
    "AllocationPolicy": PATH_ARRAYS,
}


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """Fitted learners, the policy on top of them, the contract of their features, a model card, and how it was judged;
    and, where people take part, which decisions are left to them.

    Saved, it is a folder of JSON, UBJSON trees and npz arrays without pickle, and a manifest with the
    sha256 of every file.

    Attributes:
        learner: a fitted effect learner, or ``CalibratedEffects`` of one; of an ``AllocationPolicy`` that of the value.
        policy: calibrated on it: a ``BudgetPolicy`` with its threshold and held-out distribution, or an
            ``AllocationPolicy`` with its prices, on a learner of costs as well or on costs that are stated.
        contract: what the features must look like.
        card: the model card, as JSON values.
        evaluation: what a study measured on held-out rows (``study.evaluation``), as JSON values; None where the
            bundle came from no study, or from one before there was this.
        review: which decisions are left to people; None where none is.
        version: hexadecimal digest of the saved content; empty before it was saved or loaded.
    """

    learner: Effects
    policy: BudgetPolicy | AllocationPolicy
    contract: FeatureContract
    card: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] | None = None
    version: str = ""
    review: Review | None = None

    @classmethod
    def build(
        cls,
        learner: Effects,
        policy: BudgetPolicy | AllocationPolicy,
        log: DecisionLog | FeatureContract,
        card: Mapping[str, Any] | None = None,
        evaluation: Mapping[str, Any] | None = None,
        review: Review | None = None,
    ) -> Bundle:
        """A bundle from its parts.

        Args:
            learner: fitted; of an ``AllocationPolicy`` its learner of the value.
            policy: calibrated, on the same learner.
            log: the training log the contract is learned from, or a contract.
            card: the model card as JSON values.
            evaluation: held-out results as JSON values, as ``study.evaluation`` gives them.
            review: which decisions are left to people, as ``policies.review`` makes it.

        Raises:
            BundleError: the policy stands on another learner, or on one that cannot be saved, the contract or the
                review is about other features, or the review needs intervals that the learner does not give.
            NotFittedError: the learner is not fitted or the policy not calibrated.
        """
        told: object = policy
        if not isinstance(told, BudgetPolicy | AllocationPolicy):
            raise BundleError(f"A bundle holds a BudgetPolicy or an AllocationPolicy, not a {type(told).__name__}")
        its: object = policy.learner if isinstance(policy, BudgetPolicy) else policy.value_learner
        if its is not learner:
            raise BundleError(
                "The policy stands on another learner", remedy="Pass the learner the policy was made with."
            )
        policy.state()
        costs = _cost_model(policy)
        for model in (learner, costs):
            if model is not None:
                _held(model)
        contract = log if isinstance(log, FeatureContract) else FeatureContract.learn(log)
        _require_same_features(learner, costs, contract)
        if review is not None:
            _require_reviewable(review, learner)
        held_out = None if evaluation is None else dict(evaluation)
        return cls(learner, policy, contract, dict(card or {}), held_out, review=review)

    @property
    def cost_learner(self) -> Effects | None:
        """The learner of the cost, where it is another than that of the value."""
        told = _cost_model(self.policy)
        return None if told is None or told is self.learner else _held(told)

    def save(self, path: str | PathLike[str]) -> Bundle:
        """Write the bundle to a folder; an earlier bundle there is replaced only once the new one is whole.

        Returns:
            The bundle with its ``version``.

        Raises:
            BundleError: the folder holds something that is not a bundle.
        """
        return replace(self, version=write_sealed(Path(path), self._files()))

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Bundle:
        """Read a bundle, after checking every file against the manifest and everything in it for soundness.

        A manifest that fits is no proof of a friendly hand. What is read is bounded in size, runs no code, and is
        refused where the parts do not fit together or XGBoost could stumble over a tree.

        Raises:
            BundleError: no bundle, a newer format, a missing file, a changed byte, or content that cannot be a
                bundle's; the message names the file.
        """
        files, version = read_sealed(Path(path))
        try:
            document = read_json(files["bundle.json"], "bundle.json")
            contract = FeatureContract.from_dict(read_json(files["contract.json"], "contract.json"))
            card = read_json(files["card.json"], "card.json")
            found = files.get("evaluation.json")
            evaluation = None if found is None else read_json(found, "evaluation.json")
            learner = _held(model_from_state(document["learner"], _under(files, "models/")))
            told = document.get("cost_learner")
            costs = None if told is None else _held(model_from_state(told, _under(files, "cost-models/")))
            policy = _read_policy(document["policy"], files["policy.npz"], learner, costs)
            review = _read_review(document.get("review"), files.get("review.npz"))
            _require_same_features(learner, costs, contract)
            if review is not None:
                _require_reviewable(review, learner)
            _try(learner, costs, policy)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise BundleError(f"The bundle is incomplete: {error}", remedy="Save it again.") from error
        return cls(learner, policy, contract, card, evaluation, version, review)

    def _files(self) -> dict[str, bytes]:
        """Relative name → content."""
        learner, models = model_state(self.learner)
        state = self.policy.state()
        document = {"learner": learner, "policy": state["json"]}
        models = {f"models/{name}": raw for name, raw in models.items()}
        if self.cost_learner is not None:
            document["cost_learner"], costs = model_state(self.cost_learner)
            models |= {f"cost-models/{name}": raw for name, raw in costs.items()}
        if self.review is not None:
            told = self.review.state()
            document["review"] = told["json"]
            models["review.npz"] = _to_npz(told["arrays"], REVIEW_ARRAYS)
        files = {
            "bundle.json": to_json(document),
            "policy.npz": _to_npz(state["arrays"], ARRAYS[type(self.policy).__name__]),
            "contract.json": to_json(self.contract.to_dict()),
            "card.json": to_json(dict(self.card)),
        }
        if self.evaluation is not None:
            files["evaluation.json"] = to_json(dict(self.evaluation))
        return files | models


def _to_npz(arrays: Mapping[str, Any], kinds: Mapping[str, str]) -> bytes:
    file = io.BytesIO()
    kept: dict[str, Any] = {name: np.asarray(arrays[name], dtype=kind) for name, kind in kinds.items()}
    np.savez(file, **kept)
    return file.getvalue()


def _cost_model(policy: BudgetPolicy | AllocationPolicy) -> object:
    """What the policy predicts costs with, where that is a model of its own."""
    if isinstance(policy, BudgetPolicy) or policy.stated_costs_ is not None:
        return None
    return policy.cost_learner


def _held(model: object) -> Effects:
    """A model that a bundle can hold.

    Raises:
        BundleError: it is of another kind.
    """
    if isinstance(model, Learner):
        return model
    if isinstance(model, CalibratedEffects) and isinstance(model.learner, Learner):
        return model
    whose = f" of a {type(model.learner).__name__}" if isinstance(model, CalibratedEffects) else ""
    raise BundleError(
        f"A bundle holds learners, not {type(model).__name__}{whose}",
        remedy=f"Make the policy with one of {', '.join(sorted(KINDS))}, or with CalibratedEffects of one.",
    )


def _under(files: Mapping[str, bytes], folder: str) -> dict[str, bytes]:
    return {name.removeprefix(folder): raw for name, raw in files.items() if name.startswith(folder)}


def _read_policy(
    told: Mapping[str, Any],
    raw: bytes,
    learner: Effects,
    costs: Effects | None,
) -> BudgetPolicy | AllocationPolicy:
    kind = told["kind"]
    if kind not in ARRAYS:
        raise BundleError(f"There is no policy {str(kind)[:40]!r}", remedy="Upgrade persuadable to read this bundle.")
    state = {"json": told, "arrays": read_arrays(raw, "policy.npz", ARRAYS[kind])}
    if kind == "BudgetPolicy":
        return BudgetPolicy.from_state(learner, state)
    return AllocationPolicy.from_state(learner, costs, state)


def _read_review(told: Mapping[str, Any] | None, raw: bytes | None) -> Review | None:
    if told is None:
        return None
    if raw is None:
        raise BundleError("The file 'review.npz' is missing", remedy="Save the bundle again.")
    return Review.from_state({"json": told, "arrays": read_arrays(raw, "review.npz", REVIEW_ARRAYS)})


def _require_reviewable(review: Review, learner: Effects) -> None:
    """Make sure that the review can be asked: about these features, and with the standard errors it needs."""
    told: object = review
    if not isinstance(told, Review):
        raise BundleError(f"A bundle's review is a Review, not a {type(told).__name__}")
    if tuple(review.columns) != tuple(column.name for column in learner.columns_):
        raise BundleError(
            "The review is about other features than the learner was fitted on",
            remedy="Make it with policies.review on the same learner.",
        )
    inner = learner.learner if isinstance(learner, CalibratedEffects) else learner
    if not isinstance(inner, Learner) or inner.n_resamples < 2:
        raise BundleError(
            "A review needs to know how sure an effect is, and this learner gives no intervals",
            remedy="Fit the learner with n_resamples=10 or more.",
        )


def _require_same_features(learner: Effects, costs: object, contract: FeatureContract) -> None:
    if contract.columns != learner.columns_:
        raise BundleError(
            "The contract is about other features than the learner was fitted on",
            remedy="Learn the contract from the log the learner was fitted on.",
        )
    if isinstance(costs, Learner | CalibratedEffects) and (costs.columns_, costs.actions_) != (
        learner.columns_,
        learner.actions_,
    ):
        raise BundleError(
            "The learner of the cost knows other features or actions than that of the value",
            remedy="Fit both on logs with the same features and actions.",
        )


def _try(
    learner: Effects,
    costs: Effects | None,
    policy: BudgetPolicy | AllocationPolicy,
) -> None:
    """Decide about a unit of whom nothing is known; parts that do not fit together show."""
    if isinstance(policy, BudgetPolicy) and type(policy.share) not in (int, float):
        raise BundleError(f"The policy's share is {policy.share!r}", remedy="Save the bundle again.")
    nobody = Features(np.full((1, len(learner.columns_)), np.nan, dtype=np.float32), learner.columns_)
    try:
        policy.probabilities(nobody, policy.n_actions_)
    except BundleError:
        raise
    except PersuadableError as error:
        raise BundleError(f"The policy does not fit its learner: {error}", remedy="Save the bundle again.") from error
    for model in (learner,) if costs is None else (learner, costs):
        for outcome in model.outcomes_:
            effect = model.effect(nobody, outcome)
            if effect.shape != (1, len(learner.actions_)) or not np.isfinite(effect).all():
                raise BundleError(f"The effect on {outcome!r} is no number", remedy="Save the bundle again.")
