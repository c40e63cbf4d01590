"""Record what obp's estimators say of fixed rounds: ``python tests/value/golden/make_obp.py``.

Needs obp's environment (``python -m persuadable.peers obp``). The rounds come from integer arithmetic, so they are the
same bits everywhere and need not be stored. tests/peers/test_obp.py compares ours with the record, and with obp itself
where its environment is there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FILE = Path(__file__).with_name("obp.json")
Array = NDArray[Any]
ROUNDS = ("reward", "action", "pscore", "action_dist", "estimated_rewards_by_reg_model")
DOSES = ("reward", "action_by_behavior_policy", "pscore", "action_by_evaluation_policy")
SLATE = ("slate_id", "reward", "position")


def uniforms(seed: int, *shape: int) -> Array:
    """Numbers in [0, 1) by SplitMix64: exact on every machine and in every version of NumPy."""
    x = (np.arange(int(np.prod(shape)), dtype=np.uint64) + np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (((x ^ (x >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) / 2.0**53).reshape(shape)


def distribution(u: Array, sharpness: int) -> Array:
    """Probabilities along the last axis: powers of uniform numbers, normalised; multiplication is exact everywhere."""
    p = u + 0.05
    for _ in range(sharpness):
        p = p * p
    return np.asarray(p / p.sum(axis=-1, keepdims=True))


def drawn(p: Array, u: Array) -> Array:
    """Codes drawn from probabilities along the last axis by uniform numbers."""
    return np.asarray((p.cumsum(axis=-1) < u[..., None] * p.sum(axis=-1, keepdims=True)).sum(axis=-1))


class Rounds(NamedTuple):
    """n rounds among A actions: what was done and came of it, π_b (n, A), π (n, A), q̂ (n, A)."""

    action: Array
    outcome: Array
    logged: Array
    candidate: Array
    q_hat: Array


def rounds(case: str) -> Rounds:
    """The rounds of a case of ``ROUND_CASES``."""
    n, actions, logged_sharpness, sharpness, seed = ROUND_CASES[case]
    quality = uniforms(seed, n, actions)
    logged = distribution(uniforms(seed + 10**6, n, actions), logged_sharpness)
    candidate = distribution(uniforms(seed + 2 * 10**6, n, actions), sharpness)
    if case == "deterministic":
        candidate = np.eye(actions)[candidate.argmax(axis=1)]
    action = drawn(logged, uniforms(seed + 3 * 10**6, n))
    success = (uniforms(seed + 4 * 10**6, n) < 0.8 * np.take_along_axis(quality, action[:, None], 1)[:, 0]).astype(
        float
    )
    amount = np.floor(1000 * uniforms(seed + 5 * 10**6, n)) / 8 if case == "money" else np.ones(n)
    q_hat = 0.5 * quality + 0.3 * uniforms(seed + 6 * 10**6, n, actions)
    return Rounds(action, success * amount, logged, candidate, q_hat * (50 if case == "money" else 1))


ROUND_CASES = {  # rounds, actions, how peaked the logged policy and the candidate are (powers of 2), seed
    "two actions": (400, 2, 0, 1, 1_000),
    "deterministic": (500, 5, 0, 1, 2_000),
    "money": (600, 4, 1, 1, 3_000),
    "heavy weights": (800, 12, 2, 3, 4_000),
}
#: Our estimator, with its parameters → obp's class, with its own.
ROUND_ESTIMATORS: dict[str, tuple[str, dict[str, float]]] = {
    "dm": ("DirectMethod", {}),
    "ips": ("InverseProbabilityWeighting", {}),
    "ips(clip=3)": ("InverseProbabilityWeighting", {"lambda_": 3.0}),
    "snips": ("SelfNormalizedInverseProbabilityWeighting", {}),
    "dr": ("DoublyRobust", {}),
    "dr(clip=3)": ("DoublyRobust", {"lambda_": 3.0}),
    "sndr": ("SelfNormalizedDoublyRobust", {}),
    "switch-dr(tau=2)": ("SwitchDoublyRobust", {"lambda_": 2.0}),
    "switch-dr(tau=0)": ("SwitchDoublyRobust", {"lambda_": 0.0}),
    "dros(lam=4)": ("DoublyRobustWithShrinkage", {"lambda_": 4.0}),
    "dros(lam=inf)": ("DoublyRobustWithShrinkage", {"lambda_": float("inf")}),
}


class Slates(NamedTuple):
    """n slates of K positions: items (n, K), rewards (n, K); π_b and π (n, K, A) of each position, given those above.

    Items are drawn with replacement and the probabilities of a position do not depend on the items above it, so that
    the marginal probability of an item and that given the items above it are the same.
    """

    items: Array
    rewards: Array
    logged: Array
    candidate: Array
    q_hat: Array


def slates() -> Slates:
    """300 slates of 3 positions among 4 items."""
    n, k, items, seed = 300, 3, 4, 50_000
    logged = distribution(uniforms(seed, n, k, items), 0)
    candidate = distribution(uniforms(seed + 10**6, n, k, items), 1)
    shown = drawn(logged, uniforms(seed + 2 * 10**6, n, k))
    rewards = np.floor(8 * uniforms(seed + 3 * 10**6, n, k)) / 8 * (shown + 1)
    return Slates(shown, rewards, logged, candidate, 3 * uniforms(seed + 4 * 10**6, n, k, items))


#: Name → obp's class, the probabilities it weighs by.
SLATE_ESTIMATORS = {
    "standard": ("SlateStandardIPS", ""),
    "standard, normalised": ("SelfNormalizedSlateStandardIPS", ""),
    "independent": ("SlateIndependentIPS", "_item_position"),
    "independent, normalised": ("SelfNormalizedSlateIndependentIPS", "_item_position"),
    "interaction": ("SlateRewardInteractionIPS", "_cascade"),
    "interaction, normalised": ("SelfNormalizedSlateRewardInteractionIPS", "_cascade"),
    "cascade-dr": ("SlateCascadeDoublyRobust", "_cascade"),
}


class Doses(NamedTuple):
    """n rounds of a dose: doses and the candidate's (n,), the density they were drawn with, outcome, q̂(x, τ)."""

    dose: Array
    density: Array
    candidate: Array
    outcome: Array
    q_hat: Array


