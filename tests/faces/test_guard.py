"""Who may call: programs may, web pages may not, whatever they make a browser resolve or send (threats T20 to T22)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from payonce.config import Settings
from payonce.gateway.guard import Guard
from tests.support.gateway import PATH, RawUpstream, RunningGateway, answers, ask, running_gateway

OPTIONS = {"allowed_hosts": ("cache.test", "10.0.0.7:4141"), "allowed_origins": ("https://tools.test",)}


@pytest.fixture(scope="module")
def gateway(upstream: RawUpstream) -> Iterator[RunningGateway]:
    with running_gateway(upstream.base_url, **OPTIONS) as running:
        yield running


GOOD_HOSTS = ("127.0.0.1", "localhost", "LOCALHOST:1", "[::1]:4141", "cache.test", "Cache.Test:8080", "10.0.0.7:4141")
BAD_HOSTS = (
    *("evil.example", "evil.example:4141", "127.0.0.1.evil.example", "localhost.evil.example", "127.0.0.2", "0.0.0.0"),
    *("10.0.0.7", "10.0.0.7:80", "cache.test.", "xcache.test", "127.1", "2130706433", "[::ffff:127.0.0.1]", "0"),
)
ORIGINS = {
    "": 200,
    "https://tools.test": 200,
    "HTTPS://TOOLS.TEST": 200,
    "null": 403,
    "https://evil.example": 403,
    "http://tools.test": 403,
    "https://tools.test.evil.example": 403,
    "https://tools.test:444": 403,
    "https://tools.test/": 403,
    "file://": 403,
    "http://[": 403,
    "http://[::1": 403,
    "http://": 403,
    "chrome-extension://abc": 403,
    "http://localhost": 403,
    "http://127.0.0.1:1": 403,
}


@pytest.mark.parametrize("host", GOOD_HOSTS)
def test_the_gateways_own_names_are_answered(gateway: RunningGateway, host: str) -> None:
    assert gateway.post(ask(), Host=host).status == 200


@pytest.mark.parametrize("host", BAD_HOSTS)
def test_a_rebound_name_is_refused_before_anything_is_read_or_sent(
    gateway: RunningGateway, upstream: RawUpstream, host: str
) -> None:
    before = len(upstream.requests)
    for path in (PATH, "/v1/models", "/healthz", "/readyz", "/metrics", "/nowhere"):
        reply = gateway.post(ask(), path, Host=host)
        assert (reply.status, reply.error) == (421, "bad-host")
        assert b"allowed_hosts" in reply.body
    assert len(upstream.requests) == before


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded", "-"])
def test_a_page_may_call_only_if_its_origin_is_allowed(
    gateway: RunningGateway, upstream: RawUpstream, origin: str, kind: str
) -> None:
    before = len(upstream.requests)
    reply = gateway.post(ask(f"{origin} {kind}"), Origin=origin or "-", Content_Type=kind)
    assert reply.status == ORIGINS[origin]
    assert not [name for name, _ in reply.fields if name.startswith("access-control")]
    if reply.status == 403:
        assert reply.error == "bad-origin"
        assert len(upstream.requests) == before
    elif kind != "application/json":
        assert reply["cache-status"] == "payonce; fwd=bypass; detail=unread-type"


def test_a_page_that_the_gateway_itself_serves_may_call(gateway: RunningGateway) -> None:
    assert gateway.post(ask(), Origin=f"http://{gateway.host}").status == 200
    assert gateway.post(ask(), Origin=f"http://{gateway.host}", Host="localhost").status == 403


def test_every_origin_of_several_has_to_be_allowed(gateway: RunningGateway) -> None:
    with gateway.wire() as wire:
        head = f"GET /healthz HTTP/1.1\r\nHost: {gateway.host}\r\n"
        wire.send(f"{head}Origin: https://tools.test\r\nOrigin: https://evil.example\r\n\r\n".encode())
        assert wire.reply("GET").status == 403


def test_a_preflight_is_never_answered_with_permission(gateway: RunningGateway, upstream: RawUpstream) -> None:
    upstream.behave = answers(b"{}", "Access-Control-Allow-Origin: *", "Access-Control-Allow-Headers: *")
    try:
        for origin, status in (("https://evil.example", 403), ("https://tools.test", 200)):
            with gateway.wire() as wire:
                fields = f"Host: {gateway.host}\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: POST\r\n"
                wire.send(f"OPTIONS {PATH} HTTP/1.1\r\n{fields}\r\n".encode())
                reply = wire.reply("OPTIONS")
                assert reply.status == status
                assert not [name for name, _ in reply.fields if name.startswith("access-control")]
        reply = gateway.post(ask("preflight"), Origin="https://tools.test")
        assert not [name for name, _ in reply.fields if name.startswith("access-control")]
    finally:
        upstream.behave = answers()


def test_a_gateway_on_another_address_answers_to_that_and_to_this_machines_names() -> None:
    for host, name in (("10.1.2.3", b"10.1.2.3:4141"), ("::1", b"[::1]:4141"), ("cache.test", b"CACHE.TEST")):
        guard = Guard(Settings(host=host, store="memory:", allowed_hosts=("x.test",)))
        assert guard.against(((b"host", name),)) is None
        assert guard.against(((b"host", b"localhost"),)) is None
        assert guard.against(((b"host", b"10.1.2.4"),)) is not None


def test_any_host_is_allowed_only_where_the_operator_says_so() -> None:
    guard = Guard(Settings(store="memory:", allowed_hosts=("*",)))
    assert guard.against(((b"host", b"anything.example"),)) is None
    assert guard.against(((b"host", b"a@b"),)) is not None
    assert guard.against(((b"host", b"evil.example"), (b"origin", b"http://other.example"))) is not None


def test_host_and_origin_are_judged_independently() -> None:
    guard = Guard(Settings(store="memory:", **OPTIONS))
    for (host, well), (origin, status) in itertools.product(
        [*((name, True) for name in GOOD_HOSTS), *((name, False) for name in BAD_HOSTS)], ORIGINS.items()
    ):
        fields = [(b"host", host.encode())] + ([(b"origin", origin.encode())] if origin else [])
        own = origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")
        assert (guard.against(tuple(fields)) is None) == (well and (status == 200 or own)), (host, origin)
