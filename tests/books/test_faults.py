"""A full disk, a locked file, a place that can't be written, kill -9: figures are lost, no call and no entry."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import time
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from shutil import which

import apsw
import pytest

from payonce.bookkeeping import unwritable
from payonce.books import schema
from payonce.books.clerk import HELD, Clerk
from payonce.books.file import BooksFile, _format, transaction
from payonce.books.journal import Journal
from payonce.books.reader import Reader
from payonce.config import Settings
from payonce.model import reason as why
from payonce.model.receipt import Outcome, Receipt
from payonce.testing import FakeClock
from payonce.testing.sim import SimulatedProvider
from tests.books.test_books import Desk, ask_for
from tests.support import words
from tests.support.gateway import GatewayChild, RunningGateway, running_gateway, until


def asks(gateway: RunningGateway | GatewayChild, count: int, start: int = 0) -> list[str]:
    """The cache status of so many different requests."""
    found = []
    for number in range(start, start + count):
        reply = gateway.post(words.chat(model="sim/small", messages=[{"role": "user", "content": f"say {number}"}]))
        assert reply.status == 200
        found.append(reply["x-openrouter-cache-status"])
    return found


def reader_of(path: Path) -> Reader:
    return Reader(BooksFile(path), time.time)


def test_a_full_disk_costs_figures_only(tmp_path: Path, sim: SimulatedProvider) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if which("mount") is None or os.geteuid() != 0:
        pytest.skip("a small disk can only be mounted by root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode()}")
    try:
        (disk / "filler").write_bytes(b"x" * (1900 << 10))
        store = f"sqlite:{tmp_path / 'cache.db'}"
        with running_gateway(sim.base_url, store=store, ledger=str(disk / "ledger.db")) as gateway:
            books = gateway.gateway.world.books
            assert books is not None
            assert asks(gateway, 200) == ["MISS"] * 200
            assert until(lambda: bool(books.clerk.fault), 30), "the disk must have been full: a positive control"
            assert asks(gateway, 200) == ["HIT"] * 200
            (disk / "filler").unlink()
            asks(gateway, 5)
            assert until(lambda: not books.clerk.fault and books.reader.total(0).requests > 0, 30)
            assert asks(gateway, 200) == ["HIT"] * 200
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_limit_on_the_files_size_is_a_full_disk_too(tmp_path: Path) -> None:
    clock = FakeClock()
    desk = Desk(tmp_path / "books.db", clock)
    desk.journal.exchanged(Receipt(Outcome.MISS, why.ABSENT), 0.1, ask_for(1))
    desk.clerk.flush()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (256 << 10, before[1]))
        for number in range(5000):
            desk.journal.exchanged(Receipt(Outcome.MISS, why.ABSENT), 0.1, ask_for(number + 2, key=bytes(32)))
            if number % 100 == 0:
                desk.clerk.flush()
        desk.clerk.flush()
        assert desk.clerk.fault, "the limit must have been met: a positive control"
        assert len(desk.clerk._held) <= HELD
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    desk.clerk.flush()
    assert desk.clerk.fault == ""
    assert desk.reader.total(0).requests + desk.clerk.losses()["unwritten"] == 5001
    assert desk.file.path is not None
    with apsw.Connection(str(desk.file.path)) as db:
        assert db.execute("PRAGMA integrity_check").get == "ok"
    desk.close()


def test_a_locked_file_is_waited_for_off_the_request_path(tmp_path: Path, sim: SimulatedProvider) -> None:
    path = tmp_path / "cache.db.ledger"
    with running_gateway(sim.base_url, store=f"sqlite:{tmp_path / 'cache.db'}") as gateway:
        books = gateway.gateway.world.books
        assert books is not None
        asks(gateway, 3)
        assert until(lambda: books.reader.total(0).requests == 3, 30)
        holder = apsw.Connection(str(path))
        holder.set_busy_timeout(30_000)  # the clerk may just be writing
        holder.execute("BEGIN EXCLUSIVE").fetchall()
        try:
            assert asks(gateway, 50, start=3) == ["MISS"] * 50
            assert asks(gateway, 50, start=3) == ["HIT"] * 50
            assert until(lambda: bool(books.clerk.fault), 30), "the file must have been locked: a positive control"
        finally:
            holder.execute("ROLLBACK").fetchall()
            holder.close()
        assert until(lambda: books.reader.total(0).requests == 103, 30)
        assert books.clerk.losses() == {}


def test_books_that_can_not_be_made_leave_the_gateway_as_it_is(tmp_path: Path, sim: SimulatedProvider) -> None:
    (tmp_path / "file").write_text("no directory")
    with running_gateway(sim.base_url, ledger=str(tmp_path / "file" / "ledger.db")) as gateway:
        books = gateway.gateway.world.books
        assert books is not None
        assert asks(gateway, 3) == ["MISS"] * 3
        assert asks(gateway, 3) == ["HIT"] * 3
        assert until(lambda: bool(books.clerk.fault), 30)
        assert gateway.run(lambda: gateway.gateway.world.ledger.now.counts["requests.miss"]) == 3


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_ledger_that_can_not_be_made_is_said_at_the_start_and_the_gateway_serves(
    workers: str, tmp_path: Path, sim: SimulatedProvider
) -> None:
    (tmp_path / "file").write_text("no directory")
    ledger = tmp_path / "file" / "ledger.db"
    options = ("--port", "0", "--upstream", sim.base_url, "--cache", "all", "--workers", workers)
    with GatewayChild(tmp_path, *options, PAYONCE_LEDGER=str(ledger)) as gateway:
        assert asks(gateway, 1) == ["MISS"]
        assert gateway.get("/readyz").status == 200
        trouble = re.compile(rb"^payonce_ledger_trouble [12]", re.MULTILINE)
        assert until(lambda: trouble.search(gateway.get("/metrics").body) is not None)
        assert gateway.stop() == 0
    assert gateway.err.decode().splitlines()[0] == (
        f"payonce: the ledger {ledger} can't be written (there is a file in the place of its directory): "
        "calls are served, their figures are lost; "
        "set ledger (PAYONCE_LEDGER) to a file in a directory that you may write, or to off"
    )


def test_a_ledger_that_can_be_made_is_not_spoken_of(tmp_path: Path, sim: SimulatedProvider) -> None:
    options = ("--port", "0", "--upstream", sim.base_url)
    with GatewayChild(tmp_path, *options, PAYONCE_LEDGER=str(tmp_path / "new" / "ledger.db")) as gateway:
        assert gateway.stop() == 0
    assert (gateway.err, (tmp_path / "new" / "ledger.db").exists()) == (b"", True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(store="memory:"), ""),
        (Settings(ledger="off"), ""),
        (Settings(store="sqlite:{}/deep/er/cache.db"), ""),
        (Settings(ledger="{}/directory"), "{}/directory can't be written ("),
        (Settings(store="sqlite:{}/full/cache.db"), "{}/full/cache.db.ledger can't be written (others may write in"),
    ],
)
def test_what_is_wrong_with_a_ledgers_place_is_known_before_it_is_written(
    settings: Settings, said: str, tmp_path: Path
) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full").chmod(0o777)  # where others could replace it
    where = {name: getattr(settings, name).replace("{}", str(tmp_path)) for name in ("store", "ledger")}
    found = unwritable(replace(settings, **where))
    assert said.replace("{}", str(tmp_path)) in found
    assert bool(found) == bool(said)


def test_with_the_ledger_off_nothing_is_written(tmp_path: Path, sim: SimulatedProvider) -> None:
    with running_gateway(sim.base_url, store=f"sqlite:{tmp_path / 'cache.db'}", ledger="off") as gateway:
        assert asks(gateway, 2) == ["MISS"] * 2
        assert gateway.gateway.world.books is None
    assert not list(tmp_path.glob("*.ledger*"))


def test_kill_9_costs_a_few_seconds_of_figures_and_no_entry(tmp_path: Path, sim: SimulatedProvider) -> None:
    store, path = f"sqlite:{tmp_path / 'cache.db'}", tmp_path / "cache.db.ledger"
    options = ("--port", "0", "--upstream", sim.base_url, "--store", store, "--cache", "all")
    with GatewayChild(tmp_path, *options) as child:
        asks(child, 60)
        reader = reader_of(path)
        assert until(lambda: reader.total(0).requests >= 60, 30)
        asks(child, 40, start=60)
        deadline = time.monotonic() + 3
        while child.post(words.chat(model="sim/small")).status == 200 and time.monotonic() < deadline - 1.5:
            pass
        child.process.kill()
        child.end()
    survived = reader.total(0).requests
    assert survived >= 60
    reader.close()
    with apsw.Connection(str(path)) as db:
        assert db.execute("PRAGMA integrity_check").get == "ok"
    with GatewayChild(tmp_path, *options) as child:
        assert asks(child, 60) == ["HIT"] * 60
        again = reader_of(path)
        assert until(lambda: again.total(0).requests >= survived + 60, 30)
        again.close()


def test_a_clerk_that_stumbles_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    journal, file = Journal(clock, 1), BooksFile(tmp_path / "books.db")
    clerk = Clerk(journal, file, b"s" * 32, clock)
    broken = iter([True])

    def enter(*args: object) -> list[object]:
        if next(broken, False):
            raise RuntimeError("a mistake of ours")
        return []

    monkeypatch.setattr("payonce.books.clerk.enter", enter)
    for _ in range(2):
        journal.exchanged(Receipt(Outcome.BYPASS, why.CACHE_OFF), 0.1, None)
        clerk.flush()
    assert clerk.losses() == {"unwritten": 1}
    clerk.start()
    clerk.stop()


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_books_that_are_made_while_somebody_opens_them_are_not_taken_for_strange(journal: str, tmp_path: Path) -> None:
    """Each time a question is about to be asked, another process tries to make the tables."""
    with closing(apsw.Connection(str(tmp_path / "books.db"))) as other:
        other.execute(f"PRAGMA journal_mode = {journal}").fetchall()
        with closing(apsw.Connection(str(tmp_path / "books.db"), flags=apsw.SQLITE_OPEN_READONLY)) as db:

            def meanwhile(_cursor: object, statement: str, _bound: object) -> bool:
                if "user_version" in statement:
                    with suppress(apsw.BusyError), transaction(other):
                        other.execute(schema.SCHEMA).fetchall()
                return True

            db.exec_trace = meanwhile
            assert _format(db) in {(0, 0), (schema.APPLICATION_ID, schema.FORMAT)}
