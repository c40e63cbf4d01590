"""The passes over all units under several prices, as machine code; imported by ``oracle`` when the first one is made.

Arrays shared by the kernels (:class:`persuadable.policies.allocation.oracle.Units` cuts them, m units at a time):

``value``     (m, A) incremental values, column 0 is doing nothing.
``cost``      (K, m, A) incremental costs, one layer per kind of cost.
``cell``      (m,) int32, the cell of each unit: the crossing of all groups, G of them.
``eligible``  (m, A), or (0, A) where everything is allowed.
``forced``    (m,) int16, the action a unit must get, −1 where it is free; or (0,) where all are.
``worth``     (G, A, F) what a unit of each feature is worth under the prices; the F = K + 2 features of a unit and an
              action are its value, its costs and 1, so that r_a = Σ_f worth[g, a, f]·φ_f.
``first``     (G + 1,) where the constraints that touch a cell begin in ``row`` and ``coefficient``.
``row``       number of a constraint.
``coefficient`` (·, A, F) what a unit of each feature uses of it: u_a = Σ_f coefficient[·, a, f]·φ_f.

An action other than nothing is open to a unit where it is eligible and its value is positive; a forced one is the only
one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

__all__ = ["reach", "settle", "soften", "tally"]

FAR = 36.0  # e^−36 is lost in the rounding of 1
NEAR = 20.0  # an action of a share under e^−20 is never rounded to

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Shorts = NDArray[np.int16]

UNITS = (
    types.float64[:, ::1],
    types.float64[:, :, ::1],
    types.int32[::1],
    types.boolean[:, ::1],
    types.int16[::1],
)
WORTH = types.float64[:, :, ::1]
ROWS = (types.int64[::1], types.int64[::1], types.float64[:, :, ::1])
VECTOR, MATRIX = types.float64[::1], types.float64[:, ::1]

inlined = njit(error_model="numpy")


def kernel(*signature: Any) -> Callable[[Any], Any]:
    """Compile at once, or read the machine code from numba's cache; without a folder to cache in, compile at once."""
    asked = types.void(*signature)

    def decorate(function: Any) -> Any:
        try:
            return njit(asked, nogil=True, error_model="numpy", cache=True)(function)
        except RuntimeError:  # numba found no folder it may write to
            return njit(asked, nogil=True, error_model="numpy")(function)

    return decorate


@inlined
def rate(value: Floats, cost: Floats, cell: Ints, eligible: Flags, forced: Shorts, worth: Floats) -> Floats:
    """(m, A) what each action is worth to each unit, −∞ where it is not open. The innermost loops have no branches."""
    m, n_actions = value.shape
    n_costs = cost.shape[0]
    r = np.empty((m, n_actions))
    for i in range(m):
        g = cell[i]
        for a in range(n_actions):
            r[i, a] = worth[g, a, 0] * value[i, a] + worth[g, a, n_costs + 1]
        for c in range(n_costs):
            for a in range(n_actions):
                r[i, a] += worth[g, a, c + 1] * cost[c, i, a]
        for a in range(1, n_actions):
            r[i, a] = r[i, a] if value[i, a] > 0.0 else -np.inf
    for i in range(eligible.shape[0]):
        for a in range(1, n_actions):
            r[i, a] = r[i, a] if eligible[i, a] else -np.inf
    for i in range(forced.size):
        if forced[i] >= 0:
            r[i] = -np.inf
            r[i, forced[i]] = (
                worth[cell[i], forced[i], n_costs + 1] + worth[cell[i], forced[i], 0] * value[i, forced[i]]
            )
            for c in range(n_costs):
                r[i, forced[i]] += worth[cell[i], forced[i], c + 1] * cost[c, i, forced[i]]
    return r


@inlined
def most_lines(first: Longs) -> int:
    """The most lines of constraints that any one cell uses."""
    longest = 0
    for g in range(first.size - 1):
        longest = max(longest, first[g + 1] - first[g])
    return longest


