"""OpenRouter's own SDK, on httpx 0.28: chat, responses and embeddings."""

from __future__ import annotations

import json
from typing import Any

import httpx
from cases import BASE, DATA_URL, KEY, MODEL, PLACE, SCHEMA, STORE, caching, case, main
from openrouter import OpenRouter

import payonce.httpx

TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": PLACE}}
SETTINGS: Any = {"model": MODEL, "temperature": 0}


def sdk() -> OpenRouter:
    if not STORE:
        return OpenRouter(api_key=KEY, server_url=BASE)
    client: httpx.Client = caching(payonce.httpx)
    later: httpx.AsyncClient = caching(payonce.httpx, asynchronous=True)
    return OpenRouter(api_key=KEY, server_url=BASE, client=client, async_client=later)


def user(content: Any) -> Any:
    return [{"role": "user", "content": content}]


def plain(found: Any) -> Any:
    return found.model_dump(mode="json")


@case()
def chat(prompt: str) -> Any:
    with sdk() as client:
        return plain(client.chat.send(**SETTINGS, messages=user(prompt)))


@case()
async def chat_async(prompt: str) -> Any:
    async with sdk() as client:
        return plain(await client.chat.send_async(**SETTINGS, messages=user(prompt)))


@case()
def chat_stream(prompt: str) -> Any:
    with sdk() as client, client.chat.send(**SETTINGS, messages=user(prompt), stream=True) as stream:
        return [plain(chunk) for chunk in stream]


@case()
async def chat_stream_async(prompt: str) -> Any:
    async with sdk() as client:
        stream = await client.chat.send_async(**SETTINGS, messages=user(prompt), stream=True)
        async with stream:
            return [plain(chunk) async for chunk in stream]


@case(calls=2)
def chat_tools(prompt: str) -> Any:
    talk = user(prompt)
    with sdk() as client:
        asked = client.chat.send(**SETTINGS, messages=talk, tools=[TOOL])
        calls = asked.choices[0].message.tool_calls
        assert calls
        talk.append({"role": "assistant", "content": None, "tool_calls": [plain(call) for call in calls]})
        talk += [{"role": "tool", "tool_call_id": call.id, "content": "rain"} for call in calls]
        told = client.chat.send(**SETTINGS, messages=talk, tools=[TOOL])
        assert told.choices[0].message.content
        return [plain(asked), plain(told)]


@case()
def chat_schema(prompt: str) -> Any:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA, "strict": True}}
    with sdk() as client:
        answer = client.chat.send(**SETTINGS, messages=user(prompt), response_format=wanted)
        return json.loads(str(answer.choices[0].message.content))


@case()
def chat_vision(prompt: str) -> Any:
    content = [{"type": "text", "text": prompt}, {"type": "image_url", "image_url": {"url": DATA_URL}}]
    with sdk() as client:
        answer = client.chat.send(**SETTINGS, messages=user(content))
        assert answer.usage and answer.usage.prompt_tokens > 258
        return plain(answer)


@case()
def responses(prompt: str) -> Any:
    with sdk() as client:
        return plain(client.beta.responses.send(**SETTINGS, input=prompt))


@case()
def responses_stream(prompt: str) -> Any:
    with sdk() as client, client.beta.responses.send(**SETTINGS, input=prompt, stream=True) as stream:
        return [plain(event) for event in stream]


@case()
def embeddings(prompt: str) -> Any:
    with sdk() as client:
        return plain(client.embeddings.generate(model="sim/embed", input=[prompt, f"{prompt} Again."]))


if __name__ == "__main__":
    main()
