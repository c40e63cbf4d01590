"""Human review as a client sees it: what is held, who may take it, and what comes of it."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from bundles import ARMS, OFFERS, build_priced_and_reviewed, users
from clients import Client, client

import persuadable as ps
from persuadable.policies.review import REASONS
from persuadable.service.core import open_store
from persuadable.service.settings import Settings

PEOPLE = users(300, world=ARMS)
CLAIM = {"reviewer": "Ada"}


@pytest.fixture
def api(reviewed_folder: Path, tmp_path: Path) -> Iterator[Client]:
    with client(reviewed_folder, tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def bundle(reviewed_folder: Path) -> ps.Bundle:
    return ps.Bundle.load(reviewed_folder)


def post(api: Client, path: str, body: Any, status: int = 200, **headers: str) -> Any:
    answer = api.post(path, json=body, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


def held(api: Client, n: int = 100, **told: Any) -> list[dict[str, Any]]:
    """Decisions about the first n people that wait for a person."""
    decisions = post(api, "/v1/decide", {"units": PEOPLE[:n], **told})["decisions"]
    found = [decision for decision in decisions if decision["reason"] == "review"]
    assert found
    return found


def do(api: Client, case: dict[str, Any], verb: str, status: int = 200, **body: Any) -> Any:
    return post(api, f"/v1/reviews/{case['decision_id']}/{verb}", body, status)


# --- what is held -----------------------------------------------------------------------------------------------------


def test_the_review_of_the_bundle_says_who_waits(api: Client, bundle: ps.Bundle) -> None:
    """The oracle is the library: the policy's own predictions, judged by the review it was saved with."""
    decisions = post(api, "/v1/decide", {"units": PEOPLE})["decisions"]
    frame = pl.DataFrame([person["features"] for person in PEOPLE])
    features = ps.Features.of(frame, bundle.contract.columns)
    again = ps.policies.Review.from_state(bundle.review.state(), bundle.policy)
    judged = again.assess(features)
    assert 0 < judged.queued.sum() < 0.5 * len(PEOPLE)
    assert [d["reason"] == "review" for d in decisions] == judged.queued.tolist()
    assert [tuple(d["review"]["codes"]) if "review" in d else () for d in decisions] == judged.codes
    treat = bundle.policy.probabilities(features, 3)
    for i, decision in enumerate(decisions):
        if not judged.queued[i]:
            assert list(decision["propensities"].values()) == pytest.approx(treat[i].tolist())
            continue
        assert decision["action"] == "control"
        assert decision["propensities"] == {"control": 1.0, "treatment 1": 0.0, "treatment 2": 0.0}
        assert decision["review"]["proposed"] == bundle.learner.actions_.names[int(treat[i].argmax())]
        assert list(decision["review"]["propensities"].values()) == treat[i].tolist()
    listed = api.get("/v1/reviews?limit=200").json()
    told = {case["unit"]: case["priority"] for case in listed["cases"]}
    wanted = {PEOPLE[i]["unit"]: judged.priority[i] for i in judged.order}
    assert told == pytest.approx(wanted, rel=1e-4)
    assert listed["waiting"] == len(told)
    assert (listed["load"], listed["reasons"]) == (bundle.review.load, dict(REASONS))
    codes = [code for its in judged.codes for code in its]
    assert (listed["claimed"], listed["codes"]) == (0, {code: codes.count(code) for code in set(codes)})
    assert [case["priority"] for case in listed["cases"]] == sorted(told.values(), reverse=True)


def test_score_says_it_and_remembers_nothing(api: Client) -> None:
    scored = post(api, "/v1/score", {"units": PEOPLE[:100]})["decisions"]
    assert api.get("/v1/reviews").json()["cases"] == []
    decided = post(api, "/v1/decide", {"units": PEOPLE[:100]})["decisions"]
    assert [{k: v for k, v in d.items() if k != "decision_id"} for d in decided] == scored


def test_the_same_request_again_is_the_same_answer_and_no_new_case(api: Client) -> None:
    body, key = {"units": PEOPLE[:50]}, {"Idempotency-Key": "a"}
    first = post(api, "/v1/decide", body, **key)
    case = next(d for d in first["decisions"] if d["reason"] == "review")
    waiting = api.get("/v1/reviews").json()["waiting"]
    do(api, case, "approve", **CLAIM)
    assert post(api, "/v1/decide", body, **key) == first
    assert api.get("/v1/reviews").json()["waiting"] == waiting - 1
    kept = api.get(f"/v1/decisions/{case['decision_id']}").json()
    assert {name: kept[name] for name in case} == case


