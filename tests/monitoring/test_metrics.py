"""/metrics says what happened, in a form that Prometheus takes, and grows by nothing that a client chooses."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from payonce.gateway.meter import GONE_SECONDS, Board, Meter
from payonce.gateway.metrics import Figures, render
from payonce.gateway.metrics_table import ROWS, Type
from payonce.ledger.hits import BUCKETS
from payonce.ledger.ledger import Ledger
from payonce.ledger.tally import HOUR, MODELS, OTHER, Tally
from payonce.model.reason import REASONS
from payonce.model.receipt import Landing, Outcome, Receipt
from payonce.testing.sim import running_sim
from tests.support.gateway import GatewayChild, ask, replies, running_gateway, until
from tests.support.servers import binary
from tests.support.words import entry

Samples = dict[tuple[str, str], float]


def samples(page: bytes) -> Samples:
    """Every sample by name and label value, histograms by their parts."""
    found: Samples = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            key = (sample.name, ",".join(sample.labels.values()))
            assert key not in found, f"{key} stands there twice"
            found[key] = sample.value
    return found


def shown(ledger: Ledger) -> Samples:
    return samples(render(Figures(ledger.so_far(), {}, "0")))


def metrics(gateway: Any) -> Samples:
    return samples(gateway.get("/metrics").body)


def test_prometheus_own_linter_has_nothing_to_say() -> None:
    found = subprocess.run(
        [binary("promtool"), "check", "metrics"],
        input=render(Figures(Tally(), {}, "1.0")),
        capture_output=True,
        check=False,
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, b"", b"")


def test_the_linter_would_say_something() -> None:
    wrong = b"# TYPE payonce_things counter\npayonce_things 1\n"
    found = subprocess.run([binary("promtool"), "check", "metrics"], input=wrong, capture_output=True, check=False)
    assert b"_total" in found.stdout + found.stderr


def test_every_family_has_one_help_and_one_type_that_is_its_rows() -> None:
    page = render(Figures(Tally(), {}, "0")).decode()
    assert re.findall(r"^# HELP (\w+) (.+)$", page, re.MULTILINE) == [(row.shown, row.help) for row in ROWS]
    assert re.findall(r"^# TYPE (\w+) (.+)$", page, re.MULTILINE) == [(row.shown, row.type.value) for row in ROWS]
    assert {row.type for row in ROWS} == set(Type)


def test_every_value_of_a_closed_set_is_there_from_the_start() -> None:
    found = samples(render(Figures(Tally(), {}, "0")))
    for row in ROWS:
        for value in row.values:
            name = row.name + "_count" if row.type is Type.HISTOGRAM else row.shown
            assert found[name, value] == 0


_REASONS = st.sampled_from(sorted(REASONS.values(), key=lambda reason: reason.id))


@given(
    st.lists(st.tuples(st.sampled_from(Outcome), st.none() | _REASONS, st.floats(0, 500)), max_size=20),
    st.lists(_REASONS | st.none(), max_size=10),
)
def test_what_was_entered_is_what_is_shown(requests: list[Any], landings: list[Any]) -> None:
    ledger = Ledger("w", 0)
    for outcome, reason, seconds in requests:
        ledger.exchanged(Receipt(outcome, reason), seconds)
    for reason in landings:
        ledger.landed(Landing(None, reason, 0.5), 0)
    found = shown(ledger)
    for outcome in Outcome:
        mine = [seconds for kind, _, seconds in requests if kind is outcome]
        assert found["payonce_requests_total", outcome.value] == len(mine)
        assert found["payonce_request_duration_seconds_count", outcome.value] == len(mine)
        assert found["payonce_request_duration_seconds_sum", outcome.value] == pytest.approx(sum(mine), abs=1e-6)
        for bound in (BUCKETS[3], BUCKETS[-1]):
            within = found["payonce_request_duration_seconds_bucket", f"{bound},{outcome.value}"]
            assert within == sum(seconds <= bound for seconds in mine)
    told = sum(count for (name, _), count in found.items() if name == "payonce_reasons_total")
    assert told == sum(reason is not None for _, reason, _ in requests)
    unkept = sum(count for (name, _), count in found.items() if name == "payonce_unkept_total")
    assert unkept == sum(reason is not None for reason in landings)
    labels = {value for (name, value) in found if name in ("payonce_reasons_total", "payonce_unkept_total")}
    assert labels <= {*REASONS, OTHER}


def test_no_count_falls_when_the_hour_turns_or_models_are_many() -> None:
    ledger = Ledger("w", 0)
    before: Samples = {}
    for turn in range(5):
        for number in range(60):
            ledger.now.served(entry(model=f"model {turn}-{number}"), 1 + number % 3)
        found = shown(ledger)
        models = {value: count for (name, value), count in found.items() if name == "payonce_served_total"}
        assert len(models) <= MODELS + 1
        assert sum(models.values()) == (turn + 1) * 120
        assert all(found[key] >= count for key, count in before.items())
        before = found
        ledger.leaf((turn + 1) * HOUR)
    assert before["payonce_served_total", OTHER] == 120 * 5 - sum(
        count for (name, value), count in before.items() if name == "payonce_served_total" and value != OTHER
    )
    assert before["payonce_served_total", OTHER] > 0


def test_the_board_is_read_without_what_is_broken_and_the_dead_keep_their_counts(tmp_path: Path) -> None:
    with running_gateway() as gateway:
        world = gateway.gateway.world
        meter = Meter(world, (), (), lambda: 1000.0, str(tmp_path))
        live, dead = Board(str(tmp_path), "live"), Board(str(tmp_path), "dead")
        tally = {"counts": {"requests.hit": 5}, "latency": {}, "seconds": {}, "models": {}}
        gauges = {"workers.count": 1, "workers.flights": 3}
        live.post({"tally": tally, "gauges": gauges, "at": 1000.0})
        dead.post({"tally": tally, "gauges": gauges, "at": 1000.0 - GONE_SECONDS})
        for name, text in (("half", b'{"tally":'), ("odd", b"[1]"), ("none", b"{}")):
            (tmp_path / f"{name}.json").write_bytes(text)
        figures = meter._gather(gateway.run(meter.own))
        assert figures.tally.counts["requests.hit"] == 10
        assert (figures.gauges["workers.count"], figures.gauges["workers.flights"]) == (2, 3)


def serving(home: Path, *arguments: str, upstream: str) -> GatewayChild:
    """A gateway whose temporary files are in `home`."""
    return GatewayChild(home, *arguments, "--upstream", upstream, TMPDIR=str(home))


def posted(home: Path) -> int:
    """The requests that all workers have told the others of."""
    records = [orjson.loads(path.read_bytes()) for path in home.glob("payonce-figures-*/*.json")]
    return sum(record["tally"]["counts"].get(f"requests.{each.value}", 0) for record in records for each in Outcome)


def landed(home: Path) -> int:
    """The upstream calls of which they have."""
    records = [orjson.loads(path.read_bytes()) for path in home.glob("payonce-figures-*/*.json")]
    return sum(record["tally"]["counts"].get("upstream.calls", 0) for record in records)


def test_any_worker_answers_for_all_also_for_one_that_was_killed(tmp_path: Path) -> None:
    arguments = ("--port", "0", "--workers", "2", "--cache", "all", "--store", f"sqlite:{tmp_path}/c.db")
    with running_sim() as sim, serving(tmp_path, *arguments, upstream=sim.base_url) as gateway:
        assert until(lambda: metrics(gateway)["payonce_workers", ""] == 2, 20)
        for number in range(40):
            gateway.post(ask(f"question {number % 4}"))

        def all_say(wanted: int) -> bool:
            pages = [metrics(gateway) for _ in range(6)]  # each on a connection of its own, so of either worker
            return all(
                sum(page["payonce_requests_total", outcome.value] for outcome in Outcome) == wanted for page in pages
            )

        assert until(lambda: posted(tmp_path) == 40, 20), "a worker that is killed loses what it has not posted yet"
        assert until(lambda: all_say(40), 20)
        calls = sim.bill.calls  # both workers may have asked for the same thing
        assert until(lambda: landed(tmp_path) == calls, 20), "what a call has cost is known a moment after its answer"
        page = metrics(gateway)
        free = page["payonce_requests_total", "hit"] + page["payonce_requests_total", "collapsed"]
        assert free == page["payonce_avoided_calls_total", ""] == 40 - calls, "one may have waited for the other"
        assert page["payonce_upstream_calls_total", ""] == calls < 10
        assert page["payonce_paid_cost_dollars_total", ""] == pytest.approx(float(sim.bill.cost), rel=1e-9)
        pids = [int(path.stem) for path in tmp_path.glob("payonce-figures-*/*.json")]
        assert len(pids) == 2
        os.kill(pids[0], signal.SIGKILL)
        assert until(lambda: all_say(40), 30)
    assert not list(tmp_path.glob("payonce-figures-*")), "the board goes with the gateway"


def test_two_gateways_on_one_store_count_for_themselves(tmp_path: Path) -> None:
    store = {"store": f"sqlite:{tmp_path}/c.db"}
    with (
        running_sim() as sim,
        running_gateway(sim.base_url, **store) as one,
        running_gateway(sim.base_url, **store) as two,
    ):
        one.post(ask("shared"))
        assert until(lambda: two.post(ask("shared")).hit)
        tallies = [each.run(each.gateway.meter.own)["tally"] for each in (one, two)]
        first, second = (orjson.loads(orjson.dumps(tally))["counts"] for tally in tallies)
        assert (first["requests.miss"], second["requests.hit"]) == (1, 1)
        assert "requests.hit" not in first


def test_tenants_near_their_quota_are_labels_few_and_never_a_credential(tmp_path: Path) -> None:
    arguments = ("--port", "0", "--cache", "all", "--store", f"sqlite:{tmp_path}/c.db")
    with running_sim() as sim:
        gateway = GatewayChild(tmp_path, *arguments, "--upstream", sim.base_url, PAYONCE_TENANT_ENTRIES="3")
        with gateway:
            before = metrics(gateway)
            for number in range(5):
                gateway.post(ask(f"question {number}"))

            def near() -> dict[tuple[str, str], float]:
                return {key: share for key, share in metrics(gateway).items() if key[0] == "payonce_tenant_quota_ratio"}

            assert until(lambda: list(near().values()) == [1.0], 30)
            [(_, tenant)] = near()
            assert re.fullmatch("[0-9a-f]{64}", tenant)
            assert until(lambda: metrics(gateway)["payonce_dropped_total", "over-quota"] == 2, 30)
            assert not any(name == "payonce_tenant_quota_ratio" for name, _ in before), "a control"
            assert gateway.get("/readyz").json()["status"] == "ok", "a tenant at its quota is no trouble of the store"


def test_who_is_refused_by_the_connection_itself_is_counted_by_reason_and_leaves_no_receipt() -> None:
    with running_sim() as sim, running_gateway(sim.base_url, max_connections=1, header_timeout=1.0) as gateway:
        large = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 200_000 + b"\r\n\r\n"
        for sent, status in ((large, 431), (b"GET /healthz HT", 408), (b"\0\r\n\r\n", 400)):
            assert replies(gateway.talk(sent)) == [status]
            assert gateway.until(lambda: not gateway.gateway.connections)
        with gateway.wire() as first:
            first.send(b"GET ")
            assert gateway.until(lambda: len(gateway.gateway.connections) == 1)
            assert replies(gateway.talk()) == [503]
            assert replies(first.rest()) == [408]
        assert gateway.until(lambda: not gateway.gateway.connections)
        counts = gateway.run(lambda: dict(gateway.gateway.world.ledger.now.counts))
        found = {name: count for name, count in counts.items() if name.startswith(("reasons.", "requests."))}
        assert found == {
            "reasons.head-too-large": 1,
            "reasons.head-slow": 2,
            "reasons.bad-request": 1,
            "reasons.busy": 1,
        }
