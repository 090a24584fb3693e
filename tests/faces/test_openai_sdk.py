"""A real SDK cannot tell the gateway from the provider, but by its headers and by what it pays."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from payonce.testing.sim import SimulatedProvider, running_sim
from tests.support.gateway import DEAD, RunningGateway, running_gateway

USER: Any = [{"role": "user", "content": "hello"}]
TOOL: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"place": {"type": "string"}}}},
}


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatedProvider]:
    with running_sim() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(sim: SimulatedProvider) -> Iterator[RunningGateway]:
    with running_gateway(sim.base_url, cache="deterministic") as running:
        yield running


@pytest.fixture(scope="module")
def client(gateway: RunningGateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.base_url, api_key="sk-or-sdk", max_retries=0) as made:
        yield made


def text(chunks: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_a_repeated_call_gets_the_same_answer_and_pays_once(client: openai.OpenAI, sim: SimulatedProvider) -> None:
    before = len(sim.calls)
    answers = [client.chat.completions.create(model="sim/small", messages=USER, temperature=0) for _ in range(4)]
    assert len({answer.id for answer in answers}) == 1
    assert len({answer.model_dump_json() for answer in answers}) == 1
    assert answers[0].usage is not None
    assert len(sim.calls) == before + 1


def test_without_temperature_0_every_call_is_the_providers(client: openai.OpenAI, sim: SimulatedProvider) -> None:
    before = len(sim.calls)
    answers = [client.chat.completions.create(model="sim/small", messages=USER) for _ in range(2)]
    assert answers[0].id != answers[1].id
    assert len(sim.calls) == before + 2


def test_a_stream_is_replayed_chunk_for_chunk(client: openai.OpenAI, sim: SimulatedProvider) -> None:
    before = len(sim.calls)
    seen = []
    for _ in range(4):
        with client.chat.completions.create(
            model="sim/small", messages=USER, temperature=0, seed=4, stream=True
        ) as stream:
            seen.append([chunk.model_dump_json() for chunk in stream])
    assert len(seen[0]) > 5
    assert seen[1:] == seen[:1] * 3
    assert len(sim.calls) == before + 1


def test_the_usage_chunk_comes_when_it_was_asked_for(client: openai.OpenAI) -> None:
    for _ in range(3):
        chunks = list(
            client.chat.completions.create(
                model="sim/small", messages=USER, temperature=0, stream=True, stream_options={"include_usage": True}
            )
        )
        assert chunks[-1].usage is not None


def test_the_sdks_own_stream_helper_accumulates_a_replay(client: openai.OpenAI) -> None:
    done = []
    for _ in range(3):
        with client.chat.completions.stream(model="sim/small", messages=USER, temperature=0, seed=5) as stream:
            stream.until_done()
            done.append(stream.get_final_completion().choices[0].message.content)
    assert done[0]
    assert len(set(done)) == 1


@pytest.mark.parametrize("streaming", [False, True])
def test_tool_calls_survive_the_cache(client: openai.OpenAI, sim: SimulatedProvider, streaming: bool) -> None:
    before = len(sim.calls)
    asked: dict[str, Any] = {
        "model": "sim/small", "messages": USER, "temperature": 0, "tools": [TOOL], "tool_choice": "required",
        "seed": int(streaming),
    }  # fmt: skip
    seen = []
    for _ in range(3):
        if streaming:
            parts = [
                call.function.arguments or ""
                for chunk in client.chat.completions.create(**asked, stream=True)
                for choice in chunk.choices
                for call in choice.delta.tool_calls or ()
                if call.function
            ]
            seen.append("".join(parts))
        else:
            (call,) = client.chat.completions.create(**asked).choices[0].message.tool_calls or ()
            seen.append(call.function.arguments)
    assert seen[0].startswith('{"place":')
    assert len(set(seen)) == 1
    assert len(sim.calls) == before + 1


class Weather(BaseModel):
    place: str
    degrees: float
    likely: bool


def test_structured_output_is_parsed_from_a_hit(client: openai.OpenAI, sim: SimulatedProvider) -> None:
    before = len(sim.calls)
    parsed = [
        client.chat.completions.parse(model="sim/small", messages=USER, temperature=0, response_format=Weather)
        .choices[0]
        .message.parsed
        for _ in range(3)
    ]
    assert isinstance(parsed[0], Weather)
    assert parsed[0] == parsed[1] == parsed[2]
    schema: Any = {"type": "json_schema", "json_schema": {"name": "w", "schema": Weather.model_json_schema()}}
    for _ in range(2):
        raw = client.chat.completions.create(model="sim/small", messages=USER, temperature=0, response_format=schema)
        Weather.model_validate_json(raw.choices[0].message.content or "")
    assert len(sim.calls) == before + 2


def test_a_picture_is_part_of_the_question(client: openai.OpenAI, sim: SimulatedProvider) -> None:
    before = len(sim.calls)

    def look(picture: bytes) -> str:
        url = "data:image/png;base64," + base64.b64encode(picture).decode()
        content: Any = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": url}}]
        return client.chat.completions.create(
            model="sim/small", messages=[{"role": "user", "content": content}], temperature=0
        ).id

    first = bytes(range(256)) * 400  # past what the fast lane takes
    assert look(first) == look(first) == look(first)
    assert look(first) != look(first[:-1] + b"x")
    assert len(sim.calls) == before + 2


def test_the_headers_are_there_for_who_looks(client: openai.OpenAI) -> None:
    said = []
    for _ in range(3):
        raw = client.chat.completions.with_raw_response.create(
            model="sim/small", messages=USER, temperature=0, seed=1, extra_headers={"X-OpenRouter-Cache-TTL": "90"}
        )
        said.append(raw.headers)
        answer = raw.parse()
    assert [headers["x-openrouter-cache-status"] for headers in said] == ["MISS", "HIT", "HIT"]
    assert said[0]["cache-status"] == "payonce; fwd=miss; stored"
    assert said[2]["cache-status"].startswith("payonce; hit; ttl=")
    assert said[1]["x-openrouter-cache-source-id"] == answer.id


def test_a_client_asks_for_another_sample_or_a_new_answer(client: openai.OpenAI) -> None:
    def ask(**headers: str) -> str:
        return client.chat.completions.create(
            model="sim/small", messages=USER, temperature=1, seed=2,
            extra_headers={"X-OpenRouter-Cache": "true"} | {n.replace("_", "-"): v for n, v in headers.items()},
        ).id  # fmt: skip

    first = ask()
    assert ask() == first
    assert ask(X_Payonce_Sample="2") not in (first, ask(X_Payonce_Sample="3"))
    assert ask(X_OpenRouter_Cache_Clear="true") != first


ERRORS = {
    "sim/fault-429=7": (openai.RateLimitError, 429),
    "sim/fault-500": (openai.InternalServerError, 500),
    "sim/fault-502": (openai.InternalServerError, 502),
    "sim/missing": (openai.NotFoundError, 404),
    "nonsense": (openai.BadRequestError, 400),
}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("model", ERRORS)
def test_an_error_is_the_sdks_own_exception_each_time_anew(
    client: openai.OpenAI, sim: SimulatedProvider, model: str, streaming: bool
) -> None:
    kind, status = ERRORS[model]
    before = len(sim.calls)
    for _ in range(2):
        with pytest.raises(kind) as caught:
            client.chat.completions.create(model=model, messages=USER, temperature=0, stream=streaming)
        assert caught.value.status_code == status  # type: ignore[attr-defined]
        if status == 429:
            assert caught.value.response.headers["retry-after"] == "7"  # type: ignore[attr-defined]
    assert len(sim.calls) == before + 2


def test_the_sdk_retries_as_the_provider_says_and_the_retry_is_kept(
    gateway: RunningGateway, sim: SimulatedProvider
) -> None:
    before = len(sim.calls)
    with openai.OpenAI(base_url=gateway.base_url, api_key="sk-or-retry", max_retries=2) as client:
        sim.fault_next("429=0.01")
        answer = client.chat.completions.create(model="sim/small", messages=USER, temperature=0)
        assert client.chat.completions.create(model="sim/small", messages=USER, temperature=0).id == answer.id
    assert len(sim.calls) == before + 2


def test_the_wrong_key_is_the_sdks_authentication_error(gateway: RunningGateway) -> None:
    basic = {"Authorization": "Basic nothing"}
    with (
        openai.OpenAI(base_url=gateway.base_url, api_key="k", max_retries=0, default_headers=basic) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.chat.completions.create(model="sim/small", messages=USER, temperature=0)


def test_an_error_of_the_gateway_itself_reads_well_in_the_sdk() -> None:
    with (
        running_gateway(DEAD) as gateway,
        openai.OpenAI(base_url=gateway.base_url, api_key="k", max_retries=0) as client,
        pytest.raises(openai.InternalServerError, match="check the upstream URL and the network") as caught,
    ):
        client.chat.completions.create(model="sim/small", messages=USER, temperature=0)
    assert caught.value.response.headers["x-payonce-error"] == "upstream-refused"


@pytest.mark.parametrize("fault", ["cut=400", "reset=400"])
def test_a_broken_stream_is_an_exception_and_not_a_short_answer(
    client: openai.OpenAI, sim: SimulatedProvider, fault: str
) -> None:
    with pytest.raises(openai.APIConnectionError):
        list(client.chat.completions.create(model=f"sim/fault-{fault}", messages=USER, temperature=0, stream=True))


def test_the_list_of_models_passes_through(client: openai.OpenAI) -> None:
    assert "sim/small" in {model.id for model in client.models.list()}


def test_fifty_equal_questions_at_once_are_one_call(gateway: RunningGateway) -> None:
    with running_sim(first_token=0.2) as slow, running_gateway(slow.base_url, convert=False) as front:
        with openai.OpenAI(base_url=front.base_url, api_key="sk-or-many", max_retries=0) as client:

            def ask(n: int) -> str:
                if n % 2:
                    return text(
                        client.chat.completions.create(model="sim/small", messages=USER, temperature=0, stream=True)
                    )
                return client.chat.completions.create(model="sim/small", messages=USER, temperature=0).id

            with ThreadPoolExecutor(50) as pool:
                answers = list(pool.map(ask, range(50)))
        assert len(set(answers[0::2])) == len(set(answers[1::2])) == 1
        assert len(slow.calls) == 2  # whole and streamed are two framings


async def test_the_async_client_does_all_of_it_too(gateway: RunningGateway, sim: SimulatedProvider) -> None:
    before = len(sim.calls)
    async with openai.AsyncOpenAI(base_url=gateway.base_url, api_key="sk-or-async", max_retries=0) as client:
        create = client.chat.completions.create
        answers = await asyncio.gather(
            *(create(model="sim/small", messages=USER, temperature=0, seed=9) for _ in range(50))
        )
        assert len({answer.id for answer in answers}) == 1
        seen = []
        for _ in range(3):
            stream = await create(model="sim/small", messages=USER, temperature=0, seed=9, stream=True)
            seen.append([chunk.model_dump_json() async for chunk in stream])
        assert seen[0] == seen[1] == seen[2]
        parsed = await client.chat.completions.parse(
            model="sim/small", messages=USER, temperature=0, response_format=Weather
        )
        assert isinstance(parsed.choices[0].message.parsed, Weather)
        with pytest.raises(openai.RateLimitError) as caught:
            await create(model="sim/fault-429=3", messages=USER, temperature=0)
        assert caught.value.response.headers["retry-after"] == "3"
        raw = await client.chat.completions.with_raw_response.create(
            model="sim/small", messages=USER, temperature=0, seed=9
        )
        assert raw.headers["x-openrouter-cache-status"] == "HIT"
    assert len(sim.calls) == before + 3  # the stream is made of the whole answer


async def test_a_stream_that_the_client_closes_early_is_kept_for_the_next(
    gateway: RunningGateway, sim: SimulatedProvider
) -> None:
    before = len(sim.calls)
    async with openai.AsyncOpenAI(base_url=gateway.base_url, api_key="sk-or-early", max_retries=0) as client:
        stream = await client.chat.completions.create(model="sim/small", messages=USER, temperature=0, stream=True)
        await anext(aiter(stream))
        await stream.close()
        stream = await client.chat.completions.create(model="sim/small", messages=USER, temperature=0, stream=True)
        assert [chunk async for chunk in stream][-1].usage is not None
    assert len(sim.calls) == before + 1
