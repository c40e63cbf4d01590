from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persuadable import datasets
from persuadable.datasets import thornton
from persuadable.errors import DataError, DatasetUnavailable, ParameterError

needs_causaldata = pytest.mark.skipif(find_spec("causaldata") is None, reason="causaldata is not installed")


@pytest.fixture
def file_in(tmp_path: Path) -> Path:
    """A data folder with a small file of the experiment: 60 people, a fifth of them in villages that drew once."""
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    amount = np.resize([0.0, 0.09456, 0.4728, 0.66192, 0.9456, 1.0401, 1.8912, 2.8368], 60)
    frame = pd.DataFrame(
        {
            "villnum": np.where(np.arange(60) % 5 == 0, 120.0, 7.0),
            "got": rng.integers(0, 2, 60).astype(float),
            "distvct": rng.uniform(0, 5, 60).astype(np.float32),
            "tinc": amount.astype(np.float32),
            "any": (amount > 0).astype(float),
            "age": np.where(np.arange(60) == 5, np.nan, rng.integers(15, 80, 60)),
            "hiv2004": np.zeros(60),
        }
    )
    frame.loc[[3], "got"] = np.nan
    frame.loc[[4], "tinc"] = np.nan
    frame.loc[[6], "villnum"] = np.nan
    (tmp_path / "thornton").mkdir()
    frame.to_stata(tmp_path / "thornton" / "thornton_hiv.dta", write_index=False, version=118)
    return tmp_path


def test_rows_without_outcome_offer_or_village_are_left_out(file_in: Path) -> None:
    log = datasets.load("thornton", data_dir=file_in)
    assert log.n == 57
    assert log.features.names == ["age", "distance_km", "district"]
    assert np.isnan(log.features.values[:, 0]).sum() == 1  # an unknown age stays, as missing


def test_a_cost_is_paid_only_if_the_result_is_collected(file_in: Path) -> None:
    log = datasets.load("thornton", outcome=["got", "offered"], data_dir=file_in)
    assert list(log.outcomes) == ["got", "offered", "paid"]
    assert log.cost_name == "paid"
    np.testing.assert_allclose(log.cost, log.outcome("got") * log.outcome("offered"))
    np.testing.assert_array_equal(log.action, log.outcome("offered") > 0)
    offered = datasets.load("thornton", cost="offered", data_dir=file_in)
    np.testing.assert_array_equal(offered.cost, log.outcome("offered"))
    assert datasets.load("thornton", cost=None, data_dir=file_in).cost is None


def test_levels_hold_the_amounts_they_are_named_after(file_in: Path) -> None:
    log = datasets.load("thornton", arms="levels", outcome="offered", data_dir=file_in)
    assert log.actions.names == ("no cash", "up to $0.50", "$0.51 to $1", "$1.01 to $2", "over $2")
    offered = np.round(log.outcome(), 2)
    bounds = [(-0.01, 0.0), (0.0, 0.5), (0.5, 1.0), (1.0, 2.0), (2.0, 3.0)]
    for code, (low, high) in enumerate(bounds):
        there = offered[log.action == code]
        assert there.size
        assert ((there > low) & (there <= high)).all()


@pytest.mark.parametrize("arms", ["any", "levels"])
def test_propensities_are_the_shares_of_the_district(file_in: Path, arms: str) -> None:
    log = datasets.load("thornton", arms=arms, data_dir=file_in)
    district = log.features.values[:, 2]
    for code in (0.0, 1.0):
        rows = district == code
        shares = np.bincount(log.action[rows], minlength=log.n_actions) / rows.sum()
        np.testing.assert_allclose(log.propensity()[rows], np.tile(shares, (rows.sum(), 1)))


@pytest.mark.parametrize(
    ("options", "said"),
    [({"arms": "all"}, "arms='all'"), ({"cost": "sent"}, "cost='sent'"), ({"outcome": "hiv2004"}, "outcome='hiv2004'")],
)
def test_unknown_choices_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        datasets.load("thornton", **options)


def test_without_the_package_the_message_says_how_to_get_it(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thornton, "find_spec", lambda name: None)
    with pytest.raises(DatasetUnavailable, match=r"causaldata is not installed.*pip install causaldata"):
        datasets.load("thornton")
    assert not datasets.available()["thornton"].here
    with pytest.raises(DatasetUnavailable, match="holds no file of it"):
        datasets.load("thornton", data_dir=tmp_path)


def test_other_peoples_files_are_refused(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    pd.DataFrame({"got": [1.0]}).to_stata(tmp_path / "thornton_hiv.dta", write_index=False, version=118)
    with pytest.raises(DataError, match="no variable 'villnum'"):
        datasets.load("thornton", data_dir=tmp_path)


# -- the real file -----------------------------------------------------------------------------------------------------


@needs_causaldata
def test_the_facts_in_the_documentation() -> None:
    log = datasets.load("thornton")
    assert (log.n, np.bincount(log.action).tolist()) == (2830, [623, 2207])
    assert log.arm(0).outcome().mean() == pytest.approx(0.338684, abs=5e-7)
    assert log.arm(1).outcome().mean() == pytest.approx(0.790666, abs=5e-7)
    np.testing.assert_allclose(np.unique(log.propensity()[:, 1]), [0.633065, 0.859086], atol=1e-6)
    y, treated, e = log.outcome(), log.action == 1, log.propensity()[:, 1]
    assert np.where(treated, y / e, -y / (1 - e)).mean() == pytest.approx(0.422791, abs=5e-7)
    levels = datasets.load("thornton", arms="levels")
    assert np.bincount(levels.action).tolist() == [623, 557, 580, 699, 371]
    cost = log.cost
    assert cost is not None
    assert cost[treated].mean() == pytest.approx(1.075465, abs=5e-7)


@needs_causaldata
def test_reading_it_imports_neither_pandas_nor_the_package() -> None:
    code = "import sys; from persuadable import datasets; datasets.load('thornton'); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'persuadable.datasets.thornton'" in done.stdout
    for name in ("pandas", "statsmodels", "causaldata"):
        assert f"'{name}'" not in done.stdout
