"""Bodies of the three dialects, read into a prefix: tools, then the system prompt, then the messages.

Reading is linear in the body. This room must never change a body, nor decide anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from payonce.optimise.parts import MARKERS, anything, as_bytes, chosen, content_of, dumps, never, part_of, stripped
from payonce.optimise.prefix import Json, Place, Prefix, Reader, UnreadableError

_PLAIN_MESSAGE: Final = frozenset(("role", "content", "type"))
_SYSTEM_FIELDS: Final = ("speed",)
_MESSAGE_FIELDS: Final = (
    *("tool_choice", "parallel_tool_calls", "thinking", "reasoning", "reasoning_effort", "output_config"),
    *("context_management", "text", "response_format", "verbosity", "service_tier"),
)
"""What the cached messages depend on besides themselves (Anthropic's and OpenAI's prompt-caching documentation)."""


def read(body: Mapping[str, Any], dialect: str, seed: bytes) -> Prefix:
    """The prefix of `body`. Raises UnreadableError where it is no body of that dialect."""
    reader = Reader(seed)
    try:
        _READERS[dialect](body, reader)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UnreadableError(f"not a body of the dialect {dialect}: {type(error).__name__}") from error
    prefix = reader.out
    choice = body.get("tool_choice")
    prefix.calls = prefix.tools > 0 and not (isinstance(choice, dict) and choice.get("type") in {"tool", "function"})
    if body.get("cache_control") is not None or body.get("prompt_cache_options") is not None:
        prefix.marked += 1
    return prefix


def _tools(body: Mapping[str, Any], reader: Reader) -> None:
    for index, tool in enumerate(body.get("tools") or ()):
        if "cache_control" in tool:
            reader.out.marked += 1
            tool = {name: value for name, value in tool.items() if name != "cache_control"}  # noqa: PLW2901
        data = dumps(tool)
        able = not tool.get("defer_loading")
        reader.add(b"tool\0" + data, len(data), ("tools", index), "tools", able=able)
    reader.out.tools = len(reader.out)


def _messages(body: Mapping[str, Any], reader: Reader) -> None:
    _tools(body, reader)
    reader.level(chosen(body, _SYSTEM_FIELDS))
    if body.get("system"):
        content_of(body["system"], b"system\0", reader, ("system",), "system", anything)
    reader.out.system = len(reader.out)
    reader.level(chosen(body, _MESSAGE_FIELDS))
    _talk(body["messages"], reader, _one_message)


def _one_message(message: Json, reader: Reader, index: int, head: bytes) -> None:
    able = never if message.get("clear_at") else anything
    content_of(message["content"], head, reader, ("messages", index, "content"), f"messages:{index}", able)


def _chat(body: Mapping[str, Any], reader: Reader) -> None:
    _tools(body, reader)
    reader.level(chosen(body, _SYSTEM_FIELDS))
    messages = body["messages"]
    leading = _leading(messages)
    for index in range(leading):
        content_of(
            messages[index].get("content"),
            b"system\0",
            reader,
            ("messages", index, "content"),
            f"system:{index}",
            _texts,
        )
    reader.out.system = len(reader.out)
    reader.level(chosen(body, _MESSAGE_FIELDS))
    _talk(messages, reader, _one_chat_message, leading)


def _leading(messages: list[Json]) -> int:
    """How many system or developer messages stand first."""
    for index, message in enumerate(messages):
        if message.get("role") not in {"system", "developer"}:
            return index
    return len(messages)


def _texts(part: Json) -> bool:
    return bool(part["type"] == "text")


def _one_chat_message(message: Json, reader: Reader, index: int, head: bytes) -> None:
    place: Place = ("messages", index, "content")
    calls = message.get("tool_calls")
    if calls:
        data = dumps(calls)
        if isinstance(content := message.get("content"), (str, list)) and content:
            content_of(content, head, reader, place, f"messages:{index}", _texts)
            head = b""
        reader.add(head + b"calls\0" + data, len(data), place, f"messages:{index}", able=False, positions=len(calls))
        return
    if message.get("role") == "tool" and isinstance(message.get("content"), list):
        _whole_result(message, reader, index, head)
        return
    content_of(message.get("content"), head, reader, place, f"messages:{index}", _texts)


def _whole_result(message: Json, reader: Reader, index: int, head: bytes) -> None:
    """A tool's message is one result, however many parts it has; a marker on the last text part is the result's."""
    data, size, able = head, 0, -1
    for at, part in enumerate(message["content"]):
        more, length, can = part_of(part, reader)
        data, size = data + more, size + length
        able = at if can and part["type"] == "text" else able
    place = ("messages", index, "content", max(able, 0))
    reader.add(data, size, place, f"messages:{index}", able=able >= 0)


def _responses(body: Mapping[str, Any], reader: Reader) -> None:
    _tools(body, reader)
    reader.level(chosen(body, _SYSTEM_FIELDS))
    instructions = body.get("instructions")
    if isinstance(instructions, str) and instructions:
        reader.add(b"system\0t\0" + as_bytes(instructions), len(instructions), ("instructions",), "system", able=False)
    items = body.get("input")
    if items is None:
        items = []
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    leading = _leading(items)
    top: tuple[str | int, ...] = ("input",)
    for index in range(leading):
        content_of(
            items[index].get("content"), b"system\0", reader, (*top, index, "content"), f"system:{index}", _input_texts
        )
    reader.out.system = len(reader.out)
    reader.level(chosen(body, _MESSAGE_FIELDS))
    whole = isinstance(body.get("input"), str)

    def one(item: Json, reader: Reader, index: int, head: bytes) -> None:
        if item.get("type", "message") != "message":
            data, found = stripped(item)
            reader.out.marked += found
            reader.add(head + data, len(data), (*top, index), f"messages:{index}", able=False)
            return
        place: Place = top if whole else (*top, index, "content")
        able = _input_texts if item.get("role") != "assistant" else never
        content_of(item.get("content"), head, reader, place, f"messages:{index}", able)

    _talk(items, reader, one, leading)


def _input_texts(part: Json) -> bool:
    return bool(part["type"] in {"input_text", "text"})


_Adder = Callable[[Json, Reader, int, bytes], None]
_TOLD_APART: Final = frozenset(("content", "tool_calls", *MARKERS))
_ANSWERS: Final = frozenset(("function_call", "reasoning", "web_search_call", "file_search_call"))


def _talk(messages: list[Json], reader: Reader, add: _Adder, start: int = 0) -> None:
    """The messages after the system prompt: blocks, and where the requests ended that this one continues."""
    out = reader.out
    out.opening = -1
    reader.spoken, before = 0, ""
    reader.heard = [out.digests[-1] if out.digests else reader.seed]
    for index in range(start, len(messages)):
        message = messages[index]
        role = message.get("role") or ("assistant" if message.get("type") in _ANSWERS else "tool")
        if role == "assistant" and before != "assistant":
            out.turns.append(len(out))
            out.talk.append(reader.spoken)
            if out.opening < 0:
                reader.answered()
        head = as_bytes(role) + b"\0"
        if not message.keys() <= _PLAIN_MESSAGE:
            out.marked += len(message.keys() & MARKERS)
            head = dumps({name: value for name, value in message.items() if name not in _TOLD_APART})
        add(message, reader, index, head)
        before = role
    if out.opening < 0:
        reader.answered()
    out.talk.append(reader.spoken)
    out.last = "tool" if before == "user" and _is_result(messages[-1]) else before


def _is_result(message: Json) -> bool:
    content = message.get("content")
    return isinstance(content, list) and any(dict(part).get("type") == "tool_result" for part in content)


_READERS: Final[dict[str, Callable[[Mapping[str, Any], Reader], None]]] = {
    "messages": _messages,
    "chat": _chat,
    "responses": _responses,
}
