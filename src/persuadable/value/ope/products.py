"""Products of columns over many rows, in pieces."""

from __future__ import annotations

import numpy as np

from persuadable.value.estimate import Floats

__all__ = ["product"]

# Multiplications in one call of BLAS: what OpenBLAS does in the calling thread.
PIECE = 2**18


def product(left: Floats, right: Floats) -> Floats:
    """(j, k) left (j, m) times right (k, m), summed over the m rows.

    In pieces small enough that OpenBLAS does not wake its threads: these gain little here, and beside other work they
    wait for one another ten times as long as the product takes.
    """
    rows = max(PIECE // (left.shape[0] * right.shape[0]), 16)
    whole = left.shape[1] // rows * rows
    ours = left[:, :whole].reshape(left.shape[0], -1, rows).transpose(1, 0, 2)
    theirs = right[:, :whole].reshape(right.shape[0], -1, rows).transpose(1, 2, 0)
    return np.asarray((ours @ theirs).sum(axis=0) + left[:, whole:] @ right[:, whole:].T)
