"""JSON whose text can be given back exactly: numbers keep their text, members their order, none is named twice.

A *spelling* is one of the ways in which the world's programs write JSON: with or without spaces, indented, with or
without escapes for what is not ASCII. This room must never know what a value means.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Any, Final, NamedTuple, NoReturn


class Number(str):
    """A number, as it was written."""

    __slots__ = ()


class Line(NamedTuple):
    """In `pretty`: a value that stands on one line."""

    value: Any


class Spelling(NamedTuple):
    """What stands between two items, between a name and its value, and whether what is not ASCII is escaped."""

    item: str
    pair: str
    ascii: bool = False
    indented: bool = False


SPELLINGS: Final[dict[str, Spelling]] = {
    "compact": Spelling(",", ":"),
    "compact ascii": Spelling(",", ":", ascii=True),
    "spaced": Spelling(", ", ": "),
    "spaced ascii": Spelling(", ", ": ", ascii=True),
    "indented": Spelling(",", ": ", indented=True),
    "indented ascii": Spelling(",", ": ", ascii=True, indented=True),
}
"""By their names in a file; the first one is meant where none is named."""

PLAIN: Final = "compact"
# Control characters, and those that turn the direction of text, could make a person read what is not there.
# Half a surrogate pair stands in no file at all.
_UNSEEN: Final = re.compile("[\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object names a member twice")
    return members


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


_decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_int=Number, parse_float=Number, parse_constant=_refuse)


def parse(text: str) -> Any:
    """The value of JSON text; numbers are `Number`s. Raises ValueError, also for what is nested too deep."""
    try:
        return _decoder.decode(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def shallow(value: Any, levels: int = 96) -> bool:
    """Whether a parsed value is nested at most so deep, and so can be written anywhere in a file."""
    inner = [value]
    for _ in range(levels):
        inner = [
            child
            for holder in inner
            if isinstance(holder, dict | list)
            for child in (holder.values() if isinstance(holder, dict) else holder)
        ]
        if not inner:
            return True
    return False


def spell(value: Any, how: Spelling) -> str:
    """The text of a parsed value."""
    if not how.indented:
        return _flat(value, encode_basestring_ascii if how.ascii else encode_basestring, how)
    return _indented(value, encode_basestring_ascii if how.ascii else encode_basestring, "\n")


def pretty(value: Any) -> str:
    """The text of a file for people: indented by two, lists of numbers and every `Line` on one line."""
    return _pretty(value, "\n") + "\n"


def _flat(value: Any, string: Callable[[str], str], how: Spelling) -> str:
    kind = type(value)
    if kind is str:
        return string(value)
    if kind is dict:
        inner = [f"{string(name)}{how.pair}{_flat(child, string, how)}" for name, child in value.items()]
        return "{" + how.item.join(inner) + "}"
    if kind is list:
        return "[" + how.item.join([_flat(child, string, how) for child in value]) + "]"
    return _atom(value)


def _indented(value: Any, string: Callable[[str], str], margin: str) -> str:
    if type(value) is str:
        return string(value)
    if not isinstance(value, dict | list):
        return _atom(value)
    deeper = margin + "  "
    if isinstance(value, dict):
        inner = [f"{string(name)}: {_indented(child, string, deeper)}" for name, child in value.items()]
        return "{" + deeper + ("," + deeper).join(inner) + margin + "}" if inner else "{}"
    inner = [_indented(child, string, deeper) for child in value]
    return "[" + deeper + ("," + deeper).join(inner) + margin + "]" if inner else "[]"


def _pretty(value: Any, margin: str) -> str:
    if isinstance(value, Line):
        return _flat(value.value, _seen, SPELLINGS["spaced"])
    if type(value) is str:
        return _seen(value)
    if not isinstance(value, dict | list):
        return _atom(value)
    deeper = margin + "  "
    if isinstance(value, dict):
        inner = [f"{_seen(name)}: {_pretty(child, deeper)}" for name, child in value.items()]
        return "{" + deeper + ("," + deeper).join(inner) + margin + "}" if inner else "{}"
    if all(type(child) is Number for child in value):
        return _flat(value, _seen, SPELLINGS["spaced"])
    inner = [_pretty(child, deeper) for child in value]
    return "[" + deeper + ("," + deeper).join(inner) + margin + "]" if inner else "[]"


def _seen(text: str) -> str:
    written = encode_basestring(text)
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", written) if _UNSEEN.search(written) else written


def _atom(value: Any) -> str:
    if isinstance(value, str):  # a Number
        return str.__str__(value)
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, int):
        return int.__repr__(value)
    raise TypeError(f"{type(value).__name__} can't stand in a recording")
