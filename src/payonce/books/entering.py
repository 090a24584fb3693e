"""A batch, entered: its sums added to those of its minute, hour and day, its receipts and calls as rows.

This room must never begin or end a transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal

import apsw
import orjson
from blake3 import blake3

from payonce.books import schema
from payonce.books.batch import Batch, CallRow
from payonce.books.journal import Billed
from payonce.books.schema import Place, ReceiptRow, Scene
from payonce.books.words import SUMMED
from payonce.doctor import Finding
from payonce.ledger.money import Bill, nano_dollars
from payonce.optimise import Advice

Values = dict[str, "apsw.SQLiteValue"]
IdOf = Callable[[int], int]
"""The id of a request, by its number."""


def enter(db: apsw.Connection, batch: Batch, known: dict[Scene, int], id_of: IdOf) -> list[tuple[CallRow, int]]:
    """Enter `batch`; `known` remembers the numbers of scenes. Returns the row of each call."""

    def number(scene: Scene) -> int:
        found = known.get(scene)
        if found is None:
            if len(known) >= schema.SCENES:
                known.clear()
            found = known[scene] = schema.scene_number(db, scene)
        return found

    places = _places(batch.sums, number)
    for table, length in schema.LENGTHS.items():
        schema.add_sums(db, table, [(at // length * length, *sums) for at, sums in places])
        schema.add_latency(db, f"{table}_latency", _latency(batch.latency, length))
    schema.add_receipts(db, [_receipt(row, number(row.scene), id_of) for row in batch.receipts])
    placed: dict[int, tuple[CallRow, int]] = {}
    for call in batch.calls:
        before = placed[id(call)][1] if id(call) in placed else call.row
        placed[id(call)] = call, schema.add_call(db, _call(call, number(call.scene), id_of), before)
    schema.add_turns(db, [_turn(billed, number(billed.scene)) for billed in batch.turns])
    return list(placed.values())


def _turn(billed: Billed, scene: int) -> tuple[apsw.SQLiteValue, ...]:
    """In the order of `schema.add_turns`."""
    name = conversation_of(billed.steering.tenant, billed.session)
    wrong = [one for one in billed.findings if one.wrong]
    missed = sum(one.tokens or 0 for one in wrong), sum(nano_dollars(one.cost) for one in wrong)
    sums = [0] * 6
    for bill in billed.bills:
        usage = bill.usage
        tokens = (usage.input_total or 0, usage.cache_read or 0, usage.cache_write or 0, usage.output or 0)
        money = nano_dollars(bill.cost), nano_dollars(bill.read_saving) - nano_dollars(bill.write_premium)
        sums = [held + more for held, more in zip(sums, (*tokens, *money), strict=True)]
    return name, scene, billed.started, billed.at, 1, *sums, *missed


def _places(
    sums: Mapping[Place, Counter[str]], number: Callable[[Scene], int]
) -> list[tuple[int, tuple[apsw.SQLiteValue, ...]]]:
    """For each place its minute, and what stands behind that in a row of `schema.add_sums`."""
    return [
        (at, (number(scene), outcome, reason, *[counts.get(name, 0) for name in SUMMED]))
        for (at, scene, outcome, reason), counts in sums.items()
    ]


def _latency(latency: Mapping[tuple[int, str, int], int], length: int) -> Iterable[tuple[apsw.SQLiteValue, ...]]:
    for (at, outcome, bucket), count in latency.items():
        yield at // length * length, outcome, bucket, count


def _receipt(row: ReceiptRow, scene: int, id_of: IdOf) -> tuple[apsw.SQLiteValue, ...]:
    """In the order of `schema.RECEIPT_COLUMNS`."""
    asked, answering, _, *rest = row
    return id_of(asked) if asked else None, id_of(answering) if answering else None, scene, *rest


def _call(call: CallRow, scene: int, id_of: IdOf) -> Values:
    values: Values = {"request": id_of(call.request) if call.request else None, "scene": scene}
    landed, billed = call.landed, call.billed
    if landed is not None:
        landing = landed.landing
        values |= {
            "at": landed.at,
            "landed": 1,
            "unkept": landing.reason.id if landing.reason is not None else "",
            "followers": landed.followers,
            "took": landing.took,
        }
        if landing.facts is not None:
            tokens = landing.facts.tokens
            values |= {
                "answered_by": landing.facts.model[: schema.NAME],
                "status": 200,
                "input_tokens": tokens.input,
                "output_tokens": tokens.output,
                "cost_nano": tokens.cost,
            }
    if billed is not None:
        values |= {
            "at": billed.at,
            "passed": int(not billed.steering.cacheable),
            "answered_by": billed.answered_by[: schema.NAME],
            "status": billed.status,
            "took": billed.at - billed.started,
            "ttfb": max(0.0, billed.began - billed.started),
            "advice": _json([_advice(one) for one in billed.advice]),
            "findings": _json([_finding(one) for one in billed.findings]),
            "missed_tokens": sum(one.tokens or 0 for one in billed.findings if one.wrong),
            "missed_nano": sum(nano_dollars(one.cost) for one in billed.findings if one.wrong),
            "conversation": conversation_of(billed.steering.tenant, billed.session),
        }
        values |= _bill(billed.bills)
    return values


def _bill(bills: tuple[Bill, ...]) -> Values:
    """Tokens of the answer's own bill, money of all of them."""
    if not bills:
        return {}
    usage = bills[0].usage
    return {
        "input_tokens": usage.input_total,
        "output_tokens": usage.output,
        "read_tokens": usage.cache_read,
        "written_tokens": usage.cache_write,
        "plain_tokens": usage.input_uncached,
        "cost_nano": _nano([bill.cost for bill in bills]),
        "estimated": int(any(bill.estimated for bill in bills)),
        "read_saving_nano": _nano([bill.read_saving for bill in bills]),
        "premium_nano": _nano([bill.write_premium for bill in bills]),
        "ours": int(bills[0].ours),
    }


def conversation_of(tenant: str, session: str) -> bytes | None:
    """The name of a conversation, from which neither tenant nor session can be told."""
    return blake3(f"{tenant}\0{session}".encode()).digest(8) if session else None


def _advice(one: Advice) -> dict[str, object]:
    told: dict[str, object] = {
        "act": one.act.value,
        "why": one.why,
        "where": one.where,
        "ttl": one.ttl,
        "tokens": one.tokens,
    }
    told |= {"chance": round(one.chance, 3), "saving": one.saving}
    return {name: value for name, value in told.items() if value}


def _finding(one: Finding) -> dict[str, object]:
    told = {"id": one.id, "where": one.place[:200], "tokens": one.tokens, "nano": _nano([one.cost])}
    return {name: value for name, value in told.items() if value}


def _json(values: list[dict[str, object]]) -> bytes | None:
    return orjson.dumps(values) if values else None


def _nano(amounts: Sequence[Decimal | None]) -> int | None:
    """Their sum in billionths, each rounded by itself; None where none is known."""
    known = [nano_dollars(amount) for amount in amounts if amount is not None]
    return sum(known) if known else None
