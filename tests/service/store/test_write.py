"""A batch is written as a whole: keys, budgets, decisions and outcomes, the same on both databases."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from orders import order, proposal, reports

from persuadable.errors import StoreError
from persuadable.service.records import Answer, Flag, OutcomeReport, Priced, Receipt, Shadow
from persuadable.service.store import Erased, KeyReused, Store, UnknownDecisions

RNG = np.random.default_rng(0)
ABSENT = "01890a5d-ac96-774b-bcce-b302099a8057"


def decide(store: Store, *orders, rng: np.random.Generator = RNG) -> list[Answer]:
    """The answers to a batch of orders that none is refused of."""
    answers = store.write(orders, rng)
    assert all(isinstance(answer, Answer) for answer in answers), answers
    return answers


def treated(*answers: Answer) -> int:
    return sum(decision.action != "none" for answer in answers for decision in answer.decisions)


def test_a_decision_comes_back_as_it_was_answered(store: Store) -> None:
    shadow = Shadow("bundle-2", "call", "call", 0.2, 0.1, None, {"none": 0.25, "mail": 0.0, "call": 0.75})
    flags = (Flag("out-of-range", "age", "clip"), Flag("unknown-column", 'we"ird', "flag"))
    features = {"age": 0.1 + 0.2, "n": 2**53 + 1, "länd": "Ünïcode ☕ \x00", "none": None, "yes": True, "all": [1, "a"]}
    rich = proposal("ü;'--", 0.1, 0.3, features=features, flags=flags, shadow=shadow)
    plain = proposal("u2", chance=0.0)._replace(interval=(-1e-300, 1.7976931348623157e308), threshold=None)
    before = datetime.now(UTC)
    (answer,) = decide(store, order(rich, plain, key="k", campaign="spring ☀"))
    assert not answer.replayed
    for made in answer.decisions:
        assert store.decision(made.decision_id or "") == (made, [])
    first, second = answer.decisions
    assert first.features == features
    assert first.shadow == shadow
    assert first.flags == flags
    assert first.propensities == {"none": 0.7, "mail": 0.3, "call": 0.0}
    assert (second.interval, second.threshold) == ((-1e-300, 1.7976931348623157e308), None)
    assert before - timedelta(milliseconds=1) <= first.made_at <= datetime.now(UTC)
    assert first.made_at.utcoffset() == timedelta(0)


def test_ids_are_uuids_that_begin_with_the_time_and_follow_one_another(store: Store) -> None:
    (answer,) = decide(store, order(*(proposal(f"u{i}") for i in range(20))))
    ids = [uuid.UUID(decision.decision_id) for decision in answer.decisions]
    assert {(i.version, i.variant) for i in ids} == {(7, uuid.RFC_4122)}
    assert [i.int - ids[0].int for i in ids] == list(range(20))
    made_at = answer.decisions[0].made_at
    assert ids[0].int >> 80 == int(made_at.timestamp() * 1000)


def test_the_same_request_twice_is_the_same_decision(store_url: str) -> None:
    asked = order(*(proposal(f"u{i}", chance=0.5) for i in range(40)), key="k", cap=15)
    one, other = Store.open(store_url), Store.open(store_url)
    (first,) = decide(one, asked)
    for store in (one, other):
        (again,) = decide(store, asked)
        assert again == first._replace(replayed=True)
    (more,) = decide(one, order(*(proposal(f"v{i}") for i in range(20)), cap=15))
    assert treated(first) + treated(more) == 15, "what is answered again is not charged again"
    one.close()
    other.close()


def test_a_key_with_another_request_is_refused_and_the_rest_goes_on(store: Store) -> None:
    decide(store, order(key="k", content="this"))
    refused, new = store.write([order(key="k", content="that"), order(key="l")], RNG)
    assert isinstance(refused, KeyReused)
    assert refused.key == "k"
    assert isinstance(new, Answer)
    assert not new.replayed


def test_what_was_answered_is_told_without_deciding(store: Store) -> None:
    asked = order(proposal("ada"), proposal("bob"), key="k", cap=9)
    assert store.replay("k", asked.digest) is None
    (made,) = decide(store, asked)
    assert store.replay("k", asked.digest) == made._replace(replayed=True)
    assert store.replay("l", asked.digest) is None
    with pytest.raises(KeyReused) as caught:
        store.replay("k", b"another")
    assert caught.value.key == "k"
    store.erase("ada")
    with pytest.raises(Erased):
        store.replay("k", asked.digest)
    assert store.live().decisions == 2


def test_a_key_twice_in_one_batch(store: Store) -> None:
    asked = order(proposal(chance=0.5), key="k", content="this")
    first, again, other = store.write([asked, asked, order(key="k", content="that")], RNG)
    assert isinstance(first, Answer)
    assert not first.replayed
    assert again == first._replace(replayed=True)
    assert isinstance(other, KeyReused)


def test_without_a_key_every_request_is_new(store: Store) -> None:
    one, two = decide(store, order(), order())
    assert one.decisions[0].decision_id != two.decisions[0].decision_id


def test_hundreds_of_keys_in_one_batch(store: Store) -> None:
    asked = [order(proposal(f"u{i}"), key=f"k{i}") for i in range(1_201)]
    first = decide(store, *asked)
    assert [answer.decisions[0].unit for answer in first] == [f"u{i}" for i in range(1_201)]
    assert decide(store, *asked) == [answer._replace(replayed=True) for answer in first]


def test_a_cap_is_kept_over_requests_and_the_best_are_served_first(store: Store) -> None:
    (first,) = decide(store, order(*(proposal(f"u{i}", net_effect=i / 100) for i in range(4)), cap=3))
    assert [d.reason for d in first.decisions] == ["budget-spent", "treated", "treated", "treated"]
    assert first.decisions[0].propensities == {"none": 1.0, "mail": 0.0, "call": 0.0}
    (spent, more) = decide(store, order(proposal(), cap=3), order(*(proposal() for _ in range(9)), cap=5))
    assert (treated(spent), treated(more)) == (0, 2), "a larger cap adds, what was spent stays spent"
    (smaller,) = decide(store, order(proposal(), cap=1))
    assert treated(smaller) == 0


def test_orders_of_one_batch_share_the_budget_in_their_order(store: Store) -> None:
    answers = decide(store, *(order(proposal(), proposal(), cap=5) for _ in range(4)))
    assert [treated(answer) for answer in answers] == [2, 2, 1, 0]


def test_campaigns_have_budgets_of_their_own_and_shares_none(store: Store) -> None:
    many = [proposal() for _ in range(5)]
    a, b, share, again = decide(
        store,
        order(*many, cap=2, campaign="a"),
        order(*many, cap=3, campaign="b"),
        order(*many, campaign="a"),
        order(*many, cap=4, campaign="a"),
    )
    assert [treated(answer) for answer in (a, b, share, again)] == [2, 3, 5, 2]


def test_lots_are_drawn_from_the_generator_given(store: Store) -> None:
    asked = order(*(proposal(f"u{i}", chance=0.5) for i in range(200)))
    one, same, other = (decide(store, asked, rng=np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    drawn = [[d.action for d in answer.decisions] for answer in (one, same, other)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert 60 < treated(one) < 140  # 100 ± 5.7 standard deviations of 7.07
    assert {d.reason for d in one.decisions} == {"lottery-won", "lottery-lost"}


def test_a_batch_holds_orders_and_outcomes_in_any_order(store: Store) -> None:
    (made,) = decide(store, order())
    known = made.decisions[0].decision_id or ""
    results = store.write(
        [
            reports(OutcomeReport(known, "visit", 1.0)),
            order(key="k"),
            reports(OutcomeReport(ABSENT, "visit", 1.0)),
            order(key="k", content="other"),
            reports(OutcomeReport(known, "spend", 12.5)),
        ],
        RNG,
    )
    kinds = [type(result) for result in results]
    assert kinds == [Receipt, Answer, UnknownDecisions, KeyReused, Receipt]
    assert store.write([], RNG) == []


def test_a_batch_that_cannot_be_written_leaves_nothing_behind(store: Store) -> None:
    (made,) = decide(store, order())
    known = made.decisions[0].decision_id or ""
    nameless = OutcomeReport(known, None, 1.0)  # type: ignore[arg-type]  # refused last, when all else is written
    with pytest.raises(StoreError, match="refuses what was to be written"):
        store.write([order(key="k", cap=9), reports(OutcomeReport(known, "visit", 1.0)), reports(nameless)], RNG)
    with pytest.raises(TypeError):
        store.write([order(key="k", cap=9), order(proposal(features={"x": object()}))], RNG)
    assert store.decision(known)[1] == []
    assert store.live().decisions == 1
    (answer,) = decide(store, order(key="k", cap=1, content="never seen"))
    assert (treated(answer), answer.replayed) == (1, False), "neither key nor budget was taken"


@pytest.mark.parametrize("unknown", [ABSENT, "", "1 OR 1=1", "x'; DROP TABLE decisions; --", "☕", "\x00", "a" * 9_999])
def test_an_unknown_decision_is_named(store: Store, unknown: str) -> None:
    with pytest.raises(UnknownDecisions) as caught:
        store.decision(unknown)
    assert caught.value.ids == (unknown,)
    (refused,) = store.write([reports(OutcomeReport(unknown, "visit", 1.0))], RNG)
    assert isinstance(refused, UnknownDecisions)
    assert refused.ids == (unknown,)


def test_sql_in_texts_is_only_text(store: Store) -> None:
    evil = "x'); DELETE FROM decisions; --"
    (answer,) = decide(store, order(proposal(evil, features={evil: evil}), key=evil, campaign=evil, bundle=evil, cap=1))
    made, _ = store.decision(answer.decisions[0].decision_id or "")
    assert (made.unit, made.campaign, made.bundle, made.features) == (evil, evil, evil, {evil: evil})
    assert isinstance(store.erase(evil).decisions, int)
    assert isinstance(store.write([order(proposal(evil), key=evil, campaign=evil, cap=1)], RNG)[0], Erased)


def test_what_a_decision_costs_and_who_may_have_it_is_kept(store: Store) -> None:
    asked = order(
        proposal("ada", cost=0.4, eligible=("mail", "none")), proposal("bob", eligible=()), key="k", amount=5.0
    )
    (made,) = decide(store, asked)
    ada, bob = (store.decision(d.decision_id)[0] for d in made.decisions)
    assert (ada.priced, ada.eligible) == (Priced(0.5, 0.4), ("mail", "none"))
    assert (bob.priced, bob.eligible) == (None, ())
    (again,) = decide(store, asked)
    assert again == made._replace(replayed=True)


def test_a_cap_of_units_counts_what_was_given_under_one_of_money_and_the_reverse(store: Store) -> None:
    decide(store, order(*(proposal(cost=1.0) for _ in range(3)), amount=9.0))
    (units,) = decide(store, order(*(proposal(cost=1.0) for _ in range(3)), cap=4))
    assert treated(units) == 1
    (money,) = decide(store, order(*(proposal(cost=1.0) for _ in range(9)), amount=6.0))
    assert treated(money) == 2
    (elsewhere,) = decide(store, order(*(proposal(cost=1.0) for _ in range(9)), amount=6.0, campaign="other"))
    assert treated(elsewhere) == 6
