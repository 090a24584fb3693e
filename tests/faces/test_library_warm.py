"""`warm` of the library's clients: what is warm is a hit for an SDK on the same store, and costs nothing again."""

from __future__ import annotations

import asyncio
import importlib
import json
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from payonce import Settings, SettingsError, StoreUnavailableError
from payonce.testing.sim import SimulatedProvider
from payonce.warming import Done, Request, Sent, Summary, Unread, Warmth, read_request, warm_threads
from tests.support.gateway import until
from tests.support.servers import free_ports, redis_server

KEY = "sk-or-warming"
MODULES = ["httpx", "httpx2"]

pytestmark = pytest.mark.usefixtures("closed_worlds")


def ask(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "sim/small", "temperature": 0, "messages": [{"role": "user", "content": text}], **more}


def warmed(name: str, asynchronous: bool, requests: Any, store: str, **options: Any) -> Summary:
    """Warm by a client of its own, sync or async, of one module or the other."""
    ours = importlib.import_module(f"payonce.{name}")
    client_options = {key: options.pop(key) for key in ("namespace", "cache", "sample") if key in options}
    client_options["settings"] = Settings(read_budget=20.0)  # however busy the machine is
    if not asynchronous:
        with ours.Client(store=store, **client_options) as client:
            return client.warm(requests, **options)

    async def main() -> Summary:
        async with ours.AsyncClient(store=store, **client_options) as client:
            return await client.warm(requests, **options)

    return asyncio.run(main())


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("name", MODULES)
def test_what_is_warm_is_a_hit_for_an_sdk_and_is_free_the_second_time(
    name: str, asynchronous: bool, sim: SimulatedProvider, tmp_path: Path
) -> None:
    store = f"sqlite:{tmp_path}/c.db"
    requests = [
        ask("one"),
        ask("two", stream=True),
        {"body": ask("three"), "endpoint": "/v1/chat/completions"},
        {"custom_id": "4", "method": "POST", "url": "/v1/chat/completions", "body": ask("four", top_p=0.25)},
        json.dumps(ask("five")),
        ask("one"),
        {"body": {"model": "sim/embed", "input": ["a", "b"]}, "endpoint": "embeddings"},
    ]
    told: list[Done] = []
    options: dict[str, Any] = {"base_url": sim.base_url, "api_key": KEY, "concurrency": 3}
    first = warmed(name, asynchronous, requests, store, on_progress=lambda done, _: told.append(done), **options)
    assert (first.warm, first.hits + first.kept, first.failed) == (True, 7, [])
    assert sorted(done.number for done in told) == [1, 2, 3, 4, 5, 6, 7]
    assert sim.bill.calls == 6
    assert first.spent == Decimal(first.cost) / 10**9 > 0
    assert float(first.spent) == pytest.approx(float(sim.bill.cost), abs=1e-8)
    again = warmed(name, not asynchronous, iter(requests), store, **options)
    assert (again.hits, again.kept, again.spent, sim.bill.calls) == (7, 0, 0, 6)

    from payonce.httpx2 import Client

    with (
        Client(store=store, settings=Settings(read_budget=20.0)) as http_client,
        openai.OpenAI(base_url=sim.base_url, api_key=KEY, max_retries=0, http_client=http_client) as sdk,
    ):
        for text, more in (("one", {}), ("two", {"stream": True}), ("three", {}), ("four", {"top_p": 0.25})):
            raw = sdk.chat.completions.with_raw_response.create(**ask(text, **more))
            assert raw.headers["x-openrouter-cache-status"] == "HIT", text
        assert (
            sdk.chat.completions.with_raw_response.create(**ask("six")).headers["x-openrouter-cache-status"] == "MISS"
        )
    assert sim.bill.calls == 7


@pytest.mark.parametrize("asynchronous", [False, True])
def test_namespaces_samples_and_tags_hold_as_in_the_headers(
    asynchronous: bool, sim: SimulatedProvider, tmp_path: Path
) -> None:
    store = f"sqlite:{tmp_path}/c.db"
    own = {"body": ask("q"), "headers": {"X-Payonce-Namespace": "own"}}
    second = {"body": ask("q"), "headers": {"X-Payonce-Sample": "2"}}
    options: dict[str, Any] = {"base_url": sim.base_url, "api_key": KEY}
    assert warmed("httpx2", asynchronous, [ask("q"), own, second], store, namespace="night", **options).kept == 3
    assert warmed("httpx", asynchronous, [ask("q"), second], store, namespace="night", **options).hits == 2
    assert warmed("httpx2", asynchronous, [ask("q")], store, namespace="own", **options).hits == 1
    assert warmed("httpx2", asynchronous, [ask("q")], store, namespace="night", sample=2, **options).hits == 1
    assert warmed("httpx2", asynchronous, [ask("q")], store, **options).kept == 1
    assert sim.bill.calls == 4


