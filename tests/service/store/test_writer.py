"""The writer answers after the commit, shares commits, outlives failures, and forgets nobody who waits."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from databases import PostgresServer
from orders import order, proposal, reports
from sqlalchemy import make_url

from persuadable.errors import ParameterError
from persuadable.service.records import Answer, OutcomeReport, Receipt
from persuadable.service.store import KeyReused, Store, StoreBusy, StoreFull, StoreUnavailable, UnknownDecisions, Writer
from persuadable.service.store import writer as room
from persuadable.service.store.errors import Beaten


class Gate:
    """A store whose writing waits until it is let through, and which keeps the batches it was given, and by whom."""

    def __init__(self, store: Store | None = None, *, is_at_rest: bool = False) -> None:
        self.store, self.batches, self.open = store, [], threading.Event()
        self.failures: list[Exception] = []
        self.is_at_rest, self.threads = is_at_rest, list[int]()

    def write(self, batch: Sequence[Any], rng: np.random.Generator, *, patient: bool) -> Sequence[Any]:
        self.batches.append(list(batch))
        self.threads.append(threading.get_ident())
        assert patient is (self.threads[-1] != threading.main_thread().ident)
        assert self.open.wait(10)
        if self.failures:
            raise self.failures.pop(0)
        return (
            self.store.write(batch, rng, patient=patient)
            if self.store is not None
            else [Answer((), False) for _ in batch]
        )


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))


async def taken(gate: Gate, groups: int) -> None:
    """Wait until the writer's thread has taken so many groups."""
    while len(gate.batches) < groups:
        await asyncio.sleep(0.001)


def test_many_clients_share_commits_and_each_gets_its_own_answer(store: Store) -> None:
    groups: list[int] = []
    writer = Writer(store, committed=lambda requests, seconds: groups.append(requests))

    async def client(i: int) -> None:
        for j in range(10):
            answer = await writer.decide(order(proposal(f"{i}-{j}"), key=f"{i}-{j}"))
            (made,) = answer.decisions
            assert made.unit == f"{i}-{j}"
            assert await asyncio.to_thread(store.decision, made.decision_id or "") == (made, [])
            assert await writer.record(reports(OutcomeReport(made.decision_id or "", "visit", 1.0))) == Receipt(1, 0, 0)

    async def test() -> None:
        writer.start()
        await asyncio.gather(*(client(i) for i in range(8)))
        await writer.stop()

    run(test)
    assert sum(groups) == 160
    assert len(groups) < 160
    assert writer.failure is None


def test_what_gathers_while_a_group_commits_is_the_next_group() -> None:
    gate = Gate()
    writer = Writer(gate, most_units=6)  # type: ignore[arg-type]

    async def test() -> None:
        writer.start()
        first = asyncio.ensure_future(writer.decide(order()))
        await taken(gate, 1)
        sizes = [1, 2, 3, 1, 9, 1]
        rest = [asyncio.ensure_future(writer.decide(order(*(proposal() for _ in range(n))))) for n in sizes]
        await asyncio.sleep(0)
        assert writer.waiting == 17
        assert not first.done()
        gate.open.set()
        await asyncio.gather(first, *rest)
        await writer.stop()

    run(test)
    assert [[len(o.proposals) for o in batch] for batch in gate.batches] == [[1], [1, 2, 3], [1], [9], [1]]


def test_a_group_is_answered_in_one_call_to_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    writer = Writer(gate)  # type: ignore[arg-type]
    calls: list[object] = []

    async def test() -> None:
        loop = asyncio.get_running_loop()
        plain = loop.call_soon_threadsafe
        writer.start()
        first = asyncio.ensure_future(writer.decide(order()))
        await taken(gate, 1)
        rest = [asyncio.ensure_future(writer.decide(order())) for _ in range(50)]
        await asyncio.sleep(0)
        with monkeypatch.context() as patch:
            patch.setattr(loop, "call_soon_threadsafe", lambda *told: (calls.append(told), plain(*told))[1])
            gate.open.set()
            await asyncio.gather(first, *rest)
        await writer.stop()

    run(test)
    assert len(gate.batches) == len(calls) == 2


def test_who_gives_up_harms_nobody_else(store: Store) -> None:
    gate = Gate(store)
    writer = Writer(gate)  # type: ignore[arg-type]

    async def test() -> None:
        writer.start()
        first = asyncio.ensure_future(writer.decide(order(key="first")))
        await taken(gate, 1)
        tasks = [asyncio.ensure_future(writer.decide(order(key=f"{i}"))) for i in range(6)]
        await asyncio.sleep(0)
        first.cancel()  # already taken: it will be written
        for task in tasks[::2]:  # not yet taken: never is
            task.cancel()
        await asyncio.sleep(0)
        gate.open.set()
        answers = await asyncio.gather(*tasks[1::2])
        assert all(not answer.replayed for answer in answers)
        assert (await writer.decide(order(key="first"))).replayed
        assert not (await writer.decide(order(key="0"))).replayed
        await writer.stop()

    run(test)


