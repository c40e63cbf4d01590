"""Runs in obp's environment: what its off-policy estimators say of the arrays given.

``python -I obp_estimates.py given.npz answer.npz``, see ``persuadable.peers.run``. Given: arrays by any names; settings
``estimators``, a list of {"class": its name in ``obp.ope``, "parameters": {…}, "arguments": {argument of
``estimate_policy_value``: name of an array}}. Answered: value (k,) and version.
"""

from __future__ import annotations

import json
import sys
import warnings
from importlib import import_module, metadata
from types import ModuleType
from typing import Any

import numpy as np


class _NeverUsed:
    """Stands for every name of torch that obp mentions when it is imported."""


def import_obp() -> Any:
    """obp without torch, which only its neural learners use and whose Linux build brings gigabytes for graphics cards.

    obp names torch in annotations and as a base class; neither needs more than a name.
    """
    for name in ("torch", "torch.nn", "torch.nn.functional", "torch.optim", "torch.utils", "torch.utils.data"):
        module = ModuleType(name)
        module.__path__ = []
        module.__getattr__ = _stand_in  # type: ignore[method-assign]
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
        sys.modules[name] = module
    return import_module("obp")


def _stand_in(name: str) -> type[_NeverUsed]:
    if name.startswith("__"):
        raise AttributeError(name)
    return _NeverUsed


def main(given: str, answer: str) -> None:
    """Ask every estimator."""
    warnings.simplefilter("ignore")
    with np.load(given) as file:
        arrays = {name: file[name] for name in file.files}
    estimators = import_obp().ope
    values = []
    for one in json.loads(str(arrays["settings"]))["estimators"]:
        estimator = getattr(estimators, one["class"])(**one["parameters"])
        told = {argument: arrays[name] for argument, name in one["arguments"].items()}
        values.append(float(estimator.estimate_policy_value(**told)))
    np.savez(answer, value=np.array(values), version=np.array(metadata.version("sb-obp")))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
