"""Canonical JSON: one form for what is the same lossless text, none for what parsers read in two ways."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.dialects.canonical import MAX_DEPTH, number, parse, parse_slowly, spell, spelled_so
from payonce.model import reason as why
from payonce.model.reason import Reason


def canonical(body: bytes | str) -> bytes | Reason:
    members = parse(body.encode() if isinstance(body, str) else body)
    return members if isinstance(members, Reason) else spell(members)


# ------------------------------------------------------------------------------------------------ the oracle


def lossless(body: bytes | str) -> Any:
    """What a text says, with numbers as their text and objects as sets of members: nothing is lost but order."""
    return json.loads(
        body,
        object_pairs_hook=lambda pairs: ("object", tuple(sorted(pairs, key=lambda pair: pair[0]))),
        parse_int=lambda text: ("number", text),
        parse_float=lambda text: ("number", text),
    )


def same(a: Any, b: Any) -> bool:
    """Equality that tells true from 1."""
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


NUMBERS = ["0", "-0", "0.0", "1", "1.0", "1e0", "1E0", "10", "1e1", "1E+1", "100", "1e2", "-1", "18446744073709551617"]
NUMBERS += ["18446744073709551618", "9007199254740993", "9007199254740992.0", "1e400", "1e-400", "0.1", "0.10"]


class Num(str):
    """A number as it is written."""

    __slots__ = ()


scalars = (
    st.sampled_from([*map(Num, NUMBERS), None, True, False, "", "1", "true", "null", "0.0", "é", "e\u0301", "\u2028"])
    | st.text(max_size=3)
    | st.sampled_from(["\0", '"', "\\", "/", "\x7f", "\U0001f600", "{", "}]", '{"a":1}', "\ufeff"])
)
keys = st.sampled_from(["a", "b", "ab", "A", "é", "", "1", "\0"]) | st.text(max_size=2)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
)
documents = st.dictionaries(keys, values, max_size=4)
space = st.text(" \t\n\r", max_size=2)


def render(value: Any, draw: Any) -> str:
    """One of the many ways to write `value`: any order, any white space, any escapes."""
    gap = lambda: draw(space)  # noqa: E731
    if isinstance(value, dict):
        pairs = draw(st.permutations(list(value.items())))
        inner = ",".join(f"{gap()}{_quote(k, draw)}{gap()}:{gap()}{render(v, draw)}{gap()}" for k, v in pairs)
        return "{" + (inner or gap()) + "}"
    if isinstance(value, list):
        return "[" + (",".join(f"{gap()}{render(item, draw)}{gap()}" for item in value) or gap()) + "]"
    if isinstance(value, Num):
        return str(value)
    return _quote(value, draw) if isinstance(value, str) else json.dumps(value)


def _quote(text: str, draw: Any) -> str:
    style = draw(st.integers(0, 3))
    if style == 0:
        return json.dumps(text, ensure_ascii=False)
    if style == 1:
        return json.dumps(text)
    if style == 2:
        return json.dumps(text).replace("/", "\\/")
    units = text.encode("utf-16-be")
    form = "\\u{:04x}" if len(text) % 2 else "\\u{:04X}"
    return '"' + "".join(form.format(int.from_bytes(units[n : n + 2])) for n in range(0, len(units), 2)) + '"'


@given(documents, st.data())
def test_every_way_to_write_a_document_has_one_canonical_form(document: dict[str, Any], data: st.DataObject) -> None:
    a, b = (render(document, data.draw) for _ in range(2))
    assert isinstance(canonical(a), bytes)
    assert canonical(a) == canonical(b)
    assert same(lossless(canonical(a)), lossless(a))  # type: ignore[arg-type]  # was just seen to be bytes


@given(documents, documents, st.data())
def test_two_texts_share_a_canonical_form_exactly_when_they_say_the_same(
    a: dict[str, Any], b: dict[str, Any], data: st.DataObject
) -> None:
    first, second = (render(document, data.draw) for document in (a, b))
    assert (canonical(first) == canonical(second)) is same(lossless(first), lossless(second))


@given(documents, st.data())
def test_one_changed_leaf_changes_the_canonical_form(document: dict[str, Any], data: st.DataObject) -> None:
    paths = list(_leaves(document))
    if not paths:
        return
    path, old = data.draw(st.sampled_from(paths))
    new = data.draw(scalars.filter(lambda value: not (type(value) is type(old) and value == old)))
    text = render(document, data.draw)
    assert canonical(render(_with(document, path, new), data.draw)) != canonical(text)


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Any:
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, inner in items:
            yield from _leaves(inner, (*path, name))
    elif path:
        yield path, value


def _with(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _with(value[path[0]], path[1:], new)
    return copy


def agrees(text: bytes) -> bool:
    """Whether the quick way to read a body finds what the slow one does; whether it took it is told."""
    quick, slow = parse(text), parse_slowly(text)
    if isinstance(quick, Reason) or isinstance(slow, Reason):
        assert quick is slow, text
        return False
    assert spell(quick) == spell(slow), text
    assert orjson.dumps(quick) == orjson.dumps(slow), text
    return spelled_so(text) is not None


@given(documents, st.data())
def test_the_quick_way_and_the_slow_way_agree(document: dict[str, Any], data: st.DataObject) -> None:
    agrees(render(document, data.draw).encode())


@given(documents, st.data())
def test_they_agree_on_damaged_bodies_too(document: dict[str, Any], data: st.DataObject) -> None:
    text = render(document, data.draw).encode()
    for _ in range(data.draw(st.integers(1, 3))):
        start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
        put = data.draw(
            st.sampled_from([b"", text[start:end] * 2, b" ", b"1e2", b"-0", b',"":1', b"\\u0061", b"\xff", b'"'])
        )
        text = text[:start] + put + text[end:]
    agrees(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"a":1e2,"a":100.0}',
        '{"a":"x","b":{"c":1,"c":2}}',
        '{"a":100.0,"a":1e2}',
        '{"a":1e2}',
        '{"a":1.0}',
        '{"a":-0}',
        '{"a":-0.0}',
        '{"a":1E400}',
        '{"a":18446744073709551616}',
        '{"a":0.1000000000000000055}',
        '{"a":NaN}',
        '{"a":"\\ud800"}',
        '{"a":"\\/"}',
        '{"a":"b\\tc d"}',
        '{" a":1,"a":1}',
        '{"a":1,"a ":1}',
        '{"a":"x y","b":"xy"}',
        "\ufeff{}",
        "[1]",
        "1",
        "",
    ],
)
def test_they_agree_where_the_quick_one_could_be_misled(text: str) -> None:
    agrees(text.encode())


def test_what_sdks_send_is_read_the_quick_way() -> None:
    body = {"model": "m", "temperature": 0.7, "messages": [{"role": "user", "content": 'hé "there"\n: {}'}], "n": 2}
    assert agrees(json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode())
    assert not agrees(json.dumps(body).encode())


@given(documents, st.data())
def test_a_canonical_form_is_its_own(document: dict[str, Any], data: st.DataObject) -> None:
    once = canonical(render(document, data.draw))
    assert isinstance(once, bytes)
    assert canonical(once) == once


# ------------------------------------------------------------------------------------------------ numbers and strings


def test_numbers_that_are_written_differently_are_different() -> None:
    forms = [canonical(f'{{"a":{text}}}') for text in NUMBERS] + [canonical(f'{{"a":{t}}}') for t in ("true", '"1"')]
    assert len(set(forms)) == len(NUMBERS) + 2


@pytest.mark.parametrize("digits", [20, 309, 4300, 4301, 50_000])
def test_numbers_of_any_length_keep_every_digit(digits: int) -> None:
    for more in ("", ".5", "e5"):
        text = "1" * digits + more
        assert canonical(f'{{"a":{text}}}') == f'{{"a":{text}}}'.encode()
        assert canonical(f'{{"a":{text[:-1]}7}}') != canonical(f'{{"a":{text}}}')


def test_escapes_of_the_same_text_are_the_same() -> None:
    forms = ['"é/\U0001f600"', '"\\u00e9\\/\\ud83d\\ude00"', '"\\u00E9/\\uD83D\\uDE00"']
    assert len({canonical(f'{{"a":{form}}}') for form in forms}) == 1
    assert len({canonical(f"{{{form}:1}}") for form in forms}) == 1


def test_texts_that_only_look_alike_are_different() -> None:
    forms = ["é", "e\u0301", "É", "ｅ", " é", "é\u200b", "é\ufeff"]
    assert len({canonical(orjson.dumps({"a": form})) for form in forms}) == len(forms)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0.0), ("-0.0", 0.0), ("0e9", 0.0), ("1e400", float("inf")), ("0.1", 0.1), ("7" * 5000, float("inf"))],
)
def test_a_number_can_be_asked_for_its_value(text: str, value: float) -> None:
    members = parse(f'{{"a":{text}}}'.encode())
    assert isinstance(members, dict)
    assert number(members["a"]) == value


@pytest.mark.parametrize("text", ["null", "true", '"0"', "[0]", "{}"])
def test_what_is_no_number_has_no_value(text: str) -> None:
    members = parse(f'{{"a":{text}}}'.encode())
    assert isinstance(members, dict)
    assert number(members["a"]) is None


# ------------------------------------------------------------------------------------------------ what has no form

DUPLICATES = [
    '{"a":1,"a":1}',
    '{"a":1,"a":2}',
    '{"a":1,"\\u0061":1}',
    '{"\\u0061":1,"a":1}',
    '{"x":{"a":1,"a":1}}',
    '{"x":[[{"a":{"b":1,"b":1}}]]}',
    '{"":1,"":1}',
    '{"é":1,"\\u00e9":1}',
    '{"\U0001f600":1,"\\ud83d\\ude00":1}',
    '{"user":{"a":1,"a":1}}',
    '{"a":1,"b":2,"c":3,"a":null}',
]
NOT_NUMBERS = ['{"a":NaN}', '{"a":Infinity}', '{"a":-Infinity}', '{"a":[{"b":NaN}]}', '{"user":NaN}']
NOT_JSON = [
    "",
    " ",
    "{",
    '{"a"}',
    '{"a":}',
    '{"a":1,}',
    "{a:1}",
    "{'a':1}",
    '{"a":1}{}',
    '{"a":1} x',
    '{"a":01}',
    '{"a":.5}',
    '{"a":1.}',
    '{"a":+1}',
    '{"a":0x10}',
    '{"a":1e}',
    '{"a":1_0}',
    '{"a":nan}',
    '{"a":True}',
    '{"a":[1,]}',
    '{"a":"\n"}',
    '{"a":"\0"}',
    '{"a":"\\x41"}',
    '{"a":"\\u12"}',
    '{"a":"\\u+123"}',
    '{"a":"\\u 123"}',
    '{"a":1}//',
    '/**/{"a":1}',
    '\ufeff{"a":1}',
    '\u00a0{"a":1}',
    '\x0b{"a":1}',
    '{"a":\u0661}',
    '{"a":1\u0661}',
    '{"a":"x}',
    "nul",
]
NOT_TEXT = [
    b'{"a":"\xff"}',
    b'{"a":"\xc3"}',
    b'{"\xc3\x28":1}',
    b'{"a":"\xc0\x80"}',
    b'{"a":"\xed\xa0\x80"}',
    b'{"a":"\xed\xa0\xbd\xed\xb8\x80"}',
    b'{"a":"\xf4\x90\x80\x80"}',
    b"\xff\xfe{\0}\0",
    b"\xfe\xff\0{\0}",
    b"\x80",
    b'{"a":"\\ud800"}',
    b'{"a":"\\udc00"}',
    b'{"a":"\\ud83d"}',
    b'{"a":"\\ude00\\ud83d"}',
    b'{"a":"\\ud83d x \\ude00"}',
    b'{"a":"\\ud83d\\u0041"}',
    b'{"\\ud800":1}',
    b'{"a":[{"\\udfff":1}]}',
    b'{"user":"\\ud800"}',
    b'{"metadata":{"\\ud800":"x"}}',
]
NOT_OBJECTS = ["[]", "1", '"a"', "null", "true", "[{}]", ' "{}" ', "-0"]


@pytest.mark.parametrize("body", DUPLICATES)
def test_a_member_that_is_named_twice_at_any_depth_has_no_form(body: str) -> None:
    assert parse(body.encode()) is why.DUPLICATE_MEMBER


@pytest.mark.parametrize("body", NOT_NUMBERS)
def test_nan_and_infinity_have_no_form(body: str) -> None:
    assert parse(body.encode()) is why.BAD_NUMBER


@pytest.mark.parametrize("body", NOT_JSON)
def test_what_is_not_strict_json_has_no_form(body: str) -> None:
    assert parse(body.encode()) is why.BAD_JSON


@pytest.mark.parametrize("body", NOT_TEXT)
def test_what_is_not_utf8_or_holds_half_a_surrogate_pair_has_no_form(body: bytes) -> None:
    assert parse(body) is why.BAD_TEXT


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-16", "utf-32", "utf-8-sig"])
def test_other_encodings_and_byte_order_marks_have_no_form(codec: str) -> None:
    assert parse('{"a":"é"}'.encode(codec)) in (why.BAD_JSON, why.BAD_TEXT)
    assert parse('{"a":1}'.encode(codec)) in (why.BAD_JSON, why.BAD_TEXT)


@pytest.mark.parametrize("body", NOT_OBJECTS)
def test_what_is_no_object_has_no_form(body: str) -> None:
    assert parse(body.encode()) is why.NOT_AN_OBJECT


def test_a_name_may_come_again_in_another_object() -> None:
    assert isinstance(canonical('{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}],"A":2}'), bytes)


def test_whole_surrogate_pairs_and_escaped_backslashes_are_text() -> None:
    assert canonical(b'{"a":"\\ud83d\\ude00","b":"\\\\ud800"}') == '{"a":"😀","b":"\\\\ud800"}'.encode()


# ------------------------------------------------------------------------------------------------ depth


def arrays(depth: int, inside: str = "") -> str:
    """An object that holds arrays, `depth` levels in all."""
    return '{"a":' + "[" * (depth - 1) + inside + "]" * (depth - 1) + "}"


def objects(depth: int, inside: str = "1") -> str:
    return '{"a":' * depth + inside + "}" * depth


def mixed(depth: int, inside: str = "") -> str:
    pairs, odd = divmod(depth - 1, 2)
    middle = "[" + inside + "]" if odd else inside or "1"
    return '{"a":' + '[{"b":' * pairs + middle + "}]" * pairs + "}"


SHAPES = [arrays, objects, mixed]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("depth", [2, 3, 127, 128])
def test_up_to_128_levels_are_read(shape: Any, depth: int) -> None:
    assert isinstance(canonical(shape(depth)), bytes)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("depth", [129, 130, 200, 254, 255, 1000, 5000, 100_000])
def test_more_than_128_levels_are_too_deep(shape: Any, depth: int) -> None:
    assert parse(shape(depth).encode()) is why.TOO_DEEP


def test_the_limit_is_128() -> None:
    assert MAX_DEPTH == 128


@pytest.mark.parametrize(
    "text", ["[" * 1000, "{" * 100_000, "]" * 500, '\\"[{' * 300, "\\\\", "[\\\\", '\\\\\\"[' * 200]
)
def test_brackets_inside_strings_do_not_count(text: str) -> None:
    assert isinstance(canonical('{"a":"' + text + '","b":[{"' + text + '":1}]}'), bytes)
    assert isinstance(canonical(arrays(128, f'"{text}"')), bytes)
    assert parse(arrays(129, f'"{text}"').encode()) is why.TOO_DEEP


def test_many_brackets_side_by_side_are_not_deep() -> None:
    assert isinstance(canonical('{"a":[' + ",".join(["[{}]"] * 5000) + "]}"), bytes)


@pytest.mark.parametrize("open_", ["[", "{", '{"a":', "[{", '{"a":['])
@pytest.mark.parametrize("times", [100, 1000, 100_000])
def test_unfinished_nesting_of_any_depth_never_raises(open_: str, times: int) -> None:
    assert parse((open_ * times).encode()) in (why.BAD_JSON, why.TOO_DEEP)


# ------------------------------------------------------------------------------------------------ never raises

fragments = st.sampled_from(
    [b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\", b"\\u", b"d800", b"a", b"1", b"-", b"e", b"NaN"]
)


@given(st.lists(fragments | st.binary(max_size=2), max_size=12).map(b"".join))
def test_any_bytes_get_a_form_or_a_reason(body: bytes) -> None:
    found = canonical(body)
    if isinstance(found, bytes):
        assert same(lossless(found), lossless(body.decode()))
    else:
        assert found.kind == "bypass"


@given(documents, st.data())
def test_one_flipped_byte_never_raises(document: dict[str, Any], data: st.DataObject) -> None:
    text = bytearray(render(document, data.draw).encode())
    text[data.draw(st.integers(0, len(text) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert isinstance(canonical(bytes(text)), bytes | Reason)