def test_batches_hold_alike(api: Client) -> None:
    decided = post(api, "/v1/decide", {"units": PEOPLE[:80]})["decisions"]
    lines = b"".join(json.dumps(person).encode() + b"\n" for person in PEOPLE[:80])
    told = api.post("/v1/decide/batch", content=lines, headers={"Content-Type": "application/x-ndjson"})
    answers = [json.loads(line) for line in told.text.splitlines()]
    assert [a.get("review") for a in answers] == [d.get("review") for d in decided]
    arrow = "application/vnd.apache.arrow.stream"
    sent = io.BytesIO()
    pl.DataFrame([{"unit": p["unit"], **p["features"]} for p in PEOPLE[:80]]).write_ipc_stream(sent)
    answer = api.post("/v1/decide/batch", content=sent.getvalue(), headers={"Content-Type": arrow, "Accept": arrow})
    frame = pl.read_ipc_stream(io.BytesIO(answer.content))
    column = [None if text is None else json.loads(text) for text in frame["review"]]
    assert column == [d.get("review") for d in decided]


def test_a_bundle_without_review_leaves_nothing_to_people(bundle_folder: Path, tmp_path: Path) -> None:
    with client(bundle_folder, tmp_path) as api:
        told = post(api, "/v1/decide", {"units": users(100)})["decisions"]
        assert all("review" not in decision for decision in told)
        listed = api.get("/v1/reviews").json()
        assert (listed["cases"], listed["waiting"], listed["load"]) == ([], 0, None)


def test_who_may_be_given_nothing_is_nobodys_case(api: Client) -> None:
    case = held(api)[0]
    person = next(p for p in PEOPLE if p["unit"] == case["unit"])
    barred = post(api, "/v1/decide", {"units": [{**person, "eligible": []}]})["decisions"][0]
    assert (barred["reason"], "review" in barred) == ("not-eligible", False)


def test_features_that_break_the_contract_are_a_reason(api: Client) -> None:
    strange = {"unit": "far", "features": PEOPLE[0]["features"] | {"x0": 1000.0}}
    (decision,) = post(api, "/v1/decide", {"units": [strange]})["decisions"]
    assert "contract-flag" in decision["review"]["codes"]
    found = api.get("/v1/reviews?code=contract-flag").json()["cases"]
    assert [case["unit"] for case in found] == ["far"]
    assert found[0]["flags"] == decision["flags"] != []
    assert api.get("/v1/reviews?code=borderline").json()["cases"] == [] or "borderline" in decision["review"]["codes"]


# --- who takes it -----------------------------------------------------------------------------------------------------


def test_two_reviewers_claim_one_case_and_one_has_it(api: Client) -> None:
    case = held(api)[0]
    path = f"/v1/reviews/{case['decision_id']}/claim"

    async def both() -> list[Any]:
        asked = [api._client.post(path, json={"reviewer": f"r{i}"}) for i in range(8)]
        return list(await asyncio.gather(*asked))

    answers = api.run(both())
    (won,) = [answer.json() for answer in answers if answer.status_code == 200]
    lost = [answer.json() for answer in answers if answer.status_code == 409]
    assert len(lost) == 7
    assert won["state"] == "claimed"
    for problem in lost:
        assert problem["type"] == "/problems/review-taken"
        assert problem["holder"] == {
            "state": "claimed",
            "by": won["claim"]["by"],
            "since": won["claim"]["at"],
            "until": won["claim"]["until"],
        }
        assert won["claim"]["by"] in problem["detail"]


def test_claims_end_by_themselves(reviewed_folder: Path, tmp_path: Path) -> None:
    with client(reviewed_folder, tmp_path, review_claim_seconds=1.0) as api:
        case = held(api)[0]
        do(api, case, "claim", reviewer="Ada")
        do(api, case, "claim", 409, reviewer="Bob")
        time.sleep(1.05)
        assert do(api, case, "claim", reviewer="Bob")["claim"]["by"] == "Bob"
        assert do(api, case, "approve", 409, reviewer="Ada")["holder"]["by"] == "Bob"


