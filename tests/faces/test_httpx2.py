"""payonce.httpx2 keeps what the suite asks of either module (tests/support/library.py)."""

from __future__ import annotations

import httpx2

from tests.support.library import LibrarySuite


class TestHttpx2(LibrarySuite):
    mod = httpx2
    name = "httpx2"
