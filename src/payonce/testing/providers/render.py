"""Bodies into blocks: one reader for each dialect, in the order tools, system, messages.

What the provider's documentation says of a block stands here: what can't carry a marker, and which fields each level's
prefix depends on besides its blocks. This room must never know a cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import orjson

from payonce.testing.providers.blocks import (
    MESSAGES,
    SYSTEM,
    TOOLS,
    Asked,
    Block,
    Mark,
    Sizes,
    digest,
    mark_of,
    without_markers,
)
from payonce.testing.providers.rules import RefusedError

Json = dict[str, Any]
_OPTIONS: Final = (
    "prompt_cache_options", "prompt_cache_key", "session_id", "provider", "parallel_tool_calls", "text",
    "response_format", "reasoning", "reasoning_effort", "verbosity", "context_management", "service_tier",
)  # fmt: skip
"""What some cache's rules look at besides the blocks."""
_IMAGES: Final = frozenset({"image", "image_url", "input_image"})
_DOCUMENTS: Final = frozenset({"document", "file", "input_file"})
_TEXTS: Final = frozenset({"text", "input_text", "output_text"})
_SYNTAX: Final = frozenset({
    "type", "cache_control", "prompt_cache_breakpoint", "signature", "id", "tool_use_id", "call_id", "tool_call_id",
})  # fmt: skip
"""Members whose text is no part of the prompt's length."""


def render(body: Mapping[str, Any], dialect: str, sizes: Sizes, headers: Mapping[str, str] | None = None) -> Asked:
    """The blocks of a body. RefusedError where it is no request of that dialect."""
    readers = {"messages": _messages, "chat": _chat, "responses": _responses}
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise RefusedError("model: Field required")
    blocks = tuple(readers[dialect](body, sizes))
    automatic = mark_of({"cache_control": body["cache_control"]}) if body.get("cache_control") is not None else None
    options = {name: body[name] for name in _OPTIONS if name in body}
    return Asked(model, blocks, automatic, _salts(body, headers or {}, blocks), options, _opening(blocks))


def _opening(blocks: tuple[Block, ...]) -> bytes:
    """What OpenRouter knows a conversation by: the first system message and the first other one."""
    first: dict[bool, bytes] = {}
    for block in blocks:
        if block.level != TOOLS:
            first.setdefault(block.level == SYSTEM or block.role in {"system", "developer"}, block.digest)
    return digest(*(value.hex() for _, value in sorted(first.items())))


def _salts(body: Mapping[str, Any], headers: Mapping[str, str], blocks: Iterable[Block]) -> tuple[bytes, bytes, bytes]:
    """What besides its blocks each level depends on (prompt-caching facts, table of what invalidates what)."""
    given = body.get("output_config")
    config: Mapping[str, Any] = given if isinstance(given, dict) else {}
    effort, form = config.get("effort", "high"), config.get("format")
    pictures = any(block.kind in _IMAGES for block in blocks)
    thinking = body.get("thinking") or body.get("reasoning")
    betas = ",".join(sorted(filter(None, (word.strip() for word in headers.get("anthropic-beta", "").split(",")))))
    system = digest(body.get("speed"), any(block.kind.startswith("web_") for block in blocks))
    choice = [body.get(name) for name in ("tool_choice", "parallel_tool_calls", "context_management")]
    more = [body.get(name) for name in ("text", "response_format", "reasoning_effort", "verbosity", "service_tier")]
    return b"", system, digest(choice, more, pictures, thinking, effort, form, betas)


# ------------------------------------------------------------------------------------------ shared by the dialects


def _parts(content: Any) -> list[Json]:
    """Content as a list of parts: a string is one part of text."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if content is None:
        return []
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return content
    raise RefusedError("messages: content must be a string or a list of blocks")


def _texts(value: Any) -> Iterator[str]:
    """Every text inside a block, in order; the names of members are syntax and are not counted."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name not in _SYNTAX:
                yield from _texts(inner)
    elif value is not None:
        yield str(value)


def _length(part: Json, sizes: Sizes) -> int:
    kind = part.get("type")
    if kind in _TEXTS:
        return sizes.count(str(part.get("text", "")))
    if kind in _IMAGES:
        return sizes.image
    if kind in _DOCUMENTS:
        source = part.get("source")
        if not (isinstance(source, dict) and source.get("type") in {"text", "content"}):
            return sizes.document
        return sizes.count("".join(_texts({key: part.get(key) for key in ("source", "title", "context")})))
    if kind in {"tool_result", "function_call_output"}:
        inside = part.get("content", part.get("output"))
        if isinstance(inside, list):
            return sum(_length(inner, sizes) for inner in inside if isinstance(inner, dict))
    return sizes.count("".join(_texts(part)))


def _block(level: int, role: str, part: Json, sizes: Sizes, message: int = -1, mark: Mark | None = None) -> Block:
    kind = str(part.get("type", "tool"))
    if kind in _TEXTS:
        key = digest(role, "text", part.get("text"), without_markers(part.get("citations")))
    elif kind == "tool_result":
        inside = [without_markers(inner) for inner in _parts(part.get("content"))]
        key = digest(role, without_markers(part) | {"content": inside})
    else:
        key = digest(role, without_markers(part))
    return Block(level, kind, role, key, _length(part, sizes), mark or mark_of(part), _refuses(part, kind), message)


