"""Both built-in stores keep every promise of `payonce.testing.StoreContract`."""

from __future__ import annotations

from pathlib import Path

import pytest

from payonce.model.ports import Store
from payonce.stores.memory import MemoryStore
from payonce.stores.sqlite import SqliteStore
from payonce.testing import StoreContract


class TestMemoryStore(StoreContract):
    def open(self) -> Store:
        return MemoryStore(8 << 20, clock=self.clock)


class TestSqliteStore(StoreContract):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "payonce.db"

    def open(self) -> Store:
        return SqliteStore(self.path, 8 << 20, self.clock)

    def shared(self, store: Store) -> Store:
        return SqliteStore(self.path, 8 << 20, self.clock)
