"""Where one kind of people ends and the next begins, and how probable each kind is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from persuadable.design.power import is_number
from persuadable.errors import ParameterError
from persuadable.policies.base import Floats
from persuadable.policies.economics import Economics

__all__ = [
    "ACTIONS",
    "ARCHETYPES",
    "LABELS",
    "UNCERTAIN",
    "Action",
    "ArchetypeThresholds",
    "composition",
    "kinds",
    "membership_probabilities",
]

Action = Literal["contact", "leave", "suppress", "expected", "test"]
ARCHETYPES: Final = ("Persuadable", "Sure Thing", "Lost Cause", "Do-Not-Disturb")
UNCERTAIN: Final = "Uncertain"
LABELS: Final = (*ARCHETYPES, UNCERTAIN)
ACTIONS: Final[Mapping[str, Action]] = {
    "Persuadable": "contact",
    "Sure Thing": "leave",
    "Lost Cause": "leave",
    "Do-Not-Disturb": "suppress",
    "Uncertain": "expected",
}


@dataclass(frozen=True, slots=True)
class ArchetypeThresholds:
    """Where one archetype ends and the next begins, all in units of the outcome.

    =================  =========================  =================
    archetype          effect τ                   baseline μ₀
    =================  =========================  =================
    Persuadable        above ``pays``             any
    Sure Thing         from −``harm`` to ``pays``  ``sure`` or more
    Lost Cause         from −``harm`` to ``pays``  below ``sure``
    Do-Not-Disturb     below −``harm``            any
    =================  =========================  =================

    Attributes:
        pays: the break-even effect, above which a contact brings more than it costs.
        harm: a fall of the outcome by more than this is harm.
        sure: baseline from which a unit that is not moved counts as a Sure Thing.
        confidence: a unit whose likeliest archetype is less probable than this is Uncertain.
    """

    pays: float
    harm: float
    sure: float
    confidence: float

    @classmethod
    def of(
        cls, economics: Economics, harm: float | None = None, sure: float | None = None, confidence: float = 0.8
    ) -> ArchetypeThresholds:
        """Thresholds from economics; what is None takes the break-even t = cost / (margin · value).

        A Sure Thing has a baseline of t or more: its conversions, which come anyway, are worth more than the contact,
        so that attribution would count the contact a success. A Lost Cause's are not. Harm begins where a contact
        loses conversions worth more than the contact itself.

        Raises:
            ParameterError: a threshold out of range, or contacts that are free, so that no threshold follows.
        """
        pays = economics.break_even
        if pays == 0 and (harm is None or sure is None):
            raise ParameterError(
                "A contact costs nothing, so no threshold follows from its cost",
                remedy="Pass harm= and sure=, in units of the outcome, such as harm=0 and sure=0.01.",
            )
        told = {"harm": pays if harm is None else harm, "sure": pays if sure is None else sure}
        for name, value in told.items():
            if not is_number(value) or not 0 <= value < math.inf:
                raise ParameterError(f"{name} is {value!r}", remedy="Pass a number of 0 or more, or None.")
        if not is_number(confidence) or not 0.25 <= confidence <= 1:
            raise ParameterError(
                f"confidence is {confidence!r}", remedy="Pass a probability from 0.25 (nobody is uncertain) to 1."
            )
        return cls(pays, float(told["harm"]), float(told["sure"]), float(confidence))

    def region(self, archetype: str) -> tuple[float, float]:
        """(lower, upper) of the effects that an archetype's members have."""
        if archetype == "Persuadable":
            return self.pays, math.inf
        return (-math.inf, -self.harm) if archetype == "Do-Not-Disturb" else (-self.harm, self.pays)


def membership_probabilities(
    effect: Floats,
    stderr: Floats,
    baseline: Floats,
    baseline_stderr: Floats | None,
    thresholds: ArchetypeThresholds,
) -> Floats:
    """(n, 4) probability of each archetype, for τ ~ N(effect, stderr²) and, apart from it, μ₀ ~ N(baseline, …).

    With Φ the normal distribution: Persuadable 1 − Φ((pays − τ̂)/s), Do-Not-Disturb Φ((−harm − τ̂)/s), and the rest
    split by P(μ₀ ≥ sure). The two estimates are taken as independent, which only matters for that split.

    Args:
        effect, stderr: (n,) estimated effects and their standard errors; 0 is certainty.
        baseline, baseline_stderr: (n,) likewise, of the outcome of those left alone; None takes it as known.
        thresholds: where archetypes end.
    """
    persuadable = 1.0 - _below(thresholds.pays, effect, stderr, including=True)
    disturbed = _below(-thresholds.harm, effect, stderr, including=False)
    known = np.zeros(baseline.shape) if baseline_stderr is None else baseline_stderr
    return kinds(persuadable, disturbed, 1.0 - _below(thresholds.sure, baseline, known, including=False))


def kinds(persuadable: Floats, disturbed: Floats, sure: Floats) -> Floats:
    """(n, 4) probability of each archetype from P(τ > pays), P(τ < −harm) and P(μ₀ ≥ sure), each (n,)."""
    unmoved = np.clip(1.0 - persuadable - disturbed, 0.0, 1.0)
    return np.column_stack([persuadable, unmoved * sure, unmoved * (1.0 - sure), disturbed])


def _below(limit: float, centre: Floats, spread: Floats, *, including: bool) -> Floats:
    """(n,) P(Z < limit) for Z ~ N(centre, spread²); where spread is 0, whether centre lies below it (or at it)."""
    certain = (centre <= limit) if including else (centre < limit)
    z = np.divide(limit - centre, spread, out=np.zeros(centre.shape), where=spread > 0)
    return np.where(spread > 0, ndtr(z), certain.astype(np.float64))


def composition(probabilities: Floats, membership: NDArray[Any], weight: Floats | None = None) -> Floats:
    """(5, 4) mean probability of each archetype among those of each label; rows of labels nobody has are NaN.

    Row i is what the people labelled i are expected to be, so that 1 − the diagonal is expected misclassification.
    """
    w = np.ones(membership.shape[0]) if weight is None else weight
    mass = np.bincount(membership, weights=w, minlength=len(LABELS))
    totals = np.column_stack([np.bincount(membership, weights=w * p, minlength=len(LABELS)) for p in probabilities.T])
    return np.asarray(np.divide(totals, mass[:, None], out=np.full(totals.shape, np.nan), where=mass[:, None] > 0))
