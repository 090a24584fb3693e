"""Every fault of the simulated provider, as a client on a bare socket sees it."""

from __future__ import annotations

import gzip
import json
import socket
import zlib

import openai
import pytest
from sim_client import PATH, ask, raw

from payonce.testing.sim import SimulatedProvider, running_sim
from payonce.testing.sim_faults import FAULTS

LEFT = {"quiet": 0.1}
"""How soon a client leaves where nothing more is to come."""
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])


@BOTH
@pytest.mark.parametrize("size", [0, 1, 57, 400])
def test_a_cut_body_is_seen_as_cut(sim: SimulatedProvider, stream: bool, size: int) -> None:
    for name, end in (("cut", "FIN"), ("reset", "RST")):
        answer = raw(sim, ask(stream=stream), fault=f"{name}={size}")
        assert (answer.status, len(answer.body), answer.whole, answer.end) == (200, size, False, end)
    answer = raw(sim, ask(stream=stream), fault=f"clean-cut={size}")
    assert (answer.status, len(answer.body), answer.whole) == (200, size, True)
    assert sim.bill.calls == 3, "what broke on the way was charged all the same"


def test_the_sdk_notices_a_cut(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(**ask(), extra_headers={"X-Sim-Fault": "cut=100"})
    with (
        pytest.raises(Exception, match=r"(?i)peer closed|incomplete|connection"),
        client.chat.completions.create(**ask(), stream=True, extra_headers={"X-Sim-Fault": "cut=900"}) as stream,
    ):
        list(stream)


@BOTH
def test_a_stall_stays_open_until_somebody_leaves(stream: bool) -> None:
    with running_sim() as sim:
        answer = raw(sim, ask(stream=stream), fault="stall=100", enough=100, quiet=0.5)
        assert (answer.end, len(answer.body), answer.whole) == ("QUIET", 100, False)
        host, port = sim.base_url.split("/")[2].split(":")
        body = json.dumps(ask(model="sim/fault-stall=10", stream=stream)).encode()
        waiting = socket.create_connection((host, int(port)), timeout=20)
        waiting.sendall(b"POST %b HTTP/1.1\r\nHost: s\r\nAuthorization: Bearer k\r\n" % PATH.encode())
        waiting.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert waiting.recv(65536)
    with waiting:  # the provider has closed: so has the connection
        try:
            while waiting.recv(65536):
                pass
        except ConnectionResetError:
            pass


@pytest.mark.parametrize("status", [429, 500, 502, 503, 529])
@BOTH
def test_error_statuses(sim: SimulatedProvider, status: int, stream: bool) -> None:
    answer = raw(sim, ask(model=f"sim/fault-{status}", stream=stream))
    assert (answer.status, answer.json()["error"]["code"], sim.bill.calls) == (status, status, 0)
    assert ("retry-after" in answer.headers) is (status in {429, 503})
    limits = {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}
    assert (answer.headers.keys() >= limits) is (status == 429)
    assert raw(sim, ask(stream=stream), fault="429=17").headers["retry-after"] == "17"


def test_an_error_inside_a_200(sim: SimulatedProvider) -> None:
    answer = raw(sim, ask(), fault="200-error")
    assert answer.status == 200 and answer.json()["error"]["code"] == 502 and "choices" not in answer.json()
    late = raw(sim, ask(stream=True), fault="200-error")
    *_, finished, broken = late.events()
    assert finished["choices"][0]["finish_reason"] == "length", "as recorded: the error follows a chunk that finished"
    assert broken["error"]["code"] == 502 and broken["choices"][0]["finish_reason"] is None
    assert broken["usage"]["cost"] == 0 and late.body.endswith(b"data: [DONE]\n\n")
    only = raw(sim, ask(stream=True), fault="200-error=only")
    assert len(only.events()) == 1 and "usage" not in only.events()[0] and only.body.endswith(b"data: [DONE]\n\n")
    assert sim.bill.calls == 0


@BOTH
@pytest.mark.parametrize(
    ("fault", "finish"),
    [
        ("choice-error", "error"),
        ("content-filter", "content_filter"),
        ("length", "length"),
        ("refusal", "stop"),
        ("empty", None),
    ],
)
def test_answers_that_say_something_else(sim: SimulatedProvider, fault: str, finish: str | None, stream: bool) -> None:
    answer = raw(sim, ask(stream=stream), fault=fault)
    assert answer.status == 200 and answer.whole
    choices = [chunk["choices"][0] for chunk in (answer.events() if stream else [answer.json()]) if chunk["choices"]]
    said = [choice.get("delta") or choice["message"] for choice in choices]
    assert choices[-1]["finish_reason"] == finish
    assert ("error" in choices[-1]) is (fault == "choice-error")
    assert any(one.get("refusal") for one in said) is (fault == "refusal")
    assert any(one.get("content") for one in said) is (fault not in {"refusal", "empty"})
    assert sim.bill.calls == (0 if fault in {"choice-error", "empty"} else 1)


@BOTH
def test_a_tool_call_that_is_not_json(sim: SimulatedProvider, stream: bool) -> None:
    answer = raw(sim, ask(stream=stream), fault="bad-tool-json")
    choices = [chunk["choices"][0] for chunk in (answer.events() if stream else [answer.json()]) if chunk["choices"]]
    calls = [call for choice in choices for call in (choice.get("delta") or choice["message"]).get("tool_calls", [])]
    with pytest.raises(json.JSONDecodeError):
        json.loads("".join(call["function"]["arguments"] for call in calls))
    assert choices[-1]["finish_reason"] == "tool_calls"


@BOTH
def test_bodies_that_are_something_else(sim: SimulatedProvider, stream: bool) -> None:
    html = raw(sim, ask(stream=stream), fault="html")
    assert (html.status, html.headers["content-type"]) == (200, "text/html; charset=utf-8") and b"<html>" in html.body
    empty = raw(sim, ask(stream=stream), fault="empty-body")
    assert (empty.status, empty.body, empty.whole) == (200, b"", True)
    moved = raw(sim, ask(stream=stream), fault="redirect=http://there.invalid/x")
    assert (moved.status, moved.headers["location"]) == (307, "http://there.invalid/x")
    comments = raw(sim, ask(stream=stream), fault="comments-only=4")
    assert comments.body == (b": OPENROUTER PROCESSING\n\n" if stream else b"\n") * 4 and comments.whole
    assert sim.bill.calls == 0


@BOTH
def test_gzip_although_identity_was_asked_for(sim: SimulatedProvider, stream: bool) -> None:
    answer = raw(sim, ask(stream=stream), fault="gzip")
    assert answer.headers["content-encoding"] == "gzip" and answer.whole
    plain = gzip.decompress(answer.body)
    assert plain.endswith(b"data: [DONE]\n\n" if stream else b"}") and (stream or json.loads(plain)["id"])
    if stream:  # every event can be read as soon as it has come
        assert b"data: {" in zlib.decompressobj(wbits=31).decompress(answer.body[:600])


def test_a_stream_without_done(sim: SimulatedProvider) -> None:
    answer = raw(sim, ask(stream=True), fault="no-done")
    assert b"[DONE]" not in answer.body and answer.whole and "usage" in answer.events()[-1]


@BOTH
def test_a_huge_answer(sim: SimulatedProvider, stream: bool) -> None:
    answer = raw(sim, ask(stream=stream), fault="huge=1000000")
    assert 1_000_000 < len(answer.body) < 1_100_000 and answer.body.count(b"x") > 999_000 and answer.whole
    assert answer.events() if stream else answer.json()


@BOTH
def test_a_slow_first_byte(sim: SimulatedProvider, stream: bool) -> None:
    answer = raw(sim, ask(stream=stream), fault="slow-first-byte=300", quiet=0.1)
    assert (answer.status, answer.end) == (0, "QUIET"), "not even a status line"


def test_faults_are_chosen_by_header_then_model_then_script(sim: SimulatedProvider) -> None:
    sim.script(["500", None])
    sim.fault_next("503", times=2)
    statuses = [raw(sim, ask(), fault="429").status, raw(sim, ask(model="sim/small:fault-502")).status]
    statuses += [raw(sim, ask()).status for _ in range(5)]
    assert statuses == [429, 502, 500, 200, 503, 503, 200]
    with pytest.raises(ValueError, match="no fault is called 'nonsense'"):
        sim.fault_next("nonsense")
    sim.fault_next("500")
    sim.reset()
    assert raw(sim, ask()).status == 200


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_survived(name: str) -> None:
    """Whatever the fault, the provider answers the next request, and stops when it is told to."""
    argument = {"slow-first-byte": "=0.01", "huge": "=1000"}.get(name, "")
    with running_sim() as sim:
        for stream in (False, True):
            raw(sim, ask(stream=stream), fault=name + argument, **(LEFT if name == "stall" else {}))
        assert raw(sim, ask()).status == 200
