"""An upstream whose calls are steered on their way out: for asyncio and for threads.

The answer passes through untouched, chunk by chunk, while the course listens. Where an upstream rejects what was
changed, the client's own call is sent, once: a rejected call was not paid for. This room must never read a body.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from payonce.drive.sync_flights import SyncAnswer, SyncUpstream
from payonce.model.call import Call
from payonce.model.course import Course, Navigator
from payonce.model.ports import Answer, Upstream

REJECTED = 400
REFUSAL_BYTES = 64 * 1024
"""So much of a rejection is read to see what it is about."""


class NavigatedUpstream:
    """`inner`, whose calls go the way `navigator` says."""

    def __init__(self, inner: Upstream, navigator: Navigator) -> None:
        self._inner = inner
        self._navigator = navigator

    async def open(self, call: Call) -> Answer:
        """Send `call`, wait for the head. Raises `UpstreamFault`."""
        course = self._navigator.course(call) if call.steering is not None else None
        if course is None:
            return await self._inner.open(call)
        answer = await self._by(course)
        if not course.changed or answer.head.status != REJECTED:
            return answer
        try:
            refused = course.refused(REJECTED, await answer.peek(REFUSAL_BYTES))
        except BaseException:
            answer.close()
            raise
        if not refused:
            return answer
        answer.close()
        return await self._by(course.bare())

    async def _by(self, course: Course) -> _Answer:
        try:
            answer = await self._inner.open(course.call)
        except BaseException:
            course.over(whole=False)
            raise
        return _Answer(answer, course)


class _Answer:
    """An answer that is still arriving, and is listened to."""

    def __init__(self, inner: Answer, course: Course) -> None:
        self.head = inner.head
        self._inner = inner
        self._course = course
        self._chunks: AsyncIterator[bytes] | None = None
        self._peeked: list[bytes] = []
        course.begun(inner.head)

    async def peek(self, limit: int) -> bytes:
        """The first `limit` bytes or so; `chunks` gives them again."""
        self._chunks = self._inner.chunks()
        size = 0
        async for chunk in self._chunks:
            self._peeked.append(chunk)
            size += len(chunk)
            if size >= limit:
                break
        return b"".join(self._peeked)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises `UpstreamFault` when it ends before it is whole."""
        heard = self._course.heard
        for chunk in self._peeked:
            heard(chunk)
            yield chunk
        async for chunk in self._chunks or self._inner.chunks():
            heard(chunk)
            yield chunk
        self._course.over(whole=True)

    def whole(self) -> bytes | None:
        """The body, where all of it has come by now."""
        body = self._inner.whole() if self._chunks is None else None
        if body is not None:
            self._course.heard(body)
            self._course.over(whole=True)
        return body

    def close(self) -> None:
        """As the answer inside."""
        self._course.over(whole=False)
        self._inner.close()


class NavigatedSyncUpstream:
    """The same for threads."""

    def __init__(self, inner: SyncUpstream, navigator: Navigator) -> None:
        self._inner = inner
        self._navigator = navigator

    def open(self, call: Call) -> SyncAnswer:
        """Send `call`, wait for the head. Raises `UpstreamFault`."""
        course = self._navigator.course(call) if call.steering is not None else None
        if course is None:
            return self._inner.open(call)
        answer = self._by(course)
        if not course.changed or answer.head.status != REJECTED:
            return answer
        try:
            refused = course.refused(REJECTED, answer.peek(REFUSAL_BYTES))
        except BaseException:
            answer.close()
            raise
        if not refused:
            return answer
        answer.close()
        return self._by(course.bare())

    def _by(self, course: Course) -> _SyncAnswer:
        try:
            answer = self._inner.open(course.call)
        except BaseException:
            course.over(whole=False)
            raise
        return _SyncAnswer(answer, course)


class _SyncAnswer:
    """The same for threads."""

    def __init__(self, inner: SyncAnswer, course: Course) -> None:
        self.head = inner.head
        self._inner = inner
        self._course = course
        self._chunks: Iterator[bytes] | None = None
        self._peeked: list[bytes] = []
        course.begun(inner.head)

    def peek(self, limit: int) -> bytes:
        """The first `limit` bytes or so; `chunks` gives them again."""
        self._chunks = self._inner.chunks()
        size = 0
        for chunk in self._chunks:
            self._peeked.append(chunk)
            size += len(chunk)
            if size >= limit:
                break
        return b"".join(self._peeked)

    def chunks(self) -> Iterator[bytes]:
        """The body as it arrives. Raises `UpstreamFault` when it ends before it is whole."""
        heard = self._course.heard
        for chunk in self._peeked:
            heard(chunk)
            yield chunk
        for chunk in self._chunks or self._inner.chunks():
            heard(chunk)
            yield chunk
        self._course.over(whole=True)

    def close(self) -> None:
        """As the answer inside."""
        self._course.over(whole=False)
        self._inner.close()
