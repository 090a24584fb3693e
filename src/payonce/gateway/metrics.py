"""/metrics: the figures of all workers of this gateway, as Prometheus reads them, by the table in metrics_table.py.

A gateway counts for itself, from its start: several on one store are several targets, and Prometheus may add them up.
This room must never count anything itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from payonce.gateway.metrics_table import ROWS, Row, Type
from payonce.ledger.hits import BUCKETS
from payonce.ledger.tally import OTHER, Tally

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_FAMILIES: dict[Type, type[CounterMetricFamily | GaugeMetricFamily]] = {
    Type.COUNTER: CounterMetricFamily,
    Type.GAUGE: GaugeMetricFamily,
}


@dataclass(frozen=True, slots=True)
class Figures:
    """What is shown: what the workers have counted, and how things stand (by the `source` of a gauge's row)."""

    tally: Tally
    gauges: Mapping[str, float]
    version: str
    tenants: Mapping[str, float] = field(default_factory=dict)
    """The tenants that are near their quota, and which share of it they hold."""


class _Collector:
    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        for row in ROWS:
            yield _histogram(row, self._figures.tally) if row.type is Type.HISTOGRAM else _family(row, self._figures)


def render(figures: Figures) -> bytes:
    """The page, in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(figures))
    return generate_latest(registry)


def _family(row: Row, figures: Figures) -> Metric:
    kind = _FAMILIES[row.type]
    if not row.label:
        counts = figures.tally.counts
        figure = figures.gauges[row.source] if row.source in figures.gauges else counts[row.source]
        return kind(row.name, row.help, value=figure / row.unit)
    family = kind(row.name, row.help, labels=[row.label])
    for value, count in _labelled(row, figures).items():
        family.add_metric([value], count)
    return family


def _labelled(row: Row, figures: Figures) -> Mapping[str, float]:
    """The figure for each label value: those of the row always, what belongs to none of them under one name."""
    if row.source == "models":
        return dict(sorted(figures.tally.models.items()))
    if row.source == "build":
        return {figures.version: 1}
    if row.source == "tenants":
        return figures.tenants
    before, _, after = row.source.partition("*")
    found = Counter({value: figures.tally.counts[before + value + after] for value in row.values})
    for name, count in figures.tally.counts.items():
        if not after and name.startswith(before) and name not in _NOT_VALUES:
            value = name.removeprefix(before)
            if value not in row.values:
                found[OTHER] += count
    return found


_NOT_VALUES = frozenset(row.source for row in ROWS)
"""Counters with a row of their own, though their names begin like those of a labelled one."""


def _histogram(row: Row, tally: Tally) -> Metric:
    family = HistogramMetricFamily(row.name, row.help, labels=[row.label])
    for value in row.values:
        total = 0
        buckets: list[tuple[str, float]] = []
        counts = tally.latency.get(value) or [0] * (len(BUCKETS) + 1)
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
            total += count
            buckets.append((bound, total))
        family.add_metric([value], buckets, sum_value=tally.seconds[value] / 1e9)
    return family
