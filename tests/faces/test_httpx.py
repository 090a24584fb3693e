"""payonce.httpx keeps what the suite asks of either module (tests/support/library.py)."""

from __future__ import annotations

import httpx

from tests.support.library import LibrarySuite


class TestHttpx(LibrarySuite):
    mod = httpx
    name = "httpx"
