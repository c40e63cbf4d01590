"""Spend, incremental conversions, return on ad spend and profit of policies, from a held-out experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from persuadable.errors import OutcomeError, ParameterError, UnknownName
from persuadable.log.checks import require_log
from persuadable.policies import RankPolicy, TreatAll, TreatNone
from persuadable.policies.economics import Economics
from persuadable.value.estimate import Estimate, Floats
from persuadable.value.off_policy import Judged, Logged, action_scores, effect_at_threshold, judge, look_at
from persuadable.value.ope.ratio import Ratio, ratio
from persuadable.value.ope.terms import Terms
from persuadable.value.policy_value import Judgeable, Plan, arm_mean_outcomes, random_like

if TYPE_CHECKING:
    import polars as pl

    from persuadable.log import DecisionLog

__all__ = ["PolicyReturns", "Returns", "ReturnsGain", "returns"]

ATTRIBUTED = "conversions of those contacted"


@dataclass(frozen=True, slots=True)
class PolicyReturns:
    """What one policy would spend and bring, in total for the population.

    Attributes:
        policy: its name.
        share: share of the log's units it treats.
        spend: what its contacts cost.
        incremental_conversions: conversions more than if nobody were contacted.
        attributed_conversions: all conversions of the people contacted, which attribution credits to the contact.
        came_anyway: attributed − incremental: conversions of contacted people that would have come without a contact.
        incremental_roas: revenue of the incremental conversions over spend; None where nothing is spent.
        attributed_roas: revenue of the attributed conversions over spend. Misleading: it is high wherever people
            convert anyway, contact or not.
        profit: margin · revenue of the incremental conversions − spend, over contacting nobody.
    """

    policy: str
    share: float
    spend: Estimate
    incremental_conversions: Estimate
    attributed_conversions: Estimate
    came_anyway: Estimate
    incremental_roas: Ratio | None
    attributed_roas: Ratio | None
    profit: Estimate


@dataclass(frozen=True, slots=True)
class ReturnsGain:
    """The policy less a baseline, paired on the same rows, in total for the population.

    Attributes:
        baseline: its name.
        spend, incremental_conversions, profit: differences.
        incremental_roas: difference of the two ratios (delta method, right where both spends are far from 0); None
            where either spends nothing.
        marginal_roas: revenue of the conversions that the dearer of the two brings more, over what it spends more: what
            the last of its budget buys. None where they spend the same.
    """

    baseline: str
    spend: Estimate
    incremental_conversions: Estimate
    profit: Estimate
    incremental_roas: Estimate | None
    marginal_roas: Ratio | None


@dataclass(frozen=True, slots=True)
class Returns:
    """A policy's returns beside those of its baselines.

    Attributes:
        rows: the policy first, then each baseline.
        gains: the policy less each baseline, in the same order.
        economics: value of a conversion and cost of a contact.
        population: for how many units totals are told.
        n: rows of the log.
        method: "dr" or "ips".
    """

    rows: tuple[PolicyReturns, ...]
    gains: tuple[ReturnsGain, ...]
    economics: Economics
    population: float
    n: int
    method: str

    def __getitem__(self, policy: str) -> PolicyReturns:
        for row in self.rows:
            if row.policy == policy:
                return row
        raise UnknownName(f"There is no policy {policy!r}", remedy=f"There are {[row.policy for row in self.rows]}.")

    def over(self, baseline: str) -> ReturnsGain:
        """The policy less this baseline.

        Raises:
            UnknownName: no such baseline.
        """
        for gain in self.gains:
            if gain.baseline == baseline:
                return gain
        names = [gain.baseline for gain in self.gains]
        raise UnknownName(f"There is no baseline {baseline!r}", remedy=f"Compared were {names}.")

    def frame(self) -> pl.DataFrame:
        """One row per policy, every number with its interval; an unbounded set of a ratio has infinite ends."""
        import polars as pl

        return pl.DataFrame([_flat(row, "policy", "share") for row in self.rows], infer_schema_length=None)

    def gains_frame(self) -> pl.DataFrame:
        """One row per baseline: the policy less it."""
        import polars as pl

        return pl.DataFrame([_flat(gain, "baseline") for gain in self.gains], infer_schema_length=None)

    def __str__(self) -> str:
        money, unit = self.economics, self.economics.outcome
        first = self.rows[0]
        returns_on = [
            (
                row.policy,
                f"{row.share:.1%}",
                money.money(row.spend.value),
                _told(row.incremental_roas, ".3g"),
                _told(row.attributed_roas, ".3g"),
            )
            for row in self.rows
        ]
        brings = [
            (row.policy, _told(row.incremental_conversions, "+,.4g"), _profit(money, row.profit)) for row in self.rows
        ]
        over = [(gain.baseline, _profit(money, gain.profit), _marginal(gain)) for gain in self.gains]
        least = self.economics.break_even_roas
        return "\n".join(
            (
                f"in total for {self.population:,.0f} units, estimated from {self.n:,} held-out rows",
                *_aligned(("", "treated", "spend", "incremental ROAS", "attributed ROAS"), returns_on, right=(1, 2)),
                "",
                *_aligned(("", f"incremental {unit}", "profit"), brings),
                "",
                *_aligned(("the policy over", "profit gained", "ROAS of the difference in spend"), over),
                f"Incremental ROAS earns money above {least:.3g}. Attributed ROAS misleads: {first.policy}'s counts "
                f"{first.attributed_conversions.value:,.4g} ({unit}), of which "
                f"{_told(first.came_anyway, ',.4g')} would have come without a contact.",
            )
        )


def _aligned(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]], right: tuple[int, ...] = ()) -> list[str]:
    """A table as lines, its columns two spaces apart; ``right`` are set to the right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]

    def line(cells: tuple[str, ...]) -> str:
        sides = (">" if place in right else "<" for place in range(len(cells)))
        return "  ".join(f"{c:{s}{w}}" for c, s, w in zip(cells, sides, widths, strict=True)).rstrip()

    return [line(heads), *map(line, rows)]


