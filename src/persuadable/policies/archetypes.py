"""Four kinds of people, told apart by what they would do anyway and by what a contact changes, each with an action."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeGuard, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from persuadable.errors import DataError, NotFittedError, ParameterError
from persuadable.fingerprint import Fingerprint
from persuadable.params import Parameters
from persuadable.policies.base import Flags, Floats, check_actions, check_eligible, count_rows, one_action
from persuadable.policies.economics import Economics
from persuadable.policies.explore.outlook import net_stderr
from persuadable.spaces import Discrete

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "ARCHETYPES",
    "UNCERTAIN",
    "ArchetypePolicy",
    "ArchetypeThresholds",
    "Archetypes",
    "archetypes",
    "composition",
    "membership_probabilities",
]

Action = Literal["contact", "leave", "suppress", "expected", "test"]
ARCHETYPES: Final = ("Persuadable", "Sure Thing", "Lost Cause", "Do-Not-Disturb")
UNCERTAIN: Final = "Uncertain"
_LABELS: Final = (*ARCHETYPES, UNCERTAIN)
_ACTIONS: Final[Mapping[str, Action]] = {
    "Persuadable": "contact",
    "Sure Thing": "leave",
    "Lost Cause": "leave",
    "Do-Not-Disturb": "suppress",
    "Uncertain": "expected",
}


class UnsureEffects(Protocol):
    """A fitted model of effects that knows its own uncertainty: a learner fitted with ``n_resamples``."""

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

    def effect_refits(self, X: Any, outcome: str | None = None) -> Iterator[NDArray[Any]]:
        """(n, A) the effects as each half-sample's refit has them."""
        ...


class BaselineModel(Protocol):
    """A fitted model of the outcome of those left alone, such as ``ResponseModel(treated_only=False)``."""

    def predict(self, X: Any) -> NDArray[Any]:
        """(n,) E[Y | x, nothing done]."""
        ...


@dataclass(frozen=True, slots=True)
class ArchetypeThresholds:
    """Where one archetype ends and the next begins, all in units of the outcome.

    =================  =========================  =================
    archetype          effect τ                   baseline μ₀
    =================  =========================  =================
    Persuadable        above ``pays``             any
    Sure Thing         from −``harm`` to ``pays``  ``sure`` or more
    Lost Cause         from −``harm`` to ``pays``  below ``sure``
    Do-Not-Disturb     below −``harm``            any
    =================  =========================  =================

    Attributes:
        pays: the break-even effect, above which a contact brings more than it costs.
        harm: a fall of the outcome by more than this is harm.
        sure: baseline from which a unit that is not moved counts as a Sure Thing.
        confidence: a unit whose likeliest archetype is less probable than this is Uncertain.
    """

    pays: float
    harm: float
    sure: float
    confidence: float

    @classmethod
    def of(
        cls, economics: Economics, harm: float | None = None, sure: float | None = None, confidence: float = 0.8
    ) -> ArchetypeThresholds:
        """Thresholds from economics; what is None takes the break-even t = cost / (margin · value).

        A Sure Thing has a baseline of t or more: its conversions, which come anyway, are worth more than the contact,
        so that attribution would count the contact a success. A Lost Cause's are not. Harm begins where a contact
        loses conversions worth more than the contact itself.

        Raises:
            ParameterError: a threshold out of range, or contacts that are free, so that no threshold follows.
        """
        pays = economics.break_even
        if pays == 0 and (harm is None or sure is None):
            raise ParameterError(
                "A contact costs nothing, so no threshold follows from its cost",
                remedy="Pass harm= and sure=, in units of the outcome, such as harm=0 and sure=0.01.",
            )
        told = {"harm": pays if harm is None else harm, "sure": pays if sure is None else sure}
        for name, value in told.items():
            if not _is_number(value) or not 0 <= value < math.inf:
                raise ParameterError(f"{name} is {value!r}", remedy="Pass a number of 0 or more, or None.")
        if not _is_number(confidence) or not 0.25 <= confidence <= 1:
            raise ParameterError(
                f"confidence is {confidence!r}", remedy="Pass a probability from 0.25 (nobody is uncertain) to 1."
            )
        return cls(pays, float(told["harm"]), float(told["sure"]), float(confidence))

    def region(self, archetype: str) -> tuple[float, float]:
        """(lower, upper) of the effects that an archetype's members have."""
        if archetype == "Persuadable":
            return self.pays, math.inf
        return (-math.inf, -self.harm) if archetype == "Do-Not-Disturb" else (-self.harm, self.pays)


