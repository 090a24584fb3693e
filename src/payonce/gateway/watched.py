"""A face that remembers what went over it, for logs and traces; made only where somebody wants to be told."""

from __future__ import annotations

import time

from payonce.config import Settings
from payonce.gateway.access_log import AccessLog
from payonce.gateway.face import AsgiFace, Receive, Scope, Send
from payonce.model.call import Ask, Call, Headers
from payonce.model.ports import Clock, Head
from payonce.model.reason import Reason
from payonce.model.receipt import Outcome, Receipt
from payonce.model.visit import MOST_PATH, Wire
from payonce.telling import Sink, Teller
from payonce.tracing import tracing

Told = tuple[Receipt | None, Ask | Call | None]
"""How a request was answered, and what it asked, as far as that is known."""
NOTHING: Told = (None, None)


def teller_of(settings: Settings, clock: Clock) -> Teller | None:
    """Who tells of a gateway's requests: to the access log and to OpenTelemetry, where there is either."""
    log = AccessLog(settings.access_log) if settings.access_log != "off" else None
    if log is not None:
        log.start()
    sinks: list[Sink] = [sink for sink in (log, tracing(serving=True)) if sink is not None]
    return Teller(sinks, clock, whole=False) if sinks else None


class WatchedFace(AsgiFace):
    """See the room's first paragraph. `told` is filled in by whoever answers."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, endpoint: str, teller: Teller) -> None:
        super().__init__(scope, receive, send, endpoint)
        self._teller = teller
        self._began = time.perf_counter()
        self._path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")[:MOST_PATH]
        self._method: str = scope["method"]
        self._status = 0
        self._sent = 0
        self._first: float | None = None
        self._reason = ""
        self.received = 0
        self.told: Told = NOTHING

    async def start(self, head: Head, fields: Headers, body: bytes | None) -> None:
        """Send the head; with `body`, the whole answer."""
        self._status, self._sent, self._first = head.status, len(body or b""), time.perf_counter() - self._began
        await super().start(head, fields, body)

    async def send(self, chunk: bytes) -> None:
        """Send a part of the body."""
        self._sent += len(chunk)
        await super().send(chunk)

    async def refuse(self, reason: Reason, fields: Headers = (), detail: str = "") -> None:
        """Answer with the gateway's own error."""
        self._reason = reason.id
        await super().refuse(reason, fields, detail)

    def tell(self) -> None:
        """The exchange is over."""
        took = time.perf_counter() - self._began
        refusal = self._line.refusal if self._line is not None and not self._status else None
        if refusal is not None:
            self._reason, self._status, self._sent = refusal.reason.id, refusal.status, refusal.sent
            self._first, self.received = took if refusal.status else None, refusal.received
        receipt, asked = self.told
        wire = Wire(self._method, self._path, self._status, self.received, self._sent, self._first)
        kind = Outcome.REFUSED.value if self._reason else "pass" if self.endpoint else "own"
        self._teller.visited(took, receipt, asked, kind=kind, reason=self._reason, wire=wire)
