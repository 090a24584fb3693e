"""Tenants on one store: a fair share survives whatever the others do, and nobody holds more than a quota allows."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_faults import about_now, slot_of

from payonce.model.ports import Store
from payonce.model.quota import Holding, Quota, Quotas, fullness, near
from payonce.stores.fairness import Heaviest, cuts
from payonce.stores.memory import OVERHEAD, WINDOW_SHARE, MemoryStore
from payonce.stores.sqlite import SqliteStore
from payonce.stores.write_queue import ROW_OVERHEAD
from payonce.testing import FakeClock

SIZE = 1000


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 10_000), min_size=1, max_size=12), st.integers(1, 50_000))
def test_cuts_give_what_is_needed_from_the_top_and_touch_no_fair_share(held: dict[str, int], need: int) -> None:
    given_up = cuts(held, need)
    total = sum(held.values())
    assert sum(given_up.values()) >= min(need, total)
    assert all(0 < given_up[tenant] <= held[tenant] for tenant in given_up)
    assert sum(given_up.values()) < need + len(held), "no more than rounding asks for"
    left = {tenant: size - given_up.get(tenant, 0) for tenant, size in held.items()}
    assert all(left[tenant] == max(left.values()) for tenant in given_up), "down to one level"
    if need < total:
        share = (total - need) // len(held)
        assert all(left[tenant] == size for tenant, size in held.items() if size <= share)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(-500, 500)), max_size=300))
def test_the_heaviest_is_found_whatever_was_added_and_taken(steps: list[tuple[str, int]]) -> None:
    heaviest = Heaviest()
    truth: Counter[str] = Counter()
    for tenant, size in steps:
        size = max(size, -truth[tenant])
        truth[tenant] += size
        heaviest.add(tenant, size)
        most = max(truth.values())
        assert heaviest.top()[1] == most
        assert truth[heaviest.top()[0]] == most


@contextmanager
def memory(limit: int) -> Iterator[Store]:
    with closing(MemoryStore(limit, FakeClock())) as store:
        yield store


@contextmanager
def sqlite(limit: int) -> Iterator[Store]:
    with TemporaryDirectory() as folder, closing(SqliteStore(Path(folder) / "p.db", limit, FakeClock())) as store:
        yield store


STORES = [
    pytest.param(memory, SIZE + 33 + OVERHEAD, id="memory"),
    pytest.param(sqlite, SIZE + ROW_OVERHEAD, id="sqlite"),
]
Opening = Callable[[int], "contextmanager[Store]"]


def survivors(store: Store, rivals: list[int], mine: int, seed: int, as_tenant: Callable[[str], str]) -> int:
    """A victim puts `mine` entries; rivals then put so many each, in any order, asking for some of theirs: how many of
    the victim's are left. `as_tenant` is under which tenant the store is told that an entry is somebody's."""
    dice = random.Random(seed)
    for n in range(mine):
        store.put(slot_of(("victim", n)), b"v" * SIZE, about_now(1e9, 1e9, as_tenant("victim")))
    store.flush()
    turns = [rival for rival, count in enumerate(rivals) for _ in range(count)]
    dice.shuffle(turns)
    for number, rival in enumerate(turns):
        store.put(slot_of((rival, number)), b"r" * SIZE, about_now(1e9, 1e9, as_tenant(f"rival-{rival}")))
        for _ in range(dice.randrange(4)):
            store.get(slot_of((rival, dice.randrange(number + 1))))
    store.flush()
    return sum(store.get(slot_of(("victim", n))) is not None for n in range(mine))


@pytest.mark.parametrize(("opening", "weight"), STORES)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=4), st.floats(0.1, 1.0), st.integers(0, 1 << 30))
@settings(deadline=None, max_examples=25)
def test_what_is_within_a_fair_share_survives_whatever_the_others_do(
    opening: Opening, weight: int, rivals: list[int], part: float, seed: int
) -> None:
    room = 160
    share = (room - room // WINDOW_SHARE) // (len(rivals) + 1) - 1
    mine = max(1, int(share * part))
    with opening(room * weight) as store:
        assert survivors(store, rivals, mine, seed, lambda who: who) == mine
        volume = store.volume()
        assert volume.used_bytes <= volume.limit_bytes


@pytest.mark.parametrize(("opening", "weight"), STORES)
def test_a_store_that_is_blind_to_tenants_would_lose_the_victims_entries(opening: Opening, weight: int) -> None:
    """A control: the same rivals, of whom the store is told that they are the victim too."""
    with opening(160 * weight) as store:
        assert survivors(store, [1600], 60, 7, lambda _who: "all the same") < 30
    with opening(160 * weight) as store:
        assert survivors(store, [1600], 60, 7, lambda who: who) == 60, "told apart, ten times the store costs nothing"


@pytest.mark.parametrize(("opening", "weight"), STORES)
def test_a_tenant_alone_uses_the_whole_store(opening: Opening, weight: int) -> None:
    with opening(160 * weight) as store:
        for n in range(400):
            store.put(slot_of(n), b"x" * SIZE, about_now(1e9, 1e9))
        store.flush()
        assert store.volume().entries >= 150
        assert store.dropped()["evicted"] >= 240


@pytest.mark.parametrize(("opening", "weight"), STORES)
@given(st.integers(2, 30), st.integers(0, 1 << 30))
@settings(deadline=None, max_examples=15)
def test_a_quota_is_never_exceeded_and_concerns_nobody_else(
    opening: Opening, weight: int, most: int, seed: int
) -> None:
    dice = random.Random(seed)
    with opening(400 * weight) as store:
        store.ration(Quotas(Quota(entries=40), {"small": Quota(bytes=most * weight), "free": Quota()}))  # type: ignore[attr-defined]
        for n in range(200):
            who = dice.choice(("small", "other", "free"))
            store.put(slot_of((who, n)), b"x" * SIZE, about_now(1e9, 1e9, who))
        store.flush()
        held = {holding.tenant: holding for holding in store.holdings(5)}  # type: ignore[attr-defined]
        assert held["small"].used_bytes <= most * weight
        assert held["small"].entries == most
        assert held["other"].entries == 40
        assert held["free"].entries > 40
        assert store.dropped() == {"over-quota": 200 - sum(holding.entries for holding in held.values())}
        listed = Counter(row.about.tenant for row in store.rows())
        assert listed == {who: holding.entries for who, holding in held.items()}


def test_a_tenant_at_its_quota_loses_what_it_has_not_used_for_longest(tmp_path: Path) -> None:
    clock = FakeClock()
    with closing(SqliteStore(tmp_path / "p.db", 1 << 20, clock, touch_every=0.0)) as store:
        store.ration(Quotas(Quota(entries=3)))
        for name in "abc":
            store.put(slot_of(name), b"x", about_now(clock()))
            store.flush()
            clock.advance(10)
        assert store.get(slot_of("a")) == b"x"
        clock.advance(10)
        for name in "de":
            store.put(slot_of(name), b"x", about_now(clock()))
            store.flush()
        assert [name for name in "abcde" if store.get(slot_of(name))] == ["a", "d", "e"]


def test_a_quota_holds_for_all_processes_that_write_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "p.db"
    with closing(SqliteStore(path, 1 << 20)) as one, closing(SqliteStore(path, 1 << 20)) as two:
        for store in (one, two):
            store.ration(Quotas(Quota(entries=10)))
        for n in range(60):
            (one, two)[n % 2].put(slot_of(n), b"x", about_now(1e10))
        assert one.flush()
        assert two.flush()
        assert one.holdings(5) == two.holdings(5) == [Holding("tenant", 10, 10 * (1 + ROW_OVERHEAD))]


def test_a_file_from_before_tenants_were_counted_is_counted_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "p.db"
    with closing(SqliteStore(path, 1 << 20)) as store:
        for n in range(30):
            store.put(slot_of(n), b"x" * n, about_now(1e10, tenant=f"t{n % 3}"))
        assert store.flush()
        expected = store.holdings(5)
    with closing(apsw.Connection(str(path))) as db:
        db.execute("DROP TABLE tenants; DROP TRIGGER held; DROP TRIGGER released; DROP INDEX by_tenant").fetchall()
        db.execute("CREATE INDEX by_use ON entries(used_at)").fetchall()
    with closing(SqliteStore(path, 1 << 20)) as store:
        assert store.holdings(5) == expected
        assert len(expected) == 3
        store.put(slot_of("new"), b"", about_now(1e10, tenant="t9"))
        assert store.flush()
        assert {holding.tenant for holding in store.holdings(5)} == {"t0", "t1", "t2", "t9"}
        assert store.dropped() == {}


def test_the_books_hold_only_tenants_that_hold_something(tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path / "p.db", 200_000)) as store, closing(MemoryStore(400_000)) as quick:
        for each in (store, quick):
            for n in range(2000):
                each.put(slot_of(n), b"x" * 100, about_now(1e10, tenant=f"tenant {n}"))
            each.flush()
            assert len(each.holdings(5000)) == each.volume().entries < 600  # type: ignore[attr-defined]
        for n in range(2000):
            quick.delete(slot_of(n))
        assert list(quick.holdings(10)) == []


def test_those_near_their_quota_are_few_and_the_fullest_first() -> None:
    quotas = Quotas(Quota(bytes=1000), {"big": Quota(entries=10), "free": Quota()})
    holdings = [Holding("a", 1, 799), Holding("b", 1, 900), Holding("big", 12, 10**9), Holding("free", 1, 10**12)]
    assert [(held.tenant, share) for held, share in near(holdings, quotas)] == [("big", 1.2), ("b", 0.9)]
    assert len(near([Holding(str(n), 1, 1000) for n in range(1000)], quotas)) == 20
    assert fullness(Holding("free", 10**9, 10**9), Quota()) == 0.0
