"""Anthropic's prompt-cache rules in a few lines, to stage conversations with: its own reading of a body, no clock.

Writes happen at markers only, reads look back twenty positions, an entry lives from the start of the request that wrote
or read it and can be read once that request's answer began; below the minimum nothing happens, and tool_choice and
thinking are part of what the messages are cached under (Anthropic, "Prompt caching"). It shares no code with what it
tests.
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


@dataclass
class Entry:
    readable: float
    used: float
    ttl: float


@dataclass
class Provider:
    """Answers usage objects; `hosts` have a cache each."""

    minimum: int = 1024
    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)

    def ask(
        self, body: dict[str, Any], at: float, *, first_byte: float | None = None, host: str = "h"
    ) -> dict[str, Any]:
        blocks = read(body)
        began = at + 1.0 if first_byte is None else first_byte
        marks = [(n, ttl) for n, (_, _, ttl) in enumerate(blocks) if ttl]
        keys = [self._key(body, blocks, n) for n in range(len(blocks))]
        upto = [sum(tokens for _, tokens, _ in blocks[: n + 1]) for n in range(len(blocks))]
        hit = -1
        for mark, _ in marks:
            for n in range(mark, max(-1, mark - 20), -1):
                entry = self.entries.get((host, keys[n]))
                if entry and at >= entry.readable and at - entry.used <= entry.ttl:
                    entry.used = at
                    hit = max(hit, n)
                    break
        read_tokens = upto[hit] if hit >= 0 else 0
        written = {300: 0, 3600: 0}
        covered = read_tokens
        for mark, ttl in marks:
            if upto[mark] >= self.minimum and mark > hit:
                written[ttl] += upto[mark] - covered
                covered = upto[mark]
                self.entries[host, keys[mark]] = Entry(began, at, float(ttl))
        return {
            "input_tokens": upto[-1] - covered,
            "cache_read_input_tokens": read_tokens,
            "cache_creation_input_tokens": sum(written.values()),
            "cache_creation": {
                "ephemeral_5m_input_tokens": written[300],
                "ephemeral_1h_input_tokens": written[3600],
            },
            "output_tokens": 20,
        }

    def _key(self, body: dict[str, Any], blocks: list[tuple[str, int, int]], n: int) -> str:
        static = len(body.get("tools", ())) + len(parts(body.get("system")))
        salt = [body["model"]]
        if n >= static:
            salt += [json.dumps(body.get("tool_choice")), json.dumps(body.get("thinking"))]
        return hashlib.sha256(json.dumps([salt, [text for text, _, _ in blocks[: n + 1]]]).encode()).hexdigest()


def parts(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return list(content or ())


def read(body: dict[str, Any]) -> list[tuple[str, int, int]]:
    """(text, tokens, ttl of its marker or 0) of each block, in order."""
    found = []
    everything = [("t", tool) for tool in body.get("tools", ())]
    everything += [("s", part) for part in parts(body.get("system"))]
    everything += [(message["role"], part) for message in body["messages"] for part in parts(message["content"])]
    for role, part in everything:
        marker = part.get("cache_control")
        text = role + json.dumps({name: value for name, value in part.items() if name != "cache_control"})
        ttl = 0 if not marker else 3600 if marker.get("ttl") == "1h" else 300
        found.append((text, max(1, len(text) // 4), ttl))
    top = body.get("cache_control")
    if top and found:
        text, tokens, _ = found[-1]
        found[-1] = text, tokens, 3600 if top.get("ttl") == "1h" else 300
    return found


def words(seed: int, count: int) -> str:
    """That many words, the same for the same seed."""
    digest = hashlib.sha256(str(seed).encode()).hexdigest()
    return " ".join(f"{digest[n % 50 : n % 50 + 6]}{n}" for n in range(count))


def tool(name: str, size: int = 60) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"path": {"type": "string", "description": words(len(name), size)}}}
    return {"name": name, "description": f"Does {name}.", "input_schema": schema}


@dataclass
class Talk:
    """A conversation that grows by turns and is marked as agents do: after the system prompt, and at its end."""

    model: str = "claude-sonnet-4-5"
    system: str = words(1, 500)
    tools: list[dict[str, Any]] = field(default_factory=lambda: [tool("read"), tool("write"), tool("search")])
    messages: list[dict[str, Any]] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)
    system_mark: dict[str, str] | None = field(default_factory=lambda: dict(MARK))
    tail_mark: dict[str, str] | None = field(default_factory=lambda: dict(MARK))

    def say(self, seed: int, size: int = 120) -> None:
        """The user's next message, and before it the assistant's last."""
        if self.messages:
            self.messages.append({"role": "assistant", "content": [{"type": "text", "text": words(seed + 7000, size)}]})
        self.messages.append({"role": "user", "content": [{"type": "text", "text": words(seed, size)}]})

    def body(self) -> dict[str, Any]:
        """The request as it is sent now."""
        system: dict[str, Any] = {"type": "text", "text": self.system}
        if self.system_mark:
            system["cache_control"] = self.system_mark
        made = {
            "model": self.model,
            "max_tokens": 100,
            "tools": self.tools,
            "system": [system],
            "messages": self.messages,
        }
        made = copy.deepcopy({**made, **self.more})
        if self.tail_mark:
            made["messages"][-1]["content"][-1]["cache_control"] = dict(self.tail_mark)
        return made
