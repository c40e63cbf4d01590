"""Criteo's features and what came after the treatment: exposure is an outcome and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from persuadable import datasets
from persuadable.errors import FeatureError

Make = Callable[..., Path]


@pytest.mark.parametrize("ending", ["csv.gz", "parquet"])
def test_some_features_can_be_asked_for(criteo_folder: Make, criteo_frame: pl.DataFrame, ending: str) -> None:
    log = datasets.load("criteo", features=["f8", "f0"], rows=500, data_dir=criteo_folder(criteo_frame, ending))
    assert log.features.names == ["f8", "f0"]
    np.testing.assert_array_equal(log.features.values, criteo_frame.select("f8", "f0").to_numpy()[:500])


@pytest.mark.parametrize("ending", ["csv.gz", "parquet"])
def test_exposure_is_an_outcome(criteo_folder: Make, criteo_frame: pl.DataFrame, ending: str) -> None:
    seen = (criteo_frame["treatment"].to_numpy() == 1) & (np.arange(len(criteo_frame)) % 10 == 0)
    frame = criteo_frame.drop("exposure", strict=False).with_columns(exposure=pl.Series(seen).cast(pl.UInt8))
    log = datasets.load("criteo", outcome=["conversion", "exposure"], data_dir=criteo_folder(frame, ending))
    np.testing.assert_array_equal(log.outcome("exposure"), seen)
    assert "exposure" not in log.features.names


@pytest.mark.parametrize("name", ["exposure", "visit", "conversion"])
def test_what_came_after_the_treatment_is_refused_as_a_feature(name: str) -> None:
    with pytest.raises(FeatureError, match=f"{name!r} came about after the action, so it is no feature"):
        datasets.load("criteo", features=["f0", name], download=False)


@pytest.mark.parametrize(("asked", "message"), [(["f12"], "There is no feature 'f12'"), ([], "No feature was asked")])
def test_features_that_are_not_there_are_refused(asked: list[str], message: str) -> None:
    with pytest.raises(FeatureError, match=message):
        datasets.load("criteo", features=asked, download=False)
