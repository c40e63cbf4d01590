"""A bundle comes back bit-equal, and one that was touched does not come back at all."""

from __future__ import annotations

import io
import json
import math
import os
import random
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import persuadable as ps
from persuadable.bundle.sealed import LARGEST_MANIFEST, MOST_FILES, seal, to_json
from persuadable.engine import Trees
from persuadable.errors import BundleError, NotFittedError, PersuadableError
from persuadable.worlds import Offers, RandomisedTrial

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


def reseal(folder: Path, **changed: bytes | None) -> None:
    """Change files, named with __ for / and _ for ., and write a manifest that fits them; None takes a file out."""
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    files.pop("manifest.json")
    for name, raw in changed.items():
        name = name.replace("__", "/").replace("_", ".")
        if raw is None:
            del files[name]
        else:
            files[name] = raw
            (folder / name).write_bytes(raw)
    (folder / "manifest.json").write_bytes(to_json(seal(files)))


def edited(folder: Path, name: str, change: Callable[[Any], Any]) -> bytes:
    document = json.loads((folder / name).read_text())
    changed = change(document)
    return json.dumps(document if changed is None else changed).encode()


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
    (saved.parent / "secret").write_bytes(b"secret")
    (saved / "manifest.json").write_bytes(to_json(seal({"../secret": b"secret"})))
    with pytest.raises(BundleError, match=r"names a file no bundle has: '../secret'"):
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


def test_the_evaluation_travels_along(built: ps.Bundle, saved: Path, logs, tmp_path: Path) -> None:
    assert ps.Bundle.load(saved).evaluation is None, "a bundle from before there was an evaluation"
    told = {"outcome": "money", "budgets": [{"share": 0.1, "cost": None}]}
    ours = ps.Bundle.build(built.learner, built.policy, logs[0], evaluation=told).save(tmp_path / "judged")
    loaded = ps.Bundle.load(tmp_path / "judged")
    assert loaded.evaluation == told
    assert loaded.version == ours.version != ps.Bundle.load(saved).version
    with pytest.raises(BundleError, match="JSON"):
        ps.Bundle.build(built.learner, built.policy, logs[0], evaluation={"value": float("nan")}).save(tmp_path / "no")
    reseal(tmp_path / "judged", evaluation_json=b"[]")
    with pytest.raises(BundleError, match=r"'evaluation.json' holds no JSON object"):
        ps.Bundle.load(tmp_path / "judged")


def test_a_contract_of_other_features_is_refused(built: ps.Bundle, logs) -> None:
    other = RandomisedTrial(outcome="money", n_features=9).sample(50, random_state=0)
    with pytest.raises(BundleError, match="The contract is about other features"):
        ps.Bundle.build(built.learner, built.policy, other)


# -- a hostile hand, which can write a manifest that fits ------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "models/../../x", "..", "a\\b", "a\x00b", "", ".hidden", "models/./x", "models//x", "é", "x" * 300],
)
def test_names_no_bundle_has(saved: Path, name: str) -> None:
    (saved / "manifest.json").write_bytes(to_json(seal({name: b""})))
    with pytest.raises(BundleError, match=r"names a file no bundle has"):
        ps.Bundle.load(saved)


def test_links_out_of_the_folder_are_not_followed(saved: Path) -> None:
    outside = saved.parent / "card.json"
    (saved / "card.json").rename(outside)
    (saved / "card.json").symlink_to(outside)
    with pytest.raises(BundleError, match=r"'card.json' lies outside the bundle"):
        ps.Bundle.load(saved)
    (saved / "card.json").unlink()
    (saved / "kept").mkdir()
    outside.rename(saved / "kept" / "card.json")
    (saved / "card.json").symlink_to(Path("kept") / "card.json")
    assert ps.Bundle.load(saved).card == {"name": "a card"}, "a link inside the folder, as some volumes are mounted"
    (saved / "card.json").unlink()
    (saved / "card.json").symlink_to("card.json")
    with pytest.raises(BundleError, match=r"'card.json' cannot be read"):
        ps.Bundle.load(saved)


