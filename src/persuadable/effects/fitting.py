"""Fitting learners, one or many: what they have in common is computed once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persuadable.design.propensity import Propensity, resolve
from persuadable.effects.arrays import Effects
from persuadable.effects.learner import Learner
from persuadable.engine import Case, LocalEngine, Recipe, Scale, Trees, response_loss
from persuadable.engine.local import Matrix, predict
from persuadable.engine.responses import Loss
from persuadable.errors import NotFittedError, ParameterError
from persuadable.fingerprint import Fingerprint
from persuadable.log import DecisionLog, checks
from persuadable.log.views import half_sample

__all__ = ["LEAST_FOLDS", "clone", "fit_each", "fit_many", "out_of_fold_effects", "shared"]

LEAST_FOLDS = 3  # out-of-fold effects need as many
Vector = NDArray[np.float64]
Order = tuple[Learner, str]


@contextmanager
def shared(log: DecisionLog) -> Iterator[None]:
    """Within the context, what learners need of this very log is found once, whoever asks.

    Its matrix, folds, propensities, out-of-fold responses and effects are kept until the context ends, for
    :func:`fit_many`, :func:`out_of_fold_effects` and ``score_effects`` alike. Results are the same, bit by bit; the log
    must not change meanwhile.
    """
    token = _SHARED.set((log, {}))
    try:
        yield
    finally:
        _SHARED.reset(token)


def fit_many(
    learners: Sequence[Learner], log: DecisionLog, outcomes: str | Sequence[str] | None = None
) -> list[Learner]:
    """Fit several learners on one log; they share its matrix, folds, propensities and responses.

    Learners share responses where they agree on ``nuisance_trees``, ``n_folds``, ``random_state`` and ``loss``; all are
    fitted by the engine of the first.

    Args:
        learners: fitted in place.
        log: n rows, A actions.
        outcomes: names of outcomes to learn the effects on, the primary one for None.

    Raises:
        ParameterError: no learner, or a parameter outside its range.
        ActionError: an arm without rows.
        OutcomeError: no such outcome, or one that a learner's loss cannot fit.
    """
    if not learners:
        raise ParameterError("There is no learner to fit", remedy="Pass at least one.")
    names = (log.primary,) if outcomes is None else (outcomes,) if isinstance(outcomes, str) else tuple(outcomes)
    if not names:
        raise ParameterError("No outcome was named", remedy=f"The log has {list(log.outcomes)}.")
    return fit_each([(learner, names) for learner in learners], log)


def fit_each(tasks: Sequence[tuple[Learner, tuple[str, ...]]], log: DecisionLog) -> list[Learner]:
    """Fit learners on one log, each on outcomes of its own; errors and what is shared as for :func:`fit_many`."""
    learners = [learner for learner, _ in tasks]
    for learner in learners:
        _require_whole_numbers(learner)
        _require_parts(learner)
    checks.arms(log.action, log.actions, "action")  # a part of a log may have lost an arm
    bench = Bench.of(learners[0], log)
    orders = [(learner, name) for learner, names in tasks for name in names]
    cooked = [(order, models) for same in _by_seed(orders) for order, models in bench.cook(same)]
    for learner, names in tasks:
        propensity = bench.propensity(learner)
        learner.actions_, learner.outcomes_, learner.columns_ = log.actions, names, log.features.columns
        learner.fitted_on, learner.propensity_ = bench.fingerprint, propensity
        learner.constant_propensity_ = _constant(propensity)
        learner.models_, learner.resamples_ = {}, {name: [] for name in names}
        learner.scales_ = {name: bench.loss(learner, name)[1] for name in names}
    for (learner, name), models in cooked:
        learner.models_[name] = models
    _resample(bench, orders)
    return learners


def _require_whole_numbers(learner: Learner) -> None:
    for name, least in (("n_folds", 2), ("n_resamples", 0), ("random_state", 0)):
        value = getattr(learner, name)
        if not isinstance(value, int | np.integer) or value < least:
            raise ParameterError(
                f"{name} must be a whole number from {least}, got {value!r}",
                where=type(learner).__name__,
                remedy=f"Pass e.g. {name}={0 if name == 'random_state' else max(least, 5)}.",
            )


def _require_parts(learner: Learner) -> None:
    for name, kind in (("trees", Trees), ("nuisance_trees", Trees), ("engine", LocalEngine)):
        value = getattr(learner, name)
        if not (value is None or isinstance(value, kind)):
            raise ParameterError(
                f"{name}={value!r} is not {kind.__name__}",
                where=type(learner).__name__,
                remedy=f"Pass e.g. {name}={kind()!r}, with the settings you want.",
            )


def _resample(bench: Bench, orders: Sequence[Order]) -> None:
    """Refit the effect stages on half-samples, responses kept, for the learners that ask for it."""
    for b in range(max(learner.n_resamples for learner, _ in orders)):
        for same in _by_seed([(learner, name) for learner, name in orders if b < learner.n_resamples]):
            half = half_sample(bench.log, np.random.default_rng([same[0][0].random_state, b]))
            for (learner, name), models in bench.cook(same, seed=b, within=half):
                learner.resamples_[name].append(models)


def _by_seed(orders: Sequence[Order]) -> list[list[Order]]:
    """Orders of learners with the same ``random_state``, so that a learner's result does not depend on its company."""
    groups: dict[int, list[Order]] = {}
    for learner, name in orders:
        groups.setdefault(learner.random_state, []).append((learner, name))
    return list(groups.values())


