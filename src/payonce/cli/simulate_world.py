"""The providers of `payonce simulate`: the strict cache models, with the hosts that were recorded and known prices.

This room must never know the planner.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

from payonce.ledger.prices import Prices
from payonce.ledger.usage import parse
from payonce.recorded import Record
from payonce.simulation import Bill
from payonce.testing.providers import (
    Family,
    MarkedCache,
    Provider,
    Rates,
    RefusedError,
    Router,
    Served,
    Sizes,
    family_of,
)
from payonce.testing.providers.blocks import MARKERS, quarter, without_markers
from payonce.testing.providers.render import render

_LEAST, _MOST = 0.4, 2.5
"""How far the measured length of a token may be from four characters before it is not believed."""
_PERCENT: Final = 10_000


@dataclass(slots=True)
class Facts:
    """What a first look at the file shows of one model: its hosts, and how long prompts really were."""

    hosts: set[str] = field(default_factory=set)
    counted: int = 0
    estimated: int = 0
    marked: int = 0

    def learn(self, record: Record) -> None:
        """One more record of this model."""
        self.marked += unmarked(record.body) != record.body
        if record.provider:
            self.hosts.add(record.provider)
        total = parse(record.usage, dialect=record.dialect, model=record.model).input_total if record.usage else None
        if total:
            try:
                blocks = render(record.body, record.dialect, Sizes()).blocks
            except (RefusedError, TypeError, AttributeError, KeyError, ValueError):
                return
            self.counted += total
            self.estimated += sum(block.tokens for block in blocks)

    @property
    def scale(self) -> float:
        """Tokens in place of each that four characters make."""
        found = self.counted / self.estimated if self.estimated else 1.0
        return min(_MOST, max(_LEAST, found))


class Pricing:
    """The rates of each model: known ones, else the list prices of its family; `assumed` names the latter."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self.assumed: set[str] = set()

    def rates(self, model: str, family: Family) -> Rates:
        """US dollars a token, with every price that the family has a multiple for."""
        known, own = self._prices.rates(model), family.rates
        if known is None or not known.input:
            self.assumed.add(model)
            return own
        base = known.input

        def price(given: Decimal | None, like: Decimal) -> Decimal:
            return base * like / own.input if given is None else given

        return Rates(
            base,
            price(known.output, own.output),
            price(known.cache_read, own.read),
            price(known.cache_write_5m, own.write),
            price(known.cache_write_1h, own.write_1h),
        )


class Providers:
    """The providers that one way of sending meets, made when they are first asked. `pinned`: as recorded, each request
    goes to the host that served it, where that is known."""

    def __init__(self, facts: Mapping[str, Facts], pricing: Pricing, *, pinned: bool, pessimistic: bool) -> None:
        self._facts = facts
        self._pricing = pricing
        self._pinned = pinned
        self._pessimistic = pessimistic
        self._made: dict[str, Router | Provider] = {}
        self._rates: dict[str, Rates] = {}

    def bill(
        self, record: Record, body: dict[str, Any], headers: Mapping[str, str], at: float, *, first_token: float
    ) -> Bill:
        """What the provider bills. A request that it refuses is billed as it would be without markers."""
        served = self._serve(record, body, headers, at, first_token)
        refused = served.error or ""
        if refused:
            served = self._serve(record, unmarked(body), headers, at, first_token)
        rates = self._rates[record.model]
        return Bill(
            served.prompt_cost,
            served.split.total * rates.at(served.split.total).input,
            served.read,
            served.write_5m,
            served.write_1h,
            served.plain,
            served.usage,
            served.host,
            refused,
        )

    def recorded_cost(self, record: Record) -> Decimal | None:
        """The input cost that the recorded usage says, at the same prices."""
        if not record.usage:
            return None
        used = parse(record.usage, dialect=record.dialect, model=record.model, provider=record.provider)
        parts = (used.input_uncached, used.cache_read, used.cache_write_5m, used.cache_write_1h)
        if parts[0] is None or parts[1] is None:
            return None
        rates = self._rates.get(record.model) or self._rates_of(record.model)
        prices = (rates.input, rates.read, rates.write, rates.write_1h)
        return sum(((part or 0) * price for part, price in zip(parts, prices, strict=True)), Decimal(0))

    def _serve(
        self, record: Record, body: dict[str, Any], headers: Mapping[str, str], at: float, first_token: float
    ) -> Served:
        one = self._of(record.model)
        if self._pinned and record.provider and isinstance(one, Router):
            body = {**body, "provider": {"order": [record.provider]}}
        try:
            return one.serve(
                body,
                dialect=record.dialect,
                now=at,
                tenant=record.tenant or record.key or "",
                headers=headers,
                first_token_after=first_token,
            )
        except (TypeError, AttributeError, KeyError, ValueError) as error:
            return Served(400, error=f"its body has a shape that the {record.dialect} endpoint does not take ({error})")

    def _rates_of(self, model: str) -> Rates:
        rates = self._rates[model] = self._pricing.rates(model, family_of(model))
        return rates

    def _of(self, model: str) -> Router | Provider:
        made = self._made.get(model)
        if made is None:
            family, facts = family_of(model), self._facts.get(model, Facts())
            rates = self._rates_of(model)
            scale = round(facts.scale * _PERCENT)
            sizes = Sizes(count=lambda text: -(-quarter(text) * scale // _PERCENT))
            names = sorted(facts.hosts) or [family.hosts[0]]
            hosts = [self._host(family, rates, name, sizes) for name in names]
            made = Router(hosts, overlap=family.overlap) if "/" in model or len(hosts) > 1 else hosts[0]
            self._made[model] = made
        return made

    def _host(self, family: Family, rates: Rates, name: str, sizes: Sizes) -> Provider:
        host = family.provider(rates, host=name, sizes=sizes)
        if self._pessimistic and isinstance(host.cache, MarkedCache):
            host.cache = MarkedCache(replace(host.cache.rules.pessimistic()))
        return host


def sent_otherwise(record: Record) -> bool:
    """Whether Payonce planned it: the recording says so, or a cache that writes only what is marked wrote something of
    a body in which nothing is."""
    if record.planned or not record.usage or unmarked(record.body) != record.body:
        return record.planned
    written = parse(record.usage, dialect=record.dialect, model=record.model).cache_write
    return bool(written) and isinstance(family_of(record.model).cache(), MarkedCache)


def unmarked(body: dict[str, Any]) -> dict[str, Any]:
    """The body without markers, so that nothing in it can be refused for one, and nothing is told to be kept."""
    bare: dict[str, Any] = without_markers(body)
    return {name: value for name, value in bare.items() if name not in MARKERS}
