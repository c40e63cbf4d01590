"""Which decisions to hand to people: those likeliest to cost most, for stated reasons, as many as can be looked at."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import BundleError, DataError, FeatureError, LeakageError, NotFittedError, ParameterError
from persuadable.features import Features
from persuadable.policies.base import Flags, Floats
from persuadable.policies.budget import BudgetPolicy
from persuadable.policies.review.beliefs import LARGEST, Beliefs, learned_beliefs
from persuadable.policies.review.familiar import Familiar, learned_familiar
from persuadable.policies.review.risks import (
    Predicted,
    Weighed,
    checked,
    features_of,
    is_number,
    predicted,
    share,
    shares,
    vector,
    weigh,
)
from persuadable.policies.threshold import ScoreDistribution, Threshold, treat_probability

if TYPE_CHECKING:
    import polars as pl

    from persuadable.log import DecisionLog

__all__ = ["ARRAYS", "CODES", "REASONS", "Judged", "Review", "review"]

Code = Literal["borderline", "too-good", "possible-do-not-disturb", "outside-support", "contract-flag"]
CODES: Final[tuple[Code, ...]] = (
    "borderline",
    "too-good",
    "possible-do-not-disturb",
    "outside-support",
    "contract-flag",
)
#: Code → what it says of a unit, for people.
REASONS: Final[Mapping[str, str]] = {
    "borderline": "The effect is so close to the threshold, for how well it is known, that the decision may be wrong.",
    "too-good": "The predicted effect is larger than those it could be checked against.",
    "possible-do-not-disturb": "The unit is to be treated, and yet the treatment may do it harm.",
    "outside-support": "The unit is unlike those the model learned from.",
    "contract-flag": "The unit's features broke the feature contract.",
}
#: Arrays of a review's ``state()``, all of one dimension, and their types.
ARRAYS: Final[Mapping[str, str]] = {
    "grid": "<f8",
    "prior": "<f8",
    "risk": "<f8",
    "mass": "<f8",
    "centre": "<f8",
    "spread": "<f8",
    "surprise": "<f8",
    "mean": "<f8",
    "whiten": "<f8",
}
_NUMBERS: Final = (
    "load",
    "threshold",
    "farthest",
    "highest",
    "always_share",
    "extreme",
    "harm",
    "harm_chance",
    "doubt",
)
_STRANGE: Final[tuple[Code, ...]] = ("too-good", "outside-support", "contract-flag")
_PLACE: Final[Mapping[str, int]] = {code: place for place, code in enumerate(CODES)}
MOST_RISKS: Final = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Whether each of n decisions is left to the machine, and if not why.

    Attributes:
        codes: per unit the reasons for which it is queued; () is AUTO.
        priority: (n,) expected cost of deciding without a person, in units of the outcome: the chance that the decision
            is wrong times what that costs. The queue's order.
        wrong: (n,) the chance that the decision is wrong.
        marks: (n, 5) which of ``CODES`` hold, queued or not.
        queued: (n,) whether a person is to look.
    """

    codes: list[tuple[str, ...]]
    priority: Floats
    wrong: Floats
    marks: NDArray[np.bool_]
    queued: NDArray[np.bool_]

    @property
    def order(self) -> NDArray[np.intp]:
        """Places of the queued units, the most pressing first."""
        rows = np.flatnonzero(self.queued)
        return np.asarray(rows[np.argsort(-self.priority[rows], kind="stable")])

    @property
    def share(self) -> float:
        """Share of the units that are queued."""
        return float(self.queued.mean()) if self.queued.size else 0.0

    @property
    def reasons(self) -> dict[str, int]:
        """Code → how many queued units have it; a unit may have several."""
        counts = Counter(code for codes in self.codes for code in codes)
        return {code: counts[code] for code in CODES}

    def frame(self) -> pl.DataFrame:
        """The queue, the most pressing first: row, priority, chance of a wrong decision, codes."""
        import polars as pl

        order = self.order
        return pl.DataFrame(
            {
                "row": order,
                "priority": self.priority[order],
                "wrong": self.wrong[order],
                "codes": pl.Series([list(self.codes[i]) for i in order.tolist()], dtype=pl.List(pl.String)),
            }
        )

    def __str__(self) -> str:
        lines = [f"{self.queued.sum():,} of {self.queued.size:,} decisions ({self.share:.1%}) go to people."]
        lines += [f"  {code:24} {count:8,}" for code, count in self.reasons.items() if count]
        if self.queued.any():
            caught, rest = self.wrong[self.queued].mean(), self.wrong[~self.queued]
            lines.append(
                f"Expected to be wrong: {caught:.1%} of these"
                + (f", {rest.mean():.1%} of those decided automatically." if rest.size else ".")
            )
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, eq=False)
class Review:
    """Which decisions people should look at: plain numbers, no model inside, so that a service can ask it of each unit.

    What is believed of a unit's true net effect τ is a posterior: a prior over the population, learned from held-out
    estimates, times a normal likelihood with the unit's own standard error (``beliefs``). With t the threshold, the
    decision to treat costs E[(t − τ)⁺] and the decision to leave alone E[(τ − t)⁺] more than knowing τ would. That is
    ``priority``: the chance of being wrong times what it costs (Raiffa, Schlaifer 1961). Where something casts doubt on
    the estimate itself, the posterior is mixed with the prior, as if with that probability nothing were known.

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
        always_share: share of held-out rows that these queue.
        risks: distribution of the priorities of the others.
        harm_chance: chance of harm above which a unit to be treated is marked.
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
    always_share: float
    risks: ScoreDistribution
    extreme: float
    harm: float
    harm_chance: float
    doubt: float
    policy: BudgetPolicy | None = None
    _cut: Threshold = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rest = 1.0 - self.always_share
        left = (self.load - self.always_share) / rest if rest > 0 else -1.0
        if not 0.0 <= left <= 1.0:
            raise ParameterError(
                f"A load of {self.load:.3%} is less than the {self.always_share:.3%} that are always reviewed",
                where=f"always={list(self.always)}",
                remedy="Raise load=, lower extreme=, or leave codes out of always=.",
            )
        object.__setattr__(self, "_cut", self.risks.cut(left, 0.0))

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
        train: Features | None = None,
        weight: ArrayLike | None = None,
        extreme: float = 0.001,
        harm: float = 0.0,
        suspects: float = 0.05,
        doubt: float = 0.5,
        always: Sequence[Code] = _STRANGE,
    ) -> Self:
        """A review calibrated on held-out predictions, whatever made them.

        Of a policy that chooses among actions by price, pass as ``net`` what the best action brings beyond the next
        best, doing nothing among them, and a threshold of 0.

        Args:
            effect, stderr, net: (n,) as in :meth:`judge`, of held-out units.
            features: theirs.
            threshold: net effect above which the policy treats.
            weight: (n,) of the units.
            load, train, extreme, harm, suspects, doubt, always: see :func:`review`.

        Raises:
            ParameterError: an argument out of range, a load below what is always reviewed.
            FeatureError: training features of other columns.
            DataError: a prediction is not finite, a weight is not above 0, all standard errors are 0, or nobody is
                eligible.
        """
        n, codes, t = len(features), _known(always), _amount("threshold", threshold, -LARGEST)
        told, w = _told(features, effect, stderr, net), None if weight is None else _weights(weight, n)
        open_ = np.isfinite(told.net)
        if not open_.any() or not told.stderr[open_].any():
            raise DataError(
                "No unit is eligible for a treatment" if not open_.any() else "All standard errors are 0",
                where="review",
                remedy="Pass held-out units with something to decide, and how well their effects are known.",
            )
        familiar = learned_familiar(features if train is None else train.aligned(features.columns))
        draft = cls(
            load=1.0,
            threshold=t,
            beliefs=learned_beliefs(told.net[open_], told.stderr[open_], None if w is None else w[open_]),
            familiar=familiar,
            farthest=_end(familiar.distance(features.values), w, extreme),
            highest=_end(told.effect[open_], None if w is None else w[open_], extreme),
            always=codes,
            always_share=0.0,
            risks=ScoreDistribution.of(np.zeros(1)),
            harm=_amount("harm", harm, 0.0),
            extreme=share("extreme", extreme),
            harm_chance=1.0,
            doubt=share("doubt", doubt),
        )
        treated = told.net > t
        weighed = draft._weigh(features, told, t, treated.astype(np.float64), None)
        worst = 1.0
        if treated.any() and share("suspects", suspects) > 0:
            worst = _end(weighed.harm[treated], None if w is None else w[treated], suspects)
        forced = _forced(_marks(weighed, math.inf, worst), codes)
        mass, rest = np.ones(n) if w is None else w, ~forced
        if not rest.any():
            raise ParameterError(
                "Every unit is always reviewed", where=f"always={list(codes)}", remedy="Leave codes out."
            )
        return replace(
            draft,
            harm_chance=worst,
            load=share("load", load),
            always_share=float(mass[forced].sum() / mass.sum()),
            risks=ScoreDistribution.of(weighed.priority[rest], None if w is None else w[rest], MOST_RISKS),
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the features it expects, in order."""
        return self.familiar.names

    @property
    def cut(self) -> Threshold:
        """From which priority on a decision is queued; ``tie_probability`` for those exactly at it."""
        return self._cut

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

        The share that is queued is ``load`` on units like the held-out ones, decided at the policy's own threshold.

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
        told, n = _told(features, effect, stderr, net), len(features)
        if threshold is None or threshold == math.inf:
            nothing = np.zeros(n)
            return Judged([()] * n, nothing, nothing, np.zeros((n, len(CODES)), dtype=np.bool_), nothing > 0)
        t = self.threshold if threshold != threshold else _amount("threshold", threshold, -LARGEST)
        treat = np.where(told.net > t, 1.0, 0.0) if chance is None else shares("chance", chance, n)
        flags = None if flagged is None else shares("flagged", flagged, n) > 0
        drawn = None if lots is None else shares("lots", lots, n)
        return _queue(self._weigh(features, told, t, treat, flags), self.cut, self.harm_chance, self.always, drawn)

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
        told = predicted(self.policy, units)
        features = features_of(self.policy, units)
        return self.judge(features, told.effect, told.stderr, told.net, flagged=flagged, lots=lots)

    def _require_columns(self, features: Features) -> None:
        if features.values.shape[1] != len(self.columns):
            raise FeatureError(
                f"The units have {features.values.shape[1]} features, expected {len(self.columns)}",
                where="review",
                remedy=f"Pass {list(self.columns)[:20]}, in this order.",
            )

    def _weigh(self, features: Features, told: Predicted, t: float, treat: Floats, flagged: Flags | None) -> Weighed:
        strange, doubt = self._strange(features, told.effect, flagged)
        return weigh(self.beliefs, told, t, treat, strange, doubt, self.harm)

    def _strange(
        self, features: Features, effect: Floats, flagged: Flags | None
    ) -> tuple[NDArray[np.bool_], Floats | None]:
        """Whose estimates are to be doubted, (n, 3), and with what probability nothing is known of the unit, (n,)."""
        far, high = self.familiar.distance(features.values), effect - self.highest
        strange = np.empty((effect.size, len(_STRANGE)), dtype=np.bool_)
        np.greater(high, 0.0, out=strange[:, 0])
        np.greater(far, self.farthest, out=strange[:, 1])
        strange[:, 2] = False if flagged is None else flagged
        if not strange.any():
            return strange, None
        # Trust falls from 1 − doubt at the end of support to 0 far beyond it.
        spread = max(self.highest - self.threshold, math.sqrt(self.beliefs.variance))
        kept = np.ones((effect.size, len(_STRANGE)))
        kept[:, 0] = 1.0 / (1.0 + np.maximum(high, 0.0) / spread)
        np.divide(self.farthest, far, out=kept[:, 1], where=strange[:, 1])
        return strange, 1.0 - np.where(strange, (1.0 - self.doubt) * kept, 1.0).prod(axis=1)

    # -- state ---------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything but the policy: ``{"json": …, "arrays": …}``, nothing that needs pickle."""
        columns, arrays = self.familiar.state()
        return {
            "json": {
                "kind": "Review",
                **{name: float(getattr(self, name)) for name in _NUMBERS},
                "always": list(self.always),
                "variance": self.beliefs.variance,
                "n": self.risks.n,
                "columns": columns,
            },
            "arrays": {
                "grid": self.beliefs.grid,
                "prior": self.beliefs.prior,
                "risk": self.risks.values,
                "mass": self.risks.mass,
                **arrays,
            },
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], policy: BudgetPolicy | None = None) -> Self:
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
            if told["n"].__class__ is not int or arrays["risk"].size > MOST_RISKS or not (arrays["risk"] >= 0).all():
                raise ValueError("the distribution of priorities does not fit")
            found = cls(
                load=share("load", told["load"]),
                threshold=_finite(told["threshold"]),
                beliefs=Beliefs.read(arrays["grid"], arrays["prior"], told["variance"]),
                familiar=Familiar.read(told["columns"], arrays),
                farthest=_finite(told["farthest"], 0.0),
                highest=_finite(told["highest"]),
                always=_known(told["always"]),
                always_share=share("always_share", told["always_share"]),
                risks=ScoreDistribution.read(arrays["risk"], arrays["mass"], told["n"]),
                extreme=share("extreme", told["extreme"]),
                harm=_finite(told["harm"], 0.0),
                harm_chance=share("harm_chance", told["harm_chance"]),
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
            f"{self.cut.threshold:.4g}{always}. Calibrated on {self.risks.n:,} held-out units at the threshold "
            f"{self.threshold:.4g}."
        )


