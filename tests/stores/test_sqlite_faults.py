"""What a SQLite store does when its file, its disk or its directory fails under it: never a wrong value, never a raise."""

from __future__ import annotations

import itertools
import logging
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import apsw
import pytest
from store_faults import FULL, READ_ONLY, Faults, about_now, error, faulty, is_value, slot_of, value_of

from payonce.errors import StoreError, StoreUnavailableError
from payonce.stores.sqlite import SqliteStore
from payonce.stores.sqlite_place import Ballast
from payonce.testing import FakeClock

LOGGER = "payonce.stores"


def opened(path: Path, clock: FakeClock, faults: Faults | None = None, max_bytes: int = 4 << 20) -> SqliteStore:
    return SqliteStore(path, max_bytes, clock, vfs=faults and faults.name, retry_after=0.001, busy_ms=50)


def fill(store: SqliteStore, clock: FakeClock, names: range, size: int = 300) -> int:
    return sum(store.put(slot_of(n), value_of(n, size), about_now(clock())) for n in names)


def wrong(store: SqliteStore, names: range, size: int = 300) -> list[int]:
    """Those whose value is neither absent nor right; an answer that can't be read is absent."""
    bad = []
    for name in names:
        with suppress(StoreError):
            if store.get(slot_of(name)) not in {None, value_of(name, size)}:
                bad.append(name)
    return bad


def recovers(store: SqliteStore, clock: FakeClock) -> bool:
    """Whether a put is on disk again after some rounds of the writer; each flush waits for one."""
    for turn in range(300):
        if store.put(slot_of(f"after {turn}"), value_of("after"), about_now(clock())) and store.flush(5):
            return store.get(slot_of(f"after {turn}")) == value_of("after")
        store.delete(slot_of("nudge"))
        store.flush(0.2)
    return False


def run_under(faults: Faults, path: Path, rule) -> SqliteStore | None:
    """Put, flush and get forty entries while `rule` fails some calls; the store, or None where it could not be opened."""
    clock = FakeClock()
    faults.calls.clear()
    faults.rule = rule
    try:
        store = opened(path, clock, faults)
    except StoreUnavailableError:
        return None
    for start in range(0, 40, 10):
        fill(store, clock, range(start, start + 10))
        store.flush(1)
        assert wrong(store, range(start + 10)) == []
    with suppress(StoreError):
        store.raise_epoch("all")
    faults.rule = None
    return store


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize(
    ("op", "code"),
    [("write", apsw.SQLITE_IOERR_WRITE), ("sync", apsw.SQLITE_IOERR_FSYNC), ("read", apsw.SQLITE_IOERR_READ)],
)
def test_an_io_error_at_any_call_costs_entries_but_no_wrong_value_and_no_raise(
    tmp_path: Path, op: str, code: int, lasting: bool
) -> None:
    reached = recovered = 0
    with faulty(f"io-{op}-{lasting}") as faults:
        for k in itertools.chain(range(1, 40), range(40, 120, 9)):
            path = tmp_path / f"{k}" / "payonce.db"
            hit = lambda o, n: o == op and (n >= k if lasting else n == k)  # noqa: B023, E731
            store = run_under(faults, path, lambda o, n: error(apsw.IOError, code) if hit(o, n) else None)  # noqa: B023
            reached += faults.calls[op] >= k
            if store is not None:
                with closing(store):
                    assert recovers(store, FakeClock()), f"no recovery after the fault at {op} {k}"
                    recovered += 1
            with closing(opened(path, FakeClock())) as again:
                assert wrong(again, range(40)) == []
    assert reached >= 5, "the fault must be met: a positive control"
    assert recovered


def test_without_faults_all_of_it_is_kept(tmp_path: Path) -> None:
    with faulty("none") as faults:
        store = run_under(faults, tmp_path / "payonce.db", None)
        assert store is not None
        with closing(store):
            assert [store.get(slot_of(n)) for n in range(40)] == [value_of(n) for n in range(40)]
            assert store.dropped() == {}
        assert faults.calls["write"] > 10
        assert faults.calls["sync"] > 3


@pytest.mark.parametrize(("rule", "why"), [(FULL, "store-full"), (READ_ONLY, "store-read-only")])
def test_a_disk_that_takes_nothing_is_counted_said_once_and_read_on(tmp_path: Path, rule, why: str, caplog) -> None:
    clock = FakeClock()
    with faulty(why) as faults, closing(opened(tmp_path / "payonce.db", clock, faults)) as store:
        fill(store, clock, range(100))
        assert store.flush()
        assert store.dropped() == {}
        with caplog.at_level(logging.WARNING, LOGGER):
            faults.rule = rule
            assert fill(store, clock, range(100, 150)) == 50, "a put before the first fault is queued"
            assert not store.flush(5)
            assert store.get(slot_of(120)) is None, "what could not be kept is not there"
            assert fill(store, clock, range(50, 60)) == 0, "then puts say False"
            store.delete(slot_of(3))
            assert store.get(slot_of(3)) is None
            assert not store.flush(5)
            assert [store.get(slot_of(n)) for n in range(4, 100)] == [value_of(n) for n in range(4, 100)], "reads go on"
        assert store.dropped()[why] == 60
        assert len(caplog.records) == 1
        faults.rule = None
        assert recovers(store, clock)
        assert store.get(slot_of(3)) is None
        assert wrong(store, range(150)) == []


