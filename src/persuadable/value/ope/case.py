"""What is asked, made ready for one pass: plans, predictions, learned weights and chosen parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from persuadable.errors import ParameterError, PropensityError
from persuadable.policies import Policy
from persuadable.value.estimate import Floats
from persuadable.value.off_policy import judge, look_at, share_sampling
from persuadable.value.ope.balanced import balanced_ratios
from persuadable.value.ope.columns import RATIO, Layout, Question, blocks, stored, terms_of
from persuadable.value.ope.estimators import Estimator
from persuadable.value.ope.moments import Answers, Moments, answers
from persuadable.value.ope.mrdr import mrdr_predictions
from persuadable.value.ope.rounds import Candidate, Rounds, Table, as_predictions, as_probabilities
from persuadable.value.ope.slope import paired_slope
from persuadable.value.ope.terms import Terms
from persuadable.value.policy_value import Judgeable, Plan, require_table, threshold_sampling

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["Case", "answered", "best_of", "plan_of", "question_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """Rounds, and a question for every candidate, outcome and estimator, in this order.

    Attributes:
        log: the log.
        plans: what the candidates would do.
        outcomes: their names.
        used: candidate → outcome → label → estimator with its parameters chosen.
        rounds: the arrays.
        layout: the questions.
    """

    log: DecisionLog
    plans: tuple[Plan, ...]
    outcomes: tuple[str, ...]
    used: tuple[tuple[Mapping[str, Estimator], ...], ...]
    rounds: Rounds
    layout: Layout

    @classmethod
    def of(
        cls,
        log: DecisionLog,
        plans: Sequence[Plan],
        outcomes: Sequence[str],
        estimators: Mapping[str, Estimator],
        q_hat: Mapping[str, ArrayLike | None],
        seed: int,
    ) -> Case:
        """Fit what has to be fitted and choose what has to be chosen.

        Args:
            log: held-out rounds.
            plans: what the candidates would do.
            outcomes: names.
            estimators: label → as asked for.
            q_hat: outcome → given predictions, if any.
            seed: of what is drawn or fitted.
        """
        if any(_weighs_by_propensity(one) for one in estimators.values()):
            for plan in plans:
                _require_eligible(log, plan)
        models = _Models(log, plans, outcomes, q_hat, seed)
        cells = [(c, o) for c in range(len(plans)) for o in range(len(outcomes))]
        places = {(cell, label): models.place(one, *cell) for cell in cells for label, one in estimators.items()}
        models.require_used()
        learned = any(one.learned_weights for one in estimators.values())
        rounds = Rounds(
            action=log.action,
            propensity=_propensities(log),
            outcomes=[log.outcome(name) for name in outcomes],
            actions=log.actions.names,
            candidates=[_candidate(log, plan, learned, seed) for plan in plans],
            predictions=models.tables,
            weight=log.weight,
        )
        used = {
            cell: {label: best_of(rounds, one, *cell, places[cell, label]) for label, one in estimators.items()}
            for cell in cells
        }
        questions = [
            question_of(one, *cell, places[cell, label]) for cell in cells for label, one in used[cell].items()
        ]
        by_candidate = tuple(tuple(used[c, o] for o in range(len(outcomes))) for c in range(len(plans)))
        return cls(log, tuple(plans), tuple(outcomes), by_candidate, rounds, Layout(questions))

    @property
    def independent(self) -> bool:
        """Whether the moments of the rounds say all: no clusters, and nothing estimated on the same rounds."""
        drawn_here = any(plan.scored is not None for plan in self.plans)
        return self.log.clusters is None and not self.shares_estimated and not drawn_here

    def require_fixed_weights(self) -> None:
        """Refuse weights that depend on the rounds they weigh, which no bound for independent terms covers.

        Raises:
            ParameterError: propensities are the arms' shares, or a budget's threshold was drawn from these rounds.
        """
        drawn = [plan.name for plan in self.plans if plan.scored is not None]
        if self.shares_estimated and self.layout.raw_weights:
            raise ParameterError(
                "interval='bernstein' was asked for, and the propensities are the shares of the arms in this log",
                remedy="Give the log the propensities of its design, or pass interval='bootstrap'.",
            )
        if drawn:
            raise ParameterError(
                f"interval='bernstein' was asked for, and the threshold of {drawn[0]} was drawn from this log",
                remedy="Calibrate it on other rows, or pass interval='bootstrap'.",
            )

    @property
    def shares_estimated(self) -> bool:
        """Whether the propensities are the shares of the arms among these rounds."""
        return self.log.propensities is None and self.log.taken_propensities is None

    def terms(self, columns: Floats) -> list[Terms]:
        """The terms of every question from the stored columns.

        Where the propensities are shares, or a threshold was drawn from these rounds, what this adds to the influence
        of each round (mean 0) is in ``direct``.
        """
        found = []
        for question in self.layout.questions:
            terms = terms_of(columns, self.layout, question)
            weighting = question.weighting
            if self.shares_estimated and weighting.shape != "none" and not weighting.learned:
                w = columns[self.layout.raw_weights[question.candidate]]
                moved = terms.ratio_parts(self.rounds.weight) * weighting.sensitivity(w)
                terms = _less(terms, share_sampling(self.rounds, moved))
            plan = self.plans[question.candidate]
            if plan.scored is not None:
                terms = _less(terms, self._threshold_sampling(plan, question))
            found.append(terms)
        return found

    def _threshold_sampling(self, plan: Plan, question: Question) -> Floats:
        if self.log.taken_propensities is not None:
            raise PropensityError(
                f"The threshold of {plan.name} was drawn from this log, which knows the probability of the action "
                "taken only: what drawing it does to the error cannot be told",
                remedy="Calibrate the policy on other rows, such as one part of log.split(0.5).",
            )
        predictions = None if question.predictions is None else self.rounds.predictions[question.predictions]
        method = "ips" if predictions is None else "dr"
        logged = look_at(self.log, self.outcomes[question.outcome], method, predictions)
        return threshold_sampling(logged, judge(logged, plan.probabilities, plan.name), plan)

    def stored(self) -> Floats:
        """(K + 1, n) the columns of all questions."""
        return stored(self.rounds, self.layout)

    def answers(self) -> Answers:
        """The answers from one pass over independent rounds, in memory that does not grow with them."""
        return answered(self.rounds, self.layout)


def _propensities(log: DecisionLog) -> Floats:
    """(n, A) probabilities of all actions, or (n,) of those taken where no others were logged."""
    if log.taken_propensities is not None:
        return log.taken_propensity()
    return log.shares() if log.propensities is None else np.asarray(log.propensities)


def _weighs_by_propensity(estimator: Estimator) -> bool:
    return not estimator.learned_weights and (estimator.tuned or estimator.weighting.shape != "none")


def _require_eligible(log: DecisionLog, plan: Plan) -> None:
    """Refuse a plan that takes an action where it was not allowed, which the propensities of those taken cannot tell.

    Raises:
        PropensityError: how often it does.
    """
    if log.taken_propensities is None or log.eligible is None:
        return
    wrong = ~log.eligible & (plan.probabilities > 0)
    if wrong.any():
        row, action = (int(i[0]) for i in np.nonzero(wrong))
        raise PropensityError(
            f"In {int(wrong.any(axis=1).sum()):,} of {log.n:,} rows {plan.name} takes an action that was not eligible",
            where=f"first in row {row}, {log.actions.names[action]!r}",
            remedy="Nothing can be said of what was never tried: pass a policy that keeps to the log's eligibility.",
        )


def _less(terms: Terms, correction: Floats) -> Terms:
    direct = -correction if terms.direct is None else terms.direct - correction
    return Terms(terms.weighted, direct, terms.weight)


def answered(rounds: Rounds, layout: Layout) -> Answers:
    """The answers to a layout's questions from one pass over independent rounds."""
    centres = [float(np.mean(y)) for y in rounds.outcomes]
    moments = Moments.empty(layout.one + 1)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused at the end
        for block in blocks(replace(rounds, centres=centres), layout):
            moments.add(block)
        return answers(moments, layout, centres=centres)


