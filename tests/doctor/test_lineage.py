"""Conversations followed from turn to turn: a healthy one is silent, and each way to lose a cache has its name."""

from __future__ import annotations

from decimal import Decimal

import pytest

from payonce.doctor import Finding, Seen, Watch
from payonce.ledger.usage import Usage
from tests.doctor.rules import HOUR, Provider, Talk, tool, words
from tests.doctor.stage import Stage, price_of

sessions = pytest.mark.parametrize("session", [None, "s"])


def only(found: tuple[Finding, ...]) -> Finding:
    assert len(found) == 1, [one.id for one in found]
    return found[0]


def opened(session: str | None, turns: int = 2) -> tuple[Stage, Talk, float]:
    """A healthy conversation of some turns, and when its next one comes."""
    stage, talk, at = Stage(), Talk(), 1_000_000.0
    for turn in range(turns):
        talk.say(turn)
        assert stage.send(talk, at, session=session) == ()
        at += 20
    assert stage.usages[-1]["cache_read_input_tokens"] > 1024  # the stage does cache
    return stage, talk, at


@sessions
def test_a_healthy_conversation_gives_no_finding(session: str | None) -> None:
    stage, _, _ = opened(session, turns=12)
    assert stage.watch.report() == []
    for before, after in zip(stage.usages, stage.usages[1:], strict=False):
        held = before["cache_read_input_tokens"] + before["cache_creation_input_tokens"]
        assert after["cache_read_input_tokens"] == held


@sessions
def test_a_time_in_the_system_prompt_is_named_with_both_times(session: str | None) -> None:
    stage, talk, at = opened(session)
    base = talk.system
    for minute in (15, 16):
        talk.system = f"You help. Current time: 2026-11-21 10:{minute}:07.\n{base}"
        talk.say(minute)
        found = stage.send(talk, at, session=session)
        at += 20
    finding = only(found)
    assert (finding.id, finding.where, finding.block) == ("volatile-text", "system[0].text", 3)
    assert "10:15:07" in finding.before
    assert "10:16:07" in finding.after
    missing = stage.usages[-2]["cache_read_input_tokens"] + stage.usages[-2]["cache_creation_input_tokens"]
    assert finding.tokens == missing
    assert finding.cost == missing * (Decimal("0.00000375") - Decimal("0.0000003"))


@sessions
def test_shuffled_tools_are_named_from_the_first_that_moved(session: str | None) -> None:
    stage, talk, at = opened(session)
    talk.tools = [talk.tools[0], talk.tools[2], talk.tools[1]]
    talk.say(9)
    finding = only(stage.send(talk, at, session=session))
    assert (finding.id, finding.where, finding.block) == ("tools-reordered", "tools[1]", 1)
    assert (finding.before, finding.after) == ("write, search", "search, write")


@sessions
def test_a_changed_schema_is_named_with_the_member_that_changed(session: str | None) -> None:
    stage, talk, at = opened(session)
    changed = tool("write")
    changed["input_schema"]["properties"]["path"]["description"] += " Now with 17 files."
    talk.tools = [talk.tools[0], changed, talk.tools[2]]
    talk.say(9)
    finding = only(stage.send(talk, at, session=session))
    assert (finding.id, finding.block) == ("tool-changed", 1)
    assert finding.where == "tools[1].input_schema.properties.path.description"
    assert "Now with 17 files." in finding.after
    assert "Now with" not in finding.before


@sessions
def test_tools_that_come_later_are_named(session: str | None) -> None:
    stage, talk, at = opened(session)
    talk.tools = [*talk.tools, tool("fetch")]
    talk.say(9)
    finding = only(stage.send(talk, at, session=session))
    assert (finding.id, finding.where, finding.detail) == ("tools-added", "tools[3]", "added: fetch")


@sessions
def test_a_rewritten_message_is_named_with_its_place(session: str | None) -> None:
    stage, talk, at = opened(session, turns=4)
    talk.messages[3]["content"][0]["text"] = "(cut to save space)"
    talk.say(9)
    finding = only(stage.send(talk, at, session=session))
    assert (finding.id, finding.where, finding.block) == ("history-rewritten", "messages[3].content[0].text", 7)
    assert finding.after == "(cut to save space)"


@sessions
def test_a_message_that_was_left_out_is_named_where_it_was(session: str | None) -> None:
    stage, talk, at = opened(session, turns=4)
    del talk.messages[1:3]
    talk.say(9)
    finding = only(stage.send(talk, at, session=session))
    assert (finding.id, finding.where, finding.block) == ("history-rewritten", "messages[1].content[0]", 5)
    assert finding.detail == "2 blocks left out here"


