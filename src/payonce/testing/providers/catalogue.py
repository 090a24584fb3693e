"""Which model of a cache stands behind which model name, with its numbers: the one table of the simulated world.

Sources: the providers' documentation as of 2026-08-22 for minimums, lifetimes and multiples of the input price; list
prices in dollars a million tokens. They are defaults: everything here is an argument of the models. This room must
never decide anything a cache decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from payonce.testing.providers.automatic import AutomaticCache
from payonce.testing.providers.blocks import Sizes
from payonce.testing.providers.boundary import BoundaryCache
from payonce.testing.providers.last_marker import LastMarkerCache
from payonce.testing.providers.marked import MarkedCache
from payonce.testing.providers.provider import Cache, Provider
from payonce.testing.providers.routing import Router
from payonce.testing.providers.rules import AutomaticRules, BoundaryRules, LastMarkerRules, MarkerRules, Rates

MakeCache = Callable[[], Cache]


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of cache: how one is made, what it charges, how it writes usage, and which hosts serve it."""

    name: str
    cache: MakeCache
    rates: Rates
    convention: str
    hosts: tuple[str, ...]
    overlap: bool = False
    whole_answer: bool = False
    caches: bool = True

    def provider(self, rates: Rates | None = None, *, host: str = "", sizes: Sizes | None = None) -> Provider:
        """One host with an empty cache, at these prices or the family's own."""
        return Provider(
            self.cache(),
            rates or self.rates,
            convention=self.convention,
            sizes=sizes,
            host=host or self.hosts[0],
            whole_answer=self.whole_answer,
        )

    def router(self, rates: Rates | None = None, *, seed: int = 0, sizes: Sizes | None = None) -> Router:
        """OpenRouter in front of every host of the family, each with a cache of its own."""
        hosts = [self.provider(rates, host=host, sizes=sizes) for host in self.hosts]
        return Router(hosts, seed=seed, overlap=self.overlap)


class _NoCache(AutomaticCache):
    """A provider without a prompt cache: nothing is ever long enough."""

    def __init__(self) -> None:
        super().__init__(AutomaticRules(minimum=2**62, step=1, lifetime=0.0))


_CLAUDE_HOSTS: Final = ("Anthropic", "Amazon Bedrock", "Google")
_CLAUDE: Final = (
    (r"(opus-4[.-]6|opus-4[.-]5|haiku-4[.-]5)", 4096),
    (r"(opus-4[.-]7|haiku-3[.-]5|3[.-]5-haiku)", 2048),
    (r"((opus|fable|mythos)-5|(sonnet|haiku)-5[.-]5)", 512),
    (r"", 1024),
)
"""Minimum cacheable lengths; the first that fits counts."""
_DROPS_THINKING: Final = r"(haiku-4|haiku-3|3[.-][57]|opus-4([.-]1|-2\d{7}|$)|sonnet-4([.-]5|-2\d{7}|$))"
"""Models before Opus 4.5 and Sonnet 4.6, and Haiku to 4.5."""
_CLAUDE_RATES: Final = (
    (r"opus-5[.-]5", Rates.times("4", output="5", read="0.05", write="1.25", write_1h="2")),
    (r"sonnet-5[.-]5", Rates.times("2", output="5", read="0.05", write="1.25", write_1h="2")),
    (r"fable-5[.-]1", Rates.times("10", output="5", read="0.025", write="1.25", write_1h="2")),
    (r"opus", Rates.times("5", output="5", read="0.1", write="1.25", write_1h="2")),
    (r"haiku", Rates.times("1", output="5", read="0.1", write="1.25", write_1h="2")),
    (r"", Rates.times("3", output="5", read="0.1", write="1.25", write_1h="2")),
)


def _claude(model: str) -> Family:
    minimum = next(number for pattern, number in _CLAUDE if re.search(pattern, model))
    rates = next(found for pattern, found in _CLAUDE_RATES if re.search(pattern, model))
    rules = MarkerRules(minimum, keeps_thinking=not re.search(_DROPS_THINKING, model))
    return Family("Claude", lambda: MarkedCache(rules), rates, "anthropic", _CLAUDE_HOSTS)


_FIVE_MINUTES: Final = {"5m": 300.0}
_FAMILIES: Final[tuple[tuple[str, Callable[[str], Family]], ...]] = (
    (r"^(anthropic/|~?claude|.*\bclaude-)", _claude),
    (
        r"^(openai/)?gpt-(5\.[6-9]|[6-9])",
        lambda _: Family(
            "GPT-5.6 and later",
            lambda: BoundaryCache(BoundaryRules(1024)),
            Rates.times("5", output="6", read="0.1", write="1.25"),
            "openai",
            ("OpenAI", "Azure"),
        ),
    ),
    (
        r"^(openai/|gpt-|o[1-9]\b|chatgpt)",
        lambda _: Family(
            "OpenAI before GPT-5.6",
            lambda: AutomaticCache(AutomaticRules(1024, step=128, lifetime=600.0, per_minute=15)),
            Rates.times("1.25", output="8", read="0.1", write="1"),
            "openai",
            ("OpenAI", "Azure"),
        ),
    ),
    (
        r"^(deepseek)",
        lambda _: Family(
            "DeepSeek",
            lambda: AutomaticCache(AutomaticRules(64, step=64, lifetime=7200.0, units=True, tools_after_system=True)),
            Rates.times("0.28", output="1.5", read="0.1", write="1"),
            "deepseek",
            ("DeepSeek", "Novita", "SiliconFlow"),
        ),
    ),
    (
        r"^(x-ai/|grok)",
        lambda _: Family(
            "xAI",
            lambda: AutomaticCache(AutomaticRules(64, step=64, lifetime=600.0)),
            Rates.times("3", output="5", read="0.25", write="1"),
            "plain",
            ("xAI",),
        ),
    ),
    (
        r"^(groq/|meta-llama/|moonshotai/kimi-k2)",
        lambda _: Family(
            "Groq",
            lambda: AutomaticCache(AutomaticRules(128, step=128, lifetime=7200.0)),
            Rates.times("0.6", output="4", read="0.5", write="1"),
            "plain",
            ("Groq",),
        ),
    ),
    (
        r"^(google/|gemini)",
        lambda _: Family(
            "Gemini through OpenRouter",
            lambda: LastMarkerCache(LastMarkerRules(2048)),
            # A written token costs the read price and five minutes of storage at a dollar a million token-hours.
            Rates.times("0.3", output="8.33", read="0.1", write="0.37777777777777777778"),
            "plain",
            ("Google AI Studio", "Google Vertex"),
            overlap=True,
        ),
    ),
    (
        r"^(qwen/|qwen)",
        lambda _: Family(
            "Qwen",
            lambda: MarkedCache(MarkerRules(1024, _FIVE_MINUTES, collapse_tool_runs=False)),
            Rates.times("1.2", output="5", read="0.1", write="1.25"),
            "openai",
            ("Alibaba",),
            whole_answer=True,
        ),
    ),
)


def family_of(model: str) -> Family:
    """The family of a model name, with or without OpenRouter's author; one without a cache where none fits."""
    name = model.lower().partition(":")[0]
    for pattern, make in _FAMILIES:
        if re.match(pattern, name):
            return make(name)
    rates = Rates.times("1", output="4", read="1", write="1")
    return Family("no prompt cache", _NoCache, rates, "plain", ("somewhere",), caches=False)
