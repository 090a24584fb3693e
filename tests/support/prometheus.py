"""A real Prometheus for tests, on a free port, with its data in a temporary folder; tools/setup.sh installs it."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.support.servers import Server, binary, free_ports

SCRAPE_MS = 200


class Prometheus(Server):
    """Scrapes these targets (host:port) five times a second, under these rules."""

    def __init__(self, folder: Path, targets: Sequence[str], rules: Path | None = None) -> None:
        port = free_ports(1)[0]
        page: dict[str, Any] = {
            "global": {"scrape_interval": f"{SCRAPE_MS}ms", "evaluation_interval": f"{SCRAPE_MS}ms"},
            "rule_files": [str(rules)] if rules else [],
            "scrape_configs": [{"job_name": "payonce", "static_configs": [{"targets": list(targets)}]}],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(page))
        command = [
            binary("prometheus"),
            f"--config.file={folder}/prometheus.yaml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ]
        super().__init__(command, port, folder)

    def api(self, path: str, **parameters: str) -> Any:
        """The `data` of one of its API's answers; its error as AssertionError."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as reply:
                return json.loads(reply.read())["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:  # it listens, and is still reading its storage
                return None
            raise AssertionError(error.read().decode()) from None

    def query(self, expression: str) -> dict[str, float]:
        """The present value of each series, by its labels' values (without job and instance)."""
        found = self.api("query", query=expression)
        if found is None:
            return {}
        if found["resultType"] == "scalar":
            return {"": float(found["result"][1])}
        left_out = ("__name__", "job", "instance")
        return {
            ",".join(value for name, value in series["metric"].items() if name not in left_out): float(
                series["value"][1]
            )
            for series in found["result"]
        }

    def alerts(self) -> dict[str, str]:
        """Every alert that is pending or firing, and which of the two."""
        found = self.api("alerts") or {"alerts": []}
        return {alert["labels"]["alertname"]: alert["state"] for alert in found["alerts"]}


@contextlib.contextmanager
def prometheus(folder: Path, *targets: str, rules: Path | None = None) -> Iterator[Prometheus]:
    """A running Prometheus."""
    place = folder / "prometheus"
    place.mkdir()
    server = Prometheus(place, targets, rules)
    try:
        yield server
    finally:
        server.stop()
