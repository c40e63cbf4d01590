from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from persuadable import datasets
from persuadable.datasets import criteo
from persuadable.errors import DataError, DatasetUnavailable, ParameterError

Make = Callable[..., Path]

ENDINGS = ("csv.gz", "csv", "parquet")
FEATURES = [f"f{i}" for i in range(12)]


@pytest.mark.parametrize("ending", ENDINGS)
def test_files_are_read_as_written(criteo_folder: Make, criteo_frame: pl.DataFrame, ending: str) -> None:
    log = datasets.load("criteo", outcome=["visit", "conversion"], data_dir=criteo_folder(criteo_frame, ending))
    assert log.features.names == FEATURES
    assert log.features.values.dtype == np.float32
    assert log.features.values.flags.c_contiguous
    np.testing.assert_array_equal(log.features.values, criteo_frame.select(FEATURES).to_numpy())
    np.testing.assert_array_equal(log.action, criteo_frame["treatment"].to_numpy())
    for name in ("visit", "conversion"):
        np.testing.assert_array_equal(log.outcome(name), criteo_frame[name].to_numpy())
    assert log.actions.names == ("control", "treatment")
    np.testing.assert_allclose(log.propensity(), np.tile([0.15, 0.85], (log.n, 1)))
    assert log.name == "criteo"


@pytest.mark.parametrize("block", [400, 5_000, 10**9])
@pytest.mark.parametrize("first_rows", [1, 100, 10_000])
def test_block_and_table_sizes_do_not_show(
    criteo_folder: Make, criteo_frame: pl.DataFrame, monkeypatch: pytest.MonkeyPatch, block: int, first_rows: int
) -> None:
    frame = criteo_frame.head(600)
    folder = criteo_folder(frame)
    monkeypatch.setattr(criteo, "_BLOCK_BYTES", block)
    monkeypatch.setattr(criteo, "_FIRST_ROWS", first_rows)
    for options, size in (({}, 600), ({"rows": 333}, 333), ({"sample": 0.5}, None)):
        log = datasets.load("criteo", data_dir=folder, **options)
        assert size is None or log.n == size
        if size:
            np.testing.assert_array_equal(log.features.values, frame.select(FEATURES).to_numpy()[:size])


@pytest.mark.parametrize("ending", ENDINGS)
def test_first_rows(criteo_folder: Make, criteo_frame: pl.DataFrame, ending: str) -> None:
    folder = criteo_folder(criteo_frame, ending)
    log = datasets.load("criteo", rows=1500, data_dir=folder)
    assert log.name == "criteo (first 1,500 rows)"
    np.testing.assert_array_equal(log.features.values, criteo_frame.select(FEATURES).to_numpy()[:1500])
    np.testing.assert_array_equal(log.outcome(), criteo_frame["visit"].to_numpy()[:1500])
    assert datasets.load("criteo", rows=10**9, data_dir=folder).n == len(criteo_frame)


def test_samples_are_the_same_rows_in_every_format(criteo_folder: Make, criteo_frame: pl.DataFrame) -> None:
    logs = [
        datasets.load("criteo", sample=0.25, random_state=3, data_dir=criteo_folder(criteo_frame, ending))
        for ending in ENDINGS
    ]
    n = len(criteo_frame)
    assert abs(logs[0].n - 0.25 * n) < 4 * np.sqrt(n * 0.25 * 0.75)
    for log in logs[1:]:
        np.testing.assert_array_equal(log.features.values, logs[0].features.values)
        np.testing.assert_array_equal(log.action, logs[0].action)
    other = datasets.load("criteo", sample=0.25, random_state=4, data_dir=criteo_folder(criteo_frame))
    assert other.n != logs[0].n or not np.array_equal(other.features.values, logs[0].features.values)
    assert logs[0].name == "criteo (0.25 of the rows)"


def test_columns_may_come_in_any_order_and_without_exposure(criteo_folder: Make, criteo_frame: pl.DataFrame) -> None:
    turned = criteo_frame.drop("exposure").select(reversed(criteo_frame.drop("exposure").columns))
    for ending in ENDINGS:
        log = datasets.load("criteo", data_dir=criteo_folder(turned, ending))
        np.testing.assert_array_equal(log.features.values, criteo_frame.select(FEATURES).to_numpy())


def test_a_file_without_a_last_line_end_is_read_whole(tmp_path: Path, criteo_frame: pl.DataFrame) -> None:
    text = criteo_frame.write_csv().rstrip("\n").encode()
    (tmp_path / "criteo-uplift-v2.1.csv.gz").write_bytes(gzip.compress(text))
    assert datasets.load("criteo", data_dir=tmp_path).n == len(criteo_frame)


def test_a_sample_file_is_named_as_one_and_can_be_declined(criteo_folder: Make, criteo_frame: pl.DataFrame) -> None:
    folder = criteo_folder(criteo_frame, "parquet", "criteo_uplift_v2.1_sample_4k")
    assert datasets.load("criteo", data_dir=folder).name == "criteo (sample file)"
    assert datasets.load("criteo", rows=2000, data_dir=folder).name == "criteo (sample file, first 2,000 rows)"
    with pytest.raises(DatasetUnavailable):
        datasets.load("criteo", whole=True, data_dir=folder)


def spoiled(frame: pl.DataFrame, name: str, value: Any) -> pl.DataFrame:
    """The frame with one value of a column replaced, deep inside."""
    place = pl.int_range(pl.len()) == 3210
    return frame.with_columns(pl.when(place).then(pl.lit(value)).otherwise(pl.col(name)).alias(name))


