"""What the business asks of an allocation, each a straight line in a few sums.

The groups of the units are crossed into G cells. Every constraint here is linear in the sums, by cell g and action a,
of the units' features φ = (value, costs …, 1): Σ_{g,a,f} t[g, a, f]·S[g, a, f] ≤ limit. So a pass over all units need
not know the constraints: it adds up S, and the rest is algebra on small tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import ActionError, DataError, OutcomeError, ParameterError

__all__ = ["AtLeast", "Cap", "Cells", "Constraint", "Ground", "Parity", "RoiFloor", "Row", "Spend"]

Floats = NDArray[np.float64]
Label = Any
Of = Literal["units", "share", "offers", "value"]
BLOCK = 1 << 16  # rows looked through at once
COLUMN = "group"  # the name of a column of groups that was given without one


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One line: Σ table·S ≤ limit.

    Attributes:
        name: what tables call it.
        table: (G, A, F) what a unit of each feature uses.
        limit: the right-hand side.
        at_least: whether it was asked as a floor, and so stands here with its signs turned.
        counts: what the numbers count, in words.
    """

    name: str
    table: Floats
    limit: float
    at_least: bool = False
    counts: str = "units"

    def asked(self) -> str:
        """In words, with its number."""
        limit = (-self.limit if self.at_least else self.limit) + 0.0  # no negative zero
        return f"{'at least' if self.at_least else 'at most'} {limit:,.6g} {self.counts}"


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """The groups of the units, crossed.

    Attributes:
        code: (n,) int32 cell of each unit.
        size: (G,) units in each cell.
        labels: column name → the labels in it.
        member: column name → (G,) number of each cell's label.
    """

    code: NDArray[np.int32]
    size: Floats
    labels: Mapping[str, tuple[Label, ...]]
    member: Mapping[str, NDArray[np.int64]]

    @classmethod
    def of(cls, groups: Mapping[str, ArrayLike] | ArrayLike | None, n: int) -> Cells:
        """Cross columns of group labels, (n,) each; None is one cell.

        Raises:
            DataError: a column of another length, or with missing labels.
        """
        if groups is None:
            return cls(np.zeros(n, dtype=np.int32), np.array([float(n)]), {}, {})
        columns = groups if isinstance(groups, Mapping) else {COLUMN: groups}
        coded = {str(name): _codes(str(name), column, n) for name, column in columns.items()}
        crossed = np.zeros(n, dtype=np.int64)
        for code, labels in coded.values():
            crossed = crossed * len(labels) + code
        size = np.bincount(crossed)
        present = np.flatnonzero(size)
        place = np.zeros(len(size), dtype=np.int32)
        place[present] = np.arange(len(present))
        member, rest = {}, present.copy()
        for name, (_, labels) in reversed(coded.items()):
            rest, member[name] = np.divmod(rest, len(labels))
        return cls(
            place[crossed],
            size[present].astype(np.float64),
            {name: labels for name, (_, labels) in coded.items()},
            member,
        )

    @property
    def n(self) -> int:
        """G, the number of cells."""
        return len(self.size)

    def column(self, name: str | None) -> str:
        """The name of a column; None where there is only one.

        Raises:
            ParameterError: no such column, or which one is not said.
        """
        if name is None and len(self.labels) == 1:
            return next(iter(self.labels))
        if name is None or name not in self.labels:
            raise ParameterError(
                f"There is no column of groups {name!r}"
                if name is not None
                else "It is not said which groups are meant",
                remedy=f"Name one of {sorted(self.labels)}."
                if self.labels
                else "Pass the labels of the units as groups.",
            )
        return name

    def mask(self, groups: Mapping[str, Any] | Label | None) -> NDArray[np.bool_]:
        """(G,) which cells are meant.

        Args:
            groups: None for all; column name → label or labels; where there is one column, a label or labels.

        Raises:
            ParameterError: a column or label that does not exist.
        """
        chosen = np.ones(self.n, dtype=np.bool_)
        if groups is None:
            return chosen
        wanted = groups if isinstance(groups, Mapping) else {self.column(None): groups}
        for name, labels in wanted.items():
            known = self.labels[self.column(name)]
            asked = labels if isinstance(labels, list | tuple | set | frozenset) else [labels]
            missing = [label for label in asked if label not in known]
            if missing:
                raise ParameterError(
                    f"There is no unit of group {missing[0]!r} in {name!r}", remedy=f"Its labels are {_few(known)}."
                )
            chosen &= np.isin(self.member[name], [known.index(label) for label in asked])
        return chosen


