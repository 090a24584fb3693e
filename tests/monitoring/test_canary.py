"""An API key, a prompt and an answer are put through every path; none of them comes out anywhere it should not.

Looked at: the log at its most talkative, the access log, spans and metrics of a real SDK, /metrics, /readyz, what the
store knows of its entries, its notes, the ledger's file, and every page of the dashboard as anybody on
this machine sees it. What `view` sees is for test_canary_pages.py, what the library says for test_canary_library.py.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from payonce.gateway import watched
from payonce.gateway.cycle import LaneAnswer
from payonce.gateway.shelf import Shelf
from tests.dashboard.test_door import DATA, PLACES
from tests.monitoring.test_traces import Collected, collected  # noqa: F401 - a fixture
from tests.support.gateway import (
    DEAD,
    STREAM_HEAD,
    CutError,
    Request,
    RunningGateway,
    ask,
    chunk,
    event,
    good,
    good_stream,
    raw_upstream,
    running_gateway,
    until,
    whole,
)

KEY = "sk-or-v1-CANARYkeyCANARYkey0123456789"
PROMPT = "canary-prompt-that-nobody-may-tell"
ANSWER = "canary-answer-that-nobody-may-tell"
SECRETS = {"key": KEY, "prompt": PROMPT, "answer": ANSWER}

HALTING = {
    "halts": b"",
    "halts-in-a-chunk": chunk(event({"choices": [{"index": 0, "delta": {"content": ANSWER}}]}))[:-9],
    "garbles": f"{ANSWER}\r\n".encode(),
    "errs": chunk(event({"error": {"code": 502, "message": f"{ANSWER} {PROMPT} {KEY}"}})) + b"0\r\n\r\n",
    "babbles": chunk(b"data: {" + ANSWER.encode() + b"\n\n" + b"event: " + PROMPT.encode() + b"\n\n") + b"0\r\n\r\n",
}
"""Streams that the upstream breaks off in the middle, or spoils: what it sends behind the beginning, by model."""


def behave(conn: socket.socket, request: Request) -> None:
    """Answers with the canary, in the way that the model's name asks for."""
    try:
        body = json.loads(request.body)
    except ValueError:
        body = {}
    model = body.get("model", "")
    if "embeddings" in request.line:
        items = [{"index": n, "object": "embedding", "embedding": [0.5, 1.5]} for n in range(len(body["input"]))]
        usage = {"prompt_tokens": 4, "total_tokens": 4, "cost": 0.001}
        conn.sendall(whole(json.dumps({"object": "list", "model": "m", "data": items, "usage": usage}).encode()))
    elif model == "fails":
        conn.sendall(whole(json.dumps({"error": {"message": f"{ANSWER} {PROMPT}"}}).encode(), "500 No"))
    elif model == "garbled":
        conn.sendall(f"{ANSWER}\r\n\r\n".encode())
    elif model == "breaks":
        conn.sendall(whole(good(ANSWER))[:-20])
    elif model in HALTING:
        conn.sendall(STREAM_HEAD + b"".join(map(chunk, good_stream(ANSWER)[:2])) + HALTING[model])
    elif body.get("stream"):
        conn.sendall(STREAM_HEAD + b"".join(map(chunk, good_stream(ANSWER))) + b"0\r\n\r\n")
    else:
        conn.sendall(whole(good(ANSWER)))


def asked() -> list[Callable[[RunningGateway], Any]]:
    """Every path through the gateway."""
    plain = {"Authorization": f"Bearer {KEY}"}

    def call(body: Any, path: str = "/api/v1/chat/completions", **fields: str) -> Callable[[RunningGateway], Any]:
        return lambda gateway: gateway.post(body, path, **{**plain, **fields})

    prompts = [{"role": "system", "content": PROMPT * 60}, {"role": "user", "content": PROMPT}]
    return [
        *[call(ask(PROMPT))] * 4,
        *[call(ask(PROMPT, stream=True))] * 3,
        call({"model": "anthropic/claude-sonnet-4.5", "temperature": 0, "messages": prompts}),
        call({"model": "anthropic/claude-sonnet-4.5", "max_tokens": 9, "messages": prompts[1:]}, "/api/v1/messages"),
        call({"model": "m", "input": PROMPT}, "/api/v1/responses"),
        call(ask(PROMPT), X_OpenRouter_Cache="false"),
        call(ask(PROMPT), X_Api_Key=KEY, authorization="-"),
        *[call(ask(PROMPT, model=model)) for model in ("fails", "garbled", "breaks")],
        *[call(ask(PROMPT, model=model, stream=True)) for model in ("fails", "garbled", *HALTING)],
        call(ask(PROMPT), "/dead/v1/chat/completions"),
        *[call({"model": "e", "input": [PROMPT, PROMPT + "2"]}, "/api/v1/embeddings")] * 2,
        call(ask(PROMPT), "/api/v1/completions"),
        call(ask(PROMPT), "/nowhere"),
        call(ask(PROMPT), host="evil.example"),
        call(ask(PROMPT), X_Payonce_Namespace="!"),
        call(ask(PROMPT), Cache_Control="only-if-cached", X_Payonce_Sample="9"),
        call(PROMPT.encode()),
        call(f'{{"model": "{PROMPT}", "model": "x"}}'.encode()),
        call(urlencode({"token": KEY}).encode(), "/_payonce/login", Content_Type="application/x-www-form-urlencoded"),
    ]


