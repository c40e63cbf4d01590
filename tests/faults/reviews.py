"""The queue of reviews under kill -9: people claim and decide while workers die, and what they were told stays true."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from threading import Barrier
from typing import Any

from tests.faults.client import PATIENCE, ask, insist
from tests.faults.rig import Service, database, rows_of, scratch, serve, until

from persuadable.bench import workload
from persuadable.effects import XLearner
from persuadable.engine import LocalEngine, Trees

__all__ = ["claims", "queue", "reviewed_bundle"]

AGAIN = {0, 429, 503, 507}
STATES = ("open", "claimed", "approved", "overridden")


def reviewed_bundle(folder: Path) -> Path:
    """A small bundle that leaves a good third of its decisions to people."""
    import persuadable as ps

    train, rest = workload.WORLD.sample(4_000, random_state=1).split(0.5, random_state=1)
    test, held_out = rest.split(0.5, random_state=2)
    trees, engine = Trees(n_trees=10, max_depth=3), LocalEngine(threads=1, progress=False)
    learner = XLearner(form="two-model", trees=trees, n_resamples=4, engine=engine).fit(train)
    policy = ps.policies.BudgetPolicy(learner, 0.5, break_even=-10.0).calibrate(test)
    review = ps.policies.review(policy, held_out, 0.35)
    ps.Bundle.build(learner, policy, train, review=review).save(folder / "bundle")
    return folder / "bundle"


class Reviewers:
    """People who claim the most pressing case and decide it, each of them again and again until it is acknowledged.

    Several of them fight for the same cases. What each was told is kept, and held to the store in the end.
    """

    def __init__(self, service: Service, people: int, seed: int) -> None:
        self.service, self.enough, self.failed = service, threading.Event(), list[BaseException]()
        self.made: dict[str, Mapping[str, Any]] = {}
        self.held: dict[str, Mapping[str, Any]] = {}
        self.lost: Counter[str] = Counter()
        self.asked = 0
        self.lock = threading.Lock()
        jobs = [(self._decide, 0), *((self._review, i) for i in range(people))]
        self.threads = [
            threading.Thread(target=self._guarded, args=(job, i, random.Random(1_000 * seed + place)))
            for place, (job, i) in enumerate(jobs)
        ]

    def __enter__(self) -> Reviewers:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.enough.set()
        for thread in self.threads:
            thread.join()
        if self.failed:
            raise AssertionError(f"a client failed; the service said:\n{self.service.tail()}") from self.failed[0]

    def _guarded(self, job: Any, number: int, rng: random.Random) -> None:
        try:
            turn = 0
            while not self.enough.is_set():
                job(number, turn, rng)
                turn += 1
                time.sleep(rng.random() * 0.05)
        except BaseException as error:
            self.failed.append(error)
            self.enough.set()

    def _decide(self, number: int, turn: int, rng: random.Random) -> None:
        pool = workload.rows(workload.users(200, seed=3))
        units = [{"unit": f"u-{turn}-{i}", "features": rng.choice(pool)} for i in range(8)]
        told, _, _ = insist(self.service.port, "/v1/decide", {"units": units, "budget_share": 0.5}, f"d-{turn}")
        with self.lock:
            self.held |= {d["decision_id"]: d for d in told["decisions"] if d["reason"] == "review"}

    def _review(self, number: int, turn: int, rng: random.Random) -> None:
        """Claim one of the first cases and decide it, or leave it to whoever has it."""
        me = f"reviewer {number}"
        status, page = self._insist("GET", "/v1/reviews?limit=3", None)
        assert status == 200, page
        if not page["cases"]:
            return
        case = rng.choice(page["cases"])
        path = f"/v1/reviews/{case['decision_id']}"
        status, told = self._insist("POST", f"{path}/claim", {"reviewer": me})
        if status == 409:
            assert told["holder"]["by"] != me, told
            with self.lock:
                self.lost["to another"] += 1
            return
        assert (status, told["claim"]["by"]) == (200, me), told
        others = [action for action in case["actions"] if action != case["proposed"]]
        body: dict[str, Any] = {"reviewer": me}
        verb = "approve"
        if rng.random() < 0.4:
            verb, body = "override", {**body, "action": rng.choice(others), "why": f"turn {turn}"}
        status, told = self._insist("POST", f"{path}/{verb}", body)
        assert status == 200, told
        with self.lock:
            assert case["decision_id"] not in self.made, "a case was decided twice"
            self.made[case["decision_id"]] = told

    def _insist(self, verb: str, path: str, body: Any) -> tuple[int, Any]:
        status, answer, asked = persist(self.service.port, verb, path, body)
        with self.lock:
            self.asked += asked
        return status, answer


def persist(port: int, verb: str, path: str, body: Any = None) -> tuple[int, Any, int]:
    """Ask until it is answered for good, and how often; what breaks off is asked again, word for word."""
    deadline, asked = time.monotonic() + PATIENCE, 0
    while True:
        asked += 1
        try:
            status, _, answer = ask(port, verb, path, body)
        except (OSError, HTTPException, json.JSONDecodeError) as error:
            status, answer = 0, repr(error)
        if status not in AGAIN:
            return status, answer, asked
        assert time.monotonic() < deadline, (status, answer)
        time.sleep(0.05)


def queue(kind: str, bundle: Path, *, times: int, people: int = 4, seed: int = 0) -> dict[str, Any]:
    """Kill serving workers with SIGKILL while decisions are held and people claim and decide them.

    Holds: every held decision is a case, once; every case a person was told is theirs was decided by them, once, as
    they said; the decision they made is in the log with probability 1; nobody was given a case that somebody else had.
    """
    rng = random.Random(seed)
    with scratch() as folder, database(kind, folder) as (url, _), serve(bundle, url, folder) as service:
        killed = 0
        with Reviewers(service, people, seed) as crew:
            while killed < times and not crew.enough.is_set():
                seen = len(crew.made)
                until(lambda seen=seen: len(crew.made) > seen + people or crew.enough.is_set(), 60, "people decide")
                time.sleep(rng.random() / 3)
                for worker in service.workers()[: 2 if killed % 3 == 2 else 1]:
                    worker.kill()
                    killed += 1
        _audit(url, service, crew)
        return {
            "database": kind,
            "kills": killed,
            "reviewers": people,
            "cases": len(crew.held),
            "decided by people": len(crew.made),
            "claimed in vain": crew.lost["to another"],
            "requests": crew.asked,
            "lost": 0,
            "doubled": 0,
        }


def claims(kind: str, bundle: Path, *, rounds: int, people: int = 6, seed: int = 0) -> dict[str, Any]:
    """Have several people claim one case at the same moment, and then decide it; every fifth time a worker is killed.

    Holds: of those who claim exactly one has the case and all others are told who; of those who decide it is this one
    whose word counts, and one decision is made.
    """
    with (
        scratch() as folder,
        database(kind, folder) as (url, _),
        serve(bundle, url, folder) as service,
        ThreadPoolExecutor(people) as pool,
        ThreadPoolExecutor(1) as killer,
    ):
        asked = killed = lost = 0
        start = Barrier(people)

        def at_once(path: str) -> list[tuple[int, Any, int]]:
            def one(me: int) -> tuple[int, Any, int]:
                start.wait(PATIENCE)
                return persist(service.port, "POST", path, {"reviewer": f"reviewer {me}"})

            return list(pool.map(one, range(people)))

        for turn, case in enumerate(_waiting_cases(service, rounds, seed)):
            place, over = f"/v1/reviews/{case}", threading.Event()
            killing = killer.submit(_kill_one, service, over) if turn % 5 == 4 else None
            told = at_once(f"{place}/claim")
            won = [answer["claim"]["by"] for status, answer, _ in told if status == 200]
            assert len(won) == 1, f"{len(won)} people have one case"
            others = [answer["holder"]["by"] for status, answer, _ in told if status == 409]
            assert others == won * (people - 1), "who has it is told otherwise"
            done = at_once(f"{place}/approve")
            by = [answer["resolution"]["by"] for status, answer, _ in done if status == 200]
            assert by == won, f"{by} decided the case of {won}"
            lost += len(others)
            asked += sum(times for *_, times in told + done)
            over.set()
            killed += 0 if killing is None else killing.result()
        people_made = rows_of(url, "SELECT count(*) FROM decisions WHERE reason = 'approved'")[0][0]
        assert people_made == rounds, "a case was decided twice, or not at all"
        return {
            "database": kind,
            "people at once": people,
            "cases": rounds,
            "claims that won": rounds,
            "claims that lost": lost,
            "cases with another number of winners than one": 0,
            "decisions made": int(people_made),
            "workers killed meanwhile": killed,
            "requests": asked,
        }


def _kill_one(service: Service, over: threading.Event) -> int:
    """Kill the first worker that is seen to answer somebody; 0 where none was seen before it was over."""
    while not over.is_set():
        for worker in service.workers():
            worker.kill()
            return 1
    return 0


def _waiting_cases(service: Service, number: int, seed: int) -> list[str]:
    """Ids of so many cases that wait."""
    pool = workload.rows(workload.users(400, seed=seed))
    found: list[str] = []
    while len(found) < number:
        units = [{"unit": f"u-{len(found)}-{i}", "features": row} for i, row in enumerate(pool[:200])]
        told, _, _ = insist(service.port, "/v1/decide", {"units": units, "budget_share": 0.5})
        found += [d["decision_id"] for d in told["decisions"] if d["reason"] == "review"]
        assert found, "nothing is left to people"
    return found[:number]


def _audit(url: str, service: Service, crew: Reviewers) -> None:
    """Hold the store to what clients were told.

    Raises:
        AssertionError: something acknowledged is missing, different or doubled.
    """
    held = {row[0]: row[1:] for row in rows_of(url, "SELECT decision_id, state, resolved_by, resolution FROM reviews")}
    decided = {row[0] for row in rows_of(url, "SELECT decision_id FROM decisions WHERE reason = 'review'")}
    assert set(held) == decided, "a held decision without a case, or a case without one"
    assert set(crew.held) <= decided, "an acknowledged decision that was held is lost"
    people = {
        row[0] for row in rows_of(url, "SELECT decision_id FROM decisions WHERE reason IN ('approved', 'overridden')")
    }
    assert people == {row[2] for row in held.values() if row[2] is not None}, "a person's decision lost or doubled"
    for case, told in crew.made.items():
        done = told["resolution"]
        assert held[case] == (told["state"], done["by"], done["decision_id"]), "a case changed after it was decided"
        status, _, record = ask(service.port, "GET", f"/v1/decisions/{done['decision_id']}")
        assert status == 200
        assert record["action"] == done["action"]
        assert record["propensities"] == {a: float(a == done["action"]) for a in record["propensities"]}
        proposal = {name: crew.held[case]["review"][name] for name in ("proposed", "propensities")}
        assert record["review"] == {"case": case, "by": done["by"], "why": done["why"], **proposal}
    waiting = sum(state == "waiting" for state, _, _ in held.values())
    until(lambda: ask(service.port, "GET", "/v1/reviews?limit=1")[2]["waiting"] == waiting, 10, "the queue is counted")
