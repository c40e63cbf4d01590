"""What the pages share: the service, its documents for a few seconds, the budget, and failures as sentences."""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import streamlit as st

from persuadable.app import look
from persuadable.app.client import Document, Service, ServiceAway, ServiceError
from persuadable.app.launching import KEY
from persuadable.app.sentences import Said, problem_sentences
from persuadable.app.spending import Money
from persuadable.app.units import Unit
from persuadable.errors import PersuadableError

__all__ = [
    "begin",
    "budget_slider",
    "contract",
    "empty",
    "evaluation",
    "failures",
    "keep",
    "model_card",
    "money_slider",
    "policy",
    "review_reasons",
    "service",
    "unit",
]

# Documents of the bundle change when another one is activated; so long may the app look at the old one.
FRESH = 5
Kept = TypeVar("Kept")
LOG = logging.getLogger("persuadable.app")


@st.cache_resource(show_spinner=False)
def service() -> Service:
    """The service the app was started for."""
    return Service.at(sys.argv[1], os.environ.get(KEY))


@st.cache_data(ttl=FRESH, show_spinner=False)
def contract() -> Document:
    """The features the model needs."""
    return service().contract()


@st.cache_data(ttl=FRESH, show_spinner=False)
def policy() -> Document:
    """What each budget is predicted and measured to bring."""
    return service().policy()


@st.cache_data(ttl=FRESH, show_spinner=False)
def evaluation() -> Document | None:
    """What was measured on held-out rows; None where the bundle holds nothing of it, for which nobody need be asked."""
    return None if policy().get("held_out") is None else service().evaluation()


@st.cache_data(ttl=FRESH, show_spinner=False)
def model_card() -> Document | None:
    """The model card."""
    return service().card()


@st.cache_data(ttl=FRESH, show_spinner=False)
def review_reasons() -> dict[str, str]:
    """Why decisions may be left to people: code → sentence."""
    reasons: dict[str, str] = service().reviews(limit=1)["reasons"]
    return reasons


def unit() -> Unit:
    """In what effects are counted."""
    return Unit.of(policy(), evaluation())


def budget_slider(label: str, start: float) -> float:
    """The budget, as a share; the same one on every page.

    Args:
        label: what the slider is called.
        start: the share it begins with.
    """
    percent: int = st.slider(label, 0, 100, begin("budget", round(100 * start)), 1, format="%d%%", key="budget-input")
    return keep("budget", percent) / 100


def money_slider(policy: Document) -> Money:
    """The budget, as money per head of everybody; the same one on every page.

    Args:
        policy: of /v1/policy; the slider goes up to all there is to buy.
    """
    most = float(policy["rows"][-1]["budget_per_head"])
    if most <= 0.0:
        look.note("No offer that costs anything is predicted to do any good, so there is nothing to spend on.")
        return Money(0.0)
    step = 10.0 ** math.floor(math.log10(most / 50))
    top = step * math.ceil(most / step)
    told = policy["budget_per_head"]
    start = min(begin("money", top if told is None else float(told)), top)
    label = "Budget: money per head of everybody"
    per_head: float = st.slider(label, 0.0, top, start, step, format="%.4g", key="money-input")
    return Money(keep("money", per_head))


def begin(name: str, start: Any) -> Any:
    """What a widget begins with: what it was left with when its page was last looked at, ``start`` before.

    Streamlit forgets a widget's value when its page is left. The value to begin with stays the same for as long as the
    page is open; another would be another widget.

    Args:
        name: the widget's key is ``{name}-input``, and its value is passed to :func:`keep`.
        start: what it begins with the first time.
    """
    if f"{name}-input" not in st.session_state:
        st.session_state[f"{name}-start"] = st.session_state.get(name, start)
    return st.session_state[f"{name}-start"]


def keep(name: str, value: Kept) -> Kept:
    """Remember what a widget was left with, and return it."""
    st.session_state[name] = value
    return value


def empty(headline: str, *lines: str) -> None:
    """Nothing to show yet, and how to change that."""
    look.banner(Said("quiet", headline, lines))


@contextmanager
def failures() -> Iterator[None]:
    """Whatever goes wrong inside is told in a sentence, with what to do and a button to try again."""
    try:
        yield
    except ServiceError as error:
        _told(error, "The service is away" if isinstance(error, ServiceAway) else "The service refused")
    except PersuadableError as error:
        _told(error, "That did not work")
    except Exception:
        LOG.exception("A page failed")
        look.banner(Said("bad", "The app itself failed", ("Its log says where. Trying again may help.",)))
        _again()


def _told(error: PersuadableError, headline: str) -> None:
    lines: list[str] = problem_sentences(error) if isinstance(error, ServiceError) else [str(error)]
    look.banner(Said("bad", headline, tuple(lines)))
    _again()


def _again() -> None:
    # A press runs the page anew; nothing else is to be done.
    if st.button("Try again", key="try-again"):
        st.cache_data.clear()
        st.rerun()
