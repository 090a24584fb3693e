"""Who tells logs and traces of each request: gathers its parts as they come, and hands on a `Visit` when it has them.

A request is known when it was answered; what its upstream call used is known when that has landed and was billed, a
moment later. Nothing waits: what happens on the request path is one append, the rest is done by whoever calls `flush`.
Bounded; what finds no room is counted. This room must never hold a prompt, nor fail a call.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

from payonce.books.journal import Billed
from payonce.ledger.hits import Told
from payonce.ledger.unread import Expired
from payonce.model.call import Ask, Call
from payonce.model.receipt import Hits, Landing, Outcome, Receipt
from payonce.model.visit import Visit, Wire
from payonce.visiting import Seen, number_of, visit_of

WAITING: Final = 10_000
"""So many requests may wait to be told of."""
KNOWN: Final = 4096
"""So many upstream calls are remembered for requests that are told of later."""
PATIENCE: Final = 3.0
"""For so many seconds a request waits for what its upstream call used."""
_log = logging.getLogger("payonce")
V = TypeVar("V")


class Sink(Protocol):
    """Where visits go. May wait for a disk or a network; what it can't take it counts in `dropped`."""

    dropped: int

    def tell(self, visits: Sequence[Visit]) -> None:
        """Take them, in the order in which all was known of them."""
        ...


class Teller:
    """See the room's first paragraph. Safe for threads. With `whole`, every request is told of by `exchanged` alone;
    else whoever holds the connection tells of it, by `visited`. `context` says in what context one is made."""

    def __init__(
        self,
        sinks: Sequence[Sink],
        clock: Callable[[], float],
        *,
        whole: bool,
        context: Callable[[], object] | None = None,
    ) -> None:
        self._context = context
        self._sinks = sinks
        self._clock = clock
        self._whole = self.wants_each = whole
        self._waiting: deque[Seen] = deque()
        self._landed: OrderedDict[int, Landing] = OrderedDict()
        self._billed: OrderedDict[int, Billed] = OrderedDict()
        self._lock = threading.Lock()
        self._lost = 0
        self.filed_as: Callable[[int], str] | None = None
        """Under which id a request's receipt is filed, by its number; None where none is."""

    @property
    def dropped(self) -> int:
        """How many requests are missing in what was told."""
        return self._lost + sum(sink.dropped for sink in self._sinks)

    # What the ledger is told (`payonce.ledger.tally.Scribe`).

    def exchanged(self, receipt: Receipt, seconds: float, asked: Ask | Call | None) -> None:
        """A request was answered."""
        if self._whole:
            self.visited(seconds, receipt, asked)

    def hit(self, receipt: Receipt, seconds: float, asked: Ask) -> None:
        """A request was answered from the cache."""
        self.exchanged(receipt, seconds, asked)

    def hits(self, told: Told) -> None:
        """Requests were answered from the cache: each was told already."""

    def landed(self, landing: Landing, followers: int, ask: Ask) -> None:  # noqa: ARG002 - a scribe hears more
        """An upstream call ended."""
        _keep(self._landed, ask.call.number, landing)

    def billed(self, billed: Billed) -> None:
        """An upstream's answer was billed."""
        _keep(self._billed, billed.request, billed)

    def shelved(self, told: Told, shown: list[Hits]) -> None:
        """The fast lane answered; it does not where requests are told of one by one."""

    def unread(self, expired: Expired) -> None:
        """Written prefixes expired unread: no request's matter."""

    # What is told of.

    def visited(
        self,
        seconds: float,
        receipt: Receipt | None,
        asked: Ask | Call | None,
        *,
        kind: str = "",
        reason: str = "",
        wire: Wire | None = None,
    ) -> None:
        """A request was answered, `seconds` after it began. `kind` and `reason` say it where there is no receipt."""
        if len(self._waiting) >= WAITING:
            self._lost += 1
            return
        ask = asked if isinstance(asked, Ask) else None
        call = ask.call if ask is not None else asked if isinstance(asked, Call) else None
        context = self._context() if self._context is not None else None
        self._waiting.append(Seen(self._clock() - seconds, seconds, receipt, call, ask, kind, reason, wire, context))

    def turned_away(self, seconds: float, reason: str, wire: Wire) -> None:
        """A connection was refused before a request of it was whole. Of the room that there is, half is kept for
        requests: whoever floods us drives out no line of others."""
        if len(self._waiting) >= WAITING // 2:
            self._lost += 1
            return
        self.visited(seconds, None, None, kind=Outcome.REFUSED.value, reason=reason, wire=wire)

    def flush(self, *, last: bool = False) -> None:
        """Tell of every request that is known in full, or has waited long enough; with `last`, of all. Never raises."""
        with self._lock:
            visits = self._ripe(last=last)
            for sink in self._sinks if visits else ():
                try:
                    sink.tell(visits)
                except Exception:  # noqa: BLE001 - figures for others are not worth a call
                    _log.exception("requests can't be told of; calls go on")
                    sink.dropped += len(visits)

    def _ripe(self, *, last: bool) -> list[Visit]:
        visits, early = [], deque[Seen]()
        now = self._clock()
        for _ in range(len(self._waiting)):
            seen = self._waiting.popleft()
            if last or now - seen.at - seen.took >= PATIENCE or self._known(seen):
                visits.append(self._visit(seen))
            else:
                early.append(seen)
        self._waiting.extendleft(reversed(early))
        return visits

    def _known(self, seen: Seen) -> bool:
        """Whether nothing more will be heard of it."""
        number = number_of(seen)
        if not number or seen.call is None:
            return True
        flew = seen.receipt is not None and bool(seen.receipt.flight)
        return (not flew or number in self._landed) and (seen.call.steering is None or number in self._billed)

    def _visit(self, seen: Seen) -> Visit:
        number = number_of(seen)
        return visit_of(seen, self._landed.get(number), self._billed.get(number), self._id(seen.call))

    def _id(self, call: Call | None) -> str:
        return "" if call is None or not call.number or self.filed_as is None else self.filed_as(call.number)


def _keep(known: OrderedDict[int, V], number: int, value: V) -> None:
    if not number:
        return
    known[number] = value
    while len(known) > KNOWN:
        known.popitem(last=False)
