"""Storms on shared stores: exchanges cut off at random moments, and three gateways whose cluster loses a primary."""

from __future__ import annotations

import asyncio
import json
import os
import random
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from store_faults import about_now, value_of
from tests.support.echo_upstream import EchoUpstream, misread
from tests.support.fault_proxy import fault_proxy
from tests.support.gateway import GatewayChild
from tests.support.raw_client import RawClient
from tests.support.servers import memcached, redis_cluster, redis_server

from payonce.errors import StoreError
from payonce.stores import parcel
from payonce.stores.links import Pool
from payonce.stores.memcached import MemcachedMedium
from payonce.stores.memcached_url import read_place as memcached_place
from payonce.stores.redis import RedisMedium
from payonce.stores.redis_link import RedisLink
from payonce.stores.redis_url import read_place as redis_place
from payonce.stores.shared_medium import Medium, Parcel, StoreFault
from payonce.testing.contract import slot_of

READS = int(os.environ.get("PAYONCE_STORM", "12000"))
NAMES = 40
THREADS = 12


def storm(medium: Medium, reads: int) -> Counter[str]:
    """`reads` reads, writes and polls in threads, each with a deadline that may come in the middle of its answer."""
    packed = {name: parcel.pack(value_of(name), about_now(time.time()), 1) for name in range(NAMES)}
    while medium.write({slot_of(n): Parcel(data, 1000.0) for n, data in packed.items()}, time.monotonic() + 5):
        pass
    seen: Counter[str] = Counter()
    lock = threading.Lock()

    def work(seed: int) -> None:
        dice = random.Random(seed)
        mine: Counter[str] = Counter()
        for _ in range(reads // THREADS):
            names = dice.sample(range(NAMES), dice.choice([1, 1, 1, 5]))
            hurry = dice.random() < 0.3
            deadline = time.monotonic() + (dice.uniform(0.0005, 0.004) if hurry else 5.0)
            try:
                draw = dice.random()
                if draw < 0.1:
                    medium.write({slot_of(n): Parcel(packed[n], 1000.0) for n in names}, deadline)
                elif draw < 0.15:
                    medium.epochs(deadline)
                else:
                    for name, found in zip(names, medium.read([slot_of(n) for n in names], deadline), strict=True):
                        if isinstance(found, StoreFault):
                            mine["cut off"] += 1
                        else:
                            mine["right" if found == packed[name] else "absent" if found is None else "wrong"] += 1
            except StoreError:
                mine["cut off"] += 1
        with lock:
            seen.update(mine)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


def unbreakable(medium: RedisMedium | MemcachedMedium) -> None:
    """A storm is to be felt by connections, not to be sat out."""
    nodes = medium.wire.nodes(time.monotonic() + 5) if isinstance(medium, RedisMedium) else medium.nodes
    for node in nodes:
        node.breaker.failed = lambda because: None  # type: ignore[method-assign]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["redis", "memcached"])
def test_exchanges_that_are_cut_off_at_random_moments_never_show_another_slots_value(
    engine: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(redis_server(tmp_path) if engine == "redis" else memcached(tmp_path))
        proxy = stack.enter_context(fault_proxy(server.port))
        rest = f"//127.0.0.1:{proxy.port}"
        medium = (
            RedisMedium(redis_place(rest, "single", tls=False))
            if engine == "redis"
            else MemcachedMedium(memcached_place(rest))
        )
        stack.callback(medium.close)
        unbreakable(medium)
        proxy.latency = (0.0, 0.003)
        seen = storm(medium, READS)
        assert seen["wrong"] == seen["absent"] == 0, seen
        assert seen["cut off"] > READS // 10, "the storm is one"
        assert seen["right"] > READS // 3
        [node] = medium.wire.nodes(time.monotonic() + 5) if isinstance(medium, RedisMedium) else medium.nodes
        assert node.pool.counts[0] == 0, "no connection is lost"
        assert node.pool.counts[1] <= 8


@pytest.mark.slow
def test_a_control_the_storm_sees_connections_that_are_handed_on_with_an_unread_reply(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def done(self: Pool[RedisLink], link: RedisLink | None, whole: bool) -> None:
        with self._lock:
            self._used -= 1
            if link is not None:
                self._idle.append(link)

    monkeypatch.setattr(Pool, "_done", done)
    monkeypatch.setattr(RedisLink, "is_quiet", lambda self: True)
    with redis_server(tmp_path) as server, fault_proxy(server.port) as proxy:
        medium = RedisMedium(redis_place(f"//127.0.0.1:{proxy.port}", "single", tls=False))
        unbreakable(medium)
        proxy.latency = (0.0, 0.003)
        seen = storm(medium, 3000)
        for node in medium.wire.nodes(time.monotonic() + 5):
            node.pool.forget_idle()
        medium.close()
    assert seen["wrong"] + seen["absent"] > 50, seen


# ------------------------------------------------------------------------------------------- three gateways, a cluster

PATH = "/api/v1/chat/completions"


async def ask(client: RawClient, prompt: str, seen: Counter[str]) -> bool:
    """One request; whether it was a hit."""
    body = {"model": "m", "temperature": 0, "messages": [{"role": "user", "content": prompt}]}
    answer = await asyncio.wait_for(client.post(PATH, json.dumps(body).encode(), {"authorization": "Bearer k"}), 20)
    if answer.status != 200 or not answer.whole:
        seen["error"] += 1
    elif misread(answer.content(), "Bearer k", prompt):
        seen["wrong"] += 1
    else:
        seen["right"] += 1
    return answer.fields.get("x-openrouter-cache-status") == "HIT"


@pytest.mark.slow
async def test_three_gateways_on_a_cluster_that_loses_a_primary_under_load_have_no_errors(tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    upstream = EchoUpstream(delay=0.001)
    await upstream.start()
    with ExitStack() as stack:
        cluster = stack.enter_context(redis_cluster(tmp_path / "cluster", node_timeout=2000))
        options = ["--store", cluster.url, "--upstream", f"http://127.0.0.1:{upstream.port}/api/v1", "--cache", "all"]
        secret = {"PAYONCE_SECRET_FILE": str(tmp_path / "secret"), "PAYONCE_MEMORY_BYTES": "65536"}
        children = await asyncio.gather(
            *(asyncio.to_thread(GatewayChild(tmp_path, *options, "--port", "0", **secret).__enter__) for _ in range(3))
        )
        for child in children:
            stack.push(child)
        seen: Counter[str] = Counter()
        stop = asyncio.Event()

        async def client(number: int) -> None:
            dice, link = random.Random(number), RawClient(children[number % 3].port)
            while not stop.is_set():
                await ask(link, f"load {dice.randrange(400)}", seen)
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), 0.1)
            link.leave()

        async def hits(name: str) -> bool:
            """Whether entries on every node are stored by one gateway and found by another: of 24, those on a node
            that is away are about 8."""
            one, two = (RawClient(child.port) for child in children[:2])
            prompts = [f"{name} {number}" for number in range(24)]
            for prompt in prompts:
                await ask(one, prompt, seen)
            found = [await ask(two, prompt, seen) for prompt in prompts]
            one.leave()
            two.leave()
            return sum(found) >= 20

        clients = [asyncio.create_task(client(number)) for number in range(64)]
        assert await within(10, hits, "before")
        cluster.nodes[1].kill()
        killed = time.monotonic()
        assert await within(2 + 5 + 3, hits, "after")
        took = time.monotonic() - killed
        stop.set()
        await asyncio.gather(*clients)
    await upstream.stop()
    assert seen["error"] == seen["wrong"] == 0, seen
    assert seen["right"] > 500
    assert took < 2 + 5, f"hits again after {took:.1f} s"


async def within(seconds: float, holds, name: str) -> bool:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        number += 1
        if await holds(f"{name} {number}"):
            return True
    return False
