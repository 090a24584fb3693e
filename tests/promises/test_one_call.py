"""One upstream call for any number of identical requests at once, whoever of them leaves, and in however many processes
the store is shared."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest

from tests.support.echo_upstream import EchoUpstream, misread
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
async def upstream():  # type: ignore[no-untyped-def]
    server = EchoUpstream(delay=0.05)
    await server.start()
    yield server
    await server.stop()


@pytest.mark.parametrize("stream", [True, False])
async def test_a_thousand_identical_requests_at_once_make_one_upstream_call(
    stream: bool, upstream: EchoUpstream, tmp_path: Path
) -> None:
    upstream.delay = 2.0
    async with GatewayProcess(upstream.port, tmp_path) as gateway:
        answers = await asyncio.gather(*(ask(gateway.port, request(stream=stream)) for _ in range(1000)))
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
    upstream.delay = 0.4
    async with GatewayProcess(upstream.port, tmp_path) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        body = request(stream=True)
        writer.write(
            f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer k\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        await reader.readuntil(b'part\\": 1')
        follower = await ask(gateway.port, body)
        leader = await reader.readuntil(b"0\r\n\r\n")
        writer.close()
    assert upstream.calls == 1
    assert follower.fields["cache-status"] == "payonce; fwd=miss; collapsed"
    assert misread(follower.content(), "Bearer k", "q") == ""
    assert b"[DONE]" in leader


@pytest.mark.parametrize("stream", [True, False])
async def test_a_leader_that_leaves_harms_nobody_and_its_answer_is_kept(
    stream: bool, upstream: EchoUpstream, tmp_path: Path
) -> None:
    upstream.delay = 0.6
    async with GatewayProcess(upstream.port, tmp_path) as gateway:
        leader = RawClient(gateway.port)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(leader.post(PATH, request(stream=stream), {"authorization": "Bearer k"}), 0.05)
        leader.leave()
        retry = await ask(gateway.port, request(stream=stream))
        again = await ask(gateway.port, request(stream=stream))
    assert upstream.calls == 1
    assert retry.fields["cache-status"] == "payonce; fwd=miss; collapsed"
    assert again.fields["x-openrouter-cache-status"] == "HIT"
    assert retry.body == again.body


async def test_tenants_never_share_a_flight(upstream: EchoUpstream, tmp_path: Path) -> None:
    upstream.delay = 0.4
    async with GatewayProcess(upstream.port, tmp_path) as gateway:
        answers = await asyncio.gather(
            *(ask(gateway.port, request(), authorization=f"Bearer {number % 7}") for number in range(70))
        )
    assert upstream.calls == 7
    for number, answer in enumerate(answers):
        assert misread(answer.content(), f"Bearer {number % 7}", "q") == ""


async def test_an_error_is_shared_by_those_who_waited_and_kept_for_none(upstream: EchoUpstream, tmp_path: Path) -> None:
    upstream.faults, upstream.delay = 1.0, 0.4
    async with GatewayProcess(upstream.port, tmp_path) as gateway:
        await asyncio.gather(*(ask(gateway.port, request()) for _ in range(200)))
        together = upstream.calls
        upstream.faults = 0.0
        after = await ask(gateway.port, request())
    assert together <= 2
    assert after.status == 200
    assert after.fields["cache-status"] == "payonce; fwd=miss; stored"


async def test_workers_share_one_store_and_see_a_purge_within_a_second(upstream: EchoUpstream, tmp_path: Path) -> None:
    upstream.delay = 0.0
    async with GatewayProcess(upstream.port, tmp_path, "--workers", "2") as gateway:
        await until_answered(gateway.port)
        calls = upstream.calls
        await until_both_have_answered(gateway.port)
        assert upstream.calls <= calls + 2  # one for each worker, until the other's commit is seen
        calls = upstream.calls
        await until_both_have_answered(gateway.port)
        assert upstream.calls == calls, "once both workers have answered, nobody pays again"
        purge = await asyncio.create_subprocess_exec(
            *(gateway.arguments[0], "-m", "payonce", "purge", "--model", "m"),
            env={"PAYONCE_STORE": f"sqlite:{tmp_path}/cache.db", "PATH": ""},
            stdout=asyncio.subprocess.DEVNULL,
        )
        assert await purge.wait() == 0
        await asyncio.sleep(1.0)  # the promise itself: within a second
        first = await until_both_have_answered(gateway.port)
        paid = upstream.calls
        again = await until_both_have_answered(gateway.port)
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
