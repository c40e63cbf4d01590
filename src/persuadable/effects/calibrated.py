"""Effects put on the scale that held-out rows show: one monotone map per outcome and action."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from persuadable.effects.arrays import Effects
from persuadable.effects.fitting import Bench
from persuadable.effects.learner import Learner
from persuadable.effects.learners import DRLearner
from persuadable.effects.maps import EffectMap, MapKind, fit_map
from persuadable.effects.scores import action_scores
from persuadable.errors import (
    ActionError,
    BundleError,
    DataError,
    LeakageError,
    NotFittedError,
    OutcomeError,
    ParameterError,
)
from persuadable.features import Column
from persuadable.fingerprint import Fingerprint, content_seed
from persuadable.log import DecisionLog, checks
from persuadable.params import Parameters
from persuadable.spaces import Discrete

__all__ = ["CalibratedEffects", "FlatMapWarning", "ScoredEffects", "score_effects"]

Vector = NDArray[np.float64]
Mask = NDArray[np.bool_]

ROWS_A_BIN = 50  # of either arm, on average


class FlatMapWarning(UserWarning):
    """Held-out rows show no rise of the effect with its prediction, so calibration gives everybody the average."""


class EffectSource(Protocol):
    """A fitted model of effects: a ``Learner``, a ``SegmentLearner``."""

    @property
    def fitted_on(self) -> Fingerprint:
        """The rows it learned from."""
        ...

    @property
    def actions_(self) -> Discrete:
        """The actions it knows."""
        ...

    @property
    def outcomes_(self) -> tuple[str, ...]:
        """The outcomes whose effects it predicts, the primary first."""
        ...

    @property
    def columns_(self) -> tuple[Column, ...]:
        """The features it was fitted on."""
        ...

    def effect(self, X: Any, outcome: str | None = None) -> NDArray[Any]:
        """(n, A) effects over doing nothing."""
        ...

    def out_of_fold_effect(self, log: DecisionLog, outcome: str | None = None) -> NDArray[Any]:
        """(n, A) effects of training rows, from models that did not see them."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ScoredEffects:
    """Scores of every action's effect on every row of a log.

    Attributes:
        scores: (n, A) Γ_a − Γ_0 with Γ_a = μ̂_a + 1{A = a}(Y − μ̂_a)/e_a, whose conditional mean is the effect; column 0
            is zero.
        possible: (n, A) where the action and the control both had a chance; elsewhere a score rests on μ̂ alone.
        weight: (n,) row weights of mean 1.
    """

    scores: Vector
    possible: Mask
    weight: Vector


def score_effects(log: DecisionLog, outcome: str | None = None, nuisance: Learner | None = None) -> ScoredEffects:
    """Doubly robust scores of every action's effect, with the full propensities of all actions.

    Every row tells something about every action it could have got: rows of other arms by their responses
    (Robins, Rotnitzky, Zhao 1994). Responses are out of fold.

    Args:
        log: n rows, A actions.
        outcome: which outcome; None is the primary one.
        nuisance: the learner by whose settings responses are fitted and propensities found (``nuisance_trees``,
            ``n_folds``, ``propensity``, ``clip``, ``loss``, ``random_state``); a ``DRLearner()`` when None.

    Raises:
        ActionError: an arm without rows.
        OutcomeError: no such outcome, or one the loss cannot fit.
        PropensityError: propensities are unknown where they are needed.
    """
    checks.arms(log.action, log.actions, "action")
    learner = nuisance or DRLearner()
    bench, name = Bench.of(learner, log), log.primary if outcome is None else outcome
    e = bench.propensity(learner).values
    scores = action_scores(log.outcome(name), log.action, e, bench.responses(learner, (name,))[0])
    weight = np.ones(log.n) if log.weight is None else np.asarray(log.weight, dtype=np.float64)
    return ScoredEffects(scores - scores[:, :1], (e > 0) & (e[:, :1] > 0), weight / weight.mean())