def membership_probabilities(
    effect: Floats,
    stderr: Floats,
    baseline: Floats,
    baseline_stderr: Floats | None,
    thresholds: ArchetypeThresholds,
) -> Floats:
    """(n, 4) probability of each archetype, for τ ~ N(effect, stderr²) and, apart from it, μ₀ ~ N(baseline, …).

    With Φ the normal distribution: Persuadable 1 − Φ((pays − τ̂)/s), Do-Not-Disturb Φ((−harm − τ̂)/s), and the rest
    split by P(μ₀ ≥ sure). The two estimates are taken as independent, which only matters for that split.

    Args:
        effect, stderr: (n,) estimated effects and their standard errors; 0 is certainty.
        baseline, baseline_stderr: (n,) likewise, of the outcome of those left alone; None takes it as known.
        thresholds: where archetypes end.
    """
    persuadable = 1.0 - _below(thresholds.pays, effect, stderr, including=True)
    disturbed = _below(-thresholds.harm, effect, stderr, including=False)
    unmoved = np.clip(1.0 - persuadable - disturbed, 0.0, 1.0)
    known = np.zeros(baseline.shape) if baseline_stderr is None else baseline_stderr
    sure = 1.0 - _below(thresholds.sure, baseline, known, including=False)
    return np.column_stack([persuadable, unmoved * sure, unmoved * (1.0 - sure), disturbed])


def _below(limit: float, centre: Floats, spread: Floats, *, including: bool) -> Floats:
    """(n,) P(Z < limit) for Z ~ N(centre, spread²); where spread is 0, whether centre lies below it (or at it)."""
    certain = (centre <= limit) if including else (centre < limit)
    z = np.divide(limit - centre, spread, out=np.zeros(centre.shape), where=spread > 0)
    return np.where(spread > 0, ndtr(z), certain.astype(np.float64))


def composition(probabilities: Floats, membership: NDArray[Any], weight: Floats | None = None) -> Floats:
    """(5, 4) mean probability of each archetype among those of each label; rows of labels nobody has are NaN.

    Row i is what the people labelled i are expected to be, so that 1 − the diagonal is expected misclassification.
    """
    w = np.ones(membership.shape[0]) if weight is None else weight
    mass = np.bincount(membership, weights=w, minlength=len(_LABELS))
    totals = np.column_stack([np.bincount(membership, weights=w * p, minlength=len(_LABELS)) for p in probabilities.T])
    return np.asarray(np.divide(totals, mass[:, None], out=np.full(totals.shape, np.nan), where=mass[:, None] > 0))


