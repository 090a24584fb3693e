"""Header fields, through the front door: what is forwarded is keyed or known to be inert, and no credential stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.words import FACTS, HEADERS, SECRET, asked, chat, digest, intake

import payonce.intake
from payonce.core.directives import NAMES as DIRECTIVES
from payonce.core.fields import (
    CREDENTIALS,
    HOP_BY_HOP,
    INERT,
    INERT_PREFIXES,
    NOT_STORED,
    NOT_STORED_PREFIXES,
    REBUILT,
    REROUTING,
    is_inert,
    returned_headers,
    storable_headers,
)
from payonce.core.keying import KeyMaker, KeyParts, encode
from payonce.core.rules import make_entry
from payonce.model.call import Headers
from payonce.model.entry import seal
from payonce.model.ports import Head

UNKNOWN = ["anthropic-beta", "x-anthropic-beta", "openai-beta", "anthropic-version", "x-openrouter-metadata"]
UNKNOWN += ["x-openrouter-experimental-metadata", "x-or-endpoint-id", "x-openrouter-cache-salt", "openai-organization"]
UNKNOWN += ["openai-project", "cookie", "x-new-thing", "x-payonce-else", "authorization2", "x-stainless", "range"]
UNKNOWN += ["helicone-cache-enabled", "x-portkey-config", "content-language", "if-none-match", "x-forwarded", "b3x"]
ON = (b"x-openrouter-cache", b"true")


def names(headers: Headers) -> set[bytes]:
    return {name for name, _ in headers}


def forwarded(*more: tuple[bytes, bytes]) -> Headers:
    return asked(None, *more).call.headers


def test_the_tables_do_not_overlap() -> None:
    tables = [HOP_BY_HOP, REBUILT, REROUTING, CREDENTIALS, INERT, DIRECTIVES]
    assert sum(map(len, tables)) == len(frozenset().union(*tables))
    assert all(name == name.lower() for table in tables for name in table)
    assert not any(is_inert(name) for table in tables if table is not INERT for name in table)


# What the tests below run over are the tables themselves; a name that leaves or enters one must do so here too.
CONNECTION = """connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer
    transfer-encoding upgrade http2-settings"""
REROUTES = """forwarded via x-forwarded-for x-forwarded-host x-forwarded-proto x-forwarded-port x-forwarded-prefix
    x-forwarded-server x-real-ip x-original-url x-original-host x-rewrite-url x-http-method-override x-http-method
    x-method-override x-host true-client-ip cf-connecting-ip"""
AT_LEAST = {
    "connection": (HOP_BY_HOP, CONNECTION),
    "rebuilt": (REBUILT, "host content-length accept-encoding expect"),
    "rerouting": (REROUTING, REROUTES),
    "credentials": (CREDENTIALS, "authorization x-api-key api-key x-goog-api-key"),
}


@pytest.mark.parametrize("table", AT_LEAST)
def test_no_name_is_lost_from_a_table_that_keeps_things_apart(table: str) -> None:
    present, wanted = AT_LEAST[table]
    assert set(wanted.encode().split()) <= present


def test_no_name_is_declared_inert_by_the_way() -> None:
    """Each of these leaves the answer as it is: who asks, for whom, in which trace, by which client library."""
    assert set(INERT) == set(
        (
            b"accept accept-language user-agent content-type http-referer referer origin x-title x-openrouter-title "
            b"x-openrouter-categories x-session-id x-request-id x-correlation-id x-client-request-id idempotency-key "
            b"traceparent tracestate baggage sentry-trace b3 x-amzn-trace-id x-cloud-trace-context x-grok-conv-id "
            b"priority pragma dnt date"
        ).split()
    )
    assert set(INERT_PREFIXES) == {b"x-stainless-", b"sec-fetch-", b"sec-ch-", b"x-b3-", b"x-datadog-"}


@pytest.mark.parametrize("name", sorted(INERT - {b"content-type"}) + [prefix + b"x" for prefix in INERT_PREFIXES])
def test_an_inert_field_is_forwarded_and_leaves_the_key(name: bytes) -> None:
    assert (name, b"a") in forwarded((name, b"a"))
    assert digest(None, (name, b"a")) == digest(None, (name, b"b")) == digest()


def test_the_content_type_is_forwarded_and_leaves_the_key() -> None:
    other = (HEADERS[0], (b"content-type", b"application/json; charset=utf-8"))
    assert digest(headers=other) == digest()
    assert asked(headers=other).call.headers == other


@pytest.mark.parametrize("name", sorted(REROUTING))
def test_a_field_that_could_reroute_is_neither_forwarded_nor_keyed(name: bytes) -> None:
    assert name not in names(forwarded((name, b"a")))
    assert digest(None, (name, b"a")) == digest()


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP | REBUILT))
def test_a_field_of_the_connection_is_neither_forwarded_nor_keyed(name: bytes) -> None:
    assert name not in names(forwarded((name, b"a")))
    assert digest(None, (name, b"a")) == digest()


@pytest.mark.parametrize("name", UNKNOWN)
def test_any_other_field_is_forwarded_as_it_is_and_moves_the_key(name: str) -> None:
    field = name.encode()
    assert (field, b"a") in forwarded((field, b"a"))
    keys = {
        digest(),
        digest(None, (field, b"a")),
        digest(None, (field, b"b")),
        digest(None, (field, b"")),
        digest(None, (field, b"A")),
        digest(None, (field, b"a"), (field, b"a")),
        digest(None, (field, b"a"), (field, b"b")),
        digest(None, (field, b"b"), (field, b"a")),
        digest(None, (field, b"a,b")),
    }
    assert len(keys) == 9


def test_the_order_of_fields_with_different_names_does_not_matter() -> None:
    a, b = (b"x-a", b"1"), (b"x-b", b"2")
    assert digest(None, a, b) == digest(None, b, a)
    assert digest(None, a, b) != digest(None, (b"x-a", b"2"), (b"x-b", b"1"))


@pytest.mark.parametrize("name", sorted(CREDENTIALS))
def test_a_credential_is_forwarded_and_makes_the_tenant(name: bytes) -> None:
    a, b = asked(None, (name, b"sk-1")), asked(None, (name, b"sk-2"))
    assert (name, b"sk-1") in a.call.headers
    assert len({a.tenant, b.tenant, asked().tenant}) == 3
    assert len({a.key.digest, b.key.digest, digest()}) == 3


@pytest.mark.parametrize("name", sorted(CREDENTIALS))
def test_no_credential_stays_in_the_key_parts_the_entry_or_the_ask(
    name: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[KeyParts] = []

    class Spy(KeyMaker):
        def __init__(self, parts: KeyParts) -> None:
            seen.append(parts)
            super().__init__(parts)

    monkeypatch.setattr(payonce.intake, "KeyMaker", Spy)
    canary = b"sk-or-v1-CANARY"
    found = asked(None, (name, canary), ON)
    (parts,) = seen
    assert canary not in encode(parts)
    assert name not in names(parts.headers)
    kept = make_entry(found, Head(200, ()), b"{}", FACTS, found.scopes, (0,) * 5, stored_at=0.0, took=0.0, jitter=0.0)
    assert canary not in seal(kept, found.key.slot, SECRET)
    assert "CANARY" in repr(found.call.headers)
    assert "CANARY" not in repr(found).replace(repr(found.call.headers), "")


@pytest.mark.parametrize("name", sorted(CREDENTIALS))
def test_sharing_one_tenant_forwards_each_ones_own_credential(name: bytes) -> None:
    door = intake(share="team")
    a, b = asked(None, (name, b"sk-1"), door=door), asked(None, (name, b"sk-2"), door=door)
    assert a.key == b.key
    assert (name, b"sk-1") in a.call.headers
    assert (name, b"sk-2") in b.call.headers


@pytest.mark.parametrize("name", sorted(DIRECTIVES))
def test_a_directive_is_not_forwarded(name: bytes) -> None:
    value = b"true" if name == b"x-openrouter-cache" else b"7"
    assert name not in names(forwarded((name, value)))


@pytest.mark.parametrize("name", sorted(DIRECTIVES))
def test_openrouters_own_directives_are_forwarded_where_the_operator_wants_it(name: bytes) -> None:
    value = b"true" if name == b"x-openrouter-cache" else b"7"
    found = asked(None, (name, value), door=intake(forward_cache_headers=True))
    assert ((name, value) in found.call.headers) is name.startswith(b"x-openrouter-")


@pytest.mark.parametrize("name", sorted(DIRECTIVES - {b"x-payonce-namespace", b"x-payonce-sample"}))
def test_a_directive_that_names_no_key_space_leaves_the_key(name: bytes) -> None:
    value = b"true" if name == b"x-openrouter-cache" else b"7"
    assert digest(None, (name, value)) == digest()


def test_namespace_and_sample_are_key_spaces_of_their_own() -> None:
    keys = {digest()}
    for name in (b"x-payonce-namespace", b"x-payonce-sample"):
        keys |= {digest(None, (name, b"0")), digest(None, (name, b"1"))}
    assert len(keys) == 5


def test_a_field_that_the_operator_declares_inert_leaves_the_key() -> None:
    door = intake(ignore_headers=("x-run-id",))
    assert digest(None, (b"x-run-id", b"1"), door=door) == digest(door=door)
    assert (b"x-run-id", b"1") in asked(None, (b"x-run-id", b"1"), door=door).call.headers
    assert digest(None, (b"x-run-ids", b"1"), door=door) != digest(door=door)


# ------------------------------------------------------------------------------------------------ Connection


@pytest.mark.parametrize("value", [b"x-foo", b"X-Foo", b"close, x-foo", b" x-foo ,keep-alive", b"a,,X-FOO"])
def test_what_connection_names_is_neither_forwarded_nor_keyed(value: bytes) -> None:
    foo, connection = (b"x-foo", b"1"), (b"connection", value)
    assert digest(None, foo) != digest()
    assert digest(None, foo, connection) == digest(None, connection) == digest()
    assert b"x-foo" not in names(forwarded(foo, connection))


def test_several_connection_fields_add_up() -> None:
    more = (b"connection", b"x-a"), (b"x-a", b"1"), (b"connection", b"x-b"), (b"x-b", b"1"), (b"x-c", b"1")
    assert digest(None, *more) == digest(None, (b"x-c", b"1"))


@pytest.mark.parametrize("value", [b"x-foo2", b"x-fo", b"xx-foo", b"x-foo;a", b'"x-foo"', b""])
def test_connection_names_whole_fields_only(value: bytes) -> None:
    assert digest(None, (b"x-foo", b"1"), (b"connection", value)) == digest(None, (b"x-foo", b"1"))


def test_a_credential_that_connection_names_still_makes_the_tenant() -> None:
    found = asked(None, (b"connection", b"authorization"))
    assert found.tenant == asked().tenant
    assert b"authorization" not in names(found.call.headers)


# ------------------------------------------------------------------------------------------------ properties

known = sorted(HOP_BY_HOP | REBUILT | REROUTING | CREDENTIALS | INERT | DIRECTIVES)
token = st.text("abcxyz019-_", min_size=1, max_size=5).map(str.encode)
# The settled fields would change whether the cache takes part, not the key.
unsettled = st.sampled_from([*known, *(n.encode() for n in UNKNOWN)]) | token
field_names = unsettled.filter(lambda n: n not in DIRECTIVES | {b"content-type", b"content-encoding"})
field_values = st.sampled_from([b"", b"a", b"b", b"x-foo", b"anthropic-beta"])
some_fields = st.lists(st.tuples(field_names, field_values), max_size=5).map(tuple)


@given(some_fields, some_fields)
def test_requests_that_the_upstream_could_tell_apart_have_different_keys(a: Headers, b: Headers) -> None:
    """The echo upstream: whatever of two forwarded requests differs, and is not inert, differs in the key."""
    first, second = asked(None, *a), asked(None, *b)
    seen = [
        sorted((f for f in call.headers if not is_inert(f[0]) and f[0] not in CREDENTIALS), key=lambda f: f[0])
        for call in (first.call, second.call)
    ]
    who = first.tenant == second.tenant
    assert (first.key == second.key) is (who and seen[0] == seen[1])


@given(some_fields, st.randoms(use_true_random=False))
def test_fields_in_another_order_are_the_same_request(fields: Headers, random: object) -> None:
    by_name: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        by_name.setdefault(name, []).append(value)
    order = list(by_name)
    random.shuffle(order)  # type: ignore[attr-defined]
    mixed = [(name, value) for name in order for value in by_name[name]]
    assert digest(None, *mixed) == digest(None, *fields)


@given(some_fields)
def test_nothing_is_forwarded_that_did_not_come(fields: Headers) -> None:
    found = forwarded(*fields)
    rest = iter((*HEADERS, *fields))
    assert all(field in rest for field in found)


def test_upper_case_values_and_the_space_around_them() -> None:
    assert digest(None, (b"x-a", b" v\t")) == digest(None, (b"x-a", b"v"))
    assert digest(None, (b"x-a", b"V")) != digest(None, (b"x-a", b"v"))
    assert digest(None, (b"x-a", b"v v")) != digest(None, (b"x-a", b"v  v"))


def test_query_and_endpoint_move_the_key() -> None:
    assert len({digest(), digest(query=b"a=1"), digest(query=b"a=2"), digest(query=b"a=1&")}) == 4
    assert asked(query=b"a=1").call.query == b"a=1"


# ------------------------------------------------------------------------------------------------ answers


@pytest.mark.parametrize("name", [b"Transfer-Encoding", b"Connection", b"Keep-Alive", b"TE", b"Trailer", b"Upgrade"])
def test_the_upstreams_own_connection_is_not_the_clients(name: bytes) -> None:
    assert returned_headers([(name, b"a"), (b"X-Generation-Id", b"g")]) == ((b"x-generation-id", b"g"),)


def test_what_the_upstreams_connection_names_is_not_returned() -> None:
    assert returned_headers([(b"Connection", b"X-Foo"), (b"X-FOO", b"1"), (b"x-bar", b"2")]) == ((b"x-bar", b"2"),)


def test_no_answer_opens_the_gateway_to_web_pages() -> None:
    assert returned_headers([(b"Access-Control-Allow-Origin", b"*"), (b"access-control-max-age", b"9")]) == ()


def test_what_a_client_needs_of_an_error_is_returned() -> None:
    fields = ((b"retry-after", b"3"), (b"x-ratelimit-reset", b"9"), (b"cf-ray", b"x"), (b"x-should-retry", b"true"))
    assert returned_headers(fields) == fields


@pytest.mark.parametrize("name", sorted(NOT_STORED) + [prefix + b"x" for prefix in NOT_STORED_PREFIXES])
def test_what_belongs_to_one_moment_is_not_stored(name: bytes) -> None:
    assert storable_headers(((name, b"a"), (b"content-type", b"text/event-stream"))) == (
        (b"content-type", b"text/event-stream"),
    )


def test_what_describes_the_answer_is_stored_in_order() -> None:
    fields = (
        (b"content-type", b"application/json"),
        (b"x-generation-id", b"gen-1"),
        (b"x-new", b"1"),
        (b"x-new", b"2"),
    )
    assert storable_headers(fields) == fields


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: x", b"a\nb", b"a\0b", b"\r"])
def test_a_value_that_could_split_a_head_is_not_stored(value: bytes) -> None:
    assert storable_headers(((b"x-a", value), (b"x-b", b"1"))) == ((b"x-b", b"1"),)


def test_the_body_is_keyed_whatever_the_headers_say() -> None:
    assert digest(chat(seed=1), (b"content-length", b"2")) != digest(chat(seed=2), (b"content-length", b"2"))
