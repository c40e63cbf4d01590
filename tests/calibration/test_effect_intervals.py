"""Do effect intervals cover, and do the learners find the truth where there is plenty of data?

``python -m tests.calibration.test_effect_intervals`` runs everything (five minutes of CPU) and writes
calibration/EFFECT_INTERVALS.json.
"""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost
from numpy.typing import NDArray
from scipy.stats import spearmanr

from persuadable.effects import DRLearner, Learner, RLearner, SLearner, TLearner, XLearner, fit_many
from persuadable.engine import Trees
from persuadable.worlds import RandomisedTrial

SEED = 20_261_122
N, RESAMPLES, RUNS, POINTS = 20_000, 20, 4, 4_000
N_LARGE, RUNS_LARGE = 50_000, 3
FIGURES = Path(__file__).parents[2] / "calibration" / "EFFECT_INTERVALS.json"

Array = NDArray[np.float64]

WORLDS = {
    "linear, real": RandomisedTrial(surface="linear", outcome="real"),
    "nonlinear, real": RandomisedTrial(surface="nonlinear", outcome="real"),
    "nonlinear, real, 85% treated": RandomisedTrial(surface="nonlinear", outcome="real", treated_share=0.85),
    "nonlinear, binary": RandomisedTrial(surface="nonlinear", base_rate=0.3, effect_scale=1.0),
}
LARGE = {
    "nonlinear, real": RandomisedTrial(surface="nonlinear", outcome="real"),
    "nonlinear, binary": RandomisedTrial(surface="nonlinear"),
}


def learners(**parameters: Any) -> dict[str, Learner]:
    """Every learner, with the default trees."""
    return {
        "S": SLearner(**parameters),
        "T": TLearner(**parameters),
        "X": XLearner(**parameters),
        "X two-model": XLearner(form="two-model", **parameters),
        "R": RLearner(**parameters),
        "DR": DRLearner(**parameters),
    }


@dataclass(frozen=True)
class Coverage:
    """How the 95% intervals of one learner did in one world, over ``points`` fresh units in each run.

    Attributes:
        world, learner: what was repeated.
        covered: share of units whose interval held their true effect.
        width: mean width, in standard deviations of the true effect.
        spread_ratio: half-sample spread over the effects' standard deviation from run to run (root mean squares).
        bias_share: share of the mean squared error that is bias, the part no refit can see.
    """

    world: str
    learner: str
    covered: float
    width: float
    spread_ratio: float
    bias_share: float


def coverage(
    name: str, *, n: int = N, resamples: int = RESAMPLES, runs: int = RUNS, trees: Trees | None = None
) -> list[Coverage]:
    """Repeat a world with fresh logs and the same units to predict for."""
    world = WORLDS[name]
    fresh = world.features(POINTS, random_state=SEED)
    truth = world.effect(fresh)[:, 1]
    found: dict[str, list[Array]] = {}
    for run in range(runs):
        made = learners(trees=trees, n_resamples=resamples, random_state=run)
        fit_many(list(made.values()), world.sample(n, random_state=SEED + run))
        for key, learner in made.items():
            lower, upper = (bound[:, 1] for bound in learner.effect_interval(fresh))
            found.setdefault(key, []).append(np.stack([lower, upper]))
    results = []
    for key, intervals in found.items():
        lower, upper = np.stack(intervals, axis=1)  # (runs, points) each
        centre = (lower + upper) / 2
        spread = (upper - lower) / (2 * 1.959964)
        variance = float(centre.var(axis=0, ddof=1).mean())
        error = float(((centre - truth) ** 2).mean())
        results.append(
            Coverage(
                world=name,
                learner=key,
                covered=float(((lower <= truth) & (truth <= upper)).mean()),
                width=float((upper - lower).mean() / truth.std()),
                spread_ratio=float(np.sqrt((spread**2).mean() / variance)),
                bias_share=max(0.0, 1 - variance / error),
            )
        )
    return results


