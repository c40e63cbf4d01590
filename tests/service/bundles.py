"""Small real bundles for the tests of the service and of the app; fitted once a session, in a second or two.

python tests/service/bundles.py FOLDER     a bundle to try the service with
"""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import persuadable as ps
from persuadable.engine import Trees
from persuadable.policies import Review
from persuadable.worlds import Offers, RandomisedTrial

WORLD = RandomisedTrial("nonlinear", "binary", n_features=7, n_categorical=1)
# Three arms, so that a wrong arm shows.
ARMS = RandomisedTrial("nonlinear", "binary", n_features=7, n_categorical=1, n_actions=3)

WIDE = RandomisedTrial("nonlinear", "binary", n_features=8, n_categorical=1)
# Offers that cost money where they are redeemed.
OFFERS = Offers(depths=(0.05, 0.1, 0.2), n_features=7, effect_scale=2.5)


def build(seed: int = 0, *, world: RandomisedTrial = WORLD, n: int = 2_000, n_trees: int = 20) -> ps.Bundle:
    """A bundle fitted on a small world; another seed is another bundle under the same contract of features."""
    train, test = world.sample(n, random_state=0).split(0.5, random_state=0)
    trees = Trees(n_trees=n_trees, max_depth=3)
    learner = ps.effects.DRLearner(trees=trees, n_resamples=4, random_state=seed).fit(train)
    policy = ps.policies.BudgetPolicy(learner, share=0.3).calibrate(test)
    return ps.Bundle.build(learner, policy, train, {"name": "A small bundle", "seed": seed})


def build_priced(seed: int = 0, *, stated: bool = False, calibrated: bool = False, n: int = 6_000) -> ps.Bundle:
    """A bundle whose budget is money: two heads, or a value head and stated costs."""
    train, test = OFFERS.sample(n, random_state=0).split(0.5, random_state=0)
    trees = Trees(n_trees=20, max_depth=3)
    value = ps.effects.DRLearner(trees=trees, n_resamples=4, random_state=seed)
    cost = ps.effects.TLearner(trees=trees, random_state=seed)
    heads: list[Any] = list(ps.effects.fit_heads(value, cost, train))
    if calibrated:
        heads = [ps.effects.CalibratedEffects(head, "platt").calibrate(train) for head in heads]
    costs = dict(zip(OFFERS.action_names[1:], (0.4, 0.9, 2.0), strict=True)) if stated else heads[1]
    policy = ps.policies.AllocationPolicy(heads[0], costs, budget=0.5, evidence=None).calibrate(test)
    return ps.Bundle.build(heads[0], policy, train, {"name": "A small bundle of offers", "seed": seed})


def build_reviewed(seed: int = 0, *, load: float = 0.2, world: RandomisedTrial = ARMS) -> ps.Bundle:
    """A bundle that leaves a share of its decisions to people."""
    train, rest = world.sample(4_000, random_state=0).split(0.5, random_state=0)
    test, held_out = rest.split(0.5, random_state=1)
    trees = Trees(n_trees=20, max_depth=3)
    learner = ps.effects.DRLearner(trees=trees, n_resamples=8, random_state=seed).fit(train)
    policy = ps.policies.BudgetPolicy(learner, share=0.3).calibrate(test)
    review = ps.policies.review(policy, held_out, load)
    return ps.Bundle.build(learner, policy, train, {"name": "A small bundle with people"}, review=review)


def build_priced_and_reviewed(load: float = 0.3) -> ps.Bundle:
    """A bundle whose budget is money, and that leaves a share of its decisions to people."""
    bundle = build_priced()
    held_out = OFFERS.sample(1_500, random_state=9)
    effect = bundle.learner.effect(held_out.features)
    best = effect[:, 1:].argmax(axis=1) + 1
    rows = range(held_out.n)
    stderr = np.std([refit[rows, best] for refit in bundle.learner.effect_refits(held_out.features)], axis=0, ddof=1)
    review = Review.of(effect[rows, best], stderr, held_out.features, 0.0, load)
    return replace(bundle, review=review)


def users(n: int, *, world: RandomisedTrial | Offers = WORLD, seed: int = 1, prefix: str = "u") -> list[dict[str, Any]]:
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


@pytest.fixture(scope="session")
def offers_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose budget is money."""
    folder = tmp_path_factory.mktemp("offers") / "bundle"
    build_priced().save(folder)
    return folder


@pytest.fixture(scope="session")
def reviewed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with two treatments that leaves a fifth of its decisions to people."""
    folder = tmp_path_factory.mktemp("reviewed") / "bundle"
    build_reviewed().save(folder)
    return folder


if __name__ == "__main__":
    build().save(sys.argv[1])
