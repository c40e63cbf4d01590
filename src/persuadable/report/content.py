"""What a report says, apart from how it looks: sections of sentences, tables and figures."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from persuadable.errors import ParameterError
from persuadable.report.words import column

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl

__all__ = ["Block", "Facts", "Plot", "ReportContent", "Section", "Table", "Verdict"]

Tone = Literal["good", "unclear", "bad", "plain"]
_QUANTITY = r"(?:[<+−] ?)?[\d.,∞–]+(?:e[+-]\d+)?%?"
_NUMERIC = re.compile(f"{_QUANTITY}(?: to {_QUANTITY})?")
_TONES = ("good", "unclear", "bad", "plain")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer, before anything else.

    Attributes:
        headline: the decision in one sentence.
        sentences: what it rests on, one sentence each.
        tone: ``"good"`` (an interval on the right side of 0), ``"unclear"`` or ``"bad"``; ``"plain"`` judges nothing.
    """

    headline: str
    sentences: tuple[str, ...] = ()
    tone: Tone = "unclear"

    def __post_init__(self) -> None:
        if not self.headline.strip():
            raise ParameterError("A verdict has no headline", remedy="Say the decision in one sentence.")
        if self.tone not in _TONES:
            raise ParameterError(f"tone is {self.tone!r}", remedy=f"Pass one of {list(_TONES)}.")


@dataclass(frozen=True, slots=True)
class Facts:
    """A few numbers that stand large at the top of a section.

    Attributes:
        items: (label, value, note) each; the note may be empty.
    """

    items: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is printed. Numbers are set right, each column to as many decimals as its largest needs.

    Attributes:
        columns: the heads.
        rows: the cells, as many a row as there are heads; text, numbers, (lower, upper) pairs, True/False or None.
        caption: what the table shows.
        note: a line beneath it.
        strong: rows set in bold, by place.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    caption: str = ""
    note: str = ""
    strong: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for place, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ParameterError(
                    f"A table row has {len(row)} cells under {len(self.columns)} heads",
                    where=f"table {self.caption!r}, row {place}",
                    remedy="Give every row one cell per column.",
                )

    @classmethod
    def of(cls, frame: pl.DataFrame, *, caption: str = "", note: str = "", strong: tuple[int, ...] = ()) -> Table:
        """A table of a polars frame, its column names as heads with spaces for underscores."""
        heads = tuple(name.replace("_", " ") for name in frame.columns)
        return cls(heads, tuple(frame.iter_rows()), caption, note, strong)

    @property
    def texts(self) -> tuple[tuple[str, ...], ...]:
        """The cells as they are printed."""
        columns = [column([row[j] for row in self.rows]) for j in range(len(self.columns))]
        return tuple(zip(*columns, strict=True))

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Whether each column holds numbers, percentages or intervals (and gaps), which are set right."""
        texts = self.texts
        return tuple(
            any(row[j] for row in texts) and all(_NUMERIC.fullmatch(row[j]) for row in texts if row[j])
            for j in range(len(self.columns))
        )


@dataclass(frozen=True, slots=True, eq=False)
class Plot:
    """A figure with the sentence that says how to read it.

    Attributes:
        figure: a plotly figure.
        reading: how to read it, one or two sentences.
        data: its numbers, shown folded beneath it and to those who cannot see it.
    """

    figure: go.Figure
    reading: str = ""
    data: Table | None = None


Block = str | Facts | Table | Plot


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """A headed part of the report.

    Attributes:
        title: the heading.
        blocks: paragraphs (strings), facts, tables and plots, in order.
        question: the question the section answers, set beneath the heading.
    """

    title: str
    blocks: tuple[Block, ...]
    question: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ReportContent:
    """All a report says.

    Attributes:
        title: the report's title.
        verdict: the answer.
        sections: the evidence, in order.
        limits: what the report cannot say, one sentence each; at least one.
        subtitle: data, outcome and arms in a line.
        provenance: (label, value) pairs for the foot: versions, seeds, fingerprints.
    """

    title: str
    verdict: Verdict
    sections: tuple[Section, ...]
    limits: tuple[str, ...]
    subtitle: str = ""
    provenance: tuple[tuple[str, str], ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.title.strip():
            raise ParameterError("A report has no title", remedy="Pass title=.")
        if not any(limit.strip() for limit in self.limits):
            raise ParameterError("A report names no limits", remedy="Say at least what it does not show.")
