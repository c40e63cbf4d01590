"""DecisionLog: one row per decision, with what was known, what was done and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import OutcomeError, ParameterError
from persuadable.features import Features
from persuadable.fingerprint import Fingerprint
from persuadable.log import views
from persuadable.spaces import Discrete

if TYPE_CHECKING:
    import polars as pl

__all__ = ["DecisionLog"]

Floats = NDArray[np.floating[Any]]
PropensitySource = Literal["logged", "estimated"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DecisionLog:
    """A log of n decisions among A actions; action 0 is the control, "do nothing".

    Make one with :meth:`from_frame`, :meth:`from_arrays` or :meth:`read`, which validate it. In a log in which doing
    nothing was no choice, such as that of a recommender, action 0 is merely the one others are compared with.

    Attributes:
        features: what was known of each unit, (n, d).
        action: (n,) code of the action taken.
        actions: the labels behind the codes, the control first.
        outcomes: name → (n,) what came of it; the first is the primary one, the cost is among them.
        rows: (n,) uint64 identities of the rows (of the units where units are known).
        propensities: (n, A) probabilities the actions were taken with, 0 for an action that had no chance; None
            counts as a completely randomised experiment whose constant shares are read off the log.
        propensity_source: whether the propensities were logged by design or estimated.
        taken_propensities: (n,) the probability of the action taken, where those of the others were not logged; then
            ``propensities`` is None and nothing is read off shares.
        cost_name: which outcome is the cost.
        eligible: (n, A) which actions were allowed; None means all.
        time: (n,) datetime64 or numbers.
        weight: (n,) positive row weights.
        unit: (n,) who each decision was about.
        stage: (n,) which of several successive decisions.
        name: what the log is called in messages and reports.
    """

    features: Features
    action: NDArray[np.int16]
    actions: Discrete
    outcomes: Mapping[str, Floats]
    rows: NDArray[np.uint64]
    propensities: Floats | None = None
    propensity_source: PropensitySource | None = None
    cost_name: str | None = None
    eligible: NDArray[np.bool_] | None = None
    time: NDArray[Any] | None = None
    weight: Floats | None = None
    unit: NDArray[Any] | None = None
    stage: NDArray[np.int16] | None = None
    taken_propensities: Floats | None = None
    name: str = field(default="log")
    _fingerprint: Fingerprint | None = field(default=None, init=False)  # judging asks for it again and again

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        action: str,
        control: str | int | bool | None,
        outcomes: str | Sequence[str],
        actions: Sequence[str] | None = None,
        features: Sequence[str] | None = None,
        post_treatment: str | Sequence[str] = (),
        categorical: Sequence[str] = (),
        propensity: float | str | Mapping[Any, float | str] | Floats | None = None,
        taken_propensity: str | None = None,
        cost: str | None = None,
        unit: str | None = None,
        one_row_per_unit: bool = False,
        time: str | None = None,
        weight: str | None = None,
        eligible: Mapping[Any, str] | NDArray[np.bool_] | None = None,
        stage: str | None = None,
        name: str = "log",
    ) -> DecisionLog:
        """A validated log from a pandas, polars or pyarrow frame.

        Args:
            frame: one row per decision.
            action: column of the action taken.
            control: the label of doing nothing; it is never guessed. None says that there is none: the first action,
                by ``actions`` or by label, then has code 0.
            outcomes: one or more numeric columns; the first is the primary outcome.
            actions: every action's label in the order of their codes, the control first; None orders the treatments
                by label. It is the order of the columns in every (n, A) array about this log: ``log.actions.names``.
            features: the columns known before the decision; None takes every column without another role.
            post_treatment: columns decided after the action, such as whether an ad was then shown. They are never
                features: left out of all columns, and refused among ``features``. To learn the effect on one of them
                name it among ``outcomes``.
            categorical: numeric columns to be read as categories (text columns always are).
            propensity: None for a completely randomised experiment; a number or a column, the probability of
                the treatment in a two-arm log; a mapping of every action label to a number or a column; (n, A),
                or a frame with a column for each action.
            taken_propensity: column of the probability of the action taken, for a log that holds no other
                probabilities. Policies can be judged on it by ``value.estimate``, but effects not be learned.
            cost: numeric column of what the decision cost; it becomes one of the outcomes.
            unit: column that says who a decision was about.
            one_row_per_unit: promise that no unit appears twice; checked.
            time: column of dates, times or numbers.
            weight: column of positive row weights.
            eligible: mapping of action labels to boolean columns (labels left out are always eligible), or (n, A).
            stage: integer column numbering successive decisions about a unit.
            name: what to call the log.

        Raises:
            DataError: a value that cannot be used; the message names its column, row and the remedy.
        """
        from persuadable.log import reading

        return reading.from_frame(
            frame,
            reading.Roles(
                action=action,
                control=control,
                actions=None if actions is None else tuple(actions),
                outcomes=reading.names(outcomes),
                features=None if features is None else reading.names(features),
                post_treatment=reading.names(post_treatment),
                categorical=reading.names(categorical),
                propensity=propensity,
                taken_propensity=taken_propensity,
                cost=cost,
                unit=unit,
                one_row_per_unit=one_row_per_unit,
                time=time,
                weight=weight,
                eligible=eligible,
                stage=stage,
            ),
            name=name,
        )

    @classmethod
    def from_arrays(
        cls,
        features: Any,
        action: Any,
        outcomes: Any,
        *,
        control: str | int | bool | None = 0,
        action_names: Sequence[str] | None = None,
        propensity: float | Mapping[Any, float] | Floats | None = None,
        taken_propensity: Any = None,
        cost: str | None = None,
        unit: Any = None,
        one_row_per_unit: bool = False,
        time: Any = None,
        weight: Any = None,
        eligible: NDArray[np.bool_] | None = None,
        stage: Any = None,
        name: str = "log",
    ) -> DecisionLog:
        """A validated log from arrays.

        Args:
            features: (n, d) array, frame or ``Features``.
            action: (n,) labels, or codes into ``action_names``.
            outcomes: (n,) array, called "outcome", or a mapping of names to arrays.
            control: the label (or code) of doing nothing; None where there is no such action.
            action_names: labels of codes 0 … A − 1, the control first; None takes the labels found in ``action``.
            propensity: as in :meth:`from_frame`; an (n,) array is P(treatment) in a two-arm log.
            taken_propensity: (n,) probability of the action taken, where no others were logged.
            cost: which of ``outcomes`` is the cost.
            unit, one_row_per_unit, time, weight, eligible, stage, name: as in :meth:`from_frame`, as arrays.

        Raises:
            DataError: a value that cannot be used; the message names its place and the remedy.
        """
        from persuadable.log import reading

        return reading.from_arrays(
            features,
            action,
            outcomes if isinstance(outcomes, Mapping) else {"outcome": outcomes},
            control=control,
            action_names=action_names,
            propensity=propensity,
            taken_propensity=taken_propensity,
            cost=cost,
            unit=unit,
            one_row_per_unit=one_row_per_unit,
            time=time,
            weight=weight,
            eligible=eligible,
            stage=stage,
            name=name,
        )

    @classmethod
    def read(cls, source: str | PathLike[str] | bytes, **roles: Any) -> DecisionLog:
        """A validated log from a CSV (also .csv.gz) or Parquet file, or from the bytes of a Parquet file.

        Args:
            source: path, or bytes.
            roles: as in :meth:`from_frame`. A log exported by the service tells its own; those given here come first.

        Raises:
            DataError: the file is absent, of another kind, or holds a value that cannot be used.
            ParameterError: neither the file nor the arguments tell the action, the control and the outcomes.
        """
        from persuadable.log import reading

        return reading.read(source, roles)

    def __len__(self) -> int:
        return len(self.features)

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self)

    @property
    def n_actions(self) -> int:
        """Number of actions A, the control among them."""
        return len(self.actions)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d), so that scikit-learn's splitters can cut a log."""
        return self.features.shape

    @property
    def primary(self) -> str:
        """Name of the first outcome."""
        return next(iter(self.outcomes))

    def outcome(self, name: str | None = None) -> NDArray[np.float64]:
        """(n,) the outcome of this name, the primary one for None.

        Raises:
            OutcomeError: no such outcome.
        """
        chosen = self.primary if name is None else name
        if chosen not in self.outcomes:
            raise OutcomeError(f"There is no outcome {name!r}", remedy=f"The log has {list(self.outcomes)}.")
        return np.asarray(self.outcomes[chosen], dtype=np.float64)

    def is_binary(self, name: str | None = None) -> bool:
        """Whether an outcome takes no values but 0 and 1."""
        y = self.outcomes[self.primary if name is None else name]
        return bool(((y == 0) | (y == 1)).all())

    @property
    def cost(self) -> NDArray[np.float64] | None:
        """(n,) what each decision cost, if the log says."""
        return None if self.cost_name is None else self.outcome(self.cost_name)

    def propensity(self) -> NDArray[np.float64]:
        """(n, A) probabilities of the actions: those stored, else the :meth:`shares`.

        Raises:
            PropensityError: only those of the actions taken were logged.
        """
        from persuadable.log import checks

        checks.require_all_propensities(self)
        return self.shares() if self.propensities is None else np.asarray(self.propensities, dtype=np.float64)

    def taken_propensity(self) -> NDArray[np.float64]:
        """(n,) probability of the action taken: as logged, else from :meth:`propensity`."""
        if self.taken_propensities is not None:
            return np.asarray(self.taken_propensities, dtype=np.float64)
        table = self.propensity()
        return np.asarray(np.take_along_axis(table, self.action[:, None].astype(np.intp), axis=1)[:, 0])

    def shares(self) -> NDArray[np.float64]:
        """(n, A) (weighted) shares of the arms, among rows with the same eligibility where the log has it."""
        return views.shares(self)

    def with_propensities(self, propensities: Floats, source: PropensitySource = "estimated") -> DecisionLog:
        """The same rows with other propensities: (n, A), or a frame whose columns are named after the actions.

        Raises:
            PropensityError: wrong shape, values outside [0, 1], 0 for the action taken, or rows that do not sum to 1.
        """
        from persuadable.log import checks
        from persuadable.log.tables import by_action

        table = np.asarray(by_action(propensities, self.actions.names, "propensities"))
        checks.propensities(table, self.action, self.actions, self.eligible)
        return replace(self, propensities=table, propensity_source=source, taken_propensities=None)

    @property
    def clusters(self) -> NDArray[np.intp] | None:
        """(n,) codes of units where a unit has several rows, else None: rows are then independent."""
        if self.unit is None:
            return None
        distinct, codes = np.unique(self.rows, return_inverse=True)
        return None if distinct.size == self.n else codes.astype(np.intp)

    @property
    def fingerprint(self) -> Fingerprint:
        """Which rows these are."""
        if self._fingerprint is None:
            object.__setattr__(self, "_fingerprint", Fingerprint.of(self.rows))
        return self._fingerprint  # type: ignore[return-value]

    def take(self, rows: NDArray[Any] | slice) -> DecisionLog:
        """Some of the rows, by index, mask or slice."""
        return views.take(self, rows if isinstance(rows, slice) else np.asarray(rows))

    def __getitem__(self, key: Any) -> DecisionLog:
        return self.take(key[0] if isinstance(key, tuple) else key)

    def arm(self, action: str | int) -> DecisionLog:
        """The rows that took this action."""
        return self.take(self.action == self.actions.index(action))

    def overlapping(self, action: str | int | None = None) -> DecisionLog:
        """The rows in which both the control and a treatment could have been taken, where effects can be learned.

        A policy that treats everybody above a threshold leaves nothing to chance there: the propensities are 0 and 1.
        What is found on the other rows is about people like those.

        Args:
            action: the treatment that must have been possible; None for any.

        Raises:
            PropensityError: there is no such row.
            ActionError: no such treatment.
        """
        return views.overlapping(self, None if action is None else self.actions.treatment(action))

    def contrast(self, action: str | int | None = None) -> DecisionLog:
        """The two-arm log of a treatment against the control, among those eligible for the treatment.

        Propensities are renormalised to the pair. Where the chance of taking either varies, rows are weighted by its
        inverse (mean 1, times the log's weights), so that they stand for those who took something else too (Horvitz
        and Thompson 1952).
        """
        return views.contrast(self, self.actions.treatment(action))

    def split(
        self,
        share: float,
        *,
        by: Literal["row", "unit", "time"] | None = None,
        random_state: int | np.random.Generator = 0,
    ) -> tuple[DecisionLog, DecisionLog]:
        """Two logs: the first with this share of the rows (units, time), the second with the rest.

        Args:
            share: of rows, within (0, 1).
            by: "row" keeps the arms' shares in both parts; "unit" never parts a unit; "time" puts the earliest
                first. None is "unit" where units repeat, else "row".
            random_state: seed or Generator.

        Raises:
            ParameterError: a share that leaves a part empty, ``by`` without its column, or a unit with rows on both
                sides of a cut in time.
        """
        first = views.split_mask(self, share, by, np.random.default_rng(random_state))
        return self.take(first), self.take(~first)

    def folds(self, k: int, random_state: int | np.random.Generator = 0) -> NDArray[np.int16]:
        """(n,) fold of each row, 0 … k − 1: arms spread evenly, no unit in two folds.

        Raises:
            ParameterError: k below 2, or more folds than rows in the smallest arm.
        """
        return views.folds(self, k, np.random.default_rng(random_state))

    def select(
        self, *, outcomes: str | Sequence[str] | None = None, actions: Sequence[str] | None = None
    ) -> DecisionLog:
        """The log with only some outcomes (in this order) or some actions (the control always stays).

        Rows of the other actions are left out; propensities and weights of the rest follow as in :meth:`contrast`.
        """
        log = self if actions is None else views.select_actions(self, actions)
        if outcomes is None:
            return log
        names = [outcomes] if isinstance(outcomes, str) else list(outcomes)
        if not names:
            raise ParameterError("No outcome was named", remedy=f"The log has {list(self.outcomes)}.")
        kept = {name: log.outcome(name) for name in names}
        if log.cost_name is not None:
            kept.setdefault(log.cost_name, log.outcome(log.cost_name))
        return replace(log, outcomes=kept)

    def frame(self) -> pl.DataFrame:
        """The log as a polars frame: features, then ``action`` by label, outcomes and the other roles."""
        return views.frame(self)

    def __repr__(self) -> str:
        arms = ", ".join(
            f"{label} {count:,}"
            for label, count in zip(self.actions, np.bincount(self.action, minlength=self.n_actions), strict=True)
        )
        means = ", ".join(f"{name} {np.mean(y):.4g}" for name, y in self.outcomes.items())
        known: str = self.propensity_source or "none: taken as completely randomised"
        if self.taken_propensities is not None:
            known += ", of the action taken only"
        return (
            f"DecisionLog {self.name!r}: {self.n:,} rows × {self.features.shape[1]} features\n"
            f"  actions    {arms}\n"
            f"  outcomes   {means}\n"
            f"  propensity {known}"
        )


def array_fields(log: DecisionLog) -> list[str]:
    """Names of the optional per-row fields a log has."""
    optional = ("propensities", "taken_propensities", "eligible", "time", "weight", "unit", "stage")
    return [f.name for f in fields(log) if f.name in optional and getattr(log, f.name) is not None]


def require_share(share: float) -> float:
    """A share strictly between 0 and 1."""
    if not 0 < share < 1:
        raise ParameterError(f"share must lie within (0, 1), got {share!r}", remedy="Pass e.g. 0.5.")
    return float(share)
