"""A bundle comes back bit-equal, and one that was touched does not come back at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import persuadable as ps
from persuadable.engine import Trees
from persuadable.errors import BundleError, NotFittedError
from persuadable.worlds import RandomisedTrial

SMALL = Trees(n_trees=8, max_depth=3)


@pytest.fixture(scope="module")
def logs() -> tuple[ps.DecisionLog, ps.DecisionLog]:
    return RandomisedTrial(outcome="money").sample(3000, random_state=0).split(0.5, random_state=0)


@pytest.fixture(scope="module")
def built(logs: tuple[ps.DecisionLog, ps.DecisionLog]) -> ps.Bundle:
    train, test = logs
    learner = ps.effects.XLearner("two-model", trees=SMALL, n_resamples=2, propensity="estimated").fit(train)
    policy = ps.policies.BudgetPolicy(learner, share=0.3, break_even=0.01).calibrate(test)
    return ps.Bundle.build(learner, policy, train, {"name": "a card"})


@pytest.fixture
def saved(built: ps.Bundle, tmp_path: Path) -> Path:
    built.save(tmp_path / "bundle")
    return tmp_path / "bundle"


def test_loading_gives_bit_equal_predictions(built: ps.Bundle, saved: Path, logs) -> None:
    test = logs[1]
    loaded = ps.Bundle.load(saved)
    np.testing.assert_array_equal(loaded.learner.effect(test.features), built.learner.effect(test.features))
    for ours, theirs in zip(
        loaded.learner.effect_interval(test.features), built.learner.effect_interval(test.features), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(
        loaded.policy.probabilities(test.features, 2), built.policy.probabilities(test.features, 2)
    )
    assert loaded.policy.threshold_at(0.1) == built.policy.threshold_at(0.1)
    assert loaded.contract == built.contract
    assert loaded.card == {"name": "a card"}


@pytest.mark.parametrize("kind", [ps.effects.SLearner, ps.effects.TLearner, ps.effects.RLearner, ps.effects.DRLearner])
def test_every_learner_survives(kind: type[ps.effects.Learner], logs, tmp_path: Path) -> None:
    train, test = logs
    learner = kind(trees=SMALL).fit(train)
    ps.Bundle.build(learner, ps.policies.BudgetPolicy(learner).calibrate(test), train).save(tmp_path / "b")
    loaded = ps.Bundle.load(tmp_path / "b").learner
    assert type(loaded) is kind
    np.testing.assert_array_equal(loaded.effect(test.features), learner.effect(test.features))


def test_a_loaded_learner_still_refuses_its_training_rows(saved: Path, logs) -> None:
    train, _ = logs
    effect = ps.Bundle.load(saved).learner.effect(train.features)
    with pytest.raises(ps.errors.LeakageError):
        ps.value.qini(train, effect[:, 1])


def test_saving_again_gives_the_same_version(saved: Path, tmp_path: Path) -> None:
    loaded = ps.Bundle.load(saved)
    assert loaded.save(tmp_path / "again").version == loaded.version


def test_saving_replaces_an_earlier_bundle_whole(built: ps.Bundle, saved: Path) -> None:
    stray = saved / "models" / "stray.ubj"
    stray.write_bytes(b"old")
    built.save(saved)
    assert not stray.exists()
    assert [p.name for p in saved.parent.iterdir()] == ["bundle"]


def test_a_folder_with_something_else_is_left_alone(built: ps.Bundle, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="not a bundle"):
        built.save(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_there_is_no_pickle_in_it(saved: Path) -> None:
    assert {p.suffix for p in saved.rglob("*") if p.is_file()} == {".json", ".npz", ".ubj", ".u64"}
    with np.load(saved / "policy.npz", allow_pickle=False) as arrays:
        assert all(arrays[name].dtype != object for name in arrays)


@pytest.mark.parametrize("name", ["bundle.json", "policy.npz", "contract.json", "card.json", "models/0-treated-1.ubj"])
def test_a_changed_byte_is_refused(saved: Path, name: str) -> None:
    raw = bytearray((saved / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (saved / name).write_bytes(raw)
    with pytest.raises(BundleError, match="was changed") as refusal:
        ps.Bundle.load(saved)
    assert name in str(refusal.value)


def test_a_missing_file_is_named(saved: Path) -> None:
    (saved / "contract.json").unlink()
    with pytest.raises(BundleError, match=r"'contract.json' is missing"):
        ps.Bundle.load(saved)


def test_a_shortened_file_is_refused(saved: Path) -> None:
    (saved / "policy.npz").write_bytes((saved / "policy.npz").read_bytes()[:-1])
    with pytest.raises(BundleError, match="bytes, expected"):
        ps.Bundle.load(saved)


def test_a_newer_format_asks_for_an_upgrade(saved: Path) -> None:
    manifest = json.loads((saved / "manifest.json").read_text())
    (saved / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(BundleError, match=r"format 99.*Upgrade"):
        ps.Bundle.load(saved)


@pytest.mark.parametrize("change", [{"version": "0" * 64}, {"files": {}}, {"persuadable": "9.9"}])
def test_a_changed_manifest_is_refused(saved: Path, change: dict[str, object]) -> None:
    manifest = json.loads((saved / "manifest.json").read_text())
    (saved / "manifest.json").write_text(json.dumps(manifest | change))
    with pytest.raises(BundleError, match="manifest was changed"):
        ps.Bundle.load(saved)


def test_no_bundle_and_no_json_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="There is no bundle"):
        ps.Bundle.load(tmp_path / "nowhere")
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match="cannot be read"):
        ps.Bundle.load(tmp_path)


def test_a_manifest_cannot_reach_outside_its_folder(saved: Path) -> None:
    from persuadable.bundle import _json, _manifest

    (saved.parent / "secret").write_bytes(b"secret")
    (saved / "manifest.json").write_bytes(_json(_manifest({"../secret": b"secret"})))
    with pytest.raises(BundleError, match="outside the bundle"):
        ps.Bundle.load(saved)


def test_unfitted_and_mismatched_parts_are_refused(built: ps.Bundle, logs) -> None:
    train, _ = logs
    learner = ps.effects.TLearner(trees=SMALL).fit(train)
    with pytest.raises(BundleError, match="another learner"):
        ps.Bundle.build(learner, built.policy, train)
    with pytest.raises(NotFittedError, match="calibrate"):
        ps.Bundle.build(learner, ps.policies.BudgetPolicy(learner), train)
    with pytest.raises(BundleError, match="not a RankPolicy"):
        ps.Bundle.build(learner, ps.policies.RankPolicy(lambda x: x), train)  # type: ignore[arg-type]


def test_a_card_json_cannot_hold_is_refused_before_anything_is_written(built: ps.Bundle, saved: Path, logs) -> None:
    before = (saved / "manifest.json").read_bytes()
    for bad in (float("nan"), np.int64(3)):
        with pytest.raises(BundleError, match="JSON"):
            ps.Bundle.build(built.learner, built.policy, logs[0], {"n": bad}).save(saved)
    assert (saved / "manifest.json").read_bytes() == before


def test_a_file_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="There is no bundle"):
        ps.Bundle.load(tmp_path / "file")
