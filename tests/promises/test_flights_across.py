"""Identical requests on three gateways, each a process of its own, that share one store: one upstream call, whatever
happens to the one that makes it, and nobody waits without a bound."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.promises.test_one_call import ask, request
from tests.support.echo_upstream import EchoUpstream, misread
from tests.support.fault_proxy import fault_proxy
from tests.support.flights import boarded, landed, metric, reached, told, until
from tests.support.process import GatewayProcess
from tests.support.raw_client import Seen
from tests.support.servers import Server, memcached, redis_cluster, redis_server

WAIT = 20.0
GATEWAYS = 3
BROUGHT = 'payonce_flight_waits_total{outcome="brought"}'


@pytest.fixture(autouse=True)
def _one_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(range(32)))
    secret.chmod(0o600)
    monkeypatch.setenv("PAYONCE_SECRET_FILE", str(secret))
    monkeypatch.setenv("PAYONCE_FLIGHT_WAIT", str(WAIT))


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """The URL of a store of this kind, each time another one; servers are started once."""
    with ExitStack() as stack:
        urls: dict[str, str] = {}
        numbers = iter(range(1000))

        def url(kind: str) -> str:
            folder = tmp_path_factory.mktemp(kind)
            if kind == "sqlite":
                return f"sqlite:{folder}/cache.db"
            if kind not in urls:
                start: Any = {"valkey": redis_server, "memcached": memcached, "cluster": redis_cluster}[kind]
                urls[kind] = stack.enter_context(start(folder)).url
            return f"{urls[kind]}?prefix=t{next(numbers)}:"

        yield url


@pytest.fixture
async def upstream() -> AsyncIterator[EchoUpstream]:
    server = EchoUpstream(delay=0.0, gate=asyncio.Event())
    await server.start()
    yield server
    await server.stop()


@asynccontextmanager
async def gateways(upstream: EchoUpstream, folder: Path, store: str) -> AsyncIterator[list[GatewayProcess]]:
    async with AsyncExitStack() as stack:
        made = [
            await stack.enter_async_context(GatewayProcess(upstream.port, folder, store=store)) for _ in range(GATEWAYS)
        ]
        try:
            yield made
        finally:
            assert upstream.gate is not None
            upstream.gate.set()  # else they would wait for answers before they end


def asking(
    gateways: list[GatewayProcess], each: int, body: bytes, sent: list[asyncio.Future[Seen]] | None = None
) -> list[asyncio.Future[Seen]]:
    """So many requests to each, under way; also in `sent`, where it is given."""
    under_way = [asyncio.ensure_future(ask(gateway.port, body)) for gateway in gateways for _ in range(each)]
    if sent is not None:
        sent += under_way
    return under_way


async def settled(
    gateways: list[GatewayProcess], upstream: EchoUpstream, *, asked: int = 1, flights: int = 1, rounds: int = 2
) -> None:
    """Until each process knows that the others are there (on a file, that is looked for four times a second): in
    `rounds` of questions in a row, `asked` to each gateway, all its `flights` make one upstream call. Afterwards the
    gate is closed, and calls are counted from 0."""
    assert upstream.gate is not None
    row = 0
    for number in range(100):
        upstream.calls = 0
        body = request(f"settling {number}")
        sent = asking(gateways, asked, body)
        for gateway in gateways:
            await boarded(gateway, flights, partial(asking, [gateway], asked, body, sent))
        upstream.gate.set()
        await asyncio.gather(*sent)
        for gateway in gateways:
            await landed(gateway, flights)
        upstream.gate.clear()
        row = row + 1 if upstream.calls == 1 else 0
        upstream.calls = 0
        if row == rounds:
            return
    raise AssertionError("they do not know each other")


async def brought(three: list[GatewayProcess]) -> list[float]:
    """How many flights of each waited for another's answer and got it."""
    return [await metric(gateway, BROUGHT) for gateway in three]


