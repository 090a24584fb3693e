"""The fast lane repeats what the story says, word for word, and only for as long as the story would say it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from payonce.core.naming import LONGEST_NAME, name_of
from payonce.gateway.cycle import LaneAnswer
from payonce.gateway.shelf import Ready, Shelf, _size
from payonce.model.entry import Entry, Facts, Tokens
from payonce.model.ports import Head
from payonce.testing.clock import FakeClock
from payonce.testing.sim import SimulatedProvider, running_sim
from tests.support.gateway import PATH, Reply, RunningGateway, Wire, ask, post, running_gateway


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatedProvider]:
    with running_sim() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(sim: SimulatedProvider) -> Iterator[RunningGateway]:
    with running_gateway(
        sim.base_url, allowed_hosts=("gateway.test",), allowed_origins=("https://ok.test",)
    ) as running:
        yield running


def say(gateway: RunningGateway, body: Any, path: str = PATH, **fields: str) -> tuple[Reply, int]:
    """The answer, and how many of the fast lane's hits it was."""
    before = gateway.fast_hits()
    reply = gateway.post(body, path, **fields)
    return reply, gateway.fast_hits() - before


def shelved(gateway: RunningGateway, body: Any, path: str = PATH, **fields: str) -> Reply:
    """Asks until the lane answers, twice."""
    assert gateway.post(body, path, **fields).status == 200
    assert gateway.post(body, path, **fields).hit
    for _ in range(2):
        reply, fast = say(gateway, body, path, **fields)
        assert (reply.hit, fast) == (True, 1)
    return reply


REQUESTS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "plain": (ask("p1"), {}),
    "stream": (ask("p2", stream=True), {}),
    "stream with usage": (ask("p3", stream=True, stream_options={"include_usage": True}), {}),
    "namespace": (ask("p4"), {"X-Payonce-Namespace": "n"}),
    "sample": (ask("p5"), {"X-Payonce-Sample": "7"}),
    "tags": (ask("p6"), {"X-Payonce-Tags": "a,b"}),
    "short ttl": (ask("p7"), {"X-OpenRouter-Cache-TTL": "600"}),
    "keep-alive said": (ask("p8"), {"Connection": "keep-alive"}),
    "all that an SDK says": (
        ask("p9", tools=[{"type": "function", "function": {"name": "f"}}], tool_choice="required"),
        {"User-Agent": "sdk", "Accept": "*/*", "X-Stainless-Lang": "python", "Accept-Encoding": "gzip"},
    ),
    "a keyed header": (ask("p10"), {"X-Other": "1"}),
    "non-ASCII": (ask("é \U0001f600"), {"X-Title": "Caf\xc3\xa9"}),
    "another host": (ask("p11"), {"Host": "gateway.test"}),
    "an allowed origin": (ask("p12"), {"Origin": "https://ok.test"}),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_lane_and_story_agree(sim: SimulatedProvider, gateway: RunningGateway, case: str) -> None:
    body, fields = REQUESTS[case]
    said = {name.replace("-", "_"): value for name, value in fields.items()}
    assert gateway.post(body, **said).status == 200
    seen = [gateway.post(body, **said)]  # the story
    for _ in range(2):  # the lane, with the head parsed and with the head known
        reply, fast = say(gateway, body, **said)
        assert fast == 1
        seen.append(reply)
    story, *lane = seen
    for reply in lane:
        assert (reply.status, reply.settled(), reply.body) == (story.status, story.settled(), story.body)
        assert [name for name, _ in reply.fields] == [name for name, _ in story.fields]


def test_without_the_lane_the_answers_are_the_same(sim: SimulatedProvider, gateway: RunningGateway) -> None:
    with running_gateway(sim.base_url, fast_lane=False) as slow:
        for body in (ask("q1"), ask("q2", stream=True)):
            for _ in range(3):
                without = slow.post(body)
            within = shelved(gateway, body)
            assert without.hit
            assert set(without.settled()) == set(within.settled())
        assert slow.fast_hits() == 0
        assert slow.gateway.shelf is not None
        assert len(slow.gateway.shelf) == 0


NOT_THE_SAME: dict[str, dict[str, str]] = {
    "another tenant": {"Authorization": "Bearer sk-or-other"},
    "no tenant": {"Authorization": "-"},
    "another credential besides": {"X-Api-Key": "k"},
    "another namespace": {"X-Payonce-Namespace": "n"},
    "another sample": {"X-Payonce-Sample": "1"},
    "a header that may matter": {"X-Whatever": "1"},
    "a refresh": {"Cache-Control": "no-cache"},
    "no store": {"Cache-Control": "no-store"},
    "an age": {"Cache-Control": "max-age=0"},
    "off": {"X-OpenRouter-Cache": "false"},
}


