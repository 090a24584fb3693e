"""The responses dialect judges answers: only what is whole, free of errors and worth giving twice is kept.

recordings/responses/openrouter-advisor.sse is real traffic (OpenRouter's own test fixture); the two named openai-* are
made by hand after OpenAI's documented examples.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import openai
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.verdicts import ENDS, RecordingsContract, is_verdict, json_of, judge_by
from tests.support.words import SECRET, entry, intent

from payonce.dialects import ResponsesDialect
from payonce.model import reason as why
from payonce.model.entry import Facts, Tokens, seal
from payonce.model.reason import Reason

RESPONSES = ResponsesDialect()
STREAMS = {path.stem: path.read_bytes() for path in (Path(__file__).parent / "recordings/responses").glob("*.sse")}
OPENAI_ID = "resp_67c9fdcecf488190bdd9a0409de3a1ec07b8b0ad4e5eb654"
FACTS = {
    "openai-text": Facts(OPENAI_ID, "gpt-4.1-2025-04-14", "always", Tokens(37, 11, None)),
    "openai-tools": Facts(OPENAI_ID, "gpt-4.1-2025-04-14", "always", Tokens(37, 11, None)),
    "openrouter-advisor": Facts(
        "gen-1784161874-CXX4U5I6Ej7Z5hTnf0wU", "openai/gpt-5", "always", Tokens(770, 186, 4_699_900)
    ),
}
DONE = b"data: [DONE]\n\n"
USAGE = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5, "cost": 0.00025}
ERROR = {"code": "server_error", "message": "Provider returned error"}
SAID = {"type": "output_text", "text": "hi", "annotations": []}
REFUSED = {"type": "refusal", "refusal": "I can't"}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": []}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}", "status": "completed"}


def text(*content: Any, **more: Any) -> dict[str, Any]:
    plain = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": list(content)}
    return {**plain, **more}


HI = text(SAID)


def response(*output: Any, status: Any = "completed", because: Any = None, **more: Any) -> dict[str, Any]:
    details = None if because is None else {"reason": because}
    plain = {"id": "resp_1", "object": "response", "model": "m-1", "status": status, "error": None}
    return {**plain, "incomplete_details": details, "output": list(output), "usage": USAGE, **more}


def parts(whole: dict[str, Any]) -> list[dict[str, Any]]:
    """The events in which a response arrives as a stream."""
    found: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**whole, "status": "in_progress", "output": [], "usage": None}}
    ]
    found[0]["response"]["error"] = found[0]["response"]["incomplete_details"] = None
    for index, item in enumerate(whole["output"]):
        place = {"output_index": index, "item_id": item.get("id")}
        found.append({"type": "response.output_item.added", **place, "item": {**item, "status": "in_progress"}})
        if item["type"] == "function_call":
            found.append({"type": "response.function_call_arguments.delta", **place, "delta": item["arguments"]})
        for content in item.get("content") or ():
            kind = "refusal" if content["type"] == "refusal" else "output_text"
            said = content.get("refusal") or content.get("text") or ""
            found.append({"type": f"response.{kind}.delta", **place, "content_index": 0, "delta": said})
        found.append({"type": "response.output_item.done", **place, "item": item})
    return [*found, {"type": f"response.{whole['status']}", "response": whole}]


def event(part: Any) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(part)


def stream(*events: Any, done: bytes = DONE) -> bytes:
    return b":\n\n" + b"".join(map(event, events)) + done


judge = judge_by(RESPONSES)


def both(whole: dict[str, Any], **wish: Any) -> list[Facts | Reason]:
    return [judge(stream(*parts(whole)), **wish), judge(whole, **wish)]


# ------------------------------------------------------------------------------------------------ recordings

ERRORS = [
    b'event: error\ndata: {"type":"error","code":"rate_limit_exceeded","message":"x","param":null,"sequence_number":2}',
    b'data: {"type":"error","code":"rate_limit_exceeded","message":"x","param":null,"sequence_number":2}',
    b'data: {"type":"response.error","message":"x"}',
    b'data: {"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"x"}}}',
    b'data: {"type":"response.in_progress","response":{"status":"in_progress","error":{"code":"x","message":"x"}}}',
    b'data: {"type":"response.mcp_call.failed","item_id":"m"}',
    b'data: {"error":{"code":502,"message":"Provider returned error"}}',
    b'event: error\ndata: {"message":"x"}',
    b"event: response.failed\ndata: not json",
    b"event:error\ndata: {}",
]


class TestRecordings(RecordingsContract):
    dialect, streams, facts, errors, stride = RESPONSES, STREAMS, FACTS, ERRORS, 13

    def whole_from(self, body: bytes, end: bytes) -> int:
        """From which length on a stream is whole: past the blank line that ends `response.completed`."""
        return body.index(end * 2, body.rindex(b'"type":"response.completed"')) + 2 * len(end)


# ------------------------------------------------------------------------------------------------ good answers


@pytest.mark.parametrize("name", STREAMS)
def test_names_of_events_may_be_left_out_or_given(name: str) -> None:
    lines = [line for line in STREAMS[name].split(b"\n") if not line.startswith(b"event:")]
    assert judge(b"\n".join(lines)) == FACTS[name]
    named = [
        b"event: %b\n%b" % (orjson.loads(line[6:])["type"].encode(), line) if line.startswith(b"data: {") else line
        for line in lines
    ]
    assert judge(b"\n".join(named)) == FACTS[name]


def test_a_whole_answer_says_what_it_is() -> None:
    assert both(response(HI)) == [Facts("resp_1", "m-1", "always", Tokens(3, 2, 250_000))] * 2


@pytest.mark.parametrize("done", [b"", DONE, b"data: [DONE]", b":\n\n", DONE + b":\n\n"])
def test_what_may_follow_the_end(done: bytes) -> None:
    assert isinstance(judge(stream(*parts(response(HI)), done=done)), Facts)


KEPT: list[tuple[str, list[Any]]] = [
    ("text", [HI]),
    ("blank text", [text({**SAID, "text": " "})]),
    ("reasoning and text", [REASONING, HI]),
    ("a tool call", [CALL]),
    ("tool calls in parallel", [REASONING, CALL, {**CALL, "id": "fc_2", "arguments": '{"a":1}'}]),
    ("two messages", [HI, {**HI, "id": "msg_2"}]),
    ("text without a status", [{name: value for name, value in HI.items() if name != "status"}]),
    ("a custom tool's text", [{"type": "custom_tool_call", "call_id": "c1", "name": "f", "input": "not { json"}]),
    ("an image", [{"type": "image_generation_call", "id": "ig_1", "status": "generating", "result": "AA=="}]),
    ("a server's own tool", [{"type": "openrouter:web_search", "id": "ws_1", "status": "completed"}]),
    ("an unknown part", [text({"type": "output_new"})]),
]


@pytest.mark.parametrize("output", [row[1] for row in KEPT], ids=[row[0] for row in KEPT])
def test_an_answer_with_substance_is_kept_in_either_framing(output: list[Any]) -> None:
    assert all(isinstance(found, Facts) for found in both(response(*output)))


CUT = text(SAID, status="incomplete")
UNKEPT: list[tuple[str, dict[str, Any], Reason]] = [
    ("nothing", response(), why.EMPTY),
    ("no text", response(text({**SAID, "text": ""})), why.EMPTY),
    ("no parts", response(text()), why.EMPTY),
    ("only reasoning", response(REASONING), why.EMPTY),
    ("a refusal", response(text(REFUSED)), why.REFUSAL),
    ("a refusal beside text", response(text(SAID, REFUSED)), why.REFUSAL),
    ("cut off", response(CUT, status="incomplete", because="max_output_tokens"), why.TRUNCATED),
    ("filtered", response(CUT, status="incomplete", because="content_filter"), why.CONTENT_FILTER),
    ("filtered and completed", response(HI, because="content_filter"), why.CONTENT_FILTER),
    ("cut off and completed", response(HI, because="max_output_tokens"), why.TRUNCATED),
    ("incomplete for some reason", response(CUT, status="incomplete", because="something_new"), why.NO_FINISH),
    ("incomplete for no reason", response(CUT, status="incomplete"), why.NO_FINISH),
    ("an unfinished item", response(CUT), why.NO_FINISH),
    ("an item in progress", response(text(SAID, status="in_progress")), why.NO_FINISH),
    ("a failed item", response({"type": "openrouter:fusion", "status": "failed"}, HI), why.ERROR_INSIDE),
    ("an error in an item", response({"type": "mcp_call", "error": "no route"}, HI), why.ERROR_INSIDE),
    ("an error", response(HI, error=ERROR), why.ERROR_INSIDE),
    ("torn arguments", response({**CALL, "arguments": '{"a":'}), why.BAD_TOOL_JSON),
    ("no arguments", response({**CALL, "arguments": ""}), why.BAD_TOOL_JSON),
    ("arguments with more after", response({**CALL, "arguments": "{}{}"}), why.BAD_TOOL_JSON),
    ("one torn call of two", response(CALL, {**CALL, "arguments": "{"}), why.BAD_TOOL_JSON),
]


@pytest.mark.parametrize(("whole", "reason"), [row[1:] for row in UNKEPT], ids=[row[0] for row in UNKEPT])
def test_an_answer_not_worth_giving_twice_is_not_kept_in_either_framing(whole: dict[str, Any], reason: Reason) -> None:
    assert both(whole) == [reason, reason]


@pytest.mark.parametrize("status", ["failed", "in_progress", "queued", "cancelled", None, "", "new"])
def test_an_answer_that_is_not_completed_is_not_kept(status: Any) -> None:
    reason = why.ERROR_INSIDE if status == "failed" else why.NO_FINISH
    assert judge(response(HI, status=status)) is reason
    events = parts(response(HI))
    assert judge(stream(*events[:-1], {"type": "response.completed", "response": response(HI, status=status)})) is (
        why.UNREADABLE
    )


def test_an_answer_that_the_client_itself_limited_is_whole_at_its_limit() -> None:
    def limited(*output: Any) -> dict[str, Any]:
        return response(*output, status="incomplete", because="max_output_tokens")

    assert all(isinstance(found, Facts) for found in both(limited(CUT), sets_limit=True))
    assert both(limited(REASONING), sets_limit=True) == [why.EMPTY] * 2
    assert both(limited(HI, {**CALL, "status": "incomplete"}), sets_limit=True) == [why.BAD_TOOL_JSON] * 2
    assert both(limited(HI, CALL), sets_limit=True) == [why.BAD_TOOL_JSON] * 2
    filtered = response(CUT, status="incomplete", because="content_filter")
    assert both(filtered, sets_limit=True) == [why.CONTENT_FILTER] * 2


def test_torn_arguments_of_a_stream_are_seen_though_the_item_is_fine() -> None:
    events = parts(response(CALL))
    events[2]["delta"] = '{"a":'
    assert judge(stream(*events)) is why.BAD_TOOL_JSON
    events[2]["delta"] = ""
    assert isinstance(judge(stream(*events)), Facts)


def test_a_refusal_that_was_streamed_counts_though_the_final_response_does_not_name_it() -> None:
    events = parts(response(HI))
    events[2] = {"type": "response.refusal.delta", "output_index": 0, "content_index": 0, "delta": "I can't"}
    assert judge(stream(*events)) is why.REFUSAL


def test_a_final_response_that_leaves_the_items_out_is_kept_for_what_was_streamed() -> None:
    events = parts(response(HI))
    events[-1] = {"type": "response.completed", "response": response()}
    assert isinstance(judge(stream(*events)), Facts)


@pytest.mark.parametrize("usage", [None, {}, ...])
def test_an_answer_without_usage_is_kept(usage: Any) -> None:
    whole = response(HI, usage=usage)
    if usage is ...:
        del whole["usage"]
    found = judge(whole)
    assert isinstance(found, Facts)
    assert (found.usage, found.tokens) == ("none", Tokens())


# ------------------------------------------------------------------------------------------------ cut, out of order


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_lost_the_end_of_an_item_is_not_kept(name: str) -> None:
    events = STREAMS[name].split(b"\n\n")
    for place, lost in enumerate(events):
        rest = b"\n\n".join(events[:place] + events[place + 1 :])
        if b'"type":"response.output_item.done"' in lost:
            assert judge(rest) is why.NO_FINISH
        elif b'"type":"response.completed"' in lost:
            assert judge(rest) is why.NO_TERMINAL


@given(st.permutations(range(3)))
def test_items_may_arrive_in_any_order(order: list[int]) -> None:
    whole = response(REASONING, HI, CALL)
    created, *middle, completed = parts(whole)
    shuffled = [part for index in order for part in middle if part["output_index"] == index]
    interleaved = sorted(middle, key=lambda part: (part["type"].endswith("done"), order.index(part["output_index"])))
    for row in (shuffled, interleaved):
        assert isinstance(judge(stream(created, *row, completed)), Facts)


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"code": 502, "message": "Provider returned error"}},
        response(HI, error=ERROR),
        response(status="failed", error=ERROR),
        response(HI, status="failed"),
    ],
)
def test_an_error_inside_a_200_is_not_kept(error: dict[str, Any]) -> None:
    assert judge(error) is why.ERROR_INSIDE


def test_only_done_may_follow_the_end() -> None:
    events = parts(response(HI))
    for after in (*events, "x", {}):
        assert judge(stream(*events, after)) is why.UNREADABLE
        assert judge(stream(*events, done=DONE + event(after))) is why.UNREADABLE
    assert judge(stream(*events, done=DONE + DONE)) is why.UNREADABLE
    assert judge(stream(*events, done=b"data: [DO")) is why.CUT
    assert judge(stream(*events, done=b'data: {"type":"err')) is why.CUT


def test_done_does_not_stand_in_for_the_end() -> None:
    events = parts(response(HI))
    assert judge(stream(*events[:-1])) is why.NO_TERMINAL
    assert judge(stream(*events[:-1], done=b"")) is why.NO_TERMINAL
    assert judge(b"".join([*map(event, events[:-1]), DONE, event(events[-1])])) is why.UNREADABLE


@pytest.mark.parametrize("body", [b"", b" ", b"\n\n", b":\n\n:\n\n", DONE])
def test_a_stream_without_events_is_empty(body: bytes) -> None:
    assert judge(body) is why.EMPTY


def test_unknown_events_change_nothing() -> None:
    events = parts(response(HI))
    more = [{"type": "response.debug", "debug": {}}, {"type": "response.new.delta", "output_index": 7}]
    assert isinstance(judge(stream(*more, events[0], *more, *events[1:])), Facts)


# ------------------------------------------------------------------------------------------------ whatever comes

# fmt: off
words = st.sampled_from([
    "type", "response", "response.completed", "response.incomplete", "status", "completed", "incomplete",
    "output", "response.output_item.done", "response.output_item.added", "output_index", "item", "message",
    "content", "text", "function_call", "arguments", "incomplete_details", "reason", "max_output_tokens",
    "usage", "error", "id",
])
# fmt: on
anything = json_of(words)


@given(anything)
def test_any_json_gets_a_verdict(value: Any) -> None:
    assert is_verdict(RESPONSES.judge(intent(), (), orjson.dumps(value)))
    assert is_verdict(judge(stream(value)))


@given(st.data())
@settings(max_examples=200)
def test_any_events_get_a_verdict(data: st.DataObject) -> None:
    whole = response(HI, CALL)
    for _ in range(data.draw(st.integers(0, 2))):
        whole[data.draw(words)] = data.draw(anything)
    assert is_verdict(judge(whole))
    events: list[Any] = [*parts(response(HI, CALL))[:-1], {"type": "response.completed", "response": whole}]
    for _ in range(data.draw(st.integers(0, 2))):
        place = data.draw(st.integers(0, len(events) - 1))
        if isinstance(events[place], dict) and data.draw(st.booleans()):
            events[place] = {**events[place], data.draw(words): data.draw(anything)}
        else:
            events[place] = data.draw(anything)
    found = judge(stream(*events))
    assert is_verdict(found)
    if isinstance(found, Facts):
        seal(entry(facts=found), b"s" * 33, SECRET)


# ------------------------------------------------------------------------------------------------ what a hit reports


def datas(body: bytes) -> list[Any]:
    return [orjson.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_of_a_hit_differs_in_its_usage_alone(name: str, end: str) -> None:
    body = STREAMS[name].replace(b"\n", ENDS[end])
    assert RESPONSES.respend(body, True, "verbatim") == body
    zero, free = RESPONSES.respend(body, True, "zero"), RESPONSES.respend(body, True, "free")
    for mode in (zero, free):
        for new, old in zip(mode.split(ENDS[end]), body.split(ENDS[end]), strict=True):
            if b'"usage":{' not in old:
                assert new == old
                continue
            head, _, rest = old.partition(b'"usage":{')
            assert new.startswith(head)
            assert new.endswith(rest[rest.index(b"}", rest.rindex(b"_tokens")) + 1 :].partition(b"}}")[2] or b"}")
    assert {datas(zero)[-1]["response"]["usage"][name] for name in ("input_tokens", "total_tokens")} == {0}
    for old, new in zip(datas(body), datas(free), strict=True):
        usage = (new.get("response") or {}).get("usage")
        if usage is not None:
            assert usage["total_tokens"] == old["response"]["usage"]["total_tokens"]
            assert usage.get("cost", 0) == 0
            old["response"]["usage"] = usage
        assert new == old
    assert isinstance(judge(zero), Facts)
    assert RESPONSES.respend(zero, True, "zero") == zero


def test_a_whole_answer_of_a_hit_differs_in_its_usage_alone() -> None:
    usage = (
        b'{"input_tokens":9,"input_tokens_details":{"cached_tokens":1},"cost":0.5,"cost_details":{"a":1e-3},"b":true}'
    )
    frame = b'{ "status":"completed", "output":[{"text":"\\u00e9 \\"usage\\":{\\"a\\":1}"}],  "usage": %b ,"n":1e2}\n'
    zeroed = b'{"input_tokens":0,"input_tokens_details":{"cached_tokens":0},"cost":0,"cost_details":{"a":0},"b":true}'
    assert RESPONSES.respend(frame % usage, False, "zero") == frame % zeroed
    assert RESPONSES.respend(frame % usage, False, "free") == frame % usage.replace(b"0.5", b"0").replace(b"1e-3", b"0")


# ------------------------------------------------------------------------------------------------ as an SDK sees it


def sdk_events(body: bytes) -> list[Any]:
    """What the official client makes of a stream."""
    reply = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    with (
        httpx2.Client(transport=httpx2.MockTransport(lambda _request: reply)) as http,
        openai.OpenAI(api_key="k", base_url="http://sim/v1", http_client=http) as client,
    ):
        return list(client.responses.create(model="m", input="hi", stream=True))


@pytest.mark.parametrize(
    ("name", "said", "calls"),
    [
        ("openai-text", "Hi there!\n\nevent: error\nHow can I assist?", []),
        ("openai-tools", "", ['{"location":"Paris, France"}', '{"location":"Bogotá"}']),
        ("openrouter-advisor", "4", []),
    ],
)
def test_the_official_client_reads_recordings_and_hits_alike(name: str, said: str, calls: list[str]) -> None:
    events = sdk_events(STREAMS[name])
    final = events[-1].response
    assert final.output_text == said
    assert [item.arguments for item in final.output if item.type == "function_call"] == calls
    hit = sdk_events(RESPONSES.respend(STREAMS[name], True, "zero"))
    assert [part.type for part in hit] == [part.type for part in events]
    assert hit[-1].response.usage.total_tokens == 0
    assert hit[-1].response.output == final.output


def test_an_error_has_openrouters_shape() -> None:
    assert orjson.loads(RESPONSES.error(504, "only-if-cached", 'nothing "usable"')) == {
        "error": {"code": 504, "message": 'nothing "usable"', "metadata": {"payonce": "only-if-cached"}},
    }
