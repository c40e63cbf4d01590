from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from persuadable.app.address import service_address, usable_key
from persuadable.app.client import Service, ServiceAway, ServiceRefused
from persuadable.app.sentences import problem_sentences
from persuadable.errors import ParameterError

Handler = Callable[[httpx.Request], httpx.Response]


def service(handler: Handler) -> Service:
    return Service("http://far", httpx.Client(base_url="http://far", transport=httpx.MockTransport(handler)))


def problem(status: int, headers: dict[str, str] | None = None, **members: object) -> Handler:
    told = {"type": "/problems/x", "title": "Some title", "status": status, "detail": "Some detail.", **members}
    return lambda _: httpx.Response(
        status, headers={"Content-Type": "application/problem+json"} | (headers or {}), content=json.dumps(told)
    )


def test_a_request_to_score_is_what_the_service_reads() -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.method, request.url.path, json.loads(request.content)))
        return httpx.Response(200, json={"decisions": [{"unit": "u1"}], "bundle": "b"})

    assert service(answer).score([{"unit": "u1", "features": {"age": None}}], 0.25) == ([{"unit": "u1"}], "b")
    body = {"units": [{"unit": "u1", "features": {"age": None}}], "budget_share": 0.25}
    assert seen == [("POST", "/v1/score", body)]


def test_the_key_travels_in_the_header_and_nowhere_else() -> None:
    at = Service.at("http://127.0.0.1:8000/", "psk_1_secret")
    request = at.http.build_request("GET", "/v1/live")
    assert request.headers["Authorization"] == "Bearer psk_1_secret"
    assert str(request.url) == "http://127.0.0.1:8000/v1/live"
    assert "secret" not in repr(at)
    assert "Authorization" not in Service.at("http://127.0.0.1:8000").http.headers


def test_a_path_of_the_address_is_kept() -> None:
    at = Service.at("https://example.org/decisions/")
    assert str(at.http.build_request("GET", "/v1/live").url) == "https://example.org/decisions/v1/live"


@pytest.mark.parametrize("failure", [httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError])
def test_nobody_there(failure: type[httpx.TransportError]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise failure("[Errno 111] Connection refused")

    with pytest.raises(ServiceAway) as caught:
        service(answer).live()
    assert problem_sentences(caught.value) == [
        "The service at http://far does not answer.",
        "Start it with 'persuadable serve', or start the app with --service and its address; then try again.",
    ]


def test_too_slow() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow")

    with pytest.raises(ServiceAway, match="takes too long to answer"):
        service(answer).live()


@pytest.mark.parametrize("status", [401, 403])
def test_a_missing_or_weak_key_is_told_with_the_command_that_makes_one(status: int) -> None:
    with pytest.raises(ServiceRefused, match=r"keys create app --role read.*PERSUADABLE_API_KEY"):
        service(problem(status)).live()


@pytest.mark.parametrize(("after", "when"), [("1", "in 1 second."), ("30", "in 30 seconds."), ("", "in a moment.")])
def test_busy_says_when_to_come_again(after: str, when: str) -> None:
    with pytest.raises(ServiceAway) as caught:
        service(problem(503, {"Retry-After": after})).live()
    assert problem_sentences(caught.value) == ["Some detail.", f"Try again {when}"]


def test_every_refused_feature_is_a_sentence() -> None:
    errors = [{"pointer": "/units/0/features/age", "detail": "Feature 'age' is text. Send a number."}]
    with pytest.raises(ServiceRefused) as caught:
        service(problem(422, errors=errors, remedy="Look at /v1/contract.")).score([], 0.3)
    assert problem_sentences(caught.value) == ["Some title.", "Feature 'age' is text. Send a number."]
    assert caught.value.errors == (("/units/0/features/age", "Feature 'age' is text. Send a number."),)


def test_many_refused_features_are_counted() -> None:
    errors = [{"pointer": f"/units/{i}", "detail": f"Fault {i}"} for i in range(11)]
    with pytest.raises(ServiceRefused) as caught:
        service(problem(422, errors=errors)).score([], 0.3)
    assert problem_sentences(caught.value)[1:] == [*(f"Fault {i}." for i in range(8)), "And 3 more."]


def test_another_problem_is_told_in_its_own_words() -> None:
    with pytest.raises(ServiceRefused) as caught:
        service(problem(413, remedy="Send fewer units.")).score([], 0.3)
    assert problem_sentences(caught.value) == ["Some detail.", "Send fewer units."]


@pytest.mark.parametrize(
    "answer", [httpx.Response(200, text="<h1>Hello</h1>"), httpx.Response(404, json={"detail": "Not Found"})]
)
def test_another_server_at_the_address(answer: httpx.Response) -> None:
    with pytest.raises(ServiceAway, match="not the persuadable service"):
        service(lambda _: answer).live()


def test_a_bundle_without_evaluation_or_card_has_none() -> None:
    assert service(problem(404)).evaluation() is None
    assert service(problem(404)).card() is None
    assert service(lambda _: httpx.Response(200, json={})).card() is None
    with pytest.raises(ServiceRefused):
        service(problem(404)).policy()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        (" https://host/ ", "https://host"),
        ("http://[::1]:80/a/", "http://[::1]:80/a"),
    ],
)
def test_addresses(text: str, address: str) -> None:
    assert service_address(text) == address


@pytest.mark.parametrize("text", ["127.0.0.1:8000", "ftp://host", "http://", "http://host:x", "http://host:99999", ""])
def test_no_addresses(text: str) -> None:
    with pytest.raises(ParameterError, match="is not the address of a service"):
        service_address(text)


@pytest.mark.parametrize(
    "text", ["http://me:psk_1_secret@host", "http://host/?key=psk_1_secret", "http://host/#secret"]
)
def test_a_secret_in_the_address_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ParameterError, match="PERSUADABLE_API_KEY") as caught:
        service_address(text)
    assert "secret" not in str(caught.value)


def test_a_key_that_no_header_can_carry_is_refused_and_not_repeated() -> None:
    assert usable_key(None) is None
    assert usable_key("") is None
    assert usable_key("psk_1_s") == "psk_1_s"
    for key in ("psk 1", "psk_1\n", "schlüssel"):
        with pytest.raises(ParameterError) as caught:
            usable_key(key)
        assert key.strip() not in str(caught.value)