def test_what_is_released_can_be_claimed(api: Client) -> None:
    case = held(api)[0]
    do(api, case, "claim", **CLAIM)
    do(api, case, "release", 409, reviewer="Bob")
    assert do(api, case, "release", **CLAIM)["state"] == "open"
    assert do(api, case, "claim", reviewer="Bob")["state"] == "claimed"


# --- what they decide -------------------------------------------------------------------------------------------------


def test_a_persons_decision_is_remembered_as_one(api: Client) -> None:
    one, two = held(api)[:2]
    do(api, one, "claim", **CLAIM)
    done = do(api, one, "approve", **CLAIM)
    made = api.get(f"/v1/decisions/{done['resolution']['decision_id']}").json()
    assert made["action"] == one["review"]["proposed"]
    assert made["propensities"] == {label: float(label == made["action"]) for label in one["propensities"]}
    proposal = {name: one["review"][name] for name in ("proposed", "propensities")}
    assert made["reason"] == "approved"
    assert made["review"] == {"case": one["decision_id"], "by": "Ada", "why": None, **proposal}
    other = next(label for label in one["propensities"] if label != two["review"]["proposed"])
    done = do(api, two, "override", **CLAIM, action=other, why="Ada knows this one")
    assert (done["state"], done["resolution"]["action"]) == ("overridden", other)
    made = api.get(f"/v1/decisions/{done['resolution']['decision_id']}").json()
    assert (made["action"], made["reason"], made["propensities"][other]) == (other, "overridden", 1.0)
    report = {"decision_id": made["decision_id"], "name": "outcome", "value": 1}
    assert post(api, "/v1/outcomes", {"outcomes": [report]})["recorded"] == 1
    assert do(api, two, "override", **CLAIM, action=other, why="Ada knows this one") == done, "again is the same"
    problem = do(api, two, "override", 409, **CLAIM, action=other, why="Bob does not")
    assert (problem["holder"]["state"], problem["holder"]["until"]) == ("overridden", None)


def test_the_log_keeps_people_apart_and_learns_from_the_rest(api: Client, tmp_path: Path) -> None:
    cases = held(api, 200)
    do(api, cases[0], "approve", **CLAIM)
    frame = pl.read_parquet(io.BytesIO(api.get("/v1/export").content))
    assert dict(frame["made_by"].value_counts().rows()) == {
        "policy": 200 - len(cases),
        "queue": len(cases),
        "person": 1,
    }
    (tmp_path / "log.parquet").write_bytes(api.get("/v1/export?missing=zero").content)
    kept = pl.read_parquet(io.BytesIO(api.get("/v1/export?made_by=policy").content))
    assert set(kept["unit"]) == {p["unit"] for p in PEOPLE[:200]} - {case["unit"] for case in cases}
    assert api.get("/v1/export?made_by=nobody").status_code == 422


def test_the_log_can_be_learned_from_as_proposed(api: Client, tmp_path: Path) -> None:
    cases = held(api, 200)
    by_proposal = {case["review"]["proposed"]: case for case in cases[2:]}
    for case in by_proposal.values():  # a log knows only actions that somebody was given
        do(api, case, "approve", **CLAIM)
    other = next(label for label in cases[1]["propensities"] if label != cases[1]["review"]["proposed"])
    made = do(api, cases[1], "override", **CLAIM, action=other, why="w")["resolution"]["decision_id"]
    post(api, "/v1/outcomes", {"outcomes": [{"decision_id": made, "name": "outcome", "value": 1}]})
    (tmp_path / "log.parquet").write_bytes(api.get("/v1/export?missing=zero").content)
    rows, log = pl.read_parquet(tmp_path / "log.parquet"), ps.DecisionLog.read(tmp_path / "log.parquet")
    standing = rows["replaced_by"].is_null()
    rows, log = rows.filter(standing), log.take(standing.to_numpy())
    assert log.n == 200
    chances = rows.select([f"propensity of proposing {label}" for label in log.actions.names]).to_numpy()
    again = ps.policies.without_people(
        log, rows["made_by"] != "policy", "as-proposed", proposed=rows["proposed"], propensities=chances
    )
    told = {d["unit"]: d for d in post(api, "/v1/score", {"units": PEOPLE[:200]})["decisions"]}
    wanted = [told[unit] for unit in rows["unit"]]
    proposed = [d["review"]["proposed"] if "review" in d else d["action"] for d in wanted]
    assert [log.actions.names[code] for code in again.action] == proposed
    assert (again.action != log.action).sum() >= 1
    assert again.outcome()[rows["unit"].to_list().index(cases[1]["unit"])] == 1.0
    assert again.taken_propensity() == pytest.approx(1.0)
    proposing = {label: f"propensity of proposing {label}" for label in log.actions.names}
    direct = ps.DecisionLog.read(tmp_path / "log.parquet", action="proposed", propensity=proposing)
    direct = direct.take(standing.to_numpy())
    assert [direct.actions.names[code] for code in direct.action] == proposed


