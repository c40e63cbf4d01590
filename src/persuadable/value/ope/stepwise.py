"""What slates and staged actions share: rounds of several steps, whose importance weights grow step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import ActionError, DataError, OutcomeError, PropensityError
from persuadable.value.estimate import Floats
from persuadable.value.ope.intervals.influence import Part, Ratios
from persuadable.value.ope.terms import Terms

__all__ = ["Steps", "doubly_robust", "prefix_weights", "step_terms"]

SHAPE_REMEDY = "Give one row per round and one column per position or stage."


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """n logged rounds of K steps. What lies after a round's end counts as reward 0 taken with certainty.

    Attributes:
        rewards: (n, K), 0 after the end.
        logged: (n, K) probabilities in (0, 1] of what was done, 1 after the end.
        there: (n, K) whether the step took place; None where all did.
    """

    rewards: Floats
    logged: Floats
    there: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, rewards: ArrayLike, logged: ArrayLike, length: ArrayLike | None = None) -> Steps:
        """Check a log.

        Args:
            rewards: (n, K).
            logged: (n, K) probability with which each step was done.
            length: (n,) steps of each round, 1 … K, where they differ; what lies after them is not looked at.

        Raises:
            DataError: shapes that differ, or a length out of range.
            OutcomeError: a reward that is not finite.
            PropensityError: a logged probability outside (0, 1].
        """
        y, p = np.asarray(rewards, dtype=np.float64), np.asarray(logged, dtype=np.float64)
        if y.ndim != 2 or 0 in y.shape:
            raise OutcomeError(f"rewards has shape {y.shape}, expected (n, K)", remedy=SHAPE_REMEDY)
        if p.shape != y.shape:
            raise PropensityError(f"logged has shape {p.shape}, rewards have {y.shape}", remedy=SHAPE_REMEDY)
        there = None if length is None else _there(length, y.shape[0], y.shape[1])
        y, p = _where(there, y, 0.0), _where(there, p, 1.0)
        _refuse(~np.isfinite(y), y, OutcomeError, "rewards", "Every step that took place needs a reward.")
        remedy = "Pass the probability with which what was shown or done was chosen."
        _refuse(~((p > 0) & (p <= 1 + 1e-9)), p, PropensityError, "logged", f"It must lie in (0, 1]. {remedy}")
        return cls(y, p, there)

    def ratios(self, candidate: ArrayLike) -> Floats:
        """(n, K) candidate / logged, 1 after the end.

        Args:
            candidate: (n, K) the candidate's probability of what was done.

        Raises:
            PropensityError: another shape, or a probability outside [0, 1].
        """
        p = np.asarray(candidate, dtype=np.float64)
        if p.shape != self.logged.shape:
            raise PropensityError(f"candidate has shape {p.shape}, expected {self.logged.shape}", remedy=SHAPE_REMEDY)
        p = _where(self.there, p, 1.0)
        remedy = "It must lie in [0, 1]. Pass the candidate's probability of what was shown or done."
        _refuse(~((p >= 0) & (p <= 1 + 1e-9)), p, PropensityError, "candidate", remedy)
        return np.asarray(p / self.logged)

    def weights(self, candidate: ArrayLike) -> Floats:
        """(n, K) w_k = Π_{j ≤ k} candidate_j / logged_j; errors as in :meth:`ratios`."""
        return np.asarray(np.cumprod(self.ratios(candidate), axis=1))

    def table(self, values: ArrayLike, name: str) -> Floats:
        """(n, K, A) a number for every action of every step, 0 after the end.

        Raises:
            DataError: another shape, or a number that is not finite.
        """
        table = np.asarray(values, dtype=np.float64)
        if table.ndim != 3 or table.shape[:2] != self.rewards.shape:
            n, k = self.rewards.shape
            raise DataError(
                f"{name} has shape {table.shape}, expected ({n}, {k}, A)",
                remedy="Give every action at every step a number, 0 where it is impossible.",
            )
        table = _where(None if self.there is None else self.there[:, :, None], table, 0.0)
        wrong = np.asarray(~np.isfinite(table).all(axis=2))
        _refuse(wrong, table, DataError, name, "Give actions that are impossible at a step a 0.")
        return table

    def policy(self, values: ArrayLike) -> Floats:
        """(n, K, A) a candidate's probabilities of every action at every step, given the steps before.

        Raises:
            DataError: another shape.
            PropensityError: a step whose probabilities are no distribution.
        """
        table = self.table(values, "candidate")
        fine = (table >= -1e-9).all(axis=2) & (np.abs(table.sum(axis=2) - 1) <= 1e-6)
        wrong = np.asarray(~fine if self.there is None else ~fine & self.there)
        _refuse(wrong, table, PropensityError, "candidate", "Probabilities lie in [0, 1] and sum to 1 at each step.")
        return table

    def done(self, table: Floats, actions: ArrayLike, name: str) -> Floats:
        """(n, K) entries of a table (n, K, A) at what was done.

        Args:
            table: (n, K, A).
            actions: (n, K) codes.
            name: what the codes are called in a message.

        Raises:
            ActionError: another shape, or codes outside 0 … A − 1.
        """
        codes = np.asarray(actions)
        if codes.shape != self.rewards.shape or codes.dtype.kind not in "iu":
            raise ActionError(
                f"{name} has shape {codes.shape} and type {codes.dtype}, expected codes {self.rewards.shape}",
                remedy=SHAPE_REMEDY,
            )
        codes = _where(self.there, codes, 0)
        wrong = (codes < 0) | (codes >= table.shape[2])
        _refuse(wrong, codes, ActionError, name, f"Codes are columns of the tables, 0 to {table.shape[2] - 1}.")
        return np.asarray(np.take_along_axis(table, codes[:, :, None], axis=2)[:, :, 0])


def prefix_weights(candidate: ArrayLike, logged: ArrayLike, length: ArrayLike | None = None) -> Floats:
    """(n, K) w_k = Π_{j ≤ k} candidate_j / logged_j, the weight of a round up to step k.

    Its columns say how fast the evidence thins out: ``effective_sample_size(w[:, k])`` rounds' worth is left at step k.

    Args:
        candidate: (n, K) the candidate's probability of what was done at step k, given the steps before.
        logged: (n, K) the probability with which it was done, given the steps before.
        length: (n,) steps of each round, where they differ.

    Raises:
        DataError: shapes that differ, or a length out of range.
        PropensityError: a probability out of range.
    """
    return Steps.of(np.zeros(np.shape(logged)), logged, length).weights(candidate)


def step_terms(
    weighted: Floats, weight: Floats, direct: Floats | None = None, *, normalise: bool = False
) -> Terms | Ratios:
    """mean(direct) + Σ_k mean(weighted_k), or mean(direct) + Σ_k mean(weighted_k) / mean(weight_k).

    Args:
        weighted: (n, K) weight times reward, by step.
        weight: (n, K) weights, by step.
        direct: (n,) what is predicted without weights.
        normalise: divide by the mean weight of each step, which makes it a sum of K ratios.

    Raises:
        PropensityError: normalised at a step where no round has a weight.
    """
    if not normalise:
        return Terms(weighted.sum(axis=1), direct)
    empty = np.flatnonzero(~(weight > 0).any(axis=0))
    if empty.size:
        raise PropensityError(
            "No round of the log did what the candidate would do up to this step",
            where=f"step {int(empty[0])}",
            remedy="Use a larger log, fewer steps, or a candidate nearer to the logged policy.",
        )
    ratios = tuple(Part(top, below) for top, below in zip(weighted.T, weight.T, strict=True))
    return Ratios(ratios if direct is None else (Part(direct), *ratios))


def doubly_robust(rewards: Floats, weight: Floats, q_done: Floats, value: Floats, *, normalise: bool) -> Terms | Ratios:
    """V̂_1 + Σ_k w_k (r_k − Q̂_k + V̂_{k+1}) with V̂_{K+1} = 0.

    Args:
        rewards: (n, K).
        weight: (n, K) prefix weights w_k.
        q_done: (n, K) Q̂_k of what was done: the expected reward of step k and, under the candidate, of all later ones.
        value: (n, K) V̂_k = Σ_a π_k(a) Q̂_k(a).
        normalise: divide by the mean weight of each step.
    """
    later = np.zeros_like(value)
    later[:, :-1] = value[:, 1:]
    return step_terms(weight * (rewards - q_done + later), weight, value[:, 0], normalise=normalise)


def _there(length: ArrayLike, n: int, steps: int) -> NDArray[np.bool_]:
    told = np.asarray(length)
    if told.shape != (n,) or told.dtype.kind not in "iu":
        raise DataError(
            f"length has shape {told.shape} and type {told.dtype}, expected whole numbers ({n},)",
            remedy="Give the number of steps of each round.",
        )
    _refuse((told < 1) | (told > steps), told, DataError, "length", f"A round has 1 to {steps} steps.")
    return np.asarray(np.arange(steps) < told[:, None])


def _where(there: NDArray[np.bool_] | None, values: NDArray[Any], otherwise: float) -> NDArray[Any]:
    return values if there is None else np.where(there, values, otherwise)


def _refuse(wrong: NDArray[np.bool_], values: NDArray[Any], error: type[DataError], name: str, remedy: str) -> None:
    """Raise where something is wrong, showing the first such entry and its place."""
    if wrong.any():
        place = tuple(int(i[0]) for i in np.nonzero(wrong))
        found = np.round(values[place], 6).tolist()
        where = f"row {place[0]}" + (f", step {place[1]}" if len(place) > 1 else "")
        raise error(f"{name} holds {found}", where=where, remedy=remedy)