def go_everywhere(gateway: RunningGateway) -> list[Callable[[RunningGateway], Any]]:
    """Go all of these paths, and say which they were."""
    calls = asked()
    for call in calls:
        with contextlib.suppress(CutError, EOFError):
            call(gateway)
    return calls


class PlantedError(Exception):
    """What a mistake of ours would raise."""


@pytest.fixture
def told(
    tmp_path: Path,
    collected: Collected,  # noqa: F811 - the fixture
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[dict[str, str]]:
    """Everything that was told while every path was gone, by place."""
    access = tmp_path / "access.log"
    store = f"sqlite:{tmp_path}/cache.db"
    caplog.set_level(logging.DEBUG)
    places: dict[str, str] = {}
    with raw_upstream(behave) as upstream:
        upstreams = (("", upstream.base_url), ("dead", DEAD))
        with running_gateway(upstreams, store=store, access_log=str(access), prompt_cache="auto") as gateway:
            calls = go_everywhere(gateway)
            with monkeypatch.context() as broken:
                intake = gateway.gateway.intake
                broken.setattr(intake, "take", _stumble)
                calls[0](gateway)
            assert until(lambda: access.exists() and len(access.read_text().splitlines()) >= len(calls) + 1, 30)
            assert gateway.gateway.world.books is not None
            gateway.gateway.world.books.clerk.flush()
            pages = [f"/_payonce/{place}" for place in (*PLACES, *DATA)] + ["/metrics", "/readyz", "/healthz"]
            for page in pages:
                places[page] = _get(gateway, page)
            for link in set(re.findall(r'href="(/_payonce/[^"#]+)"', "".join(places.values()))) - set(pages):
                places[link] = _get(gateway, link.replace("&amp;", "&"))
            keeper = gateway.gateway.world.tiers.keeper
            places["store's rows"] = repr(list(keeper.rows()))
            places["notes"] = repr(keeper.notes())  # type: ignore[attr-defined]
            places["metrics of the SDK"] = repr(collected.metrics())
    places["access log"] = access.read_text()
    places["log"] = caplog.text
    places["spans"] = "".join(span.to_json() for span in collected.exporter.get_finished_spans())
    for path in tmp_path.glob("cache.db.ledger*"):
        places[path.name] = path.read_bytes().decode("latin-1")
    yield places


def _get(gateway: RunningGateway, path: str) -> str:
    with gateway.wire() as wire:
        wire.send(f"GET {path} HTTP/1.1\r\nHost: {gateway.host}\r\n\r\n".encode())
        return wire.reply("GET").body.decode()


def test_no_place_tells_a_key_a_prompt_or_an_answer(told: dict[str, str]) -> None:
    found = [(place, name) for place, text in told.items() for name, secret in SECRETS.items() if secret in text]
    assert found == []


def test_the_fast_lane_tells_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an access log and spans, requests go by the lane."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(watched, "tracing", lambda **_: None)
    with raw_upstream(behave) as upstream:
        upstreams = (("", upstream.base_url), ("dead", DEAD))
        with running_gateway(upstreams, store=f"sqlite:{tmp_path}/cache.db", prompt_cache="auto") as gateway:
            calls = [call for _ in range(3) for call in go_everywhere(gateway)]
            for place in ((gateway.gateway.intake, "take"), (LaneAnswer, "give"), (Shelf, "put")):
                with monkeypatch.context() as broken:
                    broken.setattr(Shelf, "get", lambda *_: None)  # so that the story is told
                    broken.setattr(*place, _stumble)
                    for call in calls[: len(asked())]:
                        with contextlib.suppress(CutError, EOFError):
                            call(gateway)
            assert gateway.fast_hits() > 0
            pages = {page: _get(gateway, page) for page in ("/metrics", "/readyz", "/_payonce/requests")}
            pages["notes"] = repr(gateway.gateway.world.tiers.keeper.notes())  # type: ignore[attr-defined]
    told = pages | {"log": caplog.text}
    assert told["log"].count("PlantedError") >= 3
    found = [(place, name) for place, text in told.items() for name, secret in SECRETS.items() if secret in text]
    assert found == []


def _stumble(*_: Any) -> Any:
    raise PlantedError


def test_every_place_was_looked_at_and_says_something(told: dict[str, str]) -> None:
    assert {"access log", "log", "spans", "notes", "cache.db.ledger", "/metrics", "/_payonce/requests"} <= set(told)
    assert len(told) > 20
    assert "sim/small" in told["access log"]
    assert "chat sim/small" in told["spans"]
    assert "sim/small" in told["/_payonce/requests"]
    assert "PlantedError" in told["log"]
    outcomes = {json.loads(line)["outcome"] for line in told["access log"].splitlines()}
    assert {"hit", "miss", "bypass", "refused", "pass"} <= outcomes


def test_a_place_that_told_would_be_found(told: dict[str, str]) -> None:
    told["log"] += f"DEBUG payonce: sent {PROMPT}"
    with pytest.raises(AssertionError, match="prompt"):
        test_no_place_tells_a_key_a_prompt_or_an_answer(told)
