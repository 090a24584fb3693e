"""Spans and metrics as a real OpenTelemetry SDK gets them: GenAI names, the client's trace, errors; nothing secret."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as conventions
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.trace import SpanKind, StatusCode

from payonce import tracing
from payonce.httpx2 import Client
from payonce.testing.sim import running_sim
from tests.support.gateway import KEY, RunningGateway, answers, ask, raw_upstream, running_gateway, until

PROMPT = "the prompt that no span may hold"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collected:
    """What the SDK was given."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()

    def spans(self, count: int) -> list[ReadableSpan]:
        assert until(lambda: len(self.exporter.get_finished_spans()) >= count, 30)
        found = sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)
        assert len(found) == count
        return found

    def metrics(self) -> dict[str, list[Any]]:
        data = self.reader.get_metrics_data()
        assert data is not None
        listed = [one for of in data.resource_metrics for scope in of.scope_metrics for one in scope.metrics]
        return {one.name: list(one.data.data_points) for one in listed}


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collected]:
    """An SDK that is set up in this process, for one test."""
    found = Collected()
    provider, meters = TracerProvider(), MeterProvider([found.reader])
    provider.add_span_processor(SimpleSpanProcessor(found.exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    monkeypatch.setattr(metrics._internal, "_METER_PROVIDER", meters)
    yield found
    provider.shutdown()
    meters.shutdown()


def _gateway(upstream: str) -> Any:
    return running_gateway(upstream)


def test_the_names_are_those_of_the_conventions() -> None:
    ours = {value for value in vars(tracing).values() if isinstance(value, str) and value.startswith("gen_ai.")}
    theirs = {
        value for room in (conventions, gen_ai_metrics) for value in vars(room).values() if isinstance(value, str)
    }
    assert len(ours) >= 11
    assert ours <= theirs
    operations = {each.value for each in conventions.GenAiOperationNameValues}
    assert set(tracing.OPERATION.values()) <= operations


def test_each_request_is_a_span_with_what_it_used(collected: Collected) -> None:
    with running_sim() as sim, _gateway(sim.base_url) as gateway:
        gateway.post(ask(PROMPT), traceparent=f"00-{TRACE}-{PARENT}-01")
        second = gateway.post(ask(PROMPT), traceparent=f"00-{TRACE}-{PARENT}-01")
        gateway.post(ask(PROMPT), X_OpenRouter_Cache="false")
        gateway.post(ask(PROMPT, model="sim/fault-500"))
        gateway.post({"model": "sim/embed", "input": [PROMPT]}, "/api/v1/embeddings")
        miss, hit, bypassed, failed, embedded = collected.spans(5)
        measured = collected.metrics()
    assert miss.name == hit.name == "chat sim/small"
    assert embedded.name == "embeddings sim/embed"
    for span in (miss, hit):
        assert span.kind is SpanKind.SERVER
        assert span.parent is not None
        assert f"{span.parent.trace_id:032x}" == TRACE
        assert f"{span.parent.span_id:016x}" == PARENT
        assert span.status.status_code is StatusCode.UNSET
    assert bypassed.parent is None
    told, again = dict(miss.attributes or {}), dict(hit.attributes or {})
    assert told[tracing.OPERATION_NAME] == "chat"
    assert told[tracing.REQUEST_MODEL] == "sim/small"
    assert (told["payonce.outcome"], again["payonce.outcome"]) == ("miss", "hit")
    assert told["payonce.reason"] == "absent"
    assert again["payonce.request"] == second["x-payonce-request-id"] != told["payonce.request"]
    assert told[tracing.INPUT_TOKENS] == again["payonce.avoided.input_tokens"]
    assert told["payonce.spent.dollars"] == again["payonce.avoided.dollars"]
    assert told[tracing.CACHE_READ_TOKENS] == 0
    assert tracing.INPUT_TOKENS not in again, "a hit uses no tokens"
    assert dict(bypassed.attributes or {})["payonce.reason"] == "client-off"
    assert failed.status.status_code is StatusCode.ERROR
    assert dict(failed.attributes or {})[tracing.ERROR_TYPE] == "status"
    durations = {point.attributes["payonce.outcome"]: point.count for point in measured[tracing.OPERATION_DURATION]}
    assert durations["hit"] == 1
    used = sum(point.sum for point in measured[tracing.TOKEN_USAGE] if point.attributes[tracing.TOKEN_TYPE] == "input")
    assert used >= told[tracing.INPUT_TOKENS] * 2


def test_the_header_goes_on_to_the_upstream_as_it_came(collected: Collected) -> None:
    sent = f"00-{TRACE}-{PARENT}-01"
    with raw_upstream(answers()) as upstream, _gateway(upstream.base_url) as gateway:
        gateway.post(ask("onward"), traceparent=sent, tracestate="a=b")
        (span,) = collected.spans(1)
        assert upstream.requests[0]["traceparent"] == sent
        assert upstream.requests[0]["tracestate"] == "a=b"
    assert span.context is not None
    assert span.context.trace_state.get("a") == "b"


def test_no_attribute_holds_a_prompt_an_answer_or_a_key(collected: Collected) -> None:
    with running_sim() as sim, _gateway(sim.base_url) as gateway:
        answer = gateway.post(ask(PROMPT)).json()["choices"][0]["message"]["content"]
        gateway.post(ask(PROMPT))
        spans = collected.spans(2)
    written = "".join(span.to_json() for span in spans)
    assert "chat sim/small" in written
    for secret in (PROMPT, answer, KEY, "Bearer"):
        assert secret not in written


def test_a_library_call_is_a_span_under_the_callers_own(collected: Collected) -> None:
    tracer = trace.get_tracer("test")
    with running_sim() as sim, Client(store="memory:", cache="all") as client:
        for _ in range(2):
            with tracer.start_as_current_span("outer") as outer:
                client.post(f"{sim.base_url}/chat/completions", json=ask(PROMPT), headers={"Authorization": "Bearer k"})
        spans = [span for span in collected.spans(4) if span.name != "outer"]
    assert [dict(span.attributes or {})["payonce.outcome"] for span in spans] == ["miss", "hit"]
    assert {span.kind for span in spans} == {SpanKind.CLIENT}
    assert spans[1].parent is not None
    assert spans[1].parent.span_id == outer.get_span_context().span_id
    assert PROMPT not in "".join(span.to_json() for span in spans)


def test_a_broken_traceparent_is_no_parent_and_no_fault(collected: Collected) -> None:
    with running_sim() as sim, _gateway(sim.base_url) as gateway:
        gateway.post(ask("odd"), traceparent="00-zz-zz-01")
        (span,) = collected.spans(1)
    assert span.parent is None


def test_without_an_sdk_nobody_watches_and_nothing_is_imported() -> None:
    with running_gateway() as gateway:
        assert isinstance(gateway, RunningGateway)
        assert gateway.gateway.world.teller is None
    code = "import sys, payonce.gateway.app, payonce.library; print([m for m in sys.modules if 'opentelemetry' in m])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
