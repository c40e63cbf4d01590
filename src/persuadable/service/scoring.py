"""Scoring: a bundle made ready to propose, for units one at a time or by the thousand, whom to treat."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from persuadable.bundle import Bundle
from persuadable.effects.attribution import contributions
from persuadable.effects.compiled import CompiledLearner
from persuadable.errors import PersuadableError
from persuadable.features import Features
from persuadable.policies.base import check_share
from persuadable.policies.budget import break_evens, net_effects
from persuadable.policies.calibrated import best_treatment
from persuadable.policies.threshold import Threshold
from persuadable.service.grants import propensities
from persuadable.service.intake import Intake, Taken
from persuadable.service.records import Budget, Proposal, Reason, Shadow
from persuadable.service.wire import Fault, Terms, Unit, WireError

__all__ = ["Model", "ModelFailure", "shadows"]

# The normal distribution's 97.5% point, for 95% intervals.
Z = 1.959963984540054
# For fewer units than this, Python's numbers are quicker than numpy's calls.
FEW = 12
MOST_THRESHOLDS = 1024


class ModelFailure(PersuadableError):
    """A model yields something that is not a number."""


class Ranked(NamedTuple):
    """For each unit, its best treatment (by number), its effect, net effect, and standard error if there is one."""

    action: list[int]
    effect: list[float]
    net: list[float]
    stderr: list[float] | None


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A bundle, compiled.

    Attributes:
        bundle: what it was made of.
        contract_version: hexadecimal digest of the feature contract.
        actions: every action's label, the control first.
        outcome: the outcome that the policy raises.
        compiled: the learner's trees, laid out for speed.
        break_even: (A,) what each action must bring at least.
        cut: share → threshold, from the policy's held-out distribution.
    """

    bundle: Bundle
    contract_version: str
    actions: tuple[str, ...]
    outcome: str
    compiled: CompiledLearner
    break_even: NDArray[np.float64]
    cut: Callable[[float], Threshold]

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """The model of a bundle."""
        learner, policy = bundle.learner, bundle.policy
        document = json.dumps(bundle.contract.to_dict(), sort_keys=True)
        return cls(
            bundle,
            hashlib.sha256(document.encode()).hexdigest(),
            tuple(learner.actions_),
            policy.outcome or learner.outcomes_[0],
            CompiledLearner(learner),
            break_evens(policy.break_even, learner.actions_),
            lru_cache(MOST_THRESHOLDS)(policy.threshold_at),
        )

    @property
    def version(self) -> str:
        """The bundle's version."""
        return self.bundle.version

    @property
    def control(self) -> str:
        """The label of doing nothing."""
        return self.actions[0]

    def warm(self) -> None:
        """Do everything once that takes longer the first time."""
        self.compiled.warm()
        self.cut(self.bundle.policy.share)

    def budget(self, terms: Terms, among: int) -> Budget:
        """What a request may spend.

        Args:
            terms: what it says.
            among: how many units it names: the population, where it tells none.
        """
        share = self.bundle.policy.share
        if terms.budget_units is not None:
            share = min(terms.budget_units / (terms.population or max(among, 1)), 1.0)
        elif terms.budget_share is not None:
            share = terms.budget_share
        return Budget(share, terms.budget_units, terms.campaign)

    def propose(
        self,
        units: Sequence[Unit],
        taken: Taken,
        budget: Budget,
        shadows: Sequence[Shadow | None] | None = None,
    ) -> list[Proposal]:
        """What the policy would do with each unit at this budget.

        Args:
            units: who.
            taken: their features, as an :class:`Intake` took them under the bundle's contract.
            budget: what may be spent.
            shadows: what a challenger would do with each.

        Raises:
            ModelFailure: an effect is not a number.
        """
        ranked, cut = self._rank(taken.values), self.cut(budget.share)
        threshold = cut.threshold if math.isfinite(cut.threshold) else None
        fallback = taken.fallback.tolist()
        proposals = []
        for i, unit in enumerate(units):
            effect, net = ranked.effect[i], ranked.net[i]
            chance, reason = (0.0, FALLBACK) if fallback[i] else self._chance(net, cut)
            interval = None
            if ranked.stderr is not None:
                half = Z * ranked.stderr[i]
                interval = (effect - half, effect + half)
            proposals.append(
                Proposal(
                    unit.unit,
                    unit.features,
                    self.actions[ranked.action[i]],
                    effect,
                    interval,
                    net,
                    threshold,
                    chance,
                    reason,
                    taken.flags[i],
                    None if shadows is None else shadows[i],
                )
            )
        return proposals

    def shadow(self, taken: Taken, budget: Budget) -> list[Shadow]:
        """What this model, as a challenger, would do with units on its own: the likelier action, and how likely.

        Raises:
            ModelFailure: an effect is not a number.
        """
        ranked, cut = self._rank(taken.values), self.cut(budget.share)
        threshold = cut.threshold if math.isfinite(cut.threshold) else None
        found = []
        for i, fallback in enumerate(taken.fallback.tolist()):
            chance, _ = (0.0, FALLBACK) if fallback else self._chance(ranked.net[i], cut)
            treatment = self.actions[ranked.action[i]]
            action = treatment if chance >= 0.5 else self.control
            exact = propensities(self.actions, treatment, chance)
            found.append(Shadow(self.version, action, treatment, ranked.effect[i], ranked.net[i], threshold, exact))
        return found

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
        action = self._rank(taken.values).action[0] if treatment is None else self.actions.index(treatment)
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

    def curve(self, shares: Sequence[float]) -> list[dict[str, float | None]]:
        """Threshold, share treated and predicted value for each budget share, from the held-out distribution.

        Raises:
            ParameterError: a share outside [0, 1].
        """
        curve = self.bundle.policy.curve([check_share(share) for share in shares])
        columns = (curve.share, curve.threshold, curve.expected_share, curve.gain_per_head, curve.mean_of_treated)
        return [
            {
                "share": share,
                "threshold": threshold if math.isfinite(threshold) else None,
                "expected_share": expected,
                "value_per_head": per_head,
                "value_per_treated": per_treated if expected > 0 else None,
            }
            for share, threshold, expected, per_head, per_treated in zip(*(c.tolist() for c in columns), strict=True)
        ]

    def policy_document(self, shares: Sequence[float]) -> dict[str, Any]:
        """The answer of /v1/policy, as JSON values.

        Raises:
            ParameterError: a share outside [0, 1].
        """
        policy, evaluation = self.bundle.policy, self.bundle.evaluation
        return {
            "bundle": self.version,
            "outcome": self.outcome,
            "cost": policy.cost,
            "control": self.control,
            "treatments": list(self.actions[1:]),
            "share": policy.share,
            "break_even": dict(zip(self.actions[1:], self.break_even[1:].tolist(), strict=True)),
            "rows": self.curve(shares),
            "held_out": None if evaluation is None else evaluation["budgets"],
        }

    def _chance(self, net: float, cut: Threshold) -> tuple[float, Reason]:
        """Probability of treating, as ``policies.threshold.treat_probability`` has it, and why."""
        if net > cut.threshold:
            return 1.0, "treated"
        if net == cut.threshold and cut.tie_probability > 0.0:
            return cut.tie_probability, "lottery-won" if cut.tie_probability < 1.0 else "treated"
        return 0.0, "not-worth-it" if net <= self.bundle.policy.floor else "below-threshold"

    def _rank(self, values: NDArray[np.float32]) -> Ranked:
        effect, stderr = self.compiled.effects_and_stderr(values, self.outcome)
        cost = self.bundle.policy.cost
        cost_effect = None if cost is None else self.compiled.effects(values, cost)
        if len(values) < FEW:
            return _rank_few(effect, stderr, cost_effect, self.break_even)
        return _rank_many(effect, stderr, cost_effect, self.break_even)


