"""The command line: one verb per job."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from persuadable import __version__
from persuadable.errors import DatasetUnavailable, ParameterError, PersuadableError

if TYPE_CHECKING:
    from persuadable.log import DecisionLog
    from persuadable.study import Study, Written

__all__ = ["app"]

app = typer.Typer(
    name="persuadable",
    help="Whom to treat, when treating costs something: from a logged experiment to a budgeted decision.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
bench_app = typer.Typer(
    help="Measure speed and accuracy, against peers in their own environments.", no_args_is_help=True
)
app.add_typer(bench_app, name="bench")

Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")]
Budget = Annotated[float, typer.Option(help="Share of the population that can be treated, e.g. 0.3.")]
Learners = Annotated[str, typer.Option("--learner", help="Learners to try, of s, t, x, r, dr; comma-separated.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.", min=0)]
Threads = Annotated[int | None, typer.Option(help="Threads to use; all processors by default.", min=1)]


@contextmanager
def _refusals() -> Iterator[None]:
    """Errors the package raises on purpose end the command with their message, not with a traceback."""
    try:
        yield
    except PersuadableError as error:
        Console(stderr=True, highlight=False).print(f"[bold red]Error:[/] {_escaped(str(error))}")
        raise typer.Exit(2) from None


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"persuadable {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Whom to treat, when treating costs something."""


@app.command()
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
    with _refusals():
        log = _demo_log(arms)
        _study(log, out, budget=budget, learners=_names(learner), random_state=seed, threads=threads)


def _demo_log(arms: str) -> DecisionLog:
    from persuadable import datasets

    console = Console(highlight=False)
    try:
        log = datasets.load("hillstrom", arms=arms, outcome=["visit", "conversion", "spend"])
        console.print("The Hillstrom e-mail experiment: does an e-mail bring a visit that would not have come?")
    except DatasetUnavailable as error:
        console.print(f"Hillstrom cannot be had here. {_escaped(str(error))}\n")
        log = datasets.load("thornton", cost=None)
        console.print("Taking Thornton's trial instead: does cash bring people to collect their HIV result?")
    return log


