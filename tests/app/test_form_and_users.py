from __future__ import annotations

import json
import shlex
from typing import Any

import polars as pl
import pytest
from documents import CONTRACT, decision

from persuadable.app.client import ServiceRefused
from persuadable.app.fields import Field, fields, ranges
from persuadable.app.users import CHUNK, MOST_COLUMNS, UsersError, formulas, read_users, score_users, template, to_treat
from persuadable.app.views.live import first_call

LISTED = fields(CONTRACT)
HEAD = "unit,age,spend,city\n"


def number(low: float, high: float, *, missing: bool = False) -> Field:
    return Field("x", "number", float(low), float(high), (), missing)


def test_fields_follow_the_contract() -> None:
    assert [(f.name, f.kind, f.missing) for f in LISTED] == [
        ("age", "number", False),
        ("spend", "number", True),
        ("city", "category", False),
    ]
    assert ranges(LISTED) == {"age": "18 to 80", "spend": "1 to 2,500"}


@pytest.mark.parametrize(
    ("field", "start"),
    [
        (number(18, 80), 49.0),  # the middle, whole like its ends
        (number(0, 1), 0.0),  # a flag
        (number(-1.5, 2.5), 0.5),
        (number(30.5, 3000.0), 300.0),  # √(30.5 · 3000) = 302.5
        (number(7, 7), 7.0),
        (number(0.123, 0.124), 0.123),  # tidied, and still inside
        (number(0, 9, missing=True), 4.0),  # a value that is seldom missing is a poor one to begin without
        (Field("x", "number", None, None, (), False), None),
        (Field("x", "category", None, None, ("a", "b", "c"), False), "b"),
        (Field("x", "category", None, None, ("a", "b", "c"), True), "b"),
        (Field("x", "category", None, None, (), False), None),
    ],
)
def test_a_form_begins_inside_what_training_saw(field: Field, start: object) -> None:
    assert field.start == start


@pytest.mark.parametrize(
    ("low", "high", "step"),
    [(1, 12, 1.0), (0.0, 1.0, 1.0), (-1.5, 2.5, 0.2), (30, 3346, 200.0), (0.5, 0.5, 1.0), (0.0, 0.1, 0.005)],
)
def test_a_click_moves_a_number_by_about_a_twentieth(low: float, high: float, step: float) -> None:
    assert number(low, high).step == pytest.approx(step)


def test_users_are_read_as_the_contract_has_them() -> None:
    users = read_users(f"extra,{HEAD}1,u1,49,,Ulm\n2,u2, 50.5 ,NA,Köln\n".encode(), LISTED)
    assert users.units.to_list() == ["u1", "u2"]
    assert users.features.to_dicts() == [
        {"age": 49.0, "spend": None, "city": "Ulm"},
        {"age": 50.5, "spend": None, "city": "Köln"},
    ]
    assert users.ignored == ("extra",)
    assert not users.numbered
    assert users.repeated == 0


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_and_a_byte_order_mark(separator: str) -> None:
    text = f"{HEAD}u1,49,3,Ulm\n".replace(",", separator)
    assert read_users(b"\xef\xbb\xbf" + text.encode(), LISTED).features.row(0) == (49.0, 3.0, "Ulm")


def test_without_a_unit_users_are_called_by_their_line() -> None:
    users = read_users(b"age,spend,city\n49,3,Ulm\n50,3,Ulm\n", LISTED)
    assert users.units.to_list() == ["line 2", "line 3"]
    assert users.numbered


def test_a_category_may_be_called_na_and_keeps_its_zeros() -> None:
    listed = [Field("code", "category", None, None, ("007", "NA"), False)]
    assert read_users(b"unit,code\nu1,NA\nu2,007\nu3,\n", listed).features["code"].to_list() == ["NA", "007", None]


def test_a_feature_may_be_called_unit() -> None:
    users = read_users(b"unit\n3\n4\n", [Field("unit", "number", 0, 9, (), False)])
    assert users.units.to_list() == ["3", "4"]
    assert users.features["unit"].to_list() == [3.0, 4.0]


def test_repeated_units_are_counted() -> None:
    assert read_users(f"{HEAD}u1,1,1,Ulm\nu1,1,1,Ulm\nu2,1,1,Ulm\n".encode(), LISTED).repeated == 1


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"unit,age\nu1,3\n", r"no column 'spend', 'city'"),
        (HEAD.encode(), "no users below it"),
        (f"{HEAD}u1,1,1,Ulm\nu2,old,1,Ulm\nu3,?,1,Ulm\n".encode(), r"Line 3: age is 'old', .* \(1 more like it\)"),
        (f"{HEAD}u1,inf,1,Ulm\n".encode(), "Line 2: age is 'inf', which is no number"),
        (f'{HEAD}u1,"3,5",1,Ulm\n'.encode(), "Line 2: age is '3,5'"),
        (f"{HEAD}u1,1,1,Ulm\n,1,1,Ulm\n".encode(), "Line 3 has no unit"),
        (f"{HEAD}u1,1,1,Köln\n".encode("latin-1"), "UTF-8"),
        (f"{HEAD}u1,1,1,Ulm,5,6,7\n".encode(), "cannot be read as CSV"),
        (b"", "cannot be read as CSV"),
        (b"PK\x03\x04\x00\x00\xff\xfe", "UTF-8"),
    ],
)
def test_a_file_that_cannot_be_scored_is_refused_in_a_sentence(raw: bytes, message: str) -> None:
    with pytest.raises(UsersError, match=message):
        read_users(raw, LISTED)


