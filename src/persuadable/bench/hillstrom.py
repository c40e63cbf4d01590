"""What targeting is worth on a real experiment, over many splits of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from persuadable import datasets, effects, policies, value
from persuadable.bench.race import as_text
from persuadable.engine import LocalEngine, Trees
from persuadable.response import ResponseModel, cross_fit_arms

if TYPE_CHECKING:
    from rich.table import Table

    from persuadable.log import DecisionLog
    from persuadable.value import Estimate

__all__ = ["Gain", "Splits", "hillstrom"]

EFFECT_TREES = Trees(n_trees=100, max_depth=2, learning_rate=0.05, min_child_weight=20)
RESPONSE_TREES = Trees(n_trees=100, max_depth=3, learning_rate=0.1)


@dataclass(frozen=True, slots=True)
class Gain:
    """A learner's policy against a baseline, over splits.

    Attributes:
        learner, baseline: who is compared.
        value: mean over splits of the policy's value per head.
        baseline_value: the same of the baseline.
        difference: mean over splits of the paired difference.
        stderr: mean over splits of its standard error. Splits share their rows, so averaging over them narrows the
            interval by an unknown amount; that of a single split is the cautious one.
        interval: difference ∓ 1.96 stderr.
        beyond_chance: share of splits whose own interval lies above 0.
    """

    learner: str
    baseline: str
    value: float
    baseline_value: float
    difference: float
    stderr: float
    interval: tuple[float, float]
    beyond_chance: float


@dataclass(frozen=True, slots=True)
class Splits:
    """Gains over many splits of one log.

    Attributes:
        arms: which e-mails.
        outcome: what was to be raised.
        budget: share treated.
        splits: how many halvings into training and held-out rows.
        gains: one per learner and baseline.
    """

    arms: str
    outcome: str
    budget: float
    splits: int
    gains: tuple[Gain, ...]

    def table(self) -> Table:
        """The gains as a table for the terminal."""
        from rich.table import Table

        told = f"Hillstrom, {self.arms}: {self.outcome} per head, {self.budget:.0%} treated, {self.splits} splits"
        table = Table(title=told, title_justify="left")
        for heading in ("learner", "against", "value", "theirs", "difference", "95% interval", "splits beyond chance"):
            table.add_column(heading, justify="left" if heading in ("learner", "against") else "right")
        for g in self.gains:
            low, high = g.interval
            numbers = (
                f"{g.value:.4f}",
                f"{g.baseline_value:.4f}",
                f"{g.difference:+.4f}",
                f"{low:+.4f} to {high:+.4f}",
            )
            table.add_row(g.learner, g.baseline, *numbers, f"{g.beyond_chance:.0%}")
        return table

    def __str__(self) -> str:
        return as_text(self.table())


def hillstrom(
    arms: Literal["women", "men", "all"] = "women",
    outcome: str = "visit",
    budget: float = 0.3,
    splits: int = 20,
    *,
    threads: int | None = None,
    out: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> Splits:
    """Policy value at a budget against random, the response model and treating nobody, over splits.

    Args:
        arms: which e-mails, against none.
        outcome: "visit", "conversion" or "spend".
        budget: share treated.
        splits: random halvings into training and held-out rows.
        threads: to fit with.
        out: where to write the result as JSON.
        say: called with a line of progress.

    Raises:
        DatasetUnavailable: Hillstrom cannot be had.
    """
    log = datasets.load("hillstrom", arms=arms, outcome=outcome)
    found: dict[tuple[str, str], list[value.PolicyComparison]] = {}
    for seed in range(splits):
        for name, comparisons in _one_split(log, budget, seed, LocalEngine(threads=threads, progress=False)).items():
            for comparison in comparisons.comparisons:
                found.setdefault((name, comparison.baseline.policy), []).append(comparison)
        if say:
            say(f"split {seed + 1} of {splits}")
    result = Splits(arms, outcome, budget, splits, tuple(_gain(*key, rounds) for key, rounds in found.items()))
    if out is not None:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        Path(out).write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")
    return result


def _one_split(log: DecisionLog, budget: float, seed: int, engine: LocalEngine) -> dict[str, value.PolicyComparisons]:
    """Learner → its policy against the baselines, on the held-out half."""
    train, test = log.split(0.5, random_state=seed)
    learners = {
        kind.__name__: kind(trees=EFFECT_TREES, nuisance_trees=RESPONSE_TREES, engine=engine, random_state=seed)
        for kind in (effects.SLearner, effects.TLearner, effects.XLearner, effects.RLearner)
    }
    effects.fit_many(list(learners.values()), train)
    response = ResponseModel(trees=RESPONSE_TREES, engine=engine, random_state=seed).fit(train)
    mu = cross_fit_arms(test, trees=RESPONSE_TREES, engine=engine, random_state=seed)
    baselines: dict[str, policies.Policy] = {
        "random": policies.RandomPolicy(budget),
        "response model": policies.RankPolicy(response, budget).calibrate(test),
        "treat none": policies.TreatNone(),
    }
    return {
        name: value.compare_many(test, policies.BudgetPolicy(learner, budget).calibrate(test), baselines, mu=mu)
        for name, learner in learners.items()
    }


def _gain(learner: str, baseline: str, rounds: Sequence[value.PolicyComparison]) -> Gain:
    differences: list[Estimate] = [comparison.difference for comparison in rounds]
    difference = float(np.mean([d.value for d in differences]))
    stderr = float(np.mean([d.stderr for d in differences]))
    return Gain(
        learner=learner,
        baseline=baseline,
        value=float(np.mean([c.policy.value for c in rounds])),
        baseline_value=float(np.mean([c.baseline.value for c in rounds])),
        difference=difference,
        stderr=stderr,
        interval=(difference - 1.96 * stderr, difference + 1.96 * stderr),
        beyond_chance=float(np.mean([d.interval[0] > 0 for d in differences])),
    )
