"""The books: what is told to the journal is what the reader says."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from payonce.books import schema
from payonce.books.batch import Batch
from payonce.books.clerk import Clerk, Limits
from payonce.books.entering import enter
from payonce.books.file import BooksFile, transaction
from payonce.books.journal import WAITING, Billed, Journal, Landed
from payonce.books.posting import FILED, PATIENCE, ROWS, Posting
from payonce.books.reader import Reader, Which
from payonce.books.schema import Scene
from payonce.books.words import BY, Figures, Filed, Histogram
from payonce.cli.why_request import nearest
from payonce.dashboard.requests import FROM_CACHE, page_of
from payonce.ledger.hits import SHOWN, HitBook, Told, summed
from payonce.ledger.money import Bill
from payonce.ledger.usage import Usage
from payonce.model import reason as why
from payonce.model.call import Ask, Call, Intent, Steering, Terms
from payonce.model.entry import Entry, Facts, Tokens
from payonce.model.key import Key
from payonce.model.receipt import Hits, Landing, Outcome, Receipt
from payonce.testing.clock import FakeClock

NOON = 1_800_000_000.0
SECRET = b"s" * 32


class Desk:
    """A journal, its clerk and a reader of the same file; the clerk writes when it is told to."""

    def __init__(self, path: Path | None, clock: FakeClock, limits: Limits | None = None) -> None:
        self.clock = clock
        self.file = BooksFile(path)
        self.journal = Journal(clock, 7)
        self.clerk = Clerk(self.journal, self.file, SECRET, clock, limits)
        self.reader = Reader(self.file, clock)

    def close(self) -> None:
        self.clerk.start()
        self.clerk.stop()
        self.reader.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOON)


@pytest.fixture
def desk(tmp_path: Path, clock: FakeClock) -> Iterator[Desk]:
    found = Desk(tmp_path / "books.db", clock)
    yield found
    found.close()


def ask_for(number: int = 1, *, model: str = "m", body: bytes = b'{"messages":[]}', key: bytes = b"k" * 32) -> Ask:
    steering = Steering(model, "tenant", "https://openrouter.ai/api/v1", namespace="ns")
    return Ask(
        call=Call("", "POST", "chat/completions", b"", (), body, steering, number),
        intent=Intent(model, False, True, False, False, body),
        key=Key(key, False),
        terms=Terms(60),
        tenant="tenant",
        namespace="ns",
        tags=(),
    )


def entry_of(cost: int | None = 5_000, *, model: str = "m") -> Entry:
    facts = Facts("gen-1", model, "none", Tokens(100, 20, cost))
    return Entry(NOON, 60, 0, 0, (), (), 200, (), b"{}" * 8, facts, "tenant", "ns", (), "chat/completions", model, 1.5)


def bill_of(dollars: str = "0.002", **usage: int) -> Bill:
    used = Usage(**{"input_uncached": 10, "cache_read": 90, "output": 20, "input_total": 100} | usage)
    return Bill(used, Decimal(dollars), read_saving=Decimal("0.0005"), write_premium=Decimal("0.0001"))


def billed(number: int, at: float, *, passed: bool = False, session: str = "talk", bill: Bill | None = None) -> Billed:
    steering = Steering("m", "tenant", "https://openrouter.ai/api/v1", cacheable=not passed, namespace="ns")
    return Billed(
        at, number, steering, "chat/completions", 200, at - 2, at - 1.5, (bill or bill_of(),), "m-1", "Host", session
    )


# ------------------------------------------------------------------------------------------------- what is told


def test_a_miss_is_filed_with_what_its_call_cost_and_a_hit_with_what_it_spared(desk: Desk, clock: FakeClock) -> None:
    body = b'{"messages":[{"role":"user","content":"secret words"}],"temperature":0}'
    ask = ask_for(1, body=body)
    desk.journal.billed(billed(1, clock()))
    desk.journal.landed(Landing(entry_of().facts, None, 2.0), 0, ask)
    desk.journal.exchanged(Receipt(Outcome.MISS, why.ABSENT, flight=1), 2.1, ask)
    desk.journal.exchanged(Receipt(Outcome.HIT, entry=entry_of()), 0.001, ask_for(2))
    desk.clerk.flush()
    hit, miss = desk.reader.recent()
    assert (hit.outcome, hit.avoided_nano, hit.avoided_input, hit.call) == ("hit", 5_000, 100, None)
    assert (miss.outcome, miss.reason, miss.avoided_nano) == ("miss", "absent", None)
    assert miss.call is not None
    assert (miss.call.cost_nano, miss.call.read_tokens, miss.call.provider) == (2_000_000, 90, "Host")
    assert (miss.call.ttfb, miss.call.kept) == (pytest.approx(0.5), True)
    assert miss.key == "b3:" + (b"k" * 32).hex()
    assert set(miss.parts) == {"count", "messages", "parameters"}
    assert "secret words" not in repr(miss)
    assert desk.reader.receipt(miss.id) == miss
    total = desk.reader.total(NOON - 60)
    assert (total.requests, total.hits, total.misses, total.calls, total.kept) == (2, 1, 1, 1, 1)
    assert (total.paid_nano, total.avoided_nano, total.read_saving_nano) == (2_000_000, 5_000, 500_000)


def test_what_workers_write_down_late_stands_where_it_belongs_in_time(tmp_path: Path, clock: FakeClock) -> None:
    """A worker writes once a second what happened in it: the file's order is not that of time."""
    quick, slow = (Desk(tmp_path / "books.db", clock) for _ in range(2))
    prompts = ("first", "second", "third")
    for number, prompt in enumerate(prompts, start=1):
        clock.advance(0.1)
        body = b'{"messages":[{"role":"user","content":"%s"}]}' % prompt.encode()
        ask, desk = ask_for(number, body=body, key=prompt.encode().ljust(32)), slow if number == 1 else quick
        desk.journal.billed(billed(number, clock()))
        desk.journal.landed(Landing(entry_of().facts, None, 0.05), 0, ask)
        desk.journal.exchanged(Receipt(Outcome.MISS, why.ABSENT, flight=number), 0.05, ask)
    quick.clerk.flush()
    slow.clerk.flush()
    found = quick.reader.recent()
    assert [round(each.at - NOON, 1) for each in found] == [0.1, 0.3, 0.2], "the control: this is how they stand there"
    page, following = page_of(found)
    assert [round(each.at - NOON, 1) for each in page] == [0.3, 0.2, 0.1]
    assert following is None
    calls = quick.reader.calls(quick.reader.conversations()[0].id)
    assert [round(each.at - NOON, 1) for each in calls] == [0.3, 0.2, 0.1]
    third, second, first = page
    assert nearest(quick.reader, first) is None, "the two that were written down before it came later"
    assert nearest(quick.reader, second) == (first, ("messages[0]",))
    assert nearest(quick.reader, third) == (second, ("messages[0]",))
    for desk in (quick, slow):
        desk.close()


