"""What each rule of a policy tree is worth, on rows that did not grow it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import ParameterError
from persuadable.log.checks import require_log
from persuadable.policies.base import check_eligible, one_action
from persuadable.policies.budget import break_evens
from persuadable.policies.tree import PolicyTree, Rule
from persuadable.value.estimate import Estimate, Floats
from persuadable.value.holdout import require_held_out
from persuadable.value.off_policy import Logged, judge, look_at
from persuadable.value.policy_value import arm_mean_outcomes

if TYPE_CHECKING:
    import polars as pl

    from persuadable.log import DecisionLog

__all__ = ["RuleValue", "RuleValues", "rule_values"]


@dataclass(frozen=True, slots=True)
class RuleValue:
    """One rule on a log. Its numbers are per head of those it is about, None where the log has no such row.

    Attributes:
        rule: the rule.
        share: (weighted) share of the log's units it is about.
        value: mean outcome if the rule decides.
        gain: that less the mean outcome if nothing is done.
        effects: (A − 1) each treatment, to everybody it is allowed for, over doing nothing.
    """

    rule: Rule
    share: float
    value: Estimate | None
    gain: Estimate | None
    effects: tuple[Estimate, ...] | None


@dataclass(frozen=True, slots=True)
class RuleValues(Sequence[RuleValue]):
    """What the rules of a tree are worth. Intervals are one by one, not all at once.

    Attributes:
        rows: one per rule, in the tree's order.
        value: mean outcome per head of everybody if the tree decides.
        gain: that less the mean outcome if nothing is done.
        outcome: what it is measured in, in words.
        treatments: labels of the treatments.
    """

    rows: tuple[RuleValue, ...]
    value: Estimate
    gain: Estimate
    outcome: str
    treatments: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> RuleValue:  # type: ignore[override]
        return self.rows[i]

    def frame(self) -> pl.DataFrame:
        """One row per rule, with the effect of every treatment among those it is about."""
        import polars as pl

        return pl.DataFrame(
            [
                {"who": row.rule.who, "does": row.rule.does, "share": row.share}
                | _flat("value", row.value)
                | _flat("gain", row.gain)
                | self._effects(row)
                for row in self.rows
            ],
            infer_schema_length=None,
        )

    def _effects(self, row: RuleValue) -> dict[str, float | None]:
        told = [None] * len(self.treatments) if row.effects is None else row.effects
        named = zip(self.treatments, told, strict=True)
        return {key: number for label, effect in named for key, number in _flat(f"effect of {label}", effect).items()}

    def __str__(self) -> str:
        who, does = (max(len(part), *(len(getattr(r.rule, part)) for r in self.rows)) for part in ("who", "does"))
        lines = [f"{'who':{who}}  {'does':{does}}   share  {self.outcome:24}  gain over doing nothing"]
        idle = [row.rule.probabilities[0] == 1.0 for row in self.rows]
        for row, nothing in zip(self.rows, idle, strict=True):
            lines.append(
                f"{row.rule.who:{who}}  {row.rule.does:{does}}  {row.share:6.1%}  {_shown(row.value):24}  "
                f"{_gain(row.gain, nothing)}".rstrip()
            )
        gain = _gain(self.gain, all(idle))
        lines.append(f"{'everybody':{who}}  {'':{does}}  {1:6.1%}  {_shown(self.value):24}  {gain}")
        return "\n".join(lines)


def _flat(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    if estimate is None:
        return {name: None, f"{name}_lower": None, f"{name}_upper": None}
    return {name: estimate.value, f"{name}_lower": estimate.interval[0], f"{name}_upper": estimate.interval[1]}


def _shown(estimate: Estimate | None, sign: str = "") -> str:
    if estimate is None:
        return "no such row"
    lower, upper = estimate.interval
    return f"{estimate.value:{sign}.4g} ({lower:{sign}.4g} to {upper:{sign}.4g})"


def _gain(estimate: Estimate | None, nothing: bool) -> str:
    return "0, as nothing is done" if nothing and estimate is not None else _shown(estimate, "+")


def rule_values(
    log: DecisionLog,
    tree: PolicyTree,
    *,
    outcome: str | None = None,
    method: str = "dr",
    mu: ArrayLike | None = None,
    alpha: float = 0.05,
) -> RuleValues:
    """What each rule of a tree is worth per head of those it is about, with intervals, on held-out rows.

    A rule's value is E[1{leaf} Γ_π] / P(leaf) with Γ the scores of ``policy_value``; its influence function is
    (ψ_leaf − V(1{leaf} − P(leaf)))/P(leaf). Everything is net of the tree's cost and break-even, unless an outcome is
    named.

    Args:
        log: held-out rows.
        tree: fitted.
        outcome: which outcome, without costs; when None the tree's own, net of its cost and break-even.
        method: "dr" or "ips".
        mu: for "dr", (n, A) predicted outcomes, or (A,) constants; cross-fitted on the log when None.
        alpha: probability each interval is meant to miss.

    Raises:
        LeakageError: rows of the log grew the tree.
        NotFittedError: the tree is not fitted.
        ParameterError: another method, or something else than a log and a tree.
        PropensityError: a rule takes an action that was never tried.
    """
    require_log(log, "rule_values")
    if not isinstance(tree, PolicyTree):
        raise ParameterError(
            f"A {type(tree).__name__} has no rules",
            where="rule_values",
            remedy="Pass a fitted PolicyTree; any policy is judged as a whole by policy_value(log, policy).",
        )
    require_held_out(log, tree)
    if method not in ("dr", "ips"):
        raise ParameterError(f"method is {method!r}", remedy="Pass 'dr' or 'ips'; rules are judged by plain means.")
    scale = _Scale.of(log, tree, outcome, method, mu)
    p = tree.probabilities(log.features, log.n_actions, log.eligible)
    eligible = check_eligible(log.eligible, log.n, log.n_actions)
    nothing, *treatments = (one_action(a, 1.0, log.n, log.n_actions, eligible) for a in range(log.n_actions))
    leaf = tree.leaves(log.features)
    rows = []
    for i, rule in enumerate(tree.rules()):
        inside = leaf == i
        share = scale.share(inside)
        if not inside.any():
            rows.append(RuleValue(rule, share, None, None, None))
            continue
        effects = tuple(scale.among(inside, all_of, nothing, alpha, rule.who) for all_of in treatments)
        value = scale.among(inside, p, None, alpha, rule.who)
        rows.append(RuleValue(rule, share, value, scale.among(inside, p, nothing, alpha, rule.who), effects))
    everybody = np.ones(log.n, dtype=np.bool_)
    total, gain = (scale.among(everybody, p, baseline, alpha, tree.name) for baseline in (None, nothing))
    return RuleValues(tuple(rows), total, gain, scale.words, log.actions.treatments)


@dataclass(frozen=True, slots=True, eq=False)
class _Scale:
    """What worth is measured by: an outcome, less a cost, less a break-even.

    Attributes:
        logged: the outcome.
        cost: the cost, or None.
        price: (A,) break-even of each action.
        words: what tables call it.
    """

    logged: Logged
    cost: Logged | None
    price: Floats
    words: str

    @classmethod
    def of(cls, log: DecisionLog, tree: PolicyTree, outcome: str | None, method: str, mu: ArrayLike | None) -> _Scale:
        """The outcome named, or the tree's own objective."""
        logged = look_at(log, tree.outcome if outcome is None else outcome, method, mu)
        name = outcome or tree.outcome or log.primary
        if outcome is not None:
            return cls(logged, None, np.zeros(log.n_actions), name)
        price = break_evens(tree.break_even, log.actions)
        price[0] = 0.0
        if tree.cost is None:
            return cls(logged, None, price, f"{name} net" if price.any() else name)
        cost = look_at(log, tree.cost, method, arm_mean_outcomes(log, tree.cost) if method == "dr" else None)
        return cls(logged, cost, price, f"{name} net")

    def share(self, inside: NDArray[np.bool_]) -> float:
        """(Weighted) share of the rows."""
        return float(self.logged.mean(inside.astype(np.float64)))

    def among(
        self, inside: NDArray[np.bool_], table: Floats, baseline: Floats | None, alpha: float, name: str
    ) -> Estimate:
        """Mean worth of a table of probabilities (n, A) among some rows, less that of a baseline."""
        value, psi = self._within(inside, table, name)
        if baseline is not None:
            other = self._within(inside, baseline, name)
            value, psi = value - other[0], psi - other[1]
        share = self.share(inside)
        theta = value / share
        return self.logged.estimate(theta, (psi - theta * (inside - share)) / share, alpha, name)

    def _within(self, inside: NDArray[np.bool_], table: Floats, name: str) -> tuple[float, Floats]:
        """E[1{inside} · worth] and its influence function."""
        taken = np.where(inside[:, None], table, 0.0)
        judged = judge(self.logged, taken, name)
        charged = taken @ self.price
        mean = float(self.logged.mean(charged))
        value, psi = judged.value - mean, judged.psi - (charged - mean)
        if self.cost is None:
            return value, psi
        spent = judge(self.cost, taken, name)
        return value - spent.value, psi - spent.psi
