"""Opening a SQLite store over whatever stands at its path: it starts, or says clearly why it can't."""

from __future__ import annotations

import logging
import os
import random
from contextlib import closing, suppress
from pathlib import Path

import apsw
import pytest
from store_faults import about_now, slot_of, value_of

from payonce.errors import StoreError, StoreUnavailableError
from payonce.stores.sqlite import SqliteStore
from payonce.testing import FakeClock

CLOCK = FakeClock()


def opened(path: Path) -> SqliteStore:
    return SqliteStore(path, 4 << 20, CLOCK, retry_after=0.001)


def works(path: Path) -> bool:
    with closing(opened(path)) as store:
        return (
            store.put(slot_of("new"), b"new", about_now(CLOCK()))
            and store.flush()
            and store.get(slot_of("new")) == b"new"
        )


def asides(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.set-aside-*"))


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "payonce.db"
    with closing(opened(path)) as store:
        for n in range(60):
            store.put(slot_of(n), value_of(n, 700), about_now(CLOCK()))
        store.raise_epoch("all")
    return path.read_bytes()


def judge(path: Path) -> tuple[int, int]:
    """Open, read all, write: how many entries are right, and how many differ (their envelopes would show it)."""
    right = differing = 0
    with closing(opened(path)) as store:
        for n in range(60):
            with suppress(StoreError):
                value = store.get(slot_of(n))
                right += value == value_of(n, 700)
                differing += value not in {None, value_of(n, 700)}
        with suppress(StoreError):
            list(store.rows())
        for turn in range(50):
            if store.put(slot_of("new"), b"%d" % turn, about_now(CLOCK())) and store.flush():
                with suppress(StoreError):
                    if store.get(slot_of("new")) == b"%d" % turn:
                        return right, differing
    raise AssertionError("the store does not write")


def test_the_undamaged_file_is_read_whole(tmp_path: Path, good: bytes) -> None:
    path = tmp_path / "payonce.db"
    path.write_bytes(good)
    assert judge(path) == (60, 0)
    assert asides(path) == []


def test_flipped_bits_anywhere_never_crash_it(tmp_path: Path, good: bytes) -> None:
    dice = random.Random(5)
    offsets = [*range(100), *(dice.randrange(len(good)) for _ in range(150))]
    set_aside = 0
    for turn, offset in enumerate(offsets):
        path = tmp_path / f"{turn}" / "payonce.db"
        path.parent.mkdir(mode=0o700)
        damaged = bytearray(good)
        damaged[offset] ^= 1 << dice.randrange(8)
        path.write_bytes(damaged)
        _, differing = judge(path)
        assert differing <= 1, "one flipped bit costs one entry at most, or the file"
        set_aside += bool(asides(path))
    assert set_aside > 10, "a control: some of it was noticed"


def test_a_file_that_was_cut_never_crashes_it(tmp_path: Path, good: bytes) -> None:
    pages = range(0, len(good) + 1, 8192)
    for size in [*pages, *(page + 100 for page in pages[:-1]), 2, 15, 16, 99]:
        path = tmp_path / f"{size}" / "payonce.db"
        path.parent.mkdir(mode=0o700)
        path.write_bytes(good[:size])
        right, differing = judge(path)
        assert differing == 0
        assert right in {0, 60}
        assert bool(asides(path)) == (0 < size < len(good))


@pytest.mark.parametrize("content", [b"hello\n", b"x" * 100_000, b"\0" * 5000, b"SQLite format 3\0"])
def test_what_is_no_store_is_set_aside_untouched(tmp_path: Path, content: bytes, caplog) -> None:
    path = tmp_path / "payonce.db"
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING, "payonce.stores"):
        assert works(path)
    assert [aside.read_bytes() for aside in asides(path)] == [content]
    assert "set aside" in caplog.text
    assert asides(path)[0].name in caplog.text


