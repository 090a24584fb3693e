"""A planner in front of the strict provider model: what a client sends, what came of it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from payonce.optimise import Plan, Planner
from payonce.testing.providers import MarkedCache, MarkerRules, Provider, Rates, Served

RATES = Rates.times("3", output="5", read="0.1", write="1.25", write_1h="2")
RULES = MarkerRules(minimum=1024)
MODEL = "anthropic/claude-sonnet-4.5"
WORDS = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett", "kilo", "lima")


def text(tokens: int, seed: object = "") -> str:
    """Text of about so many tokens, other text for another seed."""
    start = f"[{seed}] "
    filling = " ".join(WORDS) + " "
    return (start + filling * (tokens * 4 // len(filling) + 1))[: tokens * 4]


def ask(*said: str, system: str | None = None, tools: list[Any] | None = None) -> dict[str, Any]:
    """A messages body: user and assistant by turns."""
    messages = [{"role": ("user", "assistant")[place % 2], "content": words} for place, words in enumerate(said)]
    body: dict[str, Any] = {"model": MODEL, "max_tokens": 64}
    if tools is not None:
        body["tools"] = tools
    if system is not None:
        body["system"] = system
    return body | {"messages": messages}


def tool(name: str, tokens: int = 200) -> dict[str, Any]:
    return {"name": name, "description": text(tokens, name), "input_schema": {"type": "object"}}


def bare(value: Any) -> Any:
    """A body as its content: no markers, texts of one part as strings, nothing that names a session."""
    if isinstance(value, dict):
        gone = {"cache_control", "prompt_cache_breakpoint", "session_id", "prompt_cache_key", "prompt_cache_options"}
        kept = {name: bare(inner) for name, inner in value.items() if name not in gone}
        for name in ("content", "system"):
            parts = kept.get(name)
            if isinstance(parts, list) and len(parts) == 1 and list(parts[0]) == ["type", "text"]:
                kept[name] = parts[0]["text"]
        return kept
    return [bare(inner) for inner in value] if isinstance(value, list) else value


def marks(value: Any) -> list[str]:
    """The lifetimes of all markers of a body, in order of appearance."""
    if isinstance(value, dict):
        own = [value["cache_control"].get("ttl", "5m")] if isinstance(value.get("cache_control"), dict) else []
        return [one for name, inner in value.items() if name != "cache_control" for one in marks(inner)] + own
    return [one for inner in value for one in marks(inner)] if isinstance(value, list) else []


@dataclass
class Table:
    """One client, one planner, one provider."""

    rules: MarkerRules = RULES
    planner: Planner = field(default_factory=Planner)
    convention: str = "anthropic"
    spent: float = 0.0
    plain: float = 0.0

    def __post_init__(self) -> None:
        self.provider = Provider(MarkedCache(self.rules), RATES, convention=self.convention)
        self.without = Provider(MarkedCache(self.rules), RATES)

    def say(
        self, body: dict[str, Any], now: float, *, dialect: str = "messages", takes: float = 2.0, seen: bool = True,
        tenant: str = "t", **more: Any,
    ) -> tuple[Plan, Served]:  # fmt: skip
        """Send one request through the planner; the plan must be valid and change no content."""
        before = copy.deepcopy(body)
        plan = self.planner.plan(body, dialect=dialect, model=MODEL, tenant=tenant, now=now, **more)
        assert body == before
        assert bare(plan.body) == bare(body)
        assert [name for name in plan.body if name in body] == list(body)
        served = self.provider.serve(plan.body, dialect=dialect, now=now, tenant=tenant)
        assert served.status == 200, served.error
        self.spent += float(served.prompt_cost)
        self.plain += float(self.without.serve(body, dialect=dialect, now=now, tenant=tenant).prompt_cost)
        if seen:
            self.planner.observe(plan, served.usage, now=now + takes)
        return plan, served
