"""The fault matrix of a shared store, through a real gateway: whatever a server does costs misses, never an answer.

The gateway reads on its event loop; with "by threads" that is taken from it, so that every row holds for both ways.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.gateway import PATIENCE, RunningGateway, Wire, ask, post, running_gateway, until
from tests.support.servers import RedisServer, Server, memcached, redis_server

from payonce.gateway.shelf import Shelf
from payonce.ledger.tally import summary
from payonce.stores.memcached import MemcachedMedium
from payonce.stores.shared import SharedStore
from payonce.testing.sim import SimulatedProvider

PATH = "/api/v1/chat/completions"
WAY = {"fast_lane": False}
"""How gateways are set up, unless said otherwise."""


def by_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on no loop reads."""

    async def get_soon(self: SharedStore, slots: Sequence[bytes]) -> None:
        return None

    monkeypatch.setattr(SharedStore, "get_soon", get_soon)
    monkeypatch.setattr(SharedStore, "ask_for", lambda _store, _slot: None)


def by_the_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on gateways tell hits without a task, where they can; there is nothing on their shelves."""
    monkeypatch.setattr(Shelf, "put", lambda *_: None)
    monkeypatch.setitem(WAY, "fast_lane", True)


@pytest.fixture(params=["by the lane", "by threads"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[RedisServer]:
    (by_threads if "threads" in request.param else by_the_lane)(monkeypatch)
    with redis_server(tmp_path) as running:
        yield running


@pytest.fixture(params=["redis", "redis by the lane", "redis by threads", "memcached by the lane"])
def any_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    if "threads" in request.param:
        by_threads(monkeypatch)
    if "lane" in request.param:
        by_the_lane(monkeypatch)
    with memcached(tmp_path) if "memcached" in request.param else redis_server(tmp_path) as running:
        yield running


@pytest.fixture
def proxy(request: pytest.FixtureRequest) -> Iterator[FaultProxy]:
    name = "any_server" if "any_server" in request.fixturenames else "server"
    with fault_proxy(request.getfixturevalue(name).port) as running:
        running.url = request.getfixturevalue(name).url.replace(str(running.target), str(running.port))
        yield running


@pytest.fixture
def start(sim: SimulatedProvider, proxy: FaultProxy, tmp_path: Path) -> Iterator[Callable[..., RunningGateway]]:
    """Starts a gateway on the store behind the proxy; all share a secret. Without shelf and memory unless said so, and
    as patient with the store as gateways usually are."""
    with ExitStack() as stack:

        def started(**options: Any) -> RunningGateway:
            usual = {"memory_bytes": 1 << 16, "read_budget": 0.05, "secret_file": str(tmp_path / "secret")}
            chosen = usual | WAY | options
            chosen.setdefault("store", proxy.url)
            return stack.enter_context(running_gateway(sim.base_url, **chosen))

        yield started


def answers(gateway: RunningGateway, texts: list[str], **fields: str) -> list[Any]:
    """One request for each text, one after the other on one connection: all must be answered 200, rightly."""
    with gateway.wire(10.0) as wire:
        return [asked(wire, gateway, text, **fields) for text in texts]


def asked(wire: Wire, gateway: RunningGateway, text: str, **fields: str) -> Any:
    started = time.perf_counter()
    wire.send(post(ask(text), PATH, gateway.host, fields))
    reply = wire.reply()
    reply.seconds = time.perf_counter() - started  # type: ignore[attr-defined]
    assert reply.status == 200, reply.body
    assert json.loads(reply.body)["choices"]
    return reply


def said_of_a_stream(gateway: RunningGateway, text: str) -> str:
    """The `Cache-Status` of an answer that is streamed."""
    with gateway.wire(10.0) as wire:
        wire.send(post(ask(text, stream=True), PATH, gateway.host))
        reply = wire.reply()
    assert reply.status == 200 and reply.body.endswith(b"data: [DONE]\n\n")
    return reply["cache-status"]


def hits(replies: list[Any]) -> int:
    return sum(reply.hit for reply in replies)


def texts(name: str, count: int) -> list[str]:
    return [f"{name} {number}" for number in range(count)]


def stored(gateway: RunningGateway, names: list[str]) -> None:
    """Ask, and wait until the server has it all; once more what a stopped machine has lost, a second being all that a
    write may take."""
    answers(gateway, names)
    for _ in range(10):
        if gateway.gateway.world.tiers.behind.flush(30):
            return
        answers(gateway, names, x_openrouter_cache_clear="true")
    raise AssertionError("it never has all of it")


def ready(gateway: RunningGateway) -> dict[str, Any]:
    with gateway.wire() as wire:
        wire.send(f"GET /readyz HTTP/1.1\r\nHost: {gateway.host}\r\n\r\n".encode())
        page: dict[str, Any] = json.loads(wire.reply().body)
        return page


def reasons(gateway: RunningGateway) -> dict[str, int]:
    counts = gateway.run(lambda: dict(gateway.gateway.world.ledger.now.counts))
    return {name.removeprefix("reasons."): count for name, count in counts.items() if name.startswith("reasons.")}


def hits_again(gateway: RunningGateway, name: str, seconds: float = 20.0) -> bool:
    """Whether something new is stored and found within that time."""
    numbers = iter(range(10_000))

    def found() -> bool:
        text = f"{name} again {next(numbers)}"
        answers(gateway, [text])
        gateway.gateway.world.tiers.behind.flush(0.3)
        return hits(answers(gateway, [text])) == 1

    return until(found, seconds)


def connections_of_loops(gateway: RunningGateway) -> int:
    """How many connections the gateway's own loop reads by."""
    medium = gateway.gateway.world.tiers.behind._live.medium
    nodes = medium.nodes if isinstance(medium, MemcachedMedium) else medium.wire.nodes(time.monotonic() + 5)
    return sum(sum(node.lanes.counts) for node in nodes)


