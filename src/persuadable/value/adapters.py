"""Other packages' ranking numbers, digit for digit, from (outcome, treatment, score) arrays.

One ranking has as many "Qini coefficients" as there are packages. They differ in four things: the curve
(which arm's outcomes are rescaled, and by which counts), the unit of its axes (units treated, people, or a
share of them), what the area is divided by (nothing, the area of a best ranking, or the curve's last point),
and what happens to tied scores. These functions reproduce each so that numbers of other people's notebooks can be
checked; ``persuadable.value.qini`` reports none of them but θ = ∫₀¹ (Q(φ) − φ·Q(1)) dφ, in outcome units
per head, with tied scores as one group and every row weighted by its known probability of treatment.

========================  =============================  ===========================  =======================
convention                curve over the first k rows     area                         tied scores
========================  =============================  ===========================  =======================
``sklift``                R₁ − R₀·N₁/N₀                  ÷ that of the best ranking   one group
``sklift-unnormalised``   R₁ − R₀·N₁/N₀                  trapezoids, k in rows        one group
``causalml``              R₁ − R₀·N₁/N₀                  ÷ (n + 1) and last point     in the order sorted
``causalml-unnormalised`` R₁ − R₀·N₁/N₀                  ÷ (n + 1)                    in the order sorted
``econml``                k/n·(mean Γ above − mean Γ)    left sums over 5 %…95 %      by the quantile reached
``diemert``               R₁/n₁ − R₀/n₀                  trapezoids, k as a share     in the order given
========================  =============================  ===========================  =======================

R₁, N₁ (R₀, N₀) are the outcomes' sum and the number of treated (untreated) among the first k rows, n₁ and n₀
those of all rows, Γ doubly robust scores. All but ``econml`` compare raw arms: with a treatment probability
that varies between rows they mix the effect with who was treated, which θ does not.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persuadable.errors import ActionError, DataError, OutcomeError, ParameterError

__all__ = [
    "AUUC_CONVENTIONS",
    "QINI_CONVENTIONS",
    "EconmlUplift",
    "TiedScores",
    "causalml_auuc",
    "causalml_order",
    "causalml_qini",
    "diemert_auuc",
    "diemert_qini",
    "econml_uplift",
    "peer_auuc",
    "peer_qini",
    "peer_uplift_at_k",
    "sklift_auuc",
    "sklift_qini",
]

Floats = NDArray[np.float64]
Order = NDArray[np.intp]

QINI_CONVENTIONS = ("sklift", "sklift-unnormalised", "causalml", "causalml-unnormalised", "econml", "diemert")
AUUC_CONVENTIONS = ("sklift", "sklift-unnormalised", "causalml", "causalml-unnormalised", "diemert")


class TiedScores(UserWarning):
    """A peer's number depends on the order of rows with equal scores."""


@dataclass(frozen=True, slots=True)
class EconmlUplift:
    """What ``DRTester.evaluate_uplift`` reports: the coefficient and its standard error."""

    coefficient: float
    stderr: float


def peer_qini(y: ArrayLike, treatment: ArrayLike, score: ArrayLike, convention: str = "sklift") -> float:
    """The Qini coefficient of one ranking as another package would print it.

    Args:
        y: (n,) outcomes; ``sklift`` knows only 0 and 1.
        treatment: (n,) 1 where treated, 0 where not.
        score: (n,) the higher the earlier treated.
        convention: one of ``QINI_CONVENTIONS``; see the module's table.

    Raises:
        ParameterError: an unknown convention.
        DataError: arrays of different lengths, empty, or scores that are not finite.
        ActionError: a treatment other than 0 and 1, or one arm only.
        OutcomeError: outcomes that are not finite, or not 0/1 where the peer takes only those.
    """
    match convention:
        case "sklift" | "sklift-unnormalised":
            return sklift_qini(y, treatment, score, normalise=convention == "sklift")
        case "causalml" | "causalml-unnormalised":
            return causalml_qini(y, treatment, score, normalise=convention == "causalml")
        case "econml":
            return econml_uplift(y, treatment, score).coefficient
        case "diemert":
            return diemert_qini(y, treatment, score)
    raise _unknown(convention, QINI_CONVENTIONS)


