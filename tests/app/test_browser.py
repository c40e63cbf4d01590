"""The app in the browser people use, on top of the real service."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bundles
import driving
import httpx
import polars as pl
import pytest
from driving import banner, cells
from playwright.sync_api import BrowserContext, Page, expect

from persuadable import DecisionLog
from persuadable.study import StudyPlan, run_study, write_study

# A slow machine takes its time; nothing here is waited for longer than it needs.
expect.set_options(timeout=20_000)
BUDGET = "Budget: share of users you can treat"


@dataclass(frozen=True)
class Running:
    """A service with an app on top."""

    service: httpx.Client
    app: str
    log: Path


@pytest.fixture(scope="module")
def chromium() -> Iterator[BrowserContext]:
    with driving.browser() as started:
        yield started


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A bundle with an evaluation, in which x5 may be missing."""
    folder, port = tmp_path_factory.mktemp("running"), driving.free_port()
    with driving.app(f"http://127.0.0.1:{port}", folder) as app:
        frame = bundles.WORLD.sample(3_000, random_state=0).frame().select(pl.exclude("^propensity.*$"))
        frame = frame.with_columns(pl.when(pl.int_range(pl.len()) % 10 > 0).then("x5"))
        log = DecisionLog.from_frame(frame, action="action", control="control", outcomes="outcome", propensity=0.5)
        written = write_study(run_study(log, StudyPlan(learners=("t",), n_resamples=4)), folder / "study")
        with (
            driving.service(written.bundle, folder, port) as address,
            httpx.Client(base_url=address, trust_env=False) as client,
        ):
            yield Running(client, app, folder / "app.log")


@pytest.fixture
def page(chromium: BrowserContext, running: Running) -> Iterator[Page]:
    """The app; it must end without an error on the console, in the log, or on the page."""
    opened = driving.page_of(chromium, running.app)
    wrong, before = driving.console_of(opened), len(running.log.read_text())
    yield opened
    told = opened.get_by_role("main").inner_text()
    opened.close()
    assert wrong == []
    assert "Traceback" not in told
    assert "Traceback" not in running.log.read_text()[before:]


def fill(page: Page, name: str, value: str) -> None:
    box = page.get_by_role("spinbutton", name=name, exact=True)
    box.fill(value)
    box.press("Tab")


def budget(page: Page, percent: int) -> None:
    """Move the slider to a budget, as the keyboard does."""
    slider = page.get_by_role("slider", name=BUDGET)
    now = int(slider.input_value())
    slider.focus()
    for _ in range(abs(percent - now)):
        page.keyboard.press("ArrowRight" if percent > now else "ArrowLeft")
    expect(slider).to_have_value(str(percent))


def test_a_user_is_scored(page: Page, running: Running) -> None:
    expect(banner(page, "Nobody scored yet")).to_be_visible()
    features = {"x0": 1.1, "x1": -0.4, "x2": 0.3, "x3": 0.2, "x4": -0.6, "x5": 0.5, "c0": "b"}
    for name, value in features.items():
        if isinstance(value, float):
            fill(page, name, str(value))
    page.get_by_role("button", name="Score this user").click()
    asked = {"units": [{"unit": "u", "features": features}], "budget_share": 0.3}
    decision = running.service.post("/v1/score", json=asked).raise_for_status().json()["decisions"][0]
    headline = "Treat: treatment" if decision["action"] == "treatment" else "Do not treat: control"
    verb, size = "raise" if decision["effect"] > 0 else "lower", abs(100 * decision["effect"])
    expect(banner(page, headline)).to_contain_text(f"{verb} outcome by {size:.2f} percentage points")
    explained = running.service.post("/v1/explain", json={"features": features}).raise_for_status().json()
    chart = page.locator(".stPlotlyChart").nth(1)
    expect(chart).to_contain_text("average user")
    expect(chart).to_contain_text(f"{100 * explained['base']:.2f}".replace("-", "−"))
    largest = explained["contributions"][0]
    expect(chart).to_contain_text(f"{100 * largest['contribution']:+.2f}".replace("-", "−"))
    expect(page.locator(".stPlotlyChart").first).to_contain_text("threshold at a budget of 30%")


def test_another_budget_is_another_decision_without_scoring_again(page: Page) -> None:
    page.get_by_role("button", name="Score this user").click()
    budget(page, 25)
    expect(page.locator(".stPlotlyChart").first).to_contain_text("threshold at a budget of 25%")
    driving.go(page, "Live")
    driving.go(page, "Score a user")
    expect(page.get_by_role("slider", name=BUDGET)).to_have_value("25")
    expect(page.locator(".stPlotlyChart").first).to_contain_text("threshold at a budget of 25%")