def out_of_fold_effects(
    learners: Sequence[Learner],
    log: DecisionLog,
    outcome: str | None = None,
    n_folds: int | None = None,
    folds: NDArray[np.int16] | None = None,
) -> list[Effects]:
    """(n, A) effects of each learner on the rows it was fitted on, each from refits that left the row out.

    The responses behind a row's effect left it out too: were they shared with the fit on all rows, the row's
    outcome would leak into its own effect through the responses of its neighbours.

    Args:
        learners: fitted on ``log``.
        log: the log they were fitted on.
        outcome: which outcome; None is the primary one of the first learner.
        n_folds: folds of the refits, at least 3; None takes the first learner's.
        folds: (n,) the folds themselves, numbered from 0. A refit whose mean effect is high left out a fold whose own
            is low, so rankings are best judged within folds; give the folds to know them.

    Raises:
        ParameterError: a log other than the one fitted on, or fewer than 3 folds.
        NotFittedError: a learner before ``fit``.
    """
    for learner in learners:
        if not hasattr(learner, "models_"):
            raise NotFittedError(f"This {type(learner).__name__} is not fitted", remedy="Call fit(log) first.")
    name = learners[0].outcomes_[0] if outcome is None else outcome
    bench = Bench.of(learners[0], log)
    for learner in learners:
        if not learner.fitted_on.same_rows(bench.fingerprint):
            raise ParameterError(
                f"The {type(learner).__name__} was fitted on another log",
                remedy="Pass the log it was fitted on; on other rows use effect().",
            )
    n_folds = int(folds.max()) + 1 if folds is not None else n_folds or max(learners[0].n_folds, LEAST_FOLDS)
    if n_folds < 3:
        raise ParameterError(f"Out-of-fold effects need at least 3 folds, got {n_folds}")
    folds = log.folds(n_folds, learners[0].random_state + 1) if folds is None else folds
    keys = [_refit_key(learner, name, folds) for learner in learners]
    _refit_without_folds(bench, dict(zip(keys, learners, strict=True)), name, folds)
    # Each row's effect is held out, so the array does not count as fitted on these rows.
    return [Effects.of(bench.out_of_fold[key].copy(), None) for key in keys]


def _refit_without_folds(
    bench: Bench, told: Mapping[tuple[Any, ...], Learner], name: str, folds: NDArray[np.int16]
) -> None:
    """Find the out-of-fold effects (n, A) of those learners that have none on the bench yet."""
    missing = {key: learner for key, learner in told.items() if key not in bench.out_of_fold}
    if not missing:
        return
    log, orders = bench.log, [(learner, name) for learner in missing.values()]
    effects = {key: np.zeros((log.n, log.n_actions)) for key in missing}
    place = {id(learner): effect for learner, effect in zip(missing.values(), effects.values(), strict=True)}
    for k, without in enumerate(bench.without_folds(list(missing.values()), name, folds)):
        out = np.flatnonzero(folds == k)
        values = bench.matrix.values[out]
        for same in _by_seed(orders):
            for (learner, _), models in without.cook(same, within=folds != k):
                recipe, scale = bench.recipe(learner), bench.loss(learner, name)[1]
                place[id(learner)][out] = predict(recipe, models, values, log.n_actions, scale)
    bench.out_of_fold |= effects


def _refit_key(learner: Learner, name: str, folds: NDArray[np.int16]) -> tuple[Any, ...]:
    """Learners with the same key have the same out-of-fold effects."""
    settings = {k: v for k, v in learner.get_params(deep=False).items() if k not in ("engine", "n_resamples")}
    return (type(learner), repr(settings), name, folds.tobytes())


def clone(learner: Learner) -> Learner:
    """An unfitted copy with the same parameters."""
    return type(learner)(**learner.get_params(deep=False))


