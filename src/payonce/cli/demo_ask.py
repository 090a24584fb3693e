"""How the demo asks: with the OpenAI SDK, each answer as one value with its times, headers and cost.

This file must never know what the demo shows, nor what a cache is: it reads what any client could read.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import openai
import orjson


def ask_for(text: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": "anthropic/claude-sonnet-4.5", "temperature": 0, "messages": messages, **more}


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer as the client saw it. `said` must be equal in a replay: the body, or what the SDK made of it."""

    what: str
    first: float
    seconds: float
    status: str
    detail: str
    id: str
    cost: Decimal
    said: Any

    @property
    def hit(self) -> bool:
        return self.status == "HIT"


def _seen(what: str, times: tuple[float, float, float], headers: Any, answer: Any, said: Any) -> Seen:
    """`times` are: asked, first byte, end. `answer` is what holds id and usage, as the SDK or JSON gives it."""
    began, first, end = times
    get = answer.get if isinstance(answer, dict) else lambda name: getattr(answer, name)
    usage = get("usage") or {}
    cost = usage.get("cost") if isinstance(usage, dict) else getattr(usage, "cost", None)
    status, detail = headers.get("x-openrouter-cache-status", ""), headers.get("cache-status", "")
    return Seen(what, first - began, end - began, status, detail, str(get("id")), Decimal(str(cost or 0)), said)


def plain(client: openai.OpenAI, what: str, ask: dict[str, Any]) -> Seen:
    began = time.perf_counter()
    response = client.chat.completions.with_raw_response.create(**ask)
    end = time.perf_counter()
    return _seen(what, (began, end, end), response.headers, response.parse(), response.content)


async def plain_async(client: openai.AsyncOpenAI, what: str, ask: dict[str, Any]) -> Seen:
    began = time.perf_counter()
    response = await client.chat.completions.with_raw_response.create(**ask)
    end = time.perf_counter()
    return _seen(what, (began, end, end), response.headers, response.parse(), response.content)


def streamed(client: openai.OpenAI, what: str, ask: dict[str, Any]) -> Seen:
    """The bytes of a stream, as they come."""
    began = first = time.perf_counter()
    body = b""
    with client.chat.completions.with_streaming_response.create(**ask, stream=True) as response:
        for chunk in response.iter_bytes():
            first = time.perf_counter() if not body else first
            body += chunk
    events = [orjson.loads(line[6:]) for line in body.split(b"\n") if line.startswith(b"data: {")]
    return _seen(what, (began, first, time.perf_counter()), response.headers, events[-1] if events else {}, body)


def tool_call(client: openai.OpenAI, what: str, ask: dict[str, Any]) -> Seen:
    """A streamed tool call, put together from the SDK's chunks."""
    began = first = time.perf_counter()
    said, last = "", None
    stream = client.chat.completions.create(**ask, stream=True)
    for chunk in stream:
        first = time.perf_counter() if last is None else first
        last = chunk
        for call in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
            if call.function is not None:
                said += f"{call.function.name} " * bool(call.function.name) + (call.function.arguments or "")
    return _seen(what, (began, first, time.perf_counter()), stream.response.headers, last, said)


def failing(client: openai.OpenAI, model: str, *, stream: bool) -> tuple[str, str, str]:
    """What the client noticed of a failure (nothing if it noticed none), the status header, and the Cache-Status."""
    headers: Any = {}
    noticed = ""
    try:
        with client.chat.completions.with_streaming_response.create(
            **ask_for("Fail.") | {"model": model}, stream=stream
        ) as response:
            headers = response.headers
            body = response.read()
            noticed = "an error event" if b'"error"' in body else ""
    except openai.APIStatusError as error:
        headers, noticed = error.response.headers, f"HTTP {error.status_code}"
    except Exception as error:  # noqa: BLE001 - whatever the SDK's transport raises is what the client sees
        noticed = type(error).__name__
    return noticed, headers.get("x-openrouter-cache-status", ""), headers.get("cache-status", "-")
