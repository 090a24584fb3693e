"""What a story may ask of the player that performs it: effects, as values.

`answer = yield from Lookup(ask)` reads like a call and is typed like one; the player sees the value, does the work and
sends the answer back in. This room must never know how an effect is performed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

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


@dataclass(frozen=True, slots=True)
class Boarding:
    """A seat in a flight; `leader` is who made it take off."""

    flight: Flight
    leader: bool


# Asked by the exchange, the story of one request.


@dataclass(frozen=True, slots=True)
class Lookup(Effect["Entry | Reason"]):
    """What is stored for `ask`, verified and not purged, however old; or why there is nothing."""

    ask: Ask | Sought


@dataclass(frozen=True, slots=True)
class LookupMany(Effect["tuple[Entry | Reason, ...]"]):
    """The same for each of many asks, in order; one that takes too long makes misses of those after it."""

    asks: tuple[Ask, ...]


@dataclass(frozen=True, slots=True)
class Drop(Effect[None]):
    """Forget what is stored under `keys`, in either framing."""

    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Board(Effect["Boarding | Reason | None"]):
    """A seat in the one flight for this key and framing, which takes off if there is none; or why there is no seat.
    None where one has landed, and was kept, at `since` (Unix seconds) or later: what was looked for before that may be
    there now."""

    ask: Ask
    since: float


@dataclass(frozen=True, slots=True)
class Await(Effect["Head | Reason"]):
    """The head of the flight's answer, or why there will be none. With `settle`, an answer that ends within moments
    is awaited whole, so that what is said of it in the headers is known rather than hoped."""

    flight: Flight
    settle: bool


@dataclass(frozen=True, slots=True)
class Land(Effect[Landing]):
    """How the flight has ended; awaited for as long as it takes, without a reader on its tape."""

    flight: Flight


@dataclass(frozen=True, slots=True)
class Pause(Effect[None]):
    """Let others have their turn, where there is a loop that others wait for. Also asked by a flight."""


@dataclass(frozen=True, slots=True)
class Relay(Effect[bool]):
    """Give the tape to the client as it grows; True if the client took all of it."""

    head: Head
    tape: Tape
    label: Label


@dataclass(frozen=True, slots=True)
class Pass(Effect["Reason | None"]):
    """Send the call upstream and the answer back, untouched and unrecorded; a reason if the upstream failed."""

    call: Call
    label: Label


@dataclass(frozen=True, slots=True)
class Refuse(Effect[None]):
    """Answer with the gateway's own error."""

    reason: Reason
    label: Label


@dataclass(frozen=True, slots=True)
class Renew(Effect[None]):
    """Let a flight for this key take off that nobody waits for, unless there is one, or one has landed `since`."""

    ask: Ask
    since: float


# Asked by the flight, the story of one upstream call.


@dataclass(frozen=True, slots=True)
class Epochs(Effect[tuple[int, ...]]):
    """The counts of these scopes, now."""

    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Claimed:
    """Whether the call may be made, as no other process makes it; and what is stored by now, however old. Not `sure`
    where the store did not answer."""

    free: bool
    entry: Entry | None = None
    sure: bool = True


FREE = Claimed(True)


@dataclass(frozen=True, slots=True)
class Claim(Effect[Claimed]):
    """The right to make the call for `ask`, of all processes that share the store; and a look into it. A store that
    can't say who has it lets everybody go."""

    ask: Ask


@dataclass(frozen=True, slots=True)
class Rest(Effect[None]):
    """Let so many seconds pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Copy(Effect[None]):
    """Write on the tape what another process has paid for, whole."""

    tape: Tape
    head: Head
    body: bytes


@dataclass(frozen=True, slots=True)
class Witness(Effect[int]):
    """An answer to a call for `name` has come of which `said` tells who made it, and `scope` counted `born` when the
    call took off: the count under which it is kept. May retire what was kept before (core/changes.py)."""

    scope: str
    name: str
    said: str
    born: int


@dataclass(frozen=True, slots=True)
class Now(Effect[float]):
    """The time, in Unix seconds."""


@dataclass(frozen=True, slots=True)
class Fetch(Effect[Ending]):
    """Send the call upstream and write its answer on the tape until it ends."""

    call: Call
    tape: Tape


@dataclass(frozen=True, slots=True)
class Put(Effect["Reason | None"]):
    """Keep the entry as the answer to `ask`; a reason if the store dropped it."""

    ask: Ask
    entry: Entry
