"""The container files say what the program understands: no engine runs here, but nothing in them is made up."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from click import Context

from persuadable.cli import app
from persuadable.service.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
CLI: Any = typer.main.get_command(app)
OURS = [name for name, service in COMPOSE["services"].items() if service["image"] == "persuadable"]


def understood(words: list[str]) -> dict[str, Any]:
    """What the command line makes of a command, without doing it; a usage error raises."""
    command, words = CLI, list(words)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    parsed: Context = command.make_context(command.name, words)
    return dict(parsed.params)


def instructions(word: str) -> list[str]:
    return re.findall(rf"^{word} +(.*)$", DOCKERFILE, re.MULTILINE)


def variables() -> list[str]:
    """Every variable of ours that a container is given."""
    given = [name for service in OURS for name in COMPOSE["services"][service].get("environment", {})]
    given += [pair.partition("=")[0] for line in instructions("ENV") for pair in line.split()]
    return [name for name in given if name.startswith(PREFIX)]


@pytest.mark.parametrize("service", OURS)
def test_the_command_of_each_service_is_understood(service: str) -> None:
    assert understood(COMPOSE["services"][service]["command"])


def test_the_commands_in_the_comments_are_understood() -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    commands = re.findall(r"^# +docker compose run --rm service (.*)$", text, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        assert understood(command.split())["role"]


def test_every_variable_is_a_setting() -> None:
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields} | {"PERSUADABLE_API_KEY"}
    assert variables()
    assert set(variables()) <= known


def test_the_image_serves_where_it_is_asked() -> None:
    environment = dict(pair.split("=", 1) for line in instructions("ENV") for pair in line.split() if "=" in pair)
    exposed = {int(port) for line in instructions("EXPOSE") for port in line.split()}
    assert exposed == {Settings().port, understood(["app"])["port"]}
    # Nobody outside the container could reach the loopback address.
    assert environment["PERSUADABLE_HOST"] == "0.0.0.0"
    assert f":{Settings().port}/health/ready" in DOCKERFILE
    assert instructions("USER") == ["persuadable"]


def test_the_image_installs_extras_that_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", DOCKERFILE)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    copied = {name for line in instructions("COPY") for name in line.split()[:-1] if not line.startswith("--from")}
    assert all((ROOT / name).exists() for name in copied)


def test_a_service_has_longer_to_stop_than_it_takes_to_drain() -> None:
    grace = int(COMPOSE["services"]["service"]["stop_grace_period"].removesuffix("s"))
    assert grace > Settings().drain_seconds


def test_no_password_is_written_down() -> None:
    database = COMPOSE["services"]["database"]["environment"]["POSTGRES_PASSWORD"]
    assert database.startswith("${POSTGRES_PASSWORD:?")
    assert (
        ":"
        not in COMPOSE["services"]["service"]["environment"]["PERSUADABLE_STORE"].partition("//")[2].partition("@")[0]
    )