def _refuses(part: Json, kind: str) -> str:
    if kind in {"thinking", "redacted_thinking", "reasoning"}:
        return f"{kind} blocks can't carry cache_control"
    if kind in _TEXTS and not part.get("text"):
        return "cache_control cannot be set for empty text blocks"
    if part.get("defer_loading") is True:
        return "cache_control cannot be set on a tool with defer_loading"
    if part.get("clear_at"):
        return "cache_control cannot be set on a message with clear_at"
    return ""


def _no_marked_citations(part: Json) -> None:
    for citation in part.get("citations") or () if isinstance(part.get("citations"), list) else ():
        if isinstance(citation, dict) and citation.get("cache_control"):
            raise RefusedError("citations: Extra inputs are not permitted: cache_control")


def _tools(body: Mapping[str, Any], sizes: Sizes) -> Iterator[Block]:
    for tool in body.get("tools") or ():
        if not isinstance(tool, dict):
            raise RefusedError("tools: Input should be an object")
        about = tool["function"] if isinstance(tool.get("function"), dict) else tool
        schema = without_markers(about.get("input_schema", about.get("parameters")))
        text = str(about.get("name", "")) + str(about.get("description", ""))
        length = sizes.count(text + (orjson.dumps(schema).decode() if schema else ""))
        kind = str(tool.get("type", "custom"))
        refuses = _refuses(tool, "tool")
        yield Block(TOOLS, kind, "tool", digest("tool", without_markers(tool)), length, mark_of(tool), refuses)


# ------------------------------------------------------------------------------------------------------ messages


def _messages(body: Mapping[str, Any], sizes: Sizes) -> Iterator[Block]:
    yield from _tools(body, sizes)
    for part in _parts(body.get("system")):
        yield _block(SYSTEM, "system", part, sizes)
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise RefusedError("messages: Field required")
    for index, message in enumerate(messages):
        role = str(message.get("role", ""))
        for part in _parts(message.get("content")):
            _no_marked_citations(part)
            until = {"clear_at": message["clear_at"]} if message.get("clear_at") else {}
            yield _block(MESSAGES, role, {**part, **until}, sizes, index, _inner(part))


def _inner(part: Json) -> Mark | None:
    """A marker inside a tool result's own list of blocks stands for the end of that result."""
    inside = part.get("content") if part.get("type") == "tool_result" else None
    marks = [mark_of(inner) for inner in inside if isinstance(inner, dict)] if isinstance(inside, list) else []
    return next((mark for mark in reversed(marks) if mark is not None), None) if mark_of(part) is None else None


# ---------------------------------------------------------------------------------------------------------- chat


def _chat(body: Mapping[str, Any], sizes: Sizes) -> Iterator[Block]:
    yield from _tools(body, sizes)
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise RefusedError("messages: Field required")
    opening = True
    for index, message in enumerate(messages):
        role = str(message.get("role", ""))
        opening = opening and role in {"system", "developer"}
        level = SYSTEM if opening else MESSAGES
        if role == "tool":
            yield _tool_message(message, sizes, index)
            continue
        for part in _parts(message.get("content")):
            if part.get("text") or part.get("type") not in _TEXTS:
                yield _block(level, role, part, sizes, index)
        for call in message.get("tool_calls") or ():
            function = call.get("function") or {}
            text = str(function.get("name", "")) + str(function.get("arguments", ""))
            key = digest("tool_use", without_markers(call))
            yield Block(MESSAGES, "tool_use", role, key, sizes.count(text), mark_of(call), "", index)


def _tool_message(message: Json, sizes: Sizes, index: int) -> Block:
    """A message of role `tool` is one result; the last marker of its parts is the marker of the result."""
    parts = _parts(message.get("content"))
    marks = [mark for mark in map(mark_of, parts) if mark is not None]
    length = sum(_length(part, sizes) for part in parts)
    key = digest("tool_result", message.get("tool_call_id"), [without_markers(part) for part in parts])
    mark = marks[-1] if marks else None
    refuses = "" if length else "cache_control cannot be set for empty text blocks"
    return Block(MESSAGES, "tool_result", "tool", key, length, mark, refuses, index)


# ----------------------------------------------------------------------------------------------------- responses


def _responses(body: Mapping[str, Any], sizes: Sizes) -> Iterator[Block]:
    yield from _tools(body, sizes)
    if isinstance(body.get("instructions"), str):
        yield _block(SYSTEM, "system", {"type": "text", "text": body["instructions"]}, sizes)
    given = body.get("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not isinstance(items, list):
        raise RefusedError("input: Field required")
    opening = True
    for index, item in enumerate(items):
        role = str(item.get("role", ""))
        opening = opening and role in {"system", "developer"}
        kind = item.get("type", "message")
        if kind == "message":
            for part in _parts(item.get("content")):
                yield _block(SYSTEM if opening else MESSAGES, role, part, sizes, index)
        else:
            named = {"function_call": "tool_use", "function_call_output": "tool_result"}.get(kind, kind)
            refuses = _refuses(item, kind)
            length = _length(item, sizes)
            speaker = "assistant" if named in {"tool_use", "reasoning"} else "tool"
            yield Block(MESSAGES, named, speaker, digest(without_markers(item)), length, mark_of(item), refuses, index)
