"""The experiment that would decide between two policies, planned from the log at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.design.cuped import weighted_line
from persuadable.design.power import PowerCurve, TwoArms
from persuadable.design.sequential import Monitoring, MonitoringKind, monitor
from persuadable.errors import DataError, ParameterError, PropensityError
from persuadable.log.checks import require_log
from persuadable.log.tables import distribution_remedy, improper_row

if TYPE_CHECKING:
    import polars as pl

    from persuadable.log import DecisionLog

__all__ = ["ExperimentPlan", "disagreement", "plan_experiment", "two_arms_of_policies"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ExperimentPlan:
    """An experiment fixed before it starts.

    Attributes:
        effect: smallest difference worth finding, candidate − baseline, per head of all units enrolled.
        power: probability of finding it to lie beyond the margin.
        arms: what the sample size rests on.
        monitoring: when it is looked at, and the boundaries.
        units: to enrol in both arms together.
        curve: power, and what can be found, at other sizes.
        margin: the difference it is held against, candidate − baseline; 0 asks whether the two differ.
    """

    effect: float
    power: float
    arms: TwoArms
    monitoring: Monitoring
    units: int
    curve: PowerCurve
    margin: float = 0.0

    @property
    def units_by_arm(self) -> tuple[int, int]:
        """Units of the baseline and of the candidate."""
        return self.arms.units_by_arm(self.units)

    @property
    def looks(self) -> tuple[int, ...]:
        """(K,) units enrolled by each look."""
        return tuple(int(np.ceil(t * self.units - 1e-9)) for t in self.monitoring.fractions)

    @property
    def expected_units(self) -> float:
        """Mean number of units by the time a boundary is crossed, if the effect is as large as planned for."""
        drift = (self.effect - self.margin) / self.arms.stderr(self.units, self.effect)
        return self.units * self.monitoring.expected_fraction(drift)

    def frame(self) -> pl.DataFrame:
        """One row per look: units, the boundary in standard errors, and alpha spent."""
        import polars as pl

        return self.monitoring.frame().insert_column(0, pl.Series("units", self.looks, dtype=pl.Int64))

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers and words, for JSON."""
        baseline, candidate = self.units_by_arm
        arms, watch = self.arms, self.monitoring
        return {
            "effect": self.effect,
            "margin": self.margin,
            "power": self.power,
            "alpha": watch.alpha,
            "units": self.units,
            "units_baseline": baseline,
            "units_candidate": candidate,
            "expected_units": self.expected_units,
            "baseline_sd": arms.baseline_sd,
            "candidate_sd": arms.candidate_sd,
            "rate": arms.rate,
            "share": arms.share,
            "active": arms.active,
            "reduction": arms.reduction,
            "design_effect": arms.design_effect,
            "rows_per_unit": arms.rows_per_unit,
            "monitoring": watch.kind,
            "looks": list(self.looks),
            "boundaries": list(watch.boundaries),
            "alpha_spent": list(watch.spent),
            "curve": {
                "units": list(self.curve.units),
                "power": list(self.curve.power),
                "detectable": list(self.curve.detectable),
            },
        }

    def __str__(self) -> str:
        baseline, candidate = self.units_by_arm
        found = f"a difference of {self.effect:.4g} per head"
        if self.margin:
            side = "above" if self.effect > self.margin else "below"
            found += f" to lie {side} the margin of {self.margin:.4g}"
        lines = [
            f"{self.units:,} units ({baseline:,} baseline, {candidate:,} candidate) find {found} "
            f"with {self.power:.0%} probability",
            f"  {self.arms}",
            f"  {self.monitoring}",
        ]
        if len(self.monitoring.fractions) > 1:
            lines.append(f"  stops after {self.expected_units:,.0f} units on average if the difference is as large")
        return "\n".join(lines)