@kernel(*UNITS, WORTH, types.float64, *ROWS, WORTH, MATRIX, VECTOR, VECTOR)
def soften(
    value: Floats,
    cost: Floats,
    cell: Ints,
    eligible: Flags,
    forced: Shorts,
    worth: Floats,
    tau: float,
    first: Longs,
    row: Longs,
    coefficient: Floats,
    sums: Floats,
    curvature: Floats,
    drift: Floats,
    totals: Floats,
) -> None:
    """Give every unit shares p_a ∝ exp(r_a/τ) of its open actions; add up what that comes to.

    Adds to ``sums`` (G, A, F) Σ p φ, to the lower half of ``curvature`` (J, J) Σ Cov_p(u)/τ, to ``drift`` (J,)
    Σ Cov_p(r, u)/τ, and to ``totals`` (3,) Σ max r, Σ τ log Σ exp(r/τ) and Σ (max r − Σ p r).
    """
    n_actions, n_costs = value.shape[1], cost.shape[0]
    r, p = rate(value, cost, cell, eligible, forced, worth), np.empty(n_actions)
    longest = most_lines(first)
    used, mean = np.empty((n_actions, longest)), np.empty(longest)
    for i in range(value.shape[0]):
        g = cell[i]
        best, chosen = r[i, 0], 0
        for a in range(1, n_actions):
            if r[i, a] > best:
                best, chosen = r[i, a], a
        totals[0] += best
        near, mass = 0, 0.0
        for a in range(n_actions):
            near += best - r[i, a] < FAR * tau
        if near == 1:
            totals[1] += best
            sums[g, chosen, 0] += value[i, chosen]
            sums[g, chosen, n_costs + 1] += 1.0
            for c in range(n_costs):
                sums[g, chosen, c + 1] += cost[c, i, chosen]
            continue
        for a in range(n_actions):
            p[a] = 0.0
            if best - r[i, a] < FAR * tau:
                p[a] = np.exp((r[i, a] - best) / tau)
                mass += p[a]
        totals[1] += best + tau * np.log(mass)
        begin, end = first[g], first[g + 1]
        mean[:] = 0.0
        behind = 0.0
        for a in range(n_actions):
            if p[a] > 0.0:
                p[a] /= mass
                behind += p[a] * (best - r[i, a])
                sums[g, a, 0] += p[a] * value[i, a]
                sums[g, a, n_costs + 1] += p[a]
                for c in range(n_costs):
                    sums[g, a, c + 1] += p[a] * cost[c, i, a]
                for j in range(begin, end):
                    u = coefficient[j, a, 0] * value[i, a] + coefficient[j, a, n_costs + 1]
                    for c in range(n_costs):
                        u += coefficient[j, a, c + 1] * cost[c, i, a]
                    used[a, j - begin] = u
                    mean[j - begin] += p[a] * u
        totals[2] += behind
        for a in range(n_actions):
            if p[a] > 0.0:
                weight = p[a] / tau
                for j in range(end - begin):
                    off = weight * (used[a, j] - mean[j])
                    drift[row[begin + j]] += off * (r[i, a] - best + behind)
                    for k in range(j + 1):
                        curvature[row[begin + j], row[begin + k]] += off * (used[a, k] - mean[k])


