"""From frames, arrays and files to a validated log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import ActionError, DataError, FeatureError, OutcomeError, ParameterError, PropensityError
from persuadable.features import Features, label_text, native_frame
from persuadable.fingerprint import content_seed, row_identities, unit_identities
from persuadable.log import checks
from persuadable.log.decisions import DecisionLog
from persuadable.log.exchange import read_roles
from persuadable.log.tables import by_action
from persuadable.spaces import Discrete

MOST_ACTIONS = 10_000  # codes are int16, and every action needs rows of its own
LARGEST_FOOTER = 2**26
Source = str | PathLike[str] | bytes


@dataclass(frozen=True, slots=True)
class Roles:
    """Which column plays which part; the arguments of ``DecisionLog.from_frame``."""

    action: str
    control: str | int | bool | None
    actions: tuple[str, ...] | None
    outcomes: tuple[str, ...]
    features: tuple[str, ...] | None
    post_treatment: tuple[str, ...]
    categorical: tuple[str, ...]
    propensity: Any
    taken_propensity: str | None
    cost: str | None
    unit: str | None
    one_row_per_unit: bool
    time: str | None
    weight: str | None
    eligible: Any
    stage: str | None

    def taken(self) -> list[str]:
        """Columns with a role other than feature."""
        singles = [self.action, self.taken_propensity, self.cost, self.unit, self.time, self.weight, self.stage]
        named = [v for m in (self.propensity, self.eligible) if isinstance(m, Mapping) for v in m.values()]
        if isinstance(self.propensity, str):
            named.append(self.propensity)
        return [c for c in (*singles, *self.outcomes, *named) if isinstance(c, str)]


def names(told: str | Sequence[str]) -> tuple[str, ...]:
    """One name or several, as several."""
    return (told,) if isinstance(told, str) else tuple(told)


def read(source: Source, given: Mapping[str, Any]) -> DecisionLog:
    """A log from a file or from the bytes of a Parquet file, by the roles given and, failing those, the file's own."""
    frame, told = read_file(source)
    if "action" in given:  # what the file tells of propensities is about its own action
        told = {key: value for key, value in told.items() if key not in ("actions", "propensity", "eligible")}
    roles = {"name": stem(source), **told, **given}
    if absent := [role for role in ("action", "control", "outcomes") if role not in roles]:
        raise ParameterError(
            f"The file does not say which column is the {absent[0].removesuffix('s')}",
            remedy="Pass action=, control= and outcomes=; only files exported with their roles can be read without.",
        )
    if told:
        _require_outcomes(frame, names(roles["outcomes"]))
    if "propensity" not in given and "actions" in told:
        roles |= _without_impossible(frame, roles)
    return DecisionLog.from_frame(frame, **roles)


def _require_outcomes(frame: Any, outcomes: Sequence[str]) -> None:
    """Refuse an export whose outcomes have not all come in, in words about exports."""
    if not outcomes:
        raise OutcomeError("The export holds no outcome yet", remedy="Report outcomes first, then export again.")
    for name in outcomes:
        if name in frame.columns and (missing := frame[name].null_count()):
            raise OutcomeError(
                f"Outcome {name!r} is missing in {missing:,} of the {len(frame):,} decisions exported",
                remedy="Export with missing=zero where no report means that nothing happened, or with missing=drop to "
                "leave out decisions without one.",
            )


def _without_impossible(frame: Any, roles: Mapping[str, Any]) -> dict[str, Any]:
    """The actions and their propensities without the treatments that never had a chance."""
    columns = roles["propensity"]
    _require_columns([roles["action"], *columns.values()], frame.columns)
    taken = {label_text(v) for v in frame[roles["action"]].drop_nulls().unique().to_list()}
    kept = {
        label: column
        for label, column in columns.items()
        if label == roles["control"] or label in taken or not _all_zero(frame[column])
    }
    return {"actions": tuple(kept), "propensity": kept}


def _all_zero(series: Any) -> bool:
    return bool(series.dtype.is_numeric() and not series.null_count() and (series == 0).all())


