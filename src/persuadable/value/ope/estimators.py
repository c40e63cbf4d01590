"""The estimators by name: what each makes of a weight, whether it has a model of the outcome, whether it normalises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal

import numpy as np

from persuadable.errors import ParameterError
from persuadable.value.estimate import Floats

__all__ = [
    "DM",
    "DR",
    "ESTIMATORS",
    "IPS",
    "MRDR",
    "SNDR",
    "SNIPS",
    "BalancedDR",
    "BalancedIPS",
    "CrossFittedDR",
    "DRos",
    "Estimator",
    "SwitchDR",
    "Weighting",
    "chosen",
]

Model = Literal["given", "cross-fitted", "mrdr"]
Clip = float | Literal["slope"] | None
CANDIDATES = 20


@dataclass(frozen=True, slots=True)
class Weighting:
    """What becomes of a weight w = π/π_b.

    Attributes:
        shape: "none" gives 0; "ratio" w; "clip" min(w, limit); "switch" w·1{w ≤ limit}; "shrink" limit·w/(w² + limit).
        limit: the parameter of the shape.
        learned: whether w is a density ratio learned from the rounds instead of π/π_b.
    """

    shape: Literal["none", "ratio", "clip", "switch", "shrink"]
    limit: float = np.inf
    learned: bool = False

    def apply(self, w: Floats, out: Floats) -> None:
        """Write ρ(w) of weights (m,) into ``out`` (m,)."""
        if self.shape == "none":
            out.fill(0.0)
        elif self.shape == "clip":
            np.minimum(w, self.limit, out=out)
        elif self.shape == "switch":
            np.multiply(w, w <= self.limit, out=out)
        elif self.shape == "shrink" and np.isfinite(self.limit):
            np.multiply(w, w, out=out)
            out += self.limit
            np.divide(w, out, out=out)
            out *= self.limit
        else:
            np.copyto(out, w)

    def sensitivity(self, w: Floats) -> Floats:
        """(n,) d log ρ / d log w: by how much a relative error of the propensity becomes one of ρ."""
        if self.shape == "clip":
            return np.asarray(w < self.limit, dtype=np.float64)
        if self.shape == "shrink" and np.isfinite(self.limit):
            return np.asarray((self.limit - w * w) / (self.limit + w * w))
        return np.ones_like(w)


class Estimator:
    """A rule that makes a policy's value of logged rounds: V = mean(direct) + mean(ρ·residual) / mean(weight).

    Attributes:
        name: by which it is asked for.
        model: whose predictions q̂ it starts from: those given, its own, or none.
        normalised: whether it divides by the mean of the weights ρ.
        learned_weights: whether w is a learned density ratio.
    """

    __slots__ = ()

    name: ClassVar[str]
    model: ClassVar[Model | None] = None
    normalised: ClassVar[bool] = False
    learned_weights: ClassVar[bool] = False

    @property
    def weighting(self) -> Weighting:
        """What it makes of a weight."""
        return Weighting("ratio", learned=self.learned_weights)

    @property
    def tuned(self) -> bool:
        """Whether its parameter is still to be chosen by SLOPE."""
        return False

    @property
    def untuned(self) -> Estimator:
        """Where ``tuned``, the least biased estimator that SLOPE may choose: the weights as they are."""
        return self

    def candidates(self, w: Floats) -> list[Estimator]:
        """Where ``tuned``, the estimators SLOPE chooses among, the least biased first; ``w`` (n,) are the weights."""
        return [self.untuned]

    def __str__(self) -> str:
        told = [f.name for f in fields(self) if getattr(self, f.name) is not None]  # type: ignore[arg-type]
        values = ", ".join(f"{name}={_shown(getattr(self, name))}" for name in told)
        return f"{self.name}({values})" if values else self.name


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:g}"


@dataclass(frozen=True, slots=True)
class DM(Estimator):
    """Direct method: mean of Σ_a π_a q̂_a, no weights at all.

    Its interval is that of the policy's mix of rounds alone: it knows nothing of the error of q̂, and so is too narrow
    wherever q̂ is wrong.
    """

    name: ClassVar[str] = "dm"
    model: ClassVar[Model | None] = "given"

    @property
    def weighting(self) -> Weighting:
        """No weights."""
        return Weighting("none")


@dataclass(frozen=True, slots=True)
class _Clipped(Estimator):
    """Weights of at most ``clip``: min(w, clip) (Ionides 2008); None leaves them as they are, "slope" tunes it.

    Clipping takes variance and adds bias towards 0 (with a model: towards the model). The interval around a clipped
    estimate knows its variance and not its bias; a tuned estimate is given the interval of the untuned one.
    """

    clip: Clip = None

    def __post_init__(self) -> None:
        if self.clip is not None and self.clip != "slope":
            _check_positive(self.clip, f"clip of {self.name}", "None, 'slope' or the largest weight, such as 10")

    @property
    def weighting(self) -> Weighting:
        """w, or min(w, clip)."""
        if isinstance(self.clip, str):
            raise ParameterError(f"The clip of {self.name} is not chosen yet", remedy="Tune it on a log first.")
        limit = np.inf if self.clip is None else float(self.clip)
        return Weighting("ratio" if np.isinf(limit) else "clip", limit, self.learned_weights)

    @property
    def tuned(self) -> bool:
        """Whether the clip is "slope"."""
        return self.clip == "slope"

    @property
    def untuned(self) -> Estimator:
        """No clipping."""
        return replace(self, clip=None)

    def candidates(self, w: Floats) -> list[Estimator]:
        """No clipping, then clips from the largest weight down to the median."""
        return [self.untuned, *(replace(self, clip=float(c)) for c in _from_largest(w)[1:])]


@dataclass(frozen=True, slots=True)
class IPS(_Clipped):
    """Inverse propensity scores: mean(w·Y) (Horvitz and Thompson 1952). Unbiased, and noisy."""

    name: ClassVar[str] = "ips"


@dataclass(frozen=True, slots=True)
class SNIPS(_Clipped):
    """Self-normalised IPS: Σ w·Y / Σ w (Swaminathan and Joachims 2015). Follows a shift of the outcome exactly."""

    name: ClassVar[str] = "snips"
    normalised: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class DR(_Clipped):
    """Doubly robust: mean(Σ_a π_a q̂_a + w·(Y − q̂_A)) (Robins, Rotnitzky and Zhao 1994; Dudík, Langford and Li 2011).

    Unbiased where the propensities or q̂ are right. It gains nothing over IPS where q̂ predicts badly, and can lose.
    """

    name: ClassVar[str] = "dr"
    model: ClassVar[Model | None] = "given"


@dataclass(frozen=True, slots=True)
class CrossFittedDR(_Clipped):
    """DR whose q̂ is always cross-fitted on the rounds, also where a q̂ is given (Chernozhukov et al. 2018)."""

    name: ClassVar[str] = "cross-fitted-dr"
    model: ClassVar[Model | None] = "cross-fitted"


@dataclass(frozen=True, slots=True)
class SNDR(_Clipped):
    """Self-normalised DR: mean(Σ_a π_a q̂_a) + Σ w·(Y − q̂_A) / Σ w."""

    name: ClassVar[str] = "sndr"
    model: ClassVar[Model | None] = "given"
    normalised: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class MRDR(_Clipped):
    """More robust DR: q̂ is cross-fitted to make the variance of DR small (Farajtabar, Chow and Ghavamzadeh 2018).

    Rounds weigh π(1 − π_b)/π_b² in the regression. Helps where q̂ cannot be right everywhere; the candidate enters q̂.
    """

    name: ClassVar[str] = "mrdr"
    model: ClassVar[Model | None] = "mrdr"


@dataclass(frozen=True, slots=True)
class SwitchDR(Estimator):
    """DR where the weight is at most τ, the direct method elsewhere (Wang, Agarwal and Dudík 2017).

    Args:
        tau: the largest weight trusted; None is chosen by SLOPE, ``inf`` is DR, 0 the direct method.
    """

    name: ClassVar[str] = "switch-dr"
    model: ClassVar[Model | None] = "given"
    tau: float | None = None

    def __post_init__(self) -> None:
        if self.tau is not None:
            _check_not_negative(self.tau, "tau of switch-dr", "None (for SLOPE) or the largest weight to trust")

    @property
    def weighting(self) -> Weighting:
        """w·1{w ≤ τ}."""
        return _limited("switch", self.tau, self.name)

    @property
    def tuned(self) -> bool:
        """Whether τ is None."""
        return self.tau is None

    @property
    def untuned(self) -> Estimator:
        """No limit."""
        return SwitchDR(np.inf)

    def candidates(self, w: Floats) -> list[Estimator]:
        """No limit, then from the largest weight down to the median."""
        return [self.untuned, *(SwitchDR(float(tau)) for tau in _from_largest(w)[1:])]


@dataclass(frozen=True, slots=True)
class DRos(Estimator):
    """DR with optimistically shrunk weights λw/(w² + λ) (Su, Dimakopoulou, Krishnamurthy and Dudík 2020).

    Args:
        lam: the shrinkage λ; None is chosen by SLOPE, ``inf`` is DR, 0 the direct method.
    """

    name: ClassVar[str] = "dros"
    model: ClassVar[Model | None] = "given"
    lam: float | None = None

    def __post_init__(self) -> None:
        if self.lam is not None:
            _check_not_negative(self.lam, "lam of dros", "None (for SLOPE) or a shrinkage, such as 100")

    @property
    def weighting(self) -> Weighting:
        """λw/(w² + λ)."""
        return _limited("shrink", self.lam, self.name)

    @property
    def tuned(self) -> bool:
        """Whether λ is None."""
        return self.lam is None

    @property
    def untuned(self) -> Estimator:
        """No shrinkage."""
        return DRos(np.inf)

    def candidates(self, w: Floats) -> list[Estimator]:
        """No shrinkage, then λ from 100 times the square of the largest weight down to that of the median."""
        squares = _from_largest(w) ** 2
        return [
            self.untuned,
            *(DRos(float(lam)) for lam in np.geomspace(100 * squares[0], squares[-1], CANDIDATES - 1)),
        ]


@dataclass(frozen=True, slots=True)
class BalancedIPS(_Clipped):
    """Self-normalised IPS with a learned ratio of densities (Sondhi, Arbour and Dimmery 2020).

    A classifier tells the rounds' (x, action) from those with the candidate's actions; its odds, out of fold, are the
    weights. They need no propensities, so wrong ones do no harm; errors of the classifier are not in the interval.
    """

    name: ClassVar[str] = "balanced-ips"
    normalised: ClassVar[bool] = True
    learned_weights: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class BalancedDR(_Clipped):
    """SNDR with the weights of :class:`BalancedIPS`."""

    name: ClassVar[str] = "balanced-dr"
    model: ClassVar[Model | None] = "given"
    normalised: ClassVar[bool] = True
    learned_weights: ClassVar[bool] = True


ESTIMATORS: Mapping[str, type[Estimator]] = {
    kind.name: kind for kind in (DM, IPS, SNIPS, DR, CrossFittedDR, SNDR, MRDR, SwitchDR, DRos, BalancedIPS, BalancedDR)
}


def chosen(estimators: Sequence[str | Estimator] | str | Estimator, clip: Clip = None) -> dict[str, Estimator]:
    """Estimators by the label they get in results: their name, or with parameters such as "ips(clip=10)".

    Args:
        estimators: names or objects.
        clip: the largest weight of those asked for by name that can clip; "slope" tunes it.

    Raises:
        ParameterError: none, an unknown one, one twice, or a clip that none of them uses.
    """
    told = [estimators] if isinstance(estimators, str | Estimator | type) else list(estimators)
    if not told:
        raise ParameterError("No estimator was named", remedy=f"Name some of {list(ESTIMATORS)}.")
    found: dict[str, Estimator] = {}
    clipped = False
    for one in told:
        made = _made(one)
        label = str(made)
        if isinstance(one, str) and clip is not None and isinstance(made, _Clipped):
            made, clipped = replace(made, clip=clip), True
        if label in found:
            raise ParameterError(f"Estimator {label!r} was named twice", remedy="Name each once.")
        found[label] = made
    if clip is not None and not clipped:
        raise ParameterError(
            f"clip={clip!r} was passed, and none of {list(found)} uses it",
            remedy="Leave clip out, or name one of "
            f"{[name for name, kind in ESTIMATORS.items() if issubclass(kind, _Clipped)]}.",
        )
    return found


def _made(one: Any) -> Estimator:
    if isinstance(one, Estimator):
        return one
    if not isinstance(one, str) or one not in ESTIMATORS:
        raise ParameterError(
            f"There is no estimator {one!r}",
            remedy=f"Name one of {list(ESTIMATORS)}, or pass an object such as DRos(lam=100).",
        )
    return ESTIMATORS[one]()


def _limited(shape: Literal["switch", "shrink"], limit: float | None, name: str) -> Weighting:
    if limit is None:
        raise ParameterError(f"The parameter of {name} is not chosen yet", remedy="Tune it on a log first.")
    if np.isinf(limit):
        return Weighting("ratio")
    return Weighting(shape, float(limit)) if limit > 0 else Weighting("none")


def _from_largest(w: Floats) -> Floats:
    """(k,) limits on weights in a geometric row, from the largest down to the median of those above 0."""
    positive = w[w > 0]
    if not positive.size:
        return np.ones(1)
    largest, median = float(positive.max()), float(np.median(positive))
    return np.geomspace(largest, median, CANDIDATES) if largest > median else np.array([largest])


def _check_positive(value: Any, what: str, remedy: str) -> None:
    if isinstance(value, str) or not value > 0:
        raise ParameterError(f"The {what} is {value!r}, not a number above 0", remedy=f"Pass {remedy}.")


def _check_not_negative(value: Any, what: str, remedy: str) -> None:
    if isinstance(value, str) or not value >= 0:
        raise ParameterError(f"The {what} is {value!r}, not a number from 0", remedy=f"Pass {remedy}.")
