"""Runs in econml's environment: fits its NonParamDML on the arrays given and answers with its effects.

``python -I econml_effect.py given.npz answer.npz``, see ``persuadable.peers.run``. Given: X (n, d), w (n,) 0/1,
y (n,), fold (n,) the fold of each row, X_test (m, d), weight (n,) where rows weigh unequally; settings ``model``
(XGBoost's scikit-learn names), ``binary``, ``propensity`` and ``seed``. Answered: effect (m,) and version.
"""

from __future__ import annotations

import json
import sys
import warnings
from importlib import import_module, metadata

import numpy as np


def main(given: str, answer: str) -> None:
    """Fit and predict."""
    warnings.simplefilter("ignore")
    with np.load(given) as file:
        a = {name: file[name] for name in file.files}
    s = json.loads(str(a["settings"]))
    xgb, dml = import_module("xgboost"), import_module("econml.dml")
    regressor, classifier = xgb.XGBRegressor(**s["model"]), xgb.XGBClassifier(**s["model"])
    prior = import_module("sklearn.dummy").DummyClassifier(strategy="prior")
    folds = [(np.flatnonzero(a["fold"] != k), np.flatnonzero(a["fold"] == k)) for k in np.unique(a["fold"])]
    model = dml.NonParamDML(
        model_y=classifier if s["binary"] else regressor,
        model_t=prior if s["propensity"] == "constant" else classifier,
        model_final=xgb.XGBRegressor(**s["model"]),
        discrete_treatment=True,
        discrete_outcome=s["binary"],
        cv=folds,
        random_state=s["seed"],
        allow_missing=True,
    )
    model.fit(a["y"], a["w"], X=a["X"], sample_weight=a.get("weight"))
    effect = np.ravel(model.effect(a["X_test"])).astype(np.float64)
    np.savez(answer, effect=effect, version=np.array(metadata.version("econml")))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