def read_file(source: Source) -> tuple[Any, dict[str, Any]]:
    """A CSV or Parquet file (or a Parquet file's bytes) as a polars frame, and the roles it tells."""
    if isinstance(source, bytes):
        return _read_parquet(BytesIO(source), source[-8:], "the bytes given")
    import polars as pl

    file = Path(source)
    if not file.is_file():
        raise DataError(
            f"There is no file {str(source)!r}", remedy="Check the path; CSV and Parquet files can be read."
        )
    endings = set(file.suffixes)
    if endings & {".parquet", ".pq"}:
        with file.open("rb") as opened:
            opened.seek(max(0, file.stat().st_size - 8))
            return _read_parquet(file, opened.read(8), repr(file.name))
    if endings & {".csv", ".tsv"}:
        try:
            separator = "\t" if ".tsv" in endings else ","
            _require_separator(pl.read_csv(file, separator=separator, n_rows=0).columns, separator, file.name)
            return pl.read_csv(file, separator=separator, infer_schema_length=None), {}
        except (pl.exceptions.PolarsError, OSError) as error:
            raise _unreadable(repr(file.name), error) from error
    raise DataError(f"{file.name!r} is neither CSV nor Parquet", remedy="Name it .csv, .csv.gz, .tsv or .parquet.")


def _require_separator(columns: Sequence[str], separator: str, called: str) -> None:
    """Refuse a file of one column whose head holds what other files are separated by.

    A semicolon often goes with decimal commas, so the file is not read another way by a guess.
    """
    told = {";": "semicolons", "\t": "tabs", ",": "commas", "|": "bars"}
    found = [other for other in told if other != separator and len(columns) == 1 and other in columns[0]]
    if found:
        raise DataError(
            f"{called!r} is separated by {told[found[0]]}, not by {told[separator]}",
            where="its first line",
            remedy=f"Save it with {told[separator]}, and decimals with a point; or pass "
            f"polars.read_csv(…, separator={found[0]!r}, decimal_comma=…) to DecisionLog.from_frame.",
        )


def _read_parquet(source: Any, end: bytes, called: str) -> tuple[Any, dict[str, Any]]:
    """A Parquet file's frame and roles; ``end`` is its last 8 bytes, the length of its footer and a mark."""
    import polars as pl

    if len(end) < 8 or end[4:] != b"PAR1":
        raise _unreadable(called, "it does not end as a Parquet file does")
    if (size := int.from_bytes(end[:4], "little")) > LARGEST_FOOTER:
        raise _unreadable(called, f"its footer has {size:,} bytes, at most {LARGEST_FOOTER:,} are read")
    try:
        metadata = pl.read_parquet_metadata(source)
        if isinstance(source, BytesIO):
            source.seek(0)
        return pl.read_parquet(source), read_roles(metadata)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, UnicodeDecodeError) as error:
        raise _unreadable(called, error) from error


def _unreadable(called: str, why: object) -> DataError:
    return DataError(f"{called} cannot be read: {why}", remedy="Check that the file is whole.")


def stem(source: Source) -> str:
    """The file's name without its endings."""
    return "log" if isinstance(source, bytes) else Path(source).name.split(".")[0]


