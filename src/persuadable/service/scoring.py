"""Scoring: a bundle made ready to propose, for units one at a time or by the thousand, what to do with each.

What the kinds of policy have in common. :mod:`persuadable.service.ranking` has those that treat the top of a ranking,
:mod:`persuadable.service.pricing` those that choose among actions at a price of money.
"""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from persuadable.bundle import Bundle
from persuadable.effects.attribution import contributions
from persuadable.effects.compiled import CompiledLearner
from persuadable.errors import PersuadableError
from persuadable.features import Features
from persuadable.service.intake import Intake, Taken
from persuadable.service.records import Budget, Case, Option, Proposal, Reason, Shadow
from persuadable.service.wire import Fault, Terms, Unit, WireError

__all__ = [
    "FALLBACK",
    "FEW",
    "Allowed",
    "Model",
    "ModelFailure",
    "Z",
    "allowed_of",
    "mask_of",
    "no_number",
    "shadows",
    "version_of",
]

# The normal distribution's 97.5% point, for 95% intervals.
Z = 1.959963984540054
# For fewer units than this, Python's numbers are quicker than numpy's calls.
FEW = 12
FALLBACK: Reason = "fallback"
Flags = NDArray[np.bool_]
# Per unit which actions, the control first, its request allows; None where it, or nobody, says anything.
Allowed = list[list[bool] | None] | None


class ModelFailure(PersuadableError):
    """A model yields something that is not a number."""


@dataclass(frozen=True, slots=True, eq=False)
class Model(ABC):
    """A bundle, compiled.

    Attributes:
        bundle: what it was made of.
        contract_version: hexadecimal digest of the feature contract.
        actions: every action's label, the control first.
        outcome: the outcome that the policy raises.
        compiled: the learner's trees, laid out for speed.
        budgets: what the budgets of its policy are called in a query: "shares" of users, or "budgets" of money.
    """

    bundle: Bundle
    contract_version: str
    actions: tuple[str, ...]
    outcome: str
    compiled: CompiledLearner
    budgets: ClassVar[str]

    @property
    def version(self) -> str:
        """The bundle's version."""
        return self.bundle.version

    @property
    def control(self) -> str:
        """The label of doing nothing."""
        return self.actions[0]

    @abstractmethod
    def warm(self) -> None:
        """Do everything once that takes longer the first time."""

    @abstractmethod
    def faults(self, terms: Terms) -> list[Fault]:
        """What in a request's terms means nothing to this kind of policy."""

    @abstractmethod
    def budget(self, terms: Terms, among: int) -> Budget:
        """What a request may spend.

        Args:
            terms: what it says, none of it a fault.
            among: how many units it names: the population, where it tells none.
        """

    @abstractmethod
    def propose(
        self,
        units: Sequence[Unit],
        taken: Taken,
        budget: Budget,
        shadows: Sequence[Shadow | None] | None = None,
        *,
        options: bool = False,
    ) -> list[Proposal]:
        """What the policy would do with each unit at this budget.

        Args:
            units: who.
            taken: their features, as an :class:`Intake` took them under the bundle's contract.
            budget: what may be spent.
            shadows: what a challenger would do with each.
            options: whether to tell what is known of every action, where the policy weighs them all.

        Raises:
            ModelFailure: an effect is not a number.
        """

    def _reviewed(
        self,
        proposals: list[Proposal],
        taken: Taken,
        stderr: Sequence[float],
        threshold: float | None,
        options: Callable[[int], Mapping[str, Option]] | None = None,
    ) -> list[Proposal]:
        """The proposals, with a case for each that the bundle's review leaves to a person.

        Whom the request allows no treatment there is nothing to decide about.

        Args:
            proposals, taken: of n units.
            stderr: (n,) standard errors of the effects.
            threshold: net effect from which treatments are given; None where none is.
            options: what is known of every action for the unit at a place, where the policy weighs them all.
        """
        assert self.bundle.review is not None
        judged = self.bundle.review.judge(
            Features(taken.values, self.bundle.contract.columns),
            np.array([proposal.effect for proposal in proposals]),
            np.array(stderr),
            np.array([-math.inf if p.reason == "not-eligible" else p.net_effect for p in proposals]),
            threshold,
            np.array([proposal.chance for proposal in proposals]),
            np.array([bool(flags) for flags in taken.flags], dtype=np.bool_),
        )
        for i, codes in enumerate(judged.codes):
            if codes and (told := proposals[i]).reason != "not-eligible":
                case = Case(codes, float(judged.priority[i]), None if options is None else options(i))
                proposals[i] = told._replace(case=case)
        return proposals

    @abstractmethod
    def shadow(self, units: Sequence[Unit], taken: Taken, budget: Budget) -> list[Shadow]:
        """What this model, as a challenger, would do with units on its own: the likelier action, and how likely.

        Raises:
            ModelFailure: an effect is not a number.
        """

    @abstractmethod
    def policy_document(self, budgets: Sequence[float] | None) -> dict[str, Any]:
        """The answer of /v1/policy, as JSON values; a hundred budgets where none are named.

        Raises:
            ParameterError: a budget there is not.
        """

    @abstractmethod
    def _best(self, values: NDArray[np.float32]) -> int:
        """The number of a unit's best treatment."""

    def unknown(self, unit: Unit) -> list[Fault]:
        """What a unit is said to be eligible for that is no action of this model."""
        if unit.eligible is None:
            return []
        known = ", ".join(map(repr, self.actions))
        return [
            Fault(f"/eligible/{i}", f"There is no action {label!r}. Send some of {known}.")
            for i, label in enumerate(unit.eligible)
            if label not in self.actions
        ]

    def explain(self, unit: Unit, taken: Taken, treatment: str | None = None) -> dict[str, Any]:
        """What moved a unit's effect, feature by feature, the strongest first: base + Σ contributions = effect.

        Args:
            unit: who.
            taken: its features.
            treatment: whose effect; the best for the unit when None.

        Raises:
            WireError: there is no such treatment.
            ModelFailure: an effect is not a number.
        """
        if treatment is not None and treatment not in self.actions[1:]:
            known = ", ".join(map(repr, self.actions[1:]))
            raise WireError(422, [Fault("/treatment", f"There is no treatment {treatment!r}. Send one of {known}.")])
        action = self._best(taken.values) if treatment is None else self.actions.index(treatment)
        features = Features(taken.values, self.bundle.contract.columns)
        told = contributions(self.bundle.learner, features, self.outcome)
        parts = [
            {"feature": name, "value": unit.features.get(name), "contribution": float(part)}
            for name, part in zip(features.names, told.values[0, :, action], strict=True)
        ]
        return {
            "unit": unit.unit or None,
            "outcome": self.outcome,
            "treatment": self.actions[action],
            "effect": float(self.compiled.effects(taken.values, self.outcome)[0, action]),
            "base": float(told.base[0, action]),
            "contributions": sorted(parts, key=lambda part: -abs(part["contribution"])),
            "flags": taken.flags[0],
            "bundle": self.version,
        }


