from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from persuadable import datasets
from persuadable.datasets import hillstrom
from persuadable.errors import DataError, DatasetUnavailable, ParameterError

Make = Callable[..., Path]


def test_a_generated_file_is_read_as_written(hillstrom_folder: Make, hillstrom_frame: pl.DataFrame) -> None:
    log = datasets.load("hillstrom", data_dir=hillstrom_folder())
    assert log.actions.names == ("No E-Mail", "Mens E-Mail", "Womens E-Mail")
    assert log.features.names == [
        "recency",
        "history_segment",
        "history",
        "mens",
        "womens",
        "zip_code",
        "newbie",
        "channel",
    ]
    assert log.features.categorical.tolist() == [False, True, False, False, False, True, False, True]
    labels = np.array(log.actions.names)[log.action]
    np.testing.assert_array_equal(labels, hillstrom_frame["segment"].to_numpy())
    back = log.features.frame()
    for name in ("history_segment", "zip_code", "channel"):
        assert back[name].cast(pl.String).to_list() == hillstrom_frame[name].to_list()
    np.testing.assert_allclose(back["history"].to_numpy(), hillstrom_frame["history"].to_numpy(), rtol=1e-6)
    np.testing.assert_allclose(log.propensity(), 1 / 3)
    assert log.propensity_source == "logged"


@pytest.mark.parametrize(("arms", "label"), [("women", "Womens E-Mail"), ("men", "Mens E-Mail")])
def test_two_arms(hillstrom_folder: Make, hillstrom_frame: pl.DataFrame, arms: str, label: str) -> None:
    log = datasets.load("hillstrom", arms=arms, data_dir=hillstrom_folder())
    assert log.actions.names == ("No E-Mail", label)
    assert log.n == 200
    np.testing.assert_allclose(log.propensity(), 0.5)
    chosen = hillstrom_frame.filter(hillstrom_frame["segment"].is_in(["No E-Mail", label]))
    np.testing.assert_array_equal(log.outcome(), chosen["visit"].to_numpy())


@pytest.mark.parametrize("outcome", ["visit", "conversion", "spend", ["spend", "visit"], ("visit", "visit")])
def test_outcomes(hillstrom_folder: Make, hillstrom_frame: pl.DataFrame, outcome: Any) -> None:
    log = datasets.load("hillstrom", outcome=outcome, data_dir=hillstrom_folder())
    asked = [outcome] if isinstance(outcome, str) else list(dict.fromkeys(outcome))
    assert list(log.outcomes) == asked
    for name in asked:
        np.testing.assert_allclose(log.outcome(name), hillstrom_frame[name].to_numpy(), rtol=1e-6)
    assert not set(log.features.names) & {"visit", "conversion", "spend", "segment"}


def test_reloaded_rows_are_recognised(hillstrom_folder: Make) -> None:
    folder = hillstrom_folder()
    first, second = (datasets.load("hillstrom", data_dir=folder) for _ in range(2))
    assert first.fingerprint.overlap(second.fingerprint) == first.n


def test_unknown_choices_are_refused(hillstrom_folder: Make) -> None:
    folder = hillstrom_folder()
    with pytest.raises(ParameterError, match="arms='both'"):
        datasets.load("hillstrom", arms="both", data_dir=folder)
    with pytest.raises(ParameterError, match="outcome='click'"):
        datasets.load("hillstrom", outcome="click", data_dir=folder)
    with pytest.raises(ParameterError, match="No outcome"):
        datasets.load("hillstrom", outcome=[], data_dir=folder)


def test_other_peoples_files_are_refused(hillstrom_folder: Make, hillstrom_frame: pl.DataFrame) -> None:
    with pytest.raises(DataError, match="no column 'newbie'"):
        datasets.load("hillstrom", data_dir=hillstrom_folder(hillstrom_frame.drop("newbie")))
    renamed = hillstrom_frame.with_columns(segment=pl.col("segment").str.replace("No E-Mail", "Control"))
    with pytest.raises(DataError, match="has the arms"):
        datasets.load("hillstrom", data_dir=hillstrom_folder(renamed))
    words = hillstrom_frame.with_columns(spend=pl.lit("a lot"))
    with pytest.raises(DataError, match="cannot be read"):
        datasets.load("hillstrom", data_dir=hillstrom_folder(words))


def test_offline_the_message_names_file_and_place(bare_machine: Path) -> None:
    with pytest.raises(DatasetUnavailable) as caught:
        datasets.load("hillstrom", download=False)
    for part in (hillstrom.SOURCE.url, str(Path("hillstrom/hillstrom.csv")), "PERSUADABLE_DATA", "4.0 MB"):
        assert part in str(caught.value)


# -- the real file -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real() -> Any:
    if not datasets.available()["hillstrom"].here:
        pytest.skip("Hillstrom's file is not on this machine")
    return datasets.load("hillstrom", outcome=["visit", "conversion", "spend"])


def test_the_facts_in_the_documentation(real: Any) -> None:
    assert (real.n, real.features.shape[1]) == (64_000, 8)
    counts = dict(zip(real.actions, np.bincount(real.action).tolist(), strict=True))
    assert counts == {"No E-Mail": 21_306, "Mens E-Mail": 21_307, "Womens E-Mail": 21_387}
    assert real.outcome("visit").mean() == pytest.approx(0.146781, abs=5e-7)
    assert real.outcome("conversion").mean() == pytest.approx(0.009031, abs=5e-7)
    assert real.outcome("spend").mean() == pytest.approx(1.050908, abs=5e-7)
    rates = [real.arm(a).outcome("visit").mean() for a in real.actions]
    np.testing.assert_allclose(rates, [0.106167, 0.182757, 0.151400], atol=5e-7)
    assert not np.isnan(real.features.values).any()
    # Whoever converted has visited, whoever spent has converted.
    assert (real.outcome("conversion") <= real.outcome("visit")).all()
    assert ((real.outcome("spend") > 0) == (real.outcome("conversion") == 1)).all()


def test_the_real_file_has_the_pinned_hash(real: Any) -> None:
    file = datasets.path("hillstrom")
    if file.name != "hillstrom.csv":
        pytest.skip("the file found is not the publisher's csv")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == hillstrom.SOURCE.sha256
    assert file.stat().st_size == hillstrom.SOURCE.size
