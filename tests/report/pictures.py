"""Pictures of figures for the documents, taken anew:

    python tests/report/pictures.py docs/images

takes budget-path.png, the path of docs/budget-path.md. It needs Chromium (``make browser``).
"""

from __future__ import annotations

import argparse
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from persuadable.report import figure

PAGE = Path(__file__).resolve().parents[2] / "docs" / "budget-path.md"
SIZE = {"width": 860, "height": 440}


def main() -> None:
    """Run the page's first block and photograph the path it makes."""
    told = argparse.ArgumentParser(description="Take the pictures of figures for the documents.")
    told.add_argument("folder", type=Path)
    shoot(figure(first_block(PAGE)["path"]), told.parse_args().folder / "budget-path.png")


def first_block(page: Path) -> dict[str, Any]:
    """What the first Python block of a page leaves behind."""
    found = re.search(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    if found is None:
        raise RuntimeError(f"{page} has no block of Python.")
    namespace: dict[str, Any] = {"__name__": "__document__"}
    exec(compile(found.group(1), str(page), "exec"), namespace)
    return namespace


def shoot(drawn: Any, target: Path) -> None:
    """A figure as a PNG file."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise RuntimeError("Pictures need Chromium. Install it with 'make browser'.")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = Path(folder) / "figure.html"
        drawn.write_html(page_file, include_plotlyjs=True, config={"displayModeBar": False})
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = started.new_page(viewport=SIZE, device_scale_factor=2)
        page.goto(page_file.as_uri())
        page.wait_for_selector(".main-svg")
        page.screenshot(path=target)
        started.close()


if __name__ == "__main__":
    main()
