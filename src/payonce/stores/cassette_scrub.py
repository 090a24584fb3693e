"""What a recording leaves out: secrets, whoever paid, and what would differ from one recording to the next.

Tables, and pure functions over them. Only what is *shown* of a request is scrubbed: its key was made before. Answers'
bodies are never touched. This room must never know where anything is written.
"""

from __future__ import annotations

import re
from typing import Any, Final

from blake3 import blake3
from msgspec.structs import replace

from payonce.model.call import Asked, Headers
from payonce.stores.cassette_json import PLAIN, SPELLINGS, parse, spell

SCRUBBED: Final = "(scrubbed)"

NOT_RECORDED: Final = frozenset(
    (
        b"authorization www-authenticate proxy-authenticate openai-organization openai-project openai-processing-ms "
        b"anthropic-organization-id x-request-id request-id x-correlation-id x-trace-id traceparent tracestate "
        b"x-amzn-requestid x-amzn-trace-id x-amz-cf-id x-amz-cf-pop apim-request-id x-ms-request-id x-ms-region "
        b"x-envoy-upstream-service-time x-served-by x-cache x-cache-hits x-timer x-runtime x-clerk-auth-status "
        b"x-clerk-auth-reason x-robots-tag connection keep-alive transfer-encoding"
    ).split()
)
"""Response fields that tell who paid, name one exchange, or time it."""

_SECRET_NAME: Final = re.compile(rb"key|token|secret|auth|cookie|credential|password|signature|session|organi[sz]ation")
"""A field with such a name may hold a secret: of a response it is left out, of a request its value is not shown."""
_VOLATILE_NAME: Final = re.compile(rb"(?:^|-)(?:request-?id|trace-?id|span-?id|duration|latency|elapsed|ray|ms)$")

_SECRETS: Final = re.compile(
    r"\b(?:sk|pk|rk|sess)-[A-Za-z0-9_-]{8,}"  # OpenAI, Anthropic (sk-ant-…), OpenRouter (sk-or-v1-…), Stripe-like
    r"|\b(?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{8,}"
    r"|\bgsk_[A-Za-z0-9]{16,}|\bxai-[A-Za-z0-9]{16,}|\bhf_[A-Za-z0-9]{16,}|\br8_[A-Za-z0-9]{16,}"
    r"|\bAIza[A-Za-z0-9_-]{20,}|\bya29\.[A-Za-z0-9_-]{16,}"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bglpat-[A-Za-z0-9_-]{16,}"
    r"|\bxox[abeprs]-[A-Za-z0-9-]{10,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]*)?"
    r"|(?i:(?<=bearer )|(?<=bearer:)|(?<=basic ))(?=[A-Za-z._~+/-]*[0-9]|[A-Za-z._~+/-]{24})[A-Za-z0-9._~+/-]{8,}=*"
)
"""Texts that look like API keys and tokens; none holds what JSON would escape."""
_PARAMETER: Final = re.compile(r"(?i)((?:^|&)[^=&]*(?:key|token|secret|auth|password|signature|sig)[^=&]*=)[^&]*")
_LONG: Final = 2048
_BLOB: Final = re.compile(r"\S*")


def recorded_headers(headers: Headers) -> Headers:
    """What of a response's fields is recorded."""
    return tuple(
        (name, value)
        for name, value in headers
        if name not in NOT_RECORDED and not _SECRET_NAME.search(name) and not _VOLATILE_NAME.search(name)
    )


def scrub(text: str) -> str:
    """`text` without what looks like an API key."""
    return _SECRETS.sub(SCRUBBED, text)


def shown(asked: Asked) -> Asked:
    """The question as it is recorded."""
    headers = tuple(
        (name, SCRUBBED.encode() if _SECRET_NAME.search(name) else scrub(value.decode("latin-1")).encode("latin-1"))
        for name, value in asked.headers
    )
    query = scrub(_PARAMETER.sub(rf"\1{SCRUBBED}", asked.query))
    return replace(asked, headers=headers, query=query, body=_shown_body(asked.body))


def _shown_body(body: bytes) -> bytes:
    text = scrub(body.decode("utf-8", "replace"))
    if len(text) > _LONG:
        try:
            text = spell(_abridged(parse(text)), SPELLINGS[PLAIN])
        except ValueError:  # not JSON: a body that no dialect reads is shown as it is
            pass
    return text.encode("utf-8", "replace")


def _abridged(value: Any) -> Any:
    """The value with every long string that is no prose, such as an image, named by its length and digest."""
    if isinstance(value, dict):
        return {name: _abridged(child) for name, child in value.items()}
    if isinstance(value, list):
        return [_abridged(child) for child in value]
    if type(value) is str and len(value) > _LONG and _BLOB.fullmatch(value):
        digest = blake3(value.encode("utf-8", "replace")).hexdigest()[:16]
        return f"{value[:40]}… ({len(value)} characters, b3:{digest})"
    return value
