"""Records of workers do not pile up: on every store they go by age, and on local ones there is a most of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from pathlib import Path

import pytest
from store_faults import about_now, slot_of
from tests.support.gateway import until
from tests.support.servers import Server, memcached, redis_server

from payonce.errors import StoreError
from payonce.model.ports import Chronicle, Notebook, Store
from payonce.stores.memory import MemoryStore
from payonce.stores.notes import MOST_NOTES, NOTE_SECONDS
from payonce.stores.registry import open_store
from payonce.stores.sqlite import SqliteStore
from payonce.testing import FakeClock

pytestmark = pytest.mark.usefixtures("patient")


def stir(store: Store, name: object) -> None:
    """A write, with which a store also tidies up."""
    store.put(slot_of(name), b"x", about_now(1e9, 1e12))
    assert store.flush()


@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis", "memcached"])
def test_what_a_dead_worker_noted_goes_after_its_time(kind: str, tmp_path: Path) -> None:
    clock = FakeClock()
    with ExitStack() as stack:
        store: Store
        if kind in ("redis", "memcached"):
            server = stack.enter_context({"redis": redis_server, "memcached": memcached}[kind](tmp_path))
            store = stack.enter_context(closing(open_store(server.url, clock=clock)))
        elif kind == "sqlite":
            store = stack.enter_context(closing(SqliteStore(tmp_path / "p.db", 1 << 20, clock, sweep_every=0.0)))
        else:
            store = stack.enter_context(closing(MemoryStore(1 << 20, clock)))
        assert isinstance(store, Notebook)
        store.note("tally/1/dead", b"old")
        stir(store, 1)
        clock.advance(NOTE_SECONDS - 86400)
        store.note("tally/2/living", b"new")
        stir(store, 2)
        assert set(store.notes()) == {"tally/1/dead", "tally/2/living"}, "a control: before its time it is there"
        clock.advance(2 * 86400 + 10)
        store.note("tally/3/living", b"newer")
        stir(store, 3)
        assert set(store.notes()) == {"tally/2/living", "tally/3/living"}


@pytest.mark.parametrize("kind", [redis_server, memcached], ids=["redis", "memcached"])
def test_a_server_that_has_begun_anew_has_the_next_records_at_once(
    kind: Callable[[Path], AbstractContextManager[Server]], tmp_path: Path
) -> None:
    with kind(tmp_path) as server, closing(open_store(server.url)) as store:
        assert isinstance(store, Notebook)
        store.note("tally/1", b"before")
        assert store.flush()
        assert store.notes() == {"tally/1": b"before"}
        server.kill()
        server.start()
        assert until(lambda: not mute(store))
        store.note("tally/1", b"after")
        assert until(store.flush)
        assert store.notes() == {"tally/1": b"after"}


def mute(store: Store) -> bool:
    """Whether the store does not answer."""
    with suppress(StoreError):
        store.get(slot_of("anything"))
        return False
    return True


def test_there_is_a_most_of_them_and_the_latest_stay(tmp_path: Path) -> None:
    clock = FakeClock()
    with (
        closing(SqliteStore(tmp_path / "p.db", 1 << 20, clock, sweep_every=0.0)) as disk,
        closing(MemoryStore(1 << 20, clock)) as memory,
    ):
        for store in (disk, memory):
            for number in range(MOST_NOTES + 5):
                clock.advance(0.01)
                store.note(f"doctor/{number}", b"")
                if number % 5000 == 0:
                    store.flush()
            store.flush()
            clock.advance(4000)
            stir(store, "stir")
            left = store.notes()
            assert len(left) == MOST_NOTES
            assert f"doctor/{MOST_NOTES + 4}" in left


def test_the_memory_of_purged_keys_is_no_record_of_a_worker(tmp_path: Path) -> None:
    clock = FakeClock()
    with closing(SqliteStore(tmp_path / "p.db", 1 << 20, clock, sweep_every=0.0)) as store:
        assert isinstance(store, Chronicle)
        store.raise_epoch("key:aa")
        purged = clock()
        clock.advance(3 * 86400)
        store.raise_epoch("all")
        clock.advance(10 * NOTE_SECONDS)
        stir(store, 1)
        assert store.raised()["key:"] == purged