def _marks(weighed: Weighed, cut: float, harm_chance: float) -> NDArray[np.bool_]:
    """(n, 5) which of ``CODES`` hold."""
    borderline = (weighed.own >= cut) & (weighed.own > 0.0)
    return np.column_stack([borderline, weighed.strange[:, 0], weighed.harm > harm_chance, weighed.strange[:, 1:]])


def _forced(marks: NDArray[np.bool_], always: Sequence[str]) -> Flags:
    """(n,) who is queued whatever the priority."""
    return np.asarray(marks[:, [_PLACE[code] for code in always]].any(axis=1))


def _queue(weighed: Weighed, cut: Threshold, harm_chance: float, always: Sequence[str], lots: Floats | None) -> Judged:
    """Who is queued, and for which reasons; whoever is queued has one."""
    marks = _marks(weighed, cut.threshold, harm_chance)
    queued = treat_probability(weighed.priority, cut) > (0.0 if lots is None else lots)
    queued |= _forced(marks, always)
    codes: list[tuple[str, ...]] = [()] * queued.size
    for i in np.flatnonzero(queued).tolist():
        codes[i] = tuple(code for code, holds in zip(CODES, marks[i].tolist(), strict=True) if holds)
    return Judged(codes, weighed.priority, weighed.wrong, marks, queued)