def _codes(name: str, column: ArrayLike, n: int) -> tuple[NDArray[np.int64], tuple[Label, ...]]:

    import polars as pl  # takes a while to load, and only groups need it

    labels = column if isinstance(column, pl.Series) else pl.Series(np.asarray(column))
    if len(labels) != n:
        raise DataError(f"The groups {name!r} have {len(labels)} labels, expected {n}", remedy="Pass one per unit.")
    missing = labels.is_null() | (labels.is_nan() if labels.dtype.is_float() else False)
    if missing.any():
        raise DataError(
            f"The groups {name!r} have no label for {missing.sum():,} units",
            where=f"row {missing.arg_max()}",
            remedy="Give them a label of their own, such as 'unknown'.",
        )
    if labels.dtype.is_integer():
        low, high = int(labels.min()), int(labels.max())  # type: ignore[arg-type]
        if high - low < max(n, 1000):
            shifted = labels.to_numpy().astype(np.int64) - low
            present = np.flatnonzero(np.bincount(shifted))
            place = np.zeros(high - low + 1, dtype=np.int64)
            place[present] = np.arange(len(present))
            return place[shifted], tuple((present + low).tolist())
    known = labels.unique().sort()
    table = pl.DataFrame({"label": known, "code": np.arange(len(known))})
    code = pl.DataFrame({"label": labels}).join(table, on="label", how="left", maintain_order="left")["code"]
    return code.to_numpy(), tuple(known.to_list())


def _few(labels: Sequence[Label], most: int = 8) -> str:
    return ", ".join(repr(label) for label in labels[:most]) + (", …" if len(labels) > most else "")


@dataclass(slots=True, eq=False)
class Ground:
    """What a constraint is written on: the units' cells, the actions, and the kinds of cost.

    Attributes:
        cells: the groups, crossed.
        labels: of the actions; the first is doing nothing.
        costs: (n, A) arrays; the first is the main cost, constraints add their own.
    """

    cells: Cells
    labels: tuple[Label, ...]
    costs: list[NDArray[Any]]

    @property
    def n_features(self) -> int:
        """F = K + 2: value, costs, 1."""
        return len(self.costs) + 2

    def actions(self, wanted: Sequence[Label] | Label | None) -> NDArray[np.bool_]:
        """(A,) which actions are meant: labels, or numbers where they are no labels; None is every offer.

        Raises:
            ActionError: one that does not exist.
        """
        chosen = np.zeros(len(self.labels), dtype=np.bool_)
        if wanted is None:
            chosen[1:] = True
            return chosen
        for action in wanted if isinstance(wanted, list | tuple | set | frozenset | np.ndarray) else [wanted]:
            if action in self.labels:
                chosen[self.labels.index(action)] = True
            elif isinstance(action, int | np.integer) and 0 <= action < len(self.labels):
                chosen[int(action)] = True
            else:
                raise ActionError(
                    f"A constraint names the action {action!r}, which is not among those to be given",
                    remedy=f"The actions are {_few(self.labels)}.",
                )
        return chosen

    def cost(self, array: NDArray[Any]) -> int:
        """Number of a kind of cost; one that is new is added."""
        for k, known in enumerate(self.costs):
            if known is array:
                return k
        self.costs.append(array)
        return len(self.costs) - 1

    def blank(self) -> Floats:
        """A table of zeros, (G, A, F)."""
        return np.zeros((self.cells.n, len(self.labels), self.n_features))


class Constraint(Protocol):
    """Something asked of the allocation as a whole."""

    def prepare(self, ground: Ground) -> None:
        """Check what it is made of, and enter its own costs; called before the rows of any are written."""
        ...

    def rows(self, ground: Ground) -> Iterator[Row]:
        """The lines it comes to."""
        ...


def _number(what: str, number: float, low: float = 0.0, high: float = np.inf) -> float:
    """The number as a float within bounds.

    Raises:
        ParameterError: it is not.
    """
    known = isinstance(number, int | float | np.number) and not isinstance(number, bool)
    value = float(number) if known else np.nan
    if not (low <= value <= high and np.isfinite(value)):
        bounds = f"from {low:g} to {high:g}" if np.isfinite(high) else f"of at least {low:g}"
        raise ParameterError(f"{what} is {number!r}", remedy=f"Pass a number {bounds}.")
    return value