@pytest.mark.parametrize("asynchronous", [False, True])
def test_nothing_is_sent_where_the_servers_of_the_store_are_away(asynchronous: bool, sim: SimulatedProvider) -> None:
    [port] = free_ports(1)
    with pytest.raises(StoreUnavailableError, match="nothing was sent, as nothing would be kept: the store redis://"):
        warmed("httpx2", asynchronous, [ask("one")], f"redis://127.0.0.1:{port}", base_url=sim.base_url, api_key=KEY)
    assert sim.bill.calls == 0


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_would_not_be_kept_is_not_sent_and_is_named(asynchronous: bool, sim: SimulatedProvider) -> None:
    requests = [
        ask("fine"),
        {"model": "sim/small", "messages": []},
        "nonsense",
        17,
        {"x": float("nan")},
        {"body": ask("x"), "headers": {"Authorization": "Bearer other"}},
        {"body": ask("x"), "endpoint": "models"},
        {"body": ask("x"), "headers": {"X-Payonce-Namespace": "a b"}},
        {"method": "GET", "url": "/v1/chat/completions", "body": ask("x")},
        "\ud800",
    ]
    summary = warmed("httpx2", asynchronous, requests, "memory:", base_url=sim.base_url, api_key=KEY)
    assert (summary.warm, summary.complete, summary.kept) == (False, True, 1)
    said = dict(summary.failed)
    for number, words in enumerate(
        ("temperature 0", "JSON", "int", "JSON", "argument", "'models'", "Namespace", "method", "JSON"), start=2
    ):
        assert words in said[number], number
    assert sim.bill.calls == 1


@pytest.mark.parametrize("asynchronous", [False, True])
def test_later_is_waited_for_as_long_as_it_says(asynchronous: bool, sim: SimulatedProvider) -> None:
    now, waits = [100.0], []

    def pause(seconds: float) -> None:
        waits.append(seconds)
        now[0] += max(0.0, seconds)

    async def sleep(seconds: float) -> None:
        pause(seconds)

    sim.script(["429=7", "503=3", None, "500", None])
    summary = warmed(
        *("httpx2", asynchronous, [ask("a"), ask("b"), ask("c")], "memory:"),
        base_url=sim.base_url, api_key=KEY, concurrency=1, clock=lambda: now[0], sleep=sleep if asynchronous else pause,
    )  # fmt: skip
    assert (summary.kept, [number for number, _ in summary.failed]) == (2, [2])
    assert waits == [7.0, 3.0]
    assert len(sim.calls) == 5


ANSWER = {
    "id": "a", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}  # fmt: skip


def test_exactly_so_many_are_under_way() -> None:
    """Each call waits until there are four; a fifth would be counted, a missing fourth would never end."""
    from payonce.httpx2 import AsyncClient, Client

    flying, most, lock = [0], [0], threading.Lock()
    meeting = threading.Barrier(4)

    def count(by: int) -> None:
        with lock:
            flying[0] += by
            most[0] = max(most[0], flying[0])

    def answer(_request: httpx2.Request) -> httpx2.Response:
        count(1)
        meeting.wait(20)
        count(-1)
        return httpx2.Response(200, json=ANSWER)

    requests, options = [ask(str(n)) for n in range(12)], {"base_url": "http://up.test/v1", "concurrency": 4}
    with Client(store="memory:", transport=httpx2.MockTransport(answer)) as client:
        summary = client.warm(requests, **options)
        assert (summary.kept, summary.unpriced, summary.spent) == (12, 12, 0)
    assert most == [4]
    most[0] = 0

    async def main() -> None:
        together = asyncio.Barrier(4)

        async def later(_request: httpx2.Request) -> httpx2.Response:
            count(1)
            await together.wait()
            count(-1)
            return httpx2.Response(200, json=ANSWER)

        async with AsyncClient(store="memory:", transport=httpx2.MockTransport(later)) as client:
            assert (await client.warm(requests, **options)).kept == 12

    asyncio.run(main())
    assert most == [4]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_store_that_keeps_nothing_ends_it_after_the_first_answers(
    asynchronous: bool, sim: SimulatedProvider, tmp_path: Path
) -> None:
    options: Any = {"base_url": sim.base_url, "api_key": KEY, "concurrency": 2}
    with redis_server(tmp_path) as server:
        assert warmed("httpx2", asynchronous, [ask("before")], server.url, **options).warm
        server.say("CONFIG", "SET", "maxmemory", "1")
        sim.reset()
        sim.script(["slow-first-byte=0.05"] * 200)
        summary = warmed("httpx2", asynchronous, (ask(str(n)) for n in range(200)), server.url, **options)
        assert summary.because.startswith("the disk, or the store's server, is full")
        assert (summary.complete, summary.warm) == (False, False)
        assert 0 < sim.bill.calls < 100
        server.say("CONFIG", "SET", "maxmemory", "0")
        sim.reset()
        assert warmed("httpx2", asynchronous, [ask("a"), ask("b")], server.url, **options).warm, "a control"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_the_store_lost_after_the_last_answer_is_told_too(
    asynchronous: bool, sim: SimulatedProvider, tmp_path: Path
) -> None:
    options: Any = {"base_url": sim.base_url, "api_key": KEY}
    with redis_server(tmp_path) as server:
        assert warmed("httpx2", asynchronous, [ask("before")], server.url, **options).warm
        server.say("CONFIG", "SET", "maxmemory", "1")
        summary = warmed("httpx2", asynchronous, [ask("the last")], server.url, **options)
    assert summary.because.startswith("the disk, or the store's server, is full")
    assert (summary.complete, summary.warm) == (True, False)


