"""The decision service and its app: serve, app, and the keys and the store behind them."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from persuadable.cli.root import refusals
from persuadable.errors import MissingDependency, ParameterError

if TYPE_CHECKING:
    from persuadable.service.settings import Configured
    from persuadable.service.store import Erasure, Store

DEMO = Path("out/demo/bundle")

keys_app = typer.Typer(
    help="API keys: who may call the service, and what for. They are stored hashed.", no_args_is_help=True
)
store_app = typer.Typer(help="The store of decisions: its tables, erasure, retention, export.", no_args_is_help=True)

Url = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="Where decisions are kept: sqlite:///FILE or postgresql://USER@HOST/NAME. "
        "sqlite:///persuadable.db by default.",
        show_default=False,
    ),
]
Config = Annotated[Path | None, typer.Option("--config", help="A TOML file with settings.", dir_okay=False)]


class Missing(StrEnum):
    """What no report of an outcome means."""

    NULL = "null"
    ZERO = "zero"
    DROP = "drop"


class MadeBy(StrEnum):
    """Who decided."""

    POLICY = "policy"
    QUEUE = "queue"
    PERSON = "person"


class Role(StrEnum):
    """What a key may do."""

    DECIDE = "decide"
    OUTCOME = "outcome"
    READ = "read"
    REVIEW = "review"
    ADMIN = "admin"


def add_to(app: typer.Typer) -> None:
    """Give the application these verbs."""
    app.command()(serve)
    app.command("app")(web)
    keys_app.command("create")(create_key)
    keys_app.command("list")(list_keys)
    keys_app.command("revoke")(revoke_key)
    store_app.command("upgrade")(upgrade)
    store_app.command("erase")(erase)
    store_app.command("retain")(retain)
    store_app.command("export")(export)
    app.add_typer(keys_app, name="keys")
    app.add_typer(store_app, name="store")


def serve(
    bundle: Annotated[
        Path | None,
        typer.Argument(
            help="A saved bundle. One the store has never seen becomes the champion; one it knows leaves what is "
            "deployed as it is. Without it: out/demo/bundle, or, where that is absent, what is deployed.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; 127.0.0.1 by default.", show_default=False)
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 takes a free one; 8000 by default.", show_default=False)
    ] = None,
    store: Url = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Worker processes; they share the store and its budgets; 1 by default.", show_default=False),
    ] = None,
    insecure: Annotated[
        bool | None, typer.Option("--insecure", help="Answer without API keys; on a loopback address only.")
    ] = None,
    config: Config = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Show every setting and where it comes from, try bundle and store, and end."),
    ] = False,
) -> None:
    """Decide under a budget, over HTTP: /v1/score, /v1/decide, /v1/outcomes and more; see /docs once it runs.

    Every setting can also be an environment variable (PERSUADABLE_PORT=9000) or stand in the file of --config; flags go
    first, then the environment, then the file.
    """
    with refusals():
        _needs("service", "fastapi", "uvicorn", "sqlalchemy", "pydantic_settings", "structlog", "numba")
        flags = {"host": host, "port": port, "store": store, "workers": workers, "insecure": insecure}
        configured = _configured(flags, config)
        from persuadable.service import serve as serving

        folder = DEMO if bundle is None and DEMO.is_dir() else bundle
        if check:
            for line in serving.check(configured, folder):
                typer.echo(line)
        else:
            serving.serve(configured, folder)


def web(
    service: Annotated[
        str, typer.Option(help="Where the service answers.", envvar="PERSUADABLE_SERVICE")
    ] = "http://127.0.0.1:8000",
    host: Annotated[str, typer.Option(help="Address the app listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port the app listens on.", min=1, max=65535)] = 8501,
) -> None:
    """A web page on top of the service: score a user, sweep the budget, look at the model, watch it live.

    Where the service wants a key, put one with the role 'read' into the environment: PERSUADABLE_API_KEY=psk_…
    """
    with refusals():
        _needs("app", "streamlit", "httpx")
        from persuadable.app import launch

        raise typer.Exit(launch(service, host, port))


def create_key(
    name: Annotated[str, typer.Argument(help="Who or what will use it.")],
    role: Annotated[
        list[Role],
        typer.Option(help="What it may do; repeat for more. admin may do everything."),
    ],
    store: Url = None,
    config: Config = None,
) -> None:
    """A new key. It is printed once, on its own line, and can not be shown again."""
    with refusals():
        _needs("service", "sqlalchemy", "pydantic_settings")
        with closing(_upgraded(store, config)) as opened:
            key, told = opened.keys.create(name, [one.value for one in role])
        typer.echo(
            f"Key {key.key_id} for {name} ({', '.join(sorted(key.roles))}). Keep it: it is not shown again.", err=True
        )
        typer.echo(told)


def list_keys(store: Url = None, config: Config = None) -> None:
    """Every key: its id, what it may do, and whether it was revoked; never the key itself."""
    with refusals(), closing(_opened(store, config)) as opened:
        keys = opened.keys.all()
        for key in keys:
            state = f"revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else "valid"
            roles = ",".join(sorted(key.roles))
            typer.echo(f"{key.key_id}  {key.created_at:%Y-%m-%d}  {state:<18}  {roles:<24}  {key.name}")
        if not keys:
            typer.echo("There are no keys. Create one with: persuadable keys create NAME --role decide", err=True)


def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As 'persuadable keys list' shows it.")],
    store: Url = None,
    config: Config = None,
) -> None:
    """Let a key be of no use from now on; running services follow within seconds."""
    with refusals(), closing(_opened(store, config)) as opened:
        opened.keys.revoke(key_id)
        typer.echo(f"Key {key_id} is revoked.")


def upgrade(store: Url = None, config: Config = None) -> None:
    """Make the tables, or bring them to this version's. 'persuadable serve' does so when it starts."""
    with refusals():
        opened = _upgraded(store, config)
        opened.close()
        typer.echo(f"The tables in {opened.url} are up to date.")


