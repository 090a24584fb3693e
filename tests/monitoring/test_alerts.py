"""Each alert fires on its fault and on nothing else: `promtool test rules` over a healthy gateway with one fault."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from payonce.gateway.metrics_table import ROWS, Type
from tests.support.servers import binary

DEPLOY = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule}
WELL = 360
"""Minutes for which all is well before a fault begins: what a rule takes for the usual is then the mean of these."""
END = WELL + 120

HEALTHY = {
    "up": "1+0xN",
    'payonce_requests_total{outcome="hit"}': "0+60xN",
    'payonce_requests_total{outcome="miss"}': "0+40xN",
    'payonce_requests_total{outcome="stale"}': "0+0xN",
    'payonce_requests_total{outcome="collapsed"}': "0+0xN",
    "payonce_upstream_calls_total": "0+40xN",
    'payonce_unkept_total{reason="status"}': "0+1xN",
    'payonce_unkept_total{reason="upstream-refused"}': "0+0xN",
    'payonce_unkept_total{reason="internal"}': "0+0xN",
    'payonce_reasons_total{reason="absent"}': "0+40xN",
    'payonce_reasons_total{reason="store-slow"}': "0+0xN",
    'payonce_reasons_total{reason="flights-full"}': "0+0xN",
    'payonce_reasons_total{reason="internal"}': "0+0xN",
    "payonce_store_trouble": "0+0xN",
    'payonce_dropped_total{reason="evicted"}': "0+5xN",
    'payonce_dropped_total{reason="queue-full"}': "0+0xN",
    'payonce_dropped_total{reason="damaged"}': "0+0xN",
    'payonce_request_duration_seconds_bucket{outcome="hit",le="0.001"}': "0+60xN",
    'payonce_request_duration_seconds_bucket{outcome="hit",le="0.5"}': "0+60xN",
    'payonce_request_duration_seconds_bucket{outcome="hit",le="+Inf"}': "0+60xN",
    'payonce_lines_dropped_total{log="access"}': "0+0xN",
    'payonce_ledger_dropped_total{why="unwritten"}': "0+0xN",
    "payonce_ledger_trouble": "0+0xN",
}
"""A gateway on which all is well: a series a minute."""


@dataclass
class Fault:
    """What is different when something is wrong, from `WELL` on: `series` by name, as increments a minute (or, for a
    gauge, as promtool writes values). `also` are the alerts that rightly fire besides."""

    series: dict[str, str]
    labels: dict[str, str] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    before: dict[str, str] = field(default_factory=dict)


FAULTS = {
    "PayonceDown": Fault({"up": "=0"}),
    "PayonceHitRateFell": Fault(
        {
            'payonce_requests_total{outcome="hit"}': "+10",
            'payonce_requests_total{outcome="miss"}': "+90",
            "payonce_upstream_calls_total": "+90",
        }
    ),
    "PayonceStoreTrouble": Fault({"payonce_store_trouble": "=2"}),
    "PayonceStoreFlapping": Fault({"payonce_store_trouble": "~"}),
    "PayonceStoreSlow": Fault({'payonce_reasons_total{reason="store-slow"}': "+5"}),
    "PayonceEntriesDropped": Fault({'payonce_dropped_total{reason="queue-full"}': "+1"}),
    "PayonceEntriesDamaged": Fault({'payonce_dropped_total{reason="damaged"}': "+1"}),
    "PayonceUpstreamErrors": Fault({'payonce_unkept_total{reason="status"}': "+10"}),
    "PayonceUpstreamUnreachable": Fault(
        {'payonce_unkept_total{reason="upstream-refused"}': "+30"}, also=("PayonceUpstreamErrors",)
    ),
    "PayonceFlightsFull": Fault({'payonce_reasons_total{reason="flights-full"}': "+1"}),
    "PayonceHitsSlow": Fault({'payonce_request_duration_seconds_bucket{outcome="hit",le="0.001"}': "+10"}),
    "PayonceInternalErrors": Fault({'payonce_reasons_total{reason="internal"}': "+1"}),
    "PayonceLedgerDropped": Fault({'payonce_ledger_dropped_total{why="unwritten"}': "+1"}),
    "PayonceLedgerTrouble": Fault({"payonce_ledger_trouble": "=1"}),
    "PayonceLinesDropped": Fault({'payonce_lines_dropped_total{log="access"}': "+1"}, labels={"log": "access"}),
}


def _series(fault: Fault) -> list[dict[str, str]]:
    """The healthy series up to `WELL`, and from then on with the fault."""
    listed = []
    for name, values in HEALTHY.items():
        change = fault.series.get(name, "")
        if not change:
            values = values.replace("N", str(END))
        elif change == "~":
            values = f"0x{WELL} " + "0 1 " * ((END - WELL) // 2)
        elif change[0] == "=":
            values = f"{values.split('+')[0]}x{WELL} {change[1:]}x{END - WELL}"
        else:
            step = int(values.split("+")[1].split("x")[0])
            values = f"0+{step}x{WELL} {step * WELL + int(change)}{change}x{END - WELL}"
        bare, _, labels = name.partition("{")
        listed.append({"series": f'{bare}{{job="payonce",instance="gw",{labels or "}"}', "values": values})
    return listed


def _expected(name: str, fault: Fault) -> dict[str, Any]:
    rule = ALERTS[name]
    labels = {"severity": rule["labels"]["severity"], "job": "payonce", "instance": "gw", **fault.labels}
    return {"exp_labels": labels}


def _promtool(folder: Path, fault: Fault, firing: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Runs every alert against the series of `fault`; those in `firing` have to fire once, all others not at all."""
    rules = (DEPLOY / "alerts.yaml").read_text()
    (folder / "alerts.yaml").write_text(re.sub(r"\n        annotations:\n(          .*\n)+", "\n", rules))
    moment = END - 90 + 80
    tests = [
        {
            "interval": "1m",
            "input_series": _series(fault),
            "alert_rule_test": [
                {
                    "eval_time": f"{moment}m",
                    "alertname": name,
                    "exp_alerts": [_expected(name, FAULTS[name])] if name in firing else [],
                }
                for name in ALERTS
            ],
        }
    ]
    page = {"rule_files": ["alerts.yaml"], "evaluation_interval": "1m", "tests": tests}
    (folder / "test.yaml").write_text(yaml.safe_dump(page))
    return subprocess.run(
        [binary("promtool"), "test", "rules", "test.yaml"], cwd=folder, capture_output=True, text=True, check=False
    )


