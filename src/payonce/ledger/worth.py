"""What an answer is worth that does not say what it cost: the sum by price of what it used, as its bill is estimated
when it is paid (`payonce.ledger.money.price`).

A hit must not wait for that: who counts it remembers what is owed a value, and asks here when nobody waits. This room
must never do I/O, nor be asked on a request's path.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from payonce.ledger.avoiding import Avoided
from payonce.ledger.money import nano_dollars, price
from payonce.ledger.prices import Prices, Rates
from payonce.ledger.usage import Usage
from payonce.model.entry import Facts, Tokens

KNOWN: Final = 4096
"""So many answers' worth is remembered."""
MOMENT: Final = 60.0
"""For so many seconds: prices may change with the hour."""


class Owed(NamedTuple):
    """An answer that does not say what it cost: the model that was asked, the one that answered, what it used."""

    asked: str
    answered: str
    tokens: Tokens


class Worth:
    """Values by one set of prices. Safe for threads."""

    def __init__(self, prices: Prices) -> None:
        self.prices = prices
        self._known: dict[Owed, int | None] = {}
        self._state: tuple[int, int] = 0, 0

    def of(self, owed: Owed) -> int | None:
        """Billionths of a dollar, to the nearest; None where what it used or its price is not known. May wait for the
        table of prices, unless these are `ready`."""
        state = self.prices.learned, int(self.prices.now() / MOMENT)
        if state != self._state or len(self._known) >= KNOWN:
            self._state, self._known = state, {}
        known = self._known
        if owed not in known:
            known[owed] = self._estimate(owed)
        return known[owed]

    def settled(self, said: Avoided, owed: Mapping[Owed, int]) -> Avoided:
        """`said`, and what the answers to which a value is owed, so many times each, are worth."""
        worth = [(self.of(each), times) for each, times in owed.items()]
        nano = sum((each or 0) * times for each, times in worth)
        unpriced = sum(times for each, times in worth if each is None)
        return said._replace(nano=said.nano + nano, estimated=said.estimated + nano, unpriced=said.unpriced + unpriced)

    def _estimate(self, owed: Owed) -> int | None:
        tokens = owed.tokens
        cached = (0, 0, 0) if tokens.cached is None else tokens.cached
        if tokens.input is None or tokens.output is None or len(cached) != 3 or sum(cached) > tokens.input:
            return None
        read, short, long = cached
        usage = Usage(tokens.input - read - short - long, read, short, long, tokens.output, tokens.input)
        bill = price(usage, self._rates(owed))
        return nano_dollars(bill.cost) if bill.estimated else None

    def _rates(self, owed: Owed) -> Rates | None:
        """Those of the one upstream that publishes prices of this model; else those of who made it, as a bill has it
        (`payonce.reckoning`)."""
        for name in dict.fromkeys(filter(None, (owed.answered, owed.asked))):
            biller = self.prices.sole_biller(name)
            found = self.prices.rates(name, provider=biller, prompt_tokens=owed.tokens.input or 0)
            if found is not None:
                return found
        return None


def owed_of(asked: str, served: Iterable[tuple[Facts, int]]) -> Counter[Owed]:
    """What was served so many times each, and does not say what it cost, by what it is owed."""
    found: Counter[Owed] = Counter()
    for facts, times in served:
        found[Owed(asked, facts.model, facts.tokens)] += times
    return found
