"""The same estimates from Parquet files of any length, a batch of rounds in memory at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import DataError
from persuadable.value.estimate import Floats, normal_quantile
from persuadable.value.ope.case import question_of
from persuadable.value.ope.columns import Layout, Question, blocks, stored
from persuadable.value.ope.estimating import ByOutcome, Estimates, Named, normal_estimates, trusted, with_untuned
from persuadable.value.ope.estimators import Clip, Estimator, Weighting
from persuadable.value.ope.moments import Answers, Moments, answers
from persuadable.value.ope.parquet import BUCKETS, Files, Stream, Told
from persuadable.value.ope.rounds import Rounds
from persuadable.value.ope.slope import paired_slope

__all__ = ["estimate_parquet"]

BATCH = 262_144


def estimate_parquet(
    files: Files,
    probabilities: Told,
    *,
    action: str,
    actions: Sequence[Any],
    outcomes: str | Sequence[str],
    baseline: Told | None = None,
    propensity: Mapping[Any, str] | None = None,
    taken_propensity: str | None = None,
    features: Sequence[str] = (),
    categorical: Sequence[str] = (),
    weight: str | None = None,
    unit: str | None = None,
    estimators: Named = ("ips", "snips"),
    q_hat: Mapping[str, ArrayLike | Mapping[Any, str]] | None = None,
    clip: Clip = None,
    alpha: float = 0.05,
    batch: int = BATCH,
) -> dict[str, Estimates]:
    """Mean outcomes per head if a policy had decided, from Parquet files that need not fit into memory.

    One pass; what is kept are sums of products of a few columns, so memory does not grow with the rounds: it holds one
    batch, and one row group of the file while that is decoded (polars writes 262,144 rows to a group). Where rounds
    share units, these are put into 65,536 buckets by a hash and the buckets are the clusters: no unit is in two, and
    the standard error has a relative error of about 0.3% from their number. Estimators that have to be fitted on the
    whole log ("mrdr", "balanced-ips", "balanced-dr", "cross-fitted-dr") are not for streams.

    Args:
        files: a path, or several that are read one after another as if they were one file.
        probabilities: the candidate: label of each action → column of its probability, or a policy.
        action: column of the action taken.
        actions: labels of all actions, the control first.
        outcomes: one or more numeric columns.
        baseline: another policy; the results are then of candidate − baseline, paired.
        propensity: label of each action → column of the probability it had.
        taken_propensity: instead, the column of the probability of the action taken.
        features: columns that a policy decides by.
        categorical: which of them are numbers that stand for categories.
        weight: column of row weights.
        unit: column that says who a round was about.
        estimators: as for ``estimate``.
        q_hat: outcome → (A,) constants, or label of each action → column of predictions from models that did not see
            these outcomes; for estimators with a model.
        clip: as for ``estimate``; what "slope" chooses among comes from the first batch.
        alpha: probability the (normal) intervals are meant to miss.
        batch: rounds in memory at a time.

    Returns:
        outcome → estimates.

    Raises:
        DataError: a file, a column or a value that cannot be used; the message says which rounds.
        PropensityError: a policy takes an action that was never tried, or propensities that are none.
        LeakageError: units in the stream fitted the policy.
        ParameterError: an unknown estimator, or one that cannot be had from a stream; missing or ignored arguments.
    """
    normal_quantile(alpha)
    stream = Stream.of(
        files=files,
        policies=[probabilities] if baseline is None else [probabilities, baseline],
        action=action,
        actions=actions,
        outcomes=[outcomes] if isinstance(outcomes, str) else list(outcomes),
        propensity=propensity,
        taken_propensity=taken_propensity,
        features=features,
        categorical=categorical,
        weight=weight,
        unit=unit,
        q_hat=dict(q_hat or {}),
        batch=batch,
    )
    return _streamed(stream, with_untuned(estimators, clip), alpha)


def _streamed(stream: Stream, estimators: Mapping[str, Estimator], alpha: float) -> dict[str, Estimates]:
    plan: _Plan | None = None
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused at the end
        for rounds, units in stream:
            if plan is None:
                plan = _Plan.of(stream, estimators, rounds)
            plan.add(rounds, units)
        if plan is None:
            raise DataError("There is no round in the files", remedy="Pass files with rows.")
        return plan.results(stream, alpha)


@dataclass(slots=True, eq=False)
class _Plan:
    """What is asked of a stream, and what of it was seen so far.

    Attributes:
        options: (candidate, outcome, label) → the estimators it may become, one unless it is tuned.
        layout: their questions in this order.
        moments: of the rounds.
        totals: (K + 1, buckets) sums of the columns by bucket of units, or None.
        centres: numbers that the outcomes are counted from.
    """

    options: Mapping[tuple[int, int, str], Sequence[Estimator]]
    layout: Layout
    moments: Moments
    totals: Floats | None
    centres: tuple[float, ...]

    @classmethod
    def of(cls, stream: Stream, estimators: Mapping[str, Estimator], first: Rounds) -> _Plan:
        """Of the first batch of rounds, whose weights say what tuned parameters are chosen among."""
        places = stream.predictions_of(estimators)
        options: dict[tuple[int, int, str], Sequence[Estimator]] = {}
        questions: list[Question] = []
        for c in range(len(first.candidates)):
            weights = _weights(first, c) if any(one.tuned for one in estimators.values()) else None
            for o in range(len(first.outcomes)):
                for label, one in estimators.items():
                    several = [one] if weights is None else one.candidates(weights) if one.tuned else [one]
                    options[c, o, label] = several
                    questions += [question_of(each, c, o, places[o] if one.model else None) for each in several]
        layout = Layout(questions)
        totals = np.zeros((layout.one + 1, BUCKETS)) if stream.unit is not None else None
        centres = tuple(float(np.mean(y)) for y in first.outcomes)
        return cls(options, layout, Moments.empty(layout.one + 1), totals, centres)

    def add(self, rounds: Rounds, buckets: NDArray[np.intp] | None) -> None:
        """Count in a batch."""
        kept = []
        for block in blocks(replace(rounds, centres=self.centres), self.layout):
            if self.totals is not None:
                kept.append(block.copy())
            self.moments.add(block)
        if self.totals is not None and buckets is not None:
            for total, column in zip(self.totals, np.concatenate(kept, axis=1), strict=True):
                total += np.bincount(buckets, weights=column, minlength=BUCKETS)

    def results(self, stream: Stream, alpha: float) -> dict[str, Estimates]:
        """Outcome → estimates, tuned parameters chosen."""
        found = answers(self.moments, self.layout, self._groups(), self.centres)
        kept, used, start = [], {}, 0
        for key, several in self.options.items():
            at = slice(start, start + len(several))
            start = at.stop
            part = found.take(at)
            best = paired_slope(part.values, part.covariance) if len(several) > 1 else 0
            kept.append(at.start + best)
            used[key] = several[best]
        return _by_outcome(stream, found.take(kept), used, self.moments.n, alpha)

    def _groups(self) -> Moments | None:
        if self.totals is None:
            return None
        sums = self.totals[:, self.totals[-1] > 0]
        groups = Moments.empty(len(sums))
        groups.add(sums)
        return groups


def _by_outcome(
    stream: Stream, found: Answers, used: Mapping[tuple[int, int, str], Estimator], n: int, alpha: float
) -> dict[str, Estimates]:
    names, many = stream.names, len(stream.outcomes)
    size = len(used) // (len(names) * many)
    results = ByOutcome()
    for o, outcome in enumerate(stream.outcomes):
        rows = [c * many * size + o * size + k for c in range(len(names)) for k in range(size)]
        part = found.take(rows)
        part = part if len(names) == 1 else part.differences()
        ours = {label: one for (c, where, label), one in used.items() if c == 0 and where == o}
        made = normal_estimates(part, ours, n, alpha)
        mean = part.mean_weight.get(0)
        results[outcome] = trusted(Estimates(made, part.covariance, ours, " − ".join(names), outcome, mean))
    return results


def _weights(rounds: Rounds, candidate: int) -> Floats:
    question = Question(candidate, 0, None, Weighting("ratio"), False)
    layout = Layout([question])
    return np.asarray(stored(rounds, layout)[layout.raw_weights[candidate]])
