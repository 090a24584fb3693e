"""Random conversations: healthy ones are silent, and one change is found at the first block that differs."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from payonce.doctor import Seen, Watch
from payonce.doctor.blocks import render
from payonce.ledger.usage import parse
from tests.doctor.rules import HOUR, MARK, Talk, read, tool, words
from tests.doctor.stage import Stage, price_of

NAMES = ("read", "write", "search", "fetch", "plan", "test")


@dataclass(repr=False)
class Case(Talk):
    """A conversation that is told in one line where a test fails."""

    def __repr__(self) -> str:
        marks = self.system_mark, len(self.messages)
        return f"Case({self.system[:12]!r}, {[one['name'] for one in self.tools]}, {marks})"


@st.composite
def talks(draw: st.DrawFn) -> Talk:
    hour = draw(st.booleans())
    return Case(
        system=words(draw(st.integers(0, 10**6)), draw(st.integers(500, 900))),
        tools=[tool(name) for name in NAMES[: draw(st.integers(0, 6))]],
        system_mark=draw(st.sampled_from([None, dict(HOUR) if hour else dict(MARK)])),
        tail_mark=dict(MARK),
    )


def grow(talk: Talk, draw: random.Random) -> None:
    """One turn: a few blocks of any kind, fewer than a marker looks back over."""
    seed = draw.randrange(10**9)
    if talk.messages:
        blocks: list[dict[str, Any]] = [{"type": "text", "text": words(seed, draw.randrange(1, 90))}]
        calls = [f"toolu_{seed}_{n}" for n in range(draw.randrange(0, 5))]
        blocks += [{"type": "tool_use", "id": one, "name": "read", "input": {"b": 1, "a": one}} for one in calls]
        talk.messages.append({"role": "assistant", "content": blocks})
        results = [{"type": "tool_result", "tool_use_id": one, "content": words(seed + 1, 30)} for one in calls]
        if results:
            talk.messages.append({"role": "user", "content": results})
            return
    content: Any = words(seed + 2, draw.randrange(3, 90))
    talk.messages.append({"role": "user", "content": [{"type": "text", "text": content}]})


@settings(max_examples=60, deadline=None)
@given(st.lists(talks(), min_size=1, max_size=4), st.randoms(use_true_random=False), st.booleans())
def test_healthy_conversations_side_by_side_give_no_finding(
    conversations: list[Talk], draw: random.Random, named: bool
) -> None:
    stage, at, last = Stage(), 1000.0, {}
    for _ in range(25):
        place = draw.randrange(len(conversations))
        talk = conversations[place]
        if place not in last or draw.random() < 0.9:  # else the same request again
            grow(talk, draw)
        last[place] = at
        assert stage.send(talk, at, session=f"s{place}" if named else None) == ()
        at += draw.uniform(2, 200 / len(conversations))
        for other, talk in enumerate(conversations):
            if (
                at - last.get(other, at) > 290 - 200 / len(conversations) - 8
            ):  # nobody pauses for longer than an entry lives
                last[other] = at
                assert stage.send(talk, at, session=f"s{other}" if named else None) == ()
                at += 2


def mutate(body: dict[str, Any], block: int, draw: random.Random) -> bool:
    """Change one block of a body in place; False where it has no text to change."""
    path = render(body, "messages").paths[block]
    holder: Any = body
    for step in path[:-1]:
        holder = holder[step]
    part = holder[path[-1]]
    if "input_schema" in part:
        part["description"] += " More."
    elif part["type"] == "text":
        spaces = [n for n, char in enumerate(part["text"]) if char == " "] or [0]
        cut = draw.choice(spaces)
        part["text"] = part["text"][:cut] + " otherwise" + part["text"][cut:]
    elif part["type"] == "tool_result":
        part["content"] = "[trimmed]"
    else:
        part["input"] = {"a": part["input"]["a"], "b": 1}  # the same, in another order
    return True


CAUSES = {"tools": {"tool-changed"}, "system": {"system-changed"}, "messages": {"history-rewritten"}}


@settings(max_examples=150, deadline=None)
@given(talks(), st.randoms(use_true_random=False), st.integers(1, 8), st.booleans())
def test_one_change_is_found_at_the_first_block_that_differs(
    talk: Talk, draw: random.Random, turns: int, named: bool
) -> None:
    stage, at = Stage(), 1000.0
    session = "s" if named else None
    for _ in range(turns + 1):
        grow(talk, draw)
        assert stage.send(talk, at, session=session) == ()
        at += 20
    sent = len(render(talk.body(), "messages"))
    block = draw.randrange(sent)
    body = talk.body()
    assume(named or block < sent - 1 or turns > 1)
    mutate(body, block, draw)
    talk.messages, talk.tools, talk.system = body["messages"], body["tools"], body["system"][0]["text"]
    for message in talk.messages:
        for part in message["content"]:
            part.pop("cache_control", None)
    grow(talk, draw)
    before = stage.usages[-1]
    found = stage.send(talk, at, session=session)
    missing = before["cache_read_input_tokens"] + before["cache_creation_input_tokens"]
    missing -= stage.usages[-1]["cache_read_input_tokens"]
    if missing <= max(32, 1 + (missing + stage.usages[-1]["cache_read_input_tokens"]) // 100):
        assert found == ()  # too little to tell from how hosts count
        return
    assert [one.block for one in found] == [block], [(one.id, one.where, one.block) for one in found]
    assert found[0].id in CAUSES[render(body, "messages").level(block)]
    assert found[0].tokens == missing


@settings(max_examples=50, deadline=None)
@given(talks(), st.randoms(use_true_random=False), st.sampled_from(["reads", "all"]))
def test_what_is_not_reported_gives_no_alarm(talk: Talk, draw: random.Random, hidden: str) -> None:
    """A provider that caches nothing and says nothing of it; tools that are shuffled each time."""
    watch = Watch(price_of=price_of, minimum_of=lambda _model: 1024)
    for turn in range(6):
        grow(talk, draw)
        draw.shuffle(talk.tools)
        body = talk.body()
        tokens = sum(count for _, count, _ in read(body))
        usage = {"input_tokens": tokens, "output_tokens": 3} if hidden == "reads" else None
        seen = Seen(body, "messages", 1000.0 + 20 * turn, usage=parse(usage, dialect="messages"), session="s")
        assert watch.saw(seen) == ()
    assert watch.counts["unknown"] == 6


@settings(max_examples=100, deadline=None)
@given(talks(), st.randoms(use_true_random=False))
def test_markers_and_the_spelling_of_a_text_do_not_count_as_a_change(talk: Talk, draw: random.Random) -> None:
    for _ in range(3):
        grow(talk, draw)
    marked = talk.body()
    plain = copy.deepcopy(marked)
    for message in plain["messages"]:
        for part in message["content"]:
            part.pop("cache_control", None)
        if len(message["content"]) == 1 and message["content"][0]["type"] == "text":
            message["content"] = message["content"][0]["text"]
    plain["system"] = plain["system"][0]["text"]
    assert render(plain, "messages").digests == render(marked, "messages").digests
