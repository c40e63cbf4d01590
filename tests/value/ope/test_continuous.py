"""Doses: against integrals, closed forms and plain loops (tests/peers has another package's numbers)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from persuadable.errors import ActionError, DataError, OutcomeError, ParameterError, PropensityError
from persuadable.spaces import Continuous
from persuadable.value.ope.continuous import (
    SHAPES,
    Kernel,
    choose_bandwidth,
    kernel_dr,
    kernel_ips,
    kernel_snips,
)
from persuadable.value.ope.intervals import interval_of
from persuadable.worlds import Doses

WORLD = Doses(upper=4.0, curvature=3.0)
# ∫ u² K(u) du of each kernel, from its definition.
SECOND_MOMENT = {"gaussian": 1.0, "epanechnikov": 1 / 5, "triangular": 1 / 6}


def value(found):
    return interval_of(found).value


def jitter(shape, tau, h, lower, upper):
    """(mean, variance) of the kernel around τ, cut off at the bounds, by another road than the estimator's."""
    density = {
        "gaussian": stats.norm(tau, h).pdf,
        "triangular": stats.triang(0.5, tau - h, 2 * h).pdf,
        "epanechnikov": stats.beta(2, 2, tau - h, 2 * h).pdf,
    }[shape]
    edges = sorted({lower, upper, *(c for c in (tau - h, tau, tau + h) if lower < c < upper)})

    def moment(power):
        return sum(quad(lambda t: t**power * density(t), a, b)[0] for a, b in pairwise(edges))

    moments = [moment(power) for power in (0, 1, 2)]
    mean = moments[1] / moments[0]
    return mean, moments[2] / moments[0] - mean**2


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tau", [0.0, 0.3, 2.0, 3.9, 4.0])
def test_the_mean_over_all_doses_is_the_value_of_the_jittered_policy(shape, tau) -> None:
    """For one person: ∫ e(t) w(t) μ(t) dt against the kernel's moments, at the bounds and inside."""
    x, h = 0.4, 0.7
    kernel = Kernel(h, shape, WORLD.space)
    edges = np.unique(np.clip([0, tau - h, tau, tau + h, 4], 0, 4))
    nodes, masses = np.polynomial.legendre.leggauss(60)
    t = np.concatenate([(b - a) / 2 * nodes + (a + b) / 2 for a, b in pairwise(edges)])
    mass = np.concatenate([(b - a) / 2 * masses for a, b in pairwise(edges)])
    who, there = np.full(t.shape, x), np.full(t.shape, tau)
    e, mu = WORLD.density(who, t), WORLD.mean(who, t)
    mean, variance = jitter(shape, tau, h, 0.0, 4.0)
    truth = 1 + x - 3.0 * ((mean - WORLD.best(x)) ** 2 + variance) / 16
    assert mass @ e == pytest.approx(1, abs=1e-10)
    args = t, there, e, kernel
    assert mass @ (e * kernel_ips(mu, *args).weighted) == pytest.approx(truth, abs=1e-7)
    snips = kernel_snips(mu, *args)
    assert mass @ (e * snips.weight) == pytest.approx(1, abs=1e-7)
    exact = kernel_dr(mu, *args, q_logged=mu, q_candidate=WORLD.mean(who, there))
    assert exact.value() == pytest.approx(WORLD.mean(x, tau))  # the right model leaves nothing to smooth
    off = kernel_dr(mu, *args, q_logged=mu - 0.5, q_candidate=WORLD.mean(who, there) - 0.5)
    assert mass @ (e * (off.direct + off.weighted)) == pytest.approx(WORLD.mean(x, tau), abs=1e-7)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_bias_is_of_the_second_order_inside(shape) -> None:
    """A parabola loses curvature · h² ∫ u² K(u) du / upper² exactly, whatever the dose."""
    wide = Doses(upper=100.0, curvature=3.0, noise=0.0, spread=10.0)
    t, mass = np.linspace(0, 100, 200_001), 100 / 200_000
    who, tau = np.full(t.shape, 0.5), np.full(t.shape, 40.0)
    for h in (2.0, 4.0):
        terms = kernel_ips(wide.mean(who, t), t, tau, wide.density(who, t), Kernel(h, shape, wide.space))
        bias = mass * (wide.density(who, t) @ terms.weighted) - wide.mean(0.5, 40.0)
        assert bias == pytest.approx(-3.0 * h**2 * SECOND_MOMENT[shape] / 100**2, rel=1e-4)