def version_of(bundle: Bundle) -> str:
    """Hexadecimal digest of a bundle's feature contract."""
    return hashlib.sha256(json.dumps(bundle.contract.to_dict(), sort_keys=True).encode()).hexdigest()


def allowed_of(units: Sequence[Unit], actions: Sequence[str]) -> Allowed:
    """Which actions the request allows each unit. What it allows beyond those is passed over."""
    for unit in units:
        if unit.eligible is not None:
            break
    else:
        return None
    return [
        None if unit.eligible is None else [True, *(label in unit.eligible for label in actions[1:])] for unit in units
    ]


def mask_of(allowed: Allowed, n_actions: int) -> Flags | None:
    """The same as an (n, A) mask; None where all is allowed."""
    if allowed is None:
        return None
    return np.array([[True] * n_actions if mine is None else mine for mine in allowed], dtype=np.bool_)


def shadows(
    challenger: Model, intake: Intake, units: Sequence[Unit], terms: Terms, among: int
) -> tuple[list[Shadow | None] | None, Exception | None]:
    """What a challenger would do, and what went wrong with it: its failure must not harm the champion's answer.

    Args:
        challenger: the model in the shadow.
        intake: of the challenger's own contract.
        units: of the request.
        terms: of the request; without any, the challenger's own budget counts.
        among: how many units the request names.

    Returns:
        One per unit, None for a unit whose features the challenger refuses, or None altogether where it failed; and
        the failure or first refusal, to be counted and noted.
    """
    try:
        kept, taken, refused = intake.sift(units)
        # A budget of the champion's kind may mean nothing to a challenger of another: then its own counts.
        its = Terms(campaign=terms.campaign) if challenger.faults(terms) else terms
        told = challenger.shadow([units[i] for i in kept], taken, challenger.budget(its, among))
        found: list[Shadow | None] = [None] * len(units)
        for i, shadow in zip(kept, told, strict=True):
            found[i] = shadow
    except Exception as error:
        return None, error
    return found, next(iter(refused.values()), None)


def no_number(i: int) -> ModelFailure:
    """The failure of a model that yields no number for a unit."""
    return ModelFailure(
        "The model yields an effect that is not a number",
        where=f"unit {i} of the request",
        remedy="Roll back to the previous bundle, and look at the features of this unit.",
    )
