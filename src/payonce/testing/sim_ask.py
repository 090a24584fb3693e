"""What the simulated model looks at in a request, the same for every endpoint, and what it decides to do about it.

A model that is offered tools calls one after a user's message and answers in text after the tool's result, so that an
agent comes to an end. Words of the user's last message steer it: "3 tool calls" in a row before the text, "in parallel"
for two at once, "without tools", or the name of a tool. This room must never know how an endpoint spells any of this.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from payonce.testing.sim_bill import SimModel, model_of

_ROUNDS: Final = re.compile(r"\b(\d{1,3}) tool (?:calls|steps|rounds)\b")


class AskError(Exception):
    """The request is one that the provider refuses, with this status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Function:
    """A tool that the answer may call, with the JSON schema of its arguments."""

    name: str
    schema: Any


@dataclass(frozen=True, slots=True)
class Offer:
    """The tools of a request. `choice` is `auto`, `none`, `required`, or the name of a tool in a tuple of one."""

    functions: tuple[Function, ...] = ()
    choice: str | tuple[str] = "auto"
    parallel: bool = True


@dataclass(frozen=True, slots=True)
class Turn:
    """Where the conversation stands: the user's last words, and how many rounds of tool results came after them."""

    said: str = ""
    rounds: int = 0


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, as every endpoint's comes down to it. `tools`: those that the answer calls; `schema` None: prose."""

    endpoint: str
    body: dict[str, Any]
    model: SimModel
    stream: bool
    max_tokens: int | None
    tools: tuple[Function, ...]
    schema: Any
    reasons: bool


def members(body: bytes) -> dict[str, Any]:
    """The body of a request; AskError where it is no JSON object."""
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise AskError(400, "Invalid JSON in request body") from None
    if not isinstance(asked, dict):
        raise AskError(400, "Request body must be a JSON object")
    return asked


def model(asked: dict[str, Any], *, bare: bool = False) -> SimModel:
    """The model that is asked for; AskError where there is none such. `bare`: a name without its author will do."""
    name = asked.get("model") or next(iter(asked.get("models") or ()), None)
    if not isinstance(name, str):
        raise AskError(400, "No models provided")
    if "/" not in name and not bare:
        raise AskError(400, f"{name} is not a valid model ID")
    if name.removeprefix("sim/") == "missing":
        raise AskError(404, f"No endpoints found for {name}.")
    return model_of(name)


def limit(asked: dict[str, Any], *names: str) -> int | None:
    """The first of these members that is a number."""
    return next((asked[name] for name in names if isinstance(asked.get(name), int) and asked[name]), None)


def wanted(offer: Offer, turn: Turn) -> tuple[Function, ...]:
    """The tools that the answer calls; see the room's first paragraph."""
    offered, said = offer.functions, turn.said.lower()
    if isinstance(offer.choice, tuple):
        return tuple(function for function in offered if function.name == offer.choice[0])[:1]
    if not offered or offer.choice == "none":
        return ()
    asked = _ROUNDS.search(said)
    enough = turn.rounds >= (int(asked[1]) if asked else 1) or "without tools" in said
    if enough and offer.choice != "required":
        return ()
    named = [function for function in offered if re.search(rf"\b{re.escape(function.name.lower())}\b", said)]
    if offer.choice == "required" or not named:
        # Another one each round, and at last the last one: it may be the one that ends an agent's run.
        first = min(turn.rounds, len(offered) - 1) if offer.choice == "required" else turn.rounds % len(offered)
    else:
        first = offered.index(named[turn.rounds % len(named)])
    both = "in parallel" in said and offer.parallel
    return offered[first : first + 1 + both]


def texts(content: Any) -> Iterator[str]:
    """The texts of a message's content: one string, or blocks of which some have a text."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                yield part["text"]


def check_image(url: Any) -> None:
    """AskError where an image is neither an address nor a data URL that can be read."""
    if not isinstance(url, str) or not url.startswith(("http://", "https://", "data:")):
        raise AskError(400, "Invalid image URL")
    head, comma, data = url.partition(",")
    if head.startswith("data:"):
        if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
            raise AskError(400, "Invalid image data URL")
        check_base64(data)


def check_base64(data: Any) -> None:
    """AskError where an image's data is not base64."""
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise AskError(400, "Invalid base64 image data") from None


def blocks(messages: Any) -> Iterator[dict[str, Any]]:
    """Every block of every message's content."""
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        yield from (part for part in (content if isinstance(content, list) else ()) if isinstance(part, dict))
