"""THE table of headers: what a client can say about caching, and what the cache says of an answer.

docs/gateway.md reads it; tests hold it against `core.directives` and `core.labels`, which do the work. This room must
never parse or write a header.
"""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """One header as it is written, with a value where that says more, and its meaning."""

    written: str
    meaning: str

    @property
    def name(self) -> str:
        """Its name in lower case."""
        return self.written.partition(":")[0].lower()


REQUEST = (
    Row("X-OpenRouter-Cache: true", "cache this request whatever its temperature; `false`: do not"),
    Row("X-OpenRouter-Cache-TTL: 600", "for how long its answer may be used (1 to 86400 seconds)"),
    Row("X-OpenRouter-Cache-Clear: true", "forget what is stored for this key, fetch, store anew"),
    Row("Cache-Control: no-cache", "a new answer, which is kept"),
    Row("Cache-Control: no-store", "no caching"),
    Row("Cache-Control: max-age=N", "nothing older than N seconds"),
    Row("Cache-Control: only-if-cached", "a miss is a 504, and costs nothing"),
    Row(
        "Cache-Control: stale-while-revalidate=N",
        "an answer up to N seconds past its TTL will do, while a new one is fetched",
    ),
    Row("Cache-Control: stale-if-error=N", "the same, if the upstream fails"),
    Row("X-Payonce-Namespace: name", "a key space of its own within the tenant"),
    Row("X-Payonce-Tags: a,b", "tags to purge by"),
    Row("X-Payonce-Sample: 2", "the second stored sample of a request whose answers vary"),
)

RESPONSE = (
    Row("X-OpenRouter-Cache-Status", "`HIT` or `MISS`; absent when the cache took no part"),
    Row("X-OpenRouter-Cache-Age", "seconds since it was stored, as OpenRouter documents it"),
    Row("X-OpenRouter-Cache-TTL", "seconds for which it will be fresh"),
    Row("X-OpenRouter-Cache-Source-Id", "the id of the answer that was stored"),
    Row(
        "Cache-Status",
        "RFC 9211: `payonce; hit; ttl=3540` · `payonce; hit; ttl=3540; detail=converted` (stored as a stream, asked for "
        "whole, or the reverse) · `payonce; fwd=miss; stored` · `payonce; fwd=miss; collapsed` (joined a call under way) "
        "· `payonce; fwd=miss; detail=REASON` (not kept) · `payonce; fwd=bypass; detail=REASON` · `payonce; fwd=stale…`",
    ),
    Row("Age", "seconds since it was stored"),
    Row(
        "X-Payonce-Items", "on a batch of embeddings: `90/100`, so many inputs were answered from the cache, of so many"
    ),
    Row(
        "X-Payonce-Request-Id",
        "the request's own name, 16 hexadecimal digits: `payonce why ID` says how it was answered, and why",
    ),
    Row("X-Payonce-Error", "on the gateway's own errors: the reason's id"),
)
