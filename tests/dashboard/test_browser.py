"""The dashboard in a real browser, over a real gateway with real traffic."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.dashboard.browsing import CONTRASTS, LAPTOP, PHONE, chromium, watched
from tests.dashboard.house import House, house

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

PLACES = ("", "requests", "entries", "conversations", "findings", "health")
BROKEN = """() => [...document.querySelectorAll("td.number")].filter((cell) => {
  const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT), range = document.createRange(), tops = new Set();
  while (texts.nextNode()) {
    range.selectNodeContents(texts.currentNode);
    for (const box of range.getClientRects()) tops.add(Math.round(box.top));
  }
  return tops.size > 1;
}).map((cell) => `${cell.dataset.title}: ${cell.innerText}`)"""
"""Figures that stand on several lines."""
COLOURED = """(canvas) => {
  const wanted = document.createElement("canvas").getContext("2d");
  wanted.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--series-1").trim();
  wanted.fillRect(0, 0, 1, 1);
  const [r, g, b] = wanted.getImageData(0, 0, 1, 1).data;
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  for (let at = 0; at < data.length; at += 4) {
    if (data[at] === r && data[at + 1] === g && data[at + 2] === b && data[at + 3] === 255) return true;
  }
  return false;
}"""
"""Whether anything of the first series is drawn."""
SUMS = """() => {
  const figures = [...document.querySelectorAll("td.number:not(.none), .card .figure")];
  const told = figures.filter((e) => /\\d/.test(e.textContent));
  const ordinal = (e) => e.dataset.title === "Turn";
  return {
    bare: told.filter((e) => !e.querySelector("a") && !ordinal(e)).map((e) => e.textContent),
    links: told.flatMap((e) => [...e.querySelectorAll("a")]).map((a) => a.getAttribute("href")),
  };
}"""
"""The figures that a page adds up: those that lead nowhere, and where the others lead."""
HOSTILE = (
    "<script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 1">',
    "'><svg onload=window.hacked=1>",
    "</td></table><iframe srcdoc='<script>parent.hacked = 1</script>'></iframe>",
    "javascript:window.hacked=1",
    "<a href=javascript:window.hacked=1>click</a>",
    "<b hx-get='/_payonce/logout' hx-trigger='load' hx-on:load='window.hacked = 1'>x</b>",
    "</script><script>window.hacked = 1</script>",
    "<style>body { display: none }</style>",
    "{{constructor.constructor('window.hacked = 1')()}}",
    "&lt;script&gt;window.hacked = 1&lt;/script&gt;",
    "\u202egnp.exe\u202c <math><mtext></form><form><mglyph><style></math><img src=x onerror=window.hacked=1>",
)


INLINE_SCRIPT = """() => {
  const script = document.createElement("script");
  script.text = "window.hacked = 1";
  document.body.append(script);
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("house"), show_content=True, cache="deterministic") as opened:
        opened.traffic()
        yield opened


def every_place(at: House) -> list[str]:
    """A path of every kind of page there is."""
    keys = {each["framing"]: each["key"] for each in at.data("entries")["entries"]}
    request = next(each for each in at.data("requests")["requests"] if each["call"])
    talk = at.data("conversations")["conversations"][0]
    more = [f"entries/{keys['stream']}", f"entries/{keys['whole']}", f"requests/{request['id']}"]
    return [*PLACES, *more, f"conversations/{talk['id']}", f"purge?key={keys['whole']}", "nowhere"]


# ---------------------------------------------------------------------------------------- every page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_every_page_fits_is_named_and_can_be_read(
    at: House, browser: Browser, screen: dict[str, int], scheme: str
) -> None:
    with watched(browser, at.gateway.host, viewport=screen, color_scheme=scheme) as seen:
        for place in every_place(at):
            page = seen.open(at.url + place)
            expect(page.locator("h1")).to_have_count(1)
            expect(page.get_by_role("main")).to_have_count(1)
            assert page.title().endswith("· Payonce")
            assert page.evaluate("document.documentElement.scrollWidth") <= screen["width"], place
            assert page.evaluate(BROKEN) == [], place
            found = page.evaluate(CONTRASTS)
            assert found["count"] >= 3
            assert found["poor"] == [], place
            for name in page.locator("input:not([type=hidden]), select, button").all():
                assert name.evaluate("e => (e.labels?.length || e.textContent.trim() || e.ariaLabel) ? 1 : 0"), place
            for drawn in page.locator(".table table").all():
                assert drawn.locator("caption").count() == 1
                assert drawn.locator("thead th[scope=col]").count() > 1
        seen.faults = [fault for fault in seen.faults if "404" not in fault]  # the page that is nowhere


