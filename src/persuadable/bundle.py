"""Bundle: everything needed to decide, in a folder of plain files that proves itself whole."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from persuadable import __version__
from persuadable.contract import FeatureContract
from persuadable.effects.learner import Learner
from persuadable.effects.state import learner_from_state, learner_state
from persuadable.errors import BundleError
from persuadable.log import DecisionLog
from persuadable.policies import BudgetPolicy

__all__ = ["FORMAT", "Bundle"]

FORMAT = 1
MANIFEST = "manifest.json"
LARGEST_FILE = 2**31


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A fitted learner, the policy on top of it, the contract of its features, and its model card.

    Saved, it is a folder of JSON, UBJSON trees and npz arrays without pickle, and a manifest with the
    sha256 of every file.

    Attributes:
        learner: a fitted effect learner.
        policy: a calibrated ``BudgetPolicy`` on it: threshold and held-out distribution.
        contract: what the features must look like.
        card: the model card, as JSON values.
        version: hexadecimal digest of the saved content; empty before it was saved or loaded.
    """

    learner: Learner
    policy: BudgetPolicy
    contract: FeatureContract
    card: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""

    @classmethod
    def build(
        cls,
        learner: Learner,
        policy: BudgetPolicy,
        log: DecisionLog | FeatureContract,
        card: Mapping[str, Any] | None = None,
    ) -> Bundle:
        """A bundle from its parts.

        Args:
            learner: fitted.
            policy: calibrated, on the same learner.
            log: the training log the contract is learned from, or a contract.
            card: the model card as JSON values.

        Raises:
            BundleError: the policy stands on another learner.
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
        return cls(learner, policy, contract, dict(card or {}))

    def save(self, path: str | PathLike[str]) -> Bundle:
        """Write the bundle to a folder; an earlier bundle there is replaced only once the new one is whole.

        Returns:
            The bundle with its ``version``.

        Raises:
            BundleError: the folder holds something that is not a bundle.
        """
        target = Path(path)
        if target.exists() and not (target / MANIFEST).is_file() and (target.is_file() or any(target.iterdir())):
            raise BundleError(f"{str(path)!r} holds something that is not a bundle", remedy="Choose an empty folder.")
        target.parent.mkdir(parents=True, exist_ok=True)
        files = self._files()
        manifest = _manifest(files)
        fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            for name, content in [*files.items(), (MANIFEST, _json(manifest))]:
                (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                (fresh / name).write_bytes(content)
            fresh.chmod(0o755)
            _replace(fresh, target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return Bundle(self.learner, self.policy, self.contract, self.card, manifest["version"])

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Bundle:
        """Read a bundle, after checking every file against the manifest.

        Raises:
            BundleError: no bundle, a newer format, a missing file, or a changed byte; the message names the file.
        """
        folder = Path(path)
        manifest = _read_manifest(folder)
        files = {name: _read_file(folder, name, told) for name, told in manifest["files"].items()}
        try:
            document = json.loads(files["bundle.json"])
            models = {n.removeprefix("models/"): raw for n, raw in files.items() if n.startswith("models/")}
            learner = learner_from_state(document["learner"], models)
            with np.load(io.BytesIO(files["policy.npz"]), allow_pickle=False) as arrays:
                state = {"json": document["policy"], "arrays": dict(arrays)}
            policy = BudgetPolicy.from_state(learner, state)
            contract = FeatureContract.from_dict(json.loads(files["contract.json"]))
            card = json.loads(files["card.json"])
        except (KeyError, ValueError) as error:
            raise BundleError(f"The bundle is incomplete: {error}", remedy="Save it again.") from error
        return cls(learner, policy, contract, card, manifest["version"])

    def _files(self) -> dict[str, bytes]:
        """Relative name → content."""
        learner, models = learner_state(self.learner)
        state = self.policy.state()
        arrays = io.BytesIO()
        np.savez(arrays, **state["arrays"])
        files = {
            "bundle.json": _json({"learner": learner, "policy": state["json"]}),
            "policy.npz": arrays.getvalue(),
            "contract.json": _json(self.contract.to_dict()),
            "card.json": _json(dict(self.card)),
        }
        return files | {f"models/{name}": raw for name, raw in models.items()}


def _json(document: Any) -> bytes:
    try:
        return json.dumps(document, indent=1, sort_keys=True, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise BundleError(
            f"The bundle holds a value JSON cannot: {error}", remedy="Give the card plain finite numbers and text."
        ) from error


def _manifest(files: Mapping[str, bytes]) -> dict[str, Any]:
    listing = {name: {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()} for name, raw in files.items()}
    told = {"format": FORMAT, "persuadable": __version__, "files": listing}
    return told | {"version": hashlib.sha256(_json(told)).hexdigest()}


def _read_manifest(folder: Path) -> dict[str, Any]:
    remedy = "Point at a folder written by Bundle.save, or save it again."
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        wanted = manifest["format"]
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(f"There is no bundle in {str(folder)!r}", where=f"no {MANIFEST}", remedy=remedy) from None
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"The manifest cannot be read: {error}", where=str(folder / MANIFEST), remedy=remedy
        ) from error
    if wanted != FORMAT:
        raise BundleError(
            f"The bundle has format {wanted}, this version of persuadable ({__version__}) reads format {FORMAT}",
            where=str(folder),
            remedy="Upgrade persuadable." if isinstance(wanted, int) and wanted > FORMAT else remedy,
        )
    told = {key: manifest.get(key) for key in ("format", "persuadable", "files")}
    if hashlib.sha256(_json(told)).hexdigest() != manifest.get("version") or not isinstance(told["files"], dict):
        raise BundleError("The manifest was changed after it was written", where=str(folder / MANIFEST), remedy=remedy)
    return dict(manifest)


def _read_file(folder: Path, name: str, told: Mapping[str, Any]) -> bytes:
    file = (folder / name).resolve()
    if not file.is_relative_to(folder.resolve()):
        raise BundleError(f"The manifest names a file outside the bundle: {name!r}", where=str(folder))
    if not file.is_file():
        raise BundleError(
            f"The file {name!r} is missing", where=str(folder), remedy="Restore it, or save the bundle again."
        )
    if file.stat().st_size != told["bytes"] or told["bytes"] > LARGEST_FILE:
        raise BundleError(
            f"The file {name!r} has {file.stat().st_size:,} bytes, expected {told['bytes']:,}",
            where=str(folder),
            remedy="Restore it, or save the bundle again.",
        )
    raw = file.read_bytes()
    if hashlib.sha256(raw).hexdigest() != told["sha256"]:
        raise BundleError(
            f"The file {name!r} was changed after it was written: its sha256 differs",
            where=str(folder),
            remedy="Restore it, or save the bundle again.",
        )
    return raw


def _replace(fresh: Path, target: Path) -> None:
    """Put a whole folder in another's place; the old one goes only when the new one stands."""
    if not target.exists():
        fresh.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
    target.rename(old / "bundle")
    try:
        fresh.rename(target)
    except OSError:
        (old / "bundle").rename(target)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
