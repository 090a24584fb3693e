"""The workloads: named kinds of traffic, each a list of requests in the order of their times, made from one seed.

Two draws of each: `train`, which may be looked at while a planner is tuned, and `held-out`, which may not; they share
neither seeds nor conversations. This room must never know a cache or a planner.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from benchmarks.prefix import traffic
from benchmarks.prefix.traffic import (
    MODEL,
    Conversation,
    Gap,
    Json,
    Request,
    chat_body,
    messages_body,
    played,
    prose,
)

DRAWS = ("train", "held-out")
Maker = Callable[[random.Random, str], Iterable[Request]]


def workload(name: str, draw: str, seed: int = 0) -> list[Request]:
    """The requests of one workload: the same for the same name, draw and seed."""
    made = WORKLOADS[name](random.Random(f"{name}/{draw}" + (f"/{seed}" if seed else "")), draw)
    return sorted(made, key=lambda request: request.at)


def _half(all_of: Sequence[Conversation], draw: str) -> list[Conversation]:
    """Every other conversation: `train` and `held-out` never see the same one."""
    return list(all_of[DRAWS.index(draw) :: 2])


def _talks(
    dice: random.Random,
    draw: str,
    *,
    number: int,
    every: float,
    gap: Gap,
    dialect: str = "messages",
    tenants: int = 1,
    sessions: bool = False,
) -> Iterable[Request]:
    """Talks with the airline's agent that begin about every so many seconds."""
    make = messages_body if dialect == "messages" else chat_body
    start = 0.0
    for place, conversation in enumerate(dice.sample(_half(traffic.airline(), draw), number)):
        name = f"talk-{place}" if sessions else None
        tenant = f"tenant-{dice.randrange(tenants)}"
        yield from played(conversation, start, gap, dice, make, dialect, tenant=tenant, session=name)
        start += dice.expovariate(1 / every)


def _alone(dice: random.Random, draw: str, gap: Gap) -> Iterable[Request]:
    """One talk after the other, hours apart."""
    start = 0.0
    for conversation in dice.sample(_half(traffic.airline(), draw), 6):
        made = list(played(conversation, start, gap, dice, messages_body, "messages"))
        yield from made
        start = made[-1].at + dice.uniform(7200, 20000)


def _loops(dice: random.Random, draw: str, dialect: str) -> Iterable[Request]:
    make = messages_body if dialect == "messages" else chat_body
    start = 0.0
    for conversation in _half(traffic.agents(), draw):
        made = list(played(conversation, start, traffic.loop, dice, make, dialect))
        yield from made
        start = made[-1].at + dice.uniform(10, 900)


def _fan_out(dice: random.Random, draw: str) -> Iterable[Request]:
    """An agent that calls many tools at once: each step adds more blocks than the look-back of a marker spans."""
    tools = _half(traffic.airline(), draw)[0].tools
    names = [tool["function"]["name"] for tool in tools]
    for run in range(5):
        numbers = count()
        messages: list[Json] = [
            {"role": "system", "content": prose(dice, 700)},
            {"role": "user", "content": prose(dice, 120)},
        ]
        at = run * 240.0
        for _ in range(9):
            said = 60
            yield Request(
                at, messages_body(Conversation(tools), traffic.Turn(list(messages), "tool", said)), "messages",
                output_tokens=said, first_token=0.7, duration=2.5,
            )  # fmt: skip
            calls = [
                {
                    "id": f"call_{run}_{next(numbers)}", "type": "function",
                    "function": {"name": dice.choice(names), "arguments": f'{{"id": {dice.randrange(10**6)}}}'},
                }
                for _ in range(dice.randint(6, 16))
            ]  # fmt: skip
            messages.append({"role": "assistant", "content": None, "tool_calls": calls})
            for call in calls:
                result = prose(dice, dice.randint(20, 160))
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
            at += 2.5 + dice.uniform(1, 12)