def test_agrees_with_plain_loops() -> None:
    log, h = WORLD.sample(50, 0), 0.9
    tau = WORLD.best(log.x) * 0.5
    kernel, q = Kernel(h, "triangular", WORLD.space), WORLD.mean(log.x, log.dose) * 0.8
    q_tau = WORLD.mean(log.x, tau) * 0.8
    top = below = residual = 0.0
    for i in range(50):
        cut = stats.triang(0.5, tau[i] - h, 2 * h)
        w = cut.pdf(log.dose[i]) / (cut.cdf(4.0) - cut.cdf(0.0)) / log.density[i]
        top, below, residual = top + w * log.outcome[i], below + w, residual + w * (log.outcome[i] - q[i])
    args = log.outcome, log.dose, tau, log.density, kernel
    assert value(kernel_ips(*args)) == pytest.approx(top / 50, rel=1e-12)
    assert value(kernel_snips(*args)) == pytest.approx(top / below, rel=1e-12)
    dr = kernel_dr(*args, q_logged=q, q_candidate=q_tau)
    assert value(dr) == pytest.approx(q_tau.mean() + residual / 50, rel=1e-12)
    sndr = kernel_dr(*args, q_logged=q, q_candidate=q_tau, self_normalised=True)
    assert value(sndr) == pytest.approx(q_tau.mean() + residual / below, rel=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("centre", [0.0, 0.2, 1.0])
def test_kernels_integrate_to_one_over_the_doses_there_are(shape, centre) -> None:
    for space in (Continuous(0.0, 1.0), Continuous(lower=0.0), Continuous()):
        kernel = Kernel(0.35, shape, space)
        lowest, highest = max(space.lower, -5.0), min(space.upper, 6.0)
        inside = sorted({lowest, highest, *(c for c in (centre - 0.35, centre, centre + 0.35) if lowest < c < highest)})
        total = sum(
            quad(lambda t, kernel=kernel: kernel.density([t], [centre])[0], a, b)[0] for a, b in pairwise(inside)
        )
        assert total == pytest.approx(1, abs=1e-7)


def test_a_wide_kernel_is_accepted_where_doses_matter_little_and_a_narrow_one_where_they_matter() -> None:
    bandwidths = np.geomspace(0.1, 3.2, 6)
    accepted = {}
    for curvature in (0.0, 3.0, 300.0):
        world = Doses(upper=4.0, curvature=curvature, noise=0.5)
        log = world.sample(4_000, 1)
        args = log.outcome, log.dose, world.best(log.x), log.density
        found = choose_bandwidth(lambda kernel, args=args: kernel_snips(*args, kernel), bandwidths, space=world.space)
        accepted[curvature] = found.accepted
        assert found.kernel == Kernel(found.accepted / 2, space=world.space)
        each = [interval_of(kernel_snips(*args, Kernel(h, space=world.space))) for h in bandwidths]
        frame = found.frame()
        assert frame.columns == ["bandwidth", "value", "stderr", "accepted"]
        np.testing.assert_array_equal(frame["bandwidth"], bandwidths)
        np.testing.assert_allclose(frame["value"], [e.value for e in each])
        np.testing.assert_allclose(frame["stderr"], [e.stderr for e in each])
        np.testing.assert_array_equal(frame["accepted"], bandwidths <= found.accepted)
    assert accepted[0.0] == pytest.approx(3.2)
    assert accepted[300.0] < accepted[3.0] < accepted[0.0]


def test_a_bandwidth_is_accepted_by_its_paired_differences_from_smaller_ones() -> None:
    """Four estimates made to order; z is 2.638 for 5% shared by 6 pairs, 2.128 for 20%.

    Neighbours differ with a standard error of 0.1, the third and the first with 0.2; what all share (sd 5) has no part
    in it. The third is put 3.5 standard errors from the second, or 2.5 and then near the first and the fourth.
    """
    shared = 5 * np.array([1.0, 1.0, -1.0, -1.0])
    own = np.array([1.0, -1.0, 1.0, -1.0])  # of four rounds: the standard error of s·own is s/√3

    def terms(third):
        levels = {1.0: (0.0, 0.0), 2.0: (0.15, 0.1), 4.0: (third, 0.2), 8.0: (0.05, 0.3)}

        def of(kernel):
            level, stderr = levels[kernel.bandwidth]
            zeros = np.zeros(4)
            outcome = level + shared + stderr * np.sqrt(3) * own
            return kernel_ips(outcome, zeros, zeros, kernel.density(zeros, zeros), kernel)

        return of

    tried = [8.0, 1.0, 4.0, 2.0]
    chosen = choose_bandwidth(terms(0.5), tried, undersmooth=1.0)
    assert (chosen.accepted, chosen.kernel) == (2.0, Kernel(2.0))
    np.testing.assert_allclose(chosen.values, [0, 0.15, 0.5, 0.05], atol=1e-12)
    assert choose_bandwidth(terms(-0.1), tried).accepted == 8.0
    assert choose_bandwidth(terms(-0.1), tried, alpha=0.2).accepted == 2.0
    assert choose_bandwidth(terms(0.5), [1.0]).accepted == 1.0


def test_clusters_and_row_weights_reach_the_choice() -> None:
    log = WORLD.sample(200, 3)
    args = np.repeat(log.outcome, 2), np.repeat(log.dose, 2), np.repeat(log.dose, 2) * 0.9, np.repeat(log.density, 2)

    def terms(kernel):
        return kernel_ips(*args, kernel)

    clusters = np.repeat(np.arange(200), 2)
    plain = choose_bandwidth(terms, [0.5, 1.0], space=WORLD.space)
    clustered = choose_bandwidth(terms, [0.5, 1.0], space=WORLD.space, clusters=clusters)
    np.testing.assert_allclose(clustered.stderrs, plain.stderrs * np.sqrt(2 * 399 / 398), rtol=1e-10)
    half = choose_bandwidth(terms, [0.5, 1.0], space=WORLD.space, weight=np.tile([1.0, 0.0], 200))
    np.testing.assert_allclose(half.values, plain.values)


@pytest.mark.parametrize("bandwidth", [0.0, -1.0, np.nan, np.inf])
def test_a_bandwidth_must_be_positive(bandwidth) -> None:
    with pytest.raises(ParameterError, match=r"bandwidth is .*positive number, in dose units"):
        Kernel(bandwidth)


def test_unknown_shapes_and_impossible_choices_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"shape is 'box'.*gaussian.*epanechnikov.*triangular"):
        Kernel(1.0, "box")
    for bandwidths in ([], [1.0, 1.0]):
        with pytest.raises(ParameterError, match="bandwidths are empty or repeat"):
            choose_bandwidth(lambda kernel: None, bandwidths)
    for part in (0.0, 1.5, np.nan):
        with pytest.raises(ParameterError, match=r"undersmooth is .*above 0 and at most 1"):
            choose_bandwidth(lambda kernel: None, [1.0], undersmooth=part)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"outcome": [1.0]}, OutcomeError, r"outcome has shape \(1,\), expected \(2,\)"),
        ({"outcome": [1.0, np.nan]}, OutcomeError, r"outcome holds nan \(row 1\)"),
        ({"doses": [0.5, 2.0]}, ActionError, r"doses holds 2\.0, which is no dose from 0 to 1 \(row 1\)"),
        ({"doses": [[0.5, 0.2]]}, ActionError, r"doses has shape \(1, 2\)"),
        ({"candidate": [-0.1, 0.0]}, ActionError, r"candidate holds -0\.1"),
        ({"candidate": [0.1]}, DataError, "2 doses for 1 of the candidate"),
        ({"density": [1.0]}, DataError, r"density has shape \(1,\)"),
        ({"density": [1.0, 0.0]}, PropensityError, r"density holds 0\.0 \(row 1\).*positive and finite"),
        ({"q_logged": [1.0]}, DataError, r"q_logged has shape \(1,\)"),
        ({"q_candidate": [1.0, np.inf]}, DataError, r"q_candidate holds inf"),
    ],
)
def test_bad_input_is_named(change, error, message) -> None:
    good = {
        "outcome": [1.0, 0.0],
        "doses": [0.1, 0.9],
        "candidate": [0.2, 0.8],
        "density": [1.0, 1.0],
        "q_logged": [0.5, 0.5],
        "q_candidate": [0.5, 0.5],
    }
    with pytest.raises(error, match=message):
        kernel_dr(**{**good, **change}, kernel=Kernel(0.2, space=Continuous(0, 1)))
