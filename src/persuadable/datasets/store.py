"""Where a data set's file lies: a folder, the cache, or the publisher."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from persuadable.errors import DatasetUnavailable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["CACHE_VARIABLE", "FOLDER_VARIABLE", "Found", "Source", "cache_folder", "find", "in_folder", "locate"]

FOLDER_VARIABLE = "PERSUADABLE_DATA"
CACHE_VARIABLE = "PERSUADABLE_CACHE"

_TIMEOUT = (10.0, 60.0)  # seconds to connect, seconds between two bytes

Place = Literal["data_dir", "PERSUADABLE_DATA", "cache", "download"]


@dataclass(frozen=True, slots=True)
class Source:
    """A data set's file, where it may lie and how it is known.

    Attributes:
        name: the data set.
        folders: names its folder may have inside a data folder; the file may also lie in the data folder itself.
        patterns: file names accepted there, best first; ``*`` stands for anything.
        url: the publisher's address of the file.
        sha256: hash of the publisher's file.
        size: bytes of the publisher's file.
        page: the publisher's description.
    """

    name: str
    folders: tuple[str, ...]
    patterns: tuple[str, ...]
    url: str
    sha256: str
    size: int
    page: str

    @property
    def cached_name(self) -> str:
        """The name under which the publisher's file is kept in the cache: the first accepted one."""
        return self.patterns[0]


@dataclass(frozen=True, slots=True)
class Found:
    """A file and the place it was found in."""

    path: Path
    place: Place


def cache_folder() -> Path:
    """Where downloads are kept: PERSUADABLE_CACHE, else the operating system's cache folder for this user."""
    told = os.environ.get(CACHE_VARIABLE)
    if told:
        return Path(told).expanduser()
    import pooch

    return Path(pooch.os_cache("persuadable"))


def locate(source: Source, data_dir: str | os.PathLike[str] | None = None) -> Found | None:
    """The file where it lies on this machine, or None. Nothing is downloaded.

    With ``data_dir`` only that folder is searched; without it the folder PERSUADABLE_DATA names, then the cache. The
    user's own folders are taken at their word; a cached file must have the publisher's hash.
    """
    if data_dir is not None:
        path = in_folder(source.folders, source.patterns, Path(data_dir).expanduser())
        return Found(path, "data_dir") if path else None
    told = os.environ.get(FOLDER_VARIABLE)
    path = in_folder(source.folders, source.patterns, Path(told).expanduser()) if told else None
    if path:
        return Found(path, "PERSUADABLE_DATA")
    cached = cache_folder() / source.name / source.cached_name
    return Found(cached, "cache") if cached.is_file() and _sha256(cached) == source.sha256 else None


def find(source: Source, data_dir: str | os.PathLike[str] | None = None, *, download: bool = True) -> Found:
    """The file where it lies on this machine, else downloaded into the cache and verified.

    Raises:
        DatasetUnavailable: the file is nowhere and cannot be downloaded; the message says which file to put where.
    """
    found = locate(source, data_dir)
    if found:
        return found
    if data_dir is not None:
        raise _unavailable(source, f"the folder {os.fspath(data_dir)!r} holds no file of it", Path(data_dir))
    if not download:
        raise _unavailable(source, "it is not on this machine, and downloading was not allowed")
    return Found(_download(source), "download")


def in_folder(folders: tuple[str, ...], patterns: tuple[str, ...], folder: Path) -> Path | None:
    """The best file in a data folder or in one of its ``folders``: by pattern, then by folder, then by name."""
    places = [folder / name for name in folders] + [folder]
    names = {place: sorted(p.name for p in place.iterdir() if p.is_file()) for place in places if place.is_dir()}
    for pattern in patterns:
        for place, there in names.items():
            matches = [name for name in there if fnmatch.fnmatchcase(name, pattern)]
            if matches:
                return place / matches[0]
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(source: Source) -> Path:
    """Fetch the publisher's file into the cache; a file of another hash is thrown away."""
    import pooch
    import requests

    folder = cache_folder() / source.name
    try:
        with _bar(source) as bar:
            fetch = pooch.HTTPDownloader(
                progressbar=bar, timeout=_TIMEOUT, chunk_size=1 << 16, headers={"Accept-Encoding": "identity"}
            )
            path = pooch.retrieve(
                source.url,
                known_hash=f"sha256:{source.sha256}",
                fname=source.cached_name,
                path=folder,
                downloader=fetch,
            )
    except requests.RequestException as error:
        # Without its cause: the network library's own hundred lines would bury what there is to do.
        raise _unavailable(source, f"downloading it failed: {_reason(error)}") from None
    except OSError as error:
        raise _unavailable(source, f"the download could not be written to {folder}: {error}") from error
    except ValueError as error:  # pooch: another hash
        raise _unavailable(
            source, f"the file at {source.url} is not the one expected (its sha256 differs), and was thrown away"
        ) from error
    return Path(path)


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, requests.ConnectionError):
        return "no connection to the server"
    return type(error).__name__


def _unavailable(source: Source, why: str, folder: Path | None = None) -> DatasetUnavailable:
    told = folder or (Path(os.environ[FOLDER_VARIABLE]) if os.environ.get(FOLDER_VARIABLE) else None)
    target = (told or Path("data")) / source.folders[0] / source.cached_name
    setting = "" if told else f", and set {FOLDER_VARIABLE}={target.parent.parent}"
    return DatasetUnavailable(
        f"The data set {source.name!r} is not available: {why}",
        remedy=(
            f"Get {source.url} ({source.size / 1e6:,.1f} MB) and put it at {target}{setting}. "
            f"About the data: {source.page}"
        ),
    )


class _Bar:
    """A rich progress bar in the shape pooch drives."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task
        self._total = 0

    @property
    def total(self) -> int:
        return self._total

    @total.setter
    def total(self, size: int) -> None:
        self._total = size
        self._progress.update(self._task, total=size or None)

    def update(self, amount: int) -> None:
        self._progress.advance(self._task, amount)

    def reset(self) -> None:
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        self._progress.refresh()


@contextmanager
def _bar(source: Source) -> Iterator[_Bar]:
    """A progress bar, silent where standard error is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    progress = Progress(
        TextColumn(f"Downloading {source.name}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
    with progress:
        yield _Bar(progress, progress.add_task("", total=source.size))
