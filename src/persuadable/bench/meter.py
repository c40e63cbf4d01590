"""Measures one contestant in a process of its own: ``python -I meter.py given.npz answer.npz``.

Runs in our environment and in the peers', so it needs nothing but NumPy. The settings name a file of contestants
and one of them. A contestant is a function of the settings that imports what it needs; it returns a function of the
arrays that prepares them; that returns a function without arguments that does the work. Only this last call is
timed, after a small one to warm up.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import resource
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
Contestant = Callable[[dict[str, Any]], Callable[[Arrays], Callable[[], Any]]]
WARM_ROWS = 2_000


def cpu_seconds() -> float:
    """User and system time of this process and of its children that have ended."""
    both = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def memory(field: str) -> float:
    """Megabytes of memory held now (``VmRSS``) or at most so far (``VmHWM``).

    The kernel's own fields are used where there are any: ``ru_maxrss`` starts from the parent's peak.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) / 1024 for line in status if line.startswith(field))
    except (OSError, StopIteration):
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def contestant(file: str, name: str) -> Contestant:
    """The contestant of that name in a file's ``CONTESTANTS``."""
    spec = importlib.util.spec_from_file_location("contestants", file)
    if spec is None or spec.loader is None:
        raise ImportError(file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Contestant = module.CONTESTANTS[name]
    return found


def main(given: str, answer: str) -> None:
    """Import, warm up, measure, then (untimed) predict for the arrays' ``X_test`` where there is one."""
    warnings.simplefilter("ignore")
    with np.load(given) as file:
        settings = json.loads(str(file["settings"]))
        sys.path[:0] = settings.get("path", [])
        make = contestant(settings["file"], settings["name"])
        prepare, prepare_small = make(settings), make({**settings, "trees": 3})
        imported = memory("VmRSS")
        arrays = {name: file[name] for name in file.files if name != "settings"}
    prepare_small({name: value[:WARM_ROWS] for name, value in arrays.items()})()
    work = prepare(arrays)
    gc.collect()
    cpu, wall = cpu_seconds(), time.perf_counter()
    result = work()
    cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
    peak = memory("VmHWM")
    measured: dict[str, Any] = {"cpu": cpu, "wall": wall, "imported": imported, "peak": peak}
    if callable(result):
        if "X_test" in arrays:
            measured["result"] = np.asarray(result(arrays["X_test"]), dtype=np.float64)
    else:
        measured["result"] = np.asarray(result, dtype=np.float64)
    np.savez(answer, **measured)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
