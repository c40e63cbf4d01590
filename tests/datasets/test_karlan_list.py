from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from persuadable import datasets
from persuadable.datasets import karlan_list
from persuadable.errors import DataError, DatasetUnavailable, ParameterError

N = 450
MakeFile = Callable[..., Path]


@pytest.fixture
def frame() -> pl.DataFrame:
    """450 letters in the file's layout, the arms in the shares of the design; one giver's amount is lost."""
    rng = np.random.default_rng(0)
    ratio = np.resize([0, 0, 0, 1, 1, 2, 2, 3, 3], N)
    gave = rng.random(N) < 0.2
    gave[8] = True
    amount = np.where(gave, rng.integers(5, 100, N), 0)
    features = {name: rng.integers(0, 9, N) for name in karlan_list.FEATURES}
    features["years"][4] = features["female"][7] = -999
    return pl.DataFrame(
        {
            "treatment": (ratio > 0).astype(int),
            "treat_ratio2": (ratio == 2).astype(int),
            "treat_ratio3": (ratio == 3).astype(int),
            "treat_askd1": (ratio > 0).astype(int),
            "out_amountgive": [None if i == 8 else int(a) for i, a in enumerate(amount)],
            "out_gavedum": gave.astype(int),
            "out_changeamtgive": rng.normal(size=N),
            **features,
            "stateresponse": rng.random(N),
            "years_missing": np.zeros(N, dtype=int),
        }
    )


@pytest.fixture
def write(tmp_path: Path) -> MakeFile:
    """Writes a frame as the experiment's file; returns the data folder."""

    def make(frame: pl.DataFrame, name: str = "karlan-list/charitable_withdummyvariables.csv") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        frame.write_parquet(path) if path.suffix == ".parquet" else frame.write_csv(path)
        return tmp_path

    return make


@pytest.mark.parametrize(
    "name",
    ["karlan-list/charitable_withdummyvariables.csv", "charitable/charitable.parquet", "charitable.parquet"],
)
def test_the_file_is_read_in_both_layouts(frame: pl.DataFrame, write: MakeFile, name: str) -> None:
    log = datasets.load("karlan-list", data_dir=write(frame, name))
    assert log.n == N
    assert log.actions.names == ("no match", "1:1", "2:1", "3:1")
    np.testing.assert_array_equal(log.action, np.resize([0, 0, 0, 1, 1, 2, 2, 3, 3], N))
    np.testing.assert_array_equal(log.outcome("gave"), frame["out_gavedum"].to_numpy())
    np.testing.assert_allclose(log.propensity(), np.tile([1 / 3, 2 / 9, 2 / 9, 2 / 9], (N, 1)))


def test_nothing_learned_after_the_letter_is_a_feature(frame: pl.DataFrame, write: MakeFile) -> None:
    log = datasets.load("karlan-list", data_dir=write(frame))
    names = log.features.names
    assert len(names) == 27
    assert not [n for n in names if n.startswith(("out_", "treat", "stateresponse")) or n.endswith("_missing")]
    values = log.features.values
    assert np.argwhere(np.isnan(values)).tolist() == [[4, names.index("years")], [7, names.index("female")]]


def test_a_match_is_paid_only_where_somebody_gives(frame: pl.DataFrame, write: MakeFile) -> None:
    folder = write(frame)
    log = datasets.load("karlan-list", outcome=["gave", "amount"], cost="matched", data_dir=folder)
    assert log.n == N - 1  # the amount that is lost
    assert list(log.outcomes) == ["gave", "amount", "matched"]
    assert log.cost_name == "matched"
    np.testing.assert_allclose(log.cost, log.action * log.outcome("amount"))
    any_match = datasets.load("karlan-list", arms="any", cost="matched", data_dir=folder)
    assert any_match.actions.names == ("no match", "match")
    np.testing.assert_array_equal(any_match.action, log.action > 0)
    np.testing.assert_allclose(any_match.cost, log.cost)  # still what each letter's own ratio promised
    np.testing.assert_allclose(any_match.propensity()[0], [1 / 3, 2 / 3])
    assert datasets.load("karlan-list", data_dir=folder).cost is None


@pytest.mark.parametrize(
    ("options", "said"),
    [({"arms": "all"}, "arms='all'"), ({"cost": "amount"}, "cost='amount'"), ({"outcome": "hpa"}, "outcome='hpa'")],
)
def test_unknown_choices_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        datasets.load("karlan-list", **options)


def test_without_the_file_the_message_says_where_to_get_and_put_it(bare_machine: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetUnavailable, match=r"PERSUADABLE_DATA is not set\. Get charitable_with.* karlan-list/"):
        datasets.load("karlan-list")
    with pytest.raises(DatasetUnavailable, match="holds no file of it"):
        datasets.path("karlan-list", tmp_path)
    entry = datasets.available()["karlan-list"]
    assert not entry.here
    assert "to be had: https://" in str(entry)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.drop("mrm2"), "no column 'mrm2'"),
        (lambda f: f.with_columns(hpa=pl.lit("much")), "cannot be read"),
        (lambda f: f.with_columns(freq=pl.lit(None, pl.Int64)), "'freq' has empty cells"),
        (lambda f: f.with_columns(treat_ratio2=pl.lit(1)), "contradict"),
        (
            lambda f: f.head(9).vstack(f.filter(pl.col("treatment") == 1)),
            r"0\.010 of the rows .* 'no match', by design 0\.333",
        ),
    ],
)
def test_other_peoples_files_are_refused(
    frame: pl.DataFrame, write: MakeFile, change: Callable[[pl.DataFrame], pl.DataFrame], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        datasets.load("karlan-list", data_dir=write(change(frame)))


# -- the real file -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(karlan_list.locate_karlan_list() is None, reason="the file is not here")
def test_the_published_facts() -> None:
    """Karlan and List 2007, table 2A: 50,083 letters, response .018 and .022, .813 dollars a letter without a match."""
    log = datasets.load("karlan-list", arms="any")
    assert (log.n, np.bincount(log.action).tolist()) == (50_083, [16_687, 33_396])
    assert [round(log.arm(a).outcome().mean(), 4) for a in (0, 1)] == [0.0179, 0.0220]
    money = datasets.load("karlan-list", outcome=["gave", "amount"], cost="matched")
    assert np.bincount(money.action).tolist() == [16_687, 11_133, 11_134, 11_127]
    assert money.arm(0).outcome("amount").mean() == pytest.approx(0.8133, abs=5e-5)
    matched = money.take(money.action > 0)
    assert matched.outcome("amount").mean() == pytest.approx(0.967, abs=0.003)  # two gifts are missing
    assert [round(money.arm(a).outcome("matched").mean(), 2) for a in range(4)] == [0.0, 0.94, 2.05, 2.80]
    np.testing.assert_array_equal(money.outcome("gave") == 1, money.outcome("amount") > 0)
