"""One host of a provider: a body goes in, usage, cost and what was read and written come out.

Deterministic and pure: the clock is an argument and calls come in the order of their times. Which cache, which prices
and which convention of usage are arguments too. This room must never know the planner.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from payonce.testing.providers.blocks import Asked, Sizes
from payonce.testing.providers.render import render
from payonce.testing.providers.rules import Rates, Ready, RefusedError, Split
from payonce.testing.providers.usage import EMITTERS


class Cache(Protocol):
    """What a model of a cache does with one request."""

    def account(self, asked: Asked, *, scope: str, now: float, ready: Ready) -> Split:
        """How the prompt is billed, and what is kept of it; RefusedError where the provider answers 4xx."""


@dataclass(frozen=True, slots=True)
class Served:
    """What came of one request. Costs are US dollars; `error` is the provider's sentence where `status` is not 200."""

    status: int
    usage: dict[str, Any] = field(default_factory=dict)
    split: Split = field(default_factory=Split)
    prompt_cost: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)
    host: str = ""
    error: str | None = None
    cache_discount: Decimal | None = None

    @property
    def read(self) -> int:
        return self.split.read

    @property
    def write_5m(self) -> int:
        return self.split.write

    @property
    def write_1h(self) -> int:
        return self.split.write_1h

    @property
    def plain(self) -> int:
        return self.split.plain


class Provider:
    """One host with one cache.

    `convention` names how it writes usage (`usage.EMITTERS`); `whole_answer` says that what it keeps can be read only
    once the answer that made it has ended.
    """

    def __init__(
        self,
        cache: Cache,
        rates: Rates,
        *,
        convention: str = "anthropic",
        sizes: Sizes | None = None,
        host: str = "",
        whole_answer: bool = False,
    ) -> None:
        self.cache = cache
        self.rates = rates
        self.convention = convention
        self.sizes = sizes or Sizes()
        self.host = host
        self.whole_answer = whole_answer

    def serve(
        self,
        body: Mapping[str, Any],
        *,
        dialect: str,
        now: float,
        tenant: str = "t",
        headers: Mapping[str, str] | None = None,
        first_token_after: float = 1.0,
        output_tokens: int = 0,
        answer_after: float | None = None,
    ) -> Served:
        """Answer one request that starts at `now`; its answer begins `first_token_after` seconds later, and has ended
        `answer_after` seconds later."""
        try:
            asked = render(body, dialect, self.sizes, headers)
            split = self.account(asked, tenant, now, self.ready(now, first_token_after, answer_after))
        except RefusedError as error:
            return Served(error.status, host=self.host, error=str(error))
        rates = self.rates.at(split.total)
        prompt = split.cost(rates)
        usage = EMITTERS[self.convention](split, output_tokens, dialect)
        discount = split.total * rates.input - prompt
        return Served(200, usage, split, prompt, prompt + output_tokens * rates.output, self.host, None, discount)

    def ready(self, now: float, first_token_after: float, answer_after: float | None) -> Ready:
        """When what a request writes can be read."""
        return Ready(now + (answer_after if self.whole_answer and answer_after is not None else first_token_after))

    def account(self, asked: Asked, tenant: str, now: float, ready: Ready) -> Split:
        """The split of a rendered request."""
        return self.cache.account(asked, scope=tenant, now=now, ready=ready)
