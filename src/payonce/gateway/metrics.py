"""/metrics: the tally of all workers, as Prometheus reads it. Names and labels are documented in docs/metrics.md.

Label values come from closed sets only (outcomes, reasons), but for the hashes of the few tenants that are near their
quota; no model, key or prompt is ever a label. This room must never count anything itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from payonce.ledger.spending import UNKNOWN
from payonce.ledger.tally import BUCKETS, Tally
from payonce.model.ports import Volume
from payonce.model.quota import Holding, Quotas, near
from payonce.model.receipt import Outcome

if TYPE_CHECKING:
    from payonce.assembly import World
    from payonce.gateway.shelf import Shelf

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_AVOIDED = {
    "payonce_avoided_calls": ("avoided.calls", 1, "Upstream calls that were not made."),
    "payonce_avoided_cost_dollars": ("avoided.nano_dollars", 1e9, "What those calls had cost, in US dollars."),
    "payonce_avoided_input_tokens": ("avoided.input_tokens", 1, "Input tokens of those calls."),
    "payonce_avoided_output_tokens": ("avoided.output_tokens", 1, "Output tokens of those calls."),
    "payonce_avoided_seconds": ("avoided.nanoseconds", 1e9, "What the upstream had needed for those calls."),
    "payonce_paid_cost_dollars": (
        "paid.nano_dollars",
        1e9,
        "Cost of the upstream calls of cacheable requests, in US dollars.",
    ),
    "payonce_converted": ("requests.converted", 1, "Hits that were stored in the other framing (stream or whole)."),
    "payonce_upstream_calls": ("upstream.calls", 1, "Upstream calls of cacheable requests."),
    "payonce_upstream_stored": ("upstream.stored", 1, "Upstream answers that were kept."),
    "payonce_served_bytes": ("bytes.served", 1, "Body bytes served from the cache."),
    "payonce_paid_estimated_dollars": (
        "paid.estimated_nano_dollars",
        1e9,
        "Of the paid cost, what was estimated by price.",
    ),
    "payonce_prompt_calls": ("prompt.calls", 1, "Upstream answers whose prompt-cache usage was looked at."),
    "payonce_prompt_anomalies": ("prompt.anomalies", 1, "Upstream answers whose usage does not add up."),
}

_PROMPT_DOLLARS = {
    "read_saving": "Discount on tokens read from the provider's prompt cache, in US dollars.",
    "write_premium": "Premium for tokens written to the provider's prompt cache, in US dollars.",
    "unaided": "Net prompt-cache saving that is not due to Payonce, in US dollars.",
    "unread": "Premium for written tokens that expired unread, in US dollars.",
    "missed": "What avoidable prompt-cache misses cost, in US dollars.",
}


class _Collector:
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics


def render(tally: Tally, volume: Volume, holdings: Iterable[Holding], world: World, shelf: Shelf | None) -> bytes:
    """The page, in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    metrics = [
        *_counters(tally),
        _latency(tally),
        *_gauges(volume, world, shelf),
        _near(holdings, world.settings.quotas),
    ]
    registry.register(_Collector(metrics))
    return generate_latest(registry)


def _counters(tally: Tally) -> Iterator[Metric]:
    counts = tally.counts
    requests = CounterMetricFamily("payonce_requests", "Requests to cached endpoints, by outcome.", labels=["outcome"])
    for outcome in Outcome:
        requests.add_metric([outcome.value], counts["requests." + outcome.value])
    yield requests
    yield _by_reason("payonce_reasons", "Requests that were no hit, by reason.", counts, "reasons.")
    yield _by_reason("payonce_unkept", "Answers that were not kept, by reason.", counts, "unkept.")
    for name, (counter, unit, text) in _AVOIDED.items():
        yield CounterMetricFamily(name, text, value=counts[counter] / unit)
    yield from _prompt(counts)


def _prompt(counts: Counter[str]) -> Iterator[Metric]:
    """The provider's prompt cache. Amounts are gauges: a net amount may fall."""
    tokens = CounterMetricFamily(
        "payonce_prompt_tokens", "Input tokens of upstream answers, by what became of them.", labels=["kind"]
    )
    for kind in ("read", "written", "plain"):
        tokens.add_metric([kind], counts[f"prompt.{kind}_tokens"])
    yield tokens
    unknown = CounterMetricFamily(
        "payonce_prompt_unknown", "Upstream answers whose saving is unknown, by reason.", labels=["reason"]
    )
    for reason in UNKNOWN:
        unknown.add_metric([reason], counts["prompt.unknown." + reason])
    yield unknown
    for name, text in _PROMPT_DOLLARS.items():
        yield GaugeMetricFamily(f"payonce_prompt_{name}_dollars", text, value=counts["prompt." + name] / 1e9)


def _by_reason(name: str, text: str, counts: Counter[str], prefix: str) -> Metric:
    family = CounterMetricFamily(name, text, labels=["reason"])
    for counter, value in sorted(counts.items()):
        if counter.startswith(prefix):
            family.add_metric([counter.removeprefix(prefix)], value)
    return family


def _latency(tally: Tally) -> Metric:
    family = HistogramMetricFamily(
        "payonce_request_duration_seconds",
        "Seconds until a request was answered in full, by outcome.",
        labels=["outcome"],
    )
    for outcome, counts in sorted(tally.latency.items()):
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
            total += count
            buckets.append((bound, total))
        family.add_metric([outcome], buckets, sum_value=tally.seconds[outcome] / 1e9)
    return family


def _near(holdings: Iterable[Holding], quotas: Quotas) -> Metric:
    family = GaugeMetricFamily(
        "payonce_tenant_quota_ratio", "Which share of its quota a tenant holds that is near it.", labels=["tenant"]
    )
    for holding, share in near(holdings, quotas):
        family.add_metric([holding.tenant], share)
    return family


def _gauges(volume: Volume, world: World, shelf: Shelf | None) -> Iterator[Metric]:
    yield GaugeMetricFamily("payonce_store_entries", "Entries in the store.", value=volume.entries)
    yield GaugeMetricFamily("payonce_store_bytes", "Bytes in the store.", value=volume.used_bytes)
    yield GaugeMetricFamily("payonce_store_limit_bytes", "How large the store may grow.", value=volume.limit_bytes)
    yield GaugeMetricFamily("payonce_flights", "Upstream calls under way in this worker.", value=len(world.tower))
    yield GaugeMetricFamily("payonce_shelf_entries", "Answers on this worker's shelf.", value=len(shelf or ()))
    dropped = CounterMetricFamily("payonce_dropped", "Entries lost in this worker, by reason.", labels=["reason"])
    for reason, count in sorted(world.dropped().items()):
        dropped.add_metric([reason], count)
    yield dropped
