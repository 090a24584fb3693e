"""A response whose body is at hand behaves, and is left behind, as the HTTP client's own."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import httpx
import httpx2
import pytest

from payonce.at_hand import at_hand

FIELDS = [(b"content-type", b"application/json; charset=utf-8"), (b"content-length", b"10")]
BODY = '{"a":"é"}'.encode()
MODULES = pytest.mark.parametrize("mod", [httpx, httpx2], ids=["httpx", "httpx2"])


def pair(mod: Any) -> tuple[Any, Any]:
    """Ours, and the client's own."""
    return at_hand(mod)(200, FIELDS, BODY), mod.Response(200, headers=FIELDS, stream=mod.ByteStream(BODY))


def state(response: Any) -> dict[str, Any]:
    own = {name: value for name, value in vars(response).items() if name not in ("stream", "_decoder", "_elapsed")}
    return {**own, "headers": response.headers.raw, "text": response.text, "json": response.json()}


class Transport:
    """Answers with a prepared response."""

    def __init__(self, response: Any) -> None:
        self.response = response

    def handle_request(self, _request: Any) -> Any:
        return self.response

    async def handle_async_request(self, _request: Any) -> Any:
        return self.response


def transport(mod: Any, response: Any) -> Any:
    return type("Both", (Transport, mod.BaseTransport, mod.AsyncBaseTransport), {})(response)


@MODULES
def test_read_by_a_thread_it_is_what_the_clients_own_is(mod: Any) -> None:
    states = []
    for response in pair(mod):
        with mod.Client(transport=transport(mod, response)) as client:
            got = client.get("http://a.test/")
            assert got.elapsed.total_seconds() >= 0
            assert (got.read(), got.is_closed, got.num_bytes_downloaded) == (BODY, True, 10)
            assert list(got.iter_bytes()) == [BODY]
            assert type(got) is mod.Response
            assert pickle.loads(pickle.dumps(got)).content == BODY
            states.append({name: value for name, value in state(got).items() if name != "_request"})
    assert states[0] == states[1]


@MODULES
async def test_read_by_a_task_it_is_what_the_clients_own_is(mod: Any) -> None:
    states = []
    for response in pair(mod):
        async with mod.AsyncClient(transport=transport(mod, response)) as client:
            got = await client.get("http://a.test/")
            assert got.elapsed.total_seconds() >= 0
            assert (await got.aread(), got.is_closed, got.num_bytes_downloaded) == (BODY, True, 10)
            assert type(got) is mod.Response
            states.append({name: value for name, value in state(got).items() if name != "_request"})
    assert states[0] == states[1]


@MODULES
def test_streamed_piece_by_piece_it_gives_the_same_bytes_and_the_same_errors(mod: Any) -> None:
    for response in pair(mod):
        with mod.Client(transport=transport(mod, response)) as client, client.stream("GET", "http://a.test/") as got:
            assert b"".join(got.iter_raw()) == BODY
            with pytest.raises(mod.StreamConsumed):
                next(got.iter_raw())
            with pytest.raises(mod.StreamConsumed):
                got.read()
    for response in pair(mod):
        with mod.Client(transport=transport(mod, response)) as client:
            with client.stream("GET", "http://a.test/") as got:
                pass
            with pytest.raises(mod.StreamClosed):
                got.read()
    for response in pair(mod):
        assert list(response.iter_lines()) == [BODY.decode()]


@MODULES
def test_a_threads_reading_in_a_task_fails_as_the_clients_own(mod: Any) -> None:
    said = []
    for response in pair(mod):

        async def misread(response: Any = response) -> None:
            client = mod.AsyncClient(transport=transport(mod, response))
            async with client, client.stream("GET", "http://a.test/") as got:
                got.read()

        with pytest.raises(RuntimeError) as raised:
            asyncio.run(misread())
        said.append(str(raised.value))
    assert said[0] == said[1]