def _marginal(gain: ReturnsGain) -> str:
    return "same spend" if gain.marginal_roas is None else _told(gain.marginal_roas, ".3g")


def _profit(money: Economics, estimate: Estimate) -> str:
    return money.amounts(estimate.value, *estimate.interval, "+")


def _told(number: Estimate | Ratio | None, form: str) -> str:
    """A number with its interval, or with the words for a set that is none."""
    if number is None:
        return "nothing spent"
    value = format(number.value, form)
    if isinstance(number, Ratio) and number.shape != "interval":
        told = f"{value} (no bounds)"
    else:
        low, high = number.interval
        told = f"{value} ({low:{form}} to {high:{form}})"
    return told.replace("-", "−")


def _flat(row: Any, *plain: str) -> dict[str, Any]:
    """A row's plain values, and its numbers each with an interval."""
    flat: dict[str, Any] = {name: getattr(row, name) for name in plain}
    for name in type(row).__dataclass_fields__:
        if name in plain:
            continue
        number = getattr(row, name)
        flat[name] = None if number is None else number.value
        flat[f"{name}_lower"], flat[f"{name}_upper"] = (None, None) if number is None else number.interval
    return flat


def returns(
    log: DecisionLog,
    policy: Judgeable,
    economics: Economics,
    baselines: Mapping[str, Judgeable] | None = None,
    *,
    response: Any = None,
    method: Literal["dr", "ips"] = "dr",
    mu: ArrayLike | None = None,
    population: float | None = None,
    alpha: float = 0.05,
) -> Returns:
    """What a policy would spend and bring, beside treating all, a lottery, and ranking by propensity to convert.

    With π the policy, per head: incremental conversions are E[Σ_a π_a (μ_a − μ_0)], attributed ones E[Σ_{a≥1} π_a μ_a],
    contacts k·E[Σ_{a≥1} π_a], or E[Σ_{a≥1} π_a C_a] where ``economics.contact`` names what counts them. All come from
    the same doubly robust or inverse-propensity scores; ratios have Fieller's set (``value.estimate_ratio``),
    differences are paired row by row. Intervals are about expected totals of a population like the log's units; what
    actual customers do varies around them. The usual baselines treat as many as the policy does, whatever that share
    turns out to be in the population, so that they are compared at the same spend.

    Where ``economics.contact`` is named, attributed conversions are those of units that were contacted, as a platform
    counts them.

    A smaller budget nearly always has the higher ROAS, because the best are taken first. Profit, and the ROAS of the
    difference in spend (``ReturnsGain.marginal_roas``), say whether the budget was cut too far.

    Args:
        log: held-out rows.
        policy: a policy, or its probabilities (n, A) on the log's rows.
        economics: value of a conversion and cost of a contact; its ``outcome`` is the log's.
        baselines: policies or (n, A) probabilities by name; when None treat all (with several treatments, each), random
            with as many treated as the policy treats, and, where ``response`` is given, the propensity ranking.
        response: a fitted model of who converts, ``predict(features) -> (n,)``, or a function of the features: the
            baseline "propensity ranking" treats those with the highest predictions, as many as the policy does, with
            the first treatment; all who may have it, where these are fewer.
        method: "dr" or "ips".
        mu: for "dr", (n, A) predicted conversions, or (A,) constants; cross-fitted on the log when None.
        population: units to tell totals for; None for as many as the log has rows.
        alpha: probability the intervals are meant to miss.

    Raises:
        ParameterError: no economics, another method, a population that is not above 0, or ``response`` beside
            ``baselines``.
        OutcomeError: the log lacks ``economics.outcome`` or ``economics.contact``.
        LeakageError, DataError, PropensityError, NotFittedError: as for ``policy_value``.
    """
    require_log(log, "returns")
    if not isinstance(economics, Economics):
        raise ParameterError(
            f"economics is a {type(economics).__name__}", remedy="Make them: ps.policies.economics(50.0, 0.2)."
        )
    if method not in ("dr", "ips"):
        raise ParameterError(f"method is {method!r}", remedy="Pass 'dr' or 'ips'.")
    total = float(log.n if population is None else population)
    if not 0 < total < float("inf"):
        raise ParameterError(f"population is {population!r}", remedy="Pass how many units there are, above 0.")
    if baselines is not None and response is not None:
        raise ParameterError(
            "response= makes one of the usual baselines, and others were given",
            remedy="Leave one of the two out, or put a RankPolicy among the baselines.",
        )
    ours = Plan.of(log, policy)
    plans = {
        name: Plan.of(log, other, name) for name, other in (_everybody(log) if baselines is None else baselines).items()
    }
    like = {} if baselines is not None else _like(log, ours, response)
    ledger = _Ledger.of(log, economics, method, mu, total, alpha)
    accounts = [ledger.account(ours)]
    accounts += [ledger.account(plan) for plan in plans.values()]
    accounts += [ledger.account(plan, ours) for plan in like.values()]
    return Returns(
        rows=tuple(ledger.row(account) for account in accounts),
        gains=tuple(ledger.gain(accounts[0], other) for other in accounts[1:]),
        economics=economics,
        population=total,
        n=log.n,
        method=method,
    )