def test_the_rules_and_the_example_configuration_are_well_formed() -> None:
    for what, name in (("rules", "alerts.yaml"), ("config", "prometheus.yaml")):
        found = subprocess.run(
            [binary("promtool"), "check", what, str(DEPLOY / name)], capture_output=True, text=True, check=False
        )
        assert found.returncode == 0, found.stdout + found.stderr


def test_nothing_fires_while_all_is_well(tmp_path: Path) -> None:
    found = _promtool(tmp_path, Fault({}), ())
    assert found.returncode == 0, found.stdout + found.stderr


def test_there_is_a_fault_for_every_alert() -> None:
    assert set(FAULTS) == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_fires_on_its_fault_and_no_other_does(name: str, tmp_path: Path) -> None:
    fault = FAULTS[name]
    found = _promtool(tmp_path, fault, (name, *fault.also))
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_check_can_fail(tmp_path: Path) -> None:
    found = _promtool(tmp_path, FAULTS["PayonceDown"], ("PayonceStoreTrouble",))
    assert found.returncode != 0
    assert "PayonceStoreTrouble" in found.stdout + found.stderr


def test_rules_name_only_metrics_and_label_values_that_there_are() -> None:
    known = {row.shown: row for row in ROWS} | {f"{row.name}_bucket": row for row in ROWS if row.type is Type.HISTOGRAM}
    text = (DEPLOY / "alerts.yaml").read_text()
    expressions = [rule["expr"] for group in RULES["groups"] for rule in group["rules"]]
    named = set(re.findall(r"\bpayonce_\w+", " ".join(expressions)))
    assert named <= set(known)
    assert {name for name in HEALTHY if name != "up" and name.partition("{")[0] not in known} == set()
    for metric, matcher, pattern in re.findall(r'(payonce_\w+)\{(?:outcome|reason)(=~?)"([^"]+)"', text):
        for value in pattern.split("|"):
            matching = [
                each
                for each in known[metric].values
                if re.fullmatch(value if matcher == "=~" else re.escape(value), each)
            ]
            assert matching, f"{metric} never has {value}"
    told = set(re.findall(r"payonce_\w+", " ".join(str(rule.get("annotations")) for rule in ALERTS.values())))
    assert told <= {*known, "payonce_reasons_total"}


def test_every_alert_says_what_happened_and_what_to_do() -> None:
    for rule in ALERTS.values():
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert "$labels.instance" in rule["annotations"]["summary"]
        assert len(rule["annotations"]["description"]) > 40
