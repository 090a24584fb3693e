"""The answer to a batch of embeddings: divided into items that can be stored, and put together from stored ones.

A stored item is the answer to a batch of one, in one layout: the embedding first, in the text in which the upstream
wrote it, then the item's other members, then the answer's, and last its share of the usage (dialects/shares.py). No
number of a vector is ever parsed to be printed again. This room must never know of keys, stores or clocks.
"""

from __future__ import annotations

import base64
from array import array
from collections.abc import Collection, Generator, Sequence
from functools import lru_cache
from math import isfinite
from typing import Any, NamedTuple

import orjson

from payonce.dialects.common import safe_id, text
from payonce.dialects.scan import Scan, Unreadable
from payonce.dialects.shares import Amount, add, readable, share_out, spell_usage
from payonce.dialects.usage import read_tokens
from payonce.model import reason as why
from payonce.model.entry import Facts, Tokens
from payonce.model.policy import HitUsage
from payonce.model.ports import Division, Piece
from payonce.model.reason import Reason

TEXT_AT_ONCE = 256 << 10
"""So many bytes of an answer are divided in one go: a few milliseconds."""

MOST_BESIDE = 16 << 10
"""What stands beside the items of an answer is stored with each of them; up to so many bytes of it."""

KNOWN_TAIL = 2048
"""Tails up to so many bytes are remembered."""

_HEAD = b'{"data":[{"index":0,"embedding":'


# Divided.


def divide(whole: str, weights: Sequence[int]) -> Generator[None, None, Division | Reason]:
    """A whole 200 answer, divided; without `weights` it may have any number of items, and is only judged. Yields now
    and then. Raises ValueError or TypeError where it can't be read."""
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
    usage = said.get("usage")
    usage = usage if isinstance(usage, dict) else None
    if usage is not None and not readable(usage):
        return why.UNREADABLE
    numbers = orjson.loads(orjson.dumps(usage or {}))
    facts = Facts(safe_id(text(said.get("id"))), text(said.get("model")), "never", read_tokens(numbers))
    unkept = _unkept(data, count, len(said_usage) + sum(map(len, around)))
    if unkept is not None:
        return Division(facts, (), unkept)
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


def _unkept(data: Collection[int], count: int, beside: int) -> Reason | None:
    """Why an answer with these items, of which there should be so many, and so many bytes beside them is not kept."""
    if not data:
        return why.EMPTY
    if len(data) != count or not all(index in data for index in range(count)):
        return why.WRONG_COUNT
    return why.TOO_LARGE if beside > MOST_BESIDE else None


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


# Put together.


def assemble(
    pieces: Sequence[bytes], places: Sequence[int], paid: Collection[int], mode: HitUsage
) -> Generator[None, None, bytes | None]:
    """An answer from stored items; what stands beside the items is that of the first one that was paid for. None where
    they are not of one size. Yields now and then."""
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
