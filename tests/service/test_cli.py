"""The verbs behind the service: keys, and the store."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from bundles import users
from clients import client
from typer.testing import CliRunner

import persuadable as ps
from persuadable.cli import app
from persuadable.service.store import Store, digest_of

PEOPLE = users(6)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/store.db"


def said(*told: str, status: int = 0) -> str:
    """What a verb prints, on either stream, however it is folded."""
    done = CliRunner().invoke(app, list(told))
    assert done.exit_code == status, done.output
    return " ".join(done.output.split())


def test_a_key_is_made_shown_once_listed_and_revoked(url: str) -> None:
    done = CliRunner().invoke(app, ["keys", "create", "the app", "--role", "read", "--role", "decide", "--store", url])
    key = done.stdout.strip()
    assert key.startswith("psk_")
    assert len(key.split("_", 2)[2]) >= 43, "256 bits"
    store = Store.open(url)
    (kept,) = store.keys.all()
    assert kept.digest == digest_of(key)
    assert kept.roles == {"read", "decide"}
    listed = said("keys", "list", "--store", url)
    assert "the app" in listed
    assert "decide,read" in listed
    assert key not in listed
    assert kept.digest.hex() not in listed
    said("keys", "revoke", kept.key_id, "--store", url)
    assert store.keys.all()[0].revoked_at is not None
    assert "revoked" in said("keys", "list", "--store", url)
    store.close()


def test_mistakes_are_sentences(url: str, tmp_path: Path) -> None:
    assert "persuadable store upgrade" in said("keys", "list", "--store", url, status=2)
    said("store", "upgrade", "--store", url)
    assert "There is no key 'x'" in said("keys", "revoke", "x", "--store", url, status=2)
    assert "'king'" in said("keys", "create", "n", "--role", "king", "--store", url, status=2)
    assert "Nothing is deployed" in said("store", "export", "--out", f"{tmp_path}/e.parquet", "--store", url, status=2)
    assert "sqlite:///FILE" in said("store", "upgrade", "--store", "nonsense", status=2)


@pytest.mark.parametrize(
    "verb",
    [
        ["keys", "list"],
        ["keys", "revoke", "x"],
        ["store", "erase", "--unit", "u"],
        ["store", "retain", "--days", "1"],
        ["store", "export", "--out", "log.parquet"],
    ],
    ids=" ".join,
)
def test_a_store_that_is_not_there_is_not_made_by_looking(verb: list[str], url: str, tmp_path: Path) -> None:
    assert "There is no store" in said(*verb, "--store", url, status=2)
    assert list(tmp_path.iterdir()) == []


def test_days_beyond_all_time_are_refused(decided: list[str], url: str) -> None:
    assert "36500" in said("store", "retain", "--days", "1000000", "--store", url, status=2)
    assert "Deleted 0 decisions" in said("store", "retain", "--days", "36500", "--store", url)


def test_keys_open_what_their_roles_say(bundle_folder: Path, tmp_path: Path, url: str) -> None:
    said("store", "upgrade", "--store", url)
    keys = {
        role: CliRunner().invoke(app, ["keys", "create", role, "--role", role, "--store", url]).stdout.strip()
        for role in ("decide", "outcome", "read", "review", "admin")
    }
    may: dict[str, set[str]] = {
        "POST /v1/score": {"decide", "read"},
        "POST /v1/decide": {"decide"},
        "POST /v1/decide/batch": {"decide"},
        "POST /v1/explain": {"decide", "read"},
        "POST /v1/outcomes": {"outcome"},
        "GET /v1/decisions/x": {"read"},
        "GET /v1/reviews": {"read", "review"},
        "GET /v1/reviews/x": {"read", "review"},
        **{f"POST /v1/reviews/x/{verb}": {"review"} for verb in ("claim", "release", "approve", "override")},
        "GET /v1/export": {"read"},
        "GET /v1/live": {"read"},
        "GET /v1/policy": {"read"},
        "GET /v1/contract": {"read"},
        "GET /v1/model-card": {"read"},
        "GET /v1/evaluation": {"read"},
        "GET /metrics": {"read"},
        "GET /v1/admin/bundles": set(),
        "POST /v1/admin/bundles": set(),
        "POST /v1/admin/bundles/rollback": set(),
        "DELETE /v1/admin/bundles/challenger": set(),
    }
    with client(bundle_folder, tmp_path, insecure=False, store=url) as api:
        for operation, roles in may.items():
            method, path = operation.split()
            assert api.request(method, path).status_code == 401
            for role, key in keys.items():
                answer = api.request(method, path, headers={"Authorization": f"Bearer {key}"})
                assert (answer.status_code == 403) is (role not in roles | {"admin"}), (operation, role)
        for path in ("/health/live", "/openapi.json", "/docs"):
            assert api.get(path).status_code == 200
        described = {
            f"{method.upper()} {path}"
            for path, methods in api.get("/openapi.json").json()["paths"].items()
            for method in methods
        }
        assert {name.replace("{decision_id}", "x") for name in described} == {
            *may,
            "GET /health/live",
            "GET /health/ready",
        }


@pytest.fixture
def decided(bundle_folder: Path, tmp_path: Path, url: str) -> list[str]:
    """Ids of decisions in the store, of u0 to u5, with an outcome each."""
    with client(bundle_folder, tmp_path, store=url) as api:
        told = api.post("/v1/decide", json={"units": PEOPLE, "campaign": "c"}).json()["decisions"]
        ids = [decision["decision_id"] for decision in told]
        reports = [{"decision_id": one, "name": "outcome", "value": i % 2} for i, one in enumerate(ids)]
        assert api.post("/v1/outcomes", json={"outcomes": reports}).status_code == 200
        return ids


def test_the_log_is_written_and_read_back(decided: list[str], url: str, tmp_path: Path) -> None:
    out = tmp_path / "log.parquet"
    assert "6 decisions" in said("store", "export", "--out", str(out), "--store", url)
    assert ps.DecisionLog.read(out).n == 6
    assert "0 decisions" in said("store", "export", "-o", str(out), "--campaign", "other", "--store", url)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%d")
    assert "0 decisions" in said("store", "export", "-o", str(out), "--since", tomorrow, "--store", url)
    assert "6 decisions" in said("store", "export", "-o", str(out), "--until", tomorrow, "--store", url)
    assert pl.read_parquet(out).height == 6


def test_one_unit_is_erased(decided: list[str], url: str) -> None:
    assert "Deleted 1 decisions and 1 outcomes" in said("store", "erase", "--unit", "u3", "--store", url)
    assert "Deleted 0 decisions" in said("store", "erase", "--unit", "u3", "--store", url)


def test_what_is_old_is_deleted(decided: list[str], url: str) -> None:
    assert "Deleted 0 decisions" in said("store", "retain", "--days", "1", "--store", url)
    assert "Deleted 6 decisions and 6 outcomes" in said("store", "retain", "--days", "0", "--store", url)


def test_the_store_is_named_by_environment_or_file_too(
    decided: list[str], url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s.toml").write_text(f"store = {json.dumps(url)}\n")
    assert "Deleted 1" in said("store", "erase", "--unit", "u0", "--config", str(tmp_path / "s.toml"))
    monkeypatch.setenv("PERSUADABLE_STORE", url)
    assert "Deleted 1" in said("store", "erase", "--unit", "u1")


@pytest.mark.parametrize("verb", [["serve"], ["app"], ["keys"], ["keys", "create"], ["store"], ["bench", "service"]])
def test_help_says_what_a_verb_does(verb: list[str]) -> None:
    assert len(said(*verb, "--help")) > 200
