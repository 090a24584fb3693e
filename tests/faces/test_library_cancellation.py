"""Tasks that are cancelled at random moments never cost another its answer, a place in the pool, or a flight.

The upstream signs its answers and fails at random (tests/support/echo_upstream.py); real sockets, both modules.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import random
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.echo_upstream import EchoUpstream, misread
from tests.support.library import auntil, tasks_end
from tests.support.seeded import BUGS
from tests.support.storms import LIBRARY_BUGS, content, request, verdict

REQUESTS = 2_000
WORKERS = 40
SLOTS = 48

pytestmark = pytest.mark.usefixtures("closed_worlds")


async def storm(client: Any, mod: Any, url: str, seed: int, requests: int = REQUESTS) -> Counter[str]:
    seen: Counter[str] = Counter()
    left = iter(range(requests))

    async def whole(draw: random.Random) -> str:
        who, prompt, body, headers = request(draw)
        early = draw.random() < 0.1
        async with client.stream("POST", url, content=body, headers=headers) as response:
            parts = []
            async for part in response.aiter_raw():
                parts.append(part)
                if early:
                    return "closed early"
            hit = response.headers.get("x-openrouter-cache-status") == "HIT"
            return verdict(response.status_code, hit, b"".join(parts), who, prompt, b'"stream"' in body)

    async def worker(number: int) -> None:
        draw = random.Random(seed * 1000 + number)
        for _ in left:
            try:
                limit = draw.random() * 0.012 if draw.random() < 0.4 else 20
                seen[await asyncio.wait_for(whole(draw), limit)] += 1
            except TimeoutError:
                seen["cancelled"] += 1
            except (mod.RemoteProtocolError, mod.ReadError):
                seen["broken off"] += 1

    await asyncio.gather(*(worker(number) for number in range(WORKERS)))
    return seen


@pytest.mark.parametrize("name", ["httpx", "httpx2"])
async def test_two_thousand_requests_of_which_many_are_cancelled(name: str, tmp_path: Path) -> None:
    mod, ours = importlib.import_module(name), importlib.import_module(f"payonce.{name}")
    before = asyncio.all_tasks()
    upstream = EchoUpstream(seed=1, faults=0.1, delay=0.006)
    await upstream.start()
    url = f"http://127.0.0.1:{upstream.port}/api/v1/chat/completions"
    client = ours.AsyncClient(
        store=f"sqlite:{tmp_path}/c.db", limits=mod.Limits(max_connections=SLOTS), timeout=20, ttl=60
    )
    try:
        seen = await storm(client, mod, url, seed=3)
        assert sum(seen.values()) == REQUESTS
        bad = {outcome: count for outcome, count in seen.items() if outcome.startswith(("wrong", "hit that"))}
        assert not bad, seen
        assert seen["hit"] > 100, seen
        assert seen["cancelled"] > 100, seen
        assert seen["closed early"] > 20, seen

        world = client._transport.desk.lease.world
        player = world.aio()
        await player.drain(20, lambda _: True)
        assert not len(player.tower)
        assert not player.flights.tasks

        upstream.faults, upstream.delay = 0.0, 0.3
        fresh = [{"model": "m", "temperature": 0, "messages": [{"content": f"new {n}"}]} for n in range(SLOTS)]
        headers = {"authorization": "Bearer z", "content-type": "application/json"}
        answers = await asyncio.gather(
            *(client.post(url, content=json.dumps(page), headers=headers, timeout=10) for page in fresh)
        )
        assert {answer.status_code for answer in answers} == {200}, "every place in the pool is there again"
    finally:
        await client.aclose()
        await upstream.stop()
    await tasks_end(before)


@pytest.mark.parametrize("bug", LIBRARY_BUGS)
async def test_the_same_storm_goes_red_on_a_planted_bug(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    BUGS[bug](monkeypatch.setattr)
    mod, ours = importlib.import_module("httpx2"), importlib.import_module("payonce.httpx2")
    upstream = EchoUpstream(seed=1, delay=0.006)
    await upstream.start()
    url = f"http://127.0.0.1:{upstream.port}/api/v1/chat/completions"
    try:
        async with ours.AsyncClient(store="memory:", timeout=20) as client:
            seen = await storm(client, mod, url, seed=7, requests=500)
    finally:
        await upstream.stop()
    assert any(outcome.startswith(("wrong", "hit that", "failure")) for outcome in seen), (bug, seen)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_leader_is_cancelled_and_its_followers_are_not(stream: bool) -> None:
    ours = importlib.import_module("payonce.httpx2")
    upstream = EchoUpstream(delay=0.2)
    await upstream.start()
    url = f"http://127.0.0.1:{upstream.port}/v1/chat/completions"
    page: dict[str, Any] = {"model": "m", "temperature": 0, "messages": [{"content": "q"}], "stream": stream}
    headers = {"authorization": "Bearer k", "content-type": "application/json"}
    try:
        async with ours.AsyncClient(store="memory:") as client:
            tasks = [asyncio.create_task(client.post(url, content=json.dumps(page), headers=headers)) for _ in range(9)]
            await auntil(lambda: upstream.calls)
            tasks[0].cancel()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(answers[0], asyncio.CancelledError)
            for answer in answers[1:]:
                assert not isinstance(answer, BaseException)
                assert misread(content(answer.content, stream), "Bearer k", "q") == ""
    finally:
        await upstream.stop()
    assert upstream.calls == 1


async def test_closing_a_client_lets_its_calls_land_and_no_others(tmp_path: Path) -> None:
    ours = importlib.import_module("payonce.httpx2")
    upstream = EchoUpstream(delay=0.3)
    await upstream.start()
    url = f"http://127.0.0.1:{upstream.port}/v1/chat/completions"
    headers = {"authorization": "Bearer k", "content-type": "application/json"}

    def page(prompt: str) -> str:
        return json.dumps({"model": "m", "temperature": 0, "messages": [{"content": prompt}], "stream": True})

    store = f"sqlite:{tmp_path}/c.db"
    try:
        async with ours.AsyncClient(store=store) as staying:
            leaving = ours.AsyncClient(store=store)
            async with leaving.stream("POST", url, content=page("one"), headers=headers) as response:
                await anext(response.aiter_raw())
            other = asyncio.create_task(staying.post(url, content=page("two"), headers=headers))
            await leaving.aclose()
            kept = await staying.post(url, content=page("one"), headers=headers)
            assert kept.headers["x-openrouter-cache-status"] == "HIT"
            assert misread(content((await other).content, True), "Bearer k", "two") == ""
    finally:
        await upstream.stop()
    assert upstream.calls == 2


def test_threads_in_a_storm(tmp_path: Path) -> None:
    """The same upstream under twelve threads that close their responses at random."""
    ours, mod = importlib.import_module("payonce.httpx2"), importlib.import_module("httpx2")
    upstream = EchoUpstream(seed=2, faults=0.1, delay=0.004)
    loop = asyncio.new_event_loop()
    serving = threading.Thread(target=loop.run_forever)
    serving.start()
    asyncio.run_coroutine_threadsafe(upstream.start(), loop).result(10)
    url = f"http://127.0.0.1:{upstream.port}/v1/chat/completions"
    client = ours.Client(store=f"sqlite:{tmp_path}/c.db", timeout=20)
    seen: Counter[str] = Counter()

    def worker(number: int) -> None:
        draw = random.Random(number)
        for _ in range(60):
            who, prompt, body, headers = request(draw)
            try:
                with client.stream("POST", url, content=body, headers=headers) as response:
                    if draw.random() < 0.2:
                        for _part in response.iter_raw():
                            break
                        outcome = "closed early"
                    else:
                        whole = b"".join(response.iter_raw())
                        hit = response.headers.get("x-openrouter-cache-status") == "HIT"
                        outcome = verdict(response.status_code, hit, whole, who, prompt, b'"stream"' in body)
            except (mod.RemoteProtocolError, mod.ReadError):
                outcome = "broken off"
            seen[outcome] += 1

    try:
        threads = [threading.Thread(target=worker, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        player = client._transport.desk.lease.world.sync
        assert player.drain(20)
        assert not len(player.tower)
    finally:
        client.close()
        asyncio.run_coroutine_threadsafe(upstream.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        serving.join(10)
        loop.close()
    assert sum(seen.values()) == 720
    assert not [outcome for outcome in seen if outcome.startswith(("wrong", "hit that"))], seen
    assert seen["hit"] > 50, seen
