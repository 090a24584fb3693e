"""The simulated provider's books: its price table, and the bill of what was asked of it and charged, in Decimal.

This room must never know HTTP: it is told who called which model and how many tokens that took.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

from payonce.testing.providers.catalogue import family_of


@dataclass(frozen=True, slots=True)
class SimModel:
    """One model of the provider: what it is called, who hosts it, and its prices in USD a token."""

    id: str
    canonical: str
    name: str
    provider: str
    prompt: Decimal
    completion: Decimal
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    reasons: bool = False


def _model(id: str, canonical: str, provider: str, prices: str, *, reasons: bool = False) -> SimModel:  # noqa: A002
    """`prices` in USD a million tokens: prompt, completion, and where there are any, cache read, write, 1 h write."""
    prompt, completion, *cache = (Decimal(price).scaleb(-6) for price in prices.split())
    read, write, write_1h = [*cache, None, None, None][:3]
    name = f"{id} (simulated)"
    return SimModel(id, canonical, name, provider, prompt, completion, read, write, write_1h, reasons)


_CLAUDE: Final = _model(
    "anthropic/claude-sonnet-4.5", "anthropic/claude-4.5-sonnet-20250929", "Amazon Bedrock", "3 15 0.3 3.75 6"
)
_SMALL: Final = _model("sim/small", "sim/small-20260301", "Simulated West", "0.15 0.6 0.075")
MODELS: Final[dict[str, SimModel]] = {
    model.id: model
    for model in (
        _SMALL,
        _model("sim/large", "sim/large-20260301", "Simulated East", "3 15 0.3 3.75 6"),
        _model("sim/thinker", "sim/thinker-20260301", "Simulated East", "1.25 10", reasons=True),
        _CLAUDE,
        _model("openai/gpt-5-mini", "openai/gpt-5-mini-2025-08-07", "OpenAI", "0.25 2 0.025"),
    )
}


def model_of(id: str) -> SimModel:  # noqa: A002
    """The model of that id. Any other name is served too, at the prices of its family, or else of sim/small."""
    known = MODELS.get(id)
    if known is not None:
        return known
    family, base = family_of(id), _SMALL
    if family.caches:
        rates = family.rates
        base = replace(
            _SMALL, provider=family.hosts[0], prompt=rates.input, completion=rates.output, cache_read=rates.read,
            cache_write=rates.write, cache_write_1h=rates.write_1h,
        )  # fmt: skip
    return replace(base, id=id, canonical=f"{id}-20260301", name=f"{id} (simulated)")


def tenant_of(api_key: str) -> str:
    """The name under which the bill lists an API key: 16 hexadecimal digits of its hash, never the key itself."""
    return hashlib.blake2b(api_key.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Input:
    """The input tokens of one request, in parts that do not overlap, and the host that served it.

    `provider` is a name where it is not the model's own; `memo` is the meter's, handed back to it; `extra` are members
    that Anthropic's own answer has besides.
    """

    uncached: int
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    provider: str | None = None
    memo: object = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def written(self) -> int:
        return self.cache_write_5m + self.cache_write_1h

    @property
    def total(self) -> int:
        return self.uncached + self.cache_read + self.written

    def cost(self, model: SimModel) -> Decimal:
        """In USD; a part that the model names no price for costs what other input does."""
        read, write = model.cache_read, model.cache_write
        hour = model.cache_write_1h
        return (
            model.prompt * self.uncached
            + (model.prompt if read is None else read) * self.cache_read
            + (model.prompt if write is None else write) * self.cache_write_5m
            + (model.prompt if hour is None else hour) * self.cache_write_1h
        )


@dataclass(frozen=True, slots=True)
class Charge:
    """What one call is charged. `completion_tokens` include `reasoning_tokens`, as on the wire."""

    input: Input
    completion_tokens: int
    reasoning_tokens: int
    prompt_cost: Decimal
    completion_cost: Decimal

    @property
    def prompt_tokens(self) -> int:
        """All of the input, cached or not."""
        return self.input.total

    @property
    def cost(self) -> Decimal:
        return self.prompt_cost + self.completion_cost

    def free(self) -> Charge:
        """The same tokens for nothing."""
        return replace(self, prompt_cost=Decimal(0), completion_cost=Decimal(0))


def charge(model: SimModel, given: Input, completion: int, reasoning: int = 0) -> Charge:
    """The charge for so many tokens."""
    return Charge(given, completion, reasoning, given.cost(model), model.completion * completion)


@dataclass(frozen=True, slots=True)
class Line:
    """One sum on the bill: calls that were charged, their tokens (cached ones within the prompt) and cost in USD."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: Decimal = Decimal(0)
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0

    def plus(self, one: Charge) -> Line:
        return Line(
            self.calls + 1,
            self.prompt_tokens + one.prompt_tokens,
            self.completion_tokens + one.completion_tokens,
            self.cost + one.cost,
            self.cache_read_tokens + one.input.cache_read,
            self.cache_write_tokens + one.input.written,
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cache_read_tokens": self.cache_read_tokens,
            "cache_write_tokens": self.cache_write_tokens,
            "cost": format(self.cost, "f"),
        }


@dataclass(frozen=True, slots=True)
class Bill:
    """What was charged, in all and for each tenant, as it stood when it was read.

    `requests` counts every request for an answer that came, charged or not; `calls` those that were charged.
    """

    requests: int
    total: Line
    tenants: dict[str, Line]

    @property
    def calls(self) -> int:
        return self.total.calls

    @property
    def prompt_tokens(self) -> int:
        return self.total.prompt_tokens

    @property
    def completion_tokens(self) -> int:
        return self.total.completion_tokens

    @property
    def cost(self) -> Decimal:
        return self.total.cost

    @property
    def cache_read_tokens(self) -> int:
        return self.total.cache_read_tokens

    @property
    def cache_write_tokens(self) -> int:
        return self.total.cache_write_tokens

    def as_json(self) -> dict[str, Any]:
        tenants = {tenant: line.as_json() for tenant, line in self.tenants.items()}
        return {"requests": self.requests, **self.total.as_json(), "tenants": tenants}


@dataclass(slots=True)
class Books:
    """The running sums behind the bill. One event loop writes; any thread may read a `Bill`."""

    requests: int = 0
    total: Line = field(default_factory=Line)
    tenants: dict[str, Line] = field(default_factory=dict)

    def enter(self, tenant: str, one: Charge) -> None:
        self.total = self.total.plus(one)
        self.tenants[tenant] = self.tenants.get(tenant, Line()).plus(one)

    def bill(self) -> Bill:
        return Bill(self.requests, self.total, self.tenants.copy())