class CalibratedEffects(Parameters):
    """A model of effects whose predictions are put on the scale that held-out rows show.

    A ranking can be right while its numbers are too bold, and an allocation compares numbers: value with cost, one
    action with another. For each outcome and action a monotone map takes predicted effects to the mean doubly robust
    score of rows that did not fit the model: causal isotonic calibration (van der Laan, Ulloa-Pérez, Carone, Luedtke
    2023), or a line. It keeps the order of one action's effects, and may change which action is best for a unit.

    It stands in wherever an effect model is asked for: policies, ``value``, allocations.

    Args:
        learner: a fitted effect model.
        method: "isotonic", or "platt", a line with slope ≥ 0, for small logs.
        n_bins: bins the predictions are cut into, at most; fewer, but 2, where they would hold below 50 rows of an arm.
        nuisance: the learner by whose settings the scores are made, see ``score_effects``; None takes the model's own,
            which for a ``SegmentLearner`` are those of its learner.

    Attributes:
        maps_: outcome → a map per treatment.
        fitted_on: the rows the model learned from, and the rows the maps learned from.
        calibrated_on_: the rows the maps learned from.
    """

    maps_: dict[str, tuple[EffectMap, ...]]
    fitted_on: Fingerprint
    calibrated_on_: Fingerprint
    _held_out: dict[str, Vector]
    _held_out_of: int

    def __init__(
        self,
        learner: EffectSource,
        method: MapKind = "isotonic",
        n_bins: int = 20,
        nuisance: Learner | None = None,
    ) -> None:
        self.learner = learner
        self.method = method
        self.n_bins = n_bins
        self.nuisance = nuisance

    @property
    def actions_(self) -> Discrete:
        """The actions, the control first."""
        return self.learner.actions_

    @property
    def outcomes_(self) -> tuple[str, ...]:
        """Names of the outcomes whose effects it predicts, the primary first."""
        return self.learner.outcomes_

    @property
    def columns_(self) -> tuple[Column, ...]:
        """The features it was fitted on."""
        return self.learner.columns_

    def calibrate(self, log: DecisionLog) -> Self:
        """Learn the maps of every outcome from rows that did not fit the model.

        On the log the model was fitted on, its out-of-fold effects are used: no row is given away, and ``fitted_on``
        stays what it was. On other rows ``fitted_on`` becomes both, and a policy needs a third part.

        Raises:
            ParameterError: an unknown method, fewer than 2 bins, or a ``nuisance`` that is no learner.
            NotFittedError: the model is not fitted.
            LeakageError: some of the rows fitted the model, but not all.
            ActionError: other actions than the model's, or an arm without rows.
            OutcomeError: an outcome is missing.
            DataError: an effect is not finite.

        Warns:
            FlatMapWarning: the effects of an action do not rise with their predictions.
        """
        self._check()
        if log.actions.names != self.actions_.names:
            raise ActionError(
                f"The log's actions are {list(log.actions.names)}, the model's {list(self.actions_.names)}",
                remedy="Calibrate on a log of the same actions, in the same order.",
            )
        held_out, maps, flat = {}, {}, {}
        for outcome in self.outcomes_:
            effect = self._held_out_effect(log, outcome)
            scored = score_effects(log, outcome, self._nuisance())
            maps[outcome] = self._maps(log, effect, scored, np.ones(log.n, dtype=np.bool_))
            held_out[outcome] = self._cross_mapped(log, effect, scored)
            flat[outcome] = self._flat(effect, maps[outcome])
        own, here = self.learner.fitted_on, log.fingerprint
        self.maps_, self.calibrated_on_ = maps, here
        self.fitted_on = own if own.same_rows(here) else own.union(here)
        self._held_out, self._held_out_of = held_out, _content(log)
        _warn(flat)
        return self

    def effect(self, X: Any, outcome: str | None = None) -> Effects:
        """(n, A) calibrated effect of each action against the control, in outcome units; column 0 is zero.

        Raises:
            NotFittedError: before ``calibrate``.
            OutcomeError: an outcome it was not calibrated on.
            FeatureError: features that differ from those fitted on.
        """
        name = self._outcome(outcome)
        return Effects.of(self._mapped(self.learner.effect(X, name), name), self.fitted_on)

    def effect_refits(self, X: Any, outcome: str | None = None) -> Iterator[Vector]:
        """The effect (n, A) as each half-sample's refit of the model has it, through the same maps.

        Their spread is the standard error of the calibrated effect, but for the maps' own, which is not in it.

        Raises:
            NotFittedError: before ``calibrate``, or the model kept no half-samples.
        """
        name, refits = self._outcome(outcome), getattr(self.learner, "effect_refits", None)
        if refits is None:
            raise NotFittedError(
                f"The {type(self.learner).__name__} keeps no half-samples to tell its uncertainty from",
                remedy="Calibrate a learner fitted with n_resamples=20.",
            )
        return (self._mapped(effect, name) for effect in refits(X, name))

    def out_of_fold_effect(self, log: DecisionLog, outcome: str | None = None) -> Effects:
        """(n, A) effects on the rows it was calibrated or fitted on, each by models and maps that did not see the row.

        On rows the maps learned from, each fifth of the rows is mapped by maps learned from the others.

        Raises:
            NotFittedError: before ``calibrate``.
            ParameterError: a log other than those it learned from.
        """
        name, here = self._outcome(outcome), log.fingerprint
        if not self.calibrated_on_.same_rows(here):
            if not self.learner.fitted_on.same_rows(here):
                raise ParameterError(
                    "These effects were calibrated on another log",
                    remedy="Pass the log they were calibrated or fitted on; on other rows use effect().",
                )
            return Effects.of(self._mapped(self.learner.out_of_fold_effect(log, name), name), None)
        if getattr(self, "_held_out_of", None) != _content(log):  # read back from a file, or rows in another order
            scored = score_effects(log, name, self._nuisance())
            return Effects.of(self._cross_mapped(log, self._held_out_effect(log, name), scored), None)
        return Effects.of(self._held_out[name].copy(), None)

    def explain(self) -> str:
        """The maps in words, a line per outcome and treatment.

        Raises:
            NotFittedError: before ``calibrate``.
        """
        self._outcome(None)
        return "\n".join(
            f"{outcome}, {label}: {_in_words(told)}"
            for outcome, maps in self.maps_.items()
            for label, told in zip(self.actions_.treatments, maps, strict=True)
        )

    def state(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """(description, ensembles), as ``effects.state.model_state`` has them; ``nuisance`` stays behind.

        Raises:
            NotFittedError: before ``calibrate``.
        """
        from persuadable.effects.state import fingerprint_told, model_state

        self._outcome(None)
        inner, blobs = model_state(self.learner)
        description = {
            "kind": "CalibratedEffects",
            "parameters": {"method": self.method, "n_bins": int(self.n_bins)},
            "model": inner,
            "maps": [[told.state() for told in self.maps_[outcome]] for outcome in self.outcomes_],
            "calibrated_on": fingerprint_told(self.calibrated_on_),
        }
        return description, blobs | {"calibrated-on.u64": self.calibrated_on_.ids.astype("<u8").tobytes()}

    @classmethod
    def from_state(cls, description: Mapping[str, Any], blobs: Mapping[str, bytes]) -> Self:
        """The calibrated effects back from :meth:`state`; bit-equal.

        Raises:
            BundleError: something is missing, or does not fit.
        """
        from persuadable.effects.state import model_from_state

        try:
            parameters = description["parameters"]
            if not isinstance(description["model"], Mapping) or description["model"]["kind"] == "CalibratedEffects":
                raise ValueError("what was calibrated is no effect model")
            calibrated = cls(model_from_state(description["model"], blobs), **parameters)
            calibrated._check()
            told = description["maps"]
            sound = len(told) == len(calibrated.outcomes_) and all(
                len(maps) == len(calibrated.actions_) - 1 for maps in told
            )
            if not sound:
                raise ValueError("there is not a map for every outcome and treatment")
            calibrated.maps_ = {
                outcome: tuple(EffectMap.read(each) for each in maps)
                for outcome, maps in zip(calibrated.outcomes_, told, strict=True)
            }
            ids = np.frombuffer(blobs["calibrated-on.u64"], "<u8")
            calibrated.calibrated_on_ = Fingerprint.read(ids, description["calibrated_on"])
            own = calibrated.learner.fitted_on
            same = own.same_rows(calibrated.calibrated_on_)
            calibrated.fitted_on = own if same else own.union(calibrated.calibrated_on_)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            if isinstance(error, BundleError):
                raise
            what = f"The calibration's description is incomplete: {error}"
            raise BundleError(what, remedy="Save it again.") from error
        return calibrated

    # -- how -----------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self.method not in ("isotonic", "platt"):
            raise ParameterError(
                f"method={self.method!r} is not a choice",
                where="CalibratedEffects",
                remedy="Choose 'isotonic' or 'platt'.",
            )
        if not isinstance(self.n_bins, int | np.integer) or not 2 <= self.n_bins <= 1_000:
            raise ParameterError(
                f"n_bins is {self.n_bins!r}",
                where="CalibratedEffects",
                remedy="Pass a whole number from 2 to 1,000.",
            )
        if not (self.nuisance is None or isinstance(self.nuisance, Learner)):
            raise ParameterError(
                f"nuisance={self.nuisance!r} is no learner",
                where="CalibratedEffects",
                remedy="Pass e.g. nuisance=DRLearner(trees=Trees(max_depth=3)), whose settings the scores are made by.",
            )
        if getattr(self.learner, "fitted_on", None) is None:
            raise NotFittedError(
                f"The {type(self.learner).__name__} is not fitted", remedy="Call learner.fit(train) before calibrating."
            )

    def _nuisance(self) -> Learner | None:
        inner = getattr(self.learner, "learner", None)  # a SegmentLearner's
        return next((told for told in (self.nuisance, self.learner, inner) if isinstance(told, Learner)), None)

    def _held_out_effect(self, log: DecisionLog, outcome: str) -> Vector:
        """(n, A) the model's effects on rows that it did not learn from."""
        here = log.fingerprint
        if not (shared := self.learner.fitted_on.overlap(here)):
            told = self.learner.effect(log, outcome)
        elif self.learner.fitted_on.same_rows(here):
            told = self.learner.out_of_fold_effect(log, outcome)
        else:
            raise LeakageError(
                f"{shared:,} of the {log.n:,} rows to calibrate on also fitted the {type(self.learner).__name__}",
                remedy="Calibrate on the whole training log (out-of-fold effects are used), or on held-out rows.",
            )
        effect = np.asarray(told, dtype=np.float64)
        if not np.isfinite(effect).all():
            row = int(np.flatnonzero(~np.isfinite(effect).all(axis=1))[0])
            raise DataError(
                f"An effect on {outcome!r} is not finite",
                where=f"row {row}",
                remedy="Look at what the model made of this row's features.",
            )
        return effect

    def _maps(self, log: DecisionLog, effect: Vector, scored: ScoredEffects, within: Mask) -> tuple[EffectMap, ...]:
        """A map per treatment, from some of the rows."""
        rows_of = np.bincount(log.action[within], minlength=log.n_actions)
        maps = []
        for a in range(1, log.n_actions):
            rows = np.flatnonzero(within & scored.possible[:, a])
            bins = min(int(self.n_bins), max(2, int(min(rows_of[a], rows_of[0])) // ROWS_A_BIN))
            maps.append(fit_map(self.method, effect[rows, a], scored.scores[rows, a], scored.weight[rows], bins))
        return tuple(maps)

    def _cross_mapped(self, log: DecisionLog, effect: Vector, scored: ScoredEffects) -> Vector:
        """(n, A) effects, each fold through maps that the other folds taught."""
        nuisance = self._nuisance() or DRLearner()
        folds = log.folds(nuisance.n_folds, nuisance.random_state + 2)  # not the folds that left the row's model out
        mapped = np.zeros_like(effect)
        for k in range(nuisance.n_folds):
            maps = self._maps(log, effect, scored, folds != k)
            mapped[folds == k] = _through(maps, effect[folds == k])
        return mapped

    def _mapped(self, effect: NDArray[Any], outcome: str) -> Vector:
        return _through(self.maps_[outcome], np.asarray(effect, dtype=np.float64))

    def _outcome(self, name: str | None) -> str:
        if not hasattr(self, "maps_"):
            raise NotFittedError("These effects are not calibrated", remedy="Call calibrate(log) first.")
        if name is not None and name not in self.maps_:
            raise OutcomeError(f"No effect on {name!r} was calibrated", remedy=f"There are {list(self.maps_)}.")
        return self.outcomes_[0] if name is None else name

    def _flat(self, effect: Vector, maps: tuple[EffectMap, ...]) -> list[str]:
        """The treatments whose predictions differ between units to no avail."""
        spread = np.ptp(effect[:, 1:], axis=0) > 1e-6 * np.abs(effect[:, 1:]).max(axis=0)
        told = zip(self.actions_.treatments, maps, spread.tolist(), strict=True)
        return [label for label, one, differs in told if one.is_flat and differs]


def _warn(flat: Mapping[str, list[str]]) -> None:
    for outcome, labels in flat.items():
        if labels:
            warnings.warn(
                f"On held-out rows the effect of {', '.join(labels)} on {outcome} does not rise with its prediction; "
                "everybody gets the average effect.",
                FlatMapWarning,
                stacklevel=3,
            )


def _through(maps: tuple[EffectMap, ...], effect: Vector) -> Vector:
    mapped = np.zeros_like(effect)
    for a, told in enumerate(maps, start=1):
        mapped[:, a] = told(effect[:, a])
    return mapped


def _content(log: DecisionLog) -> int:
    """A hash of a log's rows in their order."""
    return content_seed([log.rows, log.action, log.features.values])


def _in_words(told: EffectMap) -> str:
    if told.is_flat:
        return f"held-out rows show no rise; everybody gets {told.y[0]:.4g}"
    if told.x.size == 1:
        return f"{told.y[0]:.4g} at a predicted {told.x[0]:.4g}, and {told.slope:.3g} for each 1 more"
    return (
        f"{told.y[0]:.4g} up to a predicted {told.x[0]:.4g}, rising to {told.y[-1]:.4g} from {told.x[-1]:.4g} on, "
        f"in {told.x.size} steps"
    )
