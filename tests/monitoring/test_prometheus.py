"""A real Prometheus scrapes a real gateway: queries say what happened, alerts see faults, the dashboard works."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from payonce.gateway.metrics_table import ROWS, Type
from payonce.testing.sim import running_sim
from tests.monitoring.test_metrics import landed, posted, serving
from tests.support.gateway import ask, running_gateway, until
from tests.support.prometheus import prometheus
from tests.support.servers import redis_server

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yaml"
DASHBOARD = json.loads((DEPLOY / "grafana" / "payonce.json").read_text())


def expressions() -> list[tuple[str, str]]:
    """Every expression of the dashboard with the title of its panel."""
    return [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]


def filled(expression: str) -> str:
    """As Grafana would ask it, for all gateways."""
    for name, value in (("$__rate_interval", "1m"), ("$__range", "5m"), ("$instance", ".+")):
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def test_queries_say_what_happened_to_the_cent(tmp_path: Path) -> None:
    arguments = ("--port", "0", "--workers", "2", "--cache", "all", "--store", f"sqlite:{tmp_path}/c.db")
    with (
        running_sim() as sim,
        serving(tmp_path, *arguments, upstream=sim.base_url) as gateway,
        prometheus(tmp_path, gateway.host, rules=RULES) as server,
    ):

        def says(expression: str, **expected: float) -> bool:
            return until(lambda: server.query(expression) == expected, 30)

        for number in range(60):
            gateway.post(ask(f"question {number % 6}"))
        bill, calls = float(sim.bill.cost), sim.bill.calls  # two workers may both have asked for the same thing
        for _ in range(3):
            gateway.post(ask("not cached"), X_OpenRouter_Cache="false")
        assert until(lambda: posted(tmp_path) == 63 and landed(tmp_path) == calls, 30), "either worker says it of both"
        assert says("sum by (outcome) (payonce_requests_total) > 0", hit=60 - calls, miss=calls, bypass=3)
        assert says("payonce_upstream_calls_total", **{"": calls})
        assert says('payonce_reasons_total{reason="client-off"}', **{"client-off": 3})
        assert says("payonce_workers", **{"": 2})
        assert says('payonce_request_duration_seconds_count{outcome="hit"}', hit=60 - calls)
        parts = (f"sum by (outcome) (payonce_request_duration_seconds_{part})" for part in ("sum", "count"))
        mean = " / ".join(parts)
        seconds = server.query(mean)
        assert 0 < seconds["hit"] < seconds["miss"]
        (avoided,) = server.query("payonce_avoided_cost_dollars_total").values()
        (paid,) = server.query("payonce_paid_cost_dollars_total").values()
        assert paid == pytest.approx(bill, rel=1e-9)
        assert avoided == pytest.approx(bill / calls * (60 - calls), rel=1e-9), "all questions cost the same"
        assert until(lambda: server.alerts() == {}), "but for a scrape that a busy machine missed"


def test_a_lost_store_and_a_lost_upstream_raise_their_alerts_and_nothing_else(tmp_path: Path) -> None:
    with redis_server(tmp_path) as store, running_sim() as sim:
        settings: dict[str, Any] = {"store": store.url, "secret_file": str(tmp_path / "secret"), "connect_timeout": 0.2}
        upstreams = (("", sim.base_url), ("dead", "http://127.0.0.1:9/v1"))
        with (
            running_gateway(upstreams, **settings) as gateway,
            prometheus(tmp_path, gateway.host, rules=RULES) as server,
        ):
            gateway.post(ask("first"))
            assert until(lambda: server.query("payonce_store_trouble") == {"": 0}, 20)
            assert until(lambda: server.alerts() == {})
            store.kill()

            def in_trouble() -> bool:
                gateway.post(ask("while it is away"))
                return server.alerts().get("PayonceStoreTrouble") == "pending"

            assert until(in_trouble, 30)
            assert until(lambda: server.query("up") == {"": 1}), "figures come whether or not the store works"
            store.start()
            assert until(lambda: server.query("payonce_store_trouble") == {"": 0}, 30)
            assert until(lambda: "PayonceStoreTrouble" not in server.alerts(), 30)

            def failing() -> bool:
                gateway.post(ask("nobody there"), "/dead/v1/chat/completions")
                return server.alerts().get("PayonceUpstreamUnreachable") == "pending"

            assert until(failing, 30)
            (refused,) = server.query('payonce_unkept_total{reason="upstream-refused"}').values()
            assert refused > 0


@pytest.fixture(scope="module")
def lively(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Prometheus that has seen a gateway at work: hits, misses, batches, errors."""
    folder = tmp_path_factory.mktemp("lively")
    with (
        running_sim() as sim,
        running_gateway(sim.base_url) as gateway,
        prometheus(folder, gateway.host, rules=RULES) as server,
    ):

        def busy() -> bool:
            for number in range(12):
                gateway.post(ask(f"question {number % 3}"))
                gateway.post(ask(f"new {number} {server.query('time()')}"))
            gateway.post(ask("refused", model="sim/fault-500"))
            gateway.post(ask("off"), X_OpenRouter_Cache="false")
            return len(server.api("query", query="payonce_upstream_calls_total[1m]")["result"][0]["values"]) > 8

        assert until(lambda: bool(server.query("payonce_workers")), 20)
        assert until(busy, 30)
        yield server


def test_every_expression_of_the_dashboard_is_one(lively: Any) -> None:
    for title, expression in expressions():
        assert lively.api("query", query=filled(expression)) is not None, title


MAY_BE_EMPTY = {"Entries lost"}
"""Panels that show only what is above 0, and should be."""


def test_every_panel_shows_something_of_a_gateway_at_work(lively: Any) -> None:
    panels = {title: False for title, _ in expressions()}
    for title, expression in expressions():
        values = lively.query(filled(expression))
        panels[title] |= any(not math.isnan(value) for value in values.values())
    assert {title for title, filled_ in panels.items() if not filled_} <= MAY_BE_EMPTY


def test_a_wrong_expression_would_be_noticed(lively: Any) -> None:
    with pytest.raises(AssertionError, match="parse error"):
        lively.api("query", query="sum(rate(payonce_requests_total[5m])")


def test_the_dashboard_names_only_metrics_and_labels_that_there_are() -> None:
    known = {row.shown: row for row in ROWS} | {f"{row.name}_bucket": row for row in ROWS if row.type is Type.HISTOGRAM}
    everything = " ".join(expression for _, expression in expressions())
    named = set(re.findall(r"\bpayonce_\w+", everything + str(DASHBOARD["templating"])))
    assert named <= set(known)
    for name, matchers in re.findall(r"(payonce_\w+)\{([^}]*)\}", everything):
        for label, value in re.findall(r'(\w+)=~?"([^"]*)"', matchers):
            assert label in ("instance", known[name].label), (name, label)
            if label != "instance":
                assert set(value.split("|")) <= set(known[name].values), (name, value)


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        cells = {(x, y) for x in columns for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
