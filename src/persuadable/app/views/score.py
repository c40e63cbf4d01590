"""Score a user: what to do with this one, how sure that is, and what moved it."""

from __future__ import annotations

from typing import Any

import streamlit as st

from persuadable.app import figures, look, shared
from persuadable.app.client import Document, ServiceRefused
from persuadable.app.fields import Field, fields, ranges
from persuadable.app.offers import offer_said, option_rows
from persuadable.app.sentences import decision_said, problem_sentences
from persuadable.app.spending import Money, Spending, is_money
from persuadable.app.units import Unit

__all__ = ["page"]

NAME = "this user"


def page() -> None:
    """A form on the left, the decision on the right."""
    st.title("Score a user")
    policy, listed, unit = shared.policy(), fields(shared.contract()), shared.unit()
    look.note(
        f"What would {_either(policy['treatments'])} change in {unit.outcome} for one user, and is it worth the "
        "budget? Nothing is recorded here."
    )
    left, right = st.columns([1, 2], gap="large")
    eligible = None
    with left:
        budget: Spending
        if is_money(policy):
            budget, eligible = shared.money_slider(policy), _eligible(policy["treatments"])
        else:
            budget = shared.budget_slider("Budget: share of users you can treat", policy["share"])
        features = _form(listed)
    with right, shared.failures():
        if features is None:
            shared.empty(
                "Nobody scored yet",
                "Fill in what you know about a user and press “Score this user”. The form begins with a user from the "
                "middle of what the model has seen.",
            )
        else:
            _scored({"features": features, "eligible": eligible}, budget, policy, unit, ranges(listed))


def _eligible(treatments: list[str]) -> list[str] | None:
    """The offers this user may be given; None where all."""
    begun = [label for label in shared.begin("eligible", treatments) if label in treatments]
    chosen: list[str] = st.multiselect("Offers this user may be given", treatments, begun, key="eligible-input")
    shared.keep("eligible", chosen)
    return None if set(chosen) == set(treatments) else chosen


def _form(listed: list[Field]) -> dict[str, Any] | None:
    """The features that were sent last; None before."""
    with st.form("user-form", border=True):
        features = {field.name: _widget(field) for field in listed}
        if st.form_submit_button("Score this user", type="primary", width="stretch"):
            st.session_state["user"] = features
    user: dict[str, Any] | None = st.session_state.get("user")
    # Another bundle may ask for other features.
    return user if user is not None and set(user) == {field.name for field in listed} else None


def _widget(field: Field) -> Any:
    label, key = look.plain_markdown(field.name), f"feature {field.name}-input"
    kept = shared.begin(f"feature {field.name}", (st.session_state.get("user") or {}).get(field.name, field.start))
    if field.kind == "category":
        options: list[str | None] = [*([None] if field.missing else []), *field.categories]
        index = options.index(kept) if kept in options else 0
        return st.selectbox(label, options, index=index, key=key, format_func=lambda text: text or "not known")
    return st.number_input(
        label,
        value=None if kept is None else float(kept),
        step=field.step,
        format="%g",
        key=key,
        placeholder="not known" if field.missing else "a number",
        help=look.plain_markdown(f"Training saw {field.seen}." + (" Leave it empty if not known." * field.missing)),
    )


def _scored(user: dict[str, Any], budget: Spending, policy: Document, unit: Unit, seen: dict[str, str]) -> None:
    service, features = shared.service(), user["features"]
    (decision,), _ = service.score([{"unit": NAME, **user}], budget)
    if isinstance(budget, Money):
        look.banner(offer_said(decision, policy["control"], budget, unit, seen))
        _options(decision, unit)
    else:
        look.banner(decision_said(decision, policy["control"], budget, unit, seen))
    st.subheader("How large the effect is")
    look.plot(figures.effect_figure(decision, budget, unit), "effect")
    st.subheader("What moved it")
    try:
        explained = service.explain(features, decision["treatment"])
    except ServiceRefused as refused:
        look.note(" ".join(problem_sentences(refused)))
        return
    look.plot(figures.waterfall_figure(explained, unit), "waterfall")
    look.note(
        "Exact tree SHAP: from the average effect, each feature adds or takes its part, and together they make this "
        "user's effect. It says what the model looked at, not what would happen if the feature were changed."
    )


def _options(decision: Document, unit: Unit) -> None:
    st.subheader("Every offer")
    counted = "pp" if unit.binary else unit.name
    heads = ("offer", f"brings ({counted})", "costs", "leaves at this price of money", "")
    look.table(heads, option_rows(decision, unit), label="Every offer", words=(4,))
    look.note(
        "What an offer brings and costs is over offering nothing. The budget sets what money must bring, and the offer "
        "that leaves most is given."
    )


def _either(treatments: list[str]) -> str:
    return treatments[0] if len(treatments) == 1 else f"{', '.join(treatments[:-1])} or {treatments[-1]}"
