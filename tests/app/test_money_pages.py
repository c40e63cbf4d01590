"""The pages of a bundle whose budget is money, in the browser people use, on top of the real service."""

from __future__ import annotations

import io
from collections.abc import Iterator

import bundles
import driving
import httpx
import polars as pl
import pytest
from driving import banner, cells
from playwright.sync_api import Page, expect

from persuadable.app.fields import fields
from persuadable.app.spending import Money, shown

expect.set_options(timeout=20_000)
BUDGET = "Budget: money per head of everybody"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, str]]:
    with driving.serving(tmp_path_factory.mktemp("money"), bundles.build_priced) as told:
        yield told


@pytest.fixture(scope="module")
def page(running: tuple[httpx.Client, str]) -> Iterator[Page]:
    with driving.flawless(running[1]) as opened:
        yield opened


def test_a_user_is_shown_every_offer_with_value_cost_and_net(page: Page, running: tuple[httpx.Client, str]) -> None:
    service, _ = running
    page.get_by_role("button", name="Score this user").click()
    contract = service.get("/v1/contract").json()["features"]
    features = {field.name: field.start for field in fields({"features": contract})}
    asked = {"units": [{"unit": "u", "features": features}], "budget_per_head": 0.5}
    (decision,) = service.post("/v1/score", json=asked).raise_for_status().json()["decisions"]
    headline = "Offer nothing" if decision["action"] == "no offer" else f"Offer: {decision['action']}"
    expect(banner(page, headline)).to_contain_text("margin by")
    table = cells(page, "Every offer")
    assert set(table) == set(decision["options"])
    for label, option in decision["options"].items():
        told = [float(text.replace("−", "-").replace("+", "").replace(",", "")) for text in table[label][:3]]
        assert told == pytest.approx(
            [option["effect"], option["cost_effect"], option["net_effect"]], rel=6e-3, abs=6e-3
        )
    assert table[decision["action"]][3] == "given"
    expect(page.locator(".stPlotlyChart").first).to_contain_text("threshold at a budget of 0.500 per head")
    expect(page.locator(".stPlotlyChart").nth(1)).to_contain_text("average user")


def test_an_offer_that_is_taken_away_is_not_given(page: Page) -> None:
    for _ in range(3):
        page.get_by_role("combobox", name="Offers this user may be given").press("Backspace")
    expect(banner(page, "This user may not be given any of the offers.")).to_be_visible()
    assert {row[3] for label, row in cells(page, "Every offer").items() if label != "no offer"} == {"not allowed"}


def test_the_sweep_is_in_money(page: Page, running: tuple[httpx.Client, str]) -> None:
    service, _ = running
    driving.go(page, "Budget sweep")
    slider = page.get_by_role("slider", name=BUDGET)
    before = float(slider.input_value())
    slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    now = float(slider.input_value())
    assert now > before
    page.get_by_role("table", name=f"What a budget of {shown(Money(now))} means").wait_for()
    table = cells(page, "What a budget of")
    policy = service.get("/v1/policy").json()
    row = min(policy["rows"], key=lambda r: abs(r["budget_per_head"] - now))
    assert table["Cost, expected"][0] == f"{row['expected_spend']:.3g}"
    assert table["The last unit of money brings"][0] == f"{row['price']:.3g} of margin"
    for name in ("value-by-money", "offered", "price"):
        expect(page.locator(f".st-key-{name} .stPlotlyChart, .st-key-{name}.stPlotlyChart").first).to_be_visible()


def test_a_file_of_users_becomes_a_list_of_offers(page: Page, running: tuple[httpx.Client, str]) -> None:
    service, _ = running
    people = bundles.users(60, world=bundles.OFFERS)
    frame = pl.DataFrame([{"unit": p["unit"], **p["features"]} for p in people])
    page.locator('input[type="file"]').set_input_files(
        {"name": "users.csv", "mimeType": "text/csv", "buffer": frame.write_csv().encode()}
    )
    page.get_by_role("button", name="Score 60 users with a budget of").click()
    button = page.get_by_role("button", name="Download the list to treat")
    expect(button).to_be_enabled()
    with page.expect_download() as download:
        button.click()
    listed = pl.read_csv(io.BytesIO(download.value.path().read_bytes()))
    per_head = float(page.get_by_role("slider", name=BUDGET).input_value())
    asked = {"units": people, "budget_per_head": per_head}
    decisions = service.post("/v1/score", json=asked).raise_for_status().json()["decisions"]
    given = {d["unit"]: d for d in decisions if d["action"] != "no offer"}
    assert dict(zip(listed["unit"], listed["action"], strict=True)) == {u: d["action"] for u, d in given.items()}
    assert listed["cost"].to_list() == pytest.approx([given[u]["cost_effect"] for u in listed["unit"]])
    expect(page.get_by_text("Cost, expected").last).to_be_visible()


def test_model_and_live_have_their_empty_states(page: Page) -> None:
    driving.go(page, "Model")
    expect(banner(page, "No evaluation in this bundle")).to_be_visible()
    driving.go(page, "Live")
    expect(page.get_by_text("money per head it was made to spend")).to_be_visible()
