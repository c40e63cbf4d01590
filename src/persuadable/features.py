"""Features: any frame or matrix on the way in, one float32 matrix inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import FeatureError, ParameterError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Column", "Features", "is_frame", "native_frame"]

Kind = Literal["number", "category"]


@dataclass(frozen=True, slots=True)
class Column:
    """A feature's name and kind; a category's code is its label's place in ``categories``."""

    name: str
    kind: Kind = "number"
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """The features of n units, ready for trees.

    Attributes:
        values: (n, d) float32, row-major; categories as codes; NaN is a missing value.
        columns: what each of the d columns holds.
        rows: (n,) uint64 identities of the rows, where they come from a log.
    """

    values: NDArray[np.float32]
    columns: tuple[Column, ...]
    rows: NDArray[np.uint64] | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(self.columns):
            raise FeatureError(
                f"Features of shape {self.values.shape} do not match {len(self.columns)} columns",
                remedy="Pass a matrix with one column per feature.",
            )
        names = self.names
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise FeatureError(f"Feature {twice!r} appears twice", remedy="Rename or drop one of them.")

    @classmethod
    def of(cls, data: Any, columns: Sequence[Column] | None = None, *, categorical: Sequence[str] = ()) -> Features:
        """Read features from a frame (pandas, polars, pyarrow) or a 2-D array.

        Args:
            data: a frame, a 2-D array, or ``Features``.
            columns: the columns to read, in this order and with these categories; learned from the data if None.
            categorical: names of numeric columns to be read as categories.

        Raises:
            FeatureError: a column is absent, of a type trees cannot read, infinite, or holds an unknown category.
        """
        if isinstance(data, Features):
            return data if columns is None else data.aligned(columns)
        if is_frame(data):
            return _from_frame(native_frame(data), columns, frozenset(categorical))
        if categorical:
            raise ParameterError("categorical= names columns of a frame", remedy="Pass a frame, not an array.")
        return _from_array(data, columns)

    def __len__(self) -> int:
        return int(self.values.shape[0])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.values, dtype=dtype) if copy else np.asarray(self.values, dtype=dtype)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        n, d = self.values.shape
        return n, d

    @property
    def names(self) -> list[str]:
        """Feature names, in column order."""
        return [column.name for column in self.columns]

    def segments(self, name: str) -> tuple[tuple[str, ...], NDArray[np.intp]]:
        """Labels of the segments that a category divides the units into, and (n,) each unit's, −1 where it is missing.

        Raises:
            FeatureError: there is no such feature, or it is a number.
        """
        if name not in self.names:
            raise FeatureError(f"There is no feature {name!r} to segment by", remedy=f"There are {self.names}.")
        at = self.names.index(name)
        column, values = self.columns[at], self.values[:, at]
        if column.kind != "category":
            raise FeatureError(
                f"Feature {name!r} is a number, and segments have names",
                remedy="Cut it into ranges, or name it among the categories: DecisionLog.from_frame(…, categorical=…).",
            )
        return column.categories, np.where(np.isnan(values), -1, values).astype(np.intp)

    @property
    def categorical(self) -> NDArray[np.bool_]:
        """(d,) which columns hold category codes."""
        return np.array([column.kind == "category" for column in self.columns], dtype=np.bool_)

    def take(self, rows: NDArray[Any] | slice) -> Features:
        """The features of some rows, by index, mask or slice."""
        return replace(self, values=self.values[rows], rows=None if self.rows is None else self.rows[rows])

    def aligned(self, columns: Sequence[Column]) -> Features:
        """The same rows with exactly these columns, in this order and with these category codes.

        Raises:
            FeatureError: a column is absent, of another kind, or holds a category not in ``columns``.
        """
        wanted = tuple(columns)
        if wanted == self.columns:
            return self
        have = {column.name: i for i, column in enumerate(self.columns)}
        _require_names([c.name for c in wanted], list(have))
        parts = [_recoded(self.values[:, have[c.name]], self.columns[have[c.name]], c) for c in wanted]
        return replace(self, values=np.stack(parts, axis=1) if parts else self.values[:, :0], columns=wanted)

    def frame(self) -> pl.DataFrame:
        """The features as a polars frame, categories by label and missing values as null."""
        import polars as pl

        return pl.DataFrame([_labelled(column, self.values[:, i]) for i, column in enumerate(self.columns)])


