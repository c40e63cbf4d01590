"""A folder of files sealed by a manifest: nothing is believed of it before it is checked and measured.

Whoever can write the files can also write a manifest that fits them, so the seal tells damage from wholeness, not
friend from foe. That is why names, kinds and sizes are bounded here and what the files say is checked by their readers.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persuadable import __version__
from persuadable.errors import BundleError

__all__ = [
    "FORMAT",
    "LARGEST_MANIFEST",
    "MANIFEST",
    "is_file_name",
    "listing",
    "read_arrays",
    "read_json",
    "read_sealed",
    "seal",
    "to_json",
    "write_sealed",
]

FORMAT = 1
MANIFEST = "manifest.json"
LARGEST_MANIFEST = 2**22
LARGEST_JSON = 2**25
LARGEST_BUNDLE = 2**31
MOST_FILES = 10_000
NAME = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*/){0,3}[A-Za-z0-9_][A-Za-z0-9_.-]*")
LONGEST_NAME = 255
# A one-dimensional array in NumPy's format 1.0: mark, length of the header, the header as NumPy writes it.
ARRAY = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '(<[fu]8)', 'fortran_order': False, 'shape': \((\d{1,12}),\), \} *\n", re.DOTALL
)
WHOLE = "Point at a folder written by Bundle.save, or save it again."
AGAIN = "Restore it, or save the bundle again."


def to_json(document: Any) -> bytes:
    """Plain values as JSON.

    Raises:
        BundleError: a value JSON cannot hold.
    """
    try:
        return json.dumps(document, indent=1, sort_keys=True, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BundleError(
            f"The bundle holds a value JSON cannot: {error}", remedy="Give the card plain finite numbers and text."
        ) from error


def read_json(raw: bytes, name: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        BundleError: it is too large, no JSON, or no object, or holds NaN.
    """
    if len(raw) > LARGEST_JSON:
        raise BundleError(f"The file {name!r} has {len(raw):,} bytes, at most {LARGEST_JSON:,} are read")
    try:
        document = json.loads(raw, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"The file {name!r} cannot be read: {error}", remedy=AGAIN) from error
    if not isinstance(document, dict):
        raise BundleError(f"The file {name!r} holds no JSON object", remedy=AGAIN)
    return document


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def read_arrays(raw: bytes, name: str, kinds: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """The arrays (one-dimensional, of these types) in the bytes of an npz, whose sizes are checked before reading.

    Raises:
        BundleError: other arrays, compressed ones, or any that is not what it is declared to be.
    """
    found: dict[str, NDArray[Any]] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            members = archive.infolist()
            if sorted(member.filename for member in members) != sorted(f"{key}.npy" for key in kinds):
                raise ValueError("it holds other arrays")
            for member in members:
                stored = member.compress_type == zipfile.ZIP_STORED
                if not (stored and member.file_size == member.compress_size <= len(raw)):
                    raise ValueError(f"{member.filename} is compressed")
                key = member.filename.removesuffix(".npy")
                found[key] = _read_array(archive.read(member), kinds[key])
    except (zipfile.BadZipFile, ValueError, RuntimeError, NotImplementedError, OSError, EOFError, KeyError) as error:
        raise BundleError(f"The file {name!r} cannot be read: {error}", remedy=AGAIN) from error
    return found


def _read_array(raw: bytes, kind: str) -> NDArray[Any]:
    start = 10 + int.from_bytes(raw[8:10], "little")
    header = ARRAY.fullmatch(raw[:start])
    if header is None or header[1].decode() != kind:
        raise ValueError("an array is of another type or shape")
    if int(header[2]) * np.dtype(kind).itemsize != len(raw) - start:
        raise ValueError(f"an array of {int(header[2]):,} numbers in {len(raw):,} bytes")
    return np.frombuffer(raw, kind, offset=start).copy()


def seal(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The manifest of files: their sizes and sha256, and a version that is the digest of it all."""
    listing = {name: {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()} for name, raw in files.items()}
    told = {"format": FORMAT, "persuadable": __version__, "files": listing}
    return told | {"version": _version(told)}


def _version(told: Mapping[str, Any]) -> str:
    return hashlib.sha256(to_json({key: told.get(key) for key in ("format", "persuadable", "files")})).hexdigest()


def write_sealed(target: Path, files: Mapping[str, bytes]) -> str:
    """Write files and their manifest; what stood there goes only once the new folder is whole.

    Returns:
        The version.

    Raises:
        BundleError: the folder holds something that is not sealed.
    """
    if target.exists() and not (target / MANIFEST).is_file() and (target.is_file() or any(target.iterdir())):
        raise BundleError(f"{str(target)!r} holds something that is not a bundle", remedy="Choose an empty folder.")
    target.parent.mkdir(parents=True, exist_ok=True)
    manifest = seal(files)
    fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for name, content in [*files.items(), (MANIFEST, to_json(manifest))]:
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            (fresh / name).write_bytes(content)
        fresh.chmod(0o755)
        _replace(fresh, target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return str(manifest["version"])


def _replace(fresh: Path, target: Path) -> None:
    """Put a whole folder in another's place; the old one goes only when the new one stands."""
    if not target.exists():
        fresh.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
    target.rename(old / "bundle")
    try:
        fresh.rename(target)
    except OSError:
        (old / "bundle").rename(target)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def read_sealed(folder: Path) -> tuple[dict[str, bytes], str]:
    """Every file of the manifest, each of the size and digest it is said to have, and the version.

    Raises:
        BundleError: no bundle, a newer format, or a file that is missing, changed, too large or no plain file here.
    """
    manifest = _read_manifest(folder)
    total = sum(listing(manifest, str(folder)).values())
    if total > LARGEST_BUNDLE:
        raise BundleError(f"The bundle has {total:,} bytes, at most {LARGEST_BUNDLE:,} are read", where=str(folder))
    return {name: _read_file(folder, name, told) for name, told in manifest["files"].items()}, manifest["version"]


def is_file_name(name: str) -> bool:
    """Whether a file of a bundle can have this name: relative, of plain letters, and nothing that leaves the folder."""
    return len(name) <= LONGEST_NAME and NAME.fullmatch(name) is not None


def listing(manifest: Mapping[str, Any], where: str) -> dict[str, int]:
    """Name → bytes of each file a manifest names.

    Args:
        manifest: as it was read.
        where: whose it is, for messages.

    Raises:
        BundleError: a name no file of a bundle has, or a file of which it does not say size and digest.
    """
    files = manifest.get("files")
    if not isinstance(files, dict) or len(files) > MOST_FILES:
        raise BundleError(f"The manifest does not list at most {MOST_FILES:,} files", where=where, remedy=WHOLE)
    for name, told in files.items():
        if not is_file_name(name) or name == MANIFEST:
            raise BundleError(f"The manifest names a file no bundle has: {name[:LONGEST_NAME]!r}", where=where)
        sized = isinstance(told, dict) and type(told.get("bytes")) is int and told["bytes"] >= 0
        if not (sized and isinstance(told.get("sha256"), str)):
            raise BundleError(f"The manifest does not say what {name!r} is", where=where, remedy=WHOLE)
    return {name: told["bytes"] for name, told in files.items()}


def _read_manifest(folder: Path) -> dict[str, Any]:
    where = str(folder / MANIFEST)
    try:
        raw = _read_plain(folder, MANIFEST, LARGEST_MANIFEST)
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(f"There is no bundle in {str(folder)!r}", where=f"no {MANIFEST}", remedy=WHOLE) from None
    if len(raw) > LARGEST_MANIFEST:
        raise BundleError(f"The manifest has more than {LARGEST_MANIFEST:,} bytes", where=where, remedy=WHOLE)
    manifest = read_json(raw, MANIFEST)
    wanted = manifest.get("format")
    if type(wanted) is not int or wanted != FORMAT:
        raise BundleError(
            f"The bundle has format {str(wanted)[:40]}, "
            f"this version of persuadable ({__version__}) reads format {FORMAT}",
            where=str(folder),
            remedy="Upgrade persuadable." if type(wanted) is int and wanted > FORMAT else WHOLE,
        )
    if manifest.get("version") != _version(manifest):
        raise BundleError("The manifest was changed after it was written", where=where, remedy=WHOLE)
    return manifest


def _read_file(folder: Path, name: str, told: Mapping[str, Any]) -> bytes:
    try:
        raw = _read_plain(folder, name, told["bytes"])
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(f"The file {name!r} is missing", where=str(folder), remedy=AGAIN) from None
    if len(raw) != told["bytes"]:
        size = (folder / name).stat().st_size
        raise BundleError(
            f"The file {name!r} has {size:,} bytes, expected {told['bytes']:,}", where=str(folder), remedy=AGAIN
        )
    if hashlib.sha256(raw).hexdigest() != told["sha256"]:
        raise BundleError(
            f"The file {name!r} was changed after it was written: its sha256 differs",
            where=str(folder),
            remedy=AGAIN,
        )
    return raw


def _read_plain(folder: Path, name: str, most: int) -> bytes:
    """At most one byte more than ``most`` of a plain file that lies in the folder, links inside it followed.

    Raises:
        FileNotFoundError, NotADirectoryError: there is none.
        BundleError: it lies outside, or is no plain file, or cannot be read.
    """
    try:
        file = (folder / name).resolve(strict=True)
        if not file.is_relative_to(folder.resolve(strict=True)):
            raise BundleError(f"The file {name!r} lies outside the bundle", where=str(folder), remedy=WHOLE)
        # A pipe would be waited for, and a link set in the meantime followed.
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(descriptor, "rb") as opened:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise BundleError(f"{name!r} is not a plain file", where=str(folder), remedy=WHOLE)
            return opened.read(most + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise BundleError(f"The file {name!r} cannot be read: {error}", where=str(folder), remedy=WHOLE) from error
