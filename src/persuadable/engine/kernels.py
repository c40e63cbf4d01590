"""The walks over compiled trees, as machine code; imported by ``compiled`` when the first walk is wanted.

Arrays shared by both kernels (:class:`persuadable.engine.compiled.CompiledTrees` makes them):

``values``    (n, d) float32 features, NaN where missing.
``segments``  (k, 5) int64, one row per categorical feature in use: feature, first column, bytes per code (eight columns
              to a byte), first byte in ``members``, number of codes.
``members``   bytes; for each code of a segment, then for "missing", then for "any other code", a bit per column.
``links``     int32; bushes (T, 15): the column each split compares; linked trees (N, 3): column, left, right.
``numbers``   float32; bushes (T, 31): 15 thresholds and 16 leaves; linked trees (N, 1): threshold or leaf value.
``trees``     (T, 2) int32: root and depth of each linked tree; (0, 2) where the trees are bushes.
``outputs``   (m, 3) int64: first tree, last tree + 1, and the function the sum passes through: 0 none, 1 the logistic,
              2 the exponential.
``base``      (m,) float32: where each sum starts.
``out``       (n, m) float32, written.

A row is first spread over columns: two per feature, which differ in the side a missing value falls to, and one per
categorical split, 1 for its categories. A split is then one comparison, left where ``column < threshold``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from persuadable.engine.trees import LARGEST_LOG_MEAN

__all__ = ["BLOCK", "score_blocks", "score_rows"]

BLOCK = 128  # rows
CACHE = 65_536  # numbers, a quarter of a small second-level cache

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Bytes = NDArray[np.uint8]

u = np.uint64  # signed indices would each be tested for being negative

SIGNATURE = types.void(
    types.Array(types.float32, 2, "C", readonly=True),
    types.int64[:, ::1],
    types.uint8[::1],
    types.int32[:, ::1],
    types.float32[:, ::1],
    types.int32[:, ::1],
    types.int64[:, ::1],
    types.float32[::1],
    types.float32[:, ::1],
)


inlined = njit(error_model="numpy")


def kernel(*, nogil: bool) -> Callable[[Any], Any]:
    """Compile at once, or read the machine code from numba's cache; without a folder to cache in, compile at once."""

    def decorate(function: Any) -> Any:
        try:
            return njit(SIGNATURE, nogil=nogil, error_model="numpy", cache=True)(function)
        except RuntimeError:  # numba found no folder it may write to
            return njit(SIGNATURE, nogil=nogil, error_model="numpy")(function)

    return decorate


@inlined
def code_of(value: np.float32, codes: int) -> int:
    """Which row of a segment's members tells about a category code; what is no code at all counts as any other."""
    if np.isnan(value):
        return codes
    return int(value) if value >= 0 and value < codes else codes + 1


@inlined
def spread_rows(values: Floats, segments: Longs, members: Bytes, columns: Floats) -> None:
    """Write the columns of each row, a row of ``columns`` after another."""
    for r in range(values.shape[0]):
        for j in range(values.shape[1]):
            value = values[r, j]
            missing = np.isnan(value)
            columns[r, 2 * j] = np.float32(np.inf) if missing else value
            columns[r, 2 * j + 1] = np.float32(-np.inf) if missing else value
        for s in range(segments.shape[0]):
            first, size = segments[s, 1], segments[s, 2]
            begin = segments[s, 3] + code_of(values[r, segments[s, 0]], segments[s, 4]) * size
            for i in range(size):
                member = members[u(begin + i)]
                for bit in range(8):
                    columns[r, u(first + 8 * i + bit)] = (member >> np.uint8(bit)) & np.uint8(1)


@inlined
def spread_block(values: Floats, segments: Longs, members: Bytes, columns: Floats) -> None:
    """Write the columns of each row, a column of ``columns`` after another."""
    rows = values.shape[0]
    for j in range(values.shape[1]):
        for r in range(rows):
            value = values[r, j]
            missing = np.isnan(value)
            columns[2 * j, r] = np.float32(np.inf) if missing else value
            columns[2 * j + 1, r] = np.float32(-np.inf) if missing else value
    begin, byte = np.empty(rows, dtype=np.int64), np.empty(rows, dtype=np.uint8)
    for s in range(segments.shape[0]):
        first, size = segments[s, 1], segments[s, 2]
        for r in range(rows):
            begin[r] = segments[s, 3] + code_of(values[r, segments[s, 0]], segments[s, 4]) * size
        for i in range(size):
            for r in range(rows):
                byte[r] = members[u(begin[r] + i)]
            for bit in range(8):
                column = columns[u(first + 8 * i + bit)]
                for r in range(rows):
                    column[r] = (byte[r] >> np.uint8(bit)) & np.uint8(1)


@inlined
def bush_sum(
    columns: Floats, r: int, links: Ints, numbers: Floats, first: int, last: int, start: np.float32
) -> np.float32:
    """Start plus the values of the leaves row r falls into, of trees at most four levels deep."""
    total = start
    for t in range(first, last):
        node = u(0)
        for _ in range(4):
            node += node + u(1) + u(not columns[r, u(links[t, node])] < numbers[t, node])
        total += numbers[t, node]
    return total


@inlined
def linked_sum(
    columns: Floats, r: int, links: Ints, numbers: Floats, trees: Ints, first: int, last: int, start: np.float32
) -> np.float32:
    """Start plus the values of the leaves row r falls into, of trees of any depth; a leaf leads to itself."""
    total = start
    for t in range(first, last):
        node = u(trees[t, 0])
        for _ in range(trees[t, 1]):
            right = u(not columns[r, u(links[node, 0])] < numbers[node, 0])
            node = u(links[node, u(1) + right])
        total += numbers[node, 0]
    return total


