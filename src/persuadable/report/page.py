"""The report as one HTML file that needs no network, no folder beside it and no trust in what it quotes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persuadable.errors import ParameterError
from persuadable.report.content import Block, Facts, Plot, ReportContent, Table

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["environment", "render", "resource", "trusted", "write_report"]

# What would end a script element or begin an entity, written so that JSON reads the same and HTML sees nothing.
_UNSAFE = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def render(content: ReportContent) -> str:
    """The report as HTML text.

    Every text is escaped; the plotting library is put in once, and only where there is a figure; a content security
    policy forbids the page to load or send anything.
    """
    import persuadable

    plots = _plots(content)
    template = environment().get_template("report.html.j2")
    return template.render(
        content=content,
        version=persuadable.__version__,
        style=trusted(resource("report.css")),
        plotly_js=trusted(_plotly_js()) if plots else "",
        figures=trusted(_script_json(plots)),
    )


def write_report(content: ReportContent, path: str | Path) -> Path:
    """Write the report as one HTML file and return where.

    Args:
        content: what it says.
        path: the file, such as ``report.html``; its folder is made where it is missing.

    Raises:
        ParameterError: the path is a folder.
    """
    target = Path(path)
    if target.is_dir():
        raise ParameterError(f"{target} is a folder", remedy="Name the file, such as report.html.")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(render(content), encoding="utf-8")
    return target


def _labelled(blocks: Sequence[Block], section: int) -> Iterator[tuple[str, Block, str]]:
    """The blocks of a section with their kind and, for plots, the id of their place in the page."""
    for place, block in enumerate(blocks, start=1):
        kind = {Facts: "facts", Table: "table", Plot: "plot"}.get(type(block), "text")
        yield kind, block, f"figure-{section}-{place}"


def _plots(content: ReportContent) -> dict[str, Any]:
    """Plotly figures by the id of their place."""
    return {
        name: block.figure
        for number, section in enumerate(content.sections, start=1)
        for _, block, name in _labelled(section.blocks, number)
        if isinstance(block, Plot)
    }


def _script_json(plots: dict[str, Any]) -> str:
    """Figures as JSON that is safe within a script element."""
    described = {name: json.loads(figure.to_json()) for name, figure in plots.items()}
    return json.dumps(described, separators=(",", ":")).translate(_UNSAFE)


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Templates of this room, every text escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("persuadable.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    made.filters["labelled"] = _labelled
    made.filters["height"] = lambda figure: int(figure.layout.height or 400)
    return made


def trusted(text: str) -> Any:
    """Text of our own or of plotly's that must reach the page as it is."""
    from markupsafe import Markup

    return Markup(text)


def resource(name: str) -> str:
    """A file beside the templates, as text."""
    return files("persuadable.report").joinpath("templates", name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _plotly_js() -> str:
    from plotly.offline import get_plotlyjs

    library: str = get_plotlyjs()
    return library
