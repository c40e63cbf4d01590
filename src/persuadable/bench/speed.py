"""``persuadable bench learners`` and ``persuadable bench evaluation``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from persuadable import peers as other
from persuadable.bench.race import Race, race
from persuadable.errors import ParameterError

__all__ = ["EVALUATIONS", "LEARNERS", "evaluation", "learners"]

LEARNER_FILE = Path(__file__).with_name("learner_contestants.py")
JUDGE_FILE = Path(__file__).with_name("judge_contestants.py")

FLOOR = "bare fit"
LEARNERS = (
    FLOOR,
    "ours S",
    "ours T",
    "ours X, one model",
    "ours X, two models",
    "ours R",
    "ours DR",
    "ours R + DR + X",
    "econml NonParamDML",
    "econml DR",
    "metalearners X",
    "metalearners R",
    "metalearners DR",
    "causalml X",
    "causalml X, p given",
    "causalml R, p given",
)
EVALUATIONS = (
    "ours",
    "ours with 200 draws",
    "scikit-uplift Qini",
    "scikit-uplift Qini, AUUC, uplift at 3 k",
    "causalml Qini",
    "causalml Qini with 10 draws",
    "econml Qini",
)


def learners(
    n: int = 200_000,
    d: int = 12,
    trees: int = 100,
    depth: int = 4,
    folds: int = 5,
    threads: int = 2,
    repeats: int = 3,
    peers: Sequence[str] = ("econml", "metalearners", "causalml"),
    *,
    outcome: Literal["real", "binary"] = "real",
    out: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> Race:
    """CPU seconds and memory of fitting, for our learners and their namesakes, in units of one bare XGBoost fit.

    Everyone fits the same rows of a known world with the same boosted trees. A contestant is a process of its own that
    imports, warms up on a small fit, and counts only the fit; ours counts the making and checking of its log
    too. Idle threads sleep rather than spin. Rounds are interleaved and the median of the repeats is taken.

    Args:
        n, d: rows and features.
        trees, depth: of every ensemble; the learning rate is 0.1.
        folds: of cross-fitting, for those that cross-fit.
        threads: of every process.
        repeats: rounds.
        peers: packages to race; an environment that is missing is made, which takes minutes.
        outcome: a real-valued or a binary one.
        out: where to write the result as JSON.
        say: called with a line of progress.

    Raises:
        ParameterError: an unknown peer, or a number below 1.
        MissingDependency: a peer's environment cannot be made.
    """
    _positive(n=n, d=d, trees=trees, depth=depth, folds=folds, threads=threads, repeats=repeats)
    names = entrants(LEARNERS, peers, say)
    settings = {"n": n, "d": d, "trees": trees, "depth": depth, "folds": folds, "outcome": outcome}
    private = {"rate": 0.1, "seed": 0, "binary": outcome == "binary"}
    arrays = trial(n, d, outcome, seed=0)
    result, _ = race(
        "Fitting",
        LEARNER_FILE,
        names,
        arrays,
        {**settings, **private},
        threads=threads,
        repeats=repeats,
        floor=FLOOR,
        say=say,
        shown=tuple(settings),
    )
    if out is not None:
        result.save(out)
    return result


def evaluation(
    n: int = 1_000_000,
    threads: int = 2,
    repeats: int = 3,
    peers: Sequence[str] = ("scikit-uplift", "causalml", "econml"),
    *,
    out: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> Race:
    """CPU seconds and memory of judging one ranking of n rows with a binary outcome.

    Ours are the Qini, the AUUC and the uplift at three shares, each with its interval, and the curves; the others
    are named by what they compute, mostly a point estimate. Making a log or a frame is not counted for anybody.

    Arguments and errors as in :func:`learners`.
    """
    _positive(n=n, threads=threads, repeats=repeats)
    names = entrants(EVALUATIONS, peers, say)
    rng = np.random.default_rng(0)
    score = rng.random(n)
    w = (rng.random(n) < 0.5).astype(np.int64)
    y = (rng.random(n) < 0.1 + 0.05 * w * score).astype(np.float64)
    arrays = {"w": w, "y": y, "p": np.full(n, 0.5), "score": score}
    floor = "scikit-uplift Qini" if "scikit-uplift" in peers else ""
    result, _ = race(
        "Judging a ranking",
        JUDGE_FILE,
        names,
        arrays,
        {"n": n},
        threads=threads,
        repeats=repeats,
        floor=floor,
        say=say,
    )
    if out is not None:
        result.save(out)
    return result


def trial(n: int, d: int, outcome: Literal["real", "binary"], *, seed: int) -> dict[str, NDArray[Any]]:
    """Rows of a known world with numbers only, as every package takes them: X, w, y and the known propensity p."""
    from persuadable.worlds import RandomisedTrial

    world = RandomisedTrial(surface="nonlinear", outcome=outcome, n_features=d, n_categorical=0)
    log = world.sample(n, random_state=seed)
    return {
        "X": log.features.values,
        "w": log.action.astype(np.int64),
        "y": log.outcome() if outcome == "real" else log.outcome().astype(np.int64),
        "p": np.ascontiguousarray(log.propensity()[:, 1]),
    }


def entrants(names: Sequence[str], peers: Sequence[str], say: Callable[[str], None] | None) -> list[str]:
    """Those of the contestants that are ours or of the peers wanted, whose environments are made where missing."""
    for peer in peers:
        if not other.is_built(peer):
            if say is not None:
                say(f"making the environment of {peer} {other.version(peer)} in {other.folder()}")
            other.build(peer)
    return [name for name in names if name.split()[0] in peers or name.split()[0] in ("ours", "bare")]


def _positive(**numbers: int) -> None:
    for name, value in numbers.items():
        if value < 1:
            raise ParameterError(f"{name} must be at least 1, got {value!r}")