def test_an_older_value_never_comes_back_when_a_newer_one_is_lost(tmp_path: Path) -> None:
    clock = FakeClock()
    with faulty("older") as faults, closing(opened(tmp_path / "payonce.db", clock, faults)) as store:
        store.put(slot_of("x"), value_of("old"), about_now(clock()))
        assert store.flush()
        faults.rule = FULL
        assert store.put(slot_of("x"), value_of("new"), about_now(clock()))
        assert not store.flush(5)
        assert store.get(slot_of("x")) is None
        faults.rule = None
        assert recovers(store, clock)
        assert store.get(slot_of("x")) is None


def test_a_read_only_file_is_served_and_nothing_is_kept(tmp_path: Path, caplog) -> None:
    clock, path = FakeClock(), tmp_path / "payonce.db"
    with closing(opened(path, clock)) as store:
        fill(store, clock, range(10))
    with faulty("ro") as faults:
        faults.opens_read_only = True
        with caplog.at_level(logging.WARNING, LOGGER), closing(opened(path, clock, faults)) as store:
            assert store.get(slot_of(1)) == value_of(1)
            assert fill(store, clock, range(10, 15)) == 0
            assert store.dropped() == {"store-read-only": 5}
            assert "read-only" in caplog.text
            faults.opens_read_only = False
            assert recovers(store, clock), "when it can be written again, it is"
        faults.opens_read_only = True
        with pytest.raises(StoreUnavailableError, match="can't be written"):
            opened(tmp_path / "new.db", clock, faults)


