"""Live: what the service decided in the last hour, and what went wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import streamlit as st

from persuadable.app import figures, look, shared
from persuadable.app.client import Document
from persuadable.app.fields import fields
from persuadable.app.sentences import Said
from persuadable.app.spending import is_money
from persuadable.app.units import Unit
from persuadable.report.words import number, percent

__all__ = ["first_call", "page"]

EVERY = 5


def page() -> None:
    """The last hour, drawn again every few seconds if wanted."""
    st.title("Live")
    look.note("The last 60 minutes, over all workers that share the store.")
    again = st.toggle(f"Refresh every {EVERY} seconds", key="refresh")
    st.fragment(_now, run_every=EVERY if again else None)()


def _now() -> None:
    with shared.failures():
        live, policy = shared.service().live(), shared.policy()
        _numbers(live, policy)
        if live["decisions"]:
            _decisions(live, policy)
        else:
            _nothing_yet(policy)
        _outcomes(live["outcomes"], shared.unit())
        _errors(live["errors"])
        look.note(f"As of {datetime.now(UTC):%H:%M:%S} UTC.")


def _numbers(live: Document, policy: Document) -> None:
    made, treated = live["decisions"], live["treated"]
    challenger = live.get("challenger")
    look.facts(
        [
            ("Decisions", f"{made:,}", "in the last 60 minutes"),
            ("Treated", percent(treated / made) if made else "–", f"{treated:,} users"),
            _budget(policy),
            ("Bundle", live["bundle"][:8], f"challenger: {challenger[:8]}" if challenger else "no challenger"),
        ]
    )


def _budget(policy: Document) -> tuple[str, str, str]:
    what = "Budget of the bundle"
    if not is_money(policy):
        return what, percent(policy["share"], 0), "share of users it was made to treat"
    told = policy["budget_per_head"]
    return what, "no bound" if told is None else number(told, 3), "money per head it was made to spend"


def _decisions(live: Document, policy: Document) -> None:
    st.header("Decisions per minute")
    look.plot(figures.minutes_figure(live["minutes"], policy["control"]), "minutes")
    left, right = st.columns(2, gap="large")
    with left:
        st.header("Probability of treatment")
        look.plot(figures.propensity_figure(live["propensity_histogram"]), "propensities")
        look.note("The probability of treatment that was recorded: 0 and 1 by the threshold, between them by lot.")
    with right:
        st.header("What was done")
        made = live["decisions"]
        look.table(
            ("action", "decisions", "share"),
            [(action, f"{count:,}", percent(count / made)) for action, count in live["actions"].items()],
            label="What was done",
        )


def _nothing_yet(policy: Document) -> None:
    shared.empty("No decisions yet", "Nothing was decided in the last 60 minutes. This makes the first decision:")
    service = shared.service()
    keyed = "Authorization" in service.http.headers
    st.code(first_call(service.address, shared.contract(), keyed=keyed), language="bash", wrap_lines=True)


def first_call(address: str, contract: Mapping[str, Any], *, keyed: bool) -> str:
    """A line of curl that decides about one user from the middle of what training saw, with a key where one is due."""
    body = {"units": [{"unit": "u1", "features": {field.name: field.start for field in fields(contract)}}]}
    quoted = json.dumps(body, ensure_ascii=False).replace("'", "'\\''")
    key = '  --header "Authorization: Bearer $PERSUADABLE_API_KEY" \\\n' if keyed else ""
    return f"curl {address}/v1/decide \\\n{key}  --json '{quoted}'"


def _outcomes(outcomes: Sequence[Mapping[str, Any]], unit: Unit) -> None:
    st.header("Outcomes in")
    if not outcomes:
        look.note("No outcome was reported in the last 60 minutes. They come in by POST /v1/outcomes.")
        return
    look.table(
        ("outcome", "reports", "mean of the reports"),
        [(str(o["name"]), f"{o['count']:,}", _mean(o, unit)) for o in outcomes],
        label="Outcomes in",
    )


def _mean(outcome: Mapping[str, Any], unit: Unit) -> str:
    aimed_at = outcome["name"] == unit.outcome and unit.binary
    return percent(outcome["mean"]) if aimed_at else number(outcome["mean"])


def _errors(errors: Sequence[Mapping[str, Any]]) -> None:
    st.header("Last errors")
    if not errors:
        look.banner(Said("good", "No errors", ()))
        return
    look.table(
        ("time (UTC)", "call", "status", "what"),
        [(_time(e["time"]), str(e["path"]), str(e["status"]), f"{e['title']}\n{e['detail']}") for e in errors],
        label="Last errors",
        words=(1, 3),
    )


def _time(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%d %b %H:%M:%S")
