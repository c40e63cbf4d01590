"""``persuadable bench agreement``: our R-learner beside econml's NonParamDML, on Hillstrom and on a known truth."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from persuadable.bench.race import as_text, described

if TYPE_CHECKING:
    from rich.table import Table

    from persuadable.engine import Trees
    from persuadable.log import DecisionLog
    from persuadable.value.crosscheck import Crosscheck

__all__ = ["Agreement", "Agreements", "agreement"]

Settings = tuple[int, int, float]


@dataclass(frozen=True, slots=True)
class Agreement:
    """One experiment, one setting of the trees; a number for each split.

    Attributes:
        data: which experiment.
        trees: number, depth and learning rate of all ensembles.
        spearman: rank correlation of our effects with econml's on the held-out half.
        ceiling: the same of econml with itself, its folds drawn anew: what two runs of one method agree on.
        to_truth: (ours, econml's) rank correlation with the true effect, where it is known.
    """

    data: str
    trees: Settings
    spearman: tuple[float, ...]
    ceiling: tuple[float, ...]
    to_truth: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Agreements:
    """All of them.

    Attributes:
        settings: folds, splits and how the propensity was had.
        rows: a row per experiment and setting.
    """

    settings: Mapping[str, Any]
    rows: tuple[Agreement, ...]

    def table(self) -> Table:
        """Means over the splits."""
        from rich.table import Table

        table = Table(title=f"R-learner beside econml's NonParamDML\n{described(self.settings)}", title_justify="left")
        table.add_column("data")
        for heading in ("trees × depth @ rate", "Spearman", "least", "econml with itself", "ours to truth", "econml's"):
            table.add_column(heading, justify="right")
        for row in self.rows:
            truth = [f"{mean(side):.4f}" for side in zip(*row.to_truth, strict=True)] or ["", ""]
            count, depth, rate = row.trees
            numbers = [f"{x:.3f}" for x in (mean(row.spearman), min(row.spearman), mean(row.ceiling))]
            table.add_row(row.data, f"{count} × {depth} @ {rate:g}", *numbers, *truth)
        return table

    def __str__(self) -> str:
        return as_text(self.table())

    def save(self, path: str | Path) -> Path:
        """Write everything as JSON."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        return target


def agreement(
    n: int = 50_000,
    folds: int = 5,
    threads: int = 2,
    *,
    trees: Sequence[Settings] = ((50, 2, 0.1), (100, 3, 0.05), (100, 4, 0.1)),
    splits: int = 5,
    experiments: Sequence[str] = ("women", "men", "real", "binary"),
    data_dir: str | Path | None = None,
    out: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> Agreements:
    """Fit both on the same half with the same trees, and correlate their effects on the other half.

    "women" and "men" are Hillstrom's e-mails against none, outcome visit; "real" and "binary" are nonlinear worlds
    of n rows with that outcome, whose truth is known. Both methods see the same columns (categories spread into 0/1
    columns, for econml takes numbers only), the same folds and the known propensity. Where a fit mostly follows
    noise, as many deep trees do on Hillstrom, no two fits agree; ``Agreement.ceiling`` shows how much of that there is.

    Args:
        n: rows of each world, split in halves like the others.
        folds: of cross-fitting.
        threads: of each process.
        trees: (number, depth, learning rate) of all ensembles, one row of the result each.
        splits: random halves.
        experiments: of "women", "men", "real" and "binary".
        data_dir: where Hillstrom is, see ``datasets.load``.
        out: where to write the result as JSON.
        say: called with a line of progress.

    Raises:
        DatasetUnavailable: Hillstrom is neither here nor to be had.
        MissingDependency: econml has no environment.
    """
    from persuadable.engine import Trees

    rows = []
    for name in experiments:
        log, truth = _experiment(name, n, data_dir)
        for count, depth, rate in trees:
            settings = Trees(n_trees=count, max_depth=depth, learning_rate=rate)
            pairs = []
            for split in range(splits):
                pairs.append(_both(log, truth, settings, folds, split, threads))
                if say is not None:
                    where = f"{log.name}, {count} × {depth} @ {rate:g}, split {split + 1}/{splits}"
                    say(f"{where}: {pairs[-1][0].spearman:.3f}")
            found = [first for first, _ in pairs]
            to_truth = tuple(check.to_truth for check in found if check.to_truth is not None)
            spearman = tuple(check.spearman for check in found)
            rows.append(Agreement(log.name, (count, depth, rate), spearman, tuple(c for _, c in pairs), to_truth))
    result = Agreements({"folds": folds, "splits": splits, "propensity": "known to both"}, tuple(rows))
    if out is not None:
        result.save(out)
    return result


def _experiment(name: str, n: int, data_dir: str | Path | None) -> tuple[DecisionLog, Any]:
    """A two-arm log of numbers only, and what tells the true effect of features, or None."""
    from persuadable import datasets
    from persuadable.log import DecisionLog
    from persuadable.value.crosscheck import one_hot
    from persuadable.worlds import RandomisedTrial

    if name in ("real", "binary"):
        world = RandomisedTrial(surface="nonlinear", outcome="real" if name == "real" else "binary", n_categorical=0)
        return world.sample(n, random_state=0), world.effect
    log = datasets.load("hillstrom", arms=name, outcome="visit", data_dir=data_dir)
    share = float(log.propensity()[0, 1])
    called = f"Hillstrom, {name}'s e-mail"
    return DecisionLog.from_arrays(
        one_hot(log.features), log.action.astype(int), log.outcome(), propensity=share, name=called
    ), None


def _both(log: DecisionLog, truth: Any, trees: Trees, folds: int, split: int, threads: int) -> tuple[Crosscheck, float]:
    """Our effects checked against econml's on one split, and econml's against its own with other folds."""
    from persuadable.effects import RLearner
    from persuadable.engine import LocalEngine
    from persuadable.value.crosscheck import crosscheck

    train, test = log.split(0.5, random_state=split)
    learner = RLearner(trees=trees, n_folds=folds, engine=LocalEngine(threads=threads), random_state=split).fit(train)
    effect = learner.effect(test.features)[:, 1]
    true = None if truth is None else truth(test.features)[:, 1]

    def check(ours: Any, seed: int) -> Crosscheck:
        return crosscheck(
            train,
            test,
            ours,
            trees=trees,
            n_folds=folds,
            random_state=seed,
            truth=true,
            propensity="constant",
            threads=threads,
        )

    first = check(effect, split)
    return first, check(first.their_effect, split + 1_000).spearman
