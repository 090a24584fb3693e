"""Conversations: talks with the airline's agent, loops of a coding agent, many tool calls at once, branches, clocks.

How many there are, how far apart and how their users pause is drawn anew for each draw of a workload. This room must
never know a cache or a planner.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

from benchmarks.prefix import traffic
from benchmarks.prefix.traffic import (
    Conversation,
    Json,
    Request,
    Users,
    between,
    chat_body,
    messages_body,
    played,
    prose,
)

DRAWS = ("train", "held-out")


def half(all_of: Sequence[Conversation], draw: str) -> list[Conversation]:
    """Every other conversation: `train` and `held-out` never see the same one."""
    return list(all_of[DRAWS.index(draw) :: 2])


@dataclass(frozen=True, slots=True)
class Talks:
    """Talks with the airline's agent: how many (from, to), and about how many seconds apart they begin (from, to).
    With `apart`, each has instructions of its own: nothing but the tools is shared."""

    users: Users
    number: tuple[int, int]
    every: tuple[float, float]
    dialect: str = "messages"
    tenants: int = 1
    sessions: bool = False
    apart: bool = False

    def __call__(self, dice: random.Random, draw: str) -> Iterator[Request]:
        make = messages_body if self.dialect == "messages" else chat_body
        gap, every, start = self.users(dice), between(dice, *self.every), 0.0
        for place, conversation in enumerate(dice.sample(half(traffic.airline(), draw), dice.randint(*self.number))):
            name = f"talk-{place}" if self.sessions else None
            tenant = f"tenant-{dice.randrange(self.tenants)}"
            told = f"Customer file {dice.randrange(10**9)}.\n" if self.apart else ""
            for request in played(conversation, start, gap, dice, make, self.dialect, tenant=tenant, session=name):
                yield replace(request, body=with_opening(request.body, told)) if told else request
            start += dice.expovariate(1 / every)


def with_opening(body: Json, text: str) -> Json:
    """The body with a text before its system prompt."""
    if "system" in body:
        return body | {"system": text + body["system"]}
    first, *rest = body["messages"]
    return body | {"messages": [first | {"content": text + first["content"]}, *rest]}


def one_at_a_time(users: Users) -> traffic.Maker:
    """One talk after the other, hours apart."""

    def make(dice: random.Random, draw: str) -> Iterator[Request]:
        gap, start = users(dice), 0.0
        for conversation in dice.sample(half(traffic.airline(), draw), dice.randint(6, 10)):
            made = list(played(conversation, start, gap, dice, messages_body, "messages"))
            yield from made
            start = made[-1].at + dice.uniform(7200, 20000)

    return make


def loops(dialect: str) -> traffic.Maker:
    """Runs of a coding agent, one after the other or a few at once."""

    def make(dice: random.Random, draw: str) -> Iterator[Request]:
        body = messages_body if dialect == "messages" else chat_body
        gap, pause, start = traffic.loop(dice), between(dice, 20, 1200), 0.0
        together = dice.random() < 0.3
        for conversation in half(traffic.agents(), draw):
            made = list(played(conversation, start, gap, dice, body, dialect))
            yield from made
            start = (made[0].at if together else made[-1].at) + dice.uniform(0.05, 2) * pause

    return make


def fan_out(dice: random.Random, draw: str) -> Iterator[Request]:
    """An agent that calls many tools at once: each step may add more blocks than the look-back of a marker spans."""
    tools = half(traffic.airline(), draw)[0].tools
    names = [tool["function"]["name"] for tool in tools]
    most, every, steps, pause = dice.randint(6, 20), between(dice, 100, 900), dice.randint(5, 11), between(dice, 6, 40)
    for run in range(dice.randint(5, 9)):
        numbers = count()
        messages: list[Json] = [
            {"role": "system", "content": prose(dice, 700)},
            {"role": "user", "content": prose(dice, 120)},
        ]
        at = run * every
        for _ in range(steps):
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
                for _ in range(dice.randint(2, most))
            ]  # fmt: skip
            messages.append({"role": "assistant", "content": None, "tool_calls": calls})
            for call in calls:
                result = prose(dice, dice.randint(20, 160))
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
            at += 2.5 + dice.uniform(1, pause)


def branches(dice: random.Random, draw: str) -> Iterator[Request]:
    """A conversation that now and then sends several requests at once over the same prefix."""
    gap, every, often = traffic.human(dice), between(dice, 200, 1500), dice.uniform(0.15, 0.5)
    for place, conversation in enumerate(dice.sample(half(traffic.airline(), draw), dice.randint(4, 7))):
        for request in played(conversation, place * every, gap, dice, messages_body, "messages"):
            yield request
            if dice.random() < often:
                yield from _branches_of(request, dice)


def _branches_of(request: Request, dice: random.Random) -> Iterable[Request]:
    for branch in range(dice.randint(2, 5)):
        messages = [*request.body["messages"]]
        if messages[-1]["role"] == "user" and isinstance(messages[-1]["content"], str):
            messages[-1] = {"role": "user", "content": [
                {"type": "text", "text": messages[-1]["content"]},
                {"type": "text", "text": f"Look at aspect {branch}: {prose(dice, 40)}"},
            ]}  # fmt: skip
            at = request.at + dice.uniform(0.01, 6)
            yield Request(at, request.body | {"messages": messages}, "messages", duration=4.0)


def clock(users: Users, *, tools: bool) -> traffic.Maker:
    """A clock in the first line of the system prompt: only the tools before it stay the same, if there are any."""

    def make(dice: random.Random, draw: str) -> Iterator[Request]:
        for request in Talks(users, (6, 10), (60, 600))(dice, draw):
            body = request.body if tools else {key: value for key, value in request.body.items() if key != "tools"}
            yield replace(request, body=with_opening(body, f"Current time: {request.at:.3f}\n\n"))

    return make
