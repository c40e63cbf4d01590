"""Rounds from Parquet files, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import ActionError, DataError, LeakageError, ParameterError, PersuadableError
from persuadable.features import Features, label_text
from persuadable.fingerprint import Fingerprint, unit_identities
from persuadable.log import checks
from persuadable.policies import Policy
from persuadable.spaces import Discrete
from persuadable.value.off_policy import check_probabilities
from persuadable.value.ope.estimators import Estimator
from persuadable.value.ope.rounds import Candidate, Rounds, as_predictions

if TYPE_CHECKING:
    import polars as pl

__all__ = ["BUCKETS", "Files", "Stream", "Told"]

Files = str | PathLike[str] | Sequence[str | PathLike[str]]
Told = Policy | Mapping[str, str]
BUCKETS = 65_536


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """Rounds from Parquet files, batch by batch, each with the buckets of its units.

    Attributes:
        files: read one after another.
        policies: the candidate, and the baseline where there is one; label → column, or a policy.
        action, outcomes, taken_propensity, features, categorical, weight, unit: columns.
        actions: labels.
        propensity: a column for every action, or None.
        q_hat: outcome → (A,) constants, or label → column.
        batch: rounds in memory at a time.
    """

    files: tuple[Path, ...]
    policies: tuple[Told, ...]
    action: str
    actions: Discrete
    outcomes: tuple[str, ...]
    propensity: tuple[str, ...] | None
    taken_propensity: str | None
    features: tuple[str, ...]
    categorical: tuple[str, ...]
    weight: str | None
    unit: str | None
    q_hat: Mapping[str, Any]
    batch: int

    @classmethod
    def of(
        cls,
        *,
        files: Files,
        policies: Sequence[Told],
        action: str,
        actions: Sequence[Any],
        outcomes: Sequence[str],
        propensity: Mapping[Any, str] | None,
        taken_propensity: str | None,
        features: Sequence[str],
        categorical: Sequence[str],
        weight: str | None,
        unit: str | None,
        q_hat: Mapping[str, Any],
        batch: int,
    ) -> Stream:
        """With every argument checked that can be without reading."""
        space = Discrete(tuple(label_text(label) for label in actions))
        if (propensity is None) == (taken_propensity is None):
            raise ParameterError(
                "A stream needs either propensity= or taken_propensity=",
                remedy="Name the columns of all actions' probabilities, or the column of that of the action taken.",
            )
        if not outcomes:
            raise ParameterError("No outcome was named", remedy="Pass outcomes= with at least one column.")
        if strange := [name for name in q_hat if name not in outcomes]:
            raise ParameterError(
                f"q_hat is given for {strange[0]!r}, which is not estimated", remedy=f"Asked: {list(outcomes)}."
            )
        if batch < 1:
            raise ParameterError(f"batch is {batch!r}", remedy="Pass the number of rounds to hold in memory at a time.")
        if not features and any(isinstance(policy, Policy) for policy in policies):
            raise ParameterError("A policy has no features to decide by", remedy="Name their columns: features=[…].")
        several = [files] if isinstance(files, str | PathLike) else list(files)
        return cls(
            files=tuple(Path(file) for file in several),
            policies=tuple(
                policy if isinstance(policy, Policy) else _columns(policy, space, "probabilities")
                for policy in policies
            ),
            action=action,
            actions=space,
            outcomes=tuple(outcomes),
            propensity=None if propensity is None else tuple(_columns(propensity, space, "propensity").values()),
            taken_propensity=taken_propensity,
            features=tuple(features),
            categorical=tuple(categorical),
            weight=weight,
            unit=unit,
            q_hat={
                name: _columns(told, space, "q_hat") if isinstance(told, Mapping) else told
                for name, told in q_hat.items()
            },
            batch=batch,
        )

    @property
    def names(self) -> list[str]:
        """What the policies are called."""
        usual = ("the candidate", "the baseline")
        return [
            policy.name if isinstance(policy, Policy) else name
            for policy, name in zip(self.policies, usual, strict=False)
        ]

    def predictions_of(self, estimators: Mapping[str, Estimator]) -> list[int | None]:
        """For each outcome the place of its predictions.

        Raises:
            ParameterError: an estimator needs what a stream cannot have, or predictions that were not given.
        """
        for label, one in estimators.items():
            if one.learned_weights or one.model in ("mrdr", "cross-fitted"):
                raise ParameterError(
                    f"{label!r} is fitted on the whole log, which a stream has not",
                    remedy="Name another estimator, or read a sample of the rounds as a DecisionLog.",
                )
        modelled = [label for label, one in estimators.items() if one.model is not None]
        missing = [name for name in self.outcomes if name not in self.q_hat]
        if modelled and missing:
            raise ParameterError(
                f"{modelled[0]!r} needs predictions of {missing[0]!r}",
                remedy="Pass q_hat={outcome: constants (A,) or columns}, by models that did not see these rounds.",
            )
        if self.q_hat and not modelled:
            raise ParameterError(
                "q_hat was given, and none of the estimators reads it", remedy="Leave it out, or name 'dr'."
            )
        return [list(self.q_hat).index(name) if name in self.q_hat else None for name in self.outcomes]

    def __iter__(self) -> Iterator[tuple[Rounds, NDArray[np.intp] | None]]:
        first = 0
        for file in self.files:
            for frame in _batches(file, self._wanted(), self.batch):
                try:
                    yield self._rounds(frame, first), self._buckets(frame)
                except PersuadableError as error:
                    last = first + len(frame) - 1
                    raise type(error)(
                        f"In rounds {first:,} to {last:,} of the stream, counted from there: {str(error).rstrip('.')}",
                        where=f"file {file.name!r}",
                    ) from error
                first += len(frame)

    def _wanted(self) -> list[str]:
        told = [*self.policies, *self.q_hat.values()]
        named = [column for one in told if isinstance(one, Mapping) for column in one.values()]
        singles = [self.action, self.taken_propensity, self.weight, self.unit]
        all_of = [*singles, *self.outcomes, *(self.propensity or ()), *self.features, *named]
        return list(dict.fromkeys(column for column in all_of if column is not None))

    def _rounds(self, frame: pl.DataFrame, first: int) -> Rounds:
        action = _codes(frame, self.action, self.actions)
        shape = (len(frame), len(self.actions))
        weight = None if self.weight is None else checks.numbers(_plain(frame, self.weight), self.weight, positive=True)
        return Rounds(
            action=action,
            propensity=self._propensities(frame, action),
            outcomes=[checks.numbers(_plain(frame, name), name) for name in self.outcomes],
            actions=self.actions.names,
            candidates=[
                Candidate(name, self._table(frame, policy, shape))
                for name, policy in zip(self.names, self.policies, strict=True)
            ],
            predictions=[
                as_predictions(_numbers(frame, list(q.values())) if isinstance(q, Mapping) else q, shape)
                for q in self.q_hat.values()
            ],
            weight=weight,
            first=first,
        )

    def _propensities(self, frame: pl.DataFrame, action: NDArray[np.int16]) -> NDArray[Any]:
        if self.taken_propensity is not None:
            taken = checks.numbers(_plain(frame, self.taken_propensity), self.taken_propensity)
            checks.taken_propensities(taken, len(frame), self.taken_propensity)
            return taken
        table = _numbers(frame, list(self.propensity or ()))
        checks.propensities(table, action, self.actions, None)
        return table

    def _table(self, frame: pl.DataFrame, policy: Told, shape: tuple[int, int]) -> NDArray[Any]:
        if isinstance(policy, Mapping):
            return _numbers(frame, list(policy.values()))
        features = Features.of(frame.select(self.features), categorical=self.categorical)
        if policy.fitted_on is not None and self.unit is not None:
            _refuse_seen(policy, unit_identities(_plain(frame, self.unit)))
        return check_probabilities(policy.probabilities(features, shape[1], None), shape, policy.name)

    def _buckets(self, frame: pl.DataFrame) -> NDArray[np.intp] | None:
        if self.unit is None:
            return None
        if missing := frame[self.unit].null_count():
            raise DataError(
                f"{missing:,} rounds have no unit", where=f"column {self.unit!r}", remedy="Fill it in or drop the rows."
            )
        return (unit_identities(_plain(frame, self.unit)) % np.uint64(BUCKETS)).astype(np.intp)


def _refuse_seen(policy: Policy, units: NDArray[np.uint64]) -> None:
    """Refuse units that fitted a policy."""
    shared = 0 if policy.fitted_on is None else policy.fitted_on.overlap(Fingerprint.of(units))
    if shared:
        raise LeakageError(
            f"{shared:,} of these rounds' units also fitted {policy.name!r}",
            remedy="Judge a policy on units that its models have not seen.",
        )


def _columns(told: Mapping[Any, str], actions: Discrete, what: str) -> dict[str, str]:
    """Label → column, in the order of the actions."""
    by_label = {label_text(label): column for label, column in told.items()}
    if missing := [name for name in actions if name not in by_label]:
        raise ParameterError(
            f"{what} names no column for {missing[0]!r}", remedy=f"Name one for each of {list(actions)}."
        )
    if strange := [name for name in by_label if name not in actions.names]:
        raise ActionError(f"{what} names a column for {strange[0]!r}", remedy=f"The actions are {list(actions)}.")
    return {name: by_label[name] for name in actions}


def _batches(file: Path, columns: Sequence[str], size: int) -> Iterator[pl.DataFrame]:
    """A Parquet file's columns, ``size`` rows at a time."""
    import polars as pl

    if not file.is_file():
        raise DataError(f"There is no file {str(file)!r}", remedy="Check the path.")
    try:
        scan = pl.scan_parquet(file)
        have = scan.collect_schema().names()
        if absent := [name for name in columns if name not in have]:
            raise DataError(
                f"There is no column {absent[0]!r}", where=f"file {file.name!r}", remedy=f"It has {have[:40]}."
            )
        length = int(scan.select(pl.len()).collect().item())
        for start in range(0, length, size):
            yield scan.slice(start, size).select(columns).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{file.name!r} cannot be read: {error}", remedy="Check that the file is whole.") from error


