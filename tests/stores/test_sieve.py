"""The sieve never says that something is absent which was put: by any process, before or after it was opened."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from payonce.model.ports import About
from payonce.stores.sieve import LARGEST, SMALLEST, Sieve, sieve_bytes
from payonce.stores.sqlite import SqliteStore
from payonce.testing.clock import FakeClock

ABOUT = About(0.0, 1e12, "t", "", "chat/completions", "m")


def opened(folder: Path, held: list[bytes] | None = None) -> Sieve:
    sieve = Sieve(folder / "c.db", 1 << 20, lambda: [held or []])
    sieve.start()
    assert sieve.wait(5)
    return sieve


@given(st.lists(st.binary(min_size=33, max_size=33), max_size=50), st.binary(min_size=33, max_size=33))
def test_what_was_marked_is_never_absent(tmp_path_factory, marked: list[bytes], other: bytes) -> None:  # type: ignore[no-untyped-def]
    sieve = opened(tmp_path_factory.mktemp("sieve"))
    for slot in marked:
        sieve.mark(slot)
    assert not any(map(sieve.absent, marked))
    assert sieve.absent(other) or marked
    sieve.close()
    assert not sieve.absent(other)


def test_most_of_what_was_never_put_is_known_to_be_absent(tmp_path: Path) -> None:
    sieve = opened(tmp_path)
    for _ in range(SMALLEST // 16):
        sieve.mark(os.urandom(33))
    absent = sum(sieve.absent(os.urandom(33)) for _ in range(10_000))
    assert absent > 9_500
    sieve.close()


def test_until_what_is_held_has_been_marked_nothing_is_known(tmp_path: Path) -> None:
    slot = os.urandom(33)
    sieve = Sieve(tmp_path / "c.db", 1 << 20, lambda: [[slot]])
    assert not sieve.absent(os.urandom(33))
    sieve.start()
    assert sieve.wait(5)
    assert not sieve.absent(slot)
    sieve.close()


def test_a_store_that_cannot_tell_what_it_holds_has_a_sieve_that_knows_nothing(tmp_path: Path) -> None:
    def broken() -> list[list[bytes]]:
        raise OSError("no")

    sieve = Sieve(tmp_path / "c.db", 1 << 20, broken)
    sieve.start()
    assert not sieve.wait(5)
    assert not sieve.absent(os.urandom(33))
    sieve.close()


def test_without_room_or_in_a_strangers_place_there_is_none(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_bytes(b"")
    sieve = Sieve(tmp_path / "c.db", 1 << 20, list)
    sieve.path.symlink_to(target)
    sieve.start()
    sieve.mark(b"x" * 33)
    assert not sieve.absent(b"y" * 33)
    assert target.read_bytes() == b""
    sieve.close()


def test_its_size_follows_the_store_within_bounds() -> None:
    assert sieve_bytes(1) == SMALLEST
    assert sieve_bytes(1 << 50) == LARGEST
    assert all(sieve_bytes(size).bit_count() == 1 for size in range(1 << 20, 1 << 32, 99_999_999))


def test_a_replaced_file_is_mapped_and_filled_anew(tmp_path: Path) -> None:
    held = [os.urandom(33)]
    sieve = opened(tmp_path, held)
    sieve.path.unlink()
    held.append(os.urandom(33))
    sieve.start()
    assert sieve.wait(5)
    assert not any(map(sieve.absent, held))
    sieve.close()


def _put(path: str, slot: bytes, done: multiprocessing.synchronize.Event) -> None:
    store = SqliteStore(path, 1 << 24)
    store.put(slot, b"v", ABOUT)
    store.flush()
    store.close()
    done.set()


def test_what_another_process_puts_is_not_absent_here(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    path = tmp_path / "c.db"
    slot = os.urandom(33)
    store = SqliteStore(path, 1 << 24, FakeClock())
    assert store._live.sieve.wait(5)
    assert store.absent(slot)
    context = multiprocessing.get_context("spawn")
    done = context.Event()
    other = context.Process(target=_put, args=(str(path), slot, done))
    other.start()
    assert done.wait(30)
    other.join()
    assert not store.absent(slot)
    assert store.get(slot) == b"v"
    store.close()


def test_a_store_opened_over_old_entries_knows_them(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    first = SqliteStore(tmp_path / "c.db", 1 << 24, FakeClock())
    slots = [os.urandom(33) for _ in range(500)]
    for slot in slots:
        first.put(slot, b"v", ABOUT)
    first.close()
    next(tmp_path.glob("*.seen*")).unlink()
    second = SqliteStore(tmp_path / "c.db", 1 << 24, FakeClock())
    assert second._live.sieve.wait(5)
    assert not any(map(second.absent, slots))
    assert second.absent(os.urandom(33))
    second.close()
