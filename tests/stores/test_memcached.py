"""A memcached store on real servers: what is too large, what is lost, and a purge that a lost server learns of late."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_faults import about_now, value_of
from tests.support.gateway import PATIENCE, until
from tests.support.servers import Memcached, memcached

from payonce.errors import SettingsError, StoreError, StoreUnavailableError
from payonce.model.ports import Store
from payonce.stores import memcached_words as words
from payonce.stores import shared
from payonce.stores.memcached_books import MemcachedNode
from payonce.stores.memcached_url import read_place
from payonce.stores.memory import MemoryStore
from payonce.stores.registry import open_store
from payonce.stores.talk import LostError
from payonce.testing import FakeClock
from payonce.testing.contract import slot_of

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Memcached]]:
    with ExitStack() as stack:
        yield [stack.enter_context(memcached(tmp_path, "-I", "1m", "-m", "64")) for _ in range(3)]


def url(servers: list[Memcached]) -> str:
    return "memcached://" + ",".join(f"127.0.0.1:{server.port}" for server in servers)


def fill(store: Store, count: int) -> None:
    for number in range(count):
        assert store.put(slot_of(number), value_of(number), about_now(time.time()))
    assert store.flush()


def found(store: Store, count: int) -> int:
    total = 0
    for number in range(count):
        try:
            value = store.get(slot_of(number))
        except StoreError:
            value = None
        assert value in {None, value_of(number)}
        total += value is not None
    return total


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def test_a_value_too_large_for_an_item_is_skipped_and_counted_and_an_older_one_goes(servers: list[Memcached]) -> None:
    for option, size in (("", 1_500_000), ("?item_bytes=9000000", 1_200_000)):
        with closing(open_store(url(servers[:1]) + option)) as store:
            store.put(slot_of("large"), b"small", about_now(time.time()))
            assert store.flush()
            assert store.put(slot_of("large"), noise(size), about_now(time.time())), "it may still be compressed"
            assert not store.flush()
            assert store.get(slot_of("large")) is None
            assert store.dropped() == {"entry-too-large": 1}
            assert store.put(slot_of("text"), b"words " * 400_000, about_now(time.time()))
            assert store.flush()
            assert store.get(slot_of("text")) == b"words " * 400_000


def test_entries_are_spread_over_the_servers(servers: list[Memcached]) -> None:
    with closing(open_store(url(servers))) as store:
        fill(store, 300)
        assert found(store, 300) == 300
    counts = [int(server.say(b"stats\r\n", b"END\r\n").split(b"curr_items ")[1].split()[0]) for server in servers]
    assert all(60 < count < 150 for count in counts)


def test_a_server_that_dies_takes_only_its_share_and_purges_go_on(servers: list[Memcached]) -> None:
    with closing(open_store(url(servers))) as store:
        fill(store, 300)
        servers[0].kill()
        assert 150 < found(store, 300) < 250
        assert until(lambda: store.trouble(slot_of(0)) != "" or any(store.trouble(slot_of(n)) for n in range(20)), 20)
        assert store.trouble() == "", "the others answer"
        assert store.raise_epoch("model:m") == 1
        assert dict(store.epochs()) == {"model:m": 1}
        servers[0].start()
        assert until(lambda: not any(store.trouble(slot_of(n)) for n in range(20)), 20)
        fill(store, 300)
        assert found(store, 300) == 300


@pytest.mark.parametrize("fault", ["kill", "freeze"])
def test_a_server_that_does_not_answer_costs_the_others_no_write(servers: list[Memcached], fault: str) -> None:
    with closing(open_store(url(servers))) as store, closing(open_store(url(servers))) as reader:
        reader.pace(PATIENCE)
        fill(store, 30)
        assert found(reader, 30) == 30
        owner = store._live.medium._node  # type: ignore[attr-defined]
        lost, healthy = (
            owner(slot_of(0)),
            [slot_of(n) for n in range(300) if owner(slot_of(n)) is not owner(slot_of(0))],
        )
        getattr(servers[[server.port for server in servers].index(int(lost.name.split(":")[1]))], fault)()
        for turn in range(3):
            store.put(slot_of(0), b"lost", about_now(time.time()))
            store.flush()
            for slot in healthy[:20]:
                assert store.put(slot, b"turn %d" % turn, about_now(time.time())), "it is taken at once"
            assert until(lambda turn=turn: {reader.get(slot) for slot in healthy[:20]} == {b"turn %d" % turn}, 30)
        assert set(store.dropped()) <= {"write-fault", "store-down"}
        assert sum(store.dropped().values()) == 3


def test_a_server_that_missed_a_purge_is_told_of_it(servers: list[Memcached], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_CALL_SECONDS", 2.0)  # it is waited for so long
    with closing(open_store(url(servers))) as store:
        fill(store, 50)
        servers[0].freeze()
        assert until(lambda: store.raise_epoch("all") > 0, 30)
        count = store.epochs()["all"]
        servers[0].thaw()
        with closing(open_store(url(servers[:1]))) as alone:
            assert until(lambda: bool(store.epochs()) and dict(alone.epochs()) == {"all": count}, 20)


def test_a_book_that_was_evicted_makes_everything_older_unreadable_and_forgets_no_purge(
    servers: list[Memcached],
) -> None:
    with closing(open_store(url(servers[:1]))) as store:
        fill(store, 10)
        store.raise_epoch("model:m")
        servers[0].say(b"delete payonce:book\r\n")
        assert dict(store.epochs()) == {"model:m": 1}
        assert found(store, 10) == 0
        with closing(open_store(url(servers[:1]))) as late:
            assert dict(late.epochs()) == {"model:m": 1}
        assert store.raise_epoch("model:m") == 2


def test_a_record_is_listed_again_as_soon_as_it_is_noted_again_on_a_server_that_was_restarted(
    servers: list[Memcached],
) -> None:
    with closing(open_store(url(servers[:1]))) as store:
        for noted in (b"before", b"after"):
            store.note("tally/1/w", noted)
            assert store.flush()
            assert store.notes() == {"tally/1/w": noted}
            servers[0].kill()
            servers[0].start()
            assert until(lambda: _is_empty(store))


def _is_empty(store: Store) -> bool:
    """Whether it has no records, as far as its server can be asked."""
    with suppress(StoreError):
        return store.notes() == {}
    return False


def test_when_no_server_answers_nothing_is_purged_and_that_is_said(servers: list[Memcached]) -> None:
    with closing(open_store(url(servers))) as store:
        for server in servers:
            server.kill()
        with pytest.raises(StoreUnavailableError, match="nothing was purged"):
            store.raise_epoch("all")
        assert until(lambda: store.trouble() != "" or found(store, 30) > 0, 20)


def test_a_full_server_evicts_and_keeps_its_promises(tmp_path: Path) -> None:
    with memcached(tmp_path, "-m", "2") as server, closing(open_store(server.url)) as store:
        for number in range(400):
            store.put(slot_of(number), noise(20_000) + value_of(number), about_now(time.time()))
            if number % 50 == 49:
                store.flush()
                assert dict(store.epochs()) == {}, "the book is read often, so it stays"
        kept = sum(store.get(slot_of(number)) is not None for number in range(400))
        assert 0 < kept < 400


def test_purging_one_model_among_many_touches_none_of_their_entries(servers: list[Memcached]) -> None:
    """How long it takes is measured by `python -m benchmarks purge`."""

    def figures() -> tuple[int, int]:
        each = [
            dict(line.split()[1:] for line in server.say(b"stats\r\n", b"END\r\n").splitlines()[:-1])
            for server in servers
        ]
        asked = (b"cmd_get", b"cmd_set", b"cmd_touch", b"cmd_meta", b"cmd_flush", b"delete_hits")
        return sum(int(one.get(name, 0)) for one in each for name in asked), sum(
            int(one[b"curr_items"]) for one in each
        )

    with closing(open_store(url(servers))) as store:
        fill(store, 3000)
        store.epochs()
        asked, items = figures()
        store.raise_epoch("model:m")
        asked_later, items_later = figures()
    assert items_later == items > 3000
    assert 0 < asked_later - asked < 60


def test_purges_of_many_at_once_all_count(servers: list[Memcached]) -> None:
    with ExitStack() as stack:
        stores = [stack.enter_context(closing(open_store(url(servers[:1])))) for _ in range(4)]
        counts: list[int] = []

        def work(store: Store) -> None:
            counts.extend(store.raise_epoch("all") for _ in range(20))

        threads = [threading.Thread(target=work, args=(store,)) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(counts) == list(range(1, 81))


def test_a_book_counts_as_memory_does() -> None:
    dice, clock = random.Random(5), FakeClock()
    model, book = MemoryStore(1 << 20, clock), words.Book(1, 0, {}, {})
    for _ in range(500):
        scope = dice.choice(["all", "before", "model:m", "tenant:t"])
        least = dice.choice([0, 0, dice.randrange(400)])
        book, counts = words.raise_in(book, {scope: least}, clock())
        assert counts[scope] == model.raise_epoch(scope, least)
        clock.advance(dice.random() * 1000)
    assert book.counts == dict(model.epochs())
    assert book.version == 500
    assert words.read_book(words.write_book(book)) == book


def test_a_book_of_too_many_keys_forgets_the_oldest_half_and_says_when() -> None:
    book, now = words.Book(1, 0, {}, {}), 1_800_000_000.0
    for number in range(words.MOST_KEY_SCOPES + 1):
        book, _ = words.raise_in(book, {f"key:{number}": 0}, now + number)
    assert len(book.counts) == words.MOST_KEY_SCOPES // 2
    assert f"key:{words.MOST_KEY_SCOPES}" in book.counts
    assert words.raised_of(book)["key:"] == now + words.MOST_KEY_SCOPES // 2
    assert len(words.write_book(book)) < 900_000


@given(st.binary(max_size=60))
def test_a_line_that_is_no_answer_is_found_out(head: bytes) -> None:
    try:
        answer, length = words.read_head(head, 7)
    except LostError:
        return
    assert answer.is_error or answer.flags.get("O") == "7" or (answer.code == "EN" and not answer.flags)
    assert length is None or length >= 0


@given(st.binary(max_size=80))
def test_junk_is_no_book(junk: bytes) -> None:
    book = words.read_book(junk)
    assert book is None or isinstance(book, words.Book)


@pytest.mark.parametrize(
    "rest", ["h", "//", "//h/x", "//u:hunter2@h", "//h,h", "//h?x=1", "//h?item_bytes=1", "//h?prefix=%20", "//h:0"]
)
def test_a_url_that_can_not_be_followed_is_refused(rest: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_place(rest)
    assert "hunter2" not in str(caught.value)


def test_a_url_says_where() -> None:
    place = read_place("//a,[::1]:2/?prefix=x:&item_bytes=5000")
    assert place.addresses == (("a", 11211), ("::1", 2))
    assert (place.prefix, place.item_bytes, str(place)) == ("x:", 5000, "memcached://a:11211,[::1]:2")


def test_a_purge_takes_two_exchanges_and_begins_anew_where_another_was_quicker(
    servers: list[Memcached], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    quicker: list[Store] = []
    ask = MemcachedNode.ask

    def counted(node: MemcachedNode, commands: Any, deadline: float, **options: Any) -> Any:
        word = commands[0][0].split(" ")[0]
        if word == "ms" and quicker:
            quicker.pop().raise_epoch("all")
            asked.clear()
        asked.append(word)
        return ask(node, commands, deadline, **options)

    with closing(open_store(servers[0].url)) as one, closing(open_store(servers[0].url)) as two:
        one.epochs()
        two.epochs()
        monkeypatch.setattr(MemcachedNode, "ask", counted)
        assert [one.raise_epoch("all"), asked] == [1, ["mg", "ms"]]
        asked.clear()
        assert [one.raise_epoch("all"), asked] == [2, ["mg", "ms"]], "what it has written it need not read"
        asked.clear()
        assert [two.raise_epoch("all"), asked] == [3, ["mg", "mg", "ms"]], "it learns of the other's first"
        quicker.append(two)
        assert [one.raise_epoch("all"), asked] == [5, ["ms", "mg", "ms"]], "what it has read was no longer there"
        assert dict(one.epochs()) == dict(two.epochs()) == {"all": 5}
