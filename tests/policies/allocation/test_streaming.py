"""Units that stand in files get the actions they would get in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from persuadable.errors import ActionError, DataError, ParameterError
from persuadable.policies import Allocation, ScaleWarning, allocate, allocate_parquet
from persuadable.policies.allocation.problem import BLOCK

OFFERS = ("mail", "call", "voucher")
N = 80_000


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    rng = np.random.default_rng(5)
    value, cost = rng.normal(0.3, 1.0, (N, 3)), rng.exponential(size=(N, 3)).astype(np.float32)
    columns: dict[str, Any] = {"id": [f"u{i:06}" for i in range(N)]}
    for k, offer in enumerate(OFFERS):
        columns |= {f"v_{offer}": value[:, k], f"c_{offer}": cost[:, k], f"e_{offer}": rng.random(N) < 0.7}
        columns[f"s_{offer}"] = rng.exponential(0.2, N)
    frame = pl.DataFrame(columns)
    # What is not eligible may be missing.
    return frame.with_columns(pl.when("e_call").then("v_call").alias("v_call"))


@pytest.fixture(scope="module")
def file(table: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("units") / "units.parquet"
    table.write_parquet(path, row_group_size=20_000)
    return path


def named(kind: str) -> dict[str, str]:
    return {offer: f"{kind}_{offer}" for offer in OFFERS}


def in_memory(table: pl.DataFrame, **more: Any) -> Allocation:
    def side_by_side(kind: str, first: Any) -> Any:
        return np.column_stack([np.full(len(table), first), table.select(list(named(kind).values())).to_numpy()])

    if more.get("averse"):
        more["value_stderr"] = side_by_side("s", 0.0)
    return allocate(
        side_by_side("v", 0.0),
        side_by_side("c", 0.0),
        eligible=side_by_side("e", True).astype(bool),
        actions=["no offer", *OFFERS],
        **more,
    )


@pytest.mark.parametrize(
    "more",
    [
        {"budget": 0.1 * N},
        {"budget": 300.0, "roi_floor": 2.0},
        {"budget": None, "roi_floor": 4.0, "efficiency_floor": 0.5},
        {"budget": 0.05 * N, "averse": 1.0},
        {"budget": None},
    ],
)
def test_the_answer_is_the_one_in_memory(table: pl.DataFrame, file: Path, tmp_path: Path, more: dict[str, Any]) -> None:
    out = tmp_path / "out.parquet"
    stderr = {"value_stderr": named("s")} if more.get("averse") else {}
    told = allocate_parquet(
        file, out, value=named("v"), cost=named("c"), eligible=named("e"), unit="id", batch=2 * BLOCK, **more, **stderr
    )
    whole = in_memory(table, **more)
    for name in ("price", "value", "cost", "bound", "decided_value", "rows", "pruned", "fractional", "labels"):
        assert getattr(told, name) == getattr(whole, name), name
    assert np.array_equal(told.marginal, whole.marginal)
    assert np.array_equal(told.counts, whole.counts)
    assert told.action.shape == (0,)
    written = pl.read_parquet(out)
    assert written.columns == ["id", "action"]
    assert written["id"].equals(table["id"])
    assert written["action"].to_list() == [whole.labels[a] for a in whole.action]
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


def test_several_files_are_one_and_rows_are_numbered_through(table: pl.DataFrame, tmp_path: Path) -> None:
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet", tmp_path / "c.parquet"]
    for path, part in zip(paths, (table[:33_333], table[:0], table[33_333:]), strict=True):
        part.write_parquet(path)
    out = tmp_path / "out.parquet"
    told = allocate_parquet(
        paths, out, value=named("v"), cost=named("c"), eligible=named("e"), budget=5000.0, batch=7000
    )
    whole = in_memory(table, budget=5000.0)
    written = pl.read_parquet(out)
    assert written["row"].to_list() == list(range(N))
    assert written["action"].to_list() == [whole.labels[a] for a in whole.action]
    assert told.value == pytest.approx(whole.value, rel=1e-12)  # added up in other blocks


def test_a_cost_may_be_one_number_and_no_offer_may_be_called_otherwise(table: pl.DataFrame, tmp_path: Path) -> None:
    source, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    table[:500].write_parquet(source)
    told = allocate_parquet(
        source, out, value={"mail": "v_mail"}, cost={"mail": 0.5}, budget=20.0, no_offer="nothing", unit="id"
    )
    assert told.labels == ("nothing", "mail")
    assert told.cost == 20.0
    best = table[:500].sort("v_mail", descending=True)["id"].head(40).to_list()
    assert sorted(best) == pl.read_parquet(out).filter(pl.col("action") == "mail")["id"].to_list()


def test_nobody_to_decide_about(table: pl.DataFrame, tmp_path: Path) -> None:
    source, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    table[:0].write_parquet(source)
    told = allocate_parquet(source, out, value=named("v"), cost=named("c"), budget=20.0, unit="id")
    assert (told.n, told.value) == (0, 0.0)
    assert pl.read_parquet(out).schema == {"id": pl.String, "action": pl.Enum(["no offer", *OFFERS])}


def test_another_unit_is_told_in_the_name_of_the_caller(file: Path, tmp_path: Path) -> None:
    with pytest.warns(ScaleWarning) as seen:
        allocate_parquet(file, tmp_path / "o", value=named("v"), cost=named("c"), eligible=named("e"), budget=1e-9)
    assert seen[0].filename == __file__


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"eligible": None}, DataError, r"value is nan \(row \d+,?\d*, column 2\)"),
        ({"value": {**named("v"), "call": "v_cal"}}, DataError, r"no column 'v_cal' \(file 'units.parquet'\)"),
        ({"value": {**named("v"), "call": "id"}}, DataError, "Column 'id' holds String"),
        ({"eligible": {"call": "v_call"}}, DataError, "Column 'v_call' holds Float64"),
        ({"unit": "who"}, DataError, "no column 'who'"),
        ({"cost": {"mail": "c_mail"}}, ActionError, "cost names no column for 'call'"),
        ({"eligible": {"gift": "e_mail"}}, ActionError, "eligible names 'gift'"),
        ({"budget": -3.0}, ParameterError, "budget is -3"),
        ({"batch": 0}, ParameterError, "batch is 0"),
        ({"averse": 1.0}, ParameterError, "needs standard errors"),
        ({"out": Path("nowhere") / "out.parquet"}, DataError, "no folder 'nowhere'"),
        ({"source": "nowhere.parquet"}, DataError, "no file 'nowhere.parquet'"),
        ({"source": []}, DataError, "no file to read"),
        ({"value": {}, "cost": {}, "eligible": None}, ActionError, "value names no offer"),
        ({"eligible": {"call": False}}, ActionError, "eligible names False, which is no column"),
        ({"unit": "action"}, ParameterError, "unit= is the column 'action'"),
        ({"batch": 2.5}, ParameterError, "batch is 2.5"),
    ],
)
def test_what_cannot_be_used_is_refused_and_nothing_is_written(
    file: Path, tmp_path: Path, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    asked = {
        "source": file,
        "out": tmp_path / "out.parquet",
        "value": named("v"),
        "cost": named("c"),
        "eligible": named("e"),
        "budget": 10.0,
    }
    with pytest.raises(error, match=message):
        allocate_parquet(**(asked | change))
    assert list(tmp_path.iterdir()) == []


def test_whole_numbers_in_one_file_and_others_in_the_next_are_numbers(tmp_path: Path) -> None:
    pl.DataFrame({"v": [3, 1], "c": [1, 1]}).write_parquet(tmp_path / "a")
    pl.DataFrame({"v": [2.5], "c": pl.Series([0.5], dtype=pl.Float32)}).write_parquet(tmp_path / "b")
    files, out = [tmp_path / "a", tmp_path / "b"], tmp_path / "out"
    told = allocate_parquet(files, out, value={"mail": "v"}, cost={"mail": "c"}, budget=1.5)
    assert (told.value, told.cost) == (5.5, 1.5)
    assert pl.read_parquet(out)["action"].to_list() == ["mail", "no offer", "mail"]


def test_what_is_read_is_not_written_over_and_units_are_of_one_type(file: Path, tmp_path: Path) -> None:
    before = file.read_bytes()
    asked = {"value": {"mail": "v_mail"}, "cost": {"mail": 1.0}, "budget": 1.0}
    with pytest.raises(DataError, match=r"units.parquet' is read and would be written over"):
        allocate_parquet(file, file, **asked)
    assert file.read_bytes() == before
    pl.DataFrame({"id": [1.5], "v_mail": [1.0]}).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"Column 'id' holds Float64, in 'units.parquet' String \(file 'b.parquet'\)"):
        allocate_parquet([file, tmp_path / "b.parquet"], tmp_path / "out", unit="id", **asked)


def test_a_damaged_file_is_refused(file: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"'damaged.parquet' cannot be read.*whole"):
        allocate_parquet(damaged, tmp_path / "out", value=named("v"), cost=named("c"), budget=1.0)


def test_columns_are_named_by_offer(table: pl.DataFrame, tmp_path: Path) -> None:
    file = tmp_path / "in.parquet"
    table.head(10).write_parquet(file)
    with pytest.raises(ParameterError, match=r"value is .* not a mapping"):
        allocate_parquet(file, tmp_path / "out.parquet", value=["v_mail"], cost={"mail": 1.0}, budget=5.0)  # type: ignore[arg-type]
    assert not (tmp_path / "out.parquet").exists()
