"""THE table of reasons: every way in which something was not a hit, not kept, refused or dropped has one row here.

Headers (`Cache-Status: …; detail=ID`, `X-Payonce-Error: ID`), counters, commands and docs/reasons.md all read this
table. This room must never know when a reason applies; core/rules.py and the dialects decide that.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a reason explains."""

    BYPASS = "bypass"
    """The cache did not take part; the bytes went upstream and came back untouched."""
    MISS = "miss"
    """The cache looked, and could not serve."""
    UNKEPT = "unkept"
    """The answer was delivered but not stored."""
    REFUSED = "refused"
    """The gateway itself answered with an error."""
    DROPPED = "dropped"
    """An entry was lost on its way to the store, or in it."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One row: a stable `id`, what happened in one sentence, what to do about it (may be empty), and the HTTP status
    with which the gateway answers where it refuses."""

    id: str
    kind: Kind
    sentence: str
    fix: str = ""
    status: int = 0


REASONS: dict[str, Reason] = {}


def _row(kind: Kind, id: str, sentence: str, fix: str = "", status: int = 0) -> Reason:  # noqa: A002
    if id in REASONS:
        raise ValueError(f"two reasons are called {id}")
    REASONS[id] = reason = Reason(id, kind, sentence, fix, status)
    return reason


# fmt: off
_B, _M, _U, _R, _D = Kind.BYPASS, Kind.MISS, Kind.UNKEPT, Kind.REFUSED, Kind.DROPPED

# Bypassed: decided before the lookup.
CACHE_OFF = _row(_B, "cache-off", "caching is off for this request", 'set cache = "all", or drop the rule that switches it off')
NOT_DETERMINISTIC = _row(_B, "not-deterministic", "the request does not set temperature to 0, so its answers vary",
                         "send temperature 0, or X-OpenRouter-Cache: true, or serve with --cache all")
NOT_OPTED_IN = _row(_B, "not-opted-in", "the policy is opt-in and the request has no X-OpenRouter-Cache: true", "send X-OpenRouter-Cache: true")
CLIENT_OFF = _row(_B, "client-off", "the request says X-OpenRouter-Cache: false")
NO_STORE = _row(_B, "no-store", "the request says Cache-Control: no-store")
NO_DIALECT = _row(_B, "no-dialect", "this endpoint passes through: its answers can't be judged yet")
ENCODED_REQUEST = _row(_B, "encoded-request", "the request body is compressed, so it can't be read", "send it without Content-Encoding")
UNREAD_TYPE = _row(_B, "unread-type", "the request body is not application/json", "send Content-Type: application/json")
BAD_JSON = _row(_B, "bad-json", "the request body is not strict JSON", "send valid JSON in UTF-8")
DUPLICATE_MEMBER = _row(_B, "duplicate-member", "an object in the request names a member twice; parsers disagree which one counts",
                        "send each member once")
BAD_NUMBER = _row(_B, "bad-number", "the request holds NaN or Infinity, which JSON does not have", "send finite numbers")
BAD_TEXT = _row(_B, "bad-text", "the request is not valid UTF-8, or holds half of a surrogate pair", "send valid UTF-8")
TOO_DEEP = _row(_B, "too-deep", "the request is nested more than 128 levels deep", "send a flatter body")
NOT_AN_OBJECT = _row(_B, "not-an-object", "the request body is not a JSON object")
SERVER_STATE = _row(_B, "server-state", "the request depends on state kept by the provider", "send the whole conversation in the request")
BATCH_TOO_LONG = _row(_B, "batch-too-long", "the batch has more than 4096 inputs", "send shorter batches")
FLIGHTS_FULL = _row(_B, "flights-full", "too many different calls are under way to follow one more", "raise max_flights")

# Missed: the lookup found nothing that may be served.
ABSENT = _row(_M, "absent", "nothing is stored under this key")
EXPIRED = _row(_M, "expired", "what is stored has outlived its TTL", "raise ttl, or allow stale-while-revalidate")
PURGED = _row(_M, "purged", "what is stored was purged")
TOO_OLD = _row(_M, "too-old", "what is stored is older than the request allows")
REFRESH = _row(_M, "refresh", "the request asks for a new answer")
FRAMING = _row(_M, "framing", "the stored stream and this request differ on the usage chunk")
DAMAGED = _row(_M, "damaged", "what is stored does not prove to be this answer")
MODEL_CHANGED = _row(_M, "model-changed", "the items of this batch come from different models or have different dimensions, so all of it was sent")
UNUSABLE_PART = _row(_M, "unusable-part", "the answer to the items that were missing could not be used, so the whole batch was sent as it came")
STORE_SLOW = _row(_M, "store-slow", "the store did not answer within its budget", "look at the disk, or the store's server; raise read_budget")
STORE_FAULT = _row(_M, "store-fault", "the store could not be read", "payonce stats and the log say why")
STORE_DOWN = _row(_M, "store-down", "the store's server does not answer, so it is not asked for a moment", "look at the server; /readyz and the log say why")