def _everybody(log: DecisionLog) -> dict[str, Judgeable]:
    """Treating all, with each treatment."""
    if log.n_actions == 2:
        return {"treat all": TreatAll()}
    return {f"treat all with {log.actions.names[a]}": TreatAll(a) for a in range(1, log.n_actions)}


def _like(log: DecisionLog, plan: Plan, response: Any) -> dict[str, Plan]:
    """What one would do without effects, treating as many as a plan does."""
    found = {"random": Plan.of(log, random_like(log, plan.probabilities), "random")}
    if response is not None:
        share = float(np.average(1.0 - plan.probabilities[:, 0], weights=log.weight))
        name = "propensity ranking"
        found[name] = Plan.of(log, RankPolicy(response, min(share, 1.0), name=name).calibrate(log))
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Account:
    """Totals per head of one plan with their influence functions, as ``Judged``."""

    plan: Plan
    share: float
    spend: Judged
    incremental: Judged
    attributed: Judged


@dataclass(frozen=True, slots=True, eq=False)
class _Ledger:
    """What all plans are booked with.

    Attributes:
        economics, population, alpha: as told.
        converted: conversions of the log's rows.
        credited: what attribution counts: conversions, of those contacted where contacts are an outcome.
        contacted: contacts of the log's rows; None where every treated unit is contacted alike.
        nobody: the value of contacting nobody.
    """

    economics: Economics
    population: float
    alpha: float
    converted: Logged
    credited: Logged
    contacted: Logged | None
    nobody: Judged

    @classmethod
    def of(
        cls, log: DecisionLog, economics: Economics, method: str, mu: ArrayLike | None, population: float, alpha: float
    ) -> _Ledger:
        converted = look_at(log, economics.outcome, method, mu)
        credited, contacted = converted, None
        if economics.contact is not None:
            contact = log.outcome(economics.contact)
            if (contact < 0).any():
                row = int(np.flatnonzero(contact < 0)[0])
                raise OutcomeError(
                    f"{economics.contact!r} is {contact[row]:g}", where=f"row {row}", remedy="Count contacts from 0 up."
                )
            seen = {economics.contact: contact, ATTRIBUTED: converted.y * (contact > 0)}
            told = replace(log, outcomes={**log.outcomes, **seen})
            # Arm means in the place of predictions: unbiased as well, and no models more.
            contacted, credited = (
                look_at(told, name, method, arm_mean_outcomes(told, name) if method == "dr" else None) for name in seen
            )
        nobody = Plan.of(log, TreatNone())
        return cls(economics, population, alpha, converted, credited, contacted, judge(converted, nobody.probabilities))

    def account(self, plan: Plan, like: Plan | None = None) -> _Account:
        """The books of a plan, per head; of one that treats as many as the plan ``like`` does, where that is given."""
        cost, share = self.economics.cost_per_contact, self._share(plan)
        if like is not None and share < (1.0 - 1e-9) * self._share(like):
            like = None  # too few may have its treatment, so it spends what it spends
        contacts = (
            self._contacts(plan if like is None else like)
            if self.contacted is None
            else _booked(self.contacted, plan, None, like)
        )
        return _Account(
            plan=plan,
            share=share,
            spend=_scaled(contacts, cost),
            incremental=_booked(self.converted, plan, self.nobody, like),
            attributed=_booked(self.credited, plan, None, like),
        )

    def _share(self, plan: Plan) -> float:
        return float(self.converted.mean(1.0 - plan.probabilities[:, 0]))

    def _contacts(self, plan: Plan) -> Judged:
        """k times the share treated; exact where a budget fixes that share."""
        treated, share = 1.0 - plan.probabilities[:, 0], self._share(plan)
        psi = np.zeros(treated.shape) if _fixes_share(plan) else treated - share
        return _scaled(Judged(share, psi, float("nan"), float("nan")), self.economics.contacts_per_treated)

    def row(self, account: _Account) -> PolicyReturns:
        """A plan's totals."""
        name, unit = account.plan.name, self.economics.outcome
        anyway = _less(account.attributed, account.incremental)
        return PolicyReturns(
            policy=name,
            share=account.share,
            spend=self._total(account.spend, f"spend of {name}", self.economics.currency, tested=False),
            incremental_conversions=self._total(account.incremental, f"incremental {unit} of {name}"),
            attributed_conversions=self._total(account.attributed, f"attributed {unit} of {name}", tested=False),
            came_anyway=self._total(anyway, f"{unit} that would have come anyway", tested=False),
            incremental_roas=self._roas(account.incremental, account.spend, f"incremental ROAS of {name}"),
            attributed_roas=self._roas(account.attributed, account.spend, f"attributed ROAS of {name}"),
            profit=self._total(self._profit(account), f"profit of {name}", self.economics.currency),
        )

    def gain(self, ours: _Account, theirs: _Account) -> ReturnsGain:
        """One plan less another."""
        name = f"{ours.plan.name} − {theirs.plan.name}"
        spend, more = _less(ours.spend, theirs.spend), _less(ours.incremental, theirs.incremental)
        same = abs(spend.value) <= 1e-9 * max(abs(ours.spend.value), abs(theirs.spend.value))
        return ReturnsGain(
            baseline=theirs.plan.name,
            spend=self._total(spend, f"spend, {name}", self.economics.currency),
            incremental_conversions=self._total(more, f"incremental {self.economics.outcome}, {name}"),
            profit=self._total(
                _less(self._profit(ours), self._profit(theirs)), f"profit, {name}", self.economics.currency
            ),
            incremental_roas=self._roas_difference(ours, theirs, f"incremental ROAS, {name}"),
            marginal_roas=None if same else self._roas(more, spend, f"marginal ROAS, {name}"),
        )

    def _profit(self, account: _Account) -> Judged:
        worth = self.economics.margin * self.economics.value_per_conversion
        return _less(_scaled(account.incremental, worth), account.spend)

    def _total(self, judged: Judged, name: str, unit: str = "", *, tested: bool = True) -> Estimate:
        return replace(
            self.converted.estimate(
                judged.value * self.population, judged.psi * self.population, self.alpha, name, tested=tested
            ),
            unit=unit,
        )

    def _roas(self, conversions: Judged, spend: Judged, name: str) -> Ratio | None:
        if spend.value == 0:
            return None
        revenue = self.economics.value_per_conversion
        return ratio(
            self._terms(conversions, revenue),
            self._terms(spend, 1.0),
            alpha=self.alpha,
            clusters=self.converted.clusters,
            weight=self.converted.weight,
            name=name,
        )

    def _terms(self, judged: Judged, factor: float) -> Terms:
        """Terms with this value and influence function, as ``ratio`` takes them."""
        return Terms(factor * (judged.value + judged.psi - self.converted.mean(judged.psi)))

    def _roas_difference(self, ours: _Account, theirs: _Account, name: str) -> Estimate | None:
        if ours.spend.value == 0 or theirs.spend.value == 0:
            return None
        v = self.economics.value_per_conversion
        (one, psi_one), (other, psi_other) = (_quotient(a.incremental, a.spend) for a in (ours, theirs))
        return self.converted.estimate(v * (one - other), v * (psi_one - psi_other), self.alpha, name)


