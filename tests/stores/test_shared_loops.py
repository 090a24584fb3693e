"""Shared stores read on an event loop, on real servers: without a thread, whole, and after a cluster has moved."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest
from store_faults import about_now
from tests.support.servers import memcached, redis_cluster, redis_server

from payonce.errors import NoneIdleError
from payonce.stores.redis import RedisMedium
from payonce.stores.redis_map import Map
from payonce.stores.registry import open_store
from payonce.stores.shared import UNPACK_BYTES, SharedStore
from payonce.testing.contract import slot_of

pytestmark = pytest.mark.usefixtures("patient")


@pytest.mark.parametrize("engine", ["redis", "memcached"])
async def test_a_store_is_read_without_a_thread_as_soon_as_there_is_a_connection(engine: str, tmp_path: Path) -> None:
    with (
        redis_server(tmp_path) if engine == "redis" else memcached(tmp_path) as server,
        closing(open_store(server.url)) as store,
    ):
        values = {slot_of(number): bytes([number]) * 3000 for number in range(100)}
        for slot, value in values.items():
            store.put(slot, value, about_now(time.time()))
        assert await asyncio.to_thread(store.flush)
        assert await store.get_soon([slot_of(0)]) is None, "a thread reads, until the keeper has connected"
        async with asyncio.timeout(30):
            while await store.get_soon([slot_of(0)]) is None:
                await asyncio.to_thread(store.epochs)
        before = {thread.name for thread in threading.enumerate()}
        found = await asyncio.gather(*(store.get_soon([slot]) for slot in values))
        assert [value for [value] in found] == list(values.values())
        assert await store.get_soon(list(values)) == list(values.values())
        assert {thread.name for thread in threading.enumerate()} <= before
        asked = [store.ask_for(slot) for slot in values]
        assert [
            store.answered(slot, await one) for slot, one in zip(values, asked, strict=True) if one is not None
        ] == list(values.values()), "many are asked for in one moment, and each is told its own"
        assert {thread.name for thread in threading.enumerate()} <= before
        server.freeze()
        store.pace(0.05)
        with pytest.raises(TimeoutError):
            await store.get_soon([slot_of(0)])
        asked = [store.ask_for(slot_of(0))]
        assert asked[0] is not None
        with pytest.raises(TimeoutError):
            store.answered(slot_of(0), await asked[0])
        server.thaw()


def test_a_frozen_server_says_nothing_from_the_moment_that_freeze_returns(tmp_path: Path) -> None:
    """The control of all tests that freeze one: without the wait in `freeze`, memcached answers in one of ten."""
    with memcached(tmp_path) as server, socket.create_connection(("127.0.0.1", server.port)) as sock:
        for _ in range(100):
            server.freeze()
            sock.settimeout(0.005)
            sock.sendall(b"mn\r\n")
            with pytest.raises(TimeoutError):
                sock.recv(4)
            server.thaw()
            sock.settimeout(10)
            assert sock.recv(4) == b"MN\r\n"


async def reading(store: SharedStore, slots: Sequence[bytes]) -> None:
    """Wait until the loop has a connection to every server."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if await store.get_soon(slots) is not None:
            return
        await asyncio.to_thread(store.epochs)
    pytest.fail("the keeper makes no connection")


async def test_large_values_come_whole_and_do_not_hold_up_others(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server, closing(open_store(server.url)) as opened:
        store = cast("SharedStore", opened)
        values = {slot_of(size): random.Random(size).randbytes(size) for size in (10, 70_000, 600_000, 3_000_000)}
        for slot, value in values.items():
            store.put(slot, value, about_now(time.time()))
        assert await asyncio.to_thread(store.flush)
        await reading(store, list(values))
        assert await store.get_soon(list(values)) == list(values.values())
        found = await asyncio.gather(*(store.get_soon([slot]) for slot in [*values] * 5))
        assert [value for [value] in found] == [*values.values()] * 5  # type: ignore[misc]
        for slot, value in values.items():
            later = store.ask_for(slot)
            assert later is not None
            answer = await later
            if len(value) > UNPACK_BYTES:
                with pytest.raises(NoneIdleError):
                    store.answered(slot, answer)
            assert await asyncio.to_thread(store.answered, slot, answer, in_thread=True) == value


async def test_a_cluster_that_has_moved_a_slot_is_followed_on_the_loop_and_in_threads(tmp_path: Path) -> None:
    with redis_cluster(tmp_path) as cluster, closing(open_store(cluster.url)) as opened:
        store = cast("SharedStore", opened)
        values = {slot_of(number): b"%d" % number for number in range(30)}
        for slot, value in values.items():
            store.put(slot, value, about_now(time.time()))
        assert await asyncio.to_thread(store.flush)
        await reading(store, list(values))
        wire = store._live.medium.wire  # type: ignore[attr-defined]
        true = wire._map
        for slot, value in values.items():
            wire._map = Map(true.nodes, [next(iter(true.nodes.values()))] * len(true.slots))
            found = await store.get_soon([slot])
            assert found in (None, [value])
            assert await asyncio.to_thread(store.get, slot) == value
            wire._map = Map(true.nodes, [next(iter(true.nodes.values()))] * len(true.slots))
            assert await asyncio.to_thread(store.get_many, [slot]) == [value]


async def test_a_loop_that_asks_a_node_which_has_lost_its_slots_leaves_it_to_a_thread(tmp_path: Path) -> None:
    with redis_cluster(tmp_path) as cluster, closing(open_store(cluster.url)) as opened:
        store = cast("SharedStore", opened)
        await asyncio.to_thread(store.epochs)
        await reading(store, [slot_of(number) for number in range(30)])
        medium = store._live.medium
        assert isinstance(medium, RedisMedium)
        name = medium._gets([slot_of(1)], medium._generation(time.monotonic() + 5))[0][0]
        true = medium.wire._map
        wrong = next(node for node in true.nodes.values() if node is not true.node(name) and node.lanes.here())
        medium.wire._map = Map(true.nodes, [wrong] * len(true.slots))
        later = store.ask_for(slot_of(1))
        assert later is not None
        answer = await later
        with pytest.raises(NoneIdleError):
            store.answered(slot_of(1), answer)
        assert medium.wire._map.node(name) is true.node(name), "the map is corrected"
        medium.wire._map = Map(true.nodes, [wrong] * len(true.slots))
        assert await store.get_soon([slot_of(1)]) is None, "the map is corrected, and a thread asks"
        assert medium.wire._map.node(name) is true.node(name)


def test_a_value_too_large_for_redis_is_skipped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RedisMedium, "largest", 1000)
    with redis_server(tmp_path) as server, closing(open_store(server.url)) as store:
        assert store.put(slot_of("large"), random.Random(1).randbytes(5000), about_now(time.time()))
        assert not store.flush()
        assert store.get(slot_of("large")) is None
        assert store.dropped() == {"entry-too-large": 1}
        assert store.put(slot_of("words"), b"words " * 1000, about_now(time.time())), "it is small once compressed"
        assert store.flush()
        assert store.get(slot_of("words")) == b"words " * 1000
