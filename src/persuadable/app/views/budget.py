"""Budget sweep: what a budget buys, and whom to spend it on."""

from __future__ import annotations

import math
from hashlib import sha256
from typing import Any

import polars as pl
import streamlit as st

from persuadable.app import figures, look, money_figures, offers, shared
from persuadable.app.budgets import meaning
from persuadable.app.client import Document
from persuadable.app.fields import Field, fields
from persuadable.app.launching import UPLOAD_MIB
from persuadable.app.sentences import Said
from persuadable.app.spending import Spending, is_money, shown
from persuadable.app.units import Unit
from persuadable.app.users import MOST_ROWS, Users, formulas, read_users, score_users, template, to_treat
from persuadable.errors import PersuadableError
from persuadable.report.words import number, percent

__all__ = ["page"]

SHOWN = 1_000


def page() -> None:
    """The slider, what it means, the curves, and the list of users."""
    st.title("Budget sweep")
    policy, evaluation, unit = shared.policy(), shared.evaluation(), shared.unit()
    if is_money(policy):
        _money_page(policy, unit)
        return
    look.note("How many users can you treat, what does that bring, and who are they?")
    slider, population_box, price_box = st.columns([2, 1, 1], gap="large")
    with slider:
        share = shared.budget_slider("Budget: share of users you can treat", policy["share"])
    with population_box:
        population = int(_kept_number("Users in all", "population", 10_000, least=1, step=1_000, format="%d"))
    with price_box:
        price = float(_kept_number("Price per treatment", "price", 0.0, least=0.0, step=0.1, format="%g"))
    table = meaning(policy, evaluation, share, population, price, unit)
    look.table(table.heads, table.rows, label=f"What a budget of {percent(share, 0)} means")
    look.note(table.note)
    _curves(policy, evaluation, share, price, unit)
    st.header("The list of users")
    _users(fields(shared.contract()), policy, share, unit)


def _money_page(policy: Document, unit: Unit) -> None:
    """The same, for a bundle whose budget is money."""
    look.note("What does a budget bring, to whom do its offers go, and what is the last unit of money worth?")
    slider, population_box = st.columns([3, 1], gap="large")
    with slider:
        money = shared.money_slider(policy)
    with population_box:
        population = int(_kept_number("Users in all", "population", 10_000, least=1, step=1_000, format="%d"))
    heads, rows = offers.meaning(policy, money, population, unit)
    look.table(heads, rows, label=f"What a budget of {shown(money)} means")
    look.note("On the users the price was drawn from, as the model predicts: measure it before you believe it.")
    st.header("Value by budget")
    look.plot(money_figures.value_by_money_figure(policy, money, unit), "value-by-money")
    look.note(
        "Predicted gain per head of everybody over offering nothing. Where the curve flattens, money buys little."
    )
    left, right = st.columns(2, gap="large")
    with left:
        st.header("Users given an offer")
        look.plot(money_figures.offered_by_money_figure(policy, money), "offered")
        look.note("Nobody is given an offer that is not predicted to bring anything, however large the budget.")
    with right:
        st.header("Worth of the last unit")
        look.plot(money_figures.price_figure(policy, money, unit), "price")
        look.note(
            f"What one more unit of money would bring in {unit.outcome}. Below 1, where both are money, it loses."
        )
    st.header("The list of users")
    _users(fields(shared.contract()), policy, money, unit)


def _kept_number(label: str, name: str, start: float, *, least: float, step: float, format: str) -> float:
    """A number that is still there after another page was looked at."""
    begun = shared.begin(name, start)
    value: float = st.number_input(label, least, None, begun, step, format, key=f"{name}-input")
    return shared.keep(name, value)


def _curves(policy: Document, evaluation: Document | None, share: float, price: float, unit: Unit) -> None:
    st.header("Value by budget")
    look.plot(figures.gain_figure(policy, evaluation, share, unit), "gain")
    measured = bool(figures.measured_rows(policy))
    look.note(
        "Gain per head of everybody over treating nobody. "
        + (
            "Where the curve flattens, more budget buys nothing. Believe the measured line; its band is a 95% interval."
            if measured
            else "This is what the model predicts: the bundle holds no measurement on held-out users."
        )
    )
    left, right = st.columns(2, gap="large")
    with left:
        st.header("Share treated")
        look.plot(figures.share_figure(policy, share), "share")
        look.note("Nobody is treated whom it is not predicted to bring more than it costs, however large the budget.")
    with right:
        st.header("Cost by budget")
        cost = figures.cost_figure(policy, evaluation, price, share)
        if cost is None:
            shared.empty(
                "No cost known",
                "The log that was learned from has no column of costs. Enter the price of one treatment above to see "
                "what a budget costs.",
            )
        else:
            look.plot(cost, "cost")
            look.note("Cost per head of everybody, in the unit of your price or of the log's column of costs.")