def from_frame(data: Any, roles: Roles, *, name: str) -> DecisionLog:
    frame = native_frame(data)
    if roles.taken_propensity is not None and not isinstance(roles.taken_propensity, str):
        raise ParameterError(
            f"taken_propensity is of type {type(roles.taken_propensity).__name__}, not the name of a column",
            remedy="Add the probabilities to the frame and name their column, or pass arrays to "
            "DecisionLog.from_arrays(…, taken_propensity=…).",
        )
    _require_columns(
        [*roles.taken(), *(roles.features or ()), *roles.post_treatment, *roles.categorical], frame.columns
    )
    if not len(frame):
        raise DataError(f"The log {name!r} is empty", remedy="Pass at least one row per arm.")
    if roles.taken().count(roles.action) > 1:
        raise ParameterError(
            f"Column {roles.action!r} is the action and plays another role too",
            remedy="Name another column for that role.",
        )
    if not roles.outcomes:
        raise ParameterError("No outcome was named", remedy="Pass outcomes= with at least one column.")
    roles = _with_named_tables(frame, roles)
    chosen = _feature_names(roles, frame.columns)
    if strange := [c for c in roles.categorical if c not in chosen]:
        raise ParameterError(
            f"Column {strange[0]!r} is to be a category and is no feature", remedy=f"The features are {chosen[:20]}."
        )
    features = Features.of(frame.select(chosen).to_native(), categorical=roles.categorical)
    outcomes = {c: _number_column(frame[c]) for c in _with_cost(roles)}

    def column(c: str | None) -> Any:
        return None if c is None else _plain_column(frame[c])

    def table(spec: Any) -> Any:
        if not isinstance(spec, Mapping):
            return frame[spec].to_numpy() if isinstance(spec, str) else spec
        return {label: frame[v].to_numpy() if isinstance(v, str) else v for label, v in spec.items()}

    labels = _labels(frame[roles.action])
    return _build(
        features,
        labels if roles.actions is None else np.array([label_text(v) for v in labels.tolist()]),
        outcomes,
        control=None if roles.control is None else label_text(roles.control),
        action_names=roles.actions,
        propensity=table(roles.propensity),
        taken_propensity=None if roles.taken_propensity is None else _number_column(frame[roles.taken_propensity]),
        cost=roles.cost,
        unit=column(roles.unit),
        one_row_per_unit=roles.one_row_per_unit,
        time=column(roles.time),
        weight=None if roles.weight is None else _number_column(frame[roles.weight]),
        eligible=table(roles.eligible),
        stage=column(roles.stage),
        name=name,
        places={
            "action": roles.action,
            "unit": roles.unit or "unit",
            "weight": roles.weight or "weight",
            "taken_propensity": roles.taken_propensity or "taken_propensity",
        },
    )


def _with_named_tables(frame: Any, roles: Roles) -> Roles:
    """The roles with the propensities and the eligibility that columns named as by ``DecisionLog.frame`` tell.

    Such columns, ``propensity:<label>`` and ``eligible:<label>``, are no features unless they are named so; what is
    passed for the role comes first.

    Raises:
        PropensityError, ActionError: some actions of the log have such a column, and others have none.
    """
    found = roles
    for role, error in (("propensity", PropensityError), ("eligible", ActionError)):
        columns = {c.removeprefix(f"{role}:"): c for c in frame.columns if c.startswith(f"{role}:")}
        if not columns or set(columns.values()) & set(roles.features or ()):
            continue
        labels = {label_text(value) for value in frame[roles.action].drop_nulls().unique().to_list()}
        if labels.isdisjoint(columns):
            continue
        if getattr(roles, role) is None and roles.taken_propensity is None:
            if untold := sorted(labels.difference(columns)):
                raise error(
                    f"There are columns like {next(iter(columns.values()))!r}, and none for {untold[0]!r}",
                    remedy=f"Add '{role}:{untold[0]}', pass {role}=, or leave these columns out.",
                )
            table: dict[str, Any] = {role: columns}
            found = replace(found, actions=found.actions or _control_first(tuple(columns), roles.control), **table)
        found = replace(found, post_treatment=(*found.post_treatment, *columns.values()))
    return found


def _control_first(labels: tuple[str, ...], control: str | int | bool | None) -> tuple[str, ...] | None:
    """The labels with the control in front; None where it is none of them, which is refused later."""
    if control is None:
        return labels
    first = label_text(control)
    return (first, *(label for label in labels if label != first)) if first in labels else None


