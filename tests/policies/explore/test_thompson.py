"""How likely each action is the best: against closed forms and other people's integration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm

from persuadable.errors import ActionError, NotFittedError
from persuadable.policies import BudgetPolicy
from persuadable.policies.explore import Thompson, best_probabilities


def test_one_treatment_is_a_normal_probability():
    # P(N(0.5, 0.25²) > 0) = Φ(2), and against a bar of 1: Φ(−2).
    assert best_probabilities([[0.5]], [[0.25]])[0] == pytest.approx([0.02275013194817921, 0.9772498680518208])
    assert best_probabilities([[0.5]], [[0.25]], 1.0)[0] == pytest.approx([0.9772498680518208, 0.02275013194817921])
    assert best_probabilities([[-10.0]], [[0.25]])[0, 1] == pytest.approx(norm.sf(40.0), rel=1e-9), "the tail is kept"


def test_two_treatments_are_a_bivariate_normal_probability():
    """P(V₁ > λ, V₁ > V₂), V₁ and V₁ − V₂ correlated by s₁/√(s₁² + s₂²), with spreads from 0.0001 to 100."""
    rng = np.random.default_rng(0)
    m, s = rng.normal(size=(60, 2)), 10.0 ** rng.uniform(-4, 2, size=(60, 2))
    p = best_probabilities(m, s, 0.1)
    assert p.sum(axis=1) == pytest.approx(np.ones(60), abs=1e-14)
    assert p[:, 0] == pytest.approx(norm.cdf((0.1 - m) / s).prod(axis=1), abs=1e-14)
    for i in range(60):
        apart = math.hypot(*s[i])
        z = [(m[i, 0] - 0.1) / s[i, 0], (m[i, 0] - m[i, 1]) / apart]
        r = s[i, 0] / apart
        assert p[i, 1] == pytest.approx(
            multivariate_normal.cdf(z, cov=[[1, r], [r, 1]], allow_singular=True), abs=1e-12
        )


@pytest.mark.parametrize("k", [3, 5])
def test_several_treatments_by_adaptive_integration(k):
    rng = np.random.default_rng(k)
    m, s = rng.normal(size=(4, k)), 10.0 ** rng.uniform(-1, 0.5, size=(4, k))
    p = best_probabilities(m, s)
    for i in range(4):
        for a in range(k):
            others = [b for b in range(k) if b != a]

            def density(x, i=i, a=a, others=others):
                return norm.pdf(x, m[i, a], s[i, a]) * norm.cdf(x, m[i, others], s[i, others]).prod()

            top = max(m[i].max() + 9 * s[i].max(), 1.0)
            bends = sorted({float(b) for b in [*m[i], *(m[i] + s[i]), *(m[i] - s[i])] if 0 < b < top})
            wanted, _ = quad(density, 0.0, top, points=bends or None, epsabs=1e-12, epsrel=1e-12, limit=400)
            assert p[i, a + 1] == pytest.approx(wanted, abs=1e-10)


def test_a_bar_that_is_rarely_exceeded():
    """Both exceed 0 with about 0.0003; that the other is higher still matters in the fourth digit of each."""
    p = best_probabilities([[-3.5, -3.4]], [[1.0, 1.0]])[0]
    r = math.sqrt(0.5)
    wanted = multivariate_normal.cdf([-3.5, -0.1 * r], cov=[[1, r], [r, 1]], abseps=1e-15)
    assert p[1] == pytest.approx(wanted, rel=1e-7)


def test_equal_treatments_share_equally():
    p = best_probabilities(np.full((1, 4), 0.3), np.full((1, 4), 0.7))[0]
    assert p[1:] == pytest.approx(np.full(4, (1 - p[0]) / 4), abs=1e-14)


def test_what_may_not_be_given_has_no_chance():
    p = best_probabilities([[0.2, -math.inf, 0.4]], [[1.0, 1.0, 2.0]])[0]
    assert p[2] == 0
    assert p[[0, 1, 3]] == pytest.approx(best_probabilities([[0.2, 0.4]], [[1.0, 2.0]])[0], abs=1e-14)
    assert best_probabilities([[-math.inf, -math.inf]], [[1.0, 1.0]]).tolist() == [[1.0, 0.0, 0.0]]


def test_treatments_without_spread_are_known_numbers():
    assert best_probabilities([[0.2], [0.0], [-0.1]], np.zeros((3, 1))).tolist() == [[0, 1], [1, 0], [1, 0]]
    # The better known one takes the bar's place: an uncertain one beats it with P(N(0, 1) > 0.5).
    p = best_probabilities([[0.5, 0.3, 0.0]], [[0.0, 0.0, 1.0]])[0]
    assert p == pytest.approx([0.0, norm.cdf(0.5), 0.0, norm.sf(0.5)])
    assert best_probabilities([[0.4, 0.4]], np.zeros((1, 2))).tolist() == [[0, 1, 0]], "ties go to the first"
    nearly = best_probabilities([[0.5, 0.0]], [[1e-9, 1.0]])[0]
    # 0.5 is rounded at 1e-16, a ten-millionth of the spread.
    assert nearly == pytest.approx([0.0, norm.cdf(0.5), norm.sf(0.5)], abs=1e-8)


def test_where_all_but_nothing_exceeds_the_bar_the_tails_decide():
    p = best_probabilities([[-8.0, -8.0]], [[1.0, 0.999]])[0]
    assert p[0] == pytest.approx(1.0 - 2 * norm.sf(8.0), abs=1e-16)
    assert p[1] / p[2] == pytest.approx(norm.sf(8.0) / norm.sf(8.0 / 0.999), rel=1e-6)
    assert best_probabilities([[1.0, 2.0]], [[1.0, 1.0]], math.inf).tolist() == [[1.0, 0.0, 0.0]]


def test_blocks_do_not_matter():
    rng = np.random.default_rng(1)
    m, s = rng.normal(size=(9_000, 2)), rng.uniform(0.1, 1.0, size=(9_000, 2))
    whole = best_probabilities(m, s)
    assert whole[[0, 4_000, 8_999]].tolist() == best_probabilities(m[[0, 4_000, 8_999]], s[[0, 4_000, 8_999]]).tolist()


def test_the_policy_takes_the_spread_of_the_refits(told):
    x = np.array([[0.3], [-0.3], [0.0]])
    # Refits at ±0.25 around the effect have a standard deviation of 0.25·√2.
    p = Thompson(told(apart=0.5), floor=0.0).probabilities(x, 2)
    assert p[:, 1] == pytest.approx(norm.cdf(x[:, 0] / (0.25 * math.sqrt(2))))
    floored = Thompson(told(apart=0.01), floor=0.1).probabilities(x, 2)
    assert floored[:2] == pytest.approx(np.array([[0.1, 0.9], [0.9, 0.1]]))


def test_effect_and_cost_of_one_half_sample_move_together(told):
    """Here both refits are off by the same in effect and cost, so the net effect is known exactly: x − |x|/2."""
    p = Thompson(told(), floor=0.0, cost="cost").probabilities([[1.0], [-1.0]], 2)
    assert p.tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_eligibility_and_break_even_count(told):
    x = np.array([[0.4, 0.6]])
    p = Thompson(told(2), floor=0.05, break_even={"offer 2": 10.0}).probabilities(x, 3)[0]
    assert p[2] == pytest.approx(0.05)
    p = Thompson(told(2), floor=0.01).probabilities(x, 3, [[True, False, True]])[0]
    assert p[1] == 0
    assert p[2] == pytest.approx(norm.cdf(0.6 / (0.25 * math.sqrt(2))))


def test_what_it_needs_is_said(told):
    with pytest.raises(ActionError, match="2 actions, the log has 3"):
        Thompson(told()).probabilities([[0.1]], 3)
    learner = told()
    learner.fitted_on = None
    with pytest.raises(NotFittedError, match="Told is not fitted"):
        Thompson(learner).probabilities([[0.1]], 2)


def test_without_doubt_it_is_the_greedy_policy(told):
    x = np.random.default_rng(0).normal(size=(200, 2))
    sure = Thompson(told(2, apart=0.0), floor=0.0).probabilities(x, 3)
    greedy = BudgetPolicy(told(2), share=1.0)
    scored = greedy.scored(x, 3)
    assert (sure.argmax(axis=1) == np.where(scored.score > 0, scored.action, 0)).all()
    assert set(sure.ravel()) == {0.0, 1.0}
