"""From a logged experiment to a report, a policy and a bundle: demo, run, datasets."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from persuadable.cli import logs
from persuadable.cli.root import Budget, Out, Seed, Threads, escaped, names, refusals, say
from persuadable.errors import DatasetUnavailable, ParameterError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from persuadable.log import DecisionLog
    from persuadable.study import Study, StudyPlan, Written

ValuePerConversion = Annotated[
    float | None,
    typer.Option(
        metavar="AMOUNT",
        help="What one unit of the outcome brings; with --cost-per-contact.",
        rich_help_panel=logs.MONEY,
    ),
]
CostPerContact = Annotated[
    float | None,
    typer.Option(
        metavar="AMOUNT", help="What treating one person costs, in the same money.", rich_help_panel=logs.MONEY
    ),
]
Segments = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMNS",
        help="Columns whose groups are audited for fairness, comma-separated; --drop hides them from models.",
        rich_help_panel=logs.MONEY,
    ),
]
Review = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE", help="Share of the decisions that people can look at, e.g. 0.1.", rich_help_panel=logs.MONEY
    ),
]
Through = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Column without which the outcome never comes, such as a visit; tries the funnel.",
        rich_help_panel=logs.COLUMNS,
    ),
]


def add_to(app: typer.Typer) -> None:
    """Give the application these verbs."""
    for verb in (demo, run, datasets):
        app.command()(verb)


def demo(
    dataset: Annotated[str, typer.Argument(help="hillstrom or criteo.")] = "hillstrom",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the results; out/demo or out/criteo."),
    ] = None,
    budget: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Hillstrom: share that can be treated; 0.3.")
    ] = None,
    learner: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Learners to try, of s, t, x, r, dr; x,r,dr, and x for criteo.")
    ] = None,
    arms: Annotated[
        str | None, typer.Option(metavar="WHICH", help="Hillstrom: which e-mails, women (the default), men or all.")
    ] = None,
    value_per_conversion: Annotated[
        float | None, typer.Option(metavar="AMOUNT", help="Criteo: what a conversion brings; 20.")
    ] = None,
    cost_per_contact: Annotated[
        float | None, typer.Option(metavar="AMOUNT", help="Criteo: what a contact costs; 0.01.")
    ] = None,
    segments: Annotated[
        str | None, typer.Option(metavar="COLUMNS", help="Criteo: features audited for fairness; f0,f2.")
    ] = None,
    review: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Criteo: share of decisions people look at; 0.1.")
    ] = None,
    resamples: Annotated[
        int | None, typer.Option(metavar="COUNT", help="Criteo: half-samples behind effect intervals; 10.")
    ] = None,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """A real experiment, from rows to a report, a policy and a bundle.

    Takes the Hillstrom e-mail experiment (where it cannot be had, Thornton's trial of cash incentives), or, as
    `demo criteo`, Criteo's advertising trial, and holds a published claim about its ROAS against the data.
    """
    from persuadable.study import StudyPlan

    mail = {"budget": budget, "arms": arms}
    advertising = {
        "value_per_conversion": value_per_conversion,
        "cost_per_contact": cost_per_contact,
        "segments": None if segments is None else names(segments),
        "review": review,
        "n_resamples": resamples,
    }
    common: dict[str, Any] = {"random_state": seed, "threads": threads}
    if learner is not None:
        common["learners"] = names(learner)
    with refusals():
        if dataset == "criteo":
            _refuse(mail, dataset)
            _criteo(out or Path("out/criteo"), {**common, **_given(advertising)})
        elif dataset == "hillstrom":
            _refuse(advertising, dataset)
            plan = StudyPlan(budget=0.3 if budget is None else budget, **common)
            _study(_demo_log(arms or "women"), plan, out or Path("out/demo"))
        else:
            raise ParameterError(f"There is no demo {dataset!r}", remedy="Choose 'hillstrom' or 'criteo'.")


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _refuse(options: Mapping[str, Any], dataset: str) -> None:
    """Refuse options of the other demo."""
    for name in _given(options):
        told = "resamples" if name == "n_resamples" else name.replace("_", "-")
        raise ParameterError(f"--{told} is no option of demo {dataset}", remedy="Leave it out.")


def _criteo(out: Path, choices: dict[str, Any]) -> None:
    from persuadable import datasets
    from persuadable.study import criteo_plan, run_criteo

    plan = criteo_plan(**choices)
    log = datasets.load("criteo", outcome=["conversion", "visit"])
    console = Console(highlight=False)
    console.print("Criteo's advertising trial: ROAS from 2.44 to 9.60 with 75% less spend?")
    typer.echo(f"\n{log}\n")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        for study, written, check in run_criteo(log, plan, out):
            console.print(f"[bold]{escaped(check.outcome.capitalize())}[/]")
            say(_ranking(study))
            say(str(check.returns))
            for table in study.archetypes.values():
                say(str(table))
            say("\n".join(f"- {sentence}" for sentence in check.sentences()))
            typer.echo(f"  {written.report}\n  {written.card_page}\n")
            del study  # else it would be held while the next one is made
    _warn(caught)
    typer.echo(f"  {out / 'claim.html'}  the claim, restated\n  {out / 'claim.json'}  its numbers")


def _ranking(study: Study) -> str:
    """How well the held-out people are ranked, a measure a line."""
    from persuadable.report.words import interval, level, number, p_phrase

    ranking = study.treatments[0].ranking
    found = (ranking.qini.coefficient, ranking.autoc, *ranking.at_k.values(), ranking.qini.ate)
    lines = [f"in {study.log.primary} per head, {level(study.plan.alpha)}s, {study.test.n:,} held-out rows"]
    for e in found:
        lines.append(f"{e.name:<15}  {number(e.value, 3):>10}  ({interval(*e.interval)}), {p_phrase(e.p_value)}")
    return "\n".join(lines)


def _warn(caught: Iterable[warnings.WarningMessage]) -> None:
    """Each kind of warning once."""
    for text in {w.category: str(w.message) for w in caught if issubclass(w.category, UserWarning)}.values():
        Console(highlight=False).print(f"[bold yellow]Warning:[/] {escaped(text)}\n")


def _demo_log(arms: str) -> DecisionLog:
    from persuadable import datasets

    console = Console(highlight=False)
    try:
        log = datasets.load("hillstrom", arms=arms, outcome=["visit", "conversion", "spend"])
        console.print("The Hillstrom e-mail experiment: does an e-mail bring a visit that would not have come?")
    except DatasetUnavailable as error:
        console.print(f"Hillstrom cannot be had here. {escaped(str(error))}\n")
        log = datasets.load("thornton", cost=None)
        console.print("Taking Thornton's trial instead: does cash bring people to collect their HIV result?")
    return log


def run(
    data: logs.Data,
    action: logs.Action,
    control: logs.Control,
    outcome: Annotated[
        list[str],
        typer.Option(metavar="COLUMN", help="Column to be raised; repeat for more, the first is targeted."),
    ],
    budget: Budget = 0.3,
    learner: logs.Learners = "x,r,dr",
    break_even: Annotated[
        float, typer.Option(metavar="EFFECT", help="Least effect worth an action, in the unit of the outcome.")
    ] = 0.0,
    out: Out = Path("out/run"),
    value_per_conversion: ValuePerConversion = None,
    cost_per_contact: CostPerContact = None,
    segments: Segments = None,
    review: Review = None,
    propensity: logs.PropensityTold = None,
    features: logs.FeatureColumns = None,
    drop: logs.Drop = None,
    categorical: logs.Categorical = None,
    through: Through = None,
    cost: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of what each decision cost, in the unit of the outcome, from which it is taken.",
            rich_help_panel=logs.COLUMNS,
        ),
    ] = None,
    unit: logs.Unit = None,
    time: logs.Time = None,
    weight: logs.Weight = None,
    test_share: logs.TestShare = 0.5,
    split_by: logs.SplitBy = None,
    resamples: logs.Resamples = 20,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Your own experiment: a report, every number, a model card and a bundle in one folder."""
    from persuadable.study import StudyPlan

    with refusals():
        plan = StudyPlan(
            budget=budget,
            learners=names(learner),
            break_even=break_even,
            value_per_conversion=value_per_conversion,
            cost_per_contact=cost_per_contact,
            segments=names(segments),
            review=review,
            through=through,
            test_share=test_share,
            split_by=split_by,
            propensity="estimated" if propensity == "estimated" else "auto",
            n_resamples=resamples,
            random_state=seed,
            threads=threads,
        )
        later = {"action": (action,), "outcome": outcome, "through": (through,), "cost": (cost,), "unit": (unit,)}
        _require_apart(plan, later)
        log = logs.read(
            data,
            drop=names(drop),
            action=action,
            control=control,
            outcomes=[*outcome, through] if through is not None and through not in outcome else outcome,
            cost=cost,
            features=names(features) or None,
            categorical=names(categorical),
            unit=unit,
            time=time,
            weight=weight,
            propensity=logs.propensities(propensity),
        )
        _study(log, plan, out, _labels(data, log, plan.segments))


def _require_apart(plan: StudyPlan, roles: Mapping[str, Sequence[str | None]]) -> None:
    """Refuse segments that play another role, and a step on the way that is the way's end.

    Raises:
        ParameterError: naming the option and the column.
    """
    for role, columns in roles.items():
        if twice := [name for name in plan.segments if name in columns]:
            raise ParameterError(
                f"--segments names {twice[0]!r}, which --{role} names too",
                remedy="Name columns of what people were before the decision, such as a region or an age.",
            )
    if plan.through is not None and plan.through == roles["outcome"][0]:
        raise ParameterError(
            f"--through names {plan.through!r}, the outcome itself",
            remedy="Name a step on the way to it, such as a visit before a purchase, or leave --through out.",
        )


def _labels(data: Path, log: DecisionLog, wanted: tuple[str, ...]) -> dict[str, NDArray[np.generic]]:
    """The segments that no model sees, from the file; numbers as floats, which are cut into ranges."""
    from persuadable.log import reading

    hidden = [name for name in wanted if name not in log.features.names]
    if not hidden:
        return {}
    frame, _ = reading.read_file(data)
    unknown = [name for name in hidden if name not in frame.columns]
    if unknown:
        raise ParameterError(
            f"There is no column {unknown[0]!r} to segment by", remedy=f"The columns are {frame.columns}."
        )
    columns = [frame[name] for name in hidden]
    return {c.name: (c.cast(float) if c.dtype.is_numeric() else c).to_numpy() for c in columns}


def _study(
    log: DecisionLog, plan: StudyPlan, out: Path, labels: Mapping[str, NDArray[np.generic]] | None = None
) -> None:
    from persuadable.study import run_study, write_study

    typer.echo(f"\n{log}\n")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        study = run_study(log, plan, labels)
        written = write_study(study, out)
    first = {w.category: str(w.message) for w in reversed(caught) if issubclass(w.category, UserWarning)}
    _say(study, written, first.values())


def _say(study: Study, written: Written, warned: Iterable[str]) -> None:
    """The decile table, the decision in words, what to beware of, and where everything is."""
    from persuadable.study import doubts, verdict

    console = Console(highlight=False)
    for warning in (*doubts(study), *warned):
        console.print(f"[bold yellow]Warning:[/] {escaped(warning)}\n")
    outcome = escaped(study.log.primary)
    for report in study.treatments:
        console.print(f"[bold]Effect of {escaped(report.treatment)} on {outcome}, by decile of the ranking[/]")
        typer.echo(f"{report.deciles}\n")
    said = verdict(study)
    sentences = (sentence for sentence in said.sentences if sentence not in doubts(study))
    console.print("[bold]The decision[/]")
    console.print(escaped(" ".join((said.headline, *sentences))) + "\n", soft_wrap=False)
    for part in (study.returns, *study.archetypes.values(), study.fairness, study.mitigation, study.review):
        if part is not None:
            say(str(part))
    logs.say_where(written)


def datasets() -> None:
    """The data sets with a loader, and where they were found."""
    from persuadable.datasets import available

    with refusals():
        for dataset in available().values():
            typer.echo(dataset)