def test_a_budget_of_units_holds_for_people_too(api: Client) -> None:
    budget = {"budget_units": 90, "population": 300, "campaign": "c"}
    first = post(api, "/v1/decide", {"units": PEOPLE, **budget})["decisions"]
    treated = sum(d["action"] != "control" for d in first)
    wanted = [d for d in first if "review" in d and d["review"]["proposed"] != "control"]
    assert 0 < treated < 90
    tight = {**budget, "budget_units": treated + 1, "campaign": "tight"}
    asked = post(api, "/v1/decide", {"units": PEOPLE, **{**tight, "population": round(300 * (treated + 1) / 90)}})
    cases = [d for d in asked["decisions"] if "review" in d and d["review"]["proposed"] != "control"]
    assert len(cases) > 2
    left = treated + 1 - sum(d["action"] != "control" for d in asked["decisions"])
    answers = [api.post(f"/v1/reviews/{c['decision_id']}/approve", json=CLAIM).status_code for c in cases]
    assert answers == [200] * min(left, len(cases)) + [409] * max(len(cases) - left, 0)
    if left < len(cases):
        assert do(api, cases[-1], "approve", 409, **CLAIM)["type"] == "/problems/budget-spent"
        assert do(api, cases[-1], "override", **CLAIM, action="control", why="no room")["state"] == "overridden"
    assert len(wanted) > 0


