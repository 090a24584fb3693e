"""Sums of several machines on one store: by the minute for the last hour, by the hour before, and the same in totals,
series and latencies, whoever asks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payonce import bookkeeping
from payonce.books import clerk
from payonce.books.note import Note, decode, encode
from payonce.books.publishing import minutes_from, publish
from payonce.books.reader import Reader
from payonce.books.words import BY, Figures, Histogram
from payonce.cli import main
from payonce.dashboard.overview import SPANS, Overview
from payonce.dashboard.overview_page import overview_page
from payonce.ledger.tally import HOUR
from payonce.model import reason as why
from payonce.model.receipt import Outcome, Receipt
from payonce.testing import FakeClock
from payonce.testing.sim import SimulatedProvider
from tests.books.test_books import NOON, Desk, ask_for, entry_of
from tests.books.test_commands import Board
from tests.support.gateway import RunningGateway, ask, running_gateway, until
from tests.support.servers import MEMCACHED, REDIS, memcached, redis_server

TYPICAL = 40 << 10
WORST = 128 << 10
"""Bytes of a note."""
_STEPS = st.sampled_from([60, 300, 900, HOUR, 6 * HOUR, 24 * HOUR])


class House:
    """Machines that share a store, and one that has no books."""

    def __init__(self, machines: int, clock: FakeClock) -> None:
        self.clock, self.board = clock, Board()
        self.desks = [Desk(None, clock) for _ in range(machines)]
        self._dbs = [desk.file.writer() for desk in self.desks]
        self.readers = [Reader(desk.file, clock, self.board.notes) for desk in self.desks]
        self._none = Desk(None, clock)
        self.stranger = Reader(self._none.file, clock, self.board.notes)

    def happens(self, machine: int, outcome: Outcome, took: float = 0.1, *, model: str = "m") -> None:
        entry = entry_of() if outcome is Outcome.HIT else None
        reason = None if entry is not None else why.ABSENT
        self.desks[machine].journal.exchanged(Receipt(outcome, reason, entry=entry), took, ask_for(model=model))

    def publish(self, machine: int) -> None:
        self.desks[machine].clerk.flush()
        publish(self._dbs[machine], self.board.note, self.clock(), seldom=0)

    def close(self) -> None:
        for each in (*self._dbs, *self.readers, self.stranger, *self.desks, self._none):
            each.close()


@contextmanager
def house(machines: int = 2) -> Iterator[House]:
    with closing(House(machines, FakeClock(NOON))) as found:
        yield found


@settings(deadline=None)
@given(
    happenings=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from([Outcome.HIT, Outcome.MISS]), st.integers(0, 2000)), max_size=25
    ),
    ago=st.integers(0, 6 * HOUR),
    step=_STEPS,
)
def test_totals_series_and_latencies_of_one_time_agree_and_are_the_same_for_all_who_ask(
    happenings: list[tuple[int, Outcome, int]], ago: int, step: int
) -> None:
    with house(3) as here:
        asked = []
        for number, (machine, outcome, later) in enumerate(happenings):
            here.clock.now += later
            asked.append((here.clock.now, outcome))
            here.happens(machine, outcome, 0.001 * 2 ** (number % 12))
            if number % 3:
                here.publish(machine)
        for machine in range(3):
            here.publish(machine)
        now = here.clock.now
        since = now - ago
        known = since // 60 * 60 if since >= minutes_from(now) else since // HOUR * HOUR
        expected = Counter(outcome for at, outcome in asked if at >= known)
        total = here.stranger.total(since)
        assert (total.hits, total.misses) == (expected[Outcome.HIT], expected[Outcome.MISS])
        _agrees(here.stranger, total, since, step)
        if since >= minutes_from(now):
            assert {reader.total(since) for reader in here.readers} == {total}
            assert all(reader.latency(since) == here.stranger.latency(since) for reader in here.readers)
        for reader in here.readers:
            _agrees(reader, reader.total(since), since, step)


def _agrees(reader: Reader, total: Figures, since: float, step: int) -> None:
    """Every way of asking for this time says the same."""
    summed = Figures()
    for point in reader.series(since, step=step):
        summed = summed.plus(point.figures)
    assert summed == total
    for by in BY:
        assert sum(one.figures.requests for one in reader.totals(since, by=(by,))) == total.requests
    whole = {"hit": total.hits, "miss": total.misses}
    assert {name: found.total for name, found in reader.latency(since).items()} == {k: v for k, v in whole.items() if v}
    stepped = Counter[str]()
    for _, found in reader.latency_series(since, step=step):
        stepped.update({name: histogram.total for name, histogram in found.items()})
    assert stepped == {name: count for name, count in whole.items() if count}


def test_an_hour_does_not_take_in_what_others_had_before_it() -> None:
    with house() as here:
        here.clock.now = NOON + 60
        for _ in range(10):
            here.happens(0, Outcome.MISS)
        here.clock.now = NOON + 40 * 60
        here.happens(0, Outcome.HIT)
        here.publish(0)
        here.clock.now = NOON + 50 * 60
        for reader in (here.readers[1], here.stranger):
            assert reader.total(here.clock.now - 26 * 60).requests == 1
            assert [at for at, _ in reader.latency_series(here.clock.now - 26 * 60)] == [int(NOON) + 40 * 60]
            assert reader.total(here.clock.now - HOUR).requests == 11
        here.clock.now = NOON + HOUR + 30 * 60
        assert here.stranger.total(here.clock.now - HOUR).requests == 1
        assert here.stranger.total(here.clock.now - HOUR, NOON + HOUR + 5 * 60).requests == 1
        assert here.stranger.total(here.clock.now - HOUR, NOON + 35 * 60).requests == 0


def test_the_first_step_of_a_page_shows_and_leads_to_what_is_in_its_time_alone() -> None:
    with house(1) as here:
        here.happens(0, Outcome.MISS)
        here.clock.now = NOON + 30 * 60
        here.happens(0, Outcome.HIT)
        here.publish(0)
        since = NOON + 20 * 60 + 7
        points = here.readers[0].series(since, step=HOUR)
        assert [(point.at, point.figures.requests) for point in points] == [(NOON, 1)]
        total = here.readers[0].total(since)
        shown = Overview(SPANS["24h"], since, total, tuple(points), {}, (), (), ())
        page = str(overview_page(shown).body[-1])
        assert f"since={int(NOON) + 20 * 60}&amp;until={int(NOON) + HOUR}" in page
        assert f"since={int(NOON)}&" not in page


def test_what_happened_before_the_store_was_first_there_is_told_of() -> None:
    with house(1) as here:
        here.happens(0, Outcome.MISS)
        here.desks[0].clerk.flush()
        here.clock.now += 3 * HOUR
        here.publish(0)
        assert here.stranger.total(NOON).requests == 1


def test_the_minutes_of_an_hour_are_told_until_another_has_passed_and_then_are_cleared_away() -> None:
    with house(1) as here:
        for _ in range(5):
            here.happens(0, Outcome.MISS)
            here.publish(0)
            here.clock.now += HOUR
        told = {name: decode(value) for name, value in sorted(here.board.kept.items())}
        assert [note.minutes is not None for note in told.values()] == [False, False, False, True, True]
        assert [sum(sums["requests"] for _, sums in note.rows) for note in told.values()] == [1] * 5
        assert all(histogram.total == 1 for note in told.values() for _, _, histogram in note.latency)
        assert here.stranger.finest(here.clock.now - HOUR) == 60
        assert here.stranger.finest(here.clock.now - 3 * HOUR) == HOUR
        alone = Reader(here.desks[0].file, here.clock)
        assert alone.finest(here.clock.now - 3 * HOUR) == 60, "a machine alone has minutes of two days"
        alone.close()


@pytest.mark.parametrize(("models", "bound"), [(5, TYPICAL), (900, WORST)])
def test_what_is_published_of_an_hour_is_bounded(models: int, bound: int) -> None:
    with house(1) as here:
        for _ in range(60):
            for number in range(0, models, max(1, models // 20)):
                here.happens(0, Outcome.MISS, model=f"a/long-name-of-a-model-{number}")
                here.happens(0, Outcome.HIT, model=f"a/long-name-of-a-model-{number}")
            here.desks[0].clerk.flush()
            here.clock.now += 60
        for number in range(models):
            here.happens(0, Outcome.MISS, model=f"a/long-name-of-a-model-{number}")
        here.clock.now -= 1
        here.publish(0)
        [note] = here.board.kept.values()
        assert 1000 < len(note) < bound
        here.clock.now = NOON + HOUR - 1
        total = here.stranger.total(NOON).requests
        assert total == here.readers[0].total(NOON).requests
        assert sum(point.figures.requests for point in here.stranger.series(NOON, step=60)) == total


def test_notes_of_gateways_that_tell_of_no_minutes_count_by_the_hour() -> None:
    with house(1) as here:
        here.clock.now = NOON + 20 * 60
        for _ in range(7):
            here.happens(0, Outcome.MISS)
        here.publish(0)
        [(name, value)] = here.board.kept.items()
        here.board.kept[name] = orjson.dumps([row for row in orjson.loads(value) if len(row) == len(BY) + 1])
        here.clock.now = NOON + 50 * 60
        since = here.clock.now - 10 * 60
        assert here.stranger.total(since).requests == 7
        points = here.stranger.series(since, step=60)
        assert [point.figures.requests for point in points if point.figures.requests] == [7]
        assert points[0].figures.requests == 7, "they stand in the first step there is"
        assert here.stranger.latency(since) == {}


def test_what_is_new_in_a_note_is_passed_over_by_gateways_that_do_not_know_it() -> None:
    with house(1) as here:
        here.happens(0, Outcome.MISS)
        here.publish(0)
        [value] = here.board.kept.values()
        said = json.loads(value)
        read = [row for row in said if len(row) == len(BY) + 1]  # as versions before did
        assert [row[-1]["requests"] for row in read] == [1]
        assert {row[0] for row in said if row not in read} == {"minutes", "latency"}
        assert all(isinstance(row, list) for row in said), "they measure each row"


_WORDS = st.tuples(*[st.text(max_size=4)] * len(BY))
_SUMS = st.dictionaries(st.sampled_from(["requests", "calls", "paid_nano"]), st.integers(1, 2**60), min_size=1)


@given(
    st.dictionaries(_WORDS, _SUMS, max_size=4),
    st.dictionaries(st.tuples(st.integers(0, 59), _WORDS), _SUMS, max_size=6) | st.none(),
    st.lists(st.tuples(st.integers(0, 59), st.text(max_size=4), st.integers(0, 5)), max_size=4),
)
def test_a_note_is_read_as_it_was_written(
    rows: dict[tuple[str, ...], dict[str, int]],
    minutes: dict[tuple[int, tuple[str, ...]], dict[str, int]] | None,
    took: list[tuple[int, str, int]],
) -> None:
    def counted(bucket: int) -> Histogram:
        return Histogram(tuple(int(place == bucket) for place in range(len(Histogram().counts))))

    told = None if minutes is None else tuple((at * 60, by, sums) for (at, by), sums in minutes.items())
    note = Note(tuple(rows.items()), told, tuple((at * 60, outcome, counted(where)) for at, outcome, where in took))
    read = decode(encode(note))
    assert (read.rows, read.latency) == (note.rows, note.latency)
    assert (read.minutes is None) == (told is None)
    assert sorted(read.minutes or (), key=repr) == sorted(told or (), key=repr)


_ODD = st.recursive(st.integers(-9, 9) | st.text(max_size=3) | st.just("minutes"), st.lists, max_leaves=20)


@given(st.binary(max_size=40) | _ODD.map(orjson.dumps))
def test_whatever_stands_in_a_note_can_be_read(value: bytes) -> None:
    assert isinstance(decode(value), Note)


# ---------------------------------------------------------------------------------------------- gateways and a server


@pytest.fixture(params=[REDIS, MEMCACHED])
def server_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with redis_server(tmp_path, kind=REDIS) if request.param == REDIS else memcached(tmp_path) as server:
        yield server.url


def test_gateways_and_a_machine_without_books_show_the_same_figures(
    server_url: str,
    sim: SimulatedProvider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(clerk, "TELL_SECONDS", 0.2)
    monkeypatch.setattr(bookkeeping, "SELDOM", 0.1)
    ours = {"store": server_url, "secret_file": str(tmp_path / "secret")}
    with ExitStack() as stack:
        gateways = [
            stack.enter_context(running_gateway(sim.base_url, ledger=str(tmp_path / f"{name}.db"), **ours))
            for name in ("one", "two")
        ]
        for number in range(4):
            gateways[0].post(ask(f"first {number}"))
            gateways[0].post(ask(f"first {number}"))
        for number in range(9):
            gateways[1].post(ask(f"second {number}"))
        told = ("requests", "hits", "misses", "calls", "paid_dollars", "avoided_dollars", "avoided_calls")
        for span in ("1h", "24h", "7d"):
            pages: list[dict[str, Any]] = []

            def alike(span: str = span, pages: list[dict[str, Any]] = pages) -> bool:
                pages[:] = [overview(gateway, span) for gateway in gateways]
                return all(page["total"]["requests"] == 17 and page["total"]["calls"] == 13 for page in pages)

            assert until(alike, 30), [page["total"] for page in pages]
            assert pages[0]["total"] == pages[1]["total"]
            assert pages[0]["median_seconds"] == pages[1]["median_seconds"], span
            assert set(pages[0]["median_seconds"]) == {"hit", "miss"}
            for page in pages:
                for name in told:
                    assert sum(Decimal(step[name]) for step in page["series"]) == Decimal(page["total"][name]), name
        monkeypatch.setenv("PAYONCE_LEDGER", str(tmp_path / "none.db"))
        for since in (["--since", "1h"], ["--since", "24h"], []):
            assert main(["stats", "--json", "--store", server_url, *since]) == 0
            found = json.loads(capsys.readouterr().out)["ledger"]
            assert (found["requests"], found["calls"]) == (17, 13)
            assert sum(point["requests"] for point in found["trend"]) == 17
            assert {name: each["p50"] for name, each in found["seconds"].items()} == pages[0]["median_seconds"]
    assert not (tmp_path / "none.db").exists()


def overview(gateway: RunningGateway, span: str) -> dict[str, Any]:
    with gateway.wire() as wire:
        wire.send(f"GET /_payonce/api/overview?span={span} HTTP/1.1\r\nHost: {gateway.host}\r\n\r\n".encode())
        found: dict[str, Any] = json.loads(wire.reply().body)
    return found
