"""The list of users on the page of the budget, without a browser and without a service."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
import streamlit as st
from documents import CONTRACT, decision, policy
from streamlit.testing.v1 import AppTest

from persuadable.app import shared

SERVED, NEWER = "b" * 64, "c" * 64


class Fake:
    """A service that treats everybody, by the bundle it is given."""

    def __init__(self, bundle: str) -> None:
        self.bundle = bundle

    def score(self, units: list[dict[str, Any]], share: float) -> tuple[list[dict[str, Any]], str]:
        return [decision(unit=unit["unit"]) for unit in units], self.bundle


def listed(monkeypatch: pytest.MonkeyPatch, *units: str, answers: str = SERVED) -> list[str]:
    """What the page says once the units were scored.

    Args:
        monkeypatch: puts the fakes in place.
        units: who is in the file.
        answers: the bundle that scores; the page knows of ``SERVED`` until it looks anew.
    """
    raw = "unit,age,spend,city\n" + "".join(f"{unit},49,3,Ulm\n" for unit in units)
    known = [SERVED]
    monkeypatch.setattr(st, "file_uploader", lambda *_, **__: BytesIO(raw.encode()))
    monkeypatch.setattr(st.cache_data, "clear", lambda: known.append(answers))
    monkeypatch.setattr(shared, "service", lambda: Fake(answers))
    monkeypatch.setattr(shared, "contract", lambda: CONTRACT)
    monkeypatch.setattr(shared, "policy", lambda: policy() | {"bundle": known[-1]})

    def script() -> None:
        from persuadable.app import shared
        from persuadable.app.fields import fields
        from persuadable.app.units import Unit
        from persuadable.app.views import budget

        budget._users(fields(shared.contract()), shared.policy(), 0.3, Unit("visit", binary=True))

    page = AppTest.from_function(script, default_timeout=30).run()
    page.button(key="score-users").click().run()
    assert not page.exception
    return [element.proto.body for element in page.get("html")]


def test_names_a_spreadsheet_takes_for_formulas_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert any("2 lines of the list to treat hold a name" in said for said in listed(monkeypatch, "=1+1", "u1", "@u2"))
    assert any("1 line of the list to treat holds a name" in said for said in listed(monkeypatch, "-1", "u1"))
    assert not any("a formula" in said for said in listed(monkeypatch, "u1", "u=2"))


def test_a_list_by_a_newer_bundle_than_the_page_knew_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    told = listed(monkeypatch, "u1", answers=NEWER)
    assert any("Users scored" in said for said in told)
    assert not any("an earlier bundle" in said for said in told)
