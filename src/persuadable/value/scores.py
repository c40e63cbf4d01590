"""Uplift scores: per-row numbers Γ whose conditional mean is the effect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import ActionError, DataError, ParameterError, PropensityError
from persuadable.log.checks import require_comparable
from persuadable.log.views import standing_for_all
from persuadable.value.estimate import Codes, Floats, cluster_codes

if TYPE_CHECKING:
    from persuadable.log import DecisionLog

__all__ = ["Comparison", "aipw_scores", "arm_means", "compare_arms", "comparison_scores", "uplift_scores"]

Method = Literal["ipw", "dr"]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """One treatment against the control: the m rows of a log that could have taken both and took either.

    Attributes:
        outcome: (m,) outcome.
        treated: (m,) whether the row took the treatment.
        treat: P(treatment | x, one of the two), a number or (m,).
        rows: (m,) their places in the log, or None where all n rows are in.
        weight: (m,) row weights, those for rows of other arms left out included, or None where rows count equally.
        clusters: (m,) cluster codes, or None where no unit repeats.
        action: the treatment's code in the log.
        shares_estimated: whether ``treat`` is the observed share instead of a propensity.
        name: the outcome's name.
    """

    outcome: Floats
    treated: NDArray[np.bool_]
    treat: float | Floats
    rows: Codes | None
    weight: Floats | None
    clusters: Codes | None
    action: int
    shares_estimated: bool
    name: str

    @property
    def m(self) -> int:
        """How many rows are compared."""
        return int(self.treated.shape[0])

    def select(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values of the log's n rows for the m rows compared."""
        return values if self.rows is None else values[self.rows]


def compare_arms(log: DecisionLog, *, outcome: str | None = None, action: str | int | None = None) -> Comparison:
    """The rows of one treatment and of the control among those eligible for the treatment, features not copied.

    Rows that took other actions are dropped and the two propensities renormalised to sum to 1. Where the chance
    e_a + e_0 of taking one of the two varies over rows, those kept are weighted by its inverse (mean 1, times the log's
    weights), so that they stand for all rows and not for those likelier to get one of the two (Horvitz and Thompson
    1952). Rows that the treatment was not allowed for are dropped too: nothing was tried there, so an effect is one on
    those eligible. Without stored propensities ``treat`` is the share treated, with eligibility the share among the
    equally eligible.

    Args:
        log: the log.
        outcome: the outcome's name; the first when None.
        action: the treatment by label or code; needed where the log has more than one.

    Raises:
        ActionError: no such treatment, none chosen of several, or an arm without rows.
        PropensityError: one of the two actions had propensity 0 in a row where it was allowed.
    """
    code = log.actions.treatment(action)
    require_comparable(log, code)
    keep = (log.action == 0) | (log.action == code)
    if log.eligible is not None:
        keep &= log.eligible[:, code]
    rows = None if keep.all() else np.flatnonzero(keep)
    known = log.propensities if log.eligible is None else log.propensity()

    def pick(values: NDArray[Any]) -> NDArray[Any]:
        return values if rows is None else values[rows]

    treated = pick(log.action) == code
    weight = None if log.weight is None else np.asarray(pick(log.weight), dtype=np.float64)
    clusters = log.clusters
    if known is None or log.eligible is not None:
        _require_both(treated, log.actions.names[code], log.actions.control)
    return Comparison(
        outcome=np.asarray(pick(log.outcome(outcome)), dtype=np.float64),
        treated=treated,
        treat=_share_treated(treated, weight)
        if known is None
        else _two_arm_propensity(known[:, code], known[:, 0], rows),
        rows=rows,
        weight=weight if known is None else _standing_for_all(weight, known[:, code], known[:, 0], rows),
        clusters=None if clusters is None else cluster_codes(pick(clusters)),
        action=code,
        shares_estimated=log.propensities is None,
        name=log.primary if outcome is None else outcome,
    )