# Not kept: decided when the answer had ended.
STATUS = _row(_U, "status", "the status is not 200")
CONTENT_TYPE = _row(_U, "content-type", "the answer is neither JSON nor an event stream, as was asked for")
ENCODED_ANSWER = _row(_U, "encoded-answer", "the upstream compressed the answer although it was asked not to")
CUT = _row(_U, "cut", "the connection ended before the answer did")
NO_TERMINAL = _row(_U, "no-terminal", "the stream ended without its terminal event")
NO_FINISH = _row(_U, "no-finish", "a choice has no finish reason")
ERROR_INSIDE = _row(_U, "error-inside", "the answer carries an error inside a 200")
EMPTY = _row(_U, "empty", "the answer is empty")
CONTENT_FILTER = _row(_U, "content-filter", "the answer was stopped by a content filter")
REFUSAL = _row(_U, "refusal", "the model refused")
BAD_TOOL_JSON = _row(_U, "bad-tool-json", "the arguments of a tool call are not JSON")
TRUNCATED = _row(_U, "truncated", "the answer was cut off by a token limit that the client did not set", "set max_tokens")
UNREADABLE = _row(_U, "unreadable", "the answer can't be read in its dialect")
TOO_LARGE = _row(_U, "too-large", "the answer is larger than an entry, or the answer to a batch, may be", "raise max_entry_bytes or max_batch_bytes")
WRONG_COUNT = _row(_U, "wrong-count", "the answer does not have each item of the batch exactly once")
ABANDONED = _row(_U, "abandoned", "the call took longer than a flight may after its clients had left", "raise total_timeout")

# Refused: the gateway answers itself, in the endpoint's own error shape.
ONLY_IF_CACHED = _row(_R, "only-if-cached", "nothing usable is stored and the request says only-if-cached", "drop only-if-cached", 504)
BAD_NAMESPACE = _row(_R, "bad-namespace", "X-Payonce-Namespace is not 1 to 64 of A-Z a-z 0-9 . _ -", "correct or drop the header", 400)
BAD_SAMPLE = _row(_R, "bad-sample", "X-Payonce-Sample is not a whole number from 0 to 999999999", "correct or drop the header", 400)
BAD_TAGS = _row(_R, "bad-tags", "X-Payonce-Tags is not a list of up to 16 names of 1 to 64 of A-Z a-z 0-9 . _ : -", "correct or drop the header", 400)
BODY_TOO_LARGE = _row(_R, "body-too-large", "the request body is larger than this gateway takes", "send less, or raise max_body_bytes", 413)
BODY_SLOW = _row(_R, "body-slow", "the request body did not arrive in time", "send it faster, or raise body_timeout", 408)
HEAD_SLOW = _row(_R, "head-slow", "the request's headers did not arrive in time", "send them faster, or raise header_timeout", 408)
HEAD_TOO_LARGE = _row(_R, "head-too-large", "the request has too many or too large headers", "send fewer", 431)
BAD_REQUEST = _row(_R, "bad-request", "the request is not well-formed HTTP", "correct the client", 400)
BAD_HOST = _row(_R, "bad-host", "the Host header names a host that this gateway does not answer for", "use the gateway's own address, or add it to allowed_hosts", 421)
BAD_ORIGIN = _row(_R, "bad-origin", "the request comes from a web page of another origin", "call from a program, or add the page to allowed_origins", 403)
NO_ROUTE = _row(_R, "no-route", "there is nothing at this path", "use /api/v1/… or /v1/…, /NAME/v1/… for a named upstream, /_payonce/ for the dashboard", 404)
BUSY = _row(_R, "busy", "the gateway has as many connections as it may", "try again, or raise max_connections", 503)
STOPPING = _row(_R, "stopping", "the gateway is shutting down", "try again in a moment", 503)
UPSTREAM_REFUSED = _row(_R, "upstream-refused", "no connection to the upstream could be made", "check the upstream URL and the network", 502)
UPSTREAM_SLOW = _row(_R, "upstream-slow", "the upstream did not answer in time", "try again, or raise first_byte_timeout", 504)
UPSTREAM_CUT = _row(_R, "upstream-cut", "the upstream closed the connection before its answer was whole", "try again", 502)
UPSTREAM_GARBLED = _row(_R, "upstream-garbled", "the upstream's answer is not well-formed HTTP", "check the upstream URL", 502)
INTERNAL = _row(_R, "internal", "the gateway made a mistake", "report it, with the log", 500)

# Dropped on the way to the store, or in it.
QUEUE_FULL = _row(_D, "queue-full", "entries came faster than the store could write them")
STORE_FULL = _row(_D, "store-full", "the disk, or the store's server, is full", "free space, or lower max_bytes; on a server, let it evict")
STORE_READ_ONLY = _row(_D, "store-read-only", "the store can't be written", "check the permissions, or the user's rights on the server")
ENTRY_TOO_LARGE = _row(_D, "entry-too-large", "the entry is larger than the store takes", "raise max_bytes")
EVICTED = _row(_D, "evicted", "the entry made room for others", "raise max_bytes")
OVER_QUOTA = _row(_D, "over-quota", "the entry's own tenant held more than it may", "raise tenant_bytes or tenant_entries, for this tenant by a rule")
WRITE_FAULT = _row(_D, "write-fault", "the store failed while writing", "the log says why")

ROUTINE = frozenset((EVICTED.id, OVER_QUOTA.id))
"""Losses that are no trouble: a store within its bounds has them every day."""