def _labelled(column: Column, values: NDArray[np.float32]) -> pl.Series:
    import polars as pl

    if column.kind == "number":
        return pl.Series(column.name, values, nan_to_null=True)
    labels = [None if np.isnan(v) else column.categories[int(v)] for v in values.tolist()]
    return pl.Series(column.name, labels, dtype=pl.Enum(column.categories))


def is_frame(data: Any) -> bool:
    """Whether ``data`` is a frame narwhals can read (pandas, polars, pyarrow, …)."""
    import narwhals.stable.v2 as nw

    return isinstance(_narwhal(data, pass_through=True), nw.DataFrame | nw.LazyFrame)


def native_frame(data: Any) -> Any:
    """Any frame as a narwhals eager frame."""
    import narwhals.stable.v2 as nw

    frame = _narwhal(data, pass_through=False)
    return frame.collect() if isinstance(frame, nw.LazyFrame) else frame


def _narwhal(data: Any, *, pass_through: bool) -> Any:
    import narwhals.stable.v2 as nw
    from narwhals.exceptions import DuplicateError

    try:
        return nw.from_native(data, pass_through=pass_through)
    except DuplicateError as error:
        raise FeatureError("The frame has a column name twice", remedy="Rename or drop one of them.") from error
    except TypeError as error:
        raise FeatureError(
            f"A {type(data).__name__} is not a frame", remedy="Pass a pandas, polars or pyarrow frame."
        ) from error


def _require_names(wanted: Sequence[str], have: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in have]
    if missing:
        raise FeatureError(
            f"Feature {missing[0]!r} is absent" + (f", and {len(missing) - 1} more" if len(missing) > 1 else ""),
            where=f"the data has {list(have)[:20]}",
            remedy="Pass every feature the model was fitted on, by the same names.",
        )


def _recoded(values: NDArray[np.float32], have: Column, want: Column) -> NDArray[np.float32]:
    """Column values with the codes of ``want``."""
    if have.kind != want.kind:
        raise FeatureError(
            f"Feature {want.name!r} is a {have.kind}, expected a {want.kind}",
            remedy="Read both logs with the same column types.",
        )
    if have.categories == want.categories:
        return values
    code = {label: i for i, label in enumerate(want.categories)}
    table = np.array([code.get(label, -1) for label in have.categories] or [-1], dtype=np.float32)
    known = ~np.isnan(values)
    recoded = np.full(values.shape, np.nan, dtype=np.float32)
    recoded[known] = table[values[known].astype(np.intp)]
    unseen = np.flatnonzero(recoded == -1)
    if unseen.size:
        raise _unseen(want, have.categories[int(values[unseen[0]])], int(unseen[0]))
    return recoded


def _unseen(column: Column, label: str, row: int) -> FeatureError:
    known = list(column.categories[:10])
    return FeatureError(
        f"Feature {column.name!r} holds the unknown category {label!r}",
        where=f"row {row}",
        remedy=f"Known categories are {known}{' …' if len(column.categories) > 10 else ''}; "
        "map it to one of them, or to null for a missing value.",
    )


def _require_finite(values: NDArray[np.float32], names: Sequence[str]) -> None:
    if np.isfinite(values.sum(dtype=np.float64)) or not np.isinf(values).any():
        return
    row, column = (int(i[0]) for i in np.nonzero(np.isinf(values)))
    raise FeatureError(
        f"Feature {names[column]!r} is infinite",
        where=f"row {row}",
        remedy="Replace infinite values by null (missing) or by a finite bound (float32 holds up to 3.4e38).",
    )


def _from_array(data: Any, columns: Sequence[Column] | None) -> Features:
    array = np.asarray(data)
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise FeatureError(
            f"Features must be a frame or a 2-D numeric array, got {array.ndim}-D of {array.dtype}",
            remedy="Reshape to (rows, features), or pass a frame to use text columns as categories.",
        )
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(array, dtype=np.float32)
    told = tuple(columns) if columns is not None else tuple(Column(f"f{i}") for i in range(values.shape[1]))
    if len(told) != values.shape[1]:
        raise FeatureError(
            f"The array has {values.shape[1]} features, expected {len(told)}",
            remedy=f"Pass the features {[c.name for c in told][:20]} in this order, or a frame with these names.",
        )
    _require_finite(values, [c.name for c in told])
    for i, column in enumerate(told):
        if column.kind == "category":
            _require_codes(values[:, i], column)
    return Features(values, told)


