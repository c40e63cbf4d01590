"""How often are archetypes wrong, how often does the model claim so, and what do held-out rows say?

Types are known here. ``python -m tests.calibration.test_archetypes`` runs everything (three minutes of CPU) and writes
calibration/ARCHETYPES.json.
"""

from __future__ import annotations

import json
import os
import platform
import warnings
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

import persuadable as ps
from persuadable.engine import Trees
from persuadable.policies import ARCHETYPES, archetypes, economics
from persuadable.worlds import RandomisedTrial

FIGURES = Path(__file__).parents[2] / "calibration" / "ARCHETYPES.json"
TREES = Trees(n_trees=100, max_depth=3)
TEST = 20_000
SEED = 8_100

# World, rows to learn from, and the break-even effect.
WORLDS = {
    "10% respond, half treated": (RandomisedTrial("nonlinear", base_rate=0.1, effect_scale=1.0), 20_000, 0.03),
    "3% respond, 85% treated": (
        RandomisedTrial("nonlinear", base_rate=0.03, effect_scale=1.0, treated_share=0.85),
        40_000,
        0.015,
    ),
    "one in ten moved, nobody harmed": (RandomisedTrial("sparse", base_rate=0.1, effect_scale=1.0), 20_000, 0.03),
    "nobody moved": (RandomisedTrial("none", base_rate=0.1), 20_000, 0.03),
}


@dataclass(frozen=True)
class Labelled:
    """What is claimed, expected and true of one label."""

    world: str
    learner: str
    archetype: str
    share: float
    true_share: float
    claimed_wrong: float
    expected_wrong: float
    true_wrong: float
    truly: tuple[float, ...]
    verdict: str | None


def run(world_name: str, learner_name: str, seed: int = SEED) -> list[Labelled]:
    """Both the learner's effects and the same calibrated, in one world."""
    world, rows, t = WORLDS[world_name]
    train, test = world.sample(rows, seed), world.sample(TEST, seed + 1)
    learner = getattr(ps.effects, learner_name)(trees=TREES, n_resamples=20).fit(train)
    baseline = ps.response.ResponseModel(TREES, treated_only=False).fit(train.arm(0))
    mu = ps.response.cross_fit_arms(test, trees=TREES)
    effect, level = world.effect(test.features)[:, 1], world.response(test.features)[:, 0]
    truth = np.where(effect > t, 0, np.where(effect < -t, 3, np.where(level >= t, 1, 2)))
    money = economics(1.0, t, outcome="outcome")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ps.effects.FlatMapWarning)  # as it should be where nobody is moved
        calibrated = ps.effects.CalibratedEffects(learner).calibrate(train)
    found = []
    for name, model in {learner_name: learner, f"{learner_name}, calibrated": calibrated}.items():
        assigned = archetypes(test, model, baseline, money)
        for row in ps.value.archetype_table(test, assigned, mu=mu, n_marks=0):
            if row.archetype not in ARCHETYPES:
                continue
            code = ARCHETYPES.index(row.archetype)
            truly = np.bincount(truth[assigned.membership == code], minlength=4) / row.n
            found.append(
                Labelled(
                    world_name,
                    name,
                    row.archetype,
                    row.share,
                    float((truth == code).mean()),
                    row.claimed_wrong,
                    row.expected_wrong,
                    float(1 - truly[code]),
                    tuple(np.round(truly, 4).tolist()),
                    row.verdict,
                )
            )
    return found


def tell(found: list[Labelled]) -> None:
    for row in found:
        wrong = f"claimed {row.claimed_wrong:.1%}, expected {row.expected_wrong:.1%}, true {row.true_wrong:.1%}"
        size = f"{row.share:6.1%} (true {row.true_share:.1%})"
        print(f"{row.world:32} {row.learner:24} {row.archetype:14} {size}, wrong: {wrong}, {row.verdict}")


def check(found: list[Labelled]) -> None:
    """What the documents say of it."""
    for row in found:
        raw = "calibrated" not in row.learner
        if row.archetype == "Persuadable" or (row.archetype == "Do-Not-Disturb" and raw):
            assert row.claimed_wrong < row.true_wrong, row
        if raw and row.archetype in ("Persuadable", "Do-Not-Disturb"):
            assert abs(row.expected_wrong - row.true_wrong) < 0.75 * abs(row.claimed_wrong - row.true_wrong), row
        if row.archetype == "Do-Not-Disturb":
            assert row.verdict != "confirmed", row


@pytest.mark.calibration
@pytest.mark.parametrize("world", list(WORLDS))
def test_held_out_rows_say_more_than_the_claim(world):
    check(run(world, "DRLearner", SEED + 100))


def main() -> None:
    found = [row for world in WORLDS for learner in ("XLearner", "DRLearner") for row in run(world, learner)]
    tell(found)
    told = {
        "what": "archetypes on worlds with known types: wrong as the model claims, as held-out rows make expect, truly",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}",
        "test_rows": TEST,
        "rows": [asdict(row) for row in found],
    }
    FIGURES.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    check(found)


if __name__ == "__main__":
    main()
