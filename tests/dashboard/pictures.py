"""The pictures of docs/dashboard.md: `python -m tests.dashboard.pictures docs/images`.

Two days of made-up traffic in the ledger, real traffic on top of it, and a browser.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.dashboard.browsing import LAPTOP, PHONE, chromium, watched
from tests.dashboard.house import House, house
from tests.dashboard.many import fill


def main(target: Path) -> None:
    """Take all of them."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        fill(Path(name) / "cache.db.ledger", 30_000, now=time.time(), days=2)
        with house(Path(name), show_content=True) as at, chromium() as browser:
            books = at.gateway.gateway.world.books
            assert books is not None
            at.already = books.reader.total(0).paid_nano
            at.traffic()
            for picture, place, screen, scheme, height in _pictures(at):
                with watched(browser, at.gateway.host, viewport=screen, color_scheme=scheme) as seen:
                    page = seen.open(at.url + place)
                    page.wait_for_timeout(400)
                    clip = {"x": 0, "y": 0, "width": screen["width"], "height": height}
                    page.screenshot(path=target / f"{picture}.png", clip=clip, full_page=True)


def _pictures(at: House) -> list[tuple[str, str, dict[str, int], str, int]]:
    """Name, place, screen, scheme, height."""
    talk = next(
        each for each in at.data("conversations")["conversations"] if each["missed_tokens"] and each["turns"] > 4
    )
    return [
        ("overview", "", LAPTOP, "light", 1040),
        ("overview-dark", "", LAPTOP, "dark", 700),
        ("requests", "requests", LAPTOP, "light", 620),
        ("conversation", f"conversations/{talk['id']}", LAPTOP, "light", 640),
        ("findings", "findings", LAPTOP, "light", 660),
        ("phone", "", PHONE, "light", 844),
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images"))
