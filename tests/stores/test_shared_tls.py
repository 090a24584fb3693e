"""A store over TLS, read by threads and on an event loop: the contract, values of all sizes, broken connections, and a
server that nobody vouches for. Sentinels over TLS: test_shared_sentinels.py."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import cast

import pytest
from store_faults import about_now
from tests.support.certificates import make_certificates, server_options, url_options
from tests.support.fault_proxy import fault_proxy
from tests.support.gateway import PATIENCE, GatewayChild, ask, running_gateway, until
from tests.support.on_a_loop import OnALoop
from tests.support.servers import REDIS, RedisServer, free_ports, redis_server, release

from payonce.config import Settings
from payonce.httpx2 import AsyncClient, Client
from payonce.model.ports import Store
from payonce.stores.redis import RedisMedium
from payonce.stores.registry import open_store
from payonce.stores.shared import SharedStore
from payonce.testing import StoreContract
from payonce.testing.contract import slot_of
from payonce.testing.sim import SimulatedProvider

pytestmark = pytest.mark.usefixtures("patient")


@contextmanager
def tls_server(folder: Path) -> Iterator[tuple[RedisServer, int]]:
    """A server, and its port for TLS; `ca.pem`, `cert.pem` and `key.pem` are in the folder."""
    make_certificates(folder)
    [port] = free_ports(1)
    try:
        with redis_server(folder, *server_options(folder, port), kind=REDIS) as server:
            yield server, port
    finally:
        release(port)


class TestOverTls(StoreContract):
    """The contract."""

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _server(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        folder = tmp_path_factory.mktemp("tls")
        with tls_server(folder) as (_, port):
            cls.url = f"rediss://localhost:{port}?{url_options(folder)}"
            yield

    def open(self) -> Store:
        self.prefix = f"t{time.monotonic_ns()}:"
        return self.shared(None)

    def shared(self, store: Store | None) -> Store:
        return open_store(f"{self.url}&prefix={self.prefix}", clock=self.clock)

    def test_a_certificate_of_nobody_we_know_is_refused(self) -> None:
        with closing(open_store(self.url.split("?")[0])) as store, pytest.raises(Exception, match=r"(?i)certificate"):
            store.raise_epoch("all")


class TestOverTlsOnALoop(TestOverTls):
    """The same, read on an event loop."""

    def shared(self, store: Store | None) -> Store:
        opened = OnALoop(cast("SharedStore", super().shared(store)))
        assert until(lambda: opened.get(b"-" * 33) is None and opened.asked > 0), "the loop has a connection"
        return cast("Store", opened)


async def test_values_of_any_size_come_whole_on_a_loop(tmp_path: Path) -> None:
    with tls_server(tmp_path) as (_, port):
        url = f"rediss://127.0.0.1:{port}?{url_options(tmp_path)}"
        with closing(cast("SharedStore", open_store(url))) as store:
            sizes = (1, 16_000, 16_384, 16_385, 65_536, 70_000, 600_000, 3_000_000)  # a record of TLS has 16 KiB
            values = {slot_of(size): random.Random(size).randbytes(size) for size in sizes}
            for slot, value in values.items():
                store.put(slot, value, about_now(time.time()))
            assert await asyncio.to_thread(store.flush)
            async with asyncio.timeout(20):
                while await store.get_soon(list(values)) is None:
                    await asyncio.to_thread(store.epochs)
            found = await asyncio.gather(*(store.get_soon([slot]) for slot in [*values] * 5))
            assert [value for [value] in found] == [*values.values()] * 5  # type: ignore[misc]


def test_gateways_share_answers_over_tls_and_find_the_server_again(sim: SimulatedProvider, tmp_path: Path) -> None:
    with tls_server(tmp_path) as (server, port):
        store = f"rediss://localhost:{port}?{url_options(tmp_path)}"
        with gateway(sim, tmp_path, store) as one, gateway(sim, tmp_path, store) as two:
            before = sim.bill.calls
            assert stored(one, "before") == 20
            assert until(lambda: server.say("DBSIZE") > 20)
            assert hits(two, "before") >= 19, "the first may be asked before there is a connection"
            assert sim.bill.calls == before + 20, "and is then brought by who claims the call"
            server.kill()
            assert hits(two, "down") == 0
            assert until(lambda: two.get("/readyz").json()["status"] == "degraded")
            server.start()
            numbers = iter(range(10_000))

            def again() -> bool:
                name = f"after {next(numbers)}"
                return hits(one, name, 1) == 0 and until(lambda: hits(two, name, 1) == 1, 0.5)

            assert until(again, 60)


def gateway(sim: SimulatedProvider, home: Path, store: str) -> GatewayChild:
    """One in a process of its own, that keeps next to nothing in memory."""
    arguments = ("--port", "0", "--cache", "all", "--upstream", sim.base_url, "--store", store)
    small = {"PAYONCE_MEMORY_BYTES": "65536", "PAYONCE_FAST_LANE": "false"}
    return GatewayChild(home, *arguments, PAYONCE_SECRET_FILE=str(home / "secret"), **small)


def hits(child: GatewayChild, name: str, count: int = 20) -> int:
    replies = [child.post(ask(f"{name} {number}")) for number in range(count)]
    assert all(reply.status == 200 and reply.json()["choices"] for reply in replies)
    return sum(reply.hit for reply in replies)


def stored(child: GatewayChild, name: str) -> int:
    return 20 - hits(child, name)


@pytest.mark.parametrize("face", ["gateway", "sync", "async"])
async def test_a_server_that_nobody_vouches_for_costs_misses_and_is_named(
    face: str, sim: SimulatedProvider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with tls_server(tmp_path) as (server, port):
        url, store = f"{sim.base_url}/chat/completions", f"rediss://localhost:{port}"  # the system knows no such CA
        if face == "gateway":
            with gateway(sim, tmp_path, store) as child:
                assert await asyncio.to_thread(hits, child, "unknown") == 0
                assert until(lambda: "certificate" in str(child.get("/readyz").json()["notes"]).lower())
            assert b"certificate" in child.err.lower()
        else:
            settings = Settings(store=store, secret_file=str(tmp_path / "secret"), read_budget=PATIENCE)
            page = ask("q")
            if face == "sync":
                with Client(cache="all", settings=settings) as here:
                    answer = await asyncio.to_thread(here.post, url, json=page, headers={"authorization": "Bearer k"})
            else:
                async with AsyncClient(cache="all", settings=settings) as client:
                    answer = await client.post(url, json=page, headers={"authorization": "Bearer k"})
            assert answer.status_code == 200
            assert "certificate" in caplog.text.lower()
        assert server.say("DBSIZE") == 0


def test_connections_that_break_anywhere_cost_misses_and_no_answer(sim: SimulatedProvider, tmp_path: Path) -> None:
    with tls_server(tmp_path) as (_, port), fault_proxy(port) as proxy:
        options = {"memory_bytes": 1 << 16, "fast_lane": False, "secret_file": str(tmp_path / "secret")}
        store = f"rediss://localhost:{proxy.port}?{url_options(tmp_path)}"
        with running_gateway(sim.base_url, store=store, read_budget=1.0, **options) as running:
            behind = running.gateway.world.tiers.behind

            def hit(text: str) -> bool:
                reply = running.post(ask(text))
                assert reply.status == 200
                assert reply.json()["choices"]
                return reply.hit

            def lines() -> int:
                medium = behind._live.medium
                assert isinstance(medium, RedisMedium)
                return sum(sum(node.lanes.counts) for node in medium.wire._map.nodes.values())

            assert until(lambda: hit("kept") and behind.flush(1) and lines() == 2, 60), "the gateway's loop reads"
            for size in (*range(0, 600, 41), 1500, 3000, 4000):  # in the handshake, after it, and in an answer
                proxy.reset_after = size
                proxy.cut()
                hit("kept")
            proxy.heal()
            assert until(lambda: hit("kept") and lines() == 2, 60)
            proxy.garble = lambda data: bytes(byte ^ 1 for byte in data)
            for number in range(20):
                assert not hit(f"garbled {number}")
            proxy.heal()
            proxy.cut()
            numbers = iter(range(10_000))
            assert until(lambda: hit(f"{name}") if (name := f"healed {next(numbers) // 4}") else False, 60)
            assert running.gateway.world.tiers.dropped["damaged"] == 0