def test_a_control_without_faults_all_are_hits(
    start: Callable[..., RunningGateway], any_server: Server, request: pytest.FixtureRequest
) -> None:
    one, two = start(read_budget=PATIENCE), start(read_budget=PATIENCE)  # a read may be late without any fault
    stored(one, texts("control", 50))
    assert hits(answers(two, texts("control", 50))) == 50, reasons(two)
    if "threads" in request.node.callspec.params["any_server"]:
        assert connections_of_loops(two) == 0
    else:
        assert until(lambda: connections_of_loops(two) > 0)
        assert hits(answers(two, texts("control", 50))) == 50, reasons(two)
    assert ready(two)["status"] == "ok"
    assert ready(two)["dropped"] == {}


def test_a_server_that_is_down_at_the_start_costs_misses_and_is_found_when_it_comes(
    start: Callable[..., RunningGateway], any_server: Server
) -> None:
    any_server.kill()
    gateway = start(store=any_server.url)
    assert hits(answers(gateway, texts("down", 300))) == 0
    page = ready(gateway)
    assert page["status"] == "degraded"
    assert any("does not answer" in note for note in page["notes"])
    assert reasons(gateway)["store-down"] > 250
    any_server.start()
    assert hits_again(gateway, "down")
    assert until(lambda: not any("does not answer" in note for note in ready(gateway)["notes"]))


def test_a_server_that_is_killed_and_comes_back_empty_costs_misses(
    start: Callable[..., RunningGateway], any_server: Server
) -> None:
    gateway = start(store=any_server.url, read_budget=PATIENCE)  # a dead server says so at once
    stored(gateway, texts("killed", 20))
    assert hits(answers(gateway, texts("killed", 20))) == 20, reasons(gateway)
    any_server.kill()
    assert hits(answers(gateway, texts("killed", 100))) <= 20
    any_server.start()
    assert hits_again(gateway, "killed")


def test_a_connection_cut_after_any_number_of_bytes_costs_one_miss(
    start: Callable[..., RunningGateway], proxy: FaultProxy, any_server: Server
) -> None:
    gateway = start()
    stored(gateway, ["cut"])
    for size in range(0, 160, 3):
        proxy.reset_after = size
        proxy.cut()
        answers(gateway, ["cut"])
    proxy.heal()
    assert hits_again(gateway, "cut")
    assert gateway.gateway.world.tiers.dropped["damaged"] == 0


@pytest.mark.parametrize("how", ["frozen", "hole"])
def test_a_server_that_is_silent_adds_the_budget_and_then_nothing(
    how: str, start: Callable[..., RunningGateway], proxy: FaultProxy, any_server: Server
) -> None:
    gateway, control = start(), start(store="memory:")
    stored(gateway, texts(how, 30))
    beside(gateway, control, texts(how + " warm", 30))
    if how == "hole":
        proxy.hole = True
    else:
        any_server.freeze()
    silent, calm = beside(gateway, control, texts(how + " first", 100))
    assert p99(silent) < 0.5 + p99(calm), "bounded; benchmarks/parts/shared.py says by how much"
    assert until(lambda: gateway.gateway.world.trouble() != "", 20), "the breaker opens"
    silent, calm = beside(gateway, control, texts(how + " later", 200))
    assert statistics.median(silent) - statistics.median(calm) < 0.025
    assert reasons(gateway).get("store-slow", 0) + reasons(gateway).get("store-fault", 0) >= 1
    assert reasons(gateway)["store-down"] >= 200
    proxy.heal()
    any_server.thaw()
    assert hits_again(gateway, how)


