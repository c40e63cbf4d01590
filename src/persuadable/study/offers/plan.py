"""What a study of offers is asked to do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from persuadable.design.propensity import PropensityChoice
from persuadable.effects import Learner
from persuadable.engine import LocalEngine, Trees
from persuadable.errors import ParameterError
from persuadable.study.plan import LEARNERS, NUISANCE, SIZES, check_judging, check_learners

__all__ = ["OfferPlan"]


@dataclass(frozen=True, slots=True)
class OfferPlan:
    """The choices behind a study of which offer for whom.

    Attributes:
        budget: what may be spent per head of the population, in the cost's unit; None for no budget.
        value: the outcome to be raised; None is the log's first.
        cost: the outcome that is the cost, or what each offer costs whenever it is given, by label; None is the log's.
        roi_floor: least total value per unit of total cost; None for no floor.
        learners: which learners to try, of "s", "t", "x", "r", "dr".
        calibration: how effects are put on the scale of the training rows' scores: "platt", "isotonic", or None.
        averse: standard errors taken off the predicted value before deciding.
        evidence: one-sided level at which the training rows must show the effects, out of fold, before any offer is
            made; None not to ask.
        segments: a category among the features within which support is told as well.
        dose: depth of each offer that lies on one axis, by label; thin neighbours on it are pooled.
        prune: whether offers with too few rows are pooled or left out.
        test_share: share of the rows held out to judge everything, in (0, 1).
        split_by: "row", "unit" or "time"; None is "unit" where units repeat, else "row".
        propensity: as in ``effects.Learner``.
        n_resamples: half-samples behind the standard errors of the value head; 0 for none.
        alpha: probability an interval is meant to miss.
        threads: threads to use; None for all.
        progress: show progress bars; None on a terminal.
        random_state: seed of everything.
    """

    budget: float | None = None
    value: str | None = None
    cost: str | Mapping[str, float] | None = None
    roi_floor: float | None = None
    learners: tuple[str, ...] = ("r", "dr")
    calibration: Literal["platt", "isotonic"] | None = "platt"
    averse: float = 0.0
    evidence: float | None = 0.01
    segments: str | None = None
    dose: Mapping[str, float] | None = None
    prune: bool = True
    test_share: float = 0.5
    split_by: str | None = None
    propensity: PropensityChoice = "auto"
    n_resamples: int = 20
    alpha: float = 0.05
    threads: int | None = None
    progress: bool | None = None
    random_state: int = 0

    def __post_init__(self) -> None:
        check_judging(self)
        object.__setattr__(self, "learners", check_learners(self.learners))
        if self.budget is not None and not (isinstance(self.budget, int | float) and 0 <= self.budget < math.inf):
            raise ParameterError(
                f"budget is {self.budget!r}", remedy="Pass what may be spent per head, a number from 0, or None."
            )
        floor = self.roi_floor
        if floor is not None and not (isinstance(floor, int | float) and 0 <= floor < math.inf):
            raise ParameterError(
                f"roi_floor is {floor!r}", remedy="Pass the least value per unit of cost, a number from 0, or None."
            )
        if self.budget is None and self.roi_floor is None:
            raise ParameterError(
                "Neither a budget nor a return is asked for: whatever is worth anything would be bought",
                remedy="Pass budget=, per head of the population, or roi_floor=, the least value per unit of cost.",
            )
        if self.calibration not in ("platt", "isotonic", None):
            raise ParameterError(f"calibration is {self.calibration!r}", remedy="Choose 'platt', 'isotonic' or None.")
        if self.averse and self.n_resamples < 2:
            raise ParameterError(
                f"averse = {self.averse:g} needs standard errors", remedy="Pass n_resamples=20, or averse=0."
            )

    @property
    def engine(self) -> LocalEngine:
        """The engine with the threads asked for."""
        return LocalEngine(threads=self.threads, progress=self.progress)

    def heads(self) -> dict[str, tuple[Learner, Learner]]:
        """Name → (value head, cost head), unfitted: every learner in every size, all on the same responses."""
        return {
            f"{LEARNERS[name].__name__}, {size}": (self._head(name, trees), self._head(name, trees))
            for name in self.learners
            for size, trees in SIZES.items()
        }

    def _head(self, name: str, trees: Trees) -> Learner:
        return LEARNERS[name](
            trees=trees,
            nuisance_trees=NUISANCE,
            propensity=self.propensity,
            engine=self.engine,
            random_state=self.random_state,
        )
