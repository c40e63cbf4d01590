"""Models that rank: users are treated from a threshold of their net effect on, each with the best treatment."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from persuadable.bundle import Bundle
from persuadable.effects.compiled import CompiledLearner
from persuadable.policies import BudgetPolicy
from persuadable.policies.base import check_share
from persuadable.policies.budget import break_evens, net_effects
from persuadable.policies.calibrated import best_treatment
from persuadable.policies.threshold import Threshold
from persuadable.service.grants import propensities
from persuadable.service.intake import Taken
from persuadable.service.records import Budget, Proposal, Reason, Shadow
from persuadable.service.scoring import FALLBACK, FEW, Allowed, Model, Z, allowed_of, mask_of, no_number, version_of
from persuadable.service.wire import Fault, Terms, Unit

__all__ = ["RankingModel"]

MOST_THRESHOLDS = 1024
EVERY_PERCENT = tuple(i / 100 for i in range(101))


class Ranked(NamedTuple):
    """For each unit, its best treatment (by number), its effect, net effect, and standard error if there is one.

    ``barred`` says whose request allows no treatment; None where every request allows some.
    """

    action: list[int]
    effect: list[float]
    net: list[float]
    stderr: list[float] | None
    barred: list[bool] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RankingModel(Model):
    """A bundle with a budget of users, compiled.

    Attributes:
        policy: the bundle's.
        break_even: (A,) what each action must bring at least.
        cut: share → threshold, from the policy's held-out distribution.
    """

    budgets: ClassVar[str] = "shares"
    policy: BudgetPolicy
    break_even: NDArray[np.float64]
    cut: Callable[[float], Threshold]

    @classmethod
    def of(cls, bundle: Bundle, policy: BudgetPolicy) -> Self:
        """The model of a bundle with this policy."""
        learner = bundle.learner
        return cls(
            bundle,
            version_of(bundle),
            tuple(learner.actions_),
            policy.outcome or learner.outcomes_[0],
            CompiledLearner(learner),
            policy,
            break_evens(policy.break_even, learner.actions_),
            lru_cache(MOST_THRESHOLDS)(policy.threshold_at),
        )

    def warm(self) -> None:
        """Do everything once that takes longer the first time."""
        self.compiled.warm()
        self.cut(self.policy.share)

    def faults(self, terms: Terms) -> list[Fault]:
        """Budgets of money mean nothing to it."""
        if terms.budget_per_head is None and terms.budget_amount is None:
            return []
        said = "The bundle in service has a budget of users. Send budget_share or budget_units."
        money = {"budget_per_head": terms.budget_per_head, "budget_amount": terms.budget_amount}
        return [Fault(f"/{name}", said) for name, value in money.items() if value is not None]

    def budget(self, terms: Terms, among: int) -> Budget:
        """What a request may spend.

        Args:
            terms: what it says, none of it a fault.
            among: how many units it names: the population, where it tells none.
        """
        share = self.policy.share
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
        *,
        options: bool = False,
    ) -> list[Proposal]:
        """What the policy would do with each unit at this budget; there are no options to tell."""
        ranked, cut = self._rank(taken.values, allowed_of(units, self.actions)), self.cut(budget.share)
        threshold = cut.threshold if math.isfinite(cut.threshold) else None
        fallback = taken.fallback.tolist()
        proposals = []
        for i, unit in enumerate(units):
            effect, net = ranked.effect[i], ranked.net[i]
            chance, reason = (0.0, FALLBACK) if fallback[i] else self._chance(net, cut)
            if ranked.barred is not None and ranked.barred[i] and not fallback[i]:
                chance, reason = 0.0, "not-eligible"
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
                    None,
                    unit.eligible,
                )
            )
        if self.bundle.review is not None and ranked.stderr is not None:
            return self._reviewed(proposals, taken, ranked.stderr, threshold)
        return proposals

    def shadow(self, units: Sequence[Unit], taken: Taken, budget: Budget) -> list[Shadow]:
        """What this model, as a challenger, would do with units on its own: the likelier action, and how likely.

        Raises:
            ModelFailure: an effect is not a number.
        """
        ranked, cut = self._rank(taken.values, allowed_of(units, self.actions)), self.cut(budget.share)
        threshold = cut.threshold if math.isfinite(cut.threshold) else None
        found = []
        for i, fallback in enumerate(taken.fallback.tolist()):
            barred = ranked.barred is not None and ranked.barred[i]
            chance = 0.0 if fallback or barred else self._chance(ranked.net[i], cut)[0]
            treatment = self.actions[ranked.action[i]]
            action = treatment if chance >= 0.5 else self.control
            exact = propensities(self.actions, treatment, chance)
            found.append(Shadow(self.version, action, treatment, ranked.effect[i], ranked.net[i], threshold, exact))
        return found

    def curve(self, shares: Sequence[float]) -> list[dict[str, float | None]]:
        """Threshold, share treated and predicted value for each budget share, from the held-out distribution.

        Raises:
            ParameterError: a share outside [0, 1].
        """
        curve = self.policy.curve([check_share(share) for share in shares])
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

    def policy_document(self, budgets: Sequence[float] | None) -> dict[str, Any]:
        """The answer of /v1/policy, as JSON values; every percent where no share is named.

        Raises:
            ParameterError: a share outside [0, 1].
        """
        policy, evaluation = self.policy, self.bundle.evaluation
        return {
            "bundle": self.version,
            "outcome": self.outcome,
            "cost": policy.cost,
            "control": self.control,
            "treatments": list(self.actions[1:]),
            "share": policy.share,
            "break_even": dict(zip(self.actions[1:], self.break_even[1:].tolist(), strict=True)),
            "rows": self.curve(EVERY_PERCENT if budgets is None else budgets),
            "held_out": None if evaluation is None else evaluation["budgets"],
        }

    def _chance(self, net: float, cut: Threshold) -> tuple[float, Reason]:
        """Probability of treating, as ``policies.threshold.treat_probability`` has it, and why."""
        if net > cut.threshold:
            return 1.0, "treated"
        if net == cut.threshold and cut.tie_probability > 0.0:
            return cut.tie_probability, "lottery-won" if cut.tie_probability < 1.0 else "treated"
        return 0.0, "not-worth-it" if net <= self.policy.floor else "below-threshold"

    def _best(self, values: NDArray[np.float32]) -> int:
        return self._rank(values, None).action[0]

    def _rank(self, values: NDArray[np.float32], allowed: Allowed) -> Ranked:
        effect, stderr = self.compiled.effects_and_stderr(values, self.outcome)
        cost = self.policy.cost
        cost_effect = None if cost is None else self.compiled.effects(values, cost)
        rank = _rank_few if len(values) < FEW else _rank_many
        return rank(effect, stderr, cost_effect, self.break_even, allowed)


def _rank_few(
    effect: NDArray[np.float64],
    stderr: NDArray[np.float64] | None,
    cost: NDArray[np.float64] | None,
    break_even: NDArray[np.float64],
    allowed: Allowed,
) -> Ranked:
    """The same as :func:`_rank_many`, operation by operation, in Python's numbers."""
    evens, costs = break_even.tolist(), None if cost is None else cost.tolist()
    errors = None if stderr is None else stderr.tolist()
    ranked = Ranked([], [], [], None if errors is None else [], None if allowed is None else [])
    for i, effects in enumerate(effect.tolist()):
        nets = effects if costs is None else [e - c for e, c in zip(effects, costs[i], strict=True)]
        nets = [net - even for net, even in zip(nets[1:], evens[1:], strict=True)]
        best = nets.index(max(nets))
        if allowed is not None and ranked.barred is not None and (mine := allowed[i]) is not None:
            its = [place for place, yes in enumerate(mine[1:]) if yes]
            best = max(its, key=nets.__getitem__) if its else best
            ranked.barred.append(not its)
        elif ranked.barred is not None:
            ranked.barred.append(False)
        ranked.action.append(best + 1)
        ranked.effect.append(effects[best + 1])
        ranked.net.append(nets[best])
        doubtful = sum(nets)
        if errors is not None and ranked.stderr is not None:
            ranked.stderr.append(errors[i][best + 1])
            doubtful += sum(errors[i])
        if not math.isfinite(doubtful):
            raise no_number(i)
    return ranked


def _rank_many(
    effect: NDArray[np.float64],
    stderr: NDArray[np.float64] | None,
    cost: NDArray[np.float64] | None,
    break_even: NDArray[np.float64],
    allowed: Allowed,
) -> Ranked:
    net = net_effects(effect, cost, break_even)
    doubtful = net.sum(axis=1) if stderr is None else net.sum(axis=1) + stderr.sum(axis=1)
    if not np.isfinite(doubtful).all():
        raise no_number(int(np.flatnonzero(~np.isfinite(doubtful))[0]))
    barred: NDArray[np.bool_] | None = None
    mask = mask_of(allowed, net.shape[1] + 1)
    if mask is not None:
        barred = ~np.logical_or.reduce(mask[:, 1:], axis=1)
        mask[barred] = True  # whom nothing may be given is told the best there would have been
    action = best_treatment(net, mask).action
    rows = np.arange(len(net))
    return Ranked(
        action.tolist(),
        effect[rows, action].tolist(),
        net[rows, action - 1].tolist(),
        None if stderr is None else stderr[rows, action].tolist(),
        None if barred is None else barred.tolist(),
    )
