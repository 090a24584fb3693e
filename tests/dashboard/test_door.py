"""Who may come in and change something: over real sockets, as browsers, programs and attackers ask."""

from __future__ import annotations

import itertools
import json
import os
import pty
import re
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from blake3 import blake3

from payonce.config import Settings
from payonce.dashboard.asking import POLICY, Request
from payonce.dashboard.door import Door
from payonce.dashboard.login import safe_place
from payonce.dashboard.sessions import LIFETIME, Attempts, Sessions
from payonce.dashboard.tokens import Role, make_tokens, read_tokens, tokens_path
from payonce.errors import SettingsError
from payonce.testing import FakeClock
from tests.dashboard.house import House, house
from tests.support.gateway import Reply, until

PLACES = ("", "requests", "entries", "conversations", "findings", "health", "purge?all=yes")
DATA = ("api/overview", "api/requests", "api/entries", "api/conversations", "api/findings", "api/health")


@pytest.fixture(scope="module")
def open_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A gateway that asks visitors from this machine for nothing."""
    with house(tmp_path_factory.mktemp("open"), store="memory:") as opened:
        yield opened


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One that asks everybody for a token."""
    with house(tmp_path_factory.mktemp("locked"), dashboard="token", show_content=True) as opened:
        opened.traffic()
        yield opened


def cookie_of(reply: Reply) -> str:
    return reply["set-cookie"].partition(";")[0]


def csrf_of(reply: Reply) -> str:
    found = re.search(rb'name="csrf" value="([0-9a-f]{64})"', reply.body)
    assert found is not None, reply.body
    return found[1].decode()


def signed_in(at: House, role: str) -> tuple[str, str]:
    """The session's cookie and its token against forged calls, as a browser gets them on the login page."""
    first = at.get("login")
    guest, csrf = cookie_of(first), csrf_of(first)
    told = urlencode({"token": at.tokens[role], "csrf": csrf, "to": ""}).encode()
    reply = at.call(
        "POST", "login", told, cookie=guest, origin=f"http://{at.gateway.host}", sec_fetch_site="same-origin"
    )
    assert (reply.status, reply["location"]) == (303, "/_payonce/")
    cookie = cookie_of(reply)
    return cookie, csrf_of(at.get("health", cookie=cookie))


def keys_of(at: House, role: str) -> list[str]:
    found = at.data("entries", authorization=f"Bearer {at.tokens[role]}")["entries"]
    return [entry["key"] for entry in found]


def forms(**fields: str) -> bytes:
    return urlencode(fields).encode()


# ---------------------------------------------------------------------------------------- without a token


@pytest.mark.parametrize("place", PLACES + DATA)
def test_a_visitor_from_this_machine_needs_no_token(open_house: House, place: str) -> None:
    assert open_house.get(place).status == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"x_forwarded_for": "203.0.113.9"},
        {"forwarded": "for=203.0.113.9"},
        {"x_real_ip": "203.0.113.9"},
        {"via": "1.1 proxy"},
        {"cf_connecting_ip": "203.0.113.9"},
    ],
)
def test_who_was_passed_on_by_a_proxy_needs_one(open_house: House, fields: dict[str, str]) -> None:
    reply = open_house.get("entries", **fields)
    assert (reply.status, reply["location"]) == (303, "/_payonce/login?to=entries")
    assert open_house.get("api/entries", **fields).status == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:4141", "127.0.0.1.evil.example", "localhost.evil.example:80"]
)
def test_a_name_that_was_bound_to_this_machine_is_turned_away(open_house: House, host: str) -> None:
    reply = open_house.get("", host=host)
    assert (reply.status, reply.error) == (421, "bad-host")


