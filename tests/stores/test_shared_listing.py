"""Listing and counting on servers with many entries: a bounded part is looked at, in steps that block nobody."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
from store_faults import about_now
from tests.support.servers import Cluster, RedisServer, memcached, redis_cluster, redis_server

from payonce.model.ports import Row
from payonce.stores import parcel
from payonce.stores.registry import open_store
from payonce.stores.shared import SharedStore
from payonce.stores.shared_listing import LOOKED_AT
from payonce.stores.shared_medium import Parcel

pytestmark = pytest.mark.usefixtures("patient")
ENTRIES = LOOKED_AT + 25_000


def slot(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest() + b"w"


@pytest.fixture(scope="module", params=["valkey", "cluster", "memcached"])
def full(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[SharedStore, list[RedisServer]]]:
    """A store with many entries, and the servers that can tell what they were asked."""
    folder = tmp_path_factory.mktemp("many")
    kinds = {"valkey": redis_server, "cluster": redis_cluster, "memcached": memcached}
    with ExitStack() as stack:
        server = stack.enter_context(kinds[request.param](folder))
        store = stack.enter_context(closing(open_store(server.url)))
        assert isinstance(store, SharedStore)
        now = time.time()
        for start in range(0, ENTRIES, 5000):
            parcels = {}
            for number in range(start, min(start + 5000, ENTRIES)):
                about = about_now(now, tenant=f"t{number % 10}")
                parcels[slot(number)] = Parcel(parcel.pack(b"x" * 20, about, 1 + number), 1000.0)
            assert not store._live.medium.write(parcels, time.monotonic() + 60)
        nodes = server.nodes if isinstance(server, Cluster) else [server] if isinstance(server, RedisServer) else []
        yield store, nodes


def test_a_glance_looks_at_a_part_and_shows_the_newest_of_it(
    full: tuple[SharedStore, list[RedisServer]],
) -> None:
    store, _ = full
    shown = store.glance(lambda row: row.about.tenant == "t7", 40)
    assert LOOKED_AT * 0.8 <= shown.looked <= LOOKED_AT * 1.2 + 3000
    assert len(shown.rows) == 40
    numbers = {slot(number): number for number in range(ENTRIES)}
    found = [numbers[row.slot] for row in shown.rows]
    assert found == sorted(found, reverse=True), "newest first"
    assert all(number % 10 == 7 for number in found)
    assert found[0] > ENTRIES * 0.9


def test_the_count_is_near_and_no_command_looks_at_everything(full: tuple[SharedStore, list[RedisServer]]) -> None:
    store, nodes = full
    for node in nodes:
        node.say("CONFIG", "RESETSTAT")
    assert 0.8 < store.volume().entries / ENTRIES < 1.25
    store.glance(lambda _row: True, 10)
    for node in nodes:
        asked = {name.removeprefix("cmdstat_") for name in _stats(node)}
        assert not asked & {"keys", "flushall", "eval", "sort", "smembers", "hgetall"}
        assert _stats(node).get("cmdstat_scan", 0) < 100, "so many steps at most"


def test_everything_is_listed_where_that_is_asked_for(full: tuple[SharedStore, list[RedisServer]]) -> None:
    store, _ = full
    rows: list[Row] = list(store.rows())
    assert len({row.slot for row in rows}) == len(rows)
    assert ENTRIES - 5 <= len(rows) <= ENTRIES, "memcached's crawler may pass over an item in use"


def _stats(node: RedisServer) -> dict[str, int]:
    return {name: stats["calls"] for name, stats in node.say("INFO", "commandstats").items()}
