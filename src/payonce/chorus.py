"""The scribes of one process, told as one: the journal that writes receipts down, and the teller of logs and traces.

This room must never decide what is told.
"""

from __future__ import annotations

from payonce.books.journal import Billed, Journal
from payonce.ledger.hits import Told
from payonce.ledger.unread import Expired
from payonce.model.call import Ask, Call
from payonce.model.receipt import Hits, Landing, Receipt
from payonce.telling import Teller


class Chorus:
    """Several scribes that are told the same."""

    def __init__(self, *scribes: Journal | Teller) -> None:
        self._scribes = scribes
        self.wants_each = any(scribe.wants_each for scribe in scribes)

    def exchanged(self, receipt: Receipt, seconds: float, asked: Ask | Call | None) -> None:
        """A request was answered."""
        for scribe in self._scribes:
            scribe.exchanged(receipt, seconds, asked)

    def hit(self, receipt: Receipt, seconds: float, asked: Ask) -> None:
        """A request was answered from the cache."""
        for scribe in self._scribes:
            if scribe.wants_each:
                scribe.hit(receipt, seconds, asked)

    def hits(self, told: Told) -> None:
        """Requests were answered from the cache."""
        for scribe in self._scribes:
            scribe.hits(told)

    def landed(self, landing: Landing, followers: int, ask: Ask) -> None:
        """An upstream call ended."""
        for scribe in self._scribes:
            scribe.landed(landing, followers, ask)

    def billed(self, billed: Billed) -> None:
        """An upstream's answer was billed."""
        for scribe in self._scribes:
            scribe.billed(billed)

    def shelved(self, told: Told, shown: list[Hits]) -> None:
        """The fast lane answered."""
        for scribe in self._scribes:
            scribe.shelved(told, shown)

    def unread(self, expired: Expired) -> None:
        """Written prefixes expired unread."""
        for scribe in self._scribes:
            scribe.unread(expired)


def chorus(journal: Journal | None, teller: Teller | None) -> Chorus | Journal | Teller | None:
    """Whoever of the two there is, as one scribe."""
    if journal is None or teller is None:
        return teller if journal is None else journal
    teller.filed_as = journal.filed_as
    return Chorus(journal, teller)