def from_arrays(
    features: Any, action: Any, outcomes: Mapping[str, Any], *, action_names: Sequence[str] | None, **rest: Any
) -> DecisionLog:
    matrix = Features.of(features)
    labels = np.asarray(action)
    if labels.ndim != 1:
        raise ActionError(f"Actions have {labels.ndim} dimensions, expected 1", remedy="Pass one action per row.")
    if not len(matrix):
        raise DataError("The log is empty", remedy="Pass at least one row per arm.")
    told = rest.pop("control")
    control = None if told is None else label_text(told)
    if control is not None and action_names is not None and control.isdigit() and int(control) < len(action_names):
        control = control if control in action_names else str(action_names[int(control)])
    return _build(matrix, labels, outcomes, control=control, action_names=action_names, places=_ARRAY_PLACES, **rest)


_ARRAY_PLACES = {role: role for role in ("action", "unit", "weight", "taken_propensity")}


def _build(
    features: Features,
    labels: NDArray[Any],
    outcomes: Mapping[str, Any],
    *,
    control: str | None,
    action_names: Sequence[str] | None,
    propensity: Any,
    taken_propensity: Any,
    cost: str | None,
    unit: Any,
    one_row_per_unit: bool,
    time: Any,
    weight: Any,
    eligible: Any,
    stage: Any,
    name: str,
    places: Mapping[str, str],
) -> DecisionLog:
    n = len(features)
    for what, values in (("action", labels), ("unit", unit), ("time", time), ("weight", weight), ("stage", stage)):
        if values is not None:
            checks.length(values, n, places.get(what, what))
    codes, actions = encode_actions(labels, control, action_names, places["action"])
    checks.arms(codes, actions, places["action"])
    kept = {str(k): checks.numbers(v, str(k)) for k, v in outcomes.items()}
    for k, v in kept.items():
        checks.length(v, n, f"Outcome {k!r}")
    if cost is not None and cost not in kept:
        raise ParameterError(f"The cost {cost!r} is not among the outcomes", remedy=f"The outcomes are {list(kept)}.")
    allowed = None if eligible is None else _eligibility_table(eligible, n, actions)
    if allowed is not None:
        checks.eligibility(allowed, codes, actions)
    logged = None if propensity is None else _propensity_table(propensity, n, actions)
    if logged is not None:
        checks.propensities(logged, codes, actions, allowed)
    who = None if unit is None else _known(np.asarray(unit), places["unit"])
    drawn = None if taken_propensity is None else _drawn(taken_propensity, n, logged, places["taken_propensity"])
    rows = unit_identities(who) if who is not None else row_identities(n, content_seed([features.values, codes]))
    if who is not None and one_row_per_unit:
        checks.one_row_per_unit(who, rows, places["unit"])
    return DecisionLog(
        features=Features(features.values, features.columns, rows),
        action=codes,
        actions=actions,
        outcomes=kept,
        rows=rows,
        propensities=logged,
        propensity_source=None if logged is None and drawn is None else "logged",
        taken_propensities=drawn,
        cost_name=cost,
        eligible=allowed,
        time=None if time is None else _known(np.asarray(time), "time"),
        weight=None if weight is None else checks.numbers(weight, places["weight"], positive=True),
        unit=who,
        stage=None if stage is None else _stages(stage),
        name=name,
    )


def _drawn(values: Any, n: int, logged: NDArray[Any] | None, column: str) -> NDArray[np.floating[Any]]:
    """(n,) probabilities of the actions taken, for a log that has no others."""
    if logged is not None:
        raise ParameterError(
            "propensity= and taken_propensity= were both passed",
            remedy="The propensities of all actions say those of the actions taken; pass propensity= alone.",
        )
    chances = checks.probabilities(np.asarray(values))
    checks.taken_propensities(chances, n, column)
    return chances


