"""Record econml's effects on a small known world: ``python tests/value/golden/make_crosscheck.py``.

Needs econml's environment (``python -m persuadable.peers econml``).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("crosscheck.json")


def world_and_halves():
    """A nonlinear world with a real-valued outcome, its training half and its test half."""
    from persuadable.worlds import RandomisedTrial

    world = RandomisedTrial(surface="nonlinear", outcome="real", n_features=8)
    return world, *world.sample(8_000, random_state=0).split(0.9, random_state=0)


def trees():
    """The settings of all ensembles."""
    from persuadable.engine import Trees

    return Trees(n_trees=60, max_depth=3, learning_rate=0.1)


def main() -> None:
    """Fit econml on the training half and write down its effects on the test half."""
    from persuadable.value.crosscheck import crosscheck

    _, train, test = world_and_halves()
    found = crosscheck(train, test, np.arange(float(test.n)), trees=trees(), propensity="constant")
    told = {
        "econml": found.econml,
        "made_by": "tests/value/golden/make_crosscheck.py",
        "first_outcomes": [round(y, 7) for y in test.outcome()[:5].tolist()],
        "effect": [round(x, 7) for x in found.their_effect.tolist()],
    }
    FILE.write_text(json.dumps(told) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
