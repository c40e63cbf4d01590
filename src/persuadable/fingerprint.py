"""Which rows: identities that survive splitting and reloading, so that leakage can be seen.

A row's identity is a 64-bit hash: of its unit where units are known (a unit in both training and
test leaks even if its rows differ), else of its source's features and actions
and its place therein, so that the same rows are known again with another outcome.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Fingerprint", "content_seed", "row_identities", "unit_identities"]

Rows = NDArray[np.uint64]

SKETCH_ROWS = 1_000_000


def _mix(x: Rows) -> Rows:
    """SplitMix64's finaliser: a bijection whose output bits look independent (Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def content_seed(parts: Iterable[NDArray[np.generic] | str]) -> int:
    """A 64-bit hash of arrays and strings, in the order given."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        if isinstance(part, str):
            digest.update(part.encode())
        else:
            digest.update(np.ascontiguousarray(part).view(np.uint8).data)
    return int.from_bytes(digest.digest(), "little")


def row_identities(n: int, seed: int) -> Rows:
    """Identities of rows 0 … n − 1 of the source whose content hashes to ``seed``."""
    with np.errstate(over="ignore"):
        return _mix(np.arange(n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed))


def unit_identities(units: NDArray[np.generic]) -> Rows:
    """Identities of units, equal wherever the same unit appears: whole numbers by value, the rest as text."""
    if units.dtype.kind == "f" and (np.abs(units) < 2**53).all() and (units == np.floor(units)).all():
        units = units.astype(np.int64)  # integers that a null elsewhere turned into floats
    if np.issubdtype(units.dtype, np.integer):
        return _mix(units.astype(np.int64).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15))
    distinct, inverse = np.unique(units.astype(np.str_), return_inverse=True)
    hashed = np.fromiter(
        (int.from_bytes(hashlib.blake2b(u.encode(), digest_size=8).digest(), "little") for u in distinct.tolist()),
        dtype=np.uint64,
        count=distinct.size,
    )
    return hashed[inverse]


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """A set of rows: a digest to compare by, and identities to find overlaps with.

    Above a million distinct rows only identities below a threshold are kept. Identities are uniform
    hashes, so both sides of a comparison keep the same rows and an overlap is still seen.

    Attributes:
        digest: hexadecimal hash of the rows, in any order.
        ids: sorted distinct identities, at most about a million.
        keep_below: identities at or above this were left out.
        n: how many rows there were.
    """

    digest: str
    ids: Rows
    keep_below: int
    n: int

    @classmethod
    def of(cls, rows: Rows) -> Fingerprint:
        """Fingerprint rows given by their identities (n,)."""
        distinct = np.sort(rows)  # np.unique would hash them first, which takes several times as long
        if (same := distinct[1:] == distinct[:-1]).any():
            distinct = distinct[np.append(True, ~same)]
        digest = hashlib.blake2b(distinct.tobytes(), digest_size=16).hexdigest()
        keep_below = 2**64 if distinct.size <= SKETCH_ROWS else int(2**64 * (SKETCH_ROWS / distinct.size))
        kept = distinct if keep_below >= 2**64 else distinct[distinct < np.uint64(keep_below)]
        return cls(digest=digest, ids=kept, keep_below=keep_below, n=int(rows.size))

    @classmethod
    def read(cls, ids: NDArray[np.generic], told: Mapping[str, Any]) -> Fingerprint:
        """A fingerprint back from its identities and its other attributes, as they were saved.

        Raises:
            ValueError, TypeError: of another type, out of range, or identities that are not distinct and rising.
        """
        found = cls(ids=ids.astype(np.uint64), **told)
        if not (isinstance(found.digest, str) and type(found.keep_below) is int and type(found.n) is int):
            raise TypeError("a fingerprint holds values of the wrong type")
        if not (0 < found.keep_below <= 2**64 and found.n >= 0):
            raise ValueError("a fingerprint is out of range")
        if ids.ndim != 1 or ids.dtype.kind != "u" or not (found.ids[1:] > found.ids[:-1]).all():
            raise ValueError("the identities of a fingerprint's rows are not distinct and rising")
        return found

    def overlap(self, other: Fingerprint) -> int:
        """How many rows (or units) both hold; an estimate only where a side has over a million."""
        share = min(self.keep_below, other.keep_below) / 2**64
        common = int(np.intersect1d(self.ids, other.ids, assume_unique=True).size)
        return common if share >= 1 else round(common / share)

    def same_rows(self, other: Fingerprint) -> bool:
        """Whether both are of the same rows: the same identities, and as many rows of them where units repeat."""
        return self.digest == other.digest and self.n == other.n

    def union(self, other: Fingerprint) -> Fingerprint:
        """The rows of either."""
        keep_below = min(self.keep_below, other.keep_below)
        ids = np.union1d(self.ids, other.ids)
        if keep_below < 2**64:
            ids = ids[ids < np.uint64(keep_below)]
        digest = hashlib.blake2b("".join(sorted((self.digest, other.digest))).encode(), digest_size=16).hexdigest()
        return Fingerprint(digest=digest, ids=ids, keep_below=keep_below, n=self.n + other.n)

    def __repr__(self) -> str:
        return f"Fingerprint({self.digest[:12]}…, n={self.n:,})"