@dataclass(frozen=True)
class Recovery:
    """What one learner found in one large log.

    Attributes:
        world, learner, seed: which.
        signal_to_noise: Var τ over the outcome's noise variance.
        spearman: rank correlation with the true effect on fresh units.
        average_error: mean effect on the log less its truth, in standard errors √E[V₁/e₁ + V₀/e₀]/√n.
    """

    world: str
    learner: str
    seed: int
    signal_to_noise: float
    spearman: float
    average_error: float


def recovery(name: str, seed: int, *, n: int = N_LARGE) -> list[Recovery]:
    """Fit every learner to one large log."""
    world = LARGE[name]
    log, fresh = world.sample(n, random_state=SEED + seed), world.features(20_000, random_state=SEED)
    truth, e, noise = world.effect(log.features)[:, 1], world.shares, world.noise_variance(log.features)
    error = float(np.sqrt((noise / e).sum(axis=1).mean() / n))
    made = learners()
    fit_many(list(made.values()), log)
    return [
        Recovery(
            world=name,
            learner=key,
            seed=seed,
            signal_to_noise=world.signal_to_noise,
            spearman=float(spearmanr(np.asarray(learner.effect(fresh))[:, 1], world.effect(fresh)[:, 1])[0]),
            average_error=float((np.asarray(learner.effect(log))[:, 1].mean() - truth.mean()) / error),
        )
        for key, learner in made.items()
    ]


def test_intervals_of_a_small_run_are_neither_empty_nor_endless() -> None:
    """A short version that runs with every test: one world, few rows and small trees."""
    for result in coverage("linear, real", n=3_000, resamples=6, runs=2, trees=Trees(n_trees=30, max_depth=3)):
        assert (0.8 if result.learner in ("R", "DR") else 0.05) < result.covered <= 1, result
        assert 0.1 < result.width < 8, result
        assert 0.5 < result.spread_ratio < 2, result


#: Least coverage, some 4 points under the lowest measured. S lacks it by bias (its one model shrinks what the action
#: adds), X because its half-samples keep the responses that its imputed effects rest on.
LEAST = {"S": 0.30, "T": 0.85, "X": 0.73, "X two-model": 0.73, "R": 0.89, "DR": 0.89}


@pytest.mark.calibration
@pytest.mark.parametrize("name", WORLDS)
def test_coverage_is_what_the_documentation_says(name: str) -> None:
    for result in coverage(name):
        assert 0.75 < result.spread_ratio < 1.35, result
        assert LEAST[result.learner] < result.covered < 0.98, result


@pytest.mark.calibration
@pytest.mark.parametrize("name", LARGE)
def test_every_learner_recovers_the_average_and_the_best_the_ranking(name: str) -> None:
    found = [result for seed in range(RUNS_LARGE) for result in recovery(name, seed)]
    for key in learners():
        errors = [result.average_error for result in found if result.learner == key]
        assert abs(float(np.mean(errors))) <= 2, (key, errors)
    best = max(result.spearman for result in found)
    assert best >= (0.95 if name == "nonlinear, real" else 0.75), best


def _row(result: Coverage | Recovery) -> str:
    return json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(result).items()})


def main() -> None:
    """Run every world and write the figures, one result a line."""
    begun = time.process_time()
    results = {
        "coverage_of_95_percent_intervals": [_row(r) for name in WORLDS for r in coverage(name)],
        "recovery": [_row(r) for name in LARGE for seed in range(RUNS_LARGE) for r in recovery(name, seed)],
    }
    head = {
        "command": "python -m tests.calibration.test_effect_intervals",
        "seed": SEED,
        "n": N,
        "n_resamples": RESAMPLES,
        "runs": RUNS,
        "points": POINTS,
        "n_recovery": N_LARGE,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "xgboost": xgboost.__version__,
        },
        "cpu_seconds": round(time.process_time() - begun),
    }
    lines = [f'"{name}": {json.dumps(value)}' for name, value in head.items()]
    lines += [f'"{name}": [\n  ' + ",\n  ".join(rows) + "\n ]" for name, rows in results.items()]
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text("{\n " + ",\n ".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
