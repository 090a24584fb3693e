"""One way of getting an answer from Redis, measured on request: `python -m benchmarks.shared_worker ARM URL HOME`.

Each line of standard input is a number of seconds; the answer is one line: calls per second, and CPU microseconds of
one call. A bare client's arm gets a value of the very size that the server keeps for ours. Every answer is looked at.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import redis
import redis.asyncio

from benchmarks import bodies
from benchmarks import library_worker as library
from payonce import Settings
from payonce.drive.tiers import Tiers
from payonce.httpx2 import AsyncCacheTransport, CacheTransport
from payonce.intake import Admitted, Intake
from payonce.model.entry import Entry, Facts
from payonce.stores.memory import MemoryStore
from payonce.stores.registry import open_store

NAMES = 512
"""So many different answers are asked for in turn; the memory tier holds none of them, so each comes from Redis."""
_MEMORY_BYTES = 8192
_SECRET = bytes(range(32))
_BATCH = 64

Call = Callable[[int], Awaitable[bytes]]


def _settings(url: str, home: Path) -> Settings:
    return Settings(
        store=url,
        cache="all",
        ttl=86_400,
        memory_bytes=_MEMORY_BYTES,
        read_budget=1.0,
        secret_file=str(home / "secret"),
        upstream=(("", library.BASE),),
    )


def _body(number: int) -> bytes:
    return bodies.numbered(bodies.request_template(), number)


def _requests() -> list[httpx2.Request]:
    where = f"{library.BASE}/chat/completions"
    return [httpx2.Request("POST", where, headers=bodies.HEADERS, content=_body(number)) for number in range(NAMES)]


async def _fill(ask: Call, way: Any) -> None:
    """Ask until all of it is stored: then nothing reaches the upstream any more."""
    for turn in range(50):
        before = way.calls
        for number in range(NAMES):
            await ask(number)
        if way.calls == before and turn > 3:
            way.filled = way.calls
            return
        await asyncio.sleep(0.2)
    raise SystemExit("the answers are not stored")


async def hit_async(url: str, home: Path) -> Call:
    """A whole hit by the async transport."""
    way, requests = library.canned(httpx2), _requests()
    transport = AsyncCacheTransport(way, settings=_settings(url, home))

    async def call(number: int) -> bytes:
        body: bytes = await (await transport.handle_async_request(requests[number])).aread()
        return body

    await _fill(call, way)
    return call


async def hit_sync(url: str, home: Path) -> Call:
    """A whole hit by the sync transport."""
    way, requests = library.canned(httpx2), _requests()
    transport = CacheTransport(way, settings=_settings(url, home))

    async def call(number: int) -> bytes:
        body: bytes = transport.handle_request(requests[number]).read()
        return body

    await _fill(call, way)
    return call


def _tiers(url: str, home: Path) -> tuple[Tiers, list[Admitted]]:
    """Tiers over Redis that hold the answers, and the asks for them."""
    store: Any = open_store(url)
    store.pace(1.0)
    tiers = Tiers(MemoryStore(_MEMORY_BYTES, time.time), store, _SECRET)
    door = Intake(_settings(url, home), _SECRET)
    headers = tuple((name.lower().encode(), value.encode()) for name, value in bodies.HEADERS.items())
    asks = []
    for number in range(NAMES):
        taken = door.admit("", "chat/completions", b"", headers, _body(number))
        assert isinstance(taken, Admitted), taken
        facts = taken.dialect.judge(taken.ask.intent, ((b"content-type", b"application/json"),), library.ANSWER)
        assert isinstance(facts, Facts), facts
        asks.append(taken)
        assert tiers.put(taken.ask, _entry(taken, facts)) is None
    assert store.flush()
    tiers.refresh()
    return tiers, asks


def _entry(taken: Admitted, facts: Facts) -> Entry:
    ask = taken.ask
    return Entry(
        stored_at=time.time(),
        ttl=86_400,
        swr=0,
        sie=0,
        scopes=ask.scopes,
        epochs=(0,) * len(ask.scopes),
        status=200,
        headers=((b"content-type", b"application/json"),),
        body=library.ANSWER,
        facts=facts,
        tenant=ask.tenant,
        namespace="",
        tags=(),
        endpoint=ask.call.endpoint,
        model=ask.intent.model,
        took=1.0,
    )


async def read_async(url: str, home: Path) -> Call:
    """What a hit reads, on the event loop: the parcel from Redis, unpacked and proven."""
    tiers, asks = _tiers(url, home)
    for _ in range(100):  # until the keeper has made a connection for this loop
        if await tiers.read_soon([asks[0].ask.key.slot]) is not None:
            break
        await asyncio.sleep(0.05)

    async def call(number: int) -> bytes:
        ask = asks[number].ask
        found = await tiers.read_soon([ask.key.slot])
        if found is None:  # the epochs have to be polled, as a gateway does four times a second
            found = await asyncio.to_thread(tiers.read_many, [ask.key.slot])
        return _proven(tiers, asks[number], found[0])

    return call


async def read_sync(url: str, home: Path) -> Call:
    """What a hit reads, in a thread that waits."""
    tiers, asks = _tiers(url, home)

    async def call(number: int) -> bytes:
        return _proven(tiers, asks[number], tiers.read_behind(asks[number].ask.key.slot))

    return call


def _proven(tiers: Tiers, taken: Admitted, blob: bytes | None) -> bytes:
    assert blob is not None
    entry = tiers.prove(taken.ask, blob)
    assert isinstance(entry, Entry), entry
    return entry.body


def _sample(url: str, home: Path) -> bytes:
    """As many bytes as the server keeps for an answer of ours, and such that no two are alike."""
    _tiers(url + "?prefix=sample:", home)
    client = redis.Redis.from_url(url)
    sizes = [client.strlen(name) for name in client.scan_iter(match="sample:e:*")]
    client.close()
    return library.ANSWER[: sorted(sizes)[len(sizes) // 2]]


async def bare_async(url: str, home: Path) -> Call:
    """redis-py's asyncio client, and nothing else."""
    value = _sample(url, home)
    client = redis.asyncio.Redis.from_url(url)
    for number in range(NAMES):
        await client.set(f"bare:{os.getpid()}:{number}", value)

    async def call(number: int) -> bytes:
        found: Any = await client.get(f"bare:{os.getpid()}:{number}")
        assert isinstance(found, bytes)
        return found

    return call


