"""The dashboard takes nothing from the proxy: its pages are few at a time, its lists short, its faults its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from payonce.dashboard import entries, purges
from payonce.dashboard.asking import Answer, Request
from payonce.dashboard.panel import Panel
from payonce.errors import StoreUnavailableError
from payonce.gateway.admin import WAITING
from tests.dashboard.house import House, house


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("house")) as opened:
        yield opened


def test_pages_that_hang_hold_up_no_call_and_only_so_many_wait(at: House, monkeypatch: pytest.MonkeyPatch) -> None:
    assert at.ask("asked before").status == 200
    let_go = threading.Event()
    answer = Panel.answer

    def hang(panel: Panel, request: Request) -> Answer:
        assert let_go.wait(20)
        return answer(panel, request)

    monkeypatch.setattr(Panel, "answer", hang)
    ask = f"GET /_payonce/health HTTP/1.1\r\nHost: {at.gateway.host}\r\n\r\n".encode()
    admin = at.gateway.gateway.admin
    assert admin is not None
    with ExitStack() as held:
        wires = [held.enter_context(at.gateway.wire(20)) for _ in range(WAITING)]
        for wire in wires:
            wire.send(ask)
        assert at.gateway.until(lambda: admin._under_way == WAITING)
        assert (at.get("health").status, at.get("health").error) == (503, "busy")
        assert at.ask("asked before").hit
        assert at.ask("asked now").status == 200
        let_go.set()
        assert {wire.reply().status for wire in wires} == {200}
    assert at.get("health").status == 200


def test_a_search_gives_up_and_goes_on_where_it_was(at: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(9):
        at.ask(f"entry {n}", x_payonce_tags="found" if n == 0 else "other")
    at.settle()
    monkeypatch.setattr(entries, "LOOKED_AT", 4)
    seen: list[str] = []
    skip = 0
    for _ in range(9):
        page = at.data(f"entries?tag=found&skip={skip}")
        seen += [entry["key"] for entry in page["entries"]]
        if page["next"] is None:
            break
        assert page["stopped_early"]
        skip = page["next"]
    assert len(seen) == 1
    assert b"The search stopped early" in at.get("entries?tag=found").body


def test_long_lists_come_in_pages(at: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "PAGE", 3)
    whole = [entry["key"] for entry in _walk(at, "entries", "skip")]
    assert len(whole) == len(set(whole)) > 6


def _walk(at: House, place: str, by: str) -> Iterator[dict[str, str]]:
    start = 0
    while True:
        page = at.data(f"{place}?{by}={start}")
        yield from page[place]
        if page["next"] is None:
            return
        start = page["next"]


def test_a_purge_counts_only_as_far_as_it_is_no_burden(at: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purges, "LOOKED_AT", 2)
    assert b"At least 2 entries would go." in at.get("purge?all=yes").body


def test_a_store_that_fails_costs_a_page_and_nothing_else(at: House, monkeypatch: pytest.MonkeyPatch) -> None:
    store = at.gateway.gateway.world.tiers.keeper

    def fail() -> None:
        raise StoreUnavailableError("the disk is gone")

    monkeypatch.setattr(type(store), "epochs", lambda _self: fail())
    page = at.get("entries")
    assert page.status == 503
    assert b"the disk is gone" in page.body
    assert json.loads(at.get("api/entries").body)["error"]["code"] == 503
    assert at.ask("asked before").status == 200


def test_a_mistake_of_ours_is_a_page_that_says_so(
    at: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(entries, "search", lambda *_: 1 // 0)
    assert at.get("entries").status == 500
    assert "a page failed" in caplog.text


def test_without_a_ledger_the_rest_works(tmp_path: Path) -> None:
    with house(tmp_path, ledger="off") as bare:
        assert bare.ask("hello").status == 200
        for place in ("", "requests", "conversations"):
            page = bare.get(place)
            assert page.status == 200
            assert b"No ledger is kept" in page.body
            assert b'aria-label="Pages"' in page.body
        assert bare.get("api/overview").status == 404
        assert {bare.get(place).status for place in ("entries", "findings", "health")} == {200}
