"""What payonce.httpx and payonce.httpx2 both promise: one suite, told for either module by a subclass with `mod`.

Wrapped transports are scripted where the test is about what they see and raise, and real ones on real sockets where it
is about what a caller sees.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from payonce import MissError, Settings, SettingsError, StoreUnknownError
from payonce.library import open_worlds
from payonce.testing.clock import FakeClock
from payonce.testing.sim import SimulatedProvider
from tests.support.asgi import answer
from tests.support.gateway import STREAM_HEAD, RawUpstream, Request, chunk, good, good_stream, raw_upstream, whole
from tests.support.servers import free_ports, release

URL = "https://llm.example/api/v1"
HEADERS = {"authorization": "Bearer k", "content-type": "application/json"}


def body(prompt: str = "q", **members: Any) -> bytes:
    page = {"model": "sim/small", "temperature": 0, "messages": [{"role": "user", "content": prompt}], **members}
    return json.dumps(page).encode()


class Scripted:
    """A handler for a MockTransport: numbered answers; `fail` is raised instead, `said` told of every request."""

    def __init__(self, mod: Any) -> None:
        self.mod = mod
        self.requests: list[Any] = []
        self.fail: Exception | None = None
        self.status = 200
        self.gate: threading.Event | None = None

    def __call__(self, request: Any) -> Any:
        gate = self.gate  # before the request is told: who sees it may set another gate for the next
        self.requests.append(request)
        if gate is not None:
            assert gate.wait(30)
        if self.fail is not None:
            raise self.fail
        _, page = answer(len(self.requests), self.status)
        return self.mod.Response(self.status, headers={"content-type": "application/json"}, content=page)


def status(response: Any) -> str:
    return str(response.headers.get("cache-status", ""))


class LibrarySuite:
    """Subclass it with `mod`, and pytest collects it."""

    mod: ModuleType
    name: str

    @property
    def ours(self) -> Any:
        return importlib.import_module(f"payonce.{self.name}")

    @pytest.fixture(autouse=True)
    def _home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    @pytest.fixture
    def script(self) -> Scripted:
        return Scripted(self.mod)

    @pytest.fixture
    def client(self, script: Scripted, tmp_path: Path) -> Iterator[Callable[..., Any]]:
        """Makes a client on a store of the test's own, over the script, unless told otherwise."""
        with contextlib.ExitStack() as stack:

            def make(**arguments: Any) -> Any:
                defaults = {"store": f"sqlite:{tmp_path}/c.db", "transport": self.mod.MockTransport(script)}
                return stack.enter_context(self.ours.Client(**(defaults | arguments)))

            yield make
        assert open_worlds() == 0

    def post(self, client: Any, content: bytes | None = None, url: str = URL, **headers: str) -> Any:
        named = HEADERS | {name.replace("_", "-"): value for name, value in headers.items()}
        return client.post(f"{url}/chat/completions", content=content or body(), headers=named)

    # ------------------------------------------------------------------------------------ hits and misses

    def test_the_second_time_is_a_hit(self, client: Callable[..., Any], script: Scripted) -> None:
        c = client()
        first, second, third = (self.post(c) for _ in range(3))
        assert status(first) == "payonce; fwd=miss; stored"
        assert status(second).startswith("payonce; hit; ttl=")
        assert second.headers["x-openrouter-cache-status"] == third.headers["x-openrouter-cache-status"] == "HIT"
        assert second.headers["x-openrouter-cache-source-id"] == "gen-1"
        assert first.content == second.content == third.content
        assert int(second.headers["content-length"]) == len(second.content)
        assert first.headers.get("content-length", str(len(first.content))) == second.headers["content-length"]
        assert len(script.requests) == 1
        assert third.elapsed is not None
        assert third.request.url == f"{URL}/chat/completions"

    def test_what_goes_upstream(self, client: Callable[..., Any], script: Scripted) -> None:
        self.post(client(), x_openrouter_cache="true", x_payonce_tags="a", cache_control="max-age=5", x_other="kept")
        (sent,) = script.requests
        assert sent.headers["accept-encoding"] == "identity"
        assert sent.headers["authorization"] == "Bearer k"
        assert sent.headers["x-other"] == "kept"
        assert sent.headers["host"] == "llm.example"
        assert sent.headers["content-length"] == str(len(body()))
        assert not {"x-openrouter-cache", "x-payonce-tags", "cache-control"} & set(sent.headers)
        assert sent.content == body()
        assert sent.extensions["timeout"] == {"connect": 5.0, "read": 5.0, "write": 5.0, "pool": 5.0}

    def test_ids_of_each_request_go_upstream_and_are_nothing_to_the_cache(
        self, client: Callable[..., Any], script: Scripted
    ) -> None:
        c = client()
        for number in range(4):
            for turn in range(3):
                trace = {"x_request_id": f"{number} {turn}", "traceparent": f"00-{number}{turn}"} if number else {}
                assert ("; hit" in status(self.post(c, body(f"ids {number}"), **trace))) is bool(turn)
            sent = script.requests[-1].headers
            assert sent.get("x-request-id") == (f"{number} 0" if number else None)
            assert sent.get("traceparent") == (f"00-{number}0" if number else None)
        self.post(c, body("no ids any more"))
        assert not {"x-request-id", "traceparent"} & set(script.requests[-1].headers)
        world = c._transport.desk.lease.world
        world.shelf.settle(world.ledger)
        assert world.ledger.now.counts["requests.fast_lane"] == 4, "each last one comes from the shelf"

    def test_what_is_not_cached_passes_with_the_reason(self, client: Callable[..., Any], script: Scripted) -> None:
        c = client()
        for content, headers, reason in (
            (body(temperature=1), {}, "not-deterministic"),
            (body(), {"cache_control": "no-store"}, "no-store"),
            (body(), {"x_openrouter_cache": "false"}, "client-off"),
            (b"{", {}, "bad-json"),
            (body(), {"content_type": "text/plain"}, "unread-type"),
        ):
            response = self.post(c, content, **headers)
            assert status(response) == f"payonce; fwd=bypass; detail={reason}"
            assert response.status_code == 200
            assert script.requests[-1].content == content
            assert "cache-control" not in script.requests[-1].headers
        assert script.requests[0].headers["accept-encoding"] != "identity"

    def test_what_is_no_cached_endpoint_is_left_alone(self, client: Callable[..., Any], script: Scripted) -> None:
        c = client()
        for method, path in (
            ("GET", f"{URL}/models"),
            ("GET", f"{URL}/chat/completions"),
            ("POST", f"{URL}/presets/p/chat/completions"),
            ("POST", f"{URL}/chat/completions/"),
            ("POST", "https://llm.example/chat/completions"),
            ("POST", f"{URL}/files"),
        ):
            headers = {"cache-control": "no-cache", "x-payonce-sample": "1"}
            response = c.request(method, path, headers=headers, content=body() if method == "POST" else None)
            assert status(response) == ""
            assert script.requests[-1].headers["cache-control"] == "no-cache"
            assert "x-payonce-sample" not in script.requests[-1].headers
        untouched = c.build_request("GET", f"{URL}/models")
        c.send(untouched)
        assert script.requests[-1] is untouched
        assert open_worlds() == 0, "no store is opened for what is not cached"

    @pytest.mark.parametrize("stray", ["host", "extension", "large"])
    def test_what_can_not_be_keyed_goes_its_own_way(
        self, client: Callable[..., Any], script: Scripted, stray: str
    ) -> None:
        c = client(settings=Settings(store="memory:", max_body_bytes=4096), store=None)
        headers = HEADERS | ({"host": "other.example"} if stray == "host" else {})
        extensions = {"sni_hostname": "other.example"} if stray == "extension" else None
        content = body("x" * 5000) if stray == "large" else body()
        for _ in range(2):
            sent = c.build_request(
                "POST", f"{URL}/chat/completions", headers=headers, content=content, extensions=extensions
            )
            assert status(c.send(sent)) == ""
            assert script.requests[-1] is sent
        assert len(script.requests) == 2

    def test_directives_of_the_client_hold_where_a_request_says_nothing(
        self, client: Callable[..., Any], script: Scripted
    ) -> None:
        one, two = client(namespace="one", tags=["t"], sample=1), client(namespace="two", tags=["t"], sample=1)
        assert status(self.post(one)) == status(self.post(two)) == "payonce; fwd=miss; stored"
        assert status(self.post(two, x_payonce_namespace="one")).startswith("payonce; hit")
        assert status(self.post(one, x_payonce_sample="2")) == "payonce; fwd=miss; stored"

    def test_a_purge_and_a_change_take_effect_at_once(self, client: Callable[..., Any], script: Scripted) -> None:
        c = client()
        for _ in range(3):
            self.post(c)
        cleared = self.post(c, x_openrouter_cache_clear="true")
        assert json.loads(cleared.content)["id"] == "gen-2"
        assert json.loads(self.post(c).content)["id"] == "gen-2"

    def test_time_passes_for_answers_that_stand_ready(self, client: Callable[..., Any], script: Scripted) -> None:
        clock = FakeClock()
        settings = Settings(ttl=100, ttl_jitter=0.0)
        c = client(settings=settings, clock=clock)
        for _ in range(3):
            self.post(c)
        clock.advance(60)
        late = self.post(c)
        assert (status(late), late.headers["age"]) == ("payonce; hit; ttl=40", "60")
        clock.advance(40)
        assert status(self.post(c)) == "payonce; fwd=stale; stored"

    # ------------------------------------------------------------------------------------ refusals

    def test_only_if_cached_is_a_504_that_is_not_repeated(self, client: Callable[..., Any], script: Scripted) -> None:
        response = self.post(client(), cache_control="only-if-cached")
        assert response.status_code == 504
        assert response.headers["x-payonce-error"] == "only-if-cached"
        assert response.headers["x-should-retry"] == "false"
        assert response.json()["error"]["metadata"] == {"payonce": "only-if-cached"}
        assert not script.requests

    def test_a_directive_that_makes_no_sense_is_a_400(self, client: Callable[..., Any], script: Scripted) -> None:
        response = self.post(client(), x_payonce_namespace="a b")
        assert (response.status_code, response.headers["x-payonce-error"]) == (400, "bad-namespace")

    # ------------------------------------------------------------------------------------ modes

    def test_record_then_replay(self, client: Callable[..., Any], script: Scripted) -> None:
        recorder = client(mode="record")
        recorded = self.post(recorder, body(temperature=1))
        assert status(recorded) == "payonce; fwd=miss; stored"
        assert int(recorded.headers["x-openrouter-cache-ttl"]) > 300 * 86400
        asked: list[Any] = []
        replayer = client(mode="replay", nearest=lambda ask: asked.append(ask) or "the nearest one is gen-1")
        for _ in range(2):
            assert self.post(replayer, body(temperature=1)).content == recorded.content
        with pytest.raises(MissError, match="nearest one is gen-1") as caught:
            self.post(replayer, body("another"))
        assert caught.value.endpoint == "chat/completions"
        assert caught.value.model == "sim/small"
        assert caught.value.key == asked[0].key.text
        for call in (
            lambda: self.post(replayer, b"{"),
            lambda: self.post(replayer, x_openrouter_cache="false"),
            lambda: replayer.get(f"{URL}/models"),
        ):
            with pytest.raises(MissError, match='mode="record"'):
                call()
        assert len(script.requests) == 1

    def test_replay_keeps_to_what_is_recorded_whatever_the_request_says(
        self, client: Callable[..., Any], script: Scripted
    ) -> None:
        self.post(client(mode="record"))
        replayer = client(mode="replay")
        for said in ({"cache_control": "no-cache"}, {"x_openrouter_cache_clear": "true"}):
            assert status(self.post(replayer, **said)).startswith("payonce; hit")

    def test_refresh_always_asks_and_stores_anew(self, client: Callable[..., Any], script: Scripted) -> None:
        refresher = client(mode="refresh")
        for _ in range(3):
            assert status(self.post(refresher)) == "payonce; fwd=request; stored"
        assert json.loads(self.post(client(mode="record")).content)["id"] == "gen-3"

    def test_off_never_opens_a_store(self, client: Callable[..., Any], script: Scripted) -> None:
        c = client(mode="off")
        response = self.post(c, x_payonce_tags="a")
        assert status(response) == "payonce; fwd=bypass; detail=cache-off"
        assert "x-payonce-tags" not in script.requests[0].headers
        assert open_worlds() == 0

    # ------------------------------------------------------------------------------------ what the transport raises

    def test_an_exception_is_the_leaders_and_its_equal_the_followers(
        self, client: Callable[..., Any], script: Scripted
    ) -> None:
        c = client(timeout=30)
        cause = OSError("no route")
        script.fail, script.gate = self.mod.ConnectError("refused"), threading.Event()
        script.fail.__cause__ = cause
        caught: list[Any] = []

        def one(number: int) -> None:
            try:
                self.post(c, x_request_id=str(number))
            except Exception as error:
                caught.append((number, error))

        threads = [threading.Thread(target=one, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        player = c._transport.desk.lease
        until(lambda: player.world is not None and any(f.followers == 19 for f in player.world.sync.tower))
        script.gate.set()
        for thread in threads:
            thread.join(30)
        assert len(script.requests) == 1
        assert {type(error) for _, error in caught} == {self.mod.ConnectError}
        assert sum(error is script.fail for _, error in caught) == 1
        assert len({id(error) for _, error in caught}) == 20
        for number, error in caught:
            assert str(error) == "refused"
            assert error.__cause__ is cause
            assert error.request.headers["x-request-id"] == str(number)

    def test_an_exception_of_any_kind_is_passed_on(self, client: Callable[..., Any], script: Scripted) -> None:
        class OddError(Exception):
            def __init__(self, one: int, two: int) -> None:
                super().__init__("odd")

        script.fail = OddError(1, 2)
        with pytest.raises(OddError) as caught:
            self.post(client())
        assert caught.value is script.fail

    def test_an_exception_that_can_not_be_copied_is_shared(self, client: Callable[..., Any], script: Scripted) -> None:
        class OddError(Exception):
            def __init__(self, one: int, two: int) -> None:
                super().__init__("odd")

        c = client(timeout=30)
        script.fail, script.gate = OddError(1, 2), threading.Event()
        caught: list[BaseException] = []

        def one() -> None:
            try:
                self.post(c)
            except OddError as error:
                caught.append(error)

        threads = [threading.Thread(target=one) for _ in range(3)]
        for thread in threads:
            thread.start()
        lease = c._transport.desk.lease
        until(lambda: lease.world is not None and any(f.followers == 2 for f in lease.world.sync.tower))
        script.gate.set()
        for thread in threads:
            thread.join(30)
        assert caught == [script.fail] * 3

    def test_without_room_for_a_flight_the_call_passes(self, client: Callable[..., Any], script: Scripted) -> None:
        c = client(settings=Settings(store="memory:", max_flights=1), store=None)
        script.gate = threading.Event()
        leader = threading.Thread(target=lambda: self.post(c, body("one")))
        leader.start()
        until(lambda: script.requests)
        gate, script.gate = script.gate, None
        assert status(self.post(c, body("two"))) == "payonce; fwd=bypass; detail=flights-full"
        gate.set()
        leader.join(30)

    async def test_without_room_for_a_flight_a_task_passes(self) -> None:
        gate, calls = asyncio.Event(), []

        async def handler(request: Any) -> Any:
            calls.append(request)
            if len(calls) == 1:
                await gate.wait()
            return self.mod.Response(200, headers={"content-type": "application/json"}, content=answer(1)[1])

        settings = Settings(store="memory:", max_flights=1)
        async with self.ours.AsyncClient(settings=settings, transport=self.mod.MockTransport(handler)) as c:
            leader = asyncio.ensure_future(self.apost(c, body("one")))
            await auntil(lambda: calls)
            assert status(await self.apost(c, body("two"))) == "payonce; fwd=bypass; detail=flights-full"
            gate.set()
            await leader

    def test_a_hit_reports_the_usage_that_is_asked_for(self, client: Callable[..., Any], script: Scripted) -> None:
        c = client(settings=Settings(store="memory:", hit_usage="free"), store=None)
        costs = [json.loads(self.post(c).content)["usage"]["cost"] for _ in range(4)]
        assert costs == [0.001, 0, 0, 0]
        assert len(c._transport.desk.lease.world.shelf) == 1

    def test_who_has_more_time_than_the_leader_asks_anew(self, client: Callable[..., Any], script: Scripted) -> None:
        c = client()
        script.gate = threading.Event()
        script.fail = self.mod.ReadTimeout("slow")
        seen: list[Any] = []

        def lead() -> None:
            with pytest.raises(self.mod.ReadTimeout):
                c.post(f"{URL}/chat/completions", content=body(), headers=HEADERS, timeout=1.0)

        def follow() -> None:
            seen.append(c.post(f"{URL}/chat/completions", content=body(), headers=HEADERS, timeout=30.0))

        leader = threading.Thread(target=lead)
        leader.start()
        until(lambda: script.requests)
        follower = threading.Thread(target=follow)
        follower.start()
        until(lambda: any(f.followers for f in c._transport.desk.lease.world.sync.tower))

        def heal(_request: Any) -> None:
            script.fail = None

        original = script.requests
        script.requests = _Watched(original, heal)  # the first call fails, the next one does not
        script.gate.set()
        leader.join(30)
        follower.join(30)
        assert seen
        assert seen[0].status_code == 200
        assert len(script.requests) == 2

    def test_a_follower_with_less_time_gives_up_alone(self, client: Callable[..., Any], script: Scripted) -> None:
        c = client()
        script.gate = threading.Event()
        leader = threading.Thread(target=lambda: self.post(c))
        leader.start()
        until(lambda: script.requests)
        with pytest.raises(self.mod.ReadTimeout) as caught:
            c.post(f"{URL}/chat/completions", content=body(), headers=HEADERS, timeout=0.01)
        assert caught.value.request is not None
        script.gate.set()
        leader.join(30)
        assert status(self.post(c)).startswith("payonce; hit")

    @pytest.mark.parametrize("code", [400, 401, 429, 500])
    def test_errors_of_the_provider_are_its_own(self, client: Callable[..., Any], script: Scripted, code: int) -> None:
        c = client()
        script.status = code
        response = self.post(c)
        assert response.status_code == code
        assert response.json()["error"]["code"] == code
        script.status = 200
        assert status(self.post(c)) == "payonce; fwd=miss; stored"

    # ------------------------------------------------------------------------------------ over real sockets

    FAULTS = ("cut=10", "reset=10", "stall=10", "slow-first-byte=60", "429", "500", "gzip", "html", "refused")

    @pytest.mark.parametrize("stream", [True, False])
    @pytest.mark.parametrize("fault", FAULTS)
    def test_a_caller_sees_what_it_would_see_without_us(
        self, client: Callable[..., Any], sim: SimulatedProvider, fault: str, stream: bool
    ) -> None:
        timeout = patience(self.mod, fault)
        with reached(sim, fault) as url, self.mod.Client(timeout=timeout) as bare, ThreadPoolExecutor() as beside:
            expected = beside.submit(self.outcome, bare, url, fault, stream)
            assert self.outcome(client(transport=None, timeout=timeout), url, fault, stream) == expected.result()

    @pytest.mark.parametrize("stream", [True, False])
    @pytest.mark.parametrize("fault", FAULTS)
    async def test_a_task_sees_what_it_would_see_without_us(
        self, sim: SimulatedProvider, tmp_path: Path, fault: str, stream: bool
    ) -> None:
        timeout = patience(self.mod, fault)
        ours = self.ours.AsyncClient(timeout=timeout, store=f"sqlite:{tmp_path}/c.db")
        with reached(sim, fault) as url:
            async with self.mod.AsyncClient(timeout=timeout) as bare, ours as cached:
                both = [self.async_outcome(one, url, fault, stream) for one in (cached, bare)]
                seen, expected = await asyncio.gather(*both)
                assert seen == expected

    def outcome(self, client: Any, url: str, fault: str, stream: bool) -> Any:
        """Status, body and the exception's type and cause; each answer's own number left out."""
        read = 0
        try:
            with client.stream(
                "POST", f"{url}/chat/completions", content=body(stream=stream), headers=headers(fault)
            ) as r:
                for chunk in r.iter_bytes():
                    read += len(chunk)
                return r.status_code, read > 0
        except Exception as error:
            assert error.request.url == f"{url}/chat/completions"  # type: ignore[attr-defined]
            return type(error), type(error.__cause__), read > 0

    async def async_outcome(self, client: Any, url: str, fault: str, stream: bool) -> Any:
        read = 0
        where = f"{url}/chat/completions"
        try:
            async with client.stream("POST", where, content=body(stream=stream), headers=headers(fault)) as r:
                async for chunk in r.aiter_bytes():
                    read += len(chunk)
                return r.status_code, read > 0
        except Exception as error:
            assert error.request.url == where  # type: ignore[attr-defined]
            return type(error), type(error.__cause__), read > 0

    def test_a_stream_is_repeated_to_the_byte(self, client: Callable[..., Any], sim: SimulatedProvider) -> None:
        c = client(transport=None)
        first, second = (self.post(c, body(stream=True), sim.base_url) for _ in range(2))
        assert status(first) == "payonce; fwd=miss; stored"
        assert status(second).startswith("payonce; hit")
        assert first.content == second.content
        assert b": OPENROUTER PROCESSING" in second.content
        assert second.headers["content-type"] == first.headers["content-type"]

    def test_a_body_can_be_read_raw(self, client: Callable[..., Any], sim: SimulatedProvider) -> None:
        c = client(transport=None)
        raws = []
        for _ in range(3):
            with c.stream("POST", f"{sim.base_url}/chat/completions", content=body(), headers=HEADERS) as response:
                raws.append(b"".join(response.iter_raw()))
        assert len(set(raws)) == 1

    def test_closing_early_lets_the_answer_be_kept(self, client: Callable[..., Any], sim: SimulatedProvider) -> None:
        c = client(transport=None)
        with c.stream("POST", f"{sim.base_url}/chat/completions", content=body(stream=True), headers=HEADERS) as r:
            next(r.iter_raw())
        assert c._transport.desk.lease.world.sync.drain(10)
        assert status(self.post(c, body(stream=True), sim.base_url)).startswith("payonce; hit")
        assert sim.bill.requests == 1
        assert sim.left_early == 0

    def test_an_answer_too_large_to_keep_goes_through_and_is_given_up_when_nobody_reads(
        self, client: Callable[..., Any], sim: SimulatedProvider
    ) -> None:
        settings = Settings(store="memory:", max_entry_bytes=1 << 16)
        c = client(settings=settings, store=None, transport=None, limits=self.mod.Limits(max_connections=1), timeout=10)
        large = HEADERS | {"x-sim-fault": f"huge={8 << 20}"}
        for size in (8 << 20, 1):
            where = f"{sim.base_url}/chat/completions"
            with c.stream("POST", where, content=body(stream=True), headers=large) as r:
                read = 0
                for chunk in r.iter_raw():
                    read += len(chunk)
                    if read >= size and size == 1:
                        break
                assert read >= size
        assert c._transport.desk.lease.world.sync.drain(10)
        assert status(self.post(c, body(stream=True), sim.base_url)) == "payonce; fwd=miss; stored"

    async def test_a_task_gives_up_a_large_answer_too(self, sim: SimulatedProvider) -> None:
        settings = Settings(store="memory:", max_entry_bytes=1 << 16)
        large = HEADERS | {"x-sim-fault": f"huge={8 << 20}"}
        where = f"{sim.base_url}/chat/completions"
        limits = self.mod.Limits(max_connections=1)
        async with self.ours.AsyncClient(settings=settings, limits=limits, timeout=10) as c:
            async with c.stream("POST", where, content=body(stream=True), headers=large) as r:
                await anext(r.aiter_raw())
            said = status(await self.apost(c, body(stream=True), sim.base_url))
            assert said == "payonce; fwd=miss; stored", "its place in the pool is free again"

    async def test_a_stream_that_stalls_is_given_up_by_a_follower_with_less_time(self, sim: SimulatedProvider) -> None:
        where = f"{sim.base_url}/chat/completions"
        stalling = HEADERS | {"x-sim-fault": "stall=60"}
        async with self.ours.AsyncClient(store="memory:", timeout=60) as c:
            async with c.stream("POST", where, content=body(stream=True), headers=stalling) as leader:
                assert leader.status_code == 200
                with pytest.raises(self.mod.ReadTimeout, match="stalled"):
                    await c.post(where, content=body(stream=True), headers=stalling, timeout=0.05)
                assert len(sim.calls) == 1
            await c._transport.desk.lease.world.aio().drain(0.0, lambda _: True)

    def test_a_thread_gives_up_a_stream_that_stalls(self, client: Callable[..., Any]) -> None:
        go = threading.Event()
        with held_upstream(go) as upstream:
            where = f"{upstream.base_url}/chat/completions"
            c = client(transport=None, timeout=60)
            with c.stream("POST", where, content=body(stream=True), headers=HEADERS) as leader:
                assert leader.status_code == 200
                with pytest.raises(self.mod.ReadTimeout, match="stalled"):
                    c.post(where, content=body(stream=True), headers=HEADERS, timeout=0.05)
                go.set()
            assert len(upstream.requests) == 1

    def test_the_first_byte_is_not_held_back(self, client: Callable[..., Any]) -> None:
        go = threading.Event()
        with held_upstream(go) as upstream:
            c, arrived = client(transport=None, timeout=60), b""
            where = f"{upstream.base_url}/chat/completions"
            with c.stream("POST", where, content=body(stream=True), headers=HEADERS) as r:
                for part in r.iter_raw():
                    arrived += part
                    go.set()  # the provider goes on when the first part has come, and not before
        assert arrived == b"".join(good_stream())

    @pytest.mark.parametrize("stream", [True, False])
    def test_fifty_threads_make_one_call(self, client: Callable[..., Any], stream: bool) -> None:
        go = threading.Event()
        with held_upstream(go) as upstream:
            c = client(transport=None, timeout=60)
            seen: list[Any] = []

            def one() -> None:
                seen.append(self.post(c, body(stream=stream), upstream.base_url))

            threads = [threading.Thread(target=one) for _ in range(50)]
            for thread in threads:
                thread.start()
            lease = c._transport.desk.lease
            until(lambda: lease.world is not None and any(f.followers == 49 for f in lease.world.sync.tower))
            go.set()
            for thread in threads:
                thread.join(30)
            assert len(upstream.requests) == 1
        assert len({response.content for response in seen}) == 1
        assert sum(status(response) == "payonce; fwd=miss; collapsed" for response in seen) == 49

    async def test_fifty_tasks_make_one_call(self, tmp_path: Path) -> None:
        go = threading.Event()
        with held_upstream(go) as upstream:
            async with self.ours.AsyncClient(store=f"sqlite:{tmp_path}/c.db", timeout=60) as c:
                asked = (self.apost(c, body(stream=number % 2 == 0), upstream.base_url) for number in range(50))
                tasks = [asyncio.ensure_future(one) for one in asked]
                lease = c._transport.desk.lease
                await auntil(lambda: lease.world and [f.followers for f in lease.world.aio().tower] == [24, 24])
                go.set()
                seen = await asyncio.gather(*tasks)
            assert len(upstream.requests) == 2
        assert len({response.content for response in seen}) == 2

    async def apost(self, client: Any, content: bytes | None = None, url: str = URL, **headers: str) -> Any:
        named = HEADERS | {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.post(f"{url}/chat/completions", content=content or body(), headers=named)

    # ------------------------------------------------------------------------------------ asyncio

    async def test_tasks_and_threads_share_the_store(
        self, client: Callable[..., Any], script: Scripted, tmp_path: Path
    ) -> None:
        self.post(client())
        async with self.ours.AsyncClient(
            store=f"sqlite:{tmp_path}/c.db", transport=self.mod.MockTransport(script)
        ) as c:
            assert open_worlds() == 1
            for _ in range(3):
                assert status(await self.apost(c)).startswith("payonce; hit")
            assert status(await self.apost(c, body("new"))) == "payonce; fwd=miss; stored"
            assert status(await self.apost(c, body(temperature=1))) == "payonce; fwd=bypass; detail=not-deterministic"
            assert status(await c.get(f"{URL}/models")) == ""
            refused = await self.apost(c, x_payonce_sample="x")
            assert refused.headers["x-payonce-error"] == "bad-sample"
            missed = await self.apost(c, body("newer"), cache_control="only-if-cached")
            assert missed.status_code == 504
        assert len(script.requests) == 4

    async def test_tasks_get_equal_exceptions_too(self, tmp_path: Path) -> None:
        failure = self.mod.RemoteProtocolError("gone")
        gate, calls = asyncio.Event(), []

        async def handler(request: Any) -> Any:
            calls.append(request)
            await gate.wait()
            raise failure

        async with self.ours.AsyncClient(store="memory:", transport=self.mod.MockTransport(handler)) as c:
            tasks = [asyncio.ensure_future(self.apost(c)) for _ in range(10)]
            await auntil(lambda: calls and any(f.followers == 9 for f in c._transport.desk.lease.world.aio().tower))
            gate.set()
            errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(error) for error in errors} == {self.mod.RemoteProtocolError}
        assert sum(error is failure for error in errors) == 1
        assert len(calls) == 1

    async def test_a_task_that_follows_waits_no_longer_than_its_own_time(self) -> None:
        gate = asyncio.Event()

        async def handler(request: Any) -> Any:
            await gate.wait()
            return self.mod.Response(200, headers={"content-type": "application/json"}, content=answer(1)[1])

        async with self.ours.AsyncClient(store="memory:", transport=self.mod.MockTransport(handler)) as c:
            leader = asyncio.ensure_future(self.apost(c))
            await auntil(lambda: (world := c._transport.desk.lease.world) and len(world.aio().tower))
            with pytest.raises(self.mod.ReadTimeout):
                await c.post(f"{URL}/chat/completions", content=body(), headers=HEADERS, timeout=0.01)
            gate.set()
            assert (await leader).status_code == 200

    def test_one_client_on_several_loops(self, sim: SimulatedProvider, tmp_path: Path) -> None:
        # as without us, connections must not outlive their loop
        c = self.ours.AsyncClient(store=f"sqlite:{tmp_path}/c.db", limits=self.mod.Limits(max_keepalive_connections=0))
        seen = []

        async def once(number: int) -> None:
            seen.append(status(await self.apost(c, body(str(number // 2)), sim.base_url)))

        for number in range(4):
            asyncio.run(once(number))
        asyncio.run(c.aclose())
        assert [said.split("; ")[1] for said in seen] == ["fwd=miss", "hit", "fwd=miss", "hit"]
        assert open_worlds() == 0

    def test_without_asyncio_an_async_client_says_so(self) -> None:
        c = self.ours.AsyncClient(store="memory:")
        call = self.apost(c)
        with pytest.raises(Exception, match="asyncio") as caught:
            call.send(None)
        assert "trio" in str(caught.value)

    async def test_a_stream_that_is_dropped_does_not_keep_its_place(self) -> None:
        go = threading.Event()
        with held_upstream(go) as upstream:
            async with self.ours.AsyncClient(store="memory:", timeout=60) as c:
                request = c.build_request(
                    "POST", f"{upstream.base_url}/chat/completions", content=body(stream=True), headers=HEADERS
                )
                response = await c.send(request, stream=True)
                world = c._transport.desk.lease.world
                (flight,) = world.aio().tower
                assert len(flight.tape.readers) >= 1
                del response
                gc.collect()
                go.set()
                await world.aio().drain(30, lambda _: True)
                await auntil(lambda: not flight.tape.readers)
                assert status(await self.apost(c, body(stream=True), upstream.base_url)).startswith("payonce; hit")

    # ------------------------------------------------------------------------------------ clients, worlds, mistakes

    def test_clients_share_one_world_by_their_store(self, client: Callable[..., Any], tmp_path: Path) -> None:
        one, two = client(), client(ttl=60, cache="all", namespace="n")
        other = client(store=f"sqlite:{tmp_path}/other.db")
        for c in (one, two, other):
            self.post(c)
        assert one._transport.desk.lease.world is two._transport.desk.lease.world
        assert open_worlds() == 2
        one.close()
        assert open_worlds() == 2
        two.close()
        other.close()
        assert open_worlds() == 0

    def test_a_client_that_is_dropped_lets_its_world_go(self, script: Scripted, tmp_path: Path) -> None:
        c = self.ours.Client(store=f"sqlite:{tmp_path}/c.db", transport=self.mod.MockTransport(script))
        self.post(c)
        assert open_worlds() == 1
        del c
        gc.collect()
        until(lambda: open_worlds() == 0)

    def test_mounts_and_proxies_are_wrapped_where_they_are(
        self, client: Callable[..., Any], script: Scripted, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = Scripted(self.mod)
        c = client(mounts={"https://other.example": self.mod.MockTransport(other), "https://none.example": None})
        for _ in range(2):
            self.post(c, url="https://other.example/v1")
            self.post(c)
        assert (len(script.requests), len(other.requests)) == (1, 1)
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        proxied = client(transport=None)
        with pytest.raises(self.mod.ConnectError):
            self.post(proxied, body("through the proxy"))

    def test_a_transport_by_itself(self, script: Scripted, tmp_path: Path) -> None:
        transport = self.ours.CacheTransport(self.mod.MockTransport(script), store="memory:", cache="all")
        with self.mod.Client(transport=transport) as c:
            assert self.post(c, body(temperature=1)).status_code == 200
            assert status(self.post(c, body(temperature=1))).startswith("payonce; hit")
        with self.ours.Client(transport=self.ours.CacheTransport(self.mod.MockTransport(script), store="memory:")) as c:
            assert c._transport.way.__class__ is self.mod.MockTransport

    def test_a_client_has_what_the_sdks_give_their_own(self, client: Callable[..., Any]) -> None:
        assert client().follow_redirects
        assert not client(follow_redirects=False).follow_redirects

    def test_mistakes_are_named_with_the_fix(self, tmp_path: Path) -> None:
        other = {"httpx": "httpx2", "httpx2": "httpx"}[self.name]
        foreign = importlib.import_module(other)
        ours = self.ours
        wrong: list[tuple[Callable[[], Any], type[Exception], str]] = [
            (lambda: ours.Client(transport=foreign.HTTPTransport()), SettingsError, f"payonce.{other}"),
            (lambda: ours.CacheTransport(self.mod.AsyncHTTPTransport()), SettingsError, "HTTPTransport"),
            (lambda: ours.AsyncClient(transport=self.mod.HTTPTransport()), SettingsError, "AsyncHTTPTransport"),
            (lambda: ours.Client(store="nosuch:x"), StoreUnknownError, "sqlite:"),
            (lambda: ours.Client(mode="repaly"), SettingsError, "replay"),
            (lambda: ours.Client(cache="some"), SettingsError, "cache"),
            (lambda: ours.Client(ttl=0), SettingsError, "ttl"),
            (lambda: ours.Client(namespace="a b"), SettingsError, "Namespace"),
            (lambda: ours.Client(tags="a"), SettingsError, r"tags=\["),
            (lambda: ours.Client(colour="red"), TypeError, "colour"),
        ]
        for make, kind, said in wrong:
            with pytest.raises(kind, match=said):
                make()


class _Watched(list[Any]):
    """A list that tells of what is appended."""

    def __init__(self, items: list[Any], told: Callable[[Any], None]) -> None:
        super().__init__(items)
        self._told = told

    def append(self, item: Any) -> None:
        super().append(item)
        self._told(item)


def headers(fault: str) -> dict[str, str]:
    return HEADERS if fault == "refused" else HEADERS | {"x-sim-fault": fault}


def patience(mod: Any, fault: str) -> Any:
    """Time enough for all but what has to end by a timeout; of a stall, the beginning has to come before it."""
    waits = {"stall": 1.0, "slow-first-byte": 0.1}
    return mod.Timeout(30.0, read=waits.get(fault.partition("=")[0], 30.0))


@contextlib.contextmanager
def reached(sim: SimulatedProvider, fault: str) -> Iterator[str]:
    """The base URL at which there is this fault: that of `sim`, or one at which nobody listens while the block runs."""
    if fault != "refused":
        yield sim.base_url
        return
    [port] = free_ports(1)
    try:
        yield f"http://127.0.0.1:{port}/api/v1"
    finally:
        release(port)


@contextlib.contextmanager
def held_upstream(go: threading.Event) -> Iterator[RawUpstream]:
    """One whose answers wait for `go`; streams do so after their head and first event."""

    def behave(conn: socket.socket, request: Request) -> None:
        stream, (first, *rest) = json.loads(request.body).get("stream"), good_stream()
        if stream:
            conn.sendall(STREAM_HEAD + chunk(first))
        assert go.wait(60)
        conn.sendall(b"".join(map(chunk, rest)) + b"0\r\n\r\n" if stream else whole(good()))

    with raw_upstream(behave) as upstream:
        try:
            yield upstream
        finally:
            go.set()


def until(true: Callable[[], Any], seconds: float = 30.0) -> None:
    """Waits for `true` to hold."""
    waiting = threading.Event()
    for _ in range(int(seconds / 0.005)):
        if true():
            return
        waiting.wait(0.005)
    raise AssertionError("it never came to hold")


async def auntil(true: Callable[[], Any], seconds: float = 30.0) -> None:
    """Waits for `true` to hold, on the loop."""
    for _ in range(int(seconds / 0.001)):
        if true():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to hold")


async def tasks_end(*others: Collection[asyncio.Task[Any]], seconds: float = 30.0) -> None:
    """Waits for every task of this loop to end but those of `others`: a generator that its reader left half read is
    closed by a task that the loop makes once it is collected, and the generator that this one read by yet another."""
    with contextlib.suppress(AssertionError):
        await auntil(lambda: not asyncio.all_tasks().difference(*others), seconds)
    left = asyncio.all_tasks().difference(*others)
    assert not left, left
