"""The SQLite store at work: bounds, eviction by use, sweeping, polling, listing, and what it does not do."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_faults import about_now, faulty, slot_of, value_of

from payonce.errors import StoreError, StoreUnavailableError
from payonce.stores.sqlite import SqliteStore
from payonce.stores.write_queue import ROW_OVERHEAD
from payonce.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "own" / "payonce.db"


@pytest.fixture
def store(path: Path, clock: FakeClock) -> Iterator[SqliteStore]:
    with closing(SqliteStore(path, 1 << 20, clock)) as opened:
        yield opened


def put(store: SqliteStore, clock: FakeClock, name: object, size: int = 300, ttl: float = 1e6) -> bool:
    return store.put(slot_of(name), value_of(name, size), about_now(clock(), ttl))


acts = st.lists(
    st.tuples(st.sampled_from(["put", "put", "delete", "flush", "later"]), st.integers(0, 40), st.integers(0, 4000)),
    max_size=60,
)


@given(acts, st.integers(40_000, 120_000))
@settings(max_examples=25)
def test_bytes_stay_within_the_bound_and_what_is_there_is_right(tmp_path_factory, steps, bound: int) -> None:
    clock = FakeClock()
    model: dict[int, tuple[bytes, float]] = {}
    with closing(SqliteStore(tmp_path_factory.mktemp("bound") / "p.db", bound, clock)) as store:
        for act, name, size in steps:
            if act == "put":
                if put(store, clock, name, size, ttl=size % 90 + 1):
                    model[name] = (value_of(name, size), clock() + size % 90 + 1)
                    assert store.get(slot_of(name)) == model[name][0]
            elif act == "delete":
                store.delete(slot_of(name))
                model.pop(name, None)
            elif act == "flush":
                assert store.flush()
                assert store.volume().used_bytes <= bound
            else:
                clock.advance(size % 40)
            found = store.get(slot_of(name))
            assert found is None or (name in model and found == model[name][0] and model[name][1] > clock())
        assert store.flush()
        volume = store.volume()
        assert volume.used_bytes <= bound
        rows = list(store.rows())
        assert len(rows) <= volume.entries
        assert sum(row.size + ROW_OVERHEAD for row in rows) <= volume.used_bytes
        for name in model:
            store.delete(slot_of(name))
        assert store.flush()
        clock.advance(1000)
        put(store, clock, "sweep")
        assert store.flush()
        assert store.volume().entries == 1, "the books balance"


def test_what_was_not_used_for_longest_is_evicted_first(path: Path, clock: FakeClock) -> None:
    with closing(SqliteStore(path, 200 * (332 + ROW_OVERHEAD), clock, touch_every=10)) as store:
        for n in range(150):
            put(store, clock, n)
            clock.advance(1)
        assert store.flush()
        clock.advance(100)
        for n in range(20):
            assert store.get(slot_of(n)) == value_of(n)
        put(store, clock, "carries the touches")
        assert store.flush()
        for n in range(1000, 1120):
            clock.advance(1)
            put(store, clock, n)
        assert store.flush()
        assert [n for n in range(20) if store.get(slot_of(n)) is None] == [], "those used lately stay"
        assert all(store.get(slot_of(n)) is None for n in range(20, 80)), "those not used go, oldest first"
        assert store.dropped()["evicted"] >= 60


def test_a_smaller_bound_at_the_next_opening_is_kept_to(path: Path, clock: FakeClock) -> None:
    with closing(SqliteStore(path, 8 << 20, clock)) as store:
        for n in range(1000):
            put(store, clock, n)
        assert store.flush()
    with closing(SqliteStore(path, 100_000, clock)) as store:
        clock.advance(31)
        put(store, clock, "x")
        assert store.flush()
        assert store.volume().used_bytes <= 100_000


def test_expired_entries_are_swept_in_rounds_and_the_file_shrinks(path: Path, clock: FakeClock) -> None:
    with closing(SqliteStore(path, 32 << 20, clock)) as store:
        for n in range(1800):
            put(store, clock, n, 4000, ttl=60 if n < 1700 else 1e6)
        assert store.flush()
        full = path.stat().st_size
        clock.advance(61)
        for _ in range(40):
            store.note("tick", b"")
            assert store.flush()
            clock.advance(31)
        assert store.volume().entries == 100
        assert "evicted" not in store.dropped(), "to expire is not to be evicted"
    assert path.stat().st_size < full / 2


def test_a_queue_that_is_full_says_false_and_counts(path: Path, clock: FakeClock) -> None:
    with closing(SqliteStore(path, 1 << 20, clock, queue_rows=5)) as store:
        with store._live.writer.gate:  # the writer may not begin
            assert [put(store, clock, n) for n in range(7)] == [True] * 5 + [False] * 2
            assert put(store, clock, 0, 200), "one that waits can be replaced"
            store.delete(slot_of("a deletion always fits"))
            assert store.dropped() == {"queue-full": 2}
            assert store.get(slot_of(4)) == value_of(4)
            assert store.get(slot_of(6)) is None
        assert store.flush()
        assert put(store, clock, 6)
    with closing(SqliteStore(path, 1 << 20, clock, queue_bytes=1000)) as store:
        with store._live.writer.gate:
            assert [put(store, clock, n) for n in "abc"] == [True, False, False]
        assert store.flush()


def test_a_flush_that_takes_too_long_says_false(store: SqliteStore, clock: FakeClock) -> None:
    with store._live.writer.gate:
        put(store, clock, 1)
        assert not store.flush(0.01)
    assert store.flush()


def test_a_read_while_another_connection_writes_does_not_wait(store: SqliteStore, path: Path, clock: FakeClock) -> None:
    put(store, clock, 1)
    assert store.flush()
    with closing(apsw.Connection(str(path))) as other:
        other.execute("BEGIN IMMEDIATE").fetchall()
        assert store.get(slot_of(1)) == value_of(1)
        put(store, clock, 2)
        assert not store.flush(0.05), "a write waits, within a bound"
        other.execute("COMMIT").fetchall()
    assert store.flush(10)
    assert store.dropped() == {}


def test_polling_epochs_reads_the_table_only_when_one_was_raised(path: Path, clock: FakeClock) -> None:
    with closing(SqliteStore(path, 1 << 20, clock)) as one, closing(SqliteStore(path, 1 << 20, clock)) as two:
        one.raise_epoch("all")
        seen = two.epochs()
        assert seen == {"all": 1}
        assert two.epochs() is seen
        put(one, clock, 1)
        assert one.flush()
        assert two.epochs() is seen, "other writes do not read the table again"
        one.raise_epoch("model:x")
        assert two.epochs() == {"all": 1, "model:x": 1}


def test_a_raised_epoch_is_synced_before_it_returns(path: Path, clock: FakeClock) -> None:
    with faulty("synced") as faults, closing(SqliteStore(path, 1 << 20, clock, vfs=faults.name)) as store:
        store.raise_epoch("all")
        before = faults.calls["sync"]
        store.raise_epoch("all")
        assert faults.calls["sync"] > before


def test_reclaim_deletes_what_is_said_to_be_dead(store: SqliteStore, clock: FakeClock) -> None:
    for n in range(600):
        put(store, clock, n)
    assert store.flush()
    dead = {slot_of(n) for n in range(0, 600, 2)}
    assert store.reclaim(lambda row: row.slot in dead, limit=100) == 100
    assert store.reclaim(lambda row: row.slot in dead) == 200
    assert store.reclaim(lambda row: row.slot in dead) == 0
    assert store.volume().entries == 300
    assert all(store.get(slot_of(n)) == value_of(n) for n in range(1, 600, 2))


def test_files_are_ours_alone(path: Path, store: SqliteStore, clock: FakeClock) -> None:
    put(store, clock, 1)
    assert store.flush()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert {"payonce.db", "payonce.db-wal", "payonce.db-shm"} <= set(modes)
    assert set(modes.values()) == {0o600}


def test_the_file_is_opened_as_it_must_be(store: SqliteStore, path: Path, clock: FakeClock) -> None:
    put(store, clock, 1)
    assert store.flush()
    db = store._live.writer._hand.db
    assert db is not None
    found = {name: db.pragma(name) for name in ("journal_mode", "synchronous", "auto_vacuum", "mmap_size")}
    assert found == {"journal_mode": "wal", "synchronous": 1, "auto_vacuum": 2, "mmap_size": 0}


def test_a_closed_store_gives_nothing_and_takes_nothing(path: Path, clock: FakeClock) -> None:
    store = SqliteStore(path, 1 << 20, clock)
    put(store, clock, 1)
    assert store.flush()
    store.close()
    assert not put(store, clock, 2)
    store.delete(slot_of(1))
    with pytest.raises(StoreError, match="closed"):
        store.get(slot_of(1))


def test_a_store_that_was_never_closed_is_written_when_it_is_dropped(path: Path, clock: FakeClock) -> None:
    store = SqliteStore(path, 1 << 20, clock)
    put(store, clock, 1)
    del store
    with closing(SqliteStore(path, 1 << 20, clock)) as again:
        assert again.get(slot_of(1)) == value_of(1)


def test_reads_are_bounded_and_one_too_many_says_so(path: Path, clock: FakeClock) -> None:
    with closing(SqliteStore(path, 1 << 20, clock, readers=2, read_wait=0.01)) as store:
        put(store, clock, 1)
        assert store.flush()
        pool = store._live.pool
        busy = [pool._another() for _ in range(2)]
        with pytest.raises(StoreUnavailableError, match="2 reads are under way"):
            store.get(slot_of(1))
        waiter = threading.Thread(target=lambda: found.append(store.get(slot_of(1))))
        found: list[bytes | None] = []
        pool._wait = 30.0
        waiter.start()
        for reader in busy:
            pool._retire(reader)
        waiter.join()
        assert found == [value_of(1)]


def test_counts_that_another_process_did_not_know_are_carried_into_its_file(path: Path, clock: FakeClock) -> None:
    with closing(SqliteStore(path, 1 << 20, clock)) as store:
        store.raise_epoch("all", at_least=5)
        for part in ("", "-wal", "-shm"):
            path.with_name(path.name + part).unlink(missing_ok=True)
        with closing(SqliteStore(path, 1 << 20, clock)) as other:
            assert other.epochs() == {}
            other.raise_epoch("model:x")
            assert store.epochs() == {"all": 5, "model:x": 1}
            assert other.epochs() == {"all": 5, "model:x": 1}


def test_many_threads_read_with_few_readers(path: Path, clock: FakeClock) -> None:
    with closing(SqliteStore(path, 8 << 20, clock, readers=2, read_wait=30.0)) as store:
        for n in range(200):
            put(store, clock, n)
        assert store.flush()
        wrong: list[int] = []

        def read() -> None:
            wrong.extend(n for n in range(200) if store.get(slot_of(n)) != value_of(n))

        threads = [threading.Thread(target=read) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert store._live.pool._open <= 2