@pytest.mark.parametrize(
    ("settings", "peer", "host", "free"),
    [
        ({}, "127.0.0.1", "127.0.0.1:4141", True),
        ({}, "::1", "[::1]:4141", True),
        ({}, "127.0.0.1", "localhost", True),
        ({}, "192.0.2.7", "127.0.0.1:4141", False),
        ({}, "", "127.0.0.1:4141", False),
        ({"dashboard": "token"}, "127.0.0.1", "127.0.0.1:4141", False),
        ({"allowed_hosts": ("cache.example",)}, "127.0.0.1", "127.0.0.1:4141", False),
        ({"host": "0.0.0.0", "allowed_hosts": ("cache.example",)}, "127.0.0.1", "127.0.0.1:4141", False),
    ],
)
def test_only_a_gateway_that_nobody_else_is_meant_to_reach_asks_for_nothing(
    settings: dict[str, object], peer: str, host: str, free: bool, tmp_path: Path
) -> None:
    chosen = Settings(**{"store": "memory:"} | settings)  # type: ignore[arg-type]
    door = Door(chosen, b"s" * 32, tmp_path / "tokens", FakeClock(1e9))
    visitor = door.greet(Request("GET", "", headers={"host": host}, peer=peer))
    assert visitor.role is (Role.ADMIN if free else None)


def test_the_dashboard_can_be_switched_off(tmp_path: Path) -> None:
    with house(tmp_path, store="memory:", dashboard="off") as closed:
        assert {closed.get(place).status for place in PLACES + DATA} == {404}


# ---------------------------------------------------------------------------------------- with a token


@pytest.mark.parametrize("place", [place for place in PLACES if place])
def test_a_page_leads_to_the_login_first(locked: House, place: str) -> None:
    reply = locked.get(place)
    assert (reply.status, reply["location"]) == (303, "/_payonce/login?" + urlencode({"to": place}))


@pytest.mark.parametrize("place", DATA)
def test_data_is_for_who_shows_a_token(locked: House, place: str) -> None:
    assert locked.get(place).status == 401
    for role in ("view", "admin"):
        assert locked.get(place, authorization=f"Bearer {locked.tokens[role]}").status == 200
    assert locked.get(place, authorization="Bearer " + locked.tokens["view"][:-1]).status == 401


def test_a_token_opens_a_session_that_a_script_can_t_read_and_another_site_can_t_use(locked: House) -> None:
    first = locked.get("login")
    told = forms(token=locked.tokens["admin"], csrf=csrf_of(first), to="findings")
    reply = locked.call("POST", "login", told, cookie=cookie_of(first), origin=f"http://{locked.gateway.host}")
    assert (reply.status, reply["location"]) == (303, "/_payonce/findings")
    flags = {part.strip() for part in reply["set-cookie"].split(";")[1:]}
    assert flags == {"Path=/_payonce/", f"Max-Age={LIFETIME}", "HttpOnly", "SameSite=Strict"}
    assert locked.tokens["admin"] not in reply["set-cookie"]
    assert locked.get("findings", cookie=cookie_of(reply)).status == 200


def test_behind_tls_the_session_never_travels_without_it(locked: House) -> None:
    first = locked.get("login")
    told = forms(token=locked.tokens["view"], csrf=csrf_of(first))
    reply = locked.call("POST", "login", told, cookie=cookie_of(first), origin=f"https://{locked.gateway.host}")
    assert reply.status == 303
    assert "; Secure" in reply["set-cookie"]


@pytest.mark.parametrize("to", ["//evil.example", "https://evil.example", "../v1/models", "x\r\ny", "login"])
def test_the_login_leads_nowhere_else(locked: House, to: str) -> None:
    first = locked.get("login")
    told = forms(token=locked.tokens["view"], csrf=csrf_of(first), to=to)
    reply = locked.call("POST", "login", told, cookie=cookie_of(first), origin=f"http://{locked.gateway.host}")
    assert (reply.status, reply["location"]) == (303, "/_payonce/")


def test_view_sees_no_text_and_purges_nothing(locked: House) -> None:
    cookie, csrf = signed_in(locked, "view")
    key = locked.data("entries", authorization=f"Bearer {locked.tokens['view']}")["entries"][0]["key"]
    before = keys_of(locked, "view")
    page = locked.get("entries/" + key, cookie=cookie)
    assert page.status == 200
    assert b"The text is hidden" in page.body
    assert b"<blockquote" not in page.body
    assert b"Purge" not in page.body
    assert b"The differing text is hidden" in locked.get("findings", cookie=cookie).body
    assert locked.get("purge?key=" + key, cookie=cookie).status == 403
    told = forms(selector="key", value=key, csrf=csrf)
    origin = f"http://{locked.gateway.host}"
    assert locked.call("POST", "purge", told, cookie=cookie, origin=origin).status == 403
    bearer = f"Bearer {locked.tokens['view']}"
    assert locked.call("POST", "api/purge", told, authorization=bearer).status == 403
    assert keys_of(locked, "view") == before


