"""What crosses in header fields: upstream, back, from the cache, and in the gateway's own errors (threats T6, T18)."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from payonce.testing.clock import FakeClock
from tests.support.gateway import (
    PATH,
    STREAM_HEAD,
    RawUpstream,
    Reply,
    Request,
    RunningGateway,
    answers,
    ask,
    chunk,
    good,
    good_stream,
    post,
    running_gateway,
    whole,
)

ANSWER_FIELDS = (
    *("Date: Sat, 01 Jan 2000 00:00:00 GMT", "Server: their-server", "Set-Cookie: session=secret", "Age: 99"),
    *("X-RateLimit-Remaining: 7", "Retry-After: 3", "Cache-Control: max-age=60, public", "ETag: abc", "Expires: 0"),
    *("X-Generation-Id: gen-1", "X-Custom: kept", "CF-Ray: 1", "Via: 1.1 them", "Vary: Origin", "Alt-Svc: h3"),
    *("Access-Control-Allow-Origin: *", "Strict-Transport-Security: max-age=1", "Cache-Status: theirs; hit"),
    *("X-OpenRouter-Cache-Status: HIT", "X-OpenRouter-Cache-Age: 77", "Connection: X-Hop", "X-Hop: 1"),
    *("Keep-Alive: timeout=5", "Proxy-Authenticate: Basic", "Trailer: X-T", "Upgrade: h2c", "X-Payonce-Error: theirs"),
)


@pytest.fixture(autouse=True)
def _behaves(upstream: RawUpstream) -> None:
    upstream.behave = answers()


@pytest.fixture(scope="module")
def gateway(upstream: RawUpstream) -> Iterator[RunningGateway]:
    with running_gateway(upstream.base_url, clock=FakeClock()) as running:  # ages and lifetimes are what they are
        yield running


def forwarded(
    gateway: RunningGateway, upstream: RawUpstream, *lines: str, body: Any = None, path: str = PATH
) -> Request:
    """What the upstream gets for a request with these further header lines."""
    data = json.dumps(body or ask(repr(lines))).encode()
    head = [f"POST {path} HTTP/1.1", f"Host: {gateway.host}", f"Content-Length: {len(data)}"]
    if not any(line.lower().startswith("content-type") for line in lines):
        head.append("Content-Type: application/json")
    before = len(upstream.requests)
    with gateway.wire() as wire:
        wire.send("\r\n".join([*head, *lines, "", ""]).encode("latin-1") + data)
        assert wire.reply().status == 200
    assert len(upstream.requests) == before + 1
    assert upstream.requests[-1].body == data
    return upstream.requests[-1]


FRAME = {"host", "content-length", "content-type", "accept-encoding"}


@pytest.mark.parametrize("cached", [True, False], ids=["cached", "bypassed"])
def test_only_what_the_client_said_end_to_end_goes_upstream(
    gateway: RunningGateway, upstream: RawUpstream, cached: bool
) -> None:
    lines = [
        *("Authorization: Bearer k", "User-Agent: sdk/1", "X-Title: mine", "X-Custom: a", "X-Custom: b", "Accept: */*"),
        *("HTTP-Referer: https://app.test", "Idempotency-Key: i", "Traceparent: t", "Cookie: c=1", "X-Empty:"),
    ]
    hop = [
        *("Connection: keep-alive, X-Mine, Keep-Alive", "X-Mine: 1", "Keep-Alive: 5", "TE: trailers", "Trailer: X-T"),
        *("Proxy-Authorization: Basic x", "Proxy-Connection: keep-alive", "Accept-Encoding: gzip, br"),
        *("X-Forwarded-For: 1.2.3.4", "X-Forwarded-Host: evil", "X-Forwarded-Proto: https", "Forwarded: for=1.2.3.4"),
        *("X-Real-IP: 1.2.3.4", "X-Original-URL: /admin", "X-Rewrite-URL: /admin", "X-HTTP-Method-Override: DELETE"),
        *("Via: 1.1 x", "X-Host: evil", "X-Method-Override: PUT", "True-Client-IP: 1.2.3.4"),
        *("X-OpenRouter-Cache-TTL: 5", "Cache-Control: max-age=5", "X-Payonce-Namespace: n", "X-Payonce-Tags: a"),
        *("X-Payonce-Sample: 1", f"X-OpenRouter-Cache: {str(cached).lower()}", "X-OpenRouter-Cache-Clear: false"),
    ]
    got = forwarded(gateway, upstream, *lines, *hop)
    assert [(name.lower(), value) for name, value in got.fields if name.lower() not in FRAME] == [
        (line.partition(":")[0].lower(), line.partition(":")[2].strip()) for line in lines
    ]
    assert got["host"] == f"127.0.0.1:{upstream.port}"
    assert got["accept-encoding"] == "identity"
    assert [name.lower() for name, _ in got.fields].count("content-length") == 1


def test_the_gateway_adds_nothing_of_its_own(gateway: RunningGateway, upstream: RawUpstream) -> None:
    assert forwarded(gateway, upstream).names == FRAME


def test_the_bytes_of_a_value_arrive_as_they_were_sent(gateway: RunningGateway, upstream: RawUpstream) -> None:
    for value in ("caf\u00c3\u00a9", "caf\u00e9", "tab\tinside", "\u00f0\u009f\u0098\u0080", '"quoted, \\ text"'):
        assert forwarded(gateway, upstream, f"X-Title: {value}")["x-title"] == value


def test_openrouters_own_cache_headers_go_on_only_if_the_operator_says_so(upstream: RawUpstream) -> None:
    lines = ("X-OpenRouter-Cache: true", "X-OpenRouter-Cache-TTL: 5", "X-Payonce-Tags: a", "Cache-Control: max-age=9")
    with running_gateway(upstream.base_url, forward_cache_headers=True) as gateway:
        names = forwarded(gateway, upstream, *lines).names
    assert names == FRAME | {"x-openrouter-cache", "x-openrouter-cache-ttl"}


def test_a_request_says_its_own_ids_upstream_and_never_those_of_another(
    gateway: RunningGateway, upstream: RawUpstream
) -> None:
    each = ((), ("X-Request-Id: 1",), (), ("X-Request-Id: 2", "Traceparent: t"), ("B3: b",), ())
    for number, lines in enumerate(each):
        got = forwarded(gateway, upstream, "X-Title: a", *lines, body=ask(f"its own ids {number}"))
        said = [(name.lower(), value) for name, value in got.fields]
        wanted = [(line.partition(": ")[0].lower(), line.partition(": ")[2]) for line in ("X-Title: a", *lines)]
        assert [field for field in said if field[0] not in FRAME] == wanted


def test_what_connection_names_is_neither_forwarded_nor_keyed(gateway: RunningGateway, upstream: RawUpstream) -> None:
    body = ask("named by connection")
    gateway.post(body)
    reply = gateway.post(body, X_Mine="1", Connection="X-Mine")
    assert reply.hit


def test_what_is_forwarded_is_in_the_key_or_known_to_be_inert(gateway: RunningGateway, upstream: RawUpstream) -> None:
    body = ask("keyed")
    gateway.post(body)
    for inert in ("User-Agent", "Accept", "X-Title", "Traceparent", "X-Stainless-Os", "Idempotency-Key"):
        assert gateway.post(body, **{inert: "other"}).hit, inert
    for keyed in ("Cookie", "X-Custom", "OpenAI-Organization", "Anthropic-Beta", "X-Api-Key", "Range"):
        assert not gateway.post(body, **{keyed: "other"}).hit, keyed
        assert gateway.post(body, **{keyed: "other"}).hit, keyed
        assert not gateway.post(body, **{keyed: "another"}).hit, keyed


def test_an_answers_own_fields_come_back_and_hop_by_hop_ones_do_not(
    gateway: RunningGateway, upstream: RawUpstream
) -> None:
    upstream.behave = answers(good(), *ANSWER_FIELDS)
    for name, fields in (("miss", {}), ("bypass", {"X-OpenRouter-Cache": "false"})):
        reply = gateway.post(ask(f"fields {name}"), **fields)
        assert reply["set-cookie"] == "session=secret"
        assert reply["x-ratelimit-remaining"] == "7"
        assert reply["x-custom"] == "kept"
        assert reply["retry-after"] == "3"
        assert "2000" not in reply["date"]
        assert [n for n, _ in reply.fields].count("date") == 1
        assert [n for n, _ in reply.fields].count("cache-status") == 1
        assert reply["cache-status"].startswith("payonce; ")
        for gone in ("server", "connection", "x-hop", "keep-alive", "proxy-authenticate", "trailer", "upgrade"):
            assert reply[gone] == "", gone
        assert not [n for n, _ in reply.fields if n.startswith("access-control")]
        assert reply["content-length"] == str(len(good())) or reply.chunked


def test_a_hit_repeats_what_belongs_to_the_answer_and_nothing_of_its_moment(
    gateway: RunningGateway, upstream: RawUpstream
) -> None:
    upstream.behave = answers(good(), *ANSWER_FIELDS)
    gateway.post(ask("moment"))
    for _ in range(3):
        reply = gateway.post(ask("moment"))
        assert {name for name, _ in reply.fields} == {
            *("date", "content-type", "content-length", "x-generation-id", "x-custom", "cache-status", "age"),
            *("x-openrouter-cache-status", "x-openrouter-cache-age", "x-openrouter-cache-ttl"),
            *("x-openrouter-cache-source-id", "x-payonce-request-id"),
        }
        assert reply["age"] == reply["x-openrouter-cache-age"] == "0"
        assert "2000" not in reply["date"]


def stream(conn: socket.socket, request: Request) -> None:
    conn.sendall(STREAM_HEAD + b"".join(map(chunk, good_stream())) + b"0\r\n\r\n")


def statuses(reply: Reply) -> tuple[str, str, str]:
    return reply["x-openrouter-cache-status"], reply["cache-status"], reply["x-openrouter-cache-ttl"]


def test_every_outcome_says_so(gateway: RunningGateway, upstream: RawUpstream) -> None:
    body = ask("outcomes")
    assert statuses(gateway.post(body)) == ("MISS", "payonce; fwd=miss; stored", "3600")
    hit = gateway.post(body)
    assert statuses(hit) == ("HIT", "payonce; hit; ttl=3600", "3600")
    assert (hit["x-openrouter-cache-age"], hit["x-openrouter-cache-source-id"]) == ("0", "gen-1")
    forced = gateway.post(body, Cache_Control="no-cache")
    assert statuses(forced) == ("MISS", "payonce; fwd=request; stored", "3600")
    cleared = gateway.post(body, X_OpenRouter_Cache_Clear="true")
    assert statuses(cleared) == ("MISS", "payonce; fwd=request; stored", "3600")
    assert statuses(gateway.post(body, X_OpenRouter_Cache="false")) == (
        "",
        "payonce; fwd=bypass; detail=client-off",
        "",
    )
    assert statuses(gateway.post(body, Cache_Control="no-store")) == ("", "payonce; fwd=bypass; detail=no-store", "")
    asked = gateway.post(ask("ttl"), X_OpenRouter_Cache_TTL="60x")
    assert statuses(asked) == ("MISS", "payonce; fwd=miss; stored", "60")
    only = gateway.post(ask("never"), Cache_Control="only-if-cached")
    assert (only.status, only.error, only["cache-status"]) == (504, "only-if-cached", "payonce; detail=only-if-cached")
    upstream.behave = stream
    said = gateway.post(ask("outcomes", stream=True))
    assert statuses(said)[0] == "MISS"
    assert said["cache-status"].startswith("payonce; fwd=miss")
    assert gateway.post(ask("outcomes", stream=True)).hit
    upstream.behave = answers(b'{"error":{}}', status="500 Oops")
    assert statuses(gateway.post(ask("fails"))) == ("MISS", "payonce; fwd=miss; detail=status", "0")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"X-Payonce-Namespace": "a b"}, "bad-namespace"),
        ({"X-Payonce-Namespace": "x" * 65}, "bad-namespace"),
        ({"X-Payonce-Sample": "-1"}, "bad-sample"),
        ({"X-Payonce-Tags": "a b"}, "bad-tags"),
    ],
)
def test_a_directive_that_makes_no_sense_is_refused_in_the_endpoints_shape(
    gateway: RunningGateway, upstream: RawUpstream, fields: dict[str, str], error: str
) -> None:
    before = len(upstream.requests)
    reply = gateway.post(ask(), **fields)
    assert (reply.status, reply.error, reply["cache-status"]) == (400, error, f"payonce; detail={error}")
    assert reply["cache-control"] == "no-store, private"
    page = reply.json()["error"]
    assert page["code"] == 400
    assert "; correct or drop the header" in page["message"]
    reply = gateway.post(ask(), "/api/v1/messages", **fields)
    assert (reply.status, reply.error) == (400, error)
    assert reply.json()["type"] == "error"
    assert reply.json()["error"]["type"] == "invalid_request_error"
    assert len(upstream.requests) == before


@pytest.mark.parametrize("endpoint", ["chat/completions", "messages", "responses", "embeddings", "models"])
def test_an_error_of_the_gateway_has_the_endpoints_shape_and_says_what_to_do(endpoint: str) -> None:
    with running_gateway() as gateway:
        reply = gateway.post(ask(), f"/api/v1/{endpoint}")
    assert (reply.status, reply.error) == (502, "upstream-refused")
    assert reply["content-type"] == "application/json"
    page = reply.json()
    assert "check the upstream URL and the network" in page["error"]["message"]
    if endpoint == "messages":
        assert (page["type"], page["error"]["type"]) == ("error", "api_error")
    else:
        assert page["error"]["code"] == 502
    if endpoint != "models":
        assert reply["cache-status"].startswith("payonce; fwd=")


def test_a_stored_answer_cannot_write_header_lines(gateway: RunningGateway, upstream: RawUpstream) -> None:
    """What an upstream smuggles into a value is refused when it arrives, so no hit can repeat it."""
    for value in ("a\rX-Evil: 1", "a\nX-Evil: 1", "a\0b", "a\x01b", "a\x7fb"):
        upstream.behave = lambda conn, _, value=value: conn.sendall(whole(good(), "200 OK", f"X-Bad: {value}"))
        for _ in range(2):
            reply = gateway.post(ask(f"evil {value!r}"))
            assert reply["x-evil"] == ""
            assert reply.status in (200, 502)
            assert reply.status == 502 or "\n" not in reply["x-bad"]


def test_two_keys_never_see_each_others_answers(gateway: RunningGateway, upstream: RawUpstream) -> None:
    upstream.behave = lambda conn, request: conn.sendall(whole(good(request["authorization"])))
    said = {}
    for _ in range(3):
        for key in ("a", "b", "ab", "a "):
            reply = gateway.post(ask("tenants"), Authorization=f"Bearer {key}")
            said.setdefault(key, set()).add(reply.json()["choices"][0]["message"]["content"])
    assert said["a"] | said["a "] == {"Bearer a"}
    assert said["b"] == {"Bearer b"}
    assert said["ab"] == {"Bearer ab"}


def test_a_request_without_content_type_is_not_read(gateway: RunningGateway, upstream: RawUpstream) -> None:
    data = post(ask("typeless"), PATH, gateway.host, {"Content-Type": "-"})
    with gateway.wire() as wire:
        wire.send(data)
        assert wire.reply()["cache-status"] == "payonce; fwd=bypass; detail=unread-type"
    assert upstream.requests[-1]["content-type"] == ""
