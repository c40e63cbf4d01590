"""Settings: flags over environment over file over defaults, and every mistake in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from persuadable.errors import ParameterError
from persuadable.service.intake import Answers
from persuadable.service.settings import Settings, configure
from persuadable.service.store import Store, masked_url

SECRET = "postgresql://ada:lovelace1815@db.example/decisions"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("PERSUADABLE_"):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "service.toml"
    path.write_text('port = 1001\nworkers = 3\nmax_units = 50\n[answers]\nout-of-range = "refuse"\n')
    return path


def test_flags_go_before_the_environment_before_the_file_before_defaults(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERSUADABLE_PORT", "1002")
    monkeypatch.setenv("PERSUADABLE_WORKERS", "4")
    monkeypatch.setenv("PERSUADABLE_ANSWERS__UNSEEN_CATEGORY", "flag")
    told = configure({"port": 1003, "host": None}, file)
    settings = told.settings
    assert (settings.port, settings.workers, settings.max_units, settings.host) == (1003, 4, 50, "127.0.0.1")
    assert (settings.answers.out_of_range, settings.answers.unseen_category) == ("refuse", "flag")
    origins = {line.split()[0]: line.split("  ")[-1].strip() for line in told.lines()}
    assert origins["port"] == "flag"
    assert origins["workers"] == "environment"
    assert origins["max_units"] == f"file {file}"
    assert origins["host"] == "default"
    assert origins["answers.out-of-range"] == f"file {file}"
    assert origins["answers.unseen-category"] == "environment"
    assert origins["answers.missing-value"] == "default"


def test_settings_hold_what_they_are_given_and_ask_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSUADABLE_PORT", "1002")
    assert Settings().port == 8000


def test_the_defaults_of_the_answers_are_the_intakes_own() -> None:
    assert Answers.of(Settings().answers.model_dump(by_alias=True)) == Answers()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.9.9.9"])
def test_insecure_is_allowed_on_this_machine(host: str) -> None:
    assert Settings(host=host, insecure=True).insecure


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org", ""])
def test_insecure_is_refused_elsewhere(host: str) -> None:
    with pytest.raises(ParameterError, match=r"persuadable keys create"):
        configure({"host": host, "insecure": True})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 1", "There is no setting 'prot' .*file.*--check lists all"),
        ("port = 'x'", "The setting 'port' is 'x'.*file"),
        ("port = 99999", "The setting 'port' is 99999"),
        ("[answers]\nout-of-range = 'ignore'", "answers.out-of-range"),
        ("[answers]\nmissing-column = 'clip'", "answers.missing-column"),
        ("[answers]\nmissing = 'flag'", "There is no setting 'answers.missing'"),
        ("store = 'nonsense'", "sqlite:///FILE"),
        ("port = ", "cannot be read"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(ParameterError, match=said):
        configure({}, path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"absent.toml"):
        configure({}, tmp_path / "absent.toml")


def test_a_mistake_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSUADABLE_WORKERS", "many")
    with pytest.raises(ParameterError, match=r"'workers' is 'many'.*environment"):
        configure({})


def test_a_misspelt_variable_is_told_and_those_of_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PERSUADABLE_WORKER", "PERSUADABLE_DATA", "PERSUADABLE_API_KEY", "PERSUADABLE_ANSWERS__OUT_OF_RANGE"):
        monkeypatch.setenv(name, "flag")
    assert configure({}).unknown == ("PERSUADABLE_WORKER",)


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSUADABLE_STORE", SECRET)
    told = configure({})
    assert told.settings.store == SECRET
    shown = "\n".join([*told.lines(), repr(told), str(told.settings)])
    assert "lovelace1815" not in shown
    assert "postgresql://ada:***@db.example/decisions" in shown
    masked = masked_url("postgresql://db/x?password=geheim&sslpassword=geheim&sslmode=require")
    assert masked == "postgresql://db/x?sslmode=require"


@pytest.mark.parametrize("place", ["s3c@r3t@db/x", "s3c@r3t/4@db/x", "s3c@db:r3t@db/x", "s3c:@r3t@db/x"])
def test_a_password_that_is_not_encoded_is_refused_and_not_shown(place: str) -> None:
    """As the URL is written, its tail is the host, the port or the database."""
    url = f"postgresql://ada:{place}"
    for refused in (lambda: configure({"store": url}), lambda: Store.open(url), lambda: masked_url(url)):
        with pytest.raises(ParameterError) as caught:
            refused()
        assert "r3t" not in str(caught.value)
    with pytest.raises(ParameterError, match="%40"):
        masked_url("postgresql://ada:s3c@r3t@db/x")
    assert masked_url("postgresql://ada:s3c%40r3t@db/x") == "postgresql://ada:***@db/x"


def test_a_wrong_url_is_not_repeated_with_its_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSUADABLE_STORE", "ada:lovelace1815")
    with pytest.raises(ParameterError) as caught:
        configure({})
    assert "lovelace1815" not in str(caught.value)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]
