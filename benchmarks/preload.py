"""Fill a store with answers as the gateway itself would have stored them, without asking for each.

Every step is the gateway's own: its settings, its secret, its intake (which makes the key), its seal and its store.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import bodies
from benchmarks.wrk import LoadError
from payonce.config import load
from payonce.core.keying import derive
from payonce.core.rules import make_entry
from payonce.dialects import DIALECTS
from payonce.drive.tiers import Tiers
from payonce.intake import Admitted, Intake
from payonce.model.call import Headers
from payonce.model.entry import Facts
from payonce.model.ports import Head
from payonce.secret import load_secret
from payonce.stores.memory import MemoryStore
from payonce.stores.registry import open_store

_ENDPOINT = "chat/completions"
_ANSWERED: Headers = ((b"content-type", b"application/json"),)
_BATCH = 500
_TOLD = 250_000


def preload(store: Path, entries: int, base: str, environment: dict[str, str], stored: Callable[[int], None]) -> None:
    """Put the answers to the requests numbered from 0 into `store`, for a gateway with `environment` before `base`."""
    store.parent.mkdir(parents=True, exist_ok=True)
    flags = {"store": f"sqlite:{store}", "upstream": (base,), "cache": "all"}
    settings = load(flags, environment, None).settings
    secret = load_secret(settings)
    intake = Intake(settings, derive(secret, "tenant"))
    behind = open_store(settings.store, clock=time.time, max_bytes=settings.max_bytes)
    tiers = Tiers(MemoryStore(1 << 16, clock=time.time), behind, derive(secret, "envelope"))
    template, body = bodies.request_template(), bodies.answer().encode()
    asked: Headers = tuple((name.lower().encode(), value.encode()) for name, value in bodies.HEADERS.items())
    head = Head(200, _ANSWERED)
    upstream = settings.upstream[0][0]
    dialect = DIALECTS[_ENDPOINT]
    try:
        for number in range(entries):
            admitted = intake.admit(upstream, _ENDPOINT, b"", asked, bodies.numbered(template, number))
            if not isinstance(admitted, Admitted):
                raise LoadError(f"the gateway would not cache the benchmark's request: {admitted}")
            ask = admitted.ask
            facts = dialect.judge(ask.intent, head.headers, body)
            if not isinstance(facts, Facts):
                raise LoadError(f"the gateway would not keep the benchmark's answer: {facts}")
            scopes, now = ask.scopes, time.time()
            epochs = tiers.epochs(scopes)
            entry = make_entry(ask, head, body, facts, scopes, epochs, stored_at=now, took=0.001, jitter=0.0)
            while tiers.put(ask, entry) is not None:
                behind.flush(60)
            if number % _BATCH == _BATCH - 1:
                behind.flush(60)
            if number % _TOLD == _TOLD - 1:
                stored(number + 1)
        if not behind.flush(120):
            raise LoadError("the store did not take all answers within two minutes")
        if behind.volume().entries != entries:
            raise LoadError(f"{behind.volume().entries} of {entries} answers are in the store")
    finally:
        behind.close()
