"""One upstream call for any number of identical requests at once, whoever of them leaves, and in however many processes
the store is shared."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from payonce.ground import POLL_SECONDS
from tests.support.echo_upstream import EchoUpstream, misread
from tests.support.flights import until
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.process import GatewayProcess
from tests.support.raw_client import RawClient, Seen

PATH = "/api/v1/chat/completions"


def request(prompt: str = "q", *, stream: bool = False) -> bytes:
    page = {"model": "m", "temperature": 0, "messages": [{"role": "user", "content": prompt}], "stream": stream}
    return json.dumps(page).encode()


async def ask(port: int, body: bytes, **fields: str) -> Seen:
    client = RawClient(port)
    named = {"authorization": "Bearer k", **{name.replace("_", "-"): value for name, value in fields.items()}}
    try:
        return await client.post(PATH, body, named)
    finally:
        client.leave()


@pytest.fixture
async def upstream() -> AsyncIterator[EchoUpstream]:
    """One that gives no answer before a test opens its gate."""
    server = EchoUpstream(delay=0.0, gate=asyncio.Event())
    await server.start()
    yield server
    await server.stop()


@contextmanager
def before(upstream: EchoUpstream, folder: Path) -> Iterator[RunningGateway]:
    """A gateway whose flights can be looked at."""
    url, store = f"http://127.0.0.1:{upstream.port}/api/v1", f"sqlite:{folder}/cache.db"
    with running_gateway(url, store=store) as gateway:
        yield gateway


async def aboard(gateway: RunningGateway, *followers: int) -> None:
    """Until so many follow each of the flights that are in the air."""
    tower = gateway.gateway.world.tower
    assert await asyncio.to_thread(gateway.until, lambda: [flight.followers for flight in tower] == [*followers])


def sent(gateway: RunningGateway, count: int, body: bytes) -> list[asyncio.Task[Seen]]:
    """So many requests, under way."""
    return [asyncio.create_task(ask(gateway.port, body)) for _ in range(count)]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_thousand_identical_requests_at_once_make_one_upstream_call(
    stream: bool, upstream: EchoUpstream, tmp_path: Path
) -> None:
    assert upstream.gate is not None
    async with GatewayProcess(upstream.port, tmp_path) as gateway:
        asked = [asyncio.create_task(ask(gateway.port, request(stream=stream))) for _ in range(1000)]
        await until(lambda: upstream.held == 1)
        upstream.gate.set()
        answers = await asyncio.gather(*asked)
    assert upstream.calls == 1
    assert len({answer.body for answer in answers}) == 1
    assert misread(answers[0].content(), "Bearer k", "q") == ""
    said = [answer.fields["cache-status"] for answer in answers]
    assert said.count("payonce; fwd=miss; stored") == 1
    assert set(said) <= {"payonce; fwd=miss; stored", "payonce; fwd=miss; collapsed"} | {
        one for one in said if one.startswith("payonce; hit")
    }


async def test_a_follower_that_arrives_mid_stream_gets_everything_from_the_start(
    upstream: EchoUpstream, tmp_path: Path
) -> None:
    assert upstream.gate is not None
    with before(upstream, tmp_path) as gateway:
        body = request(stream=True)
        [leading] = sent(gateway, 1, body)
        await until(lambda: upstream.held == 1)  # its first part is sent
        await aboard(gateway, 0)
        [following] = sent(gateway, 1, body)
        await aboard(gateway, 1)
        upstream.gate.set()
        leader, follower = await asyncio.gather(leading, following)
    assert upstream.calls == 1
    assert leader.fields["cache-status"] == "payonce; fwd=miss; stored"
    assert follower.fields["cache-status"] == "payonce; fwd=miss; collapsed"
    assert misread(follower.content(), "Bearer k", "q") == ""
    assert follower.body == leader.body


@pytest.mark.parametrize("stream", [True, False])
async def test_a_leader_that_leaves_harms_nobody_and_its_answer_is_kept(
    stream: bool, upstream: EchoUpstream, tmp_path: Path
) -> None:
    assert upstream.gate is not None
    with before(upstream, tmp_path) as gateway:
        [leader] = sent(gateway, 1, request(stream=stream))
        await until(lambda: upstream.held == 1)
        leader.cancel()
        await asyncio.wait([leader])
        assert await asyncio.to_thread(gateway.until, lambda: not gateway.gateway.connections), "it has left"
        [retrying] = sent(gateway, 1, request(stream=stream))
        await aboard(gateway, 1)
        upstream.gate.set()
        retry = await retrying
        again = await ask(gateway.port, request(stream=stream))
    assert upstream.calls == 1
    assert retry.fields["cache-status"] == "payonce; fwd=miss; collapsed"
    assert again.fields["x-openrouter-cache-status"] == "HIT"
    assert retry.body == again.body


async def test_tenants_never_share_a_flight(upstream: EchoUpstream, tmp_path: Path) -> None:
    assert upstream.gate is not None
    with before(upstream, tmp_path) as gateway:
        asked = [
            asyncio.create_task(ask(gateway.port, request(), authorization=f"Bearer {number % 7}"))
            for number in range(70)
        ]
        await aboard(gateway, *[9] * 7)
        upstream.gate.set()
        answers = await asyncio.gather(*asked)
    assert upstream.calls == 7
    for number, answer in enumerate(answers):
        assert misread(answer.content(), f"Bearer {number % 7}", "q") == ""


async def test_an_error_is_shared_by_those_who_waited_and_kept_for_none(upstream: EchoUpstream, tmp_path: Path) -> None:
    assert upstream.gate is not None
    upstream.faults = 1.0
    with before(upstream, tmp_path) as gateway:
        asked = sent(gateway, 200, request())
        await aboard(gateway, 199)
        upstream.gate.set()
        await asyncio.gather(*asked)
        together = upstream.calls
        upstream.faults = 0.0
        after = await ask(gateway.port, request())
    assert together == 1
    assert after.status == 200
    assert after.fields["cache-status"] == "payonce; fwd=miss; stored"


async def test_workers_share_one_store_and_see_a_purge_within_a_second(upstream: EchoUpstream, tmp_path: Path) -> None:
    assert upstream.gate is not None
    upstream.gate.set()
    async with GatewayProcess(upstream.port, tmp_path, "--workers", "2") as gateway:
        await until_answered(gateway.port)
        calls = upstream.calls
        await until_both_have_answered(gateway.port)
        assert upstream.calls <= calls + 2  # one for each worker, until the other's commit is seen
        calls = upstream.calls
        old = await until_both_have_answered(gateway.port)
        assert upstream.calls == calls, "once both workers have answered, nobody pays again"
        purge = await asyncio.create_subprocess_exec(
            *(gateway.arguments[0], "-m", "payonce", "purge", "--model", "m"),
            env={"PAYONCE_STORE": f"sqlite:{tmp_path}/cache.db", "PATH": ""},
            stdout=asyncio.subprocess.DEVNULL,
        )
        assert await purge.wait() == 0
        async with asyncio.timeout(60):
            while old & (first := await until_both_have_answered(gateway.port)):
                pass  # not every worker knows it yet
        paid = upstream.calls
        again = await until_both_have_answered(gateway.port)
    assert POLL_SECONDS <= 0.5, "each looks often enough for the promise itself"
    assert calls < paid <= calls + 2  # once, and once more where a worker saw the purge in the middle
    assert upstream.calls == paid, "and so it is after the purge"
    assert len(first | again) <= 2
    assert gateway.log.count(b"Traceback") == 0, gateway.log.decode()


async def until_both_have_answered(port: int) -> set[bytes]:
    """Ask on one connection after the other until each of the two workers has answered twice; the different answers."""
    answered: Counter[int] = Counter()
    bodies = set()
    for _ in range(400):
        client = RawClient(port)
        try:
            bodies.add((await client.post(PATH, request(), {"authorization": "Bearer k"})).body)
            answered.update(client.served_by)
        finally:
            client.leave()
        if len(answered) == 2 and min(answered.values()) >= 2:
            return bodies
    raise AssertionError(f"only one worker has answered: {answered}")


async def until_answered(port: int) -> None:
    """Workers start one after the other behind a socket that is already open."""
    for _ in range(50):
        try:
            seen = await asyncio.wait_for(ask(port, request("warm")), 10)
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            continue
        if seen.status == 200:
            return
    raise AssertionError("no worker answered")