def peer_auuc(y: ArrayLike, treatment: ArrayLike, score: ArrayLike, convention: str = "sklift") -> float:
    """The area under (for ``sklift``: between line and) the uplift curve as another package would print it.

    Arguments and errors as in :func:`peer_qini`; ``convention`` is one of ``AUUC_CONVENTIONS``.
    """
    match convention:
        case "sklift" | "sklift-unnormalised":
            return sklift_auuc(y, treatment, score, normalise=convention == "sklift")
        case "causalml" | "causalml-unnormalised":
            return causalml_auuc(y, treatment, score, normalise=convention == "causalml")
        case "diemert":
            return diemert_auuc(y, treatment, score)
    raise _unknown(convention, AUUC_CONVENTIONS)


def sklift_qini(
    y: ArrayLike, treatment: ArrayLike, score: ArrayLike, *, normalise: bool = True, negative_effect: bool = True
) -> float:
    """scikit-uplift's ``qini_auc_score``.

    The curve is R₁ − R₀·N₁/N₀ (Radcliffe 2007) at the end of each group of tied scores, over the number of
    rows; the coefficient is the area between it and the straight line to its end, divided (``normalise``) by the
    same area of a best ranking. That ranking puts treated responders first and untreated responders last; with
    ``negative_effect=False`` it is the line that rises by one a row up to the last value and stays there.

    Differs from θ: dividing by an unattainable ranking makes the number depend on the response rate, N₁/N₀
    drifts inside a prefix, and the propensity is not used. Unnormalised it counts rows times outcomes and is
    near n·n₁·θ where the treated share is constant.

    Raises:
        OutcomeError: outcomes other than 0 and 1 with ``normalise``, or no gain to be had with
            ``negative_effect=False``: scikit-uplift has no best ranking there.
    """
    y_, w, s = _checked(y, treatment, score, binary=normalise)
    area = _area_between(*_grouped_curve(y_, w, s, "qini"))
    if not normalise:
        return area
    if negative_effect:
        return area / _area_between(*_grouped_curve(y_, w, y_ * (2 * w - 1), "qini"))
    gained = float(y_ @ w - w.sum() * (y_ @ (1 - w)) / (1 - w).sum())
    if not 0 < gained <= y_.size:
        raise OutcomeError(
            "without negative effects there is no best ranking: the treated respond no more often than the untreated",
            remedy="Leave negative_effect at True.",
        )
    return area / _area_between(np.array([0.0, gained, y_.size]), np.array([0.0, gained, gained]))


def sklift_auuc(y: ArrayLike, treatment: ArrayLike, score: ArrayLike, *, normalise: bool = True) -> float:
    """scikit-uplift's ``uplift_auc_score``.

    The curve is k·(R₁/N₁ − R₀/N₀) at the end of each group of tied scores (an arm still empty counts as 0); the
    number is the area between it and the straight line to its end, divided (``normalise``) by that of a best
    ranking, as in :func:`sklift_qini`, whose errors it raises.
    """
    y_, w, s = _checked(y, treatment, score, binary=normalise)
    area = _area_between(*_grouped_curve(y_, w, s, "uplift"))
    if not normalise:
        return area
    untreated_responders, treated_silent = int(y_ @ (1 - w)), int((1 - y_) @ w)
    best = 2 * (y_ == w) + (y_ if untreated_responders > treated_silent else w)
    return area / _area_between(*_grouped_curve(y_, w, best, "uplift"))


def causalml_qini(
    y: ArrayLike,
    treatment: ArrayLike,
    score: ArrayLike,
    *,
    normalise: bool = True,
    order: Order | None = None,
) -> float:
    """causalml's ``qini_score``.

    The curve R₁ − R₀·N₁/N₀ at every row, 0 before the first; rows before the first untreated one are filled in
    linearly. The score is Σ(curve − straight line to its end) ÷ (n + 1), the curve first divided
    (``normalise``) by the size of its last point.

    Differs from θ: divided by the average effect it explodes where that is near 0, is in multiples of the effect
    on all treated rather than outcome units per head, and **changes with the order of rows whose scores tie**.

    Args:
        order: (n,) rows as sorted, the first one first, to reproduce a number found elsewhere; by default the
            order :func:`causalml_order` gives.

    Warns:
        TiedScores: there are ties and ``order`` is not given.
    """
    y_, w, _, order = _causalml_inputs(y, treatment, score, order)
    treated, untreated = np.cumsum(w[order]), np.cumsum(1 - w[order])
    r1, r0 = np.cumsum((y_ * w)[order]), np.cumsum((y_ * (1 - w))[order])
    with np.errstate(invalid="ignore", divide="ignore"):
        curve = _filled_from_zero(r1 - r0 * treated / untreated)
    if normalise:
        curve = curve / abs(curve[-1])
    line = np.linspace(curve[0], curve[-1], curve.size)
    return float((curve.sum() - line.sum()) / curve.size)


