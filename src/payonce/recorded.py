"""Requests that somebody recorded, one in a line: read for `payonce simulate` and `payonce doctor`.

A line is `{"at": seconds, "dialect": "messages" | "chat" | "responses", "body": {...}}` with more where it is known, or
a bare request body, or a line of an OpenAI batch file. The reader is lenient in what it takes and exact in what it
refuses: each bad line is told with its number and what to do, and no line is lost. This room must never do I/O, nor
keep a credential: header fields that carry one are dropped, and an API key is replaced by its hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Final

import orjson

DIALECTS: Final = ("messages", "chat", "responses")
_ENDPOINTS: Final = {"messages": "messages", "chat/completions": "chat", "responses": "responses"}
_TIMES: Final = ("at", "timestamp", "time", "created_at", "started_at")
_ENDS: Final = ("ended", "ended_at", "finished_at")
_SECRET_HEADERS: Final = frozenset(
    {"authorization", "x-api-key", "api-key", "x-goog-api-key", "proxy-authorization", "cookie", "set-cookie"}
)
_LONG_AGO: Final = 1e11
"""A number this large counts milliseconds: as seconds it would be a date three thousand years ahead."""


@dataclass(frozen=True, slots=True)
class Record:
    """One recorded request. `at` and `ended` are seconds on the recording's own clock, None where not recorded.
    `planned`: Payonce sent it on otherwise than the client had written it, and the usage is of what was sent."""

    number: int
    at: float | None
    dialect: str
    body: dict[str, Any]
    model: str
    tenant: str = ""
    session: str | None = None
    provider: str | None = None
    usage: dict[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    ended: float | None = None
    planned: bool = False


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that holds no request that can be read: `because` says why, and what to do."""

    number: int
    because: str


class _UnreadableError(ValueError):
    """Why a line is refused, in the words that are shown."""


def read_records(lines: Iterable[bytes]) -> Iterator[Record | BadLine]:
    """Each line that is not blank, in order, as a request or as a bad line. `lines` may be an open binary file."""
    for number, line in enumerate(lines, start=1):
        text = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else line.strip()
        if not text:
            continue
        try:
            yield _record(number, text)
        except _UnreadableError as error:
            yield BadLine(number, str(error))


def _record(number: int, text: bytes) -> Record:
    said = _object(text)
    body = said.get("body", said)
    if isinstance(body, str):  # some recorders keep the body as the text that was sent
        body = _object(body.encode("utf-8", "surrogatepass"))
    if not isinstance(body, dict):
        raise _UnreadableError('its "body" is not an object: write the request body as a JSON object')
    wrapped = "body" in said
    if wrapped:
        _check_method(said)
    else:
        body = {name: value for name, value in said.items() if name not in _TIMES and name not in _ENDS}
    headers = _headers(said.get("headers")) if wrapped else {}
    kept = {name: value for name, value in headers.items() if name not in _SECRET_HEADERS}
    model = _text(body, "model") or (_text(said, "model") if wrapped else None)
    if not model:
        raise _UnreadableError('it names no model: add "model" to the body')
    usage = said.get("usage") if wrapped else None
    return Record(
        number,
        _first_time(said, _TIMES),
        _dialect(said, body) if wrapped else _guess(body),
        body,
        model,
        (_text(said, "tenant") or "") if wrapped else "",
        _session(said, body, kept) if wrapped else _text(body, "session_id"),
        _text(said, "provider") if wrapped else None,
        usage if isinstance(usage, dict) else None,
        kept,
        _key(said, headers) if wrapped else None,
        _first_time(said, _ENDS),
        wrapped and said.get("planned") is True,
    )


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _UnreadableError(f"it is not JSON ({error}): write one request a line as JSON") from None
    if not isinstance(value, dict):
        raise _UnreadableError("it is JSON but not an object: write one request a line as a JSON object")
    return value


def _check_method(said: dict[str, Any]) -> None:
    method = _text(said, "method")
    if method and method.upper() != "POST":
        raise _UnreadableError(f'its "method" is {method}: only requests that POST a body can be replayed; remove it')


def _dialect(said: dict[str, Any], body: dict[str, Any]) -> str:
    named = _text(said, "dialect")
    if named:
        if named not in DIALECTS:
            raise _UnreadableError(f'its "dialect" is {named!r}: write one of {", ".join(DIALECTS)}')
        return named
    place = _text(said, "endpoint") or _text(said, "url") or _text(said, "path")
    if not place:
        return _guess(body)
    path = place.partition("?")[0].rstrip("/")
    for ending, dialect in _ENDPOINTS.items():
        if path == ending or path.endswith("/" + ending):
            return dialect
    raise _UnreadableError(f"it went to {place!r}, whose prefixes are not cached: only {', '.join(_ENDPOINTS)} are")


def _guess(body: dict[str, Any]) -> str:
    """The dialect of a body that does not say: by the members that only one of them has."""
    if "input" in body or "instructions" in body:
        if "messages" in body:
            raise _UnreadableError('it has "messages" and "input": say which "dialect" it is')
        return "responses"
    if not isinstance(body.get("messages"), list):
        raise _UnreadableError('it has neither "messages" nor "input": that is no request that a prefix cache sees')
    tools = body.get("tools")
    native = isinstance(tools, list) and any(isinstance(tool, dict) and "input_schema" in tool for tool in tools)
    return "messages" if "system" in body or "anthropic_version" in body or native or _native(body) else "chat"


def _native(body: dict[str, Any]) -> bool:
    """Whether a message holds a block that only the messages dialect has."""
    for message in body["messages"]:
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and part.get("type") in {"tool_use", "tool_result", "thinking"}:
                return True
    return False


def _headers(value: object) -> dict[str, str]:
    pairs: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = ((pair[0], pair[1]) for pair in value if isinstance(pair, list) and len(pair) == 2)
    return {str(name).lower(): str(text) for name, text in pairs}


def _session(said: dict[str, Any], body: dict[str, Any], headers: Mapping[str, str]) -> str | None:
    return (
        _text(said, "session") or _text(said, "session_id") or _text(body, "session_id") or headers.get("x-session-id")
    )


def _key(said: dict[str, Any], headers: Mapping[str, str]) -> str | None:
    """The credential's hash, of which nobody gets the credential back; None where none was recorded."""
    secret = _text(said, "key") or next((headers[name] for name in _SECRET_HEADERS if headers.get(name)), None)
    return hashlib.blake2b(secret.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest() if secret else None


def _text(said: Mapping[str, Any], name: str) -> str | None:
    value = said.get(name)
    return value if isinstance(value, str) and value else None


def _first_time(said: dict[str, Any], names: Iterable[str]) -> float | None:
    for name in names:
        if said.get(name) is not None:
            return _seconds(name, said[name])
    return None


def _seconds(name: str, value: object) -> float:
    """A number of seconds (milliseconds, where it is that large), or a date in ISO 8601, UTC where it has no zone."""
    number: float | None = None
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            number = _date(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
    if number is None or not isfinite(number):
        raise _UnreadableError(f'its "{name}" is no time: write seconds as a number, or a date as 2026-03-01T12:00:00Z')
    return number / 1000 if abs(number) >= _LONG_AGO else number


def _date(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