def _named(actions: Any, groups: Any) -> str:
    """Which pairs are meant, in words."""
    words = "offers" if actions is None else f"{_listed(actions)}"
    if isinstance(groups, Mapping):
        words += "".join(f" to {name} {_listed(labels)}" for name, labels in groups.items())
    elif groups is not None:
        words += f" to {COLUMN} {_listed(groups)}"
    return words


def _listed(labels: Any) -> str:
    several = labels if isinstance(labels, list | tuple | set | frozenset | np.ndarray) else [labels]
    return " or ".join(repr(label) for label in several)


@dataclass(frozen=True, slots=True, eq=False)
class Spend:
    """Spend no more than this.

    Attributes:
        limit: the budget, in the unit of the cost.
        cost: None for the main cost; (n, A) incremental costs of another kind; or (A,) the same for every unit.
        actions: labels of the actions that count; None for all.
        groups: whose cost counts: column name → label or labels; None for all.
        name: what tables call it.
    """

    limit: float
    cost: ArrayLike | None = None
    actions: Any = None
    groups: Any = None
    name: str = "budget"

    def __post_init__(self) -> None:
        if self.cost is not None:
            object.__setattr__(self, "cost", np.asarray(self.cost))

    def prepare(self, ground: Ground) -> None:
        """Check the limit and the cost.

        Raises:
            ParameterError: a negative limit.
            OutcomeError: costs of another shape, not finite, or not zero for doing nothing.
        """
        _number(f"The limit of {self.name!r}", self.limit)
        if self.cost is None:
            return
        cost = np.asarray(self.cost)
        if cost.shape not in (ground.costs[0].shape, (len(ground.labels),)):
            raise OutcomeError(
                f"The cost of {self.name!r} has shape {cost.shape}, expected {ground.costs[0].shape}",
                remedy="Pass a row per unit and a column per action, or one number per action.",
            )
        for start in range(0, len(cost), BLOCK):
            block = cost[start : start + BLOCK]
            if not np.isfinite(block).all():
                raise OutcomeError(
                    f"The cost of {self.name!r} is not a number",
                    where=f"entry {start + int(np.argmin(np.isfinite(block).reshape(len(block), -1).all(axis=1)))}",
                    remedy="Leave out the unit, or make the action ineligible and its cost 0.",
                )
        if np.any(cost[..., 0] != 0):
            raise OutcomeError(
                f"The cost of {self.name!r} is not 0 for doing nothing",
                remedy="Subtract column 0: costs are incremental.",
            )
        if cost.ndim == 2:
            ground.cost(cost)

    def rows(self, ground: Ground) -> Iterator[Row]:
        """One line."""
        table = ground.blank()
        pairs = np.ix_(ground.cells.mask(self.groups), ground.actions(self.actions))
        flat = self.cost is not None and np.ndim(self.cost) == 1
        if flat:
            table[..., -1][pairs] = np.asarray(self.cost, dtype=np.float64)[ground.actions(self.actions)]
        else:
            k = 0 if self.cost is None else ground.cost(np.asarray(self.cost))
            table[..., 1 + k][pairs] = 1.0
        yield Row(self.name, table, float(self.limit), counts="of cost")


@dataclass(frozen=True, slots=True, eq=False)
class Cap:
    """Give no more than so many.

    Attributes:
        most: units; or a share from 0 to 1.
        actions: labels of the actions meant; None for every offer.
        groups: whom it counts among: column name → label or labels (a label alone where there is one column of groups);
            None for all.
        of: "units"; "share" of the members of the groups; or "offers", a share of all the offers given.
        name: what tables call it; None makes one.
    """

    most: float
    actions: Any = None
    groups: Any = None
    of: Literal["units", "share", "offers"] = "units"
    name: str | None = None

    def prepare(self, ground: Ground) -> None:
        """Check the number and the names."""
        _check_of(self.of, ("units", "share", "offers"))
        _number("A cap", self.most, high=np.inf if self.of == "units" else 1.0)
        ground.actions(self.actions)
        ground.cells.mask(self.groups)

    def rows(self, ground: Ground) -> Iterator[Row]:
        """One line."""
        table, limit = _count(ground, self.actions, self.groups, self.of, float(self.most))
        yield Row(self.name or f"cap on {_named(self.actions, self.groups)}", table, limit, counts=COUNTS[self.of])