def causalml_auuc(
    y: ArrayLike,
    treatment: ArrayLike,
    score: ArrayLike,
    *,
    normalise: bool = True,
    order: Order | None = None,
) -> float:
    """causalml's ``auuc_score``: Σ k·(R₁/N₁ − R₀/N₀) ÷ (n + 1), by default divided by the last point's size.

    Nothing is subtracted for a random ranking, which therefore scores about ½. Rows before both arms have
    appeared get a lift filled in linearly. Arguments, warning and ties as in :func:`causalml_qini`.
    """
    y_, w, _, order = _causalml_inputs(y, treatment, score, order)
    treated, untreated = np.cumsum(w[order]), np.cumsum(1 - w[order])
    r1, r0 = np.cumsum((y_ * w)[order]), np.cumsum((y_ * (1 - w))[order])
    with np.errstate(invalid="ignore", divide="ignore"):
        lift = _filled_from_zero(r1 / treated - r0 / untreated)
    gain = lift * np.arange(lift.size)
    if normalise:
        gain = gain / abs(gain[-1])
    return float(gain.sum() / gain.size)


def causalml_order(score: ArrayLike) -> Order:
    """The row order in which causalml (pandas' ``sort_values`` from high to low) meets the scores.

    Pandas reverses the rows, sorts them with NumPy's quicksort and reverses again. That sort is not stable,
    and its treatment of ties depends on the processor's vector instructions: with ties the same data may score
    differently on another machine.
    """
    s = np.asarray(score)[::-1]
    backwards: Order = np.arange(s.size, dtype=np.intp)[::-1][np.argsort(s, kind="quicksort")]
    return backwards[::-1]


def diemert_qini(y: ArrayLike, treatment: ArrayLike, score: ArrayLike) -> float:
    """The Qini of relative volumes: ∫₀¹ (R₁(φ)/n₁ − R₀(φ)/n₀ − φ·ATE) dφ by trapezoids, in outcome units per head.

    Both arms are ranked together and each arm's outcomes are divided by its total size, as in the comparisons
    of Diemert, Betlei, Renaudin, Amini (2018) and in pylift, whose ``Q_qini`` this is for binary outcomes (pylift
    counts outcomes above zero; this sums them). Ties keep the given row order, as pylift's sort does.

    With the arms' shares as propensities and no ties it equals θ exactly: it is θ's inverse-propensity form
    for one completely randomised experiment.

    Warns:
        TiedScores: there are ties.
    """
    y_, w, s = _checked(y, treatment, score)
    _warn_of_ties(s, "the order of the rows given")
    order = np.argsort(-s, kind="stable")
    gain = np.cumsum((y_ * w)[order]) / w.sum() - np.cumsum((y_ * (1 - w))[order]) / (1 - w).sum()
    return float((gain.sum() - 0.5 * gain[-1]) / gain.size - 0.5 * gain[-1])


def diemert_auuc(y: ArrayLike, treatment: ArrayLike, score: ArrayLike) -> float:
    """AUUC of each arm ranked by itself: mean over treated of y·(1 − U) less the same over untreated.

    U is the share of the *own arm* ranked above, ties sharing the mean of their ranks. For binary outcomes it
    is λ₁·AUC₁ − λ₀·AUC₀ + ȳ₁²/2 − ȳ₀²/2 with λ = ȳ(1 − ȳ) (Betlei, Diemert, Amini 2021; the number that
    the authors of the Criteo benchmark compute). Nothing is subtracted for a random ranking, which scores half
    the average effect.
    """
    from scipy.stats import rankdata

    y_, w, s = _checked(y, treatment, score)

    def lift(arm: NDArray[np.bool_]) -> float:
        below = (rankdata(s[arm]) - 0.5) / arm.sum()
        return float(np.mean(y_[arm] * below))

    return lift(w == 1) - lift(w == 0)


