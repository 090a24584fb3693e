"""The way upstream of the library: the SDK's own transport, behind the players' `Upstream` ports.

A call remembers by which transport it goes and what that transport raised, so that whoever waits for its answer gets
the SDK's own exception. This room must never retry, nor decide what an exception means for the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from typing import Any

import msgspec

from payonce.core.fields import returned_headers
from payonce.model import reason as why
from payonce.model.call import Call, Headers
from payonce.model.ports import Head, UpstreamFault
from payonce.model.reason import Reason

_IDENTITY = ((b"accept-encoding", b"identity"),)

_REASONS = {
    "ConnectError": why.UPSTREAM_REFUSED,
    "ConnectTimeout": why.UPSTREAM_REFUSED,
    "PoolTimeout": why.UPSTREAM_REFUSED,
    "ProxyError": why.UPSTREAM_REFUSED,
    "UnsupportedProtocol": why.UPSTREAM_REFUSED,
    "TimeoutException": why.UPSTREAM_SLOW,
    "NetworkError": why.UPSTREAM_CUT,
    "RemoteProtocolError": why.UPSTREAM_CUT,
}
"""Of the exceptions of httpx and httpx2, by name: nearest base first."""


class SdkCall(Call, frozen=True, eq=False):
    """A call of an SDK: the transport it goes by, and what of the request is the transport's alone."""

    way: Any = None
    """The wrapped transport."""
    mod: Any = None
    """The module that the transport is from: httpx or httpx2."""
    url: Any = None
    timeout: Mapping[str, float | None] = msgspec.field(default_factory=dict)
    raised: list[Exception] = msgspec.field(default_factory=list)

    @property
    def patience(self) -> float | None:
        """For how many seconds this client waits for something to read; None: for ever."""
        return self.timeout.get("read")

    def request(self) -> Any:
        """The request that goes upstream: no directives, no encoding asked for, so that the answer can be read."""
        headers = self.headers + _IDENTITY
        return self.mod.Request(
            self.method, self.url, headers=headers, content=self.body, extensions={"timeout": dict(self.timeout)}
        )

    def fault(self, error: Exception) -> UpstreamFault:
        """`error` as the players know it; the error itself is kept for those who wait."""
        self.raised.append(error)
        return UpstreamFault(_reason(error), type(error).__name__)


def sdk_call(call: Call, *, way: Any, request: Any, mod: Any, at_most: float) -> SdkCall:
    """`call` as the one that `request` makes by `way`. No flight may wait for ever: reading waits `at_most` seconds."""
    timeout = dict(request.extensions.get("timeout") or {})
    return SdkCall(
        *(call.upstream, call.method, call.endpoint, call.query, call.headers, call.body, call.steering, call.number),
        way=way,
        mod=mod,
        url=request.url,
        timeout={**timeout, "read": _least(timeout.get("read"), at_most)},
    )


def _least(limit: float | None, at_most: float) -> float:
    return at_most if limit is None else min(limit, at_most)


def twin(error: Exception) -> Exception:
    """An exception equal to `error`, for one more client: the host writes each client's request on it."""
    try:
        again = copy.copy(error)
    except Exception:  # noqa: BLE001 - an exception that can't be copied is shared
        return error
    again.__cause__, again.__suppress_context__ = error.__cause__, error.__suppress_context__
    return again


def _reason(error: Exception) -> Reason:
    for kind in type(error).__mro__:
        if kind.__name__ in _REASONS:
            return _REASONS[kind.__name__]
    return why.UPSTREAM_GARBLED


def head_of(response: Any) -> Head:
    """What of a response's head the players see."""
    headers: Headers = returned_headers(response.headers.raw)
    return Head(response.status_code, headers)


class SdkUpstream:
    """Sends calls by the transports they name, in threads."""

    def open(self, call: Call) -> SdkAnswer:
        """Send `call`, wait for the head."""
        assert isinstance(call, SdkCall)
        try:
            return SdkAnswer(call, call.way.handle_request(call.request()))
        except Exception as error:
            raise call.fault(error) from error


class SdkAnswer:
    """An answer that is still arriving."""

    def __init__(self, call: SdkCall, response: Any) -> None:
        self._call = call
        self._response = response
        self.head = head_of(response)

    def chunks(self) -> Iterator[bytes]:
        """The body as it arrives, undecoded."""
        try:
            yield from self._response.stream
        except Exception as error:
            raise self._call.fault(error) from error

    def close(self) -> None:
        """Give the connection back, or destroy it."""
        with contextlib.suppress(Exception):
            self._response.close()


class AsyncSdkUpstream:
    """Sends calls by the transports they name, on one event loop."""

    def __init__(self) -> None:
        self._closing: set[asyncio.Task[None]] = set()

    async def open(self, call: Call) -> AsyncSdkAnswer:
        """Send `call`, wait for the head."""
        assert isinstance(call, SdkCall)
        try:
            response = await call.way.handle_async_request(call.request())
            return AsyncSdkAnswer(call, response, self._closing)
        except Exception as error:
            raise call.fault(error) from error


class AsyncSdkAnswer:
    """An answer that is still arriving."""

    def __init__(self, call: SdkCall, response: Any, closing: set[asyncio.Task[None]]) -> None:
        self._call = call
        self._response = response
        self._closing = closing
        self._body: AsyncGenerator[bytes] | None = None
        self._closed = False
        self.head = head_of(response)

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, undecoded."""
        self._body = self._read()
        return self._body

    def whole(self) -> None:
        """A transport does not tell whether the body has come."""

    async def _read(self) -> AsyncGenerator[bytes]:
        try:
            async for chunk in self._response.stream:
                yield chunk
        except Exception as error:
            raise self._call.fault(error) from error
        finally:
            self._closed = True
            with contextlib.suppress(Exception):
                await self._response.aclose()

    def close(self) -> None:
        """Give the connection back, or destroy it: at once where the body was read, else in a task of its own."""
        if not self._closed:
            self._closed = True
            task = asyncio.get_running_loop().create_task(self._abandon())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _abandon(self) -> None:
        with contextlib.suppress(Exception):
            if self._body is not None:
                await self._body.aclose()
            await self._response.aclose()
