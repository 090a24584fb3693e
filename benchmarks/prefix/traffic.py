"""The pieces that workloads are made of: recorded conversations in either dialect, gaps, and text that means nothing.

Everything is drawn from a `random.Random` that the caller seeds. This room must never know a cache.
"""

from __future__ import annotations

import gzip
import json
import math
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

Json = dict[str, Any]
TRACES = Path(__file__).parent / "traces"
MODEL = "anthropic/claude-sonnet-4.5"
_VOCABULARY = (
    "the of a to in is that for on with as by at from or an be this which are it was not have their has more other "
    "policy refund booking passenger luggage ticket window cancel airport change request confirm payment status order "
    "query index table buffer thread socket parser module commit branch deploy server client error retry limit quota"
)
_WORDS = _VOCABULARY.split()


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a workload. Times are seconds; the answer begins at `at + first_token` and ends at `ended`."""

    at: float
    body: Json
    dialect: str
    tenant: str = "t"
    session: str | None = None
    model: str = MODEL
    output_tokens: int = 100
    first_token: float = 0.8
    duration: float = 3.0

    @property
    def ended(self) -> float:
        return self.at + self.duration

    def asked_of(self, model: str) -> Request:
        """The same request of another model."""
        return replace(self, model=model, body=self.body | {"model": model})


@dataclass(frozen=True, slots=True)
class Turn:
    """One request of a conversation before it has a time: its messages (OpenAI style), and who spoke last."""

    messages: list[Json]
    waits_for: str
    said: int


@dataclass(frozen=True, slots=True)
class Conversation:
    """A recorded conversation as the requests it was made of."""

    tools: list[Json]
    turns: list[Turn] = field(default_factory=list)


def _conversation(messages: list[Json], tools: list[Json]) -> Conversation:
    turns = []
    for place, message in enumerate(messages):
        if message["role"] == "assistant":
            said = len(json.dumps(message)) // 4
            turns.append(Turn(messages[:place], messages[place - 1]["role"] if place else "user", said))
    return Conversation(tools, turns)


@cache
def airline() -> tuple[Conversation, ...]:
    """A hundred talks with an airline's agent: 14 tools, a policy of 6,100 characters, 6 to 30 requests each."""
    data = json.loads(gzip.decompress((TRACES / "tau-airline-a.json.gz").read_bytes()))
    return tuple(_conversation(one["messages"], data["tools"]) for one in data["conversations"])


@cache
def agents() -> tuple[Conversation, ...]:
    """Ten runs of a coding agent; plain text, or tool calls."""
    runs = json.loads(gzip.decompress((TRACES / "swe-agent-demos.json.gz").read_bytes()))
    made = []
    for run in runs:
        messages = []
        for place, given in enumerate(run["messages"]):
            message = {"role": given["role"], "content": given["content"]}
            if given.get("tool_calls"):
                message["tool_calls"] = given["tool_calls"]
            if given["role"] == "tool":
                ids = given.get("tool_call_ids") or [f"call_{place - 1}"]
                message["tool_call_id"] = ids[0]
            messages.append(message)
        made.append(_conversation(messages, []))
    return tuple(made)


