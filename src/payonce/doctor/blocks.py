"""A request body as the blocks that a provider's prompt cache sees, in its order: tools, system, messages.

Each block has a digest of what it says (its marker is no part of that), a size in characters and a place; a text and a
list with one text part render the same. Digests hold within one process only. Nothing is sorted: the order of tools and
of members counts (Anthropic, "Prompt caching", what invalidates the cache). One pass over the body, a microsecond or
two a block. This room must never know what an answer said, nor change a body.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

MARKS: Final = ("cache_control", "prompt_cache_breakpoint")
_INSTRUCTIONS: Final = ("system", "developer")
_PICTURES: Final = ("image", "image_url", "input_image", "input_audio", "input_file", "file")
_PICTURE: Final = 6000
_LARGE: Final = 20_000
_TEXTS: Final = ("text", "input_text", "output_text")
_BODY = frozenset(("content", "tool_calls", *MARKS))

Path = tuple[str | int, ...]


class Mark(NamedTuple):
    """A marker: the block it ends (its place), where it stands, its ttl in seconds, and which member it is."""

    block: int
    path: Path
    ttl: int
    top: bool = False
    kind: str = "cache_control"


@dataclass(slots=True)
class Chain:
    """The blocks of one request. `tools` and `static` are how many blocks are tools, and tools or system."""

    digests: array[int]
    sizes: array[int]
    paths: list[Path]
    tools: int = 0
    static: int = 0
    names: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()
    stray: tuple[Mark, ...] = ()
    """Markers on a member that is no block of the cache's: inside a message without content, for example."""

    def __len__(self) -> int:
        return len(self.digests)

    def where(self, block: int) -> str:
        """The JSON path of a block."""
        return spell(self.paths[block])

    def size_to(self, block: int) -> int:
        """The size of the prefix that ends with `block`."""
        return sum(self.sizes[: block + 1])

    def level(self, block: int) -> str:
        """`tools`, `system` or `messages`."""
        return "tools" if block < self.tools else "system" if block < self.static else "messages"


def spell(path: Path) -> str:
    """`("messages", 3, "content", 0)` as `messages[3].content[0]`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


class _Builder:
    """Collects blocks as they are found."""

    def __init__(self) -> None:
        self.digests: list[int] = []
        self.sizes: list[int] = []
        self.paths: list[Path] = []
        self.marks: list[Mark] = []
        self.stray: list[Mark] = []

    def add(self, block: Any, path: Path, seed: bytes) -> None:
        """One block; a text stands for a text part."""
        if isinstance(block, dict):
            if "cache_control" in block or "prompt_cache_breakpoint" in block:
                self.mark(block, path, len(self.digests))
                block = {name: value for name, value in block.items() if name not in MARKS}
            if len(block) == 2 and block.get("type") in _TEXTS and isinstance(block.get("text"), str):
                block = block["text"]
        if isinstance(block, str):
            self.digests.append(hash((seed, block)))
            self.sizes.append(len(block))
        else:
            said = orjson.dumps(block)
            self.digests.append(hash((seed, said)))
            self.sizes.append(len(said) if len(said) < _LARGE else _size(block, said))
        self.paths.append(path)

    def mark(self, holder: Mapping[str, Any], path: Path, block: int) -> None:
        """Note the markers of `holder`, which end `block`."""
        for kind in MARKS:
            marker = holder.get(kind)
            if isinstance(marker, dict):
                place = self.stray if block < 0 else self.marks
                place.append(Mark(block, (*path, kind), seconds(marker), kind=kind))


def _size(block: Any, said: bytes) -> int:
    """The size that a large block counts: a picture costs tokens by its area, not by its bytes."""
    return _PICTURE if isinstance(block, dict) and block.get("type") in _PICTURES else len(said)


def seconds(marker: Mapping[str, Any]) -> int:
    """How long what a marker writes lives; a marker that does not say is one of five minutes."""
    return 3600 if marker.get("ttl") == "1h" else 300


def render(body: Mapping[str, Any], dialect: str) -> Chain:
    """The blocks of a body of `dialect` (`messages`, `chat` or `responses`). What is not as it should be is left out:
    the provider will say so."""
    into = _Builder()
    names = _tools(into, body.get("tools"))
    tools = len(into.digests)
    static = _RENDER.get(dialect, _chat)(into, body)
    top = body.get("cache_control")
    if isinstance(top, dict) and into.digests:
        into.marks.append(Mark(len(into.digests) - 1, ("cache_control",), seconds(top), top=True))
    return Chain(
        array("q", into.digests),
        array("q", into.sizes),
        into.paths,
        tools,
        max(static, tools),
        names,
        tuple(into.marks),
        tuple(into.stray),
    )


def _tools(into: _Builder, tools: Any) -> tuple[str, ...]:
    names = []
    for place, tool in enumerate(tools if isinstance(tools, list) else ()):
        into.add(tool, ("tools", place), b"tool")
        names.append(tool_name(tool, place))
    return tuple(names)


def tool_name(tool: Any, place: int) -> str:
    """How a tool is called; a provider's own tool by its type."""
    inner = tool.get("function", tool) if isinstance(tool, dict) else None
    for holder in (inner, tool):
        name = (holder.get("name") or holder.get("type")) if isinstance(holder, dict) else None
        if isinstance(name, str):
            return name
    return f"#{place}"


