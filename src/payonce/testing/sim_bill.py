"""The simulated provider's books: its price table, and the bill of what was asked of it and charged, in Decimal.

This room must never know HTTP: it is told who called which model and how many tokens that took.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class SimModel:
    """One model of the provider: what it is called, who hosts it, and its prices in USD a token."""

    id: str
    canonical: str
    name: str
    provider: str
    prompt: Decimal
    completion: Decimal
    reasons: bool = False


def _model(id: str, canonical: str, provider: str, prompt: str, completion: str, *, reasons: bool = False) -> SimModel:  # noqa: A002
    return SimModel(id, canonical, f"{id} (simulated)", provider, Decimal(prompt), Decimal(completion), reasons)


MODELS: Final[dict[str, SimModel]] = {
    model.id: model
    for model in (
        _model("sim/small", "sim/small-20260301", "Simulated West", "0.00000015", "0.0000006"),
        _model("sim/large", "sim/large-20260301", "Simulated East", "0.000003", "0.000015"),
        _model("sim/thinker", "sim/thinker-20260301", "Simulated East", "0.00000125", "0.00001", reasons=True),
        _model(
            "anthropic/claude-sonnet-4.5",
            "anthropic/claude-4.5-sonnet-20250929",
            "Amazon Bedrock",
            "0.000003",
            "0.000015",
        ),
        _model("openai/gpt-5-mini", "openai/gpt-5-mini-2025-08-07", "OpenAI", "0.00000025", "0.000002"),
    )
}


def model_of(id: str) -> SimModel:  # noqa: A002
    """The model of that id. Any other `author/name` is served too, at the prices of sim/small."""
    known = MODELS.get(id)
    if known is None:
        base = MODELS["sim/small"]
        known = SimModel(id, f"{id}-20260301", f"{id} (simulated)", base.provider, base.prompt, base.completion)
    return known


def tenant_of(api_key: str) -> str:
    """The name under which the bill lists an API key: 16 hexadecimal digits of its hash, never the key itself."""
    return hashlib.blake2b(api_key.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Charge:
    """What one call is charged."""

    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    prompt_cost: Decimal
    completion_cost: Decimal

    @property
    def cost(self) -> Decimal:
        return self.prompt_cost + self.completion_cost


def charge(model: SimModel, prompt: int, completion: int, reasoning: int = 0) -> Charge:
    """The charge for so many tokens; `completion` includes `reasoning`, as on the wire."""
    return Charge(prompt, completion, reasoning, model.prompt * prompt, model.completion * completion)


@dataclass(frozen=True, slots=True)
class Line:
    """One sum on the bill: calls that were charged, their tokens and their cost in USD."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: Decimal = Decimal(0)

    def plus(self, one: Charge) -> Line:
        return Line(
            self.calls + 1,
            self.prompt_tokens + one.prompt_tokens,
            self.completion_tokens + one.completion_tokens,
            self.cost + one.cost,
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cost": format(self.cost, "f"),
        }


@dataclass(frozen=True, slots=True)
class Bill:
    """What was charged, in all and for each tenant, as it stood when it was read.

    `requests` counts every chat request that came, charged or not; `calls` those that were charged.
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
