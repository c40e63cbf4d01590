from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from persuadable import datasets
from persuadable.datasets import hillstrom, store
from persuadable.errors import ParameterError


def test_a_bare_machine_has_nothing_but_says_where_to_get_it(bare_machine: Path) -> None:
    found = datasets.available()
    assert tuple(found) == datasets.NAMES
    for name in ("hillstrom", "criteo"):
        assert not found[name].here
        assert "to be had: http" in str(found[name])
    assert not bare_machine.exists()


def test_what_is_here_is_listed_with_its_place(
    hillstrom_folder: Callable[..., Path], bare_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = hillstrom_folder()
    file = folder / "hillstrom" / "hillstrom.csv"
    assert datasets.available(folder)["hillstrom"].path == file
    assert datasets.available(folder)["hillstrom"].place == "data_dir"
    monkeypatch.setenv("PERSUADABLE_DATA", str(folder))
    listed = datasets.available()["hillstrom"]
    assert (listed.path, listed.place, listed.here) == (file, "PERSUADABLE_DATA", True)
    assert str(file) in str(listed)
    assert datasets.path("hillstrom") == file
    assert datasets.load("hillstrom").n == 300


def test_a_first_load_downloads_and_a_second_reads_the_cache(
    server: tuple[str, Path],
    bare_machine: Path,
    hillstrom_folder: Callable[..., Path],
    hillstrom_frame: pl.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The whole way, from an address to a log, with the local server as the publisher."""
    content = (hillstrom_folder() / "hillstrom" / "hillstrom.csv").read_bytes()
    address, served = server
    (served / "h.csv").write_bytes(content)
    digest = store.hashlib.sha256(content).hexdigest()
    source = replace(hillstrom.SOURCE, url=f"{address}/h.csv", sha256=digest, size=len(content))
    monkeypatch.setattr(hillstrom, "SOURCE", source)
    first = datasets.load("hillstrom")
    (served / "h.csv").unlink()
    second = datasets.load("hillstrom")
    np.testing.assert_array_equal(first.outcome(), hillstrom_frame["visit"].to_numpy())
    assert first.fingerprint.digest == second.fingerprint.digest
    assert datasets.available()["hillstrom"].place == "cache"


def test_unknown_names_and_options_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"no data set 'starbucks'.*hillstrom"):
        datasets.load("starbucks")
    with pytest.raises(ParameterError, match="no data set 'starbucks'"):
        datasets.path("starbucks")
    with pytest.raises(ParameterError, match=r"'hillstrom' has no option 'rows'.*arms"):
        datasets.load("hillstrom", rows=10)