def question_of(estimator: Estimator, candidate: int, outcome: int, predictions: int | None) -> Question:
    """The question an estimator asks."""
    return Question(candidate, outcome, predictions, estimator.weighting, estimator.normalised)


def best_of(rounds: Rounds, estimator: Estimator, candidate: int, outcome: int, predictions: int | None) -> Estimator:
    """The estimator itself, or where it is to be tuned the one SLOPE chooses (rounds counted as independent)."""
    if not estimator.tuned:
        return estimator
    weigher = Question(candidate, outcome, None, replace(RATIO, learned=estimator.learned_weights), False)
    alone = Layout([weigher])
    weights = stored(rounds, alone)[alone.places(weigher).rho]
    options = estimator.candidates(weights)
    layout = Layout([question_of(one, candidate, outcome, predictions) for one in options])
    found = answered(rounds, layout)
    return options[paired_slope(found.values, found.covariance)]


def plan_of(log: DecisionLog, policy: Judgeable, name: str) -> Plan:
    """What a policy would do on a log; a table (n, A) is checked later, while it is read.

    Raises:
        LeakageError: rows of the log fitted the policy.
        DataError: another shape.
        ParameterError: neither a policy nor a table.
    """
    if isinstance(policy, Policy):
        return Plan.of(log, policy)
    require_table(policy)
    return Plan(name, as_probabilities(policy, (log.n, log.n_actions), name, log.actions.names))


