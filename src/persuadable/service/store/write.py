"""The transaction of a batch: keys, budgets, lots, decisions, cases for people and outcomes, all of it or nothing.

Every worker takes its locks in one order (keys, campaigns, decisions; each sorted), so that none waits for another
that waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection

from persuadable.service import grants
from persuadable.service.records import Answer, Order, Outcomes, Receipt
from persuadable.service.store import cases, claims, ids, outcomes, tallies
from persuadable.service.store.errors import StoreError
from persuadable.service.store.ledger import Ledger
from persuadable.service.store.moments import moment
from persuadable.service.store.rows import INSERT, as_row

__all__ = ["Item", "Result", "write"]

Item = Order | Outcomes
Result = Answer | Receipt | StoreError


def write(connection: Connection, batch: Sequence[Item], rng: np.random.Generator, writer: str) -> list[Result]:
    """Decide and record a batch in the connection's transaction; one result per item, in its order.

    Args:
        batch: orders, served in this order, and reports of outcomes.
        rng: where lots come from.
        writer: on whose tally it is counted.
    """
    now = time.time_ns() // 1000
    orders = {place: item for place, item in enumerate(batch) if isinstance(item, Order)}
    reports = {place: item for place, item in enumerate(batch) if isinstance(item, Outcomes)}
    results: dict[int, Result] = {}
    made: list[tuple[Order, Answer]] = []
    fresh: list[dict[str, Any]] = []
    if orders:
        answers, made = _decide(connection, orders, rng, now)
        results.update(answers)
    if reports:
        receipts, fresh = outcomes.record(connection, reports, now)
        results.update(receipts)
    tallies.count(connection, writer, now, made, fresh)
    return [results[place] for place in range(len(batch))]


def _decide(
    connection: Connection, orders: Mapping[int, Order], rng: np.random.Generator, now: int
) -> tuple[dict[int, Answer | StoreError], list[tuple[Order, Answer]]]:
    """What every order is answered, and those that were decided just now."""
    its = {place: ids.consecutive(now, len(order.proposals)) for place, order in orders.items()}
    keys = {place: claims.hashed(order.key) for place, order in orders.items() if order.key is not None}
    first = {key: place for place, key in reversed(keys.items())}
    held = claims.claim(connection, {key: (orders[place], its[place]) for key, place in first.items()})
    new = [p for p in orders if p not in keys or (first[keys[p]] == p and held[keys[p]].first_id == its[p][0])]
    answers: dict[int, Answer | StoreError] = {}
    ledger = Ledger(connection, (orders[place].budget for place in new))
    rows: list[tuple[Any, ...]] = []
    made_at = moment(now)
    made: list[tuple[Order, Answer]] = []
    for place in new:
        order = orders[place]
        budget = order.budget
        settled = grants.settle(order.proposals, ledger.left(budget), rng, ledger.money(budget))
        if budget.is_capped:
            ledger.charge(budget, sum(s.treated for s in settled), grants.committed(order.proposals, settled))
        answer = Answer(grants.decisions(order, settled, its[place], made_at), replayed=False)
        rows += [as_row(decision, i, now) for i, decision in enumerate(answer.decisions)]
        made.append((order, answer))
        answers[place] = answer
    if rows:
        INSERT.run_many(connection, rows)
        cases.enqueue(connection, made)
    ledger.save()
    for place in sorted(orders.keys() - answers.keys()):
        order = orders[place]
        answers[place] = claims.replay(connection, order.key or "", order.digest, held[keys[place]])
    return answers, made
