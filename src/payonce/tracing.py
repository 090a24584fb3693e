"""Spans and metrics by OpenTelemetry's interface alone: one span a request, made after it has ended.

Names of the GenAI conventions stand here and nowhere else, since all of them are "Development" (semantic conventions
1.38 and later); what they have no name for is `payonce.*`. A span's parent is the client's `traceparent`. Nothing is
told that is not in `Visit`: no prompt, no answer, no credential. Without an SDK that was set up before, there is no
sink at all.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from payonce.ledger.tally import dollars
from payonce.model.visit import Visit

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter
    from opentelemetry.trace import Tracer

SCOPE: Final = "payonce"
OPERATION: Final = {
    "chat/completions": "chat",
    "responses": "chat",
    "messages": "chat",
    "embeddings": "embeddings",
    "completions": "text_completion",
}
OPERATION_NAME: Final = "gen_ai.operation.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
RESPONSE_MODEL: Final = "gen_ai.response.model"
RESPONSE_ID: Final = "gen_ai.response.id"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_CREATION_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105 - no password
TOKEN_USAGE: Final = "gen_ai.client.token.usage"  # noqa: S105
OPERATION_DURATION: Final = "gen_ai.client.operation.duration"
ERROR_TYPE: Final = "error.type"
_DURATIONS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS: Final = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
"""The bounds that the conventions ask for."""


class Tracing:
    """A sink of `payonce.telling.Teller`. `serving` says that the spans are a server's, not a client's."""

    def __init__(self, tracer: Tracer, meter: Meter, *, serving: bool) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode  # noqa: PLC0415 - an extra

        self.dropped = 0
        self._tracer = tracer
        self._kind = SpanKind.SERVER if serving else SpanKind.CLIENT
        self._failed = Status(StatusCode.ERROR)
        self._duration = meter.create_histogram(
            OPERATION_DURATION, "s", "GenAI operation duration.", explicit_bucket_boundaries_advisory=_DURATIONS
        )
        self._tokens = meter.create_histogram(
            TOKEN_USAGE, "{token}", "Number of tokens used.", explicit_bucket_boundaries_advisory=_TOKENS
        )

    def tell(self, visits: Sequence[Visit]) -> None:
        """A span and its figures for each request to a model."""
        for visit in visits:
            if visit.outcome != "own":
                self._tell(visit)

    def _tell(self, visit: Visit) -> None:
        common = {OPERATION_NAME: OPERATION.get(visit.endpoint, visit.endpoint), REQUEST_MODEL: visit.model}
        common = {name: value for name, value in common.items() if value}
        error = error_of(visit)
        told = {**common, **attributes(visit), **({ERROR_TYPE: error} if error else {})}
        name = " ".join(common.values()) or visit.outcome
        began = round(visit.at * 1e9)
        span = self._tracer.start_span(name, _parent(visit), self._kind, told, start_time=began)
        if error:
            span.set_status(self._failed)
        span.end(began + round(visit.took * 1e9))
        measured = {**common, "payonce.outcome": visit.outcome, **({ERROR_TYPE: error} if error else {})}
        self._duration.record(visit.took, measured)
        if visit.spent is not None:
            for kind, tokens in (("input", visit.spent.input), ("output", visit.spent.output)):
                if tokens is not None:
                    self._tokens.record(tokens, {**measured, TOKEN_TYPE: kind})


def attributes(visit: Visit) -> dict[str, Any]:
    """What a span says of one request, besides operation, model and error. Tokens are those that an upstream charged
    for; those of a hit are under `payonce.avoided`."""
    spent, avoided = visit.spent, visit.avoided
    told: dict[str, Any] = {
        REQUEST_STREAM: visit.stream or None,
        RESPONSE_MODEL: visit.answered_by,
        RESPONSE_ID: visit.answer_id,
        "payonce.outcome": visit.outcome,
        "payonce.reason": visit.reason,
        "payonce.unkept": visit.unkept,
        "payonce.request": visit.request,
        "payonce.tenant": visit.tenant[:16],
        "payonce.namespace": visit.namespace,
        "payonce.upstream": visit.upstream,
        "payonce.converted": visit.converted or None,
    }
    if spent is not None:
        told |= {
            INPUT_TOKENS: spent.input,
            OUTPUT_TOKENS: spent.output,
            CACHE_READ_TOKENS: spent.cache_read,
            CACHE_CREATION_TOKENS: spent.cache_write,
            "payonce.spent.dollars": None if spent.cost is None else dollars(spent.cost),
        }
    if avoided is not None:
        told |= {
            "payonce.avoided.input_tokens": avoided.input,
            "payonce.avoided.output_tokens": avoided.output,
            "payonce.avoided.dollars": None if avoided.cost is None else dollars(avoided.cost),
        }
    if visit.wire is not None:
        told |= {
            "http.request.method": visit.wire.method,
            "http.response.status_code": visit.wire.status or None,
            "payonce.bytes_in": visit.wire.received,
            "payonce.bytes_out": visit.wire.sent,
        }
    return {name: value for name, value in told.items() if value not in ("", None)}


def error_of(visit: Visit) -> str:
    """Why the request failed: a reason's id, else the status; empty where it did not."""
    status = visit.wire.status if visit.wire is not None else 0
    if visit.outcome == "refused":
        return visit.reason or str(status)
    if status >= 500 or visit.unkept.startswith("upstream-") or visit.unkept in ("cut", "error-inside", "no-terminal"):
        return visit.unkept or str(status)
    return str(status) if status >= 400 else ""


def _parent(visit: Visit) -> Any:
    """The context of the span that asked: of this process, else the one that the request named, else none."""
    from opentelemetry.context import Context  # noqa: PLC0415 - an extra
    from opentelemetry.trace import get_current_span  # noqa: PLC0415

    if isinstance(visit.context, Context) and get_current_span(visit.context).get_span_context().is_valid:
        return visit.context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    carrier = {"traceparent": visit.traceparent, "tracestate": visit.tracestate}
    return TraceContextTextMapPropagator().extract(carrier, Context())


def tracing(*, serving: bool) -> Tracing | None:
    """The sink, if this process has set OpenTelemetry up; nothing is imported where nobody has."""
    if "opentelemetry.trace" not in sys.modules:
        return None
    from opentelemetry import metrics, trace  # noqa: PLC0415 - an extra

    unset = isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    if unset and type(metrics.get_meter_provider()).__name__ == "_ProxyMeterProvider":
        return None
    return Tracing(trace.get_tracer(SCOPE), metrics.get_meter(SCOPE), serving=serving)


def here() -> object:
    """The present context, for spans that are made later."""
    from opentelemetry.context import get_current  # noqa: PLC0415 - an extra

    return get_current()