def test_nothing_of_an_answer_reaches_view_by_any_place(locked: House) -> None:
    """The positive control: an administrator sees the same text, where `show_content` is on."""
    locked.ask("canary", x_payonce_tags="canary")
    locked.settle()
    bearers = {role: f"Bearer {locked.tokens[role]}" for role in ("view", "admin")}
    [entry] = locked.data("entries?tag=canary", authorization=bearers["admin"])["entries"]
    body = locked.data("entries/" + entry["key"], authorization=bearers["admin"])["entries"][0]["body"]
    words = json.loads(body)["choices"][0]["message"]["content"].split()[3:8]
    text = " ".join(words)
    pages = [*PLACES, *DATA, "entries/" + entry["key"], "api/entries/" + entry["key"], f"entries?text={words[0]}"]
    seen = {role: b"".join(locked.get(place, authorization=bearers[role]).body for place in pages) for role in bearers}
    assert text.encode() in seen["admin"]
    assert text.encode() not in seen["view"]


def test_without_show_content_no_one_reads_an_answer(tmp_path: Path) -> None:
    with house(tmp_path) as shut:
        shut.ask("hello")
        shut.settle()
        [entry] = shut.data("entries")["entries"]
        assert "body" not in shut.data("entries/" + entry["key"])["entries"][0]
        assert b"The text is hidden" in shut.get("entries/" + entry["key"]).body


def test_a_session_ends(tmp_path: Path) -> None:
    clock = FakeClock(1e9)
    sessions = Sessions(b"k" * 32, clock, lambda name: "digest-of-" + name)
    session = sessions.issue("admin")
    assert sessions.check(session.cookie) == session
    clock.advance(LIFETIME - 1)
    assert sessions.check(session.cookie) == session
    clock.advance(2)
    assert sessions.check(session.cookie) is None


def test_a_forged_or_changed_session_is_none() -> None:
    clock = FakeClock(1e9)
    digests = {"view": "v", "admin": "a", "guest": ""}
    sessions = Sessions(b"k" * 32, clock, digests.__getitem__)
    view = sessions.issue("view").cookie
    assert sessions.check(view) is not None
    name, ends, rest = view.split(".", 2)
    forged = [
        f"admin.{ends}.{rest}",
        f"{name}.{int(ends) + 1}.{rest}",
        view[:-1] + ("1" if view.endswith("0") else "0"),
        view + "0",
        "",
        "a.b.c",
        "é" * 20,
    ]
    assert [sessions.check(cookie) for cookie in forged] == [None] * len(forged)
    assert Sessions(b"K" * 32, clock, digests.__getitem__).check(view) is None
    digests["view"] = "another token"
    assert sessions.check(view) is None


def test_new_tokens_end_all_sessions(tmp_path: Path) -> None:
    with house(tmp_path, dashboard="token") as at:
        cookie, _ = signed_in(at, "admin")
        assert at.get("health", cookie=cookie).status == 200
        make_tokens(tokens_path(at.gateway.gateway.settings), anew=True)
        assert at.get("health", cookie=cookie).status == 303


def test_signing_out_takes_the_session_from_the_browser(locked: House) -> None:
    cookie, csrf = signed_in(locked, "view")
    reply = locked.call("POST", "logout", forms(csrf=csrf), cookie=cookie, origin=f"http://{locked.gateway.host}")
    assert (reply.status, cookie_of(reply).partition("=")[2]) == (303, "")
    assert "Max-Age=0" in reply["set-cookie"]


def test_wrong_tokens_are_counted_and_then_made_to_wait(tmp_path: Path) -> None:
    with house(tmp_path, dashboard="token") as at:
        first = at.get("login")
        cookie, csrf, origin = cookie_of(first), csrf_of(first), f"http://{at.gateway.host}"
        wrong, right = forms(token="payonce-admin-x", csrf=csrf), forms(token=at.tokens["admin"], csrf=csrf)
        tried = [at.call("POST", "login", wrong, cookie=cookie, origin=origin).status for _ in range(12)]
        assert tried == [403] * 10 + [429] * 2
        assert at.call("POST", "login", right, cookie=cookie, origin=origin).status == 429
        assert at.get("api/health", authorization=f"Bearer {at.tokens['admin']}").status == 429


