"""``persuadable bench offers``: what choosing an offer by person is worth on real trials, over several halvings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from persuadable.errors import ParameterError

if TYPE_CHECKING:
    from persuadable.log import DecisionLog
    from persuadable.study import OfferPlan, OfferStudy
    from persuadable.value import Estimate

__all__ = ["TRIALS", "Halving", "OfferTrials", "Trial", "offers"]


@dataclass(frozen=True, slots=True)
class Trial:
    """A real trial and what is asked of it.

    Attributes:
        name: the data set.
        options: how it is loaded.
        plan: what the study is asked, besides seeds and threads.
        unit: of value and cost, in words.
    """

    name: str
    options: Mapping[str, Any]
    plan: Mapping[str, Any]
    unit: str


TRIALS: tuple[Trial, ...] = (
    Trial("thornton", {"arms": "levels"}, {"budget": 0.5}, "results collected for dollars paid on collection"),
    Trial(
        "karlan-list",
        {"arms": "ratios", "outcome": "amount", "cost": "matched"},
        {"budget": 1.0},
        "dollars given for dollars matched",
    ),
    Trial(
        "hillstrom",
        {"arms": "all", "outcome": ["spend", "visit"]},
        {"budget": 0.05, "cost": {"Mens E-Mail": 0.1, "Womens E-Mail": 0.1}},
        "dollars spent for a stated contact cost of 0.10",
    ),
)


@dataclass(frozen=True, slots=True)
class Halving:
    """One random halving: fitted and priced on one half, judged on the other.

    Attributes:
        offered: share of the held-out units with an offer.
        gain: (value, lower, upper) per head over offering nothing.
        over_average: the same over the best mix drawn by lot, at the budget; None where nothing is offered.
        over_single: the same over the best offer alone, targeted, at the budget; None likewise, or with one offer.
        spend: the same of the cost per head; None where costs are stated.
        calibrated: value heads whose level and slope are as predicted, as far as the rows tell, and their number.
        cost_calibrated: the same of the cost heads.
        ranks: value heads that tell people apart.
        evidence: p-value of the training rows that there are effects at all.
        left_out: offers with too few rows.
    """

    offered: float
    gain: tuple[float, float, float]
    over_average: tuple[float, float, float] | None
    over_single: tuple[float, float, float] | None
    spend: tuple[float, float, float] | None
    calibrated: tuple[int, int]
    cost_calibrated: tuple[int, int]
    ranks: int
    evidence: float
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OfferTrials:
    """The halvings of every trial.

    Attributes:
        splits: halvings of each.
        trials: name → rows, unit, plan and the halvings.
    """

    splits: int
    trials: Mapping[str, Mapping[str, Any]]

    def __str__(self) -> str:
        blocks = []
        for name, told in self.trials.items():
            runs = [Halving(**run) for run in told["halvings"]]
            blocks.append(f"{name}: {told['rows']:,} rows, {told['unit']}, budget {told['plan']['budget']:g} per head")
            for k, run in enumerate(runs, start=1):
                blocks.append(
                    f"  halving {k}: offers to {run.offered:.0%} (evidence p = {run.evidence:.2g}); over nobody "
                    f"{_told(run.gain)}; over the best mix by lot {_told(run.over_average)}; over the best offer alone "
                    f"{_told(run.over_single)}; calibrated {run.calibrated[0]} of {run.calibrated[1]}, "
                    f"ranking {run.ranks}; left out {', '.join(run.left_out) or 'none'}"
                )
            blocks.append(f"  mean gain over nobody {mean(run.gain[0] for run in runs):.4g}")
        return "\n".join(blocks)

    def save(self, path: str | Path) -> Path:
        """Write it as JSON."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        return target


def offers(
    splits: int = 5,
    trials: Sequence[str] = ("thornton", "karlan-list", "hillstrom"),
    *,
    threads: int | None = None,
    out: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> OfferTrials:
    """Study each trial over random halvings: what the allocation brings, and whether the two heads can be believed.

    Args:
        splits: halvings of each trial.
        trials: which, by name.
        threads: of the fits; None for all.
        out: where to write the result as JSON.
        say: called with a line of progress.

    Raises:
        ParameterError: an unknown trial, or no halving.
        DatasetUnavailable: a trial is not here and not to be had.
    """
    known = {trial.name: trial for trial in TRIALS}
    unknown = [name for name in trials if name not in known]
    if unknown or splits < 1:
        raise ParameterError(
            f"There is no trial {unknown[0]!r}" if unknown else f"splits is {splits}",
            remedy=f"Choose among {', '.join(known)}, and at least one halving.",
        )
    found = OfferTrials(splits, {name: _studied(known[name], splits, threads, say) for name in trials})
    if out is not None:
        found.save(out)
    return found


def _studied(trial: Trial, splits: int, threads: int | None, say: Callable[[str], None] | None) -> dict[str, Any]:
    from persuadable import datasets
    from persuadable.study import OfferPlan, run_offers

    log: DecisionLog = datasets.load(trial.name, **trial.options)
    runs = []
    for seed in range(splits):
        plan: OfferPlan = OfferPlan(**trial.plan, random_state=seed, n_resamples=0, threads=threads, progress=False)
        runs.append(asdict(_halving(run_offers(log, plan))))
        if say is not None:
            say(f"{trial.name}: halving {seed + 1} of {splits}")
    return {"rows": log.n, "unit": trial.unit, "plan": dict(trial.plan), "halvings": runs}


def _halving(study: OfferStudy) -> Halving:
    path, offered = study.path, 1.0 - study.decision.policy.action_shares[0]
    several = len(study.offers) > 1 and path.full > 0.0
    heads = {head: [each for each in study.heads.criteria if each.head == head] for head in ("value", "cost")}
    evidence = study.policy.evidence_
    return Halving(
        offered=offered,
        gain=_ends(study.decision["nobody"].difference),
        over_average=_ends(path.difference("average effects", study.budget)) if offered else None,
        over_single=_ends(path.difference(path.best_single, study.budget)) if offered and several else None,
        spend=None if study.spend is None else _ends(study.spend),
        calibrated=(sum(each.calibrated for each in heads["value"]), len(heads["value"])),
        cost_calibrated=(sum(each.calibrated for each in heads["cost"]), len(heads["cost"])),
        ranks=sum(bool(each.ranks) for each in heads["value"]),
        evidence=1.0 if evidence is None else evidence.p_value,
        left_out=tuple(row.label for row in study.support.actions if row.verdict == "prune"),
    )


def _ends(estimate: Estimate) -> tuple[float, float, float]:
    return (estimate.value, *estimate.interval)


def _told(ends: Sequence[float] | None) -> str:
    return "–" if ends is None else f"{ends[0]:+.4g} ({ends[1]:+.4g} to {ends[2]:+.4g})"
