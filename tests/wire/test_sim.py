"""The simulated provider speaks OpenRouter's wire: by the real SDK, by the schemas' required names, by raw sockets."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from decimal import Decimal
from typing import Any

import openai
import pytest
from sim_client import PATH, ask, raw
from tests.support.held import held_back

from payonce.testing.sim import SimulatedProvider, running_sim, tenant_of

USAGE = {"completion_tokens", "prompt_tokens", "total_tokens"}  # required in ChatUsage
COST_DETAILS = {"upstream_inference_prompt_cost", "upstream_inference_completions_cost"}  # required in CostDetails
RESULT = {"id", "choices", "created", "model", "object", "system_fingerprint"}  # required in ChatResult
CHUNK = {"id", "choices", "created", "model", "object"}  # required in ChatStreamChunk
FINISH = {"tool_calls", "stop", "length", "content_filter", "error", None}  # ChatFinishReasonEnum
MODEL = {
    "id", "canonical_slug", "name", "created", "pricing", "context_length", "architecture", "top_provider",
    "per_request_limits", "supported_parameters", "default_parameters", "supported_voices", "links",
}  # fmt: skip
GENERATION = {
    "id", "upstream_id", "total_cost", "cache_discount", "upstream_inference_cost", "created_at", "model", "app_id",
    "streamed", "cancelled", "provider_name", "latency", "moderation_latency", "generation_time", "finish_reason",
    "service_tier", "tokens_prompt", "tokens_completion", "native_tokens_prompt", "native_tokens_completion",
    "native_tokens_completion_images", "native_tokens_reasoning", "native_tokens_cached", "num_media_prompt",
    "num_input_audio_prompt", "num_media_completion", "num_search_results", "num_fetches", "web_search_engine",
    "origin", "usage", "is_byok", "native_finish_reason", "external_user", "api_type", "preset_id", "router",
    "provider_responses", "user_agent", "http_referer", "data_region", "workspace_id",
}  # fmt: skip
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"place": {"type": "string"}}}},
}


def get(
    sim: SimulatedProvider, path: str, method: str = "GET", *, key: str = "sk-or-a"
) -> tuple[int, Any, dict[str, str]]:
    connection = http.client.HTTPConnection(sim.base_url.split("/")[2], timeout=20)
    try:
        connection.request(method, path, headers={"Authorization": f"Bearer {key}"} if key else {})
        response = connection.getresponse()
        return response.status, json.loads(response.read()), {k.lower(): v for k, v in response.getheaders()}
    finally:
        connection.close()


def check_usage(usage: dict[str, Any]) -> None:
    assert usage.keys() >= USAGE | {"cost", "is_byok", "prompt_tokens_details", "completion_tokens_details"}
    assert usage["cost_details"].keys() >= COST_DETAILS
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    parts = [Decimal(str(usage["cost_details"][name])) for name in COST_DETAILS]
    assert Decimal(str(usage["cost"])) == sum(parts)


# ------------------------------------------------------------------------------------------------ the real SDK


def test_the_sdk_reads_an_answer(client: openai.OpenAI, sim: SimulatedProvider) -> None:
    answer = client.chat.completions.create(**ask())
    assert (answer.choices[0].message.content or "").startswith("Answer #1 (")
    assert answer.model == "sim/small-20260301" and answer.usage is not None
    call = sim.calls[0]
    assert (call.number, call.method, call.path, call.json()["model"]) == (1, "POST", PATH, "sim/small")
    assert call.headers["authorization"] == "Bearer sk-or-a"


def test_the_sdk_reads_a_stream(client: openai.OpenAI) -> None:
    with client.chat.completions.create(**ask(), stream=True) as stream:
        chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.startswith("Answer #1 (") and chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == [] and chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 24


async def test_the_async_sdk_reads_both(sim: SimulatedProvider) -> None:
    async with openai.AsyncOpenAI(base_url=sim.base_url, api_key="sk-or-a", max_retries=0) as client:
        many = await asyncio.gather(*(client.chat.completions.create(**ask()) for _ in range(20)))
        stream = await client.chat.completions.create(**ask(), stream=True)
        async with stream:
            chunks = [chunk async for chunk in stream]
    assert len({answer.choices[0].message.content for answer in many}) == 20, "no two calls are answered alike"
    assert chunks[-1].usage is not None


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}, None])
def test_tools_are_called_when_asked_for(client: openai.OpenAI, choice: Any) -> None:
    more = {"tools": [TOOL], **({"tool_choice": choice} if choice else {})}
    asked = ask("please use the tool", **more)
    message = client.chat.completions.create(**asked).choices[0]
    assert message.finish_reason == "tool_calls" and message.message.tool_calls is not None
    assert json.loads(message.message.tool_calls[0].function.arguments).keys() == {"place"}
    with client.chat.completions.create(**asked, stream=True) as stream:
        deltas = [d for chunk in stream if chunk.choices for d in chunk.choices[0].delta.tool_calls or []]
    assert deltas[0].id and deltas[0].function.name == "weather" and deltas[0].type == "function"
    assert json.loads("".join(d.function.arguments or "" for d in deltas)).keys() == {"place"}


def test_a_tool_is_called_once_and_its_result_answered_in_text(client: openai.OpenAI) -> None:
    talk: list[Any] = [{"role": "user", "content": "how is it outside?"}]
    called = client.chat.completions.create(model="sim/small", messages=talk, tools=[TOOL]).choices[0]
    assert called.finish_reason == "tool_calls" and called.message.tool_calls
    talk += [called.message.model_dump(exclude_none=True)]
    talk += [{"role": "tool", "tool_call_id": called.message.tool_calls[0].id, "content": "rain"}]
    assert client.chat.completions.create(model="sim/small", messages=talk, tools=[TOOL]).choices[0].message.content


def test_tools_are_not_called_otherwise(client: openai.OpenAI) -> None:
    for text, more in (("hello", {"tool_choice": "none"}), ("without tools, please", {})):
        assert client.chat.completions.create(**ask(text, tools=[TOOL], **more)).choices[0].finish_reason == "stop"


def test_structured_output_follows_the_schema(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "kind": {"enum": ["a", "b"]},
            "items": {"type": "array", "items": {"$ref": "#/$defs/item"}},
        },
        "$defs": {"item": {"type": "object", "properties": {"n": {"type": "integer"}, "ok": {"type": "boolean"}}}},
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "thing", "schema": schema, "strict": True}}
    value = json.loads(client.chat.completions.create(**ask(response_format=wanted)).choices[0].message.content or "")
    assert value.keys() == {"name", "kind", "items"} and value["kind"] in {"a", "b"}
    assert value["items"] == [{"n": 1, "ok": True}]
    free = client.chat.completions.create(**ask(response_format={"type": "json_object"}))
    assert json.loads(free.choices[0].message.content or "")["call"] == 2


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_token_limit_is_honoured(client: openai.OpenAI, field: str) -> None:
    answer = client.chat.completions.create(**ask(**{field: 5}))
    assert answer.choices[0].finish_reason == "length" and answer.usage is not None
    assert answer.usage.completion_tokens == 5


# ------------------------------------------------------------------------------------------------ field by field


def test_the_result_has_every_required_field(sim: SimulatedProvider) -> None:
    answer = raw(sim, ask(model="anthropic/claude-sonnet-4.5", reasoning={"effort": "low"}))
    assert answer.status == 200 and answer.headers["content-type"] == "application/json" and answer.whole
    body = answer.json()
    assert body.keys() >= RESULT | {"provider", "usage"} and body["object"] == "chat.completion"
    assert body["model"] == "anthropic/claude-4.5-sonnet-20250929" and body["provider"] == "Amazon Bedrock"
    assert body["id"] == answer.headers["x-generation-id"] and body["id"].startswith("gen-")
    choice = body["choices"][0]
    assert choice.keys() >= {"finish_reason", "index", "message", "native_finish_reason"}
    assert (choice["finish_reason"], choice["native_finish_reason"]) == ("stop", "end_turn")
    assert choice["message"]["role"] == "assistant" and choice["message"]["reasoning"]
    assert choice["message"]["reasoning_details"][0]["type"] == "reasoning.text"
    check_usage(body["usage"])
    assert body["usage"]["completion_tokens_details"]["reasoning_tokens"] == 12


def test_every_chunk_has_every_required_field(sim: SimulatedProvider) -> None:
    answer = raw(sim, ask(model="sim/thinker", stream=True))
    assert answer.headers["content-type"] == "text/event-stream" and answer.whole
    assert answer.body.startswith(b": OPENROUTER PROCESSING\n\n") and answer.body.endswith(b"\n\ndata: [DONE]\n\n")
    chunks = answer.events()
    *said, last, spent = chunks
    for chunk in chunks:
        assert chunk.keys() >= CHUNK | {"provider"} and chunk["object"] == "chat.completion.chunk"
        assert (chunk["id"], chunk["model"]) == (answer.headers["x-generation-id"], "sim/thinker-20260301")
    for chunk in [*said, last]:
        choice = chunk["choices"][0]
        assert choice.keys() >= {"delta", "finish_reason", "index", "native_finish_reason"}
        assert choice["finish_reason"] in FINISH and choice["delta"]["role"] == "assistant"
    assert [chunk["choices"][0]["finish_reason"] for chunk in said] == [None] * len(said)
    assert last["choices"][0]["finish_reason"] == "stop" and "usage" not in last
    assert any(chunk["choices"][0]["delta"].get("reasoning") for chunk in said)
    assert spent["choices"] == []
    check_usage(spent["usage"])


def test_models_and_generation(sim: SimulatedProvider) -> None:
    status, listed, _ = get(sim, "/api/v1/models", key="")
    assert status == 200 and listed["total_count"] == len(listed["data"]) and listed["links"] == {"next": None}
    for model in listed["data"]:
        assert model.keys() >= MODEL
        assert all(isinstance(model["pricing"][name], str) for name in ("prompt", "completion"))
        assert Decimal(model["pricing"]["prompt"]) > 0 and "E" not in model["pricing"]["prompt"].upper()
    body = raw(sim, ask()).json()
    status, told, headers = get(sim, f"/api/v1/generation?id={body['id']}")
    assert status == 200 and told["data"].keys() >= GENERATION and "x-generation-id" in headers
    assert told["data"]["total_cost"] == body["usage"]["cost"] and told["data"]["streamed"] is False
    status, error, _ = get(sim, "/api/v1/generation?id=gen-unknown")
    assert status == 404 and error["error"]["code"] == 404


@pytest.mark.parametrize(
    ("body", "auth", "status"),
    [
        (ask(), "", 401),
        (ask(), "Basic abc", 401),
        (b"{", "Bearer k", 400),
        (b"[]", "Bearer k", 400),
        ({"model": "sim/small"}, "Bearer k", 400),
        ({"messages": [{"role": "user", "content": "x"}]}, "Bearer k", 400),
        (ask() | {"model": "nobody"}, "Bearer k", 400),
        (ask() | {"model": "sim/missing"}, "Bearer k", 404),
        (ask() | {"model": "sim/fault-unheard-of"}, "Bearer k", 400),
        (ask() | {"model": "sim/fault-cut=x"}, "Bearer k", 400),
    ],
)
def test_refusals_have_the_error_shape(sim: SimulatedProvider, body: Any, auth: str, status: int) -> None:
    answer = raw(sim, body, auth=auth)
    assert answer.status == status and answer.json()["error"]["code"] == status and answer.json()["error"]["message"]
    assert "x-generation-id" in answer.headers and sim.bill.calls == 0


def test_an_unknown_path_is_404(sim: SimulatedProvider) -> None:
    for method, path in (("POST", "/api/v1/presets/x/chat/completions"), ("GET", PATH), ("GET", "/")):
        status, body, _ = get(sim, path, method)
        assert status == 404 and body["error"]["code"] == 404


# ------------------------------------------------------------------------------------------------ bill, sameness


def test_the_bill_adds_up_in_decimals(sim: SimulatedProvider) -> None:
    costs = {key: Decimal(0) for key in ("sk-or-a", "sk-or-b")}
    for n in range(12):
        key, model = ("sk-or-a", "sim/large") if n % 3 else ("sk-or-b", "sim/small")
        body = raw(sim, ask("x" * n * 7, model=model), auth=f"Bearer {key}").json()
        costs[key] += Decimal(str(body["usage"]["cost"]))
    bill = sim.bill
    assert (bill.requests, bill.calls) == (12, 12) and bill.cost == sum(costs.values())
    assert {key: bill.tenants[tenant_of(key)].cost for key in costs} == costs
    assert bill.prompt_tokens == sum(line.prompt_tokens for line in bill.tenants.values())
    status, told, _ = get(sim, "/_sim/bill")
    assert status == 200 and Decimal(told["cost"]) == bill.cost and told["in_flight"] == 1
    assert "sk-or-a" not in json.dumps(told)
    assert get(sim, "/_sim/reset", "POST")[0] == 200
    assert (sim.bill.requests, sim.bill.cost, sim.calls) == (0, 0, [])
    assert "Answer #13" in raw(sim, ask()).json()["choices"][0]["message"]["content"], "numbers go on after a reset"


def test_the_same_seed_gives_the_same_bytes() -> None:
    def bodies(seed: int) -> list[bytes]:
        with running_sim(seed=seed, clock=lambda: 1_790_000_000.0) as sim:
            return [raw(sim, ask(stream=stream)).body for stream in (False, True, False)]

    first = bodies(7)
    assert first == bodies(7) and len(set(first)) == 3
    assert not set(first) & set(bodies(8))


async def test_concurrency_is_counted() -> None:
    with held_back() as held, running_sim() as sim:
        async with openai.AsyncOpenAI(base_url=sim.base_url, api_key="k", max_retries=0) as client:
            asked = [asyncio.create_task(client.chat.completions.create(**ask())) for _ in range(8)]
            async with asyncio.timeout(30):
                while held.waiting < 8:  # noqa: ASYNC110 - a server of threads
                    await asyncio.sleep(0.005)
            held.go.set()
            await asyncio.gather(*asked)
    assert (sim.max_in_flight, sim.in_flight, sim.left_early) == (8, 0, 0)


def test_a_client_that_leaves_is_counted_and_billed() -> None:
    with running_sim(first_token=300.0) as sim:
        host, port = sim.base_url.split("/")[2].split(":")
        content = json.dumps(ask()).encode()
        with socket.create_connection((host, int(port))) as leaving:
            leaving.sendall(b"POST %b HTTP/1.1\r\nHost: s\r\nAuthorization: Bearer k\r\n" % PATH.encode())
            leaving.sendall(b"Content-Length: %d\r\n\r\n" % len(content) + content)
            while not sim.in_flight:
                get(sim, "/_sim/bill")
        # The provider notices on its own loop; a further request is answered after it has.
        while sim.in_flight:
            get(sim, "/_sim/bill")
        assert sim.left_early == 1 and sim.bill.calls == 1


def test_latency_is_as_configured() -> None:
    with running_sim(first_token=0.1, tokens_per_second=200.0, answer_tokens=10) as sim:
        for stream in (False, True):
            loop_free = Timed()
            raw(sim, ask(stream=stream))
            assert loop_free.seconds() >= 0.1 + 9 / 200.0


class Timed:
    def __init__(self) -> None:
        import time

        self._now = time.perf_counter
        self._began = self._now()

    def seconds(self) -> float:
        return self._now() - self._began


# ------------------------------------------------------------------------------------------------ the command


def test_the_command_names_a_port_that_is_taken(sim: SimulatedProvider, capsys: pytest.CaptureFixture[str]) -> None:
    from payonce.cli.sim import sim as command

    port = int(sim.base_url.split("/")[2].split(":")[1])
    assert command(port=port) == 2
    assert f"Port {port} on 127.0.0.1 is in use" in capsys.readouterr().err
