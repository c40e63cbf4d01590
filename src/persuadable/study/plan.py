"""What a study is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from persuadable.design.propensity import PropensityChoice
from persuadable.effects import DRLearner, Learner, RLearner, SLearner, TLearner, XLearner
from persuadable.engine import LocalEngine, Trees
from persuadable.errors import ParameterError

__all__ = ["LEARNERS", "StudyPlan"]

LEARNERS: Mapping[str, type[Learner]] = {
    "s": SLearner,
    "t": TLearner,
    "x": XLearner,
    "r": RLearner,
    "dr": DRLearner,
}

# Effects are usually much smoother than responses and their signal much weaker, so each learner is also tried
# with small, slow trees; out-of-fold rankings on the training rows decide.
SIZES: Mapping[str, Trees] = {
    "small trees": Trees(n_trees=100, max_depth=2, learning_rate=0.05, min_child_weight=20),
    "large trees": Trees(n_trees=100, max_depth=4, learning_rate=0.1),
}
NUISANCE = Trees(n_trees=100, max_depth=3, learning_rate=0.1)


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """The choices behind a study.

    Attributes:
        budget: share of the population that can be treated, in (0, 1].
        learners: which learners to try, of "s", "t", "x", "r", "dr".
        test_share: share of the rows held out to judge everything, in (0, 1).
        split_by: "row", "unit" or "time"; None is "unit" where units repeat, else "row".
        propensity: as in ``effects.Learner``.
        break_even: the least effect worth an action, in outcome units.
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
        if not 0 < self.test_share < 1:
            raise ParameterError(f"test_share is {self.test_share!r}, not within (0, 1)", remedy="Pass e.g. 0.5.")
        if not 0 < self.alpha < 1:
            raise ParameterError(f"alpha is {self.alpha!r}, not within (0, 1)", remedy="Pass e.g. 0.05.")
        if self.propensity not in ("auto", "known", "constant", "estimated"):
            raise ParameterError(
                f"propensity is {self.propensity!r}", remedy="Choose 'auto', 'known', 'constant' or 'estimated'."
            )
        if self.split_by not in (None, "row", "unit", "time"):
            raise ParameterError(f"split_by is {self.split_by!r}", remedy="Choose 'row', 'unit' or 'time'.")
        given: object = self.learners
        if isinstance(given, str):
            object.__setattr__(self, "learners", (given,))
        unknown = [name for name in self.learners if name not in LEARNERS]
        if unknown or not self.learners:
            raise ParameterError(
                f"There is no learner {unknown[0]!r}" if unknown else "No learner was named",
                remedy=f"Choose among {', '.join(LEARNERS)}.",
            )

    @property
    def engine(self) -> LocalEngine:
        """The engine with the threads asked for."""
        return LocalEngine(threads=self.threads, progress=self.progress)

    def candidates(self) -> dict[str, Learner]:
        """Name → unfitted learner: every learner in both sizes, all on the same responses."""
        engine = self.engine
        return {
            f"{LEARNERS[name].__name__}, {size}": LEARNERS[name](
                trees=trees,
                nuisance_trees=NUISANCE,
                propensity=self.propensity,
                engine=engine,
                random_state=self.random_state,
            )
            for name in dict.fromkeys(self.learners)
            for size, trees in SIZES.items()
        }
