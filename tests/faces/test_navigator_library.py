"""The prompt-cache planner inside the process: calls are steered whether the response cache keeps them or not, by
threads and by tasks, with both HTTP clients."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from openai import AsyncOpenAI, OpenAI

import payonce.httpx
import payonce.httpx2
from payonce import library
from payonce.testing.sim import CacheMeter, SimulatedProvider, running_sim

CLAUDE = "anthropic/claude-sonnet-4.5"
POLICY = "You are a careful agent of an airline. " * 200
FACES = {"httpx": (payonce.httpx, httpx), "httpx2": (payonce.httpx2, httpx2)}


@pytest.fixture
def sim() -> Iterator[SimulatedProvider]:
    with running_sim(meter=CacheMeter()) as running:
        yield running


def turns(count: int) -> Iterator[list[dict[str, str]]]:
    said = [{"role": "system", "content": POLICY}]
    for turn in range(count):
        said = [*said, {"role": "user", "content": f"Question {turn}: where is my bag? " * 5}]
        yield said
        said = [*said, {"role": "assistant", "content": f"Answer {turn}: on its way. " * 20}]


def body(said: list[dict[str, str]], **more: Any) -> bytes:
    return json.dumps({"model": CLAUDE, "messages": said, "max_tokens": 30, **more}).encode()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("temperature", [0.0, 0.7], ids=["kept", "passed on"])
@pytest.mark.parametrize("face", FACES)
def test_a_threads_conversation_reads_its_prefix(
    face: str, temperature: float, stream: bool, sim: SimulatedProvider
) -> None:
    ours, mod = FACES[face]
    with ours.Client(store="memory:") as client:
        for said in turns(5):
            content = body(said, temperature=temperature, stream=stream)
            fields = {"content-type": "application/json", "authorization": "Bearer k"}
            answer = client.post(f"{sim.base_url}/chat/completions", content=content, headers=fields)
            assert answer.status_code == 200
            assert isinstance(answer, mod.Response)
    assert sim.bill.calls == 5
    assert sim.bill.cache_read_tokens > 2 * len(POLICY) // 4


@pytest.mark.parametrize("temperature", [0.0, 0.7], ids=["kept", "passed on"])
@pytest.mark.parametrize("face", FACES)
def test_a_tasks_conversation_reads_its_prefix(face: str, temperature: float, sim: SimulatedProvider) -> None:
    ours, _ = FACES[face]

    async def talk() -> None:
        async with ours.AsyncClient(store="memory:") as client:
            for said in turns(5):
                content = body(said, temperature=temperature, stream=True)
                fields = {"content-type": "application/json", "authorization": "Bearer k"}
                async with client.stream(
                    "POST", f"{sim.base_url}/chat/completions", content=content, headers=fields
                ) as got:
                    assert b"".join([chunk async for chunk in got.aiter_raw()]).rstrip().endswith(b"[DONE]")

    asyncio.run(talk())
    assert sim.bill.cache_read_tokens > 2 * len(POLICY) // 4


REFUSAL = b'{"error":{"code":400,"message":"cache_control: Extra inputs are not permitted"}}'


def refusing(mod: Any, bodies: list[bytes]) -> tuple[Any, Any]:
    """A wrapped transport, for threads and for tasks, whose provider takes no markers; `bodies` is told what it was
    sent."""

    class Refusing(mod.HTTPTransport):  # type: ignore[name-defined, misc]
        def handle_request(self, request: Any) -> Any:
            bodies.append(request.read())
            return mod.Response(400, content=REFUSAL) if marked(bodies[-1]) else super().handle_request(request)

    class AsyncRefusing(mod.AsyncHTTPTransport):  # type: ignore[name-defined, misc]
        async def handle_async_request(self, request: Any) -> Any:
            bodies.append(await request.aread())
            if marked(bodies[-1]):
                return mod.Response(400, content=REFUSAL)
            return await super().handle_async_request(request)

    return Refusing(), AsyncRefusing()


def marked(content: bytes) -> bool:
    return b"cache_control" in content


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("temperature", [0.0, 0.7], ids=["kept", "passed on"])
@pytest.mark.parametrize("kind", ["threads", "tasks"])
@pytest.mark.parametrize("face", FACES)
def test_after_a_refused_plan_the_clients_own_call_is_sent_and_billed(
    face: str, kind: str, temperature: float, stream: bool, sim: SimulatedProvider
) -> None:
    ours, mod = FACES[face]
    sent: list[bytes] = []
    ways = refusing(mod, sent)
    asked = [body(said, temperature=temperature, stream=stream) for said in turns(5)]
    fields = {"content-type": "application/json", "authorization": "Bearer k"}
    url = f"{sim.base_url}/chat/completions"

    def settled() -> int:
        (world,) = library._worlds.values()
        world.settle()
        world.navigator.await_prices(30.0)
        world.settle()
        return int(world.ledger._tally.counts["prompt.calls"])

    async def talk() -> int:
        async with ours.AsyncClient(store="memory:", transport=ways[1]) as client:
            for content in asked:
                assert (await client.post(url, content=content, headers=fields)).status_code == 200
            return settled()

    if kind == "tasks":
        billed = asyncio.run(talk())
    else:
        with ours.Client(store="memory:", transport=ways[0]) as client:
            assert {client.post(url, content=content, headers=fields).status_code for content in asked} == {200}
            billed = settled()
    refused = [content for content in sent if marked(content)]
    assert len(refused) == 1, "the planner stands down after the first refusal"
    assert sent[sent.index(refused[0]) + 1] in asked, "as the client wrote it"
    assert billed == sim.bill.calls == 5


def test_switched_off_the_library_sends_what_the_sdk_wrote(sim: SimulatedProvider) -> None:
    with payonce.httpx2.Client(store="memory:", prompt_cache="off") as client:
        for said in turns(3):
            fields = {"content-type": "application/json", "authorization": "Bearer k"}
            client.post(f"{sim.base_url}/chat/completions", content=body(said), headers=fields)
            assert sim.calls[-1].body == body(said)
    assert sim.bill.cache_read_tokens == 0


def test_the_openai_sdk_reads_the_same_answers_with_the_planner_and_without(sim: SimulatedProvider) -> None:
    read = []
    for mode in ("off", "auto"):
        sim.reset()
        with payonce.httpx2.Client(store="memory:", prompt_cache=mode) as http:
            client = OpenAI(base_url=sim.base_url, api_key="k", http_client=http, max_retries=0)
            answers = [client.chat.completions.create(model=CLAUDE, messages=said) for said in turns(4)]  # type: ignore[arg-type]
            read.append([answer.choices[0].finish_reason for answer in answers])
            details = answers[-1].usage and answers[-1].usage.prompt_tokens_details
        assert bool(details and details.cached_tokens) is (mode == "auto")
    assert read[0] == read[1]


async def test_leaving_a_stream_early_ends_its_course_and_nothing_leaks(sim: SimulatedProvider, tmp_path: Path) -> None:
    async with payonce.httpx2.AsyncClient(store=f"sqlite:{tmp_path / 'c.db'}") as http:
        client = AsyncOpenAI(base_url=sim.base_url, api_key="k", http_client=http, max_retries=0)
        for said in turns(4):
            stream = await client.chat.completions.create(model=CLAUDE, messages=said, stream=True)  # type: ignore[arg-type]
            async for _ in stream:
                break
            await stream.close()
        whole = await client.chat.completions.create(model=CLAUDE, messages=said)  # type: ignore[arg-type]
        assert whole.choices[0].message.content


class Watched:
    """A lock that notes whether whoever takes it holds `other` already."""

    def __init__(self, other: Any) -> None:
        self.other = other
        self.lock = threading.Lock()
        self.crossed: list[bool] = []

    def __enter__(self) -> None:
        self.crossed.append(self.other._is_owned())
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()


def test_the_lock_of_the_figures_is_never_held_by_whoever_asks_for_that_of_the_waiting_answers(
    sim: SimulatedProvider,
) -> None:
    """Who books answers holds the second and takes the first: the other way round, two threads would wait for ever."""
    fields = {"content-type": "application/json", "authorization": "Bearer k"}
    with payonce.httpx2.Client(store="memory:") as client:
        client.post(f"{sim.base_url}/chat/completions", content=body([]), headers=fields)
        (world,) = library._worlds.values()
        watched = Watched(world.listener.lock)
        world.navigator._booking = watched  # type: ignore[assignment]
        for number in range(40):
            content = body([{"role": "user", "content": f"{number}"}], temperature=0.5)
            client.post(f"{sim.base_url}/chat/completions", content=content, headers=fields)
        world.settle()
    assert len(watched.crossed) > 3, "a slice, a look, the end"
    assert not any(watched.crossed)
    with world.listener.lock:
        world.settle()
    assert watched.crossed[-1], "the watch sees it"
