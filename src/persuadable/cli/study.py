"""From a logged experiment to a report, a policy and a bundle: demo, run, datasets."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from persuadable.cli.root import Budget, Out, Seed, Threads, escaped, names, refusals
from persuadable.errors import DatasetUnavailable, ParameterError

if TYPE_CHECKING:
    from persuadable.log import DecisionLog
    from persuadable.study import Study, Written

Learners = Annotated[str, typer.Option("--learner", help="Learners to try, of s, t, x, r, dr; comma-separated.")]


def add_to(app: typer.Typer) -> None:
    """Give the application these verbs."""
    for verb in (demo, run, datasets):
        app.command()(verb)


def demo(
    out: Out = Path("out/demo"),
    budget: Budget = 0.3,
    learner: Learners = "x,r,dr",
    arms: Annotated[str, typer.Option(help="Which e-mails of the Hillstrom experiment: women, men or all.")] = "women",
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """A real experiment, from rows to a report, a policy and a bundle.

    Takes the Hillstrom e-mail experiment; where it cannot be had, Thornton's trial of cash incentives.
    """
    with refusals():
        log = _demo_log(arms)
        _study(log, out, budget=budget, learners=names(learner), random_state=seed, threads=threads)


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
    data: Annotated[Path, typer.Argument(help="A CSV or Parquet file, one row per decision.")],
    action: Annotated[str, typer.Option(help="Column of the action taken.")],
    control: Annotated[str, typer.Option(help="The label of doing nothing, in that column.")],
    outcome: Annotated[list[str], typer.Option(help="Column to be raised; repeat for more, the first is targeted.")],
    budget: Budget = 0.3,
    learner: Learners = "x,r,dr",
    out: Out = Path("out/run"),
    cost: Annotated[
        str | None,
        typer.Option(help="Column of what each decision cost, in the unit of the outcome, from which it is taken."),
    ] = None,
    propensity: Annotated[
        str | None,
        typer.Option(
            help="Probability of the treatment: a number, a column, label=number for every label, or 'estimated' from "
            "the features. Without it the log is taken as completely randomised."
        ),
    ] = None,
    features: Annotated[
        str | None, typer.Option(help="Feature columns, comma-separated; all without another role by default.")
    ] = None,
    drop: Annotated[str | None, typer.Option(help="Columns to leave out, comma-separated.")] = None,
    categorical: Annotated[
        str | None, typer.Option(help="Numeric columns that are categories, comma-separated.")
    ] = None,
    unit: Annotated[str | None, typer.Option(help="Column that says who a decision was about.")] = None,
    time: Annotated[str | None, typer.Option(help="Column of the time of the decision.")] = None,
    weight: Annotated[str | None, typer.Option(help="Column of row weights.")] = None,
    break_even: Annotated[float, typer.Option(help="Least effect worth an action, in the unit of the outcome.")] = 0.0,
    test_share: Annotated[float, typer.Option(help="Share of the rows held out to judge everything.")] = 0.5,
    split_by: Annotated[str | None, typer.Option(help="row, unit or time; unit where units repeat.")] = None,
    resamples: Annotated[int, typer.Option(help="Half-samples behind the effect intervals of the bundle.", min=0)] = 20,
    seed: Seed = 0,
    threads: Threads = None,
) -> None:
    """Your own experiment: report.html, metrics.json, model_card.json and bundle/ in one folder."""
    with refusals():
        log = _read(
            data,
            drop=names(drop),
            action=action,
            control=control,
            outcomes=outcome,
            cost=cost,
            features=names(features) or None,
            categorical=names(categorical),
            unit=unit,
            time=time,
            weight=weight,
            propensity=_propensity(propensity),
        )
        _study(
            log,
            out,
            budget=budget,
            learners=names(learner),
            break_even=break_even,
            test_share=test_share,
            split_by=split_by,
            propensity="estimated" if propensity == "estimated" else "auto",
            n_resamples=resamples,
            random_state=seed,
            threads=threads,
        )


def _read(path: Path, *, drop: tuple[str, ...], **roles: Any) -> DecisionLog:
    from persuadable.log import DecisionLog, reading

    frame, _ = reading.read_file(path)
    unknown = [name for name in drop if name not in frame.columns]
    if unknown:
        raise ParameterError(f"There is no column {unknown[0]!r} to drop", remedy=f"The columns are {frame.columns}.")
    return DecisionLog.from_frame(frame.drop(drop), name=reading.stem(path), **roles)


def _propensity(text: str | None) -> float | str | dict[str, float] | None:
    """What --propensity says: a number, a column, or a number for every label."""
    if text is None or text == "estimated":
        return None
    try:
        return float(text)
    except ValueError:
        pass
    if "=" not in text:
        return text
    try:
        return {label.strip(): float(p) for label, p in (part.rsplit("=", 1) for part in text.split(","))}
    except ValueError:
        raise ParameterError(
            f"--propensity {text!r} cannot be read", remedy="Write a number for every label: 'none=0.5,mail=0.5'."
        ) from None


def _study(log: DecisionLog, out: Path, **choices: Any) -> None:
    from persuadable.study import StudyPlan, run_study, write_study

    plan = StudyPlan(**choices)
    typer.echo(f"\n{log}\n")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        study = run_study(log, plan)
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
    for path, what in (
        (written.report, "the report; open it in a browser"),
        (written.metrics, "every number with its interval"),
        (written.card, "the model card"),
        (written.bundle, "the models and the policy, for Bundle.load"),
    ):
        typer.echo(f"  {path!s:<{len(str(written.card))}}  {what}")
    typer.echo(f"\nTo decide with it:  persuadable serve {shlex.quote(str(written.bundle))} --insecure")


def datasets() -> None:
    """The data sets with a loader, and where they were found."""
    from persuadable.datasets import available

    with refusals():
        for dataset in available().values():
            typer.echo(dataset)
