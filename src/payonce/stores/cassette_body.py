"""Bodies as people read them, and back again to the byte.

JSON is shown as JSON, an event stream an event a line, other text as its lines, the rest in base64: the first of these
that gives the very same bytes back. This room must never know an endpoint, nor repair what it shows.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from payonce.stores.cassette_json import PLAIN, SPELLINGS, Line, Spelling, parse, shallow, spell

Shown = dict[str, Any]
"""Members of a file: exactly one of `FORMS`, and what is needed to spell it."""

FORMS: Final = ("json", "events", "text", "base64")
_SPACE: Final = " \t\r\n"


class UnreadError(ValueError):
    """What is shown can't be a body. The message is a clause that says where and why."""


def show(body: bytes, *, stream: bool) -> Shown:
    """`body` for people; `hide` of it is `body`."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}
    shown = _events(text) if stream else _json(text)
    if shown is None or _hidden(shown) != body:
        lines = text.split("\n")
        shown = {"text": text if len(lines) == 1 else lines}
    return shown


def hide(shown: Mapping[str, Any]) -> bytes:
    """The body that is shown. Raises `UnreadError` where there is none, or more than one."""
    forms = [name for name in FORMS if name in shown]
    if len(forms) != 1:
        raise UnreadError(f"has {' and '.join(forms) if forms else 'none'} of {', '.join(FORMS)}: it takes one")
    form, value = forms[0], shown[forms[0]]
    if form == "base64":
        try:
            return base64.b64decode(value.encode() if type(value) is str else b"?", validate=True)
        except (binascii.Error, ValueError):
            raise UnreadError("base64 is not base64") from None
    if form == "text":
        value = "\n".join(_strings(value, "text")) if isinstance(value, list) else _string(value, "text")
    elif form == "json":
        around = [_string(shown.get(name, ""), name) for name in ("before", "after")]
        value = around[0] + spell(value, _spelling(shown)) + around[1]
    else:
        value = _stream(shown)
    try:
        text: bytes = value.encode()
    except UnicodeEncodeError:
        raise UnreadError("holds half of a surrogate pair, which UTF-8 does not have") from None
    return text


def _hidden(shown: Shown) -> bytes | None:
    try:
        return hide(_bare(shown))
    except UnreadError:
        return None


def _bare(shown: Shown) -> Shown:
    """As it is read from a file: without the marks for how it is written there."""
    if "events" not in shown:
        return shown
    return {**shown, "events": [event.value if isinstance(event, Line) else event for event in shown["events"]]}


# JSON.


def _json(text: str) -> Shown | None:
    core = text.strip(_SPACE)
    try:
        value = parse(core)
    except ValueError:
        return None
    name = _spelled(value, core) if shallow(value) else None
    if name is None:
        return None
    place = text.index(core)
    around = {"before": text[:place], "after": text[place + len(core) :]}
    return _named(name) | {part: space for part, space in around.items() if space} | {"json": value}


def _spelled(value: Any, text: str) -> str | None:
    return next((name for name, how in SPELLINGS.items() if spell(value, how) == text), None)


def _named(name: str) -> Shown:
    return {} if name == PLAIN else {"spelling": name}


def _spelling(shown: Mapping[str, Any]) -> Spelling:
    name = shown.get("spelling", PLAIN)
    if type(name) is not str or name not in SPELLINGS:
        raise UnreadError(f"spelling is not one of {', '.join(SPELLINGS)}")
    return SPELLINGS[name]


# Event streams: blocks, each ended by a blank line, and what follows the last one.


def _events(text: str) -> Shown:
    end = "\r\n" if "\r\n" in text else "\n"
    *blocks, rest = text.split(end + end)
    events: list[Any] = []
    name: str | None = None
    for block in blocks:
        value, found = _event(block, end, name)
        name = name or found
        events.append(value)
    shown = _named(name or PLAIN)
    if end != "\n":
        shown["line_end"] = end
    shown["events"] = events
    return shown | ({"rest": rest} if rest else {})


def _event(block: str, end: str, name: str | None) -> tuple[Any, str | None]:
    """A block for people, and the spelling of its data; data in another spelling than `name` stays as text."""
    lines = block.split(end)
    kind = lines[0][7:] if len(lines) == 2 and lines[0].startswith("event: ") else None
    if (len(lines) == 1 or kind is not None) and lines[-1].startswith("data: "):
        data = lines[-1][6:]
        try:
            value = parse(data)
        except ValueError:
            return block, None
        if name is None and shallow(value):
            name = _spelled(value, data)
        if name is not None and shallow(value) and spell(value, SPELLINGS[name]) == data:
            return Line({"data": value} if kind is None else {"event": kind, "data": value}), name
    return block, None


def _stream(shown: Mapping[str, Any]) -> str:
    how, end = _spelling(shown), _string(shown.get("line_end", "\n"), "line_end")
    events = shown["events"]
    if not isinstance(events, list):
        raise UnreadError("events is not a list")
    parts = []
    for number, event in enumerate(events):
        if type(event) is str:
            parts.append(event)
        elif isinstance(event, dict) and "data" in event and event.keys() <= {"event", "data"}:
            kind = f"event: {_string(event['event'], f'events[{number}].event')}{end}" if "event" in event else ""
            parts.append(f"{kind}data: {spell(event['data'], how)}")
        else:
            raise UnreadError(f"events[{number}] is neither a text nor an object of event and data")
    return "".join([part + end + end for part in parts]) + _string(shown.get("rest", ""), "rest")


def _string(value: Any, name: str) -> str:
    if type(value) is not str:
        raise UnreadError(f"{name} is not a string")
    return value


def _strings(value: list[Any], name: str) -> list[str]:
    return [_string(item, f"{name}[{number}]") for number, item in enumerate(value)]
