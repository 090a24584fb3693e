"""Which path means what: exact, on the raw bytes, and never by what a path might mean to somebody else (threat T7)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from payonce.gateway.routes import Routes
from tests.support.gateway import RawUpstream, RunningGateway, answers, ask, good, post, raw_upstream, running_gateway


@pytest.fixture(scope="module")
def upstreams() -> Iterator[tuple[RawUpstream, RawUpstream]]:
    with raw_upstream(answers()) as first, raw_upstream(answers(good("other"))) as second:
        yield first, second


@pytest.fixture(scope="module")
def gateway(upstreams: tuple[RawUpstream, RawUpstream]) -> Iterator[RunningGateway]:
    first, second = upstreams
    named = (("", first.base_url), ("other", f"http://127.0.0.1:{second.port}/deep/er/v1"))
    with running_gateway(upstream=named) as running:
        yield running


@pytest.mark.parametrize("prefix", ["/api/v1", "/v1"])
def test_both_prefixes_lead_to_the_unnamed_upstream_and_one_key(
    gateway: RunningGateway, upstreams: tuple[RawUpstream, RawUpstream], prefix: str
) -> None:
    gateway.post(ask("prefixes"), prefix + "/chat/completions")
    assert gateway.post(ask("prefixes"), "/v1/chat/completions").hit
    assert upstreams[0].requests[-1].line == "POST /api/v1/chat/completions HTTP/1.1"


def test_a_named_upstream_has_its_own_base_and_its_own_keys(
    gateway: RunningGateway, upstreams: tuple[RawUpstream, RawUpstream]
) -> None:
    gateway.post(ask("named"))
    reply = gateway.post(ask("named"), "/other/v1/chat/completions?a=b")
    assert not reply.hit
    assert reply.json()["choices"][0]["message"]["content"] == "other"
    assert upstreams[1].requests[-1].line == "POST /deep/er/v1/chat/completions?a=b HTTP/1.1"
    assert upstreams[1].requests[-1]["host"] == f"127.0.0.1:{upstreams[1].port}"
    for _ in range(3):
        assert gateway.post(ask("named"), "/other/v1/chat/completions?a=b").hit


NOWHERE = (
    *("/", "/api", "/api/v1", "/api/v1/", "/v1", "/v2/chat/completions", "/chat/completions", "//v1/chat/completions"),
    *("/API/v1/chat/completions", "/api/V1/chat/completions", "/unknown/v1/chat/completions", "/other", "/other/v1/"),
    *("/api/v1//chat/completions", "/api/v1/chat//completions", "/api/v1/../v1/chat/completions"),
    *("/api/v1/./chat/completions", "/api/v1/chat/completions/..", "/api/v1/chat/..%2fcompletions"),
    *("/api/v1/chat%2fcompletions", "/api/v1/chat%2Fcompletions", "/api/v1/%2e%2e/x", "/api/v1/models/%00.css"),
    *("/api/v1/models/..%2f..%2fkeys", "/api/v1/models%5c..%5cx", "/api/v1/chat\\completions", "/api/v1/models;x"),
    *("/api/v1/chat/completions;x=y", "/api/v1/models/x%252e.css", "/api/v1/mod<els", "/api/v1/mod|els"),
    *("/other/v1/../../api/v1/chat/completions", "/readyz/", "/readyz/x", "/healthz;x", "/%68ealthz", "/metrics/"),
)


@pytest.mark.parametrize("path", NOWHERE)
def test_a_path_that_is_nothing_here_goes_nowhere(
    gateway: RunningGateway, upstreams: tuple[RawUpstream, RawUpstream], path: str
) -> None:
    before = [len(upstream.requests) for upstream in upstreams]
    for method in ("POST", "GET"):
        with gateway.wire() as wire:
            wire.send(post(ask(), path, gateway.host).replace(b"POST", method.encode(), 1))
            reply = wire.reply(method)
        assert (reply.status, reply.error) == (404, "no-route")
        assert reply["cache-control"] == "no-store, private"
    assert [len(upstream.requests) for upstream in upstreams] == before


PASSED = (
    *("/api/v1/presets/s/chat/completions", "/api/v1/chat/completions/", "/api/v1/Chat/completions"),
    *("/api/v1/chat/completions/x.css", "/api/v1/chat", "/api/v1/completions", "/api/v1/chat%20/completions"),
    *("/api/v1/chat/completions%20", "/api/v1/models/x.css", "/api/v1/a/b@c:d,e=f", "/v1/generation?id=1&x=%2f.."),
)


@pytest.mark.parametrize("path", PASSED)
def test_everything_else_passes_through_as_it_came_and_uncached(
    gateway: RunningGateway, upstreams: tuple[RawUpstream, RawUpstream], path: str
) -> None:
    for n in range(2):
        reply = gateway.post(ask(path), path)
        assert (reply.status, reply.body) == (200, good())
        assert reply["cache-status"] == reply["x-openrouter-cache-status"] == ""
        expected = path if path.startswith("/api") else "/api" + path
        assert upstreams[0].requests[-1 - n].line == f"POST {expected} HTTP/1.1"


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
def test_another_method_on_a_cached_endpoint_passes_through(
    gateway: RunningGateway, upstreams: tuple[RawUpstream, RawUpstream], method: str
) -> None:
    for _ in range(2):
        before = len(upstreams[0].requests)
        with gateway.wire() as wire:
            wire.send(post(ask(), "/v1/chat/completions", gateway.host).replace(b"POST", method.encode(), 1))
            reply = wire.reply(method)
            assert reply.status == 200
            assert reply["cache-status"] == ""
            wire.send(f"GET /healthz HTTP/1.1\r\nHost: {gateway.host}\r\n\r\n".encode())
            assert wire.reply("GET").status == 200
        assert len(upstreams[0].requests) == before + 1
        assert upstreams[0].requests[-1].line.startswith(f"{method} /api/v1/chat/completions ")


def test_an_endpoint_without_a_dialect_says_so(gateway: RunningGateway) -> None:
    for endpoint in ("responses", "messages", "embeddings"):
        reply = gateway.post(ask(), f"/api/v1/{endpoint}")
        if reply["cache-status"] != "payonce; fwd=bypass; detail=no-dialect":  # it has one by now
            assert reply["x-openrouter-cache-status"] == "MISS"


def test_the_gateways_own_pages_answer_get_and_head_only(gateway: RunningGateway) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        for method, status in (("GET", 200), ("HEAD", 200), ("POST", 404), ("DELETE", 404)):
            with gateway.wire() as wire:
                wire.send(f"{method} {path} HTTP/1.1\r\nHost: {gateway.host}\r\nContent-Length: 0\r\n\r\n".encode())
                reply = wire.reply(method)
                assert reply.status == status
                assert (reply.body == b"") == (method == "HEAD")


def test_a_gateway_without_an_unnamed_upstream_has_no_plain_paths() -> None:
    routes = Routes(["a", "b"])
    assert routes.find(b"/v1/models") is routes.find(b"/api/v1/models") is None
    found = routes.find(b"/b/v1/models")
    assert found is not None
    assert (found.upstream, found.endpoint, found.cached) == ("b", "models", False)