def test_the_check_of_contrast_sees_a_grey_on_grey(at: House, browser: Browser) -> None:
    with watched(browser, at.gateway.host) as seen:
        page = seen.open(at.url)
        page.evaluate("document.querySelector('h1').style.color = '#c8ccd0'")
        assert [poor for poor in page.evaluate(CONTRASTS)["poor"] if poor.startswith("Overview")]


def test_dark_follows_the_system(at: House, browser: Browser) -> None:
    shades = []
    for scheme in ("light", "dark"):
        with watched(browser, at.gateway.host, color_scheme=scheme) as seen:
            shade = seen.open(at.url).evaluate("getComputedStyle(document.body).backgroundColor")
            shades.append(sum(int(part) for part in re.findall(r"\d+", shade)[:3]))
    assert shades[0] > 700
    assert shades[1] < 120


def test_charts_are_drawn_and_told_in_a_table(at: House, browser: Browser) -> None:
    with watched(browser, at.gateway.host) as seen:
        page = seen.open(at.url + "?span=1h")
        expect(page.locator(".chart canvas")).to_have_count(4)
        page.get_by_text("The figures of the charts as a table").click()
        expect(page.get_by_role("table", name="Step by step, in UTC")).to_be_visible()


def test_a_lone_point_is_drawn_and_the_latest_figures_are_told_before_any_is_pointed_at(
    at: House, browser: Browser
) -> None:
    with watched(browser, at.gateway.host) as seen:
        page = seen.open(at.url + "?span=1h")
        rate = page.locator("section", has=page.get_by_role("heading", name="Hit rate", exact=True))
        expect(rate.locator("canvas")).to_have_count(1)
        shown = f"{at.data('overview?span=1h')['total']['hit_rate']:.1%}".removesuffix("%").removesuffix(".0")
        expect(rate.locator(".u-legend")).to_contain_text(f"{shown} %")
        page.wait_for_function(COLOURED, arg=rate.locator("canvas").element_handle())


def test_every_figure_of_the_overview_leads_to_what_it_is_made_of(at: House, browser: Browser) -> None:
    with watched(browser, at.gateway.host) as seen:
        page = seen.open(at.url + "?span=1h")
        links = [link.get_attribute("href") for link in page.locator(".cards a, .columns a").all()]
        assert len(links) > 10
        hits = page.get_by_role("link", name=re.compile(r"\d+ hit$")).inner_text()
        for link in links:
            assert seen.open(f"http://{at.gateway.host}{link}").locator("table, .findings").count() > 0, link
        shown = at.data("requests?outcome=hit")["requests"]
        assert hits == f"{sum(each['times'] for each in shown)} hit"


def test_every_sum_in_a_table_or_on_a_card_leads_to_what_it_is_made_of(at: House, browser: Browser) -> None:
    talk = at.data("conversations")["conversations"][0]["id"]
    with watched(browser, at.gateway.host) as seen:
        for place in ("?span=1h", "conversations", f"conversations/{talk}", "findings"):
            found = seen.open(at.url + place).evaluate(SUMS)
            assert len(found["links"]) > 2, place
            assert found["bare"] == [], place
            for link in set(found["links"]):
                page = seen.open(at.url + place)
                if "#" in link:
                    assert page.locator(link[link.index("#") :]).count() == 1, link
                else:
                    assert seen.open(f"http://{at.gateway.host}{link}").locator("table, .findings").count() > 0, link


def test_a_step_of_the_charts_leads_to_its_requests(at: House, browser: Browser) -> None:
    with watched(browser, at.gateway.host) as seen:
        page = seen.open(at.url + "?span=1h")
        page.get_by_text("The figures of the charts as a table").click()
        steps = page.get_by_role("table", name="Step by step, in UTC").locator("tbody tr").all()
        shown = [
            (row.locator("td").nth(1).inner_text(), row.locator("td a").first.get_attribute("href")) for row in steps
        ]
        for requests, href in shown:
            assert href is not None
            found = at.data(href.partition("/_payonce/")[2])["requests"]
            assert sum(each["times"] for each in found) == int(requests), href


