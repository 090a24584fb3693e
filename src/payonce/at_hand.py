"""Responses whose body is at hand, for httpx and httpx2: read in one step, not piece by piece through decoders.

Whoever has read one holds the HTTP client's own plain response, in the very state in which its own reading would have
left it. This room must never know how an answer came about.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache as memo
from typing import Any


@memo
def at_hand(mod: Any) -> Callable[[int, Any, bytes], Any]:
    """What makes a response of `mod`, from its status, header fields and whole body, which has no encoding."""
    plain, for_threads, for_tasks = mod.Response, mod.SyncByteStream, mod.AsyncByteStream

    class Response(plain):  # type: ignore[misc, valid-type]  # it is one of two classes
        """The same, which knows its body."""

        def read(self) -> bytes:
            """The body; reading it closes the response."""
            if self._is_new(for_threads):
                self.close()
                self._is_read()
            body: bytes = plain.read(self)
            return body

        async def aread(self) -> bytes:
            """The body; reading it closes the response."""
            if self._is_new(for_tasks):
                await self.aclose()
                self._is_read()
            body: bytes = await plain.aread(self)
            return body

        def _is_new(self, kind: type) -> bool:
            return not self.is_stream_consumed and not self.is_closed and isinstance(self.stream, kind)

        def _is_read(self) -> None:
            body = self.__dict__.pop("_at_hand")
            self.is_stream_consumed = True
            self._num_bytes_downloaded = len(body)
            self._content = body
            self.__class__ = plain

    def make(status: int, fields: Any, body: bytes) -> Any:
        response = Response(status, headers=fields, stream=mod.ByteStream(body))
        response._at_hand = body  # noqa: SLF001 - the class stands above
        return response

    Response.__qualname__ = "Response"
    return make
