"""Whatever the bytes, there is a request or one clear error; and the reader takes what its schemas describe."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema_rs
import orjson
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from persuadable.service import schemas, wire
from persuadable.service.records import OutcomeReport
from persuadable.service.wire import ExplainRequest, Fault, ScoreRequest, Terms, Unit, WireError

UNIT = {"unit": "u1", "features": {"age": 41, "town": "Ulm", "member": True, "spend": 1.5, "seen": None}}
REPORT = {"decision_id": "d-1", "name": "visit", "value": 1}


def body(**members: Any) -> bytes:
    return json.dumps({"units": [UNIT], **members}).encode()


def read(raw: bytes) -> ScoreRequest:
    return wire.read_request(raw, most_units=3)


def refused(raw: bytes, reader: Any = read) -> WireError:
    with pytest.raises(WireError) as caught:
        reader(raw)
    return caught.value


# --- what is right ------------------------------------------------------------------------------------------------


def test_a_request_is_read_as_it_was_sent() -> None:
    request = read(body(budget_units=5, population=40, campaign="märz"))
    assert request.units == (Unit("u1", UNIT["features"]),)
    assert request.terms == Terms(None, 5, 40, "märz")
    assert [type(value) for value in request.units[0].features.values()] == [int, str, bool, float, type(None)]


@pytest.mark.parametrize(
    ("members", "terms"),
    [
        ({}, Terms()),
        ({"budget_share": 1}, Terms(1.0)),
        ({"budget_share": 0.0}, Terms(0.0)),
        ({"budget_units": 0}, Terms(None, 0)),
        ({"budget_units": 3.0}, Terms(None, 3)),
        ({"budget_share": None, "budget_units": 2, "population": None, "campaign": None}, Terms(None, 2)),
    ],
)
def test_the_budget_is_a_share_or_a_number_or_neither(members: dict[str, Any], terms: Terms) -> None:
    assert read(body(**members)).terms == terms


def test_of_a_name_that_comes_twice_the_last_counts() -> None:
    assert read(body()[:-1] + b', "budget_share": 0.1, "budget_share": 0.2}').terms.budget_share == 0.2


def test_a_unit_may_be_named_in_any_script_and_at_full_length() -> None:
    names = ["Ж" * 256, "名前 🙂", "a\u00a0b"]
    units = [{"unit": name, "features": {}} for name in names]
    assert [unit.unit for unit in read(json.dumps({"units": units}).encode()).units] == names


# --- what is wrong ------------------------------------------------------------------------------------------------

NOT_JSON: dict[str, bytes] = {
    "nothing": b"",
    "half": b'{"units": [',
    "latin-1": '{"units": "ä"}'.encode("latin-1"),
    "utf-16": '{"units": []}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "NaN": b'{"budget_share": NaN}',
    "Infinity": b'{"budget_share": -Infinity}',
    "beyond float64": b'{"budget_share": 1e400}',
    "a lone surrogate": b'{"campaign": "\\ud800"}',
    "an encoded surrogate": b'{"campaign": "\xed\xa0\x80"}',
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "two documents": b"{} {}",
    "single quotes": b"{'units': []}",
    "a trailing comma": b'{"units": [],}',
}


@pytest.mark.parametrize("what", NOT_JSON)
def test_what_is_not_json_is_malformed(what: str) -> None:
    error = refused(NOT_JSON[what])
    assert error.status == 400
    assert error.faults[0].pointer == ""
    assert "not JSON" in error.faults[0].detail


WRONG: dict[str, tuple[bytes, str, str]] = {
    "no object": (b"[]", "", "a list of 0"),
    "no units": (b"{}", "/units", "is missing"),
    "units null": (body(units=None), "/units", "is missing"),
    "units no list": (body(units={"a": 1}), "/units", "an object of 1"),
    "no unit": (body(units=[]), "/units", "has 0"),
    "too many units": (body(units=[UNIT] * 4), "/units", "has 4. Send a list of 1 to 3"),
    "another member": (body(budget=3), "/budget", "no member 'budget'"),
    "pointer escapes": (body(**{"a/b~c": 3}), "/a~1b~0c", "no member"),
    "share above one": (body(budget_share=1.01), "/budget_share", "from 0 to 1"),
    "share below zero": (body(budget_share=-1e-9), "/budget_share", "from 0 to 1"),
    "share true": (body(budget_share=True), "/budget_share", "is true"),
    "share as text": (body(budget_share="0.3"), "/budget_share", "is '0.3'"),
    "half a user": (body(budget_units=2.5), "/budget_units", "whole number"),
    "negative users": (body(budget_units=-1), "/budget_units", "from 0"),
    "more users than there are integers": (body(budget_units=2**53), "/budget_units", "whole number"),
    "nobody": (body(budget_units=1, population=0), "/population", "from 1"),
    "both budgets": (body(budget_share=0.1, budget_units=1), "/budget_units", "Both"),
    "population alone": (body(population=10), "/population", "without budget_units"),
    "population with a share": (body(population=10, budget_share=0.1), "/population", "without budget_units"),
    "empty campaign": (body(campaign=""), "/campaign", "1 to 64"),
    "long campaign": (body(campaign="c" * 65), "/campaign", "1 to 64"),
    "campaign with NUL": (body(campaign="a\0b"), "/campaign", "control characters"),
    "campaign as number": (body(campaign=7), "/campaign", "is 7"),
    "unit no object": (body(units=["u1"]), "/units/0", "is 'u1'"),
    "unit without name": (body(units=[{"features": {}}]), "/units/0/unit", "is missing"),
    "unit null": (body(units=[{**UNIT, "unit": None}]), "/units/0/unit", "is null"),
    "unit as number": (body(units=[{**UNIT, "unit": 1}]), "/units/0/unit", "is 1"),
    "unit too long": (body(units=[{**UNIT, "unit": "u" * 257}]), "/units/0/unit", "1 to 256"),
    "unit with a line break": (body(units=[{**UNIT, "unit": "u\n"}]), "/units/0/unit", "control characters"),
    "unit with more": (body(units=[{**UNIT, "age": 3}]), "/units/0/age", "no member 'age'"),
    "no features": (body(units=[{"unit": "u"}]), "/units/0/features", "is missing"),
    "features as list": (body(units=[{"unit": "u", "features": []}]), "/units/0/features", "a list of 0"),
    "nested": (body(units=[UNIT, {"unit": "u", "features": {"a": {}}}]), "/units/1/features/a", "an object of 0"),
    "long text": (body(units=[{"unit": "u", "features": {"a": "x" * 1001}}]), "/units/0/features/a", "1,000"),
    "text with NUL": (body(units=[{"unit": "u", "features": {"a": "\0"}}]), "/units/0/features/a", "NUL"),
    "name with NUL": (body(units=[{"unit": "u", "features": {"\0": 1}}]), "/units/0/features/\0", "NUL"),
    "long name": (body(units=[{"unit": "u", "features": {"n" * 257: 1}}]), f"/units/0/features/{'n' * 255}…", "256"),
    "features galore": (body(units=[{"unit": "u", "features": {f"f{i}": 1 for i in range(2001)}}]), "/units/0/features",
                        "at most 2,000"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_fault_is_named_at_its_place(what: str) -> None:
    raw, place, said = WRONG[what]
    error = refused(raw)
    assert error.status == 422
    assert [fault.pointer for fault in error.faults] == [place]
    assert said in error.faults[0].detail
    assert error.what in error.faults[0].detail


def test_every_fault_is_named() -> None:
    units = [{"unit": "", "features": {"a": [], "b": 1}}, UNIT, {"unit": "u3", "features": {"c": "\0"}}]
    error = refused(body(units=units, budget_share=7, campaign=""))
    assert [fault.pointer for fault in error.faults] == [
        "/units/0/unit",
        "/units/0/features/a",
        "/units/2/features/c",
        "/budget_share",
        "/campaign",
    ]


def test_no_more_than_twenty_faults_are_named() -> None:
    error = refused(body(units=[3] * 50), lambda raw: wire.read_request(raw, most_units=100))
    assert [fault.pointer for fault in error.faults] == [f"/units/{i}" for i in range(20)]


def test_a_message_quotes_no_more_than_a_line() -> None:
    error = refused(body(campaign="\n" * 10_000, budget_share="x" * 10_000))
    assert all(len(fault.detail) < 200 and "\n" not in fault.detail for fault in error.faults)


# --- explain, outcomes, query, batch ------------------------------------------------------------------------------


def test_a_unit_to_explain_needs_no_name() -> None:
    assert wire.read_explain(b'{"features": {"a": 1}}') == ExplainRequest(Unit("", {"a": 1}), None)
    raw = b'{"unit": "u", "features": {}, "treatment": "mail"}'
    assert wire.read_explain(raw) == ExplainRequest(Unit("u", {}), "mail")
    assert wire.read_explain(b'{"unit": null, "features": {}, "treatment": null}') == ExplainRequest(Unit("", {}), None)


def test_faults_of_an_explanation() -> None:
    error = refused(b'{"unit": 3, "features": {"a": []}, "treatment": "", "x": 1}', wire.read_explain)
    assert {fault.pointer for fault in error.faults} == {"/unit", "/features/a", "/treatment", "/x"}


def outcomes(*reports: Any) -> bytes:
    return json.dumps({"outcomes": list(reports)}).encode()


def read_outcomes(raw: bytes) -> Any:
    return wire.read_outcomes(raw, most=3).reports


def test_outcomes_are_read() -> None:
    late = {**REPORT, "value": -2.5, "observed_at": "2030-01-31T10:00:00.25+01:00"}
    moment = datetime(2030, 1, 31, 9, 0, 0, 250_000, tzinfo=UTC)
    assert read_outcomes(outcomes(REPORT, late)) == (
        OutcomeReport("d-1", "visit", 1.0),
        OutcomeReport("d-1", "visit", -2.5, moment),
    )
    (report,) = read_outcomes(outcomes({**REPORT, "observed_at": None}))
    assert (type(report.value), report.observed_at) == (float, None)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"value": True}, "value"),
        ({"value": "1"}, "value"),
        ({"value": None}, "value"),
        ({"name": ""}, "name"),
        ({"name": "a\tb"}, "name"),
        ({"decision_id": 5}, "decision_id"),
        ({"decision_id": "d" * 65}, "decision_id"),
        ({"observed_at": "2030-01-31T09:00:00"}, "observed_at"),
        ({"observed_at": "2030-01-31"}, "observed_at"),
        ({"observed_at": "yesterday"}, "observed_at"),
        ({"observed_at": 1893456000}, "observed_at"),
        ({"observed_at": "0001-01-01T00:00:00+12:00"}, "observed_at"),
        ({"observed_at": "9999-12-31T23:59:59-12:00"}, "observed_at"),
        ({"cost": 2}, "cost"),
    ],
)
def test_faults_of_an_outcome(change: dict[str, Any], place: str) -> None:
    error = refused(outcomes(REPORT, {**REPORT, **change}), read_outcomes)
    assert (error.status, [fault.pointer for fault in error.faults]) == (422, [f"/outcomes/1/{place}"])


@given(st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)), st.integers(-1439, 1439))
def test_a_moment_is_read_whatever_its_offset(local: datetime, minutes: int) -> None:
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    text = f"{local.isoformat()}{sign}{hours:02d}:{rest:02d}"
    (report,) = read_outcomes(outcomes({**REPORT, "observed_at": text}))
    assert report.observed_at.utcoffset() == timedelta(0)
    assert report.observed_at.replace(tzinfo=None) == local - timedelta(minutes=minutes)


def test_a_query_says_the_budget_too() -> None:
    assert wire.read_query({"budget_share": "0.25", "as": "x"}) == Terms(0.25)
    assert wire.read_query({"budget_units": "10", "population": "400", "campaign": "12"}) == Terms(None, 10, 400, "12")
    assert wire.read_query({"budget_per_head": "0.5"}) == Terms(budget_per_head=0.5)
    assert wire.read_query({"budget_amount": "1e3", "population": "9"}) == Terms(None, None, 9, budget_amount=1000.0)
    assert wire.read_query({}) == Terms()


def test_terms_without_money_are_told_as_they_were_before_there_was_any() -> None:
    assert Terms(0.3).said() == "Terms(budget_share=0.3, budget_units=None, population=None, campaign='default')"
    assert Terms(budget_amount=2.0).said() != Terms(budget_per_head=2.0).said() != Terms().said()


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ({"budget_share": "a third"}, "budget_share"),
        ({"budget_share": "NaN"}, "budget_share"),
        ({"budget_share": "true"}, "budget_share"),
        ({"budget_share": ""}, "budget_share"),
        ({"budget_share": "null"}, "budget_share"),
        ({"budget_units": "1.5"}, "budget_units"),
        ({"budget_units": "1", "budget_share": "0.5"}, "budget_units"),
        ({"population": "9"}, "population"),
        ({"campaign": ""}, "campaign"),
        ({"campaign": "\ud800"}, "campaign"),
        ({"budget_per_head": "-1"}, "budget_per_head"),
        ({"budget_per_head": "1e13"}, "budget_per_head"),
        ({"budget_amount": "Infinity"}, "budget_amount"),
        ({"budget_per_head": "1", "population": "9"}, "population"),
    ],
)
def test_faults_of_a_query(query: dict[str, str], place: str) -> None:
    with pytest.raises(WireError) as caught:
        wire.read_query(query)
    assert [fault.pointer for fault in caught.value.faults] == [place]


def test_a_name_that_is_too_long_is_not_repeated_whole() -> None:
    name = "x" * 2_000_000
    for raw in (body(**{name: 1}), json.dumps({"units": [{"unit": "u", "features": {name: 1}}]}).encode()):
        (fault,) = refused(raw).faults
        assert len(fault.pointer) + len(fault.detail) < 600
        assert fault.pointer.endswith("x" * 255 + "…")
    assert wire.pointer("x" * 256) == "/" + "x" * 256


def test_lines_are_read_one_by_one_and_blank_ones_skipped() -> None:
    lines = [
        b'{"unit": "a", "features": {}}\n',
        b"\n",
        b"  \r\n",
        b"oops\n",
        b'{"unit": "b"}\n',
        b'{"unit":"c","features":{"x":1}}',
    ]
    told = list(wire.read_lines(lines))
    assert [number for number, _ in told] == [1, 4, 5, 6]
    assert told[0][1] == Unit("a", {})
    assert told[3][1] == Unit("c", {"x": 1})
    assert [error.status for _, error in told if isinstance(error, WireError)] == [400, 422]
    assert told[2][1].faults == (
        Fault("/features", "features is missing. Send an object of at most 2,000 features, name to value."),
    )


def test_a_row_of_a_table_is_a_line() -> None:
    frame = pl.DataFrame(
        {"unit": ["a"], "age": [3], "spend": [float("nan")], "town": [None], "ok": [True], "big": [2**70]},
        schema_overrides={"town": pl.String, "big": pl.Int128, "age": pl.Int8},
    )
    unit = wire.read_row(frame.row(0, named=True))
    assert unit == Unit("a", {"age": 3, "spend": None, "town": None, "ok": True, "big": float(2**70)})
    orjson.dumps(unit.features)


def test_a_row_may_say_what_its_unit_may_be_given() -> None:
    allowed = {"mail": "eligible for mail", "call": None, "5% off": "eligible for 5% off"}
    row = {"unit": "a", "age": 3, "eligible for mail": False, "eligible for 5% off": None}
    assert wire.read_row(row, allowed) == Unit("a", {"age": 3}, ("call", "5% off"))
    assert wire.read_row({**row, "eligible for mail": True}, allowed) == Unit("a", {"age": 3})
    assert wire.read_row({**row, "eligible for 5% off": 0}, allowed) == Unit("a", {"age": 3}, ("call",))
    with pytest.raises(WireError, match="expected true or false"):
        wire.read_row({**row, "eligible for mail": "no"}, allowed)


@pytest.mark.parametrize(
    ("row", "place"),
    [
        ({"age": 1}, "/unit"),
        ({"unit": 7}, "/unit"),
        ({"unit": "a", "x": math.inf}, "/features/x"),
        ({"unit": "a", "x": datetime(2030, 1, 1)}, "/features/x"),
        ({"unit": "a", "x": [1.0]}, "/features/x"),
        ({"unit": "a", "x": b"raw"}, "/features/x"),
    ],
)
def test_faults_of_a_row(row: dict[str, Any], place: str) -> None:
    with pytest.raises(WireError) as caught:
        wire.read_row(row)
    assert [fault.pointer for fault in caught.value.faults] == [place]


# --- any bytes at all ---------------------------------------------------------------------------------------------

READERS = {
    "score": read,
    "explain": wire.read_explain,
    "outcomes": read_outcomes,
    "line": wire.read_line,
    "lines": lambda raw: list(wire.read_lines(raw.splitlines(keepends=True))),
}

# Members that exist and values that nearly fit, in the wrong places as often as in the right ones.
names = st.sampled_from(
    ["units", "unit", "features", "budget_share", "budget_units", "population", "campaign", "treatment", "outcomes",
     "decision_id", "name", "value", "observed_at", "age", "a/b", ""]
)  # fmt: skip
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0, 1, 0.5, 2**53, -1, 3.0, "", "u1", "\0", "2030-01-01T00:00:00Z", "x" * 300])
    | st.text(max_size=8)
)
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=5), max_leaves=12
)


@given(st.binary(max_size=200))
@example(b"\x00")
@example(b'{"units":' + b"[" * 990 + b"]" * 990 + b"}")
@example(b'{"units":[{"unit":"u","features":' + b'{"a":' * 900 + b"1" + b"}" * 902)
@settings(max_examples=300)
def test_any_bytes_are_a_request_or_an_error(raw: bytes) -> None:
    for reader in READERS.values():
        survives(reader, raw)


@given(documents)
@settings(max_examples=300)
def test_any_document_is_a_request_or_an_error(document: Any) -> None:
    for reader in READERS.values():
        survives(reader, json.dumps(document).encode())


def told_by(reader: Any, raw: bytes) -> WireError | None:
    try:
        reader(raw)
    except WireError as error:
        return error
    return None


def survives(reader: Any, raw: bytes) -> None:
    if (error := told_by(reader, raw)) is None:
        return
    assert error.status in (400, 422)
    assert 1 <= len(error.faults) <= 20
    for place, detail in error.faults:
        assert place == "" or place.startswith("/")
        assert detail
        orjson.dumps([place, detail])  # it can be answered


# --- the description and the reader agree -------------------------------------------------------------------------


def validator(model: Any) -> Any:
    return jsonschema_rs.validator_for(model.model_json_schema(mode="serialization"))


DESCRIBED = {
    "ScoreRequest": (validator(schemas.ScoreRequest), lambda raw: wire.read_request(raw, most_units=1000)),
    "ExplainRequest": (validator(schemas.ExplainRequest), wire.read_explain),
    "OutcomesRequest": (validator(schemas.OutcomesRequest), lambda raw: wire.read_outcomes(raw, most=1000)),
    "UnitLine": (validator(schemas.UnitLine), wire.read_line),
}


def agree(name: str, document: Any) -> None:
    schema, reader = DESCRIBED[name]
    refusal = told_by(reader, json.dumps(document).encode())
    assert schema.is_valid(document) == (refusal is None), refusal


nearly_share = st.none() | st.floats(-0.5, 1.5) | st.integers(-1, 2) | st.booleans()
nearly_count = st.none() | st.integers(-1, 3) | st.sampled_from([2**53 - 1, 2**53, 2.0, 2.5, "2", True])
# The format date-time is not among what a schema's validator looks at, so all of these are right.
moments = st.none() | st.sampled_from(["2030-01-01T00:00:00Z", "2030-01-01T00:00:00+02:00"])


def nearly_name(longest: int) -> st.SearchStrategy[Any]:
    exact = st.sampled_from(["x" * longest, "x" * (longest + 1), "é" * longest, "", "a\n", "\x7f", "\x00", "\x80", 3])
    return exact | st.text(max_size=5)


feature_values = scalars | st.sampled_from(["x" * 1000, "x" * 1001, "a\nb", [], {}])
nearly_features = st.dictionaries(nearly_name(wire.LONGEST_NAME).map(str), feature_values, max_size=3)
nearly_eligible = st.none() | st.lists(nearly_name(wire.LONGEST_TEXT), max_size=2) | scalars
near_units = st.fixed_dictionaries(
    {},
    optional={
        "unit": nearly_name(wire.LONGEST_UNIT),
        "features": nearly_features | scalars,
        "eligible": nearly_eligible,
        "more": scalars,
    },
)
nearly_money = st.none() | st.floats(-1.0, 2e12) | st.integers(-1, 2) | st.booleans()
good_units = st.fixed_dictionaries({"unit": st.just("u1"), "features": nearly_features})
NEARLY: dict[str, st.SearchStrategy[Any]] = {
    "ScoreRequest": st.fixed_dictionaries(
        {"units": st.lists(st.just(UNIT) | good_units | near_units, max_size=2)},
        optional={
            "budget_share": nearly_share,
            "budget_units": nearly_count,
            "budget_per_head": nearly_money,
            "budget_amount": nearly_money,
            "population": nearly_count,
            "campaign": st.none() | nearly_name(wire.LONGEST_CAMPAIGN),
            "more": st.none(),
        },
    ),
    "ExplainRequest": st.fixed_dictionaries(
        {},
        optional={
            "unit": st.none() | nearly_name(wire.LONGEST_UNIT),
            "features": nearly_features | st.none(),
            "treatment": st.none() | nearly_name(wire.LONGEST_TEXT),
        },
    ),
    "OutcomesRequest": st.fixed_dictionaries(
        {},
        optional={
            "outcomes": st.lists(
                st.fixed_dictionaries(
                    {"decision_id": nearly_name(wire.LONGEST_ID), "value": scalars},
                    optional={"name": nearly_name(wire.LONGEST_OUTCOME), "observed_at": moments, "more": scalars},
                ),
                max_size=2,
            )
        },
    ),
    "UnitLine": near_units,
}


@pytest.mark.parametrize("name", DESCRIBED)
@given(data=st.data())
@settings(max_examples=200)
def test_the_reader_takes_exactly_what_the_schema_describes(name: str, data: st.DataObject) -> None:
    agree(name, data.draw(NEARLY[name] | documents))


AT_THE_BOUNDS: list[Any] = [
    None, True, 0, 1, -1, 0.5, 1.0, 2.5, -0.001, 1.001, 2**53 - 1, 2**53, 2**70, "", "0.5", [], {}, "a\nb",
    "\x1f", "\x7f", "\x80", "\0", "2030-01-01T00:00:00Z",
    *("é" * (n + more) for n in (64, 128, 256, 1000) for more in (0, 1)),
]  # fmt: skip
WHOLE: dict[str, list[dict[str, Any]]] = {
    "ScoreRequest": [
        {"units": [UNIT], "budget_share": 0.5, "campaign": "c"},
        {"units": [UNIT], "budget_units": 5, "population": 6},
        {"units": [UNIT], "budget_amount": 5.5, "population": 6, "budget_per_head": 0.1},
        {"units": [{**UNIT, "eligible": ["mail"]}], "budget_units": 5, "budget_amount": 1e12, "population": 6},
    ],
    "ExplainRequest": [{"unit": "u", "features": {}, "treatment": "mail"}],
    "OutcomesRequest": [{"outcomes": [REPORT]}],
    "UnitLine": [UNIT, {**UNIT, "eligible": ["mail", "call"]}],
}


@pytest.mark.parametrize("name", DESCRIBED)
def test_they_agree_at_every_bound(name: str) -> None:
    for whole in WHOLE[name]:
        for member in whole:
            for value in AT_THE_BOUNDS:
                agree(name, {**whole, member: value})
            agree(name, {other: value for other, value in whole.items() if other != member})


def test_they_agree_at_every_bound_inside() -> None:
    for value in AT_THE_BOUNDS:
        agree("UnitLine", {"unit": "u", "features": {"a": value}})
        agree("UnitLine", {"unit": "u", "features": {str(value): 1}})
        for member in REPORT:
            agree("OutcomesRequest", {"outcomes": [{**REPORT, member: value}]})
    for n in (wire.MOST_ELIGIBLE, wire.MOST_ELIGIBLE + 1):
        agree("UnitLine", {"unit": "u", "features": {}, "eligible": ["mail"] * n})
    for value in AT_THE_BOUNDS:
        agree("UnitLine", {"unit": "u", "features": {}, "eligible": [value]})
    agree("UnitLine", {"unit": "u", "features": {f"f{i}": 1 for i in range(wire.MOST_FEATURES)}})
    agree("UnitLine", {"unit": "u", "features": {f"f{i}": 1 for i in range(wire.MOST_FEATURES + 1)}})


@pytest.mark.parametrize("name", ["ScoreRequest", "ExplainRequest", "OutcomesRequest", "UnitLine"])
def test_the_examples_can_be_sent(name: str) -> None:
    schema, reader = DESCRIBED[name]
    examples = getattr(schemas, name).model_json_schema()["examples"]
    assert examples
    for one in examples:
        reader(json.dumps(one).encode())
        schema.validate(one)


@pytest.mark.parametrize("name", [name for name in schemas.__all__ if name not in DESCRIBED and name != "BatchProblem"])
def test_the_examples_of_answers_fit_their_schemas(name: str) -> None:
    model = getattr(schemas, name)
    examples = model.model_json_schema()["examples"]
    assert examples
    for one in examples:
        validator(model).validate(one)


@pytest.mark.parametrize("value", [1e15, -1e15, 0, 1e-300])
def test_an_outcome_of_a_size_that_can_be_summed_is_read(value: float) -> None:
    raw = orjson.dumps({"outcomes": [{"decision_id": "d", "name": "spend", "value": value}]})
    assert wire.read_outcomes(raw, most=10).reports[0].value == value


@pytest.mark.parametrize("value", [1.1e15, -1.7e308, 10**16])
def test_an_outcome_that_would_overflow_a_sum_is_refused(value: float) -> None:
    raw = orjson.dumps({"outcomes": [{"decision_id": "d", "name": "spend", "value": value}]})
    with pytest.raises(wire.WireError) as refused:
        wire.read_outcomes(raw, most=10)
    assert [fault.pointer for fault in refused.value.faults] == ["/outcomes/0/value"]


def test_of_many_unknown_members_the_first_are_named() -> None:
    raw = orjson.dumps({f"m{i}": 0 for i in range(1_000)} | {"units": [{"unit": "u", "features": {}}]})
    with pytest.raises(wire.WireError) as refused:
        wire.read_request(raw, most_units=10)
    assert [fault.pointer for fault in refused.value.faults] == [f"/m{i}" for i in range(wire.MOST_FAULTS)]
