"""A store behind sentinels, with and without TLS, whose primary is killed: a gateway in a process of its own, and both
kinds of clients of the library, find again what stood there, from the replica.

What is asked for after the kill was never asked of that gateway or client, so a hit can't come from a memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.support.gateway import PATIENCE, GatewayChild, ask, until
from tests.support.sentinels import Watched, watched
from tests.support.servers import free_ports

from payonce import library
from payonce.config import Settings
from payonce.httpx2 import AsyncClient, Client
from payonce.stores.redis import RedisMedium
from payonce.testing.sim import SimulatedProvider

ENTRIES = 200
BOUND = 30.0
"""Seconds until hits are back, on a machine that does other things too: the sentinel needs about three."""
OURS = 15.0
"""Seconds of these that may pass after the replica was promoted: our own pauses are five at most."""
HEADERS = {"authorization": "Bearer sk-or-test"}


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Watched]:
    (tmp_path / "servers").mkdir()
    with watched(tmp_path / "servers", tls=request.param) as running:
        yield running


class Questions:
    """Questions of which each is asked once of the one who looks; `fill` has all answers stored."""

    def __init__(self) -> None:
        self._left = iter(range(ENTRIES))
        self.missed = 0

    def fill(self, one: Callable[[str], bool], servers: Watched) -> None:
        for number in range(ENTRIES):
            one(f"kept {number}")
        assert until(lambda: servers.primary.say("DBSIZE") > ENTRIES, 60), "entries, and the book of purges"
        assert until(servers.is_level, 60)

    def next(self) -> str:
        return f"kept {next(self._left)}"


async def hits_again(look: Callable[[str], Awaitable[bool]], questions: Questions, seconds: float) -> float:
    """When the first of three hits in a row was there, on the monotonic clock."""
    end, row, since = time.monotonic() + seconds, 0, 0.0
    while row < 3:
        assert time.monotonic() < end, "there are no hits any more"
        since = since if row else time.monotonic()
        hit = await look(questions.next())
        row = row + 1 if hit else 0
        questions.missed += not hit
        await asyncio.sleep(0.2)
    return since


async def promoted(servers: Watched) -> float:
    """When the replica has become the primary."""
    assert await asyncio.to_thread(until, servers.is_promoted, BOUND)
    return time.monotonic()


async def survives(look: Callable[[str], Awaitable[bool]], questions: Questions, servers: Watched) -> str:
    """Kill the primary; what stood there is found again, and what is new is kept."""
    await hits_again(look, questions, BOUND)
    questions.missed = 0
    servers.primary.kill()
    killed, promotion = time.monotonic(), asyncio.create_task(promoted(servers))
    back = await hits_again(look, questions, BOUND)
    replaced = await promotion
    assert questions.missed > 0, "it was felt"
    assert back - replaced < OURS
    numbers = iter(range(1000))
    async with asyncio.timeout(BOUND):
        while True:
            name = f"new {next(numbers)}"
            await look(name)
            if await look(name):
                break
    return f"replaced after {replaced - killed:.2f} s, hits after {back - killed:.2f} s"


def gateway(sim: SimulatedProvider, servers: Watched, home: Path, store: str = "") -> GatewayChild:
    """One that waits for a busy machine; that a server was killed is known at once, however long it would wait."""
    arguments = ("--port", "0", "--cache", "all", "--upstream", sim.base_url, "--store", store or servers.url)
    return GatewayChild(home, *arguments, PAYONCE_FAST_LANE="false", PAYONCE_SECRET_FILE=str(home / "secret"))


def asked(child: GatewayChild, text: str) -> bool:
    reply = child.post(ask(text))
    assert reply.status == 200
    assert reply.json()["choices"]
    return reply.hit


async def test_a_gateway_whose_primary_is_killed_serves_again_what_stood_there(
    servers: Watched, sim: SimulatedProvider, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = Questions()
    with gateway(sim, servers, tmp_path) as one, gateway(sim, servers, tmp_path) as two:
        await asyncio.to_thread(questions.fill, lambda text: asked(one, text), servers)

        async def look(text: str) -> bool:
            return await asyncio.to_thread(asked, two, text)

        said = await survives(look, questions, servers)
        assert until(lambda: not any("does not answer" in note for note in two.get("/readyz").json()["notes"]), 30)
    with capsys.disabled():
        print(f"\nA primary behind a sentinel{' over TLS' * servers.tls} was killed: {said}")


async def test_a_control_without_a_sentinel_nothing_is_found_again(sim: SimulatedProvider, tmp_path: Path) -> None:
    (tmp_path / "servers").mkdir()
    questions = Questions()
    with watched(tmp_path / "servers") as servers, gateway(sim, servers, tmp_path) as one:
        await asyncio.to_thread(questions.fill, lambda text: asked(one, text), servers)
        with gateway(sim, servers, tmp_path, servers.primary.url) as two:

            async def look(text: str) -> bool:
                return await asyncio.to_thread(asked, two, text)

            await hits_again(look, questions, BOUND)
            servers.primary.kill()
            await promoted(servers)
            with pytest.raises(AssertionError, match="no hits"):
                await hits_again(look, questions, 3.0)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
async def test_a_client_whose_primary_is_killed_finds_again_what_stood_there(
    asynchronous: bool, servers: Watched, sim: SimulatedProvider, tmp_path: Path
) -> None:
    questions, url = Questions(), f"{sim.base_url}/chat/completions"
    settings = Settings(store=servers.url, secret_file=str(tmp_path / "secret"), fast_lane=False, read_budget=PATIENCE)
    with Client(cache="all", settings=settings) as writer:

        def stored(text: str) -> bool:
            return was_hit(writer.post(url, json=ask(text), headers=HEADERS))

        await asyncio.to_thread(questions.fill, stored, servers)
    async with AsyncExitStack() as stack:
        if asynchronous:
            client = await stack.enter_async_context(AsyncClient(cache="all", settings=settings))

            async def look(text: str) -> bool:
                return was_hit(await client.post(url, json=ask(text), headers=HEADERS))
        else:
            here = stack.enter_context(Client(cache="all", settings=settings))

            async def look(text: str) -> bool:
                return was_hit(await asyncio.to_thread(here.post, url, json=ask(text), headers=HEADERS))

        await survives(look, questions, servers)
        if asynchronous:
            async with asyncio.timeout(BOUND):  # a loop gets a new connection where a late reply cost it one
                while not lines_of_loops():
                    await look("new 0")
        assert bool(lines_of_loops()) is asynchronous, "an event loop reads by connections of its own, from the replica"


def was_hit(response: Any) -> bool:
    assert response.status_code == 200
    assert response.json()["choices"]
    return bool(response.headers.get("x-openrouter-cache-status") == "HIT")


def lines_of_loops() -> int:
    """How many connections event loops have, to the primary that is known now."""
    [world] = library._worlds.values()
    medium = world.tiers.behind._live.medium  # type: ignore[union-attr]
    assert isinstance(medium, RedisMedium)
    return sum(sum(node.lanes.counts) for node in medium.wire.nodes(time.monotonic() + 5))


async def test_sentinels_of_which_one_is_gone_are_asked_in_turn(sim: SimulatedProvider, tmp_path: Path) -> None:
    (tmp_path / "servers").mkdir()
    with watched(tmp_path / "servers") as servers:
        [nobody] = free_ports(1)
        store = servers.url.replace("://", f"://127.0.0.1:{nobody},")
        with gateway(sim, servers, tmp_path, store) as one:
            assert until(lambda: asked(one, "twice"), 30)
            assert one.get("/readyz").json()["status"] == "ok"