def test_outcomes_are_asked_for_together(desk: Desk) -> None:
    for number, outcome in enumerate((Outcome.HIT, Outcome.MISS, Outcome.COLLAPSED, Outcome.STALE), start=1):
        desk.journal.exchanged(Receipt(outcome, entry=entry_of()), 0.1, ask_for(number))
    desk.clerk.flush()
    served = {each.outcome for each in desk.reader.recent(Which(outcome=FROM_CACHE))}
    assert served == {"hit", "stale", "collapsed"}
    assert [each.outcome for each in desk.reader.recent(Which(outcome="miss"))] == ["miss"]


def test_a_hit_told_in_sums_is_filed_as_what_it_was(desk: Desk, clock: FakeClock) -> None:
    book = HitBook(clock)
    book.add(replace(ask_for(3), key=Key(b"h" * 32, True)), entry_of(), 0.002, converted=True)
    desk.journal.hits(book.take())
    desk.clerk.flush()
    (filed,) = desk.reader.recent()
    assert filed == Filed(
        n=1,
        id=desk.journal.filed_as(3),
        at=NOON,
        tenant="tenant",
        namespace="ns",
        endpoint="chat/completions",
        model="m",
        outcome="hit",
        took=0.002,
        stream=True,
        converted=True,
        key="b3:" + (b"h" * 32).hex(),
        avoided_nano=5_000,
        avoided_input=100,
        avoided_output=20,
        served_bytes=16,
    )


def test_what_enters_the_sums_stays_prepared_however_many_receipts_a_second_has(desk: Desk, clock: FakeClock) -> None:
    db, posting, book = desk.file.writer(), Posting(SECRET), HitBook(clock)
    prepared = []
    for _ in range(4):
        for number in range(FILED):
            book.add(ask_for(number + 1), entry_of(), 0.002, converted=False)
        batch = Batch()
        desk.journal.hits(book.take())
        posting.post(desk.journal.take(10), batch)
        posting.settle(batch, clock())
        with transaction(db):
            enter(db, batch, {}, desk.journal.id_of)
        prepared.append(db.cache_stats()["misses"])
    assert prepared[-1] == prepared[1]
    assert db.execute("SELECT count(*) FROM receipt").get == 4 * FILED
    db.close()


