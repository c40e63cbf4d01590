"""The script that Streamlit runs, once for every look at the app: ``streamlit run main.py -- SERVICE``."""

from __future__ import annotations

import importlib

import streamlit as st

from persuadable.app import look
from persuadable.app.palette import BLUE
from persuadable.app.shared import failures
from persuadable.app.views import budget, live, model, reviews, score
from persuadable.report.theme import FONT, INK

# Drawn here: an icon by name would be fetched from somebody else's server.
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
    f'<g fill="none" stroke="{BLUE}" stroke-width="4"><circle cx="16" cy="16" r="13"/>'
    '<circle cx="16" cy="16" r="5"/></g></svg>'
)
LOGO = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 180 32" width="180" height="32">'
    f'<g fill="none" stroke="{BLUE}" stroke-width="4"><circle cx="16" cy="16" r="11"/>'
    '<circle cx="16" cy="16" r="4"/></g>'
    f'<text x="36" y="22" font-family="{FONT}" font-size="19" font-weight="600" fill="{INK}">persuadable</text></svg>'
)


@st.cache_resource(show_spinner=False)
def load_libraries() -> None:
    """Load what Streamlit would load in the midst of its first table, once and whole.

    Plotly looks whether pandas is there whenever it draws, and fails where another visitor's run has it half loaded.
    """
    importlib.import_module("pandas")


def main() -> None:
    """Show the page that was asked for."""
    load_libraries()
    st.set_page_config(page_title="persuadable", page_icon=ICON, layout="wide")
    look.style()
    st.logo(LOGO, size="large")
    page = st.navigation(
        [
            st.Page(score.page, title="Score a user", icon=":material/person_search:", url_path="score", default=True),
            st.Page(budget.page, title="Budget sweep", icon=":material/tune:", url_path="budget"),
            st.Page(model.page, title="Model", icon=":material/query_stats:", url_path="model"),
            st.Page(reviews.page, title="Reviews", icon=":material/rate_review:", url_path="reviews"),
            st.Page(live.page, title="Live", icon=":material/monitor_heart:", url_path="live"),
        ],
        position="top",
    )
    with failures():
        page.run()


if __name__ == "__main__":
    main()
