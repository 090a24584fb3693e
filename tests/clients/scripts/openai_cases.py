"""The OpenAI SDK: chat, responses and embeddings, whole, streamed and asynchronous."""

from __future__ import annotations

from typing import Any

from cases import BASE, DATA_URL, KEY, MODEL, PLACE, caching, case, main
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

import payonce.httpx2

CHAT_TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": PLACE}}
TOOL: Any = {"type": "function", "name": "weather", "parameters": PLACE, "strict": False}
SETTINGS: Any = {"model": MODEL, "temperature": 0}


class City(BaseModel):
    name: str
    people: int


def sync() -> OpenAI:
    return OpenAI(base_url=BASE, api_key=KEY, max_retries=0, http_client=caching(payonce.httpx2))


def later() -> AsyncOpenAI:
    client = caching(payonce.httpx2, asynchronous=True)
    return AsyncOpenAI(base_url=BASE, api_key=KEY, max_retries=0, http_client=client)


def user(content: Any) -> Any:
    return [{"role": "user", "content": content}]


@case()
def chat(prompt: str) -> Any:
    with sync() as client:
        return client.chat.completions.create(**SETTINGS, messages=user(prompt)).model_dump()


@case()
async def chat_async(prompt: str) -> Any:
    async with later() as client:
        return (await client.chat.completions.create(**SETTINGS, messages=user(prompt))).model_dump()


@case()
def chat_stream(prompt: str) -> Any:
    with sync() as client, client.chat.completions.create(**SETTINGS, messages=user(prompt), stream=True) as stream:
        return [chunk.model_dump() for chunk in stream]


@case()
async def chat_stream_async(prompt: str) -> Any:
    async with later() as client:
        stream = await client.chat.completions.create(**SETTINGS, messages=user(prompt), stream=True)
        async with stream:
            return [chunk.model_dump() async for chunk in stream]


@case()
def chat_accumulated(prompt: str) -> Any:
    with sync() as client, client.chat.completions.stream(**SETTINGS, messages=user(prompt)) as stream:
        stream.until_done()
        return stream.get_final_completion().model_dump()


@case(calls=2)
def chat_tools(prompt: str) -> Any:
    talk = user(prompt)
    with sync() as client:
        asked = client.chat.completions.create(**SETTINGS, messages=talk, tools=[CHAT_TOOL])
        message = asked.choices[0].message
        assert message.tool_calls
        talk.append(message.model_dump(exclude_none=True))
        talk += [{"role": "tool", "tool_call_id": call.id, "content": "rain"} for call in message.tool_calls]
        told = client.chat.completions.create(**SETTINGS, messages=talk, tools=[CHAT_TOOL])
        assert told.choices[0].message.content
        return [asked.model_dump(), told.model_dump()]


@case()
def chat_parse(prompt: str) -> Any:
    with sync() as client:
        answer = client.chat.completions.parse(**SETTINGS, messages=user(prompt), response_format=City)
        assert isinstance(answer.choices[0].message.parsed, City)
        return answer.choices[0].message.parsed.model_dump()


@case()
def chat_vision(prompt: str) -> Any:
    content = [{"type": "text", "text": prompt}, {"type": "image_url", "image_url": {"url": DATA_URL}}]
    with sync() as client:
        answer = client.chat.completions.create(**SETTINGS, messages=user(content))
        assert answer.usage and answer.usage.prompt_tokens > 258
        return answer.model_dump()


@case()
def responses(prompt: str) -> Any:
    with sync() as client:
        answer = client.responses.create(**SETTINGS, input=prompt)
        assert answer.output_text
        return answer.model_dump()


@case()
async def responses_async(prompt: str) -> Any:
    async with later() as client:
        return (await client.responses.create(**SETTINGS, input=prompt)).model_dump()


@case()
def responses_stream(prompt: str) -> Any:
    with sync() as client, client.responses.stream(**SETTINGS, input=prompt) as stream:
        kinds = [event.type for event in stream]
        return [kinds, stream.get_final_response().model_dump()]


@case()
async def responses_stream_async(prompt: str) -> Any:
    async with later() as client, client.responses.stream(**SETTINGS, input=prompt) as stream:
        return (await stream.get_final_response()).model_dump()


@case(calls=2)
def responses_tools(prompt: str) -> Any:
    talk = user(prompt)
    with sync() as client:
        asked = client.responses.create(**SETTINGS, input=talk, tools=[TOOL])
        [call] = asked.output
        assert call.type == "function_call"
        talk += [call.model_dump(), {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}]
        told = client.responses.create(**SETTINGS, input=talk, tools=[TOOL])
        assert told.output_text
        return [asked.model_dump(), told.model_dump()]


@case()
def responses_parse(prompt: str) -> Any:
    with sync() as client:
        answer = client.responses.parse(**SETTINGS, input=prompt, text_format=City)
        assert isinstance(answer.output_parsed, City)
        return answer.output_parsed.model_dump()


@case()
def responses_vision(prompt: str) -> Any:
    image = {"type": "input_image", "detail": "auto", "image_url": DATA_URL}
    with sync() as client:
        answer = client.responses.create(**SETTINGS, input=user([{"type": "input_text", "text": prompt}, image]))
        assert answer.usage and answer.usage.input_tokens > 258
        return answer.model_dump()


@case()
def embeddings(prompt: str) -> Any:
    with sync() as client:
        return client.embeddings.create(model="sim/embed", input=[prompt, f"{prompt} Again."]).model_dump()


if __name__ == "__main__":
    main()
