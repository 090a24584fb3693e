"""The workloads by name: kinds of traffic, each a list of requests in the order of their times, made from one seed.

A workload is a kind, not one trace: each seed draws its users, sizes and rhythms anew. Two draws of each: `train`,
which may be looked at while a planner is tuned, and `held-out`, which may not; they share neither seeds nor
conversations.
This room must never know a cache or a planner.
"""

from __future__ import annotations

import random

from benchmarks.prefix import singles, traffic
from benchmarks.prefix.singles import Documents
from benchmarks.prefix.talks import DRAWS, Talks, branches, clock, fan_out, loops, one_at_a_time
from benchmarks.prefix.traffic import Maker, Request

__all__ = ["CHAT", "DRAWS", "ONE_SHOT", "SEEDS", "WORKLOADS", "workload"]

SEEDS = 8
"""So many seeds of each draw make up the figures that are published."""
_NAMES = {"train": "train", "held-out": "held-out, second"}
"""What seeds are made of. The first held-out draw of this project was looked at while the planner was tuned."""


def workload(name: str, draw: str, seed: int = 0) -> list[Request]:
    """The requests of one workload: the same for the same name, draw and seed."""
    made = WORKLOADS[name](random.Random(f"{name}/{_NAMES[draw]}/{seed}"), draw)
    return sorted(made, key=lambda request: request.at)


_FEW, _SOME, _MANY = (7, 12), (11, 18), (30, 45)

WORKLOADS: dict[str, Maker] = {
    "talks, fast users": Talks(traffic.fast, _SOME, (30, 300)),
    "talks, human users": Talks(traffic.human, _SOME, (60, 600)),
    "talks, slow users": Talks(traffic.slow, _FEW, (400, 4000)),
    "talks, coming and going": Talks(traffic.coming_and_going, _SOME, (100, 1500)),
    "talks, recorded gaps": Talks(traffic.recorded, _SOME, (60, 600)),
    "talks, nothing shared": Talks(traffic.human, _SOME, (60, 600), apart=True),
    "talks, chat bodies": Talks(traffic.human, _SOME, (60, 600), "chat", sessions=True),
    "talks, slow, chat bodies": Talks(traffic.slow, _FEW, (400, 4000), "chat"),
    "many talks at once": Talks(traffic.human, _MANY, (3, 20)),
    "mixed tenants": Talks(traffic.human, (16, 26), (40, 300), tenants=7),
    "one talk at a time, human": one_at_a_time(traffic.human),
    "one talk at a time, slow": one_at_a_time(traffic.slow),
    "agent loops": loops("messages"),
    "agent loops, chat bodies": loops("chat"),
    "parallel tool calls": fan_out,
    "parallel branches": branches,
    "one-shot, long": singles.one_shot_long,
    "one-shot, short": singles.one_shot_short,
    "one-shot, chat bodies": singles.one_shot_chat,
    "one-shot, with tools": singles.one_shot_with_tools,
    "one system prompt, many questions": singles.questions,
    "batches": singles.batches,
    "documents, busy": Documents((10, 60)),
    "documents, quiet": Documents((100, 500)),
    "documents, one after the other": Documents((15, 120), bursts=True),
    "documents in the system prompt": Documents((10, 200), within=True),
    "documents, chat bodies": Documents((15, 150), "chat"),
    "clock in the system prompt": clock(traffic.human, tools=True),
    "clock, no tools": clock(traffic.fast, tools=False),
    "just under the minimum": singles.around_minimum(800, 930, 15),
    "just over the minimum": singles.around_minimum(1030, 1300, 40),
}
"""Every workload by name."""

ONE_SHOT = ("one-shot, long", "one-shot, short", "one-shot, chat bodies", "one-shot, with tools", "clock, no tools")
"""Where nothing can be reused, or nothing worth it: a plan may hardly cost more than no caching."""

CHAT = ("talks, chat bodies", "talks, slow, chat bodies", "agent loops, chat bodies", "documents, chat bodies",
        "one-shot, chat bodies", "batches")  # fmt: skip
"""Workloads of chat bodies: GPT-5.6 is asked these."""
