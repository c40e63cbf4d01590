"""Features: any frame or matrix becomes the same float32 matrix, or a refusal that helps."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persuadable.errors import FeatureError, ParameterError
from persuadable.features import Column, Features, is_frame, label_text

TABLE: dict[str, list[Any]] = {
    "age": [31, None, 18, 77],
    "spend": [0.5, 2.25, None, -1.0],
    "member": [True, False, None, True],
    "town": ["Ulm", None, "Bonn", "Ulm"],
}
EXPECTED = np.array([[31, 0.5, 1, 1], [np.nan, 2.25, 0, np.nan], [18, np.nan, np.nan, 0], [77, -1, 1, 1]], np.float32)
FRAMES = {
    "polars": pl.DataFrame(TABLE),
    "lazy": pl.DataFrame(TABLE).lazy(),
    "pandas": pd.DataFrame(TABLE | {"member": [1.0, 0.0, None, 1.0]}),
    "pandas-nullable": pd.DataFrame(TABLE).convert_dtypes(),
    "pandas-categorical": pd.DataFrame(TABLE).convert_dtypes().astype({"town": "category"}),
    "polars-categorical": pl.DataFrame(TABLE, schema_overrides={"town": pl.Categorical}),
    "polars-enum": pl.DataFrame(TABLE, schema_overrides={"town": pl.Enum(["Ulm", "Bonn"])}),
    "pyarrow": pa.table(TABLE),
    "pyarrow-dictionary": pa.table(TABLE | {"town": pa.array(TABLE["town"]).dictionary_encode()}),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_every_kind_of_frame_reads_the_same(kind: str) -> None:
    features = Features.of(FRAMES[kind])
    assert features.values.dtype == np.float32
    assert features.values.flags.c_contiguous
    np.testing.assert_array_equal(features.values, EXPECTED)
    assert features.columns == (
        Column("age"),
        Column("spend"),
        Column("member"),
        Column("town", "category", ("Bonn", "Ulm")),
    )
    assert features.categorical.tolist() == [False, False, False, True]
    assert features.shape == (4, 4)
    assert len(features) == 4


@pytest.mark.parametrize("kind", FRAMES)
def test_known_columns_are_read_in_their_order_and_codes(kind: str) -> None:
    columns = (Column("town", "category", ("Aachen", "Ulm", "Bonn")), Column("age"))
    features = Features.of(FRAMES[kind], columns)
    np.testing.assert_array_equal(features.values, np.array([[1, 31], [np.nan, np.nan], [2, 18], [1, 77]], np.float32))
    assert features.columns == columns


def test_an_array_gets_names_by_position() -> None:
    features = Features.of(np.arange(6).reshape(3, 2))
    assert features.names == ["f0", "f1"]
    np.testing.assert_array_equal(np.asarray(features), [[0, 1], [2, 3], [4, 5]])
    assert np.array(features, dtype=np.float64).dtype == np.float64


def test_numbers_can_be_read_as_categories() -> None:
    features = Features.of(pl.DataFrame({"zip": [89073, None, 53111], "x": [1, 2, 3]}), categorical=["zip"])
    assert features.columns[0] == Column("zip", "category", ("53111", "89073"))
    np.testing.assert_array_equal(features.values[:, 0], [1, np.nan, 0])
    # A missing value makes pandas store floats; the labels stay those of integers.
    floats = Features.of(pd.DataFrame({"zip": [89073.0, np.nan, 53111.0], "x": [1, 2, 3]}), categorical=["zip"])
    assert floats.columns == features.columns


def test_a_category_learned_from_integers_reads_floats_and_text_alike() -> None:
    columns = Features.of(pl.DataFrame({"zip": [3, 5]}), categorical=["zip"]).columns
    for later in ([5, 3], [5.0, 3.0], ["5", "3"]):
        np.testing.assert_array_equal(Features.of(pl.DataFrame({"zip": later}), columns).values, [[1], [0]])


@pytest.mark.parametrize("value", [1.0, 1, True, "x", 1.5])
def test_label_text(value: Any) -> None:
    assert label_text(value) == {1.0: "1", "x": "x", 1.5: "1.5"}.get(value, str(value)) if value is not True else "True"


def test_decimals_are_numbers() -> None:
    frame = pl.DataFrame({"amount": [Decimal("1.25"), None]})
    np.testing.assert_array_equal(Features.of(frame).values, np.array([[1.25], [np.nan]], np.float32))


def test_a_column_of_nulls_is_missing_everywhere() -> None:
    frame = pl.DataFrame({"x": [None, None], "town": [None, None]})
    features = Features.of(frame, (Column("x"), Column("town", "category", ("a", "b"))))
    assert np.isnan(features.values).all()


def test_rows_and_frame_come_back() -> None:
    features = Features.of(FRAMES["polars"])
    part = features.take(np.array([True, False, True, False]))
    assert part.frame()["town"].to_list() == ["Ulm", "Bonn"]
    assert part.frame()["spend"].to_list() == [0.5, None]
    assert features.take(slice(1, 3)).frame()["age"].to_list() == [None, 18]
    assert Features.of(features) is features


@given(
    values=st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6, width=32)), min_size=1, max_size=20),
    labels=st.lists(st.one_of(st.none(), st.sampled_from(["a", "b", "ccc", ""])), min_size=20, max_size=20),
)
def test_reading_what_frame_writes_changes_nothing(values: list[float | None], labels: list[str | None]) -> None:
    frame = pl.DataFrame({"x": values, "g": labels[: len(values)]}, schema={"x": pl.Float64, "g": pl.String})
    features = Features.of(frame)
    again = Features.of(features.frame(), features.columns)
    np.testing.assert_array_equal(again.values, features.values)
    np.testing.assert_array_equal(Features.of(features.frame()).values, features.values)


def test_aligned_reorders_drops_and_recodes() -> None:
    features = Features.of(FRAMES["polars"])
    columns = (Column("town", "category", ("Ulm", "Bonn", "Köln")), Column("age"))
    np.testing.assert_array_equal(features.aligned(columns).values, Features.of(FRAMES["polars"], columns).values)
    assert features.aligned(features.columns) is features
    assert features.aligned([]).shape == (4, 0)


def refused(match: str, data: Any, columns: Any = None, **more: Any) -> None:
    with pytest.raises(FeatureError, match=match):
        Features.of(data, columns, **more)


@pytest.mark.parametrize(
    "values",
    [[dt.datetime(2026, 1, 1)], [dt.date(2026, 1, 1)], [dt.timedelta(1)], [[1, 2]], [{"a": 1}], [b"raw"]],
    ids=["datetime", "date", "duration", "list", "struct", "binary"],
)
def test_types_trees_cannot_read(values: list[Any]) -> None:
    refused(
        "Feature 'when' has type .*, which trees cannot read. Convert it to a number", pl.DataFrame({"when": values})
    )


def test_text_mixed_with_numbers_in_pandas() -> None:
    refused("Feature 'a' has type Object.*Convert it", pd.DataFrame({"a": ["u", 1]}))


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e39])
def test_infinite_feature(value: float) -> None:
    frame = pl.DataFrame({"ok": [1.0, 2.0, None], "big": [0.0, 1.0, value]})
    refused(r"Feature 'big' is infinite \(row 2\). Replace infinite values by null", frame)
    refused(r"Feature 'f1' is infinite \(row 2\)", frame.to_numpy())


def test_unseen_category() -> None:
    columns = Features.of(pl.DataFrame({"town": ["a", "b"]})).columns
    later = pl.DataFrame({"town": ["a", None, "z"]})
    match = r"Feature 'town' holds the unknown category 'z' \(row 2\).*\['a', 'b'\].*or to null"
    refused(match, later, columns)
    refused(match, Features.of(later), columns)


def test_absent_feature() -> None:
    match = r"Feature 'y' is absent, and 1 more \(the data has \['x'\]\). Pass every feature"
    columns = (Column("x"), Column("y"), Column("z"))
    refused(match, pl.DataFrame({"x": [1]}), columns)
    refused(match, Features.of(pl.DataFrame({"x": [1]})), columns)


def test_a_number_where_a_category_was_and_the_reverse() -> None:
    text, number = pl.DataFrame({"x": ["1"]}), pl.DataFrame({"x": [1]})
    refused("Feature 'x' is text, expected a number. Convert it", text, (Column("x"),))
    refused("Feature 'x' is a category, expected a number", Features.of(text), (Column("x"),))
    refused("Feature 'x' is a number, expected a category", Features.of(number), (Column("x", "category", ("1",)),))


def test_an_array_of_another_width() -> None:
    refused(
        r"The array has 3 features, expected 2. Pass the features \['a', 'b'\]",
        np.zeros((4, 3)),
        [Column("a"), Column("b")],
    )


@pytest.mark.parametrize("code", [2.0, -1.0, 0.5])
def test_an_array_with_a_code_that_is_none(code: float) -> None:
    columns = (Column("x"), Column("town", "category", ("a", "b")))
    data = np.array([[1, 0], [np.nan, np.nan], [1, code]])
    refused(r"Feature 'town' holds .*not a category code below 2 \(row 2\). Pass a frame", data, columns)
    assert Features.of(data[:2], columns).shape == (2, 2)


@pytest.mark.parametrize("data", [np.zeros(3), np.zeros((2, 2, 2)), np.array([["a"]]), np.array([[1j]])])
def test_what_is_neither_frame_nor_matrix(data: Any) -> None:
    refused("Features must be a frame or a 2-D numeric array", data)


def test_a_name_twice() -> None:
    refused("column name twice. Rename or drop", pd.DataFrame([[1, 2]], columns=["a", "a"]))
    refused("Feature 'a' appears twice. Rename or drop", np.zeros((1, 2)), (Column("a"), Column("a")))


def test_values_and_columns_must_match() -> None:
    with pytest.raises(FeatureError, match=r"Features of shape \(1, 2\) do not match 1 columns"):
        Features(np.zeros((1, 2), np.float32), (Column("a"),))


def test_categorical_names_columns_of_a_frame() -> None:
    with pytest.raises(ParameterError, match=r"categorical= names columns of a frame. Pass a frame"):
        Features.of(np.zeros((2, 2)), categorical=["f0"])
    refused(r"Feature 'twon' is absent", pl.DataFrame({"town": [1]}), categorical=["twon"])


def test_is_frame() -> None:
    assert all(is_frame(frame) for frame in FRAMES.values())
    assert not is_frame(np.zeros((2, 2)))
    assert not is_frame([[1, 2]])
