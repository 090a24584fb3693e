"""What each happening adds to the sums. This room must never know a receipt."""

from __future__ import annotations

from collections import Counter
from typing import Final

from payonce.books.batch import Batch, CallRow
from payonce.books.journal import Billed, Landed
from payonce.books.schema import Scene
from payonce.books.values import Values
from payonce.books.words import CALL, PASSED
from payonce.ledger.avoiding import Avoided
from payonce.ledger.hits import HitSums
from payonce.ledger.money import Bill, nano_dollars
from payonce.model.receipt import Outcome

_AVOIDED: Final = tuple(f"avoided_{name}" for name in Avoided._fields)


def avoid(sums: Counter[str], avoided: Avoided) -> None:
    """Upstream calls were not made."""
    for name, amount in zip(_AVOIDED, avoided, strict=True):
        sums[name] += amount


def add_hits(sums: Counter[str], hits: HitSums, values: Values) -> None:
    """Requests of one scene were answered from the cache."""
    sums["requests"] += hits.requests
    sums["answer_ns"] += round(hits.took * 1e9)
    sums["converted"] += hits.converted
    sums["served_bytes"] += hits.size
    avoid(sums, values.hits(hits))


def count_call(batch: Batch, call: CallRow, values: Values) -> None:
    """Enter what is new of a call."""
    scene, fresh = call.scene, not (call.landed_counted or call.billed_counted)
    passed = call.landed is None and call.billed is not None and not call.billed.steering.cacheable
    outcome = PASSED if passed else CALL
    if call.landed is not None and not call.landed_counted:
        _count_landing(batch, call.landed, scene, outcome, fresh=fresh)
        _count_followers(batch, call.landed, scene, values)
    if call.billed is not None and not call.billed_counted:
        _count_bill(batch.at(call.billed.at, scene, outcome, ""), call.billed)
        if call.billed.session:
            batch.turns.append(call.billed)
        if call.landed is None and fresh:
            batch.at(call.billed.at, scene, outcome, "")["calls"] += 1
    elif fresh and call.landed is not None and not call.landed.steered:
        _count_facts(batch.at(call.landed.at, scene, outcome, ""), call.landed)
    call.landed_counted, call.billed_counted = call.landed is not None, call.billed is not None
    if call.filed:
        batch.calls.append(call)


def _count_landing(batch: Batch, landed: Landed, scene: Scene, outcome: str, *, fresh: bool) -> None:
    landing = landed.landing
    sums = batch.at(landed.at, scene, outcome, landing.reason.id if landing.reason is not None else "")
    if fresh:
        sums["calls"] += 1
    sums["call_ns"] += round(landing.took * 1e9)
    sums["kept"] += landing.reason is None


def _count_followers(batch: Batch, landed: Landed, scene: Scene, values: Values) -> None:
    landing = landed.landing
    if landed.followers and landing.facts is not None:
        followers = batch.at(landed.at, scene._replace(provider=""), Outcome.COLLAPSED.value)
        avoid(followers, values.avoided(scene.model, landing.facts, landing.took, landed.followers))


def _count_facts(sums: Counter[str], landed: Landed) -> None:
    """An answer that is not billed apart: what it says of itself counts."""
    if landed.landing.facts is None:
        return
    tokens = landed.landing.facts.tokens
    sums["billed"] += 1
    sums["unpriced"] += tokens.cost is None
    sums["paid_nano"] += tokens.cost or 0
    sums["input_tokens"] += tokens.input or 0
    sums["plain_tokens"] += tokens.input or 0
    sums["output_tokens"] += tokens.output or 0


def _count_bill(sums: Counter[str], billed: Billed) -> None:
    for finding in billed.findings:
        if finding.wrong and finding.tokens:
            sums["missed_tokens"] += finding.tokens
            sums["missed_nano"] += nano_dollars(finding.cost)
    for bill in billed.bills:
        _add_bill(sums, bill)


def _add_bill(sums: Counter[str], bill: Bill) -> None:
    usage = bill.usage
    saving, premium = nano_dollars(bill.read_saving), nano_dollars(bill.write_premium)
    sums["billed"] += 1
    sums["unpriced"] += bill.cost is None
    sums["paid_nano"] += nano_dollars(bill.cost)
    if bill.estimated:
        sums["estimated_calls"] += 1
        sums["estimated_nano"] += nano_dollars(bill.cost)
    sums["input_tokens"] += usage.input_total or 0
    sums["output_tokens"] += usage.output or 0
    sums["read_tokens"] += usage.cache_read or 0
    sums["written_tokens"] += usage.cache_write or 0
    sums["plain_tokens"] += usage.input_uncached or 0
    sums["read_saving_nano"] += saving
    sums["premium_nano"] += premium
    if not bill.ours:
        sums["unaided_nano"] += saving - premium
    sums["anomalies"] += bool(usage.anomaly)
    if bill.unknown:
        sums["unknown_" + bill.unknown] += 1
