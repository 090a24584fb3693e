"""The Anthropic SDK: messages through OpenRouter's endpoint and, named `native`, through Anthropic's own."""

from __future__ import annotations

from typing import Any

from anthropic import Anthropic, AsyncAnthropic
from cases import CLAUDE, KEY, PLACE, PNG, ROOT, caching, case, main
from pydantic import BaseModel

import payonce.httpx2

TOOL: Any = {"name": "weather", "input_schema": PLACE}
SETTINGS: Any = {"model": CLAUDE, "max_tokens": 999}
ALWAYS = {"X-OpenRouter-Cache": "true"}
"""The SDK has no `temperature` any more by which a request would say that it may be cached."""


class City(BaseModel):
    name: str
    people: int


def sync() -> Anthropic:
    return Anthropic(base_url=f"{ROOT}/api", auth_token=KEY, **_common())


def native() -> Anthropic:
    return Anthropic(base_url=f"{ROOT}/anthropic", api_key=KEY, **_common())


def later() -> AsyncAnthropic:
    return AsyncAnthropic(base_url=f"{ROOT}/api", auth_token=KEY, **_common(asynchronous=True))


def _common(*, asynchronous: bool = False) -> Any:
    client = caching(payonce.httpx2, asynchronous=asynchronous)
    return {"max_retries": 0, "default_headers": ALWAYS, "http_client": client}


def user(content: Any) -> Any:
    return [{"role": "user", "content": content}]


@case()
def messages(prompt: str) -> Any:
    with sync() as client:
        return client.messages.create(**SETTINGS, messages=user(prompt)).model_dump()


@case()
async def messages_async(prompt: str) -> Any:
    async with later() as client:
        return (await client.messages.create(**SETTINGS, messages=user(prompt))).model_dump()


@case()
def messages_stream(prompt: str) -> Any:
    with sync() as client, client.messages.stream(**SETTINGS, messages=user(prompt)) as stream:
        return ["".join(stream.text_stream), stream.get_final_message().model_dump()]


@case()
async def messages_stream_async(prompt: str) -> Any:
    async with later() as client, client.messages.stream(**SETTINGS, messages=user(prompt)) as stream:
        return (await stream.get_final_message()).model_dump()


@case()
def messages_raw_stream(prompt: str) -> Any:
    with sync() as client:
        return [event.model_dump() for event in client.messages.create(**SETTINGS, messages=user(prompt), stream=True)]


@case(calls=2)
def tools(prompt: str) -> Any:
    return _tools(sync(), prompt)


@case(calls=2)
def native_tools(prompt: str) -> Any:
    return _tools(native(), prompt)


def _tools(client: Anthropic, prompt: str) -> Any:
    talk = user(prompt)
    with client:
        with client.messages.stream(**SETTINGS, messages=talk, tools=[TOOL]) as stream:
            asked = stream.get_final_message()
        calls = [block for block in asked.content if block.type == "tool_use"]
        assert calls and asked.stop_reason == "tool_use"
        talk.append({"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in asked.content]})
        talk += user([{"type": "tool_result", "tool_use_id": call.id, "content": "rain"} for call in calls])
        told = client.messages.create(**SETTINGS, messages=talk, tools=[TOOL])
        assert told.content[0].type == "text"
        return [asked.model_dump(), told.model_dump()]


@case()
def parse(prompt: str) -> Any:
    with sync() as client:
        found = client.messages.parse(**SETTINGS, messages=user(prompt), output_format=City).parsed_output
        assert isinstance(found, City)
        return found.model_dump()


@case()
def vision(prompt: str) -> Any:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    with sync() as client:
        answer = client.messages.create(**SETTINGS, messages=user([image, {"type": "text", "text": prompt}]))
        assert answer.usage.input_tokens > 258
        return answer.model_dump()


@case()
def thinking(prompt: str) -> Any:
    wanted: Any = {"type": "enabled", "budget_tokens": 1024}
    with sync() as client, client.messages.stream(**SETTINGS, messages=user(prompt), thinking=wanted) as stream:
        message = stream.get_final_message()
        assert message.content[0].type == "thinking" and message.content[0].signature
        return message.model_dump()


@case()
def beta(prompt: str) -> Any:
    with sync() as client:
        found = client.beta.messages.create(**SETTINGS, messages=user(prompt), betas=["context-1m-2025-08-07"])
        return found.model_dump()


@case()
def native_messages(prompt: str) -> Any:
    with native() as client:
        return client.messages.create(**SETTINGS, messages=user(prompt)).model_dump()


@case()
def native_stream(prompt: str) -> Any:
    with native() as client, client.messages.stream(**SETTINGS, messages=user(prompt)) as stream:
        return stream.get_final_message().model_dump()


if __name__ == "__main__":
    main()