@dataclass(frozen=True, slots=True, eq=False)
class Archetypes:
    """Which archetype each of n units is taken for, and how sure that is.

    What is known of a unit is an estimate with an error. The probabilities are what those errors imply: they assume
    that the estimates are right on average at every level and that the errors are as told. Boosted trees tell too small
    ones, and the smallest of many estimates are small in part by chance, so true misclassification is larger:
    ``value.archetype_table`` holds the labels against held-out rows.

    Attributes:
        membership: (n,) codes into ``labels``.
        probabilities: (n, 4) of Persuadable, Sure Thing, Lost Cause and Do-Not-Disturb.
        effect: (n,) estimated effect of the treatment.
        stderr: (n,) its standard error.
        baseline: (n,) estimated outcome of the unit left alone.
        baseline_stderr: (n,) its standard error; None where it is taken as known.
        thresholds: where archetypes end.
        economics: what they come from.
        actions: label → what is done.
        treatment: code of the treatment that "contact" means.
        n_actions: A.
        fitted_on: the rows the estimates learned from; None where that is not known.
        rows: the rows of the log they were made for; None where no log was given.
        policy: the rule that assigns any unit; None where estimates were given as arrays.
    """

    membership: NDArray[np.int8]
    probabilities: Floats
    effect: Floats
    stderr: Floats
    baseline: Floats
    baseline_stderr: Floats | None
    thresholds: ArchetypeThresholds
    economics: Economics
    actions: Mapping[str, Action]
    treatment: int
    n_actions: int
    fitted_on: Fingerprint | None = None
    rows: Fingerprint | None = None
    policy: ArchetypePolicy | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The four archetypes, then "Uncertain"."""
        return _LABELS

    @property
    def n(self) -> int:
        """How many units."""
        return int(self.membership.shape[0])

    def __len__(self) -> int:
        return self.n

    @property
    def names(self) -> NDArray[np.str_]:
        """(n,) the label of each unit."""
        return np.asarray(_LABELS)[self.membership]

    @property
    def sizes(self) -> dict[str, int]:
        """How many units have each label."""
        counts = np.bincount(self.membership, minlength=len(_LABELS))
        return {label: int(count) for label, count in zip(_LABELS, counts, strict=True)}

    @property
    def expected_misclassification(self) -> dict[str, float | None]:
        """Expected share of each label's units that are something else, as the estimates' own errors have it.

        None for "Uncertain", which is no claim, and for labels nobody has.
        """
        diagonal = np.diagonal(composition(self.probabilities, self.membership))
        told: dict[str, float | None] = {
            label: None if np.isnan(p) else float(1.0 - p) for label, p in zip(ARCHETYPES, diagonal, strict=True)
        }
        return told | {UNCERTAIN: None}

    def decisions(self, eligible: ArrayLike | None = None) -> Floats:
        """(n, A) probabilities of the actions, each unit treated as its archetype says.

        Raises:
            ActionError: eligibility of another shape.
        """
        allowed = check_eligible(eligible, self.n, self.n_actions)
        chance = np.zeros(self.n)
        for code, label in enumerate(_LABELS):
            of_label = self.membership == code
            chance[of_label] = _chance(self.actions[label], self.effect[of_label], self.thresholds.pays)
        return one_action(self.treatment, chance, self.n, self.n_actions, allowed)

    def frame(self) -> pl.DataFrame:
        """One row per label that somebody has: action, size, mean estimates, expected misclassification and mix."""
        import polars as pl

        mix, wrong = composition(self.probabilities, self.membership), self.expected_misclassification
        rows = []
        for code, (label, size) in enumerate(self.sizes.items()):
            if size == 0:
                continue
            of_label = self.membership == code
            rows.append(
                {
                    "archetype": label,
                    "action": self.actions[label],
                    "n": size,
                    "share": size / self.n,
                    "effect": float(self.effect[of_label].mean()),
                    "baseline": float(self.baseline[of_label].mean()),
                    "expected_misclassification": wrong[label],
                }
                | {f"P({name})": float(p) for name, p in zip(ARCHETYPES, mix[code], strict=True)}
            )
        return pl.DataFrame(rows, infer_schema_length=None)

    def __str__(self) -> str:
        lines = [
            f"{'archetype':14}  {'action':8} {'share':>6}  {'effect':>9}  {'baseline':>9}  expected misclassification"
        ]
        for row in self.frame().iter_rows(named=True):
            wrong = row["expected_misclassification"]
            lines.append(
                f"{row['archetype']:14}  {row['action']:8} {row['share']:6.1%}  {row['effect']:+9.4g}  "
                f"{row['baseline']:9.4g}  {'no claim is made' if wrong is None else f'{wrong:.1%}'}"
            )
        lines.append("Expected by the estimates' own errors, which is too little: see value.archetype_table.")
        return "\n".join(lines)


class ArchetypePolicy(Parameters):
    """Act by archetype: contact Persuadables, leave Sure Things and Lost Causes alone, suppress Do-Not-Disturbs.

    Args:
        learner: a fitted effect model with half-samples (``n_resamples=20``) that knows the effect on
            ``economics.outcome``; calibrated effects (``effects.CalibratedEffects``) make far fewer mistakes.
        baseline: a fitted model of the outcome of those left alone: ``predict(features) -> (n,)``.
        economics: what the thresholds come from.
        action: the treatment, by label or code; needed where there are several.
        harm, sure, confidence: see ``ArchetypeThresholds.of``.
        actions: label → what is done, where that differs from the usual: "contact"; "leave" (alone); "suppress" (also
            kept off every list); "expected" (contact where the estimated effect is above the break-even, which is best
            on average for who is uncertain); "test" (contact one half, drawn by lot, to learn).
    """

    def __init__(
        self,
        learner: UnsureEffects,
        baseline: BaselineModel,
        economics: Economics,
        action: str | int | None = None,
        harm: float | None = None,
        sure: float | None = None,
        confidence: float = 0.8,
        actions: Mapping[str, str] | None = None,
    ) -> None:
        self.learner = learner
        self.baseline = baseline
        self.economics = economics
        self.action = action
        self.harm = harm
        self.sure = sure
        self.confidence = confidence
        self.actions = actions

    @property
    def name(self) -> str:
        """What tables call it."""
        return "by archetype"

    @property
    def fitted_on(self) -> Fingerprint | None:
        """The rows its two models learned from."""
        return _union(getattr(self.learner, "fitted_on", None), getattr(self.baseline, "fitted_on", None))

    def assign(self, units: Any) -> Archetypes:
        """The archetype of each unit.

        Args:
            units: a log, ``Features`` or a frame.

        Raises:
            NotFittedError: a model is not fitted, or the learner kept no half-samples.
            OutcomeError: the learner knows no effect on ``economics.outcome``.
            ActionError: no such treatment, or none chosen of several.
            ParameterError: a threshold or an action out of range.
            DataError: an estimate that is not finite.
        """
        return archetypes(
            units,
            self.learner,
            self.baseline,
            self.economics,
            action=self.action,
            harm=self.harm,
            sure=self.sure,
            confidence=self.confidence,
            actions=self.actions,
        )

    def probabilities(self, features: Any, n_actions: int, eligible: ArrayLike | None = None) -> Floats:
        """(n, A) probabilities of the actions; raises as :meth:`assign`, and ``ActionError`` for another A."""
        check_actions(n_actions, len(self.learner.actions_), self.name)
        allowed: Flags | None = check_eligible(eligible, count_rows(features), n_actions)
        return self.assign(features).decisions(allowed)


def archetypes(
    units: Any,
    effect: UnsureEffects | ArrayLike,
    baseline: BaselineModel | ArrayLike,
    economics: Economics,
    *,
    interval: tuple[ArrayLike, ArrayLike] | None = None,
    alpha: float = 0.05,
    baseline_stderr: ArrayLike | None = None,
    action: str | int | None = None,
    harm: float | None = None,
    sure: float | None = None,
    confidence: float = 0.8,
    actions: Mapping[str, str] | None = None,
) -> Archetypes:
    """Persuadables, Sure Things, Lost Causes and Do-Not-Disturbs, and those of whom it cannot be told.

    A unit belongs to the archetype that its true effect and baseline would put it in; see ``ArchetypeThresholds``. As
    only estimates are known, each archetype gets a probability (``membership_probabilities``), and where none reaches
    ``confidence`` the unit is Uncertain.

    Args:
        units: n units: a log, ``Features``, a frame or an (n, d) array.
        effect: a fitted effect model that kept half-samples; or estimated effects (n,) or (n, A) with ``interval``.
        baseline: a fitted model of the outcome of those left alone, or its predictions, (n,).
        economics: value of a conversion and cost of a contact.
        interval: (lower, upper) of estimated effects, as ``effect_interval`` returns them.
        alpha: of that interval.
        baseline_stderr: (n,) standard errors of the baseline; None takes it as known, which makes the expected mistakes
            between Sure Things and Lost Causes too few.
        action: the treatment, by label or code; needed where there are several. Where neither a model nor a log names
            the actions, codes are the columns of (n, A) effects.
        harm, sure, confidence: see ``ArchetypeThresholds.of``.
        actions: see ``ArchetypePolicy``.

    Raises:
        NotFittedError: a model is not fitted, or kept no half-samples.
        OutcomeError: the model knows no effect on ``economics.outcome``.
        ActionError: no such treatment, or none chosen of several.
        ParameterError: a threshold or an action out of range; an interval missing, or given to a model.
        DataError: estimates of another shape, not finite, or an interval upside down.
    """
    if not isinstance(economics, Economics):
        raise ParameterError(
            f"economics is a {type(economics).__name__}", remedy="Make them: ps.policies.economics(50.0, 0.2)."
        )
    limits = ArchetypeThresholds.of(economics, harm, sure, confidence)
    chosen, n = _checked_actions(actions), count_rows(units)
    space = effect.actions_ if _is_model(effect) else getattr(units, "actions", None) or _numbered(effect)
    code = space.treatment(action)
    features = getattr(units, "features", units)
    if _is_model(effect):
        if interval is not None:
            raise ParameterError(
                "interval= is for estimates given as arrays", remedy="Leave it out: the model has one."
            )
        told, spread = _estimated(effect, features, economics.outcome, code)
    else:
        told, spread = _given(effect, interval, alpha, (n, len(space)), code)
    level = np.asarray(baseline.predict(features) if hasattr(baseline, "predict") else baseline, dtype=np.float64)
    level_error = None if baseline_stderr is None else np.asarray(baseline_stderr, dtype=np.float64)
    for name, values in {"effect": told, "interval": spread, "baseline": level, "baseline_stderr": level_error}.items():
        _check(name, values, n)
    p = membership_probabilities(told, spread, level, level_error, limits)
    both = _is_model(effect) and hasattr(baseline, "predict") and baseline_stderr is None
    return Archetypes(
        membership=_labelled(p, limits.confidence),
        probabilities=p,
        effect=told,
        stderr=spread,
        baseline=level,
        baseline_stderr=level_error,
        thresholds=limits,
        economics=economics,
        actions=chosen,
        treatment=code,
        n_actions=len(space),
        fitted_on=_union(getattr(effect, "fitted_on", None), getattr(baseline, "fitted_on", None)),
        rows=getattr(units, "fingerprint", None),
        policy=ArchetypePolicy(effect, baseline, economics, action, harm, sure, confidence, actions) if both else None,  # type: ignore[arg-type]
    )


def _is_model(effect: Any) -> TypeGuard[UnsureEffects]:
    return hasattr(effect, "effect")


def _numbered(effect: Any) -> Discrete:
    """The actions that estimates (n, A) are of where no log names them: "0" to "A − 1", or two for estimates (n,)."""
    return Discrete(tuple(str(a) for a in range(np.shape(effect)[1] if np.ndim(effect) == 2 else 2)))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _labelled(probabilities: Floats, confidence: float) -> NDArray[np.int8]:
    """(n,) codes of the likeliest archetype, or of "Uncertain"."""
    code = probabilities.argmax(axis=1)
    # Probabilities that sum to 1 but for rounding must not fail a confidence of 1.
    return np.where(probabilities.max(axis=1) >= confidence - 1e-12, code, len(ARCHETYPES)).astype(np.int8)


def _chance(action: Action, effect: Floats, pays: float) -> Floats:
    """(m,) probability of the treatment."""
    if action == "expected":
        return (effect > pays).astype(np.float64)
    return np.full(effect.shape, {"contact": 1.0, "test": 0.5}.get(action, 0.0))


def _checked_actions(told: Mapping[str, str] | None) -> dict[str, Action]:
    """Every label's action."""
    chosen = dict(_ACTIONS)
    for label, action in (told or {}).items():
        if label not in chosen:
            raise ParameterError(f"There is no archetype {label!r}", remedy=f"They are {list(_LABELS)}.")
        if action not in get_args(Action):
            raise ParameterError(f"{action!r} is not an action", remedy=f"Pass one of {list(get_args(Action))}.")
        chosen[label] = action  # type: ignore[assignment]
    return chosen


