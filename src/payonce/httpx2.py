"""The library for SDKs on httpx2 (openai from 3, anthropic from 1): clients and transports that cache.

    OpenAI(base_url=…, http_client=Client(store="sqlite:…", cache="deterministic", ttl=3600))

The same as payonce.httpx, word for word, for the other module. This room must never hold logic: `transport_sync`
and `transport_async` do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Unpack

from payonce.clients import CacheOptions, fitting, split, warm_way, wrap_client
from payonce.clients import options as read_options
from payonce.desk import Options
from payonce.errors import MissingClientError
from payonce.library_warm import WarmOptions
from payonce.transport_async import AsyncCaching
from payonce.transport_sync import SyncCaching
from payonce.warming import Summary

try:
    import httpx2 as mod
except ImportError:
    raise MissingClientError("httpx2", "httpx2>=2", "on httpx 0.28 (openrouter, groq, older ones)", "httpx") from None

__all__ = ["AsyncCacheTransport", "AsyncClient", "CacheTransport", "Client"]


class CacheTransport(SyncCaching, mod.BaseTransport):
    """A transport that answers from the cache what it can, and for the rest asks `transport`."""

    mod = mod

    def __init__(
        self,
        transport: mod.BaseTransport | None = None,
        *,
        options: Options | None = None,
        **arguments: Unpack[CacheOptions],
    ) -> None:
        way = mod.HTTPTransport() if transport is None else fitting(mod, transport, "handle_request")
        self._set_up(way, options or read_options(**arguments))


class AsyncCacheTransport(AsyncCaching, mod.AsyncBaseTransport):
    """As `CacheTransport`, for asyncio."""

    mod = mod

    def __init__(
        self,
        transport: mod.AsyncBaseTransport | None = None,
        *,
        options: Options | None = None,
        **arguments: Unpack[CacheOptions],
    ) -> None:
        way = mod.AsyncHTTPTransport() if transport is None else fitting(mod, transport, "handle_async_request")
        self._set_up(way, options or read_options(**arguments))


class Client(mod.Client):
    """An `httpx2.Client` that caches: its arguments, and those of `CacheOptions`."""

    def __init__(self, **arguments: Any) -> None:
        chosen, left = split(mod, arguments, "handle_request")
        super().__init__(**left)
        wrap_client(self, CacheTransport, chosen)

    def warm(self, requests: Iterable[object], *, base_url: str = "", **options: Unpack[WarmOptions]) -> Summary:
        """Ask every request once, so that its answer is in the cache (docs/library.md)."""
        way, base = warm_way(self, CacheTransport, base_url)
        return way.warm(requests, base_url=base, **options)  # type: ignore[no-any-return]


class AsyncClient(mod.AsyncClient):
    """An `httpx2.AsyncClient` that caches: its arguments, and those of `CacheOptions`."""

    def __init__(self, **arguments: Any) -> None:
        chosen, left = split(mod, arguments, "handle_async_request")
        super().__init__(**left)
        wrap_client(self, AsyncCacheTransport, chosen)

    async def warm(self, requests: Iterable[object], *, base_url: str = "", **options: Unpack[WarmOptions]) -> Summary:
        """As `Client.warm`, in tasks of the running loop."""
        way, base = warm_way(self, AsyncCacheTransport, base_url)
        return await way.warm(requests, base_url=base, **options)  # type: ignore[no-any-return]
