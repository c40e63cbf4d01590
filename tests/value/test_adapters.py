"""The named adapters against numbers that the peers themselves printed (tests/value/golden)."""

from __future__ import annotations

import importlib.util
import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from persuadable.errors import ActionError, DataError, OutcomeError, ParameterError
from persuadable.value import adapters

GOLDEN = Path(__file__).parent / "golden"
_spec = importlib.util.spec_from_file_location("golden_make", GOLDEN / "make.py")
assert _spec is not None
assert _spec.loader is not None
make = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)

RECORDS = {name: json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8")) for name in make.RECORDED}
DISTINCT, TIED = "money-85-distinct", "money-85-ties"


def recorded(record):
    """Parameters (case, what, number) of one peer's file."""
    numbers = RECORDS[record]["numbers"]
    return [
        pytest.param(case, what, number, id=f"{case}-{what}")
        for case, found in numbers.items()
        for what, number in found.items()
        if what != "order"
    ]


@pytest.fixture
def ties_are_known():
    """The cases with ties warn where the peer's number depends on the row order; that is tested by itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", adapters.TiedScores)
        yield


def exactly(number):
    """Same arithmetic in another order: nine digits of the number's own size, not a looser absolute one."""
    return pytest.approx(number, rel=1e-9, abs=1e-12)


def test_every_peer_was_recorded_for_every_case():
    for record, (_, peer) in make.RECORDED.items():
        assert RECORDS[record]["peer"] == peer
        binary_only = record in ("scikit-uplift", "pylift", "criteo")
        expected = {case for case in make.CASES if not (binary_only and case.startswith("money"))}
        assert set(RECORDS[record]["numbers"]) == expected


@pytest.mark.usefixtures("ties_are_known")
@pytest.mark.parametrize(("case", "what", "number"), recorded("scikit-uplift"))
def test_scikit_uplift(case, what, number):
    y, w, s = make.data(case)
    ours = {
        "qini": lambda: adapters.peer_qini(y, w, s, "sklift"),
        "qini-no-negative": lambda: adapters.sklift_qini(y, w, s, negative_effect=False),
        "qini-unnormalised": lambda: adapters.peer_qini(y, w, s, "sklift-unnormalised"),
        "auuc": lambda: adapters.peer_auuc(y, w, s, "sklift"),
        "auuc-unnormalised": lambda: adapters.peer_auuc(y, w, s, "sklift-unnormalised"),
        "at-0.3-overall": lambda: adapters.peer_uplift_at_k(y, w, s, 0.3),
        "at-0.3-by_group": lambda: adapters.peer_uplift_at_k(y, w, s, 0.3, strategy="by_group"),
        "at-150-overall": lambda: adapters.peer_uplift_at_k(y, w, s, 150),
    }[what]()
    assert ours == exactly(number)


@pytest.mark.parametrize(("case", "what", "number"), recorded("causalml"))
def test_causalml_in_the_order_it_sorted(case, what, number):
    y, w, s = make.data(case)
    sorted_so = RECORDS["causalml"]["numbers"][case].get("order")
    order = None if sorted_so is None else np.array(sorted_so.split(), dtype=np.intp)
    measure = adapters.causalml_qini if what.startswith("qini") else adapters.causalml_auuc
    assert measure(y, w, s, normalise=not what.endswith("unnormalised"), order=order) == exactly(number)


@pytest.mark.parametrize(("case", "what", "number"), recorded("econml"))
def test_econml(case, what, number):
    y, w, s = make.data(case)
    y_train, w_train, s_train = make.data(case, "train")
    metric = "qini" if what.startswith("qini") else "toc"
    if "alone" in what:
        ours = adapters.econml_uplift(y, w, s, metric=metric)
        if metric == "qini" and not what.endswith("stderr"):
            assert adapters.peer_qini(y, w, s, "econml") == ours.coefficient
    else:
        m1, m0, p = y_train[w_train == 1].mean(), y_train[w_train == 0].mean(), w_train.mean()
        gamma = m1 - m0 + w * (y - m1) / p - (1 - w) * (y - m0) / (1 - p)
        ours = adapters.econml_uplift(y, w, s, pseudo_outcome=gamma, train_score=s_train, metric=metric)
    assert (ours.stderr if what.endswith("stderr") else ours.coefficient) == exactly(number)


@pytest.mark.usefixtures("ties_are_known")
@pytest.mark.parametrize(("case", "what", "number"), recorded("pylift"))
def test_diemert_is_pylift_for_binary_outcomes(case, what, number):
    assert adapters.peer_qini(*make.data(case), "diemert") == exactly(number)


@pytest.mark.parametrize(("case", "what", "number"), recorded("criteo"))
def test_diemert_auuc_is_the_one_by_areas_under_roc_curves(case, what, number):
    assert adapters.peer_auuc(*make.data(case), "diemert") == exactly(number)


def test_diemert_without_ties_is_theta_with_the_shares_as_propensities():
    y, w, s = make.data(DISTINCT)
    share_above = (np.argsort(np.argsort(-s)) + 0.5) / s.size
    gamma = y * w / w.mean() - y * (1 - w) / (1 - w).mean()
    assert adapters.diemert_qini(y, w, s) == exactly(np.mean(gamma * (0.5 - share_above)))


def test_causalml_changes_with_row_order_under_ties_and_the_others_do_not():
    y, w, s = make.data(TIED)
    n = s.size
    first, last = np.lexsort((np.arange(n), -s)), np.lexsort((-np.arange(n), -s))
    assert abs(adapters.causalml_qini(y, w, s, order=first) - adapters.causalml_qini(y, w, s, order=last)) > 1e-4
    assert abs(adapters.causalml_auuc(y, w, s, order=first) - adapters.causalml_auuc(y, w, s, order=last)) > 1e-4
    for convention in ("sklift-unnormalised", "econml"):
        backwards = adapters.peer_qini(y[::-1], w[::-1], s[::-1], convention)
        assert backwards == exactly(adapters.peer_qini(y, w, s, convention))
    assert adapters.diemert_auuc(y[::-1], w[::-1], s[::-1]) == exactly(adapters.diemert_auuc(y, w, s))


@pytest.mark.parametrize(
    "measure",
    [
        adapters.causalml_qini,
        adapters.causalml_auuc,
        adapters.diemert_qini,
        lambda y, w, s: adapters.peer_uplift_at_k(y > 0, w, s),
    ],
)
def test_ties_are_pointed_out_where_the_number_depends_on_the_row_order(measure):
    with pytest.warns(adapters.TiedScores, match="value.qini takes tied scores as one group"):
        measure(*make.data(TIED))
    measure(*make.data(DISTINCT))


def test_causalml_order_sorts_high_to_low_and_is_a_permutation():
    _, _, s = make.data(TIED)
    order = adapters.causalml_order(s)
    assert (np.diff(s[order]) <= 0).all()
    assert (np.sort(order) == np.arange(s.size)).all()


def test_econml_refuses_another_number_of_pseudo_outcomes():
    y, w, s = make.data(DISTINCT)
    with pytest.raises(DataError, match="399 pseudo-outcomes for 400 scores"):
        adapters.econml_uplift(y, w, s, pseudo_outcome=y[1:])


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda y, w, s: (y[1:], w, s, "causalml"), DataError, "399 outcomes, 400 treatments and 400 scores"),
        (lambda y, w, s: (y, w + 1, s, "causalml"), ActionError, "0 or 1"),
        (lambda y, w, s: (y, w * 0, s, "sklift"), ActionError, "only one arm"),
        (lambda y, w, s: (y, w, s, "sklift"), OutcomeError, "0 and 1 only"),
        (lambda y, w, s: (y * np.nan, w, s, "diemert"), OutcomeError, "not finite"),
        (lambda y, w, s: (y, w, s * np.inf, "econml"), DataError, "score is not finite"),
        (lambda y, w, s: (y, w, s[:, None], "econml"), DataError, "shape"),
        (lambda y, w, s: (y, w, s, "pylift"), ParameterError, "unknown choice"),
    ],
)
def test_unusable_arguments_are_refused(change, error, says):
    with pytest.raises(error, match=says):
        adapters.peer_qini(*change(*make.data(DISTINCT)))


def test_unusable_choices_are_refused():
    y, w, s = make.data("binary-50-distinct")
    with pytest.raises(ParameterError, match="unknown choice"):
        adapters.peer_auuc(y, w, s, "econml")
    with pytest.raises(ParameterError, match="unknown choice"):
        adapters.econml_uplift(y, w, s, metric="autoc")
    with pytest.raises(ParameterError, match="unknown choice"):
        adapters.peer_uplift_at_k(y, w, s, strategy="jointly")
    for k in (0, 1.0, 400, -3):
        with pytest.raises(ParameterError, match="neither a share"):
            adapters.peer_uplift_at_k(y, w, s, k)
    with pytest.raises(ActionError, match="one arm is missing"):
        adapters.peer_uplift_at_k(y, w, s, 1)
    with pytest.raises(OutcomeError, match="no best ranking"):
        adapters.sklift_qini(1 - np.maximum(y, w), w, s, negative_effect=False)
    with pytest.raises(DataError, match="not a permutation"):
        adapters.causalml_qini(y, w, s, order=np.zeros(400, dtype=np.intp))
    with pytest.raises(DataError, match="does not sort"):
        adapters.causalml_qini(y, w, s, order=np.argsort(s))