def doses() -> Doses:
    """500 doses drawn uniformly from intervals of different lengths."""
    n, seed = 500, 90_000
    low, length = uniforms(seed, n), 1 + uniforms(seed + 10**6, n)
    dose = low + length * uniforms(seed + 2 * 10**6, n)
    candidate = low + length * (0.3 + 0.4 * uniforms(seed + 3 * 10**6, n))
    outcome = dose * (3 - dose) + uniforms(seed + 4 * 10**6, n)
    return Doses(dose, 1 / length, candidate, outcome, candidate * (3 - candidate) + 0.25)


DOSE_ESTIMATORS = {
    "ips": "KernelizedInverseProbabilityWeighting",
    "snips": "KernelizedSelfNormalizedInverseProbabilityWeighting",
    "dr": "KernelizedDoublyRobust",
}
KERNELS = ("gaussian", "epanechnikov", "triangular")
BANDWIDTH = 0.25


def asked() -> tuple[dict[str, Array], dict[str, dict[str, Any]]]:
    """The arrays and, by name, the questions for ``peers/obp_estimates.py``."""
    arrays: dict[str, Array] = {}
    questions: dict[str, dict[str, Any]] = {}
    for case in ROUND_CASES:
        one = rounds(case)
        pscore = np.take_along_axis(one.logged, one.action[:, None], 1)[:, 0]
        values = (one.outcome, one.action, pscore, one.candidate[:, :, None], one.q_hat[:, :, None])
        arrays |= {f"{case}: {argument}": value for argument, value in zip(ROUNDS, values, strict=True)}
        told = {argument: f"{case}: {argument}" for argument in ROUNDS}
        for name, (kind, parameters) in ROUND_ESTIMATORS.items():
            questions[f"{case}: {name}"] = {"class": kind, "parameters": parameters, "arguments": told}
    arrays |= _slate_arrays()
    for name, (kind, suffix) in SLATE_ESTIMATORS.items():
        arguments = (*SLATE, f"pscore{suffix}", f"evaluation_policy_pscore{suffix}")
        parameters = {"len_list": 3}
        if name == "cascade-dr":
            arguments = (*arguments, "action", "q_hat", "evaluation_policy_action_dist")
            parameters |= {"n_unique_action": 4}
        told = {argument: f"slates: {argument}" for argument in arguments}
        questions[f"slates: {name}"] = {"class": kind, "parameters": parameters, "arguments": told}
    dose = doses()
    columns = (dose.outcome, dose.dose, dose.density, dose.candidate)
    arrays |= {f"doses: {argument}": value for argument, value in zip(DOSES, columns, strict=True)}
    arrays["doses: estimated_rewards_by_reg_model"] = dose.q_hat
    for name, kind in DOSE_ESTIMATORS.items():
        told = {argument: f"doses: {argument}" for argument in DOSES}
        if name == "dr":
            told["estimated_rewards_by_reg_model"] = "doses: estimated_rewards_by_reg_model"
        for kernel in KERNELS:
            parameters = {"kernel": kernel, "bandwidth": BANDWIDTH}  # type: ignore[dict-item]
            questions[f"doses: {name}, {kernel}"] = {"class": kind, "parameters": parameters, "arguments": told}
    return arrays, questions


def _slate_arrays() -> dict[str, Array]:
    """The slates in obp's layout: a row per slate and position."""
    one = slates()
    n, k = one.items.shape
    told: dict[str, Array] = {
        "slate_id": np.repeat(np.arange(n), k),
        "position": np.tile(np.arange(k), n),
        "reward": one.rewards.ravel(),
        "action": one.items.ravel(),
        "q_hat": one.q_hat.ravel(),
        "evaluation_policy_action_dist": one.candidate.ravel(),
    }
    for who, table in (("pscore", one.logged), ("evaluation_policy_pscore", one.candidate)):
        here = np.take_along_axis(table, one.items[:, :, None], 2)[:, :, 0]
        above = here.cumprod(axis=1)
        told |= {f"{who}_item_position": here.ravel(), f"{who}_cascade": above.ravel()}
        told[who] = np.repeat(above[:, -1], k)
    return {f"slates: {name}": value for name, value in told.items()}


def answered() -> tuple[dict[str, float], str]:
    """obp's value of every question, and its version.

    Raises:
        MissingDependency: obp has no environment.
    """
    from persuadable import peers

    arrays, questions = asked()
    script = Path(peers.__file__).with_name("obp_estimates.py")
    answer = peers.call("obp", script, arrays, {"estimators": list(questions.values())}, threads=1)
    return dict(zip(questions, answer["value"].tolist(), strict=True)), str(answer["version"])


def main() -> None:
    """Ask obp and write down what it says."""
    values, version = answered()
    told = {"obp": version, "made_by": "tests/value/golden/make_obp.py", "values": values}
    FILE.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
