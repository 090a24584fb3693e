"""What the ledger costs on the hit path: hits of the gateway with its books beside hits of one that keeps none.

In the rows with many different requests each of them is a receipt's worth of work for the clerk; where one request is
repeated, there is one receipt a second. Without the fast lane every hit is told to the journal by itself.
"""

from __future__ import annotations

from benchmarks import gateway
from benchmarks.gateway import Gateway
from benchmarks.machine import LOAD_CORE, SERVER_CORE
from benchmarks.nginx import Origin
from benchmarks.parts import Bench
from benchmarks.parts.hits import DIFFERENT, NUMBER, assert_hit, fill
from benchmarks.rounds import Arm, Row, Sample, always, interleaved, throughput_row
from benchmarks.wrk import Load

KEPT = 0.97
"""So much of the throughput without a ledger has to be left with it."""


def measure(bench: Bench) -> list[Row]:
    """Three rows: requests per CPU-second of hits, with and without. Every round starts both gateways anew: two
    processes that do the very same differ by some percent, each for as long as it lives."""
    numbers = bench.home / "numbers"
    numbers.write_text("".join(f"{number}\n" for number in range(DIFFERENT)))
    one, many = Load("fixed", str(NUMBER), bench.template()), Load("cycle", str(numbers), bench.template())
    pairs: dict[str, list[tuple[Sample, Sample]]] = {}
    with Origin(bench.home / "origin", LOAD_CORE) as origin:
        for number in range(bench.rounds):
            for lane, loads in (
                ("true", {"hit, one request repeated": one, f"hit, {DIFFERENT:,} requests in turn": many}),
                ("false", {"hit without the fast lane": one}),
            ):
                with _gateway(bench, origin, lane, "auto") as ours, _gateway(bench, origin, lane, "off") as bare:
                    bare.name = "without"
                    for server in (ours, bare):
                        assert_hit(server.port, gateway.HIT_HEADER)
                        fill(server.port, gateway.HIT_HEADER)
                    for what, load in loads.items():
                        bench.say(f"{what}, start {number + 1}/{bench.rounds}")
                        pairs.setdefault(what, []).append(_pair(bench, ours, bare, load, swapped=number % 2 == 1))
    return [throughput_row("ledger", what, found, "no ledger", KEPT) for what, found in pairs.items()]


def _pair(bench: Bench, ours: Gateway, bare: Gateway, load: Load, *, swapped: bool) -> tuple[Sample, Sample]:
    """One turn each; who goes first is `swapped` in every other round."""
    first, second = (bare, ours) if swapped else (ours, bare)
    arms = Arm(first, always(load)), Arm(second, always(load))
    [pair] = interleaved(*arms, 1, bench.seconds, bench.say)
    return (pair[1], pair[0]) if swapped else pair


def _gateway(bench: Bench, origin: Origin, lane: str, ledger: str) -> Gateway:
    env = {"PAYONCE_FAST_LANE": lane, "PAYONCE_LEDGER": ledger}
    return Gateway(bench.home / f"{ledger}-{lane}", origin.base, SERVER_CORE, env=env)