def econml_uplift(
    y: ArrayLike,
    treatment: ArrayLike,
    score: ArrayLike,
    *,
    pseudo_outcome: ArrayLike | None = None,
    train_score: ArrayLike | None = None,
    metric: Literal["qini", "toc"] = "qini",
    percentiles: ArrayLike | None = None,
) -> EconmlUplift:
    """econml's ``DRTester.evaluate_uplift``: coefficient and standard error.

    At each percentile q of the *training* rows' scores, φ = share of the rows scoring at least that much and
    the curve is φ·(mean Γ among them − mean Γ) (``toc``: without φ). The coefficient is its left sum over q, by
    default 50 points from 5 % to 95 %; the error comes from its influence function.

    Differs from θ: the integral leaves out the first and last 5 % and is a coarse sum, and depends on the
    training rows' scores; where many rows tie, φ jumps past the percentile asked for.

    Args:
        y, treatment, score: (n,) the rows judged.
        pseudo_outcome: (n,) Γ, econml's ``dr_val_``; by default the doubly robust score with each arm's mean as its
            outcome model and its share as propensity.
        train_score: (m,) scores of the training rows; the judged rows' by default.
        metric: ``"qini"`` or ``"toc"``.
        percentiles: increasing numbers between 0 and 100.

    Raises:
        ParameterError: an unknown metric. Others as in :func:`peer_qini`.
    """
    if metric not in ("qini", "toc"):
        raise _unknown(metric, ("qini", "toc"))
    y_, w, s = _checked(y, treatment, score)
    gamma = _arm_mean_scores(y_, w) if pseudo_outcome is None else _vector(pseudo_outcome, "pseudo-outcome")
    if gamma.size != s.size:
        raise DataError(f"{gamma.size} pseudo-outcomes for {s.size} scores")
    grid = np.linspace(5, 95, 50) if percentiles is None else _vector(percentiles, "percentiles")
    cuts = np.percentile(s if train_score is None else _vector(train_score, "training scores"), grid)
    curve, influence = np.empty(cuts.size), np.zeros(s.size)
    steps = np.append(np.diff(grid) / 100, 0.0)
    centred = gamma - gamma.mean()
    for j, cut in enumerate(cuts):
        above = s >= cut
        share = above.mean()
        scale = 1.0 if metric == "qini" else 1.0 / share
        curve[j] = share * scale * (gamma[above].mean() - gamma.mean())
        influence += steps[j] * (centred * (above - share) * scale - curve[j])
    return EconmlUplift(float(curve @ steps), float(np.sqrt(np.mean(influence**2) / s.size)))


def peer_uplift_at_k(
    y: ArrayLike,
    treatment: ArrayLike,
    score: ArrayLike,
    k: float | int = 0.3,
    *,
    strategy: Literal["overall", "by_group"] = "overall",
) -> float:
    """scikit-uplift's ``uplift_at_k``: treated mean less untreated mean among the first k rows.

    ``overall`` cuts the joint ranking, ``by_group`` each arm's own at the same share (or count, for an integer
    k). The cut is ⌊n·k⌋ rows; among tied scores the row given last goes first, so that ties at the cut make the number
    depend on the row order. Ours takes ties as one group at their exact share.

    Raises:
        ParameterError: k outside (0, 1), or outside 1…n − 1 for an integer, or an unknown strategy.
        ActionError: nobody of one arm among the first k rows (scikit-uplift answers NaN).

    Warns:
        TiedScores: there are ties.
    """
    y_, w, s = _checked(y, treatment, score, binary=True)
    if strategy not in ("overall", "by_group"):
        raise _unknown(strategy, ("overall", "by_group"))
    counted = isinstance(k, int | np.integer)
    if not (0 < k < (y_.size if counted else 1)):
        raise ParameterError(f"k={k} is neither a share inside (0, 1) nor a count below {y_.size}")
    _warn_of_ties(s, "the order of the rows given, the last first")
    order = np.argsort(s, kind="stable")[::-1]
    y_, w = y_[order], w[order]
    top = np.zeros(y_.size, dtype=bool)
    if strategy == "overall":
        top[: k if counted else int(y_.size * k)] = True
    else:
        for arm in (0, 1):
            members = np.flatnonzero(w == arm)
            top[members[: k if counted else int(members.size * k)]] = True
    treated, untreated = y_[top & (w == 1)], y_[top & (w == 0)]
    if not (treated.size and untreated.size):
        raise ActionError(f"one arm is missing among the first {int(top.sum())} rows", remedy="Take a larger k.")
    return float(treated.mean() - untreated.mean())