def _require_both(treated: NDArray[np.bool_], treatment: str, control: str) -> None:
    """Refuse an arm without rows."""
    count = int(np.count_nonzero(treated))
    if count in (0, treated.shape[0]):
        raise ActionError(
            f"No row took {treatment if count == 0 else control!r}",
            remedy="An effect needs rows of both arms, eligible for the treatment; use a larger log.",
        )


def _share_treated(treated: NDArray[np.bool_], weight: Floats | None) -> float:
    """The (weighted) share treated."""
    return float(treated.mean() if weight is None else weight[treated].sum() / weight.sum())


def _two_arm_propensity(e_treat: NDArray[Any], e_control: NDArray[Any], rows: Codes | None) -> float | Floats:
    """P(treatment | one of the two), one number where it is constant by construction (stride 0)."""
    constant = e_treat.strides[0] == 0 and e_control.strides[0] == 0
    if constant:
        e_treat, e_control = e_treat[:1], e_control[:1]
    elif rows is not None:
        e_treat, e_control = e_treat[rows], e_control[rows]
    impossible = (e_treat <= 0) | (e_control <= 0)
    if impossible.any():
        first = int(np.flatnonzero(impossible)[0])
        arm = "control" if e_control[first] <= 0 else "treatment"
        raise PropensityError(
            f"Among rows with the same eligibility nobody took the {arm}",
            where=f"row {first if rows is None else rows[first]} and {int(impossible.sum()) - 1:,} more",
            remedy="Nothing can be compared there; take the rows whose eligibility has both arms.",
        )
    share = np.asarray(e_treat, dtype=np.float64) / (np.asarray(e_treat, dtype=np.float64) + e_control)
    return float(share[0]) if constant else share


def _standing_for_all(
    weight: Floats | None, e_treat: NDArray[Any], e_control: NDArray[Any], rows: Codes | None
) -> Floats | None:
    """Row weights over P(one of the two), with the same mean; as they are where that chance is constant."""
    if rows is None or (e_treat.strides[0] == 0 and e_control.strides[0] == 0):
        return weight
    return standing_for_all(weight, np.asarray(e_treat[rows], dtype=np.float64) + e_control[rows])


def uplift_scores(
    log: DecisionLog,
    *,
    outcome: str | None = None,
    action: str | int | None = None,
    method: Method = "ipw",
    mu: NDArray[Any] | None = None,
) -> Floats:
    """Scores Γ with E[Γ | X = x] = τ(x), in outcome units.

    Both methods are the augmented inverse-propensity score
    Γ = m₁ − m₀ + 1{A=a}(Y − m₁)/e_a − 1{A=0}(Y − m₀)/e_0   (Robins, Rotnitzky and Zhao 1994).

    * ``"ipw"`` takes for m₁, m₀ two constants, the inverse-propensity weighted (Hájek) arm means c₁, c₀.
      Raw IPW, Y·1{A=a}/e_a − Y·1{A=0}/e_0, is the case m = 0: its variance carries the level of the outcome,
      Var(Γ | x) = σ₁²/e + σ₀²/(1 − e) + (μ₁(1 − e) + μ₀e)²/(e(1 − e)), so a shift of Y by a constant changes it and a
      mean far from 0, or e far from ½, drowns the effect. Centring puts μ − c in the place of μ.
      It costs no bias: E[∂Γ/∂c₁ | x] = 1 − E[1{A=a}/e_a | x] = 0 for a known e, whatever c₁ is (Neyman
      orthogonality), so an estimated c moves weighted means of Γ only in second order.
    * ``"dr"`` takes out-of-fold predictions μ̂_a(x) (Chernozhukov et al. 2018): the smaller variance when they are
      any good.

    Rows of other arms and rows not eligible for the treatment are dropped, so the average of the scores, weighted by
    the comparison's ``weight``, is the effect on those eligible (see ``compare_arms``).

    Args:
        log: the log, whose stored propensities are used; without any, arm shares among the equally eligible.
        outcome: the outcome's name; the first when None.
        action: the treatment; needed where the log has more than one.
        method: ``"ipw"`` or ``"dr"``.
        mu: (n, A) out-of-fold predictions of the outcome under each action, for ``"dr"``; cross-fitted when None.

    Returns:
        (m,) scores, one per row of ``compare_arms``; m = n where the log has two arms and everybody is eligible.

    Raises:
        ParameterError: unknown method, or ``mu`` with ``"ipw"``.
        DataError: ``mu`` of another shape, or not finite.
        ActionError, PropensityError: see ``compare_arms``.
    """
    arms = compare_arms(log, outcome=outcome, action=action)
    return comparison_scores(log, arms, method=method, mu=mu)