@sessions
def test_a_tool_choice_that_changed_is_named(session: str | None) -> None:
    stage, talk, at = opened(session)
    talk.more = {"tool_choice": {"type": "any"}}
    talk.say(9)
    finding = only(stage.send(talk, at, session=session))
    assert (finding.id, finding.where) == ("parameter-changed", "tool_choice")
    assert (finding.before, finding.after) == ("(absent)", '{"type":"any"}')


def test_another_model_is_named_in_a_session() -> None:
    stage, talk, at = opened("s")
    talk.model = "claude-opus-4-8"
    talk.say(9)
    finding = only(stage.send(talk, at, session="s"))
    assert (finding.id, finding.before, finding.after) == ("model-changed", "claude-sonnet-4-5", "claude-opus-4-8")


@sessions
def test_another_host_is_named(session: str | None) -> None:
    stage, talk, at = opened(session)
    talk.say(9)
    finding = only(stage.send(talk, at, session=session, host="elsewhere"))
    assert (finding.id, finding.detail) == ("host-changed", "from h to elsewhere")


@sessions
def test_a_pause_longer_than_the_entry_lives_is_named(session: str | None) -> None:
    stage, talk, at = opened(session)
    talk.say(9)
    finding = only(stage.send(talk, at + 400, session=session))
    assert (finding.id, finding.detail) == ("ttl-expired", "420 s from start to start; the entry lives 300 s")


def test_the_same_pause_is_healthy_where_the_markers_say_an_hour() -> None:
    stage, talk, at = Stage(), Talk(system_mark=dict(HOUR), tail_mark=dict(HOUR)), 5000.0
    for turn in range(3):
        talk.say(turn)
        assert stage.send(talk, at) == ()
        at += 420
    assert stage.usages[-1]["cache_read_input_tokens"] > 1024


@sessions
def test_a_request_that_came_before_the_first_had_begun_to_answer_is_named(session: str | None) -> None:
    stage, talk, at = opened(session)
    talk.say(9)
    assert stage.send(talk, at, session=session, first_byte=at + 8) == ()
    talk.say(10)
    finding = only(stage.send(talk, at + 3, session=session))
    assert (finding.id, finding.detail) == (
        "concurrent-first",
        "sent 5.0 s before the earlier one had begun to answer",
    )


def test_first_requests_at_once_each_write_the_shared_prefix_and_all_but_one_are_named() -> None:
    stage = Stage()
    found = []
    for number in range(4):
        talk = Talk()
        talk.say(100 + number)
        found += stage.send(talk, 1000.0 + number / 10, first_byte=1004.0)
    assert [one.id for one in found] == ["concurrent-first"] * 3
    assert all(one.where == "system[0]" and one.requests[0] == 1 for one in found)
    talk = Talk()
    talk.say(200)
    assert stage.send(talk, 1005.0) == ()  # after the first byte it is read


def test_a_prefix_under_the_minimum_is_named_at_its_second_turn() -> None:
    stage, talk = Stage(), Talk(system="Be brief.", tools=[])
    talk.say(1, size=20)
    assert stage.send(talk, 1000.0) == ()
    talk.say(2, size=20)
    finding = only(stage.send(talk, 1020.0))
    assert (finding.id, finding.where) == ("under-minimum", "messages[2].content[0].cache_control")
    assert finding.detail.endswith("the minimum is 1,024")
    assert finding.cost is None


def test_a_long_conversation_without_markers_is_named_at_its_second_turn() -> None:
    stage, talk = Stage(), Talk(system_mark=None, tail_mark=None)
    talk.say(1)
    assert stage.send(talk, 1000.0) == ()
    talk.say(2)
    finding = only(stage.send(talk, 1020.0))
    assert finding.id == "no-marker"
    assert finding.tokens
    assert finding.cost == finding.tokens * (Decimal("0.000003") - Decimal("0.0000003"))


def test_a_conversation_of_which_only_the_system_prompt_is_marked_is_named_from_the_third_turn() -> None:
    stage, talk, at = Stage(), Talk(tail_mark=None), 1000.0
    found = []
    for turn in range(4):
        talk.say(turn, size=300)
        found.append([one.id for one in stage.send(talk, at)])
        at += 20
    assert found == [[], [], ["tail-unmarked"], ["tail-unmarked"]]


