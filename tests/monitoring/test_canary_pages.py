"""What the dashboard shows of a key, a prompt and an answer, by role, where `show_content` is on.

Everything that a link, a form or a script of a page leads to is read by who is signed in as `view` and as `admin`, and
its twin in JSON.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from html import unescape

import pytest

from payonce.dashboard.handlers import DATA, PAGES
from payonce.dashboard.tokens import Role, make_tokens, tokens_path
from payonce.testing.sim import CacheMeter, running_sim
from tests.dashboard.house import ADMIN, House
from tests.dashboard.test_door import signed_in
from tests.doctor.scenes import scenes
from tests.monitoring.test_canary import ANSWER, KEY, PROMPT, SECRETS, behave, go_everywhere
from tests.support.gateway import raw_upstream, running_gateway, until

Seen = Mapping[str, str]
"""What stands at each place."""
MOST = 600
_LINK = re.compile(r'(?:href|src|action|hx-get)="([^"#]+)')
STAGED = {
    "timestamp": {"It is now": f"It is now {PROMPT}"},
    "changed schema": {'"path"': f'"{PROMPT}"', '"write"': f'"write-{PROMPT}"'},
    "rewritten history": {"(cut to save space)": f"(cut {PROMPT})"},
}
"""Conversations in which the doctor finds something, with the canary in what it finds."""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Seen]]:
    """By role, everything that the dashboard shows after the canary went every path."""
    store = f"sqlite:{tmp_path_factory.mktemp('pages')}/cache.db"
    with raw_upstream(behave) as upstream, running_sim(meter=CacheMeter()) as sim:
        upstreams = (("", upstream.base_url), ("sim", sim.base_url))
        chosen = {"store": store, "dashboard": "token", "show_content": True, "prompt_cache": "auto"}
        with running_gateway(upstreams, **chosen) as gateway:
            made = make_tokens(tokens_path(gateway.gateway.settings), anew=True)
            assert made is not None
            house = House(gateway, sim, {Role(role).value: token for role, token in made.items()})
            go_everywhere(gateway)
            for scene, said in STAGED.items():
                converse(house, scene, said)
            assert until(lambda: found_in(house), 20)
            yield {role: walked(house, role) for role in ("view", "admin")}


def converse(house: House, scene: str, said: Mapping[str, str]) -> None:
    """Play a scene with other words."""
    for act in scenes()[scene].acts:
        body = json.dumps(act.body)
        for old, new in said.items():
            body = body.replace(old, new)
        house.sim.advance(act.wait)
        headers = {"Authorization": f"Bearer {KEY}", **act.headers}
        path = "/sim/v1/chat/completions"
        assert house.gateway.post(body.encode(), path, **headers).status == 200


def found_in(house: House) -> bool:
    """Whether the doctor has told of all that was staged, and the books have what was asked."""
    world = house.gateway.gateway.world
    asyncio.run_coroutine_threadsafe(world.tally(), house.gateway.loop).result(10)
    assert world.tiers.keeper.flush(5.0)
    assert world.books is not None
    world.books.clerk.flush()
    found = house.data("findings", authorization=f"Bearer {house.tokens['admin']}")["findings"]
    return json.dumps(found).count(PROMPT) >= len(STAGED)


def walked(house: House, role: str) -> Seen:
    """Every page that a page leads to, and what each is in JSON."""
    cookie, _ = signed_in(house, role)
    bearer = f"Bearer {house.tokens[role]}"
    waiting = [ADMIN + name for name in PAGES if not name.endswith("/")]
    waiting += [f"{ADMIN}entries?text={ANSWER}", f"{ADMIN}login"]
    found: dict[str, str] = {}
    while waiting:
        place = waiting.pop()
        if place in found or not place.startswith(ADMIN) or len(found) > MOST:
            continue
        path = place.removeprefix(ADMIN)
        reply = house.get(path, cookie=cookie)
        found[place] = f"{reply.status} {reply.fields} {reply.body.decode()}"
        if path.startswith("assets/"):
            continue
        waiting += [unescape(link) for link in _LINK.findall(reply.body.decode())]
        name = path.partition("?")[0]
        if name in DATA or (name not in PAGES and name.partition("/")[0] + "/" in DATA):
            told = house.get("api/" + path, authorization=bearer)
            found[f"{ADMIN}api/{path}"] = f"{told.status} {told.fields} {told.body.decode()}"
    assert len(found) <= MOST, "too many pages: the walk has no end"
    return found


def told(pages: Seen, secret: str) -> list[str]:
    """The places that tell it, but for one that was named it by who asks."""
    return [place for place, text in pages.items() if secret in text and "text=" not in place]


@pytest.mark.parametrize("name", list(SECRETS))
def test_no_page_tells_view_a_key_a_prompt_or_an_answer(seen: dict[str, Seen], name: str) -> None:
    assert told(seen["view"], SECRETS[name]) == []


def test_an_administrator_reads_prompts_and_answers_but_no_key(seen: dict[str, Seen]) -> None:
    """The positive control."""
    assert {f"{ADMIN}findings", f"{ADMIN}api/findings"} <= set(told(seen["admin"], PROMPT))
    assert any(place.startswith(f"{ADMIN}entries/") for place in told(seen["admin"], ANSWER))
    assert any(place.startswith(f"{ADMIN}api/entries/") for place in told(seen["admin"], ANSWER))
    assert told(seen["admin"], KEY) == []


def test_a_search_for_text_tells_view_nothing(seen: dict[str, Seen]) -> None:
    def listed(role: str, query: str) -> int:
        return len(set(re.findall(r'href="/_payonce/entries/([0-9a-z:%]+)"', seen[role][f"{ADMIN}entries{query}"])))

    assert 0 < listed("admin", f"?text={ANSWER}") < listed("admin", "")
    assert listed("view", f"?text={ANSWER}") == listed("view", "") == listed("admin", "")


def test_every_kind_of_page_was_walked(seen: dict[str, Seen]) -> None:
    for role, pages in seen.items():
        kinds = {place.removeprefix(ADMIN).partition("?")[0].partition("/")[0] for place in pages}
        assert {name.rstrip("/") for name in PAGES if name != "requests/tail"} <= kinds, role
        for kind in ("requests/", "requests?", "requests/tail", "entries/", "entries?", "conversations/", "?span="):
            assert any(place.startswith(ADMIN + kind) for place in pages), (role, kind)
        assert any(place.startswith(f"{ADMIN}purge?") for place in pages) == (role == "admin")
        wrong = {place: text[:3] for place, text in pages.items() if text[:3] not in ("200", "404")}
        refused = {f"{ADMIN}purge": "403" if role == "view" else "400"}  # it is not said of what
        if role == "view":  # who may not read can't search
            refused |= dict.fromkeys((place for place in pages if place.startswith(f"{ADMIN}api/entries?text=")), "400")
        assert wrong == refused
        missing = {place for place, text in pages.items() if text.startswith("404")} - {f"{ADMIN}logout"}
        assert all("Nothing is stored under" in pages[place] for place in missing), missing
        assert all("entries/" in place for place in missing), "keys of answers that were not kept"