def test_the_same_call_told_of_in_either_order_and_late_is_counted_once(tmp_path: Path) -> None:
    found = []
    for order in ("landed first", "billed first", "billed late"):
        clock = FakeClock(NOON)
        desk = Desk(tmp_path / f"{order}.db", clock)
        landing = Landing(entry_of().facts, None, 2.0)
        if order != "billed first":
            desk.journal.landed(landing, 3, ask_for())
        if order == "billed late":
            clock.advance(30)
            desk.clerk.flush()
            assert desk.reader.total(NOON - 60).calls == 1
        desk.journal.billed(billed(1, NOON))
        if order == "billed first":
            desk.journal.landed(landing, 3, ask_for())
        desk.clerk.flush()
        found.append(desk.reader.total(NOON - 60))
        assert len(desk.reader.calls()) == 1
        desk.close()
    assert found[0] == found[1] == found[2]
    assert (found[0].calls, found[0].paid_nano, found[0].avoided_calls) == (1, 2_000_000, 3)


def landed(number: int, at: float = NOON) -> Landed:
    return Landed(at, Landing(entry_of().facts, None, 2.0), 0, number, Scene("tenant", "ns"), steered=True)


def test_a_call_that_is_in_the_sums_is_entered_once_however_many_come_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("payonce.books.posting.OPEN", 4)
    found, batch = Posting(SECRET), Batch()
    for number in range(1, 11):
        found.post([landed(number), billed(number, NOON)], batch)
    found.settle(batch, NOON)
    assert [call.request for call in batch.calls] == list(range(1, 11))
    later = Batch()
    found.settle(later, NOON + 60)
    assert not later, "nothing is left to be looked at"


def test_of_calls_that_lack_a_half_so_many_wait_and_the_oldest_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("payonce.books.posting.OPEN", 4)
    found, batches = Posting(SECRET), [Batch() for _ in range(4)]
    found.post([landed(number) for number in range(1, 11)], batches[0])
    found.settle(batches[0], NOON + PATIENCE - 1)
    found.post([billed(7, NOON)], batches[1])
    found.settle(batches[1], NOON + PATIENCE - 1)
    found.settle(batches[2], NOON + PATIENCE)
    found.settle(batches[3], NOON + 60, last=True)
    counted = [[call.request for call in batch.calls] for batch in batches]
    assert counted == [[1, 2, 3, 4, 5, 6], [7], [8, 9, 10], []]


def test_a_request_that_goes_past_the_cache_has_its_call_too(desk: Desk, clock: FakeClock) -> None:
    steering = Steering("m", "tenant", "https://openrouter.ai/api/v1", cacheable=False, namespace="ns")
    call = Call("", "POST", "chat/completions", b"", (), b"{}", steering, 9)
    desk.journal.billed(billed(9, clock(), passed=True))
    desk.journal.exchanged(Receipt(Outcome.BYPASS, why.CLIENT_OFF), 1.0, call)
    desk.clerk.flush()
    [receipt] = desk.reader.recent()
    assert (receipt.outcome, receipt.tenant, receipt.namespace) == ("bypass", "tenant", "ns")
    assert receipt.call is not None
    assert receipt.call.passed
    assert desk.reader.total(NOON - 60).paid_nano == 2_000_000
    assert {one.by: one.figures.paid_nano for one in desk.reader.totals(NOON - 60, by=("outcome",))} == {
        ("bypass",): 0,
        ("passed",): 2_000_000,
    }


