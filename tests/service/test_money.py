"""A bundle whose budget is money, behind the API: which offer for whom, at what cost, and a campaign that keeps it."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from bundles import OFFERS, users
from clients import Client, client
from jsonschema import Draft202012Validator

import persuadable as ps

NDJSON, ARROW = "application/x-ndjson", "application/vnd.apache.arrow.stream"
PEOPLE = users(200, world=OFFERS)
NOTHING, SMALL, MIDDLE, LARGE = OFFERS.action_names


@pytest.fixture(scope="module")
def api(offers_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with client(offers_folder, tmp_path_factory.mktemp("api")) as opened:
        yield opened


@pytest.fixture
def fresh(offers_folder: Path, tmp_path: Path) -> Iterator[Client]:
    with client(offers_folder, tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def bundle(offers_folder: Path) -> ps.Bundle:
    return ps.Bundle.load(offers_folder)


def post(api: Client, path: str, body: Any, status: int = 200, **headers: str) -> Any:
    answer = api.post(path, json=body, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


def given(decisions: list[dict[str, Any]]) -> float:
    return math.fsum(max(d["cost_effect"], 0.0) for d in decisions if d["action"] != NOTHING)


def test_score_answers_what_the_policy_would_do(api: Client, bundle: ps.Bundle) -> None:
    told = post(api, "/v1/score", {"units": PEOPLE, "budget_per_head": 2})
    features = ps.Features.of(pl.DataFrame([person["features"] for person in PEOPLE]), bundle.contract.columns)
    policy = bundle.policy.at(2)
    expected, (value, cost) = policy.probabilities(features, 4), policy.economics(features)
    assert len(set(expected.argmax(axis=1))) > 2
    for i, decision in enumerate(told["decisions"]):
        assert list(decision["propensities"].values()) == expected[i].tolist()
        assert decision["action"] == OFFERS.action_names[int(expected[i].argmax())]
        assert decision["price"] == pytest.approx(policy.price_)
        assert decision["threshold"] == 0.0
        place = OFFERS.action_names.index(decision["treatment"])
        assert decision["effect"] == pytest.approx(value[i, place], abs=1e-5)
        assert decision["cost_effect"] == pytest.approx(cost[i, place], abs=1e-5)
        net = decision["effect"] - decision["price"] * decision["cost_effect"]
        assert decision["net_effect"] == pytest.approx(net, abs=1e-12)
        options = decision["options"]
        np.testing.assert_allclose([o["cost_effect"] for o in options.values()], cost[i], atol=1e-5)
        best = max(options, key=lambda label: options[label]["net_effect"] if options[label]["effect"] > 0 else 0.0)
        assert decision["action"] == (
            best if options[best]["effect"] > 0 and options[best]["net_effect"] > 0 else NOTHING
        )


def test_a_decision_is_remembered_as_it_was_answered(fresh: Client) -> None:
    person = {**PEOPLE[0], "eligible": [SMALL, LARGE]}
    body = {"units": [person], "budget_per_head": 5, "campaign": "spring"}
    first = fresh.post("/v1/decide", json=body, headers={"Idempotency-Key": "a"})
    again = fresh.post("/v1/decide", json=body, headers={"Idempotency-Key": "a"})
    assert first.json() == again.json()
    (decision,) = first.json()["decisions"]
    assert "options" not in decision
    kept = fresh.get(f"/v1/decisions/{decision['decision_id']}").json()
    assert {name: kept[name] for name in decision} == decision
    assert kept["eligible"] == [SMALL, LARGE]
    assert decision["propensities"][MIDDLE] == 0.0


@pytest.mark.parametrize("path", ["/v1/score", "/v1/decide"])
def test_only_what_the_request_allows_is_offered(api: Client, path: str) -> None:
    people = [{**p, "eligible": [[SMALL], [], [NOTHING], None][i % 4]} for i, p in enumerate(PEOPLE)]
    decisions = post(api, path, {"units": people, "budget_per_head": 100})["decisions"]
    assert {SMALL} <= {d["action"] for d in decisions[0::4]} <= {SMALL, NOTHING}
    for barred in decisions[1::4] + decisions[2::4]:
        assert (barred["action"], barred["reason"]) == (NOTHING, "not-eligible")
        assert barred["propensities"][NOTHING] == 1.0
    assert len({d["action"] for d in decisions[3::4]}) > 1


def test_an_action_there_is_not_is_refused_at_its_place(api: Client) -> None:
    people = [PEOPLE[0], {**PEOPLE[1], "eligible": [SMALL, "a holiday"]}]
    problem = post(api, "/v1/decide", {"units": people}, 422)
    assert [error["pointer"] for error in problem["errors"]] == ["/units/1/eligible/1"]
    assert "'5% off'" in problem["errors"][0]["detail"]


def test_eligibility_is_asked_of_a_budget_of_users_too(bundle_folder: Path, tmp_path: Path) -> None:
    people = [{**p, "eligible": [[], ["treatment"], None][i % 3]} for i, p in enumerate(users(60))]
    with client(bundle_folder, tmp_path) as other:
        allowed = post(other, "/v1/decide", {"units": people, "budget_share": 1.0})["decisions"]
        plain = post(other, "/v1/score", {"units": users(60), "budget_share": 1.0})["decisions"]
        one = post(other, "/v1/score", {"units": people[:1], "budget_share": 1.0})["decisions"]
        refused = [
            post(other, "/v1/score", {"units": people[:1], **money}, 422)["errors"][0]["pointer"]
            for money in ({"budget_per_head": 1}, {"budget_amount": 1})
        ]
    assert refused == ["/budget_per_head", "/budget_amount"]
    assert {d["reason"] for d in allowed[::3]} == {one[0]["reason"]} == {"not-eligible"}
    for place in (1, 2):
        assert [d["action"] for d in allowed[place::3]] == [d["action"] for d in plain[place::3]]
    assert not {"price", "cost_effect", "options"} & set(plain[0])


@pytest.mark.parametrize(
    ("terms", "place"),
    [
        ({"budget_share": 0.3}, "/budget_share"),
        ({"budget_units": 3, "population": 100}, "/population"),
        ({"budget_per_head": -1}, "/budget_per_head"),
        ({"budget_amount": 2e12}, "/budget_amount"),
    ],
)
def test_a_budget_that_means_nothing_here_is_refused(api: Client, terms: dict[str, Any], place: str) -> None:
    problem = post(api, "/v1/score", {"units": PEOPLE[:1], **terms}, 422)
    assert [error["pointer"] for error in problem["errors"]] == [place]


def test_a_campaign_commits_no_more_than_its_amount(fresh: Client) -> None:
    def some(i: int) -> list[dict[str, Any]]:
        body = {"units": PEOPLE[i : i + 5], "budget_per_head": 100, "budget_amount": 20.0, "campaign": "winter"}
        decisions: list[dict[str, Any]] = post(fresh, "/v1/decide", body)["decisions"]
        return decisions

    with ThreadPoolExecutor(8) as pool:
        decisions = [d for ds in pool.map(some, range(0, 200, 5)) for d in ds]
    uncapped = given(post(fresh, "/v1/score", {"units": PEOPLE, "budget_per_head": 100})["decisions"])
    assert uncapped > 40.0, "so that the cap is what binds"
    assert given(decisions) <= 20.0
    refused = [d["cost_effect"] for d in decisions if d["reason"] == "budget-spent"]
    assert min(refused) > 20.0 - given(decisions), "whom what is left would pay for is not refused"
    assert {d["reason"] for d in decisions} >= {"treated", "budget-spent"}
    one = {"units": PEOPLE[:20], "budget_per_head": 100, "budget_amount": 20.0}
    assert given(post(fresh, "/v1/decide", one | {"campaign": "other"})["decisions"]) > 5.0


def test_an_amount_is_shared_out_over_the_population(api: Client, bundle: ps.Bundle) -> None:
    told = post(api, "/v1/score", {"units": PEOPLE, "budget_amount": 100.0})["decisions"]
    assert {d["price"] for d in told} == {bundle.policy.price_at(0.5).price}
    assert given(told) <= 100.0
    told = post(api, "/v1/score", {"units": PEOPLE, "budget_amount": 100.0, "population": 1000})["decisions"]
    assert {d["price"] for d in told} == {bundle.policy.price_at(0.1).price}


def test_a_number_of_offers_is_still_a_cap(api: Client) -> None:
    body = {"units": PEOPLE, "budget_per_head": 100, "budget_units": 7}
    decisions = post(api, "/v1/score", body)["decisions"]
    assert sum(d["action"] != NOTHING for d in decisions) == 7


def test_without_money_nothing_that_costs_is_offered(api: Client) -> None:
    decisions = post(api, "/v1/score", {"units": PEOPLE, "budget_per_head": 0})["decisions"]
    assert {(d["price"], d["threshold"]) for d in decisions} == {(None, None)}
    assert given(decisions) == 0.0


# --- a batch ------------------------------------------------------------------------------------------------------


def lines(people: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(person).encode() + b"\n" for person in people)


def test_a_batch_of_lines_decides_as_one_request_would(fresh: Client) -> None:
    people = [{**p, "eligible": [SMALL, MIDDLE]} if i % 2 else p for i, p in enumerate(PEOPLE)]
    people[7] = {**people[7], "eligible": ["a holiday"]}
    told = {"Content-Type": NDJSON, "Idempotency-Key": "b"}
    answers = [
        fresh.post("/v1/decide/batch?budget_per_head=0.5", content=lines(people), headers=told) for _ in range(2)
    ]
    assert answers[0].text == answers[1].text
    found = [json.loads(line) for line in answers[0].text.splitlines()]
    assert found[7]["problem"]["errors"][0]["pointer"] == "/eligible/0"
    scored = post(fresh, "/v1/score", {"units": people[:7] + people[8:], "budget_per_head": 0.5})["decisions"]
    for one, other in zip(found[:7] + found[8:], scored, strict=True):
        assert {name: one[name] for name in other if name != "options"} == {
            name: other[name] for name in other if name != "options"
        }


def test_lines_of_one_unit_that_may_be_given_different_things_are_told_apart(fresh: Client) -> None:
    person = PEOPLE[0]
    people = [{**person, "eligible": ["nonsense"]}, {**person, "eligible": [SMALL]}, person]
    headers = {"Content-Type": NDJSON, "Idempotency-Key": "c"}
    for _ in range(2):
        answer = fresh.post("/v1/decide/batch", content=lines(people), headers=headers)
        first, second, third = (json.loads(line) for line in answer.text.splitlines())
        assert "problem" in first
        assert second["propensities"][MIDDLE] == second["propensities"][LARGE] == 0.0
        assert third["decision_id"] != second["decision_id"]


def test_arrow_goes_in_and_out_with_columns_of_who_may_be_given_what(fresh: Client) -> None:
    may = [[True, False, None][i % 3] for i in range(200)]
    frame = pl.DataFrame(
        {"unit": [p["unit"] for p in PEOPLE]}
        | {name: [p["features"][name] for p in PEOPLE] for name in PEOPLE[0]["features"]}
        | {f"eligible for {LARGE}": may, f"eligible for {MIDDLE}": [False] * 200}
    )
    sent = io.BytesIO()
    frame.write_ipc_stream(sent)
    answer = fresh.post(
        "/v1/decide/batch?budget_per_head=100",
        content=sent.getvalue(),
        headers={"Content-Type": ARROW, "Accept": ARROW},
    )
    assert answer.status_code == 200, answer.text
    found = pl.read_ipc_stream(io.BytesIO(answer.content))
    people = [
        {**p, "eligible": [SMALL] if yes is False else [SMALL, LARGE]} for p, yes in zip(PEOPLE, may, strict=True)
    ]
    scored = post(fresh, "/v1/score", {"units": people, "budget_per_head": 100})["decisions"]
    for name in ("unit", "action", "effect", "cost_effect", "price", "net_effect", "reason"):
        assert found[name].to_list() == [d[name] for d in scored]
    assert set(found.filter(pl.Series(may).not_())["action"]) == {SMALL, NOTHING}
    frame = frame.rename({f"eligible for {LARGE}": "eligible for a holiday"})
    sent = io.BytesIO()
    frame.write_ipc_stream(sent)
    refused = fresh.post("/v1/decide/batch", content=sent.getvalue(), headers={"Content-Type": ARROW})
    assert refused.status_code == 422
    assert "a holiday" in refused.json()["errors"][0]["detail"]


def test_a_batch_holds_to_an_amount_over_its_parts(fresh: Client) -> None:
    people = [{**PEOPLE[i % 200], "unit": f"u{i}"} for i in range(2_500)]
    answer = fresh.post(
        "/v1/decide/batch?budget_amount=300&population=300&campaign=x",
        content=lines(people),
        headers={"Content-Type": NDJSON},
    )
    decisions = [json.loads(line) for line in answer.text.splitlines()]
    assert 298 < given(decisions) <= 300
    refused = fresh.post("/v1/decide/batch?budget_share=0.3", content=lines(people), headers={"Content-Type": NDJSON})
    assert refused.status_code == 422
    assert [error["pointer"] for error in refused.json()["errors"]] == ["budget_share"]


# --- what is known of it ------------------------------------------------------------------------------------------


def test_the_budget_curve_is_in_money(api: Client, bundle: ps.Bundle) -> None:
    told = api.get("/v1/policy?budgets=0.1,0.5").json()
    assert [row["budget_per_head"] for row in told["rows"]] == [0.1, 0.5]
    assert told["rows"][1]["price"] == pytest.approx(bundle.policy.price_)
    assert (told["outcome"], told["cost"], told["budget_per_head"]) == ("margin", "cost", 0.5)
    for query in ("shares=0.1", "budgets=-1", "budgets=a", "budgets=nan"):
        assert api.get(f"/v1/policy?{query}").status_code == 422


def test_answers_are_as_the_document_says(api: Client) -> None:
    document = api.get("/openapi.json").json()

    def check(path: str, verb: str, answer: Any) -> None:
        schema = document["paths"][path][verb]["responses"]["200"]["content"]["application/json"]["schema"]
        Draft202012Validator({**schema, "components": document["components"]}).validate(answer)

    check("/v1/policy", "get", api.get("/v1/policy").json())
    people = [PEOPLE[0], {**PEOPLE[1], "eligible": []}]
    check("/v1/score", "post", post(api, "/v1/score", {"units": people}))
    decided = post(api, "/v1/decide", {"units": people})
    check("/v1/decide", "post", decided)
    kept = api.get(f"/v1/decisions/{decided['decisions'][1]['decision_id']}").json()
    check("/v1/decisions/{decision_id}", "get", kept)
    check("/v1/admin/bundles", "get", api.get("/v1/admin/bundles").json())
    check("/v1/explain", "post", post(api, "/v1/explain", {"features": PEOPLE[0]["features"], "treatment": LARGE}))


def test_the_loop_closes(fresh: Client, tmp_path: Path) -> None:
    decided = post(fresh, "/v1/decide", {"units": PEOPLE, "budget_per_head": 3})["decisions"]
    assert {d["action"] for d in decided} == set(OFFERS.action_names)
    reports = [
        {"decision_id": d["decision_id"], "name": name, "value": value}
        for i, d in enumerate(decided)
        for name, value in (("margin", float(i)), ("cost", 0.5))
    ]
    assert post(fresh, "/v1/outcomes", {"outcomes": reports})["recorded"] == 400
    (tmp_path / "log.parquet").write_bytes(fresh.get("/v1/export").content)
    log = ps.DecisionLog.read(tmp_path / "log.parquet")
    assert tuple(log.actions) == OFFERS.action_names
    assert list(log.outcomes) == ["margin", "cost"]
    assert [log.actions.names[a] for a in log.action] == [d["action"] for d in decided]


def test_a_bundle_of_users_and_one_of_money_follow_each_other(
    offers_folder: Path, bundle_folder: Path, tmp_path: Path
) -> None:
    """A request that was answered is answered again, though its budget means nothing to the bundle that came since."""
    from persuadable.service import archive

    body, key = {"units": PEOPLE[:2], "budget_per_head": 0.5}, {"Idempotency-Key": "k"}
    with client(offers_folder, tmp_path) as api:
        first = post(api, "/v1/decide", body, **key)
        posted = api.post(
            "/v1/admin/bundles", content=archive.pack(bundle_folder), headers={"Content-Type": "application/zip"}
        )
        assert posted.status_code == 201, posted.text
        known = {one["version"]: one for one in posted.json()["known"]}
        assert {one.get("budget_per_head", "none") for one in known.values()} == {0.5, "none"}
        assert post(api, "/v1/decide", body, **key) == first
        assert post(api, "/v1/decide", body, 422)["errors"][0]["pointer"] == "/budget_per_head"
        (decision,) = post(api, "/v1/decide", {"units": users(1), "budget_share": 0.5})["decisions"]
        assert "price" not in decision
