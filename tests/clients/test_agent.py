"""An agent with tools talks for ten turns through the gateway; said again, all of it is free and the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.clients.driving import ROOT, Place, python


def talk(place: Place, api: str, *more: str) -> dict[str, Any]:
    command = (python("main"), "-m", "benchmarks.agent_run", "--base-url", f"{place.root}/api/v1", "--api", api, *more)
    told: dict[str, Any] = json.loads(place.run(*command, cwd=ROOT))
    return told


@pytest.mark.parametrize("api", ["chat", "messages", "responses"])
def test_an_agent_is_led_through_ten_turns_with_tools(gateway: Place, api: str) -> None:
    provider = gateway.provider
    provider.reset()
    told = talk(gateway, api)
    assert told["turns"] == 10 and told["tool_calls"] == 19
    assert told["requests"] == len(provider.calls) == provider.bill.calls == 29
    assert told["input_tokens"] == provider.bill.prompt_tokens > 29 * 4300
    assert told["output_tokens"] == provider.bill.completion_tokens
    sizes = [len(call.body) for call in provider.calls]
    assert sizes == sorted(sizes), "every request repeats all that came before it"


def test_the_same_talk_again_asks_the_provider_nothing(gateway: Place) -> None:
    gateway.provider.reset()
    first, second = (talk(gateway, "chat", "--cache", "--turns", "8") for _ in range(2))
    assert first == second and first["requests"] == len(gateway.provider.calls) == 23
