"""One spelling for every JSON body that means the same: members sorted, white space gone, numbers as they were written.

Strictness comes first: what two parsers could read in two ways (a member named twice, NaN, bytes that are not UTF-8,
half a surrogate pair, nesting past 128) has no canonical form, and its request is passed on untouched. Injective: two
bodies share a canonical form only if they are the same JSON text up to member order, white space and string escapes.
This room must never know what a member means.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, NoReturn

import orjson

from payonce.model import reason as why
from payonce.model.reason import Reason

MAX_DEPTH = 128
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))


class _DuplicateError(ValueError):
    pass


class _NotANumberError(ValueError):
    pass


def unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For JSON decoders: an object, unless it names a member twice."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _DuplicateError
    return members


def no_constant(_text: str) -> NoReturn:
    """For JSON decoders: NaN and Infinity are no numbers."""
    raise _NotANumberError


decoder = json.JSONDecoder(
    object_pairs_hook=unique_members, parse_int=orjson.Fragment, parse_float=orjson.Fragment, parse_constant=no_constant
)


def parse(body: bytes) -> dict[str, Any] | Reason:
    """The members of a JSON object, or why it has no canonical form. Numbers are `orjson.Fragment`s of their text."""
    try:
        value = decoder.decode(body.decode())
    except UnicodeDecodeError:
        return why.BAD_TEXT
    except _DuplicateError:
        return why.DUPLICATE_MEMBER
    except _NotANumberError:
        return why.BAD_NUMBER
    except RecursionError:
        return why.TOO_DEEP
    except ValueError:
        return why.BAD_JSON
    if not isinstance(value, dict):
        return why.NOT_AN_OBJECT
    if too_deep(body):
        return why.TOO_DEEP
    if b"\\" in body and b"\\u" in body and isinstance(spell(value), Reason):  # the first test is the quick one
        return why.BAD_TEXT
    return value


def spell(members: Mapping[str, Any]) -> bytes | Reason:
    """The canonical text of parsed members."""
    try:
        return orjson.dumps(members, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # orjson.JSONEncodeError: half a surrogate pair, which UTF-8 can't carry
        return why.BAD_TEXT


def too_deep(body: bytes) -> bool:
    """Whether valid JSON text is nested more than 128 levels; linear in its length."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return False
    steps = _STRINGS.sub(b"", body).translate(_STEPS, _NO_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")), default=0) > MAX_DEPTH


def number(value: object) -> float | None:
    """The value of a parsed number; None for anything else."""
    if not isinstance(value, orjson.Fragment):
        return None
    return float(orjson.dumps(value))