def test_a_program_that_has_to_wait_is_told_so_whatever_it_asks(tmp_path: Path) -> None:
    with house(tmp_path, dashboard="token") as at:
        right = f"Bearer {at.tokens['admin']}"
        told = forms(selector="tag", value="docs")
        for _ in range(12):  # a control beside the next loop: nothing shown is nothing wrong
            assert at.get("api/health", authorization="Bearer ").status == 401
            assert at.call("POST", "api/purge", told).status == 401
        assert at.call("POST", "api/purge", told, authorization=right).status == 200
        wrong = [at.call("POST", "api/purge", told, authorization="Bearer payonce-admin-x") for _ in range(10)]
        assert [reply.status for reply in wrong] == [401] * 9 + [429]
        assert [json.loads(reply.body)["error"]["code"] for reply in wrong] == [401] * 9 + [429]
        for reply in (
            at.call("POST", "api/purge", told, authorization=right),
            at.get("api/health", authorization=right),
        ):
            assert (reply.status, json.loads(reply.body)["error"]["code"]) == (429, 429)
            assert 0 < int(reply["retry-after"]) <= 60
        assert at.call("POST", "api/purge", told).status == 429


def test_attempts_are_counted_by_address_and_forgotten_in_time() -> None:
    clock = FakeClock(1000.0)
    attempts = Attempts(clock, most=2, seconds=60.0, addresses=3)
    attempts.failed("a")
    attempts.failed("a")
    assert (attempts.wait("a"), attempts.wait("b")) == (60, 0)
    clock.advance(61)
    assert attempts.wait("a") == 0
    for address in "abcde":
        attempts.failed(address)
    assert len(attempts._failed) == 3


# ---------------------------------------------------------------------------------------- calls that another site makes


FORGED = [
    pytest.param({}, "right", id="no sign of an origin"),
    pytest.param({"origin": "{origin}"}, "", id="no token"),
    pytest.param({"origin": "{origin}"}, "0" * 64, id="a wrong token"),
    pytest.param({"origin": "{origin}", "sec_fetch_site": "cross-site"}, "right", id="sent from another site"),
    pytest.param({"origin": "{origin}", "sec_fetch_site": "same-site"}, "right", id="sent from another port"),
    pytest.param({"sec_fetch_site": "none"}, "right", id="sent by nobody"),
]


@pytest.mark.parametrize(("fields", "csrf"), FORGED)
@pytest.mark.parametrize("where", ["open_house", "locked"])
def test_a_forged_call_purges_nothing(
    where: str, fields: dict[str, str], csrf: str, request: pytest.FixtureRequest
) -> None:
    at: House = request.getfixturevalue(where)
    if where == "locked":
        cookie, right = signed_in(at, "admin")
    else:
        page = at.get("purge?all=yes")
        cookie, right = cookie_of(page), csrf_of(page)
    told = forms(selector="all", value="", csrf=right if csrf == "right" else csrf)
    sent = {name: text.format(origin=f"http://{at.gateway.host}") for name, text in fields.items()}
    before = at.gateway.gateway.world.tiers.purges
    assert at.call("POST", "purge", told, cookie=cookie, **sent).status == 403
    assert at.call("POST", "api/purge", told, cookie=cookie, **sent).status == 403
    assert at.gateway.gateway.world.tiers.purges == before


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_a_call_of_another_origin_is_refused_before_anything_else(open_house: House, origin: str) -> None:
    reply = open_house.call("POST", "purge", forms(selector="all"), origin=origin)
    assert (reply.status, reply.error) == (403, "bad-origin")


@pytest.mark.parametrize("mode", ["no-cors", "cors", "same-origin", ""])
def test_another_site_can_link_here_but_not_load_from_here(open_house: House, mode: str) -> None:
    for place in ("", "api/entries", "assets/dashboard.js"):
        assert open_house.get(place, sec_fetch_site="cross-site", sec_fetch_mode=mode).status == 403
    assert open_house.get("", sec_fetch_site="cross-site", sec_fetch_mode="navigate").status == 200


