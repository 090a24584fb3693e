"""A body as its provider's cache sees it: blocks in render order, each with the hash of everything up to its end.

Tools come first, then the system prompt, then the messages. Markers are no part of a hash, and a string is the same as
a list of one text part: both render alike. The hashes start from a seed that names tenant and model, so that nothing is
shared between two of them. Reading is linear in the body. This room must never change a body, nor decide anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from blake3 import blake3

Json = dict[str, Any]
Place = tuple[str | int, ...]
"""Where a block stands in the body: keys and indexes from the top. Ends with a message's `content` where that is a
string."""

MARKERS: Final = frozenset(("cache_control", "prompt_cache_breakpoint"))
_PICTURE_CHARACTERS: Final = 6000
"""What an image or a file weighs, in characters; its own bytes say nothing of its tokens."""
_PICTURES: Final = frozenset(("image", "image_url", "input_image", "document", "file", "input_file", "input_audio"))
_UNMARKABLE: Final = frozenset(("thinking", "redacted_thinking", "reasoning"))
_TEXT_KEYS: Final = frozenset(("type", "text", "cache_control", "prompt_cache_breakpoint"))
_PLAIN_MESSAGE: Final = frozenset(("role", "content", "type"))

_SYSTEM_FIELDS: Final = ("speed",)
_MESSAGE_FIELDS: Final = (
    *("tool_choice", "parallel_tool_calls", "thinking", "reasoning", "reasoning_effort", "output_config"),
    *("context_management", "text", "response_format", "verbosity", "service_tier"),
)
"""What the cached messages depend on besides themselves (Anthropic's and OpenAI's prompt-caching documentation)."""


class UnreadableError(ValueError):
    """A body that is not of its dialect: it is left as it is."""


@dataclass(slots=True)
class Prefix:
    """The blocks of one body, as lists of equal length, and where its parts end (counts of blocks).

    `sizes` are characters up to and including each block, `spots` its position in a look-back. `opening` are the blocks
    before the first answer of the model, `turns` the end of each request that this one continues, as far as the body
    itself shows it: wherever an answer begins.
    """

    digests: list[bytes] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    spots: list[int] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    able: list[bool] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    tools: int = 0
    system: int = 0
    opening: int = 0
    turns: list[int] = field(default_factory=list)
    last: str = ""
    marked: int = 0
    identity: str = ""
    """A hash of everything before the first answer, whatever the request's settings are."""
    talk: list[int] = field(default_factory=list)
    """A hash of the messages alone, up to the end of each request that this one continues, and of this one itself."""

    def __len__(self) -> int:
        return len(self.digests)


class _Reader:
    """Adds up blocks."""

    __slots__ = ("heard", "out", "spoken", "spot", "state", "total")

    def __init__(self, seed: bytes) -> None:
        self.out = Prefix()
        self.spoken = 0
        self.heard: list[bytes] | None = None
        self.state = seed
        self.total = 0
        self.spot = 0

    def level(self, salt: bytes) -> None:
        self.state = blake3(self.state + b"\0level" + salt).digest(16)

    def add(self, data: bytes, size: int, place: Place, name: str, *, able: bool, positions: int = 1) -> None:
        self.state = state = blake3(self.state + data).digest(16)
        self.spoken = hash((self.spoken, data))
        if self.heard is not None:
            self.heard.append(data)
        self.total += size
        self.spot += positions
        out = self.out
        out.digests.append(state)
        out.sizes.append(self.total)
        out.spots.append(self.spot)
        out.places.append(place)
        out.able.append(able)
        out.names.append(name)


def read(body: Mapping[str, Any], dialect: str, seed: bytes) -> Prefix:
    """The prefix of `body`. Raises UnreadableError where it is no body of that dialect."""
    reader = _Reader(seed)
    try:
        _READERS[dialect](body, reader)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UnreadableError(f"not a body of the dialect {dialect}: {type(error).__name__}") from error
    prefix = reader.out
    if body.get("cache_control") is not None or body.get("prompt_cache_options") is not None:
        prefix.marked += 1
    return prefix