def _quotient(above: Judged, below: Judged) -> tuple[float, Floats]:
    """A quotient and its influence function (ψ_N − R ψ_D)/D."""
    value = above.value / below.value
    return value, (above.psi - value * below.psi) / below.value


def _less(one: Judged, other: Judged) -> Judged:
    return Judged(one.value - other.value, one.psi - other.psi, float("nan"), float("nan"))


def _scaled(judged: Judged, factor: float) -> Judged:
    return Judged(factor * judged.value, factor * judged.psi, judged.ess, judged.mean_weight)


def _fixes_share(plan: Plan) -> bool:
    """Whether the plan treats a given share of whoever comes, its threshold being drawn from these rows."""
    rule = plan.rule
    return plan.scored is not None and rule is not None and rule.binds == "budget" and bool(np.isfinite(rule.threshold))


def _booked(logged: Logged, plan: Plan, nobody: Judged | None, like: Plan | None) -> Judged:
    """E[Σ_{a≥1} π_a (μ_a − μ_0)], or without μ_0 where ``nobody`` is None, with its influence function.

    Where a budget's threshold was drawn from these rows, γ·(π − b) is taken off, with γ what the marginal unit adds and
    b the share (see ``policy_value.threshold_sampling``). Where the share b is that of another plan, γ·(π − b) is taken
    off too, as the plan is drawn to reach it, and unless b is given γ times that plan's treated less b comes on top; a
    lottery adds the same for every unit, γ = value / b.
    """
    probabilities = plan.probabilities
    if nobody is None:
        probabilities = probabilities.copy()
        probabilities[:, 0] = 0.0
    judged = judge(logged, probabilities, plan.name)
    if nobody is not None:
        judged = Judged(judged.value - nobody.value, judged.psi - nobody.psi, judged.ess, judged.mean_weight)
    treated = 1.0 - plan.probabilities[:, 0]
    share, psi = float(logged.mean(treated)), judged.psi
    marginal = judged.value / share if share > 0 else 0.0
    if _fixes_share(plan):
        marginal = _marginal_unit(logged, plan, against_control=nobody is not None)
    if _fixes_share(plan) or like is not None:
        psi = psi - marginal * (treated - share)
    if like is not None and not _fixes_share(like):
        followed = 1.0 - like.probabilities[:, 0]
        psi = psi + marginal * (followed - float(logged.mean(followed)))
    return Judged(judged.value, psi, judged.ess, judged.mean_weight)


def _marginal_unit(logged: Logged, plan: Plan, *, against_control: bool) -> float:
    """What the unit at the threshold adds, over its control or not."""
    assert plan.scored is not None
    assert plan.rule is not None
    scores = action_scores(logged)
    gain = np.take_along_axis(scores, plan.scored.action[:, None], axis=1)[:, 0]
    if against_control:
        gain = gain - scores[:, 0]
    return effect_at_threshold(plan.scored.score, gain, plan.rule.threshold, plan.rule.share, logged.weight)
