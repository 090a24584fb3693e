"""What is told of one request, put together of its parts: its answer, its upstream call's landing, and its bill.

Pure; a part that is not there is told as unknown. This room must never tell a prompt, nor wait for a part.
"""

from __future__ import annotations

from typing import NamedTuple

from payonce.books.journal import Billed
from payonce.ledger.money import nano_dollars
from payonce.model.call import Ask, Call
from payonce.model.entry import Facts, Tokens
from payonce.model.receipt import Landing, Outcome, Receipt
from payonce.model.visit import Spent, Visit, Wire


class Seen(NamedTuple):
    """A request that was answered."""

    at: float
    took: float
    receipt: Receipt | None
    call: Call | None
    ask: Ask | None
    kind: str
    reason: str
    wire: Wire | None
    context: object


def number_of(seen: Seen) -> int:
    """The number of the request whose upstream call answered this one; 0 where none did."""
    if seen.receipt is None or seen.call is None:
        return 0
    if seen.receipt.outcome is Outcome.BYPASS:
        return seen.call.number if seen.call.steering is not None else 0
    return seen.receipt.flight


def visit_of(seen: Seen, landing: Landing | None, billed: Billed | None, request: str) -> Visit:
    """A request as it is told; `request` is the id under which its receipt is filed, empty where none is."""
    receipt, ask, call = seen.receipt, seen.ask, seen.call
    facts = _facts(receipt, landing)
    spent = _spent(landing, billed)
    served = receipt is not None and receipt.outcome is Outcome.COLLAPSED
    steering = call.steering if call is not None else None
    headers = dict(call.headers) if call is not None else {}
    return Visit(
        at=seen.at,
        took=seen.took,
        outcome=receipt.outcome.value if receipt is not None else seen.kind,
        reason=receipt.reason.id if receipt is not None and receipt.reason is not None else seen.reason,
        unkept=landing.reason.id if landing is not None and landing.reason is not None else "",
        request=request,
        endpoint=call.endpoint if call is not None else "",
        upstream=call.upstream if call is not None else "",
        model=ask.intent.model if ask is not None else steering.model if steering is not None else "",
        answered_by=billed.answered_by if billed is not None and billed.answered_by else facts.model if facts else "",
        answer_id=facts.source_id if facts is not None else "",
        tenant=ask.tenant if ask is not None else steering.tenant if steering is not None else "",
        namespace=ask.namespace if ask is not None else "",
        stream=ask is not None and ask.key.stream,
        converted=receipt is not None and receipt.converted,
        spent=None if served else spent,
        avoided=spent if served else _avoided(receipt),
        wire=seen.wire,
        traceparent=headers.get(b"traceparent", b"").decode("latin-1"),
        tracestate=headers.get(b"tracestate", b"").decode("latin-1"),
        context=seen.context,
    )


def _facts(receipt: Receipt | None, landing: Landing | None) -> Facts | None:
    if receipt is not None and receipt.entry is not None:
        return receipt.entry.facts
    return landing.facts if landing is not None else None


def _spent(landing: Landing | None, billed: Billed | None) -> Spent | None:
    if billed is not None and billed.bills:
        usage, costs = billed.bills[0].usage, [bill.cost for bill in billed.bills if bill.cost is not None]
        cost = sum(map(nano_dollars, costs)) if costs else None
        return Spent(usage.input_total, usage.output, usage.cache_read, usage.cache_write, cost)
    return _of(landing.facts.tokens) if landing is not None and landing.facts is not None else None


def _avoided(receipt: Receipt | None) -> Spent | None:
    if receipt is None:
        return None
    if receipt.saved is not None:
        return _of(receipt.saved.tokens)
    return _of(receipt.spared.facts.tokens) if receipt.spared is not None else None


def _of(tokens: Tokens) -> Spent:
    return Spent(input=tokens.input, output=tokens.output, cost=tokens.cost)
