"""Random clients that leave at random moments never get another's answer, nor a part of one as the whole.

A real gateway in a process of its own, an upstream that signs its answers and fails at random, twenty tenants. The same
storm over gateways with a planted bug must show wrong answers: a harness that can't see them proves nothing.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.support.echo_upstream import EchoUpstream, misread
from tests.support.fault_proxy import fault_proxy
from tests.support.process import GatewayProcess
from tests.support.raw_client import RawClient
from tests.support.servers import memcached, redis_server

TENANTS = 20
PROMPTS = 40
WORKERS = 40
PATH = "/api/v1/chat/completions"


async def storm(port: int, requests: int, seed: int) -> Counter[str]:
    """What became of `requests` random requests, 30 % of them given up at a random moment."""
    seen: Counter[str] = Counter()
    left = iter(range(requests))

    async def worker(number: int) -> None:
        draw = random.Random(seed * 1000 + number)
        client = RawClient(port)
        for _ in left:
            await one(client, draw)
        client.leave()

    async def one(client: RawClient, draw: random.Random) -> None:
        who = f"Bearer key-{draw.randrange(TENANTS)}"
        prompt = f"question {draw.randrange(PROMPTS)}"
        body = {"model": "m", "temperature": 0, "messages": [{"role": "user", "content": prompt}]}
        if draw.random() < 0.5:
            body["stream"] = True
        fields = {"authorization": who}
        if draw.random() < 0.05:
            fields["x-openrouter-cache-clear"] = "true"
        asked = client.post(PATH, json.dumps(body).encode(), fields)
        try:
            if draw.random() < 0.3:
                answer = await asyncio.wait_for(asked, draw.random() * 0.012)
            else:
                answer = await asyncio.wait_for(asked, 20)
        except TimeoutError:
            client.leave()
            seen["given up"] += 1
            return
        except (asyncio.IncompleteReadError, ConnectionError):
            client.leave()
            seen["broken off"] += 1
            return
        hit = answer.fields.get("x-openrouter-cache-status") == "HIT"
        if not answer.whole or answer.status != 200:
            seen["hit that failed" if hit else "failure shown as one"] += 1
            return
        try:
            content = answer.content()
        except (ValueError, KeyError, IndexError):
            seen["wrong: a bad answer as a hit" if hit else "failure shown as one"] += 1
            return
        wrong = misread(content, who, prompt)
        seen[f"wrong: {wrong}" if wrong else "hit" if hit else "right"] += 1

    await asyncio.gather(*(worker(number) for number in range(WORKERS)))
    return seen


async def weather(bug: str, requests: int, folder: Path) -> tuple[Counter[str], EchoUpstream, GatewayProcess]:
    upstream = EchoUpstream(seed=1, faults=0.15, delay=0.006)
    await upstream.start()
    try:
        async with GatewayProcess(upstream.port, folder, bug=bug) as gateway:
            seen = await storm(gateway.port, requests, seed=7)
    finally:
        await upstream.stop()
    return seen, upstream, gateway


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_twenty_thousand_requests_of_twenty_tenants_give_no_wrong_answer(tmp_path: Path) -> None:
    seen, upstream, gateway = await weather("none", 20_000, tmp_path)
    assert sum(seen.values()) == 20_000
    assert not {outcome: count for outcome, count in seen.items() if outcome.startswith(("wrong", "hit that"))}, seen
    assert seen["hit"] > 5_000, seen
    assert seen["given up"] > 500, seen
    assert upstream.kinds["cut"] > 20, upstream.kinds
    assert gateway.status == 0, gateway.log.decode()
    assert b"Traceback" not in gateway.log, gateway.log.decode()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["redis", "memcached"])
async def test_the_same_storm_over_a_server_behind_a_delaying_proxy_gives_no_wrong_answer(
    engine: str, tmp_path: Path
) -> None:
    upstream = EchoUpstream(seed=2, faults=0.05, delay=0.006)
    await upstream.start()
    memory = tmp_path / "payonce.toml"
    memory.write_text(f'memory_bytes = 65536\nfast_lane = false\nsecret_file = "{tmp_path}/secret"\n')
    with (
        redis_server(tmp_path) if engine == "redis" else memcached(tmp_path) as server,
        fault_proxy(server.port) as proxy,
    ):
        proxy.latency = (0.0, 0.003)
        store = server.url.replace(str(server.port), str(proxy.port))
        options = ("--config", str(memory))
        async with GatewayProcess(upstream.port, tmp_path, *options, store=store) as gateway:
            seen = await storm(gateway.port, 6_000, seed=8)
        assert proxy.requests > 1_000
    await upstream.stop()
    assert sum(seen.values()) == 6_000
    assert not {outcome: count for outcome, count in seen.items() if outcome.startswith(("wrong", "hit that"))}, seen
    assert seen["hit"] > 300, seen
    assert seen["given up"] > 300, seen
    assert gateway.status == 0, gateway.log.decode()
    assert b"Traceback" not in gateway.log, gateway.log.decode()


@pytest.mark.parametrize("bug", ["tenant-left-out", "prompt-cut", "commit-early", "late-reader", "gate-too-wide"])
async def test_the_same_storm_goes_red_on_a_planted_bug(bug: str, tmp_path: Path) -> None:
    seen, _, _ = await weather(bug, 2_000, tmp_path)
    assert any(outcome.startswith(("wrong", "hit that")) for outcome in seen), (bug, seen)
