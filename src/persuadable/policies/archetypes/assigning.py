"""Persuadables, Sure Things, Lost Causes, Do-Not-Disturbs: who is taken for which, and the policy that acts on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, TypeGuard, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from persuadable.design.power import is_number
from persuadable.errors import DataError, NotFittedError, ParameterError
from persuadable.fingerprint import Fingerprint
from persuadable.params import Parameters
from persuadable.policies.archetypes.learning import ArchetypeBeliefs
from persuadable.policies.archetypes.result import Archetypes, Posterior
from persuadable.policies.archetypes.thresholds import (
    ACTIONS,
    ARCHETYPES,
    LABELS,
    Action,
    ArchetypeThresholds,
    kinds,
    membership_probabilities,
)
from persuadable.policies.base import Flags, Floats, check_actions, check_eligible, count_rows
from persuadable.policies.economics import Economics
from persuadable.policies.explore.outlook import net_stderr
from persuadable.spaces import Discrete

__all__ = ["ArchetypePolicy", "BaselineModel", "UnsureEffects", "archetypes"]


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
        beliefs: what was learned of the estimates on the training log; None takes them at their word.
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
        beliefs: ArchetypeBeliefs | None = None,
    ) -> None:
        self.learner = learner
        self.baseline = baseline
        self.economics = economics
        self.action = action
        self.harm = harm
        self.sure = sure
        self.confidence = confidence
        self.actions = actions
        self.beliefs = beliefs

    @property
    def name(self) -> str:
        """What tables call it."""
        return "by archetype"

    @property
    def fitted_on(self) -> Fingerprint | None:
        """The rows its two models and its beliefs learned from."""
        return _rows_of(self.learner, self.baseline, self.beliefs)

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
            beliefs=self.beliefs,
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
    beliefs: ArchetypeBeliefs | None = None,
) -> Archetypes:
    """Persuadables, Sure Things, Lost Causes and Do-Not-Disturbs, and those of whom it cannot be told.

    A unit belongs to the archetype that its true effect and baseline would put it in; see ``ArchetypeThresholds``. As
    only estimates are known, each archetype gets a probability, and where none reaches ``confidence`` the unit is
    Uncertain. Give ``beliefs``: then the probabilities are a posterior, and about as often right as they say. Without
    them the estimates are taken at their word (``membership_probabilities``), which is far too bold.

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
        beliefs: ``ArchetypeBeliefs.learn(train, effect, baseline)``, for the same two models.

    Raises:
        NotFittedError: a model is not fitted, or kept no half-samples.
        OutcomeError: the model knows no effect on ``economics.outcome``.
        ActionError: no such treatment, or none chosen of several.
        ParameterError: a threshold or an action out of range; an interval missing, or given to a model; beliefs about
            estimates given as arrays.
        DataError: estimates of another shape, not finite, or an interval upside down.
    """
    if not isinstance(economics, Economics):
        raise ParameterError(
            f"economics is a {type(economics).__name__}", remedy="Make them: ps.policies.economics(50.0, 0.2)."
        )
    if beliefs is not None and not isinstance(beliefs, ArchetypeBeliefs):
        raise ParameterError(
            f"beliefs is a {type(beliefs).__name__}",
            remedy="Learn them: ps.policies.ArchetypeBeliefs.learn(train, learner, baseline).",
        )
    if _is_model(effect) and not hasattr(effect, "actions_"):
        name = effect.__name__ if isinstance(effect, type) else type(effect).__name__
        raise NotFittedError(f"The {name} is not fitted", remedy="Call fit(train) before.")
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
    if beliefs is None:
        p = membership_probabilities(told, spread, level, level_error, limits)
        believed = Posterior(told, spread, level, np.zeros(n) if level_error is None else level_error)
    else:
        if not _is_model(effect):
            raise ParameterError("beliefs= is for a model", remedy="Pass the model the beliefs were learned about.")
        inner: Any = getattr(effect, "learner", effect)  # a calibration's maps make steps on which nothing spreads
        error = spread if inner is effect else net_stderr(inner, features, economics.outcome, None)[:, code - 1]
        p, believed = _weighed(beliefs, code, economics.outcome, (told, error, level, level_error), limits)
    both = _is_model(effect) and hasattr(baseline, "predict") and baseline_stderr is None
    return Archetypes(
        membership=_labelled(p, limits.confidence),
        probabilities=p,
        effect=told,
        stderr=spread,
        baseline=level,
        baseline_stderr=level_error,
        believed=believed,
        thresholds=limits,
        economics=economics,
        actions=chosen,
        treatment=code,
        n_actions=len(space),
        fitted_on=_rows_of(effect, baseline, beliefs),
        rows=getattr(units, "fingerprint", None),
        policy=None
        if not both
        else ArchetypePolicy(effect, baseline, economics, action, harm, sure, confidence, actions, beliefs),  # type: ignore[arg-type]
        beliefs=beliefs,
    )


def _weighed(
    beliefs: ArchetypeBeliefs,
    code: int,
    outcome: str,
    told: tuple[Floats, Floats, Floats, Floats | None],
    limits: ArchetypeThresholds,
) -> tuple[Floats, Posterior]:
    """(n, 4) probabilities of the archetypes, and the posterior they come from."""
    effect, stderr, level, level_error = told
    tau = beliefs.of(code, outcome).posterior(effect, stderr, above=limits.pays, below=-limits.harm)
    if beliefs.baseline is None:
        known = membership_probabilities(np.zeros(effect.size), np.zeros(effect.size), level, level_error, limits)
        sure = known[:, 1] / (known[:, 1] + known[:, 2])
        spread = np.zeros(effect.size) if level_error is None else level_error
        return kinds(tau.above, tau.below, sure), Posterior(tau.mean, tau.sd, level, spread)
    mu = beliefs.baseline.posterior(level, None, above=limits.sure, below=-np.inf)
    return kinds(tau.above, tau.below, mu.above), Posterior(tau.mean, tau.sd, mu.mean, mu.sd)


def _is_model(effect: Any) -> TypeGuard[UnsureEffects]:
    return hasattr(effect, "effect")


def _numbered(effect: Any) -> Discrete:
    """The actions that estimates (n, A) are of where no log names them: "0" to "A − 1", or two for estimates (n,)."""
    return Discrete(tuple(str(a) for a in range(np.shape(effect)[1] if np.ndim(effect) == 2 else 2)))


def _labelled(probabilities: Floats, confidence: float) -> NDArray[np.int8]:
    """(n,) codes of the likeliest archetype, or of "Uncertain"."""
    code = probabilities.argmax(axis=1)
    # Probabilities that sum to 1 but for rounding must not fail a confidence of 1.
    return np.where(probabilities.max(axis=1) >= confidence - 1e-12, code, len(ARCHETYPES)).astype(np.int8)


def _checked_actions(told: Mapping[str, str] | None) -> dict[str, Action]:
    """Every label's action."""
    chosen = dict(ACTIONS)
    for label, action in (told or {}).items():
        if label not in chosen:
            raise ParameterError(f"There is no archetype {label!r}", remedy=f"They are {list(LABELS)}.")
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
    if not is_number(alpha) or not 0 < alpha < 1:
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


def _rows_of(*things: Any) -> Fingerprint | None:
    """The rows that any of them learned from."""
    found: Fingerprint | None = None
    for rows in (getattr(thing, "fitted_on", None) for thing in things):
        found = rows if found is None else found if rows is None or rows.same_rows(found) else found.union(rows)
    return found
