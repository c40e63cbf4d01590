"""Cases of the review queue in words."""

from __future__ import annotations

from typing import Any

import documents
import httpx
import pytest

from persuadable.app.cases import case_name, case_rows, case_said, feature_rows, held_by_another, waiting_sentence
from persuadable.app.client import Service, ServiceRefused
from persuadable.app.offers import offer_said
from persuadable.app.sentences import decision_said
from persuadable.app.spending import Money
from persuadable.app.units import Unit

VISITS = Unit("visit", binary=True)
REASONS = {"borderline": "The effect is close to the threshold.", "too-good": "Nobody had such an effect."}


def case(**changes: Any) -> dict[str, Any]:
    told = {
        "decision_id": "d1",
        "state": "open",
        "codes": ["borderline", "too-good"],
        "priority": 0.0123,
        "proposed": "mail",
        "reason": "treated",
        "actions": ["none", "mail", "call"],
        "unit": "u1",
        "features": {"age": 41, "city": "Ulm", "spend": None},
        "treatment": "mail",
        "effect": 0.08,
        "interval": [-0.01, 0.17],
        "net_effect": 0.08,
        "threshold": 0.06,
        "flags": [{"code": "out-of-range", "feature": "age", "answer": "clip"}],
        "campaign": "c",
        "bundle": "b",
        "made_at": "2030-01-31T09:00:00Z",
        "claim": None,
        "resolution": None,
    }
    return told | changes


ADA = {"by": "Ada", "at": "2030-01-31T09:20:00Z", "until": "2030-01-31T09:35:00Z"}
DONE = {
    "by": "Ada",
    "key": None,
    "at": "2030-01-31T09:30:00Z",
    "action": "call",
    "why": "likes calls",
    "decision_id": "d2",
}


def test_a_case_says_what_is_proposed_and_why_a_person_is_asked() -> None:
    said = case_said(case(), VISITS, REASONS, {"age": "18 to 80"})
    assert (said.tone, said.headline) == ("unclear", "Proposed: mail")
    text = " ".join(said.lines)
    for part in (
        "The effect is close to the threshold.",
        "Nobody had such an effect.",
        "raise visit by 8.00 percentage points (95% interval of the effect −1.00 to 17.00)",
        "Its budget treats from 6.00 percentage points on.",
        "age lies outside what training saw (18 to 80)",
        "It waits since 31 Jan 09:00 UTC, of the campaign c.",
        "Nothing is done until a person decides; u1 has none meanwhile.",
    ):
        assert part in text
    nothing = case_said(case(proposed="none", threshold=None, codes=["new-code"]), VISITS, REASONS, {})
    assert nothing.headline == "Proposed: do nothing (none)"
    assert "new code." in nothing.lines
    assert "Its budget treats nobody." in nothing.lines
    money = case_said(case(cost_effect=0.5, price=2.0, net_effect=-0.92, threshold=0.0), VISITS, REASONS, {})
    assert "expected to cost 0.5" in " ".join(money.lines)
    assert "leaves −92.00 percentage points at the price" in " ".join(money.lines)


def test_a_resolved_case_says_who_gave_what_and_why() -> None:
    said = case_said(case(state="overridden", resolution=DONE), VISITS, REASONS, {})
    assert (said.tone, said.headline) == ("good", "Overridden: call")
    assert "Ada gave call" in said.lines[0]
    assert "31 Jan 09:30" in said.lines[0]
    assert said.lines[1] == "They said: likes calls"
    quiet = case_said(case(state="approved", resolution={**DONE, "action": "mail", "why": None}), VISITS, {}, {})
    assert quiet.headline == "Approved: mail"
    assert not any("said" in line for line in quiet.lines)


def test_the_queue_as_a_table() -> None:
    rows = case_rows([case(), case(claim=ADA), case(resolution=DONE), case(interval=None)], VISITS)
    assert rows[0] == (
        "u1",
        "borderline, too good",
        "mail",
        "+8.00\n−1.00 to 17.00",
        "0.0123",
        "nobody\nsince 31 Jan 09:00",
    )
    assert rows[1][5] == "Ada\nuntil 31 Jan 09:35"
    assert rows[2][5] == "Ada gave call\n31 Jan 09:30"
    assert rows[3][3] == "+8.00\n"
    assert case_name(case()) == "u1: borderline, too good"


def test_how_many_wait_for_which_reason() -> None:
    told = waiting_sentence({"too-good": 2, "borderline": 1_200, "contract-flag": 2})
    assert told == "Waiting for: borderline 1,200, contract flag 2, too good 2."
    assert waiting_sentence({}) == ""


def test_features_are_shown_with_what_training_saw() -> None:
    told = feature_rows(case(), {"age": "18 to 80"})
    assert told == [("age", "41", "18 to 80"), ("city", "Ulm", ""), ("spend", "not known", "")]


def test_somebody_elses_case_is_said_to_be_theirs() -> None:
    assert held_by_another(case(claim=ADA), "Ada") is None
    assert held_by_another(case(), "Ada") is None
    said = held_by_another(case(claim=ADA), "Bob")
    assert said is not None
    assert said.startswith("Ada looks at this case since 31 Jan 09:20 UTC")


def test_a_user_who_would_be_held_is_said_to_be() -> None:
    held = documents.decision(action="none", reason="review", review={"codes": ["too-good"], "proposed": "mail"})
    said = decision_said(held, "none", 0.3, VISITS, {})
    assert (said.tone, said.headline) == ("unclear", "Do not treat: none")
    assert "This one a person would decide (too good)" in said.lines[1]
    money = offer_said(held | {"price": 1.0, "cost_effect": 1.0}, "none", Money(1.0), VISITS, {})
    assert (money.tone, money.lines[1]) == ("unclear", said.lines[1])


def test_a_key_that_may_only_look_is_told_which_one_may_more() -> None:
    problem = {"type": "/problems/role", "title": "No", "status": 403, "detail": "This needs 'review'."}
    service = Service(
        "http://far",
        httpx.Client(base_url="http://far", transport=httpx.MockTransport(lambda _: httpx.Response(403, json=problem))),
    )
    for do in (lambda: service.claim("d1", "Ada"), lambda: service.override("d1", "Ada", "call", "w")):
        with pytest.raises(ServiceRefused, match="not decide them") as refused:
            do()
        assert "--role read --role review" in str(refused.value.remedy)


def test_what_is_sent_is_what_the_service_reads() -> None:
    seen: list[tuple[str, str, bytes]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.method, str(request.url).removeprefix("http://far"), request.content))
        return httpx.Response(200, json={})

    service = Service("http://far", httpx.Client(base_url="http://far", transport=httpx.MockTransport(answer)))
    service.reviews("claimed", "too-good")
    service.review("d1")
    service.approve("d1", "Ada")
    service.override("d1", "Ada", "call", "because")
    service.release("d1", "Ada")
    assert [call[:2] for call in seen] == [
        ("GET", "/v1/reviews?state=claimed&limit=50&code=too-good"),
        ("GET", "/v1/reviews/d1"),
        ("POST", "/v1/reviews/d1/approve"),
        ("POST", "/v1/reviews/d1/override"),
        ("POST", "/v1/reviews/d1/release"),
    ]
    assert seen[2][2] == b'{"reviewer":"Ada","why":null}'
    assert seen[3][2] == b'{"reviewer":"Ada","action":"call","why":"because"}'
