"""The page that works the review queue, in the browser people use, on top of the real service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bundles
import driving
import httpx
import pytest
from driving import banner, choose, press, settled
from playwright.sync_api import Page, expect

from persuadable.service.store import Store

expect.set_options(timeout=20_000)
PEOPLE = bundles.users(120, world=bundles.ARMS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reviews")


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[tuple[httpx.Client, str]]:
    with driving.serving(folder, bundles.build_reviewed) as told:
        yield told


@pytest.fixture(scope="module")
def page(running: tuple[httpx.Client, str]) -> Iterator[Page]:
    with driving.flawless(running[1]) as opened:
        yield opened


def say(page: Page, label: str, text: str) -> None:
    settled(page)
    box = page.get_by_role("textbox", name=label, exact=True)
    expect(box).to_have_count(1)
    box.fill(text)
    box.press("Tab")


def cases(service: httpx.Client, state: str = "open") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = service.get("/v1/reviews", params={"state": state}).raise_for_status().json()["cases"]
    return found


def listed(page: Page) -> list[str]:
    """The users in the table."""
    page.get_by_role("table", name="Cases").wait_for()
    return [
        row.locator("td").first.inner_text()
        for row in page.get_by_role("table", name="Cases").locator("tbody tr").all()
    ]


def name_of(case: dict[str, Any]) -> str:
    """What the list of cases calls one."""
    return f"{case['unit']}: {', '.join(code.replace('-', ' ') for code in case['codes'])}"


def test_an_empty_queue_says_so(page: Page) -> None:
    driving.go(page, "Reviews")
    expect(banner(page, "Nothing waits")).to_be_visible()
    expect(page.get_by_text("20.0%")).to_be_visible()
    choose(page, "Cases", "Overridden")
    expect(banner(page, "No case is overridden")).to_be_visible()
    choose(page, "Cases", "Open")


def test_a_case_is_claimed_and_approved(page: Page, running: tuple[httpx.Client, str]) -> None:
    service, _ = running
    made = service.post("/v1/decide", json={"units": PEOPLE}).raise_for_status().json()["decisions"]
    held = [decision for decision in made if decision["reason"] == "review"]
    driving.go(page, "Live")
    driving.go(page, "Reviews")
    first = cases(service)[0]
    assert listed(page) == [case["unit"] for case in cases(service)]
    assert len(listed(page)) == len(held)
    shown = banner(page, "Proposed:")
    expect(shown).to_contain_text("close to the threshold")
    expect(shown).to_contain_text(f"{first['treatment']} is predicted to")
    features = page.get_by_role("table", name="Features").locator("tbody tr")
    expect(features).to_have_count(len(first["features"]))
    expect(page.locator(".stPlotlyChart").first).to_contain_text("threshold")
    expect(page.get_by_text("Say your name above to claim this case.")).to_be_visible()
    say(page, "Your name", "Ada")
    press(page, "Claim this case")
    expect(banner(page, "It is yours")).to_be_visible()
    (claimed,) = cases(service, "claimed")
    assert (claimed["decision_id"], claimed["claim"]["by"]) == (first["decision_id"], "Ada")
    say(page, "Why (if you like)", "a regular")
    press(page, f"Approve: {first['proposed']}")
    expect(banner(page, f"Approved: {first['proposed']}")).to_contain_text("They said: a regular")
    (approved,) = cases(service, "approved")
    decision = service.get(f"/v1/decisions/{approved['resolution']['decision_id']}").json()
    assert (decision["action"], decision["propensities"][first["proposed"]]) == (first["proposed"], 1.0)
    told = {name: decision["review"][name] for name in ("case", "by", "why", "proposed")}
    assert told == {"case": first["decision_id"], "by": "Ada", "why": "a regular", "proposed": first["proposed"]}


def test_an_override_needs_a_reason(page: Page, running: tuple[httpx.Client, str]) -> None:
    service, _ = running
    second = cases(service)[0]
    choose(page, "Case", name_of(second))
    press(page, "Claim this case")
    expect(banner(page, "It is yours")).to_be_visible()
    other = next(action for action in second["actions"] if action != second["proposed"])
    choose(page, "Give instead", other)
    press(page, "Override")
    expect(banner(page, "Say why")).to_be_visible()
    say(page, "Why", "complained last week")
    press(page, "Override")
    expect(banner(page, f"Overridden: {other}")).to_contain_text("complained last week")
    (overridden,) = cases(service, "overridden")
    assert overridden["resolution"]["action"] == other


def test_a_case_that_somebody_else_takes_is_said_to_be_theirs(page: Page, running: tuple[httpx.Client, str]) -> None:
    service, _ = running
    third = cases(service)[0]
    choose(page, "Case", name_of(third))
    expect(page.get_by_role("button", name="Claim this case")).to_be_visible()
    place = f"/v1/reviews/{third['decision_id']}"
    service.post(f"{place}/claim", json={"reviewer": "Bob"}).raise_for_status()
    press(page, "Claim this case")
    expect(banner(page, "Somebody else has this case")).to_contain_text("Bob looks at this case since")
    expect(page.get_by_role("button", name="Claim this case")).to_have_count(0)
    service.post(f"{place}/release", json={"reviewer": "Bob"}).raise_for_status()


def test_a_case_can_be_given_back(page: Page, running: tuple[httpx.Client, str]) -> None:
    service, _ = running
    driving.go(page, "Live")
    driving.go(page, "Reviews")
    expect(page.get_by_role("textbox", name="Your name", exact=True)).to_have_value("Ada")
    press(page, "Claim this case")
    expect(banner(page, "It is yours")).to_be_visible()
    press(page, "Release")
    expect(banner(page, "Given back")).to_be_visible()
    assert cases(service, "claimed") == []


def test_cases_are_found_by_their_reason(page: Page, running: tuple[httpx.Client, str]) -> None:
    service, _ = running
    person = {"unit": "a stranger", "features": PEOPLE[0]["features"] | {"x0": 1000.0}}
    service.post("/v1/decide", json={"units": [person]}).raise_for_status()
    choose(page, "Reason", "contract flag")
    expect(page.get_by_role("table", name="Cases").locator("tbody tr")).to_have_count(1)
    assert listed(page) == ["a stranger"]
    (stranger,) = [case for case in cases(service) if case["unit"] == "a stranger"]
    choose(page, "Case", name_of(stranger))
    expect(banner(page, "x0 lies outside what training saw")).to_be_visible()
    choose(page, "Reason", "possible do not disturb")
    expect(banner(page, "No such case is open")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_the_next_case_is_the_most_pressing_that_nobody_has(page: Page, running: tuple[httpx.Client, str]) -> None:
    service, _ = running
    choose(page, "Reason", "any reason")
    first, second, third = (case["decision_id"] for case in cases(service)[:3])
    choose(page, "Case", name_of(cases(service)[0]))
    press(page, "Claim this case")
    expect(banner(page, "It is yours")).to_be_visible()
    settled(page)
    page.keyboard.press("Control+Enter")
    expect(banner(page, "Approved:")).to_be_visible()
    service.post(f"/v1/reviews/{second}/claim", json={"reviewer": "Bob"}).raise_for_status()
    press(page, "Claim the next case")
    expect(banner(page, "It is yours")).to_be_visible()
    mine = [case["decision_id"] for case in cases(service, "claimed") if case["claim"]["by"] == "Ada"]
    assert mine == [third]
    assert first in [case["decision_id"] for case in cases(service, "approved")]
    expect(banner(page, "It waits since")).to_be_visible()
    press(page, "Release")
    expect(banner(page, "Given back")).to_be_visible()
    service.post(f"/v1/reviews/{second}/release", json={"reviewer": "Bob"}).raise_for_status()


def test_an_erased_case_is_said_to_be_gone(page: Page, running: tuple[httpx.Client, str], folder: Path) -> None:
    service, _ = running
    driving.go(page, "Live")
    driving.go(page, "Reviews")
    case = cases(service)[0]
    choose(page, "Case", name_of(case))
    press(page, "Claim this case")
    expect(banner(page, "It is yours")).to_be_visible()
    store = Store.open(f"sqlite:///{folder / 'store.db'}")
    assert store.erase(case["unit"]).decisions == 1
    store.close()
    press(page, f"Approve: {case['proposed']}")
    expect(banner(page, "The case you looked at is gone")).to_be_visible()
    expect(page.get_by_role("combobox", name="Case", exact=True)).to_be_visible()
