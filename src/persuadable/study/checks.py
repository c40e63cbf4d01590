"""What a study refuses or points at before anything is fitted: columns and choices that were not meant so."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from persuadable.effects import FunnelLearner
from persuadable.errors import DataError, FeatureError, OutcomeError, ParameterError
from persuadable.log import DecisionLog
from persuadable.study.plan import StudyPlan
from persuadable.value.fair.groups import segments_of

__all__ = ["require_descriptions", "require_plan"]

MANY = 50
"""Categories up to which a feature is taken to describe people, however few rows there are."""


def require_descriptions(log: DecisionLog) -> None:
    """Refuse a category with nearly a value of its own for every row, such as a customer's number.

    Raises:
        DataError: more than half as many categories as rows, and more than ``MANY``.
    """
    for i, column in enumerate(log.features.columns):
        if len(column.categories) <= max(MANY, log.n / 2):
            continue
        codes = log.features.values[:, i]
        found = len(np.unique(codes[~np.isnan(codes)]))
        if found > max(MANY, log.n / 2):
            raise DataError(
                f"Column {column.name!r} has {found:,} values in {log.n:,} rows: it names people rather than "
                "describes them",
                remedy=f"Name it as the unit (--unit {column.name}), or leave it out (--drop {column.name}).",
            )


def require_plan(log: DecisionLog, plan: StudyPlan, segments: Mapping[str, ArrayLike]) -> None:
    """Refuse what a plan asks of a log and the log cannot give, rather than after everything was fitted.

    Args:
        log: n rows; its first outcome is what is to be raised.
        plan: the choices.
        segments: name → (n,) labels or numbers of segments that are not among the features.

    Raises:
        FeatureError: a segment that is nowhere, or that came about after the action.
        DataError, ParameterError: a segment without groups to compare, or with too many; two costs.
        OutcomeError: ``plan.through`` is no step on the way to the outcome.

    Warns:
        UserWarning: conversions are to be paid for, and the outcome is none.
    """
    require_descriptions(log)
    _require_segments(log, plan, segments)
    if plan.through is not None:
        _require_step(log, plan.through)
    if plan.value_per_conversion is not None:
        _look_at_conversions(log, plan.value_per_conversion)


def _require_segments(log: DecisionLog, plan: StudyPlan, segments: Mapping[str, ArrayLike]) -> None:
    for name in plan.segments:
        if name in log.outcomes:
            raise FeatureError(
                f"{name!r} came about after the action, so it is no segment",
                remedy="Name a column that was known before: what people are, not what they did then.",
            )
        if name not in segments and name not in log.features.names:
            raise FeatureError(
                f"There is no segment {name!r}",
                remedy=f"Name a feature of {log.features.names}, or give the labels of its rows: segments=.",
            )
        if name in segments or log.features.columns[log.features.names.index(name)].kind != "number":
            segments_of(log, {name: segments.get(name, name)})  # refuses one group, and too many


def _require_step(log: DecisionLog, through: str) -> None:
    try:
        FunnelLearner(through).reached(log, log.primary)
    except OutcomeError as error:
        raise OutcomeError(
            error.what,
            where=f"through {through!r}",
            remedy="Name a column of 0 and 1 that comes before the outcome, or leave through= out.",
        ) from None


def _look_at_conversions(log: DecisionLog, value: float) -> None:
    if log.cost_name is not None:
        raise ParameterError(
            f"What a decision costs is told twice: by the column {log.cost_name!r} and as the cost of a contact",
            remedy="Leave cost= out, and pass what a contact costs on average as cost_per_contact=; or leave out both "
            "amounts, and everything is about the outcome net of its cost.",
        )
    if not log.is_binary(log.primary):
        y = log.outcome()
        shown = y[(y != 0) & (y != 1)][0]
        warnings.warn(
            f"{log.primary!r} does not count conversions: it holds {shown:.6g}. Each unit of it is taken to bring "
            f"{value:g}; for money that is 1, or the margin.",
            UserWarning,
            stacklevel=3,
        )