def _codes(frame: pl.DataFrame, column: str, actions: Discrete) -> NDArray[np.int16]:
    """(m,) codes of the actions taken."""
    import polars as pl

    told = frame[column]
    if told.null_count():
        row = int(told.is_null().arg_max() or 0)
        raise ActionError("The action is missing", where=f"column {column!r}, row {row}", remedy="Drop the row.")
    distinct = told.unique()
    texts = [label_text(value) for value in distinct.to_list()]
    if strange := [text for text in texts if text not in actions.names]:
        raise ActionError(
            f"There is no action {strange[0]!r}", where=f"column {column!r}", remedy=f"The actions are {list(actions)}."
        )
    codes = pl.Series([actions.names.index(text) for text in texts], dtype=pl.Int16)
    return np.asarray(told.replace_strict(distinct, codes, return_dtype=pl.Int16).to_numpy())


def _plain(frame: pl.DataFrame, column: str) -> NDArray[Any]:
    return np.asarray(frame[column].to_numpy())


def _numbers(frame: pl.DataFrame, columns: Sequence[str]) -> NDArray[Any]:
    """(m, A) columns side by side, nulls as NaN, for the checks to refuse."""
    table = np.empty((len(frame), len(columns)))
    for place, column in enumerate(columns):
        if not frame[column].dtype.is_numeric():
            raise DataError(f"Column {column!r} does not hold numbers", remedy="Convert it to numbers.")
        table[:, place] = frame[column].to_numpy()
    return table
