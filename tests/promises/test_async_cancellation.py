"""Cancelling a task of the async client anywhere: no pool slot, no flight and no task is lost, no answer is wrong.

First at every await there is, one after the other; then 20,000 times at random, most of them over a transport in the
process that counts its connections, some by the OpenAI SDK over real sockets; and with bugs planted.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from payonce.drive import tower
from payonce.outgoing import AsyncSdkAnswer
from tests.support.echo_upstream import EchoUpstream, misread
from tests.support.library import auntil, tasks_end
from tests.support.seeded import BUGS
from tests.support.steps import cancelled_at, pool_of
from tests.support.storms import LIBRARY_BUGS, content, request, verdict

MODULES = ["httpx", "httpx2"]
URL = "http://up.test/v1/chat/completions"
SLOTS = 16
WORKERS = 40
SEEDS = (1, 2, 3, 4)
IN_PROCESS = 2_375
BY_SOCKETS = 500
"""Cancellations of each module, those in the process with each seed: 20,000 in all."""
MOST_AWAITS = 8

pytestmark = pytest.mark.usefixtures("closed_worlds")


@asynccontextmanager
async def nothing_lost(client: Any, pool: Any = None, others: Any = (), seconds: float = 30.0) -> AsyncIterator[None]:
    """Afterwards every flight has landed, every slot is free, and within `seconds` no task is left but those that were
    there before, and those of `others`."""
    before = asyncio.all_tasks()
    yield
    world = client._transport.desk.lease.world
    player = world.aio()
    await player.drain(20, lambda _: True)
    closing = player.flights.upstreams[""]._inner._closing
    await auntil(lambda: not closing and not player.reads.under_way)  # each closes its answer in a task of its own
    assert len(player.tower) == 0
    assert not player.flights.tasks
    if pool is not None:
        assert pool.calls == pool.closed
        assert pool.free._value == pool.slots
    await tasks_end(before, others, seconds=seconds)


async def ask(client: Any, url: str, draw: random.Random, fresh: int) -> str:
    """One request, read to its end: what its answer is worth. About four requests share the number `fresh`, so that
    many lead, some follow and some are hits."""
    who, _, body, headers = request(draw)
    page = json.loads(body)
    prompt = page["messages"][0]["content"] = f"question {fresh}"
    body = json.dumps(page).encode()
    async with client.stream("POST", url, content=body, headers=headers) as response:
        parts = [part async for part in response.aiter_raw()]
        hit = response.headers.get("x-openrouter-cache-status") == "HIT"
        return verdict(response.status_code, hit, b"".join(parts), who, prompt, b'"stream"' in body)


def wrong(seen: Counter[str]) -> dict[str, int]:
    return {outcome: count for outcome, count in seen.items() if outcome.startswith(("wrong", "hit that", "failure"))}


# At every await


@pytest.mark.parametrize("kind", ["miss", "stream", "follower", "disk", "stale"])
@pytest.mark.parametrize("name", MODULES)
async def test_a_task_is_cancelled_at_each_of_its_awaits(name: str, kind: str, tmp_path: Path) -> None:
    from payonce.testing.clock import FakeClock

    mod, ours = importlib.import_module(name), importlib.import_module(f"payonce.{name}")
    pool, clock, number = pool_of(mod, SLOTS, seed=1), FakeClock(), 0
    store = f"sqlite:{tmp_path}/c.db" if kind == "disk" else "memory:"
    settings = importlib.import_module("payonce").Settings(store=store, ttl=60, stale_while_revalidate=600)
    headers = {"authorization": "Bearer k", "content-type": "application/json"}
    finished = None
    async with ours.AsyncClient(settings=settings, transport=pool, clock=clock) as client:

        async def once(prompt: str) -> str:
            page: dict[str, Any] = {"model": "m", "temperature": 0, "messages": [{"content": prompt}]}
            if kind != "miss":
                page["stream"] = True
            async with client.stream("POST", URL, content=json.dumps(page), headers=headers) as response:
                body = b"".join([part async for part in response.aiter_raw()])
            return misread(content(body, kind != "miss"), "Bearer k", prompt) or "right"

        assert await once("warm up") == "right"
        while finished is None:
            number += 1
            prompt = f"{number}"
            async with nothing_lost(client, pool):
                beside = []
                if kind in ("disk", "stale"):
                    assert await once(prompt) == "right"
                if kind == "stale":
                    clock.advance(100)
                if kind == "follower":
                    beside = [asyncio.create_task(once(prompt)) for _ in range(3)]
                    await asyncio.sleep(0)
                finished = await cancelled_at(number, once(prompt))
                assert await asyncio.gather(*beside) == ["right"] * len(beside)
                calls = pool.calls
                assert await once(prompt) == "right"
                assert pool.calls <= calls + 1
    assert finished == "right"
    assert number >= {"miss": 2, "stream": 6, "follower": 4, "disk": 2, "stale": 1}[kind], number


# At random


async def storm(client: Any, url: str, seed: int, wanted: int, most: int = MOST_AWAITS) -> Counter[str]:
    """Requests by many tasks until so many of them have been cancelled while they were under way."""
    seen: Counter[str] = Counter()

    async def worker(number: int) -> None:
        draw = random.Random(seed * 1000 + number)
        while seen["cancelled"] < wanted:
            at = draw.randrange(1, most) if draw.random() < 0.9 else 0
            seen["all"] += 1
            seen[await cancelled_at(at, ask(client, url, draw, seen["all"] // 80)) or "cancelled"] += 1

    await asyncio.gather(*(worker(number) for number in range(WORKERS)))
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", MODULES)
async def test_thousands_of_cancellations_lose_nothing(name: str, seed: int) -> None:
    mod, ours = importlib.import_module(name), importlib.import_module(f"payonce.{name}")
    pool = pool_of(mod, SLOTS, seed=seed)
    async with ours.AsyncClient(store="memory:", transport=pool, ttl=60, timeout=60) as client:
        await client.post(URL, content=request(random.Random(0))[2], headers=request(random.Random(0))[3])
        async with nothing_lost(client, pool):
            seen = await storm(client, URL, seed=seed, wanted=IN_PROCESS)
    assert seen["cancelled"] >= IN_PROCESS
    assert not wrong(seen), seen
    assert seen["right"] > 250, seen
    assert seen["hit"] > 250, seen


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
async def test_cancellations_of_the_openai_sdk_over_sockets_lose_nothing(name: str, tmp_path: Path) -> None:
    mod, ours = importlib.import_module(name), importlib.import_module(f"payonce.{name}")
    upstream = EchoUpstream(seed=1, delay=0.0)
    await upstream.start()
    base = f"http://127.0.0.1:{upstream.port}/v1"
    client = ours.AsyncClient(store=f"sqlite:{tmp_path}/c.db", limits=mod.Limits(max_connections=SLOTS), timeout=20)
    sdks = {who: openai.AsyncOpenAI(base_url=base, api_key=who, max_retries=0, http_client=client) for who in "abc"}
    seen: Counter[str] = Counter()

    async def one(who: str, prompt: str, stream: bool) -> str:
        messages: Any = [{"role": "user", "content": prompt}]
        ask: dict[str, Any] = {"model": "m", "temperature": 0, "messages": messages}
        if not stream:
            answer = await sdks[who].chat.completions.create(**ask)
            return misread(answer.choices[0].message.content or "", f"Bearer {who}", prompt) or "right"
        async with await sdks[who].chat.completions.create(**ask, stream=True) as chunks:
            said = [chunk.choices[0].delta.content or "" async for chunk in chunks]
        return misread("".join(said), f"Bearer {who}", prompt) or "right"

    async def worker(number: int) -> None:
        draw = random.Random(number)
        while seen["cancelled"] < BY_SOCKETS:
            seen["all"] += 1
            at = draw.randrange(1, 8) if draw.random() < 0.9 else 0
            work = one(draw.choice("abc"), f"question {seen['all'] // 20}", draw.random() < 0.5)
            seen[await cancelled_at(at, work) or "cancelled"] += 1

    try:
        assert await one("a", "warm up", stream=False) == "right"
        async with nothing_lost(client, others=upstream._tasks):
            await asyncio.gather(*(worker(number) for number in range(WORKERS)))
        assert seen["cancelled"] >= BY_SOCKETS
        assert seen["right"] > 100
        assert set(seen) == {"all", "cancelled", "right"}, seen
        upstream.delay = 0.2
        async with asyncio.timeout(20):  # every place in the pool is there again: all of them are used at once
            assert set(await asyncio.gather(*(one("a", f"new {n}", stream=False) for n in range(SLOTS)))) == {"right"}
    finally:
        await client.aclose()
        await upstream.stop()


# The control


@pytest.mark.parametrize("bug", LIBRARY_BUGS)
async def test_the_same_storm_sees_a_wrong_answer(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    BUGS[bug](monkeypatch.setattr)
    mod, ours = importlib.import_module("httpx2"), importlib.import_module("payonce.httpx2")
    async with ours.AsyncClient(store="memory:", transport=pool_of(mod, SLOTS, seed=1)) as client:
        assert wrong(await storm(client, URL, seed=7, wanted=300))


async def test_what_a_reader_leaves_half_read_is_not_lost_but_ends_in_tasks_of_the_loop() -> None:
    async def inner() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)

    async def outer() -> AsyncIterator[int]:
        async for number in inner():
            yield number

    before, reading = asyncio.all_tasks(), outer()
    await anext(reading)
    del reading
    await asyncio.sleep(0)
    assert asyncio.all_tasks() - before
    await tasks_end(before)


@pytest.mark.parametrize("loss", ["slot", "flight", "task"])
async def test_the_same_storm_sees_what_is_lost(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mod, ours = importlib.import_module("httpx2"), importlib.import_module("payonce.httpx2")
    pool = pool_of(mod, 10_000, seed=1)
    forgotten = []
    if loss == "slot":

        async def unclosed(self: AsyncSdkAnswer) -> AsyncIterator[bytes]:
            async for chunk in self._response.stream:
                yield chunk
            self._closed = True

        monkeypatch.setattr(AsyncSdkAnswer, "_read", unclosed)
    elif loss == "flight":
        monkeypatch.setattr(tower.Tower, "land", lambda *_: None)
    else:
        take = ours.AsyncCacheTransport._take

        async def leaving(*given: Any) -> Any:
            try:
                return await take(*given)
            except asyncio.CancelledError:
                forgotten.append(asyncio.create_task(asyncio.Event().wait()))
                raise

        monkeypatch.setattr(ours.AsyncCacheTransport, "_take", leaving)
    async with ours.AsyncClient(store="memory:", transport=pool) as client:
        with pytest.raises(AssertionError):
            async with nothing_lost(client, pool, seconds=0.2):
                await storm(client, URL, seed=7, wanted=300)
    for task in forgotten:
        task.cancel()
    await asyncio.gather(*forgotten, return_exceptions=True)
