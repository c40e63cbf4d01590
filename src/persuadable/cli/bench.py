"""Measuring speed and accuracy: the bench verbs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from persuadable.cli.root import Budget, Threads, names, refusals
from persuadable.errors import ParameterError

bench_app = typer.Typer(
    help="Measure speed and accuracy, against peers in their own environments.", no_args_is_help=True
)

Peers = Annotated[str, typer.Option(help="Peers to compare with, comma-separated; 'none' for none.")]
Save = Annotated[Path | None, typer.Option("--out", "-o", help="Where to write the result as JSON.")]
Repeats = Annotated[int, typer.Option(help="Rounds; medians are reported.", min=1)]
Rows = Annotated[int, typer.Option("--rows", "-n", help="Rows.", min=1000)]


def add_to(app: typer.Typer) -> None:
    """Give the application these verbs."""
    app.add_typer(bench_app, name="bench")


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

    with refusals():
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

    with refusals():
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

    with refusals():
        typer.echo(accuracy(rows, threads=threads, peers=_peers(peers), out=out, say=_progress))


@bench_app.command("agreement")
def bench_agreement(
    splits: Annotated[int, typer.Option(help="Random halvings.", min=1)] = 5,
    threads: Annotated[int, typer.Option(help="Threads of every process.", min=1)] = 2,
    out: Save = None,
) -> None:
    """Our R-learner beside econml's NonParamDML: do they rank alike, and who is nearer the truth?"""
    from persuadable.bench import agreement

    with refusals():
        typer.echo(agreement(threads=threads, splits=splits, out=out, say=_progress))


@bench_app.command("bandits")
def bench_bandits(
    runs: Annotated[int, typer.Option(help="Runs of each experiment; 30 were published.", min=2)] = 30,
    simulations: Annotated[
        int, typer.Option(help="Draws that the Thompson sampler's probabilities are counted from.", min=1000)
    ] = 1_000_000,
    out: Save = None,
) -> None:
    """The tables obp's authors publish, with our estimates beside obp's."""
    from persuadable.bench import bandits

    with refusals():
        typer.echo(bandits(runs, simulations, out=out, say=_progress))


@bench_app.command("ope")
def bench_ope(
    rows: Rows = 1_000_000,
    actions: Annotated[int, typer.Option(help="Actions.", min=2)] = 10,
    threads: Annotated[int, typer.Option(help="Threads of every process.", min=1)] = 1,
    repeats: Repeats = 3,
    peers: Peers = "obp",
    streamed: Annotated[int, typer.Option(help="Rounds to stream from Parquet; 0 for none.", min=0)] = 100_000_000,
    out: Save = None,
) -> None:
    """CPU time and memory of six off-policy estimators, with errors and with a bootstrap, and streamed."""
    from persuadable.bench import ope

    with refusals():
        chosen = _peers(peers)
        typer.echo(ope(rows, actions, threads, repeats, chosen, streamed=streamed, out=out, say=_progress))


@bench_app.command("allocation")
def bench_allocation(
    rows: Annotated[int, typer.Option("--rows", "-n", help="Units to race the solvers on.", min=1000)] = 100_000,
    sizes: Annotated[str, typer.Option(help="Units of ours alone, comma-separated; 'none' for none.")] = (
        "10000,100000,1000000,10000000"
    ),
    threads: Annotated[int, typer.Option(help="Threads of every process.", min=1)] = 2,
    repeats: Repeats = 3,
    peers: Peers = "highspy,ortools,clarabel",
    out: Save = None,
) -> None:
    """CPU time and memory of allocating offers under budgets, beside solvers of linear programs."""
    from persuadable.bench import allocation

    with refusals():
        several = [_whole(size) for size in _peers(sizes)]
        typer.echo(allocation(rows, several, threads, repeats, _peers(peers), out=out, say=_progress))


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

    with refusals():
        typer.echo(hillstrom(arms, outcome, budget, splits, threads=threads, out=out, say=_progress))  # type: ignore[arg-type]


@bench_app.command("offers")
def bench_offers(
    splits: Annotated[int, typer.Option(help="Random halvings of each trial.", min=1)] = 5,
    trials: Annotated[str, typer.Option(help="Real trials, comma-separated.")] = "thornton,karlan-list,hillstrom",
    threads: Threads = None,
    out: Save = None,
) -> None:
    """What choosing an offer by person is worth on real trials, and whether value and cost can be believed."""
    from persuadable.bench import offers

    with refusals():
        typer.echo(offers(splits, names(trials), threads=threads, out=out, say=_progress))


@bench_app.command("criteo")
def bench_criteo(
    rows: Annotated[
        int | None, typer.Option("--rows", "-n", help="Rows; as many as the published file by default.", min=10_000)
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of the study.", min=1)] = 2,
    folder: Annotated[
        Path | None, typer.Option(help="Where the stand-in and the pages stay; temporary by default.")
    ] = None,
    out: Save = None,
) -> None:
    """Time and memory of 'persuadable demo criteo' on a synthetic stand-in of the whole file."""
    from persuadable.bench import criteo_scale

    with refusals():
        typer.echo(criteo_scale(rows, threads, folder, out=out, say=_progress))


@bench_app.command("service")
def bench_service(
    rounds: Annotated[int, typer.Option(help="Rounds of every kind of request; medians are reported.", min=1)] = 5,
    seconds: Annotated[float, typer.Option(help="Seconds of one round of one kind.", min=0.1)] = 5.0,
    connections: Annotated[int, typer.Option(help="Connections kept busy.", min=1)] = 32,
    users: Annotated[int, typer.Option(help="Users scored at once.", min=1)] = 100_000,
    soak: Annotated[float, typer.Option(help="Seconds for which memory is watched under load.", min=0.0)] = 0.0,
    folder: Annotated[
        Path | None, typer.Option(help="Folder of the stores, on the disk to be measured; temporary by default.")
    ] = None,
    out: Save = None,
) -> None:
    """Requests per second, latency and memory of 'persuadable serve', beside trivial FastAPI handlers."""
    from persuadable.bench import service_speed

    with refusals():
        told = service_speed(
            rounds, seconds, connections, users=users, soak_seconds=soak, folder=folder, out=out, say=_progress
        )
        typer.echo(told)


def _peers(text: str) -> tuple[str, ...]:
    return () if text == "none" else names(text)


def _whole(text: str) -> int:
    try:
        return int(text.replace("_", ""))
    except ValueError:
        raise ParameterError(f"--sizes has {text!r}, not a whole number", remedy="Pass e.g. 10000,100000.") from None


def _progress(line: str) -> None:
    typer.echo(line, err=True)
