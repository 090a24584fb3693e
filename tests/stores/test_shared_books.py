"""Two different books of epochs never look the same to a poll, whatever a server loses and gains: real servers that are
killed, restarted from what they had saved, and changed before anybody asks again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
from store_faults import about_now
from tests.support.gateway import until
from tests.support.servers import Memcached, RedisServer, Server, memcached, redis_server

from payonce.errors import StoreError
from payonce.model.ports import Store
from payonce.stores import redis_book as pages
from payonce.stores.registry import open_store
from payonce.testing.contract import slot_of

pytestmark = pytest.mark.usefixtures("patient")
Opening = Callable[[], Store]


@pytest.fixture(params=["redis", "memcached"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer | Memcached]:
    with redis_server(tmp_path) if request.param == "redis" else memcached(tmp_path) as running:
        yield running


@pytest.fixture
def opened(server: Server) -> Iterator[Opening]:
    """Opens the store as one more process would."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(open_store(server.url)))


def save(server: Server) -> None:
    """What is there now is what a restart brings back; memcached brings nothing back."""
    if isinstance(server, RedisServer):
        server.say("SAVE")


def crash(server: Server) -> None:
    """It loses what was not saved, and is back before anybody has noticed."""
    server.kill()
    server.start()
    if isinstance(server, RedisServer):
        assert until(lambda: server.say("PING") in (True, b"PONG"), 30), "it has read its file"


def polled(store: Store) -> Mapping[str, int]:
    """What the first poll says that is answered; the connections of before the crash are dead."""
    said: list[Mapping[str, int]] = []

    def answered() -> bool:
        with suppress(StoreError):
            said.append(dict(store.epochs()))
        return bool(said)

    assert until(answered, 30)
    return said[0]


def mark(server: Server) -> object:
    """How much stands in the book of Redis; memcached's version of it."""
    if isinstance(server, RedisServer):
        return server.say("ZCARD", "payonce:book")
    return server.say(b"mg payonce:book c\r\n")


def test_a_purge_is_seen_that_came_after_another_was_lost(server: Server, opened: Opening) -> None:
    gateways = [opened(), opened()]
    gateways[0].raise_epoch("tag:zero")
    assert [polled(store) for store in gateways] == [{"tag:zero": 1}] * 2
    save(server)
    gateways[0].raise_epoch("tag:alpha")
    assert [polled(store)["tag:alpha"] for store in gateways] == [1, 1]
    before = mark(server)
    crash(server)
    operator = opened()
    if isinstance(server, Memcached):
        operator.raise_epoch("tag:other")
    operator.raise_epoch("tag:bravo")
    assert mark(server) == before, "the case in question: one lost, one gained"
    for store in gateways:
        assert {"tag:alpha", "tag:bravo"} <= polled(store).keys()
    assert {"tag:zero", "tag:alpha", "tag:bravo"} <= polled(operator).keys(), "what was lost is given back"
    assert {"tag:zero", "tag:alpha", "tag:bravo"} <= polled(opened()).keys()


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_purge_is_seen_that_counts_as_the_lost_one_did(server: Server, opened: Opening, lost: int) -> None:
    """`purge --all` on a server that has lost `lost` of its kind, or, on memcached, all of them."""
    gateways = [opened(), opened()]
    gateways[0].raise_epoch("all")
    save(server)
    for _ in range(lost):
        gateways[0].raise_epoch("all")
    known = [polled(store)["all"] for store in gateways]
    assert known == [1 + lost] * 2
    crash(server)
    opened().raise_epoch("all")
    for store in gateways:
        assert polled(store)["all"] > 1 + lost, "what was stored before is dead"
    counts = {polled(store)["all"] for store in (*gateways, *gateways, opened())}
    assert len(counts) == 1, "and all agree"


def test_those_who_knew_the_lost_book_share_the_new_one(server: Server, opened: Opening) -> None:
    one, two = opened(), opened()
    assert polled(one) == polled(two) == {}
    crash(server)
    for store in (one, two, one):
        polled(store)
    for number, (writer, reader) in enumerate(((one, two), (two, one))):
        writer.put(slot_of(number), b"shared", about_now(time.time()))
        assert writer.flush()
        assert reader.get(slot_of(number)) == b"shared"


def test_who_held_the_lost_book_does_not_write_it_over_the_new_one(server: Server, opened: Opening) -> None:
    one, two = opened(), opened()
    assert polled(one) == polled(two) == {}
    save(server)
    two.raise_epoch("tag:zero")
    polled(one)
    crash(server)
    assert until(lambda: _raised(two, "tag:bravo"), 30)
    assert until(lambda: _raised(one, "tag:charlie"), 30)
    assert {"tag:zero", "tag:bravo", "tag:charlie"} <= polled(one).keys()
    assert {"tag:bravo", "tag:charlie"} <= polled(opened()).keys()


def _raised(store: Store, scope: str) -> bool:
    with suppress(StoreError):
        return store.raise_epoch(scope) > 0
    return False


# ------------------------------------------------------------------------------- Redis: any order of loss and change


def test_no_two_books_show_the_same_to_a_poll(tmp_path: Path) -> None:
    """A thousand changes and losses at random; the key's own dump brings an older book back, as a replica does that
    lacks the last writes. `random` is seeded for what happens, the stamps are the product's own."""
    dice = random.Random(7)
    with redis_server(tmp_path) as server, closing(open_store(server.url)) as store, server.client() as client:
        store.raise_epoch("all")
        saved: list[bytes] = []
        seen: dict[tuple[int, int], pages.Book] = {}
        for _ in range(1000):
            step = dice.choice(["purge", "purge", "save", "lose", "lose", "carry"])
            if step == "purge":
                store.raise_epoch(dice.choice(["all", "tag:a", "tag:b", f"key:{dice.randrange(9):064x}"]))
            elif step == "save":
                saved.append(client.dump("payonce:book"))
            elif step == "lose" and saved:
                client.restore("payonce:book", 0, dice.choice(saved), replace=True)
            elif step == "carry":
                store.epochs()
            poll = pages.read_poll(client.execute_command(*pages.poll(b"payonce:book")))  # type: ignore[no-untyped-call]
            book = pages.read_book(client.execute_command("ZRANGE", "payonce:book", 0, -1, "WITHSCORES"))  # type: ignore[no-untyped-call]
            assert poll is not None
            assert book is not None
            assert seen.setdefault(poll, book) == book
        assert len(seen) > 300
