"""What a client says about caching: OpenRouter's headers, RFC 9111's and our own, read without ever raising."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.words import admit, asked, digest

from payonce.core.directives import MAX_TTL, NAMES, SILENCE, Directives, parse_ttl, read_directives
from payonce.intake import Refused
from payonce.model import reason as why
from payonce.model.reason import Kind, Reason


def read(*fields: tuple[str, str]) -> Directives:
    found = read_directives(tuple((name.encode(), value.encode()) for name, value in fields))
    assert isinstance(found, Directives)
    return found


def control(value: str) -> Directives:
    return read(("cache-control", value))


# ------------------------------------------------------------------------------------------------ TTL

TTLS = [
    ("60", 60),
    ("60abc", 60),
    ("1.5", 1),
    ("-5", 1),
    ("0", 1),
    ("-0", 1),
    ("+7", 7),
    ("", None),
    (" ", None),
    (" 12", 12),
    ("\t12\t", 12),
    ("12 13", 12),
    ("abc", None),
    ("abc60", None),
    ("-", None),
    ("+", None),
    ("--5", None),
    ("+-5", None),
    ("- 5", None),
    (".5", None),
    ("1e9", 1),
    ("007", 7),
    ("0" * 30 + "60", 60),
    ("0" * 5000 + "61", 61),
    ("86400", 86400),
    ("86401", MAX_TTL),
    ("9" * 30, MAX_TTL),
    ("9" * 6000, MAX_TTL),
    ("-" + "9" * 6000, 1),
    ("1_000", 1),
    ("1,000", 1),
    ("Infinity", None),
    ("NaN", None),
    ("\u0661", None),
    ("\u00a05", None),
]


@pytest.mark.parametrize(("text", "seconds"), TTLS, ids=[repr(text[:12]) for text, _ in TTLS])
def test_a_ttl_is_read_as_parse_int_reads_it_and_clamped(text: str, seconds: int | None) -> None:
    assert parse_ttl(text.encode()) == seconds
    assert read(("x-openrouter-cache-ttl", text)).ttl == seconds


@given(
    st.integers(-(10**20), 10**20),
    st.sampled_from(["", "s", ".9", " 5", "e3", "\0"]),
    st.sampled_from(["", " ", "\t "]),
)
def test_leading_digits_count_and_nothing_after_them(number: int, tail: str, space: str) -> None:
    assert parse_ttl(f"{space}{number}{tail}".encode()) == min(86400, max(1, number))


@given(st.binary(max_size=30))
def test_a_ttl_is_none_or_between_a_second_and_a_day(value: bytes) -> None:
    found = parse_ttl(value)
    assert (found is None) is (re.match(rb"\s*[+-]?[0-9]", value) is None)
    assert found is None or 1 <= found <= 86400


def test_the_clients_ttl_outranks_the_policys() -> None:
    assert asked(None, (b"x-openrouter-cache-ttl", b"60abc")).terms.ttl == 60
    assert asked(None, (b"x-openrouter-cache-ttl", b"abc")).terms.ttl == 3600
    assert asked().terms.ttl == 3600


# ------------------------------------------------------------------------------------------------ switches


@pytest.mark.parametrize(
    ("value", "meaning"),
    [("true", True), ("TRUE", True), (" true ", True), ("false", False), ("False", False)]
    + [(value, None) for value in ("", "1", "0", "yes", "on", "truee", "t rue", "true,false", '"true"')],
)
def test_the_cache_is_switched_by_true_and_false_and_nothing_else(value: str, meaning: bool | None) -> None:
    assert read(("x-openrouter-cache", value)).cache is meaning


@pytest.mark.parametrize(
    ("value", "meaning"), [("true", True), ("True", True), ("false", False), ("1", False), ("", False)]
)
def test_only_true_clears(value: str, meaning: bool) -> None:
    found = read(("x-openrouter-cache-clear", value))
    assert found.clear is meaning
    assert found.plain is not meaning


def test_silence_says_nothing() -> None:
    assert read_directives(()) is SILENCE
    assert read(("x-other", "no-store"), ("cache-controls", "no-store")) == Directives()
    assert SILENCE.plain


# ------------------------------------------------------------------------------------------------ Cache-Control


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("no-store", {"no_store": True}),
        ("no-cache", {"no_cache": True}),
        ("only-if-cached", {"only_if_cached": True}),
        ("NO-STORE", {"no_store": True}),
        ("no-cache, no-store", {"no_cache": True, "no_store": True}),
        ("no-cache,no-store", {"no_cache": True, "no_store": True}),
        (" ,, no-cache ,", {"no_cache": True}),
        ("no-cache=x", {"no_cache": True}),
        ("max-age=0", {"max_age": 0}),
        ("max-age=60", {"max_age": 60}),
        ('max-age="60"', {"max_age": 60}),
        ("max-age= 60", {"max_age": 60}),
        ("Max-Age=60", {"max_age": 60}),
        ("max-age", {}),
        ("max-age=", {}),
        ("max-age=-1", {}),
        ("max-age=1.5", {}),
        ("max-age=abc", {}),
        ("max-age=60abc", {}),
        ("max-age=1_0", {}),
        ("max-age=\u0661", {}),
        ("stale-while-revalidate=5", {"stale_while_revalidate": 5}),
        ("stale-if-error=6", {"stale_if_error": 6}),
        (
            "max-age=1, stale-if-error=2, stale-while-revalidate=3",
            {"max_age": 1, "stale_if_error": 2, "stale_while_revalidate": 3},
        ),
        ("max-stale=5, min-fresh=5, no-transform, private, x=y", {}),
        ("nostore", {}),
        ("no_store", {}),
        ("", {}),
        ("=", {}),
        ("=no-store", {}),
    ],
)
def test_cache_control_is_read_and_what_is_unknown_is_ignored(value: str, said: dict[str, object]) -> None:
    assert control(value) == Directives(**said)  # type: ignore[arg-type]


def test_several_fields_add_up() -> None:
    found = read(("cache-control", "no-cache"), ("cache-control", "max-age=5"), ("x-openrouter-cache", "true"))
    assert found == Directives(no_cache=True, max_age=5, cache=True)


@pytest.mark.parametrize("value", ["no-cache", "only-if-cached", "max-age=5"])
def test_what_depends_on_the_moment_is_not_plain(value: str) -> None:
    assert not control(value).plain
    assert not asked(None, (b"cache-control", value.encode())).plain


@pytest.mark.parametrize("value", ["stale-if-error=5", "stale-while-revalidate=5", "no-transform"])
def test_what_always_means_the_same_is_plain(value: str) -> None:
    assert control(value).plain


def test_directives_reach_the_ask() -> None:
    value = b"no-cache, only-if-cached, max-age=7, stale-while-revalidate=8, stale-if-error=9"
    found = asked(None, (b"cache-control", value))
    assert (found.refresh, found.clear, found.only_if_cached, found.max_age) == (True, False, True, 7)
    assert (found.terms.stale_while_revalidate, found.terms.stale_if_error) == (8, 9)
    cleared = asked(None, (b"x-openrouter-cache-clear", b"true"))
    assert (cleared.refresh, cleared.clear) == (True, True)


# ------------------------------------------------------------------------------------------------ our own


@pytest.mark.parametrize("value", ["a", "A.b_c-9", "x" * 64, " padded "])
def test_a_namespace_is_a_short_plain_name(value: str) -> None:
    assert read(("x-payonce-namespace", value)).namespace == value.strip()


@pytest.mark.parametrize("value", ["", " ", "a b", "a/b", "a:b", "x" * 65, "é", "a\0", "a\nb", "..%2f", "a,b"])
def test_any_other_namespace_is_refused(value: str) -> None:
    assert read_directives(((b"x-payonce-namespace", value.encode()),)) is why.BAD_NAMESPACE


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        ("a", ("a",)),
        ("b, a ,b", ("a", "b")),
        ("run:1,x.y_z-9", ("run:1", "x.y_z-9")),
        ("", ()),
        (" , ,", ()),
        (",".join(f"t{n:02}" for n in range(16)), tuple(f"t{n:02}" for n in range(16))),
    ],
)
def test_tags_are_a_set_of_names(value: str, tags: tuple[str, ...]) -> None:
    assert read(("x-payonce-tags", value)).tags == tags
    assert asked(None, (b"x-payonce-tags", value.encode())).tags == tags


@pytest.mark.parametrize("value", ["a b", "é", "x" * 65, "a/b", ",".join(map(str, range(17))), 'a,"b"'])
def test_any_other_tags_are_refused(value: str) -> None:
    assert read_directives(((b"x-payonce-tags", value.encode()),)) is why.BAD_TAGS


@pytest.mark.parametrize(("value", "number"), [("0", 0), ("7", 7), ("007", 7), ("999999999", 999999999), (" 7 ", 7)])
def test_a_sample_is_a_number(value: str, number: int) -> None:
    assert read(("x-payonce-sample", value)).sample == number


@pytest.mark.parametrize("value", ["", "-1", "+1", "1.0", "1000000000", "a", "1 2", "\u0661"])
def test_any_other_sample_is_refused(value: str) -> None:
    assert read_directives(((b"x-payonce-sample", value.encode()),)) is why.BAD_SAMPLE


@pytest.mark.parametrize(
    ("name", "value"), [(b"x-payonce-namespace", b"a b"), (b"x-payonce-tags", b"a b"), (b"x-payonce-sample", b"x")]
)
def test_a_request_with_a_malformed_header_of_our_own_is_refused(name: bytes, value: bytes) -> None:
    found = admit(None, (name, value))
    assert isinstance(found, Refused)
    assert found.reason.status == 400


def test_samples_and_namespaces_are_spaces_that_do_not_touch() -> None:
    spaces = [(), ((b"x-payonce-sample", b"0"),), ((b"x-payonce-sample", b"1"),), ((b"x-payonce-namespace", b"0"),)]
    spaces += [((b"x-payonce-namespace", b"0"), (b"x-payonce-sample", b"0"))]
    assert len({digest(None, *space) for space in spaces}) == len(spaces)
    assert digest(None, (b"x-payonce-sample", b"07")) == digest(None, (b"x-payonce-sample", b"7"))


# ------------------------------------------------------------------------------------------------ never raises

said = st.sampled_from(
    [b"no-store", b"max-age=", b"9" * 12, b"=", b",", b'"', b" ", b"true", b"\xff", b"\0", b"a", b"stale-if-error=1"]
)
any_value = st.lists(said, max_size=6).map(b"".join) | st.binary(max_size=20)


@given(st.lists(st.tuples(st.sampled_from(sorted(NAMES)) | st.binary(max_size=8), any_value), max_size=6))
def test_any_headers_are_read_or_refused_and_never_raise(fields: list[tuple[bytes, bytes]]) -> None:
    found = read_directives(tuple(fields))
    if isinstance(found, Reason):
        assert found.kind is Kind.REFUSED
    else:
        for seconds in (found.ttl, found.max_age, found.stale_if_error, found.stale_while_revalidate):
            assert seconds is None or 0 <= seconds < 10**9
