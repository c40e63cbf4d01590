"""``persuadable bench accuracy``: each learner and its namesakes elsewhere against a truth that is known."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from persuadable.bench.race import as_text, described, one
from persuadable.bench.speed import LEARNER_FILE, entrants
from persuadable.errors import PersuadableError

if TYPE_CHECKING:
    from rich.table import Table

    from persuadable.worlds import RandomisedTrial

__all__ = ["NAMESAKES", "Accuracy", "Against", "accuracy"]

NAMESAKES: Mapping[str, tuple[str, ...]] = {
    "S": ("ours S", "econml S", "metalearners S", "causalml S"),
    "T": ("ours T", "econml T", "metalearners T", "causalml T"),
    "X": ("ours X, two models", "econml X", "metalearners X", "causalml X, p given"),
    "X, one model": ("ours X, one model", "econml X", "metalearners X", "causalml X, p given"),
    "R": ("ours R", "econml NonParamDML", "metalearners R", "causalml R, p given"),
    "DR": ("ours DR", "econml DR", "metalearners DR", "causalml DR, p given"),
}


@dataclass(frozen=True, slots=True)
class Against:
    """One learner on one world.

    Attributes:
        surface: of the world.
        learner: a key of ``NAMESAKES``; there are two of ours named X, in two forms.
        contestant: whose.
        spearman: rank correlation with the true effect on fresh rows, one for each seed.
        rmse: root mean squared error of the effect, one for each seed, in outcome units.
        failed: why there are no numbers, else empty.
    """

    surface: str
    learner: str
    contestant: str
    spearman: tuple[float, ...]
    rmse: tuple[float, ...]
    failed: str = ""

    @property
    def mean(self) -> float:
        """Mean Spearman correlation over the seeds."""
        return float(np.mean(self.spearman)) if self.spearman else float("nan")


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How near the truth everybody is.

    Attributes:
        settings: rows, trees, seeds and the rest.
        rows: a row per world, learner and contestant.
    """

    settings: Mapping[str, Any]
    rows: tuple[Against, ...]

    def behind(self) -> dict[tuple[str, str], float]:
        """(surface, learner) → the best namesake's mean Spearman correlation less ours; negative where ours leads."""
        found = {}
        for ours in (row for row in self.rows if row.contestant.startswith("ours ")):
            here = [r for r in self.rows if (r.surface, r.learner) == (ours.surface, ours.learner) and r is not ours]
            rivals = [row.mean for row in here if row.spearman]
            if rivals:
                found[ours.surface, ours.learner] = max(rivals) - ours.mean
        return found

    def table(self) -> Table:
        """A line per world and learner: each package's mean Spearman correlation, and our distance to the best."""
        from rich.table import Table

        title = f"Spearman correlation with the true effect\n{described(self.settings)}"
        table = Table(title=title, title_justify="left")
        packages = list(dict.fromkeys(row.contestant.split()[0] for row in self.rows))
        for heading in ("world", "learner"):
            table.add_column(heading)
        for heading in (*packages, "behind the best"):
            table.add_column(heading, justify="right")
        behind = self.behind()
        for surface, learner in dict.fromkeys((row.surface, row.learner) for row in self.rows):
            here = {r.contestant.split()[0]: r for r in self.rows if (r.surface, r.learner) == (surface, learner)}
            cells = ["failed" if here[p].failed else f"{here[p].mean:.4f}" if p in here else "" for p in packages]
            gap = behind.get((surface, learner))
            table.add_row(surface, learner, *cells, "" if gap is None else f"{gap:+.4f}")
        return table

    def __str__(self) -> str:
        return as_text(self.table())

    def save(self, path: str | Path) -> Path:
        """Write everything as JSON."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        behind = {" ".join(key): round(gap, 5) for key, gap in self.behind().items()}
        target.write_text(json.dumps({**asdict(self), "behind": behind}, indent=1) + "\n", encoding="utf-8")
        return target


def accuracy(
    n: int = 200_000,
    d: int = 12,
    trees: int = 100,
    depth: int = 4,
    folds: int = 5,
    threads: int = 2,
    peers: Sequence[str] = ("econml", "metalearners", "causalml"),
    *,
    learners: Sequence[str] = tuple(NAMESAKES),
    surfaces: Sequence[Literal["linear", "nonlinear", "sparse"]] = ("linear", "nonlinear"),
    outcome: Literal["real", "binary"] = "binary",
    treated_share: float = 0.5,
    n_test: int = 50_000,
    seeds: Sequence[int] = (0, 1, 2),
    out: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> Accuracy:
    """Rank correlation of estimated with true effects, ours and theirs, fitted on the same rows with the same trees.

    A peer is used as its users would: a classifier for a binary outcome where it takes one, its own way with the
    propensity, or the known one where it can be given.

    Args:
        n, d, trees, depth, folds, threads, peers: as in ``learners``; the learning rate is 0.1.
        learners: keys of ``NAMESAKES``.
        surfaces: worlds, see ``worlds.RandomisedTrial``.
        outcome: of the worlds.
        treated_share: constant propensity.
        n_test: fresh rows on which effects are compared.
        seeds: one training and test sample each.
        out: where to write the result as JSON.
        say: called with a line of progress.
    """
    from persuadable.worlds import RandomisedTrial

    names = entrants(list(dict.fromkeys(name for kind in learners for name in NAMESAKES[kind])), peers, say)
    shown = {"n": n, "d": d, "trees": trees, "depth": depth, "folds": folds, "outcome": outcome}
    rows: list[Against] = []
    for surface in surfaces:
        world = RandomisedTrial(
            surface=surface, outcome=outcome, n_features=d, n_categorical=0, treated_share=treated_share
        )
        found = {name: _measured(world, name, shown, seeds, n_test, threads, say) for name in names}
        rows += [
            Against(surface, kind, name, *found[name]) for kind in learners for name in NAMESAKES[kind] if name in found
        ]
    result = Accuracy({**shown, "treated_share": treated_share, "seeds": list(seeds), "n_test": n_test}, tuple(rows))
    if out is not None:
        result.save(out)
    return result


def _measured(
    world: RandomisedTrial,
    name: str,
    shown: Mapping[str, Any],
    seeds: Sequence[int],
    n_test: int,
    threads: int,
    say: Callable[[str], None] | None,
) -> tuple[tuple[float, ...], tuple[float, ...], str]:
    """Rank correlations and errors of one contestant over the seeds, and why there are none where it fails."""
    from scipy.stats import spearmanr

    binary = world.outcome == "binary"
    spearman, rmse = [], []
    for seed in seeds:
        log = world.sample(int(shown["n"]), random_state=seed)
        fresh = world.features(n_test, random_state=seed + 1_000_000)
        truth = world.effect(fresh)[:, 1]
        arrays: dict[str, NDArray[Any]] = {
            "X": log.features.values,
            "w": log.action.astype(np.int64),
            "y": log.outcome().astype(np.int64 if binary else np.float64),
            "p": np.ascontiguousarray(log.propensity()[:, 1]),
            "X_test": fresh.values,
        }
        settings = {**shown, "rate": 0.1, "seed": seed, "binary": binary}
        try:
            effect = one(LEARNER_FILE, name, arrays, settings, threads=threads)["result"]
        except PersuadableError as error:  # told in the table, and the others go on
            return (), (), str(error)
        spearman.append(float(spearmanr(effect, truth).statistic))
        rmse.append(float(np.sqrt(np.mean((effect - truth) ** 2))))
        if say is not None:
            say(f"{world.surface}, seed {seed}  {name}: {spearman[-1]:.4f}")
    return tuple(spearman), tuple(rmse), ""
