"""``persuadable bench service`` in small: every part runs, and the figures are what they say."""

from __future__ import annotations

import json

import pytest

from persuadable import bench
from persuadable.bench import workload
from persuadable.bench.load import SERIAL
from persuadable.bundle import Bundle
from persuadable.contract import FeatureContract
from persuadable.errors import ParameterError

pytest.importorskip("fastapi")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("bench") / "service.json"
    said = []
    result = bench.service_speed(
        rounds=2, seconds=0.3, connections=4, trees=5, depth=2, rows=2_000, resamples=2, latency_seconds=0.9,
        users=2_000, threads=1, out=out, say=said.append,
    )  # fmt: skip
    return result, json.loads(out.read_text(encoding="utf-8")), said


def test_every_kind_of_request_is_measured_beside_the_trivial_handler(found):
    result, saved, said = found
    names = [case.name for case in result.cases]
    assert names[:4] == ["trivial GET", "trivial validated POST", "/v1/score", "/v1/decide"]
    assert names[4] == "/v1/score, intervals of 2 half-samples"
    assert result["trivial GET"].ratio == result["trivial GET"].cpu_ratio == 1
    for case in result.cases:
        assert len(case.rounds) == len(case.cpus) == 2
        assert min(case.rounds) <= case.per_second <= max(case.rounds)
        assert case.half == pytest.approx(case.per_second / 2)
        assert 0 < case.p50 <= case.p99
        assert sorted(case.p99s)[1] == case.p99
        assert case.late >= 0
        assert case.cpu > 0
    assert [case["name"] for case in saved["cases"]] == names
    assert saved["memory"] is None
    assert len([line for line in said if line.startswith("round")]) == 2 * 5


def test_many_users_are_scored_in_process_and_decided_over_http(found):
    result, _, _ = found
    assert [batch.users for batch in result.batches] == [2_000, 2_000]
    assert result.batches[0].per_second > result.batches[1].per_second > 0
    assert "users/s" in str(result)
    assert "/v1/decide" in str(result)


def test_each_request_is_about_somebody_else_and_fulfils_the_contract(tmp_path):
    made = workload.bundle(tmp_path / "bundle", trees=3, depth=2, rows=2_000, resamples=0, threads=1)
    assert Bundle.load(tmp_path / "bundle").version == made.version
    users = workload.users(5)
    rows = workload.rows(users)
    assert len(rows) == 5
    assert isinstance(made.contract, FeatureContract)
    assert set(rows[0]) == {column.name for column in made.contract.columns}
    assert {v.code for v in made.contract.check(users)} <= {"out-of-range"}
    text = workload.requests("/v1/decide", rows, keyed=True)[0]
    head, body = text.split("\r\n\r\n")
    assert f"Content-Length: {len(body)}" in head
    assert f"Idempotency-Key: bench-{SERIAL.decode()}" in head
    assert json.loads(body)["units"][0] == {"unit": SERIAL.decode(), "features": rows[0]}


def test_impossible_numbers_are_refused():
    with pytest.raises(ParameterError, match="rounds must be at least 1"):
        bench.service_speed(rounds=0)
