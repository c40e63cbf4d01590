"""A policy that is a small tree: whom to treat with what, in a few sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.engine import LocalEngine, Trees
from persuadable.errors import NotFittedError, ParameterError
from persuadable.features import Column, Features
from persuadable.fingerprint import Fingerprint
from persuadable.params import Parameters
from persuadable.policies.base import Floats, check_actions, check_eligible, check_share, sample_actions
from persuadable.policies.tree import saved
from persuadable.policies.tree.grow import Limits, grow
from persuadable.policies.tree.price import Grown, within_budget
from persuadable.policies.tree.rules import Node, Rule, Rules, draw, in_words, joined, numbered, paths, route
from persuadable.policies.tree.scores import Stakes, learned_from, scores_for
from persuadable.spaces import Discrete

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["PolicyTree"]

DEEPEST = 12


class PolicyTree(Parameters):
    """The decision tree that is worth most by doubly robust scores, within a budget.

    With Γ_a the doubly robust score of action a less its cost, the tree π maximises mean(Γ_π(x)) over trees of this
    depth (Athey and Wager 2021; Zhou, Athey and Wager 2023). It optimises the policy, not a prediction, and says its
    rules in a few sentences.

    Trees of one or two levels are exact: no other tree of that depth, over the questions tried, is worth more on the
    rows. The questions are every threshold of a number with at most ``grid`` values (else as many quantiles), every
    split of up to eight categories into two groups, and those along the order of mean gains for more. Missing values
    are tried on both sides. Deeper trees take the first question of the best tree of ``lookahead`` levels and go on
    below it, so they are good, not best.

    A person who may not get the action of their leaf is left alone, and costs nothing.

    Args:
        depth: levels of questions, 1 to 12.
        share: share of units the budget pays for, in [0, 1]. At most this share of the training rows is treated, and
            exactly it, by drawing lots in one leaf, unless those left would lose by it.
        outcome: what is to be raised; the log's first outcome when None.
        cost: the outcome that is the treatment's cost, in the same unit; none when None.
        break_even: what a treatment must bring at least, one number or one per treatment by label.
        min_leaf: least training rows of a leaf.
        grid: most thresholds tried per number (and groups per category); None tries every value.
        lookahead: levels searched together where the tree is deeper, 2 (slower) or 1 (greedy).
        trees: settings of the ensembles behind the scores.
        n_folds: folds their predictions are crossed by.
        engine: where these are fitted; None is a ``LocalEngine``.
        random_state: seed of folds and ensembles; the search itself draws nothing.

    Attributes:
        fitted_on: fingerprint of the rows it learned from.
        actions_: the actions it knows.
        columns_: the features it asks about.
        tree_: the tree.
        probabilities_: (L, A) probabilities of the actions in each leaf.
        price_: net worth per unit treated at which the budget is spent; 0 where it does not bind.
        expected_share_: (weighted) share of the training rows it treats.
        worth_: (weighted) mean score on the training rows. It was maximised on them, so it flatters; judge on others.
        gap_: no tree of this depth over the questions tried is worth more than ``worth_ + gap_`` on the training rows
            within the budget; None where the search was not exact.
        coarse_: features of which only some questions were tried.
    """

    parts: ClassVar[Mapping[str, type[Parameters]]] = {"trees": Trees, "engine": LocalEngine}
    _fitted_on: Fingerprint | None = None
    actions_: Discrete
    columns_: tuple[Column, ...]
    tree_: Node
    probabilities_: Floats
    leaf_shares_: Floats
    leaf_rows_: NDArray[np.intp]
    price_: float
    expected_share_: float
    worth_: float
    gap_: float | None
    coarse_: tuple[str, ...]

    def __init__(
        self,
        depth: int = 2,
        share: float = 1.0,
        outcome: str | None = None,
        cost: str | None = None,
        break_even: float | Mapping[str, float] = 0.0,
        min_leaf: int = 100,
        grid: int | None = 256,
        lookahead: int = 2,
        trees: Trees | None = None,
        n_folds: int = 5,
        engine: LocalEngine | None = None,
        random_state: int = 0,
    ) -> None:
        self.depth = depth
        self.share = share
        self.outcome = outcome
        self.cost = cost
        self.break_even = break_even
        self.min_leaf = min_leaf
        self.grid = grid
        self.lookahead = lookahead
        self.trees = trees
        self.n_folds = n_folds
        self.engine = engine
        self.random_state = random_state

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"policy tree of depth {self.depth}" + ("" if self.share >= 1.0 else f", budget {self.share:.0%}")

    @property
    def fitted_on(self) -> Fingerprint | None:
        """The rows it learned from; None before ``fit``."""
        return self._fitted_on

    def fit(self, log: DecisionLog, scores: ArrayLike | None = None) -> Self:
        """Grow the tree.

        Args:
            log: n rows, A actions, decided by chance (given the features).
            scores: (n, A) worth of each action in each row, net of its cost; when None the doubly robust scores of
                ``net_scores``. Effects that a learner predicted for these rows will do, but flatter what they overfit.

        Raises:
            ParameterError: a parameter outside its range, or a cost beside scores, which are net already.
            DataError: scores of another shape or not finite.
            PropensityError: an action that was allowed had propensity 0.
        """
        limits, share = self._limits(), check_share(self.share)
        stakes = Stakes.of(
            scores_for(self, log, scores), log.weight, check_eligible(log.eligible, log.n, log.n_actions)
        )

        def at(price: float) -> Grown:
            tree, n_leaves, coarse = grow(log.features, stakes.at(price), limits)
            return Grown(tree, *stakes.by_leaf(route(tree, log.features.values), n_leaves), coarse)

        priced = within_budget(at, share)
        tree, probabilities = joined(priced.grown.tree, priced.probabilities)
        leaf = route(tree, log.features.values)
        self._fitted_on = learned_from(log, scores)
        self.actions_, self.columns_ = log.actions, log.features.columns
        self.tree_, self.probabilities_ = tree, probabilities
        self.leaf_shares_ = np.bincount(leaf, stakes.share, len(probabilities)).astype(np.float64)
        self.leaf_rows_ = np.bincount(leaf, minlength=len(probabilities)).astype(np.intp)
        self.price_, self.expected_share_, self.worth_ = priced.price, priced.share, priced.worth
        self.gap_ = priced.bound - priced.worth if limits.depth <= limits.lookahead else None
        self.coarse_ = tuple(self.columns_[j].name for j in priced.grown.coarse)
        return self

    def _limits(self) -> Limits:
        whole = (int, np.integer)
        ranges = {"depth": (1, DEEPEST), "min_leaf": (1, 2**31), "lookahead": (1, 2), "grid": (2, 2**16)}
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if name == "grid" and value is None:
                continue
            if not isinstance(value, whole) or isinstance(value, bool) or not low <= value <= high:
                raise ParameterError(
                    f"{name} is {value!r}",
                    where=type(self).__name__,
                    remedy=f"Pass a whole number from {low} to {high}{', or None for all' if name == 'grid' else ''}.",
                )
        return Limits(self.depth, self.lookahead, self.min_leaf, self.grid)

    # -- deciding --------------------------------------------------------------------------------------------------

    def leaves(self, features: Any) -> NDArray[np.intp]:
        """(n,) which rule each unit is met by, from 0.

        Raises:
            NotFittedError: before ``fit``.
            FeatureError: a feature is absent, or holds a category the tree does not know.
        """
        self._require_fitted()
        return route(self.tree_, Features.of(features, self.columns_).values)

    def probabilities(self, features: Any, n_actions: int, eligible: ArrayLike | None = None) -> Floats:
        """(n, A) probabilities of the actions: those of each unit's leaf, doing nothing in the place of the ineligible.

        Raises:
            NotFittedError: before ``fit``.
            ActionError: eligibility or number of actions do not fit.
            FeatureError: a feature is absent, or holds a category the tree does not know.
        """
        leaf = self.leaves(features)
        check_actions(n_actions, len(self.actions_), self.name)
        p = self.probabilities_[leaf]
        allowed = check_eligible(eligible, leaf.size, n_actions)
        if allowed is not None:
            p[~allowed] = 0.0
            p[:, 0] = 1.0 - p[:, 1:].sum(axis=1)
        return p

    def decide(
        self, features: Any, random_state: int | np.random.Generator, eligible: ArrayLike | None = None
    ) -> NDArray[np.int16]:
        """(n,) actions, drawn where a leaf draws lots and certain everywhere else.

        Raises:
            NotFittedError, ActionError, FeatureError: as ``probabilities``.
        """
        self._require_fitted()
        p = self.probabilities(features, len(self.actions_), eligible)
        return sample_actions(p, np.random.default_rng(random_state))

    def _require_fitted(self) -> Fingerprint:
        if self._fitted_on is None:
            raise NotFittedError(f"This {type(self).__name__} is not fitted", remedy="Call fit(log) first.")
        return self._fitted_on

    # -- reading ---------------------------------------------------------------------------------------------------

    def rules(self) -> Rules:
        """The leaves as rules in words. What each is worth on held-out rows says ``value.rule_values(log, tree)``.

        Raises:
            NotFittedError: before ``fit``.
        """
        self._require_fitted()
        told = zip(paths(self.tree_), self.probabilities_, self.leaf_shares_, self.leaf_rows_, strict=True)
        return Rules(
            tuple(
                Rule(
                    conditions=in_words(way, self.columns_),
                    action=self.actions_.names[int(p.argmax())],
                    probabilities=tuple(p.tolist()),
                    share=float(share),
                    rows=int(rows),
                    does=self._does(p),
                )
                for way, p, share, rows in told
            )
        )

    def _does(self, p: Floats) -> str:
        possible = np.flatnonzero(p)[::-1]
        if possible.size == 1:
            return self.actions_.names[int(possible[0])]
        return " or ".join(f"{self.actions_.names[a]} ({p[a]:.1%} by lot)" for a in possible)

    def __str__(self) -> str:
        if self._fitted_on is None:
            return repr(self)
        leaves = [f"{rule.does}, {rule.share:.1%} of them" for rule in self.rules()]
        return f"{self._summary()}\n{draw(self.tree_, self.columns_, leaves)}"

    def _summary(self) -> str:
        n = int(self.leaf_rows_.sum())
        words = f"{self.name.capitalize()}, grown on {n:,} rows, of which it treats {self.expected_share_:.1%}."
        if self.price_ > 0.0:
            words += f" At the margin of the budget, treating one more was worth {self.price_:.4g}."
        if n < 2 * self.min_leaf:
            words += f" It asks nothing: {n:,} rows do not make two leaves of min_leaf={self.min_leaf:,}."
        elif self.gap_ is None:
            words += " Its first questions look ahead, so a better tree of this depth may exist."
        elif self.coarse_:
            words += f" The best of its depth over {self.grid} quantiles or groups of {', '.join(self.coarse_)}."
        else:
            words += " The best of its depth over every question."
        return words

    # -- keeping ---------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The fitted tree as JSON values, without pickle; the engine stays behind.

        Raises:
            NotFittedError: before ``fit``.
        """
        fitted_on = self._require_fitted()
        return {
            "kind": type(self).__name__,
            "format": saved.FORMAT,
            "parameters": saved.parameters_told(self),
            "actions": list(self.actions_),
            "columns": saved.columns_told(self.columns_),
            "tree": saved.node_told(self.tree_),
            "probabilities": self.probabilities_.tolist(),
            "shares": self.leaf_shares_.tolist(),
            "rows": self.leaf_rows_.tolist(),
            "coarse": list(self.coarse_),
            "price": self.price_,
            "expected_share": self.expected_share_,
            "worth": self.worth_,
            "gap": self.gap_,
            "fitted_on": saved.fingerprint_told(fitted_on),
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Self:
        """The tree that ``to_dict`` was taken from; it decides the same to the bit.

        Raises:
            BundleError: of another kind or a newer format, incomplete, or anything in it that no tree has.
        """
        try:
            saved.require(told["kind"] == cls.__name__, f"it is a {str(told['kind'])[:40]}")
            saved.require(told["format"] == saved.FORMAT, f"it has format {str(told['format'])[:20]}")
            tree = cls(**saved.parameters_from(told["parameters"], cls))
            tree.actions_ = saved.actions_from(told["actions"])
            tree.columns_ = saved.columns_from(told["columns"])
            tree._limits()
            tree.tree_, n = numbered(saved.node_from(told["tree"], tree.columns_))
            tree.probabilities_ = saved.numbers_from(told["probabilities"], (n, len(tree.actions_)))
            sums = tree.probabilities_.sum(axis=1)
            saved.require((tree.probabilities_ >= 0).all() and np.allclose(sums, 1.0), "probabilities that are none")
            tree.leaf_shares_ = saved.numbers_from(told["shares"], (n,))
            tree.leaf_rows_ = saved.numbers_from(told["rows"], (n,)).astype(np.intp)
            names = [column.name for column in tree.columns_]
            saved.require(all(name in names for name in told["coarse"]), "it names a feature there is not")
            tree.coarse_ = tuple(told["coarse"])
            summary = [told[name] for name in ("price", "expected_share", "worth")]
            tree.price_, tree.expected_share_, tree.worth_ = saved.numbers_from(summary, (3,)).tolist()
            tree.gap_ = None if told["gap"] is None else float(saved.numbers_from(told["gap"], ()))
            tree._fitted_on = saved.fingerprint_from(told["fitted_on"])
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise saved.damaged(cls.__name__, error) from error
        return tree
