"""Effects as a fitted model predicts them for a log: out of fold where it learned from the very rows, and finite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import DataError, LeakageError
from persuadable.policies.base import Floats

if TYPE_CHECKING:
    from persuadable.fingerprint import Fingerprint
    from persuadable.log import DecisionLog
    from persuadable.spaces import Discrete

__all__ = ["EffectModel", "finite_effects", "first_outcome", "held_out_effects"]


class EffectModel(Protocol):
    """What a policy needs of an effect learner."""

    @property
    def fitted_on(self) -> Fingerprint:
        """The rows it learned from."""
        ...

    @property
    def actions_(self) -> Discrete:
        """The actions it knows."""
        ...

    def effect(self, X: Any, outcome: str | None = None) -> NDArray[Any]:
        """(n, A) effects over doing nothing."""
        ...

    def out_of_fold_effect(self, log: DecisionLog, outcome: str | None = None) -> NDArray[Any]:
        """(n, A) effects of training rows, from models that did not see them."""
        ...


def held_out_effects(model: EffectModel, log: DecisionLog, outcome: str | None) -> NDArray[Any]:
    """(n, A) effects on a log's rows, out of fold where the model was fitted on them.

    Raises:
        LeakageError: some of the rows fitted the model, but not all.
    """
    here = log.fingerprint
    if not (shared := model.fitted_on.overlap(here)):
        return model.effect(log.features, outcome=outcome)
    if not model.fitted_on.same_rows(here):
        raise LeakageError(
            f"{shared:,} of the {log.n:,} rows to calibrate on also fitted the {type(model).__name__}",
            remedy="Calibrate on the whole training log (out-of-fold effects are used), or on held-out rows.",
        )
    return model.out_of_fold_effect(log, outcome=outcome)


def finite_effects(told: NDArray[Any], outcome: str) -> Floats:
    """Effects as finite numbers.

    Raises:
        DataError: a value that is not finite.
    """
    effects: Floats = np.array(told, dtype=np.float64, subok=False)
    if not np.isfinite(effects).all():
        row, action = (int(i[0]) for i in np.nonzero(~np.isfinite(effects)))
        raise DataError(
            f"The effect on {outcome!r} is {effects[row, action]}",
            where=f"row {row}, action {action}",
            remedy="Effects must be finite numbers; look at what the model made of this row's features.",
        )
    return effects


def first_outcome(model: EffectModel, otherwise: str | None) -> Any:
    """The first outcome a model knows; ``otherwise`` where it does not say."""
    known: Sequence[str] = getattr(model, "outcomes_", ())
    return known[0] if known else otherwise
