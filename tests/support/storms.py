"""Requests at random, of many tenants, before an upstream that signs its answers; and what each answer shows."""

from __future__ import annotations

import json
import random

from tests.support.echo_upstream import misread

TENANTS = 10
PROMPTS = 60
LIBRARY_BUGS = ("tenant-left-out", "late-reader", "gate-too-wide")
"""Of `seeded.BUGS`, those that have to show in a storm of the library's clients."""


def request(draw: random.Random) -> tuple[str, str, bytes, dict[str, str]]:
    """Who asks, what for, and that as a body and headers; sometimes streamed, sometimes asked for anew."""
    who, prompt = f"Bearer key-{draw.randrange(TENANTS)}", f"question {draw.randrange(PROMPTS)}"
    page = {"model": "m", "temperature": 0, "messages": [{"role": "user", "content": prompt}]}
    if draw.random() < 0.5:
        page["stream"] = True
    headers = {"authorization": who, "content-type": "application/json"}
    if draw.random() < 0.2:
        headers["x-openrouter-cache-clear"] = "true"
    return who, prompt, json.dumps(page).encode(), headers


def content(body: bytes, stream: bool) -> str:
    """The text of an answer. Raises ValueError, KeyError or IndexError where it is none, or not whole."""
    if not stream:
        return str(json.loads(body)["choices"][0]["message"]["content"])
    data = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]
    if data[-1:] != ["[DONE]"]:
        raise ValueError("no end")
    deltas = [json.loads(event)["choices"][0]["delta"] for event in data[:-1]]
    return "".join(str(delta.get("content", "")) for delta in deltas)


def verdict(status: int, hit: bool, body: bytes, who: str, prompt: str, stream: bool) -> str:
    """What an answer shows: `right`, `hit`, `failure shown as one`, or in other words what must never be."""
    if status != 200:
        return "hit that failed" if hit else "failure shown as one"
    try:
        text = content(body, stream)
    except (ValueError, KeyError, IndexError):
        return "wrong: a bad answer as a hit" if hit else "failure shown as one"
    wrong = misread(text, who, prompt)
    return f"wrong: {wrong}" if wrong else "hit" if hit else "right"