def test_a_stop_finishes_what_is_under_way_in_both_worlds(sim: SimulatedProvider) -> None:
    for asynchronous in (False, True):
        stop: Any = asyncio.Event() if asynchronous else threading.Event()

        def after_two(_done: Done, summary: Summary, stop: Any = stop) -> None:
            if summary.hits + summary.kept >= 2:
                stop.set()

        summary = warmed(
            "httpx2", asynchronous, (ask(f"{asynchronous}{n}") for n in range(50)), "memory:",
            base_url=sim.base_url, api_key=KEY, concurrency=1, stop=stop, on_progress=after_two,
        )  # fmt: skip
        assert (summary.kept, summary.complete, summary.warm) == (2, False, False)
    assert sim.bill.calls == 4


def test_what_a_listener_raises_ends_it_and_is_raised(sim: SimulatedProvider) -> None:
    def broken(_done: Done, _summary: Summary) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        warmed("httpx2", False, [ask(str(n)) for n in range(99)], "memory:", base_url=sim.base_url, api_key=KEY,
               concurrency=2, on_progress=broken)  # fmt: skip
    assert sim.bill.calls <= 4


STALE = Settings(store="memory:", stale_while_revalidate=3600, stale_if_error=3600, ttl=60)
BATCH = {"body": {"model": "sim/embed", "input": ["a", "b"]}, "endpoint": "embeddings"}


