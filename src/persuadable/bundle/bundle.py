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
from persuadable.effects.learner import Learner
from persuadable.effects.state import learner_from_state, learner_state
from persuadable.errors import BundleError
from persuadable.features import Features
from persuadable.log import DecisionLog
from persuadable.policies import BudgetPolicy

__all__ = ["Bundle"]

ARRAYS = {"values": "<f8", "mass": "<f8", "calibrated_ids": "<u8"}


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A fitted learner, the policy on top of it, the contract of its features, its model card, and how it was judged.

    Saved, it is a folder of JSON, UBJSON trees and npz arrays without pickle, and a manifest with the
    sha256 of every file.

    Attributes:
        learner: a fitted effect learner.
        policy: a calibrated ``BudgetPolicy`` on it: threshold and held-out distribution.
        contract: what the features must look like.
        card: the model card, as JSON values.
        evaluation: what a study measured on held-out rows (``study.evaluation``), as JSON values; None where the
            bundle came from no study, or from one before there was this.
        version: hexadecimal digest of the saved content; empty before it was saved or loaded.
    """

    learner: Learner
    policy: BudgetPolicy
    contract: FeatureContract
    card: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] | None = None
    version: str = ""

    @classmethod
    def build(
        cls,
        learner: Learner,
        policy: BudgetPolicy,
        log: DecisionLog | FeatureContract,
        card: Mapping[str, Any] | None = None,
        evaluation: Mapping[str, Any] | None = None,
    ) -> Bundle:
        """A bundle from its parts.

        Args:
            learner: fitted.
            policy: calibrated, on the same learner.
            log: the training log the contract is learned from, or a contract.
            card: the model card as JSON values.
            evaluation: held-out results as JSON values, as ``study.evaluation`` gives them.

        Raises:
            BundleError: the policy stands on another learner, or the contract is about other features.
            NotFittedError: the learner is not fitted or the policy not calibrated.
        """
        if not isinstance(policy, BudgetPolicy):
            raise BundleError(f"A bundle holds a BudgetPolicy, not a {type(policy).__name__}")
        if policy.learner is not learner:
            raise BundleError(
                "The policy stands on another learner", remedy="Pass the learner the policy was made with."
            )
        policy.state()
        contract = log if isinstance(log, FeatureContract) else FeatureContract.learn(log)
        _require_same_features(learner, contract)
        return cls(learner, policy, contract, dict(card or {}), None if evaluation is None else dict(evaluation))

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
            models = {n.removeprefix("models/"): raw for n, raw in files.items() if n.startswith("models/")}
            learner = learner_from_state(document["learner"], models)
            arrays = read_arrays(files["policy.npz"], "policy.npz", ARRAYS)
            policy = BudgetPolicy.from_state(learner, {"json": document["policy"], "arrays": arrays})
            _require_same_features(learner, contract)
            _try(learner, policy)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise BundleError(f"The bundle is incomplete: {error}", remedy="Save it again.") from error
        return cls(learner, policy, contract, card, evaluation, version)

    def _files(self) -> dict[str, bytes]:
        """Relative name → content."""
        learner, models = learner_state(self.learner)
        state = self.policy.state()
        arrays = io.BytesIO()
        kept: dict[str, Any] = {name: np.asarray(state["arrays"][name], dtype=kind) for name, kind in ARRAYS.items()}
        np.savez(arrays, **kept)
        files = {
            "bundle.json": to_json({"learner": learner, "policy": state["json"]}),
            "policy.npz": arrays.getvalue(),
            "contract.json": to_json(self.contract.to_dict()),
            "card.json": to_json(dict(self.card)),
        }
        if self.evaluation is not None:
            files["evaluation.json"] = to_json(dict(self.evaluation))
        return files | {f"models/{name}": raw for name, raw in models.items()}


def _require_same_features(learner: Learner, contract: FeatureContract) -> None:
    if contract.columns != learner.columns_:
        raise BundleError(
            "The contract is about other features than the learner was fitted on",
            remedy="Learn the contract from the log the learner was fitted on.",
        )


def _try(learner: Learner, policy: BudgetPolicy) -> None:
    """Decide about a unit of whom nothing is known; parts that do not fit together show."""
    if type(policy.share) not in (int, float):
        raise BundleError(f"The policy's share is {policy.share!r}", remedy="Save the bundle again.")
    nobody = Features(np.full((1, len(learner.columns_)), np.nan, dtype=np.float32), learner.columns_)
    policy.probabilities(nobody, policy.n_actions_)
    for outcome in learner.outcomes_:
        effect = learner.effect(nobody, outcome)
        if effect.shape != (1, len(learner.actions_)) or not np.isfinite(effect).all():
            raise BundleError(f"The effect on {outcome!r} is no number", remedy="Save the bundle again.")
