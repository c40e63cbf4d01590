"""The page: complete in itself, safe with what it quotes, and the same bytes every time."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest

from persuadable.errors import ParameterError
from persuadable.report import Facts, Plot, ReportContent, Section, Table, Verdict, render, write_report

HOSTILE = "</script><script>alert('x')</script>&\"<img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """What a browser would find: tags with their attributes, and text outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self._within: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._within = tag
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._within:
            self._within = None

    def handle_data(self, data: str) -> None:
        if self._within:
            self.scripts[-1] += data
        else:
            self.text.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def hostile_content(plots: int = 2) -> ReportContent:
    figure = go.Figure(go.Scatter(x=np.arange(3.0), y=np.array([1.0, np.nan, 2.0]), name=HOSTILE))
    table = Table((HOSTILE, "n"), ((HOSTILE, 0.5), (None, 1.25)), caption=HOSTILE, note=HOSTILE, strong=(0,))
    blocks = (HOSTILE, Facts(((HOSTILE, HOSTILE, HOSTILE),)), table, *[Plot(figure, HOSTILE, table)] * plots)
    return ReportContent(
        title=HOSTILE,
        verdict=Verdict(HOSTILE, (HOSTILE,), "good"),
        sections=(Section(HOSTILE, blocks, HOSTILE), Section("empty", ())),
        limits=(HOSTILE, ""),
        subtitle=HOSTILE,
        provenance=((HOSTILE, HOSTILE),),
    )


def test_nothing_quoted_becomes_markup() -> None:
    page = Page(render(hostile_content()))
    assert page.count("img") == 0
    assert page.count("script") == 2
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert HOSTILE in "".join(page.text)
    assert page.scripts[-1].count("alert('x')") == 2
    assert "</" not in page.scripts[-1]


def test_figures_reach_the_page_whole() -> None:
    page = Page(render(hostile_content()))
    found = re.search(r"const figures = (.*);\n", page.scripts[-1])
    assert found
    figures = json.loads(found.group(1))
    places = {attrs["id"] for tag, attrs in page.tags if tag == "div" and attrs.get("class") == "canvas"}
    assert set(figures) == places == {"figure-1-4", "figure-1-5"}
    assert figures["figure-1-4"]["data"][0]["name"] == HOSTILE


def test_the_plotting_library_is_there_once_and_only_where_needed() -> None:
    with_plots, without = render(hostile_content()), render(hostile_content(plots=0))
    assert with_plots.count("plotly.js v") == 1
    assert len(without) < 30_000
    assert Page(without).count("script") == 0


def test_the_page_loads_nothing() -> None:
    page = Page(render(hostile_content()))
    for tag, attrs in page.tags:
        assert tag not in ("iframe", "object", "embed", "base", "form")
        for name in ("src", "href", "srcset", "action", "data"):
            assert (attrs.get(name) or "#").startswith(("#", "data:")), (tag, attrs)
    policies = [a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert policies[0]
    assert policies[0].startswith("default-src 'none';")
    assert "http" not in policies[0]
    style = re.search(r"<style>(.*?)</style>", render(hostile_content()), re.DOTALL)
    assert style
    assert "url(" not in style.group(1)
    assert "@import" not in style.group(1)


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_report(hostile_content(), tmp_path / "new" / "report.html")
    second = write_report(hostile_content(), tmp_path / "again.html")
    assert first.read_bytes() == second.read_bytes()


def test_the_path_is_a_file(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="is a folder"):
        write_report(hostile_content(), tmp_path)


def test_empty_limits_are_left_out() -> None:
    assert render(hostile_content(0)).count("<li>") == 1 + 3 + 1  # a sentence, three links, one limit


def test_a_report_says_what_it_must() -> None:
    verdict = Verdict("Treat.")
    with pytest.raises(ParameterError, match="no title"):
        ReportContent(" ", verdict, (), ("A limit.",))
    with pytest.raises(ParameterError, match="no limits"):
        ReportContent("Title", verdict, (), (" ",))
    with pytest.raises(ParameterError, match="no headline"):
        Verdict(" ")
    with pytest.raises(ParameterError, match="tone is 'green'"):
        Verdict("Treat.", tone="green")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"table 'T', row 1"):
        Table(("a", "b"), ((1, 2), (1,)), caption="T")


def test_columns_of_quantities_are_set_right() -> None:
    table = Table(
        ("name", "share", "value", "interval", "p", "gap"),
        (("a", "30.0%", 0.5, (-0.1, 0.2), "< 0.001", None), ("2", "1.5%", None, None, "0.03", None)),
    )
    assert table.numeric == (False, True, True, True, True, False)
    assert table.texts[0] == ("a", "30.0%", "0.500", "−0.100 to 0.200", "< 0.001", "")
