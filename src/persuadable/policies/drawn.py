"""Policies whose rule is drawn from held-out rows: what thresholds on a ranking and prices of a budget share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import BundleError, NotFittedError
from persuadable.fingerprint import Fingerprint
from persuadable.params import Parameters
from persuadable.policies.base import Floats, sample_actions

__all__ = ["DrawnPolicy"]


class DrawnPolicy(Parameters, ABC):
    """A policy whose rule is drawn from held-out rows, and is refused once what it was drawn with has changed.

    A subclass's ``calibrate`` draws, sets ``calibrated_on_`` and ``n_actions_``, and last of all keeps ``_terms()`` in
    ``_terms_``.
    """

    calibrated_on_: Fingerprint
    n_actions_: int
    _terms_: dict[str, Any]

    _rule: ClassVar[str] = "rule"  # what messages call that which is drawn

    @property
    @abstractmethod
    def name(self) -> str:
        """What tables call it."""

    @property
    @abstractmethod
    def fitted_on(self) -> Fingerprint | None:
        """The rows its models learned from."""

    @abstractmethod
    def probabilities(self, features: Any, n_actions: int, eligible: ArrayLike | None = None) -> Floats:
        """(n, A) probabilities of the actions."""

    @abstractmethod
    def _terms(self) -> dict[str, Any]:
        """What the rule depends on besides the models."""

    @property
    def calibrated_on(self) -> Fingerprint | None:
        """The rows the rule was drawn from; None before ``calibrate``."""
        return getattr(self, "calibrated_on_", None)

    def decide(
        self, features: Any, random_state: int | np.random.Generator, eligible: ArrayLike | None = None
    ) -> NDArray[np.int16]:
        """(n,) actions, drawn where the rule is a lottery (at its threshold or price) and certain everywhere else.

        Raises:
            NotFittedError: before ``calibrate``.
        """
        self._require_calibrated()
        p = self.probabilities(features, self.n_actions_, eligible)
        return sample_actions(p, np.random.default_rng(random_state))

    def _require_calibrated(self) -> None:
        if not hasattr(self, "_terms_"):
            raise NotFittedError(
                f"This {type(self).__name__} has no {self._rule} yet", remedy="Call calibrate(log) with a held-out log."
            )
        now = self._terms()
        if now != self._terms_:
            changed = [name for name, value in now.items() if value != self._terms_[name]]
            raise NotFittedError(
                f"The {type(self).__name__}'s {changed[0]} changed since its {self._rule} was drawn",
                remedy="Call calibrate(log) again.",
            )

    @classmethod
    @contextmanager
    def _reading(cls, state: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
        """(json, arrays) of a saved state, around the lines that read them.

        Raises:
            BundleError: the state is of another kind of policy, or incomplete.
        """
        try:
            told = state["json"]
            if told["kind"] != cls.__name__:
                raise BundleError(f"This is the state of a {told['kind']}, not of a {cls.__name__}")
            yield told, state["arrays"]
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            what = f"The policy's state is incomplete: {error}"
            raise BundleError(what, remedy="Save the bundle again.") from error