def test_a_value_outside_the_range_is_clipped_and_told(page: Page) -> None:
    fill(page, "x0", "1000")
    page.get_by_role("button", name="Score this user").click()
    expect(banner(page, "x0 lies outside what training saw")).to_contain_text("the nearest bound was used instead.")


def test_the_budget_slider_changes_the_table(page: Page, running: Running) -> None:
    driving.go(page, "Budget sweep")
    policy = running.service.get("/v1/policy").raise_for_status().json()
    for percent in (30, 33):
        budget(page, percent)
        row = policy["rows"][percent]
        told = cells(page, f"What a budget of {percent}% means")
        assert told["Users treated"] == [f"{percent}.0%", f"{100 * percent:,} users"]
        assert told["Effect from which a user is treated"][0] == f"{100 * row['threshold']:.2f} percentage points"
        near = next(r for r in policy["held_out"] if r["share"] == 0.3)
        gain = near["gain_over_random"]
        words = told["Gain over as many drawn by lot, measured at 30%"][0].replace("−", "-")
        assert words.split() == [
            f"{100 * gain['value']:+.2f}", "percentage", "points", "95%", "interval",
            f"{100 * gain['low']:.2f}", "to", f"{100 * gain['high']:.2f}",
        ]  # fmt: skip
    expect(page.get_by_text("30% is the budget nearest to yours")).to_be_visible()


def test_the_population_and_the_price_count(page: Page) -> None:
    driving.go(page, "Budget sweep")
    expect(banner(page, "No cost known")).to_be_visible()
    fill(page, "Users in all", "500")
    fill(page, "Price per treatment", "2")
    expect(page.get_by_role("columnheader", name="outcome, over 500 users")).to_be_visible()
    expect(page.get_by_role("cell", name="Cost at your price")).to_be_visible()
    assert cells(page, "What a budget of 30% means")["Cost at your price"] == ["0.600", "300"]
    expect(banner(page, "No cost known")).to_have_count(0)


def test_a_file_of_users_becomes_a_list_to_treat(page: Page, running: Running) -> None:
    driving.go(page, "Budget sweep")
    expect(banner(page, "No file yet")).to_contain_text("x0, x1, x2, x3, x4, x5, c0")
    users = bundles.users(700)
    rows = [{"unit": user["unit"], "plan": "gold", **user["features"]} for user in users]
    upload(page, pl.DataFrame(rows).write_csv())
    expect(page.get_by_text("700 users read.")).to_contain_text("Left out of account: plan.")
    page.get_by_role("button", name="Score 700 users with a budget of 30%").click()
    # What the browser sent was text, so the API is asked with what that text says.
    sent = [
        {
            "unit": u["unit"],
            "features": {k: float(str(v)) if isinstance(v, float) else v for k, v in u["features"].items()},
        }
        for u in users
    ]
    asked = {"units": sent, "budget_share": 0.3}
    decisions = running.service.post("/v1/score", json=asked).raise_for_status().json()["decisions"]
    sure = {d["unit"]: d for d in decisions if d["propensities"]["treatment"] == 1}
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the list to treat").click()
    listed = pl.read_csv(download.value.path())
    by_lot = {d["unit"] for d in decisions if 0 < d["propensities"]["treatment"] < 1}
    assert set(listed["unit"]) - by_lot == set(sure)
    assert 0 < len(sure) < 700
    assert set(listed["action"]) == {"treatment"}
    effects = dict(zip(listed["unit"], listed["effect"], strict=True))
    assert all(effects[unit] == pytest.approx(decision["effect"], abs=1e-6) for unit, decision in sure.items())
    assert listed["net_effect"].is_sorted(descending=True)
    budget(page, 31)
    expect(page.get_by_text("The list below is for a budget of 30%.")).to_be_visible()


def upload(page: Page, text: str) -> None:
    page.locator("input[type=file]").set_input_files(
        {"name": "users.csv", "mimeType": "text/csv", "buffer": text.encode()}
    )


def test_the_template_can_be_downloaded_and_scored(page: Page) -> None:
    driving.go(page, "Budget sweep")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download a template").click()
    text = Path(download.value.path()).read_text()
    assert pl.read_csv(io.StringIO(text)).columns == ["unit", "x0", "x1", "x2", "x3", "x4", "x5", "c0"]
    upload(page, text)
    page.get_by_role("button", name="Score 2 users with a budget of 30%").click()
    expect(page.get_by_role("button", name="Download the list to treat")).to_be_visible()


