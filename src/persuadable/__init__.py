"""persuadable: whom to treat, when treating costs something.

    import persuadable as ps

    log = ps.datasets.load("hillstrom", outcome="visit")
    train, test = log.split(0.5, random_state=0)
    learner = ps.effects.XLearner(random_state=0).fit(train)
    ps.value.qini(test, learner.effect(test.features)[:, 1])

Rooms and names are loaded when they are first used, so that ``import persuadable`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from persuadable import datasets, design, effects, engine, errors, policies, report, response, study, value, worlds
    from persuadable.bundle import Bundle
    from persuadable.contract import FeatureContract
    from persuadable.features import Features
    from persuadable.log import DecisionLog
    from persuadable.spaces import Discrete

__version__ = "0.1.0"

__all__ = [
    "Bundle",
    "DecisionLog",
    "Discrete",
    "FeatureContract",
    "Features",
    "__version__",
    "datasets",
    "design",
    "effects",
    "engine",
    "errors",
    "policies",
    "report",
    "response",
    "study",
    "value",
    "worlds",
]

_HOME = {
    "Bundle": "bundle",
    "DecisionLog": "log",
    "Discrete": "spaces",
    "FeatureContract": "contract",
    "Features": "features",
}
_ROOMS = frozenset(__all__) - _HOME.keys() - {"__version__"}


def __getattr__(name: str) -> object:
    if name in _ROOMS:
        return import_module(f"persuadable.{name}")
    if name in _HOME:
        found: object = getattr(import_module(f"persuadable.{_HOME[name]}"), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module 'persuadable' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