def _messages(into: _Builder, body: Mapping[str, Any]) -> int:
    _content(into, body.get("system"), ("system",), b"system")
    static = len(into.digests)
    for place, message in enumerate(_list(body.get("messages"))):
        _message(into, message, ("messages", place))
    return static


def _chat(into: _Builder, body: Mapping[str, Any]) -> int:
    static, opening = 0, True
    for place, message in enumerate(_list(body.get("messages"))):
        opening = opening and isinstance(message, dict) and message.get("role") in _INSTRUCTIONS
        _message(into, message, ("messages", place))
        if opening:
            static = len(into.digests)
    return static


def _responses(into: _Builder, body: Mapping[str, Any]) -> int:
    if isinstance(instructions := body.get("instructions"), str):
        into.add(instructions, ("instructions",), b"system")
    static, opening = len(into.digests), True
    items = body.get("input")
    if isinstance(items, str):
        into.add(items, ("input",), b'{"role":"user"}')
    for place, item in enumerate(_list(items)):
        opening = opening and isinstance(item, dict) and item.get("role") in _INSTRUCTIONS
        if isinstance(item, dict) and "content" in item and "role" in item:
            _message(into, item, ("input", place))
        else:
            into.add(item, ("input", place), b"item\0")
        if opening:
            static = len(into.digests)
    return static


_RENDER = {"messages": _messages, "chat": _chat, "responses": _responses}


def _message(into: _Builder, message: Any, path: Path) -> None:
    """The blocks of one message: its parts, then its tool calls; whatever else it says is part of each."""
    if not isinstance(message, dict):
        into.add(message, path, b"")
        return
    if len(message) == 2 and isinstance(role := message.get("role"), str) and "content" in message:
        seed = b'{"role":"%s"}' % role.encode("utf-8", "replace")  # nearly every message
    else:
        seed = orjson.dumps({name: value for name, value in message.items() if name not in _BODY and name != "type"})
    before = len(into.digests)
    _content(into, message.get("content"), (*path, "content"), seed)
    for place, call in enumerate(_list(message.get("tool_calls"))):
        into.add(call, (*path, "tool_calls", place), seed)
    if len(into.digests) == before and message.get("content") is None:
        into.add({}, path, seed)  # an assistant's message that holds only reasoning, for example
    if "cache_control" in message or "prompt_cache_breakpoint" in message:
        into.mark(message, path, len(into.digests) - 1 if len(into.digests) > before else -1)


def _content(into: _Builder, content: Any, path: Path, seed: bytes) -> None:
    if isinstance(content, str):
        into.add(content, path, seed)
    for place, part in enumerate(_list(content)):
        into.add(part, (*path, place), seed)


def _list(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else ()


def find(body: Any, path: Path) -> Any:
    """What stands at a path of a body; None where there is nothing."""
    for step in path:
        try:
            body = body[step]
        except (KeyError, IndexError, TypeError):
            return None
    return body


def text_of(block: Any) -> tuple[str, Path]:
    """A block as a text to compare, and the path inside it where that text stands: its own text where that is all it
    says, else its JSON without its marker."""
    if isinstance(block, str):
        return block, ()
    if not isinstance(block, dict):
        return orjson.dumps(block).decode(), ()
    bare = {name: value for name, value in block.items() if name not in MARKS}
    if isinstance(bare.get("text"), str) and bare.keys() <= {"type", "text"}:
        return bare["text"], ("text",)
    return orjson.dumps(bare).decode(), ()
