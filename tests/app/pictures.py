"""The pictures of the documents, taken anew from the real service and app:

    persuadable demo
    python tests/app/pictures.py out/demo/bundle docs/images

takes app-score.png, app-budget.png, app-model.png and app-live.png. For as many minutes as --minutes says, users of the
experiment are decided about first, so that the live page has something to show.
"""

from __future__ import annotations

import argparse
import io
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import driving
import httpx
import polars as pl
from PIL import Image
from playwright.sync_api import Page

from persuadable import datasets

USER = {"recency": 1, "history": 760, "mens": 0, "womens": 1, "newbie": 1}
CHOICES = {"history_segment": "6) $750 - $1,000", "zip_code": "Surburban", "channel": "Multichannel"}


def main() -> None:
    """Take the four pictures."""
    told = argparse.ArgumentParser(description="Take the pictures of the app for the documents.")
    told.add_argument("bundle", type=Path)
    told.add_argument("folder", type=Path)
    told.add_argument("--minutes", type=float, default=6.0)
    asked = told.parse_args()
    users = datasets.load("hillstrom", arms="women").features.frame()
    with (
        tempfile.TemporaryDirectory() as scratch,
        driving.service(asked.bundle, Path(scratch), driving.free_port()) as address,
        driving.app(address, Path(scratch)) as app,
        driving.browser() as chromium,
    ):
        traffic(address, users, asked.minutes)
        page = driving.page_of(chromium, app)
        for name, prepare in (("score", score), ("budget", budget), ("model", model), ("live", live)):
            prepare(page, users)
            shoot(page, asked.folder / f"app-{name}.png")


def traffic(address: str, users: pl.DataFrame, minutes: float) -> None:
    """Decide about a few users every second, report some outcomes, and send one request that is refused."""
    rng, rows = random.Random(0), draw(users)
    with httpx.Client(base_url=address, trust_env=False) as client:
        until = time.monotonic() + 60 * minutes
        while time.monotonic() < until:
            units = [next(rows) for _ in range(rng.randint(1, 6))]
            decided = client.post("/v1/decide", json={"units": units}).raise_for_status().json()["decisions"]
            reports = [
                {"decision_id": d["decision_id"], "name": "visit", "value": float(rng.random() < 0.13)}
                for d in decided
                if rng.random() < 0.5
            ]
            if reports:
                client.post("/v1/outcomes", json={"outcomes": reports}).raise_for_status()
            time.sleep(rng.uniform(0.5, 1.5))
        wrong = next(rows)
        wrong["features"]["recency"] = "last week"
        client.post("/v1/decide", json={"units": [wrong]})


def draw(users: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """Users of the experiment in a random order, without end."""
    place = 0
    while True:
        for row in users.sample(1_000, seed=place).to_dicts():
            place += 1
            yield {"unit": f"customer-{place:05d}", "features": row}


def score(page: Page, users: pl.DataFrame) -> None:
    """A user is scored."""
    driving.go(page, "Score a user")
    for name, value in USER.items():
        page.get_by_role("spinbutton", name=name, exact=True).fill(str(value))
    for name, value in CHOICES.items():
        page.get_by_role("combobox", name=name).click()
        page.get_by_role("option", name=value, exact=True).click()
    page.get_by_role("button", name="Score this user").click()
    page.get_by_text("What moved it").wait_for()


def budget(page: Page, users: pl.DataFrame) -> None:
    """A price is entered, and a file of users scored."""
    driving.go(page, "Budget sweep")
    price = page.get_by_role("spinbutton", name="Price per treatment")
    price.fill("0.05")
    price.press("Tab")
    rows = users.sample(2_000, seed=1)
    names = pl.Series("unit", [f"customer-{i:05d}" for i in range(rows.height)])
    file = {
        "name": "customers.csv",
        "mimeType": "text/csv",
        "buffer": rows.insert_column(0, names).write_csv().encode(),
    }
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_role("button", name="Score 2,000 users").click()
    page.get_by_role("button", name="Download the list to treat").wait_for()


def model(page: Page, users: pl.DataFrame) -> None:
    """What was measured."""
    driving.go(page, "Model")
    page.get_by_role("table", name="Learners tried").wait_for()


def live(page: Page, users: pl.DataFrame) -> None:
    """The last hour."""
    driving.go(page, "Live")
    page.get_by_role("table", name="Last errors").wait_for()


def shoot(page: Page, path: Path) -> None:
    """The whole page as a picture, packed tightly."""
    page.mouse.move(0, 0)
    page.wait_for_timeout(1_500)
    height = int(page.evaluate("document.querySelector('.stMain').scrollHeight"))
    page.set_viewport_size({"width": 1280, "height": max(720, height)})
    page.wait_for_timeout(1_500)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    # Colours of thin lines are few pixels; this way of choosing 256 colours keeps them.
    few = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    page.set_viewport_size({"width": 1280, "height": 900})


if __name__ == "__main__":
    main()
