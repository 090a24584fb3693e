"""THE table of causes: everything that the doctor can find has one row here, with what it means and what to change.

Findings, `payonce doctor`, its JSON and docs/findings.md all read this table. This room must never know how a cause is
recognised; lints.py and diagnose.py do.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding matters. Errors and warnings are wrong; a notice is worth knowing."""

    ERROR = "error"
    """The provider refuses the request."""
    WARNING = "warning"
    """Tokens are paid for again."""
    NOTICE = "notice"
    """It may cost something, or nothing can be done about it."""


class Scope(StrEnum):
    """What has to be looked at to find it."""

    REQUEST = "one request"
    TURNS = "two requests"
    EITHER = "either"


@dataclass(frozen=True, slots=True)
class Cause:
    """One row: a stable `id`, how much it matters, what it takes to see it, what it is in one sentence, what to change."""

    id: str
    severity: Severity
    scope: Scope
    sentence: str
    fix: str


CAUSES: dict[str, Cause] = {}


def _row(severity: Severity, scope: Scope, id: str, sentence: str, fix: str) -> Cause:  # noqa: A002
    if id in CAUSES:
        raise ValueError(f"two causes are called {id}")
    CAUSES[id] = cause = Cause(id, severity, scope, sentence, fix)
    return cause


# fmt: off
_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTICE
_R, _T, _B = Scope.REQUEST, Scope.TURNS, Scope.EITHER

# The markers of one request.
TOO_MANY_MARKERS = _row(_E, _R, "too-many-markers", "the request has more than 4 cache markers, the one at its top level included",
                        "keep the marker at the end of the static part and the last one or two of the conversation")
TTL_ORDER = _row(_E, _R, "ttl-order", "a marker of 1h stands behind one of 5m",
                 "put markers of 1h before those of 5m, in the order tools, system, messages; a marker without ttl is one of 5m")
MARKER_CONFLICT = _row(_E, _R, "marker-conflict", "the marker at the top level and the one on the last block have different TTLs",
                       "drop one of them, or give both the same ttl")
MARKER_MISPLACED = _row(_E, _R, "marker-misplaced", "a marker stands where none may be",
                        "move it to the nearest tool, text, image, document, tool_use or tool_result block before it")
MARKER_IGNORED = _row(_N, _R, "marker-ignored", "a marker stands where it has no effect",
                      "put it where this endpoint reads it: on content blocks, or at the top level of the request")
NO_MARKER = _row(_W, _B, "no-marker", "nothing is marked, and this model caches only what is marked",
                 "mark the end of the system prompt and the last block of the conversation with cache_control, or let "
                 'Payonce do it: prompt_cache = "auto"')
TAIL_UNMARKED = _row(_W, _B, "tail-unmarked", "only the static part is marked, so the conversation is paid for in full each turn",
                     "mark the last block of the last message as well")
UNDER_MINIMUM = _row(_W, _B, "under-minimum", "the marked prefix is shorter than what this model caches, so the marker does nothing",
                     "mark a longer prefix (the conversation too), or leave it: the marker costs nothing")
FILLER_BLOCK = _row(_W, _R, "filler-block", "a text block holds nothing but white space; providers count it as content",
                    "leave it out: it is one more block that must come back unchanged in every turn")
RETIRED_HEADER = _row(_W, _R, "retired-header", "a beta header asks for prompt caching, which left beta in 2024; some hosts refuse the header",
                      "drop the header; Payonce strips it before it sends")

# The text of one request.
VOLATILE_TEXT = _row(_W, _B, "volatile-text", "text that changes from request to request stands before a marker, so what is written there is never read",
                     "move it behind the last marker: into the last user message, for example")
DAILY_TEXT = _row(_N, _R, "daily-text", "a date stands before a marker: once a day the whole prefix is written again",
                  "move the date into the first user message")
LOCAL_TEXT = _row(_N, _R, "local-text", "text about one machine or checkout stands before a marker: no other conversation can read that prefix",
                  "move it behind the marker of the shared part")
CACHE_KEY_RANDOM = _row(_N, _R, "cache-key-random", "prompt_cache_key looks as if it was made for one request",
                        "use one key for each conversation, for example a hash of its id")

# What changed between two turns.
TOOLS_REORDERED = _row(_W, _T, "tools-reordered", "the same tools came in another order",
                       "send tools in a fixed order, for example that of the first request")
TOOL_CHANGED = _row(_W, _T, "tool-changed", "a tool of the same name came with another description or schema",
                    "make its definition the same text each time: fixed key order, no dates, no lists that are built anew")
TOOLS_ADDED = _row(_W, _T, "tools-added", "tools were added or removed in the middle of a conversation",
                   "send all tools from the first turn on, or use deferred tools")
SYSTEM_CHANGED = _row(_W, _T, "system-changed", "the system prompt changed between two turns",
                      "keep it the same through a conversation; put what changes into the last message")
HISTORY_REWRITTEN = _row(_W, _T, "history-rewritten", "a message that had been sent before came back changed, or not at all",
                         "send earlier messages back exactly as they were; compact rarely, and then a lot at once")
MODEL_CHANGED = _row(_W, _T, "model-changed", "the conversation went on with another model",
                     "stay on one model; each has a cache of its own")
PARAMETER_CHANGED = _row(_W, _T, "parameter-changed", "a parameter that is part of the cached prefix changed between two turns",
                         "keep tool_choice, thinking, effort, formats and beta headers the same through a conversation")
CACHE_KEY_CHANGED = _row(_W, _T, "cache-key-changed", "prompt_cache_key changed between two turns, so another machine was asked",
                         "use one key for each conversation")

# Where nothing changed, or not what was read.
HOST_CHANGED = _row(_W, _T, "host-changed", "another host answered, whose cache knows nothing of this conversation",
                    "send session_id, or pin the host that served: provider.order with allow_fallbacks; Payonce does both")
TTL_EXPIRED = _row(_W, _T, "ttl-expired", "more time passed between two turns than the entry lives",
                   'mark with "ttl": "1h" where pauses are longer than five minutes')
CONCURRENT = _row(_W, _T, "concurrent-first", "requests with the same prefix were sent before the first of them had begun to answer, so each wrote it",
                  "send one, wait for its first token, then send the others")
LOOKBACK = _row(_W, _T, "lookback-outrun", "more than 20 blocks were added since the last marker, so what it wrote was out of sight",
                "add a marker in between, at latest every 15 blocks")
NOT_CACHED = _row(_W, _T, "not-cached", "a marked prefix that is long enough was neither written nor read",
                  "this host may not cache for this model: payonce probe MODEL tells; choose hosts with provider.only or provider.order")
EVICTED = _row(_N, _T, "evicted", "nothing changed, and yet little was read: the provider dropped the entry, or another machine answered",
               "nothing is wrong with the request; if it happens often, pin the host or send session_id")
# fmt: on

WRONG = frozenset((Severity.ERROR, Severity.WARNING))
"""What makes `payonce doctor` end with 1."""