# ---------------------------------------------------------------------------------------- what programs ask in error


@pytest.mark.parametrize(
    ("selector", "value", "said"),
    [
        ("tenant", "abc", "64 hexadecimal digits"),
        ("tenant", "446d19fd0e4f", "a whole tenant"),
        ("key", "446d19fd0e4f", "a whole key"),
        ("tag", "", "this tag has no name"),
        ("tag", "x y", "no tag can be called"),
        ("namespace", "bad ns", "no namespace can be called"),
        ("model", "a/*", "is a glob"),
        ("older_than", "1h", "exactly one of key"),
    ],
)
def test_a_purge_that_can_hit_nothing_is_refused_in_words_of_the_api(
    locked: House, selector: str, value: str, said: str
) -> None:
    tiers = locked.gateway.gateway.world.tiers
    before = tiers.purges
    told, bearer = forms(selector=selector, value=value), f"Bearer {locked.tokens['admin']}"
    reply = locked.call("POST", "api/purge", told, authorization=bearer)
    error = json.loads(reply.body)["error"]
    assert (reply.status, error["code"]) == (400, 400)
    assert said in error["message"]
    assert "--tag" not in error["message"] and "--key" not in error["message"]
    assert tiers.purges == before


def test_a_whole_tenant_is_purged(tmp_path: Path) -> None:
    with house(tmp_path) as at:
        at.ask("of a tenant")
        assert at.ask("of a tenant").hit
        at.settle()
        [entry] = at.data("entries")["entries"]
        assert entry["tenant"].encode() in at.get("entries/" + entry["key"]).body
        page = at.get("purge?tenant=" + entry["tenant"])
        assert b"1 entry would go" in page.body
        told = forms(selector="tenant", value=entry["tenant"], csrf=csrf_of(page))
        reply = at.call("POST", "purge", told, cookie=cookie_of(page), origin=f"http://{at.gateway.host}")
        assert reply.status == 303
        assert at.data("entries")["entries"] == []
        assert not at.ask("of a tenant").hit


@pytest.mark.parametrize(
    "asked",
    [
        *("requests?before=x", "requests?since=24h", "requests?until=-1", "requests?outcome=won", "overview?span=2h"),
        *("conversations?before=x", "entries?skip=x", "entries?text=hello", "requests?before=" + "9" * 16),
        *("requests?outcome=hit,won", "requests?outcome=hit,", "conversations?since=x"),
    ],
)
def test_a_field_of_a_query_that_says_nothing_is_refused_and_not_passed_over(open_house: House, asked: str) -> None:
    reply = open_house.get("api/" + asked)
    error = json.loads(reply.body)["error"]
    assert (reply.status, error["code"]) == (400, 400)
    assert error["message"].startswith(asked.partition("?")[2].partition("=")[0] + ": ")
    assert open_house.get(asked.replace("overview", "")).status == 200, "a page shows what it usually does"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("requests?modle=m", "'modle' is not a field; did you mean model? what is known here: before,"),
        ("entries?limit=9", "what is known here: model, namespace, skip, tag, text"),
        ("overview?since=1", "what is known here: span"),
        ("health?verbose=1", "'verbose' is not a field; nothing can be asked for here"),
        ("requests/n1?model=m", "nothing can be asked for here"),
    ],
)
def test_a_field_of_a_query_that_is_not_known_is_refused_with_those_that_are(
    open_house: House, asked: str, said: str
) -> None:
    reply = open_house.get("api/" + asked)
    assert reply.status == 400
    assert said in json.loads(reply.body)["error"]["message"]


def test_a_purge_is_not_made_where_it_says_more_than_is_known(locked: House) -> None:
    bearer = f"Bearer {locked.tokens['admin']}"
    for told in (forms(selector="all", value="", dry_run="1"), forms(selector="model", value="m", older_than="1h")):
        reply = locked.call("POST", "api/purge", told, authorization=bearer)
        assert reply.status == 400
        assert "is not a field" in json.loads(reply.body)["error"]["message"]
    assert locked.call("POST", "api/purge", forms(selector="model", value="m"), authorization=bearer).status == 200