def test_an_item_that_cannot_be_written_fails_alone(store: Store) -> None:
    gate = Gate(store)
    writer = Writer(gate)  # type: ignore[arg-type]

    async def test() -> None:
        writer.start()
        first = asyncio.ensure_future(writer.decide(order(key="a", content="this")))
        await taken(gate, 1)
        asked = [
            writer.decide(order(proposal(features={"x": object()}))),
            writer.decide(order(key="a", content="that")),
            writer.decide(order(key="b", cap=1)),
            writer.record(reports(OutcomeReport("nobody", "visit", 1.0))),
        ]
        rest = asyncio.gather(*asked, return_exceptions=True)
        await asyncio.sleep(0)
        gate.open.set()
        await first
        results = await rest
        assert [type(result) for result in results] == [TypeError, KeyReused, Answer, UnknownDecisions]
        assert results[2].decisions[0].action == "mail", "the budget was not charged by what failed"
        await writer.stop()

    run(test)
    assert len(gate.batches) == 1 + 1 + 4


def test_a_full_queue_refuses_and_recovers() -> None:
    gate = Gate()
    writer = Writer(gate, most_waiting=10)  # type: ignore[arg-type]

    async def test() -> None:
        writer.start()
        first = asyncio.ensure_future(writer.decide(order()))
        await taken(gate, 1)
        rest = [asyncio.ensure_future(writer.decide(order(*(proposal() for _ in range(12)))))]
        await asyncio.sleep(0)
        with pytest.raises(StoreBusy) as caught:
            await writer.decide(order())
        assert caught.value.waiting == 12
        gate.open.set()
        await asyncio.gather(first, *rest)
        await writer.decide(order())
        await writer.stop()

    run(test)


def test_stopping_writes_what_waits_and_refuses_the_rest(store: Store) -> None:
    gate = Gate(store)
    writer = Writer(gate, most_units=2)  # type: ignore[arg-type]

    async def test() -> None:
        writer.start()
        tasks = [asyncio.ensure_future(writer.decide(order(key=str(i)))) for i in range(7)]
        await taken(gate, 1)
        stopping = asyncio.ensure_future(writer.stop())
        await asyncio.sleep(0.01)
        with pytest.raises(StoreUnavailable, match="shutting down"):
            await writer.decide(order())
        gate.open.set()
        await stopping
        assert len({answer.decisions[0].decision_id for answer in await asyncio.gather(*tasks)}) == 7
        with pytest.raises(StoreUnavailable, match="shutting down"):
            await writer.record(reports())

    run(test)


def test_a_group_that_fails_is_told_to_all_of_it_and_the_next_one_is_written(store: Store) -> None:
    gate = Gate(store)
    gate.failures = [StoreUnavailable("The store cannot be reached: it is away")]
    gate.open.set()
    writer = Writer(gate)  # type: ignore[arg-type]

    async def test() -> None:
        tasks = [asyncio.ensure_future(writer.decide(order(key=str(i)))) for i in range(3)]
        await asyncio.sleep(0)
        writer.start()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [StoreUnavailable] * 3
        assert isinstance(writer.failure, StoreUnavailable)
        assert not (await writer.decide(order(key="0"))).replayed
        assert writer.failure is None
        await writer.stop()

    run(test)


def test_readiness_is_tried_by_writing_after_a_failure_only(store: Store) -> None:
    class Watched(Gate):
        checks: list[bool]

        def check(self, *, writing: bool) -> None:
            self.checks.append(writing)
            if self.failures:
                raise self.failures.pop(0)

    gate = Watched(store)
    gate.checks = []
    gate.open.set()
    writer = Writer(gate)  # type: ignore[arg-type]

    async def test() -> None:
        writer.start()
        writer.check()
        gate.failures = [StoreFull(), StoreFull()]
        with pytest.raises(StoreFull):
            await writer.decide(order())
        with pytest.raises(StoreFull):
            writer.check()
        assert isinstance(writer.failure, StoreFull)
        writer.check()
        assert writer.failure is None
        writer.check()
        await writer.stop()

    run(test)
    assert gate.checks == [False, True, True, False]