def test_what_was_saved_leads_to_each_of_its_parts(at: House, browser: Browser) -> None:
    with watched(browser, at.gateway.host) as seen:
        page = seen.open(at.url + "?span=1h")
        saved = page.locator(".card", has_text="Saved")
        cache, prompts = saved.locator(".parts a").all()
        assert "outcome=hit" in (cache.get_attribute("href") or "")
        assert "by answers from the cache" in cache.inner_text()
        assert "/conversations?since=" in (prompts.get_attribute("href") or "")
        assert "by prompt caching" in prompts.inner_text()
        saved.locator(".figure a").click()
        expect(page.locator("#money")).to_be_in_viewport()
        expect(page.get_by_role("link", name="Hour")).to_have_attribute("aria-current", "true")


def test_a_list_of_requests_shows_all_columns_on_a_laptop_and_is_short_on_a_phone(at: House, browser: Browser) -> None:
    with watched(browser, at.gateway.host) as seen:
        page = seen.open(at.url + "requests")
        wider = page.locator(".table").evaluate("each => each.scrollWidth - each.clientWidth")
        assert wider <= 0
        expect(page.get_by_role("columnheader", name="Namespace")).to_be_in_viewport()
    with watched(browser, at.gateway.host, viewport=PHONE) as seen:
        page = seen.open(at.url + "requests?outcome=hit")
        rows = page.locator("#tail tbody tr").all()
        heights = [box["height"] for row in rows if (box := row.bounding_box())]
        assert heights and max(heights) < 120, "a hit was 220 pixels high, with dashes for what it has not"


# ---------------------------------------------------------------------------------------- what happens on them


def test_the_tail_shows_a_request_as_it_comes_and_stops_when_told(at: House, browser: Browser) -> None:
    with watched(browser, at.gateway.host) as seen:
        page = seen.open(at.url + "requests")
        rows = page.locator("#tail tbody tr")
        before = rows.first.inner_text()
        at.ask("a question of now", model="openai/gpt-5-mini")
        expect(rows.first).to_contain_text("openai/gpt-5-mini")
        assert rows.first.inner_text() != before
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_role("button", name="Go on")).to_be_visible()
        expect(page.locator(".live")).to_contain_text("Paused")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.wait_for_timeout(2600)  # longer than the tail waits between two looks
        assert asked == []
        with page.expect_request(lambda request: "requests/tail" in request.url):
            page.get_by_role("button", name="Go on").click()


def test_what_has_the_focus_keeps_it_when_a_new_request_comes(at: House, browser: Browser) -> None:
    with watched(browser, at.gateway.host) as seen:
        page = seen.open(at.url + "requests")
        link = page.locator("#tail tbody tr a").nth(1)
        leads_to = link.get_attribute("href")
        link.focus()
        at.ask("a question beside the focus", model="openai/gpt-5-nano")
        expect(page.locator("#tail tbody tr").first).to_contain_text("openai/gpt-5-nano")
        assert page.evaluate("document.activeElement.getAttribute('href')") == leads_to


def test_a_tail_whose_session_has_ended_leads_to_the_login_and_back(browser: Browser, tmp_path: Path) -> None:
    with house(tmp_path, dashboard="token") as locked:
        locked.ask("something")
        locked.settle()
        with watched(browser, locked.gateway.host) as seen:
            page = seen.open(locked.url + "requests?outcome=miss")
            sign_in(page, locked.tokens["view"])
            expect(page).to_have_url(locked.url + "requests?outcome=miss")
            page.context.clear_cookies()
            expect(page.get_by_role("heading", name="Sign in to Payonce")).to_be_visible(timeout=20_000)
            expect(page.get_by_role("main")).to_have_count(1)
            sign_in(page, locked.tokens["view"])
            expect(page).to_have_url(locked.url + "requests?outcome=miss")
            expect(page.locator("#tail tbody tr")).to_have_count(1)


