"""The dialect of `POST /embeddings`: OpenAI's, as OpenRouter speaks it. A batch is read, divided and put together here.

A stored item is the answer to a batch of one, in one layout: the embedding first, in the text in which the upstream
wrote it, then the item's other members, then the answer's, and last its share of the usage (dialects/shares.py). No
number of a vector is ever parsed to be printed again. Source: OpenRouter's OpenAPI specification (createEmbeddings).
This room must never know of keys, stores or clocks.
"""

from __future__ import annotations

import base64
from array import array
from collections.abc import Collection, Generator, Sequence
from functools import lru_cache
from math import isfinite
from typing import Any, NamedTuple

import msgspec
import orjson
from blake3 import blake3

from payonce.dialects.canonical import parse, spell
from payonce.dialects.common import error_shape, safe_id, text
from payonce.dialects.scan import Scan, Unreadable
from payonce.dialects.shares import Amount, add, readable, share_out, spell_usage
from payonce.dialects.tables import EMBEDDINGS_IGNORED
from payonce.dialects.usage import read_tokens, respend
from payonce.model import reason as why
from payonce.model.call import Headers, Intent, Item
from payonce.model.entry import Facts, Tokens
from payonce.model.policy import HitUsage
from payonce.model.ports import Division, Piece
from payonce.model.reason import Reason

MOST_ITEMS = 4096
"""No provider takes more; a longer batch passes through."""

TEXT_AT_ONCE = 256 << 10
"""So many bytes of an answer are divided in one go: a few milliseconds."""

MOST_BESIDE = 16 << 10
"""What stands beside the items of an answer is stored with each of them; up to so many bytes of it."""

KNOWN_TAIL = 2048
"""Tails up to so many bytes are remembered."""

_HEAD = b'{"data":[{"index":0,"embedding":'
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
        if members.get("stream") or not members.keys().isdisjoint(_OTHER_SHAPES):
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
        )

    def judge(self, intent: Intent, headers: Headers, body: bytes) -> Facts | Reason:  # noqa: ARG002 - the port's
        """What a 200 answer says of itself that is kept as a whole, or why it is not kept."""
        work = self.divide(body, ())
        while True:
            try:
                next(work)
            except StopIteration as done:
                division: Division | Reason = done.value
                return division if isinstance(division, Reason) else division.facts

    def respend(self, body: bytes, stream: bool, mode: HitUsage) -> bytes:
        """A stored body with the usage that a hit reports."""
        return respend(body, stream, mode)

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
            return (yield from _divide(body.decode(), weights))
        except (ValueError, TypeError, RecursionError):  # TypeError: half a surrogate pair
            return why.UNREADABLE if body.strip() else why.EMPTY

    def assemble(
        self, pieces: Sequence[bytes], places: Sequence[int], paid: Collection[int], mode: HitUsage
    ) -> Generator[None, None, bytes | None]:
        """An answer from stored items; what stands beside the items is that of the first one that was paid for."""
        items: list[_Opened] = []
        done = 0
        for piece in pieces:
            items.append(_open(piece))
            if items[0].size != items[-1].size:
                return None
            done += len(piece)
            if done > TEXT_AT_ONCE:
                done = 0
                yield
        usage = add(
            (item.rest.usage, "verbatim" if number in paid else mode)
            for number, item in enumerate(items)
            if item.rest.usage is not None
        )
        parts: list[bytes | memoryview] = []
        for index, place in enumerate(places):
            item = items[place]
            parts += (b',{"index":%d,"embedding":' % index, item.embedding, item.rest.beside, b"}")
        parts[0] = _HEAD
        parts += (b"]", items[min(paid, default=0)].rest.around)
        if usage is not None:
            parts += (b',"usage":', spell_usage(usage).encode())
        return b"".join((*parts, b"}"))


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
    return all(isinstance(number, orjson.Fragment) for number in given)


def _weight(given: bytes) -> int:
    """How much of a batch's usage an input is taken for: its tokens, where they are given, else its bytes."""
    return given.count(b",") + 1 if given.startswith(b"[") else len(given)


# The answer.


