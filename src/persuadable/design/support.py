"""Which actions does a log know enough about? Rows, effective rows and what they can find, by action and segment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.design.depths import Depth, promising, proposed
from persuadable.design.measured import ActionSupport, Measure, Verdict
from persuadable.design.power import is_number
from persuadable.design.sequential import monitor
from persuadable.errors import ActionError, DataError, ParameterError
from persuadable.log import DecisionLog
from persuadable.log.checks import require_all_propensities, require_log
from persuadable.spaces import Discrete

if TYPE_CHECKING:
    import polars as pl

__all__ = ["SegmentSupport", "Support", "support"]

Vector = NDArray[np.float64]
EFFECTIVE = 400.0


@dataclass(frozen=True, slots=True)
class SegmentSupport:
    """What a log knows of an action within a segment.

    Attributes:
        segment, action: the labels; the action as it is after pooling.
        rows, effective, detectable: as for ``ActionSupport``, among the segment's rows.
        enough: whether it would stand alone; otherwise a model of the segment can only borrow from the others.
    """

    segment: str
    action: str
    rows: int
    effective: float
    detectable: float
    enough: bool


@dataclass(frozen=True, slots=True, eq=False)
class Support:
    """Which actions a log can speak about, and what becomes of those it cannot.

    Attributes:
        outcome: the outcome the detectable differences are of.
        n: rows of the log.
        actions: a row per treatment of the log, with its verdict.
        kept: the treatments there are after pooling and pruning, in the log's order (of the first member).
        cells: a row per segment and treatment kept; empty where no segments were named.
        least: effective rows asked of an action.
        worth: the smallest effect worth finding, in outcome units per head, if one was named.
        power, alpha: of the detectable differences.
        control: label of the control.
        control_rows: its rows.
        sd: standard deviation of the outcome among all rows.
    """

    outcome: str
    n: int
    actions: tuple[ActionSupport, ...]
    kept: tuple[ActionSupport, ...]
    cells: tuple[SegmentSupport, ...]
    least: float
    worth: float | None
    power: float
    alpha: float
    control: str
    control_rows: int
    sd: float

    @property
    def doses(self) -> dict[str, float]:
        """Label → dose of the treatments kept that lie on the dose axis."""
        return {row.label: row.dose for row in self.kept if row.dose is not None}

    def apply(self, log: DecisionLog) -> DecisionLog:
        """The log with the actions kept: rows of pruned ones left out, pooled ones under one label.

        Propensities of a pool are the sum of its members'. What is learned of it is the effect of one of its members,
        in the proportions in which they were drawn. Rows without a pruned action stand for all (Horvitz, Thompson
        1952), as in ``log.select(actions=…)``.

        Raises:
            ActionError: no action is kept, or the log lacks one of them.
            PropensityError: only the propensities of the actions taken were logged.
        """
        require_log(log, "Support.apply")
        if not self.kept:
            raise ActionError(
                f"No action has support enough beside {self.control!r}",
                remedy="Log more decisions drawn by lot, or ask for less: least=, worth=.",
            )
        members = [label for row in self.kept for label in row.members]
        for label in (self.control, *members):
            log.actions.index(label)
        return _merged(log.select(actions=members), [(row.label, row.members) for row in self.kept])

    def expand(self, n: int = 3, *, lower: float = 0.0, upper: float = math.inf) -> tuple[Depth, ...]:
        """The depths to try next around the promising ones, beginning with the most promising.

        A depth is promising where its effect may be above 0 and may be the largest: neither interval says otherwise.
        Proposed are the members of a promising pool, the middle of the gap to each neighbour (doing nothing counts as
        depth 0), and beyond the end of the axis one step as wide as the last.

        Args:
            n: most proposals.
            lower, upper: bounds of the depths that may be offered.

        Raises:
            ParameterError: no kept action lies on a dose axis, or n below 1.
        """
        axis = sorted((row for row in self.kept if row.dose is not None), key=lambda row: row.dose or 0.0)
        if not axis:
            raise ParameterError(
                "No action kept has a dose, so there is no axis to expand along",
                remedy="Name the depths: support(log, dose={'5%': 5, '10%': 10, …}).",
            )
        if not isinstance(n, int | np.integer) or n < 1:
            raise ParameterError(f"n is {n!r}", remedy="Pass how many proposals there may be, at least 1.")
        told = {row.label: row for row in self.actions}
        points = [(row.label, float(row.dose or 0.0), row.effect, row.stderr) for row in axis]
        apart = {
            row.label: [(label, float(told[label].dose or 0.0), told[label].effective) for label in row.members]
            for row in axis
            if len(row.members) > 1
        }
        best = promising(points, self.alpha)
        return proposed(points, best, apart, self._needed(axis), lower, upper)[: int(n)]

    def _needed(self, axis: Sequence[ActionSupport]) -> float:
        """Effective rows a new depth needs: ``least``, and enough to find ``worth`` against the control there is."""
        if self.worth is None:
            return self.least
        control = max(row.control for row in axis)
        drift = monitor("fixed", alpha=self.alpha).drift(self.power)
        room = (self.worth / drift) ** 2 - self.sd**2 / control
        return max(self.least, self.sd**2 / room) if room > 0 else math.inf

    def frame(self) -> pl.DataFrame:
        """One row per treatment of the log."""
        return _frame(ActionSupport, self.actions)

    def kept_frame(self) -> pl.DataFrame:
        """One row per treatment kept."""
        return _frame(ActionSupport, self.kept)

    def cells_frame(self) -> pl.DataFrame:
        """One row per segment and treatment kept."""
        return _frame(SegmentSupport, self.cells)

    def __str__(self) -> str:
        asked = f"{self.least:,.0f} effective rows"
        if self.worth is not None:
            asked += f" and finding {self.worth:.4g}"
        lines = [
            f"Support for {self.outcome!r} in {self.n:,} rows, {self.control_rows:,} of them {self.control!r}; "
            f"an action needs {asked}."
        ]
        width = max(len("action"), *(len(row.label) for row in self.actions))
        lines.append(f"{'action':{width}}       rows  effective  finds with {self.power:.0%}  verdict")
        for row in sorted(self.actions, key=lambda row: math.inf if row.dose is None else row.dose):
            figures = f"{row.rows:10,} {row.effective:10,.0f}  {row.detectable:14.4g}"
            lines.append(f"{row.label:{width}} {figures}  {self._verdict(row)}")
        lines += self.words
        return "\n".join(lines)

    def _verdict(self, row: ActionSupport) -> str:
        if row.verdict != "pool":
            return row.verdict
        pool = next(kept for kept in self.kept if row.label in kept.members)
        return "pool with " + ", ".join(label for label in pool.members if label != row.label)

    @property
    def words(self) -> tuple[str, ...]:
        """The verdicts and the thin cells, in sentences; nothing where everything has enough."""
        words = []
        for row in self.kept:
            if len(row.members) > 1:
                words.append(
                    f"{', '.join(row.members)} count as one action, {row.label!r}: together {row.effective:,.0f} "
                    f"effective rows, which find {row.detectable:.4g}."
                )
        for row in self.actions:
            if row.verdict == "prune":
                can = "no difference at all" if math.isinf(row.detectable) else f"nothing below {row.detectable:.4g}"
                words.append(
                    f"{row.label!r} is left out: its {row.effective:,.0f} effective rows "
                    f"find {can}. That says nothing against the action itself."
                )
        if self.kept and (control := min(row.control for row in self.kept)) < self.least:
            words.append(
                f"{self.control!r} is thin itself, {control:,.0f} effective rows, and every action is held against it."
            )
        if not self.kept:
            words.append("No action is left beside doing nothing: this log cannot say what to offer.")
        thin = [cell for cell in self.cells if not cell.enough]
        if thin:
            named = ", ".join(f"{cell.segment} × {cell.action} ({cell.effective:,.0f})" for cell in thin[:5])
            words.append(
                f"{len(thin)} of {len(self.cells)} segments × actions have too few effective rows to stand alone: "
                f"{named}{', …' if len(thin) > 5 else ''}. There a model can only borrow from other segments."
            )
        return tuple(words)


def support(
    log: DecisionLog,
    segments: str | ArrayLike | None = None,
    outcome: str | None = None,
    dose: Mapping[str, float] | None = None,
    *,
    least: float = EFFECTIVE,
    worth: float | None = None,
    power: float = 0.8,
    alpha: float = 0.05,
) -> Support:
    """What the log knows of each action, and which actions to keep, to pool along the dose axis, or to prune.

    An action has enough where it has ``least`` effective rows and, if ``worth`` is named, finds an effect of that size
    with the power asked for. One that has not is pooled with its nearer neighbour on the dose axis, the thinnest first,
    until all have enough or one pool is left. What still has not, or is not on the axis, is pruned.
    400 effective rows in each of two arms find a fifth of a standard deviation with 80%.

    What is detectable supposes that the outcome varies alike in both arms, as where there is no effect. Rows of a unit
    count as if they said the same, so effective rows are no more than units.

    Args:
        log: n rows, A actions.
        segments: a category among the features, or (n,) labels, None or NaN for a missing one; also asks within each.
        outcome: which outcome; None is the primary one.
        dose: depth of each offer that lies on the axis, by label: a discount in percent, a price, a quantity.
        least: effective rows an action needs.
        worth: the smallest effect worth finding, in outcome units per head.
        power, alpha: of the differences that are found.

    Raises:
        ParameterError: an argument outside its range.
        ActionError: ``dose`` names no treatment, or two treatments have the same dose.
        OutcomeError: the outcome is the same in every row.
        PropensityError: doses to pool by, and only the propensities of the actions taken.
    """
    require_log(log, "support")
    _check(log, dose, least, worth)
    measure = Measure.of(log, outcome, least, worth, power, alpha)
    axis = {} if dose is None else {log.actions.index(label): float(depth) for label, depth in dose.items()}
    groups = _pooled(measure, axis, log)
    kept, actions = [], {}
    for members in groups:
        row = measure.arm(members, None, _dose(measure, members, axis))
        verdict: Verdict = "prune" if not row.enough else "pool" if len(members) > 1 else "keep"
        if verdict != "prune":
            kept.append(replace(row, verdict=verdict))
        for code in members:
            alone = measure.arm((code,), None, axis.get(code))
            actions[code] = replace(alone, verdict=verdict)
    return Support(
        outcome=log.primary if outcome is None else outcome,
        n=log.n,
        actions=tuple(actions[code] for code in sorted(actions)),
        kept=tuple(kept),
        cells=_cells(measure, log, kept, segments),
        least=float(least),
        worth=None if worth is None else float(worth),
        power=power,
        alpha=alpha,
        control=log.actions.control,
        control_rows=int((log.action == 0).sum()),
        sd=measure.sd,
    )


def _check(log: DecisionLog, dose: Mapping[str, float] | None, least: float, worth: float | None) -> None:
    if not is_number(least) or not 0 < least < math.inf:
        raise ParameterError(f"least is {least!r}", remedy="Pass the effective rows an action needs, such as 400.")
    if worth is not None and (not is_number(worth) or not 0 < worth < math.inf):
        raise ParameterError(
            f"worth is {worth!r}", remedy="Pass the smallest effect per head worth finding, above 0, in outcome units."
        )
    if dose is None:
        return
    require_all_propensities(log)
    for label, depth in dose.items():
        log.actions.treatment(label)
        if not is_number(depth) or not math.isfinite(depth):
            raise ParameterError(f"The dose of {label!r} is {depth!r}", remedy="Pass a finite number, such as 10.")
    depths = list(dose.values())
    if len(set(depths)) < len(depths):
        raise ActionError(
            f"Two actions have the same dose: {dict(dose)}",
            remedy="Actions of one depth that differ otherwise are no neighbours; leave one off the axis.",
        )


def _pooled(measure: Measure, axis: Mapping[int, float], log: DecisionLog) -> list[tuple[int, ...]]:
    """Groups of action codes, in the order of their first: neighbours on the axis joined where they are too thin."""
    groups: list[tuple[int, ...]] = [(code,) for code in sorted(axis, key=lambda code: axis[code])]
    rows = [measure.arm(group, None, None) for group in groups]
    while len(groups) > 1 and not all(row.enough for row in rows):
        thin = min((i for i, row in enumerate(rows) if not row.enough), key=lambda i: rows[i].effective)
        at = [_dose(measure, group, axis) or 0.0 for group in groups]
        beside = [i for i in (thin - 1, thin + 1) if 0 <= i < len(groups)]
        other = min(beside, key=lambda i: (abs(at[i] - at[thin]), rows[i].effective))
        first = min(thin, other)
        groups[first : first + 2] = [groups[first] + groups[first + 1]]
        rows[first : first + 2] = [measure.arm(groups[first], None, None)]
    alone: list[tuple[int, ...]] = [(code,) for code in range(1, log.n_actions) if code not in axis]
    return sorted([*alone, *groups], key=min)


def _dose(measure: Measure, members: tuple[int, ...], axis: Mapping[int, float]) -> float | None:
    """Mean dose of a group of actions as the log draws them; None off the axis."""
    if members[0] not in axis:
        return None
    assert measure.e is not None  # _check refuses doses without them
    weight = [float(measure.weight @ measure.e[:, code]) for code in members]
    return float(np.average([axis[code] for code in members], weights=weight))


def _cells(
    measure: Measure, log: DecisionLog, kept: Sequence[ActionSupport], segments: str | ArrayLike | None
) -> tuple[SegmentSupport, ...]:
    if segments is None:
        return ()
    found = []
    labels, codes = _segments(log, segments)
    for s, segment in enumerate(labels):
        for group in kept:
            members = tuple(log.actions.index(label) for label in group.members)
            row = measure.arm(members, codes == s, None)
            found.append(SegmentSupport(segment, group.label, row.rows, row.effective, row.detectable, row.enough))
    return tuple(found)


def _segments(log: DecisionLog, segments: str | ArrayLike) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    """Labels of the segments and (n,) the place of each row's, −1 where it is missing."""
    if not isinstance(segments, str):
        given = np.asarray(segments)
        if given.shape != (log.n,):
            raise DataError(
                f"segments has shape {given.shape}, expected {(log.n,)}", remedy="Pass one label per row of the log."
            )
        known = np.array([label is not None and label == label for label in given.tolist()], dtype=np.bool_)
        codes = np.full(log.n, -1, dtype=np.intp)
        distinct, codes[known] = np.unique(given[known].astype(np.str_), return_inverse=True)
        return tuple(str(label) for label in distinct), codes
    return log.features.segments(segments)


