"""What a connection says when it turns a client away before a request is whole: the answer, and the access log's line.

Nothing that was not parsed in full is believed: a path is told only where it is one, never with its query. This room
must never decide whom to refuse.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from payonce.gateway.wire import error_body, error_fields, head_bytes
from payonce.model import reason as why
from payonce.model.reason import Reason
from payonce.model.visit import MOST_PATH, Wire

if TYPE_CHECKING:
    from payonce.gateway.app import Gateway

LINGERING = frozenset((400, 413, 431))
"""Statuses of refusals whose client may still be sending, and has to stop before it reads."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a client was turned away, how much of a body had come, and how large a body told it so; `status` is 0 where
    nothing could be answered."""

    reason: Reason
    received: int
    status: int = 0
    sent: int = 0


def answered(
    gateway: Gateway, refusal: Refusal, url: bytes, default: list[tuple[bytes, bytes]]
) -> tuple[bytes, Refusal]:
    """The whole answer that says so, in the shape of the endpoint that `url` names, and the refusal with it."""
    reason = refusal.reason
    route = gateway.routes.find(url.partition(b"?")[0])
    detail = f"at most {gateway.settings.max_body_bytes} bytes" if reason is why.BODY_TOO_LARGE else ""
    body = error_body(route.endpoint if route else "", reason, detail)
    fields = [*error_fields(reason), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    return head_bytes(reason.status, default, fields) + body, replace(refusal, status=reason.status, sent=len(body))


def tell(gateway: Gateway, refusal: Refusal, method: bytes, url: bytes, took: float) -> None:
    """Give the access log its line, where there is one; `took` is in seconds, since the request began to arrive."""
    teller = gateway.world.teller
    if teller is None:
        return
    path = url.partition(b"?")[0][:MOST_PATH].decode("latin-1") if url.startswith(b"/") else ""
    first = took if refusal.status else None
    wire = Wire(method.decode("latin-1"), path, refusal.status, refusal.received, refusal.sent, first)
    teller.turned_away(took, refusal.reason.id, wire)
