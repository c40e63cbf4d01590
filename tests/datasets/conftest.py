"""Small files in the publishers' layouts, an empty machine to look for them on, and a server on the loopback."""

from __future__ import annotations

import functools
import gzip
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import polars as pl
import pytest

MakeFolder = Callable[..., Path]

SEGMENTS = ["1) $0 - $100", "2) $100 - $200", "7) $1,000 +"]


@pytest.fixture
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No data folder, an empty cache (returned), and no proxy before the loopback."""
    cache = tmp_path / "cache"
    monkeypatch.delenv("PERSUADABLE_DATA", raising=False)
    monkeypatch.setenv("PERSUADABLE_CACHE", str(cache))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    return cache


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """(address, folder) of a web server for a folder, on this machine only."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}", folder
        running.shutdown()
        thread.join()


def _hillstrom_frame(n: int = 300, seed: int = 0) -> pl.DataFrame:
    """n customers in the layout of Hillstrom's file; outcomes obey conversion ≤ visit."""
    rng = np.random.default_rng(seed)
    visit = rng.random(n) < 0.4
    conversion = visit & (rng.random(n) < 0.5)
    return pl.DataFrame(
        {
            "recency": rng.integers(1, 13, n),
            "history_segment": rng.choice(SEGMENTS, n),
            "history": rng.uniform(30, 3000, n).round(2),
            "mens": rng.integers(0, 2, n),
            "womens": rng.integers(0, 2, n),
            "zip_code": rng.choice(["Surburban", "Rural", "Urban"], n),
            "newbie": rng.integers(0, 2, n),
            "channel": rng.choice(["Phone", "Web", "Multichannel"], n),
            "segment": np.resize(["Womens E-Mail", "No E-Mail", "Mens E-Mail"], n),
            "visit": visit.astype(int),
            "conversion": conversion.astype(int),
            # Whole numbers first: a reader that guessed types from the head would fail on the tail.
            "spend": np.where(conversion & (np.arange(n) > n // 2), 29.99, 0.0),
        }
    )


def _hillstrom_text(frame: pl.DataFrame) -> bytes:
    """As the publisher wrote it: Windows line ends, and 0 instead of 0.0."""
    return frame.write_csv(line_terminator="\r\n").replace(",0.0\r\n", ",0\r\n").encode()


def _criteo_frame(n: int = 4000, seed: int = 0) -> pl.DataFrame:
    """n users in the layout of Criteo's file, version 2.1."""
    rng = np.random.default_rng(seed)
    columns: dict[str, np.ndarray] = {f"f{i}": rng.normal(10.0, 5.0, n).astype(np.float32) for i in range(12)}
    visit = rng.random(n) < 0.05
    columns["treatment"] = (rng.random(n) < 0.85).astype(np.int8)
    columns["conversion"] = (visit & (rng.random(n) < 0.1)).astype(np.int8)
    columns["visit"] = visit.astype(np.int8)
    columns["exposure"] = (rng.random(n) < 0.03).astype(np.int8)
    return pl.DataFrame(columns)


@pytest.fixture
def hillstrom_folder(tmp_path: Path) -> MakeFolder:
    """Writes a frame as Hillstrom's file into a data folder, and returns the folder."""

    def make(frame: pl.DataFrame | None = None) -> Path:
        folder = tmp_path / "data"
        file = folder / "hillstrom" / "hillstrom.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_hillstrom_text(_hillstrom_frame() if frame is None else frame))
        return folder

    return make


@pytest.fixture
def hillstrom_frame() -> pl.DataFrame:
    return _hillstrom_frame()


@pytest.fixture
def criteo_frame() -> pl.DataFrame:
    return _criteo_frame()


@pytest.fixture
def criteo_folder(tmp_path: Path) -> MakeFolder:
    """Writes a frame in one of the formats Criteo's file comes in, and returns the data folder."""

    def make(frame: pl.DataFrame, ending: str = "csv.gz", name: str = "criteo-uplift-v2.1") -> Path:
        folder = tmp_path / ending
        folder.mkdir(exist_ok=True)
        file = folder / f"{name}.{ending}"
        if ending == "parquet":
            frame.write_parquet(file, row_group_size=1000)
        else:
            text = frame.write_csv().encode()
            file.write_bytes(gzip.compress(text, 1) if ending.endswith("gz") else text)
        return folder

    return make
