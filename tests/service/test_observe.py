"""Every request has an id, a line in the log, and counts; what people send is in none of them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bundles import users
from clients import Client, client

from persuadable.service.logs import Lines, logger
from persuadable.service.metrics import Metrics
from persuadable.service.records import Receipt

PEOPLE = users(5)


@pytest.fixture
def api(bundle_folder: Path, tmp_path: Path) -> Iterator[Client]:
    with client(bundle_folder, tmp_path) as opened:
        yield opened


def requests(api: Client) -> list[dict[str, Any]]:
    told = [json.loads(line) for line in api.logged().splitlines()]
    return [line for line in told if line["event"] == "request"]


def count(api: Client, name: str, **labels: str) -> float:
    """A sample of /metrics; 0 where it is absent."""
    for line in api.get("/metrics").text.splitlines():
        if line.startswith(name) and all(f'{key}="{value}"' in line for key, value in labels.items()):
            return float(line.rsplit(" ", 1)[1])
    return 0.0


def test_a_sane_request_id_is_kept_and_another_is_replaced(api: Client) -> None:
    kept = api.get("/health/live", headers={"X-Request-ID": "trace-1:a.b/c=="})
    assert kept.headers["X-Request-ID"] == "trace-1:a.b/c=="
    for strange in ("", "a b", "x" * 129, "a\tb", 'a"b'):
        made = api.get("/health/live", headers={"X-Request-ID": strange}).headers["X-Request-ID"]
        assert made != strange
        assert len(made) == 24
    two = {api.get("/health/live").headers["X-Request-ID"] for _ in range(2)}
    assert len(two) == 2


def test_a_request_is_a_line_and_its_problem_names_the_same_id(api: Client) -> None:
    answer = api.post("/v1/score", json={}, headers={"X-Request-ID": "one"})
    (line,) = requests(api)
    assert answer.json()["instance"] == "one"
    assert (line["id"], line["method"], line["route"], line["status"]) == ("one", "POST", "/v1/score", 422)
    assert (line["problem"], line["level"], line["caller"]) == ("invalid", "info", "127.0.0.1")
    assert 0.0 < line["ms"] < 10_000.0


def test_addresses_are_told_by_their_template(api: Client) -> None:
    api.get("/v1/decisions/ada-lovelace")
    api.get("/secret/ada-lovelace")
    assert [line["route"] for line in requests(api)] == ["/v1/decisions/{decision_id}", "other"]
    assert count(api, "persuadable_requests_total", route="/v1/decisions/{decision_id}", status="404") == 1
    assert count(api, "persuadable_requests_total", route="other") == 1


def test_what_machines_ask_all_day_is_no_line(api: Client) -> None:
    for path in ("/health/live", "/health/ready", "/metrics"):
        assert api.get(path).status_code == 200
    assert requests(api) == []


def test_nothing_that_is_sent_is_logged_or_counted(api: Client) -> None:
    marker = "Lovelace1815"
    features = PEOPLE[0]["features"]
    bodies: list[Any] = [
        {"units": [{"unit": marker, "features": features}]},
        {"units": [{"unit": "u", "features": features | {"x0": marker}}]},
        {"units": [{"unit": "u", "features": features | {marker: 1}}]},
        {"units": [{"unit": "u", "features": features | {"c0": marker}}]},
        {marker: 1},
    ]
    for path in ("/v1/score", "/v1/decide"):
        for body in bodies:
            api.post(path, json=body, headers={"Idempotency-Key": marker, "Authorization": f"Bearer {marker}"})
    api.post("/v1/outcomes", json={"outcomes": [{"decision_id": marker, "name": marker, "value": 1}]})
    api.post("/v1/score", content=marker.encode(), headers={"Content-Type": "application/json"})
    api.get(f"/v1/export?campaign={marker}")
    assert len(requests(api)) == 13
    assert marker not in api.logged()
    assert marker not in api.get("/metrics").text


def test_a_fault_of_ours_is_logged_and_tells_the_client_its_id_alone(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("the insides")

    monkeypatch.setattr(api.service.store, "live", broken)
    answer = api.get("/v1/live", headers={"X-Request-ID": "broken-1"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (500, "application/problem+json")
    assert answer.json()["instance"] == "broken-1"
    assert "insides" not in answer.text
    told = [json.loads(line) for line in api.logged().splitlines()]
    (failed,) = [line for line in told if line["event"] == "failed"]
    assert failed["id"] == "broken-1"
    assert "ZeroDivisionError: the insides" in failed["error"]


def test_decisions_violations_and_outcomes_are_counted(api: Client) -> None:
    wild = {"unit": "w", "features": PEOPLE[0]["features"] | {"x0": 1e6, "c0": "zebra", "extra": 1}}
    told = api.post("/v1/decide", json={"units": [*PEOPLE, wild], "budget_share": 1}).json()["decisions"]
    api.post("/v1/score", json={"units": [{"unit": "u", "features": {}}]})
    api.post("/v1/score", json={"units": PEOPLE})
    report = {"decision_id": told[0]["decision_id"], "name": "sale", "value": 1}
    api.post("/v1/outcomes", json={"outcomes": [report]})
    api.post("/v1/outcomes", json={"outcomes": [report]})
    treated = sum(decision["reason"] == "treated" for decision in told)
    assert count(api, "persuadable_decisions_total", action="treatment", reason="treated") == treated
    assert count(api, "persuadable_decisions_total", action="control", reason="fallback") == 1
    assert count(api, "persuadable_scored_total") == 5
    for code, answer, number in (
        ("out-of-range", "clip", 1),
        ("unseen-category", "fallback", 1),
        ("unknown-column", "flag", 1),
        ("missing-column", "refuse", 7),
    ):
        assert count(api, "persuadable_contract_violations_total", code=code, answer=answer) == number
    assert count(api, "persuadable_outcomes_total", result="recorded") == 1
    assert count(api, "persuadable_outcomes_total", result="repeated") == 1
    assert count(api, "persuadable_store_group_orders_count") == 3
    assert count(api, "persuadable_bundle_info", role="champion") == 1


def test_a_decision_answered_again_is_counted_once(api: Client) -> None:
    for _ in range(3):
        api.post("/v1/decide", json={"units": PEOPLE[:1]}, headers={"Idempotency-Key": "k"})
    assert count(api, "persuadable_decisions_total") == 1
    assert count(api, "persuadable_replays_total") == 2


@pytest.mark.parametrize("told", [True, False], ids=["with its length", "without"])
def test_a_body_that_is_too_large_is_not_read_to_its_end(bundle_folder: Path, tmp_path: Path, told: bool) -> None:
    """A gigabyte is announced, or never ends; no more than the limit and one piece is taken in."""
    with client(bundle_folder, tmp_path, max_body_bytes=10_000, max_batch_bytes=20_000) as api:
        for path, kind, most in (("/v1/score", b"application/json", 10_000),
                                 ("/v1/decide/batch", b"application/x-ndjson", 20_000)):  # fmt: skip
            headers = [(b"content-type", kind), *([(b"content-length", b"1000000000")] if told else [])]
            taken, status = api.run(_endless(api, path, [*headers, (b"host", b"127.0.0.1")]))
            assert status == 413
            assert taken <= (0 if told else most + 1_000)


async def _endless(api: Client, path: str, headers: list[tuple[bytes, bytes]]) -> tuple[int, int]:
    taken = status = 0

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 1_000
        return {"type": "http.request", "body": b" " * 1_000, "more_body": True}

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)

    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
    await api.app(scope | {"client": ("127.0.0.1", 1), "root_path": "", "scheme": "http"}, receive, send)
    return taken, status


def test_what_is_noted_is_short_and_printable_whatever_was_sent(api: Client) -> None:
    """A name of the request can stand in a pointer, and its address in a path: no more than any store takes."""
    for name in ("x" * 2_000_000, "a\0b\n\x1b[2J\u202e"):
        assert api.post("/v1/score", json={name: 1, "units": []}).status_code == 422
    assert api.get("/v1/decisions/%00x").status_code == 404
    api.service.tell()
    long, odd, path = api.service.notes
    assert len(long.detail) <= 300
    assert "/xxx" in long.detail
    assert all((note.detail + note.path).isprintable() for note in (long, odd, path))
    assert "/a\ufffdb\ufffd" in odd.detail
    assert path.path == "/v1/decisions/\ufffdx"


# --- the parts --------------------------------------------------------------------------------------------------------


def test_lines_for_people_and_for_machines() -> None:
    for how, said in (("json", '"event":"request","id":"a"}'), ("text", "request    id=a")):
        written = io.BytesIO()
        lines = Lines(written)
        logger(lines, "info", how).info("request", id="a")
        lines.flush()
        assert said in written.getvalue().decode()


def test_text_that_is_no_unicode_is_a_line_all_the_same() -> None:
    written = io.BytesIO()
    logger(Lines(written), "info", "json").warning("odd", what="\ud800")
    assert json.loads(written.getvalue())["what"] == "\ud800"


def test_what_is_below_the_level_is_not_written_and_warnings_do_not_wait() -> None:
    written = io.BytesIO()
    log = logger(Lines(written), "info", "json")
    log.debug("quiet")
    log.info("one")
    assert written.getvalue() == b"", "gathered"
    log.warning("two")
    assert [json.loads(line)["event"] for line in written.getvalue().splitlines()] == ["one", "two"]


def test_a_reader_that_went_away_takes_nothing_down() -> None:
    written = io.BytesIO()
    lines = Lines(written)
    written.close()
    logger(lines, "info", "json").warning("unheard")


def test_what_libraries_warn_about_is_logged(api: Client) -> None:
    logging.getLogger("some.library").warning("careful with %s", "this")
    logging.getLogger("some.library").info("chatter")
    assert '"message":"careful with this"' in api.logged()
    assert "chatter" not in api.logged()


def test_methods_that_clients_invent_do_not_multiply_the_counters() -> None:
    metrics = Metrics()
    for i in range(50):
        metrics.request(f"MADE-UP-{i}", "other", 405, 0.001)
    told = metrics.render().decode()
    assert told.count("persuadable_requests_total{") == 1
    assert 'persuadable_requests_total{method="other",route="other",status="405"} 50.0' in told


def test_a_bundle_that_is_no_longer_served_says_so() -> None:
    metrics = Metrics()
    metrics.serves([("champion", "v1", "c")])
    metrics.serves([("champion", "v2", "c"), ("previous", "v1", "c")])
    metrics.recorded(Receipt(2, 1, 1))
    told = metrics.render().decode()
    assert 'persuadable_bundle_info{bundle="v1",contract="c",role="champion"} 0.0' in told
    assert 'persuadable_bundle_info{bundle="v2",contract="c",role="champion"} 1.0' in told
