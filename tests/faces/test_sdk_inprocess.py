"""Real SDKs over the library: they return, raise and retry what they do without us; one store with the gateway."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic
from openai import AsyncOpenAI, OpenAI

import payonce.httpx
import payonce.httpx2
from payonce import MissError, Settings
from payonce.testing.sim import SimulatedProvider, running_sim
from tests.support.gateway import running_gateway, until
from tests.support.library import patience, reached

ASKED: dict[str, Any] = {
    "model": "sim/small",
    "temperature": 0,
    "messages": [{"role": "user", "content": "how are you?"}],
}
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}

pytestmark = pytest.mark.usefixtures("closed_worlds")


@pytest.fixture(params=["httpx", "httpx2"])
def face(request: pytest.FixtureRequest) -> Any:
    return {"httpx": payonce.httpx, "httpx2": payonce.httpx2}[request.param]


def open_ai(sim: SimulatedProvider | str, client: Any, **options: Any) -> OpenAI:
    url = sim if isinstance(sim, str) else sim.base_url
    return OpenAI(base_url=url, api_key="sk-test", http_client=client, **{"max_retries": 0, **options})


# ---------------------------------------------------------------------------------------------------- OpenAI


def test_openai_whole_streamed_and_with_tools(face: Any, sim: SimulatedProvider) -> None:
    with face.Client(store="memory:") as client:
        sdk = open_ai(sim, client)
        for extra in ({}, {"tools": [TOOL], "tool_choice": "required"}):
            wholes = [sdk.chat.completions.create(**ASKED, **extra) for _ in range(3)]
            assert wholes[0] == wholes[1] == wholes[2]
            streams = [list(sdk.chat.completions.create(**ASKED, **extra, stream=True)) for _ in range(3)]
            assert streams[0] == streams[1] == streams[2]
            assert len(streams[0]) > 1
        calls = wholes[0].choices[0].message.tool_calls
        assert calls
        assert calls[0].function.name == "weather"
    assert sim.bill.requests == 2, "one call answers whole and streamed"


async def test_openai_async(face: Any, sim: SimulatedProvider) -> None:
    async with face.AsyncClient(store="memory:") as client:
        sdk = AsyncOpenAI(base_url=sim.base_url, api_key="sk-test", http_client=client, max_retries=0)
        assert await sdk.chat.completions.create(**ASKED) == await sdk.chat.completions.create(**ASKED)
        streams = [[chunk async for chunk in await sdk.chat.completions.create(**ASKED, stream=True)] for _ in range(3)]
        assert streams[0] == streams[1] == streams[2]
        raw = await sdk.chat.completions.with_raw_response.create(**ASKED)
        assert raw.headers["x-openrouter-cache-status"] == "HIT"
    assert sim.bill.requests == 1


def test_openai_says_what_it_wants_in_extra_headers(face: Any, sim: SimulatedProvider) -> None:
    warm = ASKED | {"temperature": 1}
    with face.Client(store="memory:") as client:
        sdk = open_ai(sim, client)
        for said, expected in (
            ({}, "payonce; fwd=bypass; detail=not-deterministic"),
            ({"X-OpenRouter-Cache": "true", "X-OpenRouter-Cache-TTL": "60"}, "payonce; fwd=miss; stored"),
            ({"X-OpenRouter-Cache": "true"}, "payonce; hit; ttl="),
            ({"X-Payonce-Sample": "2"}, "payonce; fwd=miss; stored"),
            ({"X-OpenRouter-Cache": "true", "Cache-Control": "no-cache"}, "payonce; fwd=request; stored"),
        ):
            raw = sdk.chat.completions.with_raw_response.create(**warm, extra_headers=said)
            assert raw.headers["cache-status"].startswith(expected)


FAULTS = ("429", "500", "refused", "slow-first-byte=60", "stall=20", "cut=20", "reset=20", "200-error")


def what_happens(sdk: OpenAI, fault: str, stream: bool) -> Any:
    model = "sim/small" if fault == "refused" else f"sim/fault-{fault}"
    read = 0
    try:
        answer = sdk.chat.completions.create(**(ASKED | {"model": model}), stream=stream)
        if stream:
            for _ in answer:
                read += 1
        return type(answer), read > 0
    except Exception as error:
        return type(error), str(error), type(error.__cause__), read > 0


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", FAULTS)
def test_openai_raises_what_it_raises_without_us(sim: SimulatedProvider, fault: str, stream: bool) -> None:
    timeout = patience(httpx2, fault)
    with (
        reached(sim, fault) as url,
        httpx2.Client(timeout=timeout) as bare,
        payonce.httpx2.Client(timeout=timeout, store="memory:") as cached,
        ThreadPoolExecutor() as beside,
    ):
        expected = beside.submit(what_happens, open_ai(url, bare), fault, stream)
        assert what_happens(open_ai(url, cached), fault, stream) == expected.result()


def test_openai_retries_as_without_us(sim: SimulatedProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenAI, "_calculate_retry_timeout", lambda *_: 0.0)
    with payonce.httpx2.Client(store="memory:") as client:
        sdk = open_ai(sim, client, max_retries=2)
        for seed, fault in enumerate(("500", "429", "cut=10")):
            sim.reset()
            sim.script([fault, None])
            raw = sdk.chat.completions.with_raw_response.create(**ASKED, seed=seed)
            assert raw.retries_taken == 1
            assert raw.headers["cache-status"] == "payonce; fwd=miss; stored"
            assert len(sim.calls) == 2


def test_openai_gets_the_miss_itself_and_once(sim: SimulatedProvider) -> None:
    with payonce.httpx2.Client(store="memory:", mode="replay") as client:
        with pytest.raises(MissError, match="model sim/small") as caught:
            open_ai(sim, client, max_retries=3).chat.completions.create(**ASKED)
        assert caught.value.key.startswith("b3:")
    assert not sim.calls


# ---------------------------------------------------------------------------------------------------- Anthropic

MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m-1",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 2},
}
EVENTS: tuple[dict[str, Any], ...] = (
    {"type": "message_start", "message": MESSAGE | {"content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 2},
    },
    {"type": "message_stop"},
)
SAID: dict[str, Any] = {
    "model": "m-1",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "hi"}],
    "extra_body": {"temperature": 0},
}


class Messages:
    """Anthropic's endpoint, as far as one answer."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.calls += 1
        if json.loads(request.content).get("stream"):
            text = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in EVENTS)
            return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=text.encode())
        return httpx2.Response(200, json=MESSAGE)


