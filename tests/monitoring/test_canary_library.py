"""What the library's clients log at their most talkative while a key, a prompt and an answer go every path."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from payonce.drive.aio_flights import AsyncFlights
from payonce.drive.sync_flights import SyncFlights
from tests.monitoring.test_canary import ANSWER, HALTING, KEY, PROMPT, SECRETS, PlantedError, behave
from tests.support.gateway import DEAD, PATH, ask, raw_upstream

HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
MODELS = ("sim/small", "sim/small", "fails", "garbled", "breaks", *HALTING)
"""Asked for one after the other: a miss, a hit, and every fault of an upstream, before an answer and in its middle."""


def requests() -> Iterator[tuple[bytes, dict[str, str]]]:
    """Body and headers of every request."""
    for stream in (False, True):
        for model in MODELS:
            yield json.dumps(ask(PROMPT, model=model, **({"stream": True} if stream else {}))).encode(), HEADERS
    plain = json.dumps(ask(PROMPT)).encode()
    yield plain, HEADERS | {"X-OpenRouter-Cache": "false"}
    yield plain, HEADERS | {"X-Payonce-Namespace": "!"}
    yield plain, HEADERS | {"Cache-Control": "only-if-cached", "X-Payonce-Sample": "9"}
    yield f'{{"model": "{PROMPT}", "model": "x"}}'.encode(), HEADERS
    yield PROMPT.encode(), HEADERS


def stumble(*_: Any) -> Any:
    raise PlantedError


def by_threads(face: Any, mod: Any, base: str, place: str, broken: pytest.MonkeyPatch) -> list[str]:
    """What a sync client read, or that it read nothing."""
    read = []
    with face.Client(store=place, cache="all") as client:
        for body, headers in requests():
            read.append("")
            with contextlib.suppress(mod.HTTPError), client.stream("POST", base, content=body, headers=headers) as got:
                for part in got.iter_bytes():
                    read[-1] += part.decode()
        with contextlib.suppress(mod.HTTPError):
            client.post(DEAD, content=json.dumps(ask(PROMPT + "dead")).encode(), headers=HEADERS)
        broken.setattr(SyncFlights, "_story", stumble)
        with contextlib.suppress(mod.HTTPError):
            client.post(base, content=json.dumps(ask(PROMPT + "anew")).encode(), headers=HEADERS)
    return read


async def by_tasks(face: Any, mod: Any, base: str, place: str, broken: pytest.MonkeyPatch) -> list[str]:
    """The same of an async client."""
    read = []
    async with face.AsyncClient(store=place, cache="all") as client:
        for body, headers in requests():
            read.append("")
            with contextlib.suppress(mod.HTTPError):
                async with client.stream("POST", base, content=body, headers=headers) as got:
                    async for part in got.aiter_bytes():
                        read[-1] += part.decode()
        with contextlib.suppress(mod.HTTPError):
            await client.post(DEAD, content=json.dumps(ask(PROMPT + "dead")).encode(), headers=HEADERS)
        broken.setattr(AsyncFlights, "_story", stumble)
        with contextlib.suppress(mod.HTTPError):
            await client.post(base, content=json.dumps(ask(PROMPT + "anew")).encode(), headers=HEADERS)
    return read


@pytest.mark.parametrize("way", ["threads", "tasks"])
@pytest.mark.parametrize("name", ["httpx", "httpx2"])
def test_no_line_of_the_log_tells_a_key_a_prompt_or_an_answer(
    name: str, way: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    caplog.set_level(logging.DEBUG)
    face, mod = importlib.import_module(f"payonce.{name}"), importlib.import_module(name)
    with raw_upstream(behave) as upstream:
        base = upstream.base_url.removesuffix("/api/v1") + PATH
        place = f"sqlite:{tmp_path}/cache.db"
        if way == "threads":
            read = by_threads(face, mod, base, place, monkeypatch)
        else:
            read = asyncio.run(by_tasks(face, mod, base, place, monkeypatch))
        asked = len(upstream.requests)
    lines = [caplog.handler.format(record) for record in caplog.records if record.name.startswith("payonce")]
    assert [secret for secret, text in SECRETS.items() if text in "\n".join(lines)] == []
    assert any("PlantedError" in each and "Traceback" in each for each in lines)
    assert ANSWER in caplog.text, "the positive control: the HTTP client itself logs what it could not parse"
    assert sum(ANSWER in text for text in read) >= 6, "answers, whole and broken off, reached the caller"
    assert len(MODELS) < asked < len(list(requests())) + 1, "some were hits"
    for path in tmp_path.rglob("*ledger*"):
        kept = path.read_bytes().decode("latin-1")
        assert [secret for secret, text in SECRETS.items() if text in kept] == []
