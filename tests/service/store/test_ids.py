"""Ids sort by time."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from persuadable.service.store import ids

TIMES = st.integers(0, 2**47 * 1000)


@given(TIMES, st.integers(1, 5000))
def test_ids_sort_by_the_microsecond(made_at: int, later: int) -> None:
    early, late = ids.consecutive(made_at, 3), ids.consecutive(made_at + later, 3)
    assert sorted([*late, *early]) == [*early, *late]
    assert ids.first_at(made_at) <= early[0]
    assert ids.first_at((made_at // 1000 + 1) * 1000) > early[-1]


@given(TIMES, st.integers(1, 50))
def test_ids_are_uuids_of_version_7(made_at: int, n: int) -> None:
    made = ids.consecutive(made_at, n)
    assert len(set(made)) == n
    assert {(uuid.UUID(one).version, uuid.UUID(one).variant) for one in made} == {(7, uuid.RFC_4122)}
    assert uuid.UUID(made[0]).int >> 80 == made_at // 1000
    assert all(map(ids.is_id, made))
    assert ids.after(made[0], n - 1) == made[-1]