def test_anthropic_whole_and_streamed() -> None:
    provider = Messages()
    with payonce.httpx2.Client(store="memory:", transport=httpx2.MockTransport(provider)) as client:
        sdk = Anthropic(api_key="k", base_url="https://llm.example", http_client=client, max_retries=0)
        wholes = [sdk.messages.create(**SAID) for _ in range(3)]
        assert wholes[0] == wholes[1] == wholes[2]
        texts = []
        for _ in range(3):
            with sdk.messages.stream(**SAID) as stream:
                texts.append("".join(stream.text_stream))
        assert texts == ["hello"] * 3
        raw = sdk.messages.with_raw_response.create(**SAID)
        assert raw.headers["x-openrouter-cache-status"] == "HIT"
    assert provider.calls == 1, "one call answers whole and streamed"


async def test_anthropic_async() -> None:
    provider = Messages()
    async with payonce.httpx2.AsyncClient(store="memory:", transport=httpx2.MockTransport(provider)) as client:
        sdk = AsyncAnthropic(api_key="k", base_url="https://llm.example", http_client=client, max_retries=0)
        assert await sdk.messages.create(**SAID) == await sdk.messages.create(**SAID)
        for _ in range(2):
            async with sdk.messages.stream(**SAID) as stream:
                assert await stream.get_final_text() == "hello"
    assert provider.calls == 1