def test_a_request_opens_its_receipt_and_that_its_entry(at: House, browser: Browser) -> None:
    at.ask("a question with an entry")
    at.settle()
    with watched(browser, at.gateway.host) as seen:
        page = seen.open(at.url + "requests?outcome=miss")
        page.locator("#tail tbody tr a").first.click()
        expect(page.get_by_role("heading", name="Receipt")).to_be_visible()
        expect(page.get_by_text("nothing is stored under this key")).to_be_visible()
        expect(page.get_by_role("table", name="Parts of the request, as digests")).to_contain_text("messages[0]")
        expect(page.get_by_role("heading", name="Upstream call")).to_be_visible()
        page.get_by_role("link", name=re.compile("^b3:")).click()
        expect(page.get_by_role("heading", name="What the model said")).to_be_visible()


def test_a_conversation_says_turn_by_turn_what_was_lost_and_why(at: House, browser: Browser) -> None:
    with watched(browser, at.gateway.host) as seen:
        page = seen.open(at.url + "conversations")
        page.get_by_role("table").get_by_role("link").first.click()
        turns = page.get_by_role("table", name="Turn by turn").locator("tbody tr")
        expect(turns).to_have_count(4)
        expect(turns.last).to_contain_text("tools-reordered")
        turns.last.get_by_role("link", name="tools-reordered").click()
        expect(page.locator("#tools-reordered")).to_contain_text("send tools in a fixed order")


def test_a_stream_is_shown_as_it_was(at: House, browser: Browser) -> None:
    [entry] = [each for each in at.data("entries")["entries"] if each["framing"] == "stream"][:1]
    body = at.data("entries/" + entry["key"])["entries"][0]["body"]
    told = [line.removeprefix("data: ") for line in body.splitlines() if line.startswith("data: ")]
    with watched(browser, at.gateway.host) as seen:
        page = seen.open(at.url + "entries/" + entry["key"])
        assert page.locator(".events li pre").all_text_contents() == told


def test_a_search_finds_by_model_tag_namespace_and_text(at: House, browser: Browser) -> None:
    with watched(browser, at.gateway.host) as seen:
        page = seen.open(at.url + "entries")
        rows = page.locator("table tbody tr")
        for name, value, count in (("Model", "openai/text*", 4), ("Tag", "team-1", 3), ("Namespace", "staging", 1)):
            page.goto(at.url + "entries")
            page.get_by_label(name).fill(value)
            page.get_by_role("button", name="Search").click()
            expect(rows).to_have_count(count)
        page.goto(at.url + "entries")
        key = at.data("entries?tag=team-1")["entries"][0]["key"]
        said = at.data("entries/" + key)["entries"][0]["body"]
        found = re.search(r"Answer #\d+ \(\w+\)", said)
        assert found is not None
        page.get_by_label("Text of the answer").fill(found[0])
        page.get_by_role("button", name="Search").click()
        expect(rows).to_have_count(1)


def test_a_purge_is_confirmed_first_and_then_the_answer_is_gone(at: House, browser: Browser) -> None:
    first = at.ask("to be purged", x_payonce_tags="doomed")
    assert at.ask("to be purged", x_payonce_tags="doomed").hit
    at.settle()
    with watched(browser, at.gateway.host) as seen:
        page = seen.open(at.url + "entries?tag=doomed")
        page.get_by_role("link", name=re.compile("^b3:")).click()
        page.get_by_role("link", name="Purge this answer").click()
        expect(page.get_by_text("1 entry would go.")).to_be_visible()
        page.get_by_role("link", name="Cancel").click()
        assert at.ask("to be purged", x_payonce_tags="doomed").hit
        page.goto(at.url + "entries?tag=doomed")
        page.get_by_role("link", name="Purge all answers with the tag doomed").click()
        page.get_by_role("button", name="Purge").click()
        expect(page.get_by_role("status")).to_contain_text("Purged: tag doomed")
        page.goto(at.url + "entries?tag=doomed")
        expect(page.get_by_text("Nothing that is stored fits.")).to_be_visible()
    again = at.ask("to be purged", x_payonce_tags="doomed")
    assert not again.hit
    assert again.body != first.body


# ---------------------------------------------------------------------------------------- who may


