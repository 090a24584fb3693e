"""Whether a store still keeps what is paid for. Answers are written off the way of a call, so a store that is full or
read-only is known by what it has lost; after the first of that, nothing more is to be sent.

This room must never write to a store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from payonce.errors import StoreError, StoreUnavailableError
from payonce.model import reason as why
from payonce.model.key import DIGEST_BYTES, Key
from payonce.model.ports import Chronicle, Declining, Distant, Store
from payonce.model.reason import Reason
from payonce.stores.registry import unusable

_ANY: Final = Key(bytes(DIGEST_BYTES), stream=False).slot
_LOST: Final = (why.STORE_READ_ONLY, why.STORE_FULL, why.STORE_DOWN, why.WRITE_FAULT, why.QUEUE_FULL)
"""What says something of the store, and not of one entry; the most telling first."""


def await_store(url: str, keeper: Store) -> None:
    """Ask a store on servers for its epochs, and wait; ask any whether it takes entries. Raises StoreUnavailableError
    where they can't be had, or it takes none: calls that are made now would be paid for, and nothing of them kept."""
    if isinstance(keeper, Distant) and isinstance(keeper, Chronicle):
        try:
            keeper.raised()
        except StoreError as error:
            raise StoreUnavailableError(_nothing(str(unusable(url, error)))) from error
    declined = keeper.declines(_ANY, 0) if isinstance(keeper, Declining) else None
    if declined is not None:
        raise StoreUnavailableError(_nothing(sentence(declined)))


class Watch:
    """Looks at what `keeper` has lost since the watch began."""

    def __init__(self, keeper: Store) -> None:
        self._keeper = keeper
        self._before = keeper.dropped()

    def trouble(self) -> str:
        """Why the store does not keep what it is given, and what to do; empty as long as it has lost nothing."""
        lost = self.lost()
        return next((sentence(reason) for reason in _LOST if reason.id in lost), "")

    def lost(self) -> Mapping[str, int]:
        """How many entries were lost, by reason id; what a store within its bounds drops every day is not among it."""
        now = self._keeper.dropped().items()
        return {
            name: count - self._before.get(name, 0)
            for name, count in now
            if name not in why.ROUTINE and count > self._before.get(name, 0)
        }


def sentence(reason: Reason | None) -> str:
    """What a reason says, and what to do."""
    if reason is None:
        return "the call did not end"
    return reason.sentence + (f"; {reason.fix}" if reason.fix else "")


def _nothing(because: str) -> str:
    return f"nothing was sent, as nothing would be kept: {because}"