@inlined
def add_bush(columns: Floats, links: Ints, numbers: Floats, t: np.uint64, rows: int, total: Floats) -> None:
    """Add to the total of every row of a block its leaf value.

    Branch-free from the leaves up: all splits are compared, eight or sixteen rows to an instruction.
    """
    j, v = links[t], numbers[t]
    x0, x1, x2, x3 = columns[u(j[0])], columns[u(j[1])], columns[u(j[2])], columns[u(j[3])]
    x4, x5, x6, x7 = columns[u(j[4])], columns[u(j[5])], columns[u(j[6])], columns[u(j[7])]
    x8, x9, x10, x11 = columns[u(j[8])], columns[u(j[9])], columns[u(j[10])], columns[u(j[11])]
    x12, x13, x14 = columns[u(j[12])], columns[u(j[13])], columns[u(j[14])]
    t0, t1, t2, t3, t4, t5, t6, t7 = v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]
    t8, t9, t10, t11, t12, t13, t14 = v[8], v[9], v[10], v[11], v[12], v[13], v[14]
    l0, l1, l2, l3, l4, l5, l6, l7 = v[15], v[16], v[17], v[18], v[19], v[20], v[21], v[22]
    l8, l9, l10, l11, l12, l13, l14, l15 = v[23], v[24], v[25], v[26], v[27], v[28], v[29], v[30]
    for r in range(rows):
        a = l0 if x7[r] < t7 else l1
        b = l2 if x8[r] < t8 else l3
        c = l4 if x9[r] < t9 else l5
        d = l6 if x10[r] < t10 else l7
        e = l8 if x11[r] < t11 else l9
        f = l10 if x12[r] < t12 else l11
        g = l12 if x13[r] < t13 else l13
        h = l14 if x14[r] < t14 else l15
        a = a if x3[r] < t3 else b
        c = c if x4[r] < t4 else d
        e = e if x5[r] < t5 else f
        g = g if x6[r] < t6 else h
        a = a if x1[r] < t1 else c
        e = e if x2[r] < t2 else g
        total[r] += a if x0[r] < t0 else e


@inlined
def add_linked(columns: Floats, links: Ints, numbers: Floats, root: int, depth: int, rows: int, total: Floats) -> None:
    """Add to the total of every row of a block its leaf value in one tree of any depth."""
    for r in range(rows):
        node = u(root)
        for _ in range(depth):
            right = u(not columns[r, u(links[node, 0])] < numbers[node, 0])
            node = u(links[node, u(1) + right])
        total[r] += numbers[node, 0]


@inlined
def logistic(margin: np.float32) -> np.float32:
    """1/(1 + e^−m)."""
    return np.float32(1) / (np.float32(1) + np.exp(-margin))  # type: ignore[no-any-return]


@inlined
def passed(total: np.float32, link: int) -> np.float32:
    """A sum of leaves as a prediction."""
    if link == 1:
        return logistic(total)
    if link == 2:
        return np.exp(min(total, np.float32(LARGEST_LOG_MEAN)))  # type: ignore[no-any-return]
    return total


@inlined
def width(values: Floats, segments: Longs) -> int:
    """Number of columns a row is spread over."""
    columns: int = 2 * values.shape[1]
    for s in range(segments.shape[0]):
        columns += 8 * segments[s, 2]
    return columns


@kernel(nogil=False)
def score_rows(
    values: Floats,
    segments: Longs,
    members: Bytes,
    links: Ints,
    numbers: Floats,
    trees: Ints,
    outputs: Longs,
    base: Floats,
    out: Floats,
) -> None:
    """Predict few rows, one after another. Keeps the GIL: another thread would hold it for longer than this takes."""
    columns = np.empty((values.shape[0], width(values, segments)), dtype=np.float32)
    spread_rows(values, segments, members, columns)
    for r in range(values.shape[0]):
        for m in range(base.size):
            first, last = outputs[m, 0], outputs[m, 1]
            if trees.shape[0]:
                total = linked_sum(columns, r, links, numbers, trees, first, last, base[m])
            else:
                total = bush_sum(columns, r, links, numbers, first, last, base[m])
            out[r, m] = passed(total, outputs[m, 2])


@kernel(nogil=True)
def score_blocks(
    values: Floats,
    segments: Longs,
    members: Bytes,
    links: Ints,
    numbers: Floats,
    trees: Ints,
    outputs: Longs,
    base: Floats,
    out: Floats,
) -> None:
    """Predict many rows, a block at a time with every tree, so that block and tree stay in the nearest cache."""
    n_columns = width(values, segments)
    n_rows = min(BLOCK, max(8, CACHE // n_columns))
    linked = trees.shape[0] > 0
    columns = np.empty((n_rows, n_columns) if linked else (n_columns, n_rows), dtype=np.float32)
    total = np.empty(n_rows, dtype=np.float32)
    for first in range(0, values.shape[0], n_rows):
        block = values[first : first + n_rows]
        rows = block.shape[0]
        if linked:
            spread_rows(block, segments, members, columns)
        else:
            spread_block(block, segments, members, columns)
        for m in range(base.size):
            total[:] = base[m]
            for t in range(outputs[m, 0], outputs[m, 1]):
                if linked:
                    add_linked(columns, links, numbers, trees[t, 0], trees[t, 1], rows, total)
                else:
                    add_bush(columns, links, numbers, u(t), rows, total)
            for r in range(rows):
                out[first + r, m] = passed(total[r], outputs[m, 2])
