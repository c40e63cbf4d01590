"""The API as a client sees it: what each call answers, remembers and refuses."""

from __future__ import annotations

import asyncio
import io
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from bundles import WORLD, users
from clients import Client, client
from jsonschema import Draft202012Validator

import persuadable as ps
from persuadable.service.observe import LATE
from persuadable.service.routes.batch import Batch
from persuadable.service.store import StoreFull, StoreUnavailable

NDJSON, ARROW = "application/x-ndjson", "application/vnd.apache.arrow.stream"
PEOPLE = users(200)


@pytest.fixture(scope="module")
def api(bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with client(bundle_folder, tmp_path_factory.mktemp("api")) as opened:
        yield opened


@pytest.fixture
def fresh(bundle_folder: Path, tmp_path: Path) -> Iterator[Client]:
    with client(bundle_folder, tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def bundle(bundle_folder: Path) -> ps.Bundle:
    return ps.Bundle.load(bundle_folder)


def post(api: Client, path: str, body: Any, status: int = 200, **headers: str) -> Any:
    answer = api.post(path, json=body, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


def lines(people: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(person).encode() + b"\n" for person in people)


def batch(api: Client, content: bytes, status: int = 200, *, query: str = "", **headers: str) -> list[Any]:
    told = {"Content-Type": NDJSON} | {name.replace("_", "-"): value for name, value in headers.items()}
    answer = api.post(f"/v1/decide/batch{query}", content=content, headers=told)
    assert answer.status_code == status, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


# --- scoring and deciding ---------------------------------------------------------------------------------------------


def test_score_answers_what_the_bundle_says(api: Client, bundle: ps.Bundle) -> None:
    told = post(api, "/v1/score", {"units": PEOPLE, "budget_share": 0.3})
    frame = pl.DataFrame([person["features"] for person in PEOPLE])
    effect = bundle.learner.effect(frame)[:, 1]
    low, high = bundle.learner.effect_interval(frame)
    treat = bundle.policy.probabilities(ps.Features.of(frame, bundle.contract.columns), 2)[:, 1]
    assert told["bundle"] == bundle.version
    for i, decision in enumerate(told["decisions"]):
        assert decision["unit"] == PEOPLE[i]["unit"]
        assert decision["effect"] == pytest.approx(effect[i], abs=1e-6)
        assert decision["interval"] == pytest.approx([low[i, 1], high[i, 1]], abs=1e-5)
        assert decision["threshold"] == pytest.approx(bundle.policy.threshold_at(0.3).threshold, abs=1e-9)
        assert decision["propensities"]["treatment"] == pytest.approx(treat[i])
        assert sum(decision["propensities"].values()) == 1.0
        assert "decision_id" not in decision


def test_scoring_remembers_nothing(fresh: Client) -> None:
    post(fresh, "/v1/score", {"units": PEOPLE[:3]})
    assert fresh.get("/v1/live").json()["decisions"] == 0


def test_a_decision_is_remembered_as_it_was_answered(api: Client, bundle: ps.Bundle) -> None:
    (decision,) = post(api, "/v1/decide", {"units": PEOPLE[:1], "campaign": "spring"})["decisions"]
    kept = api.get(f"/v1/decisions/{decision['decision_id']}").json()
    assert {name: kept[name] for name in decision} == decision
    assert kept["features"] == PEOPLE[0]["features"]
    assert (kept["bundle"], kept["campaign"], kept["outcomes"], kept["shadow"]) == (bundle.version, "spring", [], None)


def test_the_same_key_and_request_is_the_same_decision(fresh: Client) -> None:
    body, key = {"units": PEOPLE[:5], "budget_units": 3}, {"Idempotency-Key": "a"}
    first = fresh.post("/v1/decide", json=body, headers=key)
    again = fresh.post("/v1/decide", json=body, headers=key)
    assert first.json() == again.json()
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    without = [fresh.post("/v1/decide", json=body).json()["decisions"][0]["decision_id"] for _ in range(2)]
    assert len({*without, first.json()["decisions"][0]["decision_id"]}) == 3
    assert fresh.get("/v1/live").json()["decisions"] == 15


def test_the_same_key_with_another_request_is_refused(fresh: Client) -> None:
    post(fresh, "/v1/decide", {"units": PEOPLE[:1]}, **{"Idempotency-Key": "a"})
    problem = post(fresh, "/v1/decide", {"units": PEOPLE[1:2]}, 422, **{"Idempotency-Key": "a"})
    assert problem["type"] == "/problems/idempotency"


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "ä"])
def test_a_strange_key_is_refused(api: Client, key: str) -> None:
    answer = api.post("/v1/decide", json={"units": PEOPLE[:1]}, headers={"Idempotency-Key": key.encode("latin-1")})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "Idempotency-Key"


def test_a_budget_of_units_is_kept_over_requests(fresh: Client) -> None:
    treated = 0
    for i in range(6):
        body = {"units": PEOPLE[i * 20 : (i + 1) * 20], "budget_units": 7, "population": 20, "campaign": "c"}
        told = post(fresh, "/v1/decide", body)["decisions"]
        treated += sum(decision["action"] == "treatment" for decision in told)
        spent = [d for d in told if d["reason"] == "budget-spent"]
        assert all(d["propensities"]["control"] == 1.0 for d in spent)
    assert treated == 7


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_broken_contract_says_where_and_what(api: Client) -> None:
    wrong = [PEOPLE[0], {"unit": "u", "features": PEOPLE[1]["features"] | {"x0": "high"}}]
    problem = post(api, "/v1/score", {"units": wrong}, 422)
    assert problem["type"] == "/problems/contract"
    assert [error["pointer"] for error in problem["errors"]] == ["/units/1/features/x0"]


@pytest.mark.parametrize("path", ["/v1/score", "/v1/decide", "/v1/outcomes", "/v1/explain"])
def test_a_body_that_is_not_json_is_refused(api: Client, path: str) -> None:
    for content, kind, status in ((b"{", "application/json", 400), (b"{}", "text/plain", 415), (b"{}", "", 415)):
        answer = api.post(path, content=content, headers={"Content-Type": kind} if kind else {})
        assert answer.status_code == status
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert api.post(path, json=[]).status_code == 422
    assert api.post(path, content=b"{}", headers={"Content-Type": "application/json; charset=utf-8"}).status_code == 422


def test_too_many_units_are_refused(bundle_folder: Path, tmp_path: Path) -> None:
    with client(bundle_folder, tmp_path, max_units=2, max_batch_units=3) as api:
        assert post(api, "/v1/score", {"units": PEOPLE[:3]}, 422)["errors"][0]["pointer"] == "/units"
        assert batch(api, lines(PEOPLE[:3]))
        assert batch(api, lines(PEOPLE[:4]), 413)
        units = api.get("/openapi.json").json()["components"]["schemas"]["ScoreRequest"]["properties"]["units"]
        assert units["maxItems"] == 2


def test_an_address_or_method_that_is_not_there_is_a_problem_too(api: Client) -> None:
    for path in ("/", "/v1/scores", "/v1/score/"):
        assert api.get(path, follow_redirects=False).json()["type"] == "/problems/no-such-path"
    answer = api.request("PUT", "/v1/admin/bundles")
    assert answer.json()["type"] == "/problems/method"
    assert answer.headers["Allow"] == "GET, POST"
    assert api.get("/v1/score").headers["Allow"] == "POST"


@pytest.mark.parametrize(
    ("error", "status"), [(StoreUnavailable("the database at db.internal is away"), 503), (StoreFull(), 507)]
)
def test_a_store_that_fails_is_a_problem_without_its_insides(
    fresh: Client, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    def failing(*_: Any, **__: Any) -> Any:
        raise error

    service = fresh.service
    monkeypatch.setattr(service.store, "write", failing)
    problem = post(fresh, "/v1/decide", {"units": PEOPLE[:1]}, status)
    assert "db.internal" not in json.dumps(problem)
    assert post(fresh, "/v1/score", {"units": PEOPLE[:1]}), "scoring needs no store"
    answered = batch(fresh, lines(PEOPLE[:3]), status)
    assert answered[0]["status"] == status


LOCAL = ["127.0.0.1", "127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]", "[::1]:8000", "127.9.9.9"]
FOREIGN = ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "["]


def test_without_keys_only_this_machine_is_answered(api: Client) -> None:
    """Under a foreign Host stands a name that was pointed here; a foreign Origin is another page's script."""
    for host in LOCAL:
        assert api.get("/v1/contract", headers={"Host": host}).status_code == 200, host
        assert api.get("/v1/contract", headers={"Origin": f"https://{host}"}).status_code == 200, host
    for host in FOREIGN:
        for told in ({"Host": host}, {"Origin": f"https://{host}"}):
            answer = api.post("/v1/admin/bundles/rollback", headers=told | {"Content-Type": "text/plain"})
            assert (answer.status_code, answer.json()["type"]) == (403, "/problems/foreign-host"), told
            assert api.get("/metrics", headers=told).status_code == 403
            assert api.get("/health/ready", headers=told).status_code == 200
    assert api.get("/v1/contract", headers={"Origin": "null"}).status_code == 403


def test_with_keys_any_host_is_answered(bundle_folder: Path, tmp_path: Path) -> None:
    with client(bundle_folder, tmp_path, insecure=False) as api:
        answer = api.get("/v1/contract", headers={"Host": "decide.example", "Origin": "https://shop.example"})
        assert answer.json()["type"] == "/problems/no-key"


@pytest.mark.parametrize(("path", "kind"), [("/v1/decide", "application/json"), ("/v1/decide/batch", NDJSON)])
def test_a_body_that_does_not_come_or_breaks_off_is_refused(api: Client, path: str, kind: str) -> None:
    assert api.run(_held(api, path, kind, late=True)) == (408, b"close")
    assert api.run(_held(api, path, kind, late=False))[0] == 400, "it broke off"


async def _held(api: Client, path: str, kind: str, *, late: bool) -> tuple[int, bytes | None]:
    """Status and Connection where half a body comes, and then nothing or the connection's end."""
    pieces = iter([{"type": "http.request", "body": b"{", "more_body": True}])
    told: dict[str, Any] = {}

    async def receive() -> dict[str, Any]:
        if (piece := next(pieces, None)) is None:
            if late:
                scope[LATE] = 30.0
                return {"type": "http.request", "body": b"", "more_body": True}
            return {"type": "http.disconnect"}
        return piece

    async def send(message: Any) -> None:
        told.update(message)

    headers = [(b"host", b"localhost"), (b"content-type", kind.encode())]
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
    scope |= {"client": ("127.0.0.1", 1), "root_path": "", "scheme": "http"}
    await api.app(scope, receive, send)
    return told["status"], dict(told["headers"]).get(b"connection")


def test_readiness_asks_the_store_once_for_many(fresh: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def check() -> None:
        asked.append(threading.get_ident())
        time.sleep(0.1)
        if len(asked) > 1:
            raise StoreUnavailable("away")

    monkeypatch.setattr(fresh.service.writer, "check", check)

    async def many() -> set[int]:
        answers = await asyncio.gather(*(fresh._client.get("/health/ready") for _ in range(20)))
        return {answer.status_code for answer in answers}

    assert fresh.run(many()) == {200}
    assert len(asked) == 1
    time.sleep(1.1)
    assert fresh.run(many()) == {503}
    assert len(asked) == 2


# --- batches ----------------------------------------------------------------------------------------------------------


def test_a_batch_decides_as_one_request_would(fresh: Client) -> None:
    scored = post(fresh, "/v1/score", {"units": PEOPLE, "budget_share": 0.3})["decisions"]
    decided = batch(fresh, lines(PEOPLE), query="?budget_share=0.3")
    assert [d["unit"] for d in decided] == [d["unit"] for d in scored]
    assert [d["effect"] for d in decided] == [d["effect"] for d in scored]
    assert [d["propensities"] for d in decided] == [d["propensities"] for d in scored]
    assert len({d["decision_id"] for d in decided}) == len(PEOPLE)


def test_a_batch_of_several_parts_keeps_its_budget_and_order(fresh: Client) -> None:
    people = users(2_300, seed=3, prefix="b")
    decided = batch(fresh, lines(people), query="?budget_units=100&campaign=batch")
    assert [d["unit"] for d in decided] == [person["unit"] for person in people]
    assert sum(d["action"] == "treatment" for d in decided) <= 100
    again = post(fresh, "/v1/decide", {"units": people[:50], "budget_units": 100, "campaign": "batch"})["decisions"]
    assert sum(d["action"] == "treatment" for d in [*decided, *again]) <= 100


def test_a_line_that_is_refused_leaves_the_others(fresh: Client) -> None:
    content = lines(PEOPLE[:1]) + b"{\n\n" + lines([{"unit": "u", "features": {}}]) + lines(PEOPLE[1:2])
    first, broken, short, last = batch(fresh, content)
    assert (first["unit"], last["unit"]) == ("u0", "u1")
    assert (broken["line"], broken["unit"], broken["problem"]["type"]) == (2, None, "/problems/malformed")
    assert (short["line"], short["unit"], short["problem"]["type"]) == (4, "u", "/problems/contract")
    assert short["problem"]["errors"][0]["pointer"] == "/features/x0"
    assert batch(fresh, b"[1]\n")[0]["problem"]["status"] == 422
    assert fresh.get("/v1/live").json()["decisions"] == 2


def test_lines_about_one_unit_are_told_apart(fresh: Client) -> None:
    """The same unit three times: refused, decided, refused; the decision stands at the line it was made for."""
    good, bad = PEOPLE[0]["features"], PEOPLE[1]["features"] | {"x0": "high"}
    people = [{"unit": "u", "features": features} for features in (bad, good, {}, good)]
    for _ in range(2):
        told = batch(fresh, lines(people), Idempotency_Key="k")
        assert ["decision_id" in answer for answer in told] == [False, True, False, True]
        assert told[0]["problem"]["errors"][0]["pointer"] == "/features/x0"


def test_a_batch_sent_again_is_answered_again(fresh: Client) -> None:
    content = lines(users(1_200, seed=5)) + b"broken\n"
    first = batch(fresh, content, Idempotency_Key="k")
    assert batch(fresh, content, Idempotency_Key="k") == first
    assert fresh.get("/v1/live").json()["decisions"] == 1_200
    assert batch(fresh, content, 422, query="?budget_share=0.2", Idempotency_Key="k")
    assert batch(fresh, lines(PEOPLE[:1]), 422, Idempotency_Key="k")
    assert batch(fresh, content, Idempotency_Key="other") != first


def test_where_the_store_fails_half_way_the_rest_says_so_and_can_be_sent_again(
    fresh: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, content = fresh.service, lines(users(3_000, seed=6))
    real, calls = service.store.write, iter(range(10))

    def failing(items: Any, rng: Any, **told: Any) -> Any:
        if next(calls) == 1:
            raise StoreUnavailable("away")
        return real(items, rng, **told)

    monkeypatch.setattr(service.store, "write", failing)
    first = batch(fresh, content, Idempotency_Key="k")
    assert ["problem" in answer for answer in first] == [False] * 1_000 + [True] * 2_000
    assert {answer["problem"]["status"] for answer in first[1_000:]} == {503}
    again = batch(fresh, content, Idempotency_Key="k")
    assert again[:1_000] == first[:1_000]
    assert not any("problem" in answer for answer in again)


def arrow(frame: pl.DataFrame) -> bytes:
    written = io.BytesIO()
    frame.write_ipc_stream(written)
    return written.getvalue()


def people_frame(people: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame([{"unit": person["unit"], **person["features"]} for person in people])


def test_arrow_goes_in_and_out(fresh: Client) -> None:
    people = users(2_100, seed=4)
    frame = people_frame(people).with_columns(pl.col("c0").cast(pl.Enum(["a", "b", "c", "d"])))
    headers = {"Content-Type": ARROW, "Accept": ARROW, "Idempotency-Key": "k"}
    answer = fresh.post("/v1/decide/batch?budget_share=0.3", content=arrow(frame), headers=headers)
    assert answer.headers["Content-Type"] == ARROW
    told = pl.read_ipc_stream(io.BytesIO(answer.content))
    assert told.equals(pl.from_arrow(pa.ipc.open_stream(answer.content).read_all())), "another reader reads the same"
    by_lines = batch(fresh, lines(people), query="?budget_share=0.3")
    for name in ("unit", "treatment", "effect", "net_effect", "threshold"):
        assert told[name].to_list() == [line[name] for line in by_lines]
    assert told["propensity of treatment"].to_list() == [line["propensities"]["treatment"] for line in by_lines]
    assert told["low"].to_list() == [line["interval"][0] for line in by_lines]
    assert told["problem"].null_count() == 2_100


def test_a_refused_row_of_arrow_has_its_problem(fresh: Client) -> None:
    frame = people_frame(PEOPLE[:3]).with_columns(x0=pl.Series([0.1, None, 0.2]), c0=pl.Series(["a", "b", "z"]))
    frame = frame.with_columns(unit=pl.Series(["u0", "u1", None]))
    headers = {"Content-Type": ARROW, "Accept": ARROW}
    told = pl.read_ipc_stream(io.BytesIO(fresh.post("/v1/decide/batch", content=arrow(frame), headers=headers).content))
    assert told["reason"].to_list()[1] == "fallback", "a missing value"
    assert [problem is None for problem in told["problem"]] == [True, True, False]
    assert json.loads(told["problem"][2])["type"] == "/problems/invalid"


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame({"x0": [1.0]}),
        pl.DataFrame({"unit": ["u"], "x": [[1.0]]}),
        pl.DataFrame({"unit": ["u"], "x": [{"a": 1}]}),
        pl.DataFrame({"unit": ["u"], "x": [b"x"]}),
        pl.DataFrame({"unit": ["x" * 100_000]}),
        pl.DataFrame({"unit": []}),
    ],
    ids=["no unit", "lists", "structs", "bytes", "long text", "no rows"],
)
def test_arrow_that_is_no_table_of_users_is_refused(api: Client, frame: pl.DataFrame) -> None:
    answer = api.post("/v1/decide/batch", content=arrow(frame), headers={"Content-Type": ARROW})
    assert answer.status_code in (400, 422)


def test_arrow_that_is_damaged_or_compressed_is_refused(api: Client) -> None:
    whole = arrow(people_frame(PEOPLE))
    compressed = io.BytesIO()
    people_frame(PEOPLE).write_ipc_stream(compressed, compression="zstd")
    for content in (b"", b"ARROW1", whole[:40], whole[: len(whole) // 2], whole[8:], whole * 2, compressed.getvalue()):
        answer = api.post("/v1/decide/batch", content=content, headers={"Content-Type": ARROW})
        assert answer.status_code in (400, 422), content[:20]


def test_flipped_bits_of_arrow_never_break_the_service(api: Client) -> None:
    import random

    whole, chance = arrow(people_frame(PEOPLE[:5])), random.Random(0)
    for _ in range(200):
        content = bytearray(whole)
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        answer = api.post("/v1/decide/batch", content=bytes(content), headers={"Content-Type": ARROW})
        assert answer.status_code in (200, 400, 413, 422), answer.text


def test_the_answer_of_a_batch_is_in_a_format_that_is_accepted(api: Client) -> None:
    def asked(accept: str) -> tuple[int, str]:
        headers = {"Content-Type": NDJSON, "Accept": accept}
        answer = api.post("/v1/decide/batch", content=lines(PEOPLE[:1]), headers=headers)
        return answer.status_code, answer.headers["Content-Type"]

    assert asked("*/*") == (200, NDJSON)
    assert asked(f"text/html, {ARROW};q=0.9") == (200, ARROW)
    assert asked("application/json") == (406, "application/problem+json")


@pytest.mark.parametrize("query", ["?budget_share=2", "?budget_share=x", "?budget_units=-1", "?population=3"])
def test_a_strange_budget_of_a_batch_is_refused(api: Client, query: str) -> None:
    batch(api, lines(PEOPLE[:1]), 422, query=query)


def test_a_line_that_is_too_long_is_refused_before_anything_is_decided(bundle_folder: Path, tmp_path: Path) -> None:
    with client(bundle_folder, tmp_path, max_body_bytes=2_000) as api:
        long = json.dumps(PEOPLE[1] | {"more": "x" * 2_000}).encode()
        for content in (lines(PEOPLE[:1]) + long + b"\n", lines(PEOPLE[:1]) + long, b" " * 2_001):
            answer = api.post("/v1/decide/batch", content=content, headers={"Content-Type": NDJSON})
            assert (answer.status_code, answer.json()["type"]) == (413, "/problems/too-large")
        assert (
            "Line 2 "
            in api.post("/v1/decide/batch", content=lines(PEOPLE[:1]) + long, headers={"Content-Type": NDJSON}).json()[
                "detail"
            ]
        )
        assert api.get("/v1/live").json()["decisions"] == 0
        exact = lines(PEOPLE[:1]).rstrip()
        assert "decision_id" in batch(api, exact + b" " * (1_999 - len(exact)) + b"\n")[0]


def test_a_batch_that_fails_leaves_no_thread_at_its_file(fresh: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The part after the one that fails is being scored: it is waited for, and the file closed after it."""
    seen: list[str] = []
    real_part = Batch._part

    def part(self: Batch, under_way: Any, users: Any, number: int) -> Any:
        if number == 1:
            time.sleep(0.3)
            seen.append("scored")
        return real_part(self, under_way, users, number)

    async def failing(*_: Any) -> Any:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(Batch, "_part", part)
    monkeypatch.setattr(Batch, "_made", failing)
    assert batch(fresh, lines(users(1_500, seed=9)), 500)
    assert seen == ["scored"]


# --- outcomes, and the log --------------------------------------------------------------------------------------------


def test_outcomes_come_late_twice_and_corrected(fresh: Client) -> None:
    ids = [d["decision_id"] for d in post(fresh, "/v1/decide", {"units": PEOPLE[:2]})["decisions"]]
    reports = [{"decision_id": one, "name": "sale", "value": 1} for one in ids]
    assert post(fresh, "/v1/outcomes", {"outcomes": reports}) == {"recorded": 2, "repeated": 0, "corrected": 0}
    late = [reports[0], reports[1] | {"value": 3, "observed_at": "2099-01-01T00:00:00Z"}]
    assert post(fresh, "/v1/outcomes", {"outcomes": late}) == {"recorded": 1, "repeated": 1, "corrected": 1}
    history = fresh.get(f"/v1/decisions/{ids[1]}").json()["outcomes"]
    assert [(o["value"], o["in_force"]) for o in history] == [(1.0, False), (3.0, True)]
    assert fresh.get("/v1/live").json()["outcomes"] == [{"name": "sale", "count": 3, "mean": pytest.approx(5 / 3)}]


def test_an_unknown_decision_is_named_and_nothing_recorded(fresh: Client) -> None:
    (known,) = post(fresh, "/v1/decide", {"units": PEOPLE[:1]})["decisions"]
    reports = [{"decision_id": one, "name": "sale", "value": 1} for one in (known["decision_id"], "nobody")]
    problem = post(fresh, "/v1/outcomes", {"outcomes": reports}, 404)
    assert problem["type"] == "/problems/unknown-decision"
    assert problem["errors"] == [{"pointer": "/outcomes/1/decision_id", "detail": "There is no decision 'nobody'."}]
    assert fresh.get(f"/v1/decisions/{known['decision_id']}").json()["outcomes"] == []
    assert fresh.get("/v1/decisions/nobody").status_code == 404


def test_the_export_closes_the_loop(fresh: Client, tmp_path: Path) -> None:
    people = users(1_000, seed=8)
    decided = batch(fresh, lines(people), query="?budget_share=0.5")
    reports = [{"decision_id": d["decision_id"], "name": "outcome", "value": i % 2} for i, d in enumerate(decided)]
    post(fresh, "/v1/outcomes", {"outcomes": reports})
    answer = fresh.get("/v1/export")
    assert answer.headers["Content-Type"] == "application/vnd.apache.parquet"
    (tmp_path / "export.parquet").write_bytes(answer.content)
    log = ps.DecisionLog.read(tmp_path / "export.parquet")
    assert log.n == 1_000
    assert list(log.actions) == ["control", "treatment"]
    assert log.outcome("outcome").sum() == 500
    labels = list(log.actions)
    assert [labels[i] for i in log.action] == [d["action"] for d in decided]
    assert set(log.features.names) == set(WORLD.features(1, random_state=0).names)


def test_an_export_has_no_ranges_and_leaves_no_file(
    fresh: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    post(fresh, "/v1/decide", {"units": PEOPLE[:3]})
    whole = fresh.get("/v1/export")
    assert int(whole.headers["Content-Length"]) == len(whole.content) > 1_000
    for told in ("bytes=0-3", "bytes=9999999-", "bytes=x", "lines=1"):
        answer = fresh.get("/v1/export", headers={"Range": told})
        assert (answer.status_code, len(answer.content)) == (200, len(whole.content))
    assert fresh.get("/v1/export?bundle=none").status_code == 404
    assert list((tmp_path / "temporary").iterdir()) == []


def test_the_export_can_be_narrowed(fresh: Client) -> None:
    post(fresh, "/v1/decide", {"units": PEOPLE[:3], "campaign": "one"})
    post(fresh, "/v1/decide", {"units": PEOPLE[:4], "campaign": "two"})

    def rows(query: str) -> int:
        return pl.read_parquet(io.BytesIO(fresh.get(f"/v1/export{query}").content)).height

    assert [rows(q) for q in ("", "?campaign=one", "?campaign=none", "?until=2020-01-01T00:00:00Z")] == [7, 3, 0, 0]
    assert rows("?since=2020-01-01T00:00:00%2B02:00") == 7
    for query in ("?since=0.5", "?until=2020-01-01", "?missing=x", "?since=2020-01-01T00:00:00"):
        assert fresh.get(f"/v1/export{query}").status_code == 422
    assert fresh.get("/v1/export?bundle=00").json()["type"] == "/problems/unknown-bundle"


def test_the_last_hour_and_its_errors(fresh: Client) -> None:
    post(fresh, "/v1/decide", {"units": PEOPLE[:9], "budget_share": 1})
    post(fresh, "/v1/score", {"units": [{"unit": "u", "features": {"x0": "Ada"}}]}, 422)
    fresh.get("/v1/nowhere")
    service = fresh.service
    service.tell()
    service._note()
    told = fresh.get("/v1/live").json()
    assert (told["decisions"], len(told["minutes"]), sum(told["actions"].values())) == (9, 60, 9)
    assert told["treated"] == told["actions"].get("treatment", 0)
    assert sum(bin["count"] for bin in told["propensity_histogram"]) == 9
    assert [(e["status"], e["path"]) for e in told["errors"]] == [(422, "/v1/score")]
    assert "Ada" not in json.dumps(told)


# --- the model --------------------------------------------------------------------------------------------------------


def test_contributions_add_up_to_the_effect(api: Client) -> None:
    told = post(api, "/v1/explain", PEOPLE[0])
    (scored,) = post(api, "/v1/score", {"units": PEOPLE[:1]})["decisions"]
    parts = [part["contribution"] for part in told["contributions"]]
    assert told["base"] + sum(parts) == pytest.approx(told["effect"], abs=1e-5)
    assert told["effect"] == scored["effect"]
    assert sorted(parts, key=abs, reverse=True) == parts
    assert post(api, "/v1/explain", PEOPLE[0] | {"treatment": "nothing"}, 422)["errors"][0]["pointer"] == "/treatment"


def test_the_budget_curve(api: Client, bundle: ps.Bundle) -> None:
    told = api.get("/v1/policy?shares=0,0.2,1").json()
    assert [row["share"] for row in told["rows"]] == [0.0, 0.2, 1.0]
    assert told["rows"][0]["threshold"] is None
    assert told["rows"][1]["threshold"] == bundle.policy.threshold_at(0.2).threshold
    assert len(api.get("/v1/policy").json()["rows"]) == 101
    for shares in ("", "a", "0.1,,0.2", "1.1", "-0.1", "nan", "0.1;0.2"):
        assert api.get(f"/v1/policy?shares={shares}").status_code == 422


def test_card_contract_and_evaluation(api: Client, bundle: ps.Bundle) -> None:
    assert api.get("/v1/model-card").json() == bundle.card
    contract = api.get("/v1/contract").json()
    assert ps.FeatureContract.from_dict(contract) == bundle.contract
    assert api.get("/v1/evaluation").json()["type"] == "/problems/no-evaluation"


# --- the description --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def description(api: Client) -> dict[str, Any]:
    told: dict[str, Any] = api.get("/openapi.json").json()
    return told


def operations(description: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_every_reference_leads_somewhere(description: dict[str, Any]) -> None:
    known = description["components"]["schemas"]
    text = json.dumps(description)
    for reference in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert reference in known


def test_every_operation_is_described_and_says_who_may(description: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(description)]
    assert len(names) == len(set(names)) == 25
    for method, path, operation in operations(description):
        assert all(operation[part] for part in ("summary", "description", "tags")), (method, path)
        open_to_all = path.startswith("/health/")
        assert operation["security"] == ([] if open_to_all else [{"key": []}])
        assert ("401" in operation["responses"]) is not open_to_all
        assert "500" in operation["responses"]


def test_the_examples_fulfil_their_schemas(description: dict[str, Any]) -> None:
    schemas = description["components"]["schemas"]
    checked = 0
    for name, schema in schemas.items():
        for example in schema.get("examples", []):
            Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}).validate(
                example
            )
            checked += 1
    assert checked > 10


def test_the_documentation_page_is_there(api: Client) -> None:
    page = api.get("/docs")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    parts = re.findall(r'(?:src|href)="(docs/[^"]+)"', page.text)
    assert len(parts) == 3
    for part in parts:
        answer = api.get(f"/{part}")
        assert answer.status_code == 200
        assert "//" not in part
    assert "SwaggerUIBundle" in api.get("/docs/swagger-ui-bundle.js").text
    assert api.get("/docs/other.js").status_code == 404
