"""A bundle as one zip file and back. What arrives is a stranger's: nothing in it is trusted before it is checked.

Refused: anything but plain stored or deflated files that the manifest names, under relative names, once each; more or
larger files than declared or allowed; contents that expand beyond reason. Then ``Bundle.load`` checks every digest.
"""

from __future__ import annotations

import errno
import io
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from persuadable.bundle import Bundle
from persuadable.bundle.sealed import LARGEST_MANIFEST, MANIFEST, is_file_name, listing, read_json, read_sealed
from persuadable.errors import BundleError
from persuadable.service.store import StoreFull

__all__ = ["load", "pack", "unpacked"]

MOST_FILES = 5_000
LARGEST_DIRECTORY = 2 * 2**20
# Trees and JSON shrink tenfold; a thousandfold, which deflate can do, only emptiness shrinks.
MOST_EXPANSION, EXPANSION_FROM = 200, 2**20
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
END_OF_DIRECTORY = 22
CHUNK = 2**18
# 1980, the first year a zip file knows: the same bundle gives the same bytes.
NO_DATE = (1980, 1, 1, 0, 0, 0)
REMEDY = "Zip the contents of a folder that Bundle.save wrote: cd bundle && zip -r ../bundle.zip ."


def pack(folder: Path) -> bytes:
    """The files of a saved bundle as a zip file.

    Raises:
        BundleError: there is no bundle, or a file of it is missing or was changed.
    """
    files, _ = read_sealed(folder)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in ((MANIFEST, (folder / MANIFEST).read_bytes()), *sorted(files.items())):
            archive.writestr(zipfile.ZipInfo(name, NO_DATE), content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def load(archive: bytes, most_bytes: int) -> Bundle:
    """The bundle in a zip file.

    Args:
        archive: the zip file.
        most_bytes: bound on its size, zipped and unzipped.

    Raises:
        BundleError: it is no bundle, or one that was tampered with; nothing of it is left behind.
    """
    with unpacked(archive, most_bytes) as folder:
        return Bundle.load(folder)


@contextmanager
def unpacked(archive: bytes, most_bytes: int) -> Iterator[Path]:
    """A temporary folder with the files of a zipped bundle; it is gone afterwards.

    Raises:
        BundleError: the archive cannot be trusted or read.
        StoreFull: there is no room for its files.
    """
    _check_frame(archive, most_bytes)
    with tempfile.TemporaryDirectory(prefix="persuadable-bundle-") as folder:
        try:
            with zipfile.ZipFile(io.BytesIO(archive)) as opened:
                _extract(opened, Path(folder), most_bytes)
        except (
            zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError, ValueError, EOFError,
        ) as error:  # fmt: skip
            raise BundleError(f"The zip file cannot be read: {error}", remedy=REMEDY) from error
        except OSError as error:
            if error.errno in NO_ROOM:
                raise StoreFull(
                    "There is no room to unpack the bundle in the folder for temporary files",
                    "Free space there, or name another folder in the variable TMPDIR.",
                ) from error
            raise BundleError(f"The zip file cannot be unpacked: {error.strerror}", remedy=REMEDY) from error
        yield Path(folder)


def _check_frame(archive: bytes, most_bytes: int) -> None:
    """The end of the archive, read by hand: the library would read a directory of any length before it is asked."""
    if len(archive) > most_bytes:
        raise BundleError(f"The zip file has {len(archive):,} bytes, at most {most_bytes:,} are taken")
    end = archive[-END_OF_DIRECTORY:]
    if len(end) < END_OF_DIRECTORY or end[:4] != b"PK\x05\x06" or end[-2:] != b"\x00\x00":
        raise BundleError("This is no zip file, or it is cut short, or something follows it", remedy=REMEDY)
    if archive[-END_OF_DIRECTORY - 20 :][:4] == b"PK\x06\x07":
        raise BundleError("The zip file uses the 64-bit format, which no bundle needs", remedy=REMEDY)
    if int.from_bytes(end[12:16], "little") > LARGEST_DIRECTORY or int.from_bytes(end[10:12], "little") > MOST_FILES:
        raise BundleError(f"The zip file lists more than {MOST_FILES:,} files", remedy=REMEDY)


def _extract(opened: zipfile.ZipFile, folder: Path, most_bytes: int) -> None:
    members = _members(opened)
    if MANIFEST not in members:
        raise BundleError(f"The zip file has no {MANIFEST} at its top", remedy=REMEDY)
    raw = _inflate(opened, members.pop(MANIFEST), LARGEST_MANIFEST)
    files = listing(read_json(raw, MANIFEST), "the zip file")
    _check_names(set(members), files)
    (folder / MANIFEST).write_bytes(raw)
    left = most_bytes - len(raw)
    for name, size in files.items():
        if size > left:
            raise BundleError(f"The bundle has more than {most_bytes:,} bytes unzipped")
        content = _inflate(opened, members[name], size)
        left -= len(content)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _members(opened: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The archive's files by name; each is what a file of a bundle can be."""
    members: dict[str, zipfile.ZipInfo] = {}
    taken: set[str] = set()  # without regard to case: some file systems have none
    for member in opened.infolist():
        name = member.orig_filename
        if name.endswith("/") and member.file_size == 0:
            continue  # a folder's own entry, which zip tools write and nothing here needs
        if not is_file_name(name):
            raise BundleError(f"{name!r} in the zip file is no name a file of a bundle can have", remedy=REMEDY)
        mode = member.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise BundleError(f"{name!r} in the zip file is no plain file", remedy=REMEDY)
        if member.flag_bits & 0x1:
            raise BundleError(f"{name!r} in the zip file is encrypted", remedy="Zip it without a password.")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BundleError(f"{name!r} in the zip file is compressed in an unusual way", remedy="Use deflate.")
        if name.casefold() in taken:
            raise BundleError(f"{name!r} is in the zip file twice", remedy=REMEDY)
        taken.add(name.casefold())
        members[name] = member
    for name in members:
        if any(str(parent) in taken for parent in PurePosixPath(name.casefold()).parents):
            raise BundleError(f"{name!r} in the zip file lies in a folder that is a file", remedy=REMEDY)
    return members


def _check_names(there: set[str], files: Mapping[str, int]) -> None:
    if strange := sorted(there - set(files)):
        raise BundleError(f"{strange[0]!r} is in the zip file and not in its manifest", remedy=REMEDY)
    if absent := sorted(set(files) - there):
        raise BundleError(f"The file {absent[0]!r} is in the manifest and not in the zip file", remedy=REMEDY)


def _inflate(opened: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> bytes:
    """A file's content, read no further than allowed, whatever the archive says of its size."""
    if member.file_size > EXPANSION_FROM and member.file_size > MOST_EXPANSION * member.compress_size:
        raise BundleError(f"{member.filename!r} expands more than {MOST_EXPANSION}-fold, as no bundle does")
    content = bytearray()
    with opened.open(member) as stream:
        while chunk := stream.read(CHUNK):
            content += chunk
            if len(content) > most:
                raise BundleError(f"{member.filename!r} has more bytes than its {most:,} allowed")
    return bytes(content)
