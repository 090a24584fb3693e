"""One way of getting a hit inside a process, measured on request: `python -m benchmarks.library_worker ARM HOME`.

Each line of standard input is a number of seconds; the answer is one line, the CPU microseconds of one call. It runs
under the Python of whoever is measured, so every import beyond the standard library stands in the arm that needs it.
All arms send the same chat request to the same canned answer, and fail if they do not do so exactly once.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks import bodies

BASE = "http://up.test/v1"
ANSWER = bodies.answer().encode()
BODY = bodies.numbered(bodies.request_template(), 1)
PAGE: dict[str, Any] = json.loads(BODY)
FIELDS = [
    (b"content-type", b"application/json"),
    (b"content-length", b"%d" % len(ANSWER)),
    (b"cache-control", b"max-age=86400"),
    (b"date", b"Sat, 01 Jan 2039 00:00:00 GMT"),
]
_BATCH = 20

Work = Callable[[], object] | Callable[[], Awaitable[object]]


def canned(mod: ModuleType) -> Any:
    """A transport of `mod` (sync and async) that answers at once, and counts."""

    class Canned(mod.BaseTransport, mod.AsyncBaseTransport):  # type: ignore[name-defined, misc]
        calls = 0
        fields = mod.Headers(FIELDS)

        def handle_request(self, request: Any) -> Any:  # noqa: ARG002 - the transport's signature
            self.calls += 1
            return mod.Response(200, headers=self.fields, stream=mod.ByteStream(ANSWER))

        async def handle_async_request(self, request: Any) -> Any:
            return self.handle_request(request)

    return Canned()


def _request(mod: ModuleType) -> Any:
    return mod.Request("POST", f"{BASE}/chat/completions", headers=bodies.HEADERS, content=BODY)


def transport(home: Path, cache: bool) -> tuple[Work, Any]:
    """Ours at the transport, or the canned one without us."""
    import httpx2  # noqa: PLC0415

    from payonce.httpx2 import CacheTransport  # noqa: PLC0415

    way = canned(httpx2)
    asked: Any = CacheTransport(way, store=f"sqlite:{home}/c.db") if cache else way
    request = _request(httpx2)
    return (lambda: asked.handle_request(request).read()), way if cache else None


def transport_async(home: Path, cache: bool) -> tuple[Work, Any]:
    """As `transport`, on asyncio."""
    import httpx2  # noqa: PLC0415

    from payonce.httpx2 import AsyncCacheTransport  # noqa: PLC0415

    way = canned(httpx2)
    asked: Any = AsyncCacheTransport(way, store=f"sqlite:{home}/c.db") if cache else way
    request = _request(httpx2)

    async def work() -> object:
        return await (await asked.handle_async_request(request)).aread()

    return work, way if cache else None


def create(home: Path, cache: bool) -> tuple[Work, Any]:
    """The OpenAI SDK's `create()` through ours, or over the canned transport."""
    import httpx2  # noqa: PLC0415
    import openai  # noqa: PLC0415

    from payonce.httpx2 import Client  # noqa: PLC0415

    way = canned(httpx2)
    client = Client(transport=way, store=f"sqlite:{home}/c.db") if cache else httpx2.Client(transport=way)
    sdk = openai.OpenAI(api_key=bodies.API_KEY, base_url=BASE, http_client=client)
    return (lambda: sdk.chat.completions.create(**PAGE)), way if cache else None


def create_async(home: Path, cache: bool) -> tuple[Work, Any]:
    """As `create`, on asyncio."""
    import httpx2  # noqa: PLC0415
    import openai  # noqa: PLC0415

    from payonce.httpx2 import AsyncClient  # noqa: PLC0415

    way = canned(httpx2)
    client: Any = (
        AsyncClient(transport=way, store=f"sqlite:{home}/c.db") if cache else httpx2.AsyncClient(transport=way)
    )
    sdk = openai.AsyncOpenAI(api_key=bodies.API_KEY, base_url=BASE, http_client=client)
    return (lambda: sdk.chat.completions.create(**PAGE)), way if cache else None


