"""Which kind each unit is taken for, how sure that is, and what is done with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.fingerprint import Fingerprint
from persuadable.policies.archetypes.learning import ArchetypeBeliefs
from persuadable.policies.archetypes.thresholds import (
    ARCHETYPES,
    LABELS,
    UNCERTAIN,
    Action,
    ArchetypeThresholds,
    composition,
)
from persuadable.policies.base import Floats, check_eligible, one_action
from persuadable.policies.economics import Economics

if TYPE_CHECKING:
    import polars as pl

    from persuadable.policies.archetypes.assigning import ArchetypePolicy

__all__ = ["Archetypes", "Posterior"]


class Posterior(NamedTuple):
    """What is believed of n units, each (n,): mean and standard deviation of the effect and of the baseline."""

    effect: Floats
    effect_sd: Floats
    baseline: Floats
    baseline_sd: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Archetypes:
    """Which archetype each of n units is taken for, and how sure that is.

    What is known of a unit is an estimate with an error. With ``beliefs`` the probabilities are those of a posterior:
    how much people differ and how much of it the estimates tell was learned from the training log. Without, the
    estimates and their own errors are taken at their word, which is far too bold: boosted trees miss more than the
    spread of their refits says, and the smallest of many estimates are small in part by chance.
    ``value.archetype_table`` holds the labels against held-out rows.

    Attributes:
        membership: (n,) codes into ``labels``.
        probabilities: (n, 4) of Persuadable, Sure Thing, Lost Cause and Do-Not-Disturb.
        effect: (n,) estimated effect of the treatment.
        stderr: (n,) its standard error.
        baseline: (n,) estimated outcome of the unit left alone.
        baseline_stderr: (n,) its standard error; None where it is taken as known.
        believed: mean and standard deviation of what the probabilities come from; the estimates themselves where no
            beliefs were given.
        beliefs: what was learned of the estimates; None where they are taken at their word.
        thresholds: where archetypes end.
        economics: what they come from.
        actions: label → what is done.
        treatment: code of the treatment that "contact" means.
        n_actions: A.
        fitted_on: the rows the estimates learned from; None where that is not known.
        rows: the rows of the log they were made for; None where no log was given.
        policy: the rule that assigns any unit; None where estimates were given as arrays.
    """

    membership: NDArray[np.int8]
    probabilities: Floats
    effect: Floats
    stderr: Floats
    baseline: Floats
    baseline_stderr: Floats | None
    believed: Posterior
    thresholds: ArchetypeThresholds
    economics: Economics
    actions: Mapping[str, Action]
    treatment: int
    n_actions: int
    fitted_on: Fingerprint | None = None
    rows: Fingerprint | None = None
    policy: ArchetypePolicy | None = None
    beliefs: ArchetypeBeliefs | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The four archetypes, then "Uncertain"."""
        return LABELS

    @property
    def n(self) -> int:
        """How many units."""
        return int(self.membership.shape[0])

    def __len__(self) -> int:
        return self.n

    @property
    def names(self) -> NDArray[np.str_]:
        """(n,) the label of each unit."""
        return np.asarray(LABELS)[self.membership]

    @property
    def sizes(self) -> dict[str, int]:
        """How many units have each label."""
        counts = np.bincount(self.membership, minlength=len(LABELS))
        return {label: int(count) for label, count in zip(LABELS, counts, strict=True)}

    @property
    def expected_misclassification(self) -> dict[str, float | None]:
        """Expected share of each label's units that are something else, as the probabilities have it.

        None for "Uncertain", which is no claim, and for labels nobody has.
        """
        diagonal = np.diagonal(composition(self.probabilities, self.membership))
        told: dict[str, float | None] = {
            label: None if np.isnan(p) else float(1.0 - p) for label, p in zip(ARCHETYPES, diagonal, strict=True)
        }
        return told | {UNCERTAIN: None}

    def decisions(self, eligible: ArrayLike | None = None) -> Floats:
        """(n, A) probabilities of the actions, each unit treated as its archetype says.

        Raises:
            ActionError: eligibility of another shape.
        """
        allowed = check_eligible(eligible, self.n, self.n_actions)
        chance = np.zeros(self.n)
        for code, label in enumerate(LABELS):
            of_label = self.membership == code
            chance[of_label] = _chance(self.actions[label], self.effect[of_label], self.thresholds.pays)
        return one_action(self.treatment, chance, self.n, self.n_actions, allowed)

    def frame(self) -> pl.DataFrame:
        """One row per label that somebody has: action, size, mean estimates, expected misclassification and mix."""
        import polars as pl

        mix, wrong = composition(self.probabilities, self.membership), self.expected_misclassification
        rows = []
        for code, (label, size) in enumerate(self.sizes.items()):
            if size == 0:
                continue
            of_label = self.membership == code
            rows.append(
                {
                    "archetype": label,
                    "action": self.actions[label],
                    "n": size,
                    "share": size / self.n,
                    "effect": float(self.effect[of_label].mean()),
                    "baseline": float(self.baseline[of_label].mean()),
                    "expected_misclassification": wrong[label],
                }
                | {f"P({name})": float(p) for name, p in zip(ARCHETYPES, mix[code], strict=True)}
            )
        return pl.DataFrame(rows, infer_schema_length=None)

    def __str__(self) -> str:
        lines = [f"{'archetype':14}  {'action':8} {'share':>6}  {'effect':>9}  {'baseline':>9}  expected wrong"]
        for row in self.frame().iter_rows(named=True):
            wrong = row["expected_misclassification"]
            lines.append(
                f"{row['archetype']:14}  {row['action']:8} {row['share']:6.1%}  {row['effect']:+9.4g}  "
                f"{row['baseline']:9.4g}  {'no claim is made' if wrong is None else f'{wrong:.1%}'}"
            )
        lines.append(
            "Expected by the estimates' own errors, which is far too little: learn beliefs (policies.ArchetypeBeliefs)."
            if self.beliefs is None
            else "Expected by beliefs learned from the training log; value.archetype_table asks held-out rows."
        )
        return "\n".join(lines)


def _chance(action: Action, effect: Floats, pays: float) -> Floats:
    """(m,) probability of the treatment."""
    if action == "expected":
        return (effect > pays).astype(np.float64)
    return np.full(effect.shape, {"contact": 1.0, "test": 0.5}.get(action, 0.0))