@cache
def recorded_gaps() -> tuple[float, ...]:
    """Seconds between a request of the Mooncake trace and the one that continues all of its full blocks."""
    lines = gzip.decompress((TRACES / "mooncake-3000.jsonl.gz").read_bytes()).splitlines()
    ends: dict[tuple[int, ...], float] = {}
    gaps = []
    for line in lines:
        said = json.loads(line)
        at, ids = said["timestamp"] / 1000, tuple(said["hash_ids"])
        for length in range(len(ids) - 1, 1, -1):
            if ids[:length] in ends:
                gaps.append(max(1.0, at - ends[ids[:length]]))
                break
        ends[ids[: said["input_length"] // 512]] = at
    return tuple(gaps)


# ------------------------------------------------------------------------------------------------------- bodies


def chat_body(conversation: Conversation, turn: Turn, **more: Any) -> Json:
    """The request as chat completions take it."""
    body: Json = {"model": MODEL, "messages": turn.messages}
    if conversation.tools:
        body["tools"] = conversation.tools
    return body | more


def messages_body(conversation: Conversation, turn: Turn, **more: Any) -> Json:
    """The same request as Anthropic's messages take it."""
    body: Json = {"model": MODEL, "max_tokens": 1024}
    system = [message["content"] for message in turn.messages if message["role"] == "system"]
    if system:
        body["system"] = "\n".join(system)
    if conversation.tools:
        body["tools"] = [
            {
                "name": tool["function"]["name"],
                "description": tool["function"].get("description", ""),
                "input_schema": tool["function"]["parameters"],
            }
            for tool in conversation.tools
        ]
    said: list[Json] = []
    for message in turn.messages:
        if message["role"] == "system":
            continue
        role, content = _native(message)
        if said and said[-1]["role"] == role and isinstance(content, list) and isinstance(said[-1]["content"], list):
            said[-1] = {"role": role, "content": said[-1]["content"] + content}
        else:
            said.append({"role": role, "content": content})
    body["messages"] = said
    return body | more


def _native(message: Json) -> tuple[str, Any]:
    role, content = message["role"], message.get("content")
    if role == "tool":
        return "user", [{"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": content or "ok"}]
    if role == "assistant" and message.get("tool_calls"):
        parts: list[Json] = [{"type": "text", "text": content}] if content else []
        for call in message["tool_calls"]:
            arguments = call["function"]["arguments"]
            given = json.loads(arguments) if isinstance(arguments, str) else arguments
            parts.append({"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": given})
        return role, parts
    return role, content


# ------------------------------------------------------------------------------------------------- gaps and text

Gap = Callable[[random.Random, str], float]
"""Seconds from the end of an answer to the next request, by what that request answers: `tool` or `user`."""
Users = Callable[[random.Random], Gap]
"""A kind of users: each draw of a workload meets others of them, with a rhythm of their own."""


def between(dice: random.Random, least: float, most: float) -> float:
    """A value of any size between the two: each doubling is as likely as the next."""
    return float(least * (most / least) ** dice.random())


def _people(dice: random.Random, pause: Callable[[random.Random], float]) -> Gap:
    """People pause as they do, tools answer within seconds."""
    tools = between(dice, 2.0, 15.0)
    return lambda throw, waits_for: throw.uniform(0.3, tools) if waits_for == "tool" else pause(throw)


def fast(dice: random.Random) -> Gap:
    """Scripts, or people who type at once."""
    least, most = dice.uniform(1.0, 6.0), between(dice, 10.0, 40.0)
    return _people(dice, lambda throw: throw.uniform(least, most))


def human(dice: random.Random) -> Gap:
    """Minutes now and then: a median of 20 to 150 seconds, up to a third above five minutes."""
    middle, spread = math.log(between(dice, 20.0, 150.0)), dice.uniform(0.7, 1.5)
    return _people(dice, lambda throw: min(3300.0, throw.lognormvariate(middle, spread)))


def slow(dice: random.Random) -> Gap:
    """People who do something else meanwhile; some are away for longer than an hour."""
    least, most = between(dice, 330.0, 900.0), between(dice, 1500.0, 4500.0)
    return _people(dice, lambda throw: throw.uniform(least, most))


def coming_and_going(dice: random.Random) -> Gap:
    """People who answer at once, or after a meeting."""
    away, least, most = dice.uniform(0.08, 0.4), between(dice, 320.0, 900.0), between(dice, 1200.0, 3400.0)
    usual = between(dice, 40.0, 200.0)
    return _people(
        dice,
        lambda throw: throw.uniform(least, most) if throw.random() < away else throw.uniform(usual / 8, usual),
    )


def recorded(dice: random.Random) -> Gap:
    """Gaps of a real chat service."""
    return _people(dice, lambda throw: throw.choice(recorded_gaps()))


def loop(dice: random.Random) -> Gap:
    """Agents whose tools take seconds, sometimes a test run of minutes."""
    usual, run, often = between(dice, 4.0, 30.0), between(dice, 150.0, 600.0), dice.uniform(0.0, 0.1)
    return lambda throw, _: throw.uniform(run / 3, run) if throw.random() < often else throw.uniform(0.5, usual)


def prose(dice: random.Random, tokens: int) -> str:
    """Words without meaning, about so many tokens long (four characters each), never twice the same."""
    words, length = [], 0
    while length < tokens * 4:
        word = dice.choice(_WORDS) if dice.random() > 0.04 else f"{dice.randrange(16**6):x}"
        words.append(word)
        length += len(word) + 1
    return " ".join(words)[: tokens * 4]


Make = Callable[[Conversation, Turn], Json]
Maker = Callable[[random.Random, str], Iterable[Request]]
"""What makes a workload, from the dice of one seed and the draw."""


def played(
    conversation: Conversation,
    start: float,
    gap: Gap,
    dice: random.Random,
    make: Make,
    dialect: str,
    *,
    tenant: str = "t",
    session: str | None = None,
) -> Iterator[Request]:
    """A conversation's requests with times: each waits for the answer before it and for whoever speaks next."""
    at = start
    for number, turn in enumerate(conversation.turns):
        if number:
            at += gap(dice, turn.waits_for)
        first, duration = dice.uniform(0.4, 1.5), 1.0 + turn.said / 60
        yield Request(
            at, make(conversation, turn), dialect, tenant, session, MODEL, turn.said, min(first, duration), duration
        )
        at += duration
