"""The learners that compete: ours, their namesakes elsewhere, and one bare fit as the floor.

Each entry imports its package and returns a function that fits from ``{"X", "w", "y", "p"}`` and returns a
function that predicts the effect, (n,). All run the same boosted trees with the same settings; what differs is
what each package does around them. Packages are imported by name so that none is a dependency, and so that this file
can be read in every environment.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

Settings = dict[str, Any]
Predict = Callable[[Any], Any]
Work = Callable[[dict[str, Any]], Predict]


def parameters(s: Settings) -> Settings:
    """The ensembles' settings under the names of XGBoost's scikit-learn interface."""
    return {
        "n_estimators": s["trees"],
        "max_depth": s["depth"],
        "learning_rate": s["rate"],
        "n_jobs": s["threads"],
        "random_state": s["seed"],
        "tree_method": "hist",
    }


def regressor(s: Settings) -> Any:
    """A regressor by squared error."""
    return import_module("xgboost").XGBRegressor(**parameters(s))


def classifier(s: Settings) -> Any:
    """A classifier by log loss."""
    return import_module("xgboost").XGBClassifier(**parameters(s))


def outcome_model(s: Settings) -> Any:
    """What a user takes for the outcome: a classifier for a binary one, a regressor for a number."""
    return classifier(s) if s["binary"] else regressor(s)


def bare(s: Settings) -> Work:
    """One ensemble of the outcome on all rows, through XGBoost's own interface: the least there is to do."""
    xgb = import_module("xgboost")
    names = {"max_depth": s["depth"], "eta": s["rate"], "nthread": s["threads"], "seed": s["seed"]}
    loss = "binary:logistic" if s["binary"] else "reg:squarederror"

    def fit(a: dict[str, Any]) -> Predict:
        matrix = xgb.QuantileDMatrix(a["X"], a["y"], nthread=s["threads"])
        model = xgb.train({**names, "objective": loss, "tree_method": "hist"}, matrix, s["trees"])
        return lambda X: model.inplace_predict(X)

    return fit


def ours(*learners: str, **options: Any) -> Callable[[Settings], Work]:
    """One learner of ours, or several that share what they can; from arrays, validation included."""

    def make(s: Settings) -> Work:
        ps = import_module("persuadable")
        engine = import_module("persuadable.engine")
        trees = engine.Trees(n_trees=s["trees"], max_depth=s["depth"], learning_rate=s["rate"])
        common = {"trees": trees, "n_folds": s["folds"], "random_state": s["seed"], **options}
        import_module("xgboost")

        def fit(a: dict[str, Any]) -> Predict:
            machine = engine.LocalEngine(threads=s["threads"])
            entrants = [getattr(ps.effects, name)(engine=machine, **common) for name in learners]
            log = ps.DecisionLog.from_arrays(a["X"], a["w"], a["y"], propensity=float(a["p"][0]))
            ps.effects.fit_many(entrants, log)
            return lambda X: np.stack([learner.effect(X)[:, 1] for learner in entrants], axis=-1).squeeze()

        return fit

    return make


def econml(kind: str) -> Callable[[Settings], Work]:
    """econml's estimators; nuisances by cross-fitting, the propensity estimated as by default."""

    def make(s: Settings) -> Work:
        def double_ml() -> Any:
            return import_module("econml.dml").NonParamDML(
                model_y=outcome_model(s),
                model_t=classifier(s),
                model_final=regressor(s),
                discrete_treatment=True,
                discrete_outcome=s["binary"],
                cv=s["folds"],
                random_state=s["seed"],
            )

        def doubly_robust() -> Any:
            return import_module("econml.dr").DRLearner(
                model_propensity=classifier(s),
                model_regression=outcome_model(s),
                model_final=regressor(s),
                discrete_outcome=s["binary"],
                cv=s["folds"],
                random_state=s["seed"],
            )

        def meta(name: str, **models: Any) -> Any:
            return getattr(import_module("econml.metalearners"), name)(**models)

        estimators: dict[str, Callable[[], Any]] = {
            "NonParamDML": double_ml,
            "DRLearner": doubly_robust,
            "SLearner": lambda: meta("SLearner", overall_model=regressor(s)),
            "TLearner": lambda: meta("TLearner", models=regressor(s)),
            "XLearner": lambda: meta("XLearner", models=regressor(s), propensity_model=classifier(s)),
        }
        estimators[kind]()

        def fit(a: dict[str, Any]) -> Predict:
            model = estimators[kind]().fit(a["y"], a["w"], X=a["X"])
            return lambda X: np.ravel(model.effect(X))

        return fit

    return make


