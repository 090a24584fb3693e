"""The tower: which flights are in the air, and who may still board them.

One flight for each key, framing and usage wish; bounded in number. Boarding is one synchronous step, so that between
"is there one?" and "then this is the one" nothing can happen. This room must never do I/O or wait.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from math import inf

from payonce.core.effects import Flight
from payonce.core.tape import Tape
from payonce.model.call import Ask

LANDINGS = 1024
"""So many of the last answers that were kept are remembered: more than land while a lookup is under way."""
_Gate = tuple[bytes, bool]


class Tower:
    """All flights of one process; `max_tape` and, for batches, `max_batch` bound what is kept of an answer, in bytes.
    Not thread safe: a player that uses threads holds its own lock."""

    def __init__(self, max_flights: int, max_tape: int, max_batch: int = 64 << 20) -> None:
        self.max_flights = max_flights
        self.max_tape = max_tape
        self.max_batch = max_batch
        self._flights: dict[_Gate, Flight] = {}
        self._landed: OrderedDict[_Gate, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._flights)

    def __iter__(self) -> Iterator[Flight]:
        return iter(list(self._flights.values()))

    @property
    def full(self) -> bool:
        """Whether no further flight may take off."""
        return len(self._flights) >= self.max_flights

    def find(self, ask: Ask, purges: int) -> Flight | None:
        """The flight that a reader with `ask` may board: under way, its start still on tape, not known to be an error,
        and not older than the last purge (`purges` counts them)."""
        flight = self._flights.get(_gate(ask))
        if flight is None or flight.landing is not None or flight.purges < purges:
            return None
        tape = flight.tape
        if not tape.joinable or (tape.head is not None and tape.head.status != 200):
            return None
        return flight

    def take_off(self, ask: Ask, purges: int) -> Flight:
        """A new flight; one that can't be boarded any more loses its gate to it."""
        flight = Flight(ask, Tape(cap=self.max_tape if ask.batch is None else self.max_batch), purges)
        self._flights[_gate(ask)] = flight
        return flight

    def land(self, flight: Flight, now: float) -> None:
        """The flight is over; nobody boards it any more. `now` in Unix seconds."""
        gate = _gate(flight.ask)
        if self._flights.get(gate) is flight:
            del self._flights[gate]
        if flight.landing is not None and flight.landing.reason is None:
            self._landed[gate] = now
            self._landed.move_to_end(gate)
            if len(self._landed) > LANDINGS:
                self._landed.popitem(last=False)

    def landed_since(self, ask: Ask, since: float) -> bool:
        """Whether a flight that a reader with `ask` could have boarded has landed, and its answer was kept, at `since`
        or later: what the reader has looked for before that may be there now."""
        return self._landed.get(_gate(ask), -inf) >= since


def _gate(ask: Ask) -> _Gate:
    return ask.key.slot, ask.intent.wants_usage