def plan_experiment(
    arms: TwoArms,
    effect: float,
    *,
    margin: float = 0.0,
    power: float = 0.8,
    alpha: float = 0.05,
    monitoring: MonitoringKind = "obrien-fleming",
    looks: int | Sequence[float] | None = None,
) -> ExperimentPlan:
    """How many units, looked at when, find a difference.

    Args:
        arms: how noisy the difference is; ``two_arms_of_policies`` reads it off a log.
        effect: smallest difference worth finding, candidate − baseline, per head of all units enrolled.
        margin: the difference it is held against, in the same unit; ``readout`` decides against it too. 0.06 with an
            effect of 0.08 asks whether the candidate is better by more than 0.06 (superiority by a margin), −0.01 with
            an effect of 0 whether it is worse by less than 0.01 (non-inferiority). Where lower is better both signs
            turn.
        power: probability of finding that the difference lies beyond the margin, on the side of the effect.
        alpha: probability of finding so where it lies at the margin, over all looks and both directions.
        monitoring: "obrien-fleming", "pocock", "always-valid" or "fixed".
        looks: how many, or their fractions; None is 5, and 1 for "fixed".

    Raises:
        ParameterError: a value outside its range, or an effect at the margin.
    """
    if not isinstance(arms, TwoArms):
        raise ParameterError(
            f"The arms are a {type(arms).__name__}, not TwoArms",
            remedy="Pass plan_experiment(arms, effect), arms such as TwoArms.binary(0.2) or two_arms_of_policies(…).",
        )
    watch = monitor(monitoring, looks, alpha=alpha)
    return ExperimentPlan(
        effect=float(effect),
        power=power,
        arms=arms,
        monitoring=watch,
        units=arms.units(effect, power, watch, margin=margin),
        curve=arms.curve(effect, power=power, monitoring=watch, margin=margin),
        margin=float(margin),
    )


