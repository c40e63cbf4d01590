"""What a review says of decisions: which are left to the machine, and for which reasons the others are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from persuadable.policies.base import Floats

if TYPE_CHECKING:
    import polars as pl

__all__ = ["CODES", "REASONS", "STRANGE", "Code", "Judged"]

Code = Literal["borderline", "too-good", "possible-do-not-disturb", "outside-support", "contract-flag"]
CODES: Final[tuple[Code, ...]] = (
    "borderline",
    "too-good",
    "possible-do-not-disturb",
    "outside-support",
    "contract-flag",
)
#: Codes that cast doubt on the estimate itself.
STRANGE: Final[tuple[Code, ...]] = ("too-good", "outside-support", "contract-flag")
#: Code → what it says of a unit, for people.
REASONS: Final[Mapping[str, str]] = {
    "borderline": "The effect is so close to the threshold, for how well it is known, that the decision may be wrong.",
    "too-good": "The predicted effect is larger than those it could be checked against.",
    "possible-do-not-disturb": "The unit is to be treated, and yet the treatment may do it harm.",
    "outside-support": "The unit is unlike those the model learned from.",
    "contract-flag": "The unit's features broke the feature contract.",
}


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Whether each of n decisions is left to the machine, and if not why.

    Attributes:
        codes: per unit the reasons for which it is queued; () is AUTO.
        priority: (n,) expected cost of deciding without a person, in units of the outcome: the chance that the decision
            is wrong times what that costs. The queue's order.
        wrong: (n,) the chance that the decision is wrong.
        marks: (n, 5) which of ``CODES`` hold, queued or not.
        queued: (n,) whether a person is to look.
    """

    codes: list[tuple[str, ...]]
    priority: Floats
    wrong: Floats
    marks: NDArray[np.bool_]
    queued: NDArray[np.bool_]

    @classmethod
    def of(cls, priority: Floats, wrong: Floats, marks: NDArray[np.bool_], queued: NDArray[np.bool_]) -> Judged:
        """The same, with the codes of the queued by their marks."""
        codes: list[tuple[str, ...]] = [()] * queued.size
        for i in queued.nonzero()[0].tolist():
            codes[i] = tuple([code for code, holds in zip(CODES, marks[i].tolist(), strict=True) if holds])
        return cls(codes, priority, wrong, marks, queued)

    @property
    def order(self) -> NDArray[np.intp]:
        """Places of the queued units, the most pressing first."""
        rows = np.flatnonzero(self.queued)
        return np.asarray(rows[np.argsort(-self.priority[rows], kind="stable")])

    @property
    def share(self) -> float:
        """Share of the units that are queued."""
        return float(self.queued.mean()) if self.queued.size else 0.0

    @property
    def reasons(self) -> dict[str, int]:
        """Code → how many queued units have it; a unit may have several."""
        counts = Counter(code for codes in self.codes for code in codes)
        return {code: counts[code] for code in CODES}

    def frame(self) -> pl.DataFrame:
        """The queue, the most pressing first: row, priority, chance of a wrong decision, codes."""
        import polars as pl

        order = self.order
        return pl.DataFrame(
            {
                "row": order,
                "priority": self.priority[order],
                "wrong": self.wrong[order],
                "codes": pl.Series([list(self.codes[i]) for i in order.tolist()], dtype=pl.List(pl.String)),
            }
        )

    def __str__(self) -> str:
        lines = [f"{self.queued.sum():,} of {self.queued.size:,} decisions ({self.share:.1%}) go to people."]
        lines += [f"  {code:24} {count:8,}" for code, count in self.reasons.items() if count]
        if self.queued.any():
            caught, rest = self.wrong[self.queued].mean(), self.wrong[~self.queued]
            lines.append(
                f"Expected to be wrong: {caught:.1%} of these"
                + (f", {rest.mean():.1%} of those decided automatically." if rest.size else ".")
            )
        return "\n".join(lines)
