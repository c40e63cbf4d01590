"""Reviews: the decisions that wait for a person, one at a time, with what is needed to make them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from persuadable.app import figures, look, shared
from persuadable.app.cases import (
    STATES,
    case_name,
    case_rows,
    case_said,
    code_words,
    feature_rows,
    held_by_another,
)
from persuadable.app.client import Document, ServiceRefused
from persuadable.app.fields import fields, ranges
from persuadable.app.offers import option_rows
from persuadable.app.sentences import Said, problem_sentences
from persuadable.app.units import Unit
from persuadable.report.words import percent

__all__ = ["page"]

EVERY_CODE = "any reason"
# What came of the last press of a button, told once.
SAID = "review-said"
CHOSEN = "review-case"


def page() -> None:
    """The queue on top, the chosen case below."""
    st.title("Reviews")
    look.note(
        "Decisions the model is not sure enough of. Claim a case, look at it, and approve what is proposed or give "
        "something else; until then nothing is done."
    )
    reviewer, state, code = _asked()
    queue = shared.service().reviews(state, code)
    unit = shared.unit()
    _numbers(queue)
    with st.container():  # always there, so that what is below keeps its place
        if (said := st.session_state.pop(SAID, None)) is not None:
            look.banner(said)
    cases = {case["decision_id"]: case for case in queue["cases"]}
    with st.container():
        _table(queue, state, code, unit)
    chosen = _chosen(cases)
    if chosen is None:
        return
    with shared.failures():
        case = cases.get(chosen) or shared.service().review(chosen)
        _case(case, queue["reasons"], reviewer, unit)


def _asked() -> tuple[str, str, str | None]:
    """Who looks, and at which part of the queue."""
    who, state, code = st.columns([2, 1, 1], gap="large")
    with who:
        told = st.text_input(
            "Your name",
            shared.begin("reviewer", ""),
            max_chars=128,
            key="reviewer-input",
            placeholder="as the record is to show it",
        )
        reviewer = shared.keep("reviewer", " ".join(told.split()))
    with state:
        states = list(STATES)
        chosen: str = st.selectbox("Cases", states, format_func=lambda name: STATES[name], key="review-state")
    with code:
        known = [EVERY_CODE, *shared.review_reasons()]
        reason: str = st.selectbox("Reason", known, format_func=code_words, key="review-code")
    return reviewer, chosen, None if reason == EVERY_CODE else reason


def _numbers(queue: Document) -> None:
    load = queue["load"]
    look.facts(
        [
            ("Waiting", f"{queue['waiting']:,}", "cases in all, looked at or not"),
            (
                "Left to people",
                "nothing" if load is None else percent(load),
                "by the bundle in service" if load is None else "of the decisions of the bundle in service",
            ),
        ]
    )


def _table(queue: Document, state: str, code: str | None, unit: Unit) -> None:
    if not queue["cases"]:
        _nothing(queue, state, code)
        return
    counted = "pp" if unit.binary else unit.name
    look.table(
        ("user", "why", "proposed", f"effect ({counted})", "cost of an error, expected", "who"),
        case_rows(queue["cases"], unit),
        label="Cases",
        words=(1, 2, 5),
    )
    more = " There are more; these are the first." if queue["next"] else ""
    order = "The most pressing come first." if state in ("open", "claimed") else "The newest come first."
    look.note(f"{order}{more}")


def _nothing(queue: Document, state: str, code: str | None) -> None:
    if code is not None:
        shared.empty(f"No such case is {STATES[state].lower()}", "Choose another reason, or any.")
    elif state != "open":
        shared.empty(f"No case is {STATES[state].lower()}", "Cases that wait are under “Open”.")
    elif queue["load"] is None:
        shared.empty(
            "Nothing waits",
            "The bundle in service leaves no decision to people. One that was built with a review policy does.",
        )
    else:
        shared.empty(
            "Nothing waits", "Every decision the model was not sure of has been made. New ones come by themselves."
        )


def _chosen(cases: Mapping[str, Document]) -> str | None:
    """The case to look at: one of the list, or the one that was being looked at when it left the list."""
    before: str | None = st.session_state.get(CHOSEN)
    options = list(cases)
    if before is not None and before not in cases:
        options.insert(0, before)
    if not options:
        return None
    if st.session_state.get(f"{CHOSEN}-input") not in options:
        st.session_state[f"{CHOSEN}-input"] = before or options[0]
    names = {name: case_name(case) for name, case in cases.items()}
    chosen: str = st.selectbox(
        "Case",
        options,
        format_func=lambda name: names.get(name, "the case you looked at last"),
        key=f"{CHOSEN}-input",
    )
    return shared.keep(CHOSEN, chosen)


def _case(case: Document, reasons: Mapping[str, str], reviewer: str, unit: Unit) -> None:
    seen = ranges(fields(shared.contract()))
    look.banner(case_said(case, unit, reasons, seen))
    with st.container():
        _deciding(case, reviewer)
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("How large the effect is")
        look.plot(figures.effect_figure(case, None, unit), "case-effect")
        if case.get("options"):
            heads = ("offer", "brings", "costs", "leaves", "")
            given = case | {"action": (case["resolution"] or {}).get("action")}
            look.table(heads, option_rows(given, unit), label="Every offer", words=(4,))
    with right:
        st.subheader("What is known of this user")
        look.table(("feature", "value", "training saw"), feature_rows(case, seen), label="Features", words=(2,))


def _deciding(case: Document, reviewer: str) -> None:
    """The buttons that may be pressed, and why not the others."""
    if case["resolution"] is not None:
        return
    if not reviewer:
        look.note("Say your name above to claim this case.")
        return
    if (taken := held_by_another(case, reviewer)) is not None:
        look.banner(Said("unclear", "Somebody else has this case", (taken,)))
        return
    service, place = shared.service(), case["decision_id"]
    if case["claim"] is None:
        if st.button("Claim this case", type="primary", key="claim"):
            _do(lambda: service.claim(place, reviewer), "It is yours", "Nobody else can decide it meanwhile.")
        return
    approve, override = st.columns(2, gap="large")
    with approve:
        why = st.text_input("Why (if you like)", max_chars=1_000, key=f"approve-why-{place}")
        if st.button(f"Approve: {look.plain_markdown(case['proposed'])}", type="primary", key="approve"):
            _do(lambda: service.approve(place, reviewer, why.strip()), "Approved", "The decision is made and recorded.")
        if st.button("Release", key="release"):
            _do(lambda: service.release(place, reviewer), "Given back", "Others can claim it again.")
    with override:
        others = [action for action in case["actions"] if action != case["proposed"]]
        action: str | None = st.selectbox("Give instead", others, key=f"override-action-{place}")
        because = st.text_input("Why", max_chars=1_000, key=f"override-why-{place}")
        if st.button("Override", key="override"):
            _override(place, reviewer, action, because.strip())


def _override(place: str, reviewer: str, action: str | None, why: str) -> None:
    if action is None:
        look.banner(Said("bad", "There is nothing else to give", ("This user may be given no other action.",)))
    elif not why:
        look.banner(Said("bad", "Say why", ("An override is recorded with its reason.",)))
    else:
        work = lambda: shared.service().override(place, reviewer, action, why)  # noqa: E731 - two lines of arguments
        _do(work, "Overridden", "The decision is made and recorded.")


def _do(work: Callable[[], Any], headline: str, line: str) -> None:
    """Do something with a case, and show the page anew; a refusal is told in a sentence."""
    try:
        work()
        said = Said("good", headline, (line,))
    except ServiceRefused as refused:
        first, *more = problem_sentences(refused)
        said = Said("bad", first, tuple(more))
    st.session_state[SAID] = said
    st.rerun()