@pytest.mark.parametrize(
    "asked",
    [
        *(
            "requests?before=9&since=1&until=2&outcome=hit",
            "requests?outcome=hit,stale,collapsed",
            "conversations?since=1",
            "requests?before=&outcome=",
            "overview?span=7d",
        ),
        *("conversations?before=1763771606.25", "entries?skip=3&text="),
    ],
)
def test_a_query_that_can_be_read_is_answered(open_house: House, asked: str) -> None:
    assert open_house.get("api/" + asked).status == 200


@pytest.mark.parametrize("id", ["0" * 16, "7" + "f" * 15, "8" + "0" * 15, "f" * 16, "x"])
def test_a_request_that_never_was_is_not_found(open_house: House, id: str) -> None:  # noqa: A002
    assert open_house.get("requests/" + id).status == 404
    assert open_house.get("api/requests/" + id).status == 404


# ---------------------------------------------------------------------------------------- what every answer carries


@pytest.mark.parametrize("place", [*PLACES, *DATA, "login", "assets/htmx.js", "nowhere", "api/nowhere", "entries/x"])
def test_every_answer_forbids_scripts_frames_and_guessing(open_house: House, place: str) -> None:
    reply = open_house.get(place)
    assert reply["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    assert (reply["x-content-type-options"], reply["x-frame-options"]) == ("nosniff", "DENY")
    assert reply["cross-origin-resource-policy"] == "same-origin"
    if not place.startswith("assets/"):
        assert reply["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path", ["assets/../panel.py", "assets/..%2fpanel.py", "assets/htmx.LICENSE.txt", "assets/", "%00"]
)
def test_only_the_files_of_the_table_are_served(open_house: House, path: str) -> None:
    assert open_house.get(path).status in (400, 404)


def test_after_signing_in_the_page_that_was_asked_for_comes_with_its_query(locked: House) -> None:
    asked = "requests?outcome=hit%2Cstale&model=anthropic%2Fclaude-sonnet-4.5"
    reply = locked.get(asked)
    assert reply.status == 303
    there = parse_qs(urlsplit(reply["location"]).query)["to"][0]
    first = locked.get("login?" + urlencode({"to": there}))
    told = forms(token=locked.tokens["view"], to=there, csrf=csrf_of(first))
    assert b"outcome=hit%2Cstale" in first.body
    entered = locked.call("POST", "login", told, cookie=cookie_of(first), origin=f"http://{locked.gateway.host}")
    assert (entered.status, entered["location"]) == (303, "/_payonce/" + asked)


@pytest.mark.parametrize(
    "place",
    [
        *(
            "//evil.example",
            "login",
            "login?to=requests",
            "a/../../b",
            "requests?x=//evil.example",
            "https://evil.example",
        ),
        *("requests?x=\r\nset-cookie:a=b", "requests?<script>", "javascript:alert(1)//", "requests#x"),
    ],
)
def test_nobody_is_led_elsewhere_after_signing_in(place: str) -> None:
    assert safe_place(place) == ""


def test_a_part_of_a_page_whose_session_has_ended_says_that_the_page_is_to_be_opened_again(locked: House) -> None:
    reply = locked.get("requests/tail", hx_request="true")
    assert (reply.status, reply["hx-refresh"], reply.body) == (204, "true", b"")
    assert locked.get("requests/tail").status == 303, "who asks for it as a page is led to the login"


def test_an_entry_is_found_by_the_beginning_of_its_key_where_no_other_begins_so(open_house: House) -> None:
    open_house.ask("an entry to be found")
    open_house.settle()
    key = open_house.data("entries")["entries"][0]["key"]
    for shown in (key, key[:15], key[3:15], key[:15].upper()):
        assert [each["key"] for each in open_house.data("entries/" + shown)["entries"]] == [key], shown
    assert open_house.get("entries/" + key[:15]).status == 200
    absent = ("0" if key[3] != "0" else "1") * 12
    assert open_house.get("api/entries/" + absent).status == 404
    alike = (f"text {number}" for number in itertools.count())
    seen: dict[bytes, str] = {}
    for text in alike:
        begins = blake3(text.encode()).digest()[:2]
        if begins in seen:
            break
        seen[begins] = text
    open_house.plant(text)
    open_house.plant(seen[begins])
    reply = open_house.get("api/entries/b3:" + begins.hex())
    assert reply.status == 400
    assert "several keys begin" in json.loads(reply.body)["error"]["message"]


def test_a_ledger_that_can_not_be_written_is_told_wherever_figures_are_missed(tmp_path: Path) -> None:
    foreign = tmp_path / "other.db"
    with closing(sqlite3.connect(foreign)) as other:
        other.execute("CREATE TABLE mine (x)")
    with house(tmp_path, store="memory:", ledger=str(foreign)) as at:
        at.ask("whatever")
        books = at.gateway.gateway.world.books
        assert books is not None
        assert until(lambda: bool(books.clerk.fault), 30)
        [note] = [each for each in at.data("health")["notes"] if "ledger" in each]
        assert note.startswith("the ledger can't be written, so figures are lost and no call is: ")
        assert at.data("health")["status"] == "degraded"
        assert note.partition(": ")[2] == at.data("overview")["trouble"]
        assert b"can&#x27;t be written" in at.get().body or b"can't be written" in at.get().body
        assert at.ask("whatever").hit, "and answers go on"


@pytest.mark.parametrize("path", ["api/nowhere", "api/nowhere?field=1"])
def test_what_is_not_there_is_not_found_whatever_is_asked_of_it(open_house: House, path: str) -> None:
    reply = open_house.get(path)
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (404, 404)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods_are_refused(open_house: House, method: str) -> None:
    assert open_house.call(method, "entries", b"").status == 405


def test_a_form_that_is_too_long_is_refused(open_house: House) -> None:
    assert open_house.call("POST", "purge", b"x=" + b"y" * (20 << 10)).status == 413


# ---------------------------------------------------------------------------------------- tokens


def test_tokens_are_kept_as_digests_in_a_file_of_the_owner_s_alone(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "tokens"
    made = make_tokens(path, anew=False)
    assert made is not None
    kept = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not any(token.encode() in kept or token[-20:].encode() in kept for token in made.values())
    tokens = read_tokens(path)
    assert tokens is not None
    assert [tokens.role_of(made[role]) for role in Role] == list(Role)
    assert [tokens.role_of(text) for text in ("", "x", made[Role.ADMIN] + "x", tokens.digests[Role.ADMIN])] == [
        None
    ] * 4
    assert make_tokens(path, anew=False) is None
    assert path.read_bytes() == kept


def test_a_file_that_others_can_read_opens_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    make_tokens(path, anew=True)
    path.chmod(0o640)
    with pytest.raises(SettingsError, match="chmod 600"):
        read_tokens(path)


def test_the_first_start_shows_them_once_on_a_terminal_and_never_in_a_log(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "payonce", "serve", "--port", "0", "--store", f"sqlite:{tmp_path}/c.db"]
    environ = os.environ | {"PAYONCE_DASHBOARD": "token", "HOME": str(tmp_path)}

    def shown(*, terminal: bool) -> str:
        ours, theirs = pty.openpty() if terminal else os.pipe()
        text = b""
        with subprocess.Popen(arguments, stdout=theirs, stderr=subprocess.DEVNULL, env=environ) as child:
            os.close(theirs)
            try:
                while data := os.read(ours, 4096):
                    text += data
                    if b"/_payonce/" in text and child.poll() is None:
                        child.kill()
            except OSError:  # how a terminal ends
                pass
        os.close(ours)
        return text.decode()

    piped, first, second = shown(terminal=False), shown(terminal=True), shown(terminal=True)
    assert "run  payonce tokens" in piped
    assert len(re.findall(r"payonce-(?:view|admin)-\S{43}", first)) == 2
    assert not re.search(r"payonce-(?:view|admin)-", piped + second)


def test_new_tokens_by_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "payonce", "tokens", "--store", f"sqlite:{tmp_path}/c.db"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    tokens = read_tokens(tmp_path / "c.db.secret.dashboard")
    assert tokens is not None
    shown = re.findall(r"payonce-\S+", out)
    assert [tokens.role_of(token) for token in shown] == [Role.VIEW, Role.ADMIN]
