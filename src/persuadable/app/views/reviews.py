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
    waiting_sentence,
)
from persuadable.app.client import Document, ServiceRefused
from persuadable.app.fields import fields, ranges
from persuadable.app.offers import option_rows
from persuadable.app.sentences import Said, problem_sentences
from persuadable.app.units import Unit
from persuadable.report.words import percent

__all__ = ["page"]

EVERY_CODE = "any reason"
# Keys that press the buttons; a single letter does not while somebody types.
CLAIM, APPROVE = "N", "Ctrl+Enter"
YOURS = "Nobody else can decide it meanwhile."
# What came of the last press of a button, told once.
SAID = "review-said"
CHOSEN = "review-case"
# The case that a press of "the next one" has claimed.
NEXT = "review-next"
# Of the first so many that are open one will be free, however many people work.
TRIED = 20


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
    with shared.failures():
        case = _chosen(cases)
        if case is not None:
            _case(case, queue["reasons"], unit)
            _deciding(case, reviewer, code)
            _known(case, unit)


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
            ("Waiting", f"{queue['waiting']:,}", f"cases in all, {queue['claimed']:,} of them being looked at"),
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
        tall=True,
    )
    more = " There are more; these are the first." if queue["next"] else ""
    order = "The most pressing come first." if state in ("open", "claimed") else "The newest come first."
    look.note(f"{order}{more} {waiting_sentence(queue['codes'])}".rstrip())


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


def _chosen(cases: Mapping[str, Document]) -> Document | None:
    """The case to look at: one of the list, or the one that was being looked at when it left the list."""
    widget = f"{CHOSEN}-input"
    if (wanted := st.session_state.pop(NEXT, None)) is not None:
        st.session_state[CHOSEN] = st.session_state[widget] = wanted
    before: str | None = st.session_state.get(CHOSEN)
    known = dict(cases)
    if before is not None and before not in known and (left := _again(before)) is not None:
        known = {before: left, **known}
    if not known:
        return None
    if st.session_state.get(widget) not in known:
        st.session_state[widget] = before if before in known else next(iter(known))
    chosen: str = st.selectbox("Case", list(known), format_func=lambda name: case_name(known[name]), key=widget)
    return known[shared.keep(CHOSEN, chosen)]


def _again(case: str) -> Document | None:
    """A case that has left the list; None where it is gone altogether, which is told."""
    try:
        return shared.service().review(case)
    except ServiceRefused as refused:
        if refused.status != 404:
            raise
        del st.session_state[CHOSEN]
        look.banner(Said("quiet", "The case you looked at is gone", ("Its user was erased, or it was too old.",)))
        return None


def _case(case: Document, reasons: Mapping[str, str], unit: Unit) -> None:
    look.banner(case_said(case, unit, reasons, ranges(fields(shared.contract()))))
    if case["bundle"] != shared.policy()["bundle"]:
        look.note(
            "An older bundle held this case. What it predicted and proposed stands; what training saw, and the names "
            "of outcomes, are those of the bundle in service."
        )


def _known(case: Document, unit: Unit) -> None:
    """What there is to know: the effect, every offer, the features."""
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
        rows = feature_rows(case, {field.name: field.seen for field in fields(shared.contract())})
        look.table(("feature", "value", "training saw"), rows, label="Features", words=(2,))


def _deciding(case: Document, reviewer: str, code: str | None) -> None:
    """The buttons that may be pressed, and why not the others."""
    with st.container():  # always there, so that what is below keeps its place
        if case["resolution"] is None and not reviewer:
            look.note("Say your name above to claim this case.")
        elif case["resolution"] is not None:
            _next(reviewer, code)
        elif (taken := held_by_another(case, reviewer)) is not None:
            look.banner(Said("unclear", "Somebody else has this case", (taken,)))
            _next(reviewer, code)
        elif case["claim"] is None:
            place = case["decision_id"]
            if st.button("Claim this case", type="primary", key="claim", shortcut=CLAIM):
                _do(lambda: shared.service().claim(place, reviewer), "It is yours", YOURS)
        else:
            _verdict(case, reviewer)


def _next(reviewer: str, code: str | None) -> None:
    """Claim the most pressing case that nobody has."""
    if not reviewer or not st.button("Claim the next case", type="primary", key="next", shortcut=CLAIM):
        return
    service, said = shared.service(), Said("quiet", "Nothing else is open", ("Cases others look at are theirs.",))
    for case in service.reviews("open", code, limit=TRIED)["cases"]:
        try:
            service.claim(case["decision_id"], reviewer)
        except ServiceRefused as refused:
            if refused.status != 409:
                raise
            continue
        st.session_state[NEXT] = case["decision_id"]
        said = Said("good", "It is yours", (YOURS,))
        break
    st.session_state[SAID] = said
    st.rerun()


def _verdict(case: Document, reviewer: str) -> None:
    service, place = shared.service(), case["decision_id"]
    approve, override = st.columns(2, gap="large")
    with approve:
        why = st.text_input("Why (if you like)", max_chars=1_000, key=f"approve-why-{place}")
        label = f"Approve: {look.plain_markdown(case['proposed'])}"
        if st.button(label, type="primary", key="approve", shortcut=APPROVE):
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