def test_a_file_that_is_too_long_is_refused() -> None:
    with pytest.raises(UsersError, match="3 users, 2 at most"):
        read_users(f"{HEAD}{'u,1,1,Ulm' * 1}\nv,1,1,Ulm\nw,1,1,Ulm\n".encode(), LISTED, most=2)


@pytest.mark.parametrize("before", ["", "\n\n", "\ufeff\r\n", '"a\nb",'])
def test_a_file_with_too_many_columns_is_refused_before_it_is_parsed(
    before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    quoted = before.count(",")
    fits = before + HEAD.strip() + "," * (MOST_COLUMNS - 4 - quoted)
    assert len(read_users(f"{fits}\nu1{',1' * (MOST_COLUMNS - 1)}\n".encode(), LISTED)) == 1
    monkeypatch.delattr(pl, "read_csv")
    with pytest.raises(UsersError, match="2,001 columns, 2,000 at most"):
        read_users(f"{fits},\nu1\n".encode(), LISTED)


def test_the_template_is_a_file_that_can_be_read() -> None:
    users = read_users(template(LISTED).encode(), LISTED)
    assert users.features.to_dicts() == [
        {"age": 49.0, "spend": 50.0, "city": "Köln"},
        {"age": 80.0, "spend": 2500.0, "city": "Ulm"},
    ]


class Fake:
    """A service that treats from age 50 on, and remembers what it was asked."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.bundles = ["b"]

    def score(self, units: list[dict[str, Any]], share: float) -> tuple[list[dict[str, Any]], str]:
        assert share == 0.4
        self.sizes.append(len(units))
        bad = [i for i, unit in enumerate(units) if unit["features"]["age"] < 0]
        if bad:
            errors = [(f"/units/{i}/features/age", "Feature 'age' is odd.") for i in bad]
            raise ServiceRefused("Features break the contract", status=422, errors=errors)
        decisions = [
            decision(
                unit=unit["unit"],
                action="mail" if unit["features"]["age"] >= 50 else "none",
                effect=unit["features"]["age"],
                net_effect=unit["features"]["age"],
                interval=None,
            )
            for unit in units
        ]
        return decisions, self.bundles[min(len(self.sizes), len(self.bundles)) - 1]


def many(ages: list[float]) -> Any:
    return read_users((HEAD + "".join(f"u{i},{age},1,Ulm\n" for i, age in enumerate(ages))).encode(), LISTED)


def test_users_are_scored_in_chunks_and_sorted() -> None:
    fake, told = Fake(), []
    ages = [float(i % 100) for i in range(CHUNK + 7)]
    scored, bundle = score_users(fake, many(ages), 0.4, lambda *counts: told.append(counts))  # type: ignore[arg-type]
    assert bundle == "b"
    assert fake.sizes == [CHUNK, 7]
    assert told == [(CHUNK, CHUNK + 7), (CHUNK + 7, CHUNK + 7)]
    assert scored["net_effect"].to_list() == sorted(ages, reverse=True)
    chosen = to_treat(scored, "none")
    assert chosen.height == sum(age >= 50 for age in ages)
    assert set(chosen["action"]) == {"mail"}
    assert pl.read_csv(chosen.write_csv().encode())["unit"].to_list() == chosen["unit"].to_list()


def test_one_list_is_of_one_bundle() -> None:
    fake = Fake()
    fake.bundles = ["b", "b", "c"]
    with pytest.raises(UsersError, match=r"bundle was changed while the list was scored\. Score again\."):
        score_users(fake, many([1.0] * (2 * CHUNK + 1)), 0.4)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["=1+1", "+49", "-1", "@x", "\tx", "\rx"])
@pytest.mark.parametrize("column", ["unit", "action", "flags"])
def test_texts_a_spreadsheet_takes_for_formulas_are_counted_and_kept(text: str, column: str) -> None:
    sound = {"unit": "a=1", "action": "mail", "effect": -1.0, "flags": ""}
    listed = pl.DataFrame([sound, sound | {column: text}])
    assert formulas(listed) == 1
    assert formulas(listed.head(1)) == 0
    assert pl.read_csv(listed.write_csv().encode(), infer_schema=False)[column].to_list()[1] == text


def test_a_refusal_names_the_line_of_the_file() -> None:
    ages = [1.0] * (CHUNK + 2) + [-1.0]
    with pytest.raises(UsersError, match=rf"line {CHUNK + 2 + 2}: Feature 'age' is odd"):
        score_users(Fake(), many(ages), 0.4)  # type: ignore[arg-type]


@pytest.mark.parametrize("keyed", [True, False])
def test_the_first_call_is_one_a_shell_understands(keyed: bool) -> None:
    contract = json.loads(json.dumps(CONTRACT, ensure_ascii=False).replace("Köln", "L'Aquila"))
    words = shlex.split(first_call("http://127.0.0.1:8000", contract, keyed=keyed).replace("\\\n", ""))
    assert words[:2] == ["curl", "http://127.0.0.1:8000/v1/decide"]
    assert ("Authorization: Bearer $PERSUADABLE_API_KEY" in words) == keyed
    body = json.loads(words[words.index("--json") + 1])
    assert body == {"units": [{"unit": "u1", "features": {"age": 49.0, "spend": 50.0, "city": "L'Aquila"}}]}
