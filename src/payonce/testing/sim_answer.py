"""The simulated model: reads a chat request and makes up the answer, as values.

Every answer is different from every other, because it names the number of its call and holds a digest of seed and
number; the same seed and the same number give the same answer. This room must never know how an answer is written on
the wire, nor a clock or a socket.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from payonce.testing.sim_bill import Charge, SimModel, charge, model_of
from payonce.testing.sim_faults import UNBILLED, Fault

_WORDS: Final = (
    " amber", " basalt", " cedar", " delta", " ember", " fjord", " garnet", " harbour",
    " indigo", " juniper", " kelp", " lantern", " maple", " nectar", " orchid", " pebble",
    " quartz", " river", " saffron", " tundra", " umber", " valley", " willow", " xenon",
    " yarrow", " zephyr", " acorn", " birch", " cobalt", " dune", " elm", " fern",
)  # fmt: skip
_MAX_DEPTH: Final = 12


class AskError(Exception):
    """The request is one that the provider refuses, with this status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Ask:
    """What of a chat request the simulated model looks at."""

    model: SimModel
    stream: bool
    prompt_tokens: int
    max_tokens: int | None
    tools: tuple[dict[str, Any], ...]
    schema: Any
    reasons: bool


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an answer comes from: the id and second of its generation, the number of its call, the provider's seed."""

    id: str
    created: int
    number: int
    seed: int


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a function that the answer asks for; `arguments` is JSON text in pieces."""

    id: str
    name: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, in tokens. `finish` None: it never finished; `padding`: bytes to add to the content."""

    id: str
    created: int
    model: SimModel
    reasoning: tuple[str, ...]
    content: tuple[str, ...]
    tools: tuple[ToolCall, ...]
    refusal: str | None
    finish: str | None
    charge: Charge
    padding: int = 0


# ---------------------------------------------------------------------------------------------- the request


def read(body: bytes) -> Ask:
    """Reads the body of a chat request; AskError where OpenRouter answers 400 or 404."""
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise AskError(400, "Invalid JSON in request body") from None
    if not isinstance(asked, dict):
        raise AskError(400, "Request body must be a JSON object")
    name = asked.get("model") or next(iter(asked.get("models") or ()), None)
    if not isinstance(name, str):
        raise AskError(400, "No models provided")
    if "/" not in name:
        raise AskError(400, f"{name} is not a valid model ID")
    if name == "sim/missing":
        raise AskError(404, f"No endpoints found for {name}.")
    messages = asked.get("messages")
    if not isinstance(messages, list) or not messages:
        raise AskError(400, 'Input required: specify "prompt" or "messages"')
    model = model_of(name)
    limit = asked.get("max_completion_tokens") or asked.get("max_tokens")
    return Ask(
        model=model,
        stream=asked.get("stream") is True,
        prompt_tokens=_prompt_tokens(messages),
        max_tokens=limit if isinstance(limit, int) else None,
        tools=_wanted_tools(asked, messages),
        schema=_wanted_schema(asked.get("response_format")),
        reasons=model.reasons or bool(asked.get("reasoning") or asked.get("reasoning_effort")),
    )


def _texts(message: Any) -> Iterator[str]:
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                yield part["text"]


