"""The gate's answer, with everything it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from persuadable.design.experiment import ExperimentPlan
from persuadable.errors import ParameterError
from persuadable.value.estimate import Estimate
from persuadable.value.gating.card import card, card_json
from persuadable.value.gating.checks import Check
from persuadable.value.gating.diagnostics import Diagnostics
from persuadable.value.gating.rules import GateRules
from persuadable.value.gating.sensitivity import Sensitivity

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Decision", "Verdict"]

Decision = Literal["GO", "NO_GO", "EXPERIMENT"]


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """May the candidate replace the baseline, as far as a log can tell?

    Attributes:
        decision: "GO", "NO_GO" or "EXPERIMENT".
        reasons: why, one sentence each, the most important first.
        checks: what every rule found.
        difference: candidate less baseline per head, doubly robust; its interval takes in what was never tried.
        candidate: the candidate's value per head.
        baseline: the baseline's.
        diagnostics: what the checks of the log rest on.
        sensitivity: bounds of the difference under unlogged confounding, and Λ*.
        experiment: the experiment that would decide; None unless that is the decision.
        rules: the thresholds, as they were fixed.
        outcome: the outcome's name.
        log: the log's name.
        fingerprint: digest of its rows.
    """

    decision: Decision
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]
    difference: Estimate
    candidate: Estimate
    baseline: Estimate
    diagnostics: Diagnostics
    sensitivity: Sensitivity
    experiment: ExperimentPlan | None
    rules: GateRules
    outcome: str
    log: str
    fingerprint: str

    def __getitem__(self, code: str) -> Check:
        for one in self.checks:
            if one.code == code:
                return one
        raise ParameterError(f"There is no check {code!r}", remedy=f"There are {[one.code for one in self.checks]}.")

    def frame(self) -> pl.DataFrame:
        """One row per check."""
        import polars as pl

        names = ("code", "title", "status", "measured", "threshold", "finding", "remedy")
        return pl.DataFrame(
            {name: [getattr(one, name) for one in self.checks] for name in names},
            schema_overrides={"measured": pl.Float64, "threshold": pl.Float64},
        )

    def as_dict(self) -> dict[str, Any]:
        """The decision card as plain values; see docs/gate.md for its fields."""
        return card(self)

    def to_json(self) -> str:
        """The decision card as JSON text with sorted keys; the same verdict gives the same bytes."""
        return card_json(self)

    def write(self, path: str | Path) -> Path:
        """Write the card as JSON and return where; ``report.write_decision_card`` writes it as a page."""
        target = Path(path)
        target.write_text(self.to_json(), encoding="utf-8")
        return target

    def __str__(self) -> str:
        lines = [
            f"{self.decision}: {self.difference.name} on {self.outcome}, {self.difference.n:,} rows of {self.log!r}"
        ]
        lines += [f"  – {reason}" for reason in self.reasons]
        lines += ["", *(str(one) for one in self.checks)]
        if self.experiment is not None:
            lines += ["", str(self.experiment)]
        return "\n".join(lines)
