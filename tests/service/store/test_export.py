"""The log comes back out as a file that a DecisionLog is read from, with what was decided and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from orders import order, proposal, reports

from persuadable import DecisionLog
from persuadable.errors import ParameterError
from persuadable.features import Column
from persuadable.service.records import Answer, Decision, OutcomeReport, Proposal
from persuadable.service.store import MixedExport, Store, StoreError
from persuadable.service.store import export as rooms

ACTIONS = ("none", "mail", "call")
COLUMNS = (Column("age"), Column("channel", "category", ("phone", "web")))
BASE: dict[str, Any] = {"columns": COLUMNS, "actions": ACTIONS, "contract": "contract-1"}


def decide(store: Store, proposals: Sequence[Proposal], **told: Any) -> list[Decision]:
    (answer,) = store.write([order(*proposals, **told)], np.random.default_rng(3))
    assert isinstance(answer, Answer)
    return list(answer.decisions)


def say(store: Store, *told: OutcomeReport) -> None:
    store.write([reports(*told)], np.random.default_rng(0))


def varied(n: int) -> list[Proposal]:
    treatments = ("mail", "call")
    return [
        proposal(
            f"u{i}",
            i / n,
            (0.0, 0.5, 1.0)[i % 3],
            features={"age": 20 + i, "channel": ("web", "phone")[i % 2]},
            treatment=treatments[i // 3 % 2],
        )
        for i in range(n)
    ]


def test_a_decision_log_is_read_from_it_without_arguments(store: Store, tmp_path: Path) -> None:
    made = decide(store, varied(60))
    say(store, *(OutcomeReport(d.decision_id or "", "visit", float(i % 2)) for i, d in enumerate(made)))
    say(store, *(OutcomeReport(d.decision_id or "", "spend", i / 8) for i, d in enumerate(made)))
    assert store.export(tmp_path / "log.parquet", primary="visit", **BASE) == 60
    log = DecisionLog.read(tmp_path / "log.parquet")
    assert log.actions.names == ACTIONS
    assert list(log.outcomes) == ["visit", "spend"]
    assert [log.actions.names[code] for code in log.action] == [d.action for d in made]
    assert log.propensity().tolist() == [list(d.propensities.values()) for d in made]
    assert log.unit is not None
    assert log.unit.tolist() == [d.unit for d in made]
    assert log.outcome("spend").tolist() == [i / 8 for i in range(60)]
    assert log.features.columns == COLUMNS
    assert log.features.values[:, 0].tolist() == list(range(20, 80))
    assert log.time is not None
    assert log.time[0] == np.datetime64(made[0].made_at.replace(tzinfo=None))


def test_the_value_in_force_is_exported(store: Store, tmp_path: Path) -> None:
    first, second, third = decide(store, varied(3))
    noon = datetime(2030, 1, 1, 12, tzinfo=UTC)
    for minutes, value in ((5, 2.0), (9, 3.0), (1, 1.0)):
        say(store, OutcomeReport(first.decision_id or "", "spend", value, noon + timedelta(minutes=minutes)))
    say(
        store,
        OutcomeReport(second.decision_id or "", "visit", 0.0),
        OutcomeReport(third.decision_id or "", "visit", 1.0),
    )
    say(store, OutcomeReport(third.decision_id or "", "spend", 7.0))
    found = {}
    for missing in ("null", "zero", "drop"):
        store.export(tmp_path / "log.parquet", missing=missing, primary="visit", **BASE)  # type: ignore[arg-type]
        frame = pl.read_parquet(tmp_path / "log.parquet")
        found[missing] = frame.select("unit", "visit", "spend").rows()
    assert found["null"] == [("u0", None, 3.0), ("u1", 0.0, None), ("u2", 1.0, 7.0)]
    assert found["zero"] == [("u0", 0.0, 3.0), ("u1", 0.0, 0.0), ("u2", 1.0, 7.0)]
    assert found["drop"] == [("u2", 1.0, 7.0)]
    with pytest.raises(ParameterError, match="missing='mean'"):
        store.export(tmp_path / "log.parquet", missing="mean", **BASE)  # type: ignore[arg-type]


def test_features_are_those_received_as_far_as_trees_read_them(store: Store, tmp_path: Path) -> None:
    received = [
        ({"age": 1, "channel": "sms", "extra": 5}, (1.0, "sms")),
        ({"age": True, "channel": 4}, (1.0, "4")),
        ({"age": "old", "channel": 4.0}, (None, "4")),
        ({"age": None, "channel": None}, (None, None)),
        ({}, (None, None)),
        ({"age": [1], "channel": {"a": 1}}, (None, None)),
        ({"age": 1e300, "channel": True}, (float(np.finfo(np.float32).max), "True")),
    ]
    decide(store, [proposal(f"u{i}", features=told) for i, (told, _) in enumerate(received)])
    store.export(tmp_path / "log.parquet", **BASE)
    frame = pl.read_parquet(tmp_path / "log.parquet")
    assert frame.select("age", "channel").rows() == [wanted for _, wanted in received]
    assert "extra" not in frame.columns


def test_features_keep_their_names_and_ours_give_way(store: Store, tmp_path: Path) -> None:
    names = ["unit", "time", "visit", "visit_", "action", "propensity of none"]
    columns = [Column(name) for name in names]
    features = [{name: float(10 * i + j) for j, name in enumerate(names)} for i in range(4)]
    made = decide(store, [proposal(f"u{i}", chance=i % 2, features=told) for i, told in enumerate(features)])
    say(store, *(OutcomeReport(d.decision_id or "", "visit", 1.0) for d in made))
    store.export(tmp_path / "log.parquet", columns=columns, actions=ACTIONS, contract="contract-1")
    log = DecisionLog.read(tmp_path / "log.parquet")
    assert log.features.names == names
    assert log.features.values.tolist() == [list(told.values()) for told in features]
    assert log.unit is not None
    assert log.unit.tolist() == ["u0", "u1", "u2", "u3"]
    assert list(log.outcomes) == ["visit__"]


def test_only_the_decisions_asked_for(store: Store, tmp_path: Path) -> None:
    def units(**which: Any) -> list[str]:
        n = store.export(tmp_path / "log.parquet", **BASE, **which)
        found = pl.read_parquet(tmp_path / "log.parquet")["unit"].to_list()
        assert n == len(found)
        return found

    (early,) = decide(store, [proposal("early")], campaign="a")
    (later,) = decide(store, [proposal("later")], campaign="b", bundle="bundle-2")
    (last,) = decide(store, [proposal("last")], campaign="b")
    tick = timedelta(microseconds=1)
    assert units() == ["early", "later", "last"]
    assert units(campaign="b") == ["later", "last"]
    assert units(bundle="bundle-1") == ["early", "last"]
    assert units(bundle="bundle-1", campaign="b") == ["last"]
    assert units(since=later.made_at) == ["later", "last"]
    assert units(since=later.made_at + tick) == ["last"]
    assert units(until=later.made_at) == ["early"]
    assert units(until=last.made_at + tick) == ["early", "later", "last"]
    assert units(since=early.made_at, until=early.made_at + tick) == ["early"]
    assert units(since=last.made_at + timedelta(days=1)) == []
    assert units(campaign="'; DROP TABLE decisions; --") == []
    assert units(until=datetime(1, 1, 1, tzinfo=UTC)) == []


def test_outcomes_of_other_decisions_make_no_column(store: Store, tmp_path: Path) -> None:
    (one,), (other,) = decide(store, [proposal("u")]), decide(store, [proposal("v")], campaign="b")
    say(store, OutcomeReport(one.decision_id or "", "visit", 1.0), OutcomeReport(other.decision_id or "", "call", 1.0))
    store.export(tmp_path / "log.parquet", campaign="default", **BASE)
    frame = pl.read_parquet(tmp_path / "log.parquet")
    assert "call" not in frame.columns
    assert frame["visit"].to_list() == [1.0]


def test_another_contract_or_other_actions_are_refused_by_name(store: Store, tmp_path: Path) -> None:
    decide(store, [proposal("u")])
    decide(store, [proposal("v")], bundle="bundle-2", contract="contract-2")
    target = tmp_path / "log.parquet"
    with pytest.raises(MixedExport, match="bundles bundle-1, bundle-2") as caught:
        store.export(target, **BASE)
    assert caught.value.bundles == ("bundle-1", "bundle-2")
    assert store.export(target, bundle="bundle-1", **BASE) == 1
    decide(store, [proposal("w")], bundle="bundle-3", actions=("none", "mail", "call", "fax"))
    with pytest.raises(MixedExport, match="bundles bundle-3"):
        store.export(target, bundle="bundle-3", **BASE)
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".parquet"] == ["log.parquet"]
    assert len(pl.read_parquet(target)) == 1, "the file that was there is as it was"


def test_many_pages_are_one_file(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "PAGE", 7)
    made = decide(store, varied(50))
    say(store, *(OutcomeReport(d.decision_id or "", "visit", float(i)) for i, d in enumerate(made)))
    assert store.export(tmp_path / "log.parquet", **BASE) == 50
    frame = pl.read_parquet(tmp_path / "log.parquet")
    assert frame["decision_id"].to_list() == [d.decision_id for d in made]
    assert frame["visit"].to_list() == [float(i) for i in range(50)]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".export")]


def test_what_is_decided_meanwhile_is_not_in_it(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One state of the database is exported, though it is read page by page."""
    one, other = Store.open(store_url), Store.open(store_url)
    monkeypatch.setattr(rooms, "PAGE", 2)
    made = decide(one, varied(6))
    plain, pages = rooms.Layout.frame, iter(range(3))

    def slow(self: Any, rows: Any, *rest: Any) -> Any:
        if rows and next(pages, None) is not None:
            decide(other, [proposal("meanwhile")])
            say(other, OutcomeReport(made[-1].decision_id or "", "visit", 1.0))
            other.erase("u5")
        return plain(self, rows, *rest)

    monkeypatch.setattr(rooms.Layout, "frame", slow)
    assert one.export(tmp_path / "log.parquet", **BASE) == 6
    assert pl.read_parquet(tmp_path / "log.parquet")["unit"].to_list() == [f"u{i}" for i in range(6)]
    one.close()
    other.close()


def test_a_folder_that_is_not_there_is_said(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written: No such file or directory"):
        store.export(tmp_path / "nowhere" / "log.parquet", **BASE)
