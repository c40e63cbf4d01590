"""A stream says what the same rounds say in memory, batch sizes and files notwithstanding; and every refusal."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from persuadable.errors import ActionError, DataError, LeakageError, OutcomeError, ParameterError, PropensityError
from persuadable.log import DecisionLog
from persuadable.policies import RandomPolicy
from persuadable.value import estimate, estimate_difference, estimate_outcomes, estimate_parquet
from persuadable.value.ope import DM, DR, IPS, SNDR, SNIPS, DRos, SwitchDR

LABELS = ("none", "mail", "call")
FIXED = (DM(), IPS(), SNIPS(2.0), DR(), SNDR(), SwitchDR(1.5), DRos(3.0))


def columns(prefix):
    return {label: f"{prefix}:{label}" for label in LABELS}


def make_frame(n=900, seed=0):
    rng = np.random.default_rng(seed)
    tables = {
        "e": rng.dirichlet(np.full(3, 2.0), size=n) * 0.9 + 0.1 / 3,
        "p": rng.dirichlet(np.ones(3), size=n),
        "b": rng.dirichlet(np.ones(3), size=n),
        "q": 1.0 + np.arange(3) + rng.normal(size=(n, 3)),
    }
    action = (rng.random(n)[:, None] > tables["e"].cumsum(axis=1)[:, :-1]).sum(axis=1)
    data = {
        "action": np.array(LABELS)[action],
        "code": action,
        "spend": 1.0 + action + rng.normal(size=n),
        "visits": rng.poisson(2.0, n),
        "weight": rng.uniform(0.5, 2.0, n),
        "user": rng.integers(0, 300, n),
        "x": rng.normal(size=n).astype(np.float32),
        "taken": tables["e"][np.arange(n), action],
    }
    for prefix, table in tables.items():
        data |= {f"{prefix}:{label}": table[:, i] for i, label in enumerate(LABELS)}
    return pl.DataFrame(data)


@pytest.fixture
def written(tmp_path):
    frame = make_frame()
    frame.write_parquet(tmp_path / "all.parquet")
    return frame, tmp_path / "all.parquet"


ROLES = {"action": "action", "actions": LABELS, "outcomes": "spend", "propensity": columns("e")}


def in_memory(frame, **roles):
    log = DecisionLog.from_frame(
        frame,
        action="action",
        control="none",
        actions=LABELS,
        outcomes=["spend", "visits"],
        features=["x"],
        propensity=columns("e"),
        **roles,
    )
    tables = {prefix: frame.select(columns(prefix).values()).to_numpy() for prefix in "pbq"}
    return log, tables


def same(streamed, expected):
    assert list(streamed) == list(expected)
    for label in expected:
        assert streamed[label].value == pytest.approx(expected[label].value, rel=1e-10)
        assert streamed[label].stderr == pytest.approx(expected[label].stderr, rel=1e-8)
        assert streamed[label].interval == pytest.approx(expected[label].interval, rel=1e-8)
        assert streamed[label].n == expected[label].n
        if expected[label].ess is None:
            assert streamed[label].ess is None
        else:
            assert streamed[label].ess == pytest.approx(expected[label].ess)
    np.testing.assert_allclose(streamed.covariance, expected.covariance, rtol=1e-7, atol=1e-18)


@pytest.mark.parametrize("weight", [None, "weight"])
@pytest.mark.parametrize("batch", [1, 250, 262_144])
def test_a_stream_says_what_the_log_says(written, batch, weight):
    frame, file = written
    if batch == 1:
        frame = frame.head(40)
        frame.write_parquet(file)
    log, tables = in_memory(frame, weight=weight)
    expected = estimate_outcomes(
        log, tables["p"], estimators=FIXED, q_hat={"spend": tables["q"], "visits": (1.0, 2.0, 3.0)}
    )
    found = estimate_parquet(
        file,
        columns("p"),
        **ROLES | {"outcomes": ["spend", "visits"]},
        weight=weight,
        estimators=FIXED,
        batch=batch,
        q_hat={"spend": columns("q"), "visits": (1.0, 2.0, 3.0)},
    )
    assert list(found) == ["spend", "visits"]
    for outcome in expected:
        same(found[outcome], expected[outcome])
        assert found[outcome].mean_weight == pytest.approx(expected[outcome].mean_weight)
        assert found[outcome].policy == "the candidate"


def test_several_files_are_one_stream(written, tmp_path):
    frame, file = written
    frame[:333].write_parquet(tmp_path / "first.parquet")
    frame[333:].write_parquet(tmp_path / "second.parquet")
    roles = ROLES | {"estimators": FIXED, "q_hat": {"spend": columns("q")}}
    apart = estimate_parquet([tmp_path / "first.parquet", str(tmp_path / "second.parquet")], columns("p"), **roles)
    same(apart["spend"], estimate_parquet(file, columns("p"), **roles)["spend"])


def test_a_difference_of_two_policies(written):
    frame, file = written
    log, tables = in_memory(frame)
    expected = estimate_difference(log, tables["p"], tables["b"], estimators=FIXED, q_hat=tables["q"])
    found = estimate_parquet(
        file, columns("p"), baseline=columns("b"), **ROLES, estimators=FIXED, q_hat={"spend": columns("q")}, batch=200
    )["spend"]
    same(found, expected)
    assert found.policy == "the candidate − the baseline"


@pytest.mark.parametrize("kind", ["number", "text"])
@pytest.mark.parametrize("weight", [None, "weight"])
def test_units_are_clusters(written, kind, weight):
    """300 units in 65,536 buckets: all but a pair or two have a bucket of their own."""
    frame, file = written
    if kind == "text":
        frame = frame.with_columns(pl.format("user {}", "user").alias("user"))
        frame.write_parquet(file)
    log, tables = in_memory(frame, unit="user", weight=weight)
    expected = estimate(log, tables["p"], estimators=("ips", "snips"))
    found = estimate_parquet(file, columns("p"), **ROLES, unit="user", weight=weight, batch=128)["spend"]
    alone = estimate_parquet(file, columns("p"), **ROLES, weight=weight)["spend"]
    for name in ("ips", "snips"):
        assert found[name].value == pytest.approx(expected[name].value, rel=1e-10)
        assert found[name].stderr == pytest.approx(expected[name].stderr, rel=0.03)
        assert found[name].stderr != pytest.approx(alone[name].stderr, rel=1e-6)


def test_policies_decide_by_features_and_taken_propensities_are_enough(written):
    frame, file = written
    log, _ = in_memory(frame)
    roles = {key: value for key, value in ROLES.items() if key != "propensity"}
    found = estimate_parquet(file, RandomPolicy(0.4), features=["x"], taken_propensity="taken", **roles)["spend"]
    same(found, estimate(log, RandomPolicy(0.4), estimators=("ips", "snips")))
    assert found.policy == "random 40%"
    codes = estimate_parquet(
        file,
        dict(enumerate(columns("p").values())),
        action="code",
        actions=range(3),
        outcomes="spend",
        propensity=dict(enumerate(columns("e").values())),
    )
    named = estimate_parquet(file, columns("p"), **ROLES)
    assert codes["spend"]["ips"].value == named["spend"]["ips"].value


def test_tuned_parameters_are_chosen_from_one_pass(written):
    _, file = written
    roles = ROLES | {"q_hat": {"spend": columns("q")}, "batch": 300}
    tuned = estimate_parquet(file, columns("p"), estimators=("dros", "switch-dr", "ips"), clip="slope", **roles)[
        "spend"
    ]
    for name, used in tuned.estimators.items():
        assert not used.tuned
        again = estimate_parquet(
            file, columns("p"), estimators=used, **(roles if used.model else ROLES | {"batch": 300})
        )["spend"]
        assert tuned[name].value == again[str(used)].value
    assert list(tuned) == ["dros", "switch-dr", "ips"]


class _Fitted:
    name = "fitted"

    def __init__(self, fitted_on):
        self.fitted_on = fitted_on

    def probabilities(self, features, n_actions, eligible=None):
        return np.full((len(features), n_actions), 1 / n_actions)


def test_units_that_fitted_the_policy_are_refused(written):
    frame, file = written
    log, _ = in_memory(frame, unit="user")
    with pytest.raises(LeakageError, match=r"units also fitted 'fitted'"):
        estimate_parquet(file, _Fitted(log.fingerprint), features=["x"], unit="user", **ROLES)
    others = in_memory(frame.with_columns(pl.col("user") + 1000), unit="user")[0].fingerprint
    assert estimate_parquet(file, _Fitted(others), features=["x"], unit="user", **ROLES)["spend"]["ips"].n == 900


@pytest.mark.parametrize(
    ("column", "row", "value", "error", "message"),
    [
        ("p:mail", 700, 1.7, DataError, r"no probability distribution \(row 700\)"),
        ("p:mail", 700, None, DataError, r"no probability distribution \(row 700\)"),
        ("q:mail", 700, math.inf, DataError, r"q_hat is not finite \(row 700\)"),
        ("e:mail", 700, 1.7, PropensityError, r"In rounds 500 to 749 .*outside \[0, 1\] .*row 200.*file 'all.parquet'"),
        ("spend", 700, math.nan, OutcomeError, r"In rounds 500 to 749 .*'spend' holds nan \(row 200\)"),
        ("spend", 700, None, OutcomeError, r"In rounds 500 to 749 .*'spend' holds nan \(row 200\)"),
        ("weight", 700, -1.0, DataError, r"weights must be positive \(row 200\)"),
        ("action", 700, "fax", ActionError, r"There is no action 'fax' \(column 'action'\)"),
        ("action", 700, None, ActionError, r"The action is missing \(column 'action', row 200\)"),
        ("user", 700, None, DataError, r"1 rounds have no unit \(column 'user'\)"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_place(tmp_path, column, row, value, error, message):
    frame = make_frame()
    values = frame[column].to_list()
    values[row] = value
    file = tmp_path / "all.parquet"
    frame.with_columns(pl.Series(column, values)).write_parquet(file)
    with pytest.raises(error, match=message):
        estimate_parquet(
            file,
            columns("p"),
            **ROLES,
            weight="weight",
            unit="user",
            estimators="dr",
            q_hat={"spend": columns("q")},
            batch=250,
        )


def test_arguments_and_files_are_refused(written, tmp_path):
    _, file = written
    bare = {key: value for key, value in ROLES.items() if key != "propensity"}
    with pytest.raises(ParameterError, match=r"needs either propensity= or taken_propensity="):
        estimate_parquet(file, columns("p"), **bare)
    with pytest.raises(ParameterError, match=r"needs either propensity= or taken_propensity="):
        estimate_parquet(file, columns("p"), **ROLES, taken_propensity="taken")
    with pytest.raises(ParameterError, match="probabilities names no column for 'call'"):
        estimate_parquet(file, {"none": "p:none", "mail": "p:mail"}, **ROLES)
    with pytest.raises(ActionError, match="propensity names a column for 'fax'"):
        estimate_parquet(file, columns("p"), **bare, propensity=columns("e") | {"fax": "x"})
    with pytest.raises(ParameterError, match="No outcome was named"):
        estimate_parquet(file, columns("p"), **ROLES | {"outcomes": []})
    with pytest.raises(ParameterError, match="batch is 0"):
        estimate_parquet(file, columns("p"), **ROLES, batch=0)
    with pytest.raises(ParameterError, match="A policy has no features to decide by"):
        estimate_parquet(file, RandomPolicy(0.3), **ROLES)
    with pytest.raises(ParameterError, match="'mrdr' is fitted on the whole log"):
        estimate_parquet(file, columns("p"), **ROLES, estimators="mrdr")
    with pytest.raises(ParameterError, match="'balanced-ips' is fitted on the whole log"):
        estimate_parquet(file, columns("p"), **ROLES, estimators="balanced-ips")
    with pytest.raises(ParameterError, match="'dr' needs predictions of 'spend'"):
        estimate_parquet(file, columns("p"), **ROLES, estimators=("ips", "dr"))
    with pytest.raises(ParameterError, match="q_hat was given, and none of the estimators reads it"):
        estimate_parquet(file, columns("p"), **ROLES, q_hat={"spend": (1.0, 2.0, 3.0)})
    with pytest.raises(ParameterError, match="q_hat is given for 'profit', which is not estimated"):
        estimate_parquet(file, columns("p"), **ROLES, q_hat={"profit": (1.0, 2.0, 3.0)})
    with pytest.raises(DataError, match=r"q_hat has shape \(2,\)"):
        estimate_parquet(file, columns("p"), **ROLES, estimators="dr", q_hat={"spend": (1.0, 2.0)})
    with pytest.raises(DataError, match=r"There is no file .*gone\.parquet"):
        estimate_parquet(tmp_path / "gone.parquet", columns("p"), **ROLES)
    with pytest.raises(DataError, match="There is no column 'price'"):
        estimate_parquet(file, columns("p"), **ROLES | {"outcomes": "price"})
    with pytest.raises(DataError, match="'action' does not hold numbers"):
        estimate_parquet(file, {"none": "p:none", "mail": "p:mail", "call": "action"}, **ROLES)
    (tmp_path / "broken.parquet").write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"'broken\.parquet' cannot be read"):
        estimate_parquet(tmp_path / "broken.parquet", columns("p"), **ROLES)
    make_frame().clear().write_parquet(tmp_path / "empty.parquet")
    with pytest.raises(DataError, match="There is no round in the files"):
        estimate_parquet(tmp_path / "empty.parquet", columns("p"), **ROLES)
    with pytest.raises(ParameterError, match="alpha is 0"):
        estimate_parquet(file, columns("p"), **ROLES, alpha=0)


def test_untried_actions_are_refused(written):
    frame, file = written
    stopped = frame.with_columns(
        pl.when(pl.col("action") == "none").then(1.0).otherwise(pl.col("e:none")).alias("e:none"),
        *(
            pl.when(pl.col("action") == "none").then(0.0).otherwise(pl.col(f"e:{a}")).alias(f"e:{a}")
            for a in LABELS[1:]
        ),
    )
    stopped.write_parquet(file)
    with pytest.raises(PropensityError, match=r"the candidate takes an action whose logged propensity is 0"):
        estimate_parquet(file, columns("p"), **ROLES)


def test_squares_that_are_no_numbers_are_refused(written):
    frame, file = written
    frame.with_columns(pl.col("spend") * 1e200).write_parquet(file)
    with pytest.raises(DataError, match="so large that their squares are not finite"):
        estimate_parquet(file, columns("p"), **ROLES)


def test_a_single_unit_has_an_infinite_error_and_tunes_nothing(written):
    frame, file = written
    frame.with_columns(pl.lit(7).alias("user")).write_parquet(file)
    found = estimate_parquet(
        file, columns("p"), **ROLES, unit="user", estimators="dros", q_hat={"spend": (1.0, 2.0, 3.0)}
    )["spend"]
    assert found["dros"].interval == (-math.inf, math.inf)
    assert found.estimators["dros"] == DRos(math.inf)