def comparison_scores(
    log: DecisionLog, arms: Comparison, *, method: Method = "ipw", mu: NDArray[Any] | None = None
) -> Floats:
    """(m,) scores Γ of a comparison taken from ``log``; see ``uplift_scores``."""
    if method not in ("ipw", "dr"):
        raise ParameterError(f"method is {method!r}", remedy='Pass "ipw" or "dr".')
    if method == "ipw":
        if mu is not None:
            raise ParameterError("mu= was passed with method='ipw', which ignores it", remedy="Pass method='dr'.")
        m1, m0 = arm_means(arms.outcome, arms.treated, arms.treat, arms.weight)
        return aipw_scores(arms.outcome, arms.treated, arms.treat, m1, m0)
    if mu is None:
        from persuadable.response import cross_fit_arms

        mu = cross_fit_arms(log, arms.name)
    predicted = checked_mu(mu, (log.n, log.n_actions))
    return aipw_scores(
        arms.outcome, arms.treated, arms.treat, arms.select(predicted[:, arms.action]), arms.select(predicted[:, 0])
    )


def checked_mu(mu: NDArray[Any], shape: tuple[int, int]) -> Floats:
    """Predicted outcomes (n, A), all finite."""
    predicted = np.asarray(mu, dtype=np.float64)
    if predicted.shape != shape:
        raise DataError(
            f"mu has shape {predicted.shape}, expected {shape}", remedy="One row per log row, one column per action."
        )
    if not np.isfinite(predicted).all():
        row = int(np.flatnonzero(~np.isfinite(predicted).all(axis=1))[0])
        raise DataError("mu is not finite", where=f"row {row}", remedy="Predict every row under every action.")
    return predicted


def arm_means(
    y: Floats, treated: NDArray[np.bool_], treat: float | Floats, weight: Floats | None = None
) -> tuple[float, float]:
    """Mean outcomes, treated and control: Σ w·1{A=a}·Y/e_a ÷ Σ w·1{A=a}/e_a (Hájek 1971)."""
    signed = _signed_inverse(treated, treat)
    if weight is not None:
        signed = signed * weight
    w_treated = signed * treated
    w_control = w_treated - signed
    return float(w_treated @ y / w_treated.sum()), float(w_control @ y / w_control.sum())


def aipw_scores(
    y: Floats, treated: NDArray[np.bool_], treat: float | Floats, m1: float | Floats, m0: float | Floats
) -> Floats:
    """(m,) Γ = m₁ − m₀ + A(Y − m₁)/e − (1 − A)(Y − m₀)/(1 − e), with e = P(A = 1 | x)."""
    scores = np.asarray(y - m0, dtype=np.float64)
    scores -= treated * np.subtract(m1, m0)
    scores *= _signed_inverse(treated, treat)
    scores += np.subtract(m1, m0)
    return scores


def _signed_inverse(treated: NDArray[np.bool_], treat: float | Floats) -> Floats:
    """(m,) 1/e for treated rows and −1/(1 − e) for control rows, which is 1/(A − 1 + e)."""
    signed = treated - (1.0 - np.asarray(treat))
    return np.asarray(np.divide(1.0, signed, out=signed))
