"""``persuadable bench service``: what deciding over HTTP costs, beside the least a FastAPI handler can do."""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from persuadable.bench import workload
from persuadable.bench.race import as_text, described, processor
from persuadable.bench.servers import Server, load, serving, trivial
from persuadable.bench.soak import Memory, soak
from persuadable.errors import ParameterError, PersuadableError

if TYPE_CHECKING:
    from rich.table import Table

    from persuadable.bundle import Bundle

__all__ = ["Batch", "Case", "ServiceSpeed", "service_speed"]

FLOOR = "trivial GET"
SPELLS = 3
POOL = 512  # distinct users whose requests are sent in turn


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of request.

    Attributes:
        name: what is asked.
        per_second: median over the rounds of the requests per second of the closed loop: the highest load.
        ratio: median over the rounds of that, over the trivial GET's in the same round.
        cpu: median server CPU microseconds of one request.
        cpu_ratio: median over the rounds of the trivial GET's CPU time over this one's: the ratio of the requests per
            second that a processor without other work would serve.
        p50, p99: latency in milliseconds at half of the highest load, counted from when each request was due; medians
            over three spells.
        half: that load, in requests per second.
        late: median over the spells of the 99% quantile of the milliseconds by which the load's own process was late:
            what of ``p99`` the server cannot be blamed for.
        p99s: of every spell.
        rounds: requests per second of every round.
        cpus: CPU microseconds per request of every round.
    """

    name: str
    per_second: float
    ratio: float
    cpu: float
    cpu_ratio: float
    p50: float
    p99: float
    half: float
    late: float
    p99s: tuple[float, ...]
    rounds: tuple[float, ...]
    cpus: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Many users at once.

    Attributes:
        name: how.
        users: how many.
        per_second: median users per second.
        cpu: median CPU microseconds per user, the server's where there is one.
    """

    name: str
    users: int
    per_second: float
    cpu: float


