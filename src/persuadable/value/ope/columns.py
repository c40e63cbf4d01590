"""Which columns a set of questions needs, each once, and the one pass over the rounds that fills them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from persuadable.value.estimate import Floats
from persuadable.value.ope.estimators import Weighting
from persuadable.value.ope.rounds import Block, Rounds
from persuadable.value.ope.terms import Terms

__all__ = ["Layout", "Places", "Question", "blocks", "stored", "terms_of"]

MOST_ROUNDS, FEWEST_ROUNDS, CELLS = 8_192, 512, 81_920
RATIO = Weighting("ratio")


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be estimated: of which candidate and outcome, with which predictions and weights, by place.

    Attributes:
        candidate: place among the rounds' candidates.
        outcome: place among their outcomes.
        predictions: place among their predictions; None where no model is used.
        weighting: what becomes of the weights.
        normalised: whether the estimate divides by their mean.
    """

    candidate: int
    outcome: int
    predictions: int | None
    weighting: Weighting
    normalised: bool


@dataclass(frozen=True, slots=True)
class _Direct:
    candidate: int
    predictions: int


@dataclass(frozen=True, slots=True)
class _Weight:
    candidate: int
    weighting: Weighting


@dataclass(frozen=True, slots=True)
class _Product:
    weight: _Weight
    outcome: int
    predictions: int | None


@dataclass(frozen=True, slots=True)
class Places:
    """Where a question's columns are; None where it has no such column.

    Attributes:
        direct: Σ_a π_a q̂_a.
        weighted: ρ times outcome or residual.
        weight: ρ, where the estimate divides by its mean.
        rho: ρ, for the effective sample size.
    """

    direct: int | None
    weighted: int | None
    weight: int | None
    rho: int | None


class Layout:
    """The columns of all questions, each once; the last column is 1, or the row weight.

    Args:
        questions: what is to be estimated.

    Attributes:
        questions: as given.
        one: place of the last column.
        raw_weights: candidate → place of π/π_b, for those of whom it is asked.
    """

    def __init__(self, questions: Sequence[Question]) -> None:
        self.questions = tuple(questions)
        self._columns: dict[_Direct | _Weight | _Product, int] = {}
        for question in self.questions:
            direct, weight, product = _needs(question)
            for column in (direct, weight, product):
                if column is not None:
                    self._columns.setdefault(column, len(self._columns))
        self.raw_weights = {
            candidate: self._columns.setdefault(_Weight(candidate, RATIO), len(self._columns))
            for candidate in sorted({q.candidate for q in self.questions if _weighs(q) and not q.weighting.learned})
        }
        self.one = len(self._columns)

    def places(self, question: Question) -> Places:
        """Where a question's columns are."""
        direct, weight, product = (None if c is None else self._columns[c] for c in _needs(question))
        return Places(direct, product, weight if question.normalised else None, weight)

    def fill(self, block: Block, out: Floats) -> None:
        """Write the columns of a block into the rows of ``out`` (K + 1, m), the row weights not counted in."""
        probabilities: dict[int, Floats] = {}
        ratios: dict[tuple[int, bool], Floats] = {}
        taken: dict[int, Floats] = {}
        residuals: dict[tuple[int, int | None], Floats] = {}

        def policy(candidate: int) -> Floats:
            if candidate not in probabilities:
                probabilities[candidate] = block.probabilities(candidate)
            return probabilities[candidate]

        def ratio(candidate: int, learned: bool) -> Floats:
            key = candidate, learned
            if key not in ratios:
                p = policy(candidate)
                ratios[key] = block.learned_ratios(candidate) if learned else block.ratios(candidate, p)
            return ratios[key]

        def residual(outcome: int, predictions: int | None) -> Floats:
            key = outcome, predictions
            if key not in residuals:
                residuals[key] = (
                    block.outcome(outcome) if predictions is None else block.residual(outcome, taken[predictions])
                )
            return residuals[key]

        for column, place in self._columns.items():
            if isinstance(column, _Direct):
                out[place], taken[column.predictions] = block.predictions(column.predictions, policy(column.candidate))
            elif isinstance(column, _Weight):
                column.weighting.apply(ratio(column.candidate, column.weighting.learned), out[place])
            else:
                rho = out[self._columns[column.weight]]
                np.multiply(rho, residual(column.outcome, column.predictions), out=out[place])
        out[self.one] = 1.0


def _weighs(question: Question) -> bool:
    return question.weighting.shape != "none"


def _needs(question: Question) -> tuple[_Direct | None, _Weight | None, _Product | None]:
    """A question's columns in the order in which they can be filled."""
    predictions = question.predictions
    direct = None if predictions is None else _Direct(question.candidate, predictions)
    if not _weighs(question):
        return direct, None, None
    weight = _Weight(question.candidate, question.weighting)
    return direct, weight, _Product(weight, question.outcome, predictions)


def block_size(rounds: Rounds) -> int:
    """How many rounds to read at a time: ten columns and three tables then take about 2.5 MB, as caches do."""
    return min(max(CELLS // len(rounds.actions), FEWEST_ROUNDS), MOST_ROUNDS)


def blocks(rounds: Rounds, layout: Layout, size: int | None = None) -> Iterator[Floats]:
    """The columns (K + 1, m) block by block, multiplied by the row weights where there are any.

    Every block is the same memory: use it before asking for the next.

    Raises:
        DataError, PropensityError: probabilities, predictions or support that cannot be used.
    """
    size = size or block_size(rounds)
    buffer = np.empty((layout.one + 1, min(size, max(rounds.n, 1))))
    for start in range(0, rounds.n, size):
        stop = min(start + size, rounds.n)
        block, out = rounds.block(start, stop), buffer[:, : stop - start]
        layout.fill(block, out)
        if (weight := block.weight()) is not None:
            out *= weight
        yield out


def stored(rounds: Rounds, layout: Layout, size: int | None = None) -> Floats:
    """(K + 1, n) all columns, the row weights not counted in."""
    size = size or block_size(rounds)
    columns = np.empty((layout.one + 1, rounds.n))
    for start in range(0, rounds.n, size):
        stop = min(start + size, rounds.n)
        layout.fill(rounds.block(start, stop), columns[:, start:stop])
    return columns


def terms_of(columns: Floats, layout: Layout, question: Question) -> Terms:
    """A question's terms as views of the stored columns."""
    places = layout.places(question)

    def column(place: int | None) -> Any:
        return None if place is None else columns[place]

    weighted = column(places.weighted)
    if weighted is None:
        weighted = np.broadcast_to(0.0, columns.shape[1])
    return Terms(weighted, column(places.direct), column(places.weight))
