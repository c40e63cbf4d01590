"""The same money, given more evenly: an allocation with floors for groups, and what they cost in value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from persuadable.errors import DataError, OutcomeError, ParameterError
from persuadable.log.checks import require_log
from persuadable.log.tables import by_action
from persuadable.policies.allocation import Allocation, allocate
from persuadable.value.estimate import Estimate, Floats
from persuadable.value.fair.audit import FOUR_FIFTHS, check_arguments, fairness
from persuadable.value.fair.groups import Segment, Segments, segments_of
from persuadable.value.fair.result import Fairness
from persuadable.value.holdout import require_held_out
from persuadable.value.off_policy import look_at
from persuadable.value.policy_value import compare

if TYPE_CHECKING:
    from persuadable.log import DecisionLog
    from persuadable.policies.allocation.constraints import Constraint

__all__ = ["Mitigation", "mitigate"]

SMALL = "too small to be compared"
FINE = 1e-4  # of the value; whole units are hard to divide to the last of it, and no interval would tell


@dataclass(frozen=True, slots=True, eq=False)
class Mitigation:
    """An allocation that keeps floors for groups, beside the one that need not.

    Attributes:
        fair: the allocation under the floors; its ``rows`` say which of them bind and at what price.
        plain: the allocation under the budget alone.
        before, after: fairness of ``plain`` and of ``fair``.
        price: what the floors cost: value of ``plain`` less that of ``fair``, in outcome units per head, estimated from
            the log's outcomes with the interval of the paired difference.
        gain: what ``plain`` brings over doing nothing, per head; the price is a part of it.
        predicted: the price as the effects themselves foretell it, per head. The floors were chosen by these.
    """

    fair: Allocation
    plain: Allocation
    before: Fairness
    after: Fairness
    price: Estimate
    gain: Estimate
    predicted: float

    @property
    def probabilities(self) -> Floats:
        """(n, A) the fair allocation as a table, 1 for the action of each row."""
        return _table(self.fair)

    @property
    def met(self) -> bool:
        """Whether every floor is kept."""
        return all(row.met for row in self.fair.rows)

    def __str__(self) -> str:
        lower, upper = self.price.interval
        lines = []
        for segment in self.after.segments:
            was, now = (_impact(each, segment) for each in (self.before, self.after))
            lines.append(f"{segment}: the lowest selection rate was {was}, and is {now}.")
        binding = [row for row in self.fair.rows if row.binding and row.name != "budget"]
        lines.append(
            f"The floors cost {self.price.value:.4g} of {self.price.unit} ({lower:.4g} to {upper:.4g}) out of a gain "
            f"of {self.gain.value:.4g}; the predicted effects foretell {self.predicted:.4g}."
        )
        lines += [f"- {row.name} binds at a price of {row.price:.4g}" for row in binding]
        if not self.met:
            lines += [f"- {row.name} is missed: {row.used:.4g}" for row in self.fair.rows if not row.met]
        return "\n".join(lines)


def _impact(audit: Fairness, segment: str) -> str:
    worst = audit.widest("selection", segment)
    if worst is None:
        return "not compared"
    return "that of nobody selected" if worst.ratio is None else f"{worst.ratio:.0%} of the highest"


def _table(found: Allocation) -> Floats:
    return np.eye(len(found.labels))[found.action]


def mitigate(
    log: DecisionLog,
    effect: ArrayLike,
    segments: Segments,
    *,
    cost: ArrayLike | Mapping[str, float] | None = None,
    budget: float | None = None,
    parity: float | None = FOUR_FIFTHS,
    benefit: float | None = None,
    constraints: Sequence[Constraint] = (),
    outcome: str | None = None,
    method: str = "dr",
    mu: ArrayLike | None = None,
    bins: int = 4,
    min_size: int = 100,
    alpha: float = 0.05,
    tolerance: float | None = None,
) -> Mitigation:
    """Allocate a log's rows by predicted effects, with floors for groups and without, and price the floors.

    The floors are constraints of ``policies.allocate``:

    * ``parity``: in each segment every group's share of offers is at least this part of every other's.
    * ``benefit``: every group's predicted value per member is at least this much.

    Nobody is given what is predicted to bring them nothing, whatever the floors ask: where a group has too few who
    gain, parity is kept by giving the others less, and a benefit floor is refused as infeasible.

    Both allocations are plans for these rows. Their price is estimated by outcomes that neither saw, row by row, so
    what the two share cancels. It can come out below 0: where the predictions are wrong for a group, floors may pay.

    Args:
        log: held-out rows, without row weights.
        effect: (n, A) predicted effects of models that did not see these rows, or (n,) for a single treatment.
        segments: as for ``fairness``. Groups smaller than ``min_size`` count as one, and if that is too small as well,
            they count with the smallest of the others: a handful of people must not hold up everybody's offers.
        cost: what each action costs, (n, A) or (A,), or treatment → number; None counts 1 for every treatment.
        budget: expected spend per head; with ``cost=None`` that is the share of rows treated. None for no budget.
        parity: least ratio of two groups' shares of offers; None for no such floor.
        benefit: least predicted value per member of each group; None for no such floor.
        constraints: further ones of the allocator. They may refer to the segments by name.
        outcome, method, mu, bins, min_size, alpha: as for ``fairness``.
        tolerance: relative gap to the best at which an allocation will do; None takes 1e-4, or what an average offer
            brings where that is more.

    Raises:
        ParameterError: no floor at all, or an argument outside its range.
        DataError: effects or costs that do not fit the log, a log with row weights, or a segment without two groups
            large enough for parity.
        LeakageError: the effects come of models that saw rows of the log.
        PropensityError: an allocation gives what was never tried.
        Infeasible: the floors cannot be kept together.
    """
    require_log(log, "mitigate")
    check_arguments(min_size, FOUR_FIFTHS, alpha)
    value = _effects(log, effect)
    columns = tuple(_pooled(segment, min_size) for segment in segments_of(log, segments, bins))
    asked = [*_floors(columns, parity, benefit), *constraints]
    if not asked:
        raise ParameterError("No floor is asked for", remedy="Pass parity=0.8, benefit=…, or constraints=.")
    if log.weight is not None:
        raise DataError(
            "An allocation counts rows, and this log's rows have weights",
            remedy="Allocate on a log whose rows stand for one unit each.",
        )
    costs = _costs(log, cost)
    total = None if budget is None else _per_head(budget) * log.n
    labels, eligible = log.actions.names, log.eligible
    groups = {segment.name: segment.named() for segment in columns}
    plain = allocate(value, costs, budget=total, eligible=eligible, actions=labels)
    offers = max(int(plain.counts[1:].sum()), 1)
    fair = allocate(
        value,
        costs,
        budget=total,
        eligible=eligible,
        constraints=asked,
        groups=groups,
        actions=labels,
        tolerance=max(FINE, 1.0 / offers) if tolerance is None else tolerance,
    )
    predictions = look_at(log, outcome, method, mu).mu
    given, free = _table(fair), _table(plain)
    nothing = np.zeros_like(free)
    nothing[:, 0] = 1.0
    price = compare(log, free, given, outcome=outcome, method=method, mu=predictions, alpha=alpha).difference
    gain = compare(log, free, nothing, outcome=outcome, method=method, mu=predictions, alpha=alpha).difference

    def audit(table: Floats, name: str) -> Fairness:
        found = fairness(
            log,
            table,
            segments,
            effect=effect if log.n_actions == 2 else None,
            outcome=outcome,
            method=method,
            mu=predictions,
            bins=bins,
            min_size=min_size,
            threshold=parity or FOUR_FIFTHS,
            alpha=alpha,
        )
        return replace(found, policy=name)

    unit = f"{outcome or log.primary} per head"
    return Mitigation(
        fair=fair,
        plain=plain,
        before=audit(free, "without floors"),
        after=audit(given, "with floors"),
        price=replace(price, name="price of the floors", unit=unit),
        gain=replace(gain, name="gain without the floors", unit=unit),
        predicted=(plain.value - fair.value) / log.n,
    )


def _effects(log: DecisionLog, effect: ArrayLike) -> Floats:
    """(n, A) predicted effects.

    Raises:
        DataError: another shape.
        LeakageError: they come of models that saw rows of the log.
    """
    require_held_out(log, effect)
    table = np.asarray(effect, dtype=np.float64)
    if table.shape == (log.n,) and log.n_actions == 2:
        table = np.stack([np.zeros(log.n), table], axis=1)
    if table.shape != (log.n, log.n_actions):
        raise DataError(
            f"effect has shape {table.shape}, expected {(log.n, log.n_actions)}",
            remedy="Pass learner.effect(log.features).",
        )
    return table


def _costs(log: DecisionLog, cost: ArrayLike | Mapping[str, float] | None) -> Floats:
    """(n, A) what each action costs in each row.

    Raises:
        OutcomeError: another shape, or a treatment without a cost.
    """
    names = log.actions.names
    if isinstance(cost, Mapping):
        if set(cost) != set(log.actions.treatments):
            raise OutcomeError(
                f"The costs are of {sorted(cost)}", remedy=f"State one for each of {list(log.actions.treatments)}."
            )
        cost = [0.0, *(cost[label] for label in log.actions.treatments)]
    told = np.array([0.0, *[1.0] * (len(names) - 1)]) if cost is None else np.asarray(by_action(cost, names, "cost"))
    if told.shape not in ((len(names),), (log.n, len(names))):
        raise OutcomeError(
            f"cost has shape {told.shape}, expected {(log.n, len(names))}",
            remedy="Pass a row per row of the log and a column per action, or one number per action.",
        )
    return np.array(np.broadcast_to(told, (log.n, len(names))), dtype=np.float64)


def _per_head(budget: float) -> float:
    if isinstance(budget, bool) or not isinstance(budget, int | float | np.number) or not 0.0 <= budget < np.inf:
        raise ParameterError(f"budget is {budget!r}", remedy="Pass the expected spend per head, at least 0, or None.")
    return float(budget)


def _pooled(segment: Segment, min_size: int) -> Segment:
    """The segment with its groups below ``min_size`` rows as one, or, if that is small too, with the smallest other."""
    rows = np.bincount(segment.code, minlength=len(segment.labels))
    small = rows < min_size
    if not small.any():
        return segment
    labels = [label for label, thin in zip(segment.labels, small, strict=True) if not thin]
    pool = len(labels)
    if labels and rows[small].sum() < min_size:
        pool = int(rows[~small].argmin())
        labels[pool] = f"{labels[pool]} or {SMALL}"
    else:
        labels.append(SMALL)
    place = np.where(small, pool, np.cumsum(~small) - 1)
    return Segment(segment.name, tuple(labels), place[segment.code].astype(np.intp))


def _floors(columns: Sequence[Segment], parity: float | None, benefit: float | None) -> list[Constraint]:
    """The constraints that the floors come to."""
    from persuadable.policies.allocation.constraints import AtLeast, Parity

    floors: list[Constraint] = []
    for segment in columns:
        if parity is not None:
            if len(segment.labels) < 2:
                raise DataError(
                    f"The segment {segment.name!r} has no two groups large enough for parity",
                    remedy="Leave it out, lower min_size=, or pass parity=None with a floor of benefit=.",
                )
            floors.append(Parity(parity, by=segment.name, name=f"parity of {segment.name}"))
        if benefit is not None:
            if isinstance(benefit, bool) or not isinstance(benefit, int | float | np.number):
                raise ParameterError(f"benefit is {benefit!r}", remedy="Pass a predicted value per member, or None.")
            sizes = np.bincount(segment.code, minlength=len(segment.labels)).tolist()
            floors += [
                AtLeast(benefit * size, groups={segment.name: label}, of="value", name=f"benefit of {label!r}")
                for label, size in zip(segment.labels, sizes, strict=True)
            ]
    return floors