FALLBACK: Reason = "fallback"


def shadows(
    challenger: Model, intake: Intake, units: Sequence[Unit], terms: Terms, among: int
) -> tuple[list[Shadow | None] | None, Exception | None]:
    """What a challenger would do, and what went wrong with it: its failure must not harm the champion's answer.

    Args:
        challenger: the model in the shadow.
        intake: of the challenger's own contract.
        units: of the request.
        terms: of the request; without any, the challenger's own share counts.
        among: how many units the request names.

    Returns:
        One per unit, None for a unit whose features the challenger refuses, or None altogether where it failed; and
        the failure or first refusal, to be counted and noted.
    """
    try:
        kept, taken, refused = intake.sift(units)
        found: list[Shadow | None] = [None] * len(units)
        for i, shadow in zip(kept, challenger.shadow(taken, challenger.budget(terms, among)), strict=True):
            found[i] = shadow
    except Exception as error:
        return None, error
    return found, next(iter(refused.values()), None)


def _rank_few(
    effect: NDArray[np.float64],
    stderr: NDArray[np.float64] | None,
    cost: NDArray[np.float64] | None,
    break_even: NDArray[np.float64],
) -> Ranked:
    """The same as :func:`_rank_many`, operation by operation, in Python's numbers."""
    evens, costs = break_even.tolist(), None if cost is None else cost.tolist()
    errors = None if stderr is None else stderr.tolist()
    ranked = Ranked([], [], [], None if errors is None else [])
    for i, effects in enumerate(effect.tolist()):
        nets = effects if costs is None else [e - c for e, c in zip(effects, costs[i], strict=True)]
        nets = [net - even for net, even in zip(nets[1:], evens[1:], strict=True)]
        best = nets.index(max(nets))
        ranked.action.append(best + 1)
        ranked.effect.append(effects[best + 1])
        ranked.net.append(nets[best])
        doubtful = sum(nets)
        if errors is not None and ranked.stderr is not None:
            ranked.stderr.append(errors[i][best + 1])
            doubtful += sum(errors[i])
        if not math.isfinite(doubtful):
            raise _no_number(i)
    return ranked


def _rank_many(
    effect: NDArray[np.float64],
    stderr: NDArray[np.float64] | None,
    cost: NDArray[np.float64] | None,
    break_even: NDArray[np.float64],
) -> Ranked:
    net = net_effects(effect, cost, break_even)
    doubtful = net.sum(axis=1) if stderr is None else net.sum(axis=1) + stderr.sum(axis=1)
    if not np.isfinite(doubtful).all():
        raise _no_number(int(np.flatnonzero(~np.isfinite(doubtful))[0]))
    scored = best_treatment(net, None)
    rows = np.arange(len(net))
    return Ranked(
        scored.action.tolist(),
        effect[rows, scored.action].tolist(),
        scored.score.tolist(),
        None if stderr is None else stderr[rows, scored.action].tolist(),
    )


def _no_number(i: int) -> ModelFailure:
    return ModelFailure(
        "The model yields an effect that is not a number",
        where=f"unit {i} of the request",
        remedy="Roll back to the previous bundle, and look at the features of this unit.",
    )