async def bare_sync(url: str, home: Path) -> Call:
    """redis-py's client, and nothing else."""
    value = _sample(url, home)
    client = redis.Redis.from_url(url)
    for number in range(NAMES):
        client.set(f"bare:{os.getpid()}:{number}", value)

    async def call(number: int) -> bytes:
        found: Any = client.get(f"bare:{os.getpid()}:{number}")
        assert isinstance(found, bytes)
        return found

    return call


ARMS = {function.__name__: function for function in (hit_async, hit_sync, read_async, read_sync, bare_async, bare_sync)}


async def main(arm: str, url: str, home: Path) -> None:
    """Measure as often as asked; `ARM@N` asks N at once."""
    name, _, at_once = arm.partition("@")
    call = await ARMS[name](url, home)
    answer = await call(0)
    assert answer == library.ANSWER or name.startswith("bare")

    async def ask(numbers: range) -> None:
        for number in numbers:
            if await call(number % NAMES) != answer:
                raise SystemExit(f"{arm} got something else")

    width = int(at_once or 1)
    for line in sys.stdin:
        calls, started, used = 0, time.perf_counter(), time.process_time()
        while (took := time.perf_counter() - started) < float(line):
            starts = [NAMES * place // width for place in range(width)]  # apart, so that memory has nothing of it
            await asyncio.gather(*(ask(range(start, start + _BATCH)) for start in starts))
            calls += _BATCH * width
        print(calls / took, (time.process_time() - used) / calls * 1e6, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