@pytest.mark.parametrize("what", [ask("a"), ask("a", stream=True), BATCH], ids=["whole", "stream", "batch"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_answer_past_its_ttl_is_renewed_by_one_call(
    asynchronous: bool, what: dict[str, Any], sim: SimulatedProvider
) -> None:
    from payonce.httpx2 import AsyncClient, Client
    from payonce.testing.clock import FakeClock

    clock, options = FakeClock(), {"base_url": sim.base_url, "api_key": KEY, "tries": 1}

    def come(one: Summary) -> tuple[int, int, int]:
        return one.kept, one.hits, len(one.failed)

    async def main() -> list[tuple[int, int, int]]:
        found = []
        with Client(settings=STALE, clock=clock) as here:
            async with AsyncClient(settings=STALE, clock=clock) as client:
                for _ in range(4):
                    found.append(
                        come(await client.warm([what], **options) if asynchronous else here.warm([what], **options))
                    )
                    clock.advance(50)
                sim.script(["429=3", None])
                found.append(
                    come(await client.warm([what], **options) if asynchronous else here.warm([what], **options))
                )
        return found

    kept, hit, failed = (1, 0, 0), (0, 1, 0), (0, 0, 1)
    assert asyncio.run(main()) == [kept, hit, kept, hit, failed]
    assert sim.bill.calls == 2


def test_a_renewal_that_is_under_way_is_joined() -> None:
    from payonce import library
    from payonce.httpx2 import Client
    from payonce.testing.clock import FakeClock

    clock, gate, calls = FakeClock(), threading.Event(), []

    def answer(_request: httpx2.Request) -> httpx2.Response:
        calls.append(1)
        if len(calls) > 1:
            assert gate.wait(20)
        return httpx2.Response(200, json=ANSWER)

    with Client(settings=STALE, clock=clock, transport=httpx2.MockTransport(answer)) as client:

        def asked() -> httpx2.Response:
            return client.post(
                "http://up.test/v1/chat/completions", json=ask("a"), headers={"authorization": f"Bearer {KEY}"}
            )

        asked()
        clock.advance(100)
        assert "stale-while-revalidate" in asked().headers["cache-status"]
        [world] = library._worlds.values()
        [renewal] = list(world.sync.tower)
        done: list[Summary] = []
        warming = threading.Thread(
            target=lambda: done.append(client.warm([ask("a")], base_url="http://up.test/v1", api_key=KEY))
        )
        warming.start()
        assert until(lambda: renewal.followers == 1, 20)
        gate.set()
        warming.join(20)
    assert [(summary.kept, summary.failed) for summary in done] == [(1, [])]
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("client", "options", "words"),
    [
        ({}, {}, "base_url"),
        ({}, {"base_url": "https://openrouter.ai/api"}, "/v1"),
        ({"mode": "replay"}, {"base_url": "http://127.0.0.1:9/v1"}, 'mode="record"'),
        ({}, {"base_url": "http://127.0.0.1:9/v1", "endpoint": "chat/completion"}, "chat/completions"),
        ({}, {"base_url": "http://127.0.0.1:9/v1", "concurrency": 0}, "1 to 1000"),
        ({}, {"base_url": "http://127.0.0.1:9/v1", "headers": {"a": "\u20ac"}}, "Latin-1"),
    ],
)
@pytest.mark.parametrize("name", MODULES)
def test_mistakes_are_named_with_the_fix(
    name: str, client: dict[str, Any], options: dict[str, Any], words: str
) -> None:
    ours = importlib.import_module(f"payonce.{name}")
    with ours.Client(store="memory:", **client) as made, pytest.raises(SettingsError, match=words):
        made.warm([ask("a")], **options)


def test_an_argument_that_is_not_known_and_a_client_switched_off() -> None:
    from payonce.httpx2 import Client

    with Client(store="memory:", mode="off", base_url="http://127.0.0.1:9/v1/") as client:
        with pytest.raises(TypeError, match="patience"):
            client.warm([], patience=3)
        summary = client.warm([ask("a")])
    assert "caching is off" in dict(summary.failed)[1]


def test_a_transport_warms_by_itself_and_a_mount_by_its_own(sim: SimulatedProvider) -> None:
    from payonce.httpx2 import CacheTransport, Client

    with CacheTransport(store="memory:") as transport:
        assert transport.warm([ask("a")], base_url=sim.base_url, api_key=KEY).kept == 1

    def mounted(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(500)

    host = {"all://elsewhere.test": httpx2.MockTransport(mounted)}
    with Client(store="memory:", mounts=host) as client:
        summary = client.warm([ask("a")], base_url="http://elsewhere.test/v1")
    assert "500" in dict(summary.failed)[1]


# In threads, without a network


def run(send: Callable[[Request], Sent], requests: list[Request | Unread], **options: Any) -> Summary:
    return warm_threads(requests, send, **({"clock": lambda: 0.0, "concurrency": 4} | options))


def request(number: int) -> Request:
    return Request(number, "chat/completions", (), b"{}")


def test_an_interrupt_sends_nothing_more_and_ends_what_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    from payonce.warming import rounds

    begun, go, ended = threading.Semaphore(0), threading.Event(), []

    def send(asked: Request) -> Sent:
        begun.release()
        go.wait(10)
        ended.append(asked.number)
        return Sent(Warmth.KEPT)

    def interrupted(_workers: Any) -> None:
        for _ in range(4):
            assert begun.acquire(timeout=10)
        threading.Timer(0.05, go.set).start()
        raise KeyboardInterrupt

    monkeypatch.setattr(rounds, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(send, [request(n) for n in range(40)])
    assert sorted(ended) == [0, 1, 2, 3]


def test_a_request_is_written_as_the_sdks_write_it() -> None:
    found = read_request(1, {"temperature": 1e16, "é": [1, 2.0, True]}, "messages", ((b"a", b"b"),))
    assert isinstance(found, Request)
    assert found.body == '{"temperature":1e+16,"é":[1,2.0,true]}'.encode()
    sent = httpx2.Request("POST", "http://x", json={"temperature": 1e16, "é": [1, 2.0, True]})
    assert found.body == sent.read()
