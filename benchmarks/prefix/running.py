"""One workload through one strategy and one provider model; and what it could have cost.

Answers are observed when they have ended on the simulated clock, never before: a request that starts meanwhile is
planned without them.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from typing import Any

from benchmarks.prefix.strategies import Strategy
from benchmarks.prefix.traffic import Request
from payonce.testing.providers import (
    BoundaryCache,
    BoundaryRules,
    MarkedCache,
    MarkerRules,
    Provider,
    Rates,
    Served,
    Sizes,
    Split,
)
from payonce.testing.providers.hindsight import Asking, lower_bound
from payonce.testing.providers.render import render

_CLAUDE = Rates.times("3", output="5", read="0.1", write="1.25", write_1h="2")
"""Claude Sonnet 4.5: 3 dollars a million tokens."""
_GPT = Rates.times("5", output="6", read="0.1", write="1.25")
_OPTIMISTIC = MarkerRules(minimum=1024)
_HALF_HOUR = MarkerRules(minimum=1024, lifetimes={"5m": 1800.0})
"""The bound's rules for GPT-5.6: one lifetime of half an hour."""


@dataclass(frozen=True, slots=True)
class World:
    """A provider model: what makes one, and the rules that the bound is held to. `model` is asked in place of the
    workload's own, where it is given."""

    provider: Callable[[], Provider]
    rates: Rates
    rules: MarkerRules
    model: str = ""

    def requests(self, given: Sequence[Request]) -> list[Request]:
        """The workload as this provider is asked it."""
        if not self.model:
            return list(given)
        return [request.asked_of(self.model) for request in given]


def _claude(rules: MarkerRules) -> World:
    return World(lambda: Provider(MarkedCache(rules), _CLAUDE), _CLAUDE, rules)


GPT = "gpt-5.6"
WORLDS = {
    "optimistic": _claude(_OPTIMISTIC),
    "pessimistic": _claude(_OPTIMISTIC.pessimistic()),
    GPT: World(
        lambda: Provider(BoundaryCache(BoundaryRules(1024)), _GPT, convention="openai"),
        _GPT,
        _HALF_HOUR,
        "openai/gpt-5.6",
    ),
}
"""Claude under both readings of the open questions of its documentation, and GPT-5.6 with its paid automatic writes."""


@dataclass(frozen=True, slots=True)
class Bill:
    """What a workload cost: US dollars of input, tokens by how they were billed, and requests that were refused."""

    cost: Decimal
    split: Split
    refused: int


def run(requests: Sequence[Request], strategy: Strategy, world: World) -> Bill:
    """Send every request in order, each answer observed once it has ended. A refused request is billed as it was."""
    provider = world.provider()
    waiting: list[tuple[float, int, Any, dict[str, Any]]] = []
    numbers = count()
    cost, refused = Decimal(0), 0
    split = Split()
    for request in requests:
        while waiting and waiting[0][0] <= request.at:
            ended, _, token, usage = heapq.heappop(waiting)
            strategy.ended(token, usage, ended)
        body, token = strategy.send(request)
        served = _served(provider, body, request)
        if served.status != 200:
            refused += 1
            served = _served(provider, request.body, request)
        cost += served.prompt_cost
        split = split.plus(served.split)
        heapq.heappush(waiting, (request.ended, next(numbers), token, served.usage))
    return Bill(cost, split, refused)


def _served(provider: Provider, body: dict[str, Any], request: Request) -> Served:
    return provider.serve(
        body,
        dialect=request.dialect,
        now=request.at,
        tenant=request.tenant,
        first_token_after=request.first_token,
        output_tokens=request.output_tokens,
    )


def bound(requests: Sequence[Request], world: World) -> Decimal:
    """The least that the workload could have cost."""
    sizes = Sizes()
    asked = [Asking(render(r.body, r.dialect, sizes), r.tenant, r.at, r.at + r.first_token) for r in requests]
    return lower_bound(asked, world.rules, world.rates)