@app.command()
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
    with _refusals():
        log = _read(
            data,
            drop=_names(drop),
            action=action,
            control=control,
            outcomes=outcome,
            cost=cost,
            features=_names(features) or None,
            categorical=_names(categorical),
            unit=unit,
            time=time,
            weight=weight,
            propensity=_propensity(propensity),
        )
        _study(
            log,
            out,
            budget=budget,
            learners=_names(learner),
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

    frame = reading.read_file(path)
    unknown = [name for name in drop if name not in frame.columns]
    if unknown:
        raise ParameterError(f"There is no column {unknown[0]!r} to drop", remedy=f"The columns are {frame.columns}.")
    return DecisionLog.from_frame(frame.drop(drop), name=reading.stem(path), **roles)


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else ()


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
        console.print(f"[bold yellow]Warning:[/] {_escaped(warning)}\n")
    outcome = _escaped(study.log.primary)
    for report in study.treatments:
        console.print(f"[bold]Effect of {_escaped(report.treatment)} on {outcome}, by decile of the ranking[/]")
        typer.echo(f"{report.deciles}\n")
    said = verdict(study)
    sentences = (sentence for sentence in said.sentences if sentence not in doubts(study))
    console.print("[bold]The decision[/]")
    console.print(_escaped(" ".join((said.headline, *sentences))) + "\n", soft_wrap=False)
    for path, what in (
        (written.report, "the report; open it in a browser"),
        (written.metrics, "every number with its interval"),
        (written.card, "the model card"),
        (written.bundle, "the models and the policy, for Bundle.load"),
    ):
        typer.echo(f"  {path!s:<{len(str(written.card))}}  {what}")


@app.command()
def datasets() -> None:
    """The data sets with a loader, and where they were found."""
    from persuadable.datasets import available

    with _refusals():
        for dataset in available().values():
            typer.echo(dataset)


Peers = Annotated[str, typer.Option(help="Peers to compare with, comma-separated; 'none' for none.")]
Save = Annotated[Path | None, typer.Option("--out", "-o", help="Where to write the result as JSON.")]
Repeats = Annotated[int, typer.Option(help="Rounds; medians are reported.", min=1)]
Rows = Annotated[int, typer.Option("--rows", "-n", help="Rows.", min=1000)]


@bench_app.command("learners")
def bench_learners(
    rows: Rows = 200_000,
    features: Annotated[int, typer.Option(help="Features.", min=3)] = 12,
    trees: Annotated[int, typer.Option(help="Trees of every ensemble.", min=1)] = 100,
    depth: Annotated[int, typer.Option(help="Depth of every tree.", min=1)] = 4,
    folds: Annotated[int, typer.Option(help="Folds of cross-fitting.", min=2)] = 5,
    threads: Annotated[int, typer.Option(help="Threads of every process.", min=1)] = 2,
    repeats: Repeats = 3,
    peers: Peers = "econml,metalearners,causalml",
    out: Save = None,
) -> None:
    """CPU time and memory of fitting, in units of one bare XGBoost fit."""
    from persuadable.bench import learners

    with _refusals():
        chosen = _peers(peers)
        typer.echo(learners(rows, features, trees, depth, folds, threads, repeats, chosen, out=out, say=_progress))


@bench_app.command("evaluation")
def bench_evaluation(
    rows: Rows = 1_000_000,
    threads: Annotated[int, typer.Option(help="Threads of every process.", min=1)] = 2,
    repeats: Repeats = 3,
    peers: Peers = "scikit-uplift,causalml,econml",
    out: Save = None,
) -> None:
    """CPU time and memory of judging a ranking."""
    from persuadable.bench import evaluation

    with _refusals():
        typer.echo(evaluation(rows, threads, repeats, _peers(peers), out=out, say=_progress))


@bench_app.command("accuracy")
def bench_accuracy(
    rows: Rows = 200_000,
    threads: Annotated[int, typer.Option(help="Threads of every process.", min=1)] = 2,
    peers: Peers = "econml,metalearners,causalml",
    out: Save = None,
) -> None:
    """Rank correlation of estimated with true effects on known worlds."""
    from persuadable.bench import accuracy

    with _refusals():
        typer.echo(accuracy(rows, threads=threads, peers=_peers(peers), out=out, say=_progress))


@bench_app.command("agreement")
def bench_agreement(
    splits: Annotated[int, typer.Option(help="Random halvings.", min=1)] = 5,
    threads: Annotated[int, typer.Option(help="Threads of every process.", min=1)] = 2,
    out: Save = None,
) -> None:
    """Our R-learner beside econml's NonParamDML: do they rank alike, and who is nearer the truth?"""
    from persuadable.bench import agreement

    with _refusals():
        typer.echo(agreement(threads=threads, splits=splits, out=out, say=_progress))


@bench_app.command("hillstrom")
def bench_hillstrom(
    arms: Annotated[str, typer.Option(help="Which e-mails: women, men or all.")] = "women",
    outcome: Annotated[str, typer.Option(help="visit, conversion or spend.")] = "visit",
    budget: Budget = 0.3,
    splits: Annotated[int, typer.Option(help="Random halvings.", min=1)] = 20,
    threads: Threads = None,
    out: Save = None,
) -> None:
    """What targeting is worth on the Hillstrom experiment, over many splits."""
    from persuadable.bench import hillstrom

    with _refusals():
        typer.echo(hillstrom(arms, outcome, budget, splits, threads=threads, out=out, say=_progress))  # type: ignore[arg-type]


def _peers(text: str) -> tuple[str, ...]:
    return () if text == "none" else _names(text)


def _progress(line: str) -> None:
    typer.echo(line, err=True)


if __name__ == "__main__":
    sys.exit(app())