def _require_codes(values: NDArray[np.float32], column: Column) -> None:
    with np.errstate(invalid="ignore"):
        wrong = ~np.isnan(values) & ((values < 0) | (values >= len(column.categories)) | (values != np.floor(values)))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise FeatureError(
            f"Feature {column.name!r} holds {values[row]!r}, not a category code below {len(column.categories)}",
            where=f"row {row}",
            remedy="Pass a frame with the category labels instead of an array.",
        )


def _from_frame(frame: Any, columns: Sequence[Column] | None, categorical: frozenset[str]) -> Features:
    if columns is not None:
        _require_names([c.name for c in columns], frame.columns)
    _require_names(sorted(categorical), frame.columns)
    names = [c.name for c in columns] if columns is not None else list(frame.columns)
    known: Mapping[str, Column] = {c.name: c for c in columns} if columns is not None else {}
    values = np.empty((len(frame), len(names)), dtype=np.float32)
    told = []
    for i, name in enumerate(names):
        values[:, i], column = read_column(frame[name], known.get(name), as_category=name in categorical)
        told.append(column)
    _require_finite(values, names)
    return Features(values, tuple(told))


def read_column(
    series: Any, known: Column | None = None, *, as_category: bool = False
) -> tuple[NDArray[np.float32], Column]:
    """One narwhals series as (n,) float32 values and its description, learned where not known.

    Raises:
        FeatureError: a type trees cannot read, or not what is known of it.
    """
    import narwhals.stable.v2 as nw

    text = series.dtype in (nw.String, nw.Categorical, nw.Enum)
    numeric = series.dtype.is_numeric() or series.dtype == nw.Boolean
    if series.dtype == nw.Unknown and series.null_count() == len(series):
        numeric = not (text := known is not None and known.kind == "category")
    if not (text or numeric):
        raise FeatureError(
            f"Feature {series.name!r} has type {series.dtype}, which trees cannot read",
            remedy="Convert it to a number, a boolean or text, or leave it out of features=.",
        )
    if as_category or text or (known is not None and known.kind == "category"):
        return _read_category(series, known)
    if known is not None and known.kind != "number":
        raise FeatureError(f"Feature {series.name!r} is a number, expected a category", remedy="Pass its labels.")
    with np.errstate(over="ignore"):
        return _numbers(series), known or Column(series.name)


def _numbers(series: Any) -> NDArray[np.float32]:
    import narwhals.stable.v2 as nw

    return np.asarray(series.cast(nw.Float64).fill_null(float("nan")).to_numpy(), dtype=np.float32)


def label_text(value: Any) -> str:
    """A category's text; 1.0 reads as "1", because a missing value elsewhere turns integers into floats."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _read_category(series: Any, known: Column | None) -> tuple[NDArray[np.float32], Column]:
    import polars as pl

    missing = series.is_null().to_list()
    texts = [None if gone else label_text(v) for v, gone in zip(series.to_list(), missing, strict=True)]
    labels = pl.Series(series.name, texts, dtype=pl.String)
    if known is not None and known.kind == "number":
        raise FeatureError(f"Feature {series.name!r} is text, expected a number", remedy="Convert it to numbers.")
    column = known or Column(series.name, "category", tuple(labels.drop_nulls().unique().sort().to_list()))
    codes = labels.replace_strict(
        list(column.categories) or [""], list(range(len(column.categories))) or [0], default=-1, return_dtype=pl.Float32
    )
    codes = pl.select(pl.when(labels.is_null()).then(None).otherwise(codes)).to_series()
    unseen = (codes == -1).arg_true()
    if unseen.len():
        raise _unseen(column, labels[unseen[0]], int(unseen[0]))
    return codes.fill_null(float("nan")).to_numpy().astype(np.float32), column
