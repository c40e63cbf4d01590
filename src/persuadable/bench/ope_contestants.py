"""The off-policy evaluations that compete: six estimators on the same rounds, by us and by obp.

Both sides get the same arrays and prepare their own kind of data outside the clock: a log for us, which checks it, and
(n, A, 1) tables for obp. Our work includes the check of probabilities and predictions, variances and sizes; obp's is
its point estimates, which is what it has without a bootstrap.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

Settings = dict[str, Any]
Arrays = dict[str, Any]
Contestant = Callable[[Settings], Callable[[Arrays], Callable[[], Any]]]

TAU, LAM = 5.0, 50.0
RESAMPLES = 100


def ours(s: Settings) -> Callable[[Arrays], Callable[[], Any]]:
    """Six estimates with standard errors, intervals and effective sample sizes."""
    ps, ope, estimating = (import_module(f"persuadable{room}") for room in ("", ".value.ope", ".value.ope.estimating"))

    def prepare(a: Arrays) -> Callable[[], Any]:
        log = _log(ps, a)

        def work() -> list[float]:
            found = estimating.estimate(log, a["p"], estimators=_six(ope), q_hat=a["q"])
            return [one.value for one in found.values()]

        return work

    return prepare


def ours_resampled(s: Settings) -> Callable[[Arrays], Callable[[], Any]]:
    """The same six with studentised bootstrap intervals of 100 replicates."""
    ps, ope, estimating = (import_module(f"persuadable{room}") for room in ("", ".value.ope", ".value.ope.estimating"))
    intervals_of = import_module("persuadable.value.ope.intervals").intervals_of

    def prepare(a: Arrays) -> Callable[[], Any]:
        log = _log(ps, a)

        def work() -> list[float]:
            terms = estimating.terms(log, a["p"], estimators=_six(ope), q_hat=a["q"])
            found = intervals_of(terms, "bootstrap", n_resamples=RESAMPLES)
            return [one.value for one in found.values()]

        return work

    return prepare


def ours_streamed(s: Settings) -> Callable[[Arrays], Callable[[], Any]]:
    """The same six from a Parquet file of a million rounds, read again and again until there were enough."""
    ope, streaming = (import_module(f"persuadable.value.ope{room}") for room in ("", ".streaming"))
    warming_up = "trees" in s  # which only the settings of the meter's small run have
    files = [s["parquet"]] * (1 if warming_up else -(-int(s["streamed"]) // int(s["file_rows"])))
    labels = range(int(s["n_actions"]))

    def work() -> list[float]:
        found = streaming.estimate_parquet(
            files,
            {k: f"p{k}" for k in labels},
            action="action",
            actions=labels,
            outcomes="y",
            propensity={k: f"e{k}" for k in labels},
            estimators=_six(ope),
            q_hat={"y": {k: f"q{k}" for k in labels}},
        )["y"]
        return [one.value for one in found.values()]

    return lambda a: work


def _log(ps: Any, a: Arrays) -> Any:
    features = np.zeros((len(a["y"]), 1), dtype=np.float32)
    names = [str(k) for k in range(a["p"].shape[1])]
    return ps.DecisionLog.from_arrays(features, a["action"], a["y"], action_names=names, propensity=a["e"])


def _six(ope: Any) -> list[Any]:
    return ["dm", "ips", "snips", "dr", ope.SwitchDR(TAU), ope.DRos(LAM)]


def obp_points(s: Settings) -> Callable[[Arrays], Callable[[], Any]]:
    """obp's six point estimates."""
    return _obp(lambda estimator, told: estimator.estimate_policy_value(**told))


def obp_resampled(s: Settings) -> Callable[[Arrays], Callable[[], Any]]:
    """obp's six with its bootstrap of 100 replicates, which holds the normaliser of SNIPS fixed."""

    def ask(estimator: Any, told: dict[str, Any]) -> float:
        return float(estimator.estimate_interval(**told, n_bootstrap_samples=RESAMPLES, random_state=0)["mean"])

    return _obp(ask)


def _obp(ask: Callable[[Any, dict[str, Any]], float]) -> Callable[[Arrays], Callable[[], Any]]:
    ope = _obp_alone().import_obp().ope
    six = [
        ope.DirectMethod(),
        ope.InverseProbabilityWeighting(),
        ope.SelfNormalizedInverseProbabilityWeighting(),
        ope.DoublyRobust(),
        ope.SwitchDoublyRobust(lambda_=TAU),
        ope.DoublyRobustWithShrinkage(lambda_=LAM),
    ]

    def prepare(a: Arrays) -> Callable[[], Any]:
        told = {
            "reward": a["y"],
            "action": a["action"].astype(np.int64),
            "pscore": np.take_along_axis(a["e"], a["action"][:, None].astype(np.int64), axis=1)[:, 0],
            "action_dist": a["p"][:, :, None],
            "estimated_rewards_by_reg_model": a["q"][:, :, None],
        }

        def work() -> list[float]:
            return [ask(estimator, told) for estimator in six]

        return work

    return prepare


def _obp_alone() -> ModuleType:
    """The script that knows how obp is imported; no package of ours is there in obp's environment."""
    file = Path(__file__).parents[1] / "peers" / "obp_estimates.py"
    spec = importlib.util.spec_from_file_location("obp_estimates", file)
    if spec is None or spec.loader is None:
        raise ImportError(str(file))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CONTESTANTS: dict[str, Contestant] = {
    "ours with errors": ours,
    "ours with 100 draws": ours_resampled,
    "ours streamed": ours_streamed,
    "obp points": obp_points,
    "obp with 100 draws": obp_resampled,
}
