"""A request as its provider's cache sees it: blocks in render order, each with the hash of everything up to its end.

The hashes start from a seed that names tenant and model, so that nothing is shared between two of them. `bodies.py`
reads a body into this. This room must never know a dialect, nor decide anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from blake3 import blake3

Json = dict[str, Any]
Place = tuple[str | int, ...]
"""Where a block stands in the body: keys and indexes from the top. Ends with a message's `content` where that is a
string."""


class UnreadableError(ValueError):
    """A body that is not of its dialect: it is left as it is."""


@dataclass(slots=True)
class Prefix:
    """The blocks of one body, as lists of equal length, and where its parts end (counts of blocks).

    `sizes` are characters up to and including each block, `spots` its position in a look-back. `opening` are the blocks
    before the first answer of the model, `turns` the end of each request that this one continues, as far as the body
    itself shows it: wherever an answer begins.
    """

    digests: list[bytes] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    spots: list[int] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    able: list[bool] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    tools: int = 0
    system: int = 0
    opening: int = 0
    turns: list[int] = field(default_factory=list)
    last: str = ""
    calls: bool = False
    """The model may call tools, and is not made to call a certain one."""
    marked: int = 0
    identity: str = ""
    """A hash of everything before the first answer, whatever the request's settings are."""
    talk: list[int] = field(default_factory=list)
    """A hash of the messages alone, up to the end of each request that this one continues, and of this one itself."""

    def __len__(self) -> int:
        return len(self.digests)


class Reader:
    """Adds up the blocks of one body. `heard` holds the bytes of what came before the first answer, `spoken` a hash of
    the messages alone."""

    __slots__ = ("heard", "out", "seed", "spoken", "spot", "state", "total")

    def __init__(self, seed: bytes) -> None:
        self.out = Prefix()
        self.spoken = 0
        self.heard: list[bytes] | None = None
        self.seed = self.state = seed
        self.total = 0
        self.spot = 0

    def level(self, salt: bytes) -> None:
        """A level of the prompt begins, which depends on more than its blocks."""
        self.state = blake3(self.state + b"\0level" + salt).digest(16)

    def add(self, data: bytes, size: int, place: Place, name: str, *, able: bool, positions: int = 1) -> None:
        """A block: what stands for it, its size, where it stands, and whether it can carry a marker."""
        self.state = state = blake3(self.state + data).digest(16)
        self.spoken = hash((self.spoken, data))
        if self.heard is not None:
            self.heard.append(data)
        self.total += size
        self.spot += positions
        out = self.out
        out.digests.append(state)
        out.sizes.append(self.total)
        out.spots.append(self.spot)
        out.places.append(place)
        out.able.append(able)
        out.names.append(name)

    def answered(self) -> None:
        """The first answer begins, or nothing came: what came before is what the conversation is known by."""
        self.out.opening = len(self.out)
        self.out.identity = blake3(b"".join(self.heard or ())).hexdigest()[:32]
        self.heard = None


def openings(prefix: Prefix) -> Iterator[int]:
    """The blocks after which requests may part, besides where they were seen to: ends of tools, of each of the first
    system blocks, and of the blocks of the first turn but its last."""
    if prefix.tools:
        yield prefix.tools - 1
    yield from range(prefix.tools, prefix.system)
    yield from range(prefix.system, prefix.opening - 1)
