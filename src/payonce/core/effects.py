"""What a story may ask of the player that performs it: effects, as values.

`answer = yield from Lookup(ask)` reads like a call and is typed like one; the player sees the value, does the work and
sends the answer back in. This room must never know how an effect is performed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

import msgspec

from payonce.core.labels import Label
from payonce.core.tape import Ending, Tape
from payonce.model.call import Ask, Call, Sought
from payonce.model.entry import Entry
from payonce.model.key import Key
from payonce.model.ports import Head
from payonce.model.reason import Reason
from payonce.model.receipt import Landing

T = TypeVar("T")
R = TypeVar("R")
Story = Generator["Effect[Any]", Any, R]
"""A generator that yields effects, is sent their answers, and returns one R."""


class Effect(Generic[T]):
    """A question whose answer is a T."""

    __slots__ = ()

    def __iter__(self) -> Generator[Effect[Any], Any, T]:
        answer: T = yield self
        return answer


class Flight:
    """One upstream call under way, and whoever reads its tape. `landing` is None until it has ended and was judged."""

    __slots__ = ("_waiting", "ask", "followers", "landing", "overdue", "purges", "tape", "took_off")

    def __init__(self, ask: Ask, tape: Tape, purges: int) -> None:
        self.ask = ask
        self.tape = tape
        self.purges = purges
        self.followers = 0
        self.took_off = 0.0
        self.overdue = False
        self.landing: Landing | None = None
        self._waiting: list[Callable[[], None]] = []

    @property
    def number(self) -> int:
        """That of the request it took off for."""
        return self.ask.call.number

    def land(self, landing: Landing) -> None:
        """It has ended and was judged."""
        self.landing = landing
        waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()

    def on_landing(self, wake: Callable[[], None]) -> None:
        """Call `wake` once it has landed, which it has not yet."""
        self._waiting.append(wake)


class Boarding(msgspec.Struct, frozen=True):
    """A seat in a flight; `leader` is who made it take off."""

    flight: Flight
    leader: bool


# Asked by the exchange, the story of one request.


class Lookup(Effect["Entry | Reason"], msgspec.Struct, frozen=True):
    """What is stored for `ask`, verified and not purged, however old; or why there is nothing."""

    ask: Ask | Sought


class LookupMany(Effect["tuple[Entry | Reason, ...]"], msgspec.Struct, frozen=True):
    """The same for each of many asks, in order; one that takes too long makes misses of those after it."""

    asks: tuple[Ask, ...]


class Drop(Effect[None], msgspec.Struct, frozen=True):
    """Forget what is stored under `keys`, in either framing."""

    keys: tuple[Key, ...]


class Board(Effect["Boarding | Reason | None"], msgspec.Struct, frozen=True):
    """A seat in the one flight for this key and framing, which takes off if there is none; or why there is no seat.
    None where one has landed, and was kept, at `since` (Unix seconds) or later: what was looked for before that may be
    there now."""

    ask: Ask
    since: float


class Await(Effect["Head | Reason"], msgspec.Struct, frozen=True):
    """The head of the flight's answer, or why there will be none. With `settle`, an answer that ends within moments
    is awaited whole, so that what is said of it in the headers is known rather than hoped."""

    flight: Flight
    settle: bool


class Declined(Effect["Reason | None"], msgspec.Struct, frozen=True):
    """Why the store would not keep an answer of `size` bytes to `ask`, as far as it knows now; None where it might. Of
    no size where that is not known, or is that of many entries."""

    ask: Ask
    size: int


class Land(Effect[Landing], msgspec.Struct, frozen=True):
    """How the flight has ended; awaited for as long as it takes, without a reader on its tape."""

    flight: Flight


class Pause(Effect[None], msgspec.Struct, frozen=True):
    """Let others have their turn, where there is a loop that others wait for. Also asked by a flight."""


class Relay(Effect[bool], msgspec.Struct, frozen=True):
    """Give the tape to the client as it grows; True if the client took all of it."""

    head: Head
    tape: Tape
    label: Label


class Pass(Effect["Reason | None"], msgspec.Struct, frozen=True):
    """Send the call upstream and the answer back, untouched and unrecorded; a reason if the upstream failed."""

    call: Call
    label: Label


class Refuse(Effect[None], msgspec.Struct, frozen=True):
    """Answer with the gateway's own error."""

    reason: Reason
    label: Label


class Renew(Effect["Flight | None"], msgspec.Struct, frozen=True):
    """Let a flight for this key take off that nobody waits for, unless there is one, or one has landed `since`: the
    flight, None where none took off."""

    ask: Ask
    since: float


# Asked by the flight, the story of one upstream call.


class Epochs(Effect[tuple[int, ...]], msgspec.Struct, frozen=True):
    """The counts of these scopes, now."""

    scopes: tuple[str, ...]


class Claimed(msgspec.Struct, frozen=True):
    """Whether the call may be made, as no other process makes it; and what is stored by now, however old. Not `sure`
    where the store did not answer."""

    free: bool
    entry: Entry | None = None
    sure: bool = True


FREE = Claimed(True)


class Claim(Effect[Claimed], msgspec.Struct, frozen=True):
    """The right to make the call for `ask`, of all processes that share the store; and a look into it. A store that
    can't say who has it lets everybody go."""

    ask: Ask


class Rest(Effect[None], msgspec.Struct, frozen=True):
    """Let so many seconds pass."""

    seconds: float


class Copy(Effect[None], msgspec.Struct, frozen=True):
    """Write on the tape what another process has paid for, whole."""

    tape: Tape
    head: Head
    body: bytes


class Witness(Effect[int], msgspec.Struct, frozen=True):
    """An answer to a call for `name` has come of which `said` tells who made it, and `scope` counted `born` when the
    call took off: the count under which it is kept. May retire what was kept before (core/changes.py)."""

    scope: str
    name: str
    said: str
    born: int


class Now(Effect[float], msgspec.Struct, frozen=True):
    """The time, in Unix seconds."""


class Fetch(Effect[Ending], msgspec.Struct, frozen=True):
    """Send the call upstream and write its answer on the tape until it ends."""

    call: Call
    tape: Tape


class Put(Effect["Reason | None"], msgspec.Struct, frozen=True):
    """Keep the entry as the answer to `ask`; a reason if the store dropped it."""

    ask: Ask
    entry: Entry
