"""The promises of `model.ports.Store`, as tests: a new store is a file plus four lines.

    class TestMine(StoreContract):
        def open(self) -> Store:
            return MyStore(..., clock=self.clock)

`open` gives a new, empty store each time it is called; a store that several processes share overrides `shared` too and
opens the same place again. `self.clock` is a `FakeClock`. This room must never import pytest, nor know one store.
"""

from __future__ import annotations

from payonce.testing.contract_entries import EntryPromises
from payonce.testing.contract_epochs import EpochPromises
from payonce.testing.contract_place import check, slot_of
from payonce.testing.contract_sharing import SharingPromises

__all__ = ["StoreContract", "check", "slot_of"]


class StoreContract(EntryPromises, EpochPromises, SharingPromises):
    """Inherit, give `open`, and pytest collects every promise."""