def test_counting_that_fails_takes_nothing_back(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    def broken(requests: int, seconds: float) -> None:
        raise ValueError("no counter")

    writer = Writer(store, committed=broken)

    async def test() -> None:
        writer.start()
        made = await writer.decide(order(key="k"))
        assert (await writer.decide(order(key="k"))).decisions == made.decisions
        await writer.stop()

    run(test)
    assert "could not be counted" in caplog.text


def test_a_loop_that_ended_does_not_stop_the_writer(store: Store) -> None:
    gate = Gate(store)
    writer = Writer(gate)  # type: ignore[arg-type]
    writer.start()

    async def leave() -> None:
        asyncio.ensure_future(writer.decide(order(key="k"))).add_done_callback(lambda _: None)
        await taken(gate, 1)

    asyncio.run(leave())
    gate.open.set()

    async def test() -> None:
        assert (await writer.decide(order(key="k"))).replayed
        await writer.stop()

    run(test)


def test_a_database_that_is_locked_is_unavailable_until_it_is_free(tmp_path, sqlite_template) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(sqlite_template.read_bytes())
    store = Store.open(f"sqlite:///{path}", timeout=0.2)
    writer = Writer(store)
    other = sqlite3.connect(path, isolation_level=None)

    async def test() -> None:
        writer.start()
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            await writer.decide(order(key="k"))
        other.execute("ROLLBACK")
        assert not (await writer.decide(order(key="k"))).replayed
        await writer.stop()

    run(test)
    other.close()
    store.close()


def test_a_server_that_stops_is_unavailable_until_it_starts(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_with_tables()
    store = Store.open(url)
    writer = Writer(store)

    async def test() -> None:
        writer.start()
        made = await writer.decide(order(key="before"))
        await asyncio.to_thread(postgres_server.stop)
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                await writer.decide(order(key="during"))
        with pytest.raises(StoreUnavailable):
            store.check()
        assert writer.failure is not None
        await asyncio.to_thread(postgres_server.start)
        assert (await writer.decide(order(key="before"))).decisions == made.decisions
        assert not (await writer.decide(order(key="during"))).replayed
        writer.check()
        await writer.stop()

    try:
        run(test)
    finally:
        postgres_server.start()
    store.close()
    postgres_server.drop(url)


def test_a_restart_between_two_requests_is_not_noticed(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_with_tables()
    store = Store.open(url)
    rng = np.random.default_rng(0)
    assert isinstance(store.write([order(key="k")], rng)[0], Answer)
    try:
        postgres_server.stop()
    finally:
        postgres_server.start()
    (again,) = store.write([order(key="k")], rng)
    assert isinstance(again, Answer)
    assert again.replayed
    store.close()
    postgres_server.drop(url)


def test_a_writer_that_never_began_stops_too(store: Store) -> None:
    run(Writer(store).stop)


@pytest.mark.parametrize("bounds", [{"most_units": 0}, {"most_waiting": 0}])
def test_bounds_are_positive(store: Store, bounds: dict[str, int]) -> None:
    with pytest.raises(ParameterError, match="at least one unit"):
        Writer(store, **bounds)


# --- groups the event loop writes itself ----------------------------------------------------------------------------

HERE = threading.get_ident()


def through(gate: Gate, *units: int) -> list[Any]:
    """What becomes of orders of so many units each, one after another."""
    writer, found = Writer(gate), list[Any]()  # type: ignore[arg-type]

    async def test() -> None:
        writer.start()
        for n in units:
            try:
                found.append(await writer.decide(order(*(proposal() for _ in range(n)))))
            except Exception as error:
                found.append(error)
        await writer.stop()

    gate.open.set()
    run(test)
    assert writer.waiting == 0
    return found


def test_after_a_quick_group_the_loop_writes_small_ones_itself() -> None:
    gate = Gate(is_at_rest=True)
    through(gate, 1, 1, 64, 65, 1)
    assert [thread == HERE for thread in gate.threads] == [False, True, True, False, True]


def test_while_others_use_the_store_the_thread_writes() -> None:
    gate = Gate(is_at_rest=False)
    through(gate, 1, 1, 1)
    assert HERE not in gate.threads


def test_after_a_slow_group_the_thread_writes_until_one_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "QUICK_SECONDS", 0.05)
    gate, slow = Gate(is_at_rest=True), [False, False, True, True, False, False]
    plain = gate.write

    def write(*told: Any, patient: bool) -> Sequence[Any]:
        time.sleep(0.1 * slow[len(gate.batches)])
        return plain(*told, patient=patient)

    monkeypatch.setattr(gate, "write", write)
    through(gate, *[1] * 6)
    assert [thread == HERE for thread in gate.threads] == [False, True, True, False, False, True]


@pytest.mark.parametrize("error", [Beaten("in the way"), ValueError("refused")])
def test_what_the_loop_cannot_write_the_thread_does(error: Exception) -> None:
    gate = Gate(is_at_rest=True)
    gate.failures = [error]
    writer = Writer(gate)  # type: ignore[arg-type]
    writer._last_seconds = 0.0

    async def test() -> None:
        writer.start()
        answers = await asyncio.gather(*(writer.decide(order()) for _ in range(3)))
        assert all(isinstance(answer, Answer) for answer in answers)
        await writer.stop()

    gate.open.set()
    run(test)
    assert [thread == HERE for thread in gate.threads] == [True, False]
    assert gate.batches[0] == gate.batches[1]
    assert (writer.waiting, writer.failure) == (0, None)


def test_who_came_first_is_served_first_whoever_writes() -> None:
    gate = Gate(is_at_rest=True)
    writer = Writer(gate)  # type: ignore[arg-type]

    async def test() -> None:
        writer.start()
        with writer._turn:
            first = asyncio.ensure_future(writer.decide(order(key="1")))
            await asyncio.sleep(0.1)  # the thread has been woken, and waits for its turn
            second = asyncio.ensure_future(writer.decide(order(key="2")))
            await asyncio.sleep(0)
            assert writer._write_at_once()
        await asyncio.gather(first, second)
        await writer.stop()

    gate.open.set()
    run(test)
    assert [asked.key for batch in gate.batches for asked in batch] == ["1", "2"]


def test_stopping_meanwhile_forgets_nobody_whom_the_loop_could_not_write() -> None:
    gate = Gate(is_at_rest=True)
    gate.failures = [Beaten("in the way")]
    writer = Writer(gate)  # type: ignore[arg-type]
    writer._last_seconds = 0.0

    def stop() -> None:
        while not gate.batches:
            time.sleep(0.001)
        with ThreadPoolExecutor(1) as pool:
            stopped = pool.submit(asyncio.run, writer.stop())
            time.sleep(0.1)
            gate.open.set()  # the loop in the main thread has waited here, its group in its hands
            stopped.result(10)

    async def test() -> None:
        writer.start()
        stopping = asyncio.create_task(asyncio.to_thread(stop))
        assert isinstance(await asyncio.wait_for(writer.decide(order()), 5), Answer)
        await stopping

    run(test)
    assert [thread == HERE for thread in gate.threads] == [True, False]


def test_what_a_loop_left_behind_holds_up_no_other() -> None:
    gate = Gate()
    writer = Writer(gate)  # type: ignore[arg-type]
    writer.start()
    left = asyncio.new_event_loop()
    left.call_soon(writer._ask, order(key="left"), 1)
    left.call_soon(left.stop)
    left.run_forever()  # one turn: the group is not closed yet
    left.close()

    async def test() -> None:
        assert isinstance(await asyncio.wait_for(writer.decide(order(key="mine")), 5), Answer)
        await writer.stop()

    gate.open.set()
    run(test)
    assert [asked.key for batch in gate.batches for asked in batch] == ["left", "mine"]


def test_a_store_that_fails_under_the_loop_is_told_and_left_to_the_thread() -> None:
    gate = Gate(is_at_rest=True)
    writer = Writer(gate)  # type: ignore[arg-type]
    writer._last_seconds = 0.0
    gate.failures = [StoreFull()]

    async def test() -> None:
        writer.start()
        with pytest.raises(StoreFull):
            await writer.decide(order())
        assert isinstance(writer.failure, StoreFull)
        await writer.decide(order())
        await writer.stop()

    gate.open.set()
    run(test)
    assert [thread == HERE for thread in gate.threads] == [True, False]


def test_somebody_else_in_the_way_is_not_waited_for(store: Store) -> None:
    if not store.is_at_rest:
        pytest.skip("a server's transactions are always waited for, by the thread")
    other = sqlite3.connect(make_url(store.url).database or "", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.perf_counter()
    with pytest.raises(Beaten):
        store.write([order()], np.random.default_rng(0), patient=False)
    assert time.perf_counter() - began < 1.0, "it does not wait for the lock until its time is over"
    other.execute("ROLLBACK")
    other.close()
    assert store.write([order()], np.random.default_rng(0), patient=False)


def test_who_reads_meanwhile_keeps_the_loop_from_writing(store: Store) -> None:
    assert store.is_at_rest is store._database.is_sqlite
    assert store._database.read(lambda _: store.is_at_rest) is False
