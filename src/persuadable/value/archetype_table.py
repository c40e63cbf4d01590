"""Do archetypes hold on rows that made none of them: what each really gains, how often it is wrong, who is in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from persuadable.effects.maps import fit_map
from persuadable.errors import DataError, ParameterError
from persuadable.log.checks import require_log
from persuadable.policies.archetypes import ARCHETYPES, Archetypes, composition, membership_probabilities
from persuadable.value.calibration import quantile_groups
from persuadable.value.clan import ClanRow, Groups, feature_rows
from persuadable.value.estimate import Estimate, Floats, normal_quantile
from persuadable.value.holdout import require_held_out
from persuadable.value.scores import Comparison, arm_means, compare_arms, comparison_scores

if TYPE_CHECKING:
    import polars as pl

    from persuadable.log import DecisionLog

__all__ = ["ArchetypeMark", "ArchetypeRow", "ArchetypeTable", "archetype_table"]

Verdict = Literal["confirmed", "open", "contradicted"]
FEW: Final = 10  # conversions in an arm, below which a normal interval is not to be relied on
BINS: Final = 10
LEVELS: Final = 20
LEAST_MEMBERS: Final = 30  # below which the mean of a feature is not taken for normal
LEAST_CASES: Final = 5  # of a category, expected among the smaller group


@dataclass(frozen=True, slots=True)
class ArchetypeMark:
    """One feature that marks an archetype.

    Attributes:
        feature: its name.
        level: for a share: which category, "missing" or "other"; None for the mean of a number.
        members: mean (or share) among the archetype's units.
        others: among all other units.
        difference: members − others, with an interval that holds together with those of all features and labels.
        standardised: the difference in standard deviations of the feature among all units.
    """

    feature: str
    level: str | None
    members: float
    others: float
    difference: Estimate
    standardised: float

    @property
    def label(self) -> str:
        """The feature, with its level if it has one."""
        return self.feature if self.level is None else f"{self.feature} = {self.level}"


@dataclass(frozen=True, slots=True)
class ArchetypeRow:
    """One archetype (or the uncertain) on held-out rows. Effects, baselines and mistakes are those of its eligible
    members, predictions where nobody is those of all.

    Attributes:
        archetype: its label.
        action: what is done with its members.
        n: members among the log's rows.
        share: their (weighted) share.
        predicted: mean predicted effect.
        uplift: realised effect of the treatment, estimated from the experiment; None where an arm has no member.
        predicted_baseline: mean predicted outcome if left alone.
        baseline: realised outcome if left alone; None where no member was left alone.
        conversions: rows of members with an outcome other than 0, (treated, left alone); below 10 in either, normal
            intervals cannot be relied on.
        claimed_wrong: expected share of members who are something else, as their probabilities have it; None for the
            uncertain, about whom nothing is claimed.
        expected_wrong: the same once predictions are put on the scale of the held-out rows; see ``archetype_table``.
        mix: (4,) what members are expected to be, on that scale, in the order of ``policies.ARCHETYPES``.
        verdict: "confirmed": the whole interval of the realised uplift lies where the archetype's effects do;
            "contradicted": none of it does; "open": some. It is wider than ``uplift``'s, so that all verdicts of the
            table hold together. About the members' mean, not about each. None for the uncertain, and where there is no
            uplift or too few conversions to say.
        marks: the features that differ most between members and others, the largest difference first; only those whose
            difference is certain, over all labels and features together.
    """

    archetype: str
    action: str
    n: int
    share: float
    predicted: float
    uplift: Estimate | None
    predicted_baseline: float
    baseline: Estimate | None
    conversions: tuple[int, int]
    claimed_wrong: float | None
    expected_wrong: float | None
    mix: tuple[float, float, float, float] | None
    verdict: Verdict | None
    marks: tuple[ArchetypeMark, ...]

    @property
    def few(self) -> bool:
        """Whether either arm has fewer than 10 conversions, too few for a normal interval."""
        return min(self.conversions) < FEW


@dataclass(frozen=True, slots=True)
class ArchetypeTable(Sequence[ArchetypeRow]):
    """The archetypes on held-out rows, those that somebody belongs to.

    Attributes:
        rows: Persuadable, Sure Thing, Lost Cause, Do-Not-Disturb, Uncertain; those without members left out.
        outcome: the outcome's name.
        method: "dr" or "ipw".
        pays: the effect above which a contact pays.
        n: rows of the log.
    """

    rows: tuple[ArchetypeRow, ...]
    outcome: str
    method: str
    pays: float
    n: int

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int | str) -> ArchetypeRow:  # type: ignore[override]
        if isinstance(key, str):
            for row in self.rows:
                if row.archetype == key:
                    return row
            raise ParameterError(f"Nobody is {key!r}", remedy=f"There are {[row.archetype for row in self.rows]}.")
        return self.rows[key]

    def frame(self) -> pl.DataFrame:
        """One row per archetype."""
        import polars as pl

        return pl.DataFrame([_flat(row) for row in self.rows], infer_schema_length=None)

    def profile(self) -> pl.DataFrame:
        """One row per archetype and feature that marks it."""
        import polars as pl

        return pl.DataFrame(
            [
                {
                    "archetype": row.archetype,
                    "feature": mark.feature,
                    "level": mark.level,
                    "members": mark.members,
                    "others": mark.others,
                    "difference": mark.difference.value,
                    "lower": mark.difference.interval[0],
                    "upper": mark.difference.interval[1],
                    "standardised": mark.standardised,
                }
                for row in self.rows
                for mark in row.marks
            ],
            infer_schema_length=None,
        )

    def __str__(self) -> str:
        lines = [
            f"{self.outcome} of {self.n:,} held-out rows; a contact pays above {self.pays:.4g}",
            f"{'archetype':14}  {'action':8} {'share':>6}  {'predicted':>9}  realised uplift",
            *map(_line, self.rows),
            f"{'labelled':14}  {'wrong: claimed':>14}  {'expected':>8}  verdict",
            *map(_doubts, self.rows),
        ]
        if any(row.few for row in self.rows):
            lines.append(f"* fewer than {FEW} conversions in an arm: the interval is not to be relied on.")
        lines.append(
            "Nobody's true type is ever seen. Claimed is what the members' probabilities say. Expected puts them on "
            "the scale of the held-out rows, with their noise; it is an estimate too. The verdicts hold together."
        )
        for row in self.rows:
            told = ", ".join(f"{mark.label} {mark.standardised:+.2f} sd" for mark in row.marks)
            if told:
                lines.append(f"{row.archetype}: {told}")
        return "\n".join(lines)


def _flat(row: ArchetypeRow) -> dict[str, Any]:
    flat: dict[str, Any] = {
        "archetype": row.archetype,
        "action": row.action,
        "n": row.n,
        "share": row.share,
        "predicted": row.predicted,
    }
    for name, estimate in (("uplift", row.uplift), ("baseline", row.baseline)):
        flat[name] = None if estimate is None else estimate.value
        flat[f"{name}_lower"], flat[f"{name}_upper"] = (None, None) if estimate is None else estimate.interval
    flat |= {"predicted_baseline": row.predicted_baseline}
    flat |= {"conversions_treated": row.conversions[0], "conversions_control": row.conversions[1]}
    flat |= {"claimed_wrong": row.claimed_wrong, "expected_wrong": row.expected_wrong, "verdict": row.verdict}
    mix = (None,) * 4 if row.mix is None else row.mix
    return flat | {f"P({label})": p for label, p in zip(ARCHETYPES, mix, strict=True)}


def _line(row: ArchetypeRow) -> str:
    if row.uplift is None:
        realised = "an arm has no member"
    else:
        low, high = row.uplift.interval
        realised = f"{row.uplift.value:+.4g} ({low:+.4g} to {high:+.4g}){'*' if row.few else ''}"
    return f"{row.archetype:14}  {row.action:8} {row.share:6.1%}  {row.predicted:+9.4g}  {realised}"


def _doubts(row: ArchetypeRow) -> str:
    claimed, expected = ("" if w is None else f"{w:.1%}" for w in (row.claimed_wrong, row.expected_wrong))
    return f"{row.archetype:14}  {claimed:>14}  {expected:>8}  {row.verdict or ''}".rstrip()


def archetype_table(
    log: DecisionLog,
    archetypes: Archetypes,
    *,
    method: Literal["dr", "ipw"] = "dr",
    mu: NDArray[Any] | None = None,
    n_marks: int = 3,
    alpha: float = 0.05,
) -> ArchetypeTable:
    """What became of each archetype on held-out rows of an experiment.

    **Realised uplift** is E[Γ | label] with Γ the scores of ``uplift_scores``: it holds whatever the labels were made
    from, and its interval is about these labels as they stand.

    **Expected misclassification.** A type is never observed, so mistakes cannot be counted. ``claimed_wrong`` is what
    the labels' own probabilities say; made without ``beliefs`` they are far too good. For ``expected_wrong`` what was
    believed of effects and baselines is first put on the scale of these rows by an isotonic regression of Γ (and of the
    baseline's scores) in 10 bins, and the standard error of a bin's mean is added to the doubt. It cannot show how much
    people with the same prediction differ, and is too high where rows are few.

    **Verdicts and marks hold together.** All verdicts of a table are right with 1 − alpha (Bonferroni over its labels),
    though the intervals shown stand each for itself; and only features whose difference is certain are marks, with
    1 − alpha for all labels and features together.

    Args:
        log: held-out rows, those the archetypes were made for, in the same order.
        archetypes: from ``policies.archetypes``.
        method: "dr" or "ipw", as for ``uplift_scores``.
        mu: for "dr", (n, A) out-of-fold predictions of the outcome; cross-fitted when None.
        n_marks: features told per archetype, at most.
        alpha: probability the intervals are meant to miss.

    Raises:
        LeakageError: rows of the log fitted the models behind the archetypes.
        DataError: archetypes of other rows; a score that cannot be computed.
        ActionError, PropensityError, OutcomeError: as for ``uplift_scores``.
        ParameterError: unknown method, or a negative number of marks.
    """
    require_log(log, "archetype_table")
    _require_same_rows(log, archetypes)
    require_held_out(log, archetypes)
    if n_marks < 0:
        raise ParameterError(f"n_marks is {n_marks!r}", remedy="Pass how many features to tell, 0 or more.")
    outcome = archetypes.economics.outcome
    arms = compare_arms(log, outcome=outcome, action=archetypes.treatment)
    if method == "dr" and mu is None:
        from persuadable.response import cross_fit_arms

        mu = cross_fit_arms(log, outcome)
    seen = _Seen(
        arms=arms,
        gain=comparison_scores(log, arms, method=method, mu=mu),
        level=_control_scores(arms, None if mu is None else np.asarray(mu, dtype=np.float64)),
        label=np.asarray(arms.select(archetypes.membership)),
        alpha=alpha,
    )
    weight = None if log.weight is None else np.asarray(log.weight, dtype=np.float64)
    mass = np.ones(log.n) if weight is None else weight
    counted = mass if log.eligible is None else mass * log.eligible[:, archetypes.treatment]
    claimed = composition(archetypes.probabilities, archetypes.membership, counted)
    mixed = composition(_recalibrated(archetypes, seen), seen.label, arms.weight)
    rows, labels = [], len(np.unique(archetypes.membership))
    told_of = _marks_of(log, archetypes, weight, alpha, n_marks)
    for code, label in enumerate(archetypes.labels):
        members = archetypes.membership == code
        if not members.any():
            continue
        uplift, conversions = seen.mean(seen.gain, code, label, both=True), seen.conversions(code)
        among = counted * members if (counted * members).any() else mass * members
        region = archetypes.thresholds.region(label)
        rows.append(
            ArchetypeRow(
                archetype=label,
                action=archetypes.actions[label],
                n=int(members.sum()),
                share=float(np.average(members, weights=weight)),
                predicted=float(np.average(archetypes.effect, weights=among)),
                uplift=uplift,
                predicted_baseline=float(np.average(archetypes.baseline, weights=among)),
                baseline=seen.mean(seen.level, code, label, both=False),
                conversions=conversions,
                claimed_wrong=_wrong(claimed, code),
                expected_wrong=_wrong(mixed, code),
                mix=None if np.isnan(mixed[code]).any() else tuple(mixed[code].tolist()),
                verdict=None
                if code >= len(ARCHETYPES) or uplift is None or min(conversions) < FEW
                else _verdict(_together(uplift, labels), region),
                marks=told_of[code],
            )
        )
    return ArchetypeTable(tuple(rows), outcome, method, archetypes.thresholds.pays, log.n)


def _wrong(mix: Floats, code: int) -> float | None:
    """Share of a label's people who are something else; None for the uncertain, and where nobody counts."""
    return None if code >= len(ARCHETYPES) or np.isnan(mix[code]).any() else float(1.0 - mix[code, code])


def _require_same_rows(log: DecisionLog, archetypes: Archetypes) -> None:
    if not isinstance(archetypes, Archetypes):
        raise ParameterError(
            f"A {type(archetypes).__name__} is no Archetypes",
            remedy="Pass what ps.policies.archetypes(log, …) returns.",
        )
    elsewhere = archetypes.rows is not None and not archetypes.rows.same_rows(log.fingerprint)
    if archetypes.n != log.n or elsewhere:
        raise DataError(
            f"The archetypes are of {archetypes.n:,} {'other ' if elsewhere else ''}rows, the log has {log.n:,}",
            remedy="Assign them on this log: ps.policies.archetypes(log, …), or policy.assign(log).",
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """The m rows compared: scores of the effect and of the outcome if left alone, and the label of each, all (m,)."""

    arms: Comparison
    gain: Floats
    level: Floats
    label: NDArray[Any]
    alpha: float

    @property
    def weight(self) -> Floats:
        """(m,) weights of mean 1."""
        w = self.arms.weight
        return np.ones(self.arms.m) if w is None else w / w.mean()

    def mean(self, scores: Floats, code: int, label: str, *, both: bool) -> Estimate | None:
        """Mean score of a label's rows; None where an arm that it rests on has none."""
        of_label, treated = self.label == code, self.arms.treated
        if not (of_label & ~treated).any() or (both and not (of_label & treated).any()):
            return None
        share = float((self.weight * of_label).mean())
        value = float((self.weight * of_label * scores).mean()) / share
        psi = np.where(of_label, scores - value, 0.0) / share
        told = "uplift" if both else "baseline"
        return Estimate.from_influence(
            value, psi, self.alpha, self.arms.clusters, self.arms.weight, name=f"{told} of {label}", tested=both
        )

    def conversions(self, code: int) -> tuple[int, int]:
        """How many of a label's rows have an outcome other than 0, treated and left alone."""
        converted = (self.label == code) & (self.arms.outcome != 0)
        return int((converted & self.arms.treated).sum()), int((converted & ~self.arms.treated).sum())


def _control_scores(arms: Comparison, mu: Floats | None) -> Floats:
    """(m,) m₀ + 1{A = 0}(Y − m₀)/(1 − e): scores whose conditional mean is the outcome if left alone."""
    if mu is None:
        level: float | Floats = arm_means(arms.outcome, arms.treated, arms.treat, arms.weight)[1]
    else:
        level = np.asarray(arms.select(mu[:, 0]))
    return np.asarray(level + ~arms.treated * (arms.outcome - level) / (1.0 - np.asarray(arms.treat)))


def _recalibrated(archetypes: Archetypes, seen: _Seen) -> Floats:
    """(m, 4) membership probabilities with predictions on the scale of the rows compared."""

    def rescaled(predicted: Floats, stderr: Floats, scores: Floats) -> tuple[Floats, Floats]:
        known = np.asarray(seen.arms.select(predicted))
        fitted = fit_map("isotonic", known, scores, seen.weight, BINS)(known)
        # Each bin's own: scores of people who rarely respond are far less noisy. Var(Σwx / Σw) = Σ(w(x − x̄))² / (Σw)².
        group = quantile_groups(known, BINS, seen.weight)
        squares = np.bincount(group, weights=(seen.weight * (scores - fitted)) ** 2)
        noise = (np.sqrt(squares) / np.bincount(group, weights=seen.weight))[group]
        return fitted, np.hypot(np.asarray(seen.arms.select(stderr)), noise)

    effect = rescaled(archetypes.believed.effect, archetypes.believed.effect_sd, seen.gain)
    baseline = rescaled(archetypes.believed.baseline, archetypes.believed.baseline_sd, seen.level)
    return membership_probabilities(*effect, *baseline, archetypes.thresholds)


def _verdict(interval: tuple[float, float], region: tuple[float, float]) -> Verdict:
    """What an interval says of the claim that the mean lies in a region."""
    if interval[1] < region[0] or interval[0] > region[1]:
        return "contradicted"
    return "confirmed" if interval[0] >= region[0] and interval[1] <= region[1] else "open"


def _together(told: Estimate, labels: int) -> tuple[float, float]:
    """The interval that holds together with those of all other labels (Bonferroni)."""
    half = normal_quantile(told.alpha / labels) * told.stderr
    return told.value - half, told.value + half


def _marks_of(
    log: DecisionLog, archetypes: Archetypes, weight: Floats | None, alpha: float, n_marks: int
) -> dict[int, tuple[ArchetypeMark, ...]]:
    """Label's code → the features in which its members differ most, of those in which they differ for certain."""
    codes = [code for code in np.unique(archetypes.membership).tolist() if n_marks]
    if len(codes) < 2:
        return dict.fromkeys(codes or range(len(archetypes.labels)), ())
    columns = [(column, log.features.values[:, i].astype(np.float64)) for i, column in enumerate(log.features.columns)]

    def compared(code: int, each: float) -> list[ClanRow]:
        members = archetypes.membership == code
        groups = Groups(members.astype(np.float64), (~members).astype(np.float64), weight, log.clusters, each)
        return [row for column, values in columns for row in feature_rows(column, values, groups, LEVELS)]

    count = len(codes) * max(len(compared(codes[0], alpha)), 1)
    found = {}
    for code in codes:
        size = _least_size(archetypes.membership == code, weight)
        sure = [row for row in compared(code, alpha / count) if _is_sure(row, size)]
        sure.sort(key=lambda row: (-abs(row.standardised), row.label))
        found[code] = tuple(
            ArchetypeMark(row.feature, row.level, row.most, row.least, row.difference, row.standardised)
            for row in sure[:n_marks]
        )
    return found


def _least_size(members: NDArray[np.bool_], weight: Floats | None) -> tuple[float, float]:
    """Effective sizes (Σw)²/Σw² of the members and of all others."""
    w = np.ones(members.size) if weight is None else weight
    inside, outside = w[members], w[~members]
    return float(inside.sum() ** 2 / (inside @ inside)), float(outside.sum() ** 2 / (outside @ outside))


def _is_sure(row: ClanRow, sizes: tuple[float, float]) -> bool:
    """Whether a difference is one by its own interval and by a test that takes both groups to vary alike.

    Among few members a rare category may have no case at all; their own variance is then 0 and proves nothing.
    """
    if min(sizes) < LEAST_MEMBERS:
        return False
    if row.level is not None:
        share = (row.most * sizes[0] + row.least * sizes[1]) / sum(sizes)
        if min(share, 1.0 - share) * min(sizes) < LEAST_CASES:
            return False
    alike = math.sqrt(1.0 / sizes[0] + 1.0 / sizes[1])
    low, high = row.difference.interval
    return not low <= 0.0 <= high and abs(row.standardised) > normal_quantile(row.difference.alpha) * alike
