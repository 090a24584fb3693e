"""`python -m tests.storm [SUBJECT ...] [--requests N] [--seed N]`: what each subject has shown in the storm.

Payonce must give no wrong answer, no error, and lose no connection, whatever the engine and the way of reading, and in
front of a server that lies. redis-py 4.5.1 and 4.5.3, and any redis-py in front of a liar, must be found wanting: else
this would show nothing. Exit code 1 where one of that is not so.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.storm.run import Report, naive, old_python, ours

OF_NAIVE = 5
"""The plain clients need no more than one request in so many to show what they do."""

Verdict = tuple[Report, bool]
Run = Callable[[Path, int, int], Verdict]
"""In a folder, with so many requests, from a seed: what was seen, and whether it is as it should be."""


def _ours(engine: str, *, threads: bool = False, lying: bool = False) -> Run:
    def run(folder: Path, requests: int, seed: int) -> Verdict:
        report = asyncio.run(ours(folder, requests, engine=engine, threads=threads, lying=lying, seed=seed))
        return report, report.sound(requests)

    return run


def _naive(version: str = "", *, lying: bool = False, wanting: bool) -> Run:
    def run(folder: Path, requests: int, seed: int) -> Verdict:
        python = old_python(version) if version else sys.executable
        report = naive(folder, requests // OF_NAIVE, python, lying=lying, seed=seed)
        return report, (report.seen["wrong"] > 0) == wanting

    return run


SUBJECTS: dict[str, Run] = {
    "redis": _ours("redis"),
    "redis-threads": _ours("redis", threads=True),
    "memcached": _ours("memcached"),
    "memcached-threads": _ours("memcached", threads=True),
    "redis-lying": _ours("redis", lying=True),
    "redis-threads-lying": _ours("redis", threads=True, lying=True),
    "memcached-lying": _ours("memcached", lying=True),
    "4.5.1": _naive("4.5.1", wanting=True),
    "4.5.3": _naive("4.5.3", wanting=True),
    "naive": _naive(wanting=False),
    "naive-lying": _naive(lying=True, wanting=True),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.storm", description=__doc__)
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=f"any of: {' '.join(SUBJECTS)}; none means all")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if unknown := set(given.subjects) - set(SUBJECTS):
        parser.error(f"no such subject: {' '.join(sorted(unknown))}")
    logging.disable(logging.WARNING)
    good = True
    with tempfile.TemporaryDirectory(prefix="payonce-storm-") as folder:
        for name in given.subjects or SUBJECTS:
            report, right = SUBJECTS[name](Path(folder, name), given.requests, given.seed)
            good &= right
            print(f"{'as it should be' if right else 'NOT as it should be'}: {report}", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
