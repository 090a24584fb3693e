"""THE table of metrics: every family of `/metrics` has one row here.

The page itself (gateway/metrics.py), docs/metrics.md, the alert rules and the dashboard's test all read this table.
Label values come from closed sets, or are capped (`payonce.ledger.tally.MODELS`, `payonce.model.quota.SHOWN_TENANTS`); tenants are hashes, and no
key, credential or prompt is ever a label. This room must never know a figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from payonce.ledger.spending import UNKNOWN
from payonce.model.reason import REASONS, Kind
from payonce.model.receipt import Outcome


class Type(StrEnum):
    """What Prometheus is told that a family is."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Row:
    """One family. `source` is where its figure comes from: a counter of the tally (with `label`, the beginning that
    the counters of all its values share) or a gauge of the workers; divided by `unit`. `values` are those that are
    always shown; without any, the label has whatever values there are."""

    name: str
    type: Type
    help: str
    source: str
    unit: float = 1
    label: str = ""
    values: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The name under which Prometheus keeps it."""
        return self.name + "_total" if self.type is Type.COUNTER else self.name


def _ids(*kinds: Kind) -> tuple[str, ...]:
    return tuple(reason.id for reason in REASONS.values() if reason.kind in kinds)


_OUTCOMES = tuple(outcome.value for outcome in Outcome)
_COUNTER, _GAUGE, _HISTOGRAM = Type.COUNTER, Type.GAUGE, Type.HISTOGRAM
_NANO = 1e9

# fmt: off
ROWS = (
    # Requests.
    Row("payonce_requests", _COUNTER, "Requests to cached endpoints, by outcome.", "requests.", label="outcome", values=_OUTCOMES),
    Row("payonce_reasons", _COUNTER, "Requests that were no hit, by reason.", "reasons.", label="reason", values=_ids(Kind.BYPASS, Kind.MISS, Kind.REFUSED)),
    Row("payonce_request_duration_seconds", _HISTOGRAM, "Seconds until a request was answered in full, by outcome.", "latency", label="outcome", values=_OUTCOMES),
    Row("payonce_fast_lane_hits", _COUNTER, "Hits that the fast lane answered.", "requests.fast_lane"),
    Row("payonce_converted", _COUNTER, "Hits that were stored in the other framing (stream or whole).", "requests.converted"),
    Row("payonce_served", _COUNTER, "Answers served from the cache, by model; all past the first models are one.", "models", label="model"),
    Row("payonce_served_bytes", _COUNTER, "Body bytes served from the cache.", "bytes.served"),
    # What was avoided and what was paid.
    Row("payonce_avoided_calls", _COUNTER, "Upstream calls that were not made.", "avoided.calls"),
    Row("payonce_avoided_unpriced_calls", _COUNTER, "Of those, calls whose cost is not known.", "avoided.calls_without_price"),
    Row("payonce_avoided_cost_dollars", _COUNTER, "What those calls had cost, said or estimated, in US dollars.", "avoided.nano_dollars", _NANO),
    Row("payonce_avoided_estimated_dollars", _COUNTER, "Of that, what was estimated by price.", "avoided.estimated_nano_dollars", _NANO),
    Row("payonce_avoided_input_tokens", _COUNTER, "Input tokens of those calls.", "avoided.input_tokens"),
    Row("payonce_avoided_output_tokens", _COUNTER, "Output tokens of those calls.", "avoided.output_tokens"),
    Row("payonce_avoided_seconds", _COUNTER, "What the upstream had needed for those calls.", "avoided.nanoseconds", _NANO),
    Row("payonce_paid_cost_dollars", _COUNTER, "Cost of the upstream calls of cacheable requests, in US dollars.", "paid.nano_dollars", _NANO),
    Row("payonce_paid_estimated_dollars", _COUNTER, "Of the paid cost, what was estimated by price.", "paid.estimated_nano_dollars", _NANO),
    Row("payonce_paid_input_tokens", _COUNTER, "Input tokens of the upstream calls of cacheable requests.", "paid.input_tokens"),
    Row("payonce_paid_output_tokens", _COUNTER, "Output tokens of the upstream calls of cacheable requests.", "paid.output_tokens"),
    Row("payonce_passed_calls", _COUNTER, "Upstream calls that went past the cache and were answered.", "passed.calls"),
    Row("payonce_passed_cost_dollars", _COUNTER, "Their cost, in US dollars.", "passed.nano_dollars", _NANO),
    # The upstream.
    Row("payonce_upstream_calls", _COUNTER, "Upstream calls of cacheable requests.", "upstream.calls"),
    Row("payonce_upstream_stored", _COUNTER, "Upstream answers that were kept.", "upstream.stored"),
    Row("payonce_upstream_seconds", _COUNTER, "Seconds that the upstream calls of cacheable requests took.", "upstream.nanoseconds", _NANO),
    Row("payonce_unkept", _COUNTER, "Upstream calls whose answer was not kept, or that brought none, by reason.", "unkept.", label="reason", values=(*_ids(Kind.UNKEPT, Kind.DROPPED), "store-down", *(name for name in _ids(Kind.REFUSED) if name.startswith("upstream-")), "stopping", "internal")),
    Row("payonce_flight_waits", _COUNTER, "Flights that waited for another process that made the same call, by what came of it: its answer, nothing (it died, or its answer was not kept), or that it still was at it when the time was over.", "waits.", label="outcome", values=("brought", "nothing", "in_vain")),
    Row("payonce_flight_wait_seconds", _COUNTER, "Seconds that those waited.", "waited.nanoseconds", _NANO),
    Row("payonce_model_changes", _COUNTER, "Answers of another model than before under the same name: the old ones were retired, or it was too soon after the last change.", "models.", label="kind", values=("retired", "unsettled")),
    # The provider's prompt cache. Amounts are gauges: a net amount may fall.
    Row("payonce_prompt_calls", _COUNTER, "Upstream answers whose prompt-cache usage was looked at.", "prompt.calls"),
    Row("payonce_prompt_anomalies", _COUNTER, "Upstream answers whose usage does not add up.", "prompt.anomalies"),
    Row("payonce_prompt_tokens", _COUNTER, "Input tokens of upstream answers, by what became of them.", "prompt.*_tokens", label="kind", values=("read", "written", "plain")),
    Row("payonce_prompt_unknown", _COUNTER, "Upstream answers whose saving is unknown, by reason.", "prompt.unknown.", label="reason", values=UNKNOWN),
    Row("payonce_prompt_read_saving_dollars", _GAUGE, "Discount on tokens read from the provider's prompt cache, in US dollars.", "prompt.read_saving", _NANO),
    Row("payonce_prompt_write_premium_dollars", _GAUGE, "Premium for tokens written to the provider's prompt cache, in US dollars.", "prompt.write_premium", _NANO),
    Row("payonce_prompt_unaided_dollars", _GAUGE, "Net prompt-cache saving that is not due to Payonce, in US dollars.", "prompt.unaided", _NANO),
    Row("payonce_prompt_unread_dollars", _GAUGE, "Premium for written tokens that expired unread, in US dollars.", "prompt.unread", _NANO),
    Row("payonce_prompt_missed_dollars", _GAUGE, "What avoidable prompt-cache misses cost, in US dollars.", "prompt.missed", _NANO),
    # The store, and what was lost.
    Row("payonce_store_entries", _GAUGE, "Entries in the store.", "store.entries"),
    Row("payonce_store_bytes", _GAUGE, "Bytes in the store.", "store.bytes"),
    Row("payonce_store_limit_bytes", _GAUGE, "How large the store may grow; 0 where it has no bound of its own.", "store.limit"),
    Row("payonce_store_trouble", _GAUGE, "Workers that do without the store, or some of its servers: it could not be opened, or a breaker is open.", "workers.trouble"),
    Row("payonce_dropped", _COUNTER, "Entries lost on the way to the store or in it, by reason.", "dropped.", label="reason", values=(*_ids(Kind.DROPPED), "store-slow", "store-fault", "store-down", "damaged")),
    Row("payonce_tenant_quota_ratio", _GAUGE, "Which share of its quota a tenant holds, for the tenants that hold 80 % or more: 20 at most.", "tenants", label="tenant"),
    # The gateway itself.
    Row("payonce_workers", _GAUGE, "Workers that serve.", "workers.count"),
    Row("payonce_connections", _GAUGE, "Client connections, of all workers.", "workers.connections"),
    Row("payonce_flights", _GAUGE, "Upstream calls under way, of all workers.", "workers.flights"),
    Row("payonce_shelf_entries", _GAUGE, "Answers on the fast lane's shelves, of all workers.", "workers.shelf"),
    Row("payonce_ledger_dropped", _COUNTER, "Receipts and figures that are missing in the ledger's books, by why.", "books.", label="why", values=("journal-full", "parts", "unwritten", "unfiled")),
    Row("payonce_ledger_trouble", _GAUGE, "Workers whose ledger can't be written at the moment.", "workers.ledger_trouble"),
    Row("payonce_lines_dropped", _COUNTER, "Lines (and spans) that a log could not take, by log.", "lines.", label="log", values=("access", "requests")),
    Row("payonce_build_info", _GAUGE, "1, for the version that serves.", "build", label="version"),
)
# fmt: on
