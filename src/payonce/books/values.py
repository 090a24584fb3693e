"""What answers from the cache are worth, for the clerk: what they say they cost, else the sum by price.

Its thread may wait until prices are known, so nothing it writes down is corrected later. This room must never know a
receipt.
"""

from __future__ import annotations

from payonce.ledger.avoiding import Avoided, avoided
from payonce.ledger.hits import HitSums
from payonce.ledger.worth import Owed, Worth, owed_of
from payonce.model.entry import Facts


class Values:
    """By `worth`; without it, what does not say its cost is of unknown value."""

    def __init__(self, worth: Worth | None) -> None:
        self._worth = worth

    def of(self, asked: str, facts: Facts) -> tuple[int | None, bool]:
        """Billionths of a dollar of one answer, None where unknown; and whether that was worked out by price."""
        if facts.tokens.cost is not None or self._worth is None:
            return facts.tokens.cost, False
        found = self._worth.of(Owed(asked, facts.model, facts.tokens))
        return found, found is not None

    def avoided(self, asked: str, facts: Facts, took: float, calls: int = 1) -> Avoided:
        """So many calls for the model that was asked were not made."""
        said = avoided(facts.tokens, took, calls)
        if facts.tokens.cost is not None or self._worth is None:
            return said
        return self._worth.settled(said._replace(unpriced=0), {Owed(asked, facts.model, facts.tokens): calls})

    def hits(self, sums: HitSums) -> Avoided:
        """What hits of one scene spared."""
        owed = owed_of(sums.scene[3], sums.owed)
        if self._worth is None:
            return sums.avoided._replace(unpriced=sums.unpriced + owed.total())
        return self._worth.settled(sums.avoided, owed)