def beside(gateway: RunningGateway, control: RunningGateway, names: list[str]) -> tuple[list[float], list[float]]:
    """How long the answers took of a gateway, and of one that has no server to wait for, in turns."""
    times: tuple[list[float], list[float]] = ([], [])
    with gateway.wire(10.0) as one, control.wire(10.0) as two:
        for name in names:
            times[0].append(asked(one, gateway, name).seconds)
            times[1].append(asked(two, control, name).seconds)
    return times


def p99(times: list[float]) -> float:
    return sorted(times)[len(times) * 99 // 100 - 1]


def test_a_slow_server_costs_its_budget_until_the_breaker_opens(
    start: Callable[..., RunningGateway], proxy: FaultProxy, any_server: Server
) -> None:
    gateway = start()
    stored(gateway, texts("slow", 20))
    proxy.latency = slow = 1.0
    replies = answers(gateway, texts("slow", 40))
    assert hits(replies) == 0
    assert statistics.median(reply.seconds for reply in replies) < slow, "nobody waits for its answers"
    assert until(lambda: gateway.gateway.world.trouble() != "", 20)
    proxy.heal()
    assert hits_again(gateway, "slow")


def test_a_server_that_drips_holds_no_thread(
    start: Callable[..., RunningGateway], proxy: FaultProxy, any_server: Server
) -> None:
    gateway = start()
    stored(gateway, texts("drip", 20))
    proxy.sliver, proxy.latency = 1, 0.02
    assert hits(answers(gateway, texts("drip", 20))) == 0
    proxy.heal()
    assert hits_again(gateway, "drip")


@pytest.mark.parametrize(
    "garbage",
    [
        lambda data: b"\x00\xff" * 40,
        lambda data: b"$536870912\r\n" + b"x" * 100_000,
        lambda data: b":42\r\n",
        lambda data: b"*2\r\n:1\r\n:2\r\n",
        lambda data: data + b"$5\r\nextra\r\n",
        lambda data: b"+OK\r\n" + data,
        lambda data: data[: len(data) // 2] + b"\r\n",
        lambda data: b"-WRONG thing\r\n",
        lambda data: bytes(byte ^ 1 for byte in data),
        lambda data: b"VA 99999999999 O1\r\n" + data,
        lambda data: b"EN\r\n" + data,
        lambda data: b"HD O7\r\n",
        lambda data: b"x" * 100_000,
    ],
)
def test_garbage_is_never_an_answer(
    garbage: Callable[[bytes], bytes], start: Callable[..., RunningGateway], proxy: FaultProxy, any_server: Server
) -> None:
    gateway = start()
    stored(gateway, texts("garbage", 20))
    proxy.garble = garbage
    before = [reply.body for reply in answers(gateway, texts("garbage", 40))]
    assert all(json.loads(body)["choices"] for body in before)
    proxy.heal()
    proxy.cut()
    assert hits_again(gateway, "garbage")


def test_a_server_that_swaps_values_costs_counted_misses(
    start: Callable[..., RunningGateway], server: RedisServer
) -> None:
    gateway = start(read_budget=PATIENCE)
    names = texts("swap", 200)
    stored(gateway, names)
    client = server.client()
    keys = sorted(client.scan_iter(match="payonce:e:*"))
    values = [client.get(key) for key in keys]
    assert len(keys) == 200
    for key, value in zip(keys, values[1:] + values[:1], strict=True):
        client.set(key, value)
    client.close()
    other = start(read_budget=PATIENCE)
    replies = answers(other, names)
    assert hits(replies) == 0
    told = reasons(other)
    assert told["damaged"] == 200
    assert ready(other)["dropped"]["damaged"] >= told["damaged"], "who claims a flight looks once more"


def test_flipped_bits_and_cut_values_are_misses(start: Callable[..., RunningGateway], server: RedisServer) -> None:
    gateway = start()
    stored(gateway, ["bits"])
    client = server.client()
    [key] = client.scan_iter(match="payonce:e:*")
    whole = client.get(key)
    assert isinstance(whole, bytes)
    for place in range(0, len(whole), 7):
        client.set(key, whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        answers(gateway, ["bits"])
        client.set(key, whole[:place])
        answers(gateway, ["bits"])
    client.close()


def figures(gateway: RunningGateway) -> dict[str, Any]:
    """What `payonce stats` sums up."""
    return summary(gateway.run(lambda: gateway.gateway.world.ledger.now))


def fill(client: Any) -> None:
    """Put large values, then ever smaller ones, until there is no room for any."""
    for size in (20_000, 1000, 50, 1):
        with contextlib.suppress(redis.exceptions.OutOfMemoryError):
            for number in range(10_000):
                client.set(f"filler {size} {number}", bytes(size))


def test_a_full_server_still_answers_and_says_so(sim: SimulatedProvider, tmp_path: Path) -> None:
    with (
        redis_server(tmp_path, "--maxmemory", "3mb", "--maxmemory-policy", "noeviction") as server,
        running_gateway(
            sim.base_url,
            store=server.url,
            fast_lane=False,
            memory_bytes=1 << 16,
            secret_file=str(tmp_path / "s"),
        ) as gateway,
    ):
        stored(gateway, texts("room", 5))
        client = server.client()
        fill(client)
        more = iter(texts("no room", 10_000))
        assert until(lambda: bool(answers(gateway, [next(more)])) and "store-full" in ready(gateway)["dropped"])
        streamed = said_of_a_stream(gateway, "no room for a stream")
        assert streamed == "payonce; fwd=miss; detail=store-full", "so much is known when its head is sent"
        assert hits(answers(gateway, texts("room", 5))) == 5, f"reads go on: {reasons(gateway)}"
        assert until(lambda: figures(gateway)["dropped"].get("store-full", 0) > 0), "payonce stats will say so"
        client.flushall()
        client.close()
        assert hits_again(gateway, "room")
        streams = iter(texts("room for a stream", 10_000))
        assert until(lambda: said_of_a_stream(gateway, next(streams)) == "payonce; fwd=miss; stored")


def test_rights_that_are_taken_away_cost_misses_and_come_back(
    start: Callable[..., RunningGateway], server: RedisServer, proxy: FaultProxy
) -> None:
    rights = ("on", ">pw-8f2c", "~payonce:*", "+@all")
    server.say("ACL", "SETUSER", "app", *rights)
    gateway = start(store=f"redis://app:pw-8f2c@127.0.0.1:{proxy.port}")
    stored(gateway, texts("rights", 10))
    for taken in ("-set", "-get", "-zmscore"):
        server.say("ACL", "SETUSER", "app", taken)
        answers(gateway, texts("rights", 10) + texts(f"without {taken}", 10))
        server.say("ACL", "SETUSER", "app", "+@all")
        assert hits_again(gateway, f"rights {taken}")
    server.say("ACL", "SETUSER", "app", "resetpass", ">other")
    proxy.cut()
    answers(gateway, texts("rights", 20))
    assert until(lambda: "pw-8f2c" not in str(ready(gateway)) and ready(gateway)["status"] == "degraded")
    server.say("ACL", "SETUSER", "app", ">pw-8f2c")
    assert hits_again(gateway, "password")


def test_a_primary_that_becomes_a_replica_is_read_only_and_costs_no_answer(
    start: Callable[..., RunningGateway], server: RedisServer, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    with redis_server(tmp_path / "other") as other:
        gateway = start()
        stored(gateway, texts("replica", 10))
        server.say("REPLICAOF", "127.0.0.1", other.port)
        answers(gateway, texts("replica", 20))
        answers(gateway, texts("replica more", 20))
        server.say("REPLICAOF", "NO", "ONE")
        assert hits_again(gateway, "replica")


def test_a_server_that_is_loading_costs_misses(sim: SimulatedProvider, tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        secret = str(tmp_path / "secret")
        with running_gateway(sim.base_url, store=server.url, fast_lane=False, secret_file=secret) as gateway:
            stored(gateway, texts("loading", 5))
            client = server.client()
            pipe = client.pipeline(transaction=False)
            for number in range(60_000):
                pipe.set(f"load {number}", b"x" * 50)
            pipe.execute()
            client.execute_command("CONFIG", "SET", "key-load-delay", "50")
            client.execute_command("SAVE")
            client.close()
            server.kill()
            server.command += ["--key-load-delay", "50", "--loading-process-events-interval-bytes", "1024"]
            server.start()
            replies = answers(gateway, texts("loading", 60))
            assert len(replies) == 60
            assert "LOADING" in gateway.gateway.world.trouble() or hits_again(gateway, "loading")
            assert hits_again(gateway, "loaded", 60)
