"""Learning from a log in which people made some of the decisions: keep those out, make up for them, or undo them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from persuadable.errors import DataError, ParameterError, PropensityError

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["How", "without_people"]

How = Literal["keep-out", "reweight", "as-proposed"]


def without_people(
    log: DecisionLog,
    by_people: ArrayLike,
    how: How = "keep-out",
    *,
    chance: ArrayLike | None = None,
    proposed: ArrayLike | None = None,
    propensities: ArrayLike | None = None,
) -> DecisionLog:
    """A log to learn from, where people made some of the decisions.

    Whoever decides by what is not among the features makes the action depend on the outcome in a way that no propensity
    tells: the row's propensity is 1, and says only that nothing was left to chance. What is right depends on how cases
    came before people:

    - "keep-out", where that depended on the features alone, such as by reason codes. Among the units with given
      features those left to the policy are like the others, so effects given the features are right. Averages hold for
      units like those left; nothing is learned of those whom people always decide.
    - "reweight", where it was also left to chance: people did not get to every case. Rows left to the policy stand for
      those that were not, by 1 / (1 − chance) (Horvitz, Thompson 1952), so that averages hold for everybody too.
    - "as-proposed", where people picked cases by what they knew, so that those left over are a selection. Then only the
      lot drawn before they looked is untouched: rows count as what was proposed, with the chance it was proposed with.
      What is learned is the effect of proposing, with people in the loop: less than that of the action itself, if they
      turn some of it around.

    In all of them **approved rows count as decided by people**. To keep what they approved and leave out what they
    overrode selects the rows in which the lot agreed with what they knew, and that is as biased as what they did.

    Args:
        log: n rows.
        by_people: (n,) which decisions people made: overridden, approved or held back for them. In an export of the
            service, ``made_by != "policy"``.
        how: see above.
        chance: for "reweight", (n,) probability that people decide, given the features, below 1.
        proposed: for "as-proposed", (n,) codes or labels of the actions the policy drew.
        propensities: for "as-proposed", (n, A) probabilities it drew them with; None takes those of the log.

    Raises:
        ParameterError: an unknown ``how``, or an argument that it needs or cannot use.
        DataError: an array of another shape or content, or no decision left.
        PropensityError: a chance of 1, one of 0 where people decided, or propensities that do not fit what was
            proposed.
    """
    if how not in get_args(How):
        raise ParameterError(f"how={how!r} is not a choice", remedy=f"Choose among {list(get_args(How))}.")
    needed = {"keep-out": None, "reweight": "chance", "as-proposed": "proposed"}[how]
    given = {"chance": chance, "proposed": proposed, "propensities": propensities}
    for name, value in given.items():
        if value is None and name == needed:
            raise ParameterError(f"{name}= is missing", where=f"how={how!r}", remedy="Pass it.")
        if value is not None and name not in (needed, "propensities" if how == "as-proposed" else needed):
            raise ParameterError(f"{name}= is given", where=f"how={how!r}", remedy="Leave it out.")
    people = _people(by_people, log.n)
    if how == "as-proposed":
        return _as_proposed(log, proposed, propensities)
    if people.all():
        raise DataError("People made every decision", where=f"log {log.name!r}", remedy="Leave some cases to chance.")
    kept = log.take(~people)
    if chance is None:
        return kept
    q = np.asarray(chance, dtype=np.float64)
    if q.shape != (log.n,) or not ((q >= 0) & (q <= 1)).all():
        raise DataError("chance is no (n,) array of probabilities", remedy="Pass one number from 0 to 1 per row.")
    if (q == 1).any():
        raise PropensityError(
            f"People decide on {int((q == 1).sum()):,} rows for certain, so no row can stand for them",
            where=f"first in row {int(np.flatnonzero(q == 1)[0])}",
            remedy="Leave a share of the queue to the policy by lot, or take how='keep-out'.",
        )
    if (impossible := people & (q == 0)).any():
        raise PropensityError(
            f"The chance that people decide is 0 on {int(impossible.sum()):,} rows, and yet they did",
            where=f"first in row {int(np.flatnonzero(impossible)[0])}",
            remedy="Pass the chance with which each case came before people, or take how='keep-out'.",
        )
    own = np.ones(kept.n) if kept.weight is None else np.asarray(kept.weight, dtype=np.float64)
    return replace(kept, weight=own / (1.0 - q[~people]))


def _people(by_people: ArrayLike, n: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    told = np.asarray(by_people)
    if told.shape != (n,) or not (told.dtype == np.bool_ or np.isin(told, (0, 1)).all()):
        raise DataError(
            f"by_people has shape {told.shape} and type {told.dtype}, expected {n} booleans",
            remedy="Pass whether people made each decision, such as made_by != 'policy'.",
        )
    return told.astype(np.bool_)


def _as_proposed(log: DecisionLog, proposed: ArrayLike | None, propensities: ArrayLike | None) -> DecisionLog:
    told = np.asarray(proposed)
    if told.shape != (log.n,):
        raise DataError(f"proposed has shape {told.shape}, expected {(log.n,)}", remedy="Pass one action per row.")
    distinct, place = np.unique(told, return_inverse=True)
    codes = np.array([log.actions.index(one) for one in distinct.tolist()], dtype=np.int16)
    again = replace(log, action=codes[place])
    if propensities is None and log.taken_propensities is not None:
        raise PropensityError(
            "The log knows the probabilities of what was done, not of what was proposed",
            where=f"log {log.name!r}",
            remedy="Pass propensities=, (n, A), as the policy drew with.",
        )
    if propensities is None and log.propensities is None:
        return again
    table = log.propensities if propensities is None else np.asarray(propensities, dtype=np.float64)
    assert table is not None  # one of the two is there
    return again.with_propensities(table, log.propensity_source or "logged")