@pytest.mark.parametrize("name", ["manifest.json", "card.json"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_what_is_no_plain_file_is_not_waited_for(saved: Path, name: str, kind: str) -> None:
    (saved / name).unlink()
    if kind == "folder":
        (saved / name).mkdir()
    elif kind == "pipe":
        os.mkfifo(saved / name)
    else:
        (saved / name).symlink_to("/dev/zero")
    with pytest.raises(BundleError, match=r"not a plain file|cannot be read|lies outside"):
        ps.Bundle.load(saved)


def test_manifests_are_bounded(saved: Path) -> None:
    (saved / "manifest.json").write_bytes(b"[" + b"0," * LARGEST_MANIFEST)
    with pytest.raises(BundleError, match="more than 4,194,304 bytes"):
        ps.Bundle.load(saved)
    (saved / "manifest.json").write_bytes(to_json(seal({f"f{i}": b"" for i in range(MOST_FILES + 1)})))
    with pytest.raises(BundleError, match="at most 10,000 files"):
        ps.Bundle.load(saved)
    manifest = seal({"a": b"", "b": b""})
    for told in manifest["files"].values():
        told["bytes"] = 2**30 + 1
    (saved / "manifest.json").write_bytes(to_json(_with_version(manifest)))
    with pytest.raises(BundleError, match="2,147,483,650 bytes, at most"):
        ps.Bundle.load(saved)


def _with_version(manifest: dict[str, Any]) -> dict[str, Any]:
    from persuadable.bundle.sealed import _version

    return manifest | {"version": _version(manifest)}


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    "raw",
    [b"[]", b"1", b'"text"', b"null", b"{}", DEEP, b'{"format": []}', b'{"format": true}', b'{"format": NaN}', b"\xff",
     b'{"format": 1, "files": []}', b'{"format": 1' + b"0" * 5000 + b"}"],
)  # fmt: skip
def test_manifests_of_wrong_types(saved: Path, raw: bytes) -> None:
    (saved / "manifest.json").write_bytes(raw)
    with pytest.raises(BundleError):
        ps.Bundle.load(saved)


@pytest.mark.parametrize(
    "told", [[], {}, None, {"bytes": "3", "sha256": ""}, {"bytes": -1, "sha256": ""}, {"bytes": 1.5, "sha256": ""},
             {"bytes": True, "sha256": ""}, {"bytes": 3, "sha256": 7}],
)  # fmt: skip
def test_a_manifest_says_what_each_file_is(saved: Path, told: Any) -> None:
    manifest = json.loads((saved / "manifest.json").read_text())
    manifest["files"]["card.json"] = told
    (saved / "manifest.json").write_bytes(to_json(_with_version(manifest)))
    with pytest.raises(BundleError, match=r"does not say what 'card.json' is"):
        ps.Bundle.load(saved)


@pytest.mark.parametrize("name", ["bundle.json", "contract.json", "card.json"])
@pytest.mark.parametrize("raw", [b"[]", b"null", b"{", DEEP, b'{"a": Infinity}', b"\xff\xfe"])
def test_documents_that_are_no_objects(saved: Path, name: str, raw: bytes) -> None:
    reseal(saved, **{name.replace(".", "_"): raw})
    with pytest.raises(BundleError, match=name):
        ps.Bundle.load(saved)


WRONG: list[tuple[str, Any]] = [
    *(("learner " + key, value) for key in (
        "kind", "parameters", "actions", "outcomes", "columns", "constant_propensity", "fitted_on", "models",
        "resamples",
    ) for value in (None, 1, "x", [], {}, [[]], [None], {"a": 1}, True)),
    *(("learner parameters " + key, value) for key, values in {
        "trees": ([], 3, {"n_trees": "8"}, {"unknown": 1}, {"max_depth": -1}), "nuisance_trees": ("x",),
        "n_folds": ("5", -1, 2.5, [], 2**70), "clip": ("0", -0.1, []), "propensity": ("guess", []), "form": ("x", 1),
        "n_resamples": (None, "2"), "engine": (None,), "random_state": (-1, {}), "invented": (1,),
    }.items() for value in values),
    *(("learner fitted_on " + key, value) for key in ("digest", "keep_below", "n") for value in (None, "x", -1, [], 1.5)
      if (key, value) != ("digest", "x")),
    *(("policy " + key, value) for key in ("kind", "parameters", "n_actions", "n", "calibrated_on")
      for value in (None, "x", [], {}, -1, 1.5, True) if (key, value) != ("parameters", {})),
    *(("policy parameters " + key, value) for key, values in {
        "share": ("0.3", -1, 2, None, [], True), "outcome": ("unknown", 3, []), "cost": ("unknown", {}),
        "break_even": ("0", None, {"nobody": 1.0}, {"treatment": "1"}, [1.0]), "invented": (1,),
    }.items() for value in values),
]  # fmt: skip


def test_values_of_wrong_types_are_refused_wherever_they_stand(saved: Path) -> None:
    sound = json.loads((saved / "bundle.json").read_text())
    passed = []
    for path, value in WRONG:
        document = json.loads(json.dumps(sound))
        *way, last = path.split()
        place = document
        for step in way:
            place = place[step]
        if last in place and place[last] == value and type(place[last]) is type(value):
            continue  # None is a constant propensity that varies
        place[last] = value
        reseal(saved, bundle_json=json.dumps(document).encode())
        try:
            ps.Bundle.load(saved)
            passed.append((path, value))
        except BundleError:
            continue
    assert passed == []


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["features"].pop(),
        lambda d: d["features"].append(d["features"][0]),
        lambda d: d["features"].reverse(),
        lambda d: d["features"][0].pop("missing"),
        lambda d: d["features"][0].update(missing=1),
        lambda d: d["features"][0].update(low="0"),
        lambda d: d["features"][0].update(low=None),
        lambda d: d["features"][0].update(low=3.0, high=2.0),
        lambda d: d["features"][0].update(low=10**400),
        lambda d: d["features"][0]["column"].update(kind="text"),
        lambda d: d["features"][0]["column"].update(kind="category"),
        lambda d: d["features"][0]["column"].update(categories=["a"]),
        lambda d: d["features"][0]["column"].update(name=3),
        lambda d: d.update(features={}),
        lambda d: d.update(features=3),
        lambda d: d.update(format=2),
    ],
)
def test_contracts_that_do_not_fit(saved: Path, change: Callable[[Any], Any]) -> None:
    def apply(document: Any) -> None:
        change(document)

    reseal(saved, contract_json=edited(saved, "contract.json", apply))
    with pytest.raises(BundleError):
        ps.Bundle.load(saved)


