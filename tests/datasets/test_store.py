from __future__ import annotations

import io
import socket
import sys
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from persuadable.datasets import store
from persuadable.errors import DatasetUnavailable

CONTENT = b"one,two\n1,2\n" * 1000
SOURCE = store.Source(
    name="toy",
    folders=("toy", "toys"),
    patterns=("toy-v1.csv", "toy*.parquet", "toy*sample*.csv"),
    url="http://127.0.0.1:9/toy.csv",
    sha256=store.hashlib.sha256(CONTENT).hexdigest(),
    size=len(CONTENT),
    page="https://example.org/toy",
)


@pytest.fixture
def served(server: tuple[str, Path]) -> tuple[store.Source, Path]:
    """A source whose publisher is the local server, and the file it serves."""
    address, folder = server
    file = folder / "toy.csv"
    file.write_bytes(CONTENT)
    return replace(SOURCE, url=f"{address}/toy.csv"), file


def put(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def leftovers(cache: Path) -> list[Path]:
    return [p for p in cache.rglob("*") if p.is_file()]


def test_places_are_searched_in_order(tmp_path: Path, bare_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.locate(SOURCE) is None
    cached = put(bare_machine / "toy" / "toy-v1.csv")
    assert store.locate(SOURCE) == store.Found(cached, "cache")
    monkeypatch.setenv("PERSUADABLE_DATA", str(tmp_path / "data"))
    assert store.locate(SOURCE) == store.Found(cached, "cache")
    mine = put(tmp_path / "data" / "toy" / "toy-v1.csv", b"mine")
    assert store.locate(SOURCE) == store.Found(mine, "PERSUADABLE_DATA")
    other = put(tmp_path / "other" / "toy-v1.csv", b"other")
    assert store.locate(SOURCE, tmp_path / "other") == store.Found(other, "data_dir")
    assert store.find(SOURCE, str(tmp_path / "other")).path == other


@pytest.mark.parametrize("where", ["toy/toy-v1.csv", "toys/toy-v1.csv", "toy-v1.csv"])
def test_files_lie_in_a_named_folder_or_beside_others(tmp_path: Path, where: str) -> None:
    file = put(tmp_path / where)
    assert store.find(SOURCE, tmp_path).path == file


def test_the_whole_file_is_taken_before_a_sample(tmp_path: Path) -> None:
    sample = put(tmp_path / "toy" / "toy_sample.csv")
    assert store.find(SOURCE, tmp_path).path == sample
    parquet = put(tmp_path / "toy.parquet")
    assert store.find(SOURCE, tmp_path).path == parquet
    whole = put(tmp_path / "toy-v1.csv")
    assert store.find(SOURCE, tmp_path).path == whole


def test_a_folder_that_was_named_is_the_only_one_searched(tmp_path: Path, bare_machine: Path) -> None:
    put(bare_machine / "toy" / "toy-v1.csv")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DatasetUnavailable, match="holds no file of it") as caught:
        store.find(SOURCE, empty)
    assert str(empty / "toy" / "toy-v1.csv") in str(caught.value)
    with pytest.raises(DatasetUnavailable, match="holds no file of it"):
        store.find(SOURCE, tmp_path / "absent")


def test_a_download_is_verified_and_kept(served: tuple[store.Source, Path], bare_machine: Path) -> None:
    source, published = served
    found = store.find(source)
    assert found == store.Found(bare_machine / "toy" / "toy-v1.csv", "download")
    assert found.path.read_bytes() == CONTENT
    published.unlink()
    assert store.find(source) == store.Found(found.path, "cache")


def test_a_file_of_another_hash_is_refused_and_nothing_is_left(
    served: tuple[store.Source, Path], bare_machine: Path
) -> None:
    source, published = served
    published.write_bytes(CONTENT + b"3,4\n")
    with pytest.raises(DatasetUnavailable, match="not the one expected") as caught:
        store.find(source)
    assert source.url in str(caught.value)
    assert leftovers(bare_machine) == []


def test_a_damaged_cached_file_is_fetched_anew(served: tuple[store.Source, Path], bare_machine: Path) -> None:
    source, published = served
    cached = put(bare_machine / "toy" / "toy-v1.csv", CONTENT[:-5])
    assert store.locate(source) is None
    assert store.find(source).path.read_bytes() == CONTENT
    cached.write_bytes(b"damaged again")
    published.unlink()
    with pytest.raises(DatasetUnavailable, match="answered 404"):
        store.find(source)


def test_a_download_cut_short_leaves_nothing(
    server: tuple[str, Path], bare_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        handler.wfile.write(CONTENT[: len(CONTENT) // 2])
        handler.close_connection = True

    monkeypatch.setattr("http.server.SimpleHTTPRequestHandler.do_GET", half)
    with pytest.raises(DatasetUnavailable, match="downloading it failed: the connection broke off"):
        store.find(replace(SOURCE, url=f"{server[0]}/toy.csv"))
    assert leftovers(bare_machine) == []


def test_without_a_network_the_message_says_which_file_to_put_where(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        source = replace(SOURCE, url=f"http://127.0.0.1:{unused.getsockname()[1]}/toy.csv")
    with pytest.raises(DatasetUnavailable, match="no connection to the server") as caught:
        store.find(source)
    for part in (source.url, str(Path("data/toy/toy-v1.csv")), "PERSUADABLE_DATA=data", source.page):
        assert part in str(caught.value)
    assert leftovers(bare_machine) == []
    monkeypatch.setenv("PERSUADABLE_DATA", str(tmp_path / "mine"))
    with pytest.raises(DatasetUnavailable) as caught:
        store.find(source)
    assert str(tmp_path / "mine" / "toy" / "toy-v1.csv") in str(caught.value)


def test_downloading_can_be_forbidden(bare_machine: Path) -> None:
    with pytest.raises(DatasetUnavailable, match="downloading was not allowed"):
        store.find(SOURCE, download=False)


def test_a_cache_that_cannot_be_written_is_said(
    served: tuple[store.Source, Path], tmp_path: Path, bare_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "file")
    monkeypatch.setenv("PERSUADABLE_CACHE", str(tmp_path / "file"))
    with pytest.raises(DatasetUnavailable, match="could not be written"):
        store.find(served[0])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_gets_a_progress_bar(
    served: tuple[store.Source, Path], bare_machine: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal() if terminal else io.StringIO())
    store.find(served[0])
    assert ("Downloading toy" in sys.stderr.getvalue()) == terminal  # type: ignore[attr-defined]
    assert not terminal or "12.0/12.0 kB" in sys.stderr.getvalue()  # type: ignore[attr-defined]


def test_the_cache_is_the_systems_unless_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PERSUADABLE_CACHE", str(tmp_path))
    assert store.cache_folder() == tmp_path
    monkeypatch.delenv("PERSUADABLE_CACHE")
    assert store.cache_folder().name == "persuadable"
