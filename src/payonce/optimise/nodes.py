"""What is remembered of requests, as values: conversations, places where requests end or part, and what is believed
before anything was seen.

This room must never hold a text, nor judge.
"""

from __future__ import annotations

from dataclasses import dataclass

from payonce.optimise.accounts import Stake
from payonce.optimise.chances import Cell, Exposure
from payonce.optimise.crowds import Crowd


class Talk:
    """One conversation: its habits, and what is known of the hosts that served it."""

    __slots__ = (
        "broken",
        "end",
        "habits",
        "host",
        "identity",
        "keyed",
        "misses",
        "pinned",
        "pinned_until",
        "turn",
        "turns",
    )

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.habits = Cell(fade=0.9)
        self.turns = 0
        self.turn: Exposure | None = None
        self.broken = False
        self.end: Node | None = None
        self.host = ""
        self.keyed: bool | None = None
        self.misses = 0
        self.pinned = ""
        self.pinned_until = 0.0


class Node:
    """A place where requests end, may part or were marked. `pace` is how many seconds lie between two requests through
    it, of late; `stake` is what was paid to write it last. The times are when an entry of either lifetime ends, as far
    as we know, and from when on it can be read; and when one ends (after so many seconds without a use) that was not
    allowed to be written."""

    __slots__ = (
        "crowd",
        "habits",
        "pace",
        "ready",
        "rehearsed",
        "rehearsed_for",
        "stake",
        "talk",
        "turn",
        "until_long",
        "until_short",
        "uses",
        "wait",
    )

    def __init__(self) -> None:
        self.uses = 0
        self.stake: Stake | None = None
        self.habits: Cell | None = None
        self.crowd: Crowd | None = None
        self.pace = float("inf")
        self.wait: Exposure | None = None
        self.turn: Exposure | None = None
        self.talk: Talk | None = None
        self.until_short = self.until_long = self.ready = self.rehearsed = float("-inf")
        self.rehearsed_for = 0.0

    def paced(self, gap: float) -> None:
        """The next request comes, so many seconds after the one before."""
        self.pace = gap if self.pace == float("inf") else self.pace + 0.2 * (gap - self.pace)

    def rehearse(self, now: float, seconds: float = 0.0) -> None:
        """Be kept for so long as if that had been allowed; without `seconds`, as long as before."""
        if self.rehearsed <= now:
            self.rehearsed_for = 0.0
        self.rehearsed_for = max(self.rehearsed_for, seconds)
        self.rehearsed = now + self.rehearsed_for

    def until(self) -> float:
        """When the last of its entries ends."""
        return max(self.until_short, self.until_long)


@dataclass(slots=True)
class Beginning:
    """A place on the way of a request where others may part from it: chances of another use within five minutes, then
    within half an hour, then within the hour."""

    at: int
    node: Node
    chances: tuple[float, float, float]
    backed: bool = False


@dataclass(slots=True)
class Sight:
    """A request, followed down the tree. `known` is its last block that was seen before, -1 if none was; `nodes` are
    the nodes on its way by block; `tail` are the chances that the conversation goes on."""

    known: int
    nodes: dict[int, Node]
    beginnings: list[Beginning]
    talk: Talk
    continued: bool
    tail: tuple[float, float, float]
    kind: str
    backed: bool = False


@dataclass(frozen=True, slots=True)
class Beliefs:
    """What is believed before anything was seen.

    Pairs are the chances of a next use within five minutes, and after that within the hour: of a first request, of one
    that may call tools, of a conversation that is met in the middle, of one that goes on (after a person, after a
    tool), of one whose prefix changed; and of a beginning used once, twice, and more often. `late` is how likely a
    beginning that surely is used again, and wasn't in five minutes, is used within the hour, where `late_share` of the
    pauses between two uses are longer than five minutes; `gaps` is how many pauses that share is worth against those
    that were seen of a tenant. The other numbers say how
    many exposures each level's estimate is worth to the next: that of everybody, of the tenant's pace, of the tenant,
    of the place, and then what the conversation or the beginning itself shows; `crowd` is how many requests through a
    place what is believed of the ways from it is worth. docs/design/planner.md says why.
    """

    first: tuple[float, float] = (0.08, 0.02)
    first_with_tools: tuple[float, float] = (0.4, 0.06)
    later: tuple[float, float] = (0.6, 0.1)
    seen: tuple[float, float] = (0.8, 0.08)
    after_tool: tuple[float, float] = (0.88, 0.03)
    broken: tuple[float, float] = (0.08, 0.02)
    standing: tuple[float, float] = (0.3, 0.08)
    once: tuple[float, float] = (0.08, 0.02)
    twice: tuple[float, float] = (0.5, 0.2)
    often: tuple[float, float] = (0.7, 0.2)
    late: float = 0.7
    late_share: float = 0.25
    gaps: float = 25.0
    everybody: float = 4.0
    pace: float = 1.0
    tenant: float = 2.0
    place: float = 2.5
    own: float = 3.0
    beginning: float = 1.5
    fewer: float = 1.5
    crowd: float = 3.0