def test_anthropic_wraps_the_miss_and_names_it_as_its_cause() -> None:
    with payonce.httpx2.Client(mode="replay", transport=httpx2.MockTransport(Messages())) as client:
        sdk = Anthropic(api_key="k", base_url="https://llm.example", http_client=client, max_retries=0)
        with pytest.raises(anthropic.APIConnectionError) as caught:
            sdk.messages.create(**SAID)
        assert isinstance(caught.value.__cause__, MissError)


@pytest.mark.parametrize("status", [429, 500, 529])
def test_anthropic_raises_what_it_raises_without_us(status: int) -> None:
    def failing(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, json={"type": "error", "error": {"type": "x", "message": "no"}})

    seen = []
    transport = httpx2.MockTransport(failing)
    for client in (httpx2.Client(transport=transport), payonce.httpx2.Client(store="memory:", transport=transport)):
        with client:
            sdk = Anthropic(api_key="k", base_url="https://llm.example", http_client=client, max_retries=0)
            with pytest.raises(anthropic.APIStatusError) as caught:
                sdk.messages.create(**SAID)
            seen.append((type(caught.value), str(caught.value)))
    assert seen[0] == seen[1]


# ---------------------------------------------------------------------------------------------------- with the gateway


def ask(sdk: OpenAI, **more: Any) -> tuple[str, str]:
    raw = sdk.chat.completions.with_raw_response.create(**ASKED, **more)
    return raw.headers["cache-status"].partition("; ttl")[0], raw.parse().choices[0].message.content or ""


@pytest.mark.parametrize("stream", [False, True])
def test_gateway_and_library_share_a_store_file(
    face: Any, sim: SimulatedProvider, tmp_path: Path, stream: bool
) -> None:
    store = f"sqlite:{tmp_path}/shared.db"
    read: Callable[[Any], Any] = list if stream else (lambda answer: answer)
    with running_gateway(sim.base_url, store=store, cache="deterministic") as gateway:
        plain = OpenAI(base_url=gateway.base_url, api_key="sk-test", max_retries=0)
        by_gateway = read(plain.chat.completions.create(**ASKED, stream=stream))
        gateway.gateway.world.tiers.keeper.flush()
        with face.Client(store=store, settings=Settings(read_budget=20.0)) as client:
            sdk = open_ai(sim, client)
            assert read(sdk.chat.completions.create(**ASKED, stream=stream)) == by_gateway
            by_library = read(sdk.chat.completions.create(**ASKED, stream=stream, seed=1))
            world = client._transport.desk.lease.world
            assert world.sync.drain(10.0), "the SDK has read to [DONE], and so perhaps not to the end"
            world.tiers.keeper.flush()
            assert read(plain.chat.completions.create(**ASKED, stream=stream, seed=1)) == by_library
            assert sim.bill.requests == 2
            another = open_ai(sim, client).with_options(api_key="sk-another")
            read(another.chat.completions.create(**ASKED, stream=stream))
            assert sim.bill.requests == 3, "another key is another tenant"
        plain.close()


def test_a_purge_elsewhere_is_seen(sim: SimulatedProvider, tmp_path: Path) -> None:
    store = f"sqlite:{tmp_path}/shared.db"
    with running_gateway(sim.base_url, store=store) as gateway, payonce.httpx2.Client(store=store) as client:
        sdk = open_ai(sim, client)
        assert [ask(sdk)[0] for _ in range(3)] == ["payonce; fwd=miss; stored", "payonce; hit", "payonce; hit"]
        gateway.gateway.world.tiers.keeper.raise_epoch("all")
        assert until(lambda: ask(sdk)[0] != "payonce; hit")


