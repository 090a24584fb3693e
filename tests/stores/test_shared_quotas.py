"""Tenants on servers: each has as many entries as its quota allows, however many processes write, and no more."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_faults import about_now, slot_of
from tests.support.servers import REDIS, VALKEY, RedisServer, memcached, redis_cluster, redis_server

from payonce.model.ports import Notebook, Rationing, Store
from payonce.model.quota import Holding, Quota, Quotas
from payonce.model.scopes import of_tenant
from payonce.stores.breaker import Breaker
from payonce.stores.memcached_shares import Counts, bucket, living, moved
from payonce.stores.registry import open_store
from payonce.testing import FakeClock

pytestmark = pytest.mark.usefixtures("patient")
Opening = Callable[..., Store]


@pytest.fixture(scope="module", params=["valkey", "redis", "cluster", "memcached", "three memcacheds"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with ExitStack() as stack:
        if request.param == "cluster":
            yield stack.enter_context(redis_cluster(folder)).url
        elif "memcached" in request.param:
            servers = [stack.enter_context(memcached(folder)) for _ in range(3 if "three" in request.param else 1)]
            yield "memcached://" + ",".join(f"127.0.0.1:{server.port}" for server in servers)
        else:
            yield stack.enter_context(redis_server(folder, kind={"redis": REDIS}.get(request.param, VALKEY))).url


@pytest.fixture
def opening(url: str) -> Iterator[Opening]:
    """Opens the same place again and again, with a clock of its own and these quotas."""
    prefix = f"t{uuid.uuid4().hex[:8]}:"
    clock = FakeClock()
    with ExitStack() as stack:

        def opened(quotas: Quotas = Quotas(Quota(entries=10))) -> Store:  # noqa: B008 - frozen
            store = stack.enter_context(closing(open_store(f"{url}?prefix={prefix}", clock=clock)))
            assert isinstance(store, Rationing)
            store.ration(quotas)
            store.clock = clock  # type: ignore[attr-defined]
            return store

        yield opened


def put(store: Store, names: Iterator[object] | range | list[object], tenant: str, ttl: float = 3600.0) -> None:
    for name in names:
        store.clock.advance(0.5)  # type: ignore[attr-defined]
        store.put(slot_of((tenant, name)), b"x" * 40, about_now(store.clock(), ttl, tenant))  # type: ignore[attr-defined]
        assert store.flush() or store.dropped()


def held(store: Store, names: range, tenant: str) -> list[int]:
    return [name for name in names if store.get(slot_of((tenant, name))) is not None]


def holdings(store: Store) -> dict[str, int]:
    assert isinstance(store, Rationing)
    return {holding.tenant: holding.entries for holding in store.holdings(20)}


def test_a_tenant_has_no_more_entries_than_its_quota_and_the_others_keep_theirs(opening: Opening, url: str) -> None:
    store = opening(Quotas(Quota(entries=10), {"free": Quota(), "small": Quota(entries=2)}))
    put(store, range(8), "quiet")
    put(store, range(40), "loud", ttl=7200.0)
    put(store, range(30), "free")
    put(store, range(5), "small")
    assert held(store, range(8), "quiet") == list(range(8))
    assert held(store, range(30), "free") == list(range(30)), "a control: without a quota all are kept"
    assert len(held(store, range(40), "loud")) == 10
    assert len(held(store, range(5), "small")) == 2
    assert store.dropped() == {"over-quota": 33}
    assert holdings(store) == {"loud": 10, "quiet": 8, "small": 2}
    new = held(store, range(40), "loud")
    assert new == (list(range(10)) if url.startswith("memcached") else list(range(30, 40))), "old ones go; or new ones"


def test_the_same_entry_again_is_counted_once(opening: Opening) -> None:
    store = opening()
    for _ in range(6):
        put(store, range(5), "t")
    assert holdings(store) == {"t": 5}
    assert store.dropped() == {}
    put(store, range(5), "t", ttl=9 * 3600.0)
    put(store, range(5, 10), "t")
    assert held(store, range(10), "t") == list(range(10))
    assert holdings(store) == {"t": 10}


def test_what_has_expired_makes_room(opening: Opening) -> None:
    store = opening()
    put(store, range(10), "t", ttl=600.0)
    store.clock.advance(700)  # type: ignore[attr-defined]
    assert holdings(store) == {}
    put(store, range(10, 20), "t", ttl=600.0)
    assert held(store, range(10, 20), "t") == list(range(10, 20))
    assert store.dropped() == {}


@pytest.mark.parametrize("scope", ["all", of_tenant("t")])
def test_a_purge_of_all_or_of_a_tenant_makes_room_for_as_many_as_before(opening: Opening, scope: str) -> None:
    store, operator = opening(), opening()
    put(store, range(10), "t")
    put(store, range(100, 104), "u")
    for first in (10, 20, 10):  # the last are those of the first purge once more, which still stand there
        operator.raise_epoch(scope)
        assert store.epochs() == operator.epochs()
        assert holdings(store).get("t") is None
        put(store, range(first, first + 10), "t")
        assert held(store, range(first, first + 10), "t") == list(range(first, first + 10))
        assert holdings(store)["t"] == 10
        assert store.dropped() == {}
    put(store, range(20, 40), "t", ttl=7200.0)
    assert holdings(store)["t"] == 10, "and no more"
    assert sum(store.dropped().values()) == 20
    assert holdings(store).get("u") == (None if scope == "all" else 4)


def test_several_processes_that_write_at_once_leave_exactly_the_quota(opening: Opening) -> None:
    stores = [opening(Quotas(Quota(entries=25))) for _ in range(4)]
    flushed: list[bool] = []

    def work(number: int) -> None:
        for n in range(60):
            stores[number].put(slot_of((number, n)), b"x", about_now(stores[number].clock(), 3600.0 + n, "t"))  # type: ignore[attr-defined]
        flushed.append(stores[number].flush() or bool(stores[number].dropped()))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert flushed == [True] * 4
    left = sum(stores[0].get(slot_of((number, n))) is not None for number in range(4) for n in range(60))
    assert left == 25
    assert holdings(stores[1]) == {"t": 25}


def test_without_a_quota_nothing_is_counted(opening: Opening) -> None:
    store = opening(Quotas())
    put(store, range(12), "t")
    assert held(store, range(12), "t") == list(range(12))
    assert holdings(store) == {}
    assert holdings(opening()) == {}, "nor does anybody else see counts"


def test_where_nobody_holds_anything_no_server_is_waited_for(opening: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opening()
    assert dict(store.epochs()) == {}
    failed: list[str] = []
    monkeypatch.setattr(Breaker, "failed", lambda _self, because: failed.append(because))
    assert holdings(store) == {}
    assert failed == []


def test_a_server_that_refuses_to_count_still_keeps_entries(tmp_path_factory: pytest.TempPathFactory) -> None:
    with redis_server(tmp_path_factory.mktemp("narrow")) as server:
        rights = ("on", ">pw", "~payonce:*", "resetchannels", "+@all", "-zcard")
        server.say("ACL", "SETUSER", "narrow", *rights)
        with closing(open_store(f"redis://narrow:pw@127.0.0.1:{server.port}", clock=FakeClock())) as store:
            assert isinstance(store, Rationing)
            store.ration(Quotas(Quota(entries=1)))
            for n in range(5):
                store.put(slot_of(n), b"x", about_now(1e9, 1e12))
            assert store.flush()
            assert all(store.get(slot_of(n)) for n in range(5)), "fail open"


def test_the_books_of_tenants_are_bounded_and_expire(tmp_path_factory: pytest.TempPathFactory) -> None:
    with redis_server(tmp_path_factory.mktemp("books")) as server, closing(open_store(server.url)) as store:
        assert isinstance(store, Rationing)
        assert isinstance(store, Notebook)
        store.ration(Quotas(Quota(entries=3)))
        for n in range(150):
            store.put(slot_of(n), b"x", about_now(2e9, 1e9, f"tenant-{n}"))
        assert store.flush()
        names = [name for name in _names(server) if b":q:" in name]
        assert len(names) == 151
        assert all(server.say("TTL", name) > 0 for name in names), "none of them outlives its entries for long"
        [board] = [name for name in names if name.endswith(b":")]
        assert server.say("ZCARD", board) == 100
        assert len(store.holdings(20)) == 20


def _names(server: RedisServer) -> list[bytes]:
    return list(server.say("KEYS", "*"))


@given(st.lists(st.tuples(st.integers(0, 12), st.floats(1, 400_000), st.floats(0, 5_000)), max_size=60))
def test_counts_by_expiry_are_those_of_the_living_entries(steps: list[tuple[int, float, float]]) -> None:
    """However entries come, come again and expire: what is counted is what lives, give or take the hour it ends in."""
    now, truth = 1e9, dict[int, float]()
    counts: Counts = {}
    for name, ttl, pause in steps:
        now += pause
        truth = {other: until for other, until in truth.items() if until > now}
        before = truth.get(name)
        counts = moved(living(counts, now), before, now + ttl, now)
        truth[name] = now + ttl
        total = sum(living(counts, now).values())
        ended = sum(now - 3600 < end - 3600 for end in counts)
        assert len(truth) <= total <= len(truth) + sum(counts.values()) * (ended > 0)
    assert sum(living(counts, 1e10).values()) == 0


def test_short_lives_are_counted_to_the_minute() -> None:
    assert [bucket(1000.0 * 3600 + left, 1000.0 * 3600) - 1000 * 3600 for left in (1, 61, 10_000, 20_000)] == [
        60,
        120,
        10_020,
        21_600,
    ]
    assert Holding("t", 3).used_bytes == 0