def _subagents(dice: random.Random, draw: str) -> Iterable[Request]:
    """A conversation that now and then sends several requests at once over the same prefix."""
    conversations = dice.sample(_half(traffic.airline(), draw), 4)
    for place, conversation in enumerate(conversations):
        for request in played(conversation, place * 500.0, traffic.human, dice, messages_body, "messages"):
            yield request
            if dice.random() < 0.3:
                for branch in range(dice.randint(2, 5)):
                    messages = [*request.body["messages"]]
                    if messages[-1]["role"] == "user" and isinstance(messages[-1]["content"], str):
                        messages[-1] = {"role": "user", "content": [
                            {"type": "text", "text": messages[-1]["content"]},
                            {"type": "text", "text": f"Look at aspect {branch}: {prose(dice, 40)}"},
                        ]}  # fmt: skip
                        at = request.at + dice.uniform(0.01, 6)
                        yield Request(at, request.body | {"messages": messages}, "messages", duration=4.0)


def _single(dice: random.Random, number: int, every: float, system: Callable[[], str], ask: int) -> Iterable[Request]:
    """Requests of one system prompt and one question, in both dialects by turns of the whole workload."""
    at = 0.0
    for _ in range(number):
        body = {
            "model": MODEL, "max_tokens": 256, "system": system(),
            "messages": [{"role": "user", "content": prose(dice, dice.randint(ask // 2, ask * 2))}],
        }  # fmt: skip
        yield Request(at, body, "messages", output_tokens=80, duration=2.5)
        at += dice.expovariate(1 / every)


def _one_shot_long(dice: random.Random, _draw: str) -> Iterable[Request]:
    return _single(dice, 120, 20.0, lambda: prose(dice, dice.randint(1500, 9000)), 100)


def _one_shot_short(dice: random.Random, _draw: str) -> Iterable[Request]:
    shared = prose(dice, 150)
    return _single(dice, 150, 10.0, lambda: shared, 200)


def _one_shot_chat(dice: random.Random, _draw: str) -> Iterable[Request]:
    """Long unique prompts as chat bodies, under a short system prompt that is always the same."""
    shared, at = prose(dice, 60), 0.0
    for _ in range(100):
        asked = prose(dice, dice.randint(800, 7000))
        messages = [{"role": "system", "content": shared}, {"role": "user", "content": asked}]
        yield Request(at, {"model": MODEL, "messages": messages}, "chat", output_tokens=150, duration=4.0)
        at += dice.expovariate(1 / 30)


def _classify(dice: random.Random, _draw: str) -> Iterable[Request]:
    """Many short questions under one long system prompt, each question once."""
    shared = prose(dice, 3500)
    return _single(dice, 160, 25.0, lambda: shared, 80)


def _rag(dice: random.Random, every: float, number: int, dialect: str) -> Iterable[Request]:
    """Questions about documents: some documents are asked about often, some once."""
    system = prose(dice, 250)
    documents = [prose(dice, dice.randint(1800, 9000)) for _ in range(14)]
    weights = [1 / (place + 1) ** 1.3 for place in range(len(documents))]
    at = 0.0
    for _ in range(number):
        (document,) = dice.choices(documents, weights)
        parts: list[dict[str, Any]] = [
            {"type": "text", "text": f"<document>{document}</document>"},
            {"type": "text", "text": prose(dice, dice.randint(15, 60))},
        ]
        ask = [{"role": "user", "content": parts}]
        if dialect == "messages":
            body = {"model": MODEL, "max_tokens": 512, "system": system, "messages": ask}
        else:
            body = {"model": MODEL, "messages": [{"role": "system", "content": system}, *ask]}
        yield Request(at, body, dialect, output_tokens=200, duration=4.5)
        at += dice.expovariate(1 / every)


def _timestamp(dice: random.Random, draw: str) -> Iterable[Request]:
    """A clock in the first line of the system prompt: only the tools before it stay the same."""
    for request in _talks(dice, draw, number=8, every=200, gap=traffic.human):
        clock = f"Current time: {request.at:.3f}\n\n"
        yield _with_body(request, {"system": clock + request.body["system"]})


def _timestamp_no_tools(dice: random.Random, draw: str) -> Iterable[Request]:
    """The same without tools: nothing at all stays the same."""
    for request in _talks(dice, draw, number=6, every=200, gap=traffic.fast):
        body = {name: value for name, value in request.body.items() if name != "tools"}
        clock = f"Current time: {request.at:.3f}\n\n"
        made = body | {"system": clock + body["system"]}
        yield replace(request, body=made)


def _with_body(request: Request, change: Json) -> Request:
    return replace(request, body=request.body | change)


def _around_minimum(dice: random.Random, tokens: int, ask: int) -> Iterable[Request]:
    """Short talks whose shared prefix is about so long; they stay near it."""
    shared, at = prose(dice, tokens), 0.0
    for _ in range(24):
        messages: list[Json] = []
        now = at
        for _ in range(dice.randint(2, 6)):
            messages = [*messages, {"role": "user", "content": prose(dice, ask)}]
            body = {"model": MODEL, "max_tokens": 128, "system": shared, "messages": messages}
            yield Request(now, body, "messages", output_tokens=30, duration=1.5)
            messages = [*messages, {"role": "assistant", "content": prose(dice, 20)}]
            now += 1.5 + dice.uniform(5, 40)
        at += dice.expovariate(1 / 90)


WORKLOADS: dict[str, Maker] = {
    "talks, fast users": lambda dice, draw: _talks(dice, draw, number=14, every=90, gap=traffic.fast),
    "talks, human users": lambda dice, draw: _talks(dice, draw, number=14, every=240, gap=traffic.human),
    "talks, slow users": lambda dice, draw: _talks(dice, draw, number=10, every=1800, gap=traffic.slow),
    "talks, recorded gaps": lambda dice, draw: _talks(dice, draw, number=14, every=150, gap=traffic.recorded),
    "talks, chat bodies": lambda dice, draw: _talks(
        dice, draw, number=14, every=240, gap=traffic.human, dialect="chat", sessions=True
    ),
    "talks, slow, chat bodies": lambda dice, draw: _talks(
        dice, draw, number=8, every=2400, gap=traffic.slow, dialect="chat"
    ),
    "many talks at once": lambda dice, draw: _talks(dice, draw, number=40, every=8, gap=traffic.human),
    "mixed tenants": lambda dice, draw: _talks(dice, draw, number=18, every=120, gap=traffic.human, tenants=7),
    "one talk at a time, human": lambda dice, draw: _alone(dice, draw, traffic.human),
    "one talk at a time, slow": lambda dice, draw: _alone(dice, draw, traffic.slow),
    "agent loops": lambda dice, draw: _loops(dice, draw, "messages"),
    "agent loops, chat bodies": lambda dice, draw: _loops(dice, draw, "chat"),
    "parallel tool calls": _fan_out,
    "parallel branches": _subagents,
    "one-shot, long": _one_shot_long,
    "one-shot, short": _one_shot_short,
    "one-shot, chat bodies": _one_shot_chat,
    "one system prompt, many questions": _classify,
    "documents, busy": lambda dice, _draw: _rag(dice, 25.0, 140, "messages"),
    "documents, quiet": lambda dice, _draw: _rag(dice, 260.0, 100, "messages"),
    "documents, chat bodies": lambda dice, _draw: _rag(dice, 60.0, 120, "chat"),
    "clock in the system prompt": _timestamp,
    "clock, no tools": _timestamp_no_tools,
    "just under the minimum": lambda dice, _draw: _around_minimum(dice, 880, 15),
    "just over the minimum": lambda dice, _draw: _around_minimum(dice, 1060, 40),
}
"""Every workload by name."""

ONE_SHOT = ("one-shot, long", "one-shot, short", "one-shot, chat bodies", "clock, no tools")
"""Where nothing can be reused, or nothing worth it: a plan may hardly cost more than no caching."""

CHAT = ("talks, chat bodies", "talks, slow, chat bodies", "agent loops, chat bodies", "documents, chat bodies",
        "one-shot, chat bodies")  # fmt: skip
"""Workloads of chat bodies: GPT-5.6 is asked these."""
