"""Requests made by Schemathesis from OpenRouter's specification: the gateway adds nothing of its own.

Every request goes to a checking echo directly, then twice through the gateway: same status, body and header fields but
for the documented ones, and no error of ours. The echo's answer to a cached endpoint is one that is kept, so the second
answer is a hit where the first was stored. `tests/data/openrouter-requests.json` says what of the specification it has.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core import NotSet

from payonce.dialects import CACHED_ENDPOINTS
from tests.support.gateway import running_gateway

SPEC = json.loads((Path(__file__).parents[1] / "data" / "openrouter-requests.json").read_text())
OPERATIONS = [found.ok() for found in schemathesis.openapi.from_dict(SPEC).get_all_operations()]
EXAMPLES = 10
EXAMPLES_OF_CACHED = 40
CONNECTION = {"date", "server", "connection", "transfer-encoding", "content-length", "keep-alive"}
ADDED = {
    *("x-openrouter-cache-status", "x-openrouter-cache-age", "x-openrouter-cache-ttl", "x-openrouter-cache-source-id"),
    *("cache-status", "age", "x-payonce-items", "x-payonce-request-id"),
}
"""Of these, docs/gateway.md says that the gateway adds them."""
NOT_REPLAYED = {"set-cookie", "x-ratelimit-remaining"}
"""Of these, docs/gateway.md says that they belong to one answer."""
AMBIGUOUS = re.compile(r"//|/\.{1,2}(/|$)|;|%2f|%5c|%2e|%00|%25", re.IGNORECASE)
"""The one thing that is refused on purpose: a path that may mean another path to somebody else (docs/gateway.md)."""
STATUSES = (200, 200, 200, 200, 201, 204, 400, 401, 404, 422, 429, 500, 503)


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was sent; the same request has the same answer, whoever passes it on."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def answer(self) -> None:
        body = self._body()
        path, _, query = self.path.partition("?")
        fields = sorted(
            (name.lower(), value)
            for name, value in self.headers.items()
            if name.lower() in ("authorization", "content-type", "x-extra", "accept")
        )
        seen = [self.command, path, query, hashlib.sha256(body).hexdigest(), fields]
        digest = hashlib.sha256(json.dumps(seen).encode()).digest()
        status = STATUSES[digest[0] % len(STATUSES)]
        endpoint = path.removeprefix("/v1/")
        if endpoint == "embeddings" or (endpoint in CACHED_ENDPOINTS and status in (201, 204)):
            status = 200  # a batch may be answered from others, so whether it fails may not depend on the whole of it
        page = json.dumps(_answer(endpoint, body, json.dumps(seen)) if status == 200 else {"error": {"seen": seen}})
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Generation-Id", digest.hex()[:12])
        self.send_header("X-RateLimit-Remaining", "7")
        self.send_header("Set-Cookie", "a=b")
        self.send_header("Cache-Control", "private, max-age=0")
        if status == 429:
            self.send_header("Retry-After", "3")
        sent = b"" if status == 204 else page.encode()
        if status != 204:
            self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - the host's names

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, *given: Any) -> None:
        """Say nothing."""


def _answer(endpoint: str, body: bytes, seen: str) -> Any:
    """What a cache may keep, for an endpoint that is cached, whole: a request for a stream gets that too."""
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "cost": 0.001}
    if endpoint == "chat/completions":
        message = {"role": "assistant", "content": seen}
        return {"id": "gen-1", "object": "chat.completion", "choices": [
            {"index": 0, "finish_reason": "stop", "message": message}], "usage": usage}  # fmt: skip
    if endpoint == "messages":
        content = [{"type": "text", "text": seen}]
        usage = {"input_tokens": 1, "output_tokens": 1}
        head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
        return {**head, "content": content, "usage": usage}
    if endpoint == "responses":
        part = {"type": "output_text", "text": seen, "annotations": []}
        item = {"id": "m1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
        return {"id": "resp_1", "object": "response", "status": "completed", "error": None, "output": [item],
                "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}}  # fmt: skip
    if endpoint == "embeddings":
        given_ = json.loads(body).get("input") if body else None
        count = len(given_) if isinstance(given_, list) and not (given_ and isinstance(given_[0], int)) else 1
        data = [{"object": "embedding", "index": place, "embedding": [0.5]} for place in range(count)]
        return {"object": "list", "model": "m", "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}
    return {"seen": seen}


@pytest.fixture(scope="module")
def echo() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join(10)
    server.server_close()


def sent(port: int, method: str, target: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, Any, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, target, body=body, headers=headers)
        answer = connection.getresponse()
        fields = Counter((name.lower(), value) for name, value in answer.getheaders())
        return answer.status, fields, answer.read()
    finally:
        connection.close()


def same_body(got: bytes, answer: bytes, *, batch: bool) -> bool:
    """The answer to a batch is written anew, with the usage of what was asked for (docs/gateway.md)."""
    if not batch or got == answer:
        return got == answer
    one, other = json.loads(got), json.loads(answer)
    return {**one, "usage": None} == {**other, "usage": None} and one["usage"].keys() == other["usage"].keys()


def plain(fields: Counter[tuple[str, str]], without: set[str]) -> dict[tuple[str, str], int]:
    return {field: count for field, count in fields.items() if field[0] not in without | CONNECTION}


def request_of(case: Any) -> tuple[str, str, bytes | None, dict[str, str]] | None:
    """The bytes of a case: method, target behind `/v1`, body, fields; None where HTTP can't carry it."""
    target = case.formatted_path
    if case.query:
        pairs = [
            (name, one) for name, value in case.query.items() for one in (value if isinstance(value, list) else [value])
        ]
        target += "?" + urlencode([(name, one if isinstance(one, str) else json.dumps(one)) for name, one in pairs])
    body = None if isinstance(case.body, NotSet) else json.dumps(case.body).encode()
    headers = {name: str(value) for name, value in dict(case.headers or {}).items()}
    headers |= {"Authorization": "Bearer sk-or-spec", "X-Extra": "1"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    try:
        target.encode("ascii")
        for value in headers.values():
            value.encode("latin-1")
    except UnicodeEncodeError:
        return None
    return case.method.upper(), target, body, headers


@pytest.mark.slow
def test_nothing_is_added(echo: str) -> None:
    seen: Counter[str] = Counter()
    kept: dict[str, set[bytes]] = defaultdict(set)
    direct_port = int(echo.split(":")[2].split("/", maxsplit=1)[0])
    with running_gateway(echo, cache="all") as gateway:

        def check(case: Any) -> None:
            built = request_of(case)
            if built is None:
                seen["not HTTP"] += 1
                return
            method, target, body, headers = built
            if AMBIGUOUS.search(target.partition("?")[0]):
                refused = sent(gateway.port, method, f"/api/v1{target}", body, headers)
                assert (refused[0], ("x-payonce-error", "no-route") in refused[1]) == (404, True), (built, refused)
                seen["ambiguous path"] += 1
                return
            status, fields, answer = sent(direct_port, method, f"/v1{target}", body, headers)
            for time in ("first", "second"):
                got = sent(gateway.port, method, f"/api/v1{target}", body, headers)
                names = {name for name, _ in got[1]}
                assert "x-payonce-error" not in names, (built, got)
                hit = ("x-openrouter-cache-status", "HIT") in got[1]
                seen["hit" if hit else "asked"] += 1
                seen[f"{time} {'hit' if hit else status}"] += 1
                if hit and got[2] != answer and got[2] in kept[target]:
                    seen["hit of an equal request"] += 1  # spelled differently, so that the echo says something else
                    continue
                assert got[0] == status, (built, got)
                assert same_body(got[2], answer, batch=target == "/embeddings"), (built, got, answer)
                hidden = NOT_REPLAYED | {"cache-control"} if hit else set()
                other = {"x-generation-id"} if target == "/embeddings" else set()  # put together of several answers
                assert plain(got[1], ADDED | other) == plain(fields, hidden | other), (built, fields)
                if status == 200:
                    kept[target].add(got[2])

        for operation in OPERATIONS:
            _every_case(operation, check)
    assert seen["asked"] > 200, seen
    assert seen["second hit"] > 30, seen
    assert seen["hit of an equal request"] < seen["hit"] / 2, seen
    assert {"first 200", "first 400", "first 429", "first 500"} <= set(seen)


def _every_case(operation: Any, check: Any) -> None:
    path = operation.path.strip("/")
    many = EXAMPLES_OF_CACHED if path in CACHED_ENDPOINTS else EXAMPLES
    quick = settings(
        max_examples=many, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    quick(given(case=operation.as_strategy())(check))()


def test_an_added_field_would_be_seen(echo: str) -> None:
    """The control: the comparison goes red when a field is added, and when one is lost."""
    port = int(echo.split(":")[2].split("/", maxsplit=1)[0])
    _, fields, _ = sent(port, "GET", "/v1/models", None, {})
    assert plain(fields, ADDED) == plain(fields, set())
    assert plain(fields + Counter([("x-ours", "1")]), ADDED) != plain(fields, set())
    assert plain(fields - Counter([("set-cookie", "a=b")]), ADDED) != plain(fields, set())