@contextmanager
def small_disk(at: Path, size: str) -> Iterator[bool]:
    """A real little disk, where this process may mount one."""
    at.mkdir(mode=0o700)
    mount = shutil.which("mount")
    done = (
        mount is not None
        and subprocess.run(
            [mount, "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(at)], capture_output=True, check=False
        ).returncode
        == 0
    )
    try:
        yield done
    finally:
        if done:
            subprocess.run(["umount", "-l", str(at)], check=True)


def test_a_really_full_disk_is_lived_with(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "4m") as mounted:
        if mounted:
            live_on_a_full_disk(tmp_path / "disk")
        else:
            live_within_a_file_size(tmp_path / "disk")


def test_without_its_ballast_a_full_disk_keeps_nothing_new(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Ballast, "restore", lambda self, spare=1: False)
    clock = FakeClock()
    with small_disk(tmp_path / "disk", "4m") as mounted:
        if not mounted:
            return  # a positive control of the test above, which needs a disk to fill
        with closing(opened(tmp_path / "disk" / "payonce.db", clock, max_bytes=64 << 20)) as store:
            flood(store, clock)
            assert store.dropped().get("evicted", 0) == 0
            assert not any(store.get(slot_of(n)) for n in range(1900, 2000))


def flood(store: SqliteStore, clock: FakeClock) -> None:
    for start in range(0, 2000, 20):  # 10 MB onto 4 MB
        fill(store, clock, range(start, start + 20), 5000)
        store.flush(5)
        clock.advance(1)


def live_on_a_full_disk(disk: Path) -> None:
    clock = FakeClock()
    with closing(opened(disk / "payonce.db", clock, max_bytes=64 << 20)) as store:
        flood(store, clock)
        kept = [n for n in range(2000) if store.get(slot_of(n)) is not None]
        assert wrong(store, range(2000), 5000) == []
        assert store.dropped().get("evicted", 0) > 500, "old entries gave way although the disk was full"
        assert len([n for n in kept if n >= 1900]) > 50, "so new ones are kept"
        assert len(kept) > 200
        with suppress(OSError), (disk / "foreign").open("wb", buffering=0) as foreign:
            while True:
                foreign.write(bytes(4096))
        for start in range(3000, 3200, 20):
            fill(store, clock, range(start, start + 20), 5000)
            store.flush(1)
        assert wrong(store, range(3200), 5000) == []
        assert len([n for n in kept if store.get(slot_of(n)) is not None]) > 50, "reads go on"
        with suppress(StoreError):
            store.raise_epoch("all")
        (disk / "foreign").unlink(missing_ok=True)
        assert recovers(store, clock)
    with closing(opened(disk / "payonce.db", clock, max_bytes=64 << 20)) as store:
        assert wrong(store, range(3200), 5000) == []


def live_within_a_file_size(directory: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    clock = FakeClock()
    with closing(opened(directory / "payonce.db", clock, max_bytes=64 << 20)) as store:
        fill(store, clock, range(50), 5000)
        assert store.flush()
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
        try:
            for start in range(50, 500, 20):
                fill(store, clock, range(start, start + 20), 5000)
                store.flush(5)
            assert wrong(store, range(500), 5000) == []
            assert sum(store.dropped().values()) > 0
            assert any(store.get(slot_of(n)) is not None for n in range(500))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert recovers(store, clock)


def test_a_file_that_may_not_grow_is_lived_with(tmp_path: Path) -> None:
    live_within_a_file_size(tmp_path)


def test_a_really_read_only_disk_is_served_from(tmp_path: Path) -> None:
    disk, clock = tmp_path / "disk", FakeClock()
    with small_disk(disk, "4m") as mounted:
        with closing(opened(disk / "payonce.db", clock)) as store:
            fill(store, clock, range(10))
        if not mounted:
            return  # test_a_read_only_file_is_served_and_nothing_is_kept says the same without a mount
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with closing(opened(disk / "payonce.db", clock)) as store:
            assert [store.get(slot_of(n)) for n in range(10)] == [value_of(n) for n in range(10)]
            assert fill(store, clock, range(10, 12)) == 0
            assert store.dropped() == {"store-read-only": 2}
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
            assert recovers(store, clock)


def delete_file(path: Path) -> None:
    for part in ("", "-wal", "-shm"):
        path.with_name(path.name + part).unlink(missing_ok=True)


def delete_directory(path: Path) -> None:
    shutil.rmtree(path.parent)


@pytest.mark.parametrize("delete", [delete_file, delete_directory])
def test_a_store_that_is_deleted_while_in_use_is_made_anew(tmp_path: Path, delete) -> None:
    clock, path = FakeClock(), tmp_path / "own" / "payonce.db"
    with closing(opened(path, clock)) as store:
        fill(store, clock, range(20))
        assert store.flush()
        assert store.raise_epoch("all", at_least=7) == 7
        delete(path)
        assert wrong(store, range(20)) == []
        assert fill(store, clock, range(20, 40)) == 20
        assert store.flush(5)
        assert [store.get(slot_of(n)) for n in range(20, 40)] == [value_of(n) for n in range(20, 40)]
        assert path.exists()
        assert store.epochs() == {"all": 7}, "a count never falls back"
        delete(path)
        assert store.raise_epoch("all") == 8
        assert store.put(slot_of("x"), b"x", about_now(clock()))
        assert store.flush(5)
    with closing(opened(path, clock)) as store:
        assert store.get(slot_of("x")) == b"x"
        assert store.epochs() == {"all": 8}


def test_a_file_that_is_damaged_while_in_use_is_set_aside_once(tmp_path: Path, caplog) -> None:
    clock, path = FakeClock(), tmp_path / "payonce.db"
    with caplog.at_level(logging.WARNING, LOGGER), closing(opened(path, clock)) as store:
        fill(store, clock, range(500))
        assert store.flush()
        with closing(opened(path, clock)):
            pass
        with faulty_bytes(path):
            for n in range(500):
                with suppress(StoreError):
                    store.get(slot_of(n))
            assert recovers(store, clock)
            assert store.dropped().get("damaged") == 1
            assert len(list(tmp_path.glob("payonce.db.set-aside-*Z"))) == 1
            assert "set aside" in caplog.text
            assert fill(store, clock, range(50)) == 50
            assert store.flush()
            assert [store.get(slot_of(n)) for n in range(50)] == [value_of(n) for n in range(50)]


@contextmanager
def faulty_bytes(path: Path) -> Iterator[None]:
    """Overwrite database and log with noise, through descriptors that stay open: closing one drops SQLite's locks."""
    handles = [os.open(path.with_name(path.name + part), os.O_RDWR) for part in ("", "-wal")]
    try:
        for handle in handles:
            size = os.fstat(handle).st_size
            os.pwrite(handle, b"\xa5" * size, 0)
        yield
    finally:
        for handle in handles:
            os.close(handle)


def test_a_value_that_can_not_be_bound_does_not_stop_the_writer(tmp_path: Path) -> None:
    clock = FakeClock()
    with closing(opened(tmp_path / "payonce.db", clock)) as store:
        odd = about_now(clock())
        store.put(
            slot_of("odd"), b"v", type(odd)(odd.stored_at, odd.expires_at, "\ud800", "n\0n", "é", "m", ("\udfff",))
        )
        assert store.flush()
        assert store.get(slot_of("odd")) == b"v"
        store.put(slot_of("odd"), b"v", type(odd)(odd.stored_at, odd.expires_at, 1.5j, "", "", ""))  # type: ignore[arg-type]
        assert not store.flush()
        assert recovers(store, clock)
        assert set(store.dropped()) == {"write-fault"}


def test_the_values_of_these_tests_prove_themselves() -> None:
    assert is_value(value_of("x"))
    assert not is_value(value_of("x")[:-1] + b"?")
    assert sys.version_info >= (3, 11)
