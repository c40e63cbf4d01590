"""A review: which decisions people should look at, in plain numbers that a service can ask of each unit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import BundleError, FeatureError, NotFittedError, ParameterError
from persuadable.features import Features
from persuadable.policies.base import Flags, Floats
from persuadable.policies.review.arguments import LARGEST, amount, flags_of, share, shares, stored
from persuadable.policies.review.beliefs import Beliefs
from persuadable.policies.review.familiar import Familiar
from persuadable.policies.review.judged import CODES, STRANGE, Code, Judged
from persuadable.policies.review.loads import Loads, Rule
from persuadable.policies.review.predicted import Predicted, Reviewable, features_of, predicted, told
from persuadable.policies.review.risks import Weighed, weigh
from persuadable.policies.threshold import Threshold, treat_probability

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["ARRAYS", "Review", "codes_known", "forced", "marked"]

#: Arrays of a review's ``state()``, all of one dimension, and their types.
ARRAYS: Final[Mapping[str, str]] = dict.fromkeys(
    [
        *("grid", "prior", "error", "middle", "width"),
        *("risk", "mass", "level", "forced", "harmed", "risks"),
        *("centre", "spread", "surprise", "mean", "whiten"),
    ],
    "<f8",
)
_NUMBERS: Final = ("load", "threshold", "farthest", "highest", "extreme", "harm", "doubt")


@dataclass(frozen=True, slots=True, eq=False)
class Review:
    """Which decisions people should look at: plain numbers, no model inside, so that a service can ask it of each unit.

    What is believed of a unit's true net effect τ is a posterior (``Beliefs``): a prior over the population, learned
    from held-out estimates, times a likelihood with the unit's own standard error, widened by what all half-samples
    miss alike. With t the threshold, the decision to treat costs E[(t − τ)⁺] and the decision to leave alone
    E[(τ − t)⁺] more than knowing τ would. That is ``priority``: the chance of being wrong times what it costs (Raiffa,
    Schlaifer 1961). Where something casts doubt on the estimate itself, the posterior is mixed with the prior, as if
    with that probability nothing were known.

    Codes:

    - "borderline": the estimate's own error makes the decision costly enough for the queue.
    - "too-good": the effect is above what all but ``extreme`` of the held-out rows have, the end of calibration.
    - "possible-do-not-disturb": to be treated, and below −``harm`` with more than ``harm_chance``: of the held-out rows
      to be treated those likeliest to be harmed. A chance by itself is a poor guide, as learners' errors are too small.
    - "outside-support": further from the training features than all but ``extreme`` of the held-out rows.
    - "contract-flag": the caller says that its features broke the contract.

    Attributes:
        load: share of the decisions that people can look at.
        threshold: net effect above which the policy treats, as it was when the load was calibrated.
        beliefs: prior of net effects.
        familiar: where the training features lie.
        farthest: distance at which support ends.
        highest: effect at which the calibration ends.
        always: codes that queue a unit whatever its priority.
        loads: priorities of held-out rows, at that threshold and at others.
        extreme, harm, doubt: see :func:`review`.
        policy: what predicts, for :meth:`assess`; None where it was read back or made from arrays.
    """

    load: float
    threshold: float
    beliefs: Beliefs
    familiar: Familiar
    farthest: float
    highest: float
    always: tuple[str, ...]
    loads: Loads
    extreme: float
    harm: float
    doubt: float
    policy: Reviewable | None = None

    def __post_init__(self) -> None:
        if not self.always_share <= self.load <= 1.0 or self.always_share == 1.0:
            raise ParameterError(
                f"A load of {self.load:.3%} is less than the {self.always_share:.3%} that are always reviewed",
                where=f"always={list(self.always)}",
                remedy="Raise load=, lower extreme=, or leave codes out of always=.",
            )

    @classmethod
    def of(
        cls,
        effect: ArrayLike,
        stderr: ArrayLike,
        features: Features,
        threshold: float,
        load: float = 0.1,
        *,
        net: ArrayLike | None = None,
        between: ArrayLike | None = None,
        train: Features | None = None,
        weight: ArrayLike | None = None,
        extreme: float = 0.001,
        harm: float = 0.0,
        suspects: float = 0.05,
        doubt: float = 0.5,
        missed: float = 1.0,
        always: Sequence[Code] = STRANGE,
    ) -> Review:
        """A review calibrated on held-out predictions, whatever made them.

        Args:
            effect, stderr, net: (n,) as in :meth:`judge`, of held-out units.
            features: theirs.
            threshold: net effect above which the policy treats.
            between: (n,) whether ``net`` is what one treatment brings beyond another rather than beyond nothing, so
                that it is above 0 by being the lead of whichever was chosen; None is nobody's.
            weight: (n,) of the units.
            load, train, extreme, harm, suspects, doubt, missed, always: see :func:`review`.

        Raises:
            ParameterError: an argument out of range, a load below what is always reviewed.
            FeatureError: training features of other columns.
            DataError: a prediction is not finite, a weight is not above 0, all standard errors are 0, or nobody is
                eligible.
        """
        from persuadable.policies.review.calibrating import calibrated

        return calibrated(
            told(features, effect, stderr, net, between),
            features,
            threshold,
            load,
            train=train,
            weight=weight,
            extreme=extreme,
            harm=harm,
            suspects=suspects,
            doubt=doubt,
            missed=missed,
            always=always,
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the features it expects, in order."""
        return self.familiar.names

    @property
    def always_share(self) -> float:
        """Share of held-out rows that are queued whatever their priority."""
        return self.loads.own.forced

    @property
    def harm_chance(self) -> float:
        """Chance of harm above which a unit to be treated is marked, at the policy's own threshold."""
        return self.loads.own.harm_chance

    @property
    def cut(self) -> Threshold:
        """From which priority on a decision is queued at the policy's own threshold."""
        return self.loads.rule(self.load, self.threshold).cut

    def at(self, load: float) -> Self:
        """The same for another load.

        Raises:
            ParameterError: no share, or less than is always reviewed.
        """
        return replace(self, load=share("load", load))

    # -- judging -------------------------------------------------------------------------------------------------

    def judge(
        self,
        features: Features,
        effect: ArrayLike,
        stderr: ArrayLike,
        net: ArrayLike | None = None,
        threshold: float | None = math.nan,
        chance: ArrayLike | None = None,
        flagged: ArrayLike | None = None,
        *,
        lots: ArrayLike | None = None,
    ) -> Judged:
        """Whether each of n decisions is left to the machine.

        The share that is queued is ``load`` on units like the held-out ones: exactly at the policy's own threshold, and
        closely where a budget moves it.

        Args:
            features: of the units, in the order of ``columns``.
            effect: (n,) predicted effect of each unit's best treatment.
            stderr: (n,) its standard error (of ``net``, where that varies more).
            net: (n,) what is compared with the threshold: the effect, or net of costs; −inf where no treatment is
                eligible, so that there is nothing to decide. None is the effect.
            threshold: net effect above which the policy treats. NaN is that of calibration; None, or infinity, is a
                budget that pays for nobody, so that there is nothing to decide.
            chance: (n,) probability that the policy would treat. None is 1 above the threshold, else 0.
            flagged: (n,) whether features broke the contract; None is nobody's.
            lots: (n,) uniform numbers in [0, 1) for units whose priority ties at the cut, so that the load is kept
                exactly; None queues them all.

        Raises:
            FeatureError: another number of features.
            DataError: an array of another length, a number that is not finite, a negative standard error, a chance
                outside [0, 1].
            ParameterError: no standard errors, or a threshold that is no number.
        """
        self._require_columns(features)
        seen, n = told(features, effect, stderr, net), len(features)
        if threshold is None or threshold == math.inf:
            nothing = np.zeros(n)
            return Judged([()] * n, nothing, nothing, np.zeros((n, len(CODES)), dtype=np.bool_), nothing > 0)
        t = self.threshold if threshold != threshold else amount("threshold", threshold, -LARGEST)
        treat = (seen.net > t).astype(np.float64) if chance is None else shares("chance", chance, n)
        flags = None if flagged is None else flags_of("flagged", flagged, n)
        drawn = None if lots is None else shares("lots", lots, n)
        weighed, rule = self.weighed(features, seen, t, treat, flags), self.loads.rule(self.load, t)
        marks = marked(weighed, rule)
        if rule.cut.tie_probability == 0.0:
            queued = weighed.priority > rule.cut.threshold
        else:
            queued = treat_probability(weighed.priority, rule.cut) > (0.0 if drawn is None else drawn)
        queued |= forced(marks, self.always)
        return Judged.of(weighed.priority, weighed.wrong, marks, queued)

    def assess(
        self, units: DecisionLog | Features | Any, flagged: ArrayLike | None = None, *, lots: ArrayLike | None = None
    ) -> Judged:
        """The decisions of the policy it was made for, on any units; see :meth:`judge`.

        Args:
            units: n units: a log (whose eligibility counts), ``Features``, a frame or an (n, d) array.
            flagged, lots: as in :meth:`judge`.

        Raises:
            NotFittedError: made from arrays, or read back without its policy.
            FeatureError, DataError: as the model and :meth:`judge` raise.
        """
        if self.policy is None:
            raise NotFittedError(
                "This review knows no policy that predicts", remedy="Hand predictions over: judge(features, effect, …)."
            )
        seen = predicted(self.policy, units)
        features = features_of(self.policy, units)
        return self.judge(features, seen.effect, seen.stderr, seen.net, flagged=flagged, lots=lots)

    def _require_columns(self, features: Features) -> None:
        if features.values.shape[1] != len(self.columns):
            raise FeatureError(
                f"The units have {features.values.shape[1]} features, expected {len(self.columns)}",
                where="review",
                remedy=f"Pass {list(self.columns)[:20]}, in this order.",
            )

    def weighed(self, features: Features, seen: Predicted, t: float, treat: Floats, flagged: Flags | None) -> Weighed:
        """Risks of n decisions at the threshold t, which treat with probability ``treat`` (n,)."""
        strange, doubt = self._strange(features, seen.effect, flagged)
        return weigh(self.beliefs, seen, t, treat, strange, doubt, self.harm)

    def _strange(
        self, features: Features, effect: Floats, flagged: Flags | None
    ) -> tuple[NDArray[np.bool_], Floats | None]:
        """Whose estimates are to be doubted, (n, 3), and with what probability nothing is known of the unit, (n,)."""
        far, high = self.familiar.distance(features.values), effect - self.highest
        strange = np.empty((effect.size, len(STRANGE)), dtype=np.bool_)
        np.greater(high, 0.0, out=strange[:, 0])
        np.greater(far, self.farthest, out=strange[:, 1])
        strange[:, 2] = False if flagged is None else flagged
        if not strange.any():
            return strange, None
        # Trust falls from 1 − doubt at the end of support to 0 far beyond it.
        spread = max(self.highest - self.threshold, math.sqrt(self.beliefs.variance))
        kept = np.ones((effect.size, len(STRANGE)))
        kept[:, 0] = 1.0 / (1.0 + np.maximum(high, 0.0) / spread)
        np.divide(self.farthest, far, out=kept[:, 1], where=strange[:, 1])
        return strange, 1.0 - np.where(strange, (1.0 - self.doubt) * kept, 1.0).prod(axis=1)

    # -- state ---------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything but the policy: ``{"json": …, "arrays": …}``, nothing that needs pickle."""
        columns, familiar = self.familiar.state()
        believed, beliefs = self.beliefs.state()
        loaded, loads = self.loads.state()
        numbers = {name: float(getattr(self, name)) for name in _NUMBERS}
        return {
            "json": {
                "kind": "Review",
                **numbers,
                "always": list(self.always),
                **believed,
                **loaded,
                "columns": columns,
            },
            "arrays": {**beliefs, **loads, **familiar},
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], policy: Reviewable | None = None) -> Self:
        """The review that ``state`` was taken from; it judges bit-equally.

        Args:
            state: as :meth:`state` has it.
            policy: what predicts, where :meth:`assess` is wanted.

        Raises:
            BundleError: the state is of another kind, incomplete, or holds what no review can.
        """
        try:
            told, arrays = state["json"], state["arrays"]
            if told["kind"] != "Review":
                raise ValueError(f"this is the state of a {str(told['kind'])[:40]}")
            threshold = stored(told["threshold"])
            found = cls(
                load=share("load", told["load"]),
                threshold=threshold,
                beliefs=Beliefs.read(told, arrays),
                familiar=Familiar.read(told["columns"], arrays),
                farthest=stored(told["farthest"], 0.0),
                highest=stored(told["highest"]),
                always=codes_known(told["always"]),
                loads=Loads.read(threshold, told, arrays),
                extreme=share("extreme", told["extreme"]),
                harm=stored(told["harm"], 0.0),
                doubt=share("doubt", told["doubt"]),
                policy=policy,
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, ZeroDivisionError) as error:
            what = f"The review's state is incomplete: {error}"
            raise BundleError(what, remedy="Save the bundle again.") from error
        return found

    def __str__(self) -> str:
        always = f", and whatever is {' or '.join(self.always)}" if self.always else ""
        return (
            f"People look at {self.load:.1%} of the decisions: those with an expected cost above "
            f"{self.cut.threshold:.4g}{always}. Calibrated on {self.loads.own.priority.n:,} held-out units at the "
            f"threshold {self.threshold:.4g}."
        )


