"""A conversation of an agent with tools, by Pydantic AI, against whatever answers at a base URL.

    .clients/main/bin/python -m benchmarks.agent_run --base-url http://127.0.0.1:4141/api/v1 --api messages

The agent works for an airline: a long book of rules as its system prompt, five tools, and a passenger who comes back
with one matter after the other, so that every request repeats all that came before it. What it prints, a line of JSON
for each talk, is what was used; what it cost, the provider's own bill says (`GET /_sim/bill`). Everything it sends
follows from its arguments and the answers alone, so that two runs against fresh simulated providers are the same. It
must never know Payonce.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from typing import Any

from anthropic import AsyncAnthropic
from pydantic_ai import Agent
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

_MATTERS = (
    "I am booked on ZX417 and my train is late. What can you do for me?",
    "Then look for a later flight on the same day.",
    "What would the change cost me with the fare that I have?",
    "I have one more suitcase than I booked. Is that dearer at the airport?",
    "My daughter flies with me now. Can she sit beside me?",
    "Take the later flight, please.",
    "Does my meal order move to the new flight?",
    "What happens if that flight is cancelled?",
    "And who pays for the hotel then?",
    "Tell me once more what I have booked now.",
)
_TOPICS = ("changes", "cancellations", "luggage", "seats", "meals", "children", "delays", "upgrades", "pets", "refunds")


def rules() -> str:
    """The system prompt: some 4,300 tokens that never change."""
    lines = [
        "You work at the service desk of an airline. Look things up with your tools, then answer in short sentences."
    ]
    for topic in _TOPICS:
        lines.append(f"\n# {topic.capitalize()}")
        for number in range(1, 13):
            fee, hours = 10 * number + 5, 2 * number
            lines.append(
                f"{number}. Of {topic}, case {number}: up to {hours} hours before departure the passenger pays {fee} "
                f"euros in fare class {'BEFLX'[number % 5]}, afterwards {fee * 2}; above {number + 2} people ask first."
            )
    return "\n".join(lines)


def booking(reference: str) -> str:
    """What is booked under a reference."""
    return f"Booking {reference}: flight ZX417, fare class F, one suitcase, seat 14C, meal: vegetarian, paid by card."


def flights(day: str, origin: str) -> str:
    """The flights of a day from an airport."""
    rows = [f"ZX{417 + 2 * n} at {8 + 2 * n}:15, {20 - n} seats free, from {origin} on {day}" for n in range(6)]
    return "\n".join(rows)


def fare(fare_class: str) -> str:
    """What a fare class allows."""
    return f"Class {fare_class}: one change free up to 24 hours before departure, then 65 euros; refund as a voucher."


def seats(flight: str) -> str:
    """The free seats of a flight."""
    return f"Free on {flight}: " + ", ".join(f"{row}{letter}" for row in range(12, 20) for letter in "ACF")


def rebook(reference: str, flight: str) -> str:
    """Moves a booking to another flight."""
    return f"Booking {reference} is now on {flight}. The passenger was told by mail."


def model_of(api: str, name: str, base_url: str, key: str) -> Model[Any]:
    """The model behind one of the three APIs of `base_url`, which ends in `/v1`."""
    if api == "messages":
        client = AsyncAnthropic(base_url=base_url.removesuffix("/v1"), auth_token=key, max_retries=0)
        return AnthropicModel(name, provider=AnthropicProvider(anthropic_client=client))
    provider = OpenAIProvider(base_url=base_url, api_key=key)
    return (
        OpenAIResponsesModel(name, provider=provider)
        if api == "responses"
        else OpenAIChatModel(name, provider=provider)
    )


def converse(model: Model[Any], turns: int, headers: dict[str, str]) -> dict[str, Any]:
    """The whole conversation; what was used in all, and a digest of everything that was said."""
    agent = Agent(
        model,
        instructions=rules(),
        tools=[booking, flights, fare, seats, rebook],
        model_settings={"extra_headers": headers, "max_tokens": 2000},
    )
    history: list[Any] = []
    used = {
        "requests": 0,
        "tool_calls": 0,
        "input_tokens": 0,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "output_tokens": 0,
    }
    said = hashlib.sha256()
    for turn in range(turns):
        # The simulated model takes the number for how often it is to look something up; another one for a limit.
        prompt = f"{_MATTERS[turn % len(_MATTERS)]} (At most {1 + turn % 3} tool calls.)"
        run = agent.run_sync(prompt, message_history=history)
        history = run.all_messages()
        said.update(run.output.encode())
        for name in used:
            used[name] += getattr(run.usage, name)
    return {"turns": turns, **used, "said": said.hexdigest()}


def main() -> None:
    """Reads the arguments, talks, prints."""
    parser = argparse.ArgumentParser(description="A conversation of an agent with tools, against a base URL.")
    parser.add_argument("--base-url", required=True, help="for example http://127.0.0.1:4141/api/v1")
    choices = ["chat", "messages", "responses"]
    parser.add_argument("--api", choices=choices, nargs="+", default=["chat"], help="several: one talk after the other")
    parser.add_argument("--model", default="anthropic/claude-sonnet-4.5")
    parser.add_argument(
        "--turns", type=int, default=10, help="what the passenger says; each takes two to four requests"
    )
    parser.add_argument("--key", default=os.environ.get("OPENROUTER_API_KEY", "sk-agent"))
    parser.add_argument(
        "--cache", action="store_true", help="ask for the response cache too (X-OpenRouter-Cache: true)"
    )
    given = parser.parse_args()
    headers = {"X-OpenRouter-Cache": "true"} if given.cache else {}
    for api in given.api:
        model = model_of(api, given.model, given.base_url, given.key)
        print(json.dumps({"api": api, **converse(model, given.turns, headers)}), flush=True)


if __name__ == "__main__":
    main()
