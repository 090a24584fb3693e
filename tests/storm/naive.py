"""`python -m tests.storm.naive PORT REQUESTS SEED`: redis-py's own asyncio client in the storm; prints what was seen.

It believes what it reads, as most programs do. Needs redis-py of any version, and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter

import redis.asyncio
from redis import __version__

from tests.storm.weather import storm

NAMES = 200


def name_of(number: int) -> str:
    return f"storm:{number:04d}"


def value_of(number: int) -> bytes:
    return f"value of {number:04d} ".encode() * 20


async def run(port: int, requests: int, seed: int) -> dict[str, object]:
    client = redis.asyncio.Redis(port=port)
    for number in range(NAMES):
        await client.set(name_of(number), value_of(number))

    async def request(dice: random.Random, seen: Counter[str]) -> None:
        draw = dice.random()
        if draw < 0.1:
            number = dice.randrange(NAMES)
            await client.set(name_of(number), value_of(number))
            seen["written"] += 1
            return
        numbers = [dice.randrange(NAMES)] if draw < 0.8 else dice.sample(range(NAMES), 5)
        if len(numbers) == 1:
            found = [await client.get(name_of(numbers[0]))]
        else:
            pipe = client.pipeline(transaction=False)
            for number in numbers:
                pipe.get(name_of(number))
            found = await pipe.execute()
        kind = "plain" if len(numbers) == 1 else "pipeline"
        for number, value in zip(numbers, found):  # noqa: B905 - a reply too few or too many is what is looked for
            what = "right" if value == value_of(number) else "wrong"
            seen[what] += 1
            seen[f"{what}, {kind}"] += 1

    seen = await storm(request, requests, seed)
    return {"version": __version__, "seen": dict(seen)}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(*map(int, sys.argv[1:4])))))
