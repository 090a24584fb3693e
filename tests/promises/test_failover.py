"""A cluster of six nodes loses a primary under the load of 64 clients on three gateways: no error, no wrong answer, and
what stood on the lost node is served again within the node timeout and five seconds.

It is known of every entry on which node it stands, so what is asked for afterwards is what was lost: each entry once,
on a gateway that has never seen it, so that a hit comes from the replica and not from a memory.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.promises.test_one_call import PATH, request
from tests.support.echo_upstream import EchoUpstream, misread
from tests.support.process import GatewayProcess
from tests.support.raw_client import RawClient
from tests.support.servers import Cluster, RedisServer, redis_cluster, redis_server

CLIENTS = 64
NODE_TIMEOUT = 2.0
BOUND = NODE_TIMEOUT + 5.0
SLACK = 2.0
"""On a machine that does other things too, the cluster itself takes longer."""
KEPT = 300
"""Entries that are stored before: about 100 on each primary, one for each look afterwards."""
PACE = 0.1
"""Seconds between two questions of a client."""
LOOK = 0.2
"""Seconds between two looks whether hits are back."""
PREFIX = b"payonce:"


@pytest.fixture(autouse=True)
def _one_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(range(32)))
    secret.chmod(0o600)
    monkeypatch.setenv("PAYONCE_SECRET_FILE", str(secret))
    monkeypatch.setenv("PAYONCE_MEMORY_BYTES", "65536")  # so that most is read from the cluster
    monkeypatch.setenv("PAYONCE_READ_BUDGET", "0.5")  # a busy machine is not a lost node


@dataclass
class Tally:
    """What clients were told."""

    right: int = 0
    hits: int = 0
    wrong: int = 0
    errors: int = 0
    slowest: float = 0.0

    async def ask(self, client: RawClient, prompt: str) -> bool:
        """One request, checked against what the upstream says to that prompt; whether it was a hit."""
        started = time.monotonic()
        try:
            answer = await asyncio.wait_for(client.post(PATH, request(prompt), {"authorization": "Bearer k"}), 20)
        except (OSError, EOFError, TimeoutError):
            self.errors += 1
            client.leave()
            return False
        self.slowest = max(self.slowest, time.monotonic() - started)
        if answer.status != 200 or not answer.whole:
            self.errors += 1
            return False
        if misread(answer.content(), "Bearer k", prompt):
            self.wrong += 1
            return False
        hit = answer.fields.get("x-openrouter-cache-status") == "HIT"
        self.right += 1
        self.hits += hit
        return hit


@asynccontextmanager
async def load(three: list[GatewayProcess], tally: Tally) -> AsyncIterator[None]:
    """Clients that ask what was asked before and what was not, one question after the other, until the block ends."""
    stop = asyncio.Event()

    async def client(number: int) -> None:
        dice, link = random.Random(number), RawClient(three[number % len(three)].port)
        while not stop.is_set():
            new = dice.random() < 0.2
            await tally.ask(link, f"new {number} {dice.random()}" if new else f"again {dice.randrange(400)}")
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), PACE)
        link.leave()

    clients = [asyncio.create_task(client(number)) for number in range(CLIENTS)]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*clients)


@asynccontextmanager
async def gateways(folder: Path, store: str, *bugs: str) -> AsyncIterator[list[GatewayProcess]]:
    async with AsyncExitStack() as stack:
        upstream = EchoUpstream(delay=0.002)
        await upstream.start()
        stack.push_async_callback(upstream.stop)
        processes = [GatewayProcess(upstream.port, folder, store=store, bug=bug) for bug in bugs]
        yield [await stack.enter_async_context(process) for process in processes]


def entries(node: RedisServer) -> int:
    """How many stand there."""
    with closing(node.client()) as client:
        return len(set(client.scan_iter(match=PREFIX + b"e:*", count=10_000)))


def has_epochs(node: RedisServer) -> bool:
    """Whether the book of epochs stands there."""
    with closing(node.client()) as client:
        return PREFIX + b"book" in client.scan_iter(count=10_000)


async def until(true: Callable[[], object], seconds: float) -> float:
    """When it came true, on the monotonic clock."""
    end = time.monotonic() + seconds
    while not await asyncio.to_thread(true):
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.01)
    return time.monotonic()


async def kept(gateway: GatewayProcess, cluster: Cluster, tally: Tally) -> list[list[str]]:
    """Ask `KEPT` questions of one gateway: those whose answers stand on the first primary, the second, the third."""
    client, now = RawClient(gateway.port), [0, 0, 0]
    places: list[list[str]] = [[], [], []]

    def more() -> bool:
        now[:] = [entries(node) for node in cluster.nodes[:3]]
        return now != before

    for number in range(KEPT):
        before = list(now)
        await tally.ask(client, f"kept {number}")
        await until(more, 30)
        [place] = [at for at in range(3) if now[at] > before[at]]
        places[place].append(f"kept {number}")
    client.leave()
    return places


async def looked_for(gateway: GatewayProcess, prompts: list[str], tally: Tally) -> tuple[int, float]:
    """Ask for one after the other, which are taken from `prompts`, until three in a row are hits: how many were none,
    and when the first of the three was there."""
    client, missed, row, since = RawClient(gateway.port), 0, 0, 0.0
    while row < 3:
        hit = await tally.ask(client, prompts.pop())
        since = since if row else time.monotonic()
        row = row + 1 if hit else 0
        missed += not hit
        await asyncio.sleep(LOOK)
    client.leave()
    return missed, since


async def answers(gateway: GatewayProcess, prompts: list[str], tally: Tally) -> list[bool]:
    """Whether each is a hit."""
    client = RawClient(gateway.port)
    found = [await tally.ask(client, prompt) for prompt in prompts]
    client.leave()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["the epochs", "entries alone"])
async def test_a_primary_that_is_killed_under_load_costs_misses_and_its_entries_are_hits_again(
    lost: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cluster").mkdir()
    tally = Tally()
    with redis_cluster(tmp_path / "cluster", node_timeout=round(NODE_TIMEOUT * 1000)) as cluster:
        async with gateways(tmp_path, cluster.url, "none", "none", "none") as three:
            places = await kept(three[0], cluster, tally)
            place = next(at for at in range(3) if has_epochs(cluster.nodes[at]) is (lost == "the epochs"))
            primary, replica, theirs = cluster.nodes[place], cluster.nodes[3 + place], places[place]
            async with load(three, tally):
                missed, _ = await looked_for(three[1], theirs, tally)
                primary.kill()
                killed, before = time.monotonic(), tally.right
                promotion = asyncio.create_task(until(lambda: replica.say("ROLE")[0] == b"master", BOUND * SLACK))
                missed, since = await looked_for(three[1], theirs, tally)
                took, during = since - killed, tally.right - before
                promoted = await promotion - killed
                found = await answers(three[2], theirs, tally)
    with capsys.disabled():
        print(f"\nA primary with {lost} was killed: replaced after {promoted:.2f} s, hits after {took:.2f} s. {tally}")
    assert tally.errors == tally.wrong == 0
    assert missed > 0, "it was felt"
    assert during > CLIENTS
    assert took < BOUND * SLACK
    assert took - promoted < BOUND - NODE_TIMEOUT, "what of it is ours, on any machine"
    assert sum(found) >= len(found) * 0.9, "the replica had nearly everything"


async def test_a_control_wrong_answers_and_errors_are_seen(tmp_path: Path) -> None:
    tally = Tally()
    with redis_server(tmp_path) as server:
        async with gateways(tmp_path, server.url, "none", "none", "prompt-cut") as three:
            async with load(three[:2], tally):
                await until(lambda: tally.right > CLIENTS, 60.0)
            assert tally.errors == tally.wrong == 0
            async with load(three, tally):
                await until(lambda: tally.wrong > 0, 60.0)
                assert tally.errors == 0
                await three[0].kill()
                await until(lambda: tally.errors > 0, 60.0)