def arrays_of(saved: Path) -> dict[str, Any]:
    with np.load(saved / "policy.npz") as arrays:
        return dict(arrays)


def npz(arrays: dict[str, Any], **how: Any) -> bytes:
    packed = io.BytesIO()
    (np.savez_compressed if how.pop("compressed", False) else np.savez)(packed, **arrays, **how)
    return packed.getvalue()


def _with(name: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda arrays: arrays | {name: change(arrays[name])}


@pytest.mark.parametrize(
    "change",
    [
        _with("values", lambda v: v[::-1]),
        _with("values", lambda v: np.where(np.arange(v.size) == 1, np.nan, v)),
        _with("values", lambda v: np.append(v[:-1], np.inf)),
        _with("values", lambda v: np.append(v[:-2], [v[-1], v[-1]])),
        _with("values", lambda v: v[:-1]),
        _with("values", lambda v: v.astype(np.float32)),
        _with("values", lambda v: v[None]),
        _with("mass", lambda m: -m),
        _with("mass", lambda m: np.zeros_like(m)),
        _with("mass", lambda m: m * np.inf),
        _with("calibrated_ids", lambda ids: ids[::-1]),
        _with("calibrated_ids", lambda ids: ids.astype(np.int64)),
        lambda arrays: {"values": np.empty(0), "mass": np.empty(0), "calibrated_ids": arrays["calibrated_ids"]},
        lambda arrays: arrays | {"more": np.ones(3)},
        lambda arrays: {"values": arrays["values"], "mass": arrays["mass"]},
    ],
)
def test_distributions_that_are_none(saved: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    reseal(saved, policy_npz=npz(change(arrays_of(saved))))
    with pytest.raises(BundleError):
        ps.Bundle.load(saved)


class Bomb:
    def __reduce__(self) -> Any:
        return os.abort, ()


def test_arrays_are_neither_unpickled_nor_inflated(saved: Path) -> None:
    arrays = arrays_of(saved)
    reseal(saved, policy_npz=npz(arrays | {"values": np.array([Bomb()], dtype=object)}))
    with pytest.raises(BundleError, match=r"'policy.npz' cannot be read: an array is of another type"):
        ps.Bundle.load(saved)
    reseal(saved, policy_npz=npz(arrays | {"values": np.zeros(10**6)}, compressed=True))
    with pytest.raises(BundleError, match="is compressed"):
        ps.Bundle.load(saved)
    for size in ("1" * 12, "0", "-1", "1, 1"):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name, array in arrays.items():
                raw = io.BytesIO()
                np.lib.format.write_array(raw, array)
                content = raw.getvalue()
                if name == "values":  # a shape of more than there is, in a header of the same length
                    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({size},), }}".ljust(117) + "\n"
                    content = content[:10] + header.encode() + content[128:]
                archive.writestr(f"{name}.npy", content)
        reseal(saved, policy_npz=packed.getvalue())
        with pytest.raises(BundleError, match=r"'policy.npz' cannot be read: an array"):
            ps.Bundle.load(saved)


