"""What pages are made from: the store, the figures, the doctor's findings, the state of this worker.

The gateway fills it in; a page reads only what stands here. This room must never render.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from payonce.books.reader import Reader
from payonce.config import Settings
from payonce.errors import PayonceError
from payonce.listing import Shelf
from payonce.model.ports import Clock, Volume
from payonce.purging import Selection


class NoLedgerError(PayonceError):
    """There are no figures, as none are kept; the message says so."""


@dataclass(frozen=True, slots=True)
class Backstage:
    """See the room's first paragraph. All of it may be called from any thread, and may wait for the store; what can't
    be read raises `StoreError`.

    `reader` reads the ledger (None: none is kept), `volume` says how full the store is, `notes` gives what the workers
    have noted in it, `purge` carries out what was selected in every process that shares it, `state` says how this
    worker is.
    """

    settings: Settings
    clock: Clock
    shelf: Shelf
    reader: Reader | None
    volume: Callable[[], Volume]
    notes: Callable[[], Mapping[str, bytes]]
    purge: Callable[[Selection], None]
    state: Callable[[], Mapping[str, Any]]

    @property
    def books(self) -> Reader:
        """What the ledger says. Raises NoLedgerError where none is kept."""
        if self.reader is None:
            raise NoLedgerError("No ledger is kept (ledger = off), so there are no figures to show.")
        return self.reader
