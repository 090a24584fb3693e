"""One workload through one strategy and one provider model; and what it could have cost.

Answers are observed when they have ended on the simulated clock, never before: a request that starts meanwhile is
planned without them.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from typing import Any

from benchmarks.prefix.strategies import Strategy
from benchmarks.prefix.traffic import Request
from payonce.testing.providers import MarkedCache, MarkerRules, Provider, Rates, Served, Split
from payonce.testing.providers.blocks import Sizes
from payonce.testing.providers.hindsight import Asking, lower_bound
from payonce.testing.providers.render import render

RATES = Rates.times("3", output="5", read="0.1", write="1.25", write_1h="2")
"""Claude Sonnet 4.5: 3 dollars a million tokens."""
OPTIMISTIC = MarkerRules(minimum=1024)
PESSIMISTIC = OPTIMISTIC.pessimistic()
READINGS = {"optimistic": OPTIMISTIC, "pessimistic": PESSIMISTIC}
"""The open questions of the documentation, read both ways."""


@dataclass(frozen=True, slots=True)
class Bill:
    """What a workload cost: US dollars of input, tokens by how they were billed, and requests that were refused."""

    cost: Decimal
    split: Split
    refused: int


def run(requests: Sequence[Request], strategy: Strategy, rules: MarkerRules) -> Bill:
    """Send every request in order, each answer observed once it has ended. A refused request is billed unmarked."""
    provider = Provider(MarkedCache(rules), RATES)
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
        body, dialect=request.dialect, now=request.at, tenant=request.tenant, first_token_after=request.first_token,
        output_tokens=request.output_tokens,
    )  # fmt: skip


def bound(requests: Sequence[Request], rules: MarkerRules) -> Decimal:
    """The least that the workload could have cost under these rules."""
    sizes = Sizes()
    asked = [
        Asking(render(r.body, r.dialect, sizes), r.tenant, r.at, r.at + r.first_token) for r in requests
    ]  # fmt: skip
    return lower_bound(asked, rules, RATES)