def hishel(home: Path) -> tuple[Work, Any]:
    """The same SDK over hishel on SQLite. It never serves a POST, so it is shown a GET, with the body in its key."""
    import httpx2  # noqa: PLC0415
    import openai  # noqa: PLC0415
    from hishel import CacheOptions, SqliteStorage  # type: ignore[import-not-found]  # noqa: PLC0415
    from hishel.httpx2 import CacheTransport  # type: ignore[import-not-found]  # noqa: PLC0415

    way = canned(httpx2)
    behind = CacheTransport(way, SqliteStorage(database_path=home / "hishel.db"), rfc=CacheOptions(shared=False))

    class Keyed(httpx2.BaseTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            key = hashlib.sha256(str(request.url).encode() + request.read()).hexdigest()
            shown = httpx2.Request(
                "GET", request.url, headers=request.headers, extensions={**request.extensions, "caching": {"key": key}}
            )
            answer: httpx2.Response = behind.handle_request(shown)
            return answer

    client = httpx2.Client(transport=Keyed())
    sdk = openai.OpenAI(api_key=bodies.API_KEY, base_url=BASE, http_client=client)
    return (lambda: sdk.chat.completions.create(**PAGE)), way


def langchain(home: Path) -> tuple[Work, Any]:
    """LangChain's chat model with its SQLite cache."""
    import langchain_openai  # type: ignore[import-not-found]  # noqa: PLC0415
    import openai  # noqa: PLC0415
    from langchain_community.cache import SQLiteCache  # type: ignore[import-not-found]  # noqa: PLC0415
    from langchain_core.globals import set_llm_cache  # type: ignore[import-not-found]  # noqa: PLC0415

    client, way = _client_of(openai)
    set_llm_cache(SQLiteCache(database_path=str(home / "langchain.db")))
    chat = langchain_openai.ChatOpenAI(
        model=PAGE["model"], temperature=0, api_key=bodies.API_KEY, base_url=BASE, http_client=client, max_retries=0
    )
    messages = [(message["role"], message["content"]) for message in PAGE["messages"]]
    return (lambda: chat.invoke(messages)), way


def litellm(home: Path) -> tuple[Work, Any]:  # noqa: ARG001 - it is kept in memory
    """LiteLLM's `completion()` with its local cache."""
    import litellm as lite  # type: ignore[import-not-found]  # noqa: PLC0415
    import openai  # noqa: PLC0415
    from litellm.caching.caching import Cache  # type: ignore[import-not-found]  # noqa: PLC0415

    client, way = _client_of(openai)
    lite.cache = Cache(type="local", ttl=86400)
    sdk = openai.OpenAI(api_key=bodies.API_KEY, base_url=BASE, http_client=client)
    asked = {**PAGE, "model": "openai/bench-model", "caching": True, "client": sdk}
    return (lambda: lite.completion(**asked)), way


def _client_of(openai: ModuleType) -> tuple[Any, Any]:
    """A client of the HTTP module that this OpenAI SDK is on."""
    base = openai.DefaultHttpxClient.__mro__[1]
    mod = sys.modules[base.__module__.partition(".")[0]]
    way = canned(mod)
    return mod.Client(transport=way), way


ARMS: dict[str, Callable[[Path], tuple[Work, Any]]] = {
    "transport": lambda home: transport(home, True),
    "transport-canned": lambda home: transport(home, False),
    "transport-async": lambda home: transport_async(home, True),
    "transport-async-canned": lambda home: transport_async(home, False),
    "create": lambda home: create(home, True),
    "create-canned": lambda home: create(home, False),
    "create-async": lambda home: create_async(home, True),
    "create-async-canned": lambda home: create_async(home, False),
    "hishel": hishel,
    "langchain": langchain,
    "litellm": litellm,
}


async def _serve(arm: str, home: Path, out: Any) -> None:
    """Measure as often as asked. A sync arm runs in this coroutine too: nothing else does."""
    work, way = ARMS[arm](home)

    async def batch() -> None:
        for _ in range(_BATCH):
            found: Any = work()
            if asyncio.iscoroutine(found):
                await found

    for _ in range(5):
        await batch()
    asked = way.calls if way is not None else 0
    if way is not None and asked != 1:
        raise SystemExit(f"{arm}: the upstream was asked {asked} times")
    for seconds in _asked():
        calls, started = 0, time.process_time()
        while (used := time.process_time() - started) < seconds:
            await batch()
            calls += _BATCH
        if way is not None and way.calls != asked:
            raise SystemExit(f"{arm}: the upstream was asked while hits were measured")
        print(used / calls * 1e6, file=out, flush=True)


def _asked() -> Iterator[float]:
    for line in sys.stdin:
        yield float(line)


if __name__ == "__main__":
    told = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # peers print what they like
        asyncio.run(_serve(sys.argv[1], Path(sys.argv[2]), told))