def encode_actions(
    labels: NDArray[Any], control: str | None, names: Sequence[str] | None, column: str
) -> tuple[NDArray[np.int16], Discrete]:
    """Codes (n,) and the space, the control (if any) first and the others in order of their labels."""
    labels = _known(labels, column, ActionError)
    distinct, inverse = np.unique(labels, return_inverse=True)
    _require_few(distinct, column)
    if distinct.dtype.kind == "f" and (distinct == np.floor(distinct)).all():
        distinct = distinct.astype(np.int64)
    texts = [label_text(v) for v in distinct.tolist()]
    if control is None:
        control = str(names[0]) if names else texts[0]
    elif distinct.dtype.kind == "b":
        control = {"0": "False", "1": "True"}.get(control, control)
    elif control not in texts:
        control = {"False": "0", "True": "1"}.get(control, control)
    if names is not None and distinct.dtype.kind in "iub":
        out_of_range = [v for v in distinct.tolist() if not 0 <= int(v) < len(names)]
        if out_of_range:
            raise ActionError(
                f"Action code {out_of_range[0]} has no name among {list(names)}",
                where=f"column {column!r}, row {np.flatnonzero(labels == out_of_range[0])[0]}",
                remedy="Give a name for every code from 0.",
            )
        texts = [str(names[int(v)]) for v in distinct.tolist()]
    known = list(names) if names is not None else texts
    if len(known) == 1:
        raise ActionError(
            f"Only one arm has rows: all {labels.size} took {known[0]!r}",
            where=f"column {column!r}",
            remedy="An effect needs a control and a treated group; pass the rows of both.",
        )
    if control not in known:
        raise ActionError(
            f"The control label {control!r} does not occur",
            where=f"column {column!r}",
            remedy=f"Pass control= one of {known[:20]}.",
        )
    actions = Discrete((control, *(t for t in known if t != control)))
    code = np.array([actions.index(t) for t in texts], dtype=np.int16)
    return code[inverse], actions


def _require_few(distinct: NDArray[Any], column: str) -> None:
    if distinct.size > MOST_ACTIONS:
        raise ActionError(
            f"There are {distinct.size:,} different actions",
            where=f"column {column!r}",
            remedy=f"At most {MOST_ACTIONS:,} can be told apart; group them, or name the column of the action.",
        )


def _known(values: NDArray[Any], column: str, error: type[DataError] = DataError) -> NDArray[Any]:
    """The values, none of them missing."""
    if values.dtype.kind == "f":
        missing = np.isnan(values)
    elif values.dtype.kind in "mM":
        missing = np.isnat(values)
    elif values.dtype.kind == "O":
        missing = np.array([v is None or v != v for v in values.tolist()], dtype=np.bool_)
    else:
        return values
    if missing.any():
        raise error(
            "A value is missing",
            where=f"column {column!r}, row {np.flatnonzero(missing)[0]}",
            remedy="Fill it in or drop the row.",
        )
    return values.astype(np.str_) if values.dtype.kind == "O" else values


def _stages(stage: Any) -> NDArray[np.int16]:
    values = checks.numbers(stage, "stage")
    if (values != np.floor(values)).any() or (values < 0).any():
        raise DataError("Stages must be whole numbers from 0", remedy="Number a unit's decisions 0, 1, 2, …")
    return values.astype(np.int16)


def _with_cost(roles: Roles) -> list[str]:
    extra = [roles.cost] if roles.cost is not None and roles.cost not in roles.outcomes else []
    return [*roles.outcomes, *extra]


def _feature_names(roles: Roles, columns: Sequence[str]) -> list[str]:
    taken = set(roles.taken())
    if roles.features is None:
        left = [c for c in columns if c not in taken and c not in roles.post_treatment]
        if not left:
            raise FeatureError(
                "No column is left to be a feature", remedy="Add what was known of each unit before the decision."
            )
        return left
    if not roles.features:
        raise FeatureError("No feature was named", remedy="Pass features= with at least one column, or leave it out.")
    if twice := [c for c in roles.features if roles.features.count(c) > 1]:
        raise FeatureError(f"Feature {twice[0]!r} appears twice", remedy="Name each feature once.")
    checks.known_before(roles.features, (*roles.post_treatment, *roles.outcomes))
    both = [c for c in roles.features if c in taken]
    if both:
        raise ParameterError(
            f"Column {both[0]!r} is a feature and plays another role too",
            remedy="Features must be known before the decision; leave it out of features=.",
        )
    return list(roles.features)


