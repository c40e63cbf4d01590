"""``python -m persuadable.cli``: the command line without an entry point."""

from __future__ import annotations

from persuadable.cli import app

if __name__ == "__main__":
    app()
