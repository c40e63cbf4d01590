"""The queue of reviews: who has a case, what a person decides, and what is kept of it; the same on both databases."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import polars as pl
import pytest
from orders import order, proposal, reports
from sqlalchemy import update

from persuadable import DecisionLog
from persuadable.errors import ParameterError
from persuadable.features import Column
from persuadable.service.records import Answer, Case, Decision, Held, Option, OutcomeReport, Proposal, Verdict
from persuadable.service.store import (
    ActionNotAllowed,
    CampaignSpent,
    CaseTaken,
    Erasure,
    Store,
    UnknownReview,
    Waiting,
)
from persuadable.service.store import reviews as room
from persuadable.service.store.tables import decisions

ABSENT = "01890a5d-ac96-774b-bcce-b302099a8057"
# What the columns of an export are made of.
EXPORTED: dict[str, Any] = {
    "columns": (Column("age"), Column("channel", "category", ("phone", "web"))),
    "actions": ("none", "mail", "call"),
    "contract": "contract-1",
}


def doubtful(unit: str = "u", net: float = 0.1, *codes: str, priority: float = 1.0, **told: Any) -> Proposal:
    """A proposal that a person is to decide about."""
    cost = told.get("cost")
    options = None
    if cost is not None:
        options = {label: Option(net, c, net, True) for label, c in (("none", 0.0), ("mail", cost), ("call", 3 * cost))}
    made = proposal(unit, net, **told)
    return made._replace(case=Case(codes or ("borderline",), priority, options))


def hold(store: Store, *proposals: Proposal, **told: Any) -> list[Decision]:
    (answer,) = store.write([order(*proposals, **told)], np.random.default_rng(0))
    assert isinstance(answer, Answer)
    return list(answer.decisions)


def held_id(store: Store, *told: Proposal, **order_told: Any) -> str:
    return hold(store, *(told or (doubtful(),)), **order_told)[0].decision_id or ""


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    """Let the queue act as if it were this time."""
    monkeypatch.setattr(room.time, "time_ns", lambda: round(moment.timestamp() * 1e6) * 1000)


# --- what is held -----------------------------------------------------------------------------------------------------


def test_whom_a_person_decides_about_is_given_nothing_meanwhile_with_certainty(store: Store) -> None:
    sure, held, lot = hold(store, proposal("a"), doubtful("b", 5.0), doubtful("c", chance=0.7), cap=1)
    assert (sure.action, sure.reason, sure.review) == ("mail", "treated", None), "the one place is not the held one's"
    for decision in (held, lot):
        assert (decision.action, decision.reason) == ("none", "review")
        assert decision.propensities == {"none": 1.0, "mail": 0.0, "call": 0.0}
        assert isinstance(decision.review, Held)
        assert (decision.review.codes, decision.review.proposed) == (("borderline",), "mail")
        assert store.decision(decision.decision_id or "") == (decision, [])
    assert store.reviews.waiting() == 2


def test_what_is_proposed_by_lot_is_drawn_with_its_probability(store: Store) -> None:
    n = 400
    made = hold(store, *(doubtful(f"u{i}", chance=0.7) for i in range(n)))
    proposals = [decision.review for decision in made if isinstance(decision.review, Held)]
    assert all(p.propensities == pytest.approx({"none": 0.3, "mail": 0.7, "call": 0.0}) for p in proposals)
    drawn = sum(p.proposed == "mail" for p in proposals)
    assert sum(p.proposed == "none" for p in proposals) == n - drawn
    assert abs(drawn - 0.7 * n) < 4 * (n * 0.7 * 0.3) ** 0.5
    for decision, told in zip(made[:20], proposals, strict=False):
        case = store.reviews.get(decision.decision_id or "")
        assert (case.proposed, case.reason) == (
            told.proposed,
            "lottery-won" if told.proposed == "mail" else "lottery-lost",
        )


def test_lots_between_two_treatments_are_drawn_too(store: Store) -> None:
    made = hold(store, *(doubtful(f"u{i}", chance=0.5, cost=2.0, other="call", other_cost=1.0) for i in range(40)))
    proposals = [decision.review for decision in made if isinstance(decision.review, Held)]
    assert {p.proposed for p in proposals} == {"mail", "call"}
    assert all(p.propensities == {"none": 0.0, "mail": 0.5, "call": 0.5} for p in proposals)
    (sure,) = hold(store, doubtful(chance=0.0))
    assert sure.review == Held(("borderline",), "none", {"none": 1.0, "mail": 0.0, "call": 0.0})


def test_the_same_key_is_one_case(store: Store) -> None:
    asked = order(doubtful(), key="k")
    first, again = (store.write([asked], np.random.default_rng(0))[0] for _ in range(2))
    assert again == first._replace(replayed=True)  # type: ignore[union-attr]
    assert store.reviews.waiting() == 1


def test_a_case_tells_all_that_is_known(store: Store) -> None:
    (held,) = hold(store, doubtful("b", -0.2, "too-good", "outside-support", priority=0.25, chance=0.0, cost=2.5))
    case = store.reviews.get(held.decision_id or "")
    assert (case.decision, case.state, case.codes) == (held, "open", ("too-good", "outside-support"))
    assert (case.priority, case.proposed, case.reason) == (0.25, "none", "below-threshold")
    assert case.options is not None
    assert case.options["call"] == {"effect": -0.2, "cost_effect": 7.5, "net_effect": -0.2, "eligible": True}
    assert (case.claim, case.resolution, case.actions) == (None, None, ("none", "mail", "call"))
    for unknown in (ABSENT, "nobody", "", hold(store, proposal())[0].decision_id or ""):
        with pytest.raises(UnknownReview, match="held for a person"):
            store.reviews.get(unknown)


def test_the_most_pressing_come_first_page_by_page(store: Store) -> None:
    rng = np.random.default_rng(1)
    priorities = [*rng.exponential(size=20).tolist(), 0.5, 0.5, 0.5, 0.0]
    made = hold(store, *(doubtful(f"u{i}", priority=p) for i, p in enumerate(priorities)))
    wanted = [i for i, _ in sorted(enumerate(priorities), key=lambda pair: -pair[1])]  # stable: as they came
    found, after = [], None
    while True:
        page, after = store.reviews.list("open", after=after, limit=5)
        found += [case.decision.decision_id for case in page]
        if after is None:
            break
        assert len(page) == 5
    assert found == [made[i].decision_id for i in wanted]


def test_cases_are_found_by_their_code_alone(store: Store) -> None:
    codes = [("borderline",), ("too-good", "borderline"), ("too-good",), ("not-too-good",)]
    hold(store, *(doubtful(f"u{i}", 0.1, *these, priority=4 - i) for i, these in enumerate(codes)))
    units = lambda code: [case.decision.unit for case in store.reviews.list("open", code=code)[0]]  # noqa: E731
    assert (units("borderline"), units("too-good"), units("good"), units("%")) == (["u0", "u1"], ["u1", "u2"], [], [])


# --- claims -----------------------------------------------------------------------------------------------------------


def test_a_claim_keeps_others_away_until_it_ends(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    noon = datetime(2030, 5, 1, 12, tzinfo=UTC)
    case = held_id(store)
    at(monkeypatch, noon)
    claimed = store.reviews.claim(case, "ada", 60)
    assert claimed.state == "claimed"
    assert claimed.claim is not None
    assert (claimed.claim.by, claimed.claim.at, claimed.claim.until) == ("ada", noon, noon + timedelta(minutes=1))
    at(monkeypatch, noon + timedelta(seconds=59))
    doings: list[Callable[[], Any]] = [
        lambda: store.reviews.claim(case, "bob", 60),
        lambda: store.reviews.release(case, "bob"),
        lambda: store.reviews.resolve(case, "bob"),
        lambda: store.reviews.resolve(case, "bob", action="call", why="so"),
    ]
    for do in doings:
        with pytest.raises(CaseTaken, match="ada claimed this case at 2030-05-01T12:00:00Z") as refusal:
            do()
        assert (refusal.value.by, refusal.value.since, refusal.value.until) == (
            "ada",
            noon,
            noon + timedelta(minutes=1),
        )
    longer = store.reviews.claim(case, "ada", 60)
    assert longer.claim is not None
    assert (longer.claim.at, longer.claim.until) == (noon, noon + timedelta(seconds=119)), "the same claim, longer"
    assert [len(store.reviews.list(state)[0]) for state in ("open", "claimed")] == [0, 1]
    at(monkeypatch, noon + timedelta(seconds=119))
    assert [len(store.reviews.list(state)[0]) for state in ("open", "claimed")] == [1, 0]
    assert store.reviews.get(case).claim is None
    taken = store.reviews.claim(case, "bob", 60)
    assert taken.claim is not None
    assert (taken.claim.by, taken.claim.at) == ("bob", noon + timedelta(seconds=119))
    with pytest.raises(CaseTaken, match="bob"):
        store.reviews.resolve(case, "ada")
    with pytest.raises(ParameterError, match="0 seconds"):
        store.reviews.claim(case, "bob", 0)


def test_what_is_given_back_is_anybodys(store: Store) -> None:
    case = held_id(store)
    store.reviews.claim(case, "ada", 60)
    assert store.reviews.release(case, "ada").state == "open"
    assert store.reviews.release(case, "bob").state == "open", "twice is as good as once"
    assert store.reviews.claim(case, "bob", 60).state == "claimed"


def test_of_many_who_claim_at_once_exactly_one_does(store_url: str) -> None:
    stores = [Store.open(store_url) for _ in range(4)]
    cases = [d.decision_id or "" for d in hold(stores[0], *(doubtful(f"u{i}") for i in range(12)))]
    start, told = Barrier(len(stores)), list[tuple[str, str]]()

    def work(place: int) -> list[str]:
        start.wait()
        mine = []
        for case in cases:
            try:
                stores[place].reviews.claim(case, f"reviewer {place}", 60)
                mine.append(case)
            except CaseTaken as taken:
                told.append((case, taken.by))
        return mine

    with ThreadPoolExecutor(len(stores)) as pool:
        won = list(pool.map(work, range(len(stores))))
    assert sorted(case for mine in won for case in mine) == sorted(cases)
    winners = {case: f"reviewer {place}" for place, mine in enumerate(won) for case in mine}
    assert len(told) == 36
    assert all(winners[case] == by for case, by in told)
    for store in stores:
        store.close()


def test_of_two_who_decide_at_once_one_is_told_of_the_other(store_url: str) -> None:
    stores = [Store.open(store_url) for _ in range(2)]
    cases = [d.decision_id or "" for d in hold(stores[0], *(doubtful(f"u{i}") for i in range(10)))]
    start, told = Barrier(2), list[datetime | None]()

    def work(place: int) -> int:
        start.wait()
        won = 0
        for case in cases:
            try:
                action = "call" if place else None
                stores[place].reviews.resolve(case, f"reviewer {place}", action=action, why="w")
                won += 1
            except CaseTaken as taken:
                told.append(taken.until)
        return won

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(work, range(2))) == 10
    assert told == [None] * 10, "resolved, not only claimed"
    assert stores[0].live().decisions == 20
    for store in stores:
        store.close()


# --- what people decide -----------------------------------------------------------------------------------------------


def test_approving_gives_what_was_proposed_with_probability_one(store: Store) -> None:
    case = held_id(store, doubtful(chance=0.65))
    done = store.reviews.resolve(case, "ada", why="looks fine", key="desk")
    assert (done.state, done.claim) == ("approved", None)
    assert done.resolution is not None
    told = done.resolution
    assert (told.by, told.key, told.action, told.why) == ("ada", "desk", "mail", "looks fine")
    made, _ = store.decision(told.decision_id)
    assert (made.action, made.reason, made.unit, made.features) == ("mail", "approved", "u", done.decision.features)
    assert made.propensities == {"none": 0.0, "mail": 1.0, "call": 0.0}
    assert isinstance(made.review, Verdict)
    assert made.review[:4] == (case, "ada", "looks fine", "mail")
    assert made.review.propensities == pytest.approx({"none": 0.35, "mail": 0.65, "call": 0.0})
    assert made.made_at == told.at
    assert store.decision(case)[0] == done.decision, "what was held stays as it was"
    assert store.reviews.waiting() == 0
    assert [c.decision.decision_id for c in store.reviews.list("approved")[0]] == [case]


def test_overriding_gives_something_else(store: Store) -> None:
    case = held_id(store)
    done = store.reviews.resolve(case, "ada", action="call", why="asked for it")
    assert done.resolution is not None
    made, _ = store.decision(done.resolution.decision_id)
    assert (done.state, made.action, made.reason, made.treatment) == ("overridden", "call", "overridden", "mail")
    assert made.propensities == {"none": 0.0, "mail": 0.0, "call": 1.0}
    nothing = held_id(store)
    store.reviews.resolve(nothing, "ada", action="none", why="complained")
    assert {c.decision.decision_id for c in store.reviews.list("overridden")[0]} == {case, nothing}


def test_decided_twice_alike_is_decided_once(store: Store) -> None:
    for told in ({}, {"why": "w"}, {"action": "call", "why": "w"}):
        case = held_id(store)
        before = store.live().decisions
        first = store.reviews.resolve(case, "ada", **told)
        assert store.reviews.resolve(case, "ada", **told) == first
        assert store.live().decisions == before + 1
        for other in ({"action": "none", "why": "w"}, {"why": "another"}):
            with pytest.raises(CaseTaken, match=r"ada (approved the proposal of|overrode) this case"):
                store.reviews.resolve(case, "ada", **other)
        with pytest.raises(CaseTaken):
            store.reviews.resolve(case, "bob", **told)
        with pytest.raises(CaseTaken):
            store.reviews.claim(case, "ada", 60)


def test_what_the_unit_may_not_be_given_a_person_does_not_give_either(store: Store) -> None:
    case = held_id(store, doubtful(eligible=("mail",)))
    for action, why in (("call", "may not be given 'call'"), ("gift", "may not be given 'gift'"), ("mail", "proposed")):
        with pytest.raises(ActionNotAllowed, match=why):
            store.reviews.resolve(case, "ada", action=action, why="w")
    assert store.reviews.get(case).state == "open"
    assert store.reviews.get(case).actions == ("none", "mail")


def test_a_cap_on_treatments_is_not_exceeded_by_people(store: Store) -> None:
    first, second, third = (d.decision_id or "" for d in hold(store, *(doubtful(f"u{i}") for i in range(3)), cap=2))
    store.reviews.resolve(first, "ada")
    (answer,) = store.write([order(proposal("x"), cap=2)], np.random.default_rng(0))
    assert isinstance(answer, Answer)
    assert answer.decisions[0].action == "mail"
    with pytest.raises(CampaignSpent, match="'default' is spent"):
        store.reviews.resolve(second, "ada")
    assert store.reviews.get(second).state == "open"
    assert store.reviews.resolve(second, "ada", action="none", why="spent").state == "overridden"
    (answer,) = store.write([order(proposal("y"), cap=3)], np.random.default_rng(0))
    assert isinstance(answer, Answer)
    assert answer.decisions[0].action == "mail", "what people gave counts once, and what they did not not at all"
    with pytest.raises(CampaignSpent):
        store.reviews.resolve(third, "ada", action="call", why="w")


def test_a_cap_on_money_counts_what_the_person_gives(store: Store) -> None:
    cheap, dear, last = (d.decision_id or "" for d in hold(store, *(doubtful(cost=2.0) for _ in range(3)), amount=9.0))
    store.reviews.resolve(dear, "ada", action="call", why="w")  # 6 of 9
    store.reviews.resolve(cheap, "ada")  # 8 of 9
    with pytest.raises(CampaignSpent):
        store.reviews.resolve(last, "ada")
    (answer,) = store.write([order(proposal(cost=1.0), proposal(cost=0.001), amount=9.0)], np.random.default_rng(0))
    assert isinstance(answer, Answer)
    assert [d.reason for d in answer.decisions] == ["treated", "budget-spent"]


def test_without_a_cap_nothing_is_charged(store: Store) -> None:
    store.reviews.resolve(held_id(store), "ada")
    (answer,) = store.write([order(proposal(), cap=1)], np.random.default_rng(0))
    assert isinstance(answer, Answer)
    assert answer.decisions[0].action == "mail"


def test_resolved_cases_come_newest_first_page_by_page(store: Store) -> None:
    cases = [d.decision_id or "" for d in hold(store, *(doubtful(f"u{i}", priority=i) for i in range(7)))]
    for case in cases:
        store.reviews.resolve(case, "ada")
        time.sleep(0.001)
    found, after = [], None
    for _ in range(3):
        page, after = store.reviews.list("approved", after=after, limit=3)
        found += [case.decision.decision_id for case in page]
    assert found == cases[::-1]
    assert after is None


# --- what is kept, and what goes --------------------------------------------------------------------------------------


def test_a_unit_that_is_erased_takes_its_cases_along(store: Store) -> None:
    hers, other = (d.decision_id or "" for d in hold(store, doubtful("ada@example.org"), doubtful("bob")))
    done = store.reviews.resolve(hers, "eve", why="ada@example.org is nice")
    assert done.resolution is not None
    store.write([reports(OutcomeReport(done.resolution.decision_id, "visit", 1.0))], np.random.default_rng(0))
    assert store.erase("ada@example.org") == Erasure(decisions=2, outcomes=1)
    with pytest.raises(UnknownReview):
        store.reviews.get(hers)
    assert store.reviews.list("approved")[0] == []
    assert [case.decision.unit for case in store.reviews.list("open")[0]] == ["bob"]
    assert store.reviews.resolve(other, "eve").state == "approved"


def test_what_is_older_goes_with_its_cases(store: Store) -> None:
    held_id(store)
    assert store.retain(datetime.now(UTC) + timedelta(seconds=5)) == Erasure(1, 0)
    assert store.reviews.waiting() == 0


def test_the_log_says_who_decided(store: Store, tmp_path: Path) -> None:
    sure, _, approved, overridden, _ = hold(
        store,
        proposal("sure"),
        proposal("unsure", chance=0.0),
        doubtful("approved"),
        doubtful("overridden"),
        doubtful("waiting"),
    )
    store.reviews.resolve(approved.decision_id or "", "ada")
    store.reviews.resolve(overridden.decision_id or "", "ada", action="call", why="w")
    path, base = tmp_path / "log.parquet", EXPORTED
    assert store.export(path, **base) == 7
    rows = pl.read_parquet(path).select("unit", "action", "reason", "made_by", "propensity of call").rows()
    assert sorted(rows) == [
        ("approved", "mail", "approved", "person", 0.0),
        ("approved", "none", "review", "queue", 0.0),
        ("overridden", "call", "overridden", "person", 1.0),
        ("overridden", "none", "review", "queue", 0.0),
        ("sure", "mail", "treated", "policy", 0.0),
        ("unsure", "none", "below-threshold", "policy", 0.0),
        ("waiting", "none", "review", "queue", 0.0),
    ]
    for made_by, units in (
        ("policy", {"sure", "unsure"}),
        ("person", {"approved", "overridden"}),
        ("queue", {"approved", "overridden", "waiting"}),
    ):
        assert store.export(path, made_by=made_by, **base) == len(units)  # type: ignore[arg-type]
        assert set(pl.read_parquet(path)["unit"]) == units
    store.write([reports(OutcomeReport(sure.decision_id or "", "visit", 1.0))], np.random.default_rng(0))
    store.export(path, made_by="policy", missing="zero", **base)
    assert DecisionLog.read(path).n == 2


def test_the_log_says_what_was_proposed_and_what_people_made_of_it(store: Store, tmp_path: Path) -> None:
    lot, over, waiting = hold(
        store, doubtful("lot", chance=0.65), doubtful("over", 0.1, "too-good", "borderline"), doubtful("waiting")
    )
    (sure,) = hold(store, proposal("sure", chance=0.0))
    given = {"lot": store.reviews.resolve(lot.decision_id or "", "ada", why="a regular")}
    given["over"] = store.reviews.resolve(over.decision_id or "", "bob", action="call", why="asked for it")
    path = tmp_path / "log.parquet"
    store.export(path, **EXPORTED)
    frame = pl.read_parquet(path)
    rows = {(row["unit"], row["made_by"]): row for row in frame.to_dicts()}
    chances = lambda row: [row[f"propensity of proposing {action}"] for action in EXPORTED["actions"]]  # noqa: E731
    peoples = lambda row: [row[name] for name in ("codes", "case", "replaced_by", "reviewer", "why")]  # noqa: E731
    assert {name: row["proposed"] for name, row in rows.items()} == {
        ("lot", "queue"): "mail",
        ("lot", "person"): "mail",
        ("over", "queue"): "mail",
        ("over", "person"): "mail",
        ("waiting", "queue"): "mail",
        ("sure", "policy"): "none",
    }
    for made_by in ("queue", "person"):
        assert chances(rows["lot", made_by]) == pytest.approx([0.35, 0.65, 0.0])
        assert chances(rows["over", made_by]) == [0.0, 1.0, 0.0]
    assert chances(rows["sure", "policy"]) == [1.0, 0.0, 0.0]
    made = {name: case.resolution.decision_id for name, case in given.items() if case.resolution is not None}
    assert peoples(rows["sure", "policy"]) == [None] * 5
    assert peoples(rows["waiting", "queue"]) == ["borderline", waiting.decision_id, None, None, None]
    assert peoples(rows["over", "queue"]) == ["too-good borderline", over.decision_id, made["over"], None, None]
    assert peoples(rows["over", "person"]) == [None, over.decision_id, None, "bob", "asked for it"]
    assert peoples(rows["lot", "person"]) == [None, lot.decision_id, None, "ada", "a regular"]
    assert rows["sure", "policy"]["decision_id"] == sure.decision_id


def test_what_was_held_before_proposals_were_noted_is_read_all_the_same(store: Store, tmp_path: Path) -> None:
    (held,) = hold(store, doubtful("old"))
    old = '{"codes":["borderline"],"proposed":"mail"}'
    query = update(decisions).values(review=old)
    store._database.write(lambda connection: connection.execute(query))
    assert store.decision(held.decision_id or "")[0].review == Held(("borderline",), "mail")
    done = store.reviews.resolve(held.decision_id or "", "ada")
    assert done.resolution is not None
    assert store.decision(done.resolution.decision_id)[0].review == Verdict(held.decision_id or "", "ada", None, "mail")
    store.export(tmp_path / "log.parquet", **EXPORTED)
    frame = pl.read_parquet(tmp_path / "log.parquet")
    assert frame["proposed"].to_list() == ["mail", "mail"]
    assert frame["propensity of proposing mail"].to_list() == [None, None]


def test_what_waits_is_counted_by_reason(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    noon = datetime(2030, 5, 1, 12, tzinfo=UTC)
    at(monkeypatch, noon)
    assert store.reviews.counts() == Waiting(0, 0, {})
    codes = [("borderline",), ("borderline",), ("too-good", "borderline"), ("too-good",)]
    cases = [d.decision_id or "" for d in hold(store, *(doubtful(f"u{i}", 0.1, *told) for i, told in enumerate(codes)))]
    store.reviews.claim(cases[0], "ada", 60)
    store.reviews.claim(cases[2], "ada", 60)
    assert store.reviews.counts() == Waiting(4, 2, {"borderline": 3, "too-good": 2})
    store.reviews.resolve(cases[2], "ada")
    at(monkeypatch, noon + timedelta(seconds=60))
    assert store.reviews.counts() == Waiting(3, 0, {"borderline": 2, "too-good": 1})
    assert store.reviews.waiting() == 3
