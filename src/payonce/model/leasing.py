"""How processes that share a store make one upstream call of identical requests: the port that a store may fill.

A lease is the right to make the call for a slot. It lapses by itself when its process dies. It never guards an answer:
whoever goes without one pays once more, and no harm is done. Protocols only.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable


class Claimed(NamedTuple):
    """What a claim has brought: whether the call may be made (`free`), and the bytes that stand at the slot by now,
    where the store could look in the same step (`looked`)."""

    free: bool
    found: bytes | None = None
    looked: bool = False


FREE = Claimed(True)


class Leases(Protocol):
    """The leases of one process on one store. Safe from any thread."""

    def needed(self, slot: bytes) -> bool:
        """Whether anybody else may make the call for `slot`, and can be asked. At once."""
        ...

    def claim(self, slot: bytes) -> Claimed:
        """Take the lease if nobody has it; not free while another process has it. It is kept up until it is released or
        this process ends. May wait; raises StoreError."""
        ...

    def release(self, slot: bytes, *, kept: bool) -> None:
        """Give the lease back, if there is one: once what was put is written, or, where nothing was `kept`, so that
        those who wait for it all go at once. At once; never raises."""
        ...


@runtime_checkable
class Leasing(Protocol):
    """A store that several processes may share, and that can tell them who makes a call."""

    @property
    def leases(self) -> Leases:
        """Those of this process."""
        ...
