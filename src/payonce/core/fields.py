"""Header fields, sorted into what each is to a cache: connection, credential, directive, inert, or part of the key.

Whatever is forwarded upstream is either in the key or stands in the short table of fields that don't change an answer.
This room must never know a dialect's body.
"""

from __future__ import annotations

from collections.abc import Iterable

from payonce.core.directives import NAMES as DIRECTIVES
from payonce.model.call import Headers

HOP_BY_HOP = frozenset(
    (
        b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer "
        b"transfer-encoding upgrade http2-settings"
    ).split()
)
"""RFC 9110, section 7.6.1: meant for one connection. Never forwarded, either way."""

REBUILT = frozenset(b"host content-length accept-encoding expect".split())
"""Written anew for the next connection. Answers are asked for without encoding, so that they can be judged."""

REROUTING = frozenset(
    (
        b"forwarded via x-forwarded-for x-forwarded-host x-forwarded-proto x-forwarded-port x-forwarded-prefix "
        b"x-forwarded-server x-real-ip x-original-url x-original-host x-rewrite-url x-http-method-override "
        b"x-http-method x-method-override x-host true-client-ip cf-connecting-ip"
    ).split()
)
"""Fields by which a client could make an upstream see another request than the one that is keyed. Never forwarded."""

CREDENTIALS = frozenset(b"authorization x-api-key api-key x-goog-api-key".split())
"""Who asks: these make the tenant, and never enter a key, a log or a store themselves."""

ACCOUNT = frozenset(
    (
        b"openai-organization openai-project anthropic-organization-id x-goog-user-project cookie x-auth-token "
        b"x-access-token x-amz-security-token x-amz-date x-portkey-api-key helicone-auth cf-aig-authorization "
        b"x-bt-org-name"
    ).split()
)
"""Who pays, or how a proxy on the way is entered: part of a key, but not of that of a recording that others replay."""

_TRACES = frozenset(
    (
        b"x-request-id x-correlation-id x-client-request-id idempotency-key traceparent tracestate baggage "
        b"sentry-trace b3 x-amzn-trace-id x-cloud-trace-context"
    ).split()
)

INERT = _TRACES | frozenset(
    (
        b"accept accept-language user-agent content-type http-referer referer origin x-title x-openrouter-title "
        b"x-openrouter-categories x-session-id x-grok-conv-id priority pragma dnt date"
    ).split()
)
"""Forwarded and not keyed: attribution, tracing, stickiness, and what every client library writes of itself."""

IDS = _TRACES | frozenset(b"x-b3-traceid x-b3-spanid x-b3-parentspanid x-datadog-trace-id x-datadog-parent-id".split())
"""Inert fields that are another's with each request of one client. Who remembers what headers say leaves them out."""

INERT_PREFIXES = (b"x-stainless-", b"sec-fetch-", b"sec-ch-", b"x-b3-", b"x-datadog-")

NOT_STORED = frozenset(
    (
        b"date age server set-cookie set-cookie2 content-length alt-svc cf-ray cf-cache-status nel report-to "
        b"reporting-endpoints strict-transport-security retry-after cache-status cache-control expires etag "
        b"last-modified vary x-payonce-error server-timing via"
    ).split()
)
"""Response fields that belong to one moment, one connection or one client, and are not replayed from an entry."""

NOT_STORED_PREFIXES = (b"x-ratelimit-", b"anthropic-ratelimit-", b"access-control-", b"x-openrouter-cache-")


def is_inert(name: bytes, also: frozenset[bytes] = frozenset()) -> bool:
    """Whether a request field changes nothing in the answer; `also` are names that the operator declares inert."""
    return name in INERT or name in also or name.startswith(INERT_PREFIXES)


def is_bookkeeping(name: bytes) -> bool:
    """Whether a request field is no part of what is asked: connection, credentials, directives, or never forwarded."""
    return name in HOP_BY_HOP or name in REBUILT or name in REROUTING or name in CREDENTIALS or name in DIRECTIVES


def keyed_headers(headers: Headers, also_inert: frozenset[bytes] = frozenset()) -> Headers:
    """The fields that may change the answer, sorted by name (the order among equal names is kept)."""
    kept = [
        (name, value.strip()) for name, value in headers if not is_bookkeeping(name) and not is_inert(name, also_inert)
    ]
    kept.sort(key=lambda field: field[0])
    return tuple(kept)


def credentials(headers: Headers) -> Headers:
    """The fields that say who asks, sorted."""
    return tuple(sorted((name, value.strip()) for name, value in headers if name in CREDENTIALS))


def forwarded_headers(headers: Headers, *, cache_headers: bool = False) -> Headers:
    """What goes upstream: all but the connection's own, what `Connection` names, what is rebuilt or could reroute, and
    the cache's directives (`cache_headers` lets OpenRouter's three through)."""
    dropped = connection_names(headers)
    return tuple(
        (name, value)
        for name, value in headers
        if name not in HOP_BY_HOP
        and name not in REBUILT
        and name not in REROUTING
        and name not in dropped
        and (name not in DIRECTIVES or (cache_headers and name.startswith(b"x-openrouter-")))
    )


def returned_headers(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """What of an upstream's answer goes back to the client: its end-to-end fields, names in lower case.

    `Access-Control-*` is not passed on: it would open the gateway to any web page (threat T21).
    """
    fields = tuple([(name.lower(), value) for name, value in headers])
    kept = [field for field in fields if field[0] not in _KEPT_BACK and not field[0].startswith(b"access-control-")]
    dropped = connection_names(fields)
    return tuple([field for field in kept if field[0] not in dropped] if dropped else kept)


_KEPT_BACK = HOP_BY_HOP | {b"content-length", b"date", b"server"}


def storable_headers(headers: Headers) -> Headers:
    """What of an answer's head is kept in an entry."""
    return tuple(
        (name, value)
        for name, value in headers
        if name not in NOT_STORED and not name.startswith(NOT_STORED_PREFIXES) and not _ILLEGAL.intersection(value)
    )


_ILLEGAL = frozenset(b"\r\n\0")


def connection_names(headers: Headers) -> frozenset[bytes]:
    """The field names that `Connection` declares to be this connection's own."""
    named = [value for name, value in headers if name == b"connection"]
    if not named:
        return frozenset()
    return frozenset(part.strip().lower() for value in named for part in value.split(b","))