def test_the_fast_lane_is_counted_in_full_and_filed_in_part(desk: Desk) -> None:
    histogram = [0] * 21
    histogram[3] = 500
    hits = [Hits(entry_of(), bytes([n // 256, n % 256]) * 16 + b"s", 2, False, n + 1) for n in range(250)]
    told = Told(summed(hits, 0.0004), histogram, [])
    desk.journal.shelved(told, hits[:SHOWN])
    desk.journal.shelved(Told((), [0] * 21, []), hits[SHOWN:])  # more is shown in this second than is filed
    desk.clerk.flush()
    total = desk.reader.total(NOON - 60)
    assert (total.requests, total.fast, total.hits, total.avoided_calls) == (500, 500, 500, 500)
    assert total.avoided_nano == 500 * 5_000
    assert desk.reader.latency(NOON - 60)["hit"] == Histogram(tuple(histogram))
    filed = desk.reader.recent(limit=1000)
    assert len(filed) == 100
    assert {receipt.times for receipt in filed} == {2}
    assert filed[0].took == pytest.approx(0.0004)


def test_a_storm_of_misses_is_in_the_sums_in_full_and_filed_in_part(desk: Desk, clock: FakeClock) -> None:
    """A row costs more than a sum: of one second so many get one, and of the next second so many again."""
    for second in range(2):
        first = 1 + second * 3 * ROWS
        for number in range(first, first + 3 * ROWS):
            ask = ask_for(number)
            desk.journal.landed(Landing(entry_of().facts, None, 2.0), 0, ask)
            desk.journal.exchanged(Receipt(Outcome.MISS, why.ABSENT, flight=number), 2.1, ask)
        for number in reversed(range(first, first + 3 * ROWS)):
            desk.journal.billed(billed(number, clock(), session=""))
        desk.clerk.flush()
        clock.advance(1)
    total = desk.reader.total(NOON - 60)
    assert (total.requests, total.misses, total.calls, total.kept) == (6 * ROWS,) * 4
    assert total.paid_nano == 6 * ROWS * 2_000_000
    filed = desk.reader.recent(limit=10 * ROWS)
    assert len(filed) == 2 * ROWS
    assert all(receipt.call is not None and receipt.call.cost_nano == 2_000_000 for receipt in filed), "both halves"
    assert len(desk.reader.calls(limit=10 * ROWS)) == 2 * ROWS
    assert desk.clerk.losses() == {"unfiled": 8 * ROWS}


def test_turns_of_a_conversation_are_read_in_order_with_their_sums(desk: Desk, clock: FakeClock) -> None:
    for number in range(1, 6):
        desk.journal.landed(Landing(entry_of().facts, None, 2.0), 0, ask_for(number))
        desk.journal.billed(billed(number, clock()))
        clock.advance(10)
    desk.journal.billed(billed(6, clock(), passed=True, session="another"))
    desk.clerk.flush()
    other, talk = desk.reader.conversations()
    assert (talk.turns, talk.read_tokens, talk.cost_nano, talk.saving_nano) == (5, 450, 10_000_000, 2_000_000)
    assert (talk.began, talk.ended) == (NOON - 2, NOON + 40)
    assert other.turns == 1
    assert desk.reader.conversation(talk.id) == talk
    turns = desk.reader.calls(talk.id)
    assert [turn.at for turn in turns] == [NOON + 10 * n for n in (4, 3, 2, 1, 0)]
    assert {turn.conversation for turn in turns} == {talk.id}


# ------------------------------------------------------------------------------------------------- what is asked

_WHAT = st.tuples(
    st.integers(0, 3 * 86400), st.sampled_from(["a", "b", "c"]), st.sampled_from(["hit", "miss", "bypass", "expired"])
)


@settings(max_examples=25)
@given(told=st.lists(_WHAT, max_size=30), since=st.integers(0, 3 * 86400), length=st.integers(1, 3 * 86400))
def test_any_span_of_time_has_the_figures_of_what_happened_in_it(
    told: list[tuple[int, str, str]], since: int, length: int
) -> None:
    clock = FakeClock(NOON)
    desk = Desk(None, clock)
    desk.clerk.flush()
    at = 0
    for later, model, what in sorted(told):
        clock.advance(later - at)
        at = later
        if what == "hit":
            desk.journal.exchanged(Receipt(Outcome.HIT, entry=entry_of()), 0.001, ask_for(model=model))
        elif what == "bypass":
            desk.journal.exchanged(Receipt(Outcome.BYPASS, why.CACHE_OFF), 0.2, ask_for(model=model).call)
        else:
            reason = why.ABSENT if what == "miss" else why.EXPIRED
            desk.journal.exchanged(Receipt(Outcome.MISS, reason), 0.2, ask_for(model=model))
    desk.clerk.flush()
    clock.advance(3 * 86400 - at)
    kept = clock() - 48 * 3600
    start, end = NOON + since, NOON + since + length
    low = start // 60 * 60 if start // 60 * 60 >= kept else start // 3600 * 3600
    high = -(-end // 60) * 60
    high = high if high // 3600 * 3600 >= kept else -(-high // 3600) * 3600
    inside = [(model, what) for later, model, what in told if low <= NOON + later < high]
    total = desk.reader.total(start, end)
    assert total.requests == len(inside)
    assert total.hits == sum(what == "hit" for _, what in inside)
    by_model = {one.by[0]: one.figures.requests for one in desk.reader.totals(start, end, by=("model",))}
    assert by_model == {name: sum(model == name for model, _ in inside) for name in {model for model, _ in inside}}
    points = desk.reader.series(NOON, NOON + 3 * 86400 + 60, 3600)
    assert sum(point.figures.requests for point in points) == len(told)
    for by in BY:
        assert sum(one.figures.requests for one in desk.reader.totals(NOON - 1, by=(by,))) == len(told)
    desk.close()


def test_receipts_are_found_by_what_they_are(desk: Desk, clock: FakeClock) -> None:
    for number in range(1, 41):
        model = f"model-{number % 4}"
        outcome = Receipt(Outcome.MISS, why.ABSENT if number % 2 else why.EXPIRED)
        desk.journal.exchanged(outcome, 0.1, ask_for(number, model=model, key=bytes([number]) * 32))
        clock.advance(1)
    desk.clerk.flush()
    reader = desk.reader
    assert [one.n for one in reader.recent(limit=3)] == [40, 39, 38]
    assert [one.n for one in reader.recent(Which(before=38), limit=2)] == [37, 36]
    assert [one.n for one in reader.recent(Which(after=38))] == [40, 39]
    assert [one.n for one in reader.recent(Which(model="model-1"), limit=3)] == [37, 33, 29]
    assert [one.n for one in reader.recent(Which(model="model-1", reason="absent", before=33), limit=2)] == [29, 25]
    assert reader.recent(Which(model="model-1", reason="expired")) == []
    assert [one.n for one in reader.recent(Which(since=NOON + 10, until=NOON + 12))] == [12, 11]
    assert [one.n for one in reader.of_key(bytes([5]) * 32)] == [5]
    assert [one.n for one in reader.of_key(bytes([5]) * 8)] == [5]
    assert reader.receipt("zz") is None
    assert reader.receipt("0" * 16) is None


def test_where_there_are_no_books_everything_is_empty(tmp_path: Path, clock: FakeClock) -> None:
    reader = Reader(BooksFile(tmp_path / "none.db"), clock)
    assert reader.total(0) == Figures()
    assert (reader.recent(), reader.calls(), reader.conversations(), reader.receipt("0" * 16)) == ([], [], [], None)
    assert reader.series(NOON - 120, NOON, 60)[0].figures == Figures()
    assert not (tmp_path / "none.db").exists()


def test_figures_can_only_be_told_apart_by_what_the_books_know(desk: Desk, clock: FakeClock) -> None:
    desk.journal.exchanged(Receipt(Outcome.BYPASS, why.CACHE_OFF), 0.1, None)
    desk.clerk.flush()
    with pytest.raises(ValueError, match="told apart by 'scene; DROP TABLE hour'"):
        desk.reader.totals(0, by=("scene; DROP TABLE hour",))


# ------------------------------------------------------------------------------------------------- what is kept


def test_what_is_past_its_time_is_pruned_and_the_sums_of_the_rest_stay(tmp_path: Path, clock: FakeClock) -> None:
    desk = Desk(tmp_path / "books.db", clock, Limits(receipts=10, minutes=3600, hours=86400))
    for number in range(1, 31):
        desk.journal.exchanged(Receipt(Outcome.MISS, why.ABSENT), 0.1, ask_for(number))
        clock.advance(600)
    desk.clerk.flush()
    clock.advance(3600)
    db = desk.file.writer()
    for _ in range(40):
        with transaction(db):
            schema.prune(db, int(clock()), receipts=10, minutes=3600, hours=86400, max_bytes=1 << 30)
    assert db.execute("SELECT count(*), min(n) FROM receipt").get == (10, 21)
    assert db.execute("SELECT count(*) FROM minute").get == 0
    assert desk.reader.total(NOON - 3600).requests == 30
    clock.advance(3 * 86400)
    for _ in range(3):
        with transaction(db):
            schema.prune(db, int(clock()), receipts=10, minutes=3600, hours=86400, max_bytes=1 << 30)
    assert desk.reader.total(NOON - 3600).requests == 0
    db.close()
    desk.close()


def test_a_file_that_is_too_large_lets_go_of_its_oldest_receipts(tmp_path: Path, clock: FakeClock) -> None:
    desk = Desk(tmp_path / "books.db", clock)
    for number in range(1, 4001):
        desk.journal.exchanged(Receipt(Outcome.MISS, why.ABSENT), 0.1, ask_for(number, key=number.to_bytes(32)))
        if number % ROWS == 0:
            desk.clerk.flush()
    db = desk.file.writer()
    for _ in range(200):
        with transaction(db):
            schema.prune(db, int(clock()), receipts=10**6, minutes=10**6, hours=10**9, max_bytes=400_000)
    kept, newest = db.execute("SELECT count(*), max(n) FROM receipt").get
    assert newest == 4000
    assert 0 < kept < 3000
    assert desk.reader.total(NOON - 60).requests == 4000
    db.close()
    desk.close()


def test_more_scenes_than_are_told_apart_share_one(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "SCENES", 5)
    for number in range(20):
        desk.journal.exchanged(Receipt(Outcome.MISS, why.ABSENT), 0.1, ask_for(number, model=f"model-{number}"))
    desk.clerk.flush()
    models = {one.by[0]: one.figures.requests for one in desk.reader.totals(0, by=("model",))}
    assert len(models) == 6
    assert models["(other)"] == 15


def test_what_finds_no_room_in_the_journal_is_counted(desk: Desk) -> None:
    for number in range(WAITING + 5):
        desk.journal.exchanged(Receipt(Outcome.BYPASS, why.CACHE_OFF), 0.1, None if number else ask_for())
    assert desk.journal.waiting == WAITING
    assert desk.clerk.losses() == {"journal-full": 5}


def test_large_bodies_are_let_go_of_and_their_requests_filed_all_the_same(desk: Desk) -> None:
    body = b'{"messages":["%s"]}' % (b"x" * (20 << 20))
    for number in (1, 2, 3):
        desk.journal.exchanged(Receipt(Outcome.MISS, why.ABSENT), 0.1, ask_for(number, body=body))
    desk.clerk.flush()
    assert [bool(one.parts) for one in desk.reader.recent()] == [False, False, True]
    assert desk.clerk.losses() == {"parts": 2}


def test_two_processes_worth_of_clerks_share_a_file(tmp_path: Path, clock: FakeClock) -> None:
    one, two = (Desk(tmp_path / "books.db", clock) for _ in range(2))
    for number in range(50):
        for desk in (one, two):
            desk.journal.exchanged(Receipt(Outcome.MISS, why.ABSENT), 0.1, ask_for(number))
            desk.clerk.flush()
    assert one.reader.total(NOON - 60).misses == two.reader.total(NOON - 60).misses == 100
    one.close()
    two.close()


def test_a_damaged_file_is_set_aside_and_fresh_books_are_begun(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "books.db"
    path.write_bytes(b"this is no database at all" * 400)
    path.chmod(0o600)
    desk = Desk(path, clock)
    desk.journal.exchanged(Receipt(Outcome.BYPASS, why.CACHE_OFF), 0.1, None)
    desk.clerk.flush()
    assert desk.reader.total(NOON - 60).requests == 1
    assert len(list(tmp_path.glob("books.db.set-aside-*"))) == 1
    desk.close()


def test_a_file_that_is_taken_away_is_begun_anew(desk: Desk) -> None:
    desk.journal.exchanged(Receipt(Outcome.BYPASS, why.CACHE_OFF), 0.1, None)
    desk.clerk.flush()
    assert desk.reader.total(NOON - 60).requests == 1
    path = desk.file.path
    assert path is not None
    for part in ("", "-wal", "-shm"):
        path.with_name(path.name + part).unlink(missing_ok=True)
    desk.journal.exchanged(Receipt(Outcome.BYPASS, why.CACHE_OFF), 0.1, None)
    desk.clerk.flush()
    assert desk.reader.total(NOON - 60).requests == 1


def test_the_file_is_the_owners_alone(desk: Desk) -> None:
    desk.journal.exchanged(Receipt(Outcome.BYPASS, why.CACHE_OFF), 0.1, None)
    desk.clerk.flush()
    path = desk.file.path
    assert path is not None
    assert path.stat().st_mode & 0o077 == 0


def test_the_reader_can_not_write(desk: Desk) -> None:
    desk.journal.exchanged(Receipt(Outcome.BYPASS, why.CACHE_OFF), 0.1, None)
    desk.clerk.flush()
    db = desk.file.reader()
    assert db is not None
    with pytest.raises(apsw.ReadOnlyError):
        db.execute("DELETE FROM receipt").fetchall()
    db.close()
