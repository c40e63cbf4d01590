"""The few pieces of HTML that Streamlit has no word for, in the look of the report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from persuadable.app.palette import AMBER, GREEN, MUTED_TEXT, RED, WASH
from persuadable.report.theme import RULE

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from persuadable.app.sentences import Said

__all__ = ["banner", "facts", "note", "plain_markdown", "plot", "style", "table"]

STYLE = f"""<style>
.stMainBlockContainer {{ max-width: 72rem; padding-top: 4.5rem; padding-bottom: 3rem; }}
.stMainBlockContainer h1 {{ font-size: 1.75rem; letter-spacing: -.01em; padding: 0 0 .2rem; }}
.stMainBlockContainer h2 {{ font-size: 1.3rem; padding: 1.1rem 0 .3rem; }}
.stMainBlockContainer h3 {{ font-size: 1.02rem; padding: .5rem 0 0; }}
.ps-banner {{ background: {WASH}; border-left: 5px solid {AMBER}; border-radius: 0 6px 6px 0; padding: .85rem 1.2rem;
  margin-top: .25rem; }}
.ps-banner.good {{ border-color: {GREEN}; }}
.ps-banner.quiet {{ border-color: {MUTED_TEXT}; }}
.ps-banner.bad {{ border-color: {RED}; }}
.ps-banner .headline {{ font-size: 1.2rem; line-height: 1.4; font-weight: 600; margin: 0; }}
.ps-banner p {{ margin: .35rem 0 0; }}
.ps-note {{ color: {MUTED_TEXT}; font-size: .86rem; line-height: 1.5; margin: 0; max-width: 56rem; }}
.ps-facts {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .9rem 1.4rem;
  margin: .2rem 0 0 !important; padding: 0 !important; }}
.ps-facts > div {{ border-top: 2px solid {RULE}; padding-top: .4rem; }}
.ps-facts dt {{ font-size: .85rem; color: {MUTED_TEXT}; font-weight: 400; }}
.ps-facts dd {{ margin: 0; font-size: 1.4rem; font-weight: 600; line-height: 1.35; overflow-wrap: anywhere;
  font-variant-numeric: tabular-nums; }}
.ps-facts small {{ display: block; font-size: .8rem; font-weight: 400; color: {MUTED_TEXT}; }}
.ps-table {{ overflow-x: auto; }}
.ps-table table {{ border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }}
.ps-table th, .ps-table td {{ padding: .42rem .7rem; text-align: right; vertical-align: top; border: 0;
  border-bottom: 1px solid {RULE}; }}
.ps-table th {{ font-weight: 600; color: {MUTED_TEXT}; border-bottom-width: 2px; vertical-align: bottom; }}
.ps-table tr > :first-child {{ text-align: left; padding-left: 0; }}
.ps-table.tall {{ max-height: 21rem; overflow-y: auto; }}
.ps-table.tall table {{ min-width: 44rem; }}
.ps-table.tall small {{ white-space: nowrap; }}
.ps-table.tall th {{ position: sticky; top: 0; background: #fff; box-shadow: 0 2px 0 {RULE}; border: 0; }}
.ps-table.headless td:first-child {{ width: 12rem; }}
.ps-table .words {{ text-align: left; overflow-wrap: anywhere; min-width: 4.5rem; }}
.ps-table th.words {{ overflow-wrap: normal; }}
.ps-table td.num {{ white-space: nowrap; }}
.ps-table small {{ display: block; color: {MUTED_TEXT}; font-size: .8rem; }}
</style>"""
# Signs that Streamlit's Markdown reads in a label; an underscore within a word is a letter already.
MARKDOWN = re.compile(r"([\\`*\[\]<>~$|&]|(?<!\w)_|_(?!\w)|:(?=\w))")
# A heading or an item of a list, which a label loses the sign of.
BEGINNING = re.compile(r"^(\d{0,9})([#+\-.)])")
# Addresses become links even with a backslash; an invisible word joiner inside keeps them text.
ADDRESS = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?=@)", re.IGNORECASE)
JOINER = "\u2060"


def style() -> None:
    """Give the page the house's look; once a page."""
    st.html(STYLE)


def banner(said: Said) -> None:
    """A decision, a finding or a failure: a headline with what explains it."""
    lines = "".join(f"<p>{escape(line)}</p>" for line in said.lines)
    st.html(
        f'<section class="ps-banner {said.tone}" role="status"><p class="headline">{escape(said.headline)}</p>'
        f"{lines}</section>"
    )


def note(text: str) -> None:
    """A quiet line under a figure or a table."""
    st.html(f'<p class="ps-note">{escape(text)}</p>')


def facts(listed: Iterable[tuple[str, str, str]]) -> None:
    """Large numbers side by side: (what, number, small print)."""
    cells = "".join(
        f"<div><dt>{escape(what)}</dt><dd>{escape(value)}<small>{escape(small)}</small></dd></div>"
        for what, value, small in listed
    )
    st.html(f'<dl class="ps-facts">{cells}</dl>')


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    label: str,
    words: Sequence[int] = (),
    headless: bool = False,
    tall: bool = False,
) -> None:
    """A small table of text; numbers to the right.

    Args:
        heads: the columns' names.
        rows: a cell per column; what follows a line break in a cell is set small.
        label: what a reader who cannot see it is told it is.
        words: columns of prose, set to the left and broken into lines.
        headless: leave the columns' names out.
        tall: the table may have many rows, which are scrolled through so that what is below stays near.
    """

    def cell(text: str, place: int) -> str:
        first, _, rest = text.partition("\n")
        kind = "words" if place in words or place == 0 else "num"
        return f'<td class="{kind}">{escape(first)}{f"<small>{escape(rest)}</small>" if rest else ""}</td>'

    head = (
        ""
        if headless
        else "".join(f'<th scope="col"{_words(i in words)}>{escape(text)}</th>' for i, text in enumerate(heads))
    )
    body = "".join(f"<tr>{''.join(cell(text, i) for i, text in enumerate(row))}</tr>" for row in rows)
    kinds = f"ps-table{' headless' * headless}{' tall' * tall}"
    reached = ' tabindex="0"' if tall else ""  # what can be scrolled must be reached by the keyboard
    st.html(
        f'<div class="{kinds}"{reached}><table aria-label="{escape(label)}">'
        f"{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{body}</tbody></table></div>"
    )


def _words(yes: bool) -> str:
    return ' class="words"' if yes else ""


def plot(figure: go.Figure, key: str) -> None:
    """A figure in the house's own look, not Streamlit's."""
    st.plotly_chart(figure, theme=None, key=key, config={"displayModeBar": False, "scrollZoom": False})


def plain_markdown(text: str) -> str:
    """Somebody's text where Streamlit reads Markdown: its signs are taken for letters."""
    escaped = BEGINNING.sub(r"\1\\\2", MARKDOWN.sub(r"\\\1", " ".join(text.split())))
    return ADDRESS.sub(JOINER, escaped)
