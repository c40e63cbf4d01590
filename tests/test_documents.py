"""What the documents show is run: every ```python block of a document, in order, in one namespace.

A block fenced as ```python no-run is shown and not run; everything else is a test.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import persuadable as ps

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [path for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))) if path.exists()]
BLOCK = re.compile(r"^```python[ ]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_examples_run(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = document.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__document__"}
    for block in BLOCK.finditer(text):
        # Blank lines in front, so that a traceback names the document's own line.
        code = "\n" * text.count("\n", 0, block.start(1)) + block.group(1)
        try:
            exec(compile(code, str(document), "exec"), namespace)
        except ps.errors.DatasetUnavailable as absent:
            pytest.skip(f"{document.name}: {absent}")


def test_the_figures_are_those_measured() -> None:
    checked = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "figures.py", "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
