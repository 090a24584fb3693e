"""What an agent with tools costs with Payonce in front of the provider and without: the input bill, side by side.

    .venv/bin/python -m benchmarks.agent_bill [--turns 10] [--json FILE]

A Pydantic AI agent (benchmarks/agent_run.py, in its own environment) talks through the three APIs, first with the
simulated provider itself, then through `payonce serve` as it comes. The provider keeps prompt caches by its strict
models (`payonce.testing.providers`) and writes the bill. It must never read a clock: only money is compared.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from benchmarks.process import Server, free_port
from payonce.testing.sim import CacheMeter, SimulatedProvider, running_sim

ROOT = Path(__file__).parents[1]
APIS = ("chat", "messages", "responses")


@dataclass(frozen=True, slots=True)
class Line:
    """One conversation, both ways. Money is US dollars; shares are of the input tokens."""

    api: str
    requests: int
    alone: Decimal
    planned: Decimal
    read_alone: float
    read_planned: float
    same: bool
    """Whether the agent was told the same, and used as many tokens."""

    @property
    def ratio(self) -> Decimal:
        """The bill with Payonce as a share of the bill without."""
        return self.planned / self.alone


def measure(turns: int = 10, apis: tuple[str, ...] = APIS) -> list[Line]:
    """Run every conversation both ways. Raises CalledProcessError with what the agent said where it fails."""
    lines = []
    for api in apis:
        with running_sim(meter=CacheMeter()) as sim:
            told = _talk(sim.base_url, api, turns)
            alone, read_alone = sim.bill.cost, _read(sim)
        with running_sim(meter=CacheMeter()) as sim:
            again = _through_gateway(sim, api, turns)
            same = all(told[name] == again[name] for name in ("said", "requests", "tool_calls", "output_tokens"))
            lines.append(Line(api, again["requests"], alone, sim.bill.cost, read_alone, _read(sim), same))
    return lines


def _read(sim: SimulatedProvider) -> float:
    return sim.bill.cache_read_tokens / sim.bill.prompt_tokens if sim.bill.prompt_tokens else 0.0


def _through_gateway(sim: SimulatedProvider, api: str, turns: int) -> dict[str, Any]:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "payonce", "serve", "--port", str(port), "--upstream", sim.base_url]
        home = {"PAYONCE_STORE": "memory:", "HOME": folder, "PAYONCE_SECRET_FILE": f"{folder}/secret"}
        with Server("payonce", command, port, 0, log=Path(folder) / "log", env=home):
            return _talk(f"http://127.0.0.1:{port}/api/v1", api, turns)


def _talk(base_url: str, api: str, turns: int) -> dict[str, Any]:
    python = ROOT / ".clients" / "main" / "bin" / "python"
    if not python.exists():
        raise SystemExit("The agent's environment is missing: run  make .clients/ready")
    words = ["--base-url", base_url, "--api", api, "--turns", str(turns)]
    done = subprocess.run(
        [python, "-m", "benchmarks.agent_run", *words], cwd=ROOT, check=True, capture_output=True, text=True
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def table(lines: list[Line]) -> str:
    """The lines as Markdown."""
    head = "| API | requests | bill without | bill with | of it | input tokens read from the cache |\n"
    head += "|---|---|---|---|---|---|\n"
    return head + "".join(
        f"| {line.api} | {line.requests} | ${line.alone:.4f} | ${line.planned:.4f} | {line.ratio:.0%} "
        f"| {line.read_alone:.0%} → {line.read_planned:.0%} |\n"
        for line in lines
    )


def main() -> None:
    """Reads the arguments, measures, prints."""
    parser = argparse.ArgumentParser(description="An agent's bill, with Payonce and without.")
    parser.add_argument("--turns", type=int, default=10, help="what the passenger says")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    given = parser.parse_args()
    lines = measure(given.turns)
    print(table(lines), end="")
    if given.json is not None:
        rows = [
            {"api": line.api, "requests": line.requests, "without": str(line.alone), "with": str(line.planned)}
            for line in lines
        ]
        given.json.write_text(json.dumps(rows, indent=1) + "\n")
    if not all(line.same for line in lines):
        raise SystemExit("The agent was not told the same both ways.")


if __name__ == "__main__":
    main()