def _users(listed: list[Field], policy: Document, budget: Spending, unit: Unit) -> None:
    file = st.file_uploader(
        "CSV file of users",
        type=["csv", "tsv", "txt"],
        key="users-file",
        help=f"At most {MOST_ROWS:,} users and {UPLOAD_MIB} MB. It is scored and not kept.",
    )
    if file is None:
        shared.empty(
            "No file yet",
            "Pass a CSV with one line per user: a column “unit” that says who, and one column per feature: "
            + ", ".join(field.name for field in listed)
            + ". Other columns are left out of account. Leave empty what is not known.",
        )
        st.download_button(
            "Download a template", template(listed), "users.csv", "text/csv", on_click="ignore", icon=":material/draft:"
        )
        return
    raw = file.getvalue()
    try:
        users = read_users(raw, listed)
    except PersuadableError as error:
        look.banner(Said("bad", "This file cannot be scored", (str(error),)))
        return
    _about(users)
    wanted = (sha256(raw).hexdigest(), budget, policy["bundle"])
    label = f"Score {len(users):,} user{'s' * (len(users) != 1)} with a budget of {shown(budget)}"
    if st.button(label, type="primary", key="score-users"):
        _score(users, budget, wanted)
    kept = st.session_state.get("scored")
    if kept is not None and kept["of"][0] == wanted[0]:
        if kept["of"] != wanted:
            look.note(
                f"The list below is for a budget of {shown(kept['of'][1])}"
                + ("" if kept["of"][2] == wanted[2] else " and an earlier bundle")
                + ". Score again to bring it up to date."
            )
        _list(kept["users"], policy["control"], kept["of"][1], unit)


def _about(users: Users) -> None:
    """What was read, and what may not be meant."""
    told = [f"{len(users):,} users read."]
    if users.numbered:
        told.append("There is no column “unit”, so users are called by their line.")
    if users.repeated:
        told.append(f"{users.repeated:,} lines name a unit that an earlier line named.")
    if users.ignored:
        told.append(f"Left out of account: {', '.join(users.ignored[:8])}{' …' * (len(users.ignored) > 8)}.")
    look.note(" ".join(told))


def _score(users: Users, budget: Spending, wanted: tuple[Any, ...]) -> None:
    bar = st.progress(0.0, text="Scoring …")

    def said(done: int, all_: int) -> None:
        bar.progress(done / all_, text=f"Scored {done:,} of {all_:,} users")

    try:
        scored, bundle = score_users(shared.service(), users, budget, said)
    finally:
        bar.empty()
    st.session_state["scored"] = {"of": (*wanted[:2], bundle), "users": scored}
    if bundle != wanted[2]:
        # The list is of a newer bundle than the rest of the page.
        st.cache_data.clear()
        st.rerun()


def _list(scored: pl.DataFrame, control: str, budget: Spending, unit: Unit) -> None:
    chosen = to_treat(scored, control)
    n, k = scored.height, chosen.height
    gained = float(chosen["effect"].sum())
    look.facts(
        [
            ("Users scored", f"{n:,}", ""),
            ("To be treated", f"{k:,}", f"{percent(k / n)} of them, of a budget of {shown(budget)}"),
            (f"{unit.outcome} gained, predicted", unit.totals(1, gained)[0], "the sum of the effects of those treated"),
            *(
                [("Cost, expected", number(float(chosen["cost"].sum()), 6), "the sum of what their offers cost")]
                if "cost" in chosen.columns
                else []
            ),
            (
                "No action for odd features",
                f"{scored.filter(pl.col('reason') == 'fallback').height:,}",
                "reason: fallback",
            ),
        ]
    )
    st.download_button(
        f"Download the list to treat ({k:,} user{'s' * (k != 1)})",
        chosen.write_csv(),
        "to-treat.csv",
        "text/csv",
        on_click="ignore",
        type="primary",
        icon=":material/download:",
        disabled=not k,
    )
    if odd := formulas(chosen):
        look.note(
            f"{odd:,} line{'s' * (odd != 1)} of the list to treat {'holds' if odd == 1 else 'hold'} a name that begins "
            "with =, +, − or @: a spreadsheet may take it for a formula."
        )
    st.dataframe(
        _as_shown(scored.head(SHOWN), unit),
        hide_index=True,
        key="users-table",
        column_config={
            "probability of treatment": st.column_config.NumberColumn(format="percent"),
            "cost": st.column_config.NumberColumn(format="%.4g"),
            **{name: st.column_config.NumberColumn(format=_decimals(scored, unit)) for name in _effects(unit)},
        },
    )
    if n > SHOWN:
        look.note(f"The {SHOWN:,} users with the largest net effects are shown; the list to treat has all of them.")


def _effects(unit: Unit) -> tuple[str, ...]:
    counted = "pp" if unit.binary else unit.name
    return (f"effect ({counted})", "interval from", "to", "net effect")


def _decimals(scored: pl.DataFrame, unit: Unit) -> str:
    """The format of a column of effects: two decimals of percentage points, else three digits of the largest."""
    largest = abs(unit.scaled(scored["effect"].to_numpy())).max()
    if unit.binary or not 1e-5 <= largest < 1e7:
        return "%.2f" if unit.binary else "%.3g"
    return f"%.{max(0, 2 - math.floor(math.log10(largest)))}f"


def _as_shown(scored: pl.DataFrame, unit: Unit) -> pl.DataFrame:
    factor = float(unit.scaled(1.0))
    columns = ("effect", "low", "high", "net_effect")
    odd = ["flags"] if (scored["flags"] != "").any() else []
    return scored.select(
        "unit",
        "action",
        *(pl.col(name).mul(factor).alias(shown) for name, shown in zip(columns, _effects(unit), strict=True)),
        *([pl.col("cost")] if "cost" in scored.columns else []),
        pl.col("probability").alias("probability of treatment"),
        "reason",
        *odd,
    )
