"""The gateway under measurement, started as a user would start it, on one core and with directories of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.process import Server, free_port

COMMAND = [sys.executable, "-m", "payonce", "serve"]
HIT_HEADER = "X-OpenRouter-Cache-Status"


def environment(home: Path) -> dict[str, str]:
    """Variables that keep the gateway's secret, default store and settings inside `home`."""
    kinds = ("CACHE", "CONFIG", "DATA", "STATE")
    return {"HOME": str(home), **{f"XDG_{kind}_HOME": str(home / kind.lower()) for kind in kinds}}


class Gateway(Server):
    """`payonce serve` with everything in `home`; its answers in the SQLite file `store`, or at `url`."""

    def __init__(
        self,
        home: Path,
        upstream: str,
        core: int,
        *,
        cache: str = "all",
        store: Path | None = None,
        url: str = "",
        env: dict[str, str] | None = None,
    ) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.store = store or home / "store.db"
        port = free_port()
        options = [
            "--port",
            str(port),
            "--upstream",
            upstream,
            "--store",
            url or f"sqlite:{self.store}",
            "--cache",
            cache,
        ]
        own = {**environment(home), **(env or {})}
        super().__init__("payonce", [*COMMAND, *options], port, core, log=home / "log", env=own)
