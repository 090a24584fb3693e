"""Storms on shared stores: exchanges cut off at random moments."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from store_faults import about_now, value_of
from tests.support.fault_proxy import fault_proxy
from tests.support.servers import memcached, redis_server

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
        assert seen["cut off"] > READS // 20, "the storm is one"
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
