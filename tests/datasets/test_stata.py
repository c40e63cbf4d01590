from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persuadable.datasets.stata import read_stata
from persuadable.errors import DataError


@pytest.mark.parametrize("version", [117, 118, 119])
@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_files_are_read_as_pandas_wrote_them(tmp_path: Path, version: Any, byteorder: str) -> None:
    """pandas is the independent writer: every numeric type, missing values, text in between, both byte orders."""
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "one": rng.integers(-100, 101, 50).astype(np.int8),
            "two": rng.integers(-30_000, 32_000, 50).astype(np.int16),
            "word": rng.choice(["a", "long word"], 50),
            "four": rng.integers(-(2**31) + 1, 2**31 - 100, 50).astype(np.int32),
            "single": rng.normal(0, 1e30, 50).astype(np.float32),
            "a_rather_long_name_of_a_variable": rng.normal(0, 1e300, 50),
        }
    )
    frame.loc[::7, "single"] = np.nan
    frame.loc[::5, "a_rather_long_name_of_a_variable"] = np.nan
    path = tmp_path / "file.dta"
    frame.to_stata(path, write_index=False, version=version, byteorder=byteorder)
    read = read_stata(path)
    assert list(read) == [name for name in frame if name != "word"]
    for name, values in read.items():
        np.testing.assert_array_equal(values, frame[name].to_numpy(dtype=np.float64))


def test_missing_codes_of_integers_become_nan(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {"small": pd.array([1, None, 3], dtype="Int8"), "large": pd.array([None, 2, 3], dtype="Int32")}
    )
    frame.to_stata(tmp_path / "file.dta", write_index=False, version=118)
    read = read_stata(tmp_path / "file.dta")
    np.testing.assert_array_equal(read["small"], [1.0, np.nan, 3.0])
    np.testing.assert_array_equal(read["large"], [np.nan, 2.0, 3.0])


def test_other_files_are_refused(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    path = tmp_path / "file.dta"
    path.write_bytes(b"not Stata at all")
    with pytest.raises(DataError, match="not a readable Stata file"):
        read_stata(path)
    pd.DataFrame({"a": [1.0, 2.0]}).to_stata(path, write_index=False, version=114)
    with pytest.raises(DataError, match="117, 118 and 119"):
        read_stata(path)
    pd.DataFrame({"a": np.arange(100.0)}).to_stata(path, write_index=False, version=118)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DataError, match="not a readable Stata file"):
        read_stata(path)
