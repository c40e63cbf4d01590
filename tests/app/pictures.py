"""The pictures of the documents, taken anew from the real service and app:

    persuadable demo
    python tests/app/pictures.py out/demo/bundle docs/images

takes app-score.png, app-budget.png, app-model.png and app-live.png of the demo; app-reviews.png of a bundle that leaves
decisions to people; and app-offers.png and app-money.png of one that chooses between two e-mails for money. --only
takes some of them, --width as on a screen of another width. For as many minutes as --minutes says, users of the
experiment are decided about first, so that the live page has something to show.
"""

from __future__ import annotations

import argparse
import io
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import driving
import httpx
import polars as pl
from PIL import Image
from playwright.sync_api import Page, expect

import persuadable as ps
from persuadable import Bundle, datasets
from persuadable.engine import Trees

expect.set_options(timeout=60_000)
DEMO = ("score", "budget", "model", "live")
OTHERS = ("reviews", "offers", "money")
TREES = Trees(n_trees=60, max_depth=3)

USER = {"recency": 1, "history": 760, "mens": 0, "womens": 1, "newbie": 1}
CHOICES = {"history_segment": "6) $750 - $1,000", "zip_code": "Surburban", "channel": "Multichannel"}


def main() -> None:
    """Take the four pictures."""
    told = argparse.ArgumentParser(description="Take the pictures of the app for the documents.")
    told.add_argument("bundle", type=Path)
    told.add_argument("folder", type=Path)
    told.add_argument("--minutes", type=float, default=6.0)
    told.add_argument("--only", nargs="+", choices=[*DEMO, *OTHERS], default=[*DEMO, *OTHERS])
    told.add_argument("--width", type=int, default=1280)
    asked = told.parse_args()
    users = datasets.load("hillstrom", arms="women").features.frame()
    shots: list[tuple[Callable[[], Bundle], Sequence[str]]] = [
        (lambda: Bundle.load(asked.bundle), DEMO),
        (reviewed, ("reviews",)),
        (for_money, ("offers", "money")),
    ]
    for build, names in shots:
        wanted = [name for name in names if name in asked.only]
        with tempfile.TemporaryDirectory() as scratch:
            if wanted:
                take(Path(scratch), build, wanted, users, asked)


def take(
    scratch: Path, build: Callable[[], Bundle], names: Sequence[str], users: pl.DataFrame, asked: argparse.Namespace
) -> None:
    """Pictures of one bundle's pages."""
    with driving.serving(scratch, build) as (service, app), driving.browser() as chromium:
        if "live" in names:
            traffic(str(service.base_url), users, asked.minutes)
        if "reviews" in names:
            units = [{"unit": f"customer-{i:05d}", "features": row} for i, row in enumerate(users[:400].to_dicts())]
            service.post("/v1/decide", json={"units": units, "campaign": "november"}).raise_for_status()
        page = driving.page_of(chromium, app)
        page.set_default_timeout(60_000)
        for name in names:
            globals()[name](page, users)
            shoot(page, asked.folder / f"app-{name}.png", asked.width)


def reviewed() -> Bundle:
    """A bundle that leaves a twentieth of the decisions about the experiment's e-mail to people."""
    train, rest = datasets.load("hillstrom", arms="women").split(0.5, random_state=0)
    test, held_out = rest.split(0.5, random_state=0)
    learner = ps.effects.DRLearner(trees=TREES, n_resamples=10).fit(train)
    policy = ps.policies.BudgetPolicy(learner, 0.3).calibrate(test)
    review = ps.policies.review(policy, held_out, 0.05)
    return Bundle.build(learner, policy, train, {"name": "An e-mail, with people"}, review=review)


def for_money() -> Bundle:
    """A bundle that gives the men's e-mail, the women's, or none, at what they cost."""
    log = datasets.load("hillstrom")
    train, held_out = log.split(0.5, random_state=0)
    learner = ps.effects.DRLearner(trees=TREES, n_resamples=10).fit(train)
    costs = dict(zip(log.actions.names[1:], (0.02, 0.03), strict=True))
    policy = ps.policies.AllocationPolicy(learner, costs, budget=0.015, evidence=None).calibrate(held_out)
    return Bundle.build(learner, policy, train, {"name": "Which e-mail, for which money"})


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
        driving.choose(page, name, value)
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


def reviews(page: Page, users: pl.DataFrame) -> None:
    """A case is claimed."""
    driving.go(page, "Reviews")
    page.get_by_role("table", name="Cases").wait_for()
    name = page.get_by_role("textbox", name="Your name", exact=True)
    name.fill("Ada")
    name.press("Tab")
    page.get_by_role("button", name="Claim this case").click()
    page.get_by_role("button", name="Release").wait_for()


def offers(page: Page, users: pl.DataFrame) -> None:
    """A user is scored, with every offer."""
    score(page, users)
    page.get_by_role("table", name="Every offer").wait_for()


def money(page: Page, users: pl.DataFrame) -> None:
    """What a budget of money means."""
    driving.go(page, "Budget sweep")
    page.get_by_role("table", name="What a budget of").wait_for()


def shoot(page: Page, path: Path, width: int) -> None:
    """The whole page as a picture, packed tightly."""
    page.set_viewport_size({"width": width, "height": 900})
    page.mouse.move(0, 0)
    page.wait_for_timeout(1_500)
    expect(page.locator("[data-testid=stSkeleton]")).to_have_count(0)
    height = int(page.evaluate("document.querySelector('.stMain').scrollHeight"))
    page.set_viewport_size({"width": width, "height": max(720, height)})
    page.wait_for_timeout(1_500)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    # Colours of thin lines are few pixels; this way of choosing 256 colours keeps them.
    few = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    page.set_viewport_size({"width": 1280, "height": 900})


if __name__ == "__main__":
    main()