@dataclass(slots=True, eq=False)
class Bench:
    """A log laid out for cooking: its matrix, and the propensities and responses found so far."""

    log: DecisionLog
    engine: LocalEngine
    matrix: Matrix
    fingerprint: Fingerprint
    _folds: dict[Any, NDArray[np.int16]]
    _propensities: dict[Any, Propensity]
    _mu: dict[Any, Vector]
    _losses: dict[tuple[str, str], tuple[Loss, Scale | None]]
    out_of_fold: dict[tuple[Any, ...], Vector]

    @classmethod
    def of(cls, learner: Learner, log: DecisionLog) -> Bench:
        engine = learner.engine or LocalEngine()
        told = _SHARED.get()
        kept = told[1] if told is not None and told[0] is log else {}
        if repr(engine) not in kept:
            kept[repr(engine)] = cls(log, engine, engine.matrix(log.features), log.fingerprint, {}, {}, {}, {}, {})
        return kept[repr(engine)]

    def folds(self, learner: Learner) -> NDArray[np.int16]:
        key = (learner.n_folds, learner.random_state)
        if key not in self._folds:
            self._folds[key] = self.log.folds(*key)
        return self._folds[key]

    def propensity(self, learner: Learner) -> Propensity:
        key = (learner.propensity, learner.clip, learner.n_folds, learner.random_state)
        if key not in self._propensities:
            self._propensities[key] = resolve(
                self.log,
                learner.propensity,
                clip=learner.clip,
                folds=self.folds(learner) if learner.propensity == "estimated" else None,
                engine=self.engine,
                matrix=self.matrix,
                random_state=learner.random_state,
            )
        return self._propensities[key]

    def loss(self, learner: Learner, name: str) -> tuple[Loss, Scale | None]:
        """How the learner fits the responses of an outcome."""
        key = (learner.loss, name)
        if key not in self._losses:
            log = self.log
            self._losses[key] = response_loss(log.outcome(name), log.action, log.n_actions, learner.loss)
        return self._losses[key]

    def recipe(self, learner: Learner) -> Recipe:
        """The learner's stages on this log."""
        return learner.recipe(self.log.n_actions, _constant(self.propensity(learner)))

    def responses(self, learner: Learner, names: Sequence[str]) -> list[Vector]:
        """Out-of-fold responses (n, A) of each outcome, as the learner fits them."""
        orders = [(learner, name) for name in names]
        self._respond(orders)
        return [self._mu[_response_key(*order)] for order in orders]

    def _respond(self, orders: Sequence[Order]) -> None:
        """Find the responses of the orders; those on the same rows are fitted together."""
        together: dict[Any, dict[Any, Order]] = {}
        for learner, name in orders:
            key = _response_key(learner, name)
            if key not in self._mu:
                together.setdefault(_together_key(learner), {})[key] = (learner, name)
        for told in together.values():
            learner, cases = next(iter(told.values()))[0], [self.case(*order, None) for order in told.values()]
            trees = nuisance_trees(learner)
            found = self.engine.cross_fit(self.matrix, cases, self.folds(learner), trees, seed=learner.random_state)
            self._mu |= dict(zip(told, found, strict=True))

    def without_folds(self, learners: Sequence[Learner], name: str, folds: NDArray[np.int16]) -> list[Bench]:
        """For each fold, this bench with the responses that never saw the fold."""
        needing = {_response_key(learner, name): learner for learner in learners if self.recipe(learner).needs_mu}
        found: list[dict[Any, Vector]] = [{} for _ in range(int(folds.max()) + 1)]
        for key, learner in needing.items():
            case = self.case(learner, name, None)
            mu = self.engine.cross_fit_without(
                self.matrix, [case], folds, nuisance_trees(learner), seed=learner.random_state
            )
            for k, per_case in enumerate(mu):
                found[k][key] = per_case[0]
        return [replace(self, _mu=mu) for mu in found]

    def case(self, learner: Learner, name: str, mu: Vector | None) -> Case:
        log, (loss, scale) = self.log, self.loss(learner, name)
        return Case(
            y=log.outcome(name),
            action=log.action,
            e=self.propensity(learner).values,
            mu=np.empty((log.n, 0)) if mu is None else mu,
            loss=loss,
            weight=None if log.weight is None else log.weight.astype(np.float64),
            scale=scale,
            reached=learner.reached(log, name),
        )

    def cook(
        self,
        orders: Sequence[Order],
        *,
        seed: int | None = None,
        within: NDArray[np.bool_] | None = None,
    ) -> list[tuple[Order, dict[str, Any]]]:
        """Fit the effect stages of every order; each with stage name → model. Seed None is the first learner's."""
        dishes: list[tuple[Recipe, Case, Trees]] = []
        self._respond([order for order in orders if self.recipe(order[0]).needs_mu])
        for learner, name in orders:
            recipe = self.recipe(learner)
            mu = self._mu[_response_key(learner, name)] if recipe.needs_mu else None
            dishes.append((recipe, self.case(learner, name, mu), learner.trees or Trees()))
        seed = orders[0][0].random_state if seed is None else seed
        return list(zip(orders, self.engine.execute(self.matrix, dishes, seed=seed, within=within), strict=True))


#: The log whose bench is shared, and its bench for each engine.
_SHARED: ContextVar[tuple[DecisionLog, dict[str, Bench]] | None] = ContextVar("shared", default=None)


def nuisance_trees(learner: Learner) -> Trees:
    """Settings of a learner's response models."""
    return learner.nuisance_trees or learner.trees or Trees()


def _together_key(learner: Learner) -> tuple[str, int, int]:
    """The responses of learners with the same key can be fitted together, on the same rows."""
    return (repr(nuisance_trees(learner)), learner.n_folds, learner.random_state)


def _response_key(learner: Learner, name: str) -> tuple[Any, ...]:
    """Learners with the same key share their responses."""
    return (name, learner.loss, *_together_key(learner))


def _constant(propensity: Propensity) -> tuple[float, ...] | None:
    return tuple(propensity.values[0].tolist()) if propensity.constant else None
