"""How keys are made: every part counts, no two tuples share an encoding, and the format is pinned."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.words import SECRET, asked, chat, digest

from payonce.core.keying import VERSION, KeyMaker, KeyParts, encode, tenant_id, upstream_identity
from payonce.model.call import Headers
from payonce.model.key import Key, parse_key

PLAIN = KeyParts(b"tenant", b"https://u:443/v1", b"chat/completions", b"q=1", b"ns", b"0", ((b"x-a", b"1"),), b"{}")
OTHER = dict.fromkeys(KeyParts._fields, b"other") | {"headers": ((b"x-a", b"2"),)}

few = st.binary(max_size=6) | st.sampled_from([b"", b"\0", b"\0" * 8, bytes(7) + b"\x01", b"a:b", b"a", b":b"])
some_headers = st.lists(st.tuples(few, few), max_size=3).map(tuple)
parts = st.builds(KeyParts, few, few, few, few, few, few, some_headers, few)


def make_key(parts: KeyParts, *, stream: bool) -> Key:
    return KeyMaker(parts).key(parts.body, stream=stream)


def _decode(text: bytes) -> tuple[bytes, KeyParts]:
    """The inverse of `encode`, written from its description: that there is one is what injective means."""
    pieces = []
    while text:
        size = int.from_bytes(text[:8], "big")
        assert len(text) >= 8 + size
        pieces.append(text[8 : 8 + size])
        text = text[8 + size :]
    version, *first = pieces[:7]
    count = int.from_bytes(pieces[7], "big")
    fields = pieces[8 : 8 + 2 * count]
    assert len(pieces) == 9 + 2 * count
    return version, KeyParts(*first, tuple(zip(fields[::2], fields[1::2], strict=True)), pieces[-1])


@given(parts)
def test_an_encoding_tells_the_parts_it_was_made_of(some: KeyParts) -> None:
    assert _decode(encode(some)) == (VERSION, some)


@given(parts, parts)
def test_two_tuples_share_an_encoding_and_a_key_only_if_they_are_equal(a: KeyParts, b: KeyParts) -> None:
    assert (encode(a) == encode(b)) is (a == b)
    assert (make_key(a, stream=False) == make_key(b, stream=False)) is (a == b)


def _flat(some: KeyParts) -> list[bytes]:
    return [*some[:6], *(piece for field in some.headers for piece in field), some.body]


def _built(flat: list[bytes], fields: int) -> KeyParts:
    middle = flat[6 : 6 + 2 * fields]
    return KeyParts(*flat[:6], tuple(zip(middle[::2], middle[1::2], strict=True)), flat[-1])


@given(parts, st.data())
def test_moving_a_boundary_between_neighbouring_parts_makes_another_key(some: KeyParts, data: st.DataObject) -> None:
    flat = _flat(some)
    place = data.draw(st.integers(0, len(flat) - 2))
    both = flat[place] + flat[place + 1]
    cut = data.draw(st.integers(0, len(both)))
    shifted = [*flat[:place], both[:cut], both[cut:], *flat[place + 2 :]]
    moved = _built(shifted, len(some.headers))
    assert (make_key(moved, stream=False) == make_key(some, stream=False)) is (shifted == flat)


@given(parts.filter(lambda some: bool(some.headers)))
def test_a_header_is_not_mistaken_for_a_body_nor_a_pair_for_two(some: KeyParts) -> None:
    name, value = some.headers[-1]
    fewer = some._replace(headers=some.headers[:-1])
    for other in (
        fewer,
        fewer._replace(body=name + value + some.body),
        fewer._replace(body=encode(some)),
        some._replace(headers=(*some.headers, (b"", b""))),
    ):
        assert make_key(other, stream=False) != make_key(some, stream=False)


@pytest.mark.parametrize("name", KeyParts._fields)
def test_each_part_alone_moves_the_key(name: str) -> None:
    changed = PLAIN._replace(**{name: OTHER[name]})
    assert make_key(changed, stream=False).digest != make_key(PLAIN, stream=False).digest
    emptied = PLAIN._replace(**{name: () if name == "headers" else b""})
    assert make_key(emptied, stream=False).digest != make_key(PLAIN, stream=False).digest


@pytest.mark.parametrize("name", [name for name in KeyParts._fields if name != "headers"])
def test_every_bit_of_a_part_counts(name: str) -> None:
    text: bytes = getattr(PLAIN, name)
    keys = {make_key(PLAIN, stream=False).digest}
    for bit in range(8 * len(text)):
        flipped = bytearray(text)
        flipped[bit // 8] ^= 1 << bit % 8
        keys.add(make_key(PLAIN._replace(**{name: bytes(flipped)}), stream=False).digest)
    assert len(keys) == 8 * len(text) + 1


def test_the_framings_of_one_meaning_share_a_digest_and_never_a_slot() -> None:
    stream, whole = make_key(PLAIN, stream=True), make_key(PLAIN, stream=False)
    assert stream.digest == whole.digest
    assert stream.slot != whole.slot
    assert {len(stream.slot), len(whole.slot)} == {33}


# The format of version 1. A change here empties every cache there is: it must be meant, and change VERSION.
def test_key_format_version_1_is_what_it_was() -> None:
    assert VERSION == b"payonce key 1"
    empty = KeyParts(b"", b"", b"", b"", b"", b"", (), b"")
    assert make_key(empty, stream=False).text == GOLDEN["empty"]
    assert make_key(PLAIN, stream=True).text == GOLDEN["plain"]
    two = PLAIN._replace(headers=((b"anthropic-beta", b"a"), (b"anthropic-beta", b"b")), sample=b"")
    assert make_key(two, stream=False).text == GOLDEN["two headers"]
    assert tenant_id(((b"authorization", b"Bearer sk-or-a"),), SECRET) == GOLDEN["tenant"]
    body = (
        '{"messages": [{"role":"user", "content":"h\\u00e9 \\ud83d\\ude00 \\u2028 \\u0000 \\/ \\" é"}], "b":1e2,'
        ' "a":-0,"n":18446744073709551617,"model":"m/one","temperature":0.0, "user":"me", "é":[true,false,null,{}]}'
    )
    more = (b"anthropic-beta", b"x"), (b"x-payonce-namespace", b"n"), (b"x-payonce-sample", b"07")
    assert asked(body.encode(), *more, query=b"a=b").key.text == GOLDEN["request"]


GOLDEN = {
    "empty": "b3:cb1e7f84d6dbe042d219cd741fab8c838b772a6834e4958f0065656611507ac7",
    "plain": "b3:174cc3c21e0c678df10d85c54fa90367e3dd3fb7931923ae25860051275b5e75",
    "two headers": "b3:4ee78a2fea3f332aa2230a16e4a45045e9914bbe680b4b170c9552b9d448ca64",
    "tenant": "7186de5a309ec1f00fa7e8b970f6282d58ff4f1f37a94bf92fd2505d6d3f3266",
    "request": "b3:063ee5fb3eefada802f6591d7fb6358aff5b1421306639a1effa0083b1bbf8db",
}


def test_the_encoding_is_the_documented_one_byte_by_byte() -> None:
    some = KeyParts(b"t", b"u", b"e", b"", b"n", b"", ((b"k", b"v"),), b"{}")
    sized = [b"payonce key 1", b"t", b"u", b"e", b"", b"n", b"", bytes(7) + b"\x01", b"k", b"v", b"{}"]
    assert encode(some) == b"".join(len(part).to_bytes(8, "big") + part for part in sized)


# ------------------------------------------------------------------------------------------------ tenants


credential_names = st.sampled_from([b"authorization", b"x-api-key", b"api-key"])
some_credentials = st.lists(st.tuples(credential_names, few), max_size=3).map(lambda c: tuple(sorted(c)))


@given(some_credentials, some_credentials)
def test_two_sets_of_credentials_are_one_tenant_only_if_they_are_equal(a: Headers, b: Headers) -> None:
    assert (tenant_id(a, SECRET) == tenant_id(b, SECRET)) is (a == b)


def test_a_thousand_tenants_never_share_a_key_for_one_body() -> None:
    prefix = b"Bearer sk-or-v1-" + b"a" * 40
    keys = {
        digest(chat(), headers=((b"authorization", prefix + b"%d" % n), (b"content-type", b"application/json")))
        for n in range(1000)
    }
    assert len(keys) == 1000


def test_the_same_secret_token_in_another_header_is_another_tenant() -> None:
    assert tenant_id(((b"authorization", b"k"),), SECRET) != tenant_id(((b"x-api-key", b"k"),), SECRET)


def test_a_tenant_is_keyed_by_the_installations_secret() -> None:
    credentials = ((b"authorization", b"Bearer sk-or-a"),)
    assert tenant_id(credentials, SECRET) != tenant_id(credentials, bytes(32))
    plain = {hashlib.sha256(text).hexdigest() for text in (b"sk-or-a", b"Bearer sk-or-a")}
    assert tenant_id(credentials, SECRET) not in plain


def test_nobody_is_a_tenant_too() -> None:
    nobody = tenant_id((), SECRET)
    assert nobody != tenant_id(((b"authorization", b""),), SECRET)
    assert len(nobody) == 64


def test_sharing_makes_one_tenant_a_name_and_no_credential_can_pose_as_it() -> None:
    a, b = ((b"authorization", b"a"),), ((b"authorization", b"b"),)
    assert tenant_id(a, SECRET, "team") == tenant_id(b, SECRET, "team") == tenant_id((), SECRET, "team")
    assert tenant_id(a, SECRET, "team") != tenant_id(a, SECRET, "team2")
    for name in (b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"):
        assert tenant_id(((name, b"team"),), SECRET) != tenant_id((), SECRET, "team")


# ------------------------------------------------------------------------------------------------ upstreams


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1/"),
        ("https://openrouter.ai/api/v1", "https://OpenRouter.AI:443/api/v1"),
        ("http://localhost/v1", "http://localhost:80/v1"),
        ("HTTP://localhost/v1", "http://localhost/v1"),
    ],
)
def test_two_spellings_of_one_upstream_are_one_identity(a: str, b: str) -> None:
    assert upstream_identity(a) == upstream_identity(b)


@pytest.mark.parametrize(
    "other",
    [
        "http://openrouter.ai/api/v1",
        "https://openrouter.ai:8443/api/v1",
        "https://openrouter.ai/v1",
        "https://openrouter.ai/API/v1",
        "https://openrouter.ai.example/api/v1",
        "https://openrouter.example/api/v1",
        "http://openrouter.ai:443/api/v1",
    ],
)
def test_scheme_host_port_and_path_are_each_part_of_an_upstreams_identity(other: str) -> None:
    assert upstream_identity(other) != upstream_identity("https://openrouter.ai/api/v1")


def test_two_upstreams_never_share_an_entry_even_when_tenants_do() -> None:
    assert digest(chat()) != digest(chat(), upstream="other")


# ------------------------------------------------------------------------------------------------ as text


@given(st.binary(min_size=32, max_size=32))
def test_a_key_is_shown_so_that_it_can_be_read_back(some: bytes) -> None:
    text = Key(some, stream=True).text
    assert (
        parse_key(text) == parse_key(text.removeprefix("b3:")) == parse_key(text.upper().replace("B3:", "b3:")) == some
    )
    assert parse_key(text[:11]) == some[:4]


@pytest.mark.parametrize("text", ["", "b3:", "b3:ab", "b3:abc", "zz" * 4, "ab" * 33, "b3:b3:abcd", "ab cd", "é" * 4])
def test_what_names_no_key_is_none(text: str) -> None:
    assert parse_key(text) is None


@given(st.text())
def test_reading_a_key_never_raises(text: str) -> None:
    found = parse_key(text)
    assert found is None or 2 <= len(found) <= 32
