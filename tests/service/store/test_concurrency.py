"""Several workers on one database: a budget is never exceeded, a key is decided once, and nobody waits for ever."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import TypeVar

import numpy as np
import pytest
from orders import order, proposal, reports

from persuadable.service.records import Answer, OutcomeReport, Receipt
from persuadable.service.store import KeyReused, Store

WORKERS = 4
T = TypeVar("T")


@pytest.fixture
def stores(store_url: str):
    """As many stores on one database as workers, each with connections of its own."""
    opened = [Store.open(store_url) for _ in range(WORKERS)]
    yield opened
    for store in opened:
        store.close()


def together(stores: Sequence[Store], work: Callable[[Store, int], T]) -> list[T]:
    """What each worker returns, all of them started at the same moment."""
    start = Barrier(len(stores))

    def run(place: int) -> T:
        start.wait()
        return work(stores[place], place)

    with ThreadPoolExecutor(len(stores)) as pool:
        return list(pool.map(run, range(len(stores))))


def test_a_budget_is_spent_to_the_last_and_no_further(stores: list[Store]) -> None:
    def work(store: Store, place: int) -> int:
        rng, treated = np.random.default_rng(place), 0
        for i in range(25):
            batch = [order(*(proposal(f"u{place}-{i}", chance=0.8) for _ in range(3)), cap=101) for _ in range(2)]
            for answer in store.write(batch, rng):
                assert isinstance(answer, Answer)
                treated += sum(d.action != "none" for d in answer.decisions)
        return treated

    assert sum(together(stores, work)) == 101  # of 600 that would be treated with probability 0.8
    live = stores[0].live()
    assert (live.decisions, live.treated) == (600, 101)


def test_money_is_spent_to_the_last_millionth_and_no_further(stores: list[Store]) -> None:
    def work(store: Store, place: int) -> list[float]:
        rng, spent = np.random.default_rng(place), []
        for i in range(20):
            mine = [proposal(f"u{place}-{i}", chance=0.8, cost=cost) for cost in (0.1, 0.7, 0.30000000001)]
            batch = [order(*mine, amount=30.0), order(proposal(cost=0.05), amount=30.0, cap=10_000)]
            for answer in store.write(batch, rng):
                assert isinstance(answer, Answer)
                spent += [d.priced.cost_effect for d in answer.decisions if d.action != "none" and d.priced]
        return spent

    spent = [cost for mine in together(stores, work) for cost in mine]
    charged = sum(math.ceil(round(cost * 1e6, 4)) for cost in spent)  # 0.30000000001 counts for 0.300001
    assert 29_950_000 <= charged <= 30_000_000, "of about 75 that would be spent; the smallest offer costs 0.05"
    (more,) = stores[0].write([order(proposal(cost=0.06), amount=30.0)], np.random.default_rng(0))
    (free,) = stores[0].write([order(proposal(cost=-1.0), amount=30.0)], np.random.default_rng(0))
    assert [more.decisions[0].reason, free.decisions[0].reason] == ["budget-spent", "treated"]
    (larger,) = stores[1].write([order(proposal(cost=0.06), amount=31.0)], np.random.default_rng(0))
    assert larger.decisions[0].reason == "treated", "a larger amount adds, what was committed stays so"


def test_keys_are_decided_once_in_whatever_order_the_workers_take_them(stores: list[Store]) -> None:
    keys = [f"k{i}" for i in range(60)]

    def work(store: Store, place: int) -> dict[str, Answer]:
        order_of = keys if place % 2 else keys[::-1]
        rng, got = np.random.default_rng(place), {}
        for some in (order_of[i : i + 7] for i in range(0, len(keys), 7)):
            batch = [order(proposal(key, chance=0.5), key=key, cap=10, campaign=key[-1]) for key in some]
            got.update(zip(some, store.write(batch, rng), strict=True))
        return got

    answers = together(stores, work)
    for key in keys:
        assert all(got[key].decisions == answers[0][key].decisions for got in answers)
        assert sorted(got[key].replayed for got in answers) == [False, *[True] * (WORKERS - 1)]


def test_one_key_with_two_requests_is_decided_for_one_of_them(stores: list[Store]) -> None:
    def work(store: Store, place: int) -> list[object]:
        rng = np.random.default_rng(place)
        return [store.write([order(key=f"k{i}", content=f"request {place}")], rng)[0] for i in range(20)]

    for results in zip(*together(stores, work), strict=True):
        kinds = [type(result) for result in results]
        assert kinds.count(Answer) == 1
        assert kinds.count(KeyReused) == WORKERS - 1


def test_a_report_made_by_several_is_recorded_once(stores: list[Store]) -> None:
    (answer,) = stores[0].write([order(*(proposal(f"u{i}") for i in range(30)))], np.random.default_rng(0))
    assert isinstance(answer, Answer)
    told = [OutcomeReport(d.decision_id or "", "visit", 1.0) for d in answer.decisions]

    def work(store: Store, place: int) -> int:
        rng, mine = np.random.default_rng(place), told if place % 2 else told[::-1]
        receipts = [store.write([reports(*mine[i : i + 10])], rng)[0] for i in range(0, 30, 10)]
        assert all(isinstance(r, Receipt) and r.recorded + r.repeated == 10 for r in receipts)
        return sum(r.recorded for r in receipts)

    assert sum(together(stores, work)) == 30
    assert all(len(store.decision(told[0].decision_id)[1]) == 1 for store in stores)


def test_forgetting_goes_on_beside_deciding(stores: list[Store]) -> None:
    def work(store: Store, place: int) -> int:
        rng, n = np.random.default_rng(place), 0
        for i in range(20):
            if place:
                batch = [order(proposal("gone"), proposal(f"u{i}"), key=f"{place}-{i}", cap=5)]
                assert isinstance(store.write(batch, rng)[0], Answer)
            else:
                n += store.erase("gone").decisions
        return n

    erased = sum(together(stores, work)) + stores[0].erase("gone").decisions
    assert erased == 20 * (WORKERS - 1)


PROCESS = """
import asyncio, json, sys
import numpy as np
from orders import order, proposal
from persuadable.service.store import Store, Writer

async def main(url, name):
    store = Store.open(url)
    writer = Writer(store)
    writer.start()
    async def client(i):
        answers = [await writer.decide(order(proposal(f"{name}-{i}-{j}", chance=0.9), cap=150)) for j in range(20)]
        return [d.decision_id for a in answers for d in a.decisions if d.action != "none"]
    treated = await asyncio.gather(*(client(i) for i in range(8)))
    await writer.stop()
    store.close()
    print(json.dumps(sum(treated, [])))

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


def test_two_processes_with_eight_clients_each_share_one_budget(store_url: str) -> None:
    here = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {here!r})\n{PROCESS}", store_url]
    workers = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in ("a", "b")]
    treated = [decision for worker in workers for decision in json.loads(worker.communicate(timeout=60)[0])]
    assert len(treated) == len(set(treated)) == 150
    store = Store.open(store_url)
    assert all(store.decision(decision)[0].action == "mail" for decision in treated)
    assert (store.live().decisions, store.live().treated) == (320, 150)
    store.close()
