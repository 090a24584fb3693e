"""What was not paid: the upstream calls that an answer from the cache stood for. Tally and books add up these figures,
each under names of its own. This room must never know those, nor what was paid.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from payonce.model.entry import Tokens
from payonce.model.receipt import Saved


class Avoided(NamedTuple):
    """So many upstream calls, their tokens, their cost in billionths of a dollar, and how long they would have taken in
    nanoseconds; the cost of `unpriced` of them is not known, and `estimated` of it is worked out by price."""

    calls: int
    input: int
    output: int
    nano: int
    ns: int
    unpriced: int
    estimated: int = 0


NOTHING: Final = Avoided(0, 0, 0, 0, 0, 0)


def avoided(tokens: Tokens, took: float, calls: int = 1) -> Avoided:
    """`calls` upstream calls of this size, of `took` seconds each, were not made. What is of unknown cost may be worth
    something by price (`payonce.ledger.worth`)."""
    return Avoided(
        calls=calls,
        input=(tokens.input or 0) * calls,
        output=(tokens.output or 0) * calls,
        nano=(tokens.cost or 0) * calls,
        ns=round(took * 1e9) * calls,
        unpriced=calls if tokens.cost is None else 0,
    )


def gathered(saved: Saved) -> Avoided:
    """A part of a batch was served, or all of it: what was not paid counts, and a call only where none was made."""
    whole = avoided(saved.tokens, saved.took)
    return whole if saved.calls else whole._replace(calls=0, unpriced=0)
