"""A file of a cassette, read: every member is checked, and what is wrong is said with its place.

A page may have been edited, cut off or merged. This room must never guess what was meant, nor raise anything but
`DamagedError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from payonce.model.call import Asked, Headers
from payonce.model.entry import Entry, Facts, Tokens
from payonce.model.key import DIGEST_BYTES, PREFIX
from payonce.model.ports import About
from payonce.model.scopes import scopes_of
from payonce.stores.cassette_body import UnreadError, hide
from payonce.stores.cassette_json import Number, parse
from payonce.stores.cassette_page import FOREVER, FRAMINGS, TENANT, VERSION, Page

_MARKS = {name: mark for mark, name in FRAMINGS.items()}


class DamagedError(ValueError):
    """A file is no page. The message is a clause that says where and why."""


def read(data: bytes) -> Page:
    """The page in a file. Raises `DamagedError`."""
    page = _document(data)
    try:
        if page.get("payonce") != str(VERSION):
            raise UnreadError(f'is not a recording of version {VERSION}: it has no "payonce": {VERSION}')
        slot = _slot(page)
        return _bytes_page(slot, page) if "bytes" in page else _entry_page(slot, page)
    except UnreadError as error:
        raise DamagedError(str(error)) from None


def question(data: bytes) -> tuple[bytes, Asked] | None:
    """Slot and question of a page, without a look at its answer where that can be spared; None where it has none."""
    head, mark, _ = data.partition(b'\n  "facts": {')
    for text in (head.rstrip(b",\r ") + b"}" if mark else data, data):
        try:
            page = _document(text)
            slot = _slot(page)
            asked = _asked(page, _text(page, "namespace", ""))
        except (DamagedError, UnreadError):
            continue
        return (slot, asked) if asked is not None else None
    return None


def _document(data: bytes) -> Mapping[str, Any]:
    try:
        value = parse(data.decode())
    except UnicodeDecodeError as error:
        raise DamagedError(f"is not UTF-8 (at byte {error.start})") from None
    except ValueError as error:
        raise DamagedError(_because(data, str(error))) from None
    if not isinstance(value, dict):
        raise DamagedError("is not a JSON object")
    return value


def _because(data: bytes, said: str) -> str:
    if not data.strip():
        return "is empty"
    if data.startswith(b"<<<<<<< ") or b"\n<<<<<<< " in data:
        return "holds a merge conflict"
    if not data.rstrip().endswith(b"}"):
        return f"was cut off ({said})"
    return f"is not JSON ({said})"


def _slot(page: Mapping[str, Any]) -> bytes:
    text, framing = _text(page, "key"), _text(page, "framing")
    digest = _unhexed(text.removeprefix(PREFIX)) if text.startswith(PREFIX) else b""
    if len(digest) != DIGEST_BYTES:
        raise UnreadError(f"key is not {PREFIX} and {2 * DIGEST_BYTES} hexadecimal digits")
    mark = _MARKS.get(framing) or _unhexed(framing)
    if len(mark) != 1:
        raise UnreadError('framing is neither "whole" nor "stream"')
    return digest + mark


def _unhexed(digits: str) -> bytes:
    try:
        return bytes.fromhex(digits)
    except ValueError:
        return b""


def _entry_page(slot: bytes, page: Mapping[str, Any]) -> Page:
    request, facts, answer = (_object(page, name) for name in ("request", "facts", "answer"))
    try:
        moment = datetime.fromisoformat(_text(page, "recorded"))
        recorded = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise UnreadError("recorded is not a time such as 2026-11-21T10:00:00Z") from None
    tenant, namespace = _text(page, "tenant", TENANT), _text(page, "namespace", "")
    endpoint, model, tags = _text(request, "endpoint"), _text(request, "model"), _texts(page, "tags", ())
    entry = Entry(
        stored_at=recorded,
        ttl=FOREVER,
        swr=0,
        sie=0,
        scopes=_texts(page, "scopes", scopes_of(tenant, model, namespace, tags, slot[:-1])),
        epochs=(),
        status=_count(answer, "status", 200) or 200,
        headers=_headers(answer, "answer.headers"),
        body=hide(answer),
        facts=Facts(
            _text(facts, "id", ""),
            _text(facts, "model", ""),
            _text(facts, "usage"),
            Tokens(
                _count(facts, "input_tokens", None),
                _count(facts, "output_tokens", None),
                _count(facts, "nano_dollars", None),
            ),
        ),
        tenant=tenant,
        namespace=namespace,
        tags=tags,
        endpoint=endpoint,
        model=model,
        took=0.0,
    )
    about = About(entry.stored_at, entry.expires_at, tenant, namespace, endpoint, model, tags)
    return Page(slot, about, entry, _asked(page, namespace))


def _bytes_page(slot: bytes, page: Mapping[str, Any]) -> Page:
    words = _object(page, "about")
    about = About(
        stored_at=_seconds(words, "stored_at"),
        expires_at=_seconds(words, "expires_at"),
        tenant=_text(words, "tenant"),
        namespace=_text(words, "namespace"),
        endpoint=_text(words, "endpoint"),
        model=_text(words, "model"),
        tags=_texts(words, "tags", ()),
    )
    return Page(slot, about, None, None, hide({"base64": page["bytes"]}))


def _asked(page: Mapping[str, Any], namespace: str) -> Asked | None:
    request = _object(page, "request")
    if "body" in request:
        body = hide({"json": request["body"]})
    else:
        shown = {name.removeprefix("body_"): value for name, value in request.items() if name.startswith("body_")}
        if not shown:
            return None
        body = hide(shown)
    return Asked(
        upstream=_text(request, "upstream", ""),
        endpoint=_text(request, "endpoint"),
        model=_text(request, "model"),
        query=_text(request, "query", ""),
        namespace=namespace,
        sample=_text(request, "sample", ""),
        headers=_headers(request, "request.headers") if "headers" in request else (),
        body=body,
    )


def _headers(holder: Mapping[str, Any], path: str) -> Headers:
    found = []
    for name, given in _object(holder, "headers", path).items():
        for value in given if isinstance(given, list) else [given]:
            if type(value) is not str or any(mark in name + value for mark in "\r\n\0"):
                raise UnreadError(f"{path}.{name} is not a string on one line")
            try:
                found.append((name.lower().encode("latin-1"), value.encode("latin-1")))
            except UnicodeEncodeError:
                raise UnreadError(f"{path}.{name} holds what is not in latin-1") from None
    return tuple(found)


def _object(holder: Mapping[str, Any], name: str, path: str = "") -> Mapping[str, Any]:
    value = holder.get(name)
    if not isinstance(value, dict):
        raise UnreadError(f"{path or name} is not an object" if name in holder else f"has no {path or name}")
    return value


def _text(holder: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = holder.get(name, default)
    if type(value) is not str:
        raise UnreadError(f"{name} is not a string" if name in holder else f"has no {name}")
    return value


def _texts(holder: Mapping[str, Any], name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    value = holder.get(name)
    if value is None:
        return default
    if not isinstance(value, list) or not all(type(item) is str for item in value):
        raise UnreadError(f"{name} is not a list of strings")
    return tuple(value)


def _count(holder: Mapping[str, Any], name: str, default: int | None) -> int | None:
    value = holder.get(name)
    if value is None:
        return default
    try:
        count = int(value) if type(value) is Number else 2**63
    except ValueError:
        count = 2**63
    if not -(2**63) <= count < 2**63:
        raise UnreadError(f"{name} is not a whole number")
    return count


def _seconds(holder: Mapping[str, Any], name: str) -> float:
    value = holder.get(name)
    if type(value) is not Number:
        raise UnreadError(f"{name} is not a number")
    return float(value)
