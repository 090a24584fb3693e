"""Requests as they are written down: lines of a file, or the entries of a list.

A body, `{"body": …, "headers": {…}, "endpoint": "…"}`, or a line of a batch file as OpenAI has them
(`{"custom_id": …, "method": "POST", "url": "/v1/…", "body": …}`). This room must never take a credential from a line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

import msgspec

from payonce.core.fields import CREDENTIALS
from payonce.model.call import Headers
from payonce.warming.words import Request, Unread

_JSON = (b"content-type", b"application/json")
_SHAPE = '{"body": …, "headers": {…}, "endpoint": "…"}, nor a line of a batch file'


class _Wrapped(msgspec.Struct, forbid_unknown_fields=True):
    body: msgspec.Raw
    headers: dict[str, str] = {}
    endpoint: str = ""
    url: str = ""
    method: Literal["POST"] = "POST"
    custom_id: str = ""


class _Outer(msgspec.Struct):
    body: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def read_request(number: int, given: object, endpoint: str, headers: Headers) -> Request | Unread:
    """As `read_line`, for a request that may be a line or an object (a mapping). An object is written as the SDKs write
    it, so that its numbers have the text, and so the key, that they have in a request of an SDK."""
    if not isinstance(given, str | bytes | Mapping):
        return Unread(number, f"it is a {type(given).__name__}, neither an object nor a line of JSON")
    try:
        if isinstance(given, Mapping):
            given = json.dumps(dict(given), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        line = given.encode() if isinstance(given, str) else given
    except (TypeError, ValueError, RecursionError) as error:
        return Unread(number, f"it can't be written as JSON: {error}")
    return read_line(number, line, endpoint, headers)


def read_line(number: int, line: bytes, endpoint: str, headers: Headers) -> Request | Unread:
    """The request that a line means.

    A body keeps its bytes, so that its numbers keep their text. `headers` are for every line; a line's own come first,
    but may hold no credential: a file is no place for one.
    """
    line = line.strip()
    try:
        bare = msgspec.json.decode(line, type=_Outer).body is msgspec.UNSET
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Unread(number, f"it is not a request in JSON: {error}")
    if bare:
        return Request(number, endpoint, (_JSON, *headers), line)
    try:
        said = msgspec.json.decode(line, type=_Wrapped)
        raw = bytes(said.body)
        body = msgspec.json.decode(raw, type=str).encode() if raw.startswith(b'"') else raw
        own = tuple(
            (name.strip().lower().encode("ascii"), value.encode("latin-1")) for name, value in said.headers.items()
        )
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        return Unread(number, f'it has a "body" and is neither {_SHAPE}: {error}')
    names = {name for name, _ in own}
    if names & CREDENTIALS:
        fix = "leave it out: the API key is said once for all, in the environment or as an argument"
        return Unread(number, f"its headers hold a credential; {fix}")
    fields = own if b"content-type" in names else (_JSON, *own)
    fields += tuple(header for header in headers if header[0] not in names)
    return Request(number, path_of(said.endpoint or said.url) or endpoint, fields, body)


def path_of(endpoint: str) -> str:
    """An endpoint as it stands behind `/v1/`."""
    return endpoint.strip("/").removeprefix("api/").removeprefix("v1/")
