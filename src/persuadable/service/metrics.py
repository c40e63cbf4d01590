"""What is counted and timed, for Prometheus. Several workers count into files that one of them adds up."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    multiprocess,
)

from persuadable.service.intake import Counts
from persuadable.service.records import Decision, Held, Receipt

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
METHODS = frozenset({"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"})
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
Across = Literal["livesum", "livemax"]
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

# A second series for each, with the time it began, is of no use here.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The service's counters. Label values are looked up once and kept, so that a request costs microseconds."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = self._counter("requests", "Requests answered.", "method", "route", "status")
        self._seconds = self._histogram("request_seconds", "Seconds to answer a request.", SECONDS, "route")
        self._decisions = self._counter("decisions", "Decisions recorded.", "action", "reason")
        self._replays = self._counter("replays", "Requests answered with decisions made before.")
        self._scored = self._counter("scored", "Units scored without being recorded.")
        self._violations = self._counter("contract_violations", "Features that broke the contract.", "code", "answer")
        self._cases = self._counter("review_cases", "Decisions held for a person, by each reason code.", "code")
        self._reviews = self._counter("reviews", "What people did with held decisions.", "event")
        self._held = self._gauge("reviews_waiting", "Decisions that wait for a person.", "livemax")
        self._outcomes = self._counter("outcomes", "Outcomes reported.", "result")
        self._shadows = self._counter("shadow_failures", "Requests the challenger could not score.")
        self._groups = self._histogram("store_group_orders", "Requests written in one transaction.", SIZES)
        self._commits = self._histogram("store_commit_seconds", "Seconds of one writing transaction.", SECONDS)
        self._waiting = self._gauge("store_waiting", "Units waiting to be written.", "livesum")
        self._bundle = self._gauge("bundle_info", "Bundles in service.", "livemax", "role", "bundle", "contract")
        self._served: set[tuple[str, str, str]] = set()
        self._by_request: dict[tuple[str, str, int], Counter] = {}
        self._by_route: dict[str, Histogram] = {}
        self._by_decision: dict[tuple[str, str], Counter] = {}
        self._by_violation: dict[tuple[str, str], Counter] = {}

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        key = (method, route, status)
        if (counter := self._by_request.get(key)) is None:
            known = method if method in METHODS else "other"
            counter = self._by_request[key] = self._requests.labels(known, route, str(status))
            if len(self._by_request) > 10_000:  # methods are the client's to invent
                self._by_request.clear()
        counter.inc()
        if (histogram := self._by_route.get(route)) is None:
            histogram = self._by_route[route] = self._seconds.labels(route)
        histogram.observe(seconds)

    def scored(self, number: int) -> None:
        """Units were scored and not recorded."""
        self._scored.inc(number)

    def decided(self, decisions: Sequence[Decision], *, replayed: bool) -> None:
        """Decisions were recorded, or answered again."""
        if replayed:
            self._replays.inc()
            return
        for decision in decisions:
            key = (decision.action, decision.reason)
            if (counter := self._by_decision.get(key)) is None:
                counter = self._by_decision[key] = self._decisions.labels(*key)
            counter.inc()
            if decision.review is not None and isinstance(decision.review, Held):
                for code in decision.review.codes:
                    self._cases.labels(code).inc()

    def reviewed(self, event: str) -> None:
        """A person did something with a case: claimed, released, approved or overrode it, or was refused."""
        self._reviews.labels(event).inc()

    def waits_for_people(self, cases: int) -> None:
        """So many cases wait for a person."""
        self._held.set(cases)

    def violated(self, counts: Counts) -> None:
        """Features broke the contract: (code, answer) → how often."""
        for key, number in counts.items():
            if (counter := self._by_violation.get(key)) is None:
                counter = self._by_violation[key] = self._violations.labels(*key)
            counter.inc(number)

    def recorded(self, receipt: Receipt) -> None:
        """Outcomes were reported."""
        self._outcomes.labels("recorded").inc(receipt.recorded)
        self._outcomes.labels("repeated").inc(receipt.repeated)
        self._outcomes.labels("corrected").inc(receipt.corrected)

    def shadow_failed(self) -> None:
        """The challenger could not score a request."""
        self._shadows.inc()

    def committed(self, requests: int, seconds: float) -> None:
        """A transaction was written, for so many requests together."""
        self._groups.observe(requests)
        self._commits.observe(seconds)

    def waiting(self, units: int) -> None:
        """So many units wait to be written."""
        self._waiting.set(units)

    def serves(self, bundles: Iterable[tuple[str, str, str]]) -> None:
        """These (role, bundle, contract) are in service, and no others: what was before is 0 from now on."""
        now = set(bundles)
        for before in self._served - now:
            self._bundle.labels(*before).set(0)
        for one in now:
            self._bundle.labels(*one).set(1)
        self._served |= now

    def render(self) -> bytes:
        """Everything, in Prometheus' text format; of all workers, where there are several."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"persuadable_{name}", what, labels, registry=self._registry)

    def _histogram(self, name: str, what: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"persuadable_{name}", what, labels, buckets=buckets, registry=self._registry)

    def _gauge(self, name: str, what: str, across: Across, *labels: str) -> Gauge:
        return Gauge(f"persuadable_{name}", what, labels, multiprocess_mode=across, registry=self._registry)
