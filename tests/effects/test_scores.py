"""The learners' arithmetic against enumeration of a small world and against brute-force minimisation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from persuadable.effects import scores

Array = NDArray[np.float64]

#: A world small enough to enumerate: 3 kinds of unit, 3 actions, outcomes 0, 1 and 4.
E = np.array([[0.5, 0.3, 0.2], [0.2, 0.7, 0.1], [0.4, 0.1, 0.5]])
OUTCOMES = np.array([0.0, 1.0, 4.0])
P_Y = np.array(  # P(y | kind, action)
    [
        [[0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.1, 0.8, 0.1]],
        [[0.9, 0.1, 0.0], [0.4, 0.4, 0.2], [0.6, 0.1, 0.3]],
        [[0.3, 0.3, 0.4], [0.3, 0.4, 0.3], [0.0, 0.5, 0.5]],
    ]
)
MU = P_Y @ OUTCOMES
WRONG_MU = MU + np.array([[1.0, -2.0, 0.5], [0.3, 0.7, 3.0], [-1.0, 0.0, 2.0]])
WRONG_E = np.array([[0.3, 0.5, 0.2], [0.6, 0.2, 0.2], [0.2, 0.4, 0.4]])


def enumerated(kind: int, mu: Array, e: Array, treatment: int) -> tuple[Array, ...]:
    """Every (action, outcome) of a kind: its probability, y, treated, control, μ₁, μ₀, e₁, e₀."""
    cells = list(product(range(3), range(3)))
    mass = np.array([E[kind, a] * P_Y[kind, a, y] for a, y in cells])
    y = np.array([OUTCOMES[y] for _, y in cells])
    action = np.array([a for a, _ in cells])
    constants = (mu[kind, treatment], mu[kind, 0], e[kind, treatment], e[kind, 0])
    return (mass, y, action == treatment, action == 0, *(np.full(9, c) for c in constants))


@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize("treatment", [1, 2])
@pytest.mark.parametrize(("mu", "e"), [(MU, E), (WRONG_MU, E), (MU, WRONG_E)], ids=["both", "wrong-mu", "wrong-e"])
def test_the_doubly_robust_score_is_the_effect_on_average(kind: int, treatment: int, mu: Array, e: Array) -> None:
    mass, *arguments = enumerated(kind, mu, e, treatment)
    mean = float(mass @ scores.doubly_robust_score(*arguments))
    assert mean == pytest.approx(MU[kind, treatment] - MU[kind, 0], abs=1e-12)


def test_the_doubly_robust_score_is_wrong_when_both_are() -> None:
    mass, *arguments = enumerated(0, WRONG_MU, WRONG_E, 1)
    assert abs(float(mass @ scores.doubly_robust_score(*arguments)) - (MU[0, 1] - MU[0, 0])) > 0.1


def test_rows_of_other_arms_keep_the_difference_of_the_responses() -> None:
    _, y, treated, control, mu1, mu0, e1, e0 = enumerated(1, MU, E, 2)
    others = ~treated & ~control
    assert others.any()
    score = scores.doubly_robust_score(y, treated, control, mu1, mu0, e1, e0)
    np.testing.assert_allclose(score[others], MU[1, 2] - MU[1, 0])


def two_arms(kind: int, treatment: int) -> tuple[Array, Array, NDArray[np.bool_], float]:
    """Cells of a treatment against the control: probability within the pair, y, treated, P(treated | pair)."""
    mass, y, treated, control, *_ = enumerated(kind, MU, E, treatment)
    pair = treated | control
    p = E[kind, treatment] / (E[kind, treatment] + E[kind, 0])
    return mass[pair] / mass[pair].sum(), y[pair], treated[pair], p


@pytest.mark.parametrize("kind", range(3))
@pytest.mark.parametrize("wrong", [0.0, 1.7])
def test_the_residual_regression_minimises_robinsons_loss(kind: int, wrong: float) -> None:
    """The R-learner's weighted mean is the brute-force minimiser of Σ((y − m) − (a − p)τ)²; with a known
    propensity it is the effect even where the responses are wrong by a function of x."""
    mass, y, treated, p = two_arms(kind, 1)
    mu1, mu0 = MU[kind, 1] + wrong, MU[kind, 0] + wrong
    m = p * mu1 + (1 - p) * mu0

    def loss(tau: float) -> float:
        return float(mass @ ((y - m) - (treated - p) * tau) ** 2)

    n = np.ones_like(y)
    target = scores.residual_target(y, treated, mu1 * n, mu0 * n, p * n)
    weight = scores.residual_weight(treated, p * n)
    solution = float(np.average(target, weights=mass * weight))
    assert solution == pytest.approx(minimize_scalar(loss, bracket=(-5, 5), tol=1e-12).x, abs=1e-6)
    assert solution == pytest.approx(MU[kind, 1] - MU[kind, 0], abs=1e-12)


finite = st.floats(-100, 100)


@given(
    y=arrays(float, 8, elements=finite), mu1=arrays(float, 8, elements=finite), mu0=arrays(float, 8, elements=finite),
    p=arrays(float, 8, elements=st.floats(0.05, 0.95)), tau=arrays(float, 8, elements=finite),
)  # fmt: skip
def test_the_weighted_residual_loss_is_robinsons(y: Array, mu1: Array, mu0: Array, p: Array, tau: Array) -> None:
    treated = np.arange(8) % 2 == 0
    target, weight = scores.residual_target(y, treated, mu1, mu0, p), scores.residual_weight(treated, p)
    robinson = ((y - (p * mu1 + (1 - p) * mu0)) - (treated - p) * tau) ** 2
    np.testing.assert_allclose(weight * (target - tau) ** 2, robinson, rtol=1e-9, atol=1e-6)


def test_imputed_effects_take_the_other_arm_from_the_model() -> None:
    y, treated = np.array([5.0, 2.0]), np.array([True, False])
    np.testing.assert_array_equal(scores.imputed_effect(y, treated, np.array([9.0, 7.0]), np.array([1.0, 8.0])), [4, 5])


@pytest.mark.parametrize("p", [0.15, 0.5, 0.85])
def test_one_weighted_regression_is_the_combination_of_two(p: float) -> None:
    """On a saturated design (a mean per kind) whose share of treated is p within each kind, the regression of the
    imputed effects weighted by (a − p)² has exactly the solution p·τ_control + (1 − p)·τ_treated."""
    rng = np.random.default_rng(0)
    per_kind = 200
    kind = np.repeat(np.arange(3), per_kind)
    treated = np.tile(np.arange(per_kind) < round(p * per_kind), 3)
    y = rng.normal(size=kind.size) + kind * treated
    mu1, mu0 = rng.normal(size=3)[kind], rng.normal(size=3)[kind]
    imputed = scores.imputed_effect(y, treated, mu1, mu0)
    weight = scores.residual_weight(treated, np.full(kind.size, p))
    design = np.eye(3)[kind]
    one = np.linalg.lstsq(design * np.sqrt(weight)[:, None], imputed * np.sqrt(weight), rcond=None)[0]
    tau_treated = np.array([imputed[(kind == k) & treated].mean() for k in range(3)])
    tau_control = np.array([imputed[(kind == k) & ~treated].mean() for k in range(3)])
    np.testing.assert_allclose(one, scores.x_combination(tau_control, tau_treated, np.full(3, p)), rtol=1e-10)


def test_the_combination_trusts_the_model_of_the_smaller_arm_less() -> None:
    """With nearly all treated, τ_control rests on the well-known μ₁ and gets the weight p (Künzel et al., eq. 9)."""
    np.testing.assert_allclose(scores.x_combination(np.array([1.0]), np.array([0.0]), np.array([0.9])), [0.9])
