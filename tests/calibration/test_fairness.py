"""How often does an audit raise a false alarm, how often does it miss a disparity, and do its intervals hold the truth?

Everybody has a number x, standard normal, and a group drawn without regard to x: a, b, c or d, of whom d are few. The
treatment acts on x > 0, and the policy prefers x > 0.3, in group d with a part of the others' probability; that part is
then the ratio of selection and of opportunity. The long version (marked ``calibration``) also writes
calibration/FAIRNESS.json when run as a command:

    python -m tests.calibration.test_fairness --runs 1000 --out calibration/FAIRNESS.json
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import binom

from persuadable import DecisionLog
from persuadable.value import fairness

SEED = 91_000
GROUPS = np.array(["a", "b", "c", "d"])
SHARES = np.array([0.4, 0.3, 0.2, 0.1])
OFFSET = 0.01  # by which effects are over-predicted, for everybody


@dataclass(frozen=True)
class World:
    """Who there are, what the treatment does, and what the policy does.

    Attributes:
        part: the policy's probability in group d over that in the others.
        rate, lift: P(Y = 1) untreated, and what the treatment adds where it acts.
        treated: share treated in the log.
        blind: whether in group d the treatment acts on x < 0 instead, which the policy and the predictions do not know.
        n: rows.
        method: of the audit.
        per_unit: rows of each unit.
    """

    part: float = 1.0
    rate: float = 0.15
    lift: float = 0.15
    treated: float = 0.5
    blind: bool = False
    n: int = 6_000
    method: str = "dr"
    per_unit: int = 1

    def moved(self, x, d):
        """Whom the treatment moves."""
        return np.where(self.blind & d, x < 0, x > 0)

    def policy(self, x, d):
        """P(treated) under the policy."""
        return np.where(x > 0.3, 0.8, 0.2) * np.where(d, self.part, 1.0)

    def audit(self, seed):
        """The audit of one log."""
        rng = np.random.default_rng(seed)
        units = self.n // self.per_unit
        group, x = rng.choice(4, units, p=SHARES), rng.standard_normal(units)
        group, x = np.repeat(group, self.per_unit), np.repeat(x, self.per_unit)
        d = group == 3
        action = rng.random(self.n) < self.treated
        luck = np.repeat(rng.random(units), self.per_unit)  # rows of a unit go together
        y = luck < self.rate + self.lift * (action & self.moved(x, d))
        log = DecisionLog.from_arrays(
            x[:, None],
            action.astype(int),
            y.astype(float),
            propensity=self.treated,
            unit=np.repeat(np.arange(units), self.per_unit) if self.per_unit > 1 else None,
        )
        p = self.policy(x, d)
        return fairness(
            log,
            np.stack([1 - p, p], axis=1),
            GROUPS[group],
            effect=self.lift * (x > 0) + OFFSET,
            mu=[self.rate, self.rate + self.lift / 2] if self.method == "dr" else None,
            method=self.method,
        )

    def truth(self, group):
        """Selection, benefit, opportunity and gap of a group."""
        d = np.array(group == "d")
        edges = np.array([-9.0, 0.0, 0.3, 9.0])
        mass, middle = np.diff(ndtr(edges)), (edges[:-1] + edges[1:]) / 2
        p, moved = self.policy(middle, d), self.moved(middle, d)
        selection, benefit = float(mass @ p), float(self.lift * (mass @ (p * moved)))
        potential = float(self.lift * (mass @ moved))
        return {
            "selection": selection,
            "benefit": benefit,
            "opportunity": benefit / potential if potential else np.nan,
            "gap": potential - self.lift / 2 - OFFSET,
        }


EDGE = World(part=0.8)
WITHOUT = {
    "no disparity": World(),
    "ratios of exactly 0.8": EDGE,
    "ratios of exactly 0.8, ips": replace(EDGE, method="ips"),
    "ratios of exactly 0.8, 85% treated, 2% respond": replace(EDGE, treated=0.85, rate=0.02, lift=0.02, n=20_000),
    "ratios of exactly 0.8, 15% treated, 2% respond": replace(EDGE, treated=0.15, rate=0.02, lift=0.02, n=20_000),
    "ratios of exactly 0.8, few rows": replace(EDGE, n=1_500),
    "ratios of exactly 0.8, three rows a unit": replace(EDGE, per_unit=3, n=9_000),
    "no effect": World(lift=0.0),
    "no effect, 15% treated, 2% respond": World(lift=0.0, rate=0.02, treated=0.15),
}
WITH = {
    "d is selected half as often": (World(part=0.5), "selection"),
    "d's effect is reached half as often": (World(part=0.5, n=120_000), "opportunity"),
    "selected alike, but the policy is blind to d's effect": (World(blind=True, n=40_000), "opportunity"),
}
COVERED = {
    "rows": World(part=0.7, n=20_000),
    "ips, 85% treated": World(part=0.7, method="ips", treated=0.85, n=20_000),
    "three rows a unit": World(part=0.7, per_unit=3, n=30_000),
}


def seeds(name, runs):
    """Streams that do not depend on which other worlds are run."""
    return [[SEED, *name.encode(), run] for run in range(runs)]


def alarms(name, world, runs):
    """Share of the runs with any alarm, and with one of each kind."""
    kinds = [{alarm.code for alarm in world.audit(seed).alarms} for seed in seeds(name, runs)]
    by_kind = Counter(code for found in kinds for code in found)
    return {"any": sum(map(bool, kinds)) / runs} | {code: count / runs for code, count in sorted(by_kind.items())}


def coverage(name, world, runs):
    """How often each kind of interval held the truth, over groups and runs."""
    held = defaultdict(list)
    for seed in seeds(name, runs):
        for row in world.audit(seed).groups:
            for what, true in world.truth(row.group).items():
                told = getattr(row, what)
                inside = told.holds(true) if what == "opportunity" else told.interval[0] <= true <= told.interval[1]
                held[what].append(inside)
    return {what: round(float(np.mean(each)), 4) for what, each in held.items()}


@pytest.mark.parametrize("name", WITHOUT)
def test_a_world_without_disparity_raises_no_alarm_in_a_few_runs(name):
    """A true 5% passes 9,999 times in 10,000."""
    runs = 40
    assert alarms(name, WITHOUT[name], runs)["any"] * runs <= binom.ppf(1 - 1e-4, runs, 0.05)


@pytest.mark.parametrize("name", WITH)
def test_a_built_in_disparity_is_flagged_in_a_few_runs(name):
    """A power of 90% passes 9,999 times in 10,000."""
    runs = 20
    world, code = WITH[name]
    assert alarms(name, world, runs).get(code, 0.0) * runs >= binom.ppf(1e-4, runs, 0.9)


def test_what_is_blind_to_effects_is_no_disparity_of_selection():
    found = alarms("blind", WITH["selected alike, but the policy is blind to d's effect"][0], 20)
    assert found["opportunity"] > 0.5
    assert found.get("selection", 0.0) * 20 <= binom.ppf(1 - 1e-4, 20, 0.05)


@pytest.mark.parametrize("name", COVERED)
def test_intervals_hold_the_truth_in_a_few_runs(name):
    runs = 25
    for what, share in coverage(name, COVERED[name], runs).items():
        # Four groups a run, drawn apart.
        assert share * 4 * runs >= binom.ppf(1e-5, 4 * runs, 0.95), (what, share)


@pytest.mark.calibration
@pytest.mark.parametrize("name", WITHOUT)
def test_false_alarms_are_at_most_5_percent_of_200_runs(name):
    assert alarms(name, WITHOUT[name], 200)["any"] <= 0.05


@pytest.mark.calibration
@pytest.mark.parametrize("name", WITH)
def test_a_built_in_disparity_is_flagged_in_95_percent_of_200_runs(name):
    world, code = WITH[name]
    assert alarms(name, world, 200).get(code, 0.0) >= 0.95


@pytest.mark.calibration
@pytest.mark.parametrize("name", COVERED)
def test_intervals_hold_the_truth_in_93_to_97_percent_of_500_runs(name):
    for what, share in coverage(name, COVERED[name], 500).items():
        assert 0.93 <= share <= 0.97, (what, share)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("calibration/FAIRNESS.json"))
    told = parser.parse_args()
    import persuadable

    report = {
        "what": "share of audits with any alarm in worlds without disparity (nominal: at most 5%) and with one, and "
        "how often nominal 95% intervals of groups held the known truth",
        "runs": told.runs,
        "seed": SEED,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "numpy": np.__version__},
        "persuadable": persuadable.__version__,
        "alarms without disparity": {name: alarms(name, world, told.runs) for name, world in WITHOUT.items()},
        "alarms with a disparity": {name: alarms(name, world, told.runs) for name, (world, _) in WITH.items()},
        "coverage": {name: coverage(name, world, told.runs) for name, world in COVERED.items()},
    }
    print(json.dumps(report, ensure_ascii=False, indent=1), file=sys.stderr)
    told.out.parent.mkdir(parents=True, exist_ok=True)
    told.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
