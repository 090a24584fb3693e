"""The way upstream: aiohttp, behind the `Upstream` port.

One connection pool for each worker; no redirects, no cookies, no decoding, four time limits (connect, first byte,
between bytes; the whole is the player's). This room must never retry what may have been paid for, and never log a body
or a credential.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from yarl import URL

from payonce.core.fields import returned_headers
from payonce.errors import MissingExtraError
from payonce.model import reason as why
from payonce.model.call import Call
from payonce.model.ports import Head, UpstreamFault

try:
    import aiohttp
except ImportError as error:
    raise MissingExtraError("the gateway", "gateway") from error

if TYPE_CHECKING:
    from payonce.config import Settings

_SKIP = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
_WRITTEN_BY_US = ((b"accept-encoding", b"identity"),)


def new_session(settings: Settings) -> aiohttp.ClientSession:
    """The pool that all upstreams of a worker share; to be closed by the caller."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, limit_per_host=0, keepalive_timeout=30.0, ttl_dns_cache=60),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_timeout),
        auto_decompress=False,
        skip_auto_headers=_SKIP,
        trust_env=False,
        read_bufsize=1 << 16,
        max_line_size=16384,
        max_field_size=16384,
    )


class HttpUpstream:
    """One upstream; `base` is the URL that the path behind `/v1` is appended to."""

    def __init__(self, session: aiohttp.ClientSession, base: str, settings: Settings) -> None:
        self._session = session
        self._base = base.rstrip("/")
        self._first_byte = settings.first_byte_timeout
        self._between = settings.between_bytes_timeout

    async def open(self, call: Call) -> HttpAnswer:
        """Send `call` and wait for the head."""
        url = self._base + "/" + call.endpoint
        if call.query:
            url += "?" + call.query.decode("latin-1")
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in call.headers + _WRITTEN_BY_US]
        try:
            async with asyncio.timeout(self._first_byte):
                response = await self._session.request(
                    call.method,
                    URL(url, encoded=True),
                    headers=headers,
                    data=call.body or None,
                    allow_redirects=False,
                )
        except TimeoutError:  # before its parents: aiohttp's own time limits are these too
            raise UpstreamFault(why.UPSTREAM_SLOW) from None
        except aiohttp.ClientConnectorError as error:
            raise UpstreamFault(why.UPSTREAM_REFUSED, str(error)) from None
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError) as error:
            raise UpstreamFault(why.UPSTREAM_CUT, type(error).__name__) from None
        except (aiohttp.ClientError, ValueError) as error:
            raise UpstreamFault(why.UPSTREAM_GARBLED, type(error).__name__) from None
        return HttpAnswer(response, self._between)


class HttpAnswer:
    """An answer that is still arriving."""

    def __init__(self, response: aiohttp.ClientResponse, between: float) -> None:
        self._response = response
        self._between = between
        self.head = Head(response.status, returned_headers(response.raw_headers))

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, as it arrives."""
        content: Any = self._response.content
        loop = asyncio.get_running_loop()
        try:
            while not content.at_eof():
                async with asyncio.timeout_at(loop.time() + self._between):
                    chunk = await content.readany()
                if chunk:
                    yield chunk
        except TimeoutError:
            raise UpstreamFault(why.UPSTREAM_SLOW) from None
        except (aiohttp.ClientError, ConnectionError) as error:
            raise UpstreamFault(why.UPSTREAM_CUT, type(error).__name__) from None

    def close(self) -> None:
        """Give the connection back if the body was read to its end; else destroy it."""
        if self._response.content.at_eof() and self._response.content.exception() is None:
            self._response.release()
        else:
            self._response.close()