def metalearners(kind: str) -> Callable[[Settings], Work]:
    """metalearners' estimators, all cross-fitted; for a binary outcome they ask for a classifier."""

    def make(s: Settings) -> Work:
        package = import_module("metalearners")
        xgb = import_module("xgboost")
        options: Settings = {
            "is_classification": s["binary"],
            "n_variants": 2,
            "n_folds": s["folds"],
            "random_state": s["seed"],
            "nuisance_model_factory": xgb.XGBClassifier if s["binary"] else xgb.XGBRegressor,
            "nuisance_model_params": parameters(s),
        }
        if kind not in ("SLearner", "TLearner"):
            options["propensity_model_factory"] = xgb.XGBClassifier
            options["propensity_model_params"] = parameters(s)
            options["treatment_model_factory"] = xgb.XGBRegressor
            options["treatment_model_params"] = parameters(s)

        def fit(a: dict[str, Any]) -> Predict:
            model = getattr(package, kind)(**options)
            model.fit(a["X"], a["y"], a["w"])
            return lambda X: model.predict(X, is_oos=True, oos_method="overall")[:, 0, -1]

        return fit

    return make


def causalml(kind: str, *, given: bool) -> Callable[[Settings], Work]:
    """causalml's estimators, with the propensity given or (its default) by elastic-net logistic regression."""

    def make(s: Settings) -> Work:
        meta = import_module("causalml.inference.meta")
        final, family = regressor(s), "Classifier" if s["binary"] else "Regressor"
        options: Settings = {"learner": regressor(s)}
        if s["binary"]:
            two = {"outcome_learner": classifier(s), "effect_learner": final}
            arms = ("control_outcome_learner", "treatment_outcome_learner")
            by_arm: Settings = {**{arm: classifier(s) for arm in arms}, "treatment_effect_learner": final}
            options = {"X": two, "R": two, "DR": by_arm}.get(kind, {"learner": classifier(s)})
        if kind == "R":
            options = {**options, "n_fold": s["folds"], "random_state": s["seed"]}

        def fit(a: dict[str, Any]) -> Predict:
            model = getattr(meta, f"Base{kind}{family}")(**options)
            # It asks joblib for a process per core, whose work no one could count; one after the other instead.
            with import_module("joblib").parallel_config(backend="sequential"):
                model.fit(a["X"], a["w"], a["y"], p=a["p"] if given else None)
            return lambda X: np.ravel(model.predict(X, p=np.full(len(X), a["p"][0]) if given else None))

        return fit

    return make


LEARNERS: dict[str, Callable[[Settings], Work]] = {
    "bare fit": bare,
    "ours S": ours("SLearner"),
    "ours T": ours("TLearner"),
    "ours X, one model": ours("XLearner", form="one-model"),
    "ours X, two models": ours("XLearner", form="two-model"),
    "ours R": ours("RLearner"),
    "ours DR": ours("DRLearner"),
    "ours R + DR + X": ours("RLearner", "DRLearner", "XLearner"),
    "econml S": econml("SLearner"),
    "econml T": econml("TLearner"),
    "econml X": econml("XLearner"),
    "econml NonParamDML": econml("NonParamDML"),
    "econml DR": econml("DRLearner"),
    "metalearners S": metalearners("SLearner"),
    "metalearners T": metalearners("TLearner"),
    "metalearners X": metalearners("XLearner"),
    "metalearners R": metalearners("RLearner"),
    "metalearners DR": metalearners("DRLearner"),
    "causalml S": causalml("S", given=False),
    "causalml T": causalml("T", given=False),
    "causalml X": causalml("X", given=False),
    "causalml X, p given": causalml("X", given=True),
    "causalml R, p given": causalml("R", given=True),
    "causalml DR, p given": causalml("DR", given=True),
}


def _entry(make: Callable[[Settings], Work]) -> Callable[[Settings], Callable[[dict[str, Any]], Callable[[], Predict]]]:
    """A learner as the meter runs it: nothing is prepared outside the clock."""

    def enter(s: Settings) -> Callable[[dict[str, Any]], Callable[[], Predict]]:
        fit = make(s)
        return lambda arrays: lambda: fit(arrays)

    return enter


CONTESTANTS = {name: _entry(make) for name, make in LEARNERS.items()}
