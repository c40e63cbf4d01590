"""Record what the peers themselves print for fixed rankings: ``python tests/value/golden/make.py``.

Needs the peers' environments (``python -m persuadable.peers``). Each peer runs this same file in its own
environment and writes one JSON file beside it: the peer's version and its number for every case. The data come from
integer arithmetic, so they are the same bits everywhere and need not be stored.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
ROWS = 400
CASES = {
    f"{outcome}-{percent}-{ties}": (outcome, percent / 100, ties, 1000 * number)
    for number, (outcome, percent, ties) in enumerate(
        [(o, p, t) for o in ("binary", "money") for p in (50, 85, 97) for t in ("distinct", "ties")], start=1
    )
}


def uniforms(n: int, seed: int) -> np.ndarray:
    """(n,) numbers in [0, 1) by SplitMix64: exact on every machine and in every version of NumPy."""
    x = (np.arange(n, dtype=np.uint64) + np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) / 2.0**53


def data(case: str, part: str = "test") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outcome, treatment and score, (400,) each, of a case; ``part`` "train" is a second draw of it."""
    outcome, share, ties, seed = CASES[case]
    seed += 0 if part == "test" else 500_000
    u, x, noise, z = (uniforms(ROWS, seed + 10_000_000 * k) for k in range(1, 5))
    w = (u < share).astype(np.int64)
    bought = noise < 0.2 + 0.25 * x + w * (0.3 * x - 0.05)
    y = bought * (np.floor(1000 * z) / 8) if outcome == "money" else bought.astype(np.int64)
    score = x + 0.5 * z
    return y, w, np.floor(12 * score) / 8 if ties == "ties" else score


def scikit_uplift(y, w, s):
    """scikit-uplift takes binary outcomes only."""
    if set(np.unique(y)) - {0, 1}:
        return {}
    metrics = import_module("sklift.metrics")
    area = import_module("sklearn.metrics").auc

    def between(curve):
        rows, value = curve
        return area(rows, value) - area([0, rows[-1]], [0, value[-1]])

    found = {}
    if y[w == 1].mean() > y[w == 0].mean():  # else it fails: its best ranking would end before it starts
        found["qini-no-negative"] = metrics.qini_auc_score(y, s, w, negative_effect=False)
    return found | {
        "qini": metrics.qini_auc_score(y, s, w),
        "qini-unnormalised": between(metrics.qini_curve(y, s, w)),
        "auuc": metrics.uplift_auc_score(y, s, w),
        "auuc-unnormalised": between(metrics.uplift_curve(y, s, w)),
        "at-0.3-overall": metrics.uplift_at_k(y, s, w, strategy="overall", k=0.3),
        "at-0.3-by_group": metrics.uplift_at_k(y, s, w, strategy="by_group", k=0.3),
        "at-150-overall": metrics.uplift_at_k(y, s, w, strategy="overall", k=150),
    }


def causalml(y, w, s):
    """The order is recorded too: under ties it, and with it the number, depends on the processor."""
    metrics = import_module("causalml.metrics.visualize")
    frame = import_module("pandas").DataFrame({"y": y, "w": w, "model": s})
    found = {}
    for name, score in (("qini", metrics.qini_score), ("auuc", metrics.auuc_score)):
        found[name] = score(frame)["model"]
        found[f"{name}-unnormalised"] = score(frame, normalize=False)["model"]
    if len(np.unique(s)) < len(s):
        found["order"] = frame.sort_values("model", ascending=False).index.to_numpy()
    return found


