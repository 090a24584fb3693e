"""Pydantic AI over chat, responses and Anthropic's messages. It is asynchronous inside, whatever the call."""

from __future__ import annotations

import base64
from typing import Any

from cases import BASE, CLAUDE, KEY, MODEL, PNG, ROOT, caching, case, main
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, NativeOutput
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

import payonce.httpx2

ALWAYS: Any = {"extra_headers": {"X-OpenRouter-Cache": "true"}}


class City(BaseModel):
    name: str
    people: int


def provider() -> OpenAIProvider:
    return OpenAIProvider(base_url=BASE, api_key=KEY, http_client=caching(payonce.httpx2, asynchronous=True))


def chat(**more: Any) -> Agent[None, Any]:
    return Agent(OpenAIChatModel(MODEL, provider=provider()), model_settings={"temperature": 0}, **more)


def responses(**more: Any) -> Agent[None, Any]:
    return Agent(OpenAIResponsesModel(MODEL, provider=provider()), model_settings=ALWAYS, **more)


def claude(**more: Any) -> Agent[None, Any]:
    client = caching(payonce.httpx2, asynchronous=True)
    made = AnthropicProvider(base_url=f"{ROOT}/anthropic", api_key=KEY, http_client=client)
    return Agent(AnthropicModel(CLAUDE, provider=made), model_settings=ALWAYS, **more)


def weather(place: str) -> str:
    """The weather there."""
    return f"rain in {place}"


def told(run: Any) -> Any:
    """The output and what was used; times and ids of the run itself are the client's own."""
    output = run.output
    usage = run.usage
    return [output.model_dump() if isinstance(output, BaseModel) else output, repr(usage)]


@case()
def chat_sync(prompt: str) -> Any:
    return told(chat().run_sync(prompt))


@case()
async def chat_async(prompt: str) -> Any:
    return told(await chat().run(prompt))


@case()
async def chat_stream(prompt: str) -> Any:
    async with chat().run_stream(prompt) as run:
        return [text async for text in run.stream_text(delta=True, debounce_by=None)]


@case(calls=2)
async def chat_tools(prompt: str) -> Any:
    return told(await chat(tools=[weather]).run(prompt))


@case()
async def chat_tool_output(prompt: str) -> Any:
    return told(await chat(output_type=City).run(prompt))


@case()
async def chat_native_output(prompt: str) -> Any:
    return told(await chat(output_type=NativeOutput(City)).run(prompt))


@case()
async def chat_vision(prompt: str) -> Any:
    image = BinaryContent(base64.b64decode(PNG), media_type="image/png")
    return told(await chat().run([prompt, image]))


@case()
async def responses_async(prompt: str) -> Any:
    return told(await responses().run(prompt))


@case()
async def responses_stream(prompt: str) -> Any:
    async with responses().run_stream(prompt) as run:
        return [text async for text in run.stream_text(delta=True, debounce_by=None)]


@case(calls=2)
async def responses_tools(prompt: str) -> Any:
    return told(await responses(tools=[weather]).run(prompt))


@case()
async def claude_async(prompt: str) -> Any:
    return told(await claude().run(prompt))


@case()
async def claude_stream(prompt: str) -> Any:
    async with claude().run_stream(prompt) as run:
        return [text async for text in run.stream_text(delta=True, debounce_by=None)]


@case(calls=2)
async def claude_tools(prompt: str) -> Any:
    return told(await claude(tools=[weather]).run(prompt))


@case()
async def claude_tool_output(prompt: str) -> Any:
    return told(await claude(output_type=City).run(prompt))


if __name__ == "__main__":
    main()