def test_what_is_wrong_is_said_where(api: Client) -> None:
    case = held(api)[0]
    proposed = case["review"]["proposed"]
    assert do(api, case, "override", 422, reviewer="Ada")["errors"] == [
        {"pointer": "/action", "detail": "action is missing."},
        {"pointer": "/why", "detail": "why is missing."},
    ]
    for action, words in (("gift", "may not be given 'gift'"), (proposed, "what the policy proposed")):
        problem = do(api, case, "override", 422, action=action, why="w")
        assert problem["errors"][0]["pointer"] == "/action"
        assert words in problem["errors"][0]["detail"]
    for body, place in (({"reviewer": ""}, "/reviewer"), ({"who": "x"}, "/who"), ({"reviewer": "a\nb"}, "/reviewer")):
        assert do(api, case, "claim", 422, **body)["errors"][0]["pointer"] == place
    unknown = {"decision_id": "01890a5d-ac96-774b-bcce-b302099a8057"}
    for verb in ("claim", "release", "approve"):
        assert do(api, unknown, verb, 404)["type"] == "/problems/unknown-review"
    assert api.get("/v1/reviews/nobody").status_code == 404
    for query in ("state=done", "limit=0", "limit=201", "after=x", "after=AAAA", "code=Any", "code="):
        assert api.get(f"/v1/reviews?{query}").status_code == 422, query
    answer = api.post(f"/v1/reviews/{case['decision_id']}/claim", content=b"{}", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415
    assert api.post(f"/v1/reviews/{case['decision_id']}/claim").json()["claim"]["by"] == "127.0.0.1"


def test_the_list_goes_on_where_it_ended(api: Client) -> None:
    n = len(held(api, 300))
    whole = [case["decision_id"] for case in api.get("/v1/reviews?limit=200").json()["cases"]]
    found, query = [], "limit=7"
    while True:
        page = api.get(f"/v1/reviews?{query}").json()
        found += [case["decision_id"] for case in page["cases"]]
        if page["next"] is None:
            break
        query = f"limit=7&after={page['next']}"
    assert found == whole
    assert len(found) == n


def test_reviewers_need_the_role_and_are_known_by_their_key(reviewed_folder: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    store = open_store(Settings(store=url, insecure=True))
    store.upgrade()
    keys = {
        role: {"Authorization": f"Bearer {store.keys.create(f'the {role}', [role])[1]}"}  # type: ignore[list-item]
        for role in ("decide", "outcome", "read", "review", "admin")
    }
    store.deployment.introduce(ps.Bundle.load(reviewed_folder).version, _packed(reviewed_folder))
    store.close()
    with client(reviewed_folder, tmp_path, insecure=False) as api:
        told = api.post("/v1/decide", json={"units": PEOPLE[:100]}, headers=keys["decide"]).json()["decisions"]
        case = next(d["decision_id"] for d in told if "review" in d)
        for role, key in keys.items():
            looks, acts = role in ("read", "review", "admin"), role in ("review", "admin")
            assert (api.get("/v1/reviews", headers=key).status_code == 200) is looks
            assert (api.get(f"/v1/reviews/{case}", headers=key).status_code == 200) is looks
            answer = api.post(f"/v1/reviews/{case}/claim", headers=key)
            assert answer.status_code == (200 if role == "review" else 409 if acts else 403), role
        assert api.get(f"/v1/reviews/{case}", headers=keys["read"]).json()["claim"]["by"] == "the review"
        done = api.post(f"/v1/reviews/{case}/approve", headers=keys["review"]).json()["resolution"]
        assert (done["by"], done["key"]) == ("the review", "the review")
        other = next(d["decision_id"] for d in told if "review" in d and d["decision_id"] != case)
        done = api.post(f"/v1/reviews/{other}/approve", json=CLAIM, headers=keys["review"]).json()["resolution"]
        assert (done["by"], done["key"]) == ("Ada", "the review"), "who they say they are, and the key they used"


def _packed(folder: Path) -> bytes:
    from persuadable.service import archive

    return archive.pack(folder)


def test_what_people_do_is_counted(api: Client) -> None:
    cases = held(api)
    do(api, cases[0], "claim", **CLAIM)
    do(api, cases[0], "claim", 409, reviewer="Bob")
    do(api, cases[0], "approve", **CLAIM)
    api.run(api.service._count())
    api.service._counted = 0.0
    api.run(api.service._count())
    told = api.get("/metrics").text
    codes = [code for case in cases for code in case["review"]["codes"]]
    for code in set(codes):
        assert f'persuadable_review_cases_total{{code="{code}"}} {float(codes.count(code))}' in told
    for event, n in (("claimed", 1.0), ("refused", 1.0), ("approved", 1.0)):
        assert f'persuadable_reviews_total{{event="{event}"}} {n}' in told
    assert f"persuadable_reviews_waiting {float(len(cases) - 1)}" in told
    assert 'persuadable_decisions_total{action="control",reason="review"}' in told
    assert "u0" not in api.logged()


def test_a_budget_of_money_shows_every_offer_and_charges_what_is_given(tmp_path: Path) -> None:
    build_priced_and_reviewed().save(tmp_path / "bundle")
    people = users(60, world=OFFERS)
    with client(tmp_path / "bundle", tmp_path) as api:
        asked = {"units": people, "budget_amount": 100.0, "population": 60, "campaign": "spring"}
        told = post(api, "/v1/decide", asked)["decisions"]
        cases = [d for d in told if "review" in d]
        scored = post(api, "/v1/score", asked)["decisions"]
        options = {d["unit"]: d["options"] for d in scored}
        case = api.get(f"/v1/reviews/{cases[0]['decision_id']}").json()
        assert case["options"] == options[case["unit"]]
        assert (case["price"], case["cost_effect"]) == (cases[0]["price"], cases[0]["cost_effect"])
        spent = sum(max(d["cost_effect"], 0.0) for d in told if d["action"] != "no offer")
        for one in cases:
            body = CLAIM if one["review"]["proposed"] == "20% off" else CLAIM | {"action": "20% off", "why": "generous"}
            verb = "approve" if body == CLAIM else "override"
            answer = api.post(f"/v1/reviews/{one['decision_id']}/{verb}", json=body)
            cost = max(options[one["unit"]]["20% off"]["cost_effect"], 0.0)
            assert answer.status_code == (200 if spent + cost <= 100.0 else 409), (spent, cost)
            spent += cost * (answer.status_code == 200)
        assert spent > 50
