"""Round after round: log, fit, allocate, log again, with the truth looking on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import ParameterError
from persuadable.features import Features
from persuadable.worlds.arguments import RandomState
from persuadable.worlds.true_value import PolicyLike

if TYPE_CHECKING:
    import polars as pl

    from persuadable.log import DecisionLog

__all__ = ["Learn", "Round", "Rounds", "best_value", "play"]

Floats = NDArray[np.float64]


class Playable(Protocol):
    """What a world needs so that rounds can be played in it."""

    @property
    def n_actions(self) -> int:
        """A, the control included."""
        ...

    @property
    def action_names(self) -> tuple[str, ...]:
        """Their labels."""
        ...

    def features(self, n: int, random_state: RandomState = None) -> Features:
        """n fresh units."""
        ...

    def response(self, X: Any) -> Floats:
        """(n, A) exact E[Y | x, a]."""
        ...

    def outcomes(self, X: Any, action: NDArray[Any], random_state: RandomState = None) -> Floats:
        """(n,) outcomes of units given these actions."""
        ...


#: All that was logged so far, and the units to be decided about next → the policy that decides.
Learn = Callable[["DecisionLog", Features], PolicyLike]


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """One round: who came, what the policy did, and what that was worth.

    Attributes:
        policy: what decided.
        log: its n rows, with the exact propensities; its units are numbered on from the rounds before.
        value: mean over the units of Σ_a π_a μ_a, exact but for who came.
        best: the same for the policy that knows the truth and has the same budget.
    """

    policy: PolicyLike
    log: DecisionLog
    value: float
    best: float

    @property
    def regret(self) -> float:
        """What knowing the truth would have added, per head."""
        return self.best - self.value


@dataclass(frozen=True, slots=True, eq=False)
class Rounds:
    """Rounds in the order they were played.

    Attributes:
        rounds: one after another.
        log: all their rows.
    """

    rounds: tuple[Round, ...]
    log: DecisionLog = field(repr=False)

    @property
    def regret(self) -> Floats:
        """(rounds,) regret per head."""
        return np.array([one.regret for one in self.rounds])

    def frame(self) -> pl.DataFrame:
        """One row per round: its number, value, best, regret, and the least propensity that it logged."""
        import polars as pl

        return pl.DataFrame(
            {
                "round": np.arange(1, len(self.rounds) + 1),
                "value": [one.value for one in self.rounds],
                "best": [one.best for one in self.rounds],
                "regret": self.regret,
                "least_propensity": [float(one.log.propensity().min()) for one in self.rounds],
            }
        )


def play(
    world: Playable,
    first: PolicyLike,
    learn: Learn,
    *,
    rounds: int = 20,
    n: int = 500,
    share: float | None = None,
    random_state: RandomState = 0,
) -> Rounds:
    """Play rounds in a world: the first policy decides the first, what was learned from all before decides the others.

    Args:
        world: where the units and their outcomes come from.
        first: decides the first round.
        learn: (all logged so far, the next units' features) → policy.
        rounds: how many, the first included.
        n: units a round; every round has fresh ones.
        share: the budget of the policy that regret is measured against; None for no budget.
        random_state: draws units, actions and outcomes. Two calls with one seed meet the same units.

    Raises:
        ParameterError: no rounds, or rounds with fewer than two units.
    """
    if rounds < 1 or n < 2:
        raise ParameterError(f"{rounds} rounds of {n} units", remedy="Play one round or more, of two units or more.")
    rng = np.random.default_rng(random_state)
    seen: list[_Rows] = []
    decided: list[tuple[PolicyLike, float, float]] = []
    for _ in range(rounds):
        who, what, came = rng.spawn(3)
        features = world.features(n, who)
        policy = learn(_log(world, seen), features) if seen else first
        p = np.asarray(policy.probabilities(features, world.n_actions), dtype=np.float64)
        action = (what.random(n)[:, None] >= np.cumsum(p[:, :-1], axis=1)).sum(axis=1).astype(np.int16)
        seen.append(_Rows(features, action, world.outcomes(features, action, came), p))
        response = world.response(features)
        decided.append((policy, float(np.einsum("na,na->n", p, response).mean()), best_value(response, share)))
    log = _log(world, seen)
    logs = (log.take(slice(start, start + n)) for start in range(0, log.n, n))
    played = (Round(policy, part, value, best) for (policy, value, best), part in zip(decided, logs, strict=True))
    return Rounds(tuple(played), log)


def best_value(response: Floats, share: float | None = None) -> float:
    """Mean outcome if the units that gain most, as many as a share pays for, had their best treatment, by the truth.

    Args:
        response: (n, A) exact E[Y | x, a].
        share: of the units that may be treated; None for all. The last of them may be a part of a unit.
    """
    gain = np.sort(np.maximum(response[:, 1:].max(axis=1) - response[:, 0], 0.0))[::-1]
    units = gain.size if share is None else share * gain.size
    whole = int(units)
    total = gain[:whole].sum() + ((units - whole) * gain[whole] if whole < gain.size else 0.0)
    return float(response[:, 0].mean() + total / gain.size)


class _Rows(NamedTuple):
    features: Features
    action: NDArray[np.int16]
    outcome: Floats
    propensity: Floats


def _log(world: Playable, rounds: Sequence[_Rows]) -> DecisionLog:
    """One log of the rounds so far, its units numbered, so that a row is known wherever it turns up."""
    from persuadable.log import DecisionLog

    features = Features(np.concatenate([one.features.values for one in rounds]), rounds[0].features.columns)
    return DecisionLog.from_arrays(
        features,
        np.concatenate([one.action for one in rounds]),
        np.concatenate([one.outcome for one in rounds]),
        action_names=world.action_names,
        propensity=np.concatenate([one.propensity for one in rounds]),
        unit=np.arange(len(features)),
        one_row_per_unit=True,
        name="rounds",
    )