@dataclass(frozen=True, slots=True, eq=False)
class AtLeast:
    """Give no fewer than so many, or bring no less than so much.

    Attributes:
        least: units, value, or a share from 0 to 1.
        actions: labels of the actions meant; None for every offer.
        groups: whom it counts among, as in :class:`Cap`.
        of: "units"; "share" of the members of the groups; "offers", a share of all the offers given; or "value", the
            incremental value brought to the groups.
        name: what tables call it; None makes one.
    """

    least: float
    actions: Any = None
    groups: Any = None
    of: Of = "units"
    name: str | None = None

    def prepare(self, ground: Ground) -> None:
        """Check the number and the names."""
        _check_of(self.of, ("units", "share", "offers", "value"))
        _number("A floor", self.least, high=1.0 if self.of in ("share", "offers") else np.inf)
        ground.actions(self.actions)
        ground.cells.mask(self.groups)

    def rows(self, ground: Ground) -> Iterator[Row]:
        """One line, its signs turned."""
        table, limit = _count(ground, self.actions, self.groups, self.of, float(self.least))
        name = self.name or f"floor on {_named(self.actions, self.groups)}"
        yield Row(name, -table, -limit, True, COUNTS[self.of])


@dataclass(frozen=True, slots=True, eq=False)
class Parity:
    """Treat groups alike: each group's rate is at least ``ratio`` of every other's.

    With ratio 0.8 and of="share" this is the four-fifths rule on who gets an offer. G groups come to G(G − 1) lines.

    Attributes:
        ratio: from 0 to 1.
        by: the column of groups to compare; None where there is one.
        actions: labels of the actions meant; None for every offer.
        of: "share", the share of a group's members who get one; or "value", the incremental value per member.
        name: what tables call it.
    """

    ratio: float = 0.8
    by: str | None = None
    actions: Any = None
    of: Literal["share", "value"] = "share"
    name: str = "parity"

    def prepare(self, ground: Ground) -> None:
        """Check the number and the names."""
        _check_of(self.of, ("share", "value"))
        _number("The ratio of a parity", self.ratio, high=1.0)
        ground.actions(self.actions)
        ground.cells.column(self.by)

    def rows(self, ground: Ground) -> Iterator[Row]:
        """A line for every pair of groups: ratio·rate(other) − rate(group) ≤ 0."""
        cells, by = ground.cells, ground.cells.column(self.by)
        actions, feature = ground.actions(self.actions), -1 if self.of == "share" else 0
        rates = []
        for label in cells.labels[by]:
            mask = cells.mask({by: label})
            rate = ground.blank()
            rate[..., feature][np.ix_(mask, actions)] = 1.0 / cells.size[mask].sum()
            rates.append((label, rate))
        for label, rate in rates:
            for other, others in rates:
                if other != label:
                    name = f"{self.name}: {label!r} ≥ {self.ratio:g} × {other!r}"
                    yield Row(
                        name,
                        self.ratio * others - rate,
                        0.0,
                        True,
                        f"of {'the share' if self.of == 'share' else 'value per member'}",
                    )


@dataclass(frozen=True, slots=True, eq=False)
class RoiFloor:
    """Bring at least ``rho`` of value for every unit of cost: Σv ≥ ρ·Σc.

    Attributes:
        rho: value per unit of the main cost.
        name: what tables call it.
    """

    rho: float
    name: str = "ROI floor"

    def prepare(self, ground: Ground) -> None:
        """Check the number."""
        _number("The ROI floor", self.rho)

    def rows(self, ground: Ground) -> Iterator[Row]:
        """One line: ρ·Σc − Σv ≤ 0."""
        table = ground.blank()
        table[..., 0], table[..., 1] = -1.0, float(self.rho)
        yield Row(self.name, table, 0.0, True, "of value")


COUNTS = {
    "units": "units",
    "share": "units",
    "offers": "units over that share of the offers",
    "value": "of value",
}


def _check_of(of: str, known: Sequence[str]) -> None:
    if of not in known:
        raise ParameterError(f"of is {of!r}", remedy=f"Say one of {list(known)}.")


def _count(ground: Ground, actions: Any, groups: Any, of: str, number: float) -> tuple[Floats, float]:
    """The table and the limit of Σ over the pairs meant."""
    table, mask = ground.blank(), ground.cells.mask(groups)
    pairs = np.ix_(mask, ground.actions(actions))
    table[..., 0 if of == "value" else -1][pairs] = 1.0
    if of == "offers":
        table[:, 1:, -1] -= number
        return table, 0.0
    return table, number * float(ground.cells.size[mask].sum()) if of == "share" else number