def _candidate(log: DecisionLog, plan: Plan, learned: bool, seed: int) -> Candidate:
    ratio = balanced_ratios(log, plan.probabilities, random_state=seed) if learned else None
    return Candidate(plan.name, plan.probabilities, ratio)


class _Models:
    """The tables of predictions that estimators ask for, each made once."""

    def __init__(
        self,
        log: DecisionLog,
        plans: Sequence[Plan],
        outcomes: Sequence[str],
        q_hat: Mapping[str, ArrayLike | None],
        seed: int,
    ) -> None:
        self._log, self._plans, self._outcomes, self._seed = log, plans, outcomes, seed
        shape = (log.n, log.n_actions)
        self._given = {name: as_predictions(q, shape, log.actions.names) for name, q in q_hat.items() if q is not None}
        self._places: dict[tuple[str, ...], int] = {}
        self.tables: list[Table] = []

    def place(self, estimator: Estimator, candidate: int, outcome: int) -> int | None:
        """Where the predictions are that an estimator uses; None where it uses none."""
        if estimator.model is None:
            return None
        name = self._outcomes[outcome]
        if estimator.model == "mrdr":
            key: tuple[str, ...] = ("mrdr", name, str(candidate))
        else:
            key = ("given" if estimator.model == "given" and name in self._given else "cross-fitted", name)
        if key not in self._places:
            self._places[key] = len(self.tables)
            self.tables.append(self._made(key[0], candidate, name))
        return self._places[key]

    def _made(self, source: str, candidate: int, outcome: str) -> Table:
        if source == "given":
            return self._given[outcome]
        if source == "mrdr":
            plan = self._plans[candidate]
            return mrdr_predictions(self._log, plan.probabilities, outcome, random_state=self._seed)
        from persuadable.response import cross_fit_arms

        return cross_fit_arms(self._log, outcome, random_state=self._seed)

    def require_used(self) -> None:
        """Refuse predictions that no estimator reads."""
        for name in self._given:
            if ("given", name) not in self._places:
                raise ParameterError(
                    f"q_hat was given for {name!r}, and none of the estimators reads it",
                    remedy="Leave it out, or name 'dr', 'dm', 'sndr', 'switch-dr' or 'dros'.",
                )