def marked(weighed: Weighed, rule: Rule) -> NDArray[np.bool_]:
    """(n, 5) which of ``CODES`` hold."""
    marks = np.empty((weighed.own.size, len(CODES)), dtype=np.bool_)
    marks[:, 0] = weighed.own >= max(rule.cut.threshold, math.ulp(0.0))
    marks[:, 1] = weighed.strange[:, 0]
    marks[:, 2] = weighed.harm > rule.harm_chance
    marks[:, 3:] = weighed.strange[:, 1:]
    return marks


def forced(marks: NDArray[np.bool_], always: Sequence[str]) -> Flags:
    """(n,) who is queued whatever the priority."""
    return np.asarray(marks @ _chosen(tuple(always)))


@lru_cache
def _chosen(codes: tuple[str, ...]) -> Flags:
    return np.array([code in codes for code in CODES])


def codes_known(always: Sequence[str]) -> tuple[str, ...]:
    """Codes that may queue by themselves.

    Raises:
        ParameterError: one that may not.
    """
    told = (always,) if isinstance(always, str) else tuple(always)
    for code in told:
        if code not in CODES[1:]:
            raise ParameterError(
                f"{code!r} is no code that queues by itself", where="review", remedy=f"Choose among {list(CODES[1:])}."
            )
    return told
