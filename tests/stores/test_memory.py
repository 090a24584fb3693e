"""The memory store: never over its bytes, never a wrong value, and a policy that beats plain LRU."""

from __future__ import annotations

import random
from collections import OrderedDict

from hypothesis import given, settings
from hypothesis import strategies as st
from store_faults import about_now, slot_of

from payonce.stores.memory import OVERHEAD, WINDOW_SHARE, MemoryStore
from payonce.testing import FakeClock

VALUE = b"v" * 1000
WEIGHT = len(VALUE) + 33 + OVERHEAD

acts = st.lists(
    st.tuples(st.sampled_from(["put", "put", "get", "delete", "later"]), st.integers(0, 30), st.integers(0, 4000)),
    max_size=150,
)


@given(acts, st.integers(8_000, 60_000))
@settings(deadline=None, max_examples=150)
def test_bytes_stay_within_the_bound_and_what_is_there_is_right(steps: list[tuple[str, int, int]], bound: int) -> None:
    clock = FakeClock()
    store = MemoryStore(bound, clock)
    model: dict[int, tuple[bytes, float]] = {}
    for act, name, number in steps:
        if act == "put":
            value = bytes([number % 256]) * number
            queued = store.put(slot_of(name), value, about_now(clock(), ttl=number % 90 + 1))
            assert queued == (len(value) + 33 + OVERHEAD <= bound // WINDOW_SHARE)
            if queued:
                model[name] = (value, clock() + number % 90 + 1)
                assert store.get(slot_of(name)) == value, "a just put entry is always there"
        elif act == "delete":
            store.delete(slot_of(name))
            model.pop(name, None)
        elif act == "later":
            clock.advance(number % 40)
        found = store.get(slot_of(name))
        assert found is None or (name in model and found == model[name][0] and model[name][1] > clock())
        volume = store.volume()
        assert volume.used_bytes <= bound
    listed = {row.slot: row.size for row in store.rows()}
    assert all(listed[slot_of(n)] == len(model[n][0]) for n in model if slot_of(n) in listed)
    assert len(listed) <= store.volume().entries
    for row in list(store.rows()):
        store.delete(row.slot)
    clock.advance(1000)
    for name in range(31):
        store.get(slot_of(name))
    assert (store.volume().entries, store.volume().used_bytes) == (0, 0), "the books balance"


def hit_ratio(store: MemoryStore, trace: list[int], *, offered: bool = False) -> float:
    hits = 0
    keep = store.offer if offered else store.put
    for name in trace:
        slot = name.to_bytes(33, "big")
        if store.get(slot) is not None:
            hits += 1
        else:
            keep(slot, VALUE, about_now(0.0, ttl=1e12))
    return hits / len(trace)


def lru_ratio(room: int, trace: list[int]) -> float:
    kept: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for name in trace:
        if name in kept:
            hits += 1
            kept.move_to_end(name)
        else:
            kept[name] = None
            if len(kept) > room:
                kept.popitem(last=False)
    return hits / len(trace)


def zipf(names: int, length: int, exponent: float) -> list[int]:
    return random.Random(7).choices(range(names), [1 / (rank + 1) ** exponent for rank in range(names)], k=length)


def test_on_a_zipf_trace_it_hits_more_often_than_lru() -> None:
    for room, exponent in ((300, 0.8), (300, 1.0), (1500, 0.8)):
        trace = zipf(15_000, 30_000, exponent)
        ours, lru = hit_ratio(MemoryStore(room * WEIGHT, FakeClock()), trace), lru_ratio(room, trace)
        assert ours > lru + 0.015, f"room {room}, exponent {exponent}: {ours:.3f} against {lru:.3f}"


def ask(store: MemoryStore, slot: bytes) -> bool:
    if store.get(slot) is not None:
        return True
    store.put(slot, VALUE, about_now(0.0, ttl=1e12))
    return False


def test_a_scan_of_entries_used_once_does_not_flush_the_hot_ones() -> None:
    store = MemoryStore(400 * WEIGHT, FakeClock())
    for _ in range(8):
        for n in range(200):
            ask(store, slot_of(n))
    for n in range(1000):
        assert not ask(store, slot_of(("scan", n)))
    assert sum(store.get(slot_of(n)) is not None for n in range(200)) >= 140
    assert lru_ratio(400, [*range(200), *range(1000, 2000), *range(200)]) == 0, "a control: LRU loses them all"


def test_what_was_just_put_is_there_in_the_middle_of_a_scan() -> None:
    store = MemoryStore(400 * WEIGHT, FakeClock())
    for n in range(3000):
        ask(store, slot_of(n % 200))
        store.put(slot_of(("scan", n)), VALUE, about_now(0.0, ttl=1e12))
        assert store.get(slot_of(("scan", n))) == VALUE


def test_hot_entries_outlive_an_endless_scan_in_which_lru_loses_them() -> None:
    store = MemoryStore(400 * WEIGHT, FakeClock())
    trace = [
        n // 5 % 200 if n % 5 == 0 else n + 1000 for n in range(30_000)
    ]  # each of 200 comes back every 1000 requests
    hits = sum(ask(store, slot_of(name)) for name in trace)
    assert hits > 0.6 * 6000
    assert lru_ratio(400, trace) == 0


def test_hits_in_the_window_teach_the_main_region() -> None:
    store = MemoryStore(80 * WEIGHT, FakeClock())
    for n in range(300):  # a full main region of entries that were asked for twice
        for _ in range(2):
            if store.get(slot_of(n)) is None:
                store.put(slot_of(n), VALUE, about_now(0.0, ttl=1e12))
    store.put(slot_of("loved"), VALUE, about_now(0.0, ttl=1e12))
    for _ in range(8):
        assert store.get(slot_of("loved")) == VALUE
    for n in range(40):  # push it out of the window
        store.put(slot_of(("push", n)), VALUE, about_now(0.0, ttl=1e12))
    assert store.get(slot_of("loved")) == VALUE


def test_an_expired_entry_gives_its_bytes_back() -> None:
    clock = FakeClock()
    store = MemoryStore(100_000, clock)
    store.put(slot_of(1), VALUE, about_now(clock(), ttl=5))
    clock.advance(6)
    assert store.get(slot_of(1)) is None
    assert store.volume().used_bytes == 0


def test_what_is_offered_is_kept_at_once_while_there_is_room_and_when_it_is_asked_for_again() -> None:
    store = MemoryStore(100 * WEIGHT, FakeClock())
    for name in range(80):
        store.offer(slot_of(name), VALUE, about_now(0.0, ttl=1e12))
        assert store.get(slot_of(name)) == VALUE
    for name in range(80, 200):
        store.put(slot_of(name), VALUE, about_now(0.0, ttl=1e12))
    before = store.volume()
    store.offer(slot_of(500), VALUE, about_now(0.0, ttl=1e12))
    assert store.get(slot_of(500)) is None
    assert store.volume() == before, "nothing had to go for it"
    store.offer(slot_of(500), VALUE, about_now(0.0, ttl=1e12))
    assert store.get(slot_of(500)) == VALUE
    for name in range(600, 600 + 2 * before.entries):
        store.offer(slot_of(name), VALUE, about_now(0.0, ttl=1e12))
    store.offer(slot_of(600), VALUE, about_now(0.0, ttl=1e12))
    assert store.get(slot_of(600)) is None, "what was offered so long ago is forgotten"


def test_being_choosy_costs_no_hits_and_spares_those_of_the_hot_from_a_scan() -> None:
    rng = random.Random(7)
    zipf = rng.choices(range(3000), [1 / (rank + 1) for rank in range(3000)], k=20_000)
    scan = [rng.randrange(200) if rng.random() < 0.5 else 1000 + number for number in range(20_000)]
    for trace, gain in ((zipf, 0.01), (scan, 0.02)):
        taken, plain = MemoryStore(250 * WEIGHT, FakeClock()), MemoryStore(250 * WEIGHT, FakeClock())
        assert hit_ratio(taken, trace, offered=True) >= hit_ratio(plain, trace) + gain