@pytest.mark.parametrize("ending", ENDINGS)
def test_values_that_cannot_be_are_refused(criteo_folder: Make, criteo_frame: pl.DataFrame, ending: str) -> None:
    for name, value, said in (
        ("f3", None, "missing or infinite"),
        ("f3", float("inf"), "missing or infinite"),
        ("visit", 2, "'visit' .* holds 2"),
        ("treatment", None, "'treatment' .* holds nan"),
    ):
        with pytest.raises(DataError, match=said):
            datasets.load("criteo", data_dir=criteo_folder(spoiled(criteo_frame, name, value), ending))
    with pytest.raises(DataError, match="no column 'f7'"):
        datasets.load("criteo", data_dir=criteo_folder(criteo_frame.drop("f7"), ending))


def test_damaged_files_are_refused(criteo_folder: Make, criteo_frame: pl.DataFrame, tmp_path: Path) -> None:
    words = criteo_frame.with_columns(f5=pl.when(pl.int_range(pl.len()) == 9).then(pl.lit("x")).otherwise(pl.lit("1")))
    with pytest.raises(DataError, match="not 16 numbers"):
        datasets.load("criteo", data_dir=criteo_folder(words, "csv"))
    with pytest.raises(DataError, match="holds no rows"):
        datasets.load("criteo", data_dir=criteo_folder(criteo_frame.head(0), "csv"))
    with pytest.raises(DataError, match="cannot be read"):
        datasets.load("criteo", data_dir=_cut(criteo_folder(criteo_frame, "csv.gz")))
    with pytest.raises(DataError, match="cannot be read"):
        datasets.load("criteo", data_dir=_cut(criteo_folder(criteo_frame, "parquet")))


def _cut(folder: Path) -> Path:
    """A folder whose file lost its second half."""
    file = next(folder.iterdir())
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return folder


def test_a_file_with_another_treated_share_is_refused(criteo_folder: Make, criteo_frame: pl.DataFrame) -> None:
    balanced = criteo_frame.with_columns(treatment=(pl.int_range(pl.len()) % 2).cast(pl.Int8))
    with pytest.raises(DataError, match=r"treated share of 0\.5000 .* publisher's is 0\.85"):
        datasets.load("criteo", data_dir=criteo_folder(balanced))
    with pytest.raises(DataError, match="Use sample="):
        datasets.load("criteo", rows=2000, data_dir=criteo_folder(criteo_frame.sort("treatment")))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rows": 1}, "rows=1"),
        ({"sample": 0.0}, "sample=0.0"),
        ({"sample": 1.5}, "sample=1.5"),
        ({"sample": 0.5, "rows": 10}, "exclude each other"),
        ({"outcome": "click"}, "outcome='click'"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        datasets.load("criteo", **options)


def test_offline_the_message_names_file_and_place(bare_machine: Path) -> None:
    with pytest.raises(DatasetUnavailable) as caught:
        datasets.load("criteo", download=False)
    for part in (criteo.SOURCE.url, "criteo-research-uplift-v2.1.csv.gz", "311.4 MB", "PERSUADABLE_DATA"):
        assert part in str(caught.value)


MEASURE = """
import sys
from persuadable import datasets

def status(key):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))

datasets.load("criteo", data_dir=sys.argv[1], rows=2000)          # libraries and thread pools are not the file's
with open("/proc/self/clear_refs", "w") as reset:
    reset.write("5")                                              # the peak starts anew
before = status("VmRSS")
log = datasets.load("criteo", data_dir=sys.argv[1], outcome=["visit", "conversion"])
print((status("VmHWM") - before) / log.features.values.nbytes, log.n)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of the resident memory is read from /proc")
@pytest.mark.parametrize("ending", ["csv.gz", "parquet"])
def test_peak_memory_is_below_twice_the_matrix(
    criteo_frame: pl.DataFrame, criteo_folder: Make, tmp_path: Path, ending: str
) -> None:
    """The growth of the process from before the call to its peak, log and all, over the bytes of the matrix."""
    copies = 500
    folder = criteo_folder(pl.concat([criteo_frame] * copies) if ending == "parquet" else criteo_frame, ending)
    if ending == "csv.gz":
        head, body = criteo_frame.write_csv().encode().split(b"\n", 1)
        once = gzip.compress(body, 1)  # gzip files may be joined end to end
        file = next(folder.iterdir())
        file.write_bytes(gzip.compress(head + b"\n") + once * copies)
    done = subprocess.run([sys.executable, "-c", MEASURE, str(folder)], capture_output=True, text=True, check=True)
    ratio, n = done.stdout.split()
    assert int(n) == copies * len(criteo_frame)
    assert float(ratio) < 2.0


# -- the real sample ---------------------------------------------------------------------------------------------------


def test_the_facts_in_the_documentation() -> None:
    found = datasets.available()["criteo"]
    if found.path is None:
        pytest.skip("Criteo's data are not on this machine")
    if found.path.name != "criteo_uplift_v2.1_sample_200k.parquet":
        pytest.skip("the facts are stated for the 200,000-row sample")
    log = datasets.load("criteo", outcome=["visit", "conversion"])
    assert log.name == "criteo (sample file)"
    assert log.features.shape == (200_000, 12)
    assert log.action.mean() == pytest.approx(0.850385)
    assert log.outcome("visit").mean() == pytest.approx(0.047045)
    assert log.outcome("conversion").mean() == pytest.approx(0.0029)
    assert (log.outcome("conversion") <= log.outcome("visit")).all()
    x, treated = log.features.values.astype(np.float64), log.action == 1
    gap = np.abs(x[treated].mean(axis=0) - x[~treated].mean(axis=0)) / x.std(axis=0)
    assert gap.max() == pytest.approx(0.041, abs=5e-4)
    unusual = x[:, 1] != x[0, 1]
    assert unusual.mean() == pytest.approx(0.012, abs=5e-4)
    assert treated[unusual].mean() == pytest.approx(0.878, abs=5e-4)
