"""How soon the overview is painted with so many receipts in the ledger: `python -m tests.dashboard.first_paint [N]`.

Fills a ledger with N receipts (a million, unless said otherwise) over 30 days, starts a gateway on it, and opens the
overview for each of its spans, and two lists, in a browser that has seen nothing of it yet. The median of five is
printed, with the worst. Ends with 1 where a median is not under 500 ms.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from payonce.dashboard.overview import SPANS
from tests.dashboard.browsing import chromium, watched
from tests.dashboard.house import house
from tests.dashboard.many import fill

LIMIT_MS = 500
PAINT = """() => new Promise((tell) => {
  const seen = (list) => list.getEntriesByName("first-contentful-paint").forEach((paint) => tell(paint.startTime));
  new PerformanceObserver(seen).observe({ type: "paint", buffered: true });
})"""


def main(receipts: int) -> int:
    """Measure and print; how many pages were painted too late."""
    late = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.monotonic()
        fill(folder / "cache.db.ledger", receipts, now=time.time(), days=30)
        size = (folder / "cache.db.ledger").stat().st_size / 2**20
        print(f"{receipts:,} receipts written in {time.monotonic() - began:.0f} s, {size:.0f} MiB")
        with house(folder) as at, chromium() as browser:
            for place in (*(f"?span={span}" for span in SPANS), "requests", "conversations"):
                paints, servings = [], []
                for _ in range(5):
                    with watched(browser, at.gateway.host) as seen:
                        asked = time.perf_counter()
                        assert at.get(place).status == 200
                        servings.append((time.perf_counter() - asked) * 1e3)
                        page = seen.open(at.url + place)
                        paints.append(page.evaluate(PAINT))
                late += statistics.median(paints) >= LIMIT_MS
                print(
                    f"{place:<14} first paint {statistics.median(paints):4.0f} ms (worst {max(paints):4.0f}), "
                    f"of that made in {statistics.median(servings):4.0f} ms"
                )
    return late


if __name__ == "__main__":
    sys.exit(min(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000), 1))
