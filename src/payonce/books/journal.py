"""The journal: what happened, as it happens, waiting for the clerk. On the request path this is one append.

Bounded in entries and in the bytes that they hold on to; what finds no room is counted. This room must never wait,
compute or do I/O.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from payonce.books.schema import Scene
from payonce.doctor import Finding
from payonce.ledger.hits import Told
from payonce.ledger.money import Bill
from payonce.ledger.unread import Expired
from payonce.model.call import Ask, Call, Headers, Steering
from payonce.model.ports import Clock
from payonce.model.receipt import Hits, Landing, Receipt
from payonce.optimise import Advice

WAITING: Final = 20_000
"""So many happenings may wait for the clerk."""
WAITING_BYTES: Final = 32 << 20
"""So many bytes of bodies may be held on to while they wait; more are let go of, and with them the parts of a key."""
_ENDS: Final = tuple(b"%02x" % end for end in range(256))
"""The last two digits of an id."""


class Answered(NamedTuple):
    """A request was answered. `asked` is what it was: None where it could not be read."""

    at: float
    took: float
    receipt: Receipt
    asked: Ask | Call | None


class Served(NamedTuple):
    """Hits were told by the story, since the last time."""

    at: float
    told: Told


class Shelved(NamedTuple):
    """What the fast lane gave since the last time; some of it is `shown`."""

    at: float
    told: Told
    shown: list[Hits]


class Landed(NamedTuple):
    """An upstream call ended, and its answer was judged. `steered` says that its bill comes apart."""

    at: float
    landing: Landing
    followers: int
    request: int
    scene: Scene
    steered: bool


class Billed(msgspec.Struct, frozen=True):
    """What an upstream's answer cost and said. `call` is what was sent, `host` who served it; times in Unix seconds.
    `bills` is the answer's own and behind it those of calls to other models inside it; empty where it has none.
    `session` names the conversation, where it is known to be of one."""

    at: float
    request: int
    steering: Steering
    endpoint: str
    status: int
    started: float
    began: float
    bills: tuple[Bill, ...] = ()
    answered_by: str = ""
    host: str = ""
    session: str = ""
    advice: tuple[Advice, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def scene(self) -> Scene:
        """Who asked whom for what."""
        steering = self.steering
        return Scene(steering.tenant, steering.namespace, self.endpoint, steering.model, self.host)


class Unread(NamedTuple):
    """Written prefixes expired unread."""

    at: float
    expired: Expired


Event = Answered | Served | Shelved | Landed | Billed | Unread


class Journal:
    """See the room's first paragraph. Safe for threads."""

    wants_each = False

    def __init__(self, clock: Clock, world: int) -> None:
        """`world` is a random number of 31 bits that no other journal has: it stands in front of the requests' own."""
        self.world = world
        self.dropped: Counter[str] = Counter()
        """What was left out, by why."""
        self._clock = clock
        self._waiting: deque[Event] = deque()
        self._held = 0
        self._begun = -1, b""

    def exchanged(self, receipt: Receipt, seconds: float, asked: Ask | Call | None) -> None:
        """A request was answered."""
        if len(self._waiting) >= WAITING:
            self.dropped["journal-full"] += 1
            return
        entry = receipt.entry
        call = asked.call if isinstance(asked, Ask) else asked
        weight = (len(call.body) if call is not None else 0) + (len(entry.body) if entry is not None else 0)
        if self._held + weight > WAITING_BYTES:
            self.dropped["parts"] += 1
            asked = _lean(asked)
        else:
            self._held += weight
        self._waiting.append(Answered(self._clock(), seconds, receipt, asked))

    def hit(self, receipt: Receipt, seconds: float, asked: Ask) -> None:
        """Hits are written down in sums."""

    def hits(self, told: Told) -> None:
        """Requests were answered from the cache."""
        self._add(Served(self._clock(), told))

    def landed(self, landing: Landing, followers: int, ask: Ask) -> None:
        """An upstream call ended."""
        scene = Scene(ask.tenant, ask.namespace, ask.call.endpoint, ask.intent.model)
        if landing.entries:
            landing = replace(landing, entries=())
        steered = ask.call.steering is not None
        self._add(Landed(self._clock(), landing, followers, ask.call.number, scene, steered))

    def shelved(self, told: Told, shown: list[Hits]) -> None:
        """The fast lane answered."""
        self._add(Shelved(self._clock(), told, shown))

    def billed(self, billed: Billed) -> None:
        """An upstream's answer was billed."""
        self._add(billed)

    def unread(self, expired: Expired) -> None:
        """Written prefixes expired unread."""
        self._add(Unread(self._clock(), expired))

    def id_of(self, request: int) -> int:
        """A request's number as it is filed."""
        return self.world << 32 | request & 0xFFFFFFFF

    def filed_as(self, request: int) -> str:
        """The same as it is told to people: 16 hexadecimal digits."""
        return f"{self.id_of(request):016x}"

    def named(self, request: int) -> Headers:
        """The header field by which a client learns under which id its request is filed. It is said with every hit, so
        the digits that 256 requests in a row have in common are written once for all of them."""
        block, begun = self._begun
        if request >> 8 != block:
            block, begun = self._begun = request >> 8, b"%014x" % (self.id_of(request) >> 8)
        return ((b"x-payonce-request-id", begun + _ENDS[request & 255]),)

    @property
    def waiting(self) -> int:
        """How many happenings wait for the clerk."""
        return len(self._waiting)

    def take(self, most: int) -> list[Event]:
        """The oldest happenings that wait, at most so many."""
        taken: list[Event] = []
        waiting = self._waiting
        while waiting and len(taken) < most:
            taken.append(waiting.popleft())
        if not waiting:
            self._held = 0
        return taken

    def _add(self, event: Event) -> None:
        if len(self._waiting) >= WAITING:
            self.dropped["journal-full"] += 1
        else:
            self._waiting.append(event)


def _lean(asked: Ask | Call | None) -> Ask | Call | None:
    """The same without its bodies."""
    if asked is None or isinstance(asked, Call):
        return None if asked is None else replace(asked, body=b"", headers=())
    return replace(
        asked,
        call=replace(asked.call, body=b"", headers=()),
        intent=replace(asked.intent, canonical=b"", items=(), shell=b""),
        batch=None,
        asked=None,
    )
