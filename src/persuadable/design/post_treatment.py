"""Is a feature rather an outcome? What an action changes was not known before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

from persuadable.design.balance import indicators
from persuadable.errors import FeatureError, ParameterError
from persuadable.features import Features
from persuadable.log import DecisionLog

if TYPE_CHECKING:
    import polars as pl

__all__ = ["PostTreatment", "Suspect", "post_treatment"]

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Suspect:
    """A feature that is not the same in two arms.

    Attributes:
        feature: its name.
        value: what of it differs: the name itself for a number's mean, "name = label" or "name is missing" for a share.
        action: the treatment.
        control_mean, treated_mean: propensity-weighted means.
        z: their difference in standard errors.
        one_sided: whether one arm has it at one value only while it varies in the other, as exposure to an ad does that
            only the treated can see.
    """

    feature: str
    value: str
    action: str
    control_mean: float
    treated_mean: float
    z: float
    one_sided: bool

    def __str__(self) -> str:
        told = f"{self.value}: {self.control_mean:.4g} without, {self.treated_mean:.4g} under {self.action!r}"
        return f"{told} (z = {self.z:.1f}{', one arm never varies' if self.one_sided else ''})"


@dataclass(frozen=True, slots=True)
class PostTreatment:
    """Which features look as if the action had changed them.

    Attributes:
        suspects: those that differ between arms by more than chance, the plainest first; one entry per feature.
        n_tests: comparisons made.
        level: chance of any suspect in a log whose propensities are right and whose features came before the action.
        n: rows of the log.
    """

    suspects: tuple[Suspect, ...]
    n_tests: int
    level: float
    n: int

    @property
    def names(self) -> tuple[str, ...]:
        """Features under suspicion, as ``DecisionLog.from_frame(post_treatment=…)`` takes them."""
        return tuple(suspect.feature for suspect in self.suspects)

    def refuse(self) -> None:
        """Refuse the log if there is a suspect.

        Raises:
            FeatureError: the plainest, and what to do.
        """
        if self.suspects:
            raise FeatureError(
                f"The action seems to have changed {len(self.suspects)} of the features; the plainest is "
                f"{self.suspects[0]}",
                where=f"column {self.suspects[0].feature!r}",
                remedy=f"If it came about after the action, leave it out: from_frame(…, post_treatment="
                f"{list(self.names)[:5]}). If it did not, the propensities are wrong: see design.balance(log).",
            )

    def frame(self) -> pl.DataFrame:
        """The suspects as a polars frame."""
        import polars as pl

        names = ("feature", "value", "action", "control_mean", "treated_mean", "z", "one_sided")
        return pl.DataFrame([{name: getattr(row, name) for name in names} for row in self.suspects])

    def __str__(self) -> str:
        if not self.suspects:
            return f"No feature looks changed by the action: {self.n_tests} comparisons, n = {self.n:,}"
        lines = "\n  ".join(str(suspect) for suspect in self.suspects)
        one = len(self.suspects) == 1
        told = "1 feature looks" if one else f"{len(self.suspects)} features look"
        either = "Either it" if one else "Either they"
        return (
            f"{told} changed by the action (n = {self.n:,}):\n  {lines}\n"
            f"{either} came about after the action, or the propensities are wrong; the more features, the likelier "
            "the latter."
        )


def post_treatment(log: DecisionLog, level: float = 1e-3) -> PostTreatment:
    """Look for features that the action changed: exposure to an ad, pages seen on the visit it brought.

    What is known before a randomised action has the same distribution in every arm, weighted by 1/propensity. So a
    feature whose weighted mean (or share of a category, or of missing values) differs by more than chance either came
    about after the action, or the propensities are wrong; where other features differ too, it is the latter. It is a
    safeguard and no proof: it sees means only, a change smaller than chance goes unseen, and so does a feature from
    after the action that the action left alone. Each comparison is a z-test of the difference of Hájek means, by their
    influence function, held to level / comparisons (Bonferroni).

    Args:
        log: n rows, A actions.
        level: chance of a false alarm over all comparisons, within (0, 1).

    Raises:
        ParameterError: a level outside (0, 1).
        PropensityError: only the actions taken have propensities.
    """
    if not 0 < level < 1:
        raise ParameterError(f"level must lie in (0, 1), got {level!r}", where="design.post_treatment")
    e = log.propensity()
    inverse = 1 / np.take_along_axis(e, log.action[:, None].astype(np.intp), axis=1)[:, 0]
    inverse = inverse if log.weight is None else inverse * log.weight
    found, tests = [], 0
    for j, column in enumerate(log.features.columns):
        names, table = indicators(Features(log.features.values[:, j : j + 1], (column,)))
        compared = [
            _compared(log, table[:, k], inverse, e, a, column.name, name)
            for k, name in enumerate(names)
            for a in range(1, log.n_actions)
        ]
        tests += len(compared)
        found.append(max(compared, key=lambda suspect: abs(suspect.z)))
    suspects = [suspect for suspect in found if erfc(abs(suspect.z) / np.sqrt(2)) * tests < level]
    return PostTreatment(tuple(sorted(suspects, key=lambda suspect: -abs(suspect.z))), tests, level, log.n)


def _compared(
    log: DecisionLog, values: Vector, inverse: Vector, e: Vector, action: int, feature: str, name: str
) -> Suspect:
    """One number of a feature in a treatment arm against the control, among rows in which both were possible."""
    both = (e[:, 0] > 0) & (e[:, action] > 0)
    means, influence, varies = [], np.zeros(log.n), []
    for arm, sign in ((action, 1.0), (0, -1.0)):
        rows = both & (log.action == arm)
        weight = np.where(rows, inverse, 0.0)
        mean = float(weight @ values / max(float(weight.sum()), 1e-300))
        influence += sign * weight * (values - mean) / max(float(weight.sum()), 1e-300)
        means.append(mean)
        varies.append(bool(np.ptp(values[rows])) if rows.any() else False)
    clusters = log.clusters
    summed = influence if clusters is None else np.bincount(clusters, weights=influence)
    error = float(np.sqrt(summed @ summed))
    difference = means[0] - means[1] if np.ptp(values) else 0.0  # else it is rounding
    z = difference / error if error > 0 else (0.0 if difference == 0 else float(np.copysign(np.inf, difference)))
    return Suspect(feature, name, log.actions.names[action], means[1], means[0], z, varies[0] != varies[1])