def _grouped_curve(y: Floats, w: Floats, s: Floats, kind: Literal["qini", "uplift"]) -> tuple[Floats, Floats]:
    """scikit-uplift's curve: rows so far and its value at the end of each group of tied scores, from (0, 0)."""
    order = np.argsort(s, kind="stable")[::-1]
    ends = np.append(np.flatnonzero(np.diff(s[order])), s.size - 1)
    rows = ends + 1.0
    treated = np.cumsum(w[order])[ends]
    untreated = rows - treated
    r1, r0 = np.cumsum((y * w)[order])[ends], np.cumsum((y * (1 - w))[order])[ends]
    if kind == "qini":
        value = r1 - r0 * _ratio(treated, untreated)
    else:
        value = (_ratio(r1, treated) - _ratio(r0, untreated)) * rows
    return np.append(0.0, rows), np.append(0.0, value)


def _area_between(x: Floats, curve: Floats) -> float:
    """Area between a curve from (0, 0) and the straight line to its end, by trapezoids."""
    return float(np.trapezoid(curve, x) - 0.5 * x[-1] * curve[-1])


def _filled_from_zero(values: Floats) -> Floats:
    """0 before the first row, and leading NaN filled linearly from there to the first number."""
    whole = np.append(0.0, values)
    first = 1 + int(np.argmax(~np.isnan(values)))
    whole[:first] = np.linspace(0.0, whole[first], first, endpoint=False)
    return whole


def _arm_mean_scores(y: Floats, w: Floats) -> Floats:
    """Doubly robust scores with arm means as outcome model and arm shares as propensity (MATHS: Scores)."""
    p = w.mean()
    m1, m0 = y[w == 1].mean(), y[w == 0].mean()
    scores: Floats = m1 - m0 + w * (y - m1) / max(p, 0.01) - (1 - w) * (y - m0) / max(1 - p, 0.01)
    return scores


def _causalml_inputs(
    y: ArrayLike, treatment: ArrayLike, score: ArrayLike, order: Order | None
) -> tuple[Floats, Floats, Floats, Order]:
    y_, w, s = _checked(y, treatment, score)
    if order is None:
        _warn_of_ties(s, "how rows with equal scores happen to be sorted")
        order = causalml_order(s)
    elif not np.array_equal(np.sort(order), np.arange(s.size)):
        raise DataError("order is not a permutation of the rows")
    elif np.any(np.diff(s[order]) > 0):
        raise DataError("order does not sort the scores from high to low")
    return y_, w, s, order


def _checked(
    y: ArrayLike, treatment: ArrayLike, score: ArrayLike, *, binary: bool = False
) -> tuple[Floats, Floats, Floats]:
    y_, w, s = _vector(y, "outcome"), _vector(treatment, "treatment"), _vector(score, "score")
    if not y_.size == w.size == s.size:
        raise DataError(
            f"{y_.size} outcomes, {w.size} treatments and {s.size} scores", remedy="Pass one of each per row."
        )
    if not np.isin(w, (0.0, 1.0)).all():
        raise ActionError("treatment must be 0 or 1", remedy="Take one arm against control: log.contrast(action).")
    if w.min() == w.max():
        raise ActionError("only one arm is present", remedy="Pass treated and untreated rows.")
    if binary and not np.isin(y_, (0.0, 1.0)).all():
        raise OutcomeError(
            "scikit-uplift defines this number for outcomes 0 and 1 only",
            remedy="Take the unnormalised convention, or value.qini for outcomes of any kind.",
        )
    return y_, w, s


def _vector(values: ArrayLike, name: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise DataError(
            f"{name} has shape {array.shape}", remedy="Pass a one-dimensional array with one entry per row."
        )
    if not np.isfinite(array).all():
        error = OutcomeError if name == "outcome" else DataError
        raise error(f"{name} is not finite", where=f"row {int(np.argmin(np.isfinite(array)))}")
    return array


def _ratio(top: Floats, bottom: Floats) -> Floats:
    """top / bottom, 0 where the bottom is 0."""
    result: Floats = np.divide(top, bottom, out=np.zeros_like(top), where=bottom != 0)
    return result


def _warn_of_ties(s: Floats, on_what: str) -> None:
    tied = s.size - np.unique(s).size
    if tied:
        warnings.warn(
            f"{tied:,} of {s.size:,} scores tie; this peer's number depends on {on_what}. "
            "persuadable.value.qini takes tied scores as one group.",
            TiedScores,
            stacklevel=3,
        )


def _unknown(value: Any, known: tuple[str, ...]) -> ParameterError:
    return ParameterError(f"unknown choice {value!r}", remedy=f"Choose one of {', '.join(known)}.")
