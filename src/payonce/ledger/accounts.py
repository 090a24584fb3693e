"""From an answer's usage object to an entry in the tally, in one call: read, priced, billed, entered.

Writes that the answer does not report are worked out from its charge where that is possible. Whoever calls upstreams
holds one of these and tells it of each answer, once, and never of a hit. This room must never do I/O, nor fail a call.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, Protocol

from payonce.ledger.inferring import infer_writes
from payonce.ledger.money import Bill, price
from payonce.ledger.prices import Prices, Rates
from payonce.ledger.usage import Usage, parse


class Spender(Protocol):
    """Who keeps the tally: `payonce.ledger.tally.Ledger`, or a locked one."""

    def spent(self, bill: Bill, *, cacheable: bool = True) -> None:
        """An upstream answered, and this is its bill."""
        ...


class Accounts:
    """Bills for one ledger, by one set of prices."""

    def __init__(self, ledger: Spender, prices: Prices) -> None:
        self.ledger = ledger
        self.prices = prices

    def answered(
        self,
        usage: object,
        *,
        dialect: str,
        asked: str,
        model: str = "",
        upstream: str | None = None,
        ttl: Literal["5m", "1h"] | None = None,
        charged: Decimal | None = None,
        ours: bool = False,
        cacheable: bool = True,
    ) -> tuple[Bill, ...]:
        """Enter one answer of an upstream and return its bill, and behind it those of calls to other models inside it
        where its own does not hold them.

        `usage` is the usage object as it came (a stream's put together by `fold`), `asked` the model of the request and
        `model` that of the answer. `upstream` is its base URL, which decides whose prices count. `ttl` is the time to
        live of all markers in the request, where they have one in common. `ours` says that the request carried markers
        or steering of ours, and `cacheable` that the response cache took part.
        """
        read = parse(usage, dialect=dialect, model=model or asked, provider=upstream, ttl=ttl)
        rates = self.rates(read, model, asked, upstream)
        read = infer_writes(read, rates, ttl=ttl or "5m")
        bill = price(read, rates, charged, ours=ours)
        bills = [bill]
        if bill.estimated:  # else the charge holds these too
            bills += [price(used, self.rates(used, other, "", upstream)) for other, used in read.elsewhere]
        for each in bills:
            self.ledger.spent(each, cacheable=cacheable)
        return tuple(bills)

    def rates(self, usage: Usage, model: str, asked: str, upstream: str | None) -> Rates | None:
        """The prices for a prompt of that length, of the model that answered, else of the one that was asked."""
        parts = (usage.input_uncached, usage.cache_read, usage.cache_write)
        tokens = sum(part or 0 for part in parts) if usage.input_total is None else usage.input_total
        names = [name for name in dict.fromkeys((model, asked)) if name]
        for name in names:
            found = self.prices.rates(name, provider=upstream, prompt_tokens=tokens)
            if found is not None:
                return found
        return None