def _prompt_tokens(messages: list[Any]) -> int:
    """About four characters a token, and four tokens a message."""
    return sum(4 + sum(len(text) for text in _texts(message)) // 4 for message in messages)


def _wanted_tools(asked: dict[str, Any], messages: list[Any]) -> tuple[dict[str, Any], ...]:
    """The functions that the answer calls: the one that is named, or up to two where a call is wanted."""
    offered = [
        t["function"] for t in asked.get("tools") or () if isinstance(t, dict) and isinstance(t.get("function"), dict)
    ]
    choice = asked.get("tool_choice")
    if not offered or choice == "none":
        return ()
    if isinstance(choice, dict):
        named = (choice.get("function") or {}).get("name")
        return tuple(function for function in offered if function.get("name") == named)[:1]
    users = [message for message in messages if isinstance(message, dict) and message.get("role") == "user"]
    if choice == "required" or any("use the tool" in text.lower() for text in _texts(users[-1] if users else None)):
        return tuple(offered[: 1 if asked.get("parallel_tool_calls") is False else 2])
    return ()


def _wanted_schema(wanted: Any) -> Any:
    """The JSON schema that the content follows; None for prose."""
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_schema":
        return (wanted.get("json_schema") or {}).get("schema") or {}
    if kind == "json_object":
        return {"type": "object", "properties": {"answer": {"type": "string"}, "call": {"type": "integer"}}}
    return None


# ---------------------------------------------------------------------------------------------- the answer


def answer(ask: Ask, fault: Fault | None, origin: Origin, *, tokens: int) -> Answer:
    """The answer to one call: about `tokens` tokens long, and bent by `fault` where that touches what is said."""
    number = origin.number
    noise = hashlib.shake_128(b"%d/%d" % (origin.seed, number)).digest(28 + tokens)
    kind = fault.name if fault else ""
    tools = _tool_calls(ask, noise, number, kind)
    content = () if tools else _content(ask, noise, number, tokens)
    finish: str | None = "tool_calls" if tools else "stop"
    if ask.max_tokens is not None and len(content) > ask.max_tokens:
        content, finish = content[: ask.max_tokens], "length"
    refusal = None
    if kind in {"length", "content-filter", "choice-error", "200-error"}:
        content, tools = content[: len(content) // 2], ()
        finish = {"content-filter": "content_filter", "choice-error": "error"}.get(kind, "length")
    elif kind == "empty":
        content, tools, finish = (), (), None
    elif kind == "refusal":
        content, tools, refusal, finish = (), (), f"I can't help with that (call {number}).", "stop"
    padding = fault.number if fault and kind == "huge" else 0
    reasoning = _words(noise[12:24], 12) if ask.reasons and kind != "empty" else ()
    spoken = len(content) + len(reasoning) + sum(len(call.arguments) + 1 for call in tools) + 8 * bool(refusal)
    costs = charge(ask.model, ask.prompt_tokens, spoken + padding // 4, len(reasoning))
    if kind in UNBILLED:
        costs = Charge(costs.prompt_tokens, costs.completion_tokens, len(reasoning), *(costs.cost * 0,) * 2)
    return Answer(
        id=origin.id,
        created=origin.created,
        model=ask.model,
        reasoning=reasoning,
        content=content,
        tools=tools,
        refusal=refusal,
        finish=finish,
        charge=costs,
        padding=padding,
    )


def generation_id(seed: int, number: int, created: int) -> str:
    """An id as OpenRouter's: `gen-`, seconds, and 20 letters or digits."""
    return f"gen-{created}-{hashlib.blake2b(b'%d:%d' % (seed, number), digest_size=10).hexdigest()}"


def _words(noise: bytes, count: int) -> tuple[str, ...]:
    return tuple(_WORDS[byte & 31] for byte in noise[:count])


def _content(ask: Ask, noise: bytes, number: int, tokens: int) -> tuple[str, ...]:
    mark = noise[:6].hex()
    if ask.schema is not None:
        return _pieces(orjson.dumps(_sample(ask.schema, ask.schema, mark, number, 0)).decode())
    return ("Answer", f" #{number}", f" ({mark}):", *_words(noise[28:], max(1, tokens - 3)))


def _tool_calls(ask: Ask, noise: bytes, number: int, kind: str) -> tuple[ToolCall, ...]:
    wanted = ask.tools or (({"name": "lookup"},) if kind == "bad-tool-json" else ())
    calls = []
    for index, function in enumerate(wanted):
        schema = function.get("parameters") or {"type": "object", "properties": {"query": {"type": "string"}}}
        text = orjson.dumps(_sample(schema, schema, noise[:6].hex(), number, 0)).decode()
        if kind == "bad-tool-json":
            text = text[:-1] + ', "'
        calls.append(ToolCall(f"call_{noise[index : index + 12].hex()}", str(function.get("name")), _pieces(text)))
    return tuple(calls)


def _pieces(text: str) -> tuple[str, ...]:
    return tuple(text[start : start + 6] for start in range(0, len(text), 6))


def _sample(schema: Any, root: Any, mark: str, number: int, depth: int) -> Any:
    """A value that fits the schema, as far as the words that structured outputs allow go."""
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return None
    if "$ref" in schema:
        target = root
        for step in str(schema["$ref"]).removeprefix("#/").split("/"):
            target = target.get(step, {}) if isinstance(target, dict) else {}
        return _sample(target, root, mark, number, depth + 1)
    for word in ("anyOf", "oneOf", "allOf"):
        if schema.get(word):
            return _sample(schema[word][0], root, mark, number, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][number % len(schema["enum"])]
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object" or "properties" in schema:
        fields = schema.get("properties") or {}
        return {name: _sample(inner, root, mark, number, depth + 1) for name, inner in fields.items()}
    if kind == "array":
        return [_sample(schema.get("items"), root, mark, number, depth + 1)]
    return {"string": f"value {mark}", "integer": number, "number": number + 0.5, "boolean": True}.get(str(kind))
