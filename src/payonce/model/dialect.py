"""What a dialect is to the house: one endpoint's wire, as pure functions over bytes. Protocols and words only.

A dialect says what a request means and what an answer says of itself; it must never know whether either is cached.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from payonce.model.call import Headers, Intent
from payonce.model.entry import Facts
from payonce.model.policy import HitUsage
from payonce.model.reason import Reason


class Dialect(Protocol):
    """One endpoint's wire: pure functions over bytes."""

    endpoint: str

    def read(self, body: bytes) -> Intent | Reason:
        """What the client means, or why its request has no key (the bytes then go upstream untouched)."""
        ...

    def judge(self, intent: Intent, headers: Headers, body: bytes) -> Facts | Reason:
        """What a whole 200 answer says of itself, or why it is not kept."""
        ...

    def respend(self, body: bytes, stream: bool, mode: HitUsage) -> bytes:
        """A stored body that reports the usage of a hit: `free` sets cost fields to 0, `zero` token counters too."""
        ...

    def convert(self, body: bytes, *, to_stream: bool, wants_usage: bool) -> bytes | None:
        """A stored body in the other framing: what an SDK reads in it is what it reads in `body`, the usage that a
        stream leaves out unless it is asked for (`wants_usage`) aside. None where that is not proven."""
        ...

    def error(self, status: int, code: str, message: str) -> bytes:
        """A body in the endpoint's own error shape."""
        ...


class Piece(NamedTuple):
    """One item of a batch's answer: the body under which it is stored, and its share in what the answer says."""

    body: bytes
    facts: Facts


class Division(NamedTuple):
    """A batch's answer as a whole, and each of its items, in order; none of them where it is `unkept`, and why."""

    facts: Facts
    pieces: tuple[Piece, ...]
    unkept: Reason | None = None


@runtime_checkable
class BatchDialect(Dialect, Protocol):
    """A dialect of batches, whose items are answered one by one."""

    def narrow(self, body: bytes, places: Sequence[int]) -> bytes:
        """The request with only the inputs at these places, all else as it was written."""
        ...

    def divide(self, body: bytes, weights: Sequence[int]) -> Generator[None, None, Division | Reason]:
        """A whole 200 answer, divided; `weights` has one for each item that was sent. Yields now and then, so that the
        work on a large answer can be spread. The numbers in the pieces' usage add up to the answer's exactly."""
        ...

    def assemble(
        self, pieces: Sequence[bytes], places: Sequence[int], paid: Collection[int], mode: HitUsage
    ) -> Generator[None, None, bytes | None]:
        """An answer with `pieces[places[0]]` at index 0 and so on; usage counts each piece once, those in `paid` as
        they are and the others as `mode` says. None where the pieces don't belong together. Yields as above."""
        ...
