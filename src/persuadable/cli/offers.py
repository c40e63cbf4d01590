"""From a logged experiment with several offers to an allocation: allocate."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from persuadable.cli import logs
from persuadable.cli.root import Out, Seed, Threads, escaped, names, refusals, say
from persuadable.errors import ParameterError

if TYPE_CHECKING:
    from persuadable.study import OfferStudy

EXAMPLE = "small=0.10,large=0.25"


def add_to(app: typer.Typer) -> None:
    """Give the application this verb."""
    app.command()(allocate)


def allocate(
    data: logs.Data,
    action: logs.Action,
    control: logs.Control,
    value: Annotated[
        list[str], typer.Option(metavar="COLUMN", help="Column to be raised; repeat for more, the first is targeted.")
    ],
    cost: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of what each decision cost, e.g. coupons redeemed.")
    ] = None,
    costs: Annotated[
        str | None,
        typer.Option(
            metavar="TOLD", help=f"What each offer costs whenever it is given, where no column says: {EXAMPLE}."
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(metavar="AMOUNT", help="What may be spent per head of the population, in the unit of the cost."),
    ] = None,
    roi_floor: Annotated[
        float | None, typer.Option(metavar="NUMBER", help="Least total value per unit of total cost.")
    ] = None,
    learner: logs.Learners = "r,dr",
    calibration: Annotated[
        str, typer.Option(metavar="HOW", help="How effects are calibrated: platt, isotonic or none.")
    ] = "platt",
    segments: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="A category within which support is told as well.")
    ] = None,
    dose: Annotated[
        str | None,
        typer.Option(metavar="TOLD", help="Depth of each offer, label=number; thin neighbours are pooled along it."),
    ] = None,
    out: Out = Path("out/allocate"),
    propensity: logs.PropensityTold = None,
    features: logs.FeatureColumns = None,
    drop: logs.Drop = None,
    categorical: logs.Categorical = None,
    unit: logs.Unit = None,
    time: logs.Time = None,
    weight: logs.Weight = None,
    test_share: logs.TestShare = 0.5,
    split_by: logs.SplitBy = None,
    resamples: logs.Resamples = 20,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Which offer for whom, under a budget: a report, every number, a model card and a bundle in one folder."""
    from persuadable.study import OfferPlan, run_offers, write_offers

    with refusals():
        _require_money(budget, roi_floor, cost, costs)
        plan = OfferPlan(
            budget=budget,
            cost=None if costs is None else logs.numbers(costs, "--costs", EXAMPLE),
            roi_floor=roi_floor,
            learners=names(learner),
            calibration=None if calibration == "none" else calibration,  # type: ignore[arg-type]
            segments=segments,
            dose=None if dose is None else logs.numbers(dose, "--dose", EXAMPLE),
            test_share=test_share,
            split_by=split_by,
            propensity="estimated" if propensity == "estimated" else "auto",
            n_resamples=resamples,
            random_state=seed,
            threads=threads,
        )
        log = logs.read(
            data,
            drop=names(drop),
            action=action,
            control=control,
            outcomes=value,
            cost=cost,
            features=names(features) or None,
            categorical=names(categorical),
            unit=unit,
            time=time,
            weight=weight,
            propensity=logs.propensities(propensity),
        )
        typer.echo(f"\n{log}\n")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            study = run_offers(log, plan)
            written = write_offers(study, out)
        _say(study, {str(w.message) for w in caught if issubclass(w.category, UserWarning)})
        logs.say_where(written)


def _require_money(budget: float | None, roi_floor: float | None, cost: str | None, costs: str | None) -> None:
    """Refuse, in the names of the options and before the file is read, what cannot be weighed.

    Raises:
        ParameterError: neither limit, one that is no number from 0, or not just one way of telling the cost.
    """
    for option, told in (("--budget", budget), ("--roi-floor", roi_floor)):
        if told is not None and not 0 <= told < math.inf:
            raise ParameterError(f"{option} is {told:g}", remedy="Pass a number from 0.")
    if budget is None and roi_floor is None:
        raise ParameterError(
            "Neither a budget nor a return is asked for: whatever is worth anything would be bought",
            remedy="Pass --budget, what may be spent per head, or --roi-floor, the least value per unit of cost.",
        )
    if cost is not None and costs is not None:
        raise ParameterError(
            "Give --cost or --costs, not both",
            remedy="--cost names the column of what each decision cost; --costs states it where no column does.",
        )
    if cost is None and costs is None:
        raise ParameterError(
            "There is no cost to weigh the value against",
            remedy=f"Pass --cost, the column of what each decision cost, or --costs, what each offer costs: {EXAMPLE}.",
        )


def _say(study: OfferStudy, warned: set[str]) -> None:
    """Support, the path of budgets, and the decision in words."""
    from persuadable.study.offers import bullets, verdict

    console = Console(highlight=False)
    for warning in sorted(warned):
        console.print(f"[bold yellow]Warning:[/] {escaped(warning)}\n")
    say(str(study.support))
    say(str(study.path))
    console.print("[bold]The decision[/]")
    console.print(escaped(bullets(verdict(study))) + "\n", soft_wrap=False)
