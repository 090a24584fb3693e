"""A real browser on the dashboard, and a record of what it must not do: ask elsewhere, complain."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, expect, sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
LAPTOP = {"width": 1280, "height": 860}
PHONE = {"width": 390, "height": 844}
PATIENCE_MS = 30_000
"""For so long a page may take to come to show something: it is asked whether, not how soon."""


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The distribution's Chromium."""
    path = shutil.which("chromium")
    assert path is not None, "tests of the dashboard need chromium: make test installs it where apt-get is there"
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """A page, and what it did that it must not."""

    page: Page
    host: str
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda said: self._hear(said.type, said.text))
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("request", lambda request: self._asks(request.url))

    def _hear(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.faults.append(f"{kind}: {text}")

    def _asks(self, url: str) -> None:
        if urlsplit(url).netloc != self.host:
            self.faults.append(f"asks {url}")

    def told_of(self, text: str) -> bool:
        """Whether a fault comes to be told that says so: a browser tells of them when it has time."""
        for _ in range(PATIENCE_MS // 50):
            if any(text in fault for fault in self.faults):
                return True
            self.page.wait_for_timeout(50)
        return False

    def open(self, url: str) -> Page:
        """The page at `url`, when its scripts have run."""
        self.page.goto(url, wait_until="load")
        return self.page


@contextlib.contextmanager
def watched(browser: Browser, host: str, *, blameless: bool = True, **context: Any) -> Iterator[Watched]:
    """A page in a context of its own; at its end it must have done nothing that it must not, unless `blameless` is
    False."""
    held = browser.new_context(**{"viewport": LAPTOP} | context)
    held.set_default_timeout(PATIENCE_MS)
    try:
        seen = Watched(held.new_page(), host)
        yield seen
        assert seen.faults == [] or not blameless, seen.faults
    finally:
        held.close()


CONTRASTS = """() => {
  const part = (text) => {
    const found = text.match(/[\\d.]+/g).map(Number);
    return text.startsWith("color(srgb") ? [found[0] * 255, found[1] * 255, found[2] * 255, found[3] ?? 1]
      : [found[0], found[1], found[2], found[3] ?? 1];
  };
  const over = (top, below) => [0, 1, 2].map((n) => top[n] * top[3] + below[n] * (1 - top[3])).concat(1);
  const light = (color) => {
    const linear = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = color.slice(0, 3).map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    const behind = [];
    for (let each = element; each; each = each.parentElement) {
      behind.unshift(part(getComputedStyle(each).backgroundColor));
    }
    return behind.reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let count = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility() || element.closest("svg, option, .skip")) continue;
    const below = ground(element), color = over(part(getComputedStyle(element).color), below);
    const [high, low] = [light(color), light(below)].sort((a, b) => b - a), ratio = (high + 0.05) / (low + 0.05);
    count += 1;
    if (ratio < 4.5) poor.push(`${text.slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return { count, poor };
}"""
"""How many texts a page shows, and which of them stand out too little from what is behind them (WCAG 2.2, 1.4.3)."""
