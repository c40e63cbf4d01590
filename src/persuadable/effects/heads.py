"""Value and cost, fitted as two problems on one log."""

from __future__ import annotations

from persuadable.effects.fitting import fit_each
from persuadable.effects.learner import Learner
from persuadable.errors import OutcomeError, ParameterError
from persuadable.log import DecisionLog

__all__ = ["fit_heads"]

SHARED = ("n_folds", "random_state", "propensity", "clip")


def fit_heads(
    value_learner: Learner,
    cost_learner: Learner,
    log: DecisionLog,
    *,
    value: str | None = None,
    cost: str | None = None,
) -> tuple[Learner, Learner]:
    """Fit one learner on the value and another on the cost; matrix, folds and propensities are shared.

    What an offer brings and what it costs are different statistical problems: a margin is money that is mostly zero, a
    cost the chance of redemption times a face value. So each head has trees and a ``loss`` of its own and sees its own
    outcome only. The cost is what the assignment caused: cost under the action less cost under the control, redemptions
    by those who would have bought anyway included.

    Args:
        value_learner: fitted in place, on the value alone.
        cost_learner: fitted in place, on the cost alone.
        log: n rows, A actions, with both outcomes.
        value: the outcome to be raised; the log's primary one when None.
        cost: the outcome that is paid; the log's cost when None.

    Returns:
        (value_learner, cost_learner), both fitted.

    Raises:
        ParameterError: one learner for both, or two that disagree on folds or propensities; or as for ``fit_many``.
        OutcomeError: no such outcome, no cost, one outcome for both, or one that a head's loss cannot fit.
        ActionError: an arm without rows.
    """
    if value_learner is cost_learner:
        raise ParameterError(
            "One learner was passed for both heads",
            where="fit_heads",
            remedy="Pass two; ps.effects.clone(learner) makes another with the same settings.",
        )
    apart = [name for name in SHARED if getattr(value_learner, name) != getattr(cost_learner, name)]
    if apart:
        told = f"{getattr(value_learner, apart[0])!r} and {getattr(cost_learner, apart[0])!r}"
        raise ParameterError(
            f"The heads disagree on {apart[0]}: {told}",
            where="fit_heads",
            remedy="Heads share folds and propensities; give both the same.",
        )
    names = (log.primary if value is None else value, log.cost_name if cost is None else cost)
    if names[1] is None:
        raise OutcomeError(
            "The log names no cost", remedy=f'Pass cost="…", one of {list(log.outcomes)}, or name it in the log.'
        )
    if names[0] == names[1]:
        raise OutcomeError(f"{names[0]!r} is both the value and its cost", remedy="Name two outcomes of the log.")
    fit_each([(value_learner, (names[0],)), (cost_learner, (names[1],))], log)
    return value_learner, cost_learner