def _require_columns(wanted: Sequence[str], have: Sequence[str]) -> None:
    for name in wanted:
        if name not in have:
            raise DataError(f"There is no column {name!r}", remedy=f"The columns are {list(have)[:40]}.")


def _labels(series: Any) -> NDArray[Any]:
    missing = series.is_null().to_numpy()
    if missing.any():
        raise ActionError(
            "The action is missing",
            where=f"column {series.name!r}, row {np.flatnonzero(missing)[0]}",
            remedy="Fill it in or drop the row.",
        )
    values = series.to_numpy()
    return values if values.dtype.kind in "iubf" else np.array([label_text(v) for v in series.to_list()])


def _number_column(series: Any) -> Any:
    """A numeric column as numbers with NaN for null; anything else as it is, for the check to refuse."""
    import narwhals.stable.v2 as nw

    if not (series.dtype.is_numeric() or series.dtype == nw.Boolean):
        return np.array(series.to_list(), dtype=object)
    if series.null_count() or series.dtype == nw.Decimal:
        return series.cast(nw.Float64).fill_null(float("nan")).to_numpy()
    return series.to_numpy()


def _plain_column(series: Any) -> NDArray[Any]:
    import narwhals.stable.v2 as nw

    if series.dtype in (nw.String, nw.Categorical, nw.Enum):
        missing = series.is_null().to_list()
        values = [None if gone else v for v, gone in zip(series.to_list(), missing, strict=True)]
        return np.array(values, dtype=object)
    return np.asarray(series.to_numpy())


def _action_table(spec: Any, n: int, actions: Discrete, *, default: Any) -> NDArray[Any]:
    """(n, A) from a mapping of labels to columns or scalars; actions left out get ``default``."""
    if not isinstance(spec, Mapping):
        return np.asarray(spec)
    columns: list[Any] = [default] * len(actions)
    for label, values in spec.items():
        columns[actions.index(label_text(label))] = values
    if all(np.ndim(c) == 0 for c in columns):
        return np.broadcast_to(np.array(columns), (n, len(actions)))
    return np.stack([np.broadcast_to(np.asarray(c), (n,)) for c in columns], axis=1)


def _eligibility_table(spec: Any, n: int, actions: Discrete) -> NDArray[np.bool_]:
    if isinstance(spec, Mapping):
        spec = {label: checks.booleans(np.asarray(v), label_text(label)) for label, v in spec.items()}
        return _action_table(spec, n, actions, default=True)
    return checks.booleans(np.asarray(spec), "one of the actions")


def _propensity_table(spec: Any, n: int, actions: Discrete) -> NDArray[Any]:
    if isinstance(spec, Mapping):
        told = {label_text(label) for label in spec}
        if untold := [a for a in actions if a not in told]:
            raise PropensityError(
                f"The propensity of {untold[0]!r} is not given", remedy=f"Give one for each of {list(actions)}."
            )
        return checks.probabilities(_action_table(spec, n, actions, default=None))
    if isinstance(spec, list | tuple) and spec and all(isinstance(one, str) for one in spec):
        raise PropensityError(
            f"propensity is {list(spec)!r}, which does not say whose probability each column is",
            remedy=f"Pass a mapping of every action to its column: {{{actions.names[0]!r}: {spec[0]!r}, …}}.",
        )
    table = checks.probabilities(np.asarray(by_action(spec, actions.names, "propensities")))
    if table.ndim == 2:
        return table
    table = table.astype(np.float64)
    if len(actions) != 2:
        raise PropensityError(
            f"One propensity cannot describe {len(actions)} actions",
            remedy="Pass a mapping from each action's label to its probability or column, or an (n, A) array.",
        )
    if table.ndim == 0:
        return np.broadcast_to(np.array([1 - table, table]), (n, 2))
    checks.length(table, n, "propensity")
    return np.stack([1 - table, table], axis=1)
