"""What a SQLite store does when its disk is full or read-only, or its files go away or are overwritten in use."""

from __future__ import annotations

import logging
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from store_faults import (
    about_now,
    fill,
    opened,
    recovers,
    slot_of,
    value_of,
    wrong,
)

from payonce.errors import StoreError
from payonce.stores.sqlite import SqliteStore
from payonce.stores.sqlite_place import Ballast
from payonce.testing import FakeClock


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
    with caplog.at_level(logging.WARNING, "payonce.stores"), closing(opened(path, clock)) as store:
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
