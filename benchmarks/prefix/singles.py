"""Single questions: one-shot prompts, batches under one system prompt, questions about documents, short talks whose
prefix is about as long as the minimum.

Sizes, numbers and rhythms are drawn anew for each draw of a workload. This room must never know a cache or a planner.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from benchmarks.prefix import traffic
from benchmarks.prefix.talks import half
from benchmarks.prefix.traffic import MODEL, Json, Request, between, prose

Text = Callable[[], str]


def _asking(dialect: str, system: str, content: Any, **more: Any) -> Json:
    ask = {"role": "user", "content": content}
    if dialect == "messages":
        return {"model": MODEL, "max_tokens": 512, "system": system, "messages": [ask]} | more
    return {"model": MODEL, "messages": [{"role": "system", "content": system}, ask]} | more


def _single(
    dice: random.Random, number: int, every: float, system: Text, ask: Text, dialect: str = "messages", **more: Any
) -> Iterator[Request]:
    """Requests of one system prompt and one question."""
    at = 0.0
    for _ in range(number):
        yield Request(at, _asking(dialect, system(), ask(), **more), dialect, output_tokens=80, duration=2.5)
        at += dice.expovariate(1 / every)


def one_shot_long(dice: random.Random, _draw: str) -> Iterator[Request]:
    """Long prompts, each with a system prompt of its own."""
    most = between(dice, 2500, 12000)
    return _single(
        dice, dice.randint(60, 140), between(dice, 3, 120),
        lambda: prose(dice, dice.randint(1200, round(most))), lambda: prose(dice, dice.randint(50, 200)),
    )  # fmt: skip


def one_shot_short(dice: random.Random, _draw: str) -> Iterator[Request]:
    """Prompts that are too short to be kept."""
    shared = prose(dice, dice.randint(50, 400))
    return _single(
        dice, dice.randint(60, 160), between(dice, 3, 120), lambda: shared, lambda: prose(dice, dice.randint(80, 400))
    )


def one_shot_chat(dice: random.Random, _draw: str) -> Iterator[Request]:
    """Long unique prompts as chat bodies, under a short system prompt that is always the same."""
    shared, most = prose(dice, dice.randint(40, 500)), between(dice, 2500, 9000)
    return _single(
        dice, dice.randint(60, 120), between(dice, 3, 120), lambda: shared,
        lambda: prose(dice, dice.randint(800, round(most))), "chat",
    )  # fmt: skip


def one_shot_with_tools(dice: random.Random, draw: str) -> Iterator[Request]:
    """Long unique prompts that may call a few tools, and never do."""
    tools = half(traffic.airline(), draw)[0].tools[: dice.randint(1, 3)]
    shared = prose(dice, dice.randint(40, 200))
    return _single(
        dice, dice.randint(60, 120), between(dice, 3, 120), lambda: shared,
        lambda: prose(dice, dice.randint(1500, 6000)), "chat", tools=tools,
    )  # fmt: skip


def questions(dice: random.Random, _draw: str) -> Iterator[Request]:
    """Many short questions under one long system prompt, each question once."""
    shared, most = prose(dice, round(between(dice, 1500, 9000))), between(dice, 60, 400)
    return _single(
        dice, dice.randint(80, 200), between(dice, 4, 200), lambda: shared,
        lambda: prose(dice, dice.randint(20, round(most))),
    )  # fmt: skip


def batches(dice: random.Random, _draw: str) -> Iterator[Request]:
    """An evaluation: every case at once under the same rubric, a few at a time, and again with the next version."""
    at, lanes = 0.0, dice.randint(2, 8)
    for _ in range(dice.randint(2, 4)):
        rubric = prose(dice, round(between(dice, 1300, 5000)))
        free = [at + place * 0.02 for place in range(lanes)]
        for _ in range(dice.randint(25, 50)):
            starts = min(free)
            case = prose(dice, dice.randint(40, 700))
            duration = dice.uniform(2, 7)
            yield Request(
                starts, _asking("chat", rubric, case), "chat", output_tokens=120, first_token=1.0, duration=duration
            )
            free[free.index(starts)] = starts + duration + dice.uniform(0.01, 0.2)
        at = max(free) + between(dice, 60, 7200)


@dataclass(frozen=True, slots=True)
class Documents:
    """Questions about documents: some documents are asked about often, some once. A question comes about every so many
    seconds (from, to); a document stands before it, or at the end of the system prompt (`within`). With `bursts`,
    somebody asks about one document for a while, then about the next."""

    every: tuple[float, float]
    dialect: str = "messages"
    within: bool = False
    bursts: bool = False

    def __call__(self, dice: random.Random, _draw: str) -> Iterator[Request]:
        system, every = prose(dice, dice.randint(60, 500)), between(dice, *self.every)
        at = 0.0
        for document in self._order(dice):
            question = prose(dice, dice.randint(15, 60))
            if self.within:
                body = _asking(self.dialect, f"{system}\n\n{document}", question)
            else:
                parts = [{"type": "text", "text": f"<document>{document}</document>"},
                         {"type": "text", "text": question}]  # fmt: skip
                body = _asking(self.dialect, system, parts)
            yield Request(at, body, self.dialect, output_tokens=200, duration=4.5)
            at += dice.expovariate(1 / every)

    def _order(self, dice: random.Random) -> list[str]:
        most = between(dice, 4000, 15000)
        number = dice.randint(80, 140)
        documents = [prose(dice, dice.randint(1500, round(most))) for _ in range(dice.randint(4, 18))]
        if self.bursts:
            asked = [[document] * max(1, round(between(dice, 2, 25))) for document in documents]
            return list(chain.from_iterable(asked * 4))[:number]
        uneven = dice.uniform(0.0, 1.5)
        return dice.choices(documents, [(place + 1) ** -uneven for place in range(len(documents))], k=number)


def around_minimum(least: int, most: int, ask: int) -> traffic.Maker:
    """Short talks whose shared prefix has so many tokens; they stay near it."""

    def make(dice: random.Random, _draw: str) -> Iterator[Request]:
        shared, at, every = prose(dice, dice.randint(least, most)), 0.0, between(dice, 30, 300)
        longest, pause = dice.randint(2, 6), between(dice, 10, 90)
        for _ in range(dice.randint(20, 40)):
            messages: list[Json] = []
            now = at
            for _ in range(dice.randint(1, longest)):
                messages = [*messages, {"role": "user", "content": prose(dice, ask)}]
                body = {"model": MODEL, "max_tokens": 128, "system": shared, "messages": messages}
                yield Request(now, body, "messages", output_tokens=30, duration=1.5)
                messages = [*messages, {"role": "assistant", "content": prose(dice, 20)}]
                now += 1.5 + dice.uniform(3, pause)
            at += dice.expovariate(1 / every)

    return make