def _divide(whole: str, weights: Sequence[int]) -> Generator[None, None, Division | Reason]:
    scan = Scan(whole)
    data: dict[int, tuple[str, str]] = {}
    around: list[str] = []
    said: dict[str, Any] = {}
    said_usage = ""
    for name in scan.members():
        if name == "data" and scan.peek() == "[":
            data = yield from _items(scan)
            continue
        said[name], written = scan.value()
        if name == "error" and said[name] is not None:
            return why.ERROR_INSIDE
        if name == "usage" and isinstance(said[name], dict):
            said_usage = written
        else:
            around.append(f",{orjson.dumps(name).decode()}:{written}")
    scan.end()
    count = len(weights) or len(data)
    if not data:
        return why.EMPTY
    if len(data) != count or not all(index in data for index in range(count)):
        return why.WRONG_COUNT
    usage = said.get("usage")
    usage = usage if isinstance(usage, dict) else None
    if len(said_usage) + sum(map(len, around)) > MOST_BESIDE:
        return why.TOO_LARGE
    if usage is not None and not readable(usage):
        return why.UNREADABLE
    numbers = orjson.loads(orjson.dumps(usage or {}))
    facts = Facts(safe_id(text(said.get("id"))), text(said.get("model")), "never", read_tokens(numbers))
    if not weights:
        return Division(facts, ())
    shares = [""] * count if usage is None else share_out(usage, weights)
    tokens = _token_shares(facts.tokens, weights)
    beside = "".join(around)
    pieces: list[Piece] = []
    done = 0
    for index in range(count):
        embedding, others = data[index]
        tail = f',"usage":{shares[index]}' if shares[index] else ""
        body = f"{embedding}{others}}}]{beside}{tail}}}".encode()
        pieces.append(Piece(_HEAD + body, Facts(facts.source_id, facts.model, facts.usage, tokens[index])))
        done += len(body)
        if done > TEXT_AT_ONCE:
            done = 0
            yield
    return Division(facts, tuple(pieces))


def _items(scan: Scan) -> Generator[None, None, dict[int, tuple[str, str]]]:
    """The items by their index: the text of the embedding, and of the other members. One that has no index, or that of
    another, stands under a number below 0."""
    found: dict[int, tuple[str, str]] = {}
    sizes: set[tuple[bool, int]] = set()
    paused = scan.place
    for _ in scan.elements():
        index, embedding, others = -1, "", []
        for name in scan.members():
            if name == "embedding":
                embedding = scan.flat()
            else:
                value, written = scan.value()
                if name == "index":
                    index = int(written) if written.isdigit() else -1
                else:
                    others.append(f",{orjson.dumps(name).decode()}:{written}")
                if name == "error" and value is not None:
                    raise Unreadable
        sizes.add(_size(embedding))
        found[~len(found) if index in found else index] = embedding, "".join(others)
        if len(sizes) > 1:
            raise Unreadable
        if scan.place - paused > TEXT_AT_ONCE:
            paused = scan.place
            yield
    return found


def _size(embedding: str) -> tuple[bool, int]:
    """How the embedding is written and its number of dimensions. Raises ValueError where it is no vector of finite
    numbers."""
    if embedding.startswith("["):
        numbers = orjson.loads(embedding)
        if not numbers or not set(map(type, numbers)) <= {int, float}:
            raise Unreadable
        return True, len(numbers)
    value = orjson.loads(embedding)
    raw = base64.b64decode(value, validate=True)
    if not raw or len(raw) % 4:
        raise Unreadable
    floats = array("f", raw)
    if not all(map(isfinite, floats)):
        raise Unreadable
    return False, len(floats)


def _token_shares(tokens: Tokens, weights: Sequence[int]) -> list[Tokens]:
    """As the usage is shared, in the words of an entry."""
    inputs = [None] * len(weights) if tokens.input is None else Amount(tokens.input, 0).split(weights)
    costs = [None] * len(weights) if tokens.cost is None else Amount(tokens.cost, 0).split(weights)
    return [Tokens(used, None, cost) for used, cost in zip(inputs, costs, strict=True)]


# What is stored.


class _Rest(NamedTuple):
    """What stands behind an embedding: its item's other members, the answer's, and the share of the usage."""

    beside: bytes
    around: bytes
    usage: Any


class _Opened(NamedTuple):
    """A stored item. `size` is the same only for embeddings of one number of dimensions, written in one way."""

    embedding: memoryview
    size: tuple[bool, int]
    rest: _Rest


def _open(piece: bytes) -> _Opened:
    """Entries prove themselves, so this is one of our own."""
    start = len(_HEAD)
    listed = piece[start : start + 1] == b"["
    end = piece.index(b"]" if listed else b'"', start + 1) + 1
    size = piece.count(b",", start, end) if listed else end
    return _Opened(memoryview(piece)[start:end], (listed, size), _rest(piece[end:]))


def _rest(tail: bytes) -> _Rest:
    """The items of one call share most of their tails, so that these are remembered."""
    return _known_tail(tail) if len(tail) <= KNOWN_TAIL else _read_tail(tail)


def _read_tail(tail: bytes) -> _Rest:
    written = tail.decode()
    item = Scan("{" + written.removeprefix(","))
    for _ in item.members():
        item.value()
    cut = item.place + len(written) - len(item.text)
    answer = Scan("{" + written[cut + 1 :].removeprefix(","))
    usage, around = None, []
    for name in answer.members():
        value, shown = answer.value()
        if name == "usage" and isinstance(value, dict):
            usage = value
        else:
            around.append(f",{orjson.dumps(name).decode()}:{shown}")
    return _Rest(written[: cut - 1].encode(), "".join(around).encode(), usage)


_known_tail = lru_cache(maxsize=4096)(_read_tail)