# -- calibrating -----------------------------------------------------------------------------------------------------


def review(
    policy: BudgetPolicy,
    log: DecisionLog,
    load: float = 0.1,
    *,
    train: DecisionLog | Features | None = None,
    extreme: float = 0.001,
    harm: float = 0.0,
    suspects: float = 0.05,
    doubt: float = 0.5,
    always: Sequence[Code] = _STRANGE,
) -> Review:
    """Which decisions of a policy people should look at, when they can look at a share of them.

    Args:
        policy: calibrated, its learner fitted with half-samples (``n_resamples=20``). For a threshold that comes from
            economics rather than from a budget: ``BudgetPolicy(learner, 1.0, break_even=economics.break_even)``.
        log: held-out rows, which fit neither the learner nor its calibration. The queue takes ``load`` of such rows.
        load: share of the decisions that people can look at.
        train: the rows the learner learned from, whose features are its support; None takes those of ``log``, which
            are alike where one log was split.
        extreme: share of held-out rows beyond the end of calibration, and of support.
        harm: a fall of the outcome by more than this is harm, 0 or more.
        suspects: share of those to be treated who are marked as possibly harmed: the likeliest.
        doubt: at the end of support, and for features that broke the contract, the probability with which nothing is
            known of the unit but that it is one of the population.
        always: codes that queue a unit whatever its priority; they count within the load.

    Raises:
        ParameterError: an argument out of range, a policy that treats nobody, a load below what is always reviewed.
        NotFittedError: the policy is not calibrated, or its learner kept no half-samples.
        LeakageError: some of the rows fitted the learner.
        DataError: a prediction is not finite, or all standard errors are 0.
    """
    told: object = policy
    if not isinstance(told, BudgetPolicy):
        raise ParameterError(
            f"A {type(told).__name__} cannot be reviewed here",
            remedy="Pass a BudgetPolicy, or make it from predictions: Review.of(effect, stderr, features, …).",
        )
    threshold, fitted_on = policy.threshold, policy.fitted_on
    if not math.isfinite(threshold):
        raise ParameterError("The policy treats nobody, so nothing is decided", remedy="Give it a larger share.")
    if fitted_on is not None and (shared := fitted_on.overlap(log.fingerprint)):
        raise LeakageError(
            f"{shared:,} of the {log.n:,} rows to calibrate the review on also fitted the model",
            remedy="Pass held-out rows: on those it learned from a model looks surer than it is.",
        )
    predictions = predicted(policy, log)
    found = Review.of(
        predictions.effect,
        predictions.stderr,
        features_of(policy, log),
        threshold,
        load,
        net=predictions.net,
        train=None if train is None else features_of(policy, train),
        weight=log.weight,
        extreme=extreme,
        harm=harm,
        suspects=suspects,
        doubt=doubt,
        always=always,
    )
    return replace(found, policy=policy)