def test_more_than_twenty_blocks_since_the_last_marker_are_named() -> None:
    stage, talk, at = opened("s")
    talk.messages.append({"role": "assistant", "content": [{"type": "text", "text": words(n, 9)} for n in range(12)]})
    talk.messages.append({"role": "user", "content": [{"type": "text", "text": words(n, 9)} for n in range(50, 62)]})
    finding = only(stage.send(talk, at, session="s"))
    assert (finding.id, finding.detail) == ("lookback-outrun", "24 blocks from the last marker to this one")


def test_what_was_lost_for_no_reason_of_ours_is_called_evicted_and_is_no_error() -> None:
    stage, talk, at = opened("s")
    stage.provider.entries.clear()
    talk.say(9)
    finding = only(stage.send(talk, at, session="s"))
    assert finding.id == "evicted"
    assert not finding.wrong


def test_a_change_and_a_pause_at_once_are_both_named_and_share_the_loss() -> None:
    stage, talk, at = opened("s", turns=4)
    talk.messages[3]["content"][0]["text"] = "(cut to save space)"
    talk.say(9)
    found = stage.send(talk, at + 400, session="s")
    assert [one.id for one in found] == ["history-rewritten", "ttl-expired"]
    held = stage.usages[-2]["cache_read_input_tokens"] + stage.usages[-2]["cache_creation_input_tokens"]
    assert sum(one.tokens or 0 for one in found) == held


def test_a_conversation_that_goes_on_under_another_session_is_still_followed() -> None:
    stage, talk, at = opened("s", turns=3)
    talk.say(9)
    assert stage.send(talk, at, session="other") == ()
    talk.say(10)
    finding = only(stage.send(talk, at + 20, session="third", host="elsewhere"))
    assert finding.id == "host-changed"


@sessions
def test_the_same_request_asked_again_after_an_hour_is_no_finding(session: str | None) -> None:
    stage, talk = Stage(), Talk()
    talk.say(1)
    for hour in range(3):
        assert stage.send(talk, 5000.0 + 3600 * hour, session=session) == ()
    assert stage.usages[-1]["cache_read_input_tokens"] == 0


def test_two_programs_that_are_asked_the_same_question_are_two_conversations() -> None:
    stage = Stage()
    first, second = Talk(system=words(5, 500)), Talk(system=words(6, 500))
    at = 1000.0
    for turn in range(4):
        for talk in (first, second):
            talk.say(turn)
            assert stage.send(talk, at) == ()
            at += 10


def test_parallel_subagents_of_one_session_are_told_apart() -> None:
    stage, at = Stage(), 1000.0
    agents = [Talk(system=words(50 + n, 400), tools=[tool("read")]) for n in range(3)]
    for turn in range(5):
        for number, talk in enumerate(agents):
            talk.say(100 * number + turn)
            assert stage.send(talk, at, session="one for all") == ()
            at += 5


@sessions
def test_a_system_block_that_comes_or_goes_is_named(session: str | None) -> None:
    rule = {"type": "text", "text": "One more rule."}
    stage, talk, at = opened(session)
    talk.say(9)
    body = talk.body()
    finding = only(stage.send({**body, "system": [*body["system"], rule]}, at, session=session))
    assert (finding.id, finding.where, finding.detail) == ("system-changed", "system[1]", "a block was added")
    stage, talk, at = Stage(), Talk(), 1000.0
    for turn in range(3):
        talk.say(turn)
        body = talk.body()
        found = stage.send({**body, "system": [*body["system"], rule][: 3 - turn]}, at, session=session)
        at += 20
    finding = only(found)
    assert (finding.id, finding.detail) == ("system-changed", "a block was left out")


def test_a_marker_that_is_left_out_once_is_named() -> None:
    stage, talk, at = opened("s", turns=3)
    talk.say(9)
    talk.tail_mark = None
    finding = only(stage.send(talk, at, session="s"))
    assert (finding.id, finding.where) == ("tail-unmarked", "messages[4].content[0]")
    stage, talk, at = opened("s", turns=3)
    talk.say(9)
    talk.tail_mark = talk.system_mark = None
    finding = only(stage.send(talk, at, session="s"))
    assert (finding.id, finding.detail) == ("no-marker", "the turn before had markers, this one has none")


def test_a_host_that_neither_writes_nor_reads_a_long_prefix_is_named() -> None:
    stage, talk = Stage(Provider(minimum=10**9)), Talk()
    for turn in range(2):
        talk.say(turn)
        found = stage.send(talk, 1000.0 + 20 * turn)
    finding = only(found)
    assert finding.id == "not-cached"
    assert finding.detail.endswith("at h")
    assert finding.tokens


