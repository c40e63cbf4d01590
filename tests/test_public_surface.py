"""The names other people's code depends on: they exist, they are documented, and nothing else leaks."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from importlib.metadata import version

import pytest

import persuadable as ps

ROOMS = [
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
NAMES = ["Bundle", "DecisionLog", "Discrete", "FeatureContract", "Features"]
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(ps.__path__, "persuadable.")
    if not any(part.startswith("_") for part in module.name.split("."))
)


def test_the_top_level_is_what_is_promised() -> None:
    assert sorted(ps.__all__) == sorted([*ROOMS, *NAMES, "__version__"])
    assert dir(ps) == sorted(ps.__all__)
    assert ps.__version__ == version("persuadable")


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_reached_as_an_attribute(room: str) -> None:
    assert inspect.ismodule(getattr(ps, room))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_reached_as_an_attribute(name: str) -> None:
    assert inspect.isclass(getattr(ps, name))
    assert getattr(ps, name) is getattr(ps, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'uplift'"):
        _ = ps.uplift  # type: ignore[attr-defined]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is(module: str) -> None:
    text = importlib.import_module(module).__doc__
    assert text is not None
    assert text.strip()


@pytest.mark.parametrize("module", [m for m in MODULES if m.count(".") == 1])
def test_every_exported_name_exists_and_is_documented(module: str) -> None:
    room = importlib.import_module(module)
    names = list(getattr(room, "__all__", []))
    assert len(names) == len(set(names)), "a name is exported twice"
    for name in names:
        thing = getattr(room, name)
        if inspect.isclass(thing) or inspect.isroutine(thing):
            # inspect.getdoc would inherit; dataclasses write a signature where no docstring is.
            text = thing.__doc__
            assert text, f"{module}.{name} has no docstring"
            assert not text.startswith(f"{name}("), f"{module}.{name} has no docstring of its own"


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_says_what_it_exports(room: str) -> None:
    if room == "errors":
        return
    assert getattr(ps, room).__all__


def test_every_error_is_a_persuadable_error() -> None:
    errors = [e for _, e in inspect.getmembers(ps.errors, inspect.isclass) if e.__module__ == "persuadable.errors"]
    assert len(errors) > 5
    for error in errors:
        assert issubclass(error, ps.errors.PersuadableError)
        assert error.__name__ in (ps.errors.__doc__ or ""), f"{error.__name__} is missing from the drawn tree"
        told = error("What went wrong", where="column 'x', row 3", remedy="Do this.")
        assert str(told) == "What went wrong (column 'x', row 3). Do this."
