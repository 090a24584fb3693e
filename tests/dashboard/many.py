"""Books full of receipts, written straight into the file: a million in a minute, or a few days that look like life.

What is written is what a clerk would have written: sums by minute, hour and day, receipts, upstream calls,
conversations.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import orjson

from payonce.books import schema
from payonce.books.file import BooksFile, transaction
from payonce.books.schema import Scene
from payonce.books.words import SUMMED
from payonce.ledger.hits import BUCKETS

TENANT = "b3c0ffee5ca1ab1e"
SCENES = (
    (Scene(TENANT, "", "chat/completions", "anthropic/claude-sonnet-4.5", ""), 10, 2_900),
    (Scene(TENANT, "", "chat/completions", "openai/gpt-5", ""), 6, 1_400),
    (Scene(TENANT, "staging", "chat/completions", "google/gemini-2.5-pro", ""), 3, 1_100),
    (Scene(TENANT, "", "messages", "anthropic/claude-opus-4.5", ""), 2, 9_800),
    (Scene(TENANT, "", "embeddings", "openai/text-embedding-3-small", ""), 5, 12),
)
"""Scene, how often, and what an answer costs in millionths of a dollar."""
OUTCOMES = (("hit", "", 55), ("miss", "absent", 30), ("miss", "expired", 5), ("collapsed", "", 3), ("stale", "", 1))
OUTCOMES += (("bypass", "not-deterministic", 5), ("refused", "only-if-cached", 1))
_SECONDS = {"hit": 0.0004, "stale": 0.0006, "collapsed": 1.1, "miss": 1.6, "bypass": 1.9, "refused": 0.0002}


@dataclass
class _Sums:
    figures: dict[tuple[int, int, str, str], Counter[str]] = field(default_factory=dict)
    latency: Counter[tuple[int, str, int]] = field(default_factory=Counter)


def fill(path: Path, receipts: int, *, now: float, days: float, seed: int = 1) -> None:
    """Write books of so many receipts, spread over so many days before `now`."""
    random_ = random.Random(seed)
    db = BooksFile(path).writer()
    numbers: dict[Scene, int] = {}
    sums = _Sums()
    with transaction(db):
        numbers |= {scene: schema.scene_number(db, scene) for scene, _, _ in SCENES}
        scenes = random_.choices(SCENES, [weight for _, weight, _ in SCENES], k=receipts)
        outcomes = random_.choices(OUTCOMES, [weight for _, _, weight in OUTCOMES], k=receipts)
        times = _times(receipts, now, days * 86400, random_)
        rows, calls = [], []
        for n, (at, (scene, _, price), (outcome, reason, _)) in enumerate(
            zip(times, scenes, outcomes, strict=True), start=1
        ):
            took = _SECONDS[outcome] * random_.lognormvariate(0, 0.5)
            cost = round(price * 1000 * random_.lognormvariate(0, 0.4))
            _count(sums, (at, numbers[scene], outcome, reason), took, cost)
            rows.append(_receipt(n, at, numbers[scene], (outcome, reason), took, cost, random_))
            if outcome in ("miss", "bypass"):
                calls.append(_call(n, at, numbers[scene], took, cost))
            if len(rows) >= 20_000:
                _write(db, rows, calls)
        _write(db, rows, calls)
        _sum_up(db, sums)
        _conversations(db, numbers[SCENES[0][0]], now, random_)
    db.close()


def _times(count: int, now: float, length: float, random_: random.Random) -> Iterator[float]:
    """Ascending times, more of them in the middle of each day."""
    hours = [now - length + 3600 * n for n in range(max(1, round(length / 3600)))]
    busy = [1.0 + 0.8 * math.sin(at / 86400 * 2 * math.pi - 2.2) for at in hours]
    yield from sorted(at + random_.random() * 3590 for at in random_.choices(hours, busy, k=count))


def _count(sums: _Sums, place: tuple[float, int, str, str], took: float, cost: int) -> None:
    at, scene, outcome, reason = place
    minute = int(at) // 60 * 60
    bucket = next((n for n, bound in enumerate(BUCKETS) if took <= bound), len(BUCKETS))
    sums.latency[minute, outcome, bucket] += 1
    told = sums.figures.setdefault((minute, scene, outcome, reason), Counter())
    told.update(requests=1, answer_ns=round(took * 1e9))
    if outcome in ("hit", "stale", "collapsed"):
        told.update(avoided_calls=1, avoided_nano=cost, avoided_input=900, avoided_output=200, avoided_ns=1_600_000_000)
    elif outcome in ("miss", "bypass"):
        paid = sums.figures.setdefault((minute, scene, "call" if outcome == "miss" else "passed", ""), Counter())
        paid.update(
            calls=1, kept=1, billed=1, paid_nano=cost, input_tokens=900, output_tokens=200, call_ns=round(took * 1e9)
        )
        paid.update(
            read_tokens=540, written_tokens=90, plain_tokens=270, read_saving_nano=cost // 3, premium_nano=cost // 20
        )
        paid.update(unaided_nano=cost // 12, missed_tokens=4, missed_nano=cost // 300)


def _receipt(
    n: int, at: float, scene: int, why: tuple[str, str], took: float, cost: int, random_: random.Random
) -> tuple[apsw.SQLiteValue, ...]:
    """In the order of `schema.RECEIPT_COLUMNS`."""
    outcome, reason = why
    hit = outcome in ("hit", "stale", "collapsed")
    avoided = (cost, 900, 200) if hit else (None, None, None)
    request = n if outcome in ("miss", "bypass") else None
    return n, request, scene, at, outcome, reason, 1, took, 0, 0, random_.randbytes(32), *avoided, 2100 * hit, None, 0


def _call(n: int, at: float, scene: int, took: float, cost: int) -> dict[str, Any]:
    tokens = {"input_tokens": 900, "output_tokens": 200, "read_tokens": 540, "written_tokens": 90, "plain_tokens": 270}
    money = {"cost_nano": cost, "read_saving_nano": cost // 3, "premium_nano": cost // 20, "estimated": 0}
    told = {"request": n, "at": at, "scene": scene, "passed": 0, "answered_by": "", "status": 200, "landed": 1}
    told |= {"unkept": "", "followers": 0, "took": took, "ttfb": took / 3, "ours": 1}
    return told | tokens | money | {"missed_tokens": 0, "missed_nano": 0}


def _write(db: apsw.Connection, rows: list[Any], calls: list[dict[str, Any]]) -> None:
    schema.add_receipts(db, rows)
    for call in calls:
        schema.add_call(db, call, None)
    rows.clear()
    calls.clear()


def _sum_up(db: apsw.Connection, sums: _Sums) -> None:
    for table, length in schema.LENGTHS.items():
        schema.add_sums(
            db,
            table,
            (
                (at // length * length, scene, outcome, reason, *(told[name] for name in SUMMED))
                for (at, scene, outcome, reason), told in sums.figures.items()
            ),
        )
        schema.add_latency(
            db,
            f"{table}_latency",
            ((at // length * length, outcome, bucket, n) for (at, outcome, bucket), n in sums.latency.items()),
        )


_ADVICE = [
    {"act": "mark", "why": "the prefix is used again within the hour", "where": "system", "ttl": "1h"}
    | {"tokens": 4200, "chance": 0.93, "saving": 3150},
    {"act": "mark", "why": "the next turn reads the conversation up to here", "where": "messages:6", "ttl": "5m"}
    | {"tokens": 1800, "chance": 0.81, "saving": 900},
    {"act": "stick", "why": "the conversation is named, so that it reaches the same host", "where": "prompt_cache_key"},
]


def _conversations(db: apsw.Connection, scene: int, now: float, random_: random.Random) -> None:
    """A dozen conversations, of which one loses its cache in the middle."""
    for number in range(12):
        name = random_.randbytes(8)
        began, turns, size = now - 600 - 1900 * number, 4 + number % 7, 4200
        rows = []
        for turn in range(turns):
            at = began + 40 * turn
            lost = number in (1, 6) and turn == 3
            read = 0 if turn == 0 or lost else size - 380
            written, plain = (size, 120) if not read else (380, 120)
            cost = read * 300 + written * 3750 + plain * 3000 + 180 * 15000
            found = [
                {"id": "system-changed", "where": "system[0].text", "tokens": size - 380, "nano": (size - 380) * 3450}
            ]
            call = _call(10_000_000 + number * 100 + turn, at, scene, 2.1, cost)
            call |= {"input_tokens": size + 120, "read_tokens": read, "written_tokens": written, "plain_tokens": plain}
            call |= {"read_saving_nano": read * 2700, "premium_nano": written * 750, "conversation": name}
            call |= {"answered_by": "anthropic/claude-4.5-sonnet-20250929", "advice": orjson.dumps(_ADVICE)}
            if lost:
                call |= {
                    "missed_tokens": size - 380,
                    "missed_nano": (size - 380) * 3450,
                    "findings": orjson.dumps(found),
                }
            schema.add_call(db, call, None)
            sums = (1, size + 120, read, written, 180, cost, read * 2700 - written * 750)
            rows.append((name, scene, began, at, *sums, call["missed_tokens"], call["missed_nano"]))
            size += 420
        schema.add_turns(db, rows)