def _merged(log: DecisionLog, groups: Sequence[tuple[str, tuple[str, ...]]]) -> DecisionLog:
    """The log with each group of actions as one."""
    require_all_propensities(log)
    place = {label: g for g, (_, members) in enumerate(groups, start=1) for label in members}
    recode = np.array([place.get(label, 0) for label in log.actions], dtype=np.int16)
    count = len(groups) + 1
    if count == log.n_actions and (recode == np.arange(count)).all():
        return log
    by_shares = log.propensities is None and log.eligible is not None
    known = log.shares() if by_shares else log.propensities
    member = np.eye(count)[recode]  # (A, groups)
    allowed = None if log.eligible is None else (log.eligible.astype(np.float64) @ member) > 0
    return replace(
        log,
        action=recode[log.action],
        actions=Discrete((log.actions.control, *(label for label, _ in groups))),
        propensities=None if known is None else _summed(known, member),
        propensity_source="estimated" if by_shares else log.propensity_source,
        eligible=allowed,
    )


def _summed(propensities: NDArray[Any], member: Vector) -> Vector:
    """(n, groups) propensities; a single row that stands for all (stride 0) stays one in memory."""
    if propensities.strides[0] == 0 and len(propensities):
        return np.broadcast_to(np.asarray(propensities[0] @ member), (len(propensities), member.shape[1]))
    return np.asarray(propensities @ member, dtype=np.float64)


def _frame(kind: type[Any], rows: Sequence[Any]) -> pl.DataFrame:
    import polars as pl

    names = [field.name for field in fields(kind) if field.name != "members"]
    return pl.DataFrame({name: [getattr(row, name) for row in rows] for name in names})
