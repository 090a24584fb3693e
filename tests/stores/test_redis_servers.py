"""A Redis store on real servers: few rights, lost books, failover, many entries, and nothing that blocks."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from store_faults import about_now, value_of
from tests.support.gateway import until
from tests.support.sentinels import watched
from tests.support.servers import REDIS, VALKEY, Cluster, RedisServer, redis_cluster, redis_server

from payonce.model.ports import Rationing, Store
from payonce.model.quota import Quota, Quotas
from payonce.stores.memory import MemoryStore
from payonce.stores.redis import open_redis
from payonce.stores.registry import open_store
from payonce.testing import FakeClock, StoreContract
from payonce.testing.contract import slot_of

pytestmark = pytest.mark.usefixtures("patient")
OURS = 15.0
"""Seconds that may pass after a replica was promoted: our own pauses are five at most, and a machine may be busy."""
OPERATORS = Path(__file__).parents[2] / "docs" / "operators.md"


def rights() -> list[str]:
    """The rights that the page for operators says are enough."""
    found = re.search(r"ACL SETUSER payonce on >\S+ (.+)", OPERATORS.read_text())
    assert found is not None
    return found[1].split()


@pytest.mark.parametrize("kind", [VALKEY, REDIS])
class TestFewRights(StoreContract):
    """The whole contract, as a user that has only the documented rights."""

    @pytest.fixture(autouse=True)
    def _server(self, kind: str, tmp_path: Path) -> Iterator[None]:
        with redis_server(tmp_path, kind=kind) as server:
            server.say("ACL", "SETUSER", "payonce", "on", ">few", *rights())
            server.say("ACL", "SETUSER", "default", "off")
            self.url = f"redis://payonce:few@127.0.0.1:{server.port}"
            yield

    def open(self) -> Store:
        return open_store(self.url, clock=self.clock)

    def shared(self, store: Store) -> Store:
        return self.open()


def test_the_few_rights_are_few(server: RedisServer) -> None:
    server.say("ACL", "SETUSER", "payonce", "on", ">few", *rights())
    for command in (("KEYS", "*"), ("FLUSHALL",), ("EVAL", "return 1", 0), ("CONFIG", "GET", "*"), ("GET", "other")):
        with pytest.raises(Exception, match=r"(?i)permission|NOPERM"):
            server.say(*command, username="payonce", password="few")


def test_entries_expire_by_the_server_and_large_ones_are_compressed(server: RedisServer) -> None:
    with closing(open_store(server.url)) as store:
        now = time.time()
        store.put(slot_of("text"), b"words " * 2000, about_now(now, ttl=1000))
        assert store.flush()
        client = server.client()
        [name] = client.scan_iter(match="payonce:e:*")
        assert 990_000 < client.pttl(name) <= 1_000_000
        assert client.strlen(name) < 1000
        client.close()
        assert store.get(slot_of("text")) == b"words " * 2000


def test_what_was_purged_stays_purged_when_the_book_is_lost(server: RedisServer) -> None:
    with closing(open_store(server.url)) as one, closing(open_store(server.url)) as two:
        one.put(slot_of("a"), b"a", about_now(time.time()))
        assert one.flush()
        assert one.raise_epoch("model:m") == 1
        assert dict(two.epochs()) == {"model:m": 1}
        assert two.get(slot_of("a")) == b"a", "the store keeps it; its reader knows that it is purged"
        server.say("DEL", "payonce:book")
        assert dict(two.epochs()) == {"model:m": 1}, "whoever knew it knows it still"
        assert two.get(slot_of("a")) is None, "what is older than the new book can't be found"
        with closing(open_store(server.url)) as late:
            assert dict(late.epochs()) == {"model:m": 1}, "and has told the others"
            assert late.get(slot_of("a")) is None
        assert one.raise_epoch("model:m") == 2, "no count is ever given twice"


def test_a_count_that_failed_over_to_less_is_given_back(server: RedisServer) -> None:
    with closing(open_store(server.url)) as store:
        for _ in range(3):
            store.raise_epoch("all")
        assert dict(store.epochs()) == {"all": 3}
        server.say("ZADD", "payonce:book", 1, "c:all")
        server.say("ZADD", "payonce:book", 1, "v")
        assert dict(store.epochs()) == {"all": 4}, "past what was known: another purge may have been counted on less"
        assert server.say("ZSCORE", "payonce:book", "c:all") == 4.0
        assert dict(store.epochs()) == {"all": 4}, "once"


def test_redis_counts_as_memory_does(server: RedisServer) -> None:
    import random

    dice = random.Random(5)
    clock = FakeClock()
    scopes = ["all", "before", "model:m", "tenant:t"]
    with closing(open_redis(server.url.removeprefix("redis:"), clock=clock, max_bytes=0)) as ours:
        model = MemoryStore(1 << 20, clock)
        for _ in range(300):
            scope = dice.choice(scopes)
            least = dice.choice([0, 0, dice.randrange(400), int(clock() * 1000) if scope == "before" else 0])
            assert ours.raise_epoch(scope, least) == model.raise_epoch(scope, least)
            clock.advance(dice.random() * 1000)
        assert dict(ours.epochs()) == dict(model.epochs())
        assert {name: int(at) for name, at in ours.raised().items()} == {
            name: int(at) for name, at in model.raised().items()
        }


def test_too_many_purged_keys_are_cut_off(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("payonce.stores.redis_book.MOST_KEY_SCOPES", 20)
    with closing(open_store(server.url)) as store:
        for number in range(60):
            store.raise_epoch(f"key:{number:064x}")
        store.epochs()
        with closing(open_store(server.url)) as fresh:
            assert len(fresh.epochs()) <= 21
            assert f"key:{59:064x}" in fresh.epochs(), "the latest are kept"


def test_a_count_of_many_names_is_an_estimate_in_few_steps(server: RedisServer) -> None:
    client = server.client()
    with closing(open_store(server.url)) as store:
        for number in range(4000):
            store.put(slot_of(number), value_of(number), about_now(time.time()))
            if number % 1000 == 999:
                assert store.flush(20)
        for start in range(0, 76_000, 4000):
            client.mset({f"others {number}": b"x" for number in range(start, start + 4000)})
        client.config_resetstat()
        volume = store.volume()
        calls = client.info("commandstats")["cmdstat_scan"]["calls"]
        assert calls <= 20
        assert 2500 < volume.entries < 6000
        assert len(list(store.rows())) == 4000, "a listing is whole"
        assert "cmdstat_keys" not in client.info("commandstats")
    client.close()


def test_purging_one_model_among_a_million_entries_touches_none_of_them(server: RedisServer) -> None:
    """How long it takes is measured by `python -m benchmarks purge`."""
    client = server.client()
    with closing(open_store(server.url)) as store:
        store.epochs()
        generation = int(server.say("ZSCORE", "payonce:book", "g"))
        for start in range(0, 1_000_000, 20_000):
            client.mset(
                {b"payonce:e:%013x:%064xw" % (generation, number): b"x" for number in range(start, start + 20_000)}
            )
        assert client.dbsize() > 1_000_000
        client.config_resetstat()
        store.raise_epoch("model:m")
        asked = {name: each["calls"] for name, each in client.info("commandstats").items()}
        assert client.dbsize() > 1_000_000
        assert dict(store.epochs()) == {"model:m": 1}
    client.close()
    assert asked.pop("cmdstat_zadd", 0) + asked.pop("cmdstat_zincrby", 0) >= 1, asked
    assert sum(asked.values()) < 30, asked
    assert not [name for name in asked if name.split("_")[1] in ("scan", "keys", "del", "unlink", "flushdb")], asked


# ---------------------------------------------------------------------------------------------------------- failover


def test_a_cluster_that_loses_a_primary_costs_misses_and_is_found_again(tmp_path: Path) -> None:
    with redis_cluster(tmp_path, node_timeout=1000) as cluster, closing(open_store(cluster.url)) as store:
        _fill(store, 300)
        assert _found(store, 300) == 300
        _kill_a_primary(cluster)
        assert until(lambda: any(_role(node) == b"master" for node in cluster.nodes[3:]), 30), "the cluster's own part"
        replaced = time.monotonic()
        assert until(lambda: _keeps(store), 30), "it works again"
        assert time.monotonic() - replaced < OURS
        assert _found(store, 300) >= 290, "replicas had nearly everything"
        assert store.trouble() == ""


def _kill_a_primary(cluster: Cluster) -> None:
    cluster.nodes[0].kill()


def _role(node: RedisServer) -> bytes:
    return bytes(node.say("ROLE")[0])


def _fill(store: Store, count: int) -> None:
    for number in range(count):
        assert store.put(slot_of(number), value_of(number), about_now(time.time()))
    assert store.flush()


def _found(store: Store, count: int) -> int:
    """How many are found; a wrong one fails."""
    found = 0
    for number in range(count):
        value = _get(store, number)
        assert value in {None, value_of(number)}
        found += value is not None
    return found


def _get(store: Store, name: object) -> bytes | None:
    from payonce.errors import StoreError

    try:
        return store.get(slot_of(name))
    except StoreError:
        return None


def _keeps(store: Store) -> bool:
    """Whether new entries in every part of a cluster are kept and found."""
    names = [f"new {time.monotonic_ns()} {number}" for number in range(40)]
    kept = [store.put(slot_of(name), value_of(name), about_now(time.time())) for name in names]
    store.flush(0.5)
    if not all(kept):
        return False
    with closing(open_store(store_url(store))) as other:
        return all(_get(other, name) == value_of(name) for name in names)


def store_url(store: Store) -> str:
    return store._name


def test_a_primary_behind_sentinels_that_dies_is_replaced(tmp_path: Path) -> None:
    with watched(tmp_path) as servers, closing(open_store(servers.url)) as store:
        _fill(store, 50)
        assert until(servers.is_level, 30)
        assert until(lambda: _found(store, 50) == 50, 20)
        servers.primary.kill()
        assert until(lambda: _found(store, 50) == 50, 20)
        assert store.put(slot_of("after"), b"failover", about_now(time.time()))
        assert store.flush()
        assert store.get(slot_of("after")) == b"failover"


def test_quotas_are_counted_with_the_few_rights(server: RedisServer) -> None:
    server.say("ACL", "SETUSER", "payonce", "on", ">few", *rights())
    with closing(open_store(f"redis://payonce:few@127.0.0.1:{server.port}")) as store:
        assert isinstance(store, Rationing)
        store.ration(Quotas(Quota(entries=3)))
        for number in range(9):
            store.put(slot_of(number), b"x", about_now(time.time()))
            assert store.flush()
        assert [held.entries for held in store.holdings(5)] == [3]
        assert store.dropped() == {"over-quota": 6}