def test_a_first_request_that_another_host_answers_is_named() -> None:
    stage = Stage()
    talk = Talk()
    talk.say(1)
    assert stage.send(talk, 1000.0, host="a") == ()
    other = Talk()
    other.say(2)
    finding = only(stage.send(other, 1010.0, host="b"))
    assert (finding.id, finding.detail, finding.where) == ("host-changed", "from a to b", "system[0]")
    third = Talk()
    third.say(3)
    assert stage.send(third, 1020.0, host="b") == ()
    fourth = Talk()
    fourth.say(4)
    assert stage.send(fourth, 5000.0, host="b") == ()  # nobody expects it to live that long


def test_tools_that_are_shuffled_from_one_conversation_to_the_next_are_named() -> None:
    stage, found = Stage(), []
    for number in range(3):
        talk = Talk(tools=[tool(name) for name in (("read", "write"), ("write", "read"))[number % 2]])
        talk.say(number)
        found.append([one.id for one in stage.send(talk, 1000.0 + 20 * number)])
    assert found == [[], ["tools-reordered"], []]  # the third finds what the first wrote


def test_a_message_cut_short_is_named_where_it_ends() -> None:
    stage, talk, at = opened("s", turns=3)
    text = talk.messages[2]["content"][0]["text"]
    talk.messages[2]["content"][0]["text"] = text[:40]
    talk.say(9)
    finding = only(stage.send(talk, at, session="s"))
    assert (finding.id, finding.detail) == ("history-rewritten", "cut short after 40 characters")


def test_thinking_that_was_dropped_is_said_to_be_thinking() -> None:
    stage, talk, at = Stage(), Talk(), 1000.0
    for turn in range(3):
        talk.say(turn)
        if turn:
            thought = {"type": "thinking", "thinking": words(turn, 90), "signature": "x"}
            talk.messages[-2]["content"].insert(0, thought)
        assert stage.send(talk, at, session="s") == ()
        at += 20
    for message in talk.messages:
        message["content"] = [part for part in message["content"] if part["type"] != "thinking"]
    talk.say(9)
    finding = only(stage.send(talk, at, session="s"))
    assert (finding.id, finding.detail) == ("history-rewritten", "a block, which held thinking, left out here")


def blind(*turns: tuple[Talk, float]) -> list[list[str]]:
    watch = Watch(blind=True)
    return [[one.id for one in watch.saw(Seen(talk.body(), "messages", at, session="s"))] for talk, at in turns]


def test_without_usage_the_requests_themselves_are_judged_where_that_is_asked_for() -> None:
    talk = Talk()
    talk.say(1)
    other = Talk(model="claude-opus-4-8", messages=talk.messages)
    choice = Talk(messages=talk.messages, more={"tool_choice": {"type": "any"}})
    key = Talk(messages=talk.messages, more={"prompt_cache_key": "k"})
    plain = Talk(messages=talk.messages, tail_mark=None, system_mark=None)
    assert blind((talk, 0.0), (talk, 20.0)) == [[], []]
    assert blind((talk, 0.0), (other, 20.0)) == [[], ["model-changed"]]
    assert blind((talk, 0.0), (choice, 20.0)) == [[], ["parameter-changed"]]
    assert blind((talk, 0.0), (key, 20.0)) == [[], ["cache-key-changed"]]
    assert blind((plain, 0.0), (choice, 20.0)) == [[], []]  # nothing was marked, so nothing was lost
    later = Talk(messages=[*talk.messages])
    later.say(2)
    assert blind((talk, 0.0), (later, 400.0)) == [[], ["ttl-expired"]]


def test_the_responses_dialect_is_followed_too() -> None:
    watch, history = Watch(price_of=price_of), []
    for turn in range(4):
        history.append({"role": "user", "content": [{"type": "input_text", "text": words(turn, 400)}]})
        body = {"model": "gpt-5.6", "instructions": words(99, 600), "input": [*history]}
        if turn == 3:
            body["input"] = [{**history[0], "content": "(summary)"}, *history[1:]]
        read, total = (0, 4000, 7000, 0)[turn], 4000 + 3000 * turn
        usage = Usage(0, read, total - read, 0, 9, total)
        found = watch.saw(Seen(body, "responses", 1000.0 + 20 * turn, usage, session="s"))
        history.append({"type": "function_call", "call_id": str(turn), "name": "f", "arguments": "{}"})
        history.append({"type": "function_call_output", "call_id": str(turn), "output": words(turn + 50, 300)})
    finding = only(found)
    assert (finding.id, finding.where, finding.block) == ("history-rewritten", "input[0].content", 1)
