"""The decision card: one page, complete in itself, with nothing of what it quotes taken for markup."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from functools import lru_cache
from html import unescape

import numpy as np
import pytest

import persuadable as ps
from persuadable.errors import ParameterError
from persuadable.log import DecisionLog
from persuadable.report.decision import _sketches
from persuadable.report.sketches import Line, bars, forest, lines
from persuadable.value import GateRules, Guardrail

HOSTILE = "</style><script>alert('x')</script>&\"<img src=x onerror=alert(1)>"


class Named:
    """A policy with a name of its own."""

    fitted_on = None

    def __init__(self, name, share):
        self.name, self.share = name, share

    def probabilities(self, features, n_actions, eligible=None):
        return np.tile([1 - self.share, self.share], (len(features), 1))


@lru_cache
def card(effect, name="new", outcome="value", never=False, true=0.5, margin=1.0):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2_000, 2))
    e = np.where(never & (x[:, 1] > 0.5), 0.0, 0.5)
    action = (rng.random(2_000) < np.where(e == 0, 0.0, true)).astype(int)
    y = {outcome: x[:, 0] + effect * action + rng.normal(size=2_000), "cost": action.astype(float)}
    log = DecisionLog.from_arrays(x, action, y, propensity=np.column_stack([1 - e, e]), name=name)
    rules = GateRules(guardrails=(Guardrail("cost", margin, "lower"),))
    q_hat = np.column_stack([x[:, 0], x[:, 0] + effect])
    verdict = ps.value.gate(log, Named(name, 0.9), Named("old", 0.1), q_hat=q_hat, rules=rules)
    return verdict, ps.report.decision_card(verdict)


def text_of(page):
    body = re.sub(r"</?span[^>]*>", "", page.split("</style>")[1])
    return unescape(re.sub(r"<[^>]+>", " ", body))


@pytest.mark.parametrize(("effect", "word"), [(1.0, "GO"), (-1.0, "NO GO"), (0.0, "EXPERIMENT")])
def test_the_decision_and_all_it_rests_on_are_on_the_page(effect, word):
    verdict, page = card(effect)
    told = text_of(page)
    assert re.search(rf'class="decision">{word}<', page)
    assert "May new replace old?" in told
    for one in verdict.checks:
        assert one.code in told
        assert one.finding in told
        assert one.remedy in told
    for reason in verdict.reasons:
        assert reason in told
    assert verdict.fingerprint in told
    assert "cost may rise by at most 1" in told


def test_the_experiment_is_drawn_only_where_it_is_the_decision():
    verdict, page = card(0.0)
    assert f"{verdict.experiment.units:,}" in text_of(page)
    assert "The experiment that would decide" in page
    assert "The experiment that would decide" not in card(1.0)[1]


def test_a_broken_log_is_told_from_an_unclear_one():
    assert "This log cannot be trusted to tell" in card(1.0, true=0.7)[1]
    assert "This log cannot tell them apart" in card(0.0)[1]
    verdict, page = card(1.0, margin=0.8)  # the cost rises by just that
    assert verdict.decision == "EXPERIMENT"
    assert "new is better than old, but it cannot tell whether every guardrail holds" in text_of(page)
    assert "never tried" in card(1.0, never=True)[1]


def test_a_code_is_not_broken_at_its_hyphen():
    page = card(1.0, margin=0.8)[1]
    assert ".card .code { white-space: nowrap; }" in page
    body = page.split("</style>")[1]
    assert '<span class="code">(OPE-502)</span>' in body
    assert not re.search(r"OPE-\d{3}", re.sub(r'<(span|code) class="code">[^<]*<', "<", body))


def test_the_margin_of_the_experiment_is_on_the_page():
    rng = np.random.default_rng(0)
    action = rng.integers(0, 2, 2_000)
    y = 0.6 * action + rng.normal(size=2_000)
    log = DecisionLog.from_arrays(rng.normal(size=(2_000, 1)), action, y, propensity=0.5)
    told = {}
    for margin in (0.48, 0.0):
        rules = GateRules(margin=margin, max_weight_share=0.0)
        verdict = ps.value.gate(log, Named("new", 0.9), Named("old", 0.1), q_hat=np.array([0.0, 0.6]), rules=rules)
        told[margin] = text_of(ps.report.decision_card(verdict))
    assert "held against the margin of 0.480" in told[0.48]
    assert "to lie above the margin of 0.480, by the units" in told[0.48]
    assert "to lie above" not in told[0.0]


@pytest.mark.parametrize(
    ("margin", "said"),
    [
        (0.0, "new is better than old. The"),
        (0.2, "new is better than old by more than 0.200 per head. The"),
        (-0.2, "new is worse than old by less than 0.200 per head, if at all. The"),
    ],
)
def test_a_go_says_what_the_margin_lets_it_say(margin, said):
    rng = np.random.default_rng(0)
    action = rng.integers(0, 2, 2_000)
    log = DecisionLog.from_arrays(rng.normal(size=(2_000, 1)), action, action + rng.normal(size=2_000), propensity=0.5)
    q_hat, rules = np.array([0.0, 1.0]), GateRules(margin=margin)
    verdict = ps.value.gate(log, Named("new", 0.9), Named("old", 0.1), q_hat=q_hat, rules=rules)
    assert verdict.decision == "GO"
    assert said in text_of(ps.report.decision_card(verdict))


@pytest.mark.parametrize(("effect", "farthest"), [(0.0, 2.0), (0.12, 1.3), (1.0, 5.0)])
def test_the_axis_of_the_confounding_fits_the_tipping_point(effect, farthest):
    verdict = card(effect)[0]
    found = verdict.sensitivity
    shown = next(s for s in _sketches(verdict) if "confounding" in s.title)
    ticks = [
        float(m.text)
        for m in shown.marks
        if m.tag == "text" and m.attributes["text-anchor"] == "middle"
        if m.text[0].isdigit()
    ]
    assert max(ticks) <= farthest
    assert max(ticks) >= 0.9 * farthest
    assert found.verdict is None or min(found.tipping, 5.0) <= farthest


def test_whose_effective_sample_size_it_is_and_what_its_lambda_means():
    verdict, page = card(1.0)
    few = min((verdict.diagnostics.candidate, verdict.diagnostics.baseline), key=lambda one: one.ess)
    assert f"of 2,000 rows, for {few.policy}" in text_of(page)
    assert "any will do where a machine drew lots" in text_of(page)


def test_a_path_in_the_place_of_a_verdict_is_named(tmp_path):
    with pytest.raises(ParameterError, match=r"'x\.html', not a Verdict"):
        ps.report.write_decision_card("x.html", card(1.0)[0])
    with pytest.raises(ParameterError, match="is 5, not a Verdict"):
        ps.report.decision_card(5)


def test_the_page_loads_nothing_and_runs_nothing():
    page = card(0.0)[1]
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert "url(" not in page
    assert "default-src 'none'" in page
    assert len(page) < 60_000


def test_what_it_quotes_is_text():
    page = card(0.0, name=HOSTILE, outcome=HOSTILE)[1]
    assert "<script" not in page
    assert "<img" not in page
    assert HOSTILE in text_of(page)


@pytest.mark.parametrize("effect", [1.0, 0.0])
def test_the_figures_are_well_formed_and_stay_in_their_box(effect):
    figures = re.findall(r'<svg viewBox="0 0 460.*?</svg>', card(effect)[1], re.DOTALL)
    assert len(figures) == (3 if effect else 4)
    for figure in figures:
        root = ET.fromstring(figure)
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        for mark in root:
            for name, limit in (
                ("x", width),
                ("x1", width),
                ("x2", width),
                ("cx", width),
                ("y", height),
                ("cy", height),
            ):
                if name in mark.attrib:
                    assert 0 <= float(mark.attrib[name]) <= limit, ET.tostring(mark)


def test_a_forest_places_values_in_proportion():
    sketch = forest([("a", 0.0, -1.0, 1.0), ("b", 1.0, 0.0, 2.0)], 0.0, title="", reading="", x="", strong=1)
    first, second = (float(m.attributes["cx"]) for m in sketch.marks if m.tag == "circle")
    whiskers = [m.attributes for m in sketch.marks if m.tag == "line" and float(m.attributes["stroke-width"]) > 1.5]
    assert float(whiskers[0]["x2"]) - float(whiskers[0]["x1"]) == pytest.approx(2 * (second - first), abs=0.3)


def test_bars_are_as_long_as_their_shares():
    sketch = bars(["one", "two"], [("candidate", [0.8, 0.2]), ("logged", [0.4, 0.6])], title="", reading="", x="")
    widths = [float(m.attributes["width"]) for m in sketch.marks if m.tag == "rect"]
    assert np.array(widths) / widths[0] == pytest.approx([1, 0.5, 0.25, 0.75], abs=0.01)
    assert [name for _, name in sketch.legend] == ["candidate", "logged"]


def test_ticks_are_round_and_told_to_as_many_decimals_as_they_need():
    sketch = lines([Line([1, 2, 3], [0.001, 0.004, -0.002])], title="", reading="", x="", y="")
    told = [m.text for m in sketch.marks if m.tag == "text"]
    assert "0.002" in told
    assert "−0.002" in told
    assert "0.000" in told


def test_the_card_is_written_to_a_file_and_not_over_a_folder(tmp_path):
    verdict, page = card(1.0)
    target = ps.report.write_decision_card(verdict, tmp_path / "cards" / "decision.html")
    assert target.read_text(encoding="utf-8") == page
    with pytest.raises(ParameterError, match="is a folder"):
        ps.report.write_decision_card(verdict, tmp_path)