def econml(y, w, s, y_train, w_train, s_train):
    """The tester with constant nuisances, so that its pseudo-outcomes can be written down by hand."""
    validate, utils = import_module("econml.validate"), import_module("econml.validate.utils")
    dummy = import_module("sklearn.dummy")

    class Scores:
        def effect(self, X, T0=0, T1=1):
            return X[:, 0]

    tester = validate.DRTester(
        model_regression=dummy.DummyRegressor(),
        model_propensity=dummy.DummyClassifier(strategy="prior"),
        cate=Scores(),
    )
    tester.fit_nuisance(s[:, None], w, y, s_train[:, None], w_train, y_train)
    means = np.column_stack([np.full(len(y), y[w == arm].mean()) for arm in (0, 1)])
    shares = np.column_stack([np.full(len(y), (w == arm).mean()) for arm in (0, 1)])
    own = utils.calculate_dr_outcomes(w, y, means, shares)
    found = {}
    for metric in ("qini", "toc"):
        result = tester.evaluate_uplift(s[:, None], s_train[:, None], metric=metric, n_bootstrap=2)
        found[metric], found[f"{metric}-stderr"] = result.params[0], result.errs[0]
        answer = utils.calc_uplift(s[:, None], s[:, None], own, np.linspace(5, 95, 50), metric, 2)
        found[f"{metric}-alone"], found[f"{metric}-alone-stderr"] = answer[:2]
    return found


def pylift(y, w, s):
    """Only ``pylift.eval`` is loaded: the rest of the package needs libraries of 2019."""
    if set(np.unique(y)) - {0, 1}:
        return {}
    import site
    import types

    package = types.ModuleType("pylift")
    package.__path__ = [str(Path(site.getsitepackages()[0], "pylift"))]
    sys.modules["pylift"] = package
    scores = import_module("pylift.eval").get_scores(w, y, s, np.full(len(y), w.mean()))
    return {"Q_qini": scores["Q_qini"]}


def criteo(y, w, s):
    """AUUC as the authors of the Criteo benchmark compute it: by areas under ROC curves."""
    if set(np.unique(y)) - {0, 1}:
        return {}
    roc = import_module("sklearn.metrics").roc_auc_score

    def arm(chosen):
        mean = y[chosen].mean()
        return mean * (1 - mean) * roc(y[chosen], s[chosen]) + mean**2 / 2

    return {"auuc": arm(w == 1) - arm(w == 0)}


RECORDED = {
    "scikit-uplift": (scikit_uplift, "scikit-uplift"),
    "causalml": (causalml, "causalml"),
    "econml": (econml, "econml"),
    "pylift": (pylift, "pylift"),
    "criteo": (criteo, "scikit-uplift"),
}


def worker(given: str, answer: str) -> None:
    """In the peer's environment: every case's arrays in, its numbers out."""
    arrays = np.load(given)
    ask = RECORDED[json.loads(str(arrays["settings"]))["record"]][0]
    found = {}
    for case in CASES:
        parts = ["y", "w", "s"] + (["y_train", "w_train", "s_train"] if ask is econml else [])
        for name, value in ask(*(arrays[f"{case}/{part}"] for part in parts)).items():
            found[f"{case}/{name}"] = value
    np.savez(answer, **found)


def main() -> None:
    """In the project's environment: ask each peer and write its file."""
    from persuadable import peers

    arrays = {}
    for case in CASES:
        for part, tail in (("test", ""), ("train", "_train")):
            arrays.update({f"{case}/{name}{tail}": a for name, a in zip("yws", data(case, part), strict=True)})
    for record, (_, peer) in RECORDED.items():
        answer = peers.call(peer, Path(__file__), arrays, {"record": record})
        numbers = {case: {} for case in CASES}
        for name, value in answer.items():
            case, what = name.split("/")
            numbers[case][what] = " ".join(map(str, value)) if what == "order" else value.tolist()
        text = {
            "peer": peer,
            "version": peers.versions(peer)[peer],
            "made_by": "tests/value/golden/make.py",
            "numbers": {case: found for case, found in numbers.items() if found},
        }
        Path(HERE, f"{record}.json").write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")
        print(record, len(answer))


if __name__ == "__main__":
    worker(*sys.argv[1:]) if len(sys.argv) == 3 else main()