def test_damaged_content_in_a_fitting_manifest_is_refused_or_harmless(saved: Path, logs) -> None:
    """Bytes flipped, cut and overwritten everywhere but in the trees; what still loads still decides."""
    rng = random.Random(0)
    names = ["bundle.json", "policy.npz", "contract.json", "card.json", "models/fitted-on.u64"]
    sound = {name: (saved / name).read_bytes() for name in names}
    refused = 0
    for i in range(150):
        name = names[i % len(names)]
        key = name.replace("/", "__").replace(".", "_")
        reseal(saved, **{key: damaged(sound[name], rng)})
        try:
            ps.Bundle.load(saved).policy.probabilities(logs[1].features, 2)
        except PersuadableError:
            refused += 1
        reseal(saved, **{key: sound[name]})
    assert refused > 60
    ps.Bundle.load(saved)


def damaged(raw: bytes, rng: random.Random) -> bytes:
    changed, kind = bytearray(raw), rng.randrange(4)
    if kind == 0:
        changed[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del changed[rng.randrange(len(raw)) :]
    elif kind == 2:
        for _ in range(4):
            changed[rng.randrange(len(raw))] = rng.randrange(256)
    else:
        start = rng.randrange(len(raw))
        changed[start : start + 8] = b"\x7f\xff\xff\xff\xff\xff\xff\xff"
    return bytes(changed)


def test_damaged_trees_do_not_bring_the_process_down(saved: Path, tmp_path: Path) -> None:
    """XGBoost itself dies of a tenth of such files; in a process of their own, so that a death would be seen."""
    names = ["models/0-treated-1.ubj", "models/0-half-1-propensity-1.ubj"]
    for i, name in enumerate(names):
        (tmp_path / f"{i}.ubj").write_bytes((saved / name).read_bytes())
    columns = json.loads((saved / "bundle.json").read_text())["learner"]["columns"]
    categories = [len(labels) if kind == "category" else None for _, kind, labels in columns]
    script = tmp_path / "damage.py"
    script.write_text(TREES)
    done = subprocess.run(
        [sys.executable, str(script), str(Path(__file__)), str(tmp_path), json.dumps(categories)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    refused, read = map(int, done.stdout.split())
    assert refused > 600
    assert read > 20, "damage where it does not matter, in a number, passes"


TREES = """
import importlib.util, json, random, sys
from pathlib import Path
import numpy as np
from persuadable.engine import TreeModel
from persuadable.engine.ensemble import check_ensemble

spec = importlib.util.spec_from_file_location("test_bundle", sys.argv[1])
damaged = importlib.util.module_from_spec(spec)
spec.loader.exec_module(damaged)
categories = json.loads(sys.argv[3])
rng, refused, read = random.Random(0), 0, 0
rows = np.array([[value] * len(categories) for value in (0, -1, 1e9, np.nan)], dtype=np.float32)
for name in ("0.ubj", "1.ubj"):
    sound = Path(sys.argv[2], name).read_bytes()
    for _ in range(500):
        raw = damaged.damaged(sound, rng)
        try:
            check_ensemble(raw, categories)
            predicted = TreeModel.from_bytes(raw).predict(rows)
        except ValueError:
            refused += 1
            continue
        assert predicted.shape == (4,) and np.isfinite(predicted).all()
        read += 1
print(refused, read)
"""


# --- budgets of money -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trial() -> tuple[ps.DecisionLog, ps.DecisionLog]:
    return (
        Offers(depths=(0.05, 0.2), n_features=7, effect_scale=2.5)
        .sample(3000, random_state=0)
        .split(0.5, random_state=0)
    )


def allocating(trial: tuple[ps.DecisionLog, ps.DecisionLog], kind: str) -> ps.Bundle:
    train, test = trial
    value = ps.effects.DRLearner(trees=SMALL, n_resamples=3)
    cost: Any = ps.effects.TLearner(trees=SMALL)
    if kind == "one learner":
        value, cost = ps.effects.DRLearner(trees=SMALL).fit(train, outcomes=["margin", "cost"]), None
    else:
        value, cost = ps.effects.fit_heads(value, cost, train)
    model: Any = value
    if kind == "stated":
        cost = [0.0, 0.5, 2.0]
    elif kind == "calibrated":
        model, cost = (ps.effects.CalibratedEffects(head, "platt").calibrate(train) for head in (value, cost))
    averse = 0.0 if kind == "one learner" else 0.5
    policy = ps.policies.AllocationPolicy(
        model, cost, budget=0.4, averse=averse, efficiency_floor=0.1, roi_floor=0.5, evidence=None
    )
    return ps.Bundle.build(model, policy.calibrate(test), train)


@pytest.mark.parametrize("kind", ["two heads", "one learner", "stated", "calibrated"])
def test_an_allocation_comes_back_bit_equal(trial, kind: str, tmp_path: Path) -> None:
    test = trial[1]
    built = allocating(trial, kind)
    saved = built.save(tmp_path / "b")
    loaded = ps.Bundle.load(tmp_path / "b")
    assert isinstance(loaded.policy, ps.policies.AllocationPolicy)
    assert (loaded.cost_learner is None) == (kind in ("one learner", "stated"))
    for ours, theirs in zip(loaded.policy.economics(test.features), built.policy.economics(test.features), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for budget in (None, 0.0, 0.1, 0.4):
        assert loaded.policy.price_at(budget) == built.policy.price_at(budget)
        expected = built.policy.at(budget).probabilities(test.features, 3)
        np.testing.assert_array_equal(loaded.policy.at(budget).probabilities(test.features, 3), expected)
    assert loaded.save(tmp_path / "again").version == saved.version
    assert {p.suffix for p in (tmp_path / "b").rglob("*") if p.is_file()} == {".json", ".npz", ".ubj", ".u64"}


def test_a_policy_on_what_cannot_be_served_is_refused(trial) -> None:
    train, test = trial
    learner = ps.effects.SegmentLearner(ps.effects.TLearner(trees=SMALL), by="segment", min_rows=50).fit(train)
    policy = ps.policies.AllocationPolicy(learner, [0.0, 1.0, 2.0], budget=1.0, evidence=None).calibrate(test)
    with pytest.raises(BundleError, match="not SegmentLearner"):
        ps.Bundle.build(learner, policy, train)  # type: ignore[arg-type]
    plain = ps.effects.TLearner(trees=SMALL).fit(train)
    policy = ps.policies.AllocationPolicy(plain, learner, budget=1.0, cost="margin", evidence=None).calibrate(test)
    with pytest.raises(BundleError, match="not SegmentLearner"):
        ps.Bundle.build(plain, policy, train)
    with pytest.raises(BundleError, match="another learner"):
        ps.Bundle.build(ps.effects.TLearner(trees=SMALL).fit(train), policy, train)


def _put(*path: str, value: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        for part in path[:-1]:
            document = document[part]
        document[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _put("policy", "kind", value="TreatAll"),
        _put("policy", "kind", value=["AllocationPolicy"]),
        _put("policy", "kind", value="BudgetPolicy"),
        _put("policy", "n_actions", value=4),
        _put("policy", "start", value=[0.0, 0.0]),
        _put("policy", "n", value=-1),
        _put("policy", "value_outcome", value="fame"),
        _put("policy", "cost_outcome", value="fame"),
        _put("policy", "cost_outcome", value=None),
        _put("policy", "stated_costs", value=[0.0, 1.0, 2.0]),
        _put("policy", "parameters", "budget", value=-1.0),
        _put("policy", "parameters", "budget", value="much"),
        _put("policy", "parameters", "averse", value=1e400),
        _put("policy", "parameters", "efficiency_floor", value=[1]),
        _put("policy", "parameters", "surprise", value=1),
        _put("cost_learner", value=None),
        _put("cost_learner", value={"kind": "SegmentLearner"}),
        _put("cost_learner", "actions", value=["no offer", "x", "y"]),
        _put("cost_learner", "columns", value=[["x", "number", []]]),
    ],
)
def test_an_allocation_that_cannot_be_one_is_refused(trial_saved: Path, change: Any, tmp_path: Path) -> None:
    folder = tmp_path / "b"
    shutil.copytree(trial_saved, folder)
    reseal(folder, bundle_json=edited(folder, "bundle.json", change))
    with pytest.raises(BundleError):
        ps.Bundle.load(folder)


@pytest.fixture(scope="module")
def trial_saved(trial, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trial") / "b"
    allocating(trial, "two heads").save(folder)
    return folder


@pytest.mark.parametrize("name", ["price", "spend", "value", "offered"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -1e9])
def test_a_price_path_that_is_none_is_refused(trial_saved: Path, name: str, bad: float, tmp_path: Path) -> None:
    folder = tmp_path / "b"
    shutil.copytree(trial_saved, folder)
    with np.load(folder / "policy.npz") as kept:
        arrays = {key: kept[key].copy() for key in kept}
    arrays[name][len(arrays[name]) // 2] = bad
    raw = io.BytesIO()
    np.savez(raw, **arrays)
    reseal(folder, policy_npz=raw.getvalue())
    with pytest.raises(BundleError):
        ps.Bundle.load(folder)


# --- review -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reviewed(logs: tuple[ps.DecisionLog, ps.DecisionLog], built: ps.Bundle) -> ps.Bundle:
    held_out = RandomisedTrial(outcome="money").sample(1500, random_state=5)
    review = ps.policies.review(built.policy, held_out, 0.2)
    return ps.Bundle.build(built.learner, built.policy, logs[0], review=review)


def test_the_review_comes_back_and_judges_alike(reviewed: ps.Bundle, built: ps.Bundle, logs, tmp_path: Path) -> None:
    saved = reviewed.save(tmp_path / "b")
    loaded = ps.Bundle.load(tmp_path / "b")
    assert loaded.version == saved.version == loaded.save(tmp_path / "again").version
    features = logs[1].features
    effect = loaded.learner.effect(features)[:, 1]
    stderr = np.full(len(effect), effect.std())
    before, after = (bundle.review.judge(features, effect, stderr) for bundle in (reviewed, loaded))
    assert before.codes == after.codes
    np.testing.assert_array_equal(before.priority, after.priority)
    assert before.queued.any()
    built.save(tmp_path / "plain")
    assert ps.Bundle.load(tmp_path / "plain").review is None
    assert not (tmp_path / "plain" / "review.npz").exists()


def test_a_review_that_does_not_fit_is_refused(reviewed: ps.Bundle, built: ps.Bundle, logs) -> None:
    train, test = logs
    sure = ps.effects.TLearner(trees=SMALL).fit(train)
    policy = ps.policies.BudgetPolicy(sure).calibrate(test)
    with pytest.raises(BundleError, match="gives no intervals"):
        ps.Bundle.build(sure, policy, train, review=reviewed.review)
    other = RandomisedTrial(outcome="money", n_features=8).sample(2000, random_state=0)
    less = ps.effects.TLearner(trees=SMALL, n_resamples=2).fit(other)
    narrow = ps.policies.BudgetPolicy(less).calibrate(RandomisedTrial(outcome="money", n_features=8).sample(500, 1))
    with pytest.raises(BundleError, match="other features"):
        ps.Bundle.build(less, narrow, other, review=reviewed.review)
    with pytest.raises(BundleError, match="not a BudgetPolicy"):
        ps.Bundle.build(built.learner, built.policy, train, review=built.policy)  # type: ignore[arg-type]


HOSTILE_REVIEWS: list[Callable[[Any], Any]] = [
    lambda d: d["review"].update(kind="Reviewer"),
    lambda d: d["review"].update(load=2.0),
    lambda d: d["review"].update(load="all"),
    lambda d: d["review"].pop("threshold"),
    lambda d: d["review"].update(columns=["x"]),
    lambda d: d.update(review=[]),
    lambda d: d.update(review="none"),
]


@pytest.mark.parametrize("change", HOSTILE_REVIEWS)
def test_a_strange_review_is_refused(reviewed: ps.Bundle, tmp_path: Path, change: Callable[[Any], Any]) -> None:
    reviewed.save(tmp_path / "b")
    reseal(tmp_path / "b", bundle_json=edited(tmp_path / "b", "bundle.json", change))
    with pytest.raises(BundleError):
        ps.Bundle.load(tmp_path / "b")


def test_a_review_without_its_numbers_or_with_strange_ones_is_refused(reviewed: ps.Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "b"
    reviewed.save(folder)
    raw = (folder / "review.npz").read_bytes()
    reseal(folder, review_npz=None)
    with pytest.raises(BundleError, match=r"review\.npz"):
        ps.Bundle.load(folder)
    with np.load(io.BytesIO(raw)) as arrays:
        kept = {name: arrays[name] for name in arrays}
    for name in kept:
        file = io.BytesIO()
        np.savez(file, **{**kept, name: np.full_like(kept[name], np.nan)})
        reseal(folder, review_npz=file.getvalue())
        with pytest.raises(BundleError):
            ps.Bundle.load(folder)
