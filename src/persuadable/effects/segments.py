"""A model for each segment, drawn to one for all: the log decides what is used, and says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from persuadable.effects.arrays import Effects
from persuadable.effects.calibrated import score_effects
from persuadable.effects.contest import Candidate, Rows, choose
from persuadable.effects.fitting import LEAST_FOLDS, clone, out_of_fold_effects
from persuadable.effects.learner import Learner
from persuadable.effects.pooling import shrunk_weights, stacked_weight
from persuadable.errors import NotFittedError, OutcomeError, ParameterError
from persuadable.features import Column, Features
from persuadable.fingerprint import Fingerprint
from persuadable.log import DecisionLog
from persuadable.log.checks import require_log
from persuadable.params import Parameters
from persuadable.spaces import Discrete

if TYPE_CHECKING:
    import polars as pl

__all__ = ["SegmentDecision", "SegmentLearner", "SegmentWeight"]

Vector = NDArray[np.float64]
Codes = NDArray[np.intp]
Choice = Literal["global", "pooled", "segments"]
WORDS = {
    "global": "one model for all segments",
    "pooled": "segment models, drawn to the one for all",
    "segments": "a model of its own for each segment",
}


@dataclass(frozen=True, slots=True)
class SegmentWeight:
    """A segment and how far its own model is believed.

    Attributes:
        segment: its label.
        rows: how many rows it has.
        smallest_arm: rows of the action taken least there.
        raw: the weight its held-out rows ask for; None where it has no model of its own, the weight was given, or its
            rows say nothing.
        stderr: standard error of ``raw``.
        weight: the weight of its own model in the pooled effects, 0 to 1; None where it has none.
    """

    segment: str
    rows: int
    smallest_arm: int
    raw: float | None
    stderr: float | None
    weight: float | None


@dataclass(frozen=True, slots=True)
class SegmentDecision:
    """What the log decided about an outcome, and on what grounds.

    Attributes:
        outcome: whose effects.
        chosen: "global", "pooled" or "segments".
        candidates: what was compared, the simplest first; empty where no segment has rows enough.
        segments: a row per segment.
        share: share of the rows that was treated in the comparison.
        alpha: probability that an interval is meant to miss.
        min_rows: rows of every action that a segment needed for a model of its own.
    """

    outcome: str
    chosen: Choice
    candidates: tuple[Candidate, ...]
    segments: tuple[SegmentWeight, ...]
    share: float
    alpha: float
    min_rows: int

    def frame(self) -> pl.DataFrame:
        """One row per segment."""
        import polars as pl

        names = ("segment", "rows", "smallest_arm", "raw", "stderr", "weight")
        return pl.DataFrame({name: [getattr(row, name) for row in self.segments] for name in names})

    def __str__(self) -> str:
        lines = [f"For {self.outcome!r} the log decides for {self.chosen!r}: {WORDS[self.chosen]}."]
        if not self.candidates:
            lines.append(f"No segment has {self.min_rows:,} rows of every action, so there was nothing to compare.")
        else:
            lines.append(f"Held-out gain per head over treating nobody, {self.share:.0%} treated:")
        for c in self.candidates:
            lower, upper = c.interval
            told = f"  {c.difference:+.4g} against {c.against!r} ({lower:+.4g} to {upper:+.4g})" if c.against else ""
            verdict = ", better" if c.better else ", worse" if upper < 0 else ", not shown to be better"
            lines.append(f"  {c.name:8} {c.gain:.4g}{told}{verdict if c.against else ''}")
        width = max(len(row.segment) for row in self.segments)
        lines.append(f"{'segment':{max(width, 7)}}       rows  smallest arm  weight of its own model")
        for row in self.segments:
            weight = "none: too few rows" if row.weight is None else f"{row.weight:.2f}"
            asked = "" if row.raw is None else f" (its rows ask for {row.raw:.2f} ± {row.stderr:.2f})"
            lines.append(f"{row.segment:{max(width, 7)}} {row.rows:10,} {row.smallest_arm:13,}  {weight}{asked}")
        return "\n".join(lines)


class SegmentLearner(Parameters):
    """One learner per segment, partially pooled with one for everybody; the log decides which is used.

    The effect is τ = τ_global + w_s · (τ_s − τ_global) with

    * w_s = 0 for "global": one model for all, which may know the segment as a feature;
    * w_s = 1 for "segments": a model of its own for each segment;
    * w_s in between for "pooled": the weight that the held-out doubly robust scores of the segment ask for, drawn to
      that of the other segments by empirical Bayes (see ``effects.pooling``).

    Which of the three is used is decided, for each outcome, by held-out policy value: what treating the ``share`` with
    the largest effects brings, by doubly robust scores (Athey, Wager 2021). The simpler one stays unless a more
    elaborate one beats it with the whole interval of the paired difference. ``print(learner.decision_)`` says so.

    A segment in which some action has fewer than ``min_rows`` rows has no model of its own, nor have units whose
    segment is missing: they are read by the model for all.

    Args:
        learner: an effect learner, fitted or not; it stays as it is, and clones of it are fitted.
        by: the feature that names the segment; a category, such as a lifecycle stage.
        shrink: how far segments are drawn to the model for all, 1 − w: "auto", or one number from 0 to 1 for all.
        min_rows: rows of every action that a segment needs for a model of its own.
        share: share of the units that the policies which decide treat.
        alpha: probability that an interval is meant to miss.

    Attributes:
        fitted_on: fingerprint of the rows it learned from.
        actions_: the actions, the control first.
        outcomes_: names of the outcomes whose effects it predicts, the primary first.
        columns_: the features it was fitted on.
        global_: the learner fitted on everybody.
        segments_: label → the learner of a segment; empty where "global" was chosen for every outcome.
        decisions_: outcome → what the log decided.
    """

    fitted_on: Fingerprint
    actions_: Discrete
    outcomes_: tuple[str, ...]
    columns_: tuple[Column, ...]
    global_: Learner
    segments_: dict[str, Learner]
    decisions_: dict[str, SegmentDecision]

    def __init__(
        self,
        learner: Learner,
        by: str,
        shrink: float | Literal["auto"] = "auto",
        min_rows: int = 200,
        share: float = 0.3,
        alpha: float = 0.05,
    ) -> None:
        self.learner = learner
        self.by = by
        self.shrink = shrink
        self.min_rows = min_rows
        self.share = share
        self.alpha = alpha

    @property
    def decision_(self) -> SegmentDecision:
        """What the log decided for the primary outcome.

        Raises:
            NotFittedError: before ``fit``.
        """
        name = self._outcome(None)  # refuses an unfitted learner, so before decisions_ is touched
        return self.decisions_[name]

    def fit(self, log: DecisionLog, *, outcomes: str | Sequence[str] | None = None) -> Self:
        """Fit the model for all and one per segment, and let the log decide between them.

        It takes about twice the time of fitting and holding out the learner alone.

        Args:
            log: n rows, A actions.
            outcomes: which outcomes to learn the effects on; None is the primary one.

        Raises:
            ParameterError: a parameter outside its range.
            FeatureError: ``by`` is no category among the features.
        """
        require_log(log, "SegmentLearner.fit")
        self._check()
        labels, codes = log.features.segments(self.by)
        everybody = clone(self.learner).fit(log, outcomes=outcomes)
        folds = self._folds(log, codes)
        segments = {
            label: clone(self.learner).fit(log.take(codes == s), outcomes=outcomes)
            for s, label in enumerate(labels)
            if self._has_enough(log, folds, codes == s)
        }
        self.global_, self.segments_ = everybody, segments
        self.fitted_on, self.actions_ = everybody.fitted_on, everybody.actions_
        self.outcomes_, self.columns_ = everybody.outcomes_, everybody.columns_
        self.decisions_ = {name: self._decide(log, codes, labels, folds, name) for name in self.outcomes_}
        if all(decision.chosen == "global" for decision in self.decisions_.values()):
            self.segments_ = {}
        return self

    def effect(self, X: Any, outcome: str | None = None) -> Effects:
        """(n, A) effect of each action against the control, in outcome units; column 0 is zero.

        Args:
            X: features as the learner was fitted on: a frame, ``Features``, an (n, d) array, or a log.
            outcome: which outcome; None is the primary one.

        Raises:
            NotFittedError: before ``fit``.
            FeatureError: features that differ from those fitted on.
        """
        name = self._outcome(outcome)
        features = Features.of(X.features if isinstance(X, DecisionLog) else X, self.columns_)
        effect = np.array(self.global_.effect(features, name))
        labels, codes = features.segments(self.by)
        for label, weight in self.weights(name).items():
            rows = np.flatnonzero(codes == labels.index(label))
            if weight > 0 and rows.size:
                own = np.asarray(self.segments_[label].effect(features.take(rows), name))
                effect[rows] += weight * (own - effect[rows])
        return Effects.of(effect, self.fitted_on)

    def weights(self, outcome: str | None = None) -> dict[str, float]:
        """Segment → the weight its own model has in :meth:`effect`; empty where one model serves all.

        Raises:
            NotFittedError: before ``fit``.
        """
        name = self._outcome(outcome)
        decision = self.decisions_[name]
        if decision.chosen == "global":
            return {}
        own = decision.chosen == "segments"
        return {row.segment: 1.0 if own else row.weight for row in decision.segments if row.weight is not None}

    def out_of_fold_effect(self, log: DecisionLog, outcome: str | None = None) -> Effects:
        """(n, A) effects on the very rows it was fitted on, each from refits that did not see the row.

        Raises:
            NotFittedError: before ``fit``.
            ParameterError: a log other than the one fitted on.
        """
        name = self._outcome(outcome)
        labels, codes = log.features.segments(self.by)
        folds = self._folds(log, codes)
        chosen = self.decisions_[name].chosen
        if chosen == "global":
            return out_of_fold_effects([self.global_], log, name, folds=folds)[0]
        everybody, own = self._own_and_everybody(log, codes, labels, folds, name)
        if chosen == "segments":
            return Effects.of(own, None)
        rows = self._rows(log, folds, name)
        return Effects.of(self._pool(rows, everybody, own, codes, labels)[0], None)

    def state(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """(description, ensembles): plain JSON values, and each ensemble's bytes under a name of its own.

        Raises:
            NotFittedError: before ``fit``.
        """
        from persuadable.effects.segment_state import segments_state

        return segments_state(self)

    @staticmethod
    def from_state(description: Mapping[str, Any], blobs: Mapping[str, bytes]) -> SegmentLearner:
        """The learner back from :meth:`state`; its effects are bit-equal.

        Raises:
            BundleError: something is missing, or does not fit.
        """
        from persuadable.effects.segment_state import segments_from_state

        return segments_from_state(description, blobs)

    # -- fitting -------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if not isinstance(self.learner, Learner):
            raise ParameterError(
                f"learner is {self.learner!r}",
                where="SegmentLearner",
                remedy="Pass an effect learner, such as RLearner().",
            )
        if self.learner.n_resamples:
            raise ParameterError(
                f"The learner asks for {self.learner.n_resamples} half-samples, which pooled effects have no use for",
                where="SegmentLearner",
                remedy="Pass a learner with n_resamples=0.",
            )
        if self.shrink != "auto" and not _between(self.shrink, 0, 1):
            raise ParameterError(f"shrink is {self.shrink!r}", remedy='Pass "auto" or a number from 0 to 1.')
        if not isinstance(self.min_rows, int | np.integer) or self.min_rows < self._n_folds:
            raise ParameterError(
                f"min_rows is {self.min_rows!r}",
                remedy=f"Pass a whole number, no less than the {self._n_folds} folds; a model needs hundreds of rows.",
            )
        for name, most in (("share", 1.0), ("alpha", 0.5)):
            value = getattr(self, name)
            if not _between(value, 0, most) or value == 0:
                raise ParameterError(f"{name} is {value!r}", remedy=f"Pass a number above 0 and at most {most:g}.")

    @property
    def _n_folds(self) -> int:
        return max(self.learner.n_folds, LEAST_FOLDS)

    def _folds(self, log: DecisionLog, codes: Codes) -> NDArray[np.int16]:
        """(n,) folds spread evenly over the actions of every segment; where units repeat, over units."""
        seed = self.learner.random_state + 1  # not the folds of the responses
        if log.clusters is not None:
            return log.folds(self._n_folds, seed)
        rng = np.random.default_rng(seed)
        cell = codes * log.n_actions + log.action
        lot = rng.permutation(log.n)
        order = np.lexsort((lot, cell))
        folds = np.empty(log.n, dtype=np.int16)
        folds[order] = np.arange(log.n) % self._n_folds
        return folds

    def _has_enough(self, log: DecisionLog, folds: NDArray[np.int16], rows: NDArray[np.bool_]) -> bool:
        """Whether every action has rows enough there, whichever two folds are left out."""
        table = np.zeros((log.n_actions, int(folds.max()) + 1), dtype=np.intp)
        np.add.at(table, (log.action[rows], folds[rows]), 1)
        return bool((table.sum(axis=1) >= self.min_rows).all() and ((table > 0).sum(axis=1) >= LEAST_FOLDS).all())

    # -- deciding ------------------------------------------------------------------------------------------------

    def _decide(
        self, log: DecisionLog, codes: Codes, labels: tuple[str, ...], folds: NDArray[np.int16], name: str
    ) -> SegmentDecision:
        found: dict[str, tuple[float | None, float | None, float]] = {}
        candidates: tuple[Candidate, ...] = ()
        chosen = "global"
        if self.segments_:
            everybody, own = self._own_and_everybody(log, codes, labels, folds, name)
            rows = self._rows(log, folds, name)
            pooled, found = self._pool(rows, everybody, own, codes, labels)
            effects = {"global": everybody, "pooled": pooled, "segments": own}
            chosen, candidates = choose(rows, effects, self.share, self.alpha)
        arms = np.zeros((len(labels) + 1, log.n_actions), dtype=np.intp)
        np.add.at(arms, (codes, log.action), 1)  # the missing, −1, come last
        told = tuple(
            SegmentWeight(label, int(arms[s].sum()), int(arms[s].min()), *found.get(label, (None, None, None)))
            for s, label in enumerate(labels)
        )
        return SegmentDecision(name, chosen, candidates, told, self.share, self.alpha, int(self.min_rows))  # type: ignore[arg-type]

    def _own_and_everybody(
        self, log: DecisionLog, codes: Codes, labels: tuple[str, ...], folds: NDArray[np.int16], name: str
    ) -> tuple[Vector, Vector]:
        """Held-out effects (n, A) of the model for all, and of the segments' own where they have one."""
        everybody = np.asarray(out_of_fold_effects([self.global_], log, name, folds=folds)[0])
        own = everybody.copy()
        for label, learner in self.segments_.items():
            rows = np.flatnonzero(codes == labels.index(label))
            here = np.unique(folds[rows], return_inverse=True)[1].astype(np.int16)
            own[rows] = out_of_fold_effects([learner], log.take(rows), name, folds=here)[0]
        return everybody, own

    def _rows(self, log: DecisionLog, folds: NDArray[np.int16], name: str) -> Rows:
        """The log's rows with the doubly robust scores of their effects."""
        scored = score_effects(log, name, self.global_)
        return Rows(scored.scores, scored.possible, folds, scored.weight, log.clusters)

    def _pool(
        self, rows: Rows, everybody: Vector, own: Vector, codes: Codes, labels: tuple[str, ...]
    ) -> tuple[Vector, dict[str, tuple[float | None, float | None, float]]]:
        """Pooled held-out effects (n, A), weights of a row's fold told by the other folds; and the weights by all."""
        if self.shrink != "auto":
            weight = 1.0 - float(self.shrink)
            return everybody + weight * (own - everybody), dict.fromkeys(self.segments_, (None, None, weight))
        places = {label: np.flatnonzero(codes == labels.index(label)) for label in self.segments_}

        def told(without: int | None) -> list[tuple[float, float]]:
            """Raw weight and standard error of each segment, one fold left out."""
            found = []
            for place in places.values():
                kept = place if without is None else place[rows.folds[place] != without]
                possible = rows.possible[kept, 1:]
                departure = np.where(possible, own[kept, 1:] - everybody[kept, 1:], 0.0)
                residual = np.where(possible, rows.scores[kept, 1:] - everybody[kept, 1:], 0.0)
                clusters = None if rows.clusters is None else rows.clusters[kept]
                found.append(stacked_weight(departure, residual, rows.weight[kept], clusters))
            return found

        pooled = everybody.copy()
        for k in np.unique(rows.folds):
            for place, weight in zip(places.values(), shrunk_weights(*zip(*told(int(k)), strict=True)), strict=True):
                here = place[rows.folds[place] == k]
                pooled[here] += weight * (own[here] - everybody[here])
        raw = told(None)
        weights = shrunk_weights(*zip(*raw, strict=True))
        return pooled, {
            label: (estimate, stderr, weight) if np.isfinite(stderr) else (None, None, weight)
            for label, (estimate, stderr), weight in zip(places, raw, weights, strict=True)
        }

    def _outcome(self, name: str | None) -> str:
        if not hasattr(self, "decisions_"):
            raise NotFittedError("This SegmentLearner is not fitted", remedy="Call fit(log) first.")
        if name is not None and name not in self.outcomes_:
            raise OutcomeError(
                f"The learner knows no effect on {name!r}", remedy=f"It was fitted on {list(self.outcomes_)}."
            )
        return self.outcomes_[0] if name is None else name


def _between(value: object, low: float, high: float) -> bool:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return number and low <= float(value) <= high  # type: ignore[arg-type]
