"""Settings of the trees a study tries, for outcomes that are common and for those that are rare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from persuadable.engine import Trees
from persuadable.log import DecisionLog

__all__ = ["COMMON", "LEAST_POSITIVES", "NUISANCE", "RARE_BELOW", "SIZES", "Presets", "presets"]

# Effects are usually much smoother than responses and their signal much weaker, so each learner is also tried
# with small, slow trees; out-of-fold rankings on the training rows decide.
SIZES: Final[Mapping[str, Trees]] = {
    "small trees": Trees(n_trees=100, max_depth=2, learning_rate=0.05, min_child_weight=20),
    "large trees": Trees(n_trees=100, max_depth=4, learning_rate=0.1),
}
NUISANCE: Final = Trees(n_trees=100, max_depth=3, learning_rate=0.1)
#: A yes-or-no outcome less frequent than this is rare.
RARE_BELOW: Final = 0.05
#: With fewer ones than this in the training rows no leaf could hold enough of them: the common settings stay.
LEAST_POSITIVES: Final = 200
_BALANCED = 0.1  # weighted share of positives that ``scale_pos_weight`` aims at, before negatives are left out
_NEGATIVES = 30  # negatives kept per positive


@dataclass(frozen=True, slots=True)
class Presets:
    """Which trees a study tries.

    Attributes:
        responses: of the responses of the arms, wherever an effect is made from them.
        sizes: name → trees, of what each learner ends with: effects for X, R and DR.
        response_sizes: the same for learners that end with responses: S, T and the funnel.
        rare: share of positives where the outcome is rare, else None.
    """

    responses: Trees
    sizes: Mapping[str, Trees]
    response_sizes: Mapping[str, Trees]
    rare: float | None = None

    def settings(self) -> dict[str, dict[str, float]]:
        """Every setting by name, as plain numbers."""
        sizes = {f"effects, {name}": trees for name, trees in self.sizes.items()}
        return {name: dict(trees.get_params()) for name, trees in {"responses": self.responses, **sizes}.items()}


COMMON: Final = Presets(NUISANCE, SIZES, SIZES)


def presets(log: DecisionLog) -> Presets:
    """The presets for a log's primary outcome.

    Rare means 0 or 1 with fewer than 5% ones, 200 or more in number. Then responses are heavily regularised, positives
    weigh more and only some negatives are kept (chances are put back afterwards, see ``engine.Trees``), and a leaf of
    effects holds enough rows for some 6 to 10 positives: with fewer, noise is all it could tell. How much
    regularisation that is was found on worlds with 0.3% conversions and 85% treated (docs/rare-outcomes.md).
    """
    if not log.is_binary(log.primary):
        return COMMON
    share = float(np.average(log.outcome(), weights=log.weight))
    if share >= RARE_BELOW or (log.outcome() > 0).sum() < LEAST_POSITIVES:
        return COMMON
    responses = Trees(
        n_trees=70,
        max_depth=3,
        reg_lambda=100,
        min_child_weight=300,
        scale_pos_weight=max(1.0, _BALANCED / share),
        keep_negatives=min(1.0, _NEGATIVES * share),
    )
    sizes = {
        "small trees": Trees(n_trees=40, max_depth=2, learning_rate=0.05, min_child_weight=10 / share),
        "large trees": Trees(n_trees=60, max_depth=4, min_child_weight=6 / share),
    }
    return Presets(responses, sizes, {"rare-outcome trees": responses}, share)
