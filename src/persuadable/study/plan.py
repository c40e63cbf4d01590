"""What a study is asked to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from persuadable.design.propensity import PropensityChoice
from persuadable.effects import DRLearner, FunnelLearner, Learner, RLearner, SLearner, TLearner, XLearner
from persuadable.engine import LocalEngine
from persuadable.errors import ParameterError
from persuadable.policies import Economics
from persuadable.study.presets import COMMON, NUISANCE, SIZES, Presets

__all__ = ["LEARNERS", "NUISANCE", "SIZES", "StudyPlan", "check_judging", "check_learners"]

LEARNERS: Mapping[str, type[Learner]] = {
    "s": SLearner,
    "t": TLearner,
    "x": XLearner,
    "r": RLearner,
    "dr": DRLearner,
}

ENDS_WITH_RESPONSES = ("s", "t")


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """The choices behind a study.

    Attributes:
        budget: share of the population that can be treated, in (0, 1].
        learners: which learners to try, of "s", "t", "x", "r", "dr".
        test_share: share of the rows held out to judge everything, in (0, 1).
        split_by: "row", "unit" or "time"; None is "unit" where units repeat, else "row".
        propensity: as in ``effects.Learner``; "estimated" estimates them once, out of fold on the whole log, for
            learning and judging alike, and takes those of a log that holds estimated ones already.
        break_even: the least effect worth an action, in outcome units; follows from economics where those are given.
        value_per_conversion: what one unit of the primary outcome brings; with ``cost_per_contact`` it asks for
            economics and archetypes. None for neither.
        cost_per_contact: what treating one unit costs, in the same money.
        segments: columns whose groups the policy is audited for: features, or labels given to ``run_study``.
        review: share of decisions that people can look at; None for no review.
        through: an outcome without which the primary one never comes, such as "visit" for "conversion": the funnel of
            the two is then tried as a learner too.
        n_resamples: half-samples behind the effect intervals of the saved learner; 0 for none.
        alpha: probability an interval is meant to miss.
        threads: threads to use; None for all.
        progress: show progress bars; None on a terminal.
        random_state: seed of everything.
    """

    budget: float = 0.3
    learners: tuple[str, ...] = ("x", "r", "dr")
    test_share: float = 0.5
    split_by: str | None = None
    propensity: PropensityChoice = "auto"
    break_even: float = 0.0
    value_per_conversion: float | None = None
    cost_per_contact: float | None = None
    segments: tuple[str, ...] = ()
    review: float | None = None
    through: str | None = None
    n_resamples: int = 20
    alpha: float = 0.05
    threads: int | None = None
    progress: bool | None = None
    random_state: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.budget <= 1:
            raise ParameterError(
                f"The budget is {self.budget!r}, not a share in (0, 1]",
                remedy="Pass the share of the population you can treat, e.g. 0.3.",
            )
        check_judging(self)
        object.__setattr__(self, "learners", check_learners(self.learners))
        told: object = self.segments
        object.__setattr__(self, "segments", (told,) if isinstance(told, str) else tuple(dict.fromkeys(self.segments)))
        self._check_money()
        self._check_review()

    def _check_money(self) -> None:
        told = (self.value_per_conversion, self.cost_per_contact)
        if told == (None, None):
            return
        if None in told:
            raise ParameterError(
                "Economics need the value of a conversion and the cost of a contact, and one of them is missing",
                remedy="Pass value_per_conversion= and cost_per_contact=, or neither.",
            )
        if self.economics("outcome").break_even == 0:  # type: ignore[union-attr]
            raise ParameterError(
                "cost_per_contact is 0: where a contact is free there is nothing to weigh it against",
                remedy="Pass what a contact costs, or leave both amounts out.",
            )
        if self.break_even:
            raise ParameterError(
                f"break_even is {self.break_even:g}, and the two amounts have one of their own",
                remedy="Leave break_even out: it follows as cost_per_contact / value_per_conversion.",
            )
        self._require_resamples("archetypes")

    def _check_review(self) -> None:
        if self.review is None:
            return
        if isinstance(self.review, bool) or not 0 < self.review < 1:
            raise ParameterError(
                f"review is {self.review!r}, not a share within (0, 1)", remedy="Pass e.g. 0.1 for a tenth."
            )
        self._require_resamples("a review")

    def _require_resamples(self, what: str) -> None:
        if self.n_resamples < 2:
            raise ParameterError(
                f"n_resamples is {self.n_resamples}, and {what} must know how sure an effect is",
                remedy="Pass n_resamples=20, or leave it out.",
            )

    def economics(self, outcome: str) -> Economics | None:
        """Value and cost, with conversions counted by an outcome; None where they were not given."""
        if self.value_per_conversion is None or self.cost_per_contact is None:
            return None
        return Economics(self.value_per_conversion, self.cost_per_contact, outcome)

    def least_effect(self, outcome: str) -> float:
        """The effect an action must exceed to be worth it."""
        money = self.economics(outcome)
        return self.break_even if money is None else money.break_even

    @property
    def engine(self) -> LocalEngine:
        """The engine with the threads asked for."""
        return LocalEngine(threads=self.threads, progress=self.progress)

    def candidates(self, settings: Presets = COMMON) -> dict[str, Learner]:
        """Name → unfitted learner: every learner in every size, all on the same responses."""
        common: dict[str, Any] = {
            "nuisance_trees": settings.responses,
            "propensity": self.propensity,
            "engine": self.engine,
            "random_state": self.random_state,
        }
        found: dict[str, Learner] = {}
        for name in dict.fromkeys(self.learners):
            # Where conversions are rare the noise of the outcome is all there is, so every row counts once.
            own: dict[str, Any] = {"weighting": "rows"} if name == "x" and settings.rare else {}
            for size, trees in (settings.response_sizes if name in ENDS_WITH_RESPONSES else settings.sizes).items():
                found[f"{LEARNERS[name].__name__}, {size}"] = LEARNERS[name](trees=trees, **common, **own)
        if self.through is not None:
            for size, trees in settings.response_sizes.items():
                found[f"FunnelLearner, {size}"] = FunnelLearner(self.through, trees=trees, **common)
        return found


class Judging(Protocol):
    """What every plan says about how it judges."""

    @property
    def test_share(self) -> float: ...
    @property
    def alpha(self) -> float: ...
    @property
    def propensity(self) -> str: ...
    @property
    def split_by(self) -> str | None: ...


def check_judging(plan: Judging) -> None:
    """Refuse a plan that says in no known way how to judge.

    Raises:
        ParameterError: naming the choice and what it may be.
    """
    if not 0 < plan.test_share < 1:
        raise ParameterError(f"test_share is {plan.test_share!r}, not within (0, 1)", remedy="Pass e.g. 0.5.")
    if not 0 < plan.alpha < 1:
        raise ParameterError(f"alpha is {plan.alpha!r}, not within (0, 1)", remedy="Pass e.g. 0.05.")
    if plan.propensity not in ("auto", "known", "constant", "estimated"):
        raise ParameterError(
            f"propensity is {plan.propensity!r}", remedy="Choose 'auto', 'known', 'constant' or 'estimated'."
        )
    if plan.split_by not in (None, "row", "unit", "time"):
        raise ParameterError(f"split_by is {plan.split_by!r}", remedy="Choose 'row', 'unit' or 'time'.")


def check_learners(given: object) -> tuple[str, ...]:
    """The learners' short names as a tuple.

    Raises:
        ParameterError: one that is not known, or none.
    """
    names = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else ()
    unknown = [name for name in names if name not in LEARNERS]
    if unknown or not names:
        raise ParameterError(
            f"There is no learner {unknown[0]!r}" if unknown else "No learner was named",
            remedy=f"Choose among {', '.join(LEARNERS)}.",
        )
    return names
