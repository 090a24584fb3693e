"""A tape: a body that is written once and read by any number of readers, each from its start and at its own pace.

Up to `cap` bytes a tape keeps everything, so that readers may join late and the answer can be kept. Past it the tape
is a window: what every reader has passed is let go, nobody can join, nothing can be kept, and the writer must wait
while more than `window` bytes are held. This room must never know what a body says, nor how readers wait.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import msgspec

from payonce.model.ports import Head
from payonce.model.reason import Reason


class End(StrEnum):
    """How a tape ended."""

    COMPLETE = "complete"
    CUT = "cut"
    FAILED = "failed"


class Ending(msgspec.Struct, frozen=True):
    """`complete`: the framing of the transport was whole. `cut`: it broke after the head. `failed`: there was no head.
    The last two say why."""

    end: End
    reason: Reason | None = None


COMPLETE = Ending(End.COMPLETE)


class Reader:
    """One reader's place on a tape."""

    __slots__ = ("place", "tape")

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.place = 0

    def take(self) -> list[bytes]:
        """All chunks that this reader has not seen; an empty list when there are none yet."""
        tape = self.tape
        chunks = tape.chunks[self.place - tape.base :]
        self.place += len(chunks)
        if chunks and tape.spilled:
            tape.trim()
        return chunks

    def leave(self) -> None:
        """Read no more; what was kept only for this reader is let go."""
        self.tape.readers.discard(self)
        if self.tape.spilled:
            self.tape.trim()


class Tape:
    """See the room's first paragraph. Not thread safe: a player that uses threads holds its own lock."""

    __slots__ = ("_wakes", "base", "cap", "chunks", "ending", "head", "held", "readers", "size", "spilled", "window")

    def __init__(self, cap: int = 8 << 20, window: int = 256 << 10) -> None:
        self.cap = cap
        self.window = window
        self.head: Head | None = None
        self.chunks: list[bytes] = []
        self.base = 0
        self.size = 0
        self.held = 0
        self.spilled = False
        self.ending: Ending | None = None
        self.readers: set[Reader] = set()
        self._wakes: list[Callable[[], None]] = []

    @classmethod
    def finished(cls, head: Head, body: bytes) -> Tape:
        """A tape that already ended, whole: what a hit reads."""
        tape = cls(cap=len(body))
        tape.head = head
        tape.chunks = [body] if body else []
        tape.size = tape.held = len(body)
        tape.ending = COMPLETE
        return tape

    @property
    def full(self) -> bool:
        """Whether the writer has to wait until readers have moved on."""
        return self.spilled and self.held > self.window and bool(self.readers)

    @property
    def joinable(self) -> bool:
        """Whether a reader may still start from the beginning."""
        return self.base == 0

    def read(self) -> Reader:
        """A new reader at the start. Raises ValueError when the start is gone (see `joinable`)."""
        if not self.joinable:
            raise ValueError("the start of this tape is gone")
        reader = Reader(self)
        self.readers.add(reader)
        return reader

    def begin(self, head: Head) -> None:
        """Write the head."""
        self.head = head
        self._wake()

    def feed(self, chunk: bytes) -> None:
        """Write a chunk."""
        if not chunk:
            return
        self.chunks.append(chunk)
        self.size += len(chunk)
        self.held += len(chunk)
        if not self.spilled and self.size > self.cap:
            self.spilled = True
        if self.spilled:
            self.trim()
        self._wake()

    def end(self, ending: Ending) -> None:
        """Write the ending; only the first one counts."""
        if self.ending is None:
            self.ending = ending
            self._wake()

    def trim(self) -> None:
        """Let go of what every reader has passed."""
        last = self.base + len(self.chunks)
        passed = min((reader.place for reader in self.readers), default=last) - self.base
        if passed > 0:
            self.held -= sum(map(len, self.chunks[:passed]))
            del self.chunks[:passed]
            self.base += passed
            self._wake()

    def body(self) -> bytes | None:
        """Everything, where everything was kept."""
        return None if self.spilled else b"".join(self.chunks)

    def on_change(self, wake: Callable[[], None]) -> None:
        """Call `wake` once, at the next change."""
        self._wakes.append(wake)

    def _wake(self) -> None:
        if self._wakes:
            wakes, self._wakes = self._wakes, []
            for wake in wakes:
                wake()
