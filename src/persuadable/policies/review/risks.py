"""What it is expected to cost to decide without a person, from what is predicted of a unit and believed of all."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from persuadable.policies.base import Floats
from persuadable.policies.review.beliefs import Beliefs
from persuadable.policies.review.predicted import Predicted

__all__ = ["Weighed", "weigh"]

CHUNK: Final = 2_048  # rows whose posteriors stay in the cache


class Weighed(NamedTuple):
    """Risks of n decisions.

    Attributes:
        priority: (n,) expected cost of being wrong.
        own: (n,) the part of it that is due to the estimate's own error.
        wrong: (n,) chance of being wrong.
        harm: (n,) chance that a treatment to be given lowers the outcome, by more than is passed over; else 0.
        strange: (n, 3) too good, outside support, flagged.
    """

    priority: Floats
    own: Floats
    wrong: Floats
    harm: Floats
    strange: NDArray[np.bool_]


def weigh(
    beliefs: Beliefs,
    told: Predicted,
    threshold: float,
    treat: Floats,
    strange: NDArray[np.bool_],
    doubt: Floats | None,
    harm: float,
) -> Weighed:
    """Expected cost and chance of being wrong, of decisions that treat with probability ``treat`` (n,).

    With p(τ) the posterior, treating costs E[(t − τ)⁺] and leaving alone E[(τ − t)⁺]; p is
    (1 − doubt)·posterior + doubt·prior.
    """
    n = told.net.size
    if n <= CHUNK:
        return _weigh(beliefs, told, threshold, treat, strange, doubt, harm)
    parts = []
    for start in range(0, n, CHUNK):
        rows = slice(start, start + CHUNK)
        mine = None if doubt is None else doubt[rows]
        parts.append(_weigh(beliefs, told.at(rows), threshold, treat[rows], strange[rows], mine, harm))
    return Weighed(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _weigh(
    beliefs: Beliefs,
    told: Predicted,
    threshold: float,
    treat: Floats,
    strange: NDArray[np.bool_],
    doubt: Floats | None,
    harm: float,
) -> Weighed:
    effect, net, stderr, _ = told
    open_ = np.isfinite(net)
    everybody = bool(open_.all())
    if not everybody:
        net = np.where(open_, net, 0.0)
    likely = treat > 0.5
    limits = np.empty((net.size, 2 if likely.any() else 1))
    limits[:, -1] = net - effect - harm  # an effect below −harm is a net effect below −harm − (effect − net)
    limits[:, 0] = threshold
    beyond = beliefs.posterior(net, stderr).beyond(limits)
    own, wrong = _of_decision(beyond, treat)
    priority = own
    if doubt is not None:
        unknown, mistaken = _of_decision(beliefs.anybody(stderr).beyond(limits[:, :1]), treat)
        priority = (1.0 - doubt) * own + doubt * unknown
        wrong = (1.0 - doubt) * wrong + doubt * mistaken
    harmed = beyond[0][:, -1] * likely
    if not everybody:
        priority, own, wrong, harmed = (np.where(open_, part, 0.0) for part in (priority, own, wrong, harmed))
        strange = strange & open_[:, None]
    return Weighed(priority, own, wrong, harmed, strange)


def _of_decision(beyond: tuple[Floats, Floats, Floats], treat: Floats) -> tuple[Floats, Floats]:
    """What a decision costs and its chance of being wrong, (n,) each, from what lies beyond the first limit."""
    below, short, over = beyond[0][:, 0], beyond[1][:, 0], beyond[2][:, 0]
    return over + treat * (short - over), below * treat + (1.0 - below) * (1.0 - treat)
