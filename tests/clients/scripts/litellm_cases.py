"""LiteLLM's SDK: completions by way of its OpenRouter, OpenAI and Anthropic providers."""

from __future__ import annotations

from typing import Any

import litellm
from cases import BASE, DATA_URL, KEY, MODEL, PLACE, ROOT, case, main
from pydantic import BaseModel

TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": PLACE}}
SETTINGS: Any = {"model": f"openrouter/{MODEL}", "api_base": BASE, "api_key": KEY, "temperature": 0}


class City(BaseModel):
    name: str
    people: int


def user(content: Any) -> Any:
    return [{"role": "user", "content": content}]


def said(answer: Any) -> Any:
    """The answer without the id and the time that LiteLLM makes up itself for Anthropic's."""
    assert answer.choices[0].message.content
    return {name: value for name, value in answer.model_dump().items() if name not in {"id", "created"}}


@case()
def completion(prompt: str) -> Any:
    return said(litellm.completion(**SETTINGS, messages=user(prompt)))


@case()
async def acompletion(prompt: str) -> Any:
    return said(await litellm.acompletion(**SETTINGS, messages=user(prompt)))


@case()
def stream(prompt: str) -> Any:
    chunks = litellm.completion(**SETTINGS, messages=user(prompt), stream=True)
    return [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]


@case()
async def astream(prompt: str) -> Any:
    chunks = await litellm.acompletion(**SETTINGS, messages=user(prompt), stream=True)
    return [chunk.choices[0].delta.content async for chunk in chunks if chunk.choices]


@case(calls=2)
def tools(prompt: str) -> Any:
    talk = user(prompt)
    asked = litellm.completion(**SETTINGS, messages=talk, tools=[TOOL])
    message = asked.choices[0].message
    assert message.tool_calls
    talk.append(message.model_dump())
    talk += [{"role": "tool", "tool_call_id": call.id, "content": "rain"} for call in message.tool_calls]
    told = litellm.completion(**SETTINGS, messages=talk, tools=[TOOL])
    return [asked.model_dump(), said(told)]


@case()
def structured(prompt: str) -> Any:
    answer = litellm.completion(**SETTINGS, messages=user(prompt), response_format=City)
    return City.model_validate_json(answer.choices[0].message.content).model_dump()


@case()
def vision(prompt: str) -> Any:
    content = [{"type": "text", "text": prompt}, {"type": "image_url", "image_url": {"url": DATA_URL}}]
    return said(litellm.completion(**SETTINGS, messages=user(content)))


@case()
def as_openai(prompt: str) -> Any:
    return said(litellm.completion(**SETTINGS | {"model": f"openai/{MODEL}"}, messages=user(prompt)))


@case()
def as_anthropic(prompt: str) -> Any:
    settings = SETTINGS | {"model": "anthropic/claude-sonnet-4-5", "api_base": f"{ROOT}/anthropic"}
    return said(litellm.completion(**settings, messages=user(prompt), max_tokens=999))


@case()
def responses(prompt: str) -> Any:
    settings = SETTINGS | {"model": f"openai/{MODEL}"}
    return litellm.responses(**settings, input=prompt).model_dump()


@case()
def embedding(prompt: str) -> Any:
    settings = {"model": "openai/sim/embed", "api_base": BASE, "api_key": KEY}
    return litellm.embedding(**settings, input=[prompt, f"{prompt} Again."]).model_dump()


if __name__ == "__main__":
    main()