@kernel(*UNITS, WORTH, types.float64, *ROWS, VECTOR, VECTOR, types.int16[::1], types.float32[::1])
def settle(
    value: Floats,
    cost: Floats,
    cell: Ints,
    eligible: Flags,
    forced: Shorts,
    worth: Floats,
    tau: float,
    first: Longs,
    row: Longs,
    coefficient: Floats,
    weight: Floats,
    astray: Floats,
    action: Shorts,
    margin: NDArray[np.float32],
) -> None:
    """Give every unit one action: its best; and where several are near, one that keeps the sums close to the shares'.

    ``astray`` (J,) is how far the constraints are used beyond what the shares p would; an action is taken that makes
    ½ Σ_j weight_j·astray_j² − log p_a least. ``margin`` (m,) is how much the second best is behind, infinite where
    there is no second.
    """
    n_actions, n_costs = value.shape[1], cost.shape[0]
    r, p = rate(value, cost, cell, eligible, forced, worth), np.empty(n_actions)
    longest = most_lines(first)
    used, mean = np.empty((n_actions, longest)), np.empty(longest)
    for i in range(value.shape[0]):
        g = cell[i]
        best, second, chosen = r[i, 0], -np.inf, 0
        for a in range(1, n_actions):
            if r[i, a] > best:
                best, second, chosen = r[i, a], best, a
            else:
                second = max(second, r[i, a])
        margin[i] = best - second
        if best - second < NEAR * tau:
            begin, end = first[g], first[g + 1]
            mass = 0.0
            for a in range(n_actions):
                p[a] = np.exp((r[i, a] - best) / tau) if best - r[i, a] < NEAR * tau else 0.0
                mass += p[a]
            mean[:] = 0.0
            for a in range(n_actions):
                if p[a] > 0.0:
                    for j in range(begin, end):
                        u = coefficient[j, a, 0] * value[i, a] + coefficient[j, a, n_costs + 1]
                        for c in range(n_costs):
                            u += coefficient[j, a, c + 1] * cost[c, i, a]
                        used[a, j - begin] = u
                        mean[j - begin] += p[a] / mass * u
            least = np.inf
            for a in range(n_actions):
                if p[a] > 0.0:
                    burden = -np.log(p[a])
                    for j in range(end - begin):
                        off = astray[row[begin + j]] + used[a, j] - mean[j]
                        burden += 0.5 * weight[row[begin + j]] * off * off
                    if burden < least:
                        least, chosen = burden, a
            for j in range(end - begin):
                astray[row[begin + j]] += used[chosen, j] - mean[j]
        action[i] = chosen


@kernel(*UNITS, *ROWS, MATRIX)
def reach(
    value: Floats,
    cost: Floats,
    cell: Ints,
    eligible: Flags,
    forced: Shorts,
    first: Longs,
    row: Longs,
    coefficient: Floats,
    ends: Floats,
) -> None:
    """Add to ``ends`` (4, J) the least and the most that each constraint can be used, Σ max u², and who can use it."""
    n_actions, n_costs = value.shape[1], cost.shape[0]
    r = rate(value, cost, cell, eligible, forced, np.zeros((first.size - 1, n_actions, n_costs + 2)))
    used = np.empty(n_actions)
    for i in range(value.shape[0]):
        for j in range(first[cell[i]], first[cell[i] + 1]):
            for a in range(n_actions):
                used[a] = coefficient[j, a, 0] * value[i, a] + coefficient[j, a, n_costs + 1]
            for c in range(n_costs):
                for a in range(n_actions):
                    used[a] += coefficient[j, a, c + 1] * cost[c, i, a]
            least, most = np.inf, -np.inf
            for a in range(n_actions):
                least = min(least, used[a] if r[i, a] == 0.0 else np.inf)
                most = max(most, used[a] if r[i, a] == 0.0 else -np.inf)
            ends[0, row[j]] += least
            ends[1, row[j]] += most
            ends[2, row[j]] += max(least * least, most * most)
            ends[3, row[j]] += least < 0.0 or most > 0.0


@kernel(*UNITS[:3], types.int16[::1], WORTH)
def tally(value: Floats, cost: Floats, cell: Ints, action: Shorts, sums: Floats) -> None:
    """Add to ``sums`` (G, A, F) the features of the actions given; a unit of action −1 is left out."""
    n_costs = cost.shape[0]
    for i in range(value.shape[0]):
        g, a = cell[i], action[i]
        if a >= 0:
            sums[g, a, 0] += value[i, a]
            sums[g, a, n_costs + 1] += 1.0
            for c in range(n_costs):
                sums[g, a, c + 1] += cost[c, i, a]
