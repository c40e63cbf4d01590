"""Small real bundles for the tests of the service and of the app; fitted once a session, in a second or two.

python tests/service/bundles.py FOLDER     a bundle to try the service with
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import pytest

import persuadable as ps
from persuadable.engine import Trees
from persuadable.worlds import RandomisedTrial

WORLD = RandomisedTrial("nonlinear", "binary", n_features=7, n_categorical=1)
# Three arms, so that a wrong arm shows.
ARMS = RandomisedTrial("nonlinear", "binary", n_features=7, n_categorical=1, n_actions=3)

WIDE = RandomisedTrial("nonlinear", "binary", n_features=8, n_categorical=1)


def build(seed: int = 0, *, world: RandomisedTrial = WORLD, n: int = 2_000, n_trees: int = 20) -> ps.Bundle:
    """A bundle fitted on a small world; another seed is another bundle under the same contract of features."""
    train, test = world.sample(n, random_state=0).split(0.5, random_state=0)
    trees = Trees(n_trees=n_trees, max_depth=3)
    learner = ps.effects.DRLearner(trees=trees, n_resamples=4, random_state=seed).fit(train)
    policy = ps.policies.BudgetPolicy(learner, share=0.3).calibrate(test)
    return ps.Bundle.build(learner, policy, train, {"name": "A small bundle", "seed": seed})


def users(n: int, *, world: RandomisedTrial = WORLD, seed: int = 1, prefix: str = "u") -> list[dict[str, Any]]:
    """Users as /v1/score takes them, within the range of training."""
    rows = world.features(20 * n + 1_000, random_state=seed).frame().to_dicts()
    inside = [row for row in rows if all(abs(value) < 1.5 for value in row.values() if isinstance(value, float))]
    return [{"unit": f"{prefix}{i}", "features": row} for i, row in enumerate(random.Random(seed).sample(inside, n))]


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved bundle."""
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    build().save(folder)
    return folder


@pytest.fixture(scope="session")
def other_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another bundle under the same contract."""
    folder = tmp_path_factory.mktemp("other") / "bundle"
    build(seed=7).save(folder)
    return folder


@pytest.fixture(scope="session")
def arms_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with two treatments, and so other actions."""
    folder = tmp_path_factory.mktemp("arms") / "bundle"
    build(world=ARMS).save(folder)
    return folder


@pytest.fixture(scope="session")
def wide_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose contract has one feature more, so that what fits the others breaks it."""
    folder = tmp_path_factory.mktemp("wide") / "bundle"
    build(world=WIDE, n_trees=5).save(folder)
    return folder


if __name__ == "__main__":
    build().save(sys.argv[1])