def test_a_file_that_cannot_be_scored_is_told_in_a_sentence(page: Page) -> None:
    driving.go(page, "Budget sweep")
    upload(page, "unit,x0,x1,x2,x3,x4,x5,c0\nu1,high,1,1,1,1,1,a\n")
    expect(banner(page, "This file cannot be scored")).to_contain_text("Line 2: x0 is 'high', which is no number.")


def test_the_model_page_shows_what_was_measured(page: Page, running: Running) -> None:
    driving.go(page, "Model")
    found = running.service.get("/v1/evaluation").raise_for_status().json()["rankings"]["treatment"]
    expect(page.get_by_text(f"{100 * found['qini']['value']:.2f} pp".replace("-", "−")).first).to_be_visible()
    card = running.service.get("/v1/model-card").raise_for_status().json()
    for limit in card["limits"]:
        expect(banner(page, "What this model cannot say")).to_contain_text(limit)
    expect(page.locator(".stPlotlyChart")).to_have_count(3)
    for place, name in enumerate(("ranked by predicted effect", "measured effect", "predictions come true")):
        expect(page.locator(".stPlotlyChart").nth(place)).to_contain_text(name)
    assert cells(page, "Model card")["What is estimated"] == [card["estimand"]]


def test_live_begins_empty_and_follows_the_service(page: Page, running: Running) -> None:
    driving.go(page, "Live")
    expect(banner(page, "No decisions yet")).to_be_visible()
    expect(page.locator("code").first).to_contain_text("/v1/decide")
    expect(banner(page, "No errors")).to_be_visible()
    page.get_by_text("Refresh every 5 seconds").click()
    answer = running.service.post("/v1/decide", json={"units": bundles.users(40)}).raise_for_status().json()
    treated = sum(decision["action"] == "treatment" for decision in answer["decisions"])
    reports = [{"decision_id": d["decision_id"], "name": "outcome", "value": 1.0} for d in answer["decisions"][:10]]
    running.service.post("/v1/outcomes", json={"outcomes": reports}).raise_for_status()
    assert (
        running.service.post("/v1/decide", content=b"{", headers={"Content-Type": "application/json"}).status_code
        == 400
    )
    expect(banner(page, "No decisions yet")).to_have_count(0)  # without a click
    told = cells(page, "What was done")
    assert told["treatment"] == [f"{treated}", f"{treated / 40:.1%}"]
    assert cells(page, "Outcomes in") == {"outcome": ["10", "100.0%"]}
    expect(page.get_by_role("table", name="Last errors")).to_contain_text("400")
    expect(page.locator(".stPlotlyChart")).to_have_count(2)


def test_every_page_fits_a_narrow_window(chromium: BrowserContext, running: Running) -> None:
    page = driving.page_of(chromium, running.app, width=800)
    for title in ("Score a user", "Budget sweep", "Model", "Live"):
        driving.go(page, title)
        expect(page.get_by_role("main")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 800
    page.close()


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """An app, and how to start its service: without an evaluation, and one that refuses what lies outside the range."""
    port = driving.free_port()

    def start() -> Any:
        return driving.service(tmp_path / "bundle", tmp_path, port, PERSUADABLE_ANSWERS__OUT_OF_RANGE="refuse")

    with driving.app(f"http://127.0.0.1:{port}", tmp_path) as address:
        bundles.build().save(tmp_path / "bundle")
        yield address, start


def test_refusals_empty_states_and_a_service_that_goes_and_comes(
    chromium: BrowserContext, strict: tuple[str, Callable[[], Any]]
) -> None:
    address, start = strict
    with start():
        page = driving.page_of(chromium, address)
        wrong = driving.console_of(page)
        fill(page, "x0", "1000")
        page.get_by_role("button", name="Score this user").click()
        expect(banner(page, "The service refused")).to_contain_text("Feature 'x0' holds 1000, outside")
        driving.go(page, "Model")
        expect(banner(page, "No evaluation in this bundle")).to_be_visible()
        expect(page.get_by_text("The card says no more than the model's name.")).to_be_visible()
        driving.go(page, "Budget sweep")
        expect(page.get_by_text("the bundle holds no measurement on held-out users").first).to_be_visible()
    page.get_by_role("link", name="Live").click()
    expect(banner(page, "The service is away")).to_contain_text("Start it with 'persuadable serve'")
    with start():
        page.get_by_role("button", name="Try again").click()
        expect(banner(page, "No decisions yet")).to_be_visible()
    assert wrong == []
    page.close()


def test_the_manual_of_the_api_needs_no_internet(chromium: BrowserContext, running: Running) -> None:
    page = chromium.new_page()
    wrong = driving.console_of(page)
    answer = page.goto(f"{running.service.base_url}/docs")
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    page.get_by_text("/v1/contract", exact=True).click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
    assert wrong == []
    page.close()
