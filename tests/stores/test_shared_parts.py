"""The parts of a shared store that need no server: parcels, breakers, connections, epochs, URLs."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.errors import SettingsError, StoreUnavailableError
from payonce.model.ports import About
from payonce.stores import parcel
from payonce.stores import redis_book as book
from payonce.stores import redis_words as words
from payonce.stores.breaker import Breaker
from payonce.stores.links import Pool
from payonce.stores.redis_url import Login, read_place
from payonce.stores.shared_book import merge
from payonce.stores.shared_medium import Epochs
from payonce.testing import FakeClock

TEXT = st.text(max_size=30)
ABOUT = st.builds(
    About,
    stored_at=st.floats(0, 1e10),
    expires_at=st.floats(0, 1e11),
    tenant=TEXT,
    namespace=TEXT,
    endpoint=TEXT,
    model=TEXT,
    tags=st.lists(TEXT, max_size=4).map(tuple),
)
VALUE = st.binary(max_size=300) | st.binary(max_size=30).map(lambda piece: piece * 200)


@given(VALUE, ABOUT, st.integers(0, 2**63))
def test_what_was_packed_is_unpacked_and_listed(value: bytes, about: About, stamp: int) -> None:
    packed = parcel.pack(value, about, stamp)
    on = parcel.label(packed)
    assert on is not None
    assert (on.stamp, on.expires_at, on.size) == (stamp, about.expires_at, len(value))
    assert parcel.about(packed[: on.length], on) == about
    assert parcel.unpack(packed, on, 1 << 20) == value
    assert parcel.unpack(packed, on, len(value) - 1) is None
    assert len(packed) <= len(value) + on.length


@given(VALUE, ABOUT, st.data())
def test_a_damaged_parcel_is_never_more_than_it_announces(value: bytes, about: About, data: st.DataObject) -> None:
    packed = bytearray(parcel.pack(value, about, 1))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    packed = packed[: data.draw(st.integers(0, len(packed)))]
    on = parcel.label(bytes(packed))
    if on is not None:
        parcel.about(bytes(packed), on)
        found = parcel.unpack(bytes(packed), on, 1 << 20)
        assert found is None or len(found) == on.size <= 1 << 20


@given(st.binary(max_size=200))
def test_junk_is_no_parcel(junk: bytes) -> None:
    on = parcel.label(junk)
    assert on is None or junk.startswith(parcel.MAGIC)


def test_a_bomb_is_not_unpacked() -> None:
    packed = parcel.pack(bytes(200 << 20), About(0, 1, "", "", "", ""), 1)
    assert len(packed) < 100_000
    on = parcel.label(packed)
    assert on is not None
    assert parcel.unpack(packed, on, 64 << 20) is None
    small = parcel.Label(on.stamp, on.expires_at, 1000, on.compressed, on.length)
    assert parcel.unpack(packed, small, 64 << 20) is None, "it holds more than it announces"


def breaker(clock: FakeClock) -> Breaker:
    return Breaker(clock, lambda: 0.5, limit=3, window=1.0, pause=0.1, longest=0.4)


def test_a_breaker_opens_after_so_many_failures_within_its_window_and_not_before() -> None:
    clock = FakeClock()
    one = breaker(clock)
    for _ in range(10):
        one.failed("slow")
        one.worked()
        clock.advance(0.6)
    assert not one.open, "too far apart, and answers in between"
    for _ in range(2):
        one.failed("slow")
    assert (one.open, one.because, one.opened) == (True, "slow", 1)


def test_a_breaker_opens_after_as_many_failures_in_a_row_however_far_apart() -> None:
    clock = FakeClock()
    one = breaker(clock)
    for _ in range(3):
        assert not one.open
        one.failed("silent")
        clock.advance(60)
    assert one.open


def test_an_open_breaker_lets_one_probe_through_after_a_pause_that_doubles() -> None:
    clock = FakeClock()
    one = breaker(clock)
    for _ in range(3):
        one.failed("silent")
    pauses = []
    for _ in range(5):
        waited = 0.0
        while not one.due():
            clock.advance(0.01)
            waited += 0.01
        pauses.append(round(waited, 1))
        one.failed("silent")
        assert not one.due()
    assert pauses == [0.1, 0.2, 0.4, 0.4, 0.4]
    one.worked()
    assert one.open, "an answer from before the probe says nothing"
    clock.advance(1)
    one.worked()
    assert not one.open
    one.failed("again")
    assert not one.open, "it starts to count anew"


# -------------------------------------------------------------------------------------------------------------- pool


class _Link:
    def __init__(self) -> None:
        self.quiet = True
        self.closed = False

    def is_quiet(self) -> bool:
        return self.quiet and not self.closed

    def close(self) -> None:
        self.closed = True


def soon() -> float:
    return time.monotonic() + 5


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit])
def test_a_connection_comes_back_only_from_a_block_that_ended_well(error: type[BaseException]) -> None:
    made: list[_Link] = []
    pool: Pool[_Link] = Pool(lambda deadline: made.append(_Link()) or made[-1])  # type: ignore[func-returns-value]
    with pool.link(soon()) as first:
        pass
    with pool.link(soon()) as again:
        assert again is first
    with pytest.raises(error), pool.link(soon()):
        raise error
    assert first.closed
    assert pool.counts == (0, 0)
    with pool.link(soon()) as fresh:
        assert fresh is not first


def test_a_connection_with_something_to_read_is_never_lent_again() -> None:
    pool: Pool[_Link] = Pool(lambda deadline: _Link())
    with pool.link(soon()) as first:
        pass
    first.quiet = False
    with pool.link(soon()) as other:
        assert other is not first
    assert first.closed


def test_connections_are_bounded_and_a_closed_pool_gives_none() -> None:
    pool: Pool[_Link] = Pool(lambda deadline: _Link(), most=2, idle=1)
    with pool.link(soon()) as one, pool.link(soon()) as two:
        with pytest.raises(StoreUnavailableError, match="in use"), pool.link(soon()):
            pass
        assert pool.counts == (2, 0)
    assert pool.counts == (0, 1)
    assert [one.closed, two.closed].count(True) == 1
    pool.close()
    assert one.closed
    assert two.closed
    with pytest.raises(StoreUnavailableError, match="closed"), pool.link(soon()):
        pass


def test_a_connection_that_was_made_too_late_is_kept_for_the_next() -> None:
    pool: Pool[_Link] = Pool(lambda deadline: _Link())
    with pytest.raises(StoreUnavailableError, match="too late"), pool.link(time.monotonic() - 1):
        pass
    assert pool.counts == (0, 1)


# ------------------------------------------------------------------------------------------------------------ epochs

COUNTS = st.dictionaries(
    st.sampled_from(["all", "model:a", "tag:b", "key:aa", "key:bb"]), st.integers(1, 9), max_size=5
)


@given(COUNTS, COUNTS, st.integers(0, 10))
def test_no_count_ever_falls_but_those_of_old_keys_may_go(
    known: dict[str, int], found: dict[str, int], forget_before: int
) -> None:
    holds, lost = merge(Epochs(known, {}), Epochs(found, {}), forget_before, Epochs({}, {}))
    for scope, count in holds.counts.items():
        assert count >= found.get(scope, 0)
        assert count in (found.get(scope, 0), known.get(scope, 0), known.get(scope, 0) + 1)
    for scope, count in known.items():
        assert holds.counts.get(scope, 0) >= count or (scope.startswith("key:") and count < forget_before)
    assert all(found.get(scope, 0) < count == holds.counts[scope] for scope, count in lost.counts.items())


STEPS = st.lists(
    st.tuples(st.sampled_from(["purge", "purge", "save", "lose", "poll", "begin anew"]), st.sampled_from(["a", "b"])),
    max_size=40,
)


@given(STEPS, st.booleans())
def test_a_poll_never_misses_a_purge_whatever_was_lost_before_it(steps: list[tuple[str, str]], takes: bool) -> None:
    """A book that is rolled back, emptied and raised by others between the polls of one process. What was alive at one
    poll and purged after the last loss is dead at the next one; what is given back is taken, or is not."""
    book = saved = known = said = Epochs({}, {})
    purged: set[str] = set()
    for at, (step, scope) in enumerate([*steps, ("poll", "")]):
        if step == "purge":
            book = Epochs({**book.counts, scope: book.counts.get(scope, 0) + 1}, {**book.raised, scope: float(at)})
            purged.add(scope)
        elif step == "save":
            saved = book
        elif step in ("lose", "begin anew"):
            book = saved if step == "lose" else Epochs({}, {})
            purged = set()
        else:
            before, found = known.counts, book
            known, lost = merge(known, found, 0, said)
            assert all(known.counts[scope] > before.get(scope, 0) for scope in purged)
            said, purged = found, set()
            if takes:
                book = Epochs({**found.counts, **lost.counts}, {**found.raised, **lost.raised})
            again, more = merge(known, book, 0, said)
            assert again.counts == known.counts, "nobody has purged anything since"
            assert more.counts == ({} if takes else lost.counts)
            known, said = again, book


@given(st.integers(0, 2**52 - 1), st.binary(min_size=33, max_size=33).filter(lambda slot: slot[32] < 128))
def test_a_name_says_which_slot_it_is_in_this_generation_only(generation: int, slot: bytes) -> None:
    name = words.entry_name("p:", generation, slot)
    assert words.slot_of("p:", generation, name) == slot
    assert words.slot_of("p:", generation + 1, name) is None
    assert words.slot_of("q:", generation, name) is None


@given(st.recursive(st.none() | st.integers() | st.binary(max_size=5), lambda inner: st.lists(inner, max_size=4)))
def test_a_reader_of_replies_says_so_where_a_reply_is_none(reply: Any) -> None:
    readers = [words.read_get, words.read_scan, words.read_notes, book.read_poll, book.read_book, words.read_master]
    for read in [*readers, book.read_last_forgotten, lambda found: words.read_slots(found, ("h", 1))]:
        try:
            read(reply)
        except words.GarbledError:
            pass
        except (TypeError, ValueError, IndexError) as error:
            raise AssertionError(f"{read} met {reply!r} with {error!r}") from error


# -------------------------------------------------------------------------------------------------------------- URLs


def test_a_url_says_where_who_and_how() -> None:
    place = read_place("//us%40er:p%2Fw@h1:1,[::1]:2/my?prefix=a:&sentinel_password=x", "sentinel", tls=True)
    assert place.addresses == (("h1", 1), ("::1", 2))
    assert place.login == Login("us@er", "p/w")
    assert (place.service, place.prefix, place.tls, place.db) == ("my", "a:", True, 0)
    assert read_place("//h", "single", tls=False).addresses == (("h", 6379),)
    assert read_place("//:pw@h/3", "single", tls=False).db == 3
    assert read_place("//h/3", "single", tls=False).login == Login()


@pytest.mark.parametrize(
    ("rest", "kind"),
    [
        ("h", "single"),
        ("//", "single"),
        ("//h:x", "single"),
        ("//h:99999", "single"),
        ("//h/x", "single"),
        ("//h/1/2", "single"),
        ("//h?what=1", "single"),
        ("//h?prefix=a{b}", "single"),
        ("//h?prefix=", "single"),
        ("//h?ca=x", "single"),
        ("//h?connect_timeout=0", "single"),
        ("//h/1", "cluster"),
        ("//h", "sentinel"),
    ],
)
def test_a_url_that_can_not_be_followed_is_refused_without_its_password(rest: str, kind: str) -> None:
    for text in (rest, rest.replace("//", "//user:hunter2@", 1)):
        with pytest.raises(SettingsError, match=r"write|store") as caught:
            read_place(text, kind, tls=False)
        assert "hunter2" not in str(caught.value)


def test_a_place_never_shows_its_password() -> None:
    place = read_place("//user:hunter2@h?sentinel_password=hunter3", "single", tls=True)
    assert "hunter" not in repr(place) + str(place)


def test_gateways_do_not_probe_all_at_once() -> None:
    pauses = set()
    for seed in range(20):
        clock = FakeClock()
        one = Breaker(clock, random.Random(seed).random, limit=1, pause=0.1)
        one.failed("x")
        while not one.due():
            clock.advance(0.001)
        pauses.add(round(clock.now % 1000, 3))
    assert len(pauses) > 10
