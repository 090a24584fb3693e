"""What a SQLite store does when calls of its file layer fail: never a wrong value, never a raise from put."""

from __future__ import annotations

import itertools
import logging
import sys
from contextlib import closing, suppress
from pathlib import Path

import apsw
import pytest
from store_faults import (
    FULL,
    READ_ONLY,
    Faults,
    about_now,
    error,
    faulty,
    fill,
    heal,
    is_value,
    opened,
    recovers,
    slot_of,
    value_of,
    wrong,
)

from payonce.errors import StoreError, StoreUnavailableError
from payonce.model.reason import STORE_READ_ONLY
from payonce.stores.sqlite import SqliteStore
from payonce.testing import FakeClock


def run_under(faults: Faults, path: Path, rule) -> SqliteStore | None:
    """Put, flush and get forty entries while `rule` fails some calls; the store, or None where none opened."""
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
        with caplog.at_level(logging.WARNING, "payonce.stores"):
            faults.rule = rule
            assert fill(store, clock, range(100, 150)) == 50, "a put before the first fault is queued"
            assert not store.flush(5)
            assert store.get(slot_of(120)) is None, "what could not be kept is not there"
            store.delete(slot_of("never there"))
            assert not store.flush(5), "to delete nothing proves nothing"
            assert fill(store, clock, range(50, 60)) == 0, "then puts say False"
            declined = store.declines(slot_of(50), 0)
            assert declined is not None and declined.id == why, "and it is known before there is anything to put"
            store.delete(slot_of(3))
            assert store.get(slot_of(3)) is None
            assert not store.flush(5)
            assert [store.get(slot_of(n)) for n in range(4, 100)] == [value_of(n) for n in range(4, 100)], "reads go on"
        assert store.dropped()[why] == 60
        assert len(caplog.records) == 1
        heal(store, faults)
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
        heal(store, faults)
        assert recovers(store, clock)
        assert store.get(slot_of("x")) is None


def test_a_read_only_file_is_served_and_nothing_is_kept(tmp_path: Path, caplog) -> None:
    clock, path = FakeClock(), tmp_path / "payonce.db"
    with closing(opened(path, clock)) as store:
        fill(store, clock, range(10))
    with faulty("ro") as faults:
        faults.opens_read_only = True
        with caplog.at_level(logging.WARNING, "payonce.stores"), closing(opened(path, clock, faults)) as store:
            assert store.get(slot_of(1)) == value_of(1)
            assert store.declines(slot_of(10), 0) is STORE_READ_ONLY
            assert fill(store, clock, range(10, 15)) == 0
            assert store.dropped() == {"store-read-only": 5}
            assert "read-only" in caplog.text
            faults.opens_read_only = False
            assert recovers(store, clock), "when it can be written again, it is"
            assert store.declines(slot_of(10), 0) is None
        faults.opens_read_only = True
        with pytest.raises(StoreUnavailableError, match="can't be written"):
            opened(tmp_path / "new.db", clock, faults)


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


def test_a_purge_on_a_full_disk_gets_the_ballast(tmp_path: Path) -> None:
    clock, path = FakeClock(), tmp_path / "payonce.db"
    ballast = tmp_path / "payonce.db.ballast"
    with faulty("purge") as faults, closing(opened(path, clock, faults)) as store:
        assert ballast.exists()
        faults.rule = lambda op, n: FULL(op, n) if ballast.exists() else None
        assert store.raise_epoch("all") == 1
        assert not ballast.exists()
        faults.rule = FULL
        with pytest.raises(StoreUnavailableError, match="nothing was purged"):
            store.raise_epoch("all")
        faults.rule = None
        assert store.raise_epoch("all") == 2
        clock.advance(31)
        assert recovers(store, clock)
        assert ballast.exists(), "it is held again when there is room"


def test_a_purge_that_meets_a_damaged_file_is_written_into_the_fresh_one(tmp_path: Path) -> None:
    clock, path = FakeClock(), tmp_path / "payonce.db"
    with faulty("purge-damaged") as faults, closing(opened(path, clock, faults)) as store:
        store.raise_epoch("all", at_least=4)
        faults.rule = lambda op, n: None if list(tmp_path.glob("*.set-aside-*")) else error(apsw.CorruptError)
        assert store.raise_epoch("all") == 5
        faults.rule = None
        assert store.epochs() == {"all": 5}
        assert store.dropped() == {"damaged": 1}
