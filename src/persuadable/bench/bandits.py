"""``persuadable bench bandits``: the tables that obp's authors publish, repeated with our estimators beside obp's."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from persuadable.bench.race import as_text, described

if TYPE_CHECKING:
    from rich.table import Table

    from persuadable.value.ope import Estimator

__all__ = ["PUBLISHED", "Bandits", "Line", "bandits"]

Arrays = Mapping[str, NDArray[Any]]

#: Mean and standard deviation of the relative error over 30 runs, as printed beside the examples in obp's repository
#: (st-tech/zr-obp, examples/multiclass and examples/obd).
PUBLISHED: Final[Mapping[str, Mapping[str, tuple[float, float]]]] = {
    "digits": {
        "dm": (0.436541, 0.017629),
        "ips": (0.030288, 0.024506),
        "snips": (0.022764, 0.017917),
        "dr": (0.016156, 0.012679),
        "sndr": (0.022082, 0.016865),
        "switch-dr": (0.034657, 0.018575),
        "dros": (0.015868, 0.012537),
    },
    "open-bandit": {
        "dm": (0.156876, 0.109898),
        "ips": (0.311082, 0.311170),
        "snips": (0.311795, 0.334736),
        "dr": (0.292464, 0.315485),
        "sndr": (0.302407, 0.328434),
        "switch-dr": (0.258410, 0.160598),
        "dros": (0.159520, 0.109660),
    },
}
BY_OUR_SLOPE: Final = {"switch-dr": "switch-dr, our SLOPE", "dros": "dros, our SLOPE"}


@dataclass(frozen=True, slots=True)
class Line:
    """One estimator in one experiment. The error is |estimate − truth| / |truth|; pairs are its mean and deviation.

    Attributes:
        experiment: "digits" or "open-bandit".
        estimator: its name.
        published: as its authors printed it; None for what they have not.
        theirs: as obp has it here; None likewise.
        ours: as we have it on the same arrays.
        apart: largest difference of our estimates from obp's, None where they are not the same thing.
        away: (theirs − published) / (published deviation / √runs).
    """

    experiment: str
    estimator: str
    published: tuple[float, float] | None
    theirs: tuple[float, float] | None
    ours: tuple[float, float]
    apart: float | None
    away: float | None


@dataclass(frozen=True, slots=True)
class Bandits:
    """Both tables.

    Attributes:
        settings: runs, simulations, and the version of obp.
        rows: a line per experiment and estimator.
    """

    settings: Mapping[str, Any]
    rows: tuple[Line, ...]

    def table(self) -> Table:
        """Mean relative errors (and their deviations), a line per estimator."""
        from rich.table import Table

        table = Table(
            title=f"Relative errors of off-policy estimates\n{described(self.settings)}", title_justify="left"
        )
        for heading in ("data", "estimator"):
            table.add_column(heading)
        for heading in ("published", "obp here", "standard errors off", "ours", "largest difference"):
            table.add_column(heading, justify="right")
        for row in self.rows:
            away = "" if row.away is None else f"{row.away:+.2f}"
            apart = "" if row.apart is None else f"{row.apart:.1e}"
            pairs = [_pair(row.published), _pair(row.theirs), away, _pair(row.ours), apart]
            table.add_row(row.experiment, row.estimator, *pairs)
        return table

    def __str__(self) -> str:
        return as_text(self.table())

    def save(self, path: str | Path) -> Path:
        """Write everything as JSON."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        return target


def bandits(
    runs: int = 30,
    simulations: int = 1_000_000,
    *,
    out: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> Bandits:
    """Repeat the two experiments in obp's environment and estimate the same policies from the same rounds ourselves.

    The parameters of SWITCH-DR and DRos are those obp chose on each run, and on further lines those our SLOPE chooses.

    Args:
        runs: of each experiment; 30 were published.
        simulations: draws of the Thompson sampler, from which its probabilities are counted; 1,000,000 were published.
        out: where to write the result as JSON.
        say: called with a line of progress.

    Raises:
        MissingDependency: obp has no environment and none can be made.
    """
    from persuadable import peers

    folder = Path(peers.__file__).parent
    script, importer = folder / "obp_experiments.py", str(folder / "obp_estimates.py")
    rows: list[Line] = []
    version = peers.version("obp")
    for experiment in PUBLISHED:
        told = {"experiment": experiment, "runs": runs, "simulations": simulations, "importer": importer}
        found = peers.call("obp", script, {}, told, threads=1, may_build=True)
        rows += lines(experiment, found)
        if say is not None:
            say(f"{experiment}: {runs} runs of {found['action'].shape[1]:,} rounds")
    result = Bandits({"runs": runs, "simulations": simulations, "obp": version}, tuple(rows))
    if out is not None:
        result.save(out)
    return result


def lines(experiment: str, found: Arrays) -> list[Line]:
    """The lines of an experiment from what ``peers/obp_experiments.py`` answered."""
    ours = np.array([_ours(found, run) for run in range(len(found["truth"]))])
    theirs, truth = found["estimates"], found["truth"][:, None]
    errors, their_errors = np.abs(ours / truth - 1), np.abs(theirs / truth - 1)
    made = []
    for k, (name, published) in enumerate(PUBLISHED[experiment].items()):
        pair = _mean_and_deviation(their_errors[:, k])
        away = (pair[0] - published[0]) / (published[1] / np.sqrt(len(truth)))
        apart = float(np.abs(ours[:, k] - theirs[:, k]).max())
        made.append(Line(experiment, name, published, pair, _mean_and_deviation(errors[:, k]), apart, float(away)))
    for k, label in enumerate(BY_OUR_SLOPE.values(), start=len(made)):
        made.append(Line(experiment, label, None, None, _mean_and_deviation(errors[:, k]), None, None))
    return made


def _ours(found: Arrays, run: int) -> list[float]:
    """Our estimates of a run, in the order of ``PUBLISHED``, then those tuned by our SLOPE."""
    from persuadable.log import DecisionLog
    from persuadable.value import estimate
    from persuadable.value.ope import DRos, SwitchDR

    tau, lam = (float(value) for value in found["chosen"][run])
    asked: list[str | Estimator] = ["dm", "ips", "snips", "dr", "sndr", SwitchDR(tau), DRos(lam), *BY_OUR_SLOPE]
    q_hat = found["q_hat"][run]
    log = DecisionLog.from_arrays(
        np.zeros((len(q_hat), 1), dtype=np.float32),
        found["action"][run],
        found["reward"][run],
        control=None,
        action_names=[f"action {a}" for a in range(q_hat.shape[1])],
        taken_propensity=found["pscore"][run],
    )
    values = estimate(log, found["candidate"][found["which"][run]], estimators=asked, q_hat=q_hat)
    return [one.value for one in values.values()]


def _mean_and_deviation(values: NDArray[np.float64]) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1)) if values.size > 1 else 0.0


def _pair(pair: tuple[float, float] | None) -> str:
    return "" if pair is None else f"{pair[0]:.4f} ({pair[1]:.4f})"
