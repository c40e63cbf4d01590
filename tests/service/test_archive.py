"""Bundles as zip files: there and back, and nothing of a stranger's making gets in."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import random
import stat
import struct
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import persuadable as ps
from persuadable.errors import BundleError
from persuadable.service import archive
from persuadable.service.store import StoreFull

MOST = 8 * 2**20


@pytest.fixture(scope="module")
def packed(bundle_folder: Path) -> bytes:
    return archive.pack(bundle_folder)


@pytest.fixture(autouse=True)
def nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whatever happens, no file is left behind."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert list(tmp_path.iterdir()) == []


def members(packed: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(packed)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def zipped(files: Mapping[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", how) as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return written.getvalue()


def refused(raw: bytes, said: str, most: int = MOST) -> None:
    with pytest.raises(BundleError, match=said):
        archive.load(raw, most)


def test_there_and_back_is_the_same_bundle(packed: bytes, bundle_folder: Path) -> None:
    assert archive.load(packed, MOST).version == ps.Bundle.load(bundle_folder).version
    assert archive.pack(bundle_folder) == packed, "the same bundle is the same bytes"


def test_what_zip_tools_write_is_taken_too(packed: bytes) -> None:
    """Entries for folders, files stored uncompressed, another order."""
    files = {"models/": b"", **dict(reversed(members(packed).items()))}
    assert archive.load(zipped(files, zipfile.ZIP_STORED), MOST).version


def test_every_flipped_byte_is_found(packed: bytes) -> None:
    """A sample of positions over the whole file: contents, headers, directory."""
    version = archive.load(packed, MOST).version
    for place in random.Random(0).sample(range(len(packed)), 120):
        broken = bytearray(packed)
        broken[place] ^= 1 << random.Random(place).randrange(8)
        try:
            loaded = archive.load(bytes(broken), MOST)
        except BundleError:
            continue
        assert loaded.version == version, "a byte of no meaning (a date, an attribute): every file is as it was"


def test_a_cut_file_is_refused(packed: bytes) -> None:
    for size in (0, 1, 21, 22, 100, len(packed) // 2, len(packed) - 1):
        refused(packed[:size], "no zip file|cannot be read")
    refused(packed + b"x", "something follows")
    refused(b"GIF89a" + bytes(100), "no zip file")


def test_files_the_manifest_does_not_name_are_refused(packed: bytes) -> None:
    files = members(packed)
    for name in ("run.py", "models/extra.ubj", "bundle.pickle"):
        refused(zipped(files | {name: pickle.dumps({"a": 1})}), "not in its manifest")
    refused(zipped(files | {"inner.zip": packed}), "not in its manifest")


def test_a_pickle_in_the_place_of_a_file_is_refused(packed: bytes) -> None:
    """With a manifest that agrees: what holds the arrays is read without pickle, what holds the rest is JSON."""
    for name in ("policy.npz", "bundle.json", "card.json"):
        files = members(packed) | {name: pickle.dumps(Bomb())}
        refused(zipped(signed(files)), "incomplete|cannot|pickle|JSON|not ")
    assert not Bomb.gone_off


class Bomb:
    """Goes off where it is unpickled."""

    gone_off = False

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return setattr, (Bomb, "gone_off", True)


def signed(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files with a manifest that agrees with them, as somebody who knows the format could write it."""
    import hashlib

    manifest = json.loads(files["manifest.json"])
    listing = {
        name: {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
        for name, raw in files.items()
        if name != "manifest.json"
    }
    told = {"format": manifest["format"], "persuadable": manifest["persuadable"], "files": listing}
    text = json.dumps(told, indent=1, sort_keys=True, allow_nan=False).encode()
    told["version"] = hashlib.sha256(text).hexdigest()
    return files | {"manifest.json": json.dumps(told).encode()}


@pytest.mark.parametrize(
    "name",
    ["../evil", "/etc/evil", "models/../../evil", "a\\..\\evil", "C:evil", "./evil", "a//b", "evil\n", "\x00", "",
     "x" * 300, "é" * 150, "card.json/" + "é" * 150],
)  # fmt: skip
def test_a_name_that_leaves_the_folder_is_refused(packed: bytes, name: str) -> None:
    files = signed(members(packed) | {"EVIL": b"x"})
    files["manifest.json"] = files["manifest.json"].replace(b'"EVIL"', json.dumps(name).encode())
    raw = zipped({key: value for key, value in files.items() if key != "EVIL"})
    refused(raw, "names a file no bundle has")
    if name and "\x00" not in name:
        refused(zipped(members(packed) | {name: b"x"}), "no name a file")


@pytest.mark.parametrize("name", ["manifest.json/x", "card.json/x", "CARD.json/x/y", "models/a/b"])
def test_a_name_below_another_file_is_refused(packed: bytes, name: str) -> None:
    refused(zipped(signed(members(packed) | {"models/a": b"x", name: b"x"})), "in a folder that is a file")


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [(errno.ENOSPC, StoreFull, "no room to unpack.*TMPDIR"), (errno.EIO, BundleError, "cannot be unpacked")],
)
def test_a_disk_that_fails_is_told(
    packed: bytes, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception], said: str
) -> None:
    def failing(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", failing)
        with pytest.raises(kind, match=said):
            archive.load(packed, MOST)


def test_a_link_is_refused(packed: bytes) -> None:
    files = members(packed)
    content = files.pop("card.json")
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as opened:
        for name, raw in files.items():
            opened.writestr(name, raw)
        link = zipfile.ZipInfo("card.json")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(link, content)
    refused(written.getvalue(), "no plain file")


def test_a_file_that_is_there_twice_is_refused(packed: bytes) -> None:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as opened:
        for name, raw in members(packed).items():
            opened.writestr(name, raw)
        with pytest.warns(UserWarning, match="Duplicate"):
            opened.writestr("card.json", b"{}")
    refused(written.getvalue(), "twice")
    refused(zipped(members(packed) | {"CARD.json": b"{}"}), "twice")


def test_an_encrypted_file_is_refused(packed: bytes) -> None:
    raw = bytearray(packed)
    entry = raw.index(b"PK\x01\x02")
    raw[entry + 8] |= 1
    refused(bytes(raw), "encrypted")


@pytest.mark.parametrize("how", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_unusual_compression_is_refused(packed: bytes, how: int) -> None:
    refused(zipped(members(packed), how), "unusual")


def test_a_bomb_does_not_go_off(packed: bytes) -> None:
    """A gigabyte in a megabyte, with or without a manifest that admits to it."""
    zeros = bytes(64 * 2**20)
    files = members(packed) | {"policy.npz": zeros}
    refused(zipped(files), "expands more|more bytes than")
    refused(zipped(signed(files)), "more than .* bytes unzipped")
    refused(zipped(signed(files)), "expands more", most=2**30)


def test_a_bomb_that_lies_about_its_size_does_not_go_off(packed: bytes) -> None:
    raw = bytearray(zipped(members(packed) | {"card.json": bytes(64 * 2**20)}))
    entry = raw.index(b"card.json", raw.index(b"PK\x01\x02")) - 46
    struct.pack_into("<I", raw, entry + 24, len(members(packed)["card.json"]))
    refused(bytes(raw), "cannot be read|more bytes than|sha256|digest|expected")


def test_many_or_large_files_are_refused(packed: bytes) -> None:
    refused(zipped({f"f{i}": b"" for i in range(archive.MOST_FILES + 1)}), "more than 5,000 files")
    refused(packed, "at most 1,000", most=1_000)
    refused(zipped({"manifest.json": b" " * (5 * 2**20)}, zipfile.ZIP_STORED), "more bytes than")


@pytest.mark.parametrize(
    "manifest",
    [b"", b"[]", b"{}", b'{"files": []}', b'{"files": {"a": {}}}', b'{"files": {"a": {"bytes": -1}}}',
     b'{"files": {"a": {"bytes": true}}}', b'{"files": {"manifest.json": {"bytes": 1}}}', b"[" * 200_000, b"\xff\xfe"],
)  # fmt: skip
def test_a_strange_manifest_is_refused(manifest: bytes) -> None:
    refused(zipped({"manifest.json": manifest}), "manifest|does not say|cannot be read")


def test_a_folder_zipped_with_its_name_is_told_how_to_zip(packed: bytes) -> None:
    refused(zipped({f"bundle/{name}": raw for name, raw in members(packed).items()}), r"cd bundle && zip -r")


def test_a_folder_that_holds_no_bundle_is_not_packed(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(BundleError, match="There is no bundle"):
        archive.pack(tmp_path_factory.mktemp("empty"))