@pytest.mark.parametrize("change", ["PRAGMA user_version = 2", "PRAGMA application_id = 7", "DROP TABLE ledger"])
def test_a_newer_or_foreign_format_is_set_aside_whole(tmp_path: Path, good: bytes, change: str) -> None:
    path = tmp_path / "payonce.db"
    path.write_bytes(good)
    with closing(apsw.Connection(str(path))) as db:
        db.execute(change).fetchall()
    assert works(path)
    assert len(asides(path)) == 1
    with closing(apsw.Connection(str(asides(path)[0]))) as db:
        assert db.execute("SELECT count(*) FROM entries").fetchall() == [(60,)]


def test_a_newer_format_that_appears_while_we_run_is_left_alone(tmp_path: Path, good: bytes) -> None:
    path = tmp_path / "payonce.db"
    with closing(opened(path)) as store:
        store.put(slot_of(1), b"1", about_now(CLOCK()))
        assert store.flush()
        newer = tmp_path / "newer"
        newer.write_bytes(good)
        with closing(apsw.Connection(str(newer))) as db:
            db.execute("PRAGMA user_version = 2").fetchall()
        for part in ("-wal", "-shm"):
            (tmp_path / f"payonce.db{part}").unlink()
        newer.rename(path)
        store.put(slot_of(2), b"2", about_now(CLOCK()))
        assert not store.flush()
        assert not store.put(slot_of(3), b"3", about_now(CLOCK()))
        assert "write-fault" in store.dropped()
    assert asides(path) == []


def test_two_files_set_aside_in_one_second_keep_their_names(tmp_path: Path) -> None:
    path = tmp_path / "payonce.db"
    for content in (b"one" * 100, b"two" * 100):
        path.write_bytes(content)
        assert works(path)
    assert {aside.read_bytes() for aside in asides(path)} == {b"one" * 100, b"two" * 100}


def test_a_directory_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "payonce.db").mkdir()
    with pytest.raises(StoreUnavailableError, match="is a directory"):
        opened(tmp_path / "payonce.db")


@pytest.mark.parametrize("part", ["", "-wal", "-shm"])
def test_a_symbolic_link_is_refused(tmp_path: Path, part: str) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    (tmp_path / f"payonce.db{part}").symlink_to(target)
    with pytest.raises(StoreUnavailableError, match="symbolic link"):
        opened(tmp_path / "payonce.db")
    assert target.read_bytes() == b"precious"


def test_a_link_in_the_way_to_the_directory_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert works(tmp_path / "link" / "payonce.db")
    assert (tmp_path / "real" / "payonce.db").exists()


@pytest.mark.parametrize(("mode", "group"), [(0o770, 4711), (0o707, None), (0o777, None)])
def test_a_directory_that_others_may_write_in_is_refused(tmp_path: Path, mode: int, group: int | None) -> None:
    place = tmp_path / "wide"
    place.mkdir()
    if group is not None:
        try:
            os.chown(place, -1, group)
        except PermissionError:
            return  # only root can give a directory to a group it is not in
    place.chmod(mode)
    with pytest.raises(StoreUnavailableError, match="chmod go-w"):
        opened(place / "payonce.db")


@pytest.mark.parametrize("mode", [0o770, 0o1777])
def test_the_users_own_group_and_a_sticky_directory_are_fine(tmp_path: Path, mode: int) -> None:
    place = tmp_path / "shared"
    place.mkdir()
    os.chown(place, -1, os.getegid())
    place.chmod(mode)
    assert works(place / "payonce.db")


def test_a_file_of_another_user_is_refused(tmp_path: Path, good: bytes, monkeypatch) -> None:
    path = tmp_path / "payonce.db"
    path.write_bytes(good)
    me = os.geteuid()
    if me == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.raises(StoreUnavailableError, match="another user"):
        opened(path)


def test_a_file_that_others_may_read_is_made_private(tmp_path: Path, good: bytes) -> None:
    path = tmp_path / "payonce.db"
    path.write_bytes(good)
    path.chmod(0o664)
    with closing(opened(path)) as store:
        assert store.get(slot_of(1)) == value_of(1, 700)
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_path_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreUnavailableError, match="another path"):
        opened(tmp_path / "file" / "payonce.db")


def test_a_log_without_its_database_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "payonce.db-wal").write_bytes(b"\x37\x7f\x06\x82" + bytes(5000))
    assert works(tmp_path / "payonce.db")
