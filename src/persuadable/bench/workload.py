"""What the service's benchmark asks: bundles of a stated size, and requests about fresh users of the same world."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from persuadable.bench.load import SERIAL
from persuadable.bundle import Bundle
from persuadable.effects import XLearner
from persuadable.engine import LocalEngine, Trees
from persuadable.features import Features
from persuadable.policies import BudgetPolicy
from persuadable.worlds import RandomisedTrial

__all__ = ["MODELS", "bundle", "get", "lines", "requests", "rows", "users"]

WORLD = RandomisedTrial(outcome="real", n_actions=3, n_features=12, n_categorical=3)
MODELS = "X-learner in two models, 2 treatments: 4 ensembles"
SHARE = 0.3
HEAD = "{verb} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n{body}"


def bundle(folder: Path, *, trees: int, depth: int, rows: int, resamples: int, threads: int) -> Bundle:
    """A bundle of four ensembles, or with half-samples 4 × (1 + resamples), saved in a folder.

    Args:
        folder: where to.
        trees, depth: of every ensemble.
        rows: of the experiment it is fitted on; half of them calibrate the policy.
        resamples: half-samples behind the intervals; 0 for none.
        threads: to fit with.
    """
    train, held_out = WORLD.sample(rows, random_state=1).split(0.5, random_state=1)
    learner = XLearner(
        form="two-model",
        trees=Trees(n_trees=trees, max_depth=depth),
        n_resamples=resamples,
        engine=LocalEngine(threads=threads, progress=False),
    ).fit(train)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the break-even binds in tiny worlds; speed does not mind
        policy = BudgetPolicy(learner, SHARE).calibrate(held_out)
    return Bundle.build(learner, policy, train).save(folder)


def users(n: int, *, seed: int = 2) -> Features:
    """Fresh users of the world."""
    few = 200  # fewer might leave an arm of the world without anybody, which a log refuses
    return WORLD.sample(max(n, few), random_state=seed).features.take(slice(n))


def requests(path: str, rows: Sequence[dict[str, Any]], *, keyed: bool = False) -> list[str]:
    """A request per user; its unit, and with ``keyed`` its Idempotency-Key, hold the number of the request.

    Args:
        path: of the POST.
        rows: features of the users.
        keyed: with an Idempotency-Key.
    """
    serial = SERIAL.decode()
    headers = "Content-Type: application/json\r\n" + (f"Idempotency-Key: bench-{serial}\r\n" if keyed else "")
    made = []
    for row in rows:
        body = json.dumps({"units": [{"unit": serial, "features": row}], "budget_share": SHARE})
        told = headers + f"Content-Length: {len(body)}\r\n"
        made.append(HEAD.format(verb="POST", path=path, headers=told, body=body))
    return made


def get(path: str) -> list[str]:
    """One GET."""
    return [HEAD.format(verb="GET", path=path, headers="", body="")]


def lines(rows: Sequence[dict[str, Any]]) -> bytes:
    """The users as newline-delimited JSON, for the batch."""
    return b"".join(json.dumps({"unit": f"b{i}", "features": row}).encode() + b"\n" for i, row in enumerate(rows))


def rows(features: Features) -> list[dict[str, Any]]:
    """Features as the JSON values a caller would send: rounded numbers, labels."""
    columns = [
        np.array(column.categories, dtype=object)[values.astype(int)].tolist()
        if column.kind == "category"
        else np.round(values.astype(float), 4).tolist()
        for column, values in zip(features.columns, features.values.T, strict=True)
    ]
    names = [column.name for column in features.columns]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