@dataclass(frozen=True, slots=True)
class ServiceSpeed:
    """What the service costs.

    Attributes:
        settings: sizes, rounds, connections; milliseconds that making a write durable takes on this disk.
        cases: a row per kind of request, the trivial handlers first.
        batches: a row per way of scoring many.
        memory: of the service over the soak; None where there was none.
        machine: processor, processors, system and Python, and how many processes wanted a processor before it began.
    """

    settings: Mapping[str, Any]
    cases: tuple[Case, ...]
    batches: tuple[Batch, ...]
    memory: Memory | None
    machine: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Case:
        return next(case for case in self.cases if case.name == name)

    def table(self) -> Table:
        """The kinds of request as a table for the terminal."""
        from rich.table import Table

        table = Table(title=f"The service, one worker\n{described(self.settings)}", title_justify="left")
        table.add_column("request")
        heads = ("requests/s", f"× {FLOOR}", "CPU µs", f"{FLOOR} CPU ÷", "at half load/s", "p50 ms", "p99 ms")
        for heading in heads:
            table.add_column(heading, justify="right")
        for c in self.cases:
            numbers = (f"{c.per_second:,.0f}", f"{c.ratio:.2f}", f"{c.cpu:.0f}", f"{c.cpu_ratio:.2f}")
            table.add_row(c.name, *numbers, f"{c.half:,.0f}", f"{c.p50:.2f}", f"{c.p99:.2f}")
        return table

    def __str__(self) -> str:
        told = [f"{b.name}: {b.per_second:,.0f} users/s, {b.cpu:.2f} CPU µs each" for b in self.batches]
        return "\n".join([as_text(self.table()), *told, *([str(self.memory)] if self.memory else [])])

    def save(self, path: str | Path) -> Path:
        """Write everything as JSON."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        return target


@dataclass(frozen=True, slots=True)
class _Contestant:
    name: str
    server: Server
    requests: Sequence[str]


def service_speed(
    rounds: int = 5,
    seconds: float = 5.0,
    connections: int = 32,
    *,
    trees: int = 100,
    depth: int = 4,
    rows: int = 20_000,
    resamples: int = 20,
    latency_seconds: float = 30.0,
    users: int = 100_000,
    soak_seconds: float = 0.0,
    threads: int = 2,
    folder: str | Path | None = None,
    out: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> ServiceSpeed:
    """Requests per second, CPU time, latency and memory of ``persuadable serve``, beside trivial FastAPI handlers.

    Every server is a process of its own with one worker and the same uvicorn flags; the load comes from another
    process on this machine. Rounds are interleaved, so that a slow spell hits each alike, and ratios are taken within
    a round. ``/v1/score`` and ``/v1/decide`` check twelve features of one user against the contract and score four
    ensembles; each decision is about a fresh user, has an idempotency key of its own, and is durable on SQLite
    before it is answered.

    Args:
        rounds: of every kind of request.
        seconds: of one round of one kind.
        connections: kept busy.
        trees, depth: of each of the four ensembles.
        rows: of the experiment they are fitted on.
        resamples: half-samples of the bundle with intervals; below 2 that case is left out.
        latency_seconds: how long half of the highest load is held, in three spells.
        users: scored at once.
        soak_seconds: how long memory is watched under half of the highest load; 0 for not at all.
        threads: to fit with.
        folder: where the stores lie, which is to say on which disk decisions are made durable; temporary by default.
        out: where to write the result as JSON.
        say: called with a line of progress.

    Raises:
        ParameterError: a number below 1, or a system without ``/proc``.
        PersuadableError: a server that does not start, or answers anything but 200.
    """
    for name, value in {"rounds": rounds, "connections": connections, "trees": trees, "users": users}.items():
        if value < 1:
            raise ParameterError(f"{name} must be at least 1, got {value!r}")
    tell = say or (lambda line: None)
    machine = _machine()
    with tempfile.TemporaryDirectory(dir=folder) as scratch, ExitStack() as stack:
        place = Path(scratch)
        tell("fitting the bundles")
        sizes = {"trees": trees, "depth": depth, "rows": rows, "threads": threads}
        plain = workload.bundle(place / "plain", **sizes, resamples=0)
        pool = workload.rows(workload.users(POOL))
        handlers = stack.enter_context(trivial(place / "trivial.log"))
        service = stack.enter_context(serving(place / "plain", _store(place, "plain"), place / "plain.log"))
        contestants = [
            _Contestant(FLOOR, handlers, workload.get("/")),
            _Contestant("trivial validated POST", handlers, workload.requests("/validated", pool)),
            _Contestant("/v1/score", service, workload.requests("/v1/score", pool)),
            _Contestant("/v1/decide", service, workload.requests("/v1/decide", pool, keyed=True)),
        ]
        if resamples >= 2:
            workload.bundle(place / "intervals", **sizes, resamples=resamples)
            other = stack.enter_context(serving(place / "intervals", _store(place, "other"), place / "other.log"))
            name = f"/v1/score, intervals of {resamples} half-samples"
            contestants.append(_Contestant(name, other, workload.requests("/v1/score", pool)))
        cases = _cases(contestants, rounds, seconds, connections, latency_seconds, tell)
        batches = (
            _in_process(plain, users, tell),
            _over_http(service, users, tell),
        )
        memory = None
        if soak_seconds:
            tell(f"watching memory for {soak_seconds:,.0f} s")
            asked = [r for pair in zip(contestants[2].requests, contestants[3].requests, strict=True) for r in pair]
            rate = cases[3].half
            memory = soak(service, asked, rate=rate, seconds=soak_seconds, connections=connections)
        settings = {
            "models": workload.MODELS,
            **{"trees": trees, "depth": depth, "features": 12},
            **{"connections": connections, "rounds": rounds, "seconds": seconds},
            "fsync_ms": round(_fsync(place), 3),
        }
    result = ServiceSpeed(settings, cases, batches, memory, machine)
    if out is not None:
        result.save(out)
    return result


def _cases(
    contestants: Sequence[_Contestant],
    rounds: int,
    seconds: float,
    connections: int,
    latency_seconds: float,
    tell: Callable[[str], None],
) -> tuple[Case, ...]:
    """Interleaved rounds at the highest load, then each at half of its own."""
    number = 0
    speeds: dict[str, list[float]] = {c.name: [] for c in contestants}
    cpus: dict[str, list[float]] = {c.name: [] for c in contestants}
    for turn in range(rounds + 1):  # the first is to warm up
        for c in contestants:
            lasting = seconds if turn else min(1.0, seconds)
            told = load(c.server, c.requests, connections=connections, seconds=lasting, first=number)
            number += told["answered"]
            if turn:
                speeds[c.name].append(told["per_second"])
                cpus[c.name].append(1e6 * told["server_cpu"] / told["answered"])
                tell(f"round {turn}/{rounds}  {c.name}: {told['per_second']:,.0f}/s, {cpus[c.name][-1]:.0f} CPU µs")
    halves = {name: median(found) / 2 for name, found in speeds.items()}
    spells: dict[str, list[Mapping[str, Any]]] = {c.name: [] for c in contestants}
    for _ in range(SPELLS):
        for c in contestants:
            told = load(
                c.server,
                c.requests,
                connections=connections,
                seconds=latency_seconds / SPELLS,
                first=number,
                rate=halves[c.name],
            )
            number += told["answered"]
            spells[c.name].append(told)
            late = told["latency_ms"]
            tell(f"half load  {c.name}: {halves[c.name]:,.0f}/s, p50 {late['p50']:.2f} ms, p99 {late['p99']:.2f} ms")
    return tuple(
        Case(
            name=c.name,
            per_second=median(speeds[c.name]),
            ratio=median(ours / least for ours, least in zip(speeds[c.name], speeds[FLOOR], strict=True)),
            cpu=median(cpus[c.name]),
            cpu_ratio=median(least / ours for ours, least in zip(cpus[c.name], cpus[FLOOR], strict=True)),
            p50=median(told["latency_ms"]["p50"] for told in spells[c.name]),
            p99=median(told["latency_ms"]["p99"] for told in spells[c.name]),
            half=halves[c.name],
            late=median(told["client_late_ms"]["p99"] for told in spells[c.name]),
            p99s=tuple(told["latency_ms"]["p99"] for told in spells[c.name]),
            rounds=tuple(speeds[c.name]),
            cpus=tuple(round(cpu, 2) for cpu in cpus[c.name]),
        )
        for c in contestants
    )


def _in_process(bundle: Bundle, n: int, tell: Callable[[str], None]) -> Batch:
    """Compiled effects of many users and whom the budget treats, without HTTP."""
    from persuadable.effects.compiled import CompiledLearner
    from persuadable.policies import BudgetPolicy

    learner, policy = CompiledLearner(bundle.learner), bundle.policy
    learner.warm()
    values = workload.users(n).values
    assert isinstance(policy, BudgetPolicy)
    threshold = policy.threshold  # of net effects, which without costs and break-even are the effects
    took = []
    for _ in range(5):
        wall, cpu = time.perf_counter(), time.process_time()
        treated = learner.effects(values)[:, 1:].max(axis=1) >= threshold
        took.append((time.perf_counter() - wall, time.process_time() - cpu))
    if not 0 < treated.sum() < n:
        raise PersuadableError("The budget treats everybody or nobody: the scores cannot be right")
    wall, cpu = (median(side) for side in zip(*took, strict=True))
    tell(f"in process: {n / wall:,.0f} users/s")
    return Batch("scored in process", n, n / wall, 1e6 * cpu / n)


def _over_http(server: Server, n: int, tell: Callable[[str], None]) -> Batch:
    """Decided and recorded by ``/v1/decide/batch``."""
    body = workload.lines(workload.rows(workload.users(n)))
    cpu, wall = server.cpu(), time.perf_counter()
    status, answer = server.ask("/v1/decide/batch?budget_share=0.3", body, "application/x-ndjson")
    cpu, wall = server.cpu() - cpu, time.perf_counter() - wall
    if status != 200 or answer.count(b'"decision_id"') != n:
        raise PersuadableError(f"The batch was answered with status {status}: {answer[:500]!r}")
    tell(f"/v1/decide/batch: {n / wall:,.0f} users/s")
    return Batch("decided by /v1/decide/batch, durable", n, n / wall, 1e6 * cpu / n)


def _store(place: Path, name: str) -> str:
    return f"sqlite:///{place / name}.db"


def _fsync(place: Path, times: int = 100) -> float:
    """Milliseconds it takes to make 4 KiB durable on this disk."""
    took = []
    with (place / "fsync").open("wb") as file:
        for _ in range(times):
            file.write(b"x" * 4096)
            file.flush()
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - start)
    return 1_000 * median(took)


def _machine() -> dict[str, Any]:
    system = {"processor": processor(), "processors": os.cpu_count(), "system": platform.system()}
    return system | {"python": platform.python_version(), "load_before": round(os.getloadavg()[0], 2)}