def _told(features: Features, effect: ArrayLike, stderr: ArrayLike | None, net: ArrayLike | None) -> Predicted:
    n = len(features)
    of_effect = vector("effect", effect, n)
    return checked(Predicted(of_effect, of_effect if net is None else vector("net", net, n), _stderr(stderr, n)))


def _stderr(stderr: ArrayLike | None, n: int) -> Floats:
    if stderr is None:
        raise ParameterError(
            "Standard errors are missing, so nobody can tell which decisions are unsure",
            where="review",
            remedy="Fit the learner with n_resamples=20, and hand its standard errors over.",
        )
    return vector("stderr", stderr, n)


def _weights(weight: ArrayLike, n: int) -> Floats:
    w = vector("weight", weight, n)
    if (bad := ~((w > 0) & (w < LARGEST))).any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(f"weight is {w[row]}", where=f"row {row}", remedy="Weigh every unit with a number above 0.")
    return w


def _end(values: Floats, weight: Floats | None, extreme: float) -> float:
    """The value that a share ``extreme`` of the rows lies above."""
    spread = ScoreDistribution.of(values, weight)
    return float(spread.values[-1]) if extreme == 0 else spread.cut(extreme).threshold


def _amount(name: str, value: object, least: float) -> float:
    if not is_number(value) or not least <= float(value) <= LARGEST:  # type: ignore[arg-type]
        raise ParameterError(f"{name} is {value!r}", where="review", remedy="Pass a finite number, in range.")
    return float(value)  # type: ignore[arg-type]


def _known(always: Sequence[str]) -> tuple[str, ...]:
    told = (always,) if isinstance(always, str) else tuple(always)
    for code in told:
        if code not in CODES[1:]:
            raise ParameterError(
                f"{code!r} is no code that queues by itself", where="review", remedy=f"Choose among {list(CODES[1:])}."
            )
    return told


def _finite(value: Any, least: float = -LARGEST) -> float:
    if type(value) not in (int, float) or not least <= value <= LARGEST:
        raise ValueError(f"{value!r} is out of range")
    return float(value)
