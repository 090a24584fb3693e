"""An agent with tools talks for ten turns through the gateway; said again, all of it is free and the same."""

from __future__ import annotations

import json
from typing import Any

from tests.clients.driving import ROOT, Place, python

PATHS = {"chat": "/api/v1/chat/completions", "messages": "/api/v1/messages", "responses": "/api/v1/responses"}


def talk(place: Place, *arguments: str) -> list[dict[str, Any]]:
    command = (python("main"), "-m", "benchmarks.agent_run", "--base-url", f"{place.root}/api/v1", *arguments)
    return [json.loads(line) for line in place.run(*command, cwd=ROOT).splitlines()]


def test_an_agent_is_led_through_ten_turns_with_tools(gateway: Place) -> None:
    provider = gateway.provider
    provider.reset()
    talks = talk(gateway, "--api", *PATHS)
    assert [told["api"] for told in talks] == list(PATHS)
    for told in talks:
        calls = [call for call in provider.calls if call.path == PATHS[told["api"]]]
        assert (told["turns"], told["tool_calls"]) == (10, 19)
        assert told["requests"] == len(calls) == 29
        sizes = [len(call.body) for call in calls]
        assert sizes == sorted(sizes) and sizes[0] > 4 * 4300, "every request repeats all that came before it"
    assert sum(told["input_tokens"] for told in talks) == provider.bill.prompt_tokens
    assert sum(told["output_tokens"] for told in talks) == provider.bill.completion_tokens


def test_the_same_talk_again_asks_the_provider_nothing(gateway: Place) -> None:
    gateway.provider.reset()
    first, second = talk(gateway, "--cache", "--turns", "8", "--api", "chat", "chat")
    assert first == second and first["requests"] == len(gateway.provider.calls) == 23