def _estimated(model: Any, features: Any, outcome: str, code: int) -> tuple[Floats, Floats]:
    """(n,) effects of a treatment and the spread of the refits."""
    if not hasattr(model, "effect_refits"):
        raise NotFittedError(
            f"A {type(model).__name__} cannot tell how sure its effects are",
            remedy="Pass a learner fitted with n_resamples=20, or effects with interval=.",
        )
    effect = np.asarray(model.effect(features, outcome=outcome), dtype=np.float64)[:, code]
    return effect, net_stderr(model, features, outcome, None)[:, code - 1]


def _given(
    effect: Any, interval: tuple[ArrayLike, ArrayLike] | None, alpha: float, shape: tuple[int, int], code: int
) -> tuple[Floats, Floats]:
    """(n,) effects and standard errors, from arrays."""
    if interval is None:
        raise ParameterError(
            "Effects were given without their interval, so nobody's archetype is uncertain or certain",
            remedy="Pass interval=learner.effect_interval(features), or the learner itself.",
        )
    if not _is_number(alpha) or not 0 < alpha < 1:
        raise ParameterError(f"alpha is {alpha!r}", remedy="Pass the interval's own, in (0, 1), such as 0.05.")
    told, lower, upper = (_column(part, shape, code) for part in (effect, *interval))
    for name, values in {"effect": told, "interval's lower end": lower, "interval's upper end": upper}.items():
        if values.shape != shape[:1]:
            raise _misfit(name, values, shape[0])
    if (bad := ~(lower <= upper)).any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"The interval runs from {lower[row]:.4g} to {upper[row]:.4g}",
            where=f"row {row}",
            remedy="Pass (lower, upper), finite numbers.",
        )
    return told, (upper - lower) / (2.0 * float(-ndtri(alpha / 2)))


def _column(values: ArrayLike, shape: tuple[int, int], code: int) -> Floats:
    """(n,) the treatment's column of (n, A), or (n,) as it is."""
    table = np.asarray(values, dtype=np.float64)
    return table[:, code] if table.shape == shape else table


def _misfit(name: str, values: Floats, n: int) -> DataError:
    return DataError(f"{name} has shape {values.shape}, expected {(n,)}", remedy="Give one number per unit.")


def _check(name: str, values: Floats | None, n: int) -> None:
    """Refuse estimates that cannot be used."""
    if values is None:
        return
    if values.shape != (n,):
        raise _misfit(name, values, n)
    bad = ~np.isfinite(values) | ((values < 0) if name == "baseline_stderr" else False)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(f"{name} is {values[row]}", where=f"row {row}", remedy="Give a finite number for every unit.")


def _union(one: Fingerprint | None, other: Fingerprint | None) -> Fingerprint | None:
    """The rows of either."""
    return one if other is None else other if one is None else one.union(other)
