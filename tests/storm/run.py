"""One storm: a real server, a proxy that delays, cuts and perhaps lies, and a subject."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from payonce.stores.registry import open_store
from payonce.stores.shared import SharedStore
from tests.storm.ours import Ours
from tests.storm.weather import Liar, settled
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.servers import memcached, redis_server

ROOT = Path(__file__).parents[2]
DELAY = (0.0, 0.003)
LIES = 0.1
CUT_EVERY = 1009
"""Requests between two moments at which all connections are reset."""


@dataclass(frozen=True)
class Report:
    """What one storm has shown. `leaked` counts connections that are left when all is quiet, beyond those kept idle;
    None where that was not looked at."""

    subject: str
    seen: Counter[str]
    leaked: int | None
    lies: int
    seconds: float

    def sound(self, requests: int) -> bool:
        """Whether all were answered, or cancelled, and nothing else has happened."""
        seen = self.seen
        nothing = not (seen["wrong"] or seen["errors"] or seen["flights left"] or self.leaked)
        enough = seen["requests"] == requests and seen["cancelled"] > 0.2 * requests and seen["right"] > 0.4 * requests
        return nothing and enough

    def __str__(self) -> str:
        seen = self.seen
        lies = f", {self.lies:,} lies" if self.lies else ""
        leaked = "" if self.leaked is None else f", {self.leaked} connections leaked"
        return (
            f"{self.subject}: {seen['requests']:,} requests, {seen['cancelled']:,} cancelled "
            f"({100 * seen['cancelled'] / max(1, seen['requests']):.0f} %){lies}: {seen['right']:,} answers right, "
            f"{seen['wrong']:,} wrong, {seen['errors']:,} errors{leaked}; {self.seconds:.0f} s"
        )


async def ours(
    folder: Path, requests: int, *, engine: str = "redis", threads: bool = False, lying: bool = False, seed: int = 1
) -> Report:
    """Payonce, reading on the event loop, or by threads."""
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    liar = Liar(LIES if lying else 0.0)
    with (
        memcached(folder) if engine == "memcached" else redis_server(folder) as server,
        fault_proxy(server.port) as proxy,
    ):
        store = cast("SharedStore", open_store(server.url.replace(str(server.port), str(proxy.port))))
        if threads:
            store.get_soon, store.ask_for = _never, lambda _slot: None  # type: ignore[method-assign]
        subject = Ours(store)
        subject.unbreakable()
        proxy.latency, proxy.twist = DELAY, liar.twist
        try:
            seen = await subject.storm(requests, seed, lambda number: _cut(proxy, number))
            leaked = 0 if await settled(lambda: subject.used == 0) else subject.used
            if not await settled(lambda: proxy.open <= subject.held):
                leaked += proxy.open - subject.held
        finally:
            await subject.close()
        if not await settled(lambda: proxy.open == 0):
            leaked += proxy.open
        seen["damaged"] = subject.tiers.dropped["damaged"]
    name = f"payonce, {engine}, {'by threads' if threads else 'on the loop'}{', a lying server' if lying else ''}"
    return Report(name, seen, leaked, liar.lies, time.monotonic() - started)


def _cut(proxy: FaultProxy, number: int) -> None:
    if number % CUT_EVERY == CUT_EVERY - 1:
        proxy.cut()


async def _never(slots: Sequence[bytes]) -> None:
    return None


def naive(folder: Path, requests: int, python: str = sys.executable, *, lying: bool = False, seed: int = 1) -> Report:
    """redis-py's own client, in the environment of `python`, which has to have been made."""
    if not Path(python).exists():
        raise RuntimeError(f"{python} is not there: sh tools/setup.sh clients makes it")
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    liar = Liar(LIES if lying else 0.0)
    with redis_server(folder) as server, fault_proxy(server.port) as proxy:
        proxy.latency, proxy.twist = DELAY, liar.twist
        command = [python, "-m", "tests.storm.naive", str(proxy.port), str(requests), str(seed)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    said = json.loads(done.stdout)
    name = f"redis-py {said['version']}{', a lying server' if lying else ''}"
    return Report(name, Counter(said["seen"]), None, liar.lies, time.monotonic() - started)


def old_python(version: str) -> str:
    """Where the environment is that holds redis-py `version`."""
    return str(ROOT / ".clients" / f"redis{version.replace('.', '')}" / "bin" / "python")
