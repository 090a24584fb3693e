"""The scenes of the doctor: for each cause a conversation as a list of acts, in the chat dialect, for any stage.

An act is a request, how long after the one before it is sent, and how long its answer takes to begin. The same acts
play against the strict models in process (test_scenes.py) or over the wire: only `wait` has to be made to pass.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.doctor.rules import Talk, tool, words

MODEL = "anthropic/claude-sonnet-4.5"
HOSTS = ("Anthropic", "Amazon Bedrock")
RETIRED = {"anthropic-beta": "prompt-caching-2024-07-31"}


@dataclass
class Act:
    """One request. `together`: it is sent while the one before has not begun to answer."""

    body: dict[str, Any]
    wait: float = 20.0
    first_token: float = 1.0
    headers: dict[str, str] = field(default_factory=dict)
    session: str = "s"
    together: bool = False


@dataclass
class Scene:
    """Acts, and what the doctor says at the last one: the cause, its place and its block. Before, it says nothing."""

    cause: str
    where: str
    block: int | None
    acts: list[Act]


def chat(body: dict[str, Any]) -> dict[str, Any]:
    """A request of the messages dialect as /chat/completions has it."""
    tools = []
    for one in body["tools"]:
        function = {("parameters" if name == "input_schema" else name): value for name, value in one.items()}
        tools.append({"type": "function", "function": function})
    messages = [{"role": "system", "content": body["system"]}, *body["messages"]]
    rest = {name: value for name, value in body.items() if name not in ("system", "tools", "messages")}
    return {**rest, "tools": tools, "messages": messages}


class Script:
    """Writes down what a conversation sends."""

    def __init__(self, talk: Talk, **more: Any) -> None:
        self.talk = talk
        self.more = more
        self.acts: list[Act] = []

    def turn(self, seed: int, *, size: int = 120, **act: Any) -> Script:
        self.talk.say(seed, size)
        session = act.get("session", "s")
        body = chat(self.talk.body()) | {"model": MODEL, "session_id": session} | self.more
        self.acts.append(Act(body, **act))
        return self

    def turns(self, count: int) -> Script:
        for seed in range(count):
            self.turn(seed)
        return self


def scenes() -> dict[str, Scene]:
    """Every scene by its name, made anew."""
    made = {"healthy": Scene("", "", None, Script(Talk()).turns(8).acts)}

    short = Script(Talk(system="Be brief.", tools=[tool("read", 10)])).turn(1, size=30).turn(2, size=30)
    made["threshold"] = Scene("under-minimum", "messages[3].content[0].cache_control", 4, short.acts)

    clock = Script(Talk(system="You help. It is now 2026-11-21T10:15:07Z.\n" + words(1, 900))).turn(1)
    clock.talk.system = clock.talk.system.replace("10:15:07", "10:15:27")
    made["timestamp"] = Scene("volatile-text", "messages[0].content[0].text", 3, clock.turn(2).acts)

    shuffled = Script(Talk()).turns(3)
    shuffled.talk.tools = [shuffled.talk.tools[place] for place in (0, 2, 1)]
    made["shuffled tools"] = Scene("tools-reordered", "tools[1]", 1, shuffled.turn(9).acts)

    schema = Script(Talk()).turns(3)
    other = tool("write")
    other["input_schema"]["properties"]["path"]["type"] = "integer"
    schema.talk.tools = [schema.talk.tools[0], other, schema.talk.tools[2]]
    made["changed schema"] = Scene(
        "tool-changed", "tools[1].function.parameters.properties.path.type", 1, schema.turn(9).acts
    )

    history = Script(Talk()).turns(4)
    history.talk.messages[3]["content"][0]["text"] = "(cut to save space)"
    made["rewritten history"] = Scene("history-rewritten", "messages[4].content[0].text", 7, history.turn(9).acts)

    flip = Script(Talk(), provider={"order": [HOSTS[0]], "allow_fallbacks": False}).turns(3)
    flip.more = {"provider": {"order": [HOSTS[1]], "allow_fallbacks": False}}
    made["host flip"] = Scene("host-changed", "", None, flip.turn(9).acts)

    late = Script(Talk()).turns(3).turn(9, wait=301.0)
    made["expired ttl"] = Scene("ttl-expired", "", None, late.acts)

    pinned = {"provider": {"order": [HOSTS[0]], "allow_fallbacks": False}}
    first = Script(Talk(), **pinned).turn(100, first_token=3.0, session="a")
    second = Script(Talk(), **pinned).turn(101, wait=0.5, first_token=3.0, session="b", together=True)
    made["concurrent first requests"] = Scene(
        "concurrent-first", "messages[0].content[0]", 3, [*first.acts, *second.acts]
    )

    header = Script(Talk()).turn(9, headers=RETIRED)
    made["deprecated header"] = Scene("retired-header", "headers.anthropic-beta", None, header.acts)
    return made
