"""The arms of an experiment as a log holds them, and the difference of two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.design.balance import indicators
from persuadable.design.cuped import adjusted_means
from persuadable.design.power import is_number
from persuadable.design.srm import SampleRatio, sample_ratio, varying_sample_ratio
from persuadable.errors import ActionError, DataError, ParameterError
from persuadable.value.estimate import Estimate, Floats
from persuadable.value.holdout import require_held_out

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["Contrast", "Trial", "contrast", "covariate_table"]

Codes = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """The rows of an experiment in which both arms compared were possible.

    Attributes:
        names: labels of all K arms.
        arm: (n,) code of each row's arm.
        chances: (n, K) probabilities of the arms.
        planned: whether these were planned; else they were seen or estimated, and the arms' sizes cannot be tested.
        pair: codes of the baseline and the candidate.
        rows: (n,) which rows of the log these are.
        weight: (n,) row weights, or None.
        clusters: (n,) codes of units with several rows, or None.
        active: (n,) rows on which the two arms act differently, or None for all.
    """

    names: tuple[str, ...]
    arm: Codes
    chances: Floats
    planned: bool
    pair: tuple[int, int]
    rows: Codes
    weight: Floats | None
    clusters: Codes | None
    active: NDArray[np.bool_] | None

    @classmethod
    def of(
        cls,
        log: DecisionLog,
        baseline: str | int | None,
        candidate: str | int | None,
        arm: ArrayLike | None,
        shares: Mapping[Any, float] | None,
        active: ArrayLike | None,
        share: float | None = None,
    ) -> Trial:
        """The trial a log holds, its arms the log's actions or those named in ``arm``.

        The chances are ``shares``, else the propensities of the log's actions, else for two arms the candidate's
        planned ``share``, else what was seen.
        """
        if arm is None:
            names, codes = tuple(log.actions.names), np.asarray(log.action, dtype=np.intp)
            chances, planned = log.propensity(), log.propensity_source == "logged"
            known = log.propensities is not None
            first = 0 if baseline is None else log.actions.index(baseline)
            second = _second(names, None if candidate is None else log.actions.index(candidate))
        else:
            labels = np.asarray(arm)
            if labels.shape != (log.n,):
                raise DataError(f"arm has shape {labels.shape}, expected ({log.n},)", remedy="Pass one label per row.")
            distinct, codes = np.unique(labels, return_inverse=True)
            names, planned, known = tuple(str(label) for label in distinct), False, False
            chances = np.broadcast_to(np.bincount(codes) / log.n, (log.n, len(names)))
            first, second = _named(names, baseline, "baseline"), _named(names, candidate, "candidate")
        if first == second:
            raise ParameterError(
                f"Baseline and candidate are both {names[first]!r}", remedy=f"Name two of {list(names)}."
            )
        if shares is None and not known and share is not None and len(names) == 2:
            shares = {names[first]: 1 - share, names[second]: share}
        if shares is not None:
            chances, planned = np.broadcast_to(_shares(names, shares), (log.n, len(names))), True
        trial = cls(
            names=names,
            arm=codes,
            chances=chances,
            planned=planned,
            pair=(first, second),
            rows=np.arange(log.n),
            weight=None if log.weight is None else np.asarray(log.weight, dtype=np.float64),
            clusters=log.clusters,
            active=None if active is None else _mask(active, log.n),
        )
        return trial._possible()

    def _possible(self) -> Trial:
        """Without the rows in which one of the two arms had no chance, and refused where an arm is (nearly) empty."""
        possible: NDArray[np.bool_] = np.all(self.chances[:, list(self.pair)] > 0, axis=1)
        trial = self if possible.all() else self.take(possible)
        compared = trial if trial.active is None else trial.take(trial.active)
        for k in self.pair:
            count = int(np.count_nonzero(compared.arm == k))
            if count < 2:
                raise ActionError(
                    f"The arm {self.names[k]!r} has {count} rows to compare",
                    remedy="A difference with a standard error needs two or more rows in each arm.",
                )
        return trial

    def take(self, mask: NDArray[np.bool_]) -> Trial:
        """Some of the rows."""
        return replace(
            self,
            arm=self.arm[mask],
            chances=self.chances[mask],
            rows=self.rows[mask],
            weight=None if self.weight is None else self.weight[mask],
            clusters=None if self.clusters is None else np.unique(self.clusters[mask], return_inverse=True)[1],
            active=None if self.active is None else self.active[mask],
        )

    @property
    def n(self) -> int:
        """How many rows there are."""
        return int(self.arm.shape[0])

    @property
    def codes(self) -> Codes:
        """(n,) 0 for the baseline, 1 for the candidate, −1 for other arms."""
        codes = np.full(self.n, -1, dtype=np.intp)
        codes[self.arm == self.pair[0]], codes[self.arm == self.pair[1]] = 0, 1
        return codes

    @property
    def propensity(self) -> Floats:
        """(n, 2) probabilities of the two arms."""
        return self.chances[:, list(self.pair)]

    def units(self) -> Codes:
        """(K,) units in each arm; a unit with rows in several arms counts in each."""
        return np.asarray(self._seen().sum(axis=0), dtype=np.intp)

    def enrolled(self) -> int:
        """How many units have rows in either of the two arms compared."""
        return int(self._seen()[:, list(self.pair)].any(axis=1).sum())

    def crossed(self) -> int:
        """How many units have rows in more than one arm."""
        return 0 if self.clusters is None else int((self._seen().sum(axis=1) > 1).sum())

    def _seen(self) -> NDArray[np.bool_]:
        """(C, K) whether a unit has rows in an arm."""
        k = len(self.names)
        units = np.arange(self.n) if self.clusters is None else self.clusters
        rows = np.bincount(units * k + self.arm, minlength=k * (int(units.max()) + 1))
        return np.asarray(rows.reshape(-1, k) > 0)

    def estimate(self, value: float, psi: Floats, alpha: float, name: str) -> Estimate:
        """An estimate from its influence function (n,), by rows or by units."""
        return Estimate.from_influence(value, psi, alpha, self.clusters, self.weight, name=name)

    def sample_ratio(self) -> SampleRatio | None:
        """Units in each arm against the plan, None where there is none.

        Units are counted where each has one arm and the chances never change; else rows, clustered by unit.
        """
        if not self.planned:
            return None
        constant = bool((self.chances == self.chances[0]).all())
        if constant and not self.crossed():
            possible = self.chances[0] > 0  # in a part of a log an arm may have had no chance
            return sample_ratio(self.units()[possible], self.chances[0, possible])
        return varying_sample_ratio(self.arm, self.chances, self.clusters)


@dataclass(frozen=True, slots=True, eq=False)
class Contrast:
    """A difference of two arms per head, with what intervals need.

    Attributes:
        baseline: mean outcome per head of all had the baseline decided.
        difference: candidate − baseline, per head of all.
        psi_baseline: (n,) influence function of ``baseline``.
        psi: (n,) influence function of ``difference``.
    """

    baseline: float
    difference: float
    psi_baseline: Floats
    psi: Floats


def contrast(trial: Trial, y: Floats, covariates: Floats | None = None) -> Contrast:
    """The difference of the two arms, adjusted for covariates where given.

    Where the arms act differently on some rows only, with s their share and θ the difference among them, it is s·θ,
    with influence function 1{active}·ψ_θ + (1{active} − s)·θ: the other rows have no difference and add no noise.

    Args:
        trial: n rows.
        y: (n,) outcome.
        covariates: (n, d), or None.
    """
    plain = adjusted_means(y, trial.codes, trial.propensity, weight=trial.weight)
    baseline, psi_baseline = float(plain.means[0]), plain.psi[0]
    if trial.active is None:
        found = (
            plain if covariates is None else adjusted_means(y, trial.codes, trial.propensity, covariates, trial.weight)
        )
        return Contrast(baseline, float(found.means[1] - found.means[0]), psi_baseline, found.psi[1] - found.psi[0])
    some, on = trial.take(trial.active), trial.active
    within = adjusted_means(
        y[on], some.codes, some.propensity, None if covariates is None else covariates[on], some.weight
    )
    share = float(np.average(on, weights=trial.weight))
    theta = float(within.means[1] - within.means[0])
    psi: Floats = np.where(on, 1.0 - share, -share) * theta
    psi[on] += within.psi[1] - within.psi[0]
    return Contrast(baseline, share * theta, psi_baseline, psi)


def covariate_table(log: DecisionLog, covariates: str | Sequence[str] | ArrayLike) -> Floats:
    """(n, d) covariates: features by name, or numbers such as a model's predictions.

    Categories and missing values get indicators.

    Raises:
        FeatureError: no such feature.
        LeakageError: predictions of a model that learned from these rows.
        DataError: another number of rows.
    """
    require_held_out(log, covariates)
    told = [covariates] if isinstance(covariates, str) else covariates
    if isinstance(told, Sequence) and all(isinstance(name, str) for name in told):
        if not told:
            raise ParameterError("No covariate was named", remedy="Pass None for a plain difference.")
        known = {column.name: column for column in log.features.columns}
        missing = [name for name in told if name not in known]
        if missing:
            raise ParameterError(
                f"There is no feature {missing[0]!r} to adjust for",
                remedy=f"The log has {list(known)}; outcomes cannot be covariates.",
            )
        return indicators(log.features.aligned([known[str(name)] for name in told]))[1]
    table = np.asarray(told, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or table.shape[0] != log.n:
        raise DataError(
            f"covariates have shape {table.shape}, expected ({log.n}, d)", remedy="Pass one row per row of the log."
        )
    return table


def _second(names: Sequence[str], candidate: int | None) -> int:
    if candidate is not None:
        return candidate
    if len(names) != 2:
        raise ParameterError(
            f"The log has {len(names) - 1} candidates", remedy=f"Name one of them: candidate= one of {list(names[1:])}."
        )
    return 1


def _named(names: Sequence[str], label: str | int | None, role: str) -> int:
    if label is None or str(label) not in names:
        raise ActionError(f"{role} is {label!r}, which is no arm", remedy=f"Name one of {list(names)}.")
    return names.index(str(label))


def _shares(names: Sequence[str], shares: Mapping[Any, float]) -> Floats:
    told = {str(label): share for label, share in shares.items()}
    if set(told) != set(names) or not all(is_number(share) and 0 < share < np.inf for share in told.values()):
        raise ParameterError(
            f"shares are {dict(shares)}, the arms {list(names)}", remedy="Pass a share above 0 for every arm."
        )
    table = np.array([told[name] for name in names])
    return np.asarray(table / table.sum())


def _mask(active: ArrayLike, n: int) -> NDArray[np.bool_]:
    mask = np.asarray(active)
    if mask.shape != (n,) or mask.dtype != np.bool_:
        raise DataError(
            f"active has shape {mask.shape} and type {mask.dtype}, expected ({n},) booleans",
            remedy="Pass for each row whether baseline and candidate would act differently on it.",
        )
    if not mask.any():
        raise DataError("No row is active", remedy="Where the arms never act differently there is nothing to read out.")
    return mask