def disagreement(candidate: ArrayLike, baseline: ArrayLike) -> Floats:
    """(n,) probability that two policies do different things to a unit: ½ Σ_a |π_c − π_b|.

    It is reached where both draw their action from one lot per unit; 0 or 1 for policies that leave nothing to chance.

    Args:
        candidate, baseline: (n, A) probabilities.

    Raises:
        DataError: tables of different shapes.
    """
    ours, theirs = np.asarray(candidate, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if ours.ndim != 2 or ours.shape != theirs.shape:
        raise DataError(
            f"The policies' probabilities have shapes {ours.shape} and {theirs.shape}",
            remedy="Pass one row per unit and one column per action for each.",
        )
    return np.asarray(0.5 * np.abs(ours - theirs).sum(axis=1))


def two_arms_of_policies(
    log: DecisionLog,
    candidate: ArrayLike,
    baseline: ArrayLike,
    *,
    outcome: str | None = None,
    q_hat: ArrayLike | None = None,
    share: float = 0.5,
) -> TwoArms:
    """What an experiment between two policies would have to work with, read off decisions a third one took.

    Only units whom the two treat differently tell them apart. A unit is one with probability d = ½ Σ_a |π_c − π_b|;
    the candidate then acts by (π_c − π_b)₊/d and the baseline by (π_b − π_c)₊/d. Outcome moments in the two arms
    are means over the log with weights (π_c − π_b)₊/e and (π_b − π_c)₊/e at the action taken, self-normalised.

    Args:
        log: n rows with A actions.
        candidate, baseline: (n, A) probabilities.
        outcome: which; the first when None.
        q_hat: (n, A) predicted outcomes from models that did not see these rows; their prediction of either arm is
            then what the readout adjusts for (CUPED), and the expected reduction is counted.
        share: of the units to be given to the candidate.

    Returns:
        the arms. Where the log's units have several rows, the design effect is estimated from them and sample sizes
        are in units.

    Raises:
        DataError: tables that do not fit the log, policies that agree everywhere, or an outcome that never varies.
        PropensityError: an action on which they differ has propensity 0, or was never taken there.
    """
    require_log(log, "two_arms_of_policies")
    ours, theirs = _table(log, candidate, "candidate"), _table(log, baseline, "baseline")
    differs = disagreement(ours, theirs)
    base = np.ones(log.n) if log.weight is None else np.asarray(log.weight / log.weight.mean(), dtype=np.float64)
    active = float(np.average(differs, weights=base))
    if active <= 0:
        raise DataError(
            "The two policies do the same to every unit of the log",
            remedy="There is nothing to find out: an experiment between them would compare a policy with itself.",
        )
    y = log.outcome(outcome)
    gains = (np.maximum(theirs - ours, 0.0), np.maximum(ours - theirs, 0.0))
    weights = [_weights(log, gain, base, name) for gain, name in zip(gains, ("baseline", "candidate"), strict=True)]
    means = [float(np.average(y, weights=w)) for w in weights]
    variances = np.array([np.average((y - m) ** 2, weights=w) for m, w in zip(means, weights, strict=True)])
    binary = log.is_binary(outcome)
    if variances.sum() <= 0 or (binary and not 0 < means[0] < 1):
        raise DataError(
            f"The outcome never varies where the policies differ: its mean there is {means[0]:.4g}",
            remedy="Choose another outcome, or a longer log.",
        )
    noise = variances / np.array([1 - share, share])
    effect, rows = _design_effect(log, y, means, weights, share)
    return TwoArms(
        baseline_sd=float(np.sqrt(variances[0])),
        candidate_sd=float(np.sqrt(variances[1])),
        rate=means[0] if binary else None,
        share=share,
        active=min(active, 1.0),
        reduction=0.0 if q_hat is None else _reduction(log, y, q_hat, gains, weights, noise),
        design_effect=effect,
        rows_per_unit=rows,
    )


def _table(log: DecisionLog, probabilities: ArrayLike, name: str) -> Floats:
    p = np.asarray(probabilities, dtype=np.float64)
    if p.shape != (log.n, log.n_actions):
        raise DataError(
            f"The {name}'s probabilities have shape {p.shape}, expected {(log.n, log.n_actions)}",
            remedy="Pass one row per row of the log and one column per action, the control first.",
        )
    if (row := improper_row(p, 1e-6, below=1e-9)) is not None:
        raise DataError(
            f"The {name}'s probabilities are {np.round(p[row], 6).tolist()}, which is no distribution",
            where=f"row {row}",
            remedy=distribution_remedy(p[row]),
        )
    return p


def _weights(log: DecisionLog, gain: Floats, base: Floats, name: str) -> Floats:
    """(n,) weights that make the log's rows those of one arm among the units on which the policies differ."""
    e = log.propensity()
    untried = (e <= 0) & (gain > 1e-12)
    if untried.any():
        row, action = (int(i[0]) for i in np.nonzero(untried))
        raise PropensityError(
            f"In {int(untried.any(axis=1).sum()):,} of {log.n:,} rows the {name} does what was never tried",
            where=f"first in row {row}, {log.actions.names[action]!r}",
            remedy="Plan from the rows with a choice, log.overlapping(), or make TwoArms with known deviations.",
        )
    at = np.arange(log.n), np.asarray(log.action, dtype=np.intp)
    weight = np.asarray(base * gain[at] / e[at])
    if np.count_nonzero(weight) < 2:
        raise PropensityError(
            f"Of {log.n:,} rows, {np.count_nonzero(weight)} took what the {name} does differently",
            remedy="Use a longer log, or pass TwoArms with deviations from elsewhere.",
        )
    return weight


def _reduction(
    log: DecisionLog,
    y: Floats,
    q_hat: ArrayLike,
    gains: tuple[Floats, Floats],
    weights: Sequence[Floats],
    noise: Floats,
) -> float:
    """Share of the variance that the model's predictions of the two arms take away, by adjusted R² in each arm."""
    q = np.asarray(q_hat, dtype=np.float64)
    if q.shape != (log.n, log.n_actions) or not np.isfinite(q).all():
        raise DataError(
            f"q_hat has shape {q.shape}, expected finite numbers of shape {(log.n, log.n_actions)}",
            remedy="Pass predicted outcomes, one row per row of the log and one column per action.",
        )
    predicted = np.stack(
        [
            np.divide((gain * q).sum(axis=1), gain.sum(axis=1), out=np.zeros(log.n), where=gain.sum(axis=1) > 0)
            for gain in gains
        ],
        axis=1,
    )
    left = [1 - weighted_line(y, predicted, w, "an arm").explained for w in weights]
    return float(np.clip(1 - (noise @ np.array(left)) / noise.sum(), 0.0, 1 - 1e-9))


def _design_effect(
    log: DecisionLog, y: Floats, means: Sequence[float], weights: Sequence[Floats], share: float
) -> tuple[float, float]:
    """Design effect of giving whole units to an arm, and rows per unit; (1, 1) where no unit repeats.

    D = 1 + Σ over pairs of rows of a unit of r_i r_j ÷ Σ r_i², as both would be seen in the arm: pairs weigh w_i w_j
    where the log drew each row on its own, and √(w_i w_j) where it drew units. Not below 1.
    """
    clusters = log.clusters
    if clusters is None:
        return 1.0, 1.0
    units = int(clusters.max()) + 1
    by_unit = np.unique(np.stack([clusters, log.action.astype(np.intp)]), axis=1).shape[1] == units
    pairs = squares = 0.0
    for mean, weight, part in zip(means, weights, (1 - share, share), strict=True):
        total, residual = weight.sum() * part, y - mean
        seen = residual * (np.sqrt(weight) if by_unit else weight)
        pairs += float((np.bincount(clusters, weights=seen) ** 2).sum() - seen @ seen) / total
        squares += float(weight @ residual**2) / total
    return max(1.0, 1 + pairs / squares), log.n / units
