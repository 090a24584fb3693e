"""Several processes on one SQLite store: killed, forked, crowding, all at once at a damaged file."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from store_faults import about_now, is_value, slot_of, value_of

from payonce.stores.sqlite import SqliteStore

CHILD = Path(__file__).with_name("store_child.py")


def child(what: str, path: Path, arg: object) -> subprocess.Popen[str]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen([sys.executable, str(CHILD), what, str(path), str(arg)], text=True, **pipes)


def end(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=60)
    return out


def is_sound(path: Path) -> bool:
    with closing(apsw.Connection(str(path))) as db:
        [(entries, total)] = db.execute("SELECT count(*), coalesce(sum(size + 300), 0) FROM entries").fetchall()
        books = db.execute("SELECT entries, bytes FROM ledger").fetchall()
        each = "SELECT tenant, count(*), sum(size + 300) FROM entries GROUP BY tenant ORDER BY tenant"
        if db.execute("SELECT * FROM tenants ORDER BY tenant").fetchall() != db.execute(each).fetchall():
            return False
        return db.execute("PRAGMA integrity_check").fetchall() == [("ok",)] and books == [(entries, total)]


@pytest.mark.slow
def test_fifty_kills_under_write_load_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path, dice = tmp_path / "payonce.db", random.Random(11)
    acknowledged: list[str] = []
    slowest = 0.0
    for run in range(50):
        process = child("acknowledge", path, run)
        assert process.stdout is not None
        slowest = max(slowest, float(process.stdout.readline().split()[1]))
        for _ in range(dice.randrange(1, 8)):
            acknowledged += process.stdout.readline().split()[1:]
        process.send_signal(signal.SIGKILL)
        rest = end(process)
        whole_lines = rest.split("\n")[:-1]
        acknowledged += [name for line in whole_lines for name in line.split()[1:]]
    assert len(acknowledged) > 2000
    assert slowest < 1.0, f"a start took {slowest:.2f} s of a processor"
    with closing(SqliteStore(path, 1 << 30)) as store:
        found = [store.get(slot_of(name)) for name in acknowledged]
        assert sum(value is None for value in found) == 0, "no acknowledged entry is lost"
        assert all(value is not None and is_value(value) for value in found), "none is damaged"
        everything = [store.get(row.slot) for row in store.rows()]
        assert all(value is not None and is_value(value) for value in everything), "what was not acknowledged neither"
        assert store.dropped() == {}
    assert is_sound(path)
    assert not list(tmp_path.glob("*.set-aside-*"))


def test_the_kills_do_interrupt_writing(tmp_path: Path) -> None:
    process = child("acknowledge", tmp_path / "payonce.db", 1)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    end(process)
    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / "payonce.db-wal").stat().st_size > 0, "a control: it died with its log open"


def test_several_processes_at_work_agree(tmp_path: Path) -> None:
    path = tmp_path / "payonce.db"
    said = [end(process) for process in [child("mingle", path, seed) for seed in range(4)]]
    assert said == ["wrong 0 epoch\n"] * 4
    with closing(SqliteStore(path, 300_000)) as store:
        rows = list(store.rows())
        assert rows
        assert all(is_value(store.get(row.slot) or b"") for row in rows)
        assert store.volume().entries == len(rows)
        assert store.volume().used_bytes <= 300_000
        assert store.epochs()["all"] > 5
    assert is_sound(path)


@pytest.mark.parametrize("damage", [b"", b"this is a shopping list\n" * 400, b"SQLite format 3\0" + b"\xff" * 9000])
def test_processes_that_meet_at_a_damaged_file_share_one_fresh_one(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "payonce.db"
    path.write_bytes(damage)
    crowd = [child("join", path, n) for n in range(5)]
    for _ in range(2):
        for process in crowd:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
    assert [end(process) for process in crowd] == ["kept\n"] * 5
    asides = [file for file in tmp_path.iterdir() if "set-aside" in file.name]
    assert [file.read_bytes() for file in asides] == ([damage] if damage else [])
    with closing(SqliteStore(path, 1 << 20)) as store:
        for n in range(5):
            for name in (f"{n}", f"{n}+"):
                assert store.get(slot_of(name)) == value_of(name)
    assert is_sound(path)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_and_its_parent_both_go_on(tmp_path: Path) -> None:
    now = time.time()
    with closing(SqliteStore(tmp_path / "payonce.db", 1 << 20)) as store:
        store.put(slot_of("before"), value_of("before"), about_now(now))
        assert store.flush()
        store.raise_epoch("all")
        store.put(slot_of("waiting"), value_of("waiting"), about_now(now))
        pid = os.fork()
        if not pid:
            done = False
            try:
                done = store.get(slot_of("before")) == value_of("before") and store.epochs() == {"all": 1}
                done &= store.put(slot_of("child"), value_of("child"), about_now(now)) and store.flush()
                done &= store.raise_epoch("all") == 2
                store.close()
            finally:
                os._exit(0 if done else 1)
        for n in range(200):
            assert store.put(slot_of(n), value_of(n), about_now(now))
            assert store.get(slot_of("before")) == value_of("before")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert store.flush()
        for name in ("before", "waiting", "child", *range(200)):
            assert store.get(slot_of(name)) == value_of(name)
        assert store.epochs() == {"all": 2}
        assert store.dropped() == {}
    assert is_sound(tmp_path / "payonce.db")