def erase(
    unit: Annotated[str, typer.Option(help="Whose data to erase: the name decisions were asked for with.")],
    store: Url = None,
    config: Config = None,
) -> None:
    """Erase everything about one unit: its decisions with their features, and their outcomes. There is no way back."""
    with refusals(), closing(_opened(store, config)) as opened:
        _erased(opened.erase(unit))


def retain(
    days: Annotated[int, typer.Option(help="Keep what is younger than so many days.", min=0, max=36_500)],
    store: Url = None,
    config: Config = None,
) -> None:
    """Delete decisions older than so many days, with their outcomes. There is no way back."""
    with refusals(), closing(_opened(store, config)) as opened:
        _erased(opened.retain(datetime.now(UTC) - timedelta(days=days)))


def export(
    out: Annotated[Path, typer.Option("--out", "-o", help="The Parquet file to write.", dir_okay=False)],
    missing: Annotated[
        Missing, typer.Option(help="What no report of an outcome means: unknown, zero, or leave the decision out.")
    ] = Missing.NULL,
    bundle: Annotated[str | None, typer.Option(help="Only decisions of this bundle version.")] = None,
    campaign: Annotated[str | None, typer.Option(help="Only decisions of this campaign.")] = None,
    made_by: Annotated[
        MadeBy | None,
        typer.Option(help="Only decisions made by the policy, left by it to the review queue, or made by a person."),
    ] = None,
    since: Annotated[datetime | None, typer.Option(help="Only decisions made at this time (UTC) or later.")] = None,
    until: Annotated[datetime | None, typer.Option(help="Only decisions made before this time (UTC).")] = None,
    store: Url = None,
    config: Config = None,
) -> None:
    """The log as Parquet, which DecisionLog.read takes without arguments."""
    with refusals():
        configured = _configured({"store": store}, config)
        from persuadable.service import exporting

        with closing(_opened(store, config)) as opened:
            model = exporting.model_of(opened, bundle, configured.settings.max_bundle_bytes)
            rows = exporting.export(
                opened,
                out,
                model,
                since=_utc(since),
                until=_utc(until),
                bundle=bundle,
                campaign=campaign,
                made_by=None if made_by is None else made_by.value,
                missing=missing.value,
            )
        typer.echo(f"{rows:,} decisions in {out}")


def _utc(told: datetime | None) -> datetime | None:
    return None if told is None else told.replace(tzinfo=told.tzinfo or UTC)


def _erased(told: Erasure) -> None:
    typer.echo(f"Deleted {told.decisions:,} decisions and {told.outcomes:,} outcomes.")


def _opened(store: str | None, config: Path | None) -> Store:
    """The store, which is reached and has this version's tables.

    Raises:
        ParameterError: it is a file that is not there; looking into it would make it.
    """
    opened = _store(store, config)
    from persuadable.service.serve import is_new_file

    if is_new_file(opened.url):
        opened.close()
        raise ParameterError(
            f"There is no store at {opened.url}",
            remedy="Name the one that is served with --store, or make one: persuadable store upgrade.",
        )
    opened.check()
    return opened


def _upgraded(store: str | None, config: Path | None) -> Store:
    opened = _store(store, config)
    opened.upgrade()
    return opened


def _store(store: str | None, config: Path | None) -> Store:
    _needs("service", "sqlalchemy", "pydantic_settings")
    configured = _configured({"store": store}, config)
    from persuadable.service.core import open_store

    return open_store(configured.settings)


def _configured(flags: dict[str, Any], config: Path | None) -> Configured:
    from persuadable.service.settings import configure

    return configure(flags, config)


def _needs(extra: str, *libraries: str) -> None:
    """Say in one sentence which extra is not installed."""
    from importlib.util import find_spec

    absent = [library for library in libraries if find_spec(library) is None]
    if absent:
        raise MissingDependency(
            f"This needs {absent[0]}, which is not installed", remedy=f"Run: pip install 'persuadable[{extra}]'"
        )
