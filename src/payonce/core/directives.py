"""What a client says about caching in its request headers: OpenRouter's, RFC 9111's and Payonce's own.

Parsing only; what follows from a directive stands in core/rules.py. Sources: OpenRouter, "Response Caching" (the TTL
is read as JavaScript's parseInt reads it and clamped to 1..86400); RFC 9111 section 5.2.1; RFC 5861.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from payonce.model import names
from payonce.model import reason as why
from payonce.model.call import Headers
from payonce.model.reason import Reason

MAX_TTL = 86400
_LEADING_INT = re.compile(rb"\s*([+-]?)0*(\d{1,15})")
_NAMESPACE = re.compile(names.NAMESPACE.encode())
_TAG = re.compile(names.TAG.encode())
_SAMPLE = re.compile(rb"\d{1,9}")
_MAX_TAGS = 16
_SECONDS = re.compile(rb'"?(\d{1,9})"?')


@dataclass(frozen=True, slots=True)
class Directives:
    """What the client said; None where it said nothing. Times in seconds."""

    cache: bool | None = None
    ttl: int | None = None
    clear: bool = False
    no_cache: bool = False
    no_store: bool = False
    only_if_cached: bool = False
    max_age: int | None = None
    stale_while_revalidate: int | None = None
    stale_if_error: int | None = None
    namespace: str = ""
    tags: tuple[str, ...] = ()
    sample: int | None = None

    @property
    def plain(self) -> bool:
        """Nothing was said that depends on the moment: the next identical request means exactly the same."""
        return not (self.clear or self.no_cache or self.only_if_cached) and self.max_age is None


SILENCE = Directives()
NAMES = frozenset(
    (
        b"x-openrouter-cache",
        b"x-openrouter-cache-ttl",
        b"x-openrouter-cache-clear",
        b"cache-control",
        b"x-payonce-namespace",
        b"x-payonce-tags",
        b"x-payonce-sample",
    )
)


def read_directives(headers: Headers) -> Directives | Reason:
    """The directives of a request; a reason of kind `refused` where one of Payonce's own headers is malformed."""
    said = [(name, value) for name, value in headers if name in NAMES]
    if not said:
        return SILENCE
    values: dict[str, object] = {}
    for name, value in said:
        if name == b"cache-control":
            values.update(_cache_control(value))
            continue
        problem = _one(name, value.strip(), values)
        if problem is not None:
            return problem
    return Directives(**values)  # type: ignore[arg-type]  # the two functions below name fields of Directives only


def _one(name: bytes, value: bytes, into: dict[str, object]) -> Reason | None:
    if name == b"x-openrouter-cache":
        into["cache"] = {b"true": True, b"false": False}.get(value.lower())
    elif name == b"x-openrouter-cache-ttl":
        into["ttl"] = parse_ttl(value)
    elif name == b"x-openrouter-cache-clear":
        into["clear"] = value.lower() == b"true"
    elif name == b"x-payonce-namespace":
        if not _NAMESPACE.fullmatch(value):
            return why.BAD_NAMESPACE
        into["namespace"] = value.decode()
    elif name == b"x-payonce-tags":
        tags = [tag.strip() for tag in value.split(b",") if tag.strip()]
        if len(tags) > _MAX_TAGS or not all(map(_TAG.fullmatch, tags)):
            return why.BAD_TAGS
        into["tags"] = tuple(sorted({tag.decode() for tag in tags}))
    elif name == b"x-payonce-sample":
        if not _SAMPLE.fullmatch(value):
            return why.BAD_SAMPLE
        into["sample"] = int(value)
    return None


def parse_ttl(value: bytes) -> int | None:
    """Seconds, as OpenRouter reads them: leading digits count, nothing else; out of range is clamped to 1..86400."""
    match = _LEADING_INT.match(value)
    return None if match is None else min(MAX_TTL, max(1, int(match[1] + match[2])))


def _cache_control(value: bytes) -> dict[str, object]:
    """The directives of one `Cache-Control` field; unknown ones and unreadable numbers are ignored."""
    found: dict[str, object] = {}
    for part in value.split(b","):
        name, _, argument = part.strip().lower().partition(b"=")
        if name in (b"no-cache", b"no-store", b"only-if-cached"):
            found[name.decode().replace("-", "_")] = True
        elif name in (b"max-age", b"stale-while-revalidate", b"stale-if-error"):
            seconds = _SECONDS.fullmatch(argument.strip())
            if seconds is not None:
                found[name.decode().replace("-", "_")] = int(seconds[1])
    return found
