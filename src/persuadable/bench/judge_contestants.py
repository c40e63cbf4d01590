"""The evaluations that compete: what a ranking of many rows is worth, by us and by others.

Each entry imports its package, prepares its own kind of data from ``{"w", "y", "p", "score"}`` outside the clock, and
returns the work: ours with intervals for every number, the others mostly a point estimate.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

Settings = dict[str, Any]
Arrays = dict[str, Any]
Contestant = Callable[[Settings], Callable[[Arrays], Callable[[], Any]]]

SHARES = (0.1, 0.2, 0.3)


def ours(s: Settings) -> Callable[[Arrays], Callable[[], Any]]:
    """Qini, AUUC, AUTOC and uplift at three shares, each with its interval, and two curves with bands."""
    ps = import_module("persuadable")
    evaluate = import_module("persuadable.value").evaluate_ranking

    def prepare(a: Arrays) -> Callable[[], Any]:
        log = _log(ps, a)

        def work() -> list[float]:
            report = evaluate(log, a["score"], SHARES)
            found = [report.qini.coefficient, report.qini.auuc, *report.at_k.values()]
            return [number for e in found for number in (e.value, *e.interval)]

        return work

    return prepare


def ours_bootstrapped(s: Settings) -> Callable[[Arrays], Callable[[], Any]]:
    """The Qini and AUUC with 200 bootstrap draws in place of the influence function."""
    ps = import_module("persuadable")
    qini = import_module("persuadable.value").qini

    def prepare(a: Arrays) -> Callable[[], Any]:
        log = _log(ps, a)

        def work() -> list[float]:
            found = qini(log, a["score"], interval="bootstrap", n_resamples=200)
            return [found.coefficient.value, *found.coefficient.interval]

        return work

    return prepare


def _log(ps: Any, a: Arrays) -> Any:
    n = len(a["y"])
    features = np.zeros((n, 1), dtype=np.float32)
    return ps.DecisionLog.from_arrays(features, a["w"], a["y"], propensity=float(a["p"][0]))


def scikit_uplift(*names: str) -> Contestant:
    """scikit-uplift's point estimates."""

    def make(s: Settings) -> Callable[[Arrays], Callable[[], Any]]:
        metrics = import_module("sklift.metrics")
        extra = {"uplift_at_k": [{"strategy": "overall", "k": k} for k in SHARES]}

        def prepare(a: Arrays) -> Callable[[], Any]:
            y, w, score = a["y"].astype(np.int64), a["w"], a["score"]
            calls = [(getattr(metrics, name), more) for name in names for more in extra.get(name, [{}])]
            return lambda: [call(y, score, w, **more) for call, more in calls]

        return prepare

    return make


def causalml(*, draws: int) -> Contestant:
    """causalml's ``qini_score``, with a half-sample interval of so many draws where there are any."""

    def make(s: Settings) -> Callable[[Arrays], Callable[[], Any]]:
        measure = import_module("causalml.metrics.visualize").qini_score
        frame = import_module("pandas").DataFrame

        def prepare(a: Arrays) -> Callable[[], Any]:
            table = frame({"y": a["y"], "w": a["w"], "model": a["score"]})
            if draws:
                return lambda: measure(table, return_ci=True, n_bootstrap=draws, random_state=0).to_numpy()
            return lambda: measure(table).to_numpy()

        return prepare

    return make


def econml(s: Settings) -> Callable[[Arrays], Callable[[], Any]]:
    """The Qini of econml's ``DRTester``, its pseudo-outcomes given, with 200 draws for the uniform band."""
    validate = import_module("econml.validate.utils")

    def prepare(a: Arrays) -> Callable[[], Any]:
        y, w, p, score = a["y"][:, None], a["w"][:, None], a["p"][:, None], a["score"][:, None]
        gamma = y * w / p - y * (1 - w) / (1 - p)
        grid = np.linspace(5, 95, 50)
        return lambda: validate.calc_uplift(score, score, gamma, grid, "qini", 200)[:2]

    return prepare


CONTESTANTS: dict[str, Contestant] = {
    "ours": ours,
    "ours with 200 draws": ours_bootstrapped,
    "scikit-uplift Qini": scikit_uplift("qini_auc_score"),
    "scikit-uplift Qini, AUUC, uplift at 3 k": scikit_uplift("qini_auc_score", "uplift_auc_score", "uplift_at_k"),
    "causalml Qini": causalml(draws=0),
    "causalml Qini with 10 draws": causalml(draws=10),
    "econml Qini": econml,
}
