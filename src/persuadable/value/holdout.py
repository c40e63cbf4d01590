"""Nothing is judged on the rows that fitted it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from persuadable.errors import LeakageError

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["require_held_out"]


def require_held_out(log: DecisionLog, *things: Any) -> None:
    """Refuse to judge learners, policies or effects on rows that fitted them.

    Args:
        log: the rows to judge on.
        things: anything; those with a ``fitted_on`` fingerprint are checked, the others pass.

    Raises:
        LeakageError: rows (or units) of the log are among those a thing was fitted on.
    """
    for thing in things:
        fitted_on = getattr(thing, "fitted_on", None)
        if fitted_on is None:
            continue
        shared = fitted_on.overlap(log.fingerprint)
        if shared:
            raise LeakageError(
                f"{shared:,} of the {log.n:,} rows offered for judging also fitted {_called(thing)}",
                where=f"log {log.name!r}" if log.name else None,
                remedy="Split first (train, test = log.split(0.5, random_state=0)), fit on train and judge on test; "
                "to choose among learners use out-of-fold effects, learner.out_of_fold_effect(log).",
            )


def _called(thing: Any) -> str:
    name = getattr(thing, "name", None)
    if isinstance(name, str) and name:
        return repr(name)
    return "the learner behind these effects" if isinstance(thing, np.ndarray) else f"the {type(thing).__name__} passed"
