"""What the players share: a story that rests at its answer, for clients that take the answer at their own pace.

The gateway's face is pushed to; an SDK's client pulls. For it a player performs the exchange up to the one effect that
answers (`ANSWERS`) and hands over a `Turn`; when the client has taken the answer, the turn is ended and the story tells
its receipt. This room must never perform anything.
"""

from __future__ import annotations

from typing import Any, Protocol

from payonce.core import effects as do
from payonce.core.tape import Reader
from payonce.model.call import Ask, Call
from payonce.model.ports import Clock
from payonce.model.receipt import Landing, Receipt

SETTLE_SECONDS = 0.05
"""For how long the head of a whole answer may wait for its body, so that `stored` is known when it is said."""

READERS = 4
"""Threads that read a store which may wait."""

WAITING_READS = 256
"""Reads that may wait for those threads; further ones are misses."""

SLICE_ITEMS = 64
"""So many items of a batch are looked up in one go; then others have their turn."""

ANSWERS = (do.Relay, do.Pass, do.Refuse)
"""The effects that answer the client. A story ends after one of them."""

Answering = do.Relay | do.Pass | do.Refuse


class Listener(Protocol):
    """Who keeps the figures."""

    def exchanged(self, receipt: Receipt, seconds: float, asked: Ask | Call | None) -> None:
        """A request was answered; a call stands for `asked` where the cache took no part in it."""
        ...

    def landed(self, landing: Landing, followers: int, ask: Ask) -> None:
        """An upstream call for `ask` ended that `followers` others had joined."""
        ...


class Turn:
    """One exchange that rests at `effect`, its answer. `flight` is what it boarded, if anything; `reader` is its place
    on the tape where the answer is still arriving."""

    __slots__ = ("_asked", "_clock", "_listener", "_started", "_story", "effect", "flight", "leader", "reader")

    def __init__(
        self, story: do.Story[Receipt], asked: Ask | Call, listener: Listener, clock: Clock, started: float
    ) -> None:
        self._story: do.Story[Receipt] | None = story
        self._asked = asked
        self._listener = listener
        self._clock = clock
        self._started = started
        self.effect: Answering = None  # type: ignore[assignment]  # a player hands a turn out only with its answer
        self.flight: do.Flight | None = None
        self.leader = False
        self.reader: Reader | None = None

    def ask(self, answer: Any) -> do.Effect[Any] | None:
        """The story's next effect; None where it is the answer, at which the turn now rests."""
        assert self._story is not None
        effect = self._story.send(answer)
        if isinstance(effect, ANSWERS):
            self.effect = effect
            return None
        return effect

    def board(self, boarding: do.Boarding) -> None:
        """The story has got a seat."""
        self.flight, self.leader = boarding.flight, boarding.leader

    def end(self, taken: object) -> Receipt | None:
        """The client has `taken` the answer, or will take no more of it: the receipt, told to the listener. Only the
        first call counts."""
        story, self._story = self._story, None
        if story is None:
            return None
        try:
            story.send(taken)
        except StopIteration as end:
            receipt: Receipt = end.value
            self._listener.exchanged(receipt, self._clock() - self._started, self._asked)
            return receipt
        raise RuntimeError("a story went on after its answer; a client that pulls can't be waited for")
