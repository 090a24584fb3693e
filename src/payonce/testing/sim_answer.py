"""The simulated model: makes up the answer to a request, as values.

Every answer is different from every other, because it names the number of its call and holds a digest of seed and
number; the same seed and the same number give the same answer. This room must never know how an answer is written on
the wire, nor a clock or a socket.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import orjson

from payonce.testing.sim_ask import Ask, Function
from payonce.testing.sim_bill import Charge, Input, SimModel, charge
from payonce.testing.sim_faults import UNBILLED, Fault
from payonce.testing.sim_sample import sample

_WORDS: Final = (
    " amber", " basalt", " cedar", " delta", " ember", " fjord", " garnet", " harbour",
    " indigo", " juniper", " kelp", " lantern", " maple", " nectar", " orchid", " pebble",
    " quartz", " river", " saffron", " tundra", " umber", " valley", " willow", " xenon",
    " yarrow", " zephyr", " acorn", " birch", " cobalt", " dune", " elm", " fern",
)  # fmt: skip
_LOOKUP: Final = Function("lookup", {"type": "object", "properties": {"query": {"type": "string"}}})


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

    @property
    def provider(self) -> str:
        """The host that served it."""
        return self.charge.input.provider or self.model.provider


def answer(ask: Ask, given: Input, fault: Fault | None, origin: Origin, *, tokens: int) -> Answer:
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
    costs = charge(ask.model, given, spoken + padding // 4, len(reasoning))
    return Answer(
        id=origin.id,
        created=origin.created,
        model=ask.model,
        reasoning=reasoning,
        content=content,
        tools=tools,
        refusal=refusal,
        finish=finish,
        charge=costs.free() if kind in UNBILLED else costs,
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
        return _pieces(orjson.dumps(sample(ask.schema, mark, number)).decode())
    return ("Answer", f" #{number}", f" ({mark}):", *_words(noise[28:], max(1, tokens - 3)))


def _tool_calls(ask: Ask, noise: bytes, number: int, kind: str) -> tuple[ToolCall, ...]:
    calls = []
    for index, function in enumerate(ask.tools or ((_LOOKUP,) if kind == "bad-tool-json" else ())):
        text = orjson.dumps(sample(function.schema or _LOOKUP.schema, noise[:6].hex(), number)).decode()
        if kind == "bad-tool-json":
            text = text[:-1] + ', "'
        calls.append(ToolCall(f"call_{noise[index : index + 12].hex()}", function.name, _pieces(text)))
    return tuple(calls)


def _pieces(text: str) -> tuple[str, ...]:
    return tuple(text[start : start + 6] for start in range(0, len(text), 6))
