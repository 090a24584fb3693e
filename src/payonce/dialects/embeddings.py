"""The dialect of `POST /embeddings`: OpenAI's, as OpenRouter speaks it.

Reads a request into an intent whose items can be answered one by one, and shortens it to some of them; how an answer is
divided and put together stands in dialects/vectors.py. Source: OpenRouter's OpenAPI specification (createEmbeddings).
This room must never know of keys, stores or clocks.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from typing import Any

import msgspec
import orjson
from blake3 import blake3

from payonce.dialects.canonical import is_number, parse, spell
from payonce.dialects.common import error_shape, text
from payonce.dialects.tables import EMBEDDINGS_IGNORED
from payonce.dialects.usage import respend
from payonce.dialects.vectors import assemble, divide
from payonce.model import reason as why
from payonce.model.call import Headers, Intent, Item
from payonce.model.entry import Facts
from payonce.model.policy import HitUsage
from payonce.model.ports import Division
from payonce.model.reason import Reason

MOST_ITEMS = 4096
"""No provider takes more; a longer batch passes through."""

_TOKENS = b"0123456789, \t\r\n"
_OTHER_SHAPES = frozenset(("output_dtype", "embedding_types"))
"""Fields with which some providers send no vectors of floats."""

_Raws = dict[str, msgspec.Raw]


class EmbeddingsDialect:
    """See the room's first paragraph."""

    endpoint = "embeddings"

    def read(self, body: bytes) -> Intent | Reason:
        """What the client means, or why its request has no key."""
        tokens, rest = _set_tokens_aside(body)
        members = parse(rest)
        if isinstance(members, Reason):
            return members
        canonical = spell({name: value for name, value in members.items() if name not in EMBEDDINGS_IGNORED})
        shell = spell(
            {name: value for name, value in members.items() if name not in EMBEDDINGS_IGNORED and name != "input"}
        )
        if isinstance(canonical, Reason) or isinstance(shell, Reason):
            return why.BAD_TEXT
        around = blake3(shell).hexdigest().encode()  # so that what stands beside many inputs is not held for each
        inputs = _inputs(members.get("input")) if tokens is None else tokens
        if tokens is not None:
            canonical = b"\n".join((shell, *tokens))
        streams = members.get("stream")
        if (streams is not None and streams is not False) or not members.keys().isdisjoint(_OTHER_SHAPES):
            inputs = []  # the answer may have any shape
        if len(inputs) > MOST_ITEMS:
            return why.BATCH_TOO_LONG
        return Intent(
            model=text(members.get("model")),
            stream=False,
            deterministic=True,
            sets_limit=False,
            wants_usage=False,
            canonical=canonical,
            items=tuple([Item(b"%b\n%b" % (around, given), _weight(given)) for given in inputs]),
            shell=shell,
        )

    def judge(self, intent: Intent, headers: Headers, body: bytes) -> Facts | Reason:  # noqa: ARG002 - the port's
        """What a 200 answer says of itself that is kept as a whole, or why it is not kept."""
        work = self.divide(body, ())
        while True:
            try:
                next(work)
            except StopIteration as done:
                division: Division | Reason = done.value
                return division if isinstance(division, Reason) else division.unkept or division.facts

    def respend(self, body: bytes, stream: bool, mode: HitUsage) -> bytes:
        """A stored body with the usage that a hit reports."""
        return respend(body, stream, mode)

    def convert(self, body: bytes, *, to_stream: bool, wants_usage: bool) -> None:
        """Embeddings have one framing only."""

    def error(self, status: int, code: str, message: str) -> bytes:
        """OpenRouter's error shape."""
        return error_shape(status, code, message)

    def narrow(self, body: bytes, places: Sequence[int]) -> bytes:
        """The request with only the inputs at these places; every member keeps its text."""
        members = msgspec.json.decode(body, type=_Raws)
        inputs = msgspec.json.decode(members["input"], type=list[msgspec.Raw])
        wanted = b"[" + b",".join([bytes(inputs[place]) for place in places]) + b"]"
        texts = [
            orjson.dumps(name) + b":" + (wanted if name == "input" else bytes(value)) for name, value in members.items()
        ]
        return b"{" + b",".join(texts) + b"}"

    def divide(self, body: bytes, weights: Sequence[int]) -> Generator[None, None, Division | Reason]:
        """A whole 200 answer, divided; without `weights` it may have any number of items, and is only judged."""
        try:
            return (yield from divide(body.decode(), weights))
        except (ValueError, TypeError, RecursionError):  # TypeError: half a surrogate pair
            return why.UNREADABLE if body.strip() else why.EMPTY

    def assemble(
        self, pieces: Sequence[bytes], places: Sequence[int], paid: Collection[int], mode: HitUsage
    ) -> Generator[None, None, bytes | None]:
        """An answer from stored items; what stands beside the items is that of the first one that was paid for."""
        return assemble(pieces, places, paid, mode)


# The request.


def _set_tokens_aside(body: bytes, least: int = 4096) -> tuple[list[bytes] | None, bytes]:
    """Where `input` is a long list of token numbers, or of such lists: each one's canonical text, and the body with an
    empty list in its place. A million numbers are not worth a million objects; their text is all that is needed."""
    if len(body) < least or b'"stream"' in body:
        return None, body
    try:
        given = bytes(msgspec.json.decode(body, type=_Raws).get("input", b""))
        place = body.find(given[:256])
        if (
            2 * len(given) <= len(body)  # else it can't stand there twice
            or body[place : place + len(given)] != given
            or given.translate(None, _TOKENS + b"[]")
        ):
            return None, body
        if given.translate(None, _TOKENS) == b"[]":
            lists = [given]
        else:
            lists = [bytes(raw) for raw in msgspec.json.decode(given, type=list[msgspec.Raw])]
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None, body
    lists = [tokens.translate(None, b" \t\r\n") for tokens in lists]
    if not lists or any(tokens == b"[]" or tokens.translate(None, _TOKENS) != b"[]" for tokens in lists):
        return None, body
    return lists, b"%b[]%b" % (body[:place], body[place + len(given) :])


def _inputs(given: object) -> list[bytes]:
    """The canonical text of each input that stands for itself; none where the call is one whole."""
    if isinstance(given, str):
        return [orjson.dumps(given)]
    if not isinstance(given, list) or not given:
        return []
    if _all_numbers(given):
        return [orjson.dumps(given)]
    if (
        all(isinstance(item, str) for item in given)
        or all(isinstance(item, list) and item and _all_numbers(item) for item in given)
        or all(isinstance(item, dict) and isinstance(item.get("content"), list) for item in given)
    ):
        return [orjson.dumps(item, option=orjson.OPT_SORT_KEYS) for item in given]
    return []


def _all_numbers(given: list[Any]) -> bool:
    return all(is_number(number) for number in given)


def _weight(given: bytes) -> int:
    """How much of a batch's usage an input is taken for: its tokens, where they are given, else its bytes."""
    return given.count(b",") + 1 if given.startswith(b"[") else len(given)
