from pathlib import Path

import pytest

from payonce.model.ports import Store
from payonce.stores.cassette import CassetteStore
from payonce.testing import StoreContract


class TestCassetteStore(StoreContract):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "cassettes"

    def open(self) -> Store:
        return CassetteStore(self.path, self.clock)

    def shared(self, store: Store) -> Store:
        return CassetteStore(self.path, self.clock)
