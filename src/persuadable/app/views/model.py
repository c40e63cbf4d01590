"""Model: does the ranking hold, do predictions come true, what is it not for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from persuadable.app import figures, look, shared
from persuadable.app.client import Document
from persuadable.app.sentences import Said
from persuadable.app.units import Unit
from persuadable.report.words import interval, level, number, percent

__all__ = ["card_rows", "page"]


def page() -> None:
    """Limits first, then what was measured, then the card."""
    st.title("Model")
    policy, evaluation, card, unit = shared.policy(), shared.evaluation(), shared.model_card(), shared.unit()
    look.note(str(card["name"]) if card else f"Bundle {policy['bundle'][:12]}")
    if card and card.get("limits"):
        look.banner(Said("unclear", "What this model cannot say", tuple(map(str, card["limits"]))))
    if evaluation is None:
        shared.empty(
            "No evaluation in this bundle",
            "The bundle was saved without what was measured on held-out users, so there are no curves to show. "
            "A bundle written by 'persuadable run' or 'persuadable demo' has them.",
        )
    else:
        _measured(evaluation, unit)
    if card is None:
        shared.empty("No model card in this bundle", "'persuadable run' and 'persuadable demo' write one.")
    else:
        _card(card, unit)


def _measured(evaluation: Document, unit: Unit) -> None:
    treatments = list(evaluation["rankings"])
    treatment = treatments[0]
    if len(treatments) > 1:
        treatment = st.selectbox("Treatment", treatments, key="model-treatment")
    ranking, alpha, rows = evaluation["rankings"][treatment], evaluation["alpha"], evaluation["rows"]
    st.header("Does the ranking hold?")
    look.facts(
        [
            _fact("Qini coefficient", ranking.get("qini"), alpha, unit),
            _fact("AUTOC", ranking.get("autoc"), alpha, unit),
            ("Held-out users", f"{rows:,}", f"on which {treatment} was judged"),
        ]
    )
    look.plot(figures.qini_figure(ranking, unit, alpha), "qini")
    look.note(
        f"Qini curve: {unit.outcome} gained per head of everybody if the share on the axis were treated, those with "
        "the largest predicted effects first. The further above the random order, the better the ranking; the area "
        "between is the Qini coefficient. Where the curve falls, treating more does harm."
    )
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("By tenth of the ranking")
        look.plot(figures.decile_figure(ranking, unit, alpha), "deciles")
        look.note(
            "Held-out users sorted by predicted effect and cut into groups; bars are the effects measured in each. "
            "They should fall from left to right."
        )
    with right:
        st.subheader("Do predictions come true?")
        look.plot(figures.calibration_figure(ranking, unit, alpha), "calibration")
        look.note(
            "Measured against predicted effects. Points on the line: predictions are true in size. Flatter than the "
            "line: trust the order, not the size."
        )


def _fact(name: str, estimate: Mapping[str, float] | None, alpha: float, unit: Unit) -> tuple[str, str, str]:
    if estimate is None:
        return name, "–", "could not be estimated"
    counted = "pp" if unit.binary else unit.name
    return (
        name,
        f"{unit.bare(estimate['value'])} {counted}",
        f"{level(alpha)} {unit.between(estimate['low'], estimate['high'])}; 0 is a random order",
    )


def _card(card: Document, unit: Unit) -> None:
    st.header("Model card")
    rows = card_rows(card)
    if rows:
        look.table(("", ""), rows, label="Model card", words=(1,), headless=True)
    else:
        look.note("The card says no more than the model's name.")
    learners = card.get("learners") or []
    if learners:
        st.subheader("Learners tried")
        look.table(
            ("learner", "out-of-fold Qini on the training rows", ""),
            [(str(x["name"]), _qini(x, unit), "chosen" if x.get("chosen") else "") for x in learners],
            label="Learners tried",
        )
    metrics = card.get("metrics") or []
    if metrics:
        with st.expander(f"All {len(metrics)} measures, with their intervals"):
            look.table(
                ("measure", "of", "value", "interval", "unit"),
                [_metric(m) for m in metrics],
                label="All measures",
                words=(1, 4),
            )


def card_rows(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a model card says, as (what, words); what it does not say is left out."""
    data, policy, propensity = (card.get(part) or {} for part in ("data", "policy", "propensity"))
    rows = [
        ("What is estimated", card.get("estimand")),
        ("What it is for", card.get("intended_use")),
        ("The rule", policy.get("rule")),
        ("Learned from", _learned_from(data)),
        ("Features", ", ".join(map(str, data.get("features") or ()))),
        ("Propensities", propensity.get("source")),
        ("Fingerprint of the rows", data.get("fingerprint")),
    ]
    return [(what, str(words)) for what, words in rows if words]


def _learned_from(data: Mapping[str, Any]) -> str:
    if "rows" not in data:
        return ""
    arms = ", ".join(f"{label} {count:,}" for label, count in (data.get("actions") or {}).items())
    return f"{data.get('name', 'a log')}: {number(data['rows'])} rows" + (f" ({arms})" if arms else "")


def _qini(learner: Mapping[str, Any], unit: Unit) -> str:
    value = learner.get("out_of_fold_qini_on_training_rows")
    return "–" if value is None else unit.amount(value)


def _metric(metric: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = metric["interval"]
    said = f"{interval(low, high)} ({percent(1 - metric['alpha'], 0)})"
    return str(metric["name"]), str(metric["on"]), number(metric["value"], 3), said, str(metric["unit"] or "–")