def _dumps(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # integers beyond 64 bits, and what no JSON has
        return repr(value).encode("utf-8", "replace")


def _fields(body: Mapping[str, Any], names: tuple[str, ...]) -> bytes:
    given = {name: body[name] for name in names if body.get(name) is not None}
    return _dumps(given) if given else b""


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _tools(body: Mapping[str, Any], reader: _Reader) -> None:
    for index, tool in enumerate(body.get("tools") or ()):
        if "cache_control" in tool:
            reader.out.marked += 1
            tool = {name: value for name, value in tool.items() if name != "cache_control"}  # noqa: PLW2901
        data = _dumps(tool)
        able = not tool.get("defer_loading")
        reader.add(b"tool\0" + data, len(data), ("tools", index), "tools", able=able)
    reader.out.tools = len(reader.out)


def _part(part: Json, reader: _Reader) -> tuple[bytes, int, bool]:
    """The bytes that stand for one part of a content, its size, and whether it can carry a marker."""
    kind = part["type"]
    if kind in {"text", "input_text", "output_text"}:
        text = part["text"]
        if part.keys() <= _TEXT_KEYS:
            reader.out.marked += len(part) - 2
            return b"t\0" + _bytes(text), len(text), bool(text)
        data, found = _stripped(part)
        reader.out.marked += found
        return data, len(text), bool(text) and not part.get("clear_at")
    data, found = _stripped(part)
    reader.out.marked += found
    size = _PICTURE_CHARACTERS if kind in _PICTURES and not _is_text(part) else len(data)
    return data, size, kind not in _UNMARKABLE and not part.get("clear_at")


def _is_text(part: Json) -> bool:
    source = part.get("source")
    return isinstance(source, dict) and source.get("type") in {"text", "content"}


def _stripped(part: Json) -> tuple[bytes, int]:
    """A part's bytes without markers, those inside a tool result's own list included, and how many there were."""
    found = sum(name in part for name in MARKERS)
    inner = part.get("content")
    if isinstance(inner, list) and any(isinstance(one, dict) and "cache_control" in one for one in inner):
        found += sum(isinstance(one, dict) and "cache_control" in one for one in inner)
        bare = [{k: v for k, v in one.items() if k not in MARKERS} if isinstance(one, dict) else one for one in inner]
        part = {**part, "content": bare}
    if found:
        part = {name: value for name, value in part.items() if name not in MARKERS}
    return _dumps(part), found


def _content(content: Any, head: bytes, reader: _Reader, place: Place, name: str, able: Callable[[Json], bool]) -> None:
    """The blocks of a string or of a list of parts; `head` says who speaks and goes before the first."""
    if isinstance(content, str):
        can = bool(content) and able({"type": "text"})
        reader.add(head + b"t\0" + _bytes(content), len(content), place, name, able=can)
        return
    for index, part in enumerate(content or ()):
        data, size, can = _part(part, reader)
        reader.add(head + data, size, (*place, index), f"{name}:{index}", able=can and able(part))


def _anything(_part: Json) -> bool:
    return True


def _messages(body: Mapping[str, Any], reader: _Reader) -> None:
    _tools(body, reader)
    reader.level(_fields(body, _SYSTEM_FIELDS))
    if body.get("system"):
        _content(body["system"], b"system\0", reader, ("system",), "system", _anything)
    reader.out.system = len(reader.out)
    reader.level(_fields(body, _MESSAGE_FIELDS))
    _talk(body["messages"], reader, _one_message)


def _one_message(message: Json, reader: _Reader, index: int, head: bytes) -> None:
    able = _never if message.get("clear_at") else _anything
    _content(message["content"], head, reader, ("messages", index, "content"), f"messages:{index}", able)


def _never(_part: Json) -> bool:
    return False


def _chat(body: Mapping[str, Any], reader: _Reader) -> None:
    _tools(body, reader)
    reader.level(_fields(body, _SYSTEM_FIELDS))
    messages = body["messages"]
    leading = _leading(messages)
    for index in range(leading):
        _content(messages[index].get("content"), b"system\0", reader, ("messages", index, "content"), f"system:{index}", _texts)
    reader.out.system = len(reader.out)
    reader.level(_fields(body, _MESSAGE_FIELDS))
    _talk(messages, reader, _one_chat_message, leading)


def _leading(messages: list[Json]) -> int:
    """How many system or developer messages stand first."""
    for index, message in enumerate(messages):
        if message.get("role") not in {"system", "developer"}:
            return index
    return len(messages)


def _texts(part: Json) -> bool:
    return part["type"] == "text"


def _one_chat_message(message: Json, reader: _Reader, index: int, head: bytes) -> None:
    place: Place = ("messages", index, "content")
    calls = message.get("tool_calls")
    if calls:
        data = _dumps(calls)
        if isinstance(content := message.get("content"), (str, list)) and content:
            _content(content, head, reader, place, f"messages:{index}", _texts)
            head = b""
        reader.add(head + b"calls\0" + data, len(data), place, f"messages:{index}", able=False, positions=len(calls))
        return
    if message.get("role") == "tool" and isinstance(message.get("content"), list):
        _whole_result(message, reader, index, head)
        return
    _content(message.get("content"), head, reader, place, f"messages:{index}", _texts)


def _whole_result(message: Json, reader: _Reader, index: int, head: bytes) -> None:
    """A tool's message is one result, however many parts it has; a marker on the last text part is the result's."""
    data, size, able = head, 0, -1
    for at, part in enumerate(message["content"]):
        more, length, can = _part(part, reader)
        data, size = data + more, size + length
        able = at if can and part["type"] == "text" else able
    place = ("messages", index, "content", max(able, 0))
    reader.add(data, size, place, f"messages:{index}", able=able >= 0)


def _responses(body: Mapping[str, Any], reader: _Reader) -> None:
    _tools(body, reader)
    reader.level(_fields(body, _SYSTEM_FIELDS))
    instructions = body.get("instructions")
    if isinstance(instructions, str) and instructions:
        reader.add(b"system\0t\0" + _bytes(instructions), len(instructions), ("instructions",), "system", able=False)
    items = body.get("input")
    if items is None:
        items = []
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    leading = _leading(items)
    top: tuple[str | int, ...] = ("input",)
    for index in range(leading):
        _content(items[index].get("content"), b"system\0", reader, (*top, index, "content"), f"system:{index}", _input_texts)
    reader.out.system = len(reader.out)
    reader.level(_fields(body, _MESSAGE_FIELDS))
    whole = isinstance(body.get("input"), str)

    def one(item: Json, reader: _Reader, index: int, head: bytes) -> None:
        if item.get("type", "message") != "message":
            data, found = _stripped(item)
            reader.out.marked += found
            reader.add(head + data, len(data), (*top, index), f"messages:{index}", able=False)
            return
        place: Place = top if whole else (*top, index, "content")
        able = _input_texts if item.get("role") != "assistant" else _never
        _content(item.get("content"), head, reader, place, f"messages:{index}", able)

    _talk(items, reader, one, leading)


def _input_texts(part: Json) -> bool:
    return part["type"] in {"input_text", "text"}


_Adder = Callable[[Json, _Reader, int, bytes], None]
_ANSWERS: Final = frozenset(("function_call", "reasoning", "web_search_call", "file_search_call"))


def _talk(messages: list[Json], reader: _Reader, add: _Adder, start: int = 0) -> None:
    """The messages after the system prompt: blocks, and where the requests ended that this one continues."""
    out = reader.out
    out.opening = -1
    reader.spoken, before = 0, ""
    reader.heard = [out.digests[-1] if out.digests else b""]
    for index in range(start, len(messages)):
        message = messages[index]
        role = message.get("role") or ("assistant" if message.get("type") in _ANSWERS else "tool")
        if role == "assistant" and before != "assistant":
            out.turns.append(len(out))
            out.talk.append(reader.spoken)
            if out.opening < 0:
                _opened(reader)
        head = _bytes(role) + b"\0"
        if not message.keys() <= _PLAIN_MESSAGE:
            rest = {name: value for name, value in message.items() if name not in {"content", "tool_calls"}}
            head = _dumps(rest)
        add(message, reader, index, head)
        before = role
    if out.opening < 0:
        _opened(reader)
    out.talk.append(reader.spoken)
    out.last = "tool" if before == "user" and _is_result(messages[-1]) else before


def _opened(reader: _Reader) -> None:
    """The first answer begins: what came before is what the conversation is known by."""
    reader.out.opening = len(reader.out)
    reader.out.identity = blake3(b"".join(reader.heard or ())).hexdigest()[:32]
    reader.heard = None


def _is_result(message: Json) -> bool:
    content = message.get("content")
    return isinstance(content, list) and any(part.get("type") == "tool_result" for part in content)


_READERS: Final[dict[str, Callable[[Mapping[str, Any], _Reader], None]]] = {
    "messages": _messages,
    "chat": _chat,
    "responses": _responses,
}


def openings(prefix: Prefix) -> Iterator[int]:
    """The blocks after which requests may part, besides where they were seen to: ends of tools, of each of the first
    system blocks, and of the blocks of the first turn but its last."""
    if prefix.tools:
        yield prefix.tools - 1
    yield from range(prefix.tools, prefix.system)
    yield from range(prefix.system, prefix.opening - 1)
