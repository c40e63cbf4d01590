"""HiGHS without the line that it prints whatever it is told.

As SciPy builds it, HiGHS prints ``HighsMipSolverData::transformNewIntegerFeasibleSolution tmpSolver.run();`` from C++
whenever it mends a solution, past ``disp=False`` and past ``sys.stdout``. So standard output is turned away for as long
as it works, and everything else that came there meanwhile, from other threads for example, is passed on afterwards.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet"]

STDOUT = 1
NOISE = b"HighsMipSolverData::"
ONE_AT_A_TIME = threading.Lock()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep HiGHS's line from standard output; threads that ask for it at the same time take turns."""
    with ONE_AT_A_TIME, tempfile.TemporaryFile() as aside:
        _flush()
        try:
            kept = os.dup(STDOUT)
        except OSError:  # a process without standard output, so nothing is printed
            yield
            return
        os.dup2(aside.fileno(), STDOUT)
        try:
            yield
        finally:
            _flush()
            os.dup2(kept, STDOUT)
            os.close(kept)
            aside.seek(0)
            for line in aside:
                if not line.startswith(NOISE):
                    os.write(STDOUT, line)


def _flush() -> None:
    """Let go of what C and Python hold back for standard output."""
    if os.name == "posix":
        ctypes.CDLL(None).fflush(None)
    if sys.stdout is not None and not sys.stdout.closed:
        sys.stdout.flush()
