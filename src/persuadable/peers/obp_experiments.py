"""Runs in obp's environment: the two experiments whose results its authors publish, repeated by their recipes.

``python -I obp_experiments.py given.npz answer.npz``, see ``persuadable.peers.run``. Settings: ``experiment`` ("digits"
or "open-bandit"), ``runs``, ``simulations`` (draws of the Thompson sampler), ``importer`` (path of obp_estimates.py).

Digits: images of ten digits are split; a logistic regression learned from 30% is what logged (with probability 0.4,
else an action at random), a random forest the candidate (0.9), and the label says what other actions would have earned.

Open Bandit: from bootstraps of the 10,000 rows of the uniform policy the Thompson sampler is evaluated, and its own
10,000 rows say what it earned. Its probabilities come from simulating it.

Seeds, splits and sizes are the published ones; the models' settings are those of the configuration file beside obp's
synthetic example, which these experiments seem to share.

Answered, for runs r of n rounds: truth (r,), estimates (r, 7) of ``NAMES``, chosen (r, 2) parameters of the last two,
action, reward and pscore (r, n), q_hat (r, n, A), candidate (m, A) and which (r, n) of its rows holds in a round.
"""

from __future__ import annotations

import json
import runpy
import sys
import warnings
from importlib import import_module, metadata
from typing import Any

import numpy as np

NAMES = ("dm", "ips", "snips", "dr", "sndr", "switch-dr", "dros")
SEED = 12345
CANDIDATES = [10, 50, 100, 500, 1000, 5000, 10000, np.inf]
LOGISTIC = {"max_iter": 10000, "C": 100, "random_state": SEED}
TREES = {"n_estimators": 30, "max_depth": 5, "min_samples_leaf": 10, "random_state": SEED}


def estimated(obp: Any, feedback: Any, candidate: Any, q_hat: Any) -> tuple[list[float], list[float]]:
    """What each of ``NAMES`` says, the last two tuned anew on these rounds, and what they were tuned to."""
    ope = obp.ope
    plain = [
        ope.DirectMethod(),
        ope.InverseProbabilityWeighting(),
        ope.SelfNormalizedInverseProbabilityWeighting(),
        ope.DoublyRobust(),
        ope.SelfNormalizedDoublyRobust(),
    ]
    tuned = [ope.SwitchDoublyRobustTuning(lambdas=CANDIDATES), ope.DoublyRobustWithShrinkageTuning(lambdas=CANDIDATES)]
    together = ope.OffPolicyEvaluation(bandit_feedback=feedback, ope_estimators=[*plain, *tuned])
    values = together.estimate_policy_values(action_dist=candidate, estimated_rewards_by_reg_model=q_hat)
    return [float(v) for v in values.values()], [float(one.best_hyperparam) for one in tuned]


def digits(obp: Any, runs: int) -> dict[str, Any]:
    """Multi-class classification as a bandit's log."""
    linear, ensemble = import_module("sklearn.linear_model"), import_module("sklearn.ensemble")
    images, labels = import_module("sklearn.datasets").load_digits(return_X_y=True)
    logging = linear.LogisticRegression(**LOGISTIC)
    data = obp.dataset.MultiClassToBanditReduction(X=images, y=labels, base_classifier_b=logging, alpha_b=0.4)
    found: dict[str, list[Any]] = {}
    for run in range(runs):
        data.split_train_eval(eval_size=0.7, random_state=run)
        feedback = data.obtain_batch_bandit_feedback(random_state=run)
        forest = ensemble.RandomForestClassifier(**TREES)
        candidate = data.obtain_action_dist_by_eval_policy(base_classifier_e=forest, alpha_e=0.9)
        model = obp.ope.RegressionModel(
            n_actions=data.n_actions, base_model=ensemble.GradientBoostingClassifier(learning_rate=0.01, **TREES)
        )
        told = {name: feedback[name] for name in ("context", "action", "reward")}
        q_hat = model.fit_predict(**told, n_folds=3, random_state=SEED)
        truth = float(data.calc_ground_truth_policy_value(action_dist=candidate))
        _keep(found, obp, feedback, candidate, q_hat, truth)
        found.setdefault("candidate", []).append(candidate[:, :, 0])
        found.setdefault("which", []).append(np.arange(len(candidate)) + run * len(candidate))
    return {**found, "candidate": np.concatenate(found["candidate"])}


def open_bandit(obp: Any, runs: int, simulations: int) -> dict[str, Any]:
    """The Thompson sampler of the campaign "all", evaluated on the uniform policy's rows."""
    linear = import_module("sklearn.linear_model")
    data = obp.dataset.OpenBanditDataset(behavior_policy="random", campaign="all")
    sampler = obp.policy.BernoulliTS(
        n_actions=data.n_actions, len_list=data.len_list, random_state=SEED, is_zozotown_prior=True, campaign="all"
    )
    one = sampler.compute_batch_action_dist(n_sim=simulations)
    truth = float(data.calc_on_policy_policy_value_estimate(behavior_policy="bts", campaign="all"))
    found: dict[str, list[Any]] = {}
    for run in range(runs):
        feedback = data.sample_bootstrap_bandit_feedback(random_state=run)
        model = obp.ope.RegressionModel(
            n_actions=data.n_actions,
            len_list=data.len_list,
            action_context=data.action_context,
            base_model=linear.LogisticRegression(**LOGISTIC),
        )
        told = {name: feedback[name] for name in ("context", "action", "reward", "position", "pscore")}
        q_hat = model.fit_predict(**told, n_folds=3, random_state=SEED)
        _keep(found, obp, feedback, np.tile(one, (feedback["n_rounds"], 1, 1)), q_hat, truth)
        found.setdefault("which", []).append(feedback["position"])
    return {**found, "candidate": one[0].T}


def _keep(found: dict[str, list[Any]], obp: Any, feedback: Any, candidate: Any, q_hat: Any, truth: float) -> None:
    """Add a run: the inputs as they stand at each round's position, and what obp makes of them."""
    values, chosen = estimated(obp, feedback, candidate, q_hat)
    position = feedback["position"]
    at = np.zeros(len(q_hat), dtype=int) if position is None else position
    kept = {name: feedback[name] for name in ("action", "reward", "pscore")}
    kept |= {"truth": truth, "estimates": values, "chosen": chosen, "q_hat": q_hat[np.arange(len(q_hat)), :, at]}
    for name, value in kept.items():
        found.setdefault(name, []).append(value)


def main(given: str, answer: str) -> None:
    """Repeat the experiment asked for."""
    warnings.simplefilter("ignore")
    settings = json.loads(str(np.load(given)["settings"]))
    obp = runpy.run_path(settings["importer"])["import_obp"]()
    if settings["experiment"] == "digits":
        found = digits(obp, settings["runs"])
    else:
        found = open_bandit(obp, settings["runs"], settings["simulations"])
    arrays: dict[str, Any] = {name: np.asarray(values) for name, values in found.items()}
    np.savez(answer, **arrays, version=np.array(metadata.version("sb-obp")))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
