"""Imported by Python when it starts with this folder in PYTHONPATH: every SQLite database is allowed few pages.

The number stands in the file that FAULTS_PAGES names, and is read anew before each statement, so that space can be
taken and given while a service runs. Past it SQLite answers SQLITE_FULL, as on a disk without space.
"""

from __future__ import annotations

import os
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any


class Rationed(sqlite3.Connection):
    """A connection that knows its ration."""

    def cursor(self, *args: Any, **kwargs: Any) -> sqlite3.Cursor:
        cursor = super().cursor(*args, **kwargs)
        cursor.execute(f"PRAGMA max_page_count={int(Path(os.environ['FAULTS_PAGES']).read_text())}").fetchone()
        return cursor


sqlite3.dbapi2.connect = sqlite3.connect = partial(sqlite3.connect, factory=Rationed)
