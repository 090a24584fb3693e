"""Instructor over the OpenAI SDK: models as answers, whole, partial and asynchronous."""

from __future__ import annotations

from typing import Any

import instructor
from cases import BASE, DATA_URL, KEY, MODEL, caching, case, main
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

import payonce.httpx2

SETTINGS: Any = {"model": MODEL, "temperature": 0}


class City(BaseModel):
    name: str
    people: int


def sync(mode: instructor.Mode = instructor.Mode.TOOLS) -> Any:
    client = OpenAI(base_url=BASE, api_key=KEY, max_retries=0, http_client=caching(payonce.httpx2))
    return instructor.from_openai(client, mode=mode)


def later() -> Any:
    client = caching(payonce.httpx2, asynchronous=True)
    return instructor.from_openai(AsyncOpenAI(base_url=BASE, api_key=KEY, max_retries=0, http_client=client))


def user(content: Any) -> Any:
    return [{"role": "user", "content": content}]


def said(found: Any) -> Any:
    assert isinstance(found, City)
    return found.model_dump()


@case()
def by_tool(prompt: str) -> Any:
    return said(sync().create(**SETTINGS, response_model=City, messages=user(prompt)))


@case()
def by_schema(prompt: str) -> Any:
    client = sync(instructor.Mode.JSON_SCHEMA)
    return said(client.create(**SETTINGS, response_model=City, messages=user(prompt)))


@case()
async def by_tool_async(prompt: str) -> Any:
    return said(await later().create(**SETTINGS, response_model=City, messages=user(prompt)))


@case()
def partial(prompt: str) -> Any:
    stream = sync().create_partial(**SETTINGS, response_model=City, messages=user(prompt))
    return [part.model_dump() for part in stream]


@case()
def with_completion(prompt: str) -> Any:
    found, completion = sync().create_with_completion(**SETTINGS, response_model=City, messages=user(prompt))
    return [said(found), completion.model_dump()]


@case()
def vision(prompt: str) -> Any:
    content = [{"type": "text", "text": prompt}, {"type": "image_url", "image_url": {"url": DATA_URL}}]
    return said(sync().create(**SETTINGS, response_model=City, messages=user(content)))


if __name__ == "__main__":
    main()