def test_login_roles_and_signing_out(browser: Browser, tmp_path: Path) -> None:
    with house(tmp_path, dashboard="token") as locked:
        locked.ask("something")
        locked.settle()
        with watched(browser, locked.gateway.host, blameless=False) as seen:
            page = seen.open(locked.url + "entries")
            expect(page).to_have_url(locked.url + "login?to=entries")
            sign_in(page, "payonce-admin-wrong")
            expect(page.get_by_role("alert")).to_contain_text("not one of the tokens")
            sign_in(page, locked.tokens["view"])
            expect(page).to_have_url(locked.url + "entries")
            expect(page.get_by_text("view only")).to_be_visible()
            assert page.get_by_role("link", name=re.compile("Purge")).count() == 0
            assert page.evaluate("document.cookie") == ""
            page.get_by_role("button", name="Sign out").click()
            expect(page.get_by_role("heading", name="Sign in to Payonce")).to_be_visible()
            sign_in(page, locked.tokens["admin"])
            page.goto(locked.url + "entries")
            page.get_by_role("link", name="Purge everything").click()
            page.get_by_role("button", name="Purge").click()
            expect(page.get_by_role("status")).to_contain_text("Purged: all")
            assert [fault for fault in seen.faults if "403" not in fault] == []  # the wrong token


def sign_in(page: Page, token: str) -> None:
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()


def test_all_of_it_works_by_keyboard(at: House, browser: Browser) -> None:
    with watched(browser, at.gateway.host) as seen:
        page = seen.open(at.url)
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        expect(focused).to_have_text("Skip to the content")
        expect(focused).to_be_in_viewport()
        page.keyboard.press("Tab")
        for name in ("Overview", "Requests", "Entries"):
            page.keyboard.press("Tab")
            expect(focused).to_have_text(name)
            assert focused.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Entries")).to_be_visible()
        page.get_by_label("Model").focus()
        page.keyboard.type("openai/text*")
        page.keyboard.press("Enter")
        expect(page.locator("table tbody tr")).to_have_count(4)


# ---------------------------------------------------------------------------------------- hostile text


def test_hostile_names_and_answers_are_text(browser: Browser, tmp_path: Path) -> None:
    with house(tmp_path, show_content=True, cache="all") as at:
        for text in HOSTILE:
            assert at.ask(text, model=text).status in (200, 400)  # the provider knows no such model
            at.plant(text)
        at.settle()
        keys = [each["key"] for each in at.data("entries")["entries"]]
        assert len(keys) >= len(HOSTILE)
        places = [*PLACES, "?span=1h", *(f"entries/{key}" for key in keys)]
        places += [f"requests/{each['id']}" for each in at.data("requests")["requests"] if each["id"]]
        with watched(browser, at.gateway.host) as seen:
            texts = ""
            for place in places:
                page = seen.open(at.url + place)
                assert page.evaluate("window.hacked") is None, place
                assert page.locator("iframe, svg[onload], img[onerror], main [hx-on\\:load], main style").count() == 0
                texts += page.locator("body").text_content() or ""
        for text in HOSTILE:
            shown = re.sub("[\u202a-\u202e]", "\N{REPLACEMENT CHARACTER}", text)
            assert shown in texts, text


def test_the_check_for_hostile_text_can_fail(at: House, browser: Browser) -> None:
    """The same texts as markup, in a page without a policy: scripts run."""
    with watched(browser, at.gateway.host, blameless=False) as seen:
        seen.page.set_content("<body>" + "".join(HOSTILE) + "</body>")
        seen.page.wait_for_function("window.hacked === 1")


def test_even_markup_that_got_in_would_not_run(at: House, browser: Browser) -> None:
    """The second wall: the policy stops what the first would have let through, and says so."""
    with watched(browser, at.gateway.host, blameless=False) as seen:
        page = seen.open(at.url)
        page.evaluate("text => { document.querySelector('main').innerHTML = text }", "".join(HOSTILE))
        page.evaluate(INLINE_SCRIPT)
        page.evaluate("fetch('https://example.com/').catch(() => 0)")
        assert page.evaluate("window.hacked") is None
        assert seen.told_of("Content Security Policy")


# ---------------------------------------------------------------------------------------- figures


def test_the_figures_are_those_of_the_provider_s_bill(browser: Browser, tmp_path: Path) -> None:
    with house(tmp_path) as at:
        at.traffic()
        bill = at.sim.bill
        total = at.data("overview?span=1h")["total"]
        assert Decimal(total["paid_dollars"]) == bill.cost
        assert total["calls"] == bill.calls
        with watched(browser, at.gateway.host) as seen:
            page = seen.open(at.url + "?span=1h")
            paid = page.locator(".card", has_text="Paid").locator(".figure").inner_text()
            assert Decimal(paid.removeprefix("$")) == round(bill.cost, 4)
