"""Choosing actions as a classification in which each mistake costs what it costs."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.engine import LocalEngine, TreeModel, Trees
from persuadable.engine.ensemble import check_ensemble
from persuadable.engine.local import Fit, Matrix
from persuadable.errors import BundleError, DataError, LeakageError, NotFittedError
from persuadable.features import Column, Features
from persuadable.fingerprint import Fingerprint
from persuadable.params import Parameters
from persuadable.policies.base import Flags, Floats, check_actions, check_eligible, check_share
from persuadable.policies.calibrated import CalibratedPolicy, Scored
from persuadable.policies.threshold import ScoreDistribution
from persuadable.policies.tree import saved
from persuadable.policies.tree.scores import learned_from, scores_for
from persuadable.spaces import Discrete

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["ClassificationPolicy"]

Pair = tuple[int, int]


class ClassificationPolicy(CalibratedPolicy):
    """Boosted trees that classify each unit by the action that is better for it, mistakes weighted by what they cost.

    Every two actions a < b are a contest: the label is whether Γ_b > Γ_a, the weight |Γ_b − Γ_a|, with Γ the doubly
    robust scores net of cost. The weighted chance p_ab of the label exceeds ½ just where E[Γ_b − Γ_a | x] > 0, so no
    effect has to be estimated well, only its sign (Zadrozny, Langford and Abe 2003; Zhao et al. 2012; Zhang et al.
    2012). The treatment that wins most contests with treatments is put to doing nothing (Beygelzimer, Langford and
    Zadrozny 2008), and given where it wins that by a margin 2p − 1 above the threshold.

    A share below 1 sets a price: what the marginal unit's treatment is worth by a cross-fitted regression of the
    scores. Every treatment's scores are reduced by it, so that the contests are decided where the budget ends. The
    threshold then makes the expected share exact; it is drawn from the margins of the training rows by models that did
    not see them. With share=1 everybody who gains is treated.

    Args:
        share: share of units the budget pays for, in [0, 1].
        outcome: what is to be raised; the log's first outcome when None.
        cost: the outcome that is the treatment's cost, in the same unit; none when None.
        break_even: what a treatment must bring at least, one number or one per treatment by label.
        trees: settings of the ensembles, those behind the scores included.
        n_folds: folds that predictions are crossed by.
        engine: where to fit; None is a ``LocalEngine``.
        random_state: seed of folds and ensembles.

    Attributes:
        fitted_on: fingerprint of the rows it learned from.
        price_: what treating costs on top, per unit treated; 0 where the budget does not bind.
    """

    parts: ClassVar[Mapping[str, type[Parameters]]] = {"trees": Trees, "engine": LocalEngine}
    _fitted_on: Fingerprint | None = None
    actions_: Discrete
    columns_: tuple[Column, ...]
    price_: float
    floor_: float
    models_: dict[Pair, TreeModel]

    def __init__(
        self,
        share: float = 1.0,
        outcome: str | None = None,
        cost: str | None = None,
        break_even: float | Mapping[str, float] = 0.0,
        trees: Trees | None = None,
        n_folds: int = 5,
        engine: LocalEngine | None = None,
        random_state: int = 0,
    ) -> None:
        self.share = share
        self.outcome = outcome
        self.cost = cost
        self.break_even = break_even
        self.trees = trees
        self.n_folds = n_folds
        self.engine = engine
        self.random_state = random_state

    @property
    def name(self) -> str:
        """What tables call it."""
        return "classification policy" + ("" if self.share >= 1.0 else f", budget {self.share:.0%}")

    @property
    def fitted_on(self) -> Fingerprint | None:
        """The rows it learned from; None before ``fit``."""
        return self._fitted_on

    @property
    def floor(self) -> float:
        """Margins at or below this are not treated: 0, or under a price what spends the share it was set for.

        Whoever loses at the price may still gain, so where the price came out a little high the share is filled up.

        Raises:
            NotFittedError: before ``fit``.
        """
        self._require_fitted()
        return self.floor_

    def fit(self, log: DecisionLog, scores: ArrayLike | None = None) -> Self:
        """Fit the contests, and draw the threshold from margins out of fold.

        Args:
            log: n rows, A actions, decided by chance (given the features).
            scores: (n, A) worth of each action in each row, net of its cost; when None those of ``net_scores``.

        Raises:
            ParameterError: a parameter outside its range, or a cost beside scores, which are net already.
            DataError: scores of another shape or not finite, or all the same.
            PropensityError: an action that was allowed had propensity 0.
        """
        check_share(self.share)
        contests = _Contests.of(self, log, scores_for(self, log, scores))
        self.price_ = contests.price(self.share)
        self.models_, held_out = contests.fit(self.price_)
        self._fitted_on = learned_from(log, scores)
        self.actions_, self.columns_ = log.actions, log.features.columns
        self._draw(_best_of(held_out, log.n_actions, contests.eligible), log)
        return self

    def _draw(self, scored: Scored, log: DecisionLog) -> None:
        """The threshold from these margins of a log's rows."""
        self.distribution_ = ScoreDistribution.of(scored.score, log.weight)
        self.calibrated_on_, self.n_actions_ = log.fingerprint, log.n_actions
        self._terms_ = self._terms()
        full = self.distribution_.cut(self.share).threshold
        self.floor_ = min(0.0, float(np.nextafter(full, -np.inf))) if self.price_ > 0.0 else 0.0
        self._cut = self.distribution_.cut(self.share, self.floor)

    def _score(self, features: Any, n_actions: int, eligible: Flags | None) -> Scored:
        self._require_fitted()
        check_actions(n_actions, len(self.actions_), self.name)
        values = Features.of(features, self.columns_).values
        return _best_of({pair: model.predict(values) for pair, model in self.models_.items()}, n_actions, eligible)

    def _score_held_out(self, log: DecisionLog, eligible: Flags | None) -> Scored:
        if self._require_fitted().overlap(log.fingerprint):
            raise LeakageError(
                f"The {type(self).__name__} was fitted on rows it is to be calibrated on",
                remedy="fit() drew the threshold from them out of fold; calibrate on other rows, or not at all.",
            )
        return self._score(log.features, log.n_actions, eligible)

    def _require_fitted(self) -> Fingerprint:
        if self._fitted_on is None:
            raise NotFittedError(f"This {type(self).__name__} is not fitted", remedy="Call fit(log) first.")
        return self._fitted_on

    def _plain_parameters(self) -> dict[str, Any]:
        return saved.parameters_told(self)

    @classmethod
    def from_state(cls, model: Any, state: Mapping[str, Any]) -> Self:
        """Nothing: this policy is its own model.

        Raises:
            BundleError: always.
        """
        raise BundleError(f"A {cls.__name__} stands on no other model", remedy="Use to_dict() and from_dict().")

    def to_dict(self) -> dict[str, Any]:
        """The fitted policy as JSON values, without pickle: ensembles as base64 of UBJSON; the engine stays behind.

        Raises:
            NotFittedError: before ``fit``.
        """
        fitted_on = self._require_fitted()
        self._require_calibrated()
        return {
            "kind": type(self).__name__,
            "format": saved.FORMAT,
            "parameters": saved.parameters_told(self),
            "actions": list(self.actions_),
            "columns": saved.columns_told(self.columns_),
            "models": [[a, b, base64.b64encode(m.to_bytes()).decode()] for (a, b), m in self.models_.items()],
            "price": self.price_,
            "floor": self.floor_,
            "distribution": {
                # JSON has no infinity: it is the margin of those who may not be treated.
                "values": ["-inf" if v == -np.inf else v for v in self.distribution_.values.tolist()],
                "mass": self.distribution_.mass.tolist(),
                "n": self.distribution_.n,
            },
            "calibrated_on": saved.fingerprint_told(self.calibrated_on_),
            "fitted_on": saved.fingerprint_told(fitted_on),
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Self:
        """The policy that ``to_dict`` was taken from; it decides the same to the bit.

        Raises:
            BundleError: of another kind or a newer format, incomplete, or an ensemble that is not sound.
        """
        try:
            saved.require(told["kind"] == cls.__name__, f"it is a {str(told['kind'])[:40]}")
            saved.require(told["format"] == saved.FORMAT, f"it has format {str(told['format'])[:20]}")
            policy = cls(**saved.parameters_from(told["parameters"], cls))
            policy.actions_ = saved.actions_from(told["actions"])
            policy.columns_ = saved.columns_from(told["columns"])
            policy.models_ = _models_from(told["models"], policy.columns_, len(policy.actions_))
            policy.price_, policy.floor_ = saved.numbers_from([told["price"], told["floor"]], (2,)).tolist()
            values = np.array([float(value) for value in told["distribution"]["values"]])
            mass = np.array(told["distribution"]["mass"], dtype=np.float64)
            policy.distribution_ = ScoreDistribution.read(values, mass, told["distribution"]["n"])
            policy.calibrated_on_ = saved.fingerprint_from(told["calibrated_on"])
            policy._fitted_on = saved.fingerprint_from(told["fitted_on"])
            policy.n_actions_, policy._terms_ = len(policy.actions_), policy._terms()
            policy._cut = policy.distribution_.cut(check_share(policy.share), policy.floor)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise saved.damaged(cls.__name__, error) from error
        return policy


def _models_from(told: Sequence[Sequence[Any]], columns: Sequence[Column], n_actions: int) -> dict[Pair, TreeModel]:
    """The ensembles, each looked at before XGBoost reads it."""
    raw = {(a, b): base64.b64decode(text, validate=True) for a, b, text in told}
    saved.require(set(raw) == set(combinations(range(n_actions), 2)), f"its contests are {sorted(raw)}")
    kinds = [len(column.categories) if column.kind == "category" else None for column in columns]
    for ensemble in raw.values():
        check_ensemble(ensemble, kinds)
    return {pair: TreeModel.from_bytes(ensemble) for pair, ensemble in raw.items()}


def _best_of(chance: Mapping[Pair, NDArray[Any]], n_actions: int, eligible: Flags | None) -> Scored:
    """Each unit's best eligible treatment, and its margin 2p − 1 over doing nothing; −inf where none is eligible.

    The treatment with most wins against eligible treatments; among equals the one with the larger sum of chances, and
    of those the first.

    Args:
        chance: for each pair a < b, (n,) the chance that b is better.
        n_actions: A.
        eligible: (n, A), or None.
    """
    n = next(iter(chance.values())).shape[0]
    allowed = np.ones((n, n_actions), dtype=np.bool_) if eligible is None else eligible
    wins = np.zeros((n, n_actions))
    for (a, b), p in chance.items():
        if a > 0:
            both = allowed[:, a] & allowed[:, b]
            # Chances sum to less than A, so divided by A they only part equal numbers of wins.
            wins[:, b] += both * ((p > 0.5) + p / n_actions)
            wins[:, a] += both * ((p < 0.5) + (1.0 - p) / n_actions)
    best = np.where(allowed[:, 1:], wins[:, 1:], -1.0).argmax(axis=1) + 1
    against = np.column_stack([chance[0, a] for a in range(1, n_actions)]).astype(np.float64)
    margin = 2.0 * np.take_along_axis(against, best[:, None] - 1, axis=1)[:, 0] - 1.0
    return Scored(np.where(allowed[:, 1:].any(axis=1), margin, -np.inf), best)


class _Contests:
    """The contests of one log: their rows, labels and weights, and the fits they take."""

    def __init__(
        self, log: DecisionLog, scores: Floats, trees: Trees, engine: LocalEngine, n_folds: int, seed: int
    ) -> None:
        self.scores, self.trees, self.engine, self.seed = scores, trees, engine, seed
        self.weight = np.ones(log.n) if log.weight is None else log.weight.astype(np.float64)
        self.eligible = check_eligible(log.eligible, log.n, log.n_actions)
        self.folds = log.folds(n_folds, seed)
        self.matrix: Matrix = engine.matrix(log.features)

    @classmethod
    def of(cls, policy: ClassificationPolicy, log: DecisionLog, scores: Floats) -> _Contests:
        """Those a policy sets up."""
        engine, trees = policy.engine or LocalEngine(), policy.trees or Trees()
        return cls(log, scores, trees, engine, policy.n_folds, policy.random_state)

    def price(self, share: float) -> float:
        """What treating the marginal unit is worth: F⁻¹(1 − share) of the largest predicted gain, at least 0."""
        if share >= 1.0:
            return 0.0
        n, n_actions = self.scores.shape
        held_out = [np.flatnonzero(self.folds == k) for k in range(int(self.folds.max()) + 1)]
        fits, places = [], []
        for a in range(1, n_actions):
            gain, allowed = self.scores[:, a] - self.scores[:, 0], self._both(0, a)
            for rows in held_out:
                fits.append(self._fit(gain, self.weight, allowed & ~_mask(rows, n), "squared", rows))
                places.append((a, rows))
        predicted = np.full((n, n_actions - 1), -np.inf)
        for (a, rows), done in zip(
            places, self.engine.run(self.matrix, fits, seed=self.seed, what="Price"), strict=True
        ):
            predicted[rows, a - 1] = done.held_out
        if self.eligible is not None:
            predicted[~self.eligible[:, 1:]] = -np.inf
        best = ScoreDistribution.of(predicted.max(axis=1), self.weight)
        return max(best.cut(share).threshold, 0.0) if share > 0.0 else max(float(best.values[-1]), 0.0)

    def fit(self, price: float) -> tuple[dict[Pair, TreeModel], dict[Pair, NDArray[Any]]]:
        """The contests at a price, fitted on all rows; and each row's chances from models that did not see it."""
        net = self.scores.copy()
        net[:, 1:] -= price
        n, n_actions = net.shape
        pairs = list(combinations(range(n_actions), 2))
        everybody = np.ones(n, dtype=np.bool_)
        fits = [self._contest(net, pair, everybody, None) for pair in pairs]
        held_out = [np.flatnonzero(self.folds == k) for k in range(int(self.folds.max()) + 1)]
        crossed = [(pair, rows) for pair in pairs for rows in held_out]
        fits += [self._contest(net, pair, ~_mask(rows, n), rows) for pair, rows in crossed]
        done = self.engine.run(self.matrix, fits, seed=self.seed, what="Contests")
        chance: dict[Pair, NDArray[Any]] = {pair: np.empty(n, dtype=np.float32) for pair in pairs}
        for (pair, rows), fitted in zip(crossed, done[len(pairs) :], strict=True):
            chance[pair][rows] = fitted.held_out
        return {pair: fitted.model for pair, fitted in zip(pairs, done, strict=False)}, chance

    def _contest(self, net: Floats, pair: Pair, within: NDArray[np.bool_], held_out: NDArray[np.intp] | None) -> Fit:
        lead = net[:, pair[1]] - net[:, pair[0]]
        rows = within & self._both(*pair) & (lead != 0.0)
        if not rows.any():
            raise DataError(
                f"The scores of actions {pair[0]} and {pair[1]} are the same in every row",
                remedy="There is nothing to choose by; look at how the scores were made.",
            )
        return self._fit((lead > 0.0).astype(np.float64), self.weight * np.abs(lead), rows, "logistic", held_out)

    def _fit(
        self, target: Floats, weight: Floats, rows: NDArray[np.bool_], loss: Any, held_out: NDArray[np.intp] | None
    ) -> Fit:
        at = np.flatnonzero(rows)
        return Fit(at, target[at], weight[at], loss, self.trees, held_out)

    def _both(self, a: int, b: int) -> NDArray[np.bool_]:
        """(n,) whether both actions were allowed."""
        if self.eligible is None:
            return np.ones(len(self.scores), dtype=np.bool_)
        return np.asarray(self.eligible[:, a] & self.eligible[:, b])


def _mask(rows: NDArray[np.intp], n: int) -> NDArray[np.bool_]:
    mask = np.zeros(n, dtype=np.bool_)
    mask[rows] = True
    return mask