def test_the_figures_count_what_the_library_did(sim: SimulatedProvider, tmp_path: Path) -> None:
    store = f"sqlite:{tmp_path}/c.db"
    with payonce.httpx2.Client(store=store) as client:
        sdk = open_ai(sim, client)
        for _ in range(5):
            ask(sdk)
    with running_gateway(sim.base_url, store=store) as gateway:
        counts = gateway.gateway.world._add_up(()).counts
    assert counts["requests.miss"] == 1
    assert counts["requests.hit"] == 4
    assert counts["avoided.calls"] == 4
    assert counts["upstream.stored"] == 1


# ------------------------------------------------------------------------------------ processes, documents

PAGE = Path(__file__).parents[2] / "docs" / "library.md"
SNIPPETS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def run(code: str, sim: SimulatedProvider, folder: Path) -> str:
    """What a program prints that runs by itself; every call of it goes to the simulated provider."""
    code = code.replace("https://openrouter.ai/api/v1", sim.base_url).replace("sk-or-…", "sk-test")
    found = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=folder,
        env=os.environ | {"XDG_CACHE_HOME": str(folder), "HTTP_PROXY": ""},
    )
    assert found.returncode == 0, found.stderr
    assert not found.stderr, found.stderr
    return found.stdout


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_the_examples_of_the_page_run(sim: SimulatedProvider, tmp_path: Path, number: int) -> None:
    run(SNIPPETS[number], sim, tmp_path)
    assert sim.bill.requests <= 2


OPENING = """
import sys, json
from payonce import Settings
from payonce.httpx2 import Client
def opened(): return Client(store="sqlite:./c.db", settings=Settings(read_budget=20.0))
c = opened()
url = "https://openrouter.ai/api/v1/chat/completions"
said = [{"role": "user", "content": "q"}]
body = json.dumps({"model": "sim/small", "temperature": 0, "messages": said, "stream": True})
headers = {"authorization": "Bearer sk-test", "content-type": "application/json"}
"""


def test_an_answer_that_arrives_when_the_program_ends_is_kept(tmp_path: Path) -> None:
    early = (
        OPENING + 'r = c.send(c.build_request("POST", url, content=body, headers=headers), stream=True); sys.exit(0)'
    )
    again = OPENING + 'print(c.post(url, content=body, headers=headers).headers["x-openrouter-cache-status"])'
    with running_sim(tokens_per_second=40) as sim:
        run(early, sim, tmp_path)
        assert run(again, sim, tmp_path).strip() == "HIT"
        assert sim.bill.requests == 1


def test_a_fork_opens_everything_anew(sim: SimulatedProvider, tmp_path: Path) -> None:
    forked = (
        OPENING
        + """
import os
def ask(number):
    return c.post(url, content=body.replace('"q"', f'"{number}"'), headers=headers | {"connection": "close"})
ask(0)
c.close()
c = opened()
ask(0)
child = os.fork()
if not child:
    before = ask(0).headers["cache-status"]
    after = ask(1).headers["cache-status"]
    c.close()
    os._exit(0 if "hit" in before and "stored" in after else 1)
assert os.waitpid(child, 0)[1] == 0
assert "hit" in ask(1).headers["cache-status"]
assert "stored" in ask(2).headers["cache-status"]
"""
    )
    run(forked, sim, tmp_path)
    assert sim.bill.requests == 3


def test_a_missing_http_client_is_named_with_the_fix(tmp_path: Path, sim: SimulatedProvider) -> None:
    code = """
import sys
for name, other in (("httpx", "httpx2"), ("httpx2", "httpx")):
    sys.modules[name] = None
    try:
        __import__(f"payonce.{name}")
    except ImportError as error:
        assert f"pip install '{name}>=" in str(error) and f"payonce.{other}" in str(error), error
    else:
        raise AssertionError
"""
    run(code, sim, tmp_path)


def test_importing_payonce_imports_no_http_client(tmp_path: Path, sim: SimulatedProvider) -> None:
    rooms = "payonce, payonce.transport_sync, payonce.transport_async, payonce.clients"
    code = f"import sys, {rooms}; assert not {{'httpx', 'httpx2'}} & set(sys.modules)"
    run(code, sim, tmp_path)