def right(answers: list[Seen]) -> None:
    for answer in answers:
        assert answer.status == 200
        assert misread(answer.content(), "Bearer k", "q") == ""


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("kind", ["valkey", "memcached", "cluster", "sqlite"])
async def test_a_thousand_identical_requests_over_three_gateways_make_one_upstream_call(
    kind: str, stream: bool, upstream: EchoUpstream, tmp_path: Path, servers: Callable[[str], str]
) -> None:
    assert upstream.gate is not None
    async with gateways(upstream, tmp_path, servers(kind)) as three:
        await settled(three, upstream)
        before = await brought(three)
        sent = [asyncio.ensure_future(ask(three[n % 3].port, request(stream=stream))) for n in range(1000)]
        for gateway in three:
            await boarded(gateway)
        upstream.gate.set()
        answers = await asyncio.gather(*sent)
        assert upstream.calls == 1
        right(answers)
        assert len({answer.body for answer in answers}) == 1
        said = Counter(answer.fields["cache-status"].partition("; ttl")[0] for answer in answers)
        assert said["payonce; fwd=miss; stored"] == 1
        assert set(said) <= {"payonce; fwd=miss; stored", "payonce; fwd=miss; collapsed", "payonce; hit"}
        assert said["payonce; fwd=miss; collapsed"] > 2
        for gateway in three:
            await landed(gateway)
        since = [now - then for now, then in zip(await brought(three), before, strict=True)]
        assert sorted(since) == [0.0, 1.0, 1.0]


async def test_a_thousand_identical_requests_over_the_workers_of_one_file_make_one_upstream_call(
    upstream: EchoUpstream, tmp_path: Path
) -> None:
    assert upstream.gate is not None
    async with GatewayProcess(upstream.port, tmp_path, "--workers", "3") as gateway:
        await reached(gateway, "payonce_workers", lambda workers: workers == 3)
        await settled([gateway], upstream, asked=200, flights=3, rounds=1)
        before = await told(gateway, BROUGHT, workers=3)
        sent = asking([gateway], 1000, request())
        await boarded(gateway, 3, partial(asking, [gateway], 100, request(), sent))
        upstream.gate.set()
        answers = await asyncio.gather(*sent)
        assert upstream.calls == 1
        right(answers)
        assert len({answer.body for answer in answers}) == 1
        await reached(gateway, BROUGHT, lambda waits: waits == before + 2, workers=3)


