"""What stands in the books of one machine, others read: while it works, when it falls silent, and when it stops."""

from __future__ import annotations

import random
import time
from contextlib import closing
from pathlib import Path

import pytest

from payonce import bookkeeping
from payonce.books import clerk
from payonce.books.note import PREFIX
from payonce.books.publishing import publish
from payonce.books.reader import Reader
from payonce.ledger.tally import HOUR
from payonce.model import reason as why
from payonce.model.receipt import Outcome, Receipt
from payonce.stores.registry import open_store
from payonce.testing import FakeClock
from payonce.testing.sim import SimulatedProvider
from tests.books.test_books import NOON, Desk, ask_for
from tests.books.test_commands import Board
from tests.support.gateway import ask, running_gateway, until
from tests.support.servers import redis_server


def elsewhere(url: str, folder: Path) -> int:
    """How many requests another machine, which has answered none, is told of."""
    with closing(open_store(url)) as store, closing(Desk(folder / "none.db", FakeClock(time.time()))) as desk:
        reader = Reader(desk.file, time.time, store.notes)  # type: ignore[attr-defined]  # a shared store has them
        with closing(reader):
            return reader.total(0).requests


def test_a_gateway_that_falls_silent_or_stops_has_told_of_every_request(
    sim: SimulatedProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bursts follow so close on one another that what tells of the first is too early for the second."""
    monkeypatch.setattr(clerk, "TELL_SECONDS", 3.0)
    monkeypatch.setattr(bookkeeping, "SELDOM", 2.5)
    with redis_server(tmp_path) as server:
        with running_gateway(sim.base_url, store=server.url, ledger=str(tmp_path / "one.db")) as gateway:
            for number in range(5):
                gateway.post(ask(f"first {number}"))
            assert until(lambda: elsewhere(server.url, tmp_path) == 5, 30)
            for number in range(7):
                gateway.post(ask(f"second {number}"))
            assert until(lambda: elsewhere(server.url, tmp_path) == 12, 30), "then nothing more happens"
            for number in range(9):
                gateway.post(ask(f"last {number}"))
        assert elsewhere(server.url, tmp_path) == 21


def test_hours_that_could_not_be_told_of_are_told_of_later(tmp_path: Path) -> None:
    clock, board = FakeClock(NOON), Board()
    desk = Desk(tmp_path / "one.db", clock)
    db = desk.file.writer()

    def happens(count: int) -> None:
        for _ in range(count):
            desk.journal.exchanged(Receipt(Outcome.MISS, why.ABSENT), 0.1, ask_for())
        desk.clerk.flush()

    def down(_name: str, _value: bytes) -> None:
        raise OSError("no server")

    happens(2)
    assert publish(db, board.note, clock())
    assert not publish(db, board.note, clock()), "it has just been done"
    assert publish(db, board.note, clock(), seldom=0)
    assert not publish(db, board.note, clock(), seldom=0, flush=lambda: False)
    for hour in range(3):
        clock.now = NOON + hour * HOUR + 600
        happens(10)
        with pytest.raises(OSError, match="no server"):
            publish(db, down, clock())
    assert publish(db, board.note, clock())
    db.close()
    assert {int(name.removeprefix(PREFIX).partition("/")[0]) for name in board.kept} == {
        NOON + n * HOUR for n in range(3)
    }
    other = Reader(Desk(tmp_path / "none.db", clock).file, clock, board.notes)
    assert other.total(NOON - 60).requests == 32
    other.close()
    desk.close()


def test_what_happened_while_the_store_was_away_is_told_of_when_it_is_back_though_all_has_ended_meanwhile(
    sim: SimulatedProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clerk, "TELL_SECONDS", 0.2)
    monkeypatch.setattr(bookkeeping, "SELDOM", 0.1)
    ours = {"ledger": str(tmp_path / "one.db"), "secret_file": str(tmp_path / "secret")}
    with redis_server(tmp_path) as server:
        with running_gateway(sim.base_url, store=server.url, **ours) as gateway:
            gateway.post(ask("before"))
            assert until(lambda: elsewhere(server.url, tmp_path) == 1, 30)
            server.kill()
            for number in range(9):
                assert gateway.post(ask(f"away {number}")).status == 200
            assert until(lambda: gateway.gateway.world.books.reader.total(0).requests == 10, 30)  # type: ignore[union-attr]
        server.start()
        with running_gateway(sim.base_url, store=server.url, **ours) as gateway:
            gateway.post(ask("after"))
            assert until(lambda: elsewhere(server.url, tmp_path) == 11, 30)


def test_whatever_the_clock_does_every_hour_is_told_of(tmp_path: Path) -> None:
    clock, board, dice = FakeClock(NOON), Board(), random.Random(3)
    desk = Desk(tmp_path / "one.db", clock)
    other = Reader(Desk(tmp_path / "none.db", clock).file, clock, board.notes)
    db = desk.file.writer()
    for count in range(1, 60):
        desk.journal.exchanged(Receipt(Outcome.MISS, why.ABSENT), 0.1, ask_for())
        desk.clerk.flush()
        publish(db, board.note, clock(), seldom=0)
        assert other.total(0, clock() + HOUR).requests == count, "also of what a clock that was ahead has told"
        clock.now += dice.choice((0.0, 1.0, 100.0, 3599.0, 3 * HOUR, -5.0))
    db.close()
    other.close()
    desk.close()