@pytest.mark.parametrize("case", NOT_THE_SAME)
def test_a_request_that_differs_never_gets_the_shelved_answer(gateway: RunningGateway, case: str) -> None:
    body = ask(f"shelved, then {case}")
    first = shelved(gateway, body)
    fields = {name.replace("-", "_"): value for name, value in NOT_THE_SAME[case].items()}
    for _ in range(3):
        assert gateway.post(body, **fields).body != first.body


def test_who_may_not_call_is_refused_however_warm_the_shelf_is(gateway: RunningGateway) -> None:
    body = ask("guarded")
    shelved(gateway, body)
    for fields, status in (
        ({"Host": "evil.example"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ):
        for _ in range(3):
            reply, fast = say(gateway, body, **fields)
            assert (reply.status, fast) == (status, 0)
    shelved(gateway, body, Origin="https://ok.test")
    reply, fast = say(gateway, body, Origin="https://ok.test.evil.example")
    assert (reply.status, fast) == (403, 0)


def test_a_field_that_connection_names_is_no_part_of_the_request(
    sim: SimulatedProvider, gateway: RunningGateway
) -> None:
    """It is not forwarded and not keyed, so what is shelved for the request that does forward it is not its answer."""
    body = ask("connection names")
    keyed = shelved(gateway, body, X_Mine="1")
    plain = gateway.post(body)
    assert plain.body != keyed.body
    for _ in range(3):
        reply, _ = say(gateway, body, X_Mine="1", Connection="keep-alive, X-Mine")
        assert reply.body == plain.body


def test_another_path_or_query_is_another_request(gateway: RunningGateway) -> None:
    body = ask("paths")
    first = shelved(gateway, body)
    assert gateway.post(body, PATH + "?a=1").body != first.body
    reply, fast = say(gateway, body, PATH + "/")
    assert (reply.status, fast) == (404, 0)
    reply, fast = say(gateway, body, "/v1/chat/completions")  # the same endpoint by its other name: the same key
    assert (reply.hit, fast, reply.body) == (True, 0, first.body)


def test_body_bytes_that_mean_the_same_are_found_by_the_story(gateway: RunningGateway) -> None:
    first = shelved(gateway, json.dumps(ask("spelt")).encode())
    reply, fast = say(gateway, json.dumps(ask("spelt"), indent=1).encode())
    assert (reply.hit, fast, reply.body) == (True, 0, first.body)


def test_the_lane_stops_when_the_entry_expires() -> None:
    clock = FakeClock()
    with running_sim() as sim, running_gateway(sim.base_url, clock=clock, ttl=10) as gateway:
        body = ask("expiry")
        first = shelved(gateway, body)
        clock.advance(9)
        reply, fast = say(gateway, body)
        assert (reply.hit, fast, reply["cache-status"]) == (True, 1, "payonce; hit; ttl=1")
        assert reply["age"] == reply["x-openrouter-cache-age"] == "9"
        clock.advance(2)
        reply, fast = say(gateway, body)
        assert (reply.hit, fast, reply["cache-status"]) == (False, 0, "payonce; fwd=stale; stored")
        assert reply.body != first.body
        clock.advance(-1000)  # a clock that was set back: an entry from the future is not the lane's to judge
        reply, fast = say(gateway, body)
        assert fast == 0


def test_a_purge_takes_everything_off_the_lane(sim: SimulatedProvider, gateway: RunningGateway) -> None:
    body, other = ask("purged"), ask("kept")
    first, second = shelved(gateway, body), shelved(gateway, other)
    world = gateway.gateway.world
    shelf = gateway.gateway.shelf
    assert shelf is not None
    scopes = gateway.run(lambda: next(r.entry.scopes for r in shelf._ready.values() if r.body == first.body))
    gateway.run(lambda: (world.tiers.keeper.raise_epoch(scopes[-1]), world.tiers.refresh()))
    reply, fast = say(gateway, body)
    assert (reply.hit, fast) == (False, 0)
    assert reply.body != first.body
    reply, fast = say(gateway, other)  # not purged: the story says so once more, then the lane again
    assert (reply.hit, fast, reply.body) == (True, 0, second.body)
    assert say(gateway, other)[1] == 1


@pytest.mark.parametrize("how", [{"X_OpenRouter_Cache_Clear": "true"}, {"Cache_Control": "no-cache"}])
def test_a_new_answer_replaces_the_shelved_one_at_once(gateway: RunningGateway, how: dict[str, str]) -> None:
    body = ask(f"replaced {how}")
    first = shelved(gateway, body)
    fresh, fast = say(gateway, body, **how)
    assert (fresh.hit, fast) == (False, 0)
    assert fresh.body != first.body
    for _ in range(3):
        reply = gateway.post(body)
        assert (reply.hit, reply.body) == (True, fresh.body)
    fresh_again, fast = say(gateway, body, **how)  # the directive itself is never answered from the shelf
    assert (fresh_again.hit, fast) == (False, 0)


@pytest.mark.parametrize("how", ["nothing", "change", "purge"])
def test_what_was_purged_while_it_was_being_served_is_not_shelved(
    sim: SimulatedProvider, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """What is read before a purge and given after it: the shelf would serve it for its whole lifetime."""
    with running_gateway(sim.base_url) as gateway:
        body = ask("slow hit")
        gateway.post(body)
        tiers, shelf = gateway.gateway.world.tiers, gateway.gateway.shelf
        assert shelf is not None
        slots: list[bytes] = []
        look, give = tiers.look, LaneAnswer.give

        def given(face: LaneAnswer, *answer: Any) -> None:
            if how == "purge":
                tiers.keeper.raise_epoch("all")
                tiers.refresh()
            elif how == "change":
                tiers._changed(slots[-1])
            give(face, *answer)

        monkeypatch.setattr(tiers, "look", lambda sought: (slots.append(sought.key.slot), look(sought))[1])
        monkeypatch.setattr(LaneAnswer, "give", given)
        assert gateway.post(body).hit
        assert gateway.run(lambda: len(shelf)) == (how == "nothing")


def test_a_purge_by_key_reaches_the_shelf_on_its_own_thread(sim: SimulatedProvider) -> None:
    import threading

    with running_gateway(sim.base_url) as gateway:
        body = ask("threads")
        shelved(gateway, body)
        shelf = gateway.gateway.shelf
        assert shelf is not None
        drop, threads = shelf.drop, set()
        shelf.drop = lambda slot: (threads.add(threading.get_ident()), drop(slot))[1]  # type: ignore[method-assign]
        gateway.post(body, X_OpenRouter_Cache_Clear="true")
        assert threads == {gateway.run(threading.get_ident)}


def test_connection_close_and_http_1_0_are_honoured_with_a_warm_shelf(gateway: RunningGateway) -> None:
    body = ask("closing")
    shelved(gateway, body)
    for data in (
        post(body, PATH, gateway.host, {"Connection": "close"}),
        post(body, PATH, gateway.host).replace(b"HTTP/1.1", b"HTTP/1.0"),
    ):
        for _ in range(3):
            with gateway.wire() as wire:
                wire.send(data)
                reply = wire.reply()
                assert reply.hit
                assert reply["connection"] == "close"
                assert wire.closed()


def test_an_http_1_0_client_gets_no_chunks(sim: SimulatedProvider, gateway: RunningGateway) -> None:
    for more in ({}, {"X-OpenRouter-Cache": "false"}):
        data = post(ask(f"old {more}", stream=True), PATH, gateway.host, more).replace(b"HTTP/1.1", b"HTTP/1.0")
        with gateway.wire() as wire:
            wire.send(data)
            reply = wire.reply()
            assert reply["transfer-encoding"] == ""
            assert reply.body.endswith(b"data: [DONE]\n\n")


def test_many_requests_in_one_write_are_all_answered_by_the_lane(gateway: RunningGateway) -> None:
    body = ask("pipelined")
    first = shelved(gateway, body)
    before = gateway.fast_hits()
    with gateway.wire() as wire:
        wire.send(post(body, PATH, gateway.host) * 50)
        assert {wire.reply().body for _ in range(50)} == {first.body}
        wire.send(post(body, PATH, gateway.host))
        assert wire.reply().hit
    assert gateway.fast_hits() - before == 51


def test_the_lane_waits_for_the_answers_before_it(sim: SimulatedProvider, gateway: RunningGateway) -> None:
    warm = ask("warm")
    first = shelved(gateway, warm)
    with gateway.wire() as wire:
        cold = post(ask("cold", model="sim/fault-slow-first-byte=0.2"), PATH, gateway.host)
        wire.send(cold)
        wire.send(post(warm, PATH, gateway.host))  # a head that is known
        wire.send(post(warm, PATH, gateway.host))
        assert not wire.reply().hit
        assert [wire.reply().body for _ in range(2)] == [first.body] * 2


def test_an_access_log_closes_the_lane(sim: SimulatedProvider, tmp_path: Path) -> None:
    with running_gateway(sim.base_url, access_log=str(tmp_path / "access.log")) as gateway:
        body = ask("logged")
        gateway.run(lambda: None)
        for _ in range(4):
            reply, fast = say(gateway, body)
            assert fast == 0
        assert reply.hit


def test_the_lanes_hits_are_in_the_figures(sim: SimulatedProvider) -> None:
    with running_gateway(sim.base_url) as gateway:
        for _ in range(10):
            gateway.post(ask("counted"))
        with gateway.wire() as wire:
            wire.send(b"GET /metrics HTTP/1.1\r\nHost: %s\r\n\r\n" % gateway.host.encode())
            text = wire.reply("GET").body.decode()
        assert 'payonce_requests_total{outcome="hit"} 9.0' in text
        assert 'payonce_requests_total{outcome="miss"} 1.0' in text
        assert "payonce_avoided_calls_total 9.0" in text
        assert 'payonce_request_duration_seconds_count{outcome="hit"} 9.0' in text
        assert gateway.fast_hits() == 8


def test_each_of_the_lanes_hits_takes_time_and_none_takes_longer_than_its_client_waits(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvloop tells the time in whole milliseconds, once a turn: by its clock most hits took none."""
    took: list[float] = []
    waited: list[float] = []
    data, served = post(ask("timed"), PATH, gateway.host), Shelf.served
    shelved(gateway, ask("timed"))
    monkeypatch.setattr(Shelf, "served", lambda *told: (took.append(told[-1]), served(*told)))
    with gateway.wire() as wire:
        for _ in range(20):
            asked_at = time.perf_counter()
            wire.send(data)
            assert wire.reply().hit
            waited.append(time.perf_counter() - asked_at)
    assert gateway.until(lambda: len(took) == len(waited))
    assert all(0 < own < whole for own, whole in zip(took, waited, strict=True)), (took, waited)


def test_the_shelf_is_bounded_however_many_answers_pass(sim: SimulatedProvider) -> None:
    with running_gateway(sim.base_url, memory_bytes=1 << 20) as gateway:
        shelf = gateway.gateway.shelf
        assert shelf is not None
        with gateway.wire() as wire:
            for n in range(150):
                data = post(ask(f"many {n}"), PATH, gateway.host)
                for _ in range(4):
                    wire.send(data)
                    assert wire.reply().status == 200
        used = gateway.run(lambda: (shelf.used, sum(_size(*one) for one in shelf._ready.items()), len(shelf)))
        assert used[0] == used[1] <= shelf.max_bytes == 1 << 18
        assert 0 < used[2] < 300
        assert gateway.run(lambda: sum(map(len, shelf._names.values()))) == used[2]


def test_a_client_that_takes_nothing_is_not_written_for_by_the_lane(gateway: RunningGateway) -> None:
    """It gives way to the story, whose writer waits."""
    body = ask("unread", model="sim/fault-huge=200000")
    for _ in range(2):
        assert gateway.post(body).status == 200
    assert gateway.until(lambda: not gateway.gateway.connections)
    with Wire(gateway.port, receive_buffer=4096) as wire:
        wire.send(post(body, PATH, gateway.host) * 60)
        assert gateway.until(lambda: any(one.flow.write_paused for one in gateway.gateway.connections))
        (protocol,) = gateway.gateway.connections
        assert gateway.run(protocol.transport.get_write_buffer_size) < 1_000_000
        assert 0 < gateway.run(lambda: len(protocol.pipeline)) < 60, "what is not read yet does not wait"
        assert [len(wire.reply().body) > 200_000 for _ in range(60)] == [True] * 60


class _Count:
    purges = 0
    trusted = True


def _ready(slot: bytes, size: int = 100, ttl: int = 10) -> Ready:
    facts = Facts("gen-1", "m", "none", Tokens())
    entry = Entry(0.0, ttl, 0, 0, (), (), 200, (), b"x" * size, facts, "t", "", (), "chat/completions", "m", 0.1)
    assert Head(entry.status, entry.headers).status == 200
    return Ready(entry, entry.body, slot, 0)


def test_a_shelf_forgets_the_least_recently_used_and_nothing_too_large() -> None:
    shelf = Shelf(40_000, _Count())
    names = [name_of(b"head", b"d%d" % n) for n in range(100)]
    for n, name in enumerate(names):
        shelf.put(name, _ready(b"s%d" % (n % 10)))
        shelf.get(names[0], 1.0)
        assert shelf.used <= 40_000
    assert shelf.get(names[0], 1.0) is not None
    assert shelf.get(names[1], 1.0) is None
    large = name_of(b"head", b"large")
    shelf.put(large, _ready(b"large", 40_000))
    assert shelf.get(large, 1.0) is None
    for n in range(10):
        shelf.drop(b"s%d" % n)
    assert (len(shelf), shelf.used, shelf._names) == (0, 0, {})


def test_a_long_body_is_named_by_its_digest_and_counts_for_as_much() -> None:
    short, long = b"x" * LONGEST_NAME, b"x" * (LONGEST_NAME + 1)
    assert name_of(b"head", short) == (b"head", short)
    assert name_of(b"head", long) != name_of(b"head", long + b"x")
    assert max(map(len, name_of(b"head", long)[1:][1:])) == 32
    assert name_of(b"head", long) != name_of(b"head", name_of(b"head", long)[-1]), "a body that is another's digest"