async def test_without_leases_each_gateway_pays(
    upstream: EchoUpstream, tmp_path: Path, servers: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAYONCE_FLIGHT_WAIT", "0")
    assert upstream.gate is not None
    async with gateways(upstream, tmp_path, servers("valkey")) as three:
        sent = [asyncio.ensure_future(ask(three[n % 3].port, request())) for n in range(60)]
        await until(lambda: upstream.calls >= 3)
        upstream.gate.set()
        right(await asyncio.gather(*sent))
    assert upstream.calls == 3


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("kind", ["valkey", "memcached", "cluster", "sqlite"])
async def test_a_leader_that_is_killed_mid_answer_costs_one_more_call(
    kind: str, stream: bool, upstream: EchoUpstream, tmp_path: Path, servers: Callable[[str], str]
) -> None:
    assert upstream.gate is not None
    async with gateways(upstream, tmp_path, servers(kind)) as three:
        await settled(three, upstream)
        lost = asyncio.ensure_future(ask(three[0].port, request(stream=stream)))
        await until(lambda: upstream.calls == 1)
        sent = [asyncio.ensure_future(ask(three[1 + n % 2].port, request(stream=stream))) for n in range(1000)]
        for gateway in three[1:]:
            await boarded(gateway)
        await three[0].kill()
        started = time.monotonic()
        await until(lambda: upstream.calls >= 2)
        assert time.monotonic() - started < WAIT / 2, "a dead process is believed in for three seconds"
        await asyncio.sleep(0.5)
        upstream.gate.set()
        answers = await asyncio.gather(*sent)
        right(answers)
        assert upstream.calls == 2, Counter(answer.fields["cache-status"] for answer in answers)
        await asyncio.gather(lost, return_exceptions=True)


@pytest.mark.parametrize("kind", ["valkey", "sqlite"])
async def test_an_answer_that_is_not_kept_lets_all_go_at_once(
    kind: str, upstream: EchoUpstream, tmp_path: Path, servers: Callable[[str], str]
) -> None:
    assert upstream.gate is not None
    upstream._random.choice = lambda _of: "429"  # type: ignore[method-assign, assignment]
    async with gateways(upstream, tmp_path, servers(kind)) as three:
        await settled(three, upstream)
        upstream.faults = 1.0
        sent = [asyncio.ensure_future(ask(gateway.port, request())) for gateway in three]
        for gateway in three:
            await boarded(gateway)
        await until(lambda: upstream.held == 1)
        assert upstream.calls == 1
        upstream.gate.set()
        upstream.gate.clear()  # one answer is given; the next two are asked for while neither is
        await until(lambda: upstream.calls == 3)
        upstream.gate.set()
        answers = await asyncio.gather(*sent)
        assert {answer.status for answer in answers} == {429}
        assert sum([await metric(gateway, 'payonce_flight_waits_total{outcome="in_vain"}') for gateway in three]) == 0
        assert upstream.calls == 3


@pytest.mark.parametrize("kind", ["valkey", "sqlite"])
async def test_what_is_purged_while_others_wait_for_it_is_not_served_to_them(
    kind: str, upstream: EchoUpstream, tmp_path: Path, servers: Callable[[str], str]
) -> None:
    assert upstream.gate is not None
    store = servers(kind)
    async with gateways(upstream, tmp_path, store) as three:
        await settled(three, upstream)
        upstream.gate.set()
        for gateway in three:
            await ask(gateway.port, request("kept before"))
        upstream.gate.clear()
        upstream.calls = 0
        leader = asyncio.ensure_future(ask(three[0].port, request()))
        await until(lambda: upstream.calls == 1)
        waiting = [asyncio.ensure_future(ask(gateway.port, request())) for gateway in three[1:]]
        for gateway in three[1:]:
            await boarded(gateway)
        purge = await asyncio.create_subprocess_exec(
            *(three[0].arguments[0], "-m", "payonce", "purge", "--all", "--store", store),
            stdout=asyncio.subprocess.DEVNULL,
        )
        assert await purge.wait() == 0
        for gateway in three:
            async with asyncio.timeout(60):
                while (await ask(gateway.port, request("kept before"), cache_control="only-if-cached")).status == 200:
                    pass  # it does not know of the purge yet
        upstream.gate.set()
        first, *others = await asyncio.gather(leader, *waiting)
        assert upstream.calls == 2
        right([first, *others])
        assert {answer.body for answer in others} == {others[0].body}
        assert others[0].body != first.body


async def test_a_client_that_leaves_while_its_gateway_waits_harms_nobody(
    upstream: EchoUpstream, tmp_path: Path, servers: Callable[[str], str]
) -> None:
    assert upstream.gate is not None
    async with gateways(upstream, tmp_path, servers("valkey")) as three:
        leader = asyncio.ensure_future(ask(three[0].port, request()))
        await until(lambda: upstream.calls == 1)
        leaves = asyncio.ensure_future(ask(three[1].port, request()))
        await boarded(three[1])
        leaves.cancel()
        await asyncio.wait([leaves])
        upstream.gate.set()
        right([await leader])
        again = await ask(three[1].port, request())
        assert upstream.calls == 1
        right([again])
        await landed(three[1])


@pytest.mark.parametrize("fault", ["freeze", "kill", "hole"])
@pytest.mark.parametrize("kind", [redis_server, memcached], ids=["valkey", "memcached"])
async def test_a_server_of_leases_that_goes_away_lets_who_waits_go(
    kind: Any, fault: str, upstream: EchoUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAYONCE_READ_BUDGET", "0.05")
    assert upstream.gate is not None
    with kind(tmp_path) as server, fault_proxy(server.port) as proxy:
        assert isinstance(server, Server)
        url = server.url.replace(str(server.port), str(proxy.port))
        async with gateways(upstream, tmp_path, url) as three:
            leader = asyncio.ensure_future(ask(three[0].port, request()))
            await until(lambda: upstream.calls == 1)
            waiting = [asyncio.ensure_future(ask(gateway.port, request())) for gateway in three[1:]]
            for gateway in three[1:]:
                await boarded(gateway)
            if fault == "hole":
                proxy.hole = True  # connections stay, new ones are accepted, and nothing is ever said
            else:
                getattr(server, fault)()
            started = time.monotonic()
            await until(lambda: upstream.calls == 3)
            assert time.monotonic() - started < WAIT / 2, "three questions that are not answered end the waiting"
            upstream.gate.set()
            right(await asyncio.gather(leader, *waiting))


async def test_nobody_waits_longer_than_it_may(
    upstream: EchoUpstream, tmp_path: Path, servers: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAYONCE_FLIGHT_WAIT", "0.5")
    assert upstream.gate is not None
    async with gateways(upstream, tmp_path, servers("valkey")) as three:
        leader = asyncio.ensure_future(ask(three[0].port, request()))
        await until(lambda: upstream.calls == 1)
        follower = asyncio.ensure_future(ask(three[1].port, request()))
        await until(lambda: upstream.calls == 2)
        assert await metric(three[1], "payonce_flights") == 1
        upstream.gate.set()
        right([await leader, await follower])
        await reached(three[1], 'payonce_flight_waits_total{outcome="in_vain"}', lambda waits: waits == 1)
