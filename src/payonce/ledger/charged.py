"""What an answer says that it cost, in US dollars, exactly as it was written. This room must never compute a price."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from payonce.ledger.shapes import LIMIT, Reading

_TICK: Final = Decimal("1e-10")
"""US dollars in one of xAI's ticks: 6,881,000 of them are 32 input tokens at 1.25, 128 cached ones at 0.20 and 249 of
output at 2.50 dollars a million (recorded: rig, tests/cassettes/xai/agent/completion_smoke.yaml)."""


def read_money(reading: Reading) -> None:
    """What the answer says that it cost."""
    usage = reading.usage
    said = usage.get("cost")
    if isinstance(said, dict):  # Perplexity
        reading.cost = _dollars(reading, said, "total_cost")
        reading.input_cost = _dollars(reading, said, "input_tokens_cost")
    else:
        reading.cost = _dollars(reading, usage, "cost")
    if reading.cost is None and (ticks := reading.count(usage, "cost_in_usd_ticks")) is not None:  # xAI
        reading.cost = ticks * _TICK
    details = reading.inside("cost_details")
    reading.upstream_cost = _dollars(reading, details, "upstream_inference_cost")
    for name in ("upstream_inference_prompt_cost", "upstream_inference_input_cost"):
        found = _dollars(reading, details, name)
        reading.input_cost = found if reading.input_cost is None else reading.input_cost
    byok = usage.get("is_byok")
    reading.byok = byok if isinstance(byok, bool) else None


def _dollars(reading: Reading, source: dict[str, Any], name: str) -> Decimal | None:
    """A JSON number of US dollars, exactly as it was written; None for anything else."""
    value = source.get(name)
    if value is None:
        return None
    if isinstance(value, Decimal):
        found = value
    elif type(value) in {int, float}:
        found = Decimal(str(value)) if abs(value) < LIMIT else Decimal("NaN")
    else:
        found = Decimal("NaN")
    if found.is_finite() and 0 <= found < LIMIT:
        return found
    reading.anomalies.append(f"{name} is not an amount")
    return None
